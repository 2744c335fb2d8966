"""What the metrics share: intervals, distances to the uniform distribution, held-out regression, what they measure."""

from __future__ import annotations

import itertools
from typing import Protocol

import torch
from torch import Tensor

Numbers = dict[str, float]


class Translator(Protocol):
    """What the metrics need of a model: MUNIT, a baseline, or the oracle. Drawn styles lie on the model's device."""

    def translate(self, images: Tensor, source: int, target: int, style: Tensor | None = None) -> Tensor: ...

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor: ...


def translated(model: Translator, images: Tensor, source: int, target: int, style: Tensor) -> Tensor:
    """Images of any device translated on the model's, back on the CPU, where judges read them."""
    return model.translate(images.to(style.device), source, target, style=style).float().cpu()


def mean_with_interval(values: Tensor) -> tuple[float, float]:
    """Mean and half the width of its 95 % normal interval, over independent units."""
    values = values.double()
    return values.mean().item(), (1.96 * values.std() / len(values) ** 0.5).item()


def ks_to_uniform(quantiles: Tensor) -> Tensor:
    """Kolmogorov-Smirnov distance of each row's sample to the uniform distribution on (0, 1).

    Args:
        quantiles: (N, K), K values a row.

    Returns:
        (N,) distances in [0, 1]; about 0.87 / sqrt(K) for truly uniform rows.
    """
    ordered = quantiles.sort(dim=1).values.double()
    count = ordered.shape[1]
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    clamped = ordered.clamp(0, 1)
    return torch.maximum((steps[1:] - clamped).amax(1), (clamped - steps[:-1]).amax(1))


def wasserstein_to_uniform(quantiles: Tensor) -> Tensor:
    """Wasserstein-1 distance of each row's sample to the uniform distribution on (0, 1).

    In one dimension it is the integral of |F^-1(u) - u| over u: the k-th smallest of K values is carried to the
    interval from (k - 1) / K to k / K.

    Args:
        quantiles: (N, K), K values a row.

    Returns:
        (N,) distances; 1/4 for a constant of 1/2.
    """
    ordered = quantiles.sort(dim=1).values.double()
    count = ordered.shape[1]
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    low, high = edges[:-1] - ordered, edges[1:] - ordered  # |.| is integrated from low to high
    return ((high * high.abs() - low * low.abs()) / 2).sum(1)


_WIDTHS = (0.5, 1.0, 4.0, 16.0)  # of the kernel, in median distances; the widest is nearly linear
_RIDGES = (1e-6, 1e-4, 1e-2, 1.0, 100.0, 1e4)  # the largest guesses the mean


def held_out_predictions(codes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Predict targets from codes: Gaussian-kernel ridge regression, fitted on the first half of the rows.

    The kernel's width and the ridge are chosen for each target on the last quarter of the first half.

    Args:
        codes: (N, D), N of 8 or more, rows in random order.
        targets: (N, T).

    Returns:
        predictions for the second half of the rows and the truth there, both (N - N // 2, T) in float64.

    Raises:
        ValueError: fewer than 8 rows, or another number of targets than of codes.
    """
    if len(codes) < 8 or len(codes) != len(targets):
        raise ValueError(f"{len(codes)} codes and {len(targets)} targets: equally many are needed, 8 or more")
    half, codes, targets = len(codes) // 2, codes.double(), targets.double()
    codes = (codes - codes[:half].mean(0)) / codes[:half].std(0).clamp_min(1e-9)
    squared = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").square()
    median = squared[:half, :half].median().clamp_min(1e-9)
    inner = half * 3 // 4
    errors, predictions = [], []
    for width, ridge in itertools.product(_WIDTHS, _RIDGES):
        kernel = torch.exp(-squared / (2 * width**2 * median))
        guessed = _ridge_predictions(kernel[:half, :inner], targets[:inner], ridge)[inner:]
        errors.append((guessed - targets[inner:half]).square().mean(0))
        predictions.append(_ridge_predictions(kernel[:, :half], targets[:half], ridge)[half:])
    best = torch.stack(errors).argmin(0)  # (T,)
    chosen = torch.stack([predictions[k][:, column] for column, k in enumerate(best.tolist())], dim=1)
    return chosen, targets[half:]


def _ridge_predictions(kernel: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Predictions for all rows of (N, M) kernel values to the M fitted rows; the mean is not penalized."""
    fitted, mean = kernel[: len(targets)], targets.mean(0)
    weights = torch.linalg.solve(fitted + ridge * torch.eye(len(fitted), dtype=kernel.dtype), targets - mean)
    return mean + kernel @ weights


def held_out_r2(codes: Tensor, targets: Tensor, names: list[str], name: str) -> Numbers:
    """How much of each target's variance the codes tell: R² of `held_out_predictions`.

    Args:
        codes: (N, D).
        targets: (N, T).
        names: of the T targets.
        name: what the numbers are called: `<name>_<target>_r2` and, as the mean over targets, `<name>_r2`.

    Returns:
        1 if the codes tell all, about 0 if nothing, each with half of its 95 % interval over the held-out rows. An R²
        is a ratio of two means over the same rows, error and variance; the interval is that of its linear part.
    """
    guessed, truth = held_out_predictions(codes, targets)
    spread = (truth - truth.mean(0)).square()
    variance = spread.mean(0)
    left = (guessed - truth).square() / variance  # (N / 2, T) shares of the variance
    moves = left - left.mean(0) * spread / variance  # of the ratio, by each row
    constant = variance <= 1e-12  # there is nothing to tell
    left, moves = torch.where(constant, 1.0, left), torch.where(constant, 0.0, moves)
    numbers: Numbers = {}
    for label, values, changes in (
        (name, left.mean(1), moves.mean(1)),
        *((f"{name}_{target}", left[:, k], moves[:, k]) for k, target in enumerate(names)),
    ):
        numbers[f"{label}_r2"] = 1 - values.mean().item()
        numbers[f"{label}_r2_interval"] = mean_with_interval(changes)[1]
    return numbers
