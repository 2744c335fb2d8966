"""Error rates of the proposition checks: how often they decide rightly, on the oracle, its variants and trained models.

`python -m tools.calibrate_propositions` runs these functions and records the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor

from munit_lite.theory.oracle import CodeWorld, LookupWorld, Oracle, PixelWorld
from munit_lite.theory.propositions import (
    BANDWIDTH,
    CHECKS,
    EFFECT_THRESHOLD,
    CheckRecords,
    record_content_preservation,
)
from munit_lite.theory.two_sample import scaled_kernel, weighted_mmd2
from munit_lite.theory.variants import OracleVariant
from munit_lite.theory.verdicts import (
    FAILS,
    HOLDS,
    QUANTILE,
    UNDECIDED,
    ErrorSummary,
    Finding,
    PropositionVerdict,
    error_finding,
    summarize_errors,
)

RELATIVE_EFFECTS = (0.5, 0.75, 1.0, 1.25, 1.5)  # true effects as multiples of the margin


def count_statuses(variant: OracleVariant, seeds: int, units: int) -> dict[str, dict[str, Any]]:
    """Count the statuses of each check for a variant of the oracle.

    Args:
        variant: the variant.
        seeds: number of independent runs of each check.
        units: images of each domain, 100 or more.

    Returns:
        by check: the expected reasons, the number of seeds that gave them, and the number of each status.
    """
    world = CodeWorld(variant.world)
    counts = {}
    for name, check in CHECKS.items():
        verdicts = [check(Oracle(world, variant), world, units, seed) for seed in range(seeds)]
        expected = getattr(variant.expected, name)
        as_expected = sum(v.reasons == expected for v in verdicts)
        counts[name] = {"expected": expected, "as_expected": as_expected, "seeds": seeds} | _count_statuses(verdicts)
    return counts


def measure_inversion_errors(units: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Measure the error of E* on pixels: the largest error of any normal score and of any pixel of each image.

    Args:
        units: images of each domain, 72 or more.
        seed: seed of the images.

    Returns:
        The fields of `ErrorSummary` by name, "codes 1" to "pixels 2".
    """
    world, errors = PixelWorld(), {}
    for domain in (1, 2):
        content, style = world.codes(torch.arange(units), seed, domain)
        x = world.render(content, style, domain)
        fitted_content, fitted_style = world.invert(x, domain)
        code_errors = torch.cat([fitted_content - content, fitted_style - style], dim=1).abs().amax(1)
        pixel_errors = (world.render(fitted_content, fitted_style, domain) - x).flatten(1).abs().amax(1)
        errors[f"codes {domain}"] = asdict(summarize_errors(code_errors))
        errors[f"pixels {domain}"] = asdict(summarize_errors(pixel_errors))
    return errors


def count_resampled_statuses(
    records: CheckRecords, units: int, repetitions: int, seed: int = 0
) -> dict[str, dict[str, dict[str, int]]]:
    """Count the statuses of equalities whose effects are known exactly, below, at and above the margin.

    The recorded units are the population, from which units are sampled with replacement. In the first sample of a test,
    only a fraction of the units are the model's; the others come from the population of the second sample. The fraction
    is chosen so that the effect is the wanted multiple of the margin. Of errors the margin is chosen instead.

    Args:
        records: what a check measured of a model. Equalities whose effects are smaller than 1.5 times the margin are
            left out.
        units: size of each sample.
        repetitions: number of samples for each effect.
        seed: of the samples.

    Returns:
        equality -> multiple of the margin -> number of each status.
    """
    generator = torch.Generator().manual_seed(seed)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for (name, _), (a, b) in records.samples.items():
        kernel = scaled_kernel(a, b, BANDWIDTH).float()
        if _mixture_effect(kernel, 1.0) < max(RELATIVE_EFFECTS) * EFFECT_THRESHOLD:
            continue
        counts[name] = {}
        for multiple in RELATIVE_EFFECTS:
            fraction = _mixture_fraction(kernel, multiple * EFFECT_THRESHOLD)
            weights = (_weights(kernel, t, units, repetitions, generator) for t in (fraction, 0.0))
            effect, low, high, max_effect = weighted_mmd2(kernel, *weights)
            intervals = (torch.stack([effect, low, high]) / max_effect).T.tolist()
            findings = [Finding(name, "", "", x, low_x, high_x, EFFECT_THRESHOLD) for x, low_x, high_x in intervals]
            counts[name][f"{multiple:g}"] = _count_statuses(findings)
    for (name, _), (errors, _) in records.errors.items():
        summaries = resample_errors(errors, units, repetitions, seed)
        counts[name] = {
            f"{multiple:g}": _count_statuses(
                [error_finding(name, "", summary, errors.quantile(QUANTILE).item() / multiple) for summary in summaries]
            )
            for multiple in RELATIVE_EFFECTS
        }
    return counts


def _weights(kernel: Tensor, fraction: float, units: int, repetitions: int, generator: torch.Generator) -> Tensor:
    """Sample from the population t A + (1 - t) B: how often each unit is chosen, (2 population, repetitions)."""
    index = torch.randint(len(kernel) // 2, (repetitions, units), generator=generator)
    index += len(kernel) // 2 * (torch.rand(index.shape, generator=generator) >= fraction)
    return torch.zeros(repetitions, len(kernel)).scatter_add_(1, index, torch.ones(index.shape)).T


def resample_errors(errors: Tensor, units: int, repetitions: int, seed: int = 0) -> list[ErrorSummary]:
    """Summarize samples of a population of errors, (N,), that are drawn with replacement."""
    index = torch.randint(len(errors), (repetitions, units), generator=torch.Generator().manual_seed(seed))
    return [summarize_errors(sample) for sample in errors[index]]


def measure_content_floor(units: int, repetitions: int, seed: int) -> dict[str, dict[str, float]]:
    """Measure what the oracle scores in the check of the content on pixels: the error of the attribute predictors.

    Args:
        units: images of each domain, and size of the samples.
        repetitions: number of samples.
        seed: of the images.

    Returns:
        equality -> the fields of `ErrorSummary`, the fraction of samples of which the check holds, and the 97.5 %
        quantile of the upper ends of their intervals, from which the tolerance was set.
    """
    world, floor = LookupWorld(), {}
    for (name, _), (errors, tolerance) in record_content_preservation(Oracle(world), world, units, seed).errors.items():
        high = torch.tensor([summary.high for summary in resample_errors(errors, units, repetitions)])
        passed = (high <= tolerance).double().mean().item()
        floor[name] = asdict(summarize_errors(errors)) | {"passed": passed, "high_975": high.quantile(0.975).item()}
    return floor


def _mixture_effect(kernel: Tensor, t: float) -> float:
    """Return the normalized effect by which the population t A + (1 - t) B differs from B."""
    half = len(kernel) // 2
    quarters = kernel[:half, :half], kernel[:half, half:], kernel[half:, half:]
    a, between, b = (quarter.mean(dtype=torch.float64).item() for quarter in quarters)
    within = t**2 * a + 2 * t * (1 - t) * between + (1 - t) ** 2 * b
    return t**2 * (a + b - 2 * between) / (within + b)


def _mixture_fraction(kernel: Tensor, effect: float) -> float:
    """Return the t for which `_mixture_effect` is a given effect."""
    return float(brentq(lambda t: _mixture_effect(kernel, t) - effect, 0.0, 1.0, xtol=1e-6))


def _count_statuses(decided: Sequence[Finding | PropositionVerdict]) -> dict[str, int]:
    return {status: sum(one.status == status for one in decided) for status in (HOLDS, FAILS, UNDECIDED)}
