"""Reading and writing one image file: which files count as images, and how each kind becomes 8-bit RGB.

An image is rotated upright according to its EXIF orientation, converted to RGB and resized so that its shorter side has
the requested length; small images are enlarged. Transparent pixels are composited over white, 16-bit values are scaled
to 8 bits, and CMYK, palette and gray images are converted without color profiles. Of an animation or a file of several
pages the first one counts. An image that cannot be used is an error that names the file: it cannot be decoded, has
floating-point pixels of unknown range, is more than 16 times as long as it is wide, or has more pixels than PIL accepts
(179 million, its limit against decompression bombs).
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

from munit_lite.storage.files import atomic_path

# A file with one of these suffixes must be readable. Any other file is an image if PIL recognizes its content.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2", ".tga",
)  # fmt: skip
MAX_ASPECT_RATIO = 16  # long side divided by short side

Half = Literal["whole", "left", "right"]


class DataError(RuntimeError):
    """The data cannot be used; the message names the file or folder and says what to do."""


def uint8_to_float(images: Tensor) -> Tensor:
    """Scale uint8 values from 0 to 255 to float32 in [-1, 1], the range of all images that a model sees.

    Args:
        images: uint8 of any shape.

    Returns:
        float32 of the same shape.

    Example:
        >>> uint8_to_float(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """
    return images.float() / 127.5 - 1


def float_to_uint8(images: Tensor) -> Tensor:
    """Scale values in [-1, 1] to uint8 from 0 to 255, the inverse of `uint8_to_float`.

    Args:
        images: floats of any shape; values outside the range are clipped.

    Returns:
        uint8 of the same shape.

    Example:
        >>> float_to_uint8(torch.tensor([-1.0, 0.1, 3.0]))
        tensor([  0, 140, 255], dtype=torch.uint8)
    """
    return ((images + 1) * 127.5).round().clamp(0, 255).byte()


def is_image(file: Path) -> bool:
    """Tell whether a file counts as an image: by its suffix, otherwise by its content. Hidden files do not count."""
    if file.name.startswith(".") or not (file.is_file() or file.is_symlink()) or file.is_dir():
        return False
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with Image.open(file):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # a damaged image: reading it will raise an error that names it
        return True


def list_images(folder: Path, recursive: bool = True) -> list[Path]:
    """List the images in a folder, sorted by path; hidden files and folders are skipped.

    Args:
        folder: where to look.
        recursive: search its subfolders, too.

    Returns:
        the files, at least one.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    paths = folder.rglob("*") if recursive else folder.iterdir()
    visible = (path for path in paths if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    files = sorted(filter(is_image, visible), key=lambda path: path.relative_to(folder).as_posix())
    if not files:
        searched = "" if recursive else " (its subfolders are not searched)"
        raise DataError(f"{folder} contains no images{searched}; add some in any format that PIL reads")
    return files


def read_image(file: Path, shorter_side: int, square: bool = False) -> Tensor:
    """Read an image by the rules of this module.

    Args:
        file: the image.
        shorter_side: length of its shorter side after resizing, in pixels.
        square: keep its center square only.

    Returns:
        (3, h, w) uint8.

    Raises:
        DataError: the image cannot be read or used.
    """
    return torch.from_numpy(read_pixels(file, shorter_side, square=square).copy()).permute(2, 0, 1).contiguous()


def read_pixels(
    file: Path,
    shorter_side: int | None,
    half: Half = "whole",
    square: bool = False,
    max_pixels: int | None = None,
) -> np.ndarray:
    """Read an image, its center square, or one half of a picture that shows a pair, as a NumPy array.

    Args:
        file: the image.
        shorter_side: length of the shorter side after resizing, in pixels; None keeps the size of the image.
        half: the part to keep: the left or right half, or the whole image.
        square: keep the center square only; the image may then be of any shape.
        max_pixels: of the result; an image with more is refused before it is resized.

    Returns:
        (h, w, 3) uint8.

    Raises:
        DataError: the image cannot be read or used.
    """
    with _open_image(file) as image_file, _report_errors(file):
        if not square:
            _check_shape(file, image_file.size, half)
        # PIL can decode a JPEG at 1/2, 1/4 or 1/8 of its size. Where that leaves twice the pixels that are needed, it
        # is ten times as fast.
        if shorter_side is not None:
            image_file.draft(None, (2 * shorter_side, 2 * shorter_side))
        image = _convert_to_rgb(file, ImageOps.exif_transpose(image_file))
        if half != "whole":
            if image.width < image.height:  # rotated by its EXIF orientation
                _check_shape(file, image.size, half)
            middle = image.width // 2
            image = image.crop(
                (0, 0, middle, image.height) if half == "left" else (middle, 0, 2 * middle, image.height)
            )
        if square:
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            image = image.crop((left, top, left + side, top + side))
        shorter_side = shorter_side or min(image.size)
        scale = shorter_side / min(image.size)
        width, height = (max(shorter_side, round(length * scale)) for length in image.size)
        if max_pixels is not None and width * height > max_pixels:
            largest = int(shorter_side * (max_pixels / (width * height)) ** 0.5)
            raise DataError(
                f"{file} would be translated at {width} x {height} pixels, but at most {max_pixels:,} fit into memory; "
                f"use --size {largest} or less, or crop the image"
            )
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def write_png(file: Path, image: Tensor) -> None:
    """Write an image as a PNG file, atomically.

    Args:
        file: the file to write; its folder is created if it does not exist.
        image: (3, h, w) uint8.

    Raises:
        StorageError: the file cannot be written.
    """
    with atomic_path(file) as temporary:
        Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(temporary, format="png")


def check_image(file: Path, half: Half = "whole") -> None:
    """Check an image by its header alone, which is fast but does not detect a truncated file.

    Args:
        file: the image.
        half: the part that will be used, as for `read_pixels`.

    Raises:
        DataError: the file is missing, empty, not an image, or has a shape that cannot be used.
    """
    with _open_image(file) as image_file:
        _check_shape(file, image_file.size, half)


@contextlib.contextmanager
def _report_errors(file: Path) -> Iterator[None]:
    """Turn the many exceptions that PIL's plug-ins raise on damaged files into a DataError that names the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}; it was moved or deleted, so restore it") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "PIL does not recognize its format" if file.stat().st_size else "the file is empty"
        raise DataError(f"{file} cannot be read as an image ({reason}); repair or remove it") from error


def _open_image(file: Path) -> Image.Image:
    with _report_errors(file):
        return Image.open(file)


def _check_shape(file: Path, size: tuple[int, int], half: Half) -> None:
    width, height = size
    if half != "whole" and width != 2 * height:
        raise DataError(
            f"{file} is {width} x {height} pixels, but a picture of a pair (A on the left, B on the right) must be "
            "twice as wide as it is high; for unpaired images name the folders trainA and trainB"
        )
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise DataError(
            f"{file} is {width} x {height} pixels, but its long side must be at most {MAX_ASPECT_RATIO} times its "
            "short side; crop it"
        )


def _convert_to_rgb(file: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray: PIL's own conversion would clip at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{file} has values from {values.min()} to {values.max()}; save it with 8 or 16 bits")
        return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{file} has floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
