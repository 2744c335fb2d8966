"""Do two samples come from one distribution? Tests that say how sure, how large, and how many it would take.

The *unit* is what was drawn independently: a pair (x1, x1->2), an input with its four outputs. Units are permuted
between the groups, never what is inside one. A sample is a tensor (units, features) or (units, rows, features), or
several such blocks of the same units: each block then counts alike, so that a content of 8,192 numbers does not
drown a style of three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch import Tensor

from munit_lite.theory.permutation import TwoSampleResult, permuted, result

Sample: TypeAlias = Tensor | Sequence[Tensor]


# ------------------------------------------------------------------------------------------------------ estimates


def mmd2(a: Tensor, b: Tensor, bandwidth: float) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy with k(x, y) = exp(-|x - y|² / (2 bandwidth²)).

    Args:
        a: (m, D) or (m, rows, D), m of 2 or more.
        b: (n, D) or (n, rows, D).
        bandwidth: in the units of the features.
    """
    return _statistic(_gaussian(_distances(a, b), bandwidth), len(a))


def gaussian_mmd2(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor, bandwidth: float
) -> float:
    """Exact squared MMD of two normal distributions under the Gaussian kernel.

    E k(x, y) = det(I + S / l²)^(-1/2) exp(-d' (l² I + S)^-1 d / 2) with S the sum of the covariances, d the
    difference of the means, l the bandwidth.
    """

    def mean_kernel(mean: Tensor, covariance: Tensor) -> Tensor:
        wide = bandwidth**2 * torch.eye(len(mean), dtype=mean.dtype) + covariance
        scale = torch.linalg.det(wide / bandwidth**2).rsqrt()
        return scale * torch.exp(-0.5 * mean @ torch.linalg.solve(wide, mean))

    zero = torch.zeros_like(mean_a)
    within = mean_kernel(zero, 2 * covariance_a) + mean_kernel(zero, 2 * covariance_b)
    return (within - 2 * mean_kernel(mean_a - mean_b, covariance_a + covariance_b)).item()


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Unbiased estimate of 2 E|x - y| - E|x - x'| - E|y - y'|; arguments as in `mmd2`."""
    return _statistic(-_distances(a, b), len(a))


# ---------------------------------------------------------------------------------------------------------- tests


def mmd_test(
    a: Sample,
    b: Sample,
    generator: torch.Generator,
    permutations: int = 999,
    held_out: float = 0.2,
    bandwidth: float = 1.0,
) -> TwoSampleResult:
    """Permutation test of the unbiased MMD² under a Gaussian kernel.

    Every block is divided by its median distance between held-out units; they are not tested, so that the
    bandwidth does not depend on what is permuted.

    Args:
        a, b: samples as the module describes them, units in random order.
        generator: draws the permutations.
        permutations: 999 or another count one below a multiple of 1000, so that p can be .001 exactly.
        held_out: share of the units that set the bandwidth.
        bandwidth: in units of those distances (with several blocks, of the root of their sum of squares).

    Raises:
        ValueError: fewer than 10 units in a group, or blocks that do not fit.
    """
    blocks_a, blocks_b = _checked(a, b)
    first_a, first_b = (max(2, round(held_out * len(blocks[0]))) for blocks in (blocks_a, blocks_b))
    scaled_a, scaled_b = [], []
    for block_a, block_b in zip(blocks_a, blocks_b, strict=True):
        held = torch.cat([block_a[:first_a].flatten(0, -2), block_b[:first_b].flatten(0, -2)])
        distances = torch.pdist(held)
        scale = distances[distances > 0].median() if (distances > 0).any() else torch.ones(())
        scaled_a.append(block_a[first_a:] / scale)
        scaled_b.append(block_b[first_b:] / scale)
    rows_a, rows_b = torch.cat(scaled_a, dim=-1), torch.cat(scaled_b, dim=-1)
    kernel = _gaussian(_distances(rows_a, rows_b), bandwidth * len(blocks_a) ** 0.5)
    return _permutation_test("MMD²", kernel, len(rows_a), permutations, generator)


def energy_test(a: Sample, b: Sample, generator: torch.Generator, permutations: int = 999) -> TwoSampleResult:
    """Permutation test of the energy distance. It has no bandwidth: features must have comparable units.

    Args:
        (as in `mmd_test`; blocks are taken as they are)
    """
    rows_a, rows_b = (torch.cat(blocks, dim=-1) for blocks in _checked(a, b))
    return _permutation_test("energy distance", -_distances(rows_a, rows_b), len(rows_a), permutations, generator)


def quadratic_classifier() -> Any:
    """Logistic regression on all products of two features: it sees means, variances and correlations."""
    return make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(C=0.1)
    )


def classifier_test(
    a: Sample,
    b: Sample,
    generator: torch.Generator,
    permutations: int = 999,
    classifier: Callable[[], Any] = quadratic_classifier,
) -> TwoSampleResult:
    """Train a classifier on half of the units; can it tell the groups apart on the other half?

    The effect is the mean of both groups' accuracies; (1 + total variation) / 2 bounds it from above.

    Args:
        (as in `mmd_test`)
        classifier: makes an unfitted scikit-learn classifier.
    """
    rows_a, rows_b = (torch.cat(blocks, dim=-1) for blocks in _checked(a, b))
    half_a, half_b = len(rows_a) // 2, len(rows_b) // 2
    fitted = classifier()
    train = torch.cat([rows_a[:half_a].flatten(0, -2), rows_b[:half_b].flatten(0, -2)])
    labels = np.repeat([1, 0], [rows_a[:half_a].flatten(0, -2).shape[0], rows_b[:half_b].flatten(0, -2).shape[0]])
    fitted.fit(train.numpy(), labels)

    def called_a(rows: Tensor) -> Tensor:  # for each unit, the share of its rows that are taken for the first group's
        guesses = torch.from_numpy(fitted.predict(rows.flatten(0, -2).numpy())).double()
        return guesses.view(len(rows), -1).mean(1)

    found_a, found_b = called_a(rows_a[half_a:]), called_a(rows_b[half_b:])
    count_a, count_b = len(found_a), len(found_b)
    pooled = torch.cat([found_a, found_b])

    def accuracy(labels: Tensor) -> Tensor:
        sums = labels @ pooled
        return 0.5 + (sums / count_a - (pooled.sum() - sums) / count_b) / 2

    effect = 0.5 + (found_a.mean() - found_b.mean()).item() / 2
    error = (found_a.var().item() / count_a + found_b.var().item() / count_b) ** 0.5 / 2
    p_value, drawn = permuted(accuracy, effect, len(pooled), count_a, permutations, generator)
    units = min(count_a, count_b)
    return result("classifier accuracy", effect, error, p_value, drawn, units, null=0.5, largest=1.0, rate=0.5)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: reject those at most alpha, and the chance of any false rejection is at most alpha."""
    count, worst = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, k in enumerate(sorted(range(count), key=lambda k: p_values[k])):
        worst = max(worst, min(1.0, (count - rank) * p_values[k]))
        adjusted[k] = worst
    return adjusted


# ----------------------------------------------------------------------------------------------------- inside


def _checked(a: Sample, b: Sample) -> tuple[list[Tensor], list[Tensor]]:
    samples = []
    for sample in (a, b):
        blocks = [block.double() for block in ([sample] if isinstance(sample, Tensor) else sample)]
        if not blocks or len({block.shape[:-1] for block in blocks}) != 1 or blocks[0].ndim not in (2, 3):
            shapes = ", ".join(str(tuple(block.shape)) for block in blocks)
            raise ValueError(
                f"a sample's blocks have shapes {shapes}, but all need the same (units, features) or "
                "(units, rows, features) up to the features"
            )
        if len(blocks[0]) < 10:
            raise ValueError(f"a group has {len(blocks[0])} units, but a test needs 10 or more")
        samples.append(blocks)
    if [block.shape[1:] for block in samples[0]] != [block.shape[1:] for block in samples[1]]:
        raise ValueError(
            f"the first sample's blocks are {[tuple(block.shape) for block in samples[0]]}, the second's "
            f"{[tuple(block.shape) for block in samples[1]]}: they must agree but for the number of units"
        )
    return samples[0], samples[1]


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(units, units, rows, rows) distances between all rows of both samples."""
    rows = torch.cat([a, b])
    rows = rows[:, None] if rows.ndim == 2 else rows
    units, each, _ = rows.shape
    flat = rows.flatten(0, 1)
    return torch.cdist(flat, flat).view(units, each, units, each).transpose(1, 2)


def _gaussian(distances: Tensor, bandwidth: float) -> Tensor:
    return torch.exp(-distances.square() / (2 * bandwidth**2))


def _unit_kernel(kernel: Tensor) -> Tensor:
    """Kernel between units: the mean over their rows; a unit's kernel with itself is not used (no bias)."""
    return kernel.mean((2, 3)).fill_diagonal_(0)


def _statistic(kernel: Tensor, count: int) -> float:
    kernel = _unit_kernel(kernel)
    labels = (torch.arange(len(kernel)) < count).to(kernel.dtype)
    return _discrepancies(kernel, labels[None], count).item()


def _discrepancies(kernel: Tensor, labels: Tensor, m: int) -> Tensor:
    """Unbiased discrepancy for each row of 0/1 labels (P, units): within both groups less twice between them."""
    within_a, within_b, between = _means(kernel, labels, m)
    return within_a + within_b - 2 * between


def _means(kernel: Tensor, labels: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean kernel within the first group, within the second, and between them, for each row of labels."""
    n = len(kernel) - m
    rows = kernel.sum(1)
    within_a, reach = (labels * (labels @ kernel)).sum(1), labels @ rows
    between, within_b = reach - within_a, rows.sum() - 2 * reach + within_a
    return within_a / (m * (m - 1)), within_b / (n * (n - 1)), between / (m * n)


def _jackknife_variance(kernel: Tensor, m: int) -> float:
    """Variance of the discrepancy: each unit of each group left out once."""
    n = len(kernel) - m
    own_a, own_b, cross = kernel[:m, :m].sum(1), kernel[m:, m:].sum(1), kernel[:m, m:]
    variance = 0.0
    for own, across, m_, n_ in ((own_a, cross.sum(1), m, n), (own_b, cross.sum(0), n, m)):
        left = (own.sum() - 2 * own) / ((m_ - 1) * (m_ - 2)) - 2 * (across.sum() - across) / ((m_ - 1) * n_)
        variance += (m_ - 1) * left.var(correction=0).item()
    return variance


def _permutation_test(
    method: str, kernel: Tensor, count: int, permutations: int, generator: torch.Generator
) -> TwoSampleResult:
    kernel = _unit_kernel(kernel)
    own = (torch.arange(len(kernel)) < count).double()
    within_a, within_b, between = (mean.item() for mean in _means(kernel, own[None], count))
    effect = within_a + within_b - 2 * between
    # A Gaussian kernel is 0 between groups that never meet; of negative distances the part between is the largest.
    largest = within_a + within_b if within_a + within_b > 0 else -2 * between
    p_value, drawn = permuted(
        lambda labels: _discrepancies(kernel, labels, count), effect, len(kernel), count, permutations, generator
    )
    units = min(count, len(kernel) - count)
    # The jackknife counts twice what varies without any effect (Efron and Stein, The jackknife estimate of variance,
    # Annals of Statistics 1981); the permutations show it once.
    chance = drawn.var().item()
    error = max(_jackknife_variance(kernel, count) - chance, chance) ** 0.5
    return result(method, effect, error, p_value, drawn, units, null=0.0, largest=largest, rate=1.0)
