"""Image data: pure batches, no leak between the domains, errors that name what is wrong. No network."""

import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import FashionMNIST

from munit_lite.config import preset
from munit_lite.datasets import (
    DataError,
    FashionData,
    FolderData,
    WorldData,
    data_root,
    edge_drawing,
    open_data,
    read_image,
    to_unit,
)
from munit_lite.world import World

# ------------------------------------------------------------------------------------------------- the known world


def test_a_world_batch_depends_on_seed_and_step_alone():
    data = WorldData(World(), 32, seed=0)
    data.batch(0, 8)
    later = data.batch(3, 8)
    for fresh, again in zip(WorldData(World(), 32, seed=0).batch(3, 8), later, strict=True):
        assert torch.equal(fresh, again)
    for other in (data.batch(4, 8), WorldData(World(), 32, seed=1).batch(3, 8)):
        assert not any(torch.equal(a, b) for a, b in zip(later, other, strict=True))


def test_steps_of_the_world_repeat_no_image_and_no_held_out_one():
    data = WorldData(World(), 32, seed=0)
    for domain in (0, 1):
        seen = torch.cat([data.batch(step, 8)[domain] for step in range(4)] + [data.test(16)[domain]])
        assert len({image.numpy().tobytes() for image in seen}) == 48


def test_world_batches_are_unpaired_and_held_out_images_are_true_pairs():
    world = World()
    data = WorldData(world, 32, seed=0)
    assert data.test(20).paired
    pairs = world.pairs(torch.arange(20), 0, 32)
    assert torch.equal(data.test(20).images_1, pairs.image_1) and torch.equal(data.test(20).images_2, pairs.image_2)
    shapes = [world.content(torch.arange(400), 0, domain).shape_class for domain in (1, 2)]
    agree = (shapes[0] == shapes[1]).float().mean()  # by chance: the sum of the squared frequencies
    assert agree == pytest.approx(sum(f**2 for f in world.variant.frequencies_1), abs=0.08)


# -------------------------------------------------------------------------------------------------- Fashion-MNIST


def packed(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def products(count, seed):
    """Bright boxes on black, each of another place or size: (count, 28, 28)."""
    images, rng = np.zeros((count, 28, 28), np.uint8), np.random.default_rng(seed)
    for image in images:
        top, left, height, width = rng.integers([3, 3, 8, 8], [9, 9, 15, 15])
        image[top : top + height, left : left + width] = rng.integers(120, 250)
    return images


TRAIN, TEST = products(60, seed=0), products(30, seed=1)


@pytest.fixture
def fashion_root(tmp_path, monkeypatch):
    """A data root with small files whose checksums torchvision is told; nothing can be downloaded."""
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    checksums = []
    for split, images in (("train", TRAIN), ("t10k", TEST)):
        for what, array in (("images-idx3", images), ("labels-idx1", np.arange(len(images)) % 10)):
            file = raw / f"{split}-{what}-ubyte.gz"
            file.write_bytes(packed(array))
            checksums.append((file.name, hashlib.md5(file.read_bytes()).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", checksums)
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "root"


def photos_of(raw, labels):
    """What the photos should be at 32 px: chosen, dark on white, a margin of 2."""
    chosen = np.isin(np.arange(len(raw)) % 10, labels)
    return np.pad(255 - raw[chosen], ((0, 0), (2, 2), (2, 2)), constant_values=255)


def files_below(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_even_items_become_drawings_and_odd_ones_photos(fashion_root):
    data = FashionData(fashion_root, 32, (8, 9), seed=0)
    truth = photos_of(TRAIN, [8, 9])
    assert torch.equal(data.train_2, torch.from_numpy(truth[1::2])[:, None].repeat(1, 3, 1, 1))
    assert len(data.train_1) == len(truth[0::2]) == 6
    assert set(data.train_1.unique().tolist()) == {0, 255}
    drawn, boxes = (np.stack([bounding_box(image) for image in images]) for images in (data.train_1[:, 0], truth))
    apart = np.abs(drawn[:, None] - boxes).max(axis=2)  # of each drawing from each photo
    assert (apart.argmin(axis=1) == np.arange(0, len(truth), 2)).all() and apart.min(axis=1).max() <= 1


def bounding_box(image):
    """First and last dark row and column."""
    rows, columns = np.nonzero(np.asarray(image) < 250)
    return np.array([rows.min(), columns.min(), rows.max(), columns.max()])


@pytest.mark.parametrize("classes", [(8, 9), (3,), tuple(range(10))])
def test_only_the_chosen_classes_are_used_and_held_out_items_are_true_pairs(fashion_root, classes):
    data = FashionData(fashion_root, 32, classes, seed=0)
    assert data.test_labels.tolist() == [k % 10 for k in range(30) if k % 10 in classes]
    held_out = data.test(100)
    truth = torch.from_numpy(photos_of(TEST, classes))[:, None].repeat(1, 3, 1, 1)
    assert held_out.paired and torch.equal(held_out.images_2, truth / 127.5 - 1)
    assert torch.equal(held_out.images_1, to_unit(edge_drawing(truth)))
    assert len(data.test(2).images_1) == len(data.test(2).images_2) == 2


@pytest.mark.parametrize("size", [32, 64])
def test_photos_are_dark_on_a_white_margin(fashion_root, size):
    data = FashionData(fashion_root, size, (8, 9), seed=0)
    photos = data.test(6).images_2
    assert photos.shape == (6, 3, size, size) and photos.min() >= -1 and photos.max() == 1
    assert (photos[:, :, : size // 16] == 1).all() and (photos[:, :, :, -size // 16 :] == 1).all()
    small = torch.from_numpy(photos_of(TEST, [8, 9])) / 127.5 - 1
    averaged = torch.nn.functional.avg_pool2d(photos, size // 32)[:, 0]
    assert (averaged - small).abs().mean() < 0.02


def test_fashion_batches_depend_on_seed_and_step_and_cover_the_items(fashion_root):
    data = FashionData(fashion_root, 32, (8, 9), seed=0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(data.batch(5, 4), FashionData(fashion_root, 32, (8, 9), 0).batch(5, 4), strict=True)
    )
    assert not torch.equal(data.batch(5, 4)[1], data.batch(6, 4)[1])
    picks = []
    for stored, domain in ((data.train_1, 0), (data.train_2, 1)):
        numbers = {image.numpy().tobytes(): number for number, image in enumerate(to_unit(stored))}
        picks.append([numbers[image.numpy().tobytes()] for step in range(20) for image in data.batch(step, 8)[domain]])
        assert set(picks[-1]) == set(range(len(stored)))
    assert np.equal(*picks).mean() < 0.35  # independent picks of 6 agree in 1/6


def test_the_data_root_is_left_untouched(fashion_root):
    before = files_below(fashion_root)
    FashionData(fashion_root, 32, (8, 9), seed=0)
    assert files_below(fashion_root) == before


def test_unpacked_files_are_read_too(fashion_root):
    truth = FashionData(fashion_root, 32, (8, 9), seed=0).train_2
    for file in (fashion_root / "FashionMNIST" / "raw").glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert torch.equal(FashionData(fashion_root, 32, (8, 9), seed=0).train_2, truth)


@pytest.mark.parametrize("damage", ["corrupt", "missing", "nothing there"])
def test_unusable_files_without_a_network_name_the_data_root(fashion_root, damage, capfd):
    files = sorted((fashion_root / "FashionMNIST" / "raw").glob("*.gz"))
    if damage == "corrupt":
        files[2].write_bytes(files[2].read_bytes()[:-9])
    for file in {"corrupt": [], "missing": files[:1], "nothing there": files}[damage]:
        file.unlink()
    with pytest.raises(DataError, match=r"(?s)is not usable under .*MUNIT_LITE_DATA") as caught:
        FashionData(fashion_root, 32, (8, 9), seed=0)
    assert str(fashion_root) in str(caught.value)


def test_a_repair_by_download_does_not_write_into_the_data_root(fashion_root, tmp_path, monkeypatch, capfd):
    raw = fashion_root / "FashionMNIST" / "raw"
    shelf = tmp_path / "shelf"
    raw.rename(shelf)
    raw.mkdir()
    for file in shelf.iterdir():
        (raw / file.name).write_bytes(file.read_bytes())
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"corrupt")
    before = files_below(fashion_root)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(shelf))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        FashionData(fashion_root, 32, (8, 9), seed=0)
        server.shutdown()
    assert files_below(fashion_root) == before


@pytest.mark.parametrize(("size", "classes", "message"), [
    (32, (), "fashion_classes is ()"),
    (32, (9, 10), "fashion_classes is (9, 10), but labels are 0 to 9"),
    (32, (-1,), "labels are 0 to 9"),
    (48, (9,), "size 48 is not a multiple of 32"),
])  # fmt: skip
def test_wrong_classes_and_sizes_are_refused(fashion_root, size, classes, message):
    with pytest.raises(DataError) as caught:
        FashionData(fashion_root, size, classes, seed=0)
    assert message in str(caught.value)


def test_real_fashion_mnist_gives_boots_drawn_and_photographed():
    root = Path(os.environ.get("MUNIT_LITE_DATA") or "nowhere")
    if not (root / "FashionMNIST" / "raw").is_dir():
        pytest.skip("MUNIT_LITE_DATA names no folder with FashionMNIST/raw")
    data = FashionData(root, 32, (9,), seed=0)
    assert len(data.train_1) == len(data.train_2) == 3000 and len(data.test_labels) == 1000
    drawings, photos, _ = data.test(1000)
    assert (photos[:, :, 0] == 1).all() and (photos.mean(dim=(1, 2, 3)) < 0.9).all()
    assert 0.02 < (drawings[:, 0] < 0).float().mean() < 0.3
    border = (drawings[:, 0, 2:-2, 2:-2] < 0) & (photos[:, 0, 2:-2, 2:-2] == 1)
    assert border.float().mean() < 0.05  # edges lie on the product


def test_edges_of_a_square_are_its_outline_and_nothing_else():
    photo = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    photo[:, :, 10:22, 8:24] = 40
    drawing = edge_drawing(photo)
    assert drawing.shape == photo.shape and drawing.dtype == torch.uint8
    assert torch.equal(drawing[0, 0], drawing[0, 1]) and torch.equal(drawing[0, 0], drawing[0, 2])
    edges = drawing[0, 0] == 0
    near, inner = torch.zeros(2, 32, 32, dtype=torch.bool)
    near[9:23, 7:25] = True
    inner[11:21, 9:23] = True
    assert not edges[~near | inner].any()  # within one pixel of the outline
    assert edges[8:24, 16].sum() == 2 and edges[16, 6:26].sum() == 2  # closed on all four sides
    assert not (edge_drawing(torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)) == 0).any()


# -------------------------------------------------------------------------------------------------------- folders


def coordinates(height, width, blue=0):
    """Every pixel says where it is: red = column, green = row."""
    row, column = np.mgrid[:height, :width]
    return np.stack([column, row, np.full_like(row, blue)], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Images whose shorter side needs no resizing at size 32: 36 for training, 32 for tests."""
    for name, sizes in {"trainA": [(36, 50), (60, 36)], "trainB": [(36, 36)], "testA": [(32, 48)] * 3}.items():
        (tmp_path / name).mkdir()
        for k, (height, width) in enumerate(sizes):
            Image.fromarray(coordinates(height, width, blue=k)).save(tmp_path / name / f"{k}.png")
    (tmp_path / "testB").mkdir()
    Image.fromarray(coordinates(40, 32)).save(tmp_path / "testB" / "x.png")
    return tmp_path


def test_crops_lie_inside_their_images_everywhere_and_half_are_mirrored(folder):
    data = FolderData(folder, 32, seed=0)
    crops = torch.cat([data.batch(step, 50)[0] for step in range(8)])
    assert crops.shape == (400, 3, 32, 32)
    red, green, blue = ((crops + 1) * 127.5).round().long().unbind(1)
    flipped = red[:, 0, 0] > red[:, 0, 1]
    upright = torch.where(flipped[:, None, None], red.flip(2), red)
    left, top, item = upright[:, 0, 0], green[:, 0, 0], blue[:, 0, 0]
    assert (upright == left[:, None, None] + torch.arange(32)).all()  # one window, no wrapping
    assert (green == top[:, None, None] + torch.arange(32)[:, None]).all()
    for number, (height, width) in enumerate([(36, 50), (60, 36)]):
        assert set(top[item == number].tolist()) == set(range(height - 31))
        assert set(left[item == number].tolist()) == set(range(width - 31))
    assert 160 < flipped.sum() < 240 and 160 < item.sum() < 240


def test_folder_batches_depend_on_seed_and_step_alone(folder):
    first, second = FolderData(folder, 32, seed=0), FolderData(folder, 32, seed=0)
    first.batch(0, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.batch(7, 4), second.batch(7, 4), strict=True))
    assert not torch.equal(first.batch(7, 4)[0], first.batch(8, 4)[0])
    assert not torch.equal(first.batch(7, 4)[0], FolderData(folder, 32, seed=1).batch(7, 4)[0])


def test_held_out_images_are_centre_crops_of_equally_many_unpaired_images(folder):
    one, two, paired = FolderData(folder, 32, seed=0).test(10)
    assert not paired and one.shape == two.shape == (1, 3, 32, 32)
    pixels = ((one[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert (pixels == coordinates(32, 48)[:, 8:40]).all()
    pixels = ((two[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert (pixels == coordinates(40, 32)[4:36]).all()


COLOURS = np.zeros((32, 48, 3), np.uint8)
COLOURS[:16], COLOURS[:, 24:, 1] = (200, 0, 100), 80  # four flat quarters


def saved(path, kind):
    image, options = Image.fromarray(COLOURS), {}
    if mode := {"grey": "L", "palette": "P", "alpha": "RGBA"}.get(kind):
        image = image.convert(mode, palette=Image.Palette.ADAPTIVE)
    if kind == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6  # upright after a quarter turn clockwise
    file = path / f"{kind}.{'jpg' if kind == 'jpeg' else 'png'}"
    image.save(file, **options)
    return file


@pytest.mark.parametrize("kind", ["png", "jpeg", "grey", "palette", "alpha", "turned"])
def test_every_usual_kind_of_image_is_read_upright_in_rgb(tmp_path, kind):
    truth = COLOURS
    if kind == "grey":
        truth = np.repeat((COLOURS @ [0.299, 0.587, 0.114]).round()[:, :, None], 3, axis=2)
    if kind == "turned":
        truth = np.rot90(COLOURS, k=-1)
    found = read_image(saved(tmp_path, kind), 32).permute(1, 2, 0).numpy()
    assert found.dtype == np.uint8 and found.shape == truth.shape
    assert np.abs(found - truth.astype(float)).mean() < (6 if kind == "jpeg" else 1)


@pytest.mark.parametrize(("height", "width", "shape"), [(20, 40, (3, 36, 72)), (80, 40, (3, 72, 36))])
def test_the_shorter_side_is_resized_and_the_shape_kept(tmp_path, height, width, shape):
    Image.fromarray(coordinates(height, width)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 36).shape == shape


def test_sixteen_bit_greys_keep_their_tones(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.abs(read_image(tmp_path / "deep.png", 32)[0].numpy() - ramp / 257).mean() < 1


def test_missing_and_empty_folders_are_named(folder, tmp_path):
    (folder / "testB" / "x.png").rename(folder / "testB" / "notes.txt")
    with pytest.raises(DataError, match="testB holds no images"):
        FolderData(folder, 32, seed=0)
    with pytest.raises(DataError, match=r"there is no folder .*nowhere/trainA; a data set has trainA, trainB"):
        open_data(preset("folder64", data_root=str(tmp_path), folder="nowhere"))


@pytest.mark.parametrize("damage", ["not an image", "cut off", "empty", "exif"])
def test_an_unreadable_image_is_named(tmp_path, damage):
    whole = saved(tmp_path, "png").read_bytes()
    file = tmp_path / "bad one.png"
    file.write_bytes({"not an image": b"hello", "cut off": whole[: len(whole) // 2]}.get(damage, b""))
    if damage == "exif":
        Image.fromarray(COLOURS).save(file, exif=b"Exif\x00\x00no tiff header")
    with pytest.raises(DataError, match=r"bad one\.png cannot be read as an image"):
        read_image(file, 32)


def test_the_data_root_is_the_configured_one_then_the_variable_then_downloads(monkeypatch):
    monkeypatch.setenv("MUNIT_LITE_DATA", "from-variable")
    assert data_root(preset("folder64", data_root="configured")) == Path("configured")
    assert data_root(preset("folder64")) == Path("from-variable")
    for unset in (lambda: monkeypatch.setenv("MUNIT_LITE_DATA", ""), lambda: monkeypatch.delenv("MUNIT_LITE_DATA")):
        unset()
        assert data_root(preset("folder64")) == Path("data") / "downloads"


def test_each_data_set_is_opened_by_its_configuration(fashion_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIT_LITE_DATA", str(fashion_root))
    assert isinstance(open_data(preset("fashion32")), FashionData)
    world = open_data(preset("world32", variant="cyclic", seed=3, size=64))
    assert isinstance(world, WorldData) and (world.world.name, world.seed, world.size) == ("cyclic", 3, 64)
