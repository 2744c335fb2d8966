"""Translations of files: what is written is what the model computes, and nothing is written that should not be."""

import itertools
import re
import shutil

import numpy as np
import pytest
import torch
from closeness import assert_same_images
from PIL import Image
from tiny import tiny

import munit_lite as ml
from munit_lite.config import check_size
from munit_lite.data import image_files
from munit_lite.data.image_files import float_to_uint8, write_png
from munit_lite.inference import MAX_PIXELS, SHEET_CELL, SHEET_INPUTS, SHEET_STYLES, translate_files
from munit_lite.world import DOMAIN_NAMES, World

pytestmark = pytest.mark.numerical


@pytest.fixture(scope="module")
def model():
    return ml.build(tiny()).eval()


def picture(file, width=32, height=32, seed=0):
    file.parent.mkdir(exist_ok=True, parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    return file


@pytest.fixture
def sketches(tmp_path):
    for k in range(3):
        picture(tmp_path / "sketches" / f"sketch{k}.png", seed=k)
    return tmp_path / "sketches"


def pixels(file) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def expected(model, file, source, **style) -> np.ndarray:
    """The translation by the model's own method, from pixels read by NumPy alone."""
    x = torch.from_numpy(pixels(file) / 127.5 - 1).permute(2, 0, 1)[None].float()
    output = model.translate(x, source, 3 - source, **style)[0].permute(1, 2, 0)
    return np.round((output.double().numpy() + 1) * 127.5)


@pytest.mark.parametrize("source", [1, 2])
def test_a_file_holds_what_the_model_computes_from_its_image_in_its_style(model, sketches, tmp_path, source):
    translate_files(model, sketches, tmp_path / "out", source=source, styles=2, seed=7, batch_size=4)
    styles = torch.randn(2, 3, generator=torch.Generator().manual_seed(7))
    for image, k in itertools.product(range(3), range(2)):
        output = pixels(tmp_path / "out" / f"sketch{image}_style{k + 1}.png")
        truth = expected(model, sketches / f"sketch{image}.png", source, style=styles[k : k + 1])
        assert_same_images(output, truth)
    others = expected(model, sketches / "sketch0.png", 3 - source, style=styles[:1])
    assert np.abs(pixels(tmp_path / "out" / "sketch0_style1.png") - others).max() > 8


def test_every_image_of_a_folder_of_examples_is_a_style(model, sketches, tmp_path):
    for k in range(2):
        picture(tmp_path / "examples" / f"painting{k}.jpg", seed=10 + k)
    done = translate_files(model, sketches, tmp_path / "out", style_from=tmp_path / "examples")
    assert len(done["images"]) == 6
    for image, example in itertools.product(range(3), range(2)):
        guide = tmp_path / "examples" / f"painting{example}.jpg"
        style = torch.from_numpy(pixels(guide) / 127.5 - 1).permute(2, 0, 1)[None].float()
        output = pixels(tmp_path / "out" / f"sketch{image}_like_painting{example}.png")
        truth = expected(model, sketches / f"sketch{image}.png", 1, style_from=style)
        assert_same_images(output, truth)


def test_all_images_share_their_styles_unless_fresh_ones_are_requested(model, tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "in" / f"{name}.png", seed=0)  # twins
    translate_files(model, tmp_path / "in", tmp_path / "same", styles=2)
    translate_files(model, tmp_path / "in", tmp_path / "fresh", styles=2, fresh_styles=True)
    for k in (1, 2):
        same, fresh = ([pixels(tmp_path / f / f"{n}_style{k}.png") for n in "ab"] for f in ("same", "fresh"))
        assert_same_images(*same)  # at different places of one batch
        assert np.abs(fresh[0] - fresh[1]).max() > 8


def test_a_seed_makes_the_same_files_in_batches_of_any_size(model, sketches, tmp_path):
    for name, seed, batch in (("one", 3, 1), ("all", 3, 64), ("other", 4, 64)):
        translate_files(model, sketches, tmp_path / name, styles=3, seed=seed, batch_size=batch)
    for file in sorted((tmp_path / "one").iterdir()):
        assert_same_images(pixels(file), pixels(tmp_path / "all" / file.name))
    file = "sketch0_style1.png"
    assert np.abs(pixels(tmp_path / "all" / file) - pixels(tmp_path / "other" / file)).max() > 8


def test_the_center_square_is_what_is_translated_on_request(model, tmp_path):
    wide = picture(tmp_path / "wide.png", width=48)
    Image.open(wide).crop((8, 0, 40, 32)).save(tmp_path / "middle.png")
    for name in ("wide", "middle"):
        translate_files(model, tmp_path / f"{name}.png", tmp_path / name, styles=1, crop="square")
    output = [pixels(tmp_path / name / f"{name}_style1.png") for name in ("wide", "middle")]
    assert (output[0] == output[1]).all()


@pytest.mark.parametrize(
    ("width", "height", "options", "expected_size"),
    [
        (100, 80, {}, (40, 32)),  # the trained side is 32
        (80, 100, {}, (32, 40)),
        (512, 32, {}, (512, 32)),  # 16:1
        (10, 10, {}, (32, 32)),
        (100, 80, {"size": 64}, (80, 64)),
        (100, 80, {"size": 33}, (41, 33)),  # odd sides are padded and cut back
        (100, 80, {"size": 64, "crop": "square"}, (64, 64)),
        (101, 83, {"size": "native"}, (101, 83)),
        (101, 83, {"size": "native", "crop": "square"}, (83, 83)),
        (10, 12, {"size": "native"}, (10, 12)),
        (3, 5, {"size": "native"}, (3, 5)),  # smaller than what must be mirrored
        (1, 1, {"size": "native"}, (1, 1)),
    ],
)
def test_an_output_has_the_frame_of_its_input(model, tmp_path, width, height, options, expected_size):
    picture(tmp_path / "a.png", width=width, height=height)
    translate_files(model, tmp_path / "a.png", tmp_path / "out", styles=1, **options)
    assert Image.open(tmp_path / "out" / "a_style1.png").size == expected_size


@pytest.mark.parametrize(("width", "height"), [(45, 39), (3, 33)])
def test_odd_sides_are_mirrored_before_and_cut_after_the_translation(model, tmp_path, width, height):
    file = picture(tmp_path / "a.png", width=width, height=height)
    translate_files(model, file, tmp_path / "out", styles=1, size="native", seed=3)
    style = torch.randn(1, 3, generator=torch.Generator().manual_seed(3))
    mirrored = np.pad(pixels(file), ((0, 1), (0, 1), (0, 0)), mode="reflect")
    x = torch.from_numpy(mirrored / 127.5 - 1).permute(2, 0, 1)[None].float()
    truth = np.round((model.translate(x, style=style)[0].permute(1, 2, 0).double().numpy() + 1) * 127.5)
    assert_same_images(pixels(tmp_path / "out" / "a_style1.png"), truth[:height, :width])


def test_images_of_all_shapes_share_a_folder_and_a_sheet(model, tmp_path):
    shapes = {"a": (64, 32), "b": (32, 32), "c": (32, 80), "d": (64, 32)}
    for seed, (name, (width, height)) in enumerate(shapes.items()):
        picture(tmp_path / "in" / f"{name}.png", width, height, seed)
        translate_files(model, tmp_path / "in" / f"{name}.png", tmp_path / name, styles=2)
    translate_files(model, tmp_path / "in", tmp_path / "out", styles=2)
    sheet = pixels(tmp_path / "out" / "sheet.png")
    assert sheet.shape == (2 + 4 * 82, 2 + 3 * 66, 3)
    for row, (name, (width, height)) in enumerate(shapes.items()):
        for column in range(3):
            file = f"{name}_style{column}.png"
            if column:
                assert_same_images(pixels(tmp_path / "out" / file), pixels(tmp_path / name / file))
            shown = pixels(tmp_path / "out" / file if column else tmp_path / "in" / f"{name}.png")
            top, left = 2 + row * 82 + (80 - height) // 2, 2 + column * 66 + (64 - width) // 2
            assert (sheet[top : top + height, left : left + width] == shown).all()
            cell_of_image = sheet[2 + row * 82 : 82 + row * 82, 2 + column * 66 : 66 + column * 66]
            assert (cell_of_image == 255).all(axis=2).sum() >= 80 * 64 - width * height  # nothing but white around it


def test_a_size_that_the_model_cannot_take_is_refused(model, sketches, tmp_path):
    with pytest.raises(ValueError, match="size is 2, but the smallest side that this model accepts is 4"):
        translate_files(model, sketches, tmp_path / "out", size=2)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_too_large_for_memory_is_refused_with_a_size_that_is_not(model, tmp_path):
    file = tmp_path / "large.png"
    Image.new("RGB", (3000, 2000)).save(file)
    message = "3000 x 2000 pixels, but at most 2,097,152 fit into memory; use --size "
    with pytest.raises(ml.DataError, match=message) as error:
        translate_files(model, file, tmp_path / "out", size="native")
    side = int(str(error.value).split("--size ")[1].split()[0])
    assert 0.99 * MAX_PIXELS < side * round(side * 1.5) <= MAX_PIXELS
    assert not (tmp_path / "out").exists()
    translate_files(model, file, tmp_path / "out", styles=1)  # at the trained size it is small
    assert Image.open(tmp_path / "out" / "large_style1.png").size == (48, 32)


def test_the_limit_applies_to_what_is_translated(tmp_path):
    """Not to what the crop removes, to the image at the trained size, or to examples."""
    model = ml.build(tiny(image_size=384)).eval()
    panorama = picture(tmp_path / "panorama.png", 1600, 100)  # 384 x 6144 at the trained size
    for name, options in {
        "cropped": {"crop": "square"},
        "smaller": {"size": 16, "style_from": panorama},
        "longer": {"crop": "square", "size": 64},
    }.items():
        file = picture(tmp_path / "longer.png", 1700, 100) if name == "longer" else panorama
        translate_files(model, file, tmp_path / name, styles=1, **options)
    with pytest.raises(ml.DataError, match="would be translated at 6144 x 384 pixels"):
        translate_files(model, panorama, tmp_path / "whole", styles=1)
    with pytest.raises(ml.DataError, match="1700 x 100 pixels, but its long side must be at most 16 times"):
        translate_files(model, tmp_path / "longer.png", tmp_path / "whole", styles=1, size=16)


def test_an_image_is_decoded_once(model, sketches, tmp_path, monkeypatch):
    examples = picture(tmp_path / "examples" / "a.png", seed=9).parent
    opened, convert = [], image_files._convert_to_rgb
    monkeypatch.setattr(image_files, "_convert_to_rgb", lambda *of: opened.append(of[0].name) or convert(*of))
    translate_files(model, sketches, tmp_path / "out", style_from=examples)
    assert sorted(opened) == ["a.png", "sketch0.png", "sketch1.png", "sketch2.png"]


# ------------------------------------------------------------------------------------------------------ warnings


@pytest.mark.parametrize(
    ("width", "size", "message"),
    [
        (32, None, None),
        (32, 40, None),  # by a factor of 1.25
        (32, 25, None),  # by a factor of 1.28
        (32, 43, "trained at 32 px, but the shorter side of the image is 43 px: .*use --size 32, or leave it out"),
        (32, 20, "the shorter side of the image is 20 px"),
        (100, "native", "the shorter side of the image is 100 px"),
        (40, "native", None),
    ],
)
def test_another_size_than_the_trained_one_gets_a_warning(model, tmp_path, width, size, message):
    picture(tmp_path / "a.png", width, width)
    done = translate_files(model, tmp_path / "a.png", tmp_path / "out", styles=1, size=size)
    assert done["settings"]["size"] == (32 if size is None else size) and done["settings"]["trained_size"] == 32
    assert len(done["warnings"]) == (message is not None)
    if message:
        assert re.search(message, done["warnings"][0])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("munit", {}, None),
        ("unit", {}, "the method unit has no style: each image has one translation"),
        ("unit", {"styles": 1}, None),
        ("unit", {"examples": 1}, "the method unit has no style: each image has one translation"),
        ("cyclegan", {}, "the method cyclegan has no style"),
        ("cyclegan_noise", {}, None),
        ("cyclegan_noise", {"examples": 1}, "cyclegan_noise has no style encoder: --style-from changes nothing"),
        ("cyclegan_input_noise", {}, None),  # its style is added to the image
        ("cyclegan_input_noise", {"examples": 2}, "cyclegan_input_noise has no style encoder"),
        (
            "munit, style ignored",
            {},
            "almost the same image in every style .it ignores styles.: the standard deviation of the 3 translations",
        ),
        (
            "munit, style ignored",
            {"examples": 2},
            "the examples have almost the same style, or the model ig",
        ),
    ],
)
def test_styles_that_change_nothing_are_reported(sketches, tmp_path, method, options, message):
    model = ml.build(tiny(method=method.split(",")[0])).eval()
    if "ignored" in method:  # the layer that turns styles into scales and shifts
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".decoder.mlp." in name and name.endswith("weight"):
                    parameter.zero_()
    options = {"styles": 3} | options
    for k in range(options.get("examples", 0)):
        options["style_from"] = picture(tmp_path / "examples" / f"{k}.png", seed=10 + k).parent
    options.pop("examples", None)
    done = translate_files(model, sketches, tmp_path / "out", **options)
    assert [re.match(".*" + message, w) is not None for w in done["warnings"]] == ([True] if message else [])
    outputs = [pixels(tmp_path / "out" / file.name) for file in sorted((tmp_path / "out").glob("sketch0_*"))]
    if len(outputs) > 1:  # what the message says is what the files hold
        assert (np.var(outputs, axis=0, ddof=1).mean() ** 0.5 < 1) == bool(message)


@pytest.fixture(scope="module")
def painter():
    return ml.load("world32")


def rendered(folder, count, domain, seed=70):
    folder.mkdir()
    images = World().images(torch.arange(count), seed, domain, 64, stream="test")
    for k, image in enumerate(images):
        write_png(folder / f"{DOMAIN_NAMES[domain]}{k}.png", float_to_uint8(image))
    return folder


@pytest.mark.parametrize(
    ("inputs", "source", "examples", "messages"),
    [
        (1, 1, None, []),
        (2, 2, None, []),
        (1, 1, 2, []),
        (2, 1, None, ["all 6 images differ from the images of domain 1 .*painting0.*looks like domain 2.* and 3 more",
                      "most images look more like domain 2 than like domain 1: .* use --source 2"]),
        (1, 1, 1, ["all 6 examples differ from the images of domain 2 .*so the styles may be .*looks like domain 1",
                   "most examples look more like domain 1 .*--style-from needs images of domain 2, the target",
                   "the examples have almost the same style, or the model ignores it"]),
    ],
)  # fmt: skip
def test_images_of_the_wrong_domain_get_a_warning(painter, tmp_path, inputs, source, examples, messages):
    folder = rendered(tmp_path / "inputs", 6, inputs)
    style_from = rendered(tmp_path / "examples", 6, examples, seed=71) if examples else None
    done = translate_files(painter, folder, tmp_path / "out", source=source, styles=2, style_from=style_from)
    assert len(done["warnings"]) == len(messages), done["warnings"]
    for warning, message in zip(done["warnings"], messages, strict=True):
        assert re.search(message, warning)


@pytest.mark.parametrize("examples", [False, True])
def test_a_single_image_of_the_wrong_domain_gets_one_warning(painter, tmp_path, examples):
    folder = rendered(tmp_path / "inputs", 1, 1 if examples else 2)
    options = {"style_from": folder} if examples else {}
    inputs = rendered(tmp_path / "sketches", 1, 1) if examples else folder
    noun, domains = ("example", (1, 2)) if examples else ("image", (2, 1))
    (warning,) = translate_files(painter, inputs, tmp_path / "out", styles=2, **options)["warnings"]
    assert warning.startswith(f"the {noun} looks more like domain {domains[0]} than like domain {domains[1]}: ")


def test_a_folder_of_which_only_most_images_look_like_the_other_domain_gets_one_warning(painter, tmp_path, monkeypatch):
    statistics = painter.image_statistics
    no_limits = {"max_distance": 1e9, "max_ratio": 1e9}
    domains = [domain | no_limits for domain in statistics["domains"]]
    monkeypatch.setattr(painter, "image_statistics", statistics | {"domains": domains})
    folder = rendered(tmp_path / "inputs", 4, 2)
    shutil.copy(rendered(tmp_path / "sketches", 1, 1) / "sketch0.png", folder)
    (warning,) = translate_files(painter, folder, tmp_path / "out", styles=2)["warnings"]
    assert warning.startswith("most images look more like domain 2 than like domain 1: ")


@pytest.mark.parametrize("num_styles", [2, 4, 40])
def test_a_small_spread_is_measured_alike_with_few_and_with_many_styles(
    model, sketches, tmp_path, monkeypatch, num_styles
):
    spreads = []
    monkeypatch.setattr("munit_lite.inference.warn_of_equal_outputs", lambda *of: spreads.extend(of[3]) or [])
    translate_files(model, sketches, tmp_path / "out", styles=num_styles)
    for k in range(3):
        outputs = [pixels(file) for file in (tmp_path / "out").glob(f"sketch{k}_*")]
        assert spreads[k] == pytest.approx(np.var(outputs, axis=0, ddof=1).mean() ** 0.5)


def test_the_warning_names_the_file_and_what_is_unusual(painter, tmp_path):
    folder = rendered(tmp_path / "inputs", 3, 1)
    file = folder / "sketch1.png"
    Image.fromarray((255 - pixels(file)).astype(np.uint8)).save(file)  # white on black
    (warning,) = translate_files(painter, folder, tmp_path / "out", styles=2)["warnings"]
    assert re.match(r"1 of 3 images differs .*/sketch1\.png \(.* -?\d\.\d\d, in training ", warning)
    assert "sketch0" not in warning


def test_a_model_without_statistics_gives_no_warning(painter, tmp_path, monkeypatch):
    monkeypatch.setattr(painter, "image_statistics", None)
    done = translate_files(painter, rendered(tmp_path / "inputs", 6, 2), tmp_path / "out", source=1, styles=2)
    assert done["warnings"] == []


@pytest.mark.parametrize(("num_downsamples", "num_style_downsamples"), [(1, 3), (2, 2), (3, 2), (1, 1)])
def test_the_smallest_size_works_and_half_of_it_does_not(num_downsamples, num_style_downsamples):
    network = {"num_downsamples": num_downsamples, "num_style_downsamples": num_style_downsamples}
    model = ml.build(tiny(**network)).eval()
    smallest = next(size for size in (2, 4, 8, 16, 32) if _accepted(model, size))
    for size, works in ((smallest, True), (smallest // 2, False)):
        x = torch.zeros(1, 3, size, size)
        try:
            model.translate(x, style_from=x)
            assert works, size
        except (RuntimeError, ValueError):
            assert not works, size


def _accepted(model, size) -> bool:
    try:
        check_size(size, model.config.network)
    except ValueError:
        return False
    return True


# ----------------------------------------------------------------------------------------------------- the sheet


def cell(sheet: np.ndarray, row: int, column: int, side: int = 32) -> np.ndarray:
    top, left = 2 + row * (side + 2), 2 + column * (side + 2)
    return sheet[top : top + side, left : left + side]


def test_the_sheet_shows_inputs_down_and_styles_across(model, sketches, tmp_path):
    translate_files(model, sketches, tmp_path / "out", styles=2)
    sheet = pixels(tmp_path / "out" / "sheet.png")
    assert sheet.shape == (2 + 3 * 34, 2 + 3 * 34, 3)
    for image in range(3):
        assert (cell(sheet, image, 0) == pixels(sketches / f"sketch{image}.png")).all()
        for k in (1, 2):
            assert (cell(sheet, image, k) == pixels(tmp_path / "out" / f"sketch{image}_style{k}.png")).all()


def test_the_sheet_of_examples_has_them_above_their_columns(model, sketches, tmp_path):
    example = picture(tmp_path / "painting.png", seed=5)
    translate_files(model, sketches, tmp_path / "out", style_from=example)
    sheet = pixels(tmp_path / "out" / "sheet.png")
    assert (cell(sheet, 0, 0) == 255).all() and (cell(sheet, 0, 1) == pixels(example)).all()
    assert (cell(sheet, 2, 1) == pixels(tmp_path / "out" / "sketch1_like_painting.png")).all()


def test_the_sheet_does_not_grow_with_hundreds_of_inputs(model, tmp_path):
    for k in range(SHEET_INPUTS + 3):
        picture(tmp_path / "in" / f"{k:03d}.png", seed=k)
    done = translate_files(model, tmp_path / "in", tmp_path / "out", styles=SHEET_STYLES + 2)
    assert done["sheet_shows"] == {"inputs": SHEET_INPUTS, "styles": SHEET_STYLES}
    sheet = pixels(tmp_path / "out" / "sheet.png")
    assert sheet.shape[:2] == (2 + SHEET_INPUTS * 34, 2 + (SHEET_STYLES + 1) * 34)
    last = tmp_path / "out" / f"{SHEET_INPUTS - 1:03d}_style{SHEET_STYLES:02d}.png"
    assert (cell(sheet, SHEET_INPUTS - 1, SHEET_STYLES) == pixels(last)).all()


def test_large_images_are_shrunk_on_the_sheet(model, tmp_path):
    picture(tmp_path / "a.png")
    translate_files(model, tmp_path / "a.png", tmp_path / "out", styles=1, size=2 * SHEET_CELL)
    assert Image.open(tmp_path / "out" / "a_style1.png").size == (2 * SHEET_CELL, 2 * SHEET_CELL)
    assert Image.open(tmp_path / "out" / "sheet.png").size == (2 * SHEET_CELL + 6, SHEET_CELL + 4)


# ----------------------------------------------------------------------------------------- before anything is written


@pytest.mark.parametrize("there", ["sketch2_style4.png", "sheet.png"])
def test_one_file_that_is_there_stops_it_before_it_reads_or_writes(model, sketches, tmp_path, there):
    out = tmp_path / "out"
    out.mkdir()
    (out / there).write_text("mine")
    (sketches / "sketch1.png").write_bytes(b"")  # would be refused as well, but only when read
    with pytest.raises(ml.DataError, match=rf"{there} already exists; use --overwrite"):
        translate_files(model, sketches, out)
    assert [(f.name, f.read_text()) for f in out.iterdir()] == [(there, "mine")]


def test_overwriting_on_request(model, sketches, tmp_path):
    translate_files(model, sketches, tmp_path / "out", seed=1)
    before = pixels(tmp_path / "out" / "sketch0_style1.png")
    translate_files(model, sketches, tmp_path / "out", seed=2, overwrite=True)
    assert (pixels(tmp_path / "out" / "sketch0_style1.png") != before).any()


def test_a_corrupt_image_is_named_before_anything_is_written(model, sketches, tmp_path):
    whole = (sketches / "sketch2.png").read_bytes()
    (sketches / "sketch2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ml.DataError, match=r"sketch2\.png"):
        translate_files(model, sketches, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_its_own_visible_images_in_the_order_of_their_names(model, sketches, tmp_path):
    picture(sketches / "deeper" / "below.png")
    (sketches / "._sketch0.png").write_bytes(b"not an image")
    (sketches / "notes.txt").write_text("not an image")
    done = translate_files(model, sketches, tmp_path / "out", styles=1)
    assert [image["input"] for image in done["images"]] == [str(sketches / f"sketch{k}.png") for k in range(3)]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "sheet.png", "sketch0_style1.png", "sketch1_style1.png", "sketch2_style1.png",
    ]  # fmt: skip
    with pytest.raises(ml.DataError, match="its subfolders are not searched"):
        (tmp_path / "outer").mkdir()
        (sketches / "deeper").rename(tmp_path / "outer" / "deeper")
        translate_files(model, tmp_path / "outer", tmp_path / "out2")


def test_two_images_that_would_share_a_file_are_refused(model, tmp_path):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "A.jpg")
    with pytest.raises(ml.DataError, match=r"2 translations would be written to .*(a|A)_style1\.png: two images share"):
        translate_files(model, tmp_path / "in", tmp_path / "out")


def test_a_folder_that_is_read_is_not_written_into(model, sketches, tmp_path):
    with pytest.raises(ml.DataError, match="contains the input images"):
        translate_files(model, sketches, sketches / ".." / "sketches")
    with pytest.raises(ml.DataError, match="contains the input images"):
        translate_files(model, sketches / "sketch0.png", sketches, style_from=sketches)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "nowhere"}, "there is no file or folder .*nowhere"),
        ({"style_from": "nowhere"}, "there is no file or folder .*nowhere"),
        ({"out": "sketches/sketch0.png"}, "sketch0.png is a file, but it must be a folder"),
        ({"out": "sketches/sketch0.png/out"}, r"cannot write .*out/sketch0_style1\.png: .*choose another folder"),
    ],
)
def test_paths_that_cannot_be_used_are_named(model, sketches, tmp_path, options, message):
    paths = {name: tmp_path / value for name, value in ({"images": "sketches", "out": "out"} | options).items()}
    with pytest.raises((ml.DataError, ml.StorageError), match=message):
        translate_files(model, **paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"styles": 0}, "styles is 0, but it must be 1 or more"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"source": 3}, "3"),
        ({"fresh_styles": True, "style_from": "sketches"}, "choose one"),
    ],
)
def test_values_out_of_range_are_refused(model, sketches, tmp_path, options, message):
    if "style_from" in options:
        options = options | {"style_from": sketches}
    with pytest.raises(ValueError, match=message):
        translate_files(model, sketches, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_reported_with_what_to_do(model, sketches, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(
        ml.StorageError, match=r"cannot write .*sketch0_style1\.png: No space left on device; free some space"
    ):
        translate_files(model, sketches, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
