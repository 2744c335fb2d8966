"""Pictures of the explorers: images of the model tiled, stacked, and encoded as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from torch import Tensor

Picture = np.ndarray  # (H, W, 3) uint8
TILE_SIZE = 64  # least side of an image in a picture, in pixels
GAP = 4  # pixels between images
FONT_SIZE = 12  # of labels, in pixels


def tile_images(rows: Sequence[Tensor], min_size: int = TILE_SIZE) -> Picture:
    """Arrange rows of images in one picture on white, each enlarged by an integer factor.

    Args:
        rows: (N, 3, H, W) images in [-1, 1], one batch for each row; the contrast is not stretched.
        min_size: the least side of an image in the picture, in pixels.

    Returns:
        (H', W', 3) uint8; rows shorter than the longest end in white.
    """
    scale = max(1, -(-min_size // rows[0].shape[-1]))
    side = rows[0].shape[-1] * scale
    columns = max(len(images) for images in rows)
    step = side + GAP
    picture = np.full((step * len(rows) - GAP, step * columns - GAP, 3), 255, np.uint8)
    for y, images in enumerate(rows):
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        for x, image in enumerate(pixels):
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)
            picture[y * step : y * step + side, x * step : x * step + side] = large
    return picture


def label_columns(labels: Sequence[str], row: Picture) -> Picture:
    """Add a label below each image of a row.

    Args:
        labels: one for each image, of one or more lines.
        row: (H, W, 3) uint8, a picture of one row from `tile_images`.

    Returns:
        (H', W, 3) uint8.
    """
    step = (row.shape[1] + GAP) // len(labels)
    lines = 1 + max(label.count("\n") for label in labels)
    strip = PIL.Image.new("RGB", (row.shape[1], lines * (FONT_SIZE + 4) + GAP), "white")
    draw, font = PIL.ImageDraw.Draw(strip), PIL.ImageFont.load_default(FONT_SIZE)
    for k, label in enumerate(labels):
        center = k * step + (step - GAP) // 2
        draw.multiline_text((center, GAP), label, fill="black", font=font, anchor="ma", align="center", spacing=4)
    return np.concatenate([row, np.asarray(strip)])


def stack_pictures(*pictures: Picture) -> Picture:
    """Stack pictures vertically; narrower ones are padded with white on the right.

    Args:
        *pictures: (H, W, 3) uint8 each, of any height and width.

    Returns:
        (H', W', 3) uint8, as wide as the widest.
    """
    width = max(picture.shape[1] for picture in pictures)
    gap = np.full((2 * GAP, width, 3), 255, np.uint8)
    rows = []
    for picture in pictures:
        margin = ((0, 0), (0, width - picture.shape[1]), (0, 0))
        rows += [np.pad(picture, margin, constant_values=255), gap]
    return np.concatenate(rows[:-1])


def to_png(picture: Picture) -> bytes:
    """Encode a (H, W, 3) uint8 picture as PNG, with little compression, for speed."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
