"""Exercise of 04_adain_decoder: AdaIN by hand."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Case, Exercise


def _over(features: Tensor, scale: Tensor, shift: Tensor, dims: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """Oracle: normalize over some dimensions, then scale and shift each channel of each sample."""
    mean = features.mean(dims, keepdim=True)
    variance = ((features - mean) ** 2).mean(dims, keepdim=True)
    return scale[..., None, None] * (features - mean) / (variance + eps) ** 0.5 + shift[..., None, None]


def right_adain(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (2, 3))


def _scale_and_shift_swapped(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return right_adain(features, shift, scale)


def _batch_statistics(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (0, 2, 3))


def _layer_statistics(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (1, 2, 3))


def _one_plus_scale(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return right_adain(features, 1 + scale, shift)


def _not_normalized(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return scale[..., None, None] * features + shift[..., None, None]


def _divided_by_variance(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True)
    variance = features.var((2, 3), keepdim=True, correction=0)
    return scale[..., None, None] * (features - mean) / (variance + 1e-5) + shift[..., None, None]


def _unbiased(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, variance = features.mean((2, 3), keepdim=True), features.var((2, 3), keepdim=True)
    return scale[..., None, None] * (features - mean) / (variance + 1e-5).sqrt() + shift[..., None, None]


def _no_epsilon(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (2, 3), eps=0)


def _epsilon_outside(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True)
    deviation = features.std((2, 3), keepdim=True, correction=0)
    return scale[..., None, None] * (features - mean) / (deviation + 1e-5) + shift[..., None, None]


def _detached(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True).detach()
    variance = features.var((2, 3), keepdim=True, correction=0).detach()
    return scale[..., None, None] * (features - mean) / (variance + 1e-5).sqrt() + shift[..., None, None]


def _half_precision(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return right_adain(features.half(), scale, shift).to(features.dtype)


def _adain_cases(generator: Generator) -> Iterator[Case]:
    for label, features in inputs.features(generator):
        scale, shift = torch.randn(2, *features.shape[:2], generator=generator, dtype=features.dtype)
        yield Case(label, (features, scale, shift))


adain = Exercise(
    "adain",
    right_adain,
    _adain_cases,
    (
        Bug(
            "adain-scale-for-shift",
            _scale_and_shift_swapped,
            "scale and shift have changed places",
            "The scale γ multiplies the normalized features, the shift β is added.",
        ),
        Bug(
            "adain-batch-statistics",
            _batch_statistics,
            "mean and deviation are taken over the batch as well, as Batch Norm does",
            "Each sample has its own statistics: take them over height and width, dimensions 2 and 3. "
            "Else one image's style leaks into its neighbors.",
        ),
        Bug(
            "adain-layer-statistics",
            _layer_statistics,
            "mean and deviation are taken over the channels as well, as Layer Norm does",
            "Each channel has its own statistics: take them over height and width alone.",
        ),
        Bug(
            "adain-one-plus-scale",
            _one_plus_scale,
            "the features are multiplied by 1 + scale",
            "The paper multiplies by the scale itself; 1 + γ is the convention of other papers, and weights "
            "trained with one do not fit the other.",
        ),
        Bug(
            "adain-not-normalized",
            _not_normalized,
            "the features are scaled and shifted but never normalized",
            "Subtract each channel's mean and divide by its deviation first; else the content's own contrast stays "
            "beside the style's.",
        ),
        Bug(
            "adain-variance-for-deviation",
            _divided_by_variance,
            "the features are divided by the variance",
            "Divide by the deviation, the square root of the variance.",
        ),
        Bug(
            "adain-unbiased",
            _unbiased,
            "the variance divides by n − 1",
            "Instance Norm divides by n (`correction=0`); with n − 1 a channel of one pixel is 0/0.",
        ),
        Bug(
            "adain-no-epsilon",
            _no_epsilon,
            "nothing keeps the deviation away from zero",
            "Add eps = 1e-5 to the variance, under the root: a constant channel is 0/0 without it.",
        ),
        Bug(
            "adain-epsilon-outside",
            _epsilon_outside,
            "eps is added to the deviation, outside the root",
            "Instance Norm adds it to the variance, under the root. Faint features show the difference.",
        ),
        Bug(
            "adain-detached-statistics",
            _detached,
            "mean and deviation are cut out of the gradient",
            "The values are right, the gradient is not: let it flow through the statistics too, or training pushes "
            "features in directions that the norm then removes.",
        ),
        Bug(
            "adain-half-precision",
            _half_precision,
            "the statistics are computed in half precision",
            "Keep mean and variance in float32 at least: 16 bits lose features that are far from zero.",
            "NVlabs/MUNIT: statistics in low precision",
        ),
    ),
    gradients=True,
)
