"""Exercises of 11_latent_matching: a verdict with three outcomes, and the difference that a margin corresponds to."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Input, exercise

# ------------------------------------------------------------------------------------------- a verdict from intervals


def interval_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, *intervals: list[tuple[float, float]], dtype: torch.dtype = torch.float32) -> Input:
        low, high = torch.tensor(intervals, dtype=dtype).unbind(-1)
        return Input(label, (low, high, 0.04))

    below, above, across = (-0.01, 0.02), (0.05, 0.09), (0.03, 0.06)
    yield case("one equality", [below], [above], [across], [(0.01, 0.03)], [(-0.02, 0.07)])
    yield case("one of three is undecided", [below, across, below])
    yield case("one of three fails", [below, above, below])
    yield case("one fails and one is undecided", [across, below, above], [above, across, across])
    yield case("an interval that ends at the margin", [(0.01, 0.04), below], [(0.04, 0.08), below])
    low = torch.rand(60, 4, generator=generator, dtype=torch.float64) * 0.05 - 0.02
    width = torch.rand(60, 4, generator=generator, dtype=torch.float64) * 0.04
    yield Input("float64", (low, low + width, 0.04))


@exercise(interval_cases)
def interval_verdicts(low: Tensor, high: Tensor, margin: float) -> Tensor:
    holds, fails = (high <= margin).all(1), (low > margin).any(1)
    return holds.long() - fails.long()


@interval_verdicts.bug(
    "decides by the middle of each interval, so that nothing is ever undecided",
    fix="An estimate below the margin does not exclude an effect above it: the whole interval must lie on one side.",
)
def decided_by_the_estimate(low: Tensor, high: Tensor, margin: float) -> Tensor:
    estimate = (low + high) / 2
    return interval_verdicts.reference(estimate, estimate, margin)


@interval_verdicts.bug(
    "takes an equality as shown if its interval contains 0",
    fix="An interval that contains 0 may reach far beyond the margin. Only its upper end bounds the difference.",
    met="a widespread reading of p > 0.05",
)
def not_rejected_is_equal(low: Tensor, high: Tensor, margin: float) -> Tensor:
    return (low <= 0).all(1).long() - (low > margin).any(1).long()


@interval_verdicts.bug(
    "counts an undecided equality as a failed one",
    fix="An equality fails only if its *lower* end lies above the margin. Otherwise more images are needed.",
)
def undecided_counts_as_failed(low: Tensor, high: Tensor, margin: float) -> Tensor:
    return interval_verdicts.reference(high, high, margin)


@interval_verdicts.bug(
    "lets undecided equalities pass if another one holds",
    fix="The claim requires all its equalities, so it holds only if every interval lies below the margin.",
)
def one_part_is_enough(low: Tensor, high: Tensor, margin: float) -> Tensor:
    fails = (low > margin).any(1)
    return ((high <= margin).any(1) & ~fails).long() - fails.long()


# -------------------------------------------------------------------------------- the difference behind a margin


def width_cases(generator: Generator) -> Iterator[Input]:
    yield Input("one width", (torch.tensor([2.0]), 1, 1.0))
    yield Input("equal distributions, and narrow ones", (torch.tensor([1.0, 0.5]), 2, 0.7))
    yield Input("no width at all", (torch.tensor([0.0, 1.5]), 3, 0.84))
    yield Input("eight coordinates", (torch.tensor([1.05, 1.1, 1.2, 1.4, 2.0]), 8, 1.5))
    yield Input("float64", (0.3 + 2 * torch.rand(20, generator=generator, dtype=torch.float64), 3, 0.84))


def _similarity(variance: Tensor | float, dimension: int, bandwidth: float) -> Tensor:
    """The mean of exp(-|d|² / (2 bandwidth²)) for d ~ N(0, variance I)."""
    return torch.as_tensor(1 + variance / bandwidth**2) ** (-dimension / 2)


def _effect(variances: tuple[Tensor | float, ...], dimension: int, bandwidth: float) -> Tensor:
    """The normalized MMD² from the variances of x - x', y - y' and x - y."""
    x, y, between = (_similarity(variance, dimension, bandwidth) for variance in variances)
    return (x + y - 2 * between) / (x + y)


@exercise(width_cases)
def width_effect(width: Tensor, dimension: int, bandwidth: float) -> Tensor:
    return _effect((2 * width**2, 2.0, width**2 + 1), dimension, bandwidth)


@width_effect.bug(
    "takes the width as a variance",
    fix="The width is a standard deviation: the variance of a coordinate of x is its square.",
)
def width_not_squared(width: Tensor, dimension: int, bandwidth: float) -> Tensor:
    return _effect((2 * width, 2.0, width + 1), dimension, bandwidth)


@width_effect.bug(
    "gives the difference of two samples of one group the variance of a single sample",
    fix="Variances of independent samples add: x - x' has twice the variance of x.",
)
def variance_of_one_sample(width: Tensor, dimension: int, bandwidth: float) -> Tensor:
    return _effect((width**2, 1.0, (width**2 + 1) / 2), dimension, bandwidth)


@width_effect.bug(
    "computes the mean of the kernel for one coordinate, whatever the dimension",
    fix="The kernel is a product over coordinates, so its mean is that of one coordinate to the power `dimension`.",
)
def one_coordinate(width: Tensor, dimension: int, bandwidth: float) -> Tensor:
    return width_effect.reference(width, 1, bandwidth)


@width_effect.bug(
    "returns MMD² itself, which is not normalized",
    fix="Divide by E k(x, x') + E k(y, y'), the value for groups that do not overlap.",
)
def not_normalized(width: Tensor, dimension: int, bandwidth: float) -> Tensor:
    variances = (2 * width**2, 2.0, width**2 + 1)
    x, y, between = (_similarity(variance, dimension, bandwidth) for variance in variances)
    return x + y - 2 * between
