"""Error rates of the proposition checks: rejected nulls, missed broken variants, and the accuracy of E* on pixels.

`python -m tools.calibrate_propositions` runs these functions and records the results.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from munit_lite.theory.oracle import CodeWorld, Oracle, PixelWorld
from munit_lite.theory.propositions import CHECKS
from munit_lite.theory.variants import OracleVariant
from munit_lite.theory.verdicts import FAILS, HOLDS, UNDECIDED, summarize_errors

TESTED = ("optimality", "latent_matching", "joint_matching")  # the checks that use two-sample tests


def count_null_rejections(seeds: int, units: int, level: float = 0.05) -> dict[str, dict[str, int]]:
    """Count how often the checks reject the oracle, for which every hypothesis is true.

    Args:
        seeds: number of independent runs of each check.
        units: images of each domain.
        level: of the rejections that are counted; the statuses are those at `propositions.ALPHA`.

    Returns:
        by check: the number of runs that were rejected, and of each status.
    """
    world = CodeWorld()
    counts = {name: dict.fromkeys(("rejected", HOLDS, FAILS, UNDECIDED), 0) for name in TESTED}
    for seed in range(seeds):
        for name in TESTED:
            verdict = CHECKS[name](Oracle(world), world, units, 1000 + seed)
            p_values = [finding.p_value for finding in verdict.findings if finding.p_value is not None]
            counts[name]["rejected"] += min(p_values) <= level
            counts[name][verdict.status] += 1
    return counts


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
        statuses = {status: sum(v.status == status for v in verdicts) for status in (HOLDS, FAILS, UNDECIDED)}
        expected = getattr(variant.expected, name)
        as_expected = sum(v.reasons == expected for v in verdicts)
        counts[name] = {"expected": expected, "as_expected": as_expected, "seeds": seeds} | statuses
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
