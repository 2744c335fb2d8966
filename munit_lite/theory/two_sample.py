"""Two-sample tests: do two samples come from one distribution, how large is the difference, how certain is it?

The *unit* is what was sampled independently: a pair (x1, x1→2), or an input with its four outputs. Permutations
exchange units between the groups, never what is inside one. A sample is a tensor (units, features) or (units, rows,
features), or several such blocks of the same units: each block then has equal weight, so a content code of 8,192
features does not outweigh a style of three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch import Tensor

Sample: TypeAlias = Tensor | Sequence[Tensor]

_NORMAL_QUANTILE = NormalDist().inv_cdf(0.975)
_MAX_DISTANCES = 2**17  # of more distances, for 512 units or more, evenly spaced ones estimate the median well enough
_BATCH_SIZE = 250  # permutations evaluated together
_MAX_EXCEEDANCES = 100  # permutations that reach the observed effect: the p-value is then known to a tenth of itself


@dataclass(frozen=True)
class TwoSampleResult:
    """The result of a two-sample test.

    Args:
        method: what the effect is: "MMD²" or "classifier accuracy".
        effect: unbiased estimate; its expectation is `null_effect` if the distributions are equal.
        low: lower end of the effect's 95 % interval (see `weighted_mmd2`; for the classifier a normal one over held-out
            units).
        high: upper end of that interval.
        p_value: fraction of permutations with an effect at least as large; the observed order counts as one of them,
            unless sampling stopped early.
        null_effect: effect of equal distributions.
        max_effect: effect if the groups did not overlap at all and everything else were the same.
    """

    method: str
    effect: float
    low: float
    high: float
    p_value: float
    null_effect: float
    max_effect: float


# ------------------------------------------------------------------------------------------------------ estimates


def mmd2(a: Tensor, b: Tensor, bandwidth: float) -> float:
    """Estimate the squared maximum mean discrepancy without bias, for k(x, y) = exp(-|x - y|² / (2 bandwidth²)).

    Args:
        a: (m, D) or (m, rows, D), with m of 2 or more.
        b: (n, D) or (n, rows, D).
        bandwidth: in the units of the features.

    Example:
        >>> round(mmd2(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]), bandwidth=1.0), 3)
        0.769
    """
    return kernel_test(gaussian_kernel(a, b, bandwidth), len(a)).effect


def gaussian_mmd2(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor, bandwidth: float
) -> float:
    """Compute the exact squared MMD of two normal distributions under the Gaussian kernel.

    E k(x, y) = det(I + S / l²)^(-1/2) exp(-d' (l² I + S)^-1 d / 2), where S is the sum of the covariances, d the
    difference of the means and l the bandwidth.

    Args:
        mean_a: (D,).
        covariance_a: (D, D).
        mean_b: (D,).
        covariance_b: (D, D).
        bandwidth: in the units of the features.
    """

    def mean_kernel(mean: Tensor, covariance: Tensor) -> Tensor:
        widened = bandwidth**2 * torch.eye(len(mean), dtype=mean.dtype) + covariance
        scale = torch.linalg.det(widened / bandwidth**2).rsqrt()
        return scale * torch.exp(-0.5 * mean @ torch.linalg.solve(widened, mean))

    zero = torch.zeros_like(mean_a)
    within = mean_kernel(zero, 2 * covariance_a) + mean_kernel(zero, 2 * covariance_b)
    return (within - 2 * mean_kernel(mean_a - mean_b, covariance_a + covariance_b)).item()


# ---------------------------------------------------------------------------------------------------------- tests


def mmd_test(
    a: Sample,
    b: Sample,
    generator: torch.Generator,
    permutations: int = 999,
    bandwidth: float = 1.0,
) -> TwoSampleResult:
    """Test equality of two distributions by permutations of the unbiased MMD² with a Gaussian kernel.

    Each block is divided by the median distance between the rows of both samples, which no permutation changes.

    Args:
        a: first sample, as the module describes it.
        b: second sample.
        generator: samples the permutations.
        permutations: at most this many; 999 allows p = 0.001 exactly, and 0 computes the effect alone, with p = 1.
        bandwidth: in units of those median distances (for several blocks, of the root of their sum of squares).

    Raises:
        ValueError: a group has fewer than 10 units, or the shapes of the blocks do not match.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> a, b = torch.randn(2, 50, 3, generator=generator)
        >>> mmd_test(a, b + 2, generator).p_value
        0.001
    """
    return kernel_test(scaled_kernel(a, b, bandwidth), len(_blocks(a)[0]), permutations, generator)


def scaled_kernel(a: Sample, b: Sample, bandwidth: float) -> Tensor:
    """Compute the kernel of `mmd_test` between all units of both samples.

    Returns:
        (m + n, m + n) in float64.
    """
    blocks_a, blocks_b = _validate_samples(a, b)
    squares = np.zeros(1)
    for block_a, block_b in zip(blocks_a, blocks_b, strict=True):
        rows = torch.cat([block_a, block_b])
        distances = pdist(rows.flatten(0, -2).numpy())
        spaced = distances[:: 1 + len(distances) // _MAX_DISTANCES]
        positive = spaced[spaced > 0]
        scale = np.partition(positive, len(positive) // 2)[len(positive) // 2] if len(positive) else 1.0
        distances /= scale
        squares = squares + np.square(distances, out=distances)
    return _unit_kernel(squares, rows, bandwidth * len(blocks_a) ** 0.5)


def gaussian_kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    """Compute exp(-|x - y|² / (2 bandwidth²)) between all units of both samples; several rows of a unit are averaged.

    Args:
        a: (m, D) or (m, rows, D).
        b: (n, D) or (n, rows, D).
        bandwidth: in the units of the features.

    Returns:
        (m + n, m + n) in float64.
    """
    rows = torch.cat([a, b])
    return _unit_kernel(pdist(rows.flatten(0, -2).numpy(), "sqeuclidean"), rows, bandwidth)


def _unit_kernel(squares: np.ndarray, rows: Tensor, bandwidth: float) -> Tensor:
    """Return the kernel between units from the condensed squared distances between rows."""
    squares *= -0.5 / bandwidth**2
    kernel = torch.from_numpy(squareform(np.exp(squares, out=squares), checks=False)).fill_diagonal_(1)
    return kernel.unflatten(0, (len(rows), -1)).unflatten(2, (len(rows), -1)).mean((1, 3)) if rows.ndim == 3 else kernel


def kernel_test(
    kernel: Tensor, first_group: int, permutations: int = 0, generator: torch.Generator | None = None
) -> TwoSampleResult:
    """Do what `mmd_test` does with the kernel between all units of both samples.

    Args:
        kernel: symmetric, (units, units); its diagonal is not used.
        first_group: number of units in the first group, which come first.
        permutations: at most this many; 0 computes the effect alone, with p = 1.
        generator: samples the permutations.
    """
    in_a = (torch.arange(len(kernel)) < first_group).to(kernel.dtype)[:, None]
    effect, low, high, max_effect = (value.item() for value in weighted_mmd2(kernel, in_a, 1 - in_a))
    p_value = sequential_permutation_test(
        lambda labels: _discrepancy(kernel, labels, first_group),
        effect,
        len(kernel),
        first_group,
        permutations,
        generator,
    )
    return TwoSampleResult("MMD²", effect, low, high, p_value, 0.0, max_effect)


def weighted_mmd2(kernel: Tensor, weights_a: Tensor, weights_b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Estimate the squared MMD, with intervals, of R pairs of groups that consist of repeated units.

    An interval holds all values that a score test does not reject. The variance of the estimate is modeled as
    V0 + s MMD²: V0 is its variance if the distributions are equal, and s follows from the jackknife. Without this
    increase the interval would be too short wherever the estimate happens to be too small. If the distributions are
    equal, the estimate is skewed and the interval lies above zero in about 6 % of all cases; test that by the p-value.

    Args:
        kernel: symmetric, (units, units).
        weights_a: how often the first group contains each unit, (units, R).
        weights_b: the same for the second group.

    Returns:
        The effect, both ends of its 95 % interval and the effect of groups that do not overlap, each (R,).
    """
    m, n, diagonal = weights_a.sum(0), weights_b.sum(0), kernel.diagonal()[:, None]
    to_a, to_b = kernel @ weights_a, kernel @ weights_b
    own_a, own_b = to_a - diagonal, to_b - diagonal  # a unit is not compared with itself: the estimate is unbiased
    max_effect = (weights_a * own_a).sum(0) / (m * (m - 1)) + (weights_b * own_b).sum(0) / (n * (n - 1))
    effect = max_effect - 2 * (weights_a * to_b).sum(0) / (m * n)
    jackknife = torch.zeros_like(effect)
    for weights, own, across, m_, n_ in ((weights_a, own_a, to_b, m, n), (weights_b, own_b, to_a, n, m)):
        left_out = 2 * (across / n_ - own / (m_ - 2)) / (m_ - 1)  # up to a constant, the estimate without the unit
        deviations = left_out - (weights * left_out).sum(0) / m_
        jackknife += (weights * deviations.square()).sum(0) * (m_ - 1) / m_
    weights, rows = weights_a + weights_b, to_a + to_b - diagonal
    squares = kernel.square() @ weights - diagonal.square()
    null_variance = _null_variance(m, n, (weights * torch.stack([squares, rows.square(), rows])).sum(1))
    # The jackknife counts twice the variance that remains without an effect (Efron and Stein, The jackknife estimate
    # of variance, Annals of Statistics 1981).
    increase = (jackknife - 2 * null_variance).clamp_min(0)
    half_slope = _NORMAL_QUANTILE**2 * increase / torch.maximum(effect, null_variance.sqrt()) / 2
    variance = _NORMAL_QUANTILE**2 * null_variance + 2 * half_slope * effect.clamp_min(0)
    half_width = (half_slope.square() + variance).sqrt()
    return effect, effect + half_slope - half_width, effect + half_slope + half_width, max_effect


def quadratic_classifier() -> Any:
    """Build a logistic regression on all products of two features: it sees means, variances and correlations."""
    return make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(C=0.1)
    )


def classifier_test(
    a: Sample,
    b: Sample,
    generator: torch.Generator,
    permutations: int = 999,
    build_classifier: Callable[[], Any] = quadratic_classifier,
) -> TwoSampleResult:
    """Test equality of two distributions with a classifier trained on half of the units.

    The effect is its balanced accuracy on the other half, which is at most (1 + total variation) / 2.

    Args:
        a: as in `mmd_test`; so are `b`, `generator` and `permutations`.
        b: second sample.
        generator: samples the permutations.
        permutations: at most this many.
        build_classifier: returns an unfitted scikit-learn classifier.

    Raises:
        ValueError: as for `mmd_test`.
    """
    rows_a, rows_b = (torch.cat(blocks, dim=-1) for blocks in _validate_samples(a, b))
    half_a, half_b = len(rows_a) // 2, len(rows_b) // 2
    classifier = build_classifier()
    train_a, train_b = rows_a[:half_a].flatten(0, -2), rows_b[:half_b].flatten(0, -2)
    classifier.fit(torch.cat([train_a, train_b]).numpy(), np.repeat([1, 0], [len(train_a), len(train_b)]))

    def predict(rows: Tensor) -> Tensor:  # for each unit, the fraction of its rows that are assigned to the first group
        predictions = torch.from_numpy(classifier.predict(rows.flatten(0, -2).numpy())).double()
        return predictions.view(len(rows), -1).mean(1)

    scores_a, scores_b = predict(rows_a[half_a:]), predict(rows_b[half_b:])
    count_a, count_b = len(scores_a), len(scores_b)
    pooled = torch.cat([scores_a, scores_b])

    def accuracy(labels: Tensor) -> Tensor:
        sums = labels @ pooled
        return 0.5 + (sums / count_a - (pooled.sum() - sums) / count_b) / 2

    effect = 0.5 + (scores_a.mean() - scores_b.mean()).item() / 2
    error = (scores_a.var().item() / count_a + scores_b.var().item() / count_b) ** 0.5 / 2
    p_value = sequential_permutation_test(accuracy, effect, len(pooled), count_a, permutations, generator)
    low, high = effect - _NORMAL_QUANTILE * error, effect + _NORMAL_QUANTILE * error
    return TwoSampleResult("classifier accuracy", effect, low, high, p_value, 0.5, 1.0)


def sequential_permutation_test(
    statistic: Callable[[Tensor], Tensor],
    effect: float,
    units: int,
    first_group: int,
    permutations: int,
    generator: torch.Generator | None,
) -> float:
    """Compute the p-value of an effect by random permutations of the units.

    Sampling stops once `_MAX_EXCEEDANCES` permutations reach the observed effect: their fraction among those sampled
    until then is a valid p-value, too (Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 1991).

    Args:
        statistic: maps 0/1 labels, (P, units), to effects, (P,).
        effect: the observed effect.
        units: number of units in both groups together.
        first_group: number of units in the first group.
        permutations: at most this many.
        generator: samples them.
    """
    effects = exceedances = torch.empty(0, dtype=torch.float64)
    while len(effects) < permutations:
        batch_size = min(_BATCH_SIZE, permutations - len(effects))
        order = torch.rand(batch_size, units, generator=generator, dtype=torch.float64)
        labels = torch.zeros(batch_size, units, dtype=torch.float64)
        labels.scatter_(1, order.topk(first_group, dim=1, sorted=False).indices, 1.0)
        effects = torch.cat([effects, statistic(labels)])
        slack = 1e-12 * max(1.0, effects.abs().max().item())  # equal sums may differ in their last bits
        exceedances = torch.nonzero(effects >= effect - slack).flatten()
        if len(exceedances) >= _MAX_EXCEEDANCES:
            return _MAX_EXCEEDANCES / (int(exceedances[_MAX_EXCEEDANCES - 1]) + 1)
    return (1 + len(exceedances)) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's method.

    Rejecting those of at most alpha keeps the probability of any false rejection at or below alpha.

    Example:
        >>> holm([0.01, 0.04, 0.03, 0.005])
        [0.03, 0.06, 0.06, 0.02]
    """
    count, largest = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, k in enumerate(sorted(range(count), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (count - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


# -------------------------------------------------------------------------------------------------------- helpers


def _blocks(sample: Sample) -> Sequence[Tensor]:
    return [sample] if isinstance(sample, Tensor) else sample


def _validate_samples(a: Sample, b: Sample) -> tuple[list[Tensor], list[Tensor]]:
    """Return the blocks of both samples in float64."""
    samples = []
    for sample in (a, b):
        blocks = [block.double() for block in _blocks(sample)]
        if not blocks or len({block.shape[:-1] for block in blocks}) != 1 or blocks[0].ndim not in (2, 3):
            shapes = ", ".join(str(tuple(block.shape)) for block in blocks)
            raise ValueError(
                f"a sample's blocks have shapes {shapes}, but all must be (units, features) or (units, rows, features) "
                "and may differ only in the number of features"
            )
        if len(blocks[0]) < 10:
            raise ValueError(f"a group has {len(blocks[0])} units, but a test needs 10 or more")
        samples.append(blocks)
    if [block.shape[1:] for block in samples[0]] != [block.shape[1:] for block in samples[1]]:
        raise ValueError(
            f"the blocks of the first sample have shapes {[tuple(block.shape) for block in samples[0]]}, those of the "
            f"second {[tuple(block.shape) for block in samples[1]]}: they may differ only in the number of units"
        )
    return samples[0], samples[1]


def _discrepancy(kernel: Tensor, labels: Tensor, m: int) -> Tensor:
    """Return the unbiased discrepancy for each row of 0/1 labels, (P, units) -> (P,)."""
    n, diagonal = len(kernel) - m, kernel.diagonal()
    rows = kernel.sum(1) - diagonal
    within_a, total_a = (labels * (labels @ kernel - labels * diagonal)).sum(1), labels @ rows
    between, within_b = total_a - within_a, rows.sum() - 2 * total_a + within_a
    return within_a / (m * (m - 1)) + within_b / (n * (n - 1)) - 2 * between / (m * n)


def _null_variance(m: Tensor, n: Tensor, sums: Tensor) -> Tensor:
    """Compute the variance of the discrepancy of equal distributions, up to a factor of 1 + O(1 / units).

    Row and column effects of the kernel cancel in the discrepancy. What is left after they are subtracted is
    uncorrelated, and its sum of squares follows from three sums over the units.

    Args:
        m: units of the first group, (R,).
        n: units of the second group, (R,).
        sums: of the squared kernel, of the squared sums of its rows and of the kernel, without the diagonal, (3, R).
    """
    units = m + n
    squares = sums[0] - 2 * sums[1] / (units - 2) + sums[2].square() / ((units - 1) * (units - 2))
    return squares / (units * (units - 1)) * (2 / (m * (m - 1)) + 2 / (n * (n - 1)) + 4 / (m * n))
