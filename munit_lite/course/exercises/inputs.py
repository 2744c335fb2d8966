"""Awkward inputs that every exercise can use: what a function meets sooner or later."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def features(generator: Generator) -> list[tuple[str, Tensor]]:
    """Labeled (B, C, H, W) batches of features."""

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    constant = draw(2, 3, 2, 2)
    constant[:, 1] = 0.7
    return [
        ("one pixel", draw(1, 2, 1, 1)),
        ("one channel", draw(1, 1, 2, 2)),
        ("batch of one", draw(1, 3, 4, 2)),
        ("constant channel", constant),
        ("faint", 1e-3 * draw(2, 2, 3, 3)),
        ("far from zero", 1000 + draw(2, 3, 3, 2)),
        ("large values", 1000 * draw(2, 2, 4, 3)),
        ("not contiguous", draw(2, 3, 5, 4).transpose(2, 3)),
        ("float64", draw(2, 3, 4, 5, dtype=torch.float64)),
    ]


def vectors(generator: Generator, width: int) -> list[tuple[str, Tensor]]:
    """Labeled (B, width) batches, such as style codes."""

    def draw(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, width, generator=generator, dtype=dtype)

    return [
        ("batch of one", draw(1)),
        ("zeros", torch.zeros(2, width)),
        ("large values", 1000 * draw(3)),
        ("not contiguous", torch.randn(width, 3, generator=generator).T),
        ("float64", draw(4, torch.float64)),
    ]
