"""Awkward inputs that every exercise can use, because a function meets them sooner or later."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def feature_batches(generator: Generator) -> list[tuple[str, Tensor]]:
    """Sample batches of features on which wrong normalization layers fail.

    Args:
        generator: of the random values.

    Returns:
        (label, features) pairs; the features are (B, C, H, W).
    """

    def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    constant = sample(2, 3, 2, 2)
    constant[:, 1] = 0.7
    return [
        ("one pixel", sample(1, 2, 1, 1)),
        ("one channel", sample(1, 1, 2, 2)),
        ("batch of one", sample(1, 3, 4, 2)),
        ("constant channel", constant),
        ("faint", 1e-3 * sample(2, 2, 3, 3)),
        ("far from zero", 1000 + sample(2, 3, 3, 2)),
        ("large values", 1000 * sample(2, 2, 4, 3)),
        ("not contiguous", sample(2, 3, 5, 4).transpose(2, 3)),
        ("float64", sample(2, 3, 4, 5, dtype=torch.float64)),
    ]


def vector_batches(generator: Generator, width: int) -> list[tuple[str, Tensor]]:
    """Sample batches of vectors such as style codes.

    Args:
        generator: of the random values.
        width: the dimension of a vector.

    Returns:
        (label, vectors) pairs; the vectors are (B, width).
    """

    def sample(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, width, generator=generator, dtype=dtype)

    return [
        ("batch of one", sample(1)),
        ("zeros", torch.zeros(2, width)),
        ("large values", 1000 * sample(3)),
        ("not contiguous", torch.randn(width, 3, generator=generator).T),
        ("float64", sample(4, torch.float64)),
    ]
