"""Folders of images: which files are used, pure batches within a budget of memory, and every fault named."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny

import munit_lite as ml
from munit_lite.callbacks import Callback
from munit_lite.config import DataConfig
from munit_lite.data import folders, open_data
from munit_lite.data.folder_layout import find_dataset_files
from munit_lite.data.folders import FolderData
from munit_lite.data.image_files import DataError
from munit_lite.presets import preset


def picture(number, height=36, width=36):
    """Every pixel says where it is and whose: red = column, green = row, blue = the image's number."""
    row, column = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([column, row, np.full_like(row, number)], axis=2).astype(np.uint8))


def write_pictures(folder, numbers, **size):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture(number, **size).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def four(tmp_path):
    """trainA with images 0-4, trainB with 10-15, testA with 20-22, testB with 30-31."""
    numbers = {"trainA": range(5), "trainB": range(10, 16), "testA": range(20, 23), "testB": (30, 31)}
    for name in numbers:
        write_pictures(tmp_path / "root" / "set" / name, numbers[name])
    return tmp_path / "root" / "set"


def sets_of(root, **settings):
    return find_dataset_files(DataConfig(**settings), root)


def opened(folder, seed=0, cache_gib=1.0, size=32, **settings):
    return FolderData(sets_of(folder.parent, folder=str(folder), **settings), size, seed, cache_gib)


def names(source):
    return [file.stem for file in source.files]


def numbers_in(images):
    """Numbers of the pictures that a batch was cut from."""
    return {round(float(image[2].mean() + 1) * 127.5) for image in images}


# ------------------------------------------------------------------------------------------------- which files


def test_the_four_folders_are_used_in_the_order_of_their_names(four):
    sets = sets_of(four.parent, folder="set")  # below the data root
    assert [names(s) for s in (*sets.train, *sets.test)] == [
        ["000", "001", "002", "003", "004"], ["010", "011", "012", "013", "014", "015"], ["020", "021", "022"],
        ["030", "031"],
    ]  # fmt: skip
    assert not sets.paired and sets_of(Path("nowhere"), folder=str(four)) == sets


def test_folders_inside_are_searched_and_what_is_no_image_is_not(four):
    write_pictures(four / "trainA" / "more" / "deep", [99])
    for name in ("notes.txt", ".DS_Store", "more/.hidden.png"):
        (four / "trainA" / name).write_text("no image")
    (four / "trainA" / ".thumbnails").mkdir()
    picture(98).save(four / "trainA" / ".thumbnails" / "a.png")
    picture(97).save(four / "trainA" / "without suffix", format="png")
    actual = names(sets_of(four.parent, folder="set").train[0])
    assert actual == ["000", "001", "002", "003", "004", "099", "without suffix"]


def test_without_test_folders_every_tenth_image_is_held_out_and_none_is_in_both(tmp_path):
    write_pictures(tmp_path / "trainA", range(25))
    write_pictures(tmp_path / "trainB", range(100, 102))
    sets = sets_of(tmp_path, folder=str(tmp_path))
    assert names(sets.test[0]) == ["000", "010", "020"] and names(sets.test[1]) == ["100"]
    assert sorted(names(sets.train[0]) + names(sets.test[0])) == [f"{k:03}" for k in range(25)]
    assert names(sets.train[1]) == ["101"]


def test_lists_choose_the_files_and_their_order(four):
    (four / "list_trainA.txt").write_text("003.png\n\n  001.png  \r\n003.png\n")  # as the original: one path a line
    shutil.move(four / "testA", four / "elsewhere")
    (four / "list_testA.txt").write_text("elsewhere/021.png\n")  # no folder testA: relative to the data set
    sets = sets_of(four.parent, folder="set")
    assert names(sets.train[0]) == ["003", "001", "003"] and names(sets.test[0]) == ["021"]
    assert len(sets.train[1].files) == 6


def test_two_folders_of_ones_own_or_lists_of_them(tmp_path):
    write_pictures(tmp_path / "apples", range(12))
    write_pictures(tmp_path / "citrus fruit", range(50, 54))
    sets = sets_of(tmp_path, folder_1=str(tmp_path / "apples"), folder_2="citrus fruit")
    assert names(sets.test[0]) == ["000", "010"] and names(sets.train[1]) == ["051", "052", "053"]
    listing = tmp_path / "some.txt"
    listing.write_text("apples/003.png\napples/001.png\n")
    sets = sets_of(tmp_path, folder_1=str(listing), folder_2="citrus fruit")
    assert names(sets.test[0]) == ["003"] and names(sets.train[0]) == ["001"]


@pytest.mark.parametrize("held_out", ["test", "val", None])
def test_pictures_of_pairs_are_unpaired_in_training_and_pairs_when_held_out(tmp_path, held_out):
    for folder, numbers in (("train", range(40)), (held_out, range(100, 104))):
        for number in numbers if folder else ():
            pair = Image.new("RGB", (72, 36))
            pair.paste(picture(number), (0, 0))
            pair.paste(picture(number + 50), (36, 0))
            (tmp_path / folder).mkdir(exist_ok=True)
            pair.save(tmp_path / folder / f"{number:03}_AB.png")
    data = opened(tmp_path)
    one, two = (torch.cat(batches) for batches in zip(*(data.batch(step, 20) for step in range(10)), strict=True))
    lefts, rights = numbers_in(one), {number - 50 for number in numbers_in(two)}
    assert lefts and rights and not lefts & rights  # never two halves of one picture
    tested = data.test(100)
    assert tested.paired
    actual = [numbers_in(images[None]) for images in tested.images_1]
    assert actual == [{number} for number in (range(100, 104) if held_out else range(0, 40, 10))]
    assert [{number - 50 for number in numbers_in(images[None])} for images in tested.images_2] == actual
    assert all(tested.images_1[0, 0, 2, 2:5] * 127.5 + 127.5 == tested.images_2[0, 0, 2, 2:5] * 127.5 + 127.5)
    assert not (lefts | rights) & {min(numbers) for numbers in actual}


@pytest.mark.parametrize("kind", ["four", "pairs", "own"])
def test_swapped_domains_are_the_same_files_the_other_way_round(tmp_path, kind):
    for name in ("trainA", "trainB") if kind == "four" else ("one", "two"):
        write_pictures(tmp_path / kind / name, range(3) if name[-1] in "Ae" else range(5, 9))
    write_pictures(tmp_path / "pairs" / "train", range(8), width=72)
    own = {"folder_1": "own/one", "folder_2": "own/two"}
    settings = own if kind == "own" else {"folder": kind}
    sets, swapped = (sets_of(tmp_path, **settings, swap=swap) for swap in (False, True))
    assert swapped == (sets.train[::-1], sets.test[::-1], sets.paired) and swapped.train != sets.train


# ----------------------------------------------------------------------------------------------------- batches


def test_crops_lie_inside_their_images_everywhere_and_half_are_mirrored(four):
    shutil.rmtree(four / "trainA")
    shapes = [(36, 50), (60, 36)]
    for number, (height, width) in enumerate(shapes):
        write_pictures(four / "trainA", [number], height=height, width=width)
    data = opened(four)
    crops = torch.cat([data.batch(step, 50)[0] for step in range(8)])
    assert crops.shape == (400, 3, 32, 32)
    red, green, blue = ((crops + 1) * 127.5).round().long().unbind(1)
    flipped = red[:, 0, 0] > red[:, 0, 1]
    upright = torch.where(flipped[:, None, None], red.flip(2), red)
    left, top, item = upright[:, 0, 0], green[:, 0, 0], blue[:, 0, 0]
    assert (upright == left[:, None, None] + torch.arange(32)).all()  # one window, no wrapping
    assert (green == top[:, None, None] + torch.arange(32)[:, None]).all()
    for number, (height, width) in enumerate(shapes):
        assert set(top[item == number].tolist()) == set(range(height - 31))
        assert set(left[item == number].tolist()) == set(range(width - 31))
    assert 160 < flipped.sum() < 240 and 160 < item.sum() < 240


def test_batches_depend_on_seed_and_step_alone(four):
    first, second = opened(four), opened(four)
    for step in (0, 1, 3):  # in and out of the order that is decoded ahead
        first.batch(step, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.batch(7, 4), second.batch(7, 4), strict=True))
    assert not torch.equal(first.batch(7, 4)[0], first.batch(8, 4)[0])
    assert not torch.equal(first.batch(7, 4)[0], opened(four, seed=1).batch(7, 4)[0])
    assert numbers_in(torch.cat([first.batch(step, 20)[1] for step in range(5)])) == set(range(10, 16))


def test_held_out_images_are_center_crops_of_equally_many(four):
    shutil.rmtree(four / "testB")
    write_pictures(four / "testB", [30], height=32, width=48)
    write_pictures(four / "testB", [31], height=40, width=32)
    data = opened(four)
    one, two, paired = data.test(10)
    assert not paired and one.shape == two.shape == (2, 3, 32, 32) and len(data.test(1).images_1) == 1
    shown = ((two + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert (shown[0] == np.asarray(picture(30, 32, 48))[:, 8:40]).all()
    assert (shown[1] == np.asarray(picture(31, 40, 32))[4:36]).all()
    assert all(torch.equal(a, b) for a, b in zip(opened(four, seed=5).test(10)[:2], (one, two), strict=True))


def counted_reads(monkeypatch):
    reads, read = [], folders.read_pixels
    monkeypatch.setattr(folders, "read_pixels", lambda file, *rest: reads.append(file) or read(file, *rest))
    return reads


@pytest.mark.parametrize("images", [0, 3, 1000])
def test_the_cache_stays_within_its_budget_and_changes_no_batch(four, monkeypatch, images):
    truth = opened(four)
    budget = images * 36 * 36 * 3
    data = opened(four, cache_gib=budget / 2**30)
    reads = counted_reads(monkeypatch)
    for step in range(20):
        assert all(torch.equal(a, b) for a, b in zip(data.batch(step, 4), truth.batch(step, 4), strict=True))
    held = [image.nbytes for image in data._cache._images.values()]
    assert sum(held) <= budget and len(held) == min(images, 11)
    if images == 1000:
        reads.clear()
        for step in range(20, 40):
            data.batch(step, 4)
        assert not reads  # a small set is decoded once


@pytest.mark.parametrize("cache_gib", [-1.0, float("nan")])
def test_a_cache_of_no_size_is_refused(cache_gib):
    with pytest.raises(ValueError, match=f"cache_gib is {cache_gib}, but it must be 0 or more"):
        preset("folder64", cache_gib=cache_gib)


# ------------------------------------------------------------------------------------------------- every fault


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def copy(root, source, target):
    shutil.copy(root / source, root / target)


def listed(text):
    return lambda root: (root / "list_trainA.txt").write_bytes(text)


def emptied(name):
    return lambda root: [file.rename(root / file.name) for file in (root / name).iterdir()]


FAULTS = {  # what is wrong: (how it comes about, settings, message)
    "no such set": (lambda root: None, {"folder": "nowhere"},
                    r"no folder nowhere in the current folder or in the data root .*/root; .* download --help"),
    "nothing named": (lambda root: None, {"folder": ""}, "the configuration must name the images: set `folder`"),
    "too much named": (lambda root: None, {"folder_1": "set"}, "the configuration must name the images"),
    "one of two named": (lambda root: None, {"folder": "", "folder_2": "set/trainA"}, "must name the images"),
    "no trainB": (lambda root: shutil.rmtree(root / "trainB"), {},
                  r"there is no folder .*set/trainB; a dataset contains trainA and trainB"),
    "no testA": (lambda root: shutil.rmtree(root / "testA"), {},
                 r"there is no folder .*set/testA, but there is testB; provide both or neither"),
    "empty trainA": (emptied("trainA"), {}, "set/trainA contains no images; add some in any format"),
    "empty testB": (emptied("testB"), {}, "set/testB contains no images"),
    "empty folder of one's own": (lambda root: (root / "mine").mkdir(), {
        "folder": "", "folder_1": "set/mine", "folder_2": "set/trainB"}, "set/mine contains no images"),
    "one image": (lambda root: write_pictures(root / "mine", [77]), {
        "folder": "", "folder_1": "set/mine", "folder_2": "set/trainB"},
        "set/mine contains one image, but at least two are needed: one to train on, one to hold out"),
    "one folder twice": (lambda root: None, {"folder": "", "folder_1": "set/trainA", "folder_2": "set/../set/trainA"},
                         "folder_1 and folder_2 are both .*trainA, but the domains need different images"),
    "a list that names a missing file": (
        listed(b"001.png\n\nno such.png\n"), {},
        r"list_trainA.txt, line 3: there is no file .*trainA/no such.png; correct the list"),
    "a list that names a folder": (listed(b"001.png\n.\n"), {}, "line 2: there is no file"),
    "an empty list": (listed(b"\n  \n"), {}, "list_trainA.txt names no images; write one path per line, relative to"),
    "a list that is no text": (listed(b"\xff\xfe\x00\x81"), {}, "list_trainA.txt is not a list of files: it cannot be"),
    "an image as folder": (lambda root: None, {
        "folder": "", "folder_1": "set/trainA/000.png", "folder_2": "set/trainB"}, r"000.png is not a list of files"),
    "an empty file": (lambda root: (root / "trainA" / "003.png").write_bytes(b""), {},
                      "trainA/003.png cannot be read as an image .the file is empty.; repair or remove it"),
    "an empty test file": (lambda root: (root / "testB" / "030.png").write_bytes(b""), {}, "testB/030.png cannot"),
    "text for an image": (lambda root: (root / "trainB" / "x.jpg").write_text("hello"), {},
                          "trainB/x.jpg cannot be read as an image .PIL does not recognize its format"),
    "a truncated header": (lambda root: rewrite(root / "trainB" / "012.png", lambda content: content[:20]), {},
                         "trainB/012.png cannot be read as an image"),
    "a broken link": (lambda root: (root / "trainA" / "z.png").symlink_to("gone"), {},
                      "there is no file .*trainA/z.png"),
    "a strip": (lambda root: write_pictures(root / "trainA", [200], height=2, width=90), {},
                "trainA/200.png is 90 x 2 pixels, but its long side must be at most 16 times its short side; crop it"),
    "overlapping domains": (lambda root: copy(root, "trainA/002.png", "trainB/copy.png"), {},
                            "trainB/copy.png is the same image as .*trainA/002.png, but the two domains, and"),
    "the domains are one": (lambda root: shutil.copytree(root / "trainA", root / "trainB", dirs_exist_ok=True), {},
                            r"is the same image as .*\(and 4 more such files\)"),
    "a test image trained on": (lambda root: copy(root, "testA/021.png", "trainA/mine.png"), {},
                                "021.png is the same image as .*mine.png"),
    "a test image of the other domain": (lambda root: copy(root, "trainB/012.png", "testA/x.png"), {}, "same image"),
    "a pair that is none": (
        lambda root: write_pictures(root / "AB" / "train", range(2), width=72)
        and write_pictures(root / "AB" / "train", [5], width=73),
        {"folder": "set/AB"}, "AB/train/005.png is 73 x 36 pixels, but a picture of a pair .* must be twice as wide"),
    "a single pair": (lambda root: write_pictures(root / "AB" / "train", [1], width=72) and write_pictures(
        root / "AB" / "val", [2], width=72), {"folder": "set/AB"}, "contains one picture, but two domains without"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_dataset_is_reported_before_training(four, tmp_path, monkeypatch, fault):
    bring_about, settings, message = FAULTS[fault]
    monkeypatch.chdir(tmp_path)  # a name is looked for here first
    bring_about(four)
    config = preset("folder64", data_root=str(four.parent), **{"folder": "set"} | settings)
    with pytest.raises(DataError, match=message) as caught:
        open_data(config)
    assert len(str(caught.value).splitlines()) == 1


def cut(file):
    rewrite(file, lambda content: content[:-60])


def noisy(folder, count, first):
    """Pictures that do not compress, so that a cut leaves a good header."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        Image.fromarray(rng.integers(0, 256, (36, 36, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")


@pytest.fixture
def many(tmp_path):
    noisy(tmp_path / "many" / "trainA", 40, 0)
    noisy(tmp_path / "many" / "trainB", 40, 100)
    return tmp_path / "many"


def test_one_bad_file_of_many_is_named_at_the_start_or_when_it_is_reached(many):
    """An unreadable header at the start, a truncated body by the batch that needs it: never a batch without it."""
    truth = opened(many)
    bad = many / "trainB" / "117.png"
    is_needed = [117 in {int(names(truth.files.train[1])[pick]) for pick in picks(truth, step)} for step in range(30)]
    assert any(is_needed) and not all(is_needed)
    cut(bad)
    data = opened(many)
    for step, needed in enumerate(is_needed):
        if needed:
            with pytest.raises(DataError, match=r"trainB/117\.png cannot be read as an image \(.*truncated"):
                data.batch(step, 4)
        else:
            assert torch.equal(data.batch(step, 4)[1], truth.batch(step, 4)[1])
    bad.write_bytes(bad.read_bytes()[:20])
    with pytest.raises(DataError, match=r"trainB/117\.png cannot be read as an image"):
        opened(many)


def picks(data, step):
    from munit_lite.counter_rng import uniform

    return (uniform(torch.arange(4) + step * 4, f"{data.seed}/pick/2") * len(data.files.train[1].files)).long().tolist()


def test_a_truncated_held_out_file_is_named_when_it_is_read(many):
    cut(many / "trainA" / "010.png")
    data = opened(many)
    data.test(1)
    with pytest.raises(DataError, match=r"trainA/010\.png cannot be read"):
        data.test(2)


# -------------------------------------------------------------------------------------------------- in training


def folder_run(folder, **settings):
    return tiny(dataset="folder", folder=str(folder), steps=12, save_every=4, cache_gib=0.0, **settings)


class Vanish(Callback):
    def __init__(self, files, step):
        self.files, self.step = files, step

    def on_log(self, record):
        if record["step"] == self.step:
            for file in self.files:
                file.rename(file.with_suffix(".gone"))


@pytest.mark.slow
@pytest.mark.parametrize("vanishes", ["an image", "the folder"])
def test_a_file_that_vanishes_while_training_is_named_and_the_run_resumes_exactly_once_it_is_back(
    four, tmp_path, vanishes
):
    config = folder_run(four)
    undisturbed = ml.train(config, tmp_path / "undisturbed", callbacks=[])
    files = sorted((four / "trainB").iterdir()) if vanishes == "an image" else [four / "trainB"]
    with pytest.raises(DataError, match=r"there is no file .*trainB/01\d\.png; it was moved or deleted, so restore it"):
        ml.train(config, tmp_path / "run", callbacks=[Vanish(files, step=5)])
    for file in files:
        file.with_suffix(".gone").rename(file)
    resumed = ml.train(config, tmp_path / "run", callbacks=[])
    for a, b in itertools.zip_longest(resumed.model.state_dict().values(), undisturbed.model.state_dict().values()):
        assert torch.equal(a, b)
    assert [r["step"] for r in resumed.history] == list(range(1, 13))


@pytest.mark.parametrize(("steps", "next_step"), [([0], 1), ([1000], 1001), ([1000, 1001], 1002), ([6, 9], 12)])
def test_the_next_batch_is_decoded_ahead(four, steps, next_step):
    data = opened(four)
    for step in steps:  # a resumed run begins late; one of three processes takes every third batch
        data.batch(step, 4)
    assert list(data._prefetched) == [(next_step, 4)]


def test_what_is_already_in_memory_may_vanish(four):
    data = opened(four)
    for step in range(20):
        data.batch(step, 8)
    before = data.batch(21, 8)
    shutil.rmtree(four / "trainB")
    torch.testing.assert_close(data.batch(21, 8), before, rtol=0, atol=0)


def test_ones_own_two_folders_train_with_one_command(tmp_path, capsys, monkeypatch):
    from munit_lite.cli import main

    write_pictures(tmp_path / "apples", range(6))
    write_pictures(tmp_path / "citrus", range(10, 16))
    small = {"image-size": 32, "base-channels": 4, "mlp-width": 8, "num-residual-blocks": 1,
             "discriminator-base-channels": 4, "discriminator-scales": 1, "num-style-downsamples": 3,
             "steps": 2, "batch-size": 2}  # fmt: skip
    options = [word for name, value in small.items() for word in (f"--{name}", str(value))]
    places = {"--folder-1": "apples", "--folder-2": "citrus", "--out": "run"}
    options += [word for name, place in places.items() for word in (name, str(tmp_path / place))]
    monkeypatch.setattr("sys.argv", ["munit-lite", "train", "folder64", *options])
    main()
    assert "trained 2 steps" in capsys.readouterr().out
    assert ml.load(tmp_path / "run").config.data.folder_2 == str(tmp_path / "citrus")


@pytest.mark.filterwarnings("error:there are:UserWarning")
@pytest.mark.parametrize(
    ("count_1", "count_2", "warns"),
    [
        (5, 5, True),
        (5, 300, True),
        (300, 17, True),
        (17, 17, True),
        (99, 99, True),
        (100, 101, True),
        (101, 101, False),
    ],
)
def test_training_on_few_images_says_how_many_there_are_and_what_to_expect(count_1, count_2, warns, tmp_path):
    folder = tmp_path / "data"
    for name, count, first in (("trainA", count_1, 0), ("trainB", count_2, 300), ("testA", 1, 700), ("testB", 1, 800)):
        noisy(folder / name, count, first)
    config = tiny(dataset="folder", folder=str(folder), steps=1, num_checkpoints=0)
    if not warns:
        ml.train(config, tmp_path / "run", callbacks=[])
        return
    with pytest.warns(UserWarning, match="there are") as caught:
        ml.train(config, tmp_path / "run", callbacks=[])
    (message,) = [str(warning.message) for warning in caught if "training images" in str(warning.message)]
    assert message == (
        f"there are {count_1} training images of domain 1 (such as {folder}/trainA/000.png) and {count_2} of domain 2 "
        f"(such as {folder}/trainB/300.png): with 100 or fewer, a discriminator memorizes its real images. In our "
        "measurements, translations did not keep the shape of the input with 5 or 17 images, and often lost it with "
        "100 (data/results/own_images.md); add images before you change anything else"
    )
