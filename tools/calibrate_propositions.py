"""Measure how often the proposition checks err.

`python -m tools.calibrate_propositions` writes data/results/propositions_calibration.json in about twenty minutes.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from munit_lite.experiments.results import write_results
from munit_lite.theory.error_rates import count_null_rejections, count_statuses, measure_inversion_errors
from munit_lite.theory.variants import BROKEN_VARIANTS, ORACLE, UNDETECTABLE_VARIANTS


@dataclass(frozen=True)
class CalibrationSettings:
    """The size of the calibration."""

    null_seeds: int = 400
    """Runs of the oracle whose rejections at 0.05 are counted."""
    broken_seeds: int = 59
    """Runs of each broken variant; 59 detections of 59 show a power of 95 % or more, with confidence 95 %."""
    undetectable_seeds: int = 5
    """Runs of each variant that no check can detect."""
    units: int = 500
    """Images of each domain."""
    inverted_images: int = 500
    """Images of each domain to which E* is fitted."""


def main(settings: CalibrationSettings) -> Path:
    """Measure everything, and write the results."""
    numbers: dict[str, Any] = {"pixels": measure_inversion_errors(settings.inverted_images)}
    numbers["nulls"] = count_null_rejections(settings.null_seeds, settings.units)
    numbers["variants"] = {}
    for variant in (*BROKEN_VARIANTS, ORACLE, *UNDETECTABLE_VARIANTS):
        print(variant.name, file=sys.stderr, flush=True)
        seeds = settings.broken_seeds if variant in BROKEN_VARIANTS else settings.undetectable_seeds
        numbers["variants"][variant.name] = count_statuses(variant, seeds, settings.units)
    command = "python -m tools.calibrate_propositions"
    return write_results(
        "propositions_calibration", numbers, asdict(settings), command, ("kind", "variant", "proposition")
    )


if __name__ == "__main__":
    main(tyro.cli(CalibrationSettings))
