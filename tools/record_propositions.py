"""Record what the proposition checks measure of the oracle, of broken variants, of an untrained and of trained models.

`python -m tools.record_propositions` writes a file <name>_propositions.json in data/results for each of the models, and
dose_curves.json. It takes about half an hour on one core; `--names` selects some of the files.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
import tyro

from munit_lite.evaluation.statistics import mean_with_interval
from munit_lite.experiments.results import write_results
from munit_lite.methods import build
from munit_lite.storage.checkpoints import load
from munit_lite.theory.oracle import CodeWorld, LookupWorld, Oracle
from munit_lite.theory.propositions import check_all, check_trained_model
from munit_lite.theory.variants import BREAKS

DOSE_CURVES, ORACLE, UNTRAINED = "dose_curves", "pixel_oracle", "untrained"
CHECKPOINTS = ("world32_step_1000", "world32_step_2000", "world32_step_4000", "world32")
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class RecordSettings:
    """What is recorded."""

    names: tuple[str, ...] = (DOSE_CURVES, ORACLE, UNTRAINED, *CHECKPOINTS)
    """The files, without _propositions; checkpoints by their names."""
    units: int = 1000
    """Images of each domain."""
    seed: int = 1
    """Of the images and sampled styles; of the dose curves, the first one."""
    dose_seeds: int = 20
    """Runs of the oracle with each break and strength. A single one can miss an effect of 0.04 by 0.016."""


def measure_dose_curves(units: int, seeds: range) -> dict[str, Any]:
    """Measure the mean effects of each break of the oracle on exact factors.

    Args:
        units: images of each domain.
        seeds: of the images and sampled styles.

    Returns:
        break -> check -> equality -> strength -> mean effect, and the half-width of its 95 % interval under
        `<strength>_interval`.
    """
    world = CodeWorld()
    curves: dict[str, Any] = {}
    for name, variant in BREAKS.items():
        for strength in STRENGTHS:
            effects: dict[tuple[str, str], list[float]] = {}
            for seed in seeds:
                for check, verdict in check_all(Oracle(world, variant(strength)), world, units, seed).items():
                    for finding in verdict.findings:
                        effects.setdefault((check, finding.name), []).append(finding.effect)
            for (check, equality), values in effects.items():
                curve = curves.setdefault(name, {}).setdefault(check, {}).setdefault(equality, {})
                mean, half_width = mean_with_interval(torch.tensor(values))
                curve |= {f"{strength:g}": mean, f"{strength:g}_interval": half_width}
    return curves


def main(settings: RecordSettings) -> None:
    """Measure and write one file after the other."""
    for name in settings.names:
        print(name, file=sys.stderr, flush=True)
        command = f"python -m tools.record_propositions --names {name}"
        if name == DOSE_CURVES:
            curves = measure_dose_curves(settings.units, range(settings.seed, settings.seed + settings.dose_seeds))
            write_results(name, curves, asdict(settings), command, ("break", "proposition", "equality"))
            continue
        if name == ORACLE:
            world = LookupWorld()
            verdicts = check_all(Oracle(world), world, settings.units, settings.seed)
        elif name == UNTRAINED:
            verdicts = check_trained_model(build(load(CHECKPOINTS[-1]).config), settings.units, settings.seed)
        else:
            verdicts = check_trained_model(load(name), settings.units, settings.seed)
        numbers: dict[str, Any] = {check: verdict.to_dict() for check, verdict in verdicts.items()}
        write_results(f"{name}_propositions", numbers, asdict(settings), command, ("proposition", "list", "part"))


if __name__ == "__main__":
    main(tyro.cli(RecordSettings))
