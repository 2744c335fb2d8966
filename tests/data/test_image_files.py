"""Every kind of image has a stated rule, and every broken one an error that names it."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from munit_lite.data.image_files import (
    DataError,
    check_image,
    float_to_uint8,
    is_image,
    read_image,
    read_pixels,
    uint8_to_float,
    write_png,
)

COLORS = np.zeros((32, 48, 3), np.uint8)
COLORS[:16], COLORS[:, 24:, 1] = (200, 0, 100), 80  # four flat quarters
RAMP = np.linspace(0, 65535, 32 * 48).reshape(32, 48).astype(np.uint16)
OPACITY = np.tile(np.linspace(0, 255, 48).round().astype(np.uint8), (32, 1))


def on_white(colors, opacity):
    share = opacity[:, :, None] / 255
    return colors * share + 255 * (1 - share)


def png(width, height, depth, color_type, rows):
    """A PNG file from its raw rows, for what PIL itself cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def gray_of(colors):
    return np.repeat((colors @ [0.299, 0.587, 0.114])[:, :, None], 3, axis=2)


def _alpha():
    return Image.fromarray(np.dstack([COLORS, OPACITY]))


def _palette_with_transparency():
    image = Image.new("P", (48, 32))
    image.putpalette([200, 0, 100, 0, 0, 0])
    image.paste(1, (24, 0, 48, 32))
    return image


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn clockwise
    return exif


def _stripes():
    truth = np.zeros((32, 48, 3), np.uint8)
    truth[:, :24] = 200, 0, 100
    truth[:, 24:] = 255
    return truth


KINDS = {  # file name: (how it is written, what must be read, mean difference allowed)
    "rgb.png": (lambda f: Image.fromarray(COLORS).save(f), COLORS, 0),
    "rgb.jpg": (lambda f: Image.fromarray(COLORS).save(f, quality=95, subsampling=0), COLORS, 2),
    "rgb.webp": (lambda f: Image.fromarray(COLORS).save(f, lossless=True), COLORS, 0),
    "rgb.bmp": (lambda f: Image.fromarray(COLORS).save(f), COLORS, 0),
    "rgb.tif": (lambda f: Image.fromarray(COLORS).save(f), COLORS, 0),
    "rgb.ppm": (lambda f: Image.fromarray(COLORS).save(f), COLORS, 0),
    "gray.png": (lambda f: Image.fromarray(COLORS).convert("L").save(f), gray_of(COLORS), 0.5),
    "one bit.png": (lambda f: Image.fromarray(COLORS[:, :, 1] > 0).save(f), np.repeat(
        255 * (COLORS[:, :, 1:2] > 0), 3, axis=2), 0),
    "palette.png": (lambda f: Image.fromarray(COLORS).convert("P", palette=Image.Palette.ADAPTIVE).save(f),
        COLORS, 0),
    "clear color.gif": (lambda f: _palette_with_transparency().save(f, transparency=1), _stripes(), 0),
    "clear color.png": (lambda f: Image.fromarray(_stripes() * np.uint8([1, 1, 1])).save(
        f, transparency=(200, 0, 100)), np.full((32, 48, 3), 255), 0),
    "alpha.png": (lambda f: _alpha().save(f), on_white(COLORS, OPACITY), 0.6),
    "alpha.webp": (lambda f: _alpha().save(f, lossless=True, exact=True), on_white(COLORS, OPACITY), 0.6),
    "gray alpha.png": (lambda f: _alpha().convert("LA").save(f), on_white(gray_of(COLORS), OPACITY), 1),
    "cmyk.tif": (lambda f: Image.fromarray(COLORS).convert("CMYK").save(f), COLORS, 1),
    "lab.tif": (lambda f: ImageCms.applyTransform(Image.fromarray(COLORS), ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")).save(f), COLORS, 3),
    "cmyk.jpg": (lambda f: Image.fromarray(COLORS).convert("CMYK").save(f, quality=95, subsampling=0), COLORS, 3),
    "16 bit gray.png": (lambda f: Image.fromarray(RAMP).save(f), np.repeat(RAMP[:, :, None] / 257, 3, 2), 0.5),
    "16 bit gray.tif": (lambda f: Image.fromarray(RAMP).save(f), np.repeat(RAMP[:, :, None] / 257, 3, 2), 0.5),
    "16 bit color.png": (lambda f: f.write_bytes(png(48, 32, 16, 2, [
        np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in RAMP])),
        np.repeat(RAMP[:, :, None] / 257, 3, 2), 1),
    "turned.jpg": (lambda f: Image.fromarray(COLORS).save(f, quality=95, subsampling=0, exif=_turned()),
                   np.rot90(COLORS, k=-1), 2),
    "animated.gif": (lambda f: Image.fromarray(COLORS).save(
        f, save_all=True, append_images=[Image.new("RGB", (48, 32), "white")]), COLORS, 0),
    "pages.tif": (lambda f: Image.fromarray(COLORS).save(
        f, save_all=True, append_images=[Image.new("RGB", (48, 32), "white")]), COLORS, 0),
    "animated.webp": (lambda f: Image.fromarray(COLORS).save(
        f, lossless=True, save_all=True, append_images=[Image.new("RGB", (48, 32), "white")]), COLORS, 0),
    "no suffix": (lambda f: Image.fromarray(COLORS).save(f, format="PNG"), COLORS, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_is_read_upright_in_rgb_by_its_rule(tmp_path, name):
    write, truth, tolerance = KINDS[name]
    if "webp" in name and not features.check("webp"):
        pytest.skip("this PIL has no WebP")
    write(tmp_path / name)
    assert is_image(tmp_path / name)
    check_image(tmp_path / name)
    pixels = read_image(tmp_path / name, 32).permute(1, 2, 0).numpy()
    assert pixels.dtype == np.uint8 and pixels.shape == truth.shape
    assert np.abs(pixels - truth.astype(float)).mean() <= tolerance


def encoded(kind):
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def whole_png():
    return encoded("png")


def whole_jpeg():
    return encoded("jpeg")


def saved(image, **options):
    return lambda file: image.save(file, **options)


BAD = {  # file name: (how it is written, message)
    "empty.png": (lambda f: f.touch(), "the file is empty"),
    "text.jpg": (lambda f: f.write_text("hello"), "PIL does not recognize its format"),
    "half.png": (lambda f: f.write_bytes(whole_png()[:-300]), "truncated"),
    "half.jpg": (lambda f: f.write_bytes(whole_jpeg()[:-300]), "truncated"),
    "header only.png": (lambda f: f.write_bytes(whole_png()[:40]), "cannot be read as an image"),
    "changed bytes.png": (lambda f: f.write_bytes(whole_png()[:200] + b"\xff" * 50 + whole_png()[250:]),
        "broken|unrecognized data stream"),
    "exif.png": (saved(Image.new("RGB", (9, 9)), exif=b"Exif\x00\x00no tiff header"), "cannot be read as an image"),
    "bomb.png": (lambda f: f.write_bytes(png(20_000, 20_000, 1, 0, [])), "decompression bomb"),
    "float.tif": (saved(Image.fromarray(np.ones((9, 9), np.float32))), "floating-point pixels, whose range is unknown"),
    "32 bit.tif": (saved(Image.fromarray(np.full((9, 9), 70_000, np.int32))),
        "values from 70000 to 70000; save"),
    "strip.png": (saved(Image.new("RGB", (1000, 10))),
        "1000 x 10 pixels, but its long side must be at most 16 times its short side; crop it"),
    "gone.png": (lambda f: None, "there is no file .*gone.png; it was moved or deleted, so restore it"),
    "a folder.png": (lambda f: f.mkdir(), "cannot be read as an image"),
    "broken link.png": (lambda f: f.symlink_to("nowhere.png"), "there is no file"),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_every_image_that_cannot_be_used_is_named_with_the_reason(tmp_path, name):
    write, message = BAD[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        read_image(tmp_path / name, 32)
    assert str(tmp_path / name) in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["empty.png", "text.jpg", "bomb.png", "strip.png", "gone.png", "broken link.png"])
def test_these_are_detected_by_the_header_alone(tmp_path, name):
    write, message = BAD[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        check_image(tmp_path / name)


def test_a_picture_of_a_pair_that_its_exif_turns_is_refused(tmp_path):
    picture = np.concatenate([COLORS[:, :32], COLORS[:, :32]], axis=1)
    Image.fromarray(picture).save(tmp_path / "pair.jpg")
    assert read_pixels(tmp_path / "pair.jpg", 32, "right").shape == (32, 32, 3)
    Image.fromarray(picture).save(tmp_path / "pair.jpg", exif=_turned())
    with pytest.raises(DataError, match=r"pair\.jpg is 32 x 64 pixels, but a picture of a pair"):
        read_pixels(tmp_path / "pair.jpg", 32, "right")


@pytest.mark.parametrize(("name", "content", "counts"), [
    ("a.JPG", b"", True),  # must be readable: an error names it if it is not
    ("README.txt", b"words", False),
    ("Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504), False),
    ("list.csv", b"a,b\n1,2\n", False),
    (".hidden.png", whole_png(), False),
    ("._resource.jpg", b"\0\5\x16\7", False),
    ("picture", whole_png(), True),
    ("picture.backup", whole_jpeg(), True),
    ("bomb", png(20_000, 20_000, 1, 0, []), True),  # its header is an image's, so reading it must raise an error
    ("nothing", b"", False),
])  # fmt: skip
def test_what_counts_as_an_image_of_a_folder(tmp_path, name, content, counts):
    (tmp_path / name).write_bytes(content)
    assert is_image(tmp_path / name) == counts


@pytest.mark.parametrize(("height", "width", "shape"), [
    (20, 40, (3, 36, 72)), (80, 40, (3, 72, 36)), (1, 1, (3, 36, 36)), (1, 16, (3, 36, 576)), (36, 36, (3, 36, 36)),
    (37, 50, (3, 36, 49)), (3000, 4000, (3, 36, 48)),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_the_shorter_side_is_resized_up_or_down_and_the_shape_kept(tmp_path, height, width, shape, kind):
    Image.new("RGB", (width, height), (10, 200, 60)).save(tmp_path / f"a.{kind}", quality=95)
    pixels = read_image(tmp_path / f"a.{kind}", 36)
    assert pixels.shape == shape
    assert np.abs(pixels.flatten(1).float().mean(1).numpy() - [10, 200, 60]).max() < 3


def test_a_large_photo_is_reduced_to_what_averaging_its_pixels_gives(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((1024, 1024), Image.Resampling.NEAREST)
    large.save(tmp_path / "large.jpg", quality=98, subsampling=0)
    truth = np.asarray(large.resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
    pixels = read_image(tmp_path / "large.jpg", 32).permute(1, 2, 0).numpy()
    assert np.abs(pixels - truth).mean() < 4 < np.abs(coarse.astype(float) - 128).mean() / 10


def test_each_byte_survives_the_conversion_to_floats_and_back():
    every_byte = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(float_to_uint8(uint8_to_float(every_byte)), every_byte)
    assert torch.equal(float_to_uint8(uint8_to_float(every_byte) + 0.4 / 127.5), every_byte)  # rounded, not truncated


def test_a_written_png_is_read_back_unchanged(tmp_path):
    image = torch.randint(256, (3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_png(tmp_path / "new" / "image.png", image)
    assert torch.equal(read_image(tmp_path / "new" / "image.png", 5), image)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["image.png"]
