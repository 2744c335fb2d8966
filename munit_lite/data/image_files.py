"""Reading one image: what counts as an image, and what is made of each kind.

Every image becomes 8-bit RGB, upright, its shorter side resized (small ones are enlarged), by these rules:
transparency is laid on white; 16-bit tones are scaled to 8 bits; CMYK, palettes and grays are converted without
color profiles; of an animation or a file of several pages the first counts. What cannot be read is an error that
names the file: unreadable or cut off, floating-point pixels (their range is unknown), a long side of more than 16
times the short one, more pixels than PIL takes for an attack (179 million).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# Files of these kinds must be readable. Others are images if PIL recognizes their content.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2", ".tga",
)  # fmt: skip
LONGEST = 16  # long side over short side

Half = Literal["whole", "left", "right"]


class DataError(RuntimeError):
    """The data cannot be used; the message says which file or folder and what to do."""


def to_unit(images: Tensor) -> Tensor:
    """Bytes 0 … 255 -> float in [-1, 1]."""
    return images.float() / 127.5 - 1


def is_image(file: Path) -> bool:
    """Whether a file of a folder is one of its images: by a usual suffix, else by its content; hidden ones are not."""
    if file.name.startswith(".") or not (file.is_file() or file.is_symlink()) or file.is_dir():
        return False
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with Image.open(file):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # it looks like one, but is broken: whoever reads it will be told
        return True


def read_image(file: Path, shorter_side: int) -> Tensor:
    """One image as (3, h, w) uint8: turned upright, RGB, its shorter side resized.

    Raises:
        DataError: it cannot be read by the rules above; names the file.
    """
    return torch.from_numpy(read_pixels(file, shorter_side).copy()).permute(2, 0, 1).contiguous()


def read_pixels(file: Path, shorter_side: int, half: Half = "whole") -> np.ndarray:
    """One image, or the left or right half of it, as (h, w, 3) uint8.

    Raises:
        DataError: it cannot be read by the rules above; names the file.
    """
    with _opening(file) as opened, _naming(file):
        _check_shape(file, opened.size, half)
        # A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves twice the pixels needed: ten times as fast.
        opened.draft(None, (2 * shorter_side, 2 * shorter_side))
        image = _rgb(file, ImageOps.exif_transpose(opened))
        if half != "whole":
            if image.width < image.height:  # turned by its EXIF
                _check_shape(file, image.size, half)
            middle = image.width // 2
            image = image.crop(
                (0, 0, middle, image.height) if half == "left" else (middle, 0, 2 * middle, image.height)
            )
        scale = shorter_side / min(image.size)
        width, height = (max(shorter_side, round(length * scale)) for length in image.size)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def check_image(file: Path, half: Half = "whole") -> None:
    """Look at a file's header only: soon told what is no image, though not what is cut off.

    Raises:
        DataError: missing, empty, no image, or of a shape that cannot be used.
    """
    with _opening(file) as opened:
        _check_shape(file, opened.size, half)


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turns whatever PIL raises on broken data (its plug-ins raise many things) into a sentence with the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}; it was moved or removed: put it back") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is of no image format that PIL knows" if file.stat().st_size else "it is empty, 0 bytes"
        raise DataError(f"{file} cannot be read as an image ({reason}); repair or remove it") from error


def _opening(file: Path) -> Image.Image:
    with _naming(file):
        return Image.open(file)


def _check_shape(file: Path, size: tuple[int, int], half: Half) -> None:
    width, height = size
    if half != "whole" and width != 2 * height:
        raise DataError(
            f"{file} is {width} x {height} pixels, but a picture of a pair, A on the left and B on the right, is twice "
            "as wide as high; for unpaired images name the folders trainA and trainB"
        )
    if max(size) > LONGEST * min(size):
        raise DataError(f"{file} is {width} x {height} pixels, longer than {LONGEST} times its short side; crop it")


def _rgb(file: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray: PIL's own conversion would clip at 255
        tones = np.asarray(image).astype(np.int64)
        if tones.min() < 0 or tones.max() > 65535:
            raise DataError(f"{file} has tones from {tones.min()} to {tones.max()}; save it with 8 or 16 bits")
        return Image.fromarray((tones / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{file} has floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
