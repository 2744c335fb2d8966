"""Translations of files: what is written is what the model computes, and nothing is written that should not be."""

import itertools

import numpy as np
import pytest
import torch
from closeness import assert_same_images
from PIL import Image
from tiny import tiny

import munit_lite as ml
from munit_lite.config import check_size
from munit_lite.inference import SHEET_CELL, SHEET_INPUTS, SHEET_STYLES, translate_files

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


def test_the_center_square_is_what_is_translated(model, tmp_path):
    wide = picture(tmp_path / "wide.png", width=48)
    Image.open(wide).crop((8, 0, 40, 32)).save(tmp_path / "middle.png")
    for name in ("wide", "middle"):
        translate_files(model, tmp_path / f"{name}.png", tmp_path / name, styles=1)
    output = [pixels(tmp_path / name / f"{name}_style1.png") for name in ("wide", "middle")]
    assert (output[0] == output[1]).all()


def test_another_size_than_the_models_own(model, tmp_path):
    picture(tmp_path / "a.png", width=100, height=80)
    translate_files(model, tmp_path / "a.png", tmp_path / "out", styles=1, size=64)
    assert Image.open(tmp_path / "out" / "a_style1.png").size == (64, 64)


@pytest.mark.parametrize(
    ("size", "message"),
    [(33, "size 33 is not divisible by 2: .*use 32 or 34"), (4, "size 4 is below 8")],
)
def test_a_size_that_the_model_cannot_take_is_refused(model, sketches, tmp_path, size, message):
    with pytest.raises(ValueError, match=message):
        translate_files(model, sketches, tmp_path / "out", size=size)
    assert not (tmp_path / "out").exists()


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
