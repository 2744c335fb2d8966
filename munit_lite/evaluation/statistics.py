"""Statistics that the metrics share: intervals, distances to the uniform distribution and held-out regression."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

Metrics = dict[str, float]


def mean_with_interval(values: Tensor) -> tuple[float, float]:
    """Compute the mean and the half-width of its 95 % normal interval.

    Args:
        values: (N,), one value for each independent unit. A single value has no interval: its half-width is NaN.

    Example:
        >>> mean, half_width = mean_with_interval(torch.tensor([1.0, 2.0, 3.0]))
        >>> f"{mean:.2f} ± {half_width:.2f}"
        '2.00 ± 1.13'
    """
    values = values.double()
    half_width = (1.96 * values.std() / len(values) ** 0.5).item() if len(values) > 1 else float("nan")
    return values.mean().item(), half_width


def mean_over_directions(metrics: Mapping[str, Mapping[str, float]], name: str) -> tuple[float, float]:
    """Average a metric over the directions of translation.

    The half-width of the interval is the mean of the directions' half-widths. It is conservative: both directions are
    evaluated on the same contents, so their errors may be perfectly correlated.

    Args:
        metrics: direction -> metrics, as `evaluate` returns them.
        name: a metric that every direction has.

    Returns:
        The mean and the half-width of its 95 % interval, which is NaN if a direction has none.

    Raises:
        KeyError: a direction lacks the metric.

    Example:
        >>> mean_over_directions({"1 to 2": {"cis": 0.5, "cis_interval": 0.1}, "2 to 1": {"cis": 1.0}}, "cis")
        (0.75, nan)
    """
    values = [direction[name] for direction in metrics.values()]
    half_widths = [direction.get(f"{name}_interval", float("nan")) for direction in metrics.values()]
    return sum(values) / len(values), sum(half_widths) / len(half_widths)


def ks_to_uniform(quantiles: Tensor) -> Tensor:
    """Compute the Kolmogorov-Smirnov distance of each row's sample to the uniform distribution on (0, 1).

    Args:
        quantiles: (N, K), a sample of K values in each row.

    Returns:
        (N,) distances in [0, 1]; about 0.87 / sqrt(K) for truly uniform rows.

    Example:
        >>> ks_to_uniform(torch.tensor([[0.5, 0.5]])).item()
        0.5
    """
    ordered = quantiles.sort(dim=1).values.double()
    count = ordered.shape[1]
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    clamped = ordered.clamp(0, 1)
    return torch.maximum((edges[1:] - clamped).amax(1), (clamped - edges[:-1]).amax(1))


def wasserstein_to_uniform(quantiles: Tensor) -> Tensor:
    """Compute the Wasserstein-1 distance of each row's sample to the uniform distribution on (0, 1).

    In one dimension it is the integral of |F⁻¹(u) - u| over u: the k-th smallest of K values is transported to the
    interval from (k - 1) / K to k / K.

    Args:
        quantiles: (N, K), a sample of K values in each row.

    Returns:
        (N,) distances; 1/4 for a constant of 1/2.

    Example:
        >>> wasserstein_to_uniform(torch.tensor([[0.5, 0.5]])).item()
        0.25
    """
    ordered = quantiles.sort(dim=1).values.double()
    count = ordered.shape[1]
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    low, high = edges[:-1] - ordered, edges[1:] - ordered  # |.| is integrated from low to high
    return ((high * high.abs() - low * low.abs()) / 2).sum(1)


_BANDWIDTHS = (0.5, 1.0, 4.0, 16.0)  # in units of the median distance; with the largest the kernel is nearly linear
_RIDGES = (1e-6, 1e-4, 1e-2, 1.0, 100.0, 1e4)  # with the largest the prediction is nearly the mean


def held_out_predictions(codes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a probe, a Gaussian-kernel ridge regression, on the first half of the rows and predict the second half.

    The bandwidth and the ridge are chosen for each target on the last quarter of the first half.

    Args:
        codes: (N, D) with N of at least 8, rows in random order.
        targets: (N, T).

    Returns:
        Predictions for the second half of the rows and the true targets there, both (N - N // 2, T) in float64.

    Raises:
        ValueError: there are fewer than 8 rows, or the numbers of codes and targets differ.
    """
    if len(codes) < 8 or len(codes) != len(targets):
        raise ValueError(f"got {len(codes)} codes and {len(targets)} targets, but need equally many, at least 8")
    half, codes, targets = len(codes) // 2, codes.double(), targets.double()
    codes = (codes - codes[:half].mean(0)) / codes[:half].std(0).clamp_min(1e-9)
    squared = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").square()
    median = squared[:half, :half].median().clamp_min(1e-9)
    num_fitted = half * 3 // 4
    errors, candidates = [], []
    for bandwidth, ridge in itertools.product(_BANDWIDTHS, _RIDGES):
        kernel = torch.exp(-squared / (2 * bandwidth**2 * median))
        validation = _ridge_predictions(kernel[:half, :num_fitted], targets[:num_fitted], ridge)[num_fitted:]
        errors.append((validation - targets[num_fitted:half]).square().mean(0))
        candidates.append(_ridge_predictions(kernel[:, :half], targets[:half], ridge)[half:])
    best = torch.stack(errors).argmin(0)  # (T,)
    predictions = torch.stack([candidates[k][:, column] for column, k in enumerate(best.tolist())], dim=1)
    return predictions, targets[half:]


def _ridge_predictions(kernel: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Predict all N rows from their kernel values (N, M) with the M fitted rows. The mean is not penalized."""
    fitted, mean = kernel[: len(targets)], targets.mean(0)
    weights = torch.linalg.solve(fitted + ridge * torch.eye(len(fitted), dtype=kernel.dtype), targets - mean)
    return mean + kernel @ weights


def held_out_r2(codes: Tensor, targets: Tensor, target_names: list[str], prefix: str) -> Metrics:
    """Compute the held-out R² of a probe: the fraction of each target's variance that it predicts from the codes.

    Args:
        codes: (N, D) with N of at least 8, rows in random order.
        targets: (N, T).
        target_names: names of the T targets.
        prefix: prefix of the metrics: `<prefix>_<target>_r2`, and `<prefix>_r2` for the mean over targets.

    Returns:
        R², which is 1 if the codes determine the target and about 0 if they carry no information about it, and the
        half-width of its 95 % interval over the held-out rows. An R² is one minus a ratio of two means over the same
        rows, error and variance; the interval is that of the ratio's first-order expansion.

    Raises:
        ValueError: there are fewer than 8 rows, or the numbers of codes and targets differ.
    """
    predictions, truth = held_out_predictions(codes, targets)
    deviations = (truth - truth.mean(0)).square()
    variance = deviations.mean(0)
    unexplained = (predictions - truth).square() / variance  # (N / 2, T), in units of the variance
    influence = unexplained - unexplained.mean(0) * deviations / variance  # of each row on the ratio
    constant = variance <= 1e-12  # a constant target has no variance to predict
    unexplained, influence = torch.where(constant, 1.0, unexplained), torch.where(constant, 0.0, influence)
    metrics: Metrics = {}
    for name, values, changes in (
        (prefix, unexplained.mean(1), influence.mean(1)),
        *((f"{prefix}_{name}", unexplained[:, k], influence[:, k]) for k, name in enumerate(target_names)),
    ):
        metrics[f"{name}_r2"] = 1 - values.mean().item()
        metrics[f"{name}_r2_interval"] = mean_with_interval(changes)[1]
    return metrics
