"""Comparisons of floating-point results with a stated tolerance, so that they hold on every processor.

The same network on the same image gives results that differ in their last digits if the instruction set, the number of
threads or the size of the batch differs, because each of these changes the order in which convolutions and matrix
products add up their terms. Results of one computation on one machine may be compared exactly, for example a resumed
run with an uninterrupted one. Everything else is compared by one of these functions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Ten times the largest measured difference, 4e-6: pixels and outputs of the shipped models and of the known world, in
# [-1, 1] and float32, between batches of 24 and 1, between one and two threads, and between AVX-512, AVX2 and SSE4.1.
# One gray level is 8e-3.
ROUNDING = 4e-5


def assert_same_images(shown, wanted, levels: int = 1) -> None:
    """Compare images of 8 bits.

    Args:
        shown, wanted: arrays of one shape with pixels from 0 to 255.
        levels: gray levels by which a pixel may differ. One is what rounding to 8 bits makes of the last digit of a
            float32, where it lies on the edge between two levels. Zero is right for pixels that are only copied.
    """
    shown, wanted = np.asarray(shown), np.asarray(wanted)
    assert shown.shape == wanted.shape
    difference = np.abs(shown.astype(int) - wanted.astype(int)).max()
    assert difference <= levels, f"pixels differ by up to {difference} gray levels"


def assert_same_outputs(found: Tensor, wanted: Tensor, atol: float = ROUNDING) -> None:
    """Compare float32 results of order 1 that were computed in batches of different sizes, or by different operations.

    Args:
        found, wanted: tensors of one shape.
        atol: absolute difference that is rounding.
    """
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


class ImageTable:
    """Looks up what is known about an image, by its pixels.

    A renderer's pixels may differ in their last digit between batches of two sizes, so the bytes of an image cannot be
    the key. Its key is a few random projections, and the nearest key is taken.
    """

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._rows: list[Tensor] = []

    def _key(self, images: Tensor) -> Tensor:
        """Eight random projections in float64, (B, 8): no two different images of the known world share them."""
        flat = images.flatten(1).double()
        generator = torch.Generator().manual_seed(0)
        return flat @ torch.randn(flat.shape[1], 8, generator=generator, dtype=torch.float64)

    def note(self, images: Tensor, rows: Tensor) -> None:
        """Remember a row of facts (B, N) for each image (B, 3, H, W)."""
        self._keys.append(self._key(images))
        self._rows.append(rows)

    def of(self, images: Tensor) -> Tensor:
        """The rows of images that were noted, (B, N)."""
        keys, rows = torch.cat(self._keys), torch.cat(self._rows)
        distance = torch.cdist(self._key(images), keys, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distance.min(dim=1)
        assert nearest.values.max() < 1e-2, "an image that was never noted"
        return rows[nearest.indices]
