"""Record what the proposition checks measure of the oracle, of broken variants, of an untrained and of trained models.

`python -m tools.record_propositions` writes a file <name>_propositions.json in data/results for each of the models, and
dose_curves.json. It takes about half an hour on one core; `--names` selects some of the files.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import tyro

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
    """Of the images and sampled styles."""


def measure_dose_curves(units: int, seed: int) -> dict[str, Any]:
    """Measure the effects of each break of the oracle on exact factors.

    Args:
        units: images of each domain.
        seed: of the images and sampled styles.

    Returns:
        break -> check -> equality -> strength -> effect.
    """
    world = CodeWorld()
    curves: dict[str, Any] = {}
    for name, variant in BREAKS.items():
        for strength in STRENGTHS:
            for check, verdict in check_all(Oracle(world, variant(strength)), world, units, seed).items():
                for finding in verdict.findings:
                    curve = curves.setdefault(name, {}).setdefault(check, {}).setdefault(finding.name, {})
                    curve[f"{strength:g}"] = finding.effect
    return curves


def main(settings: RecordSettings) -> None:
    """Measure and write one file after the other."""
    for name in settings.names:
        print(name, file=sys.stderr, flush=True)
        command = f"python -m tools.record_propositions --names {name}"
        if name == DOSE_CURVES:
            curves = measure_dose_curves(settings.units, settings.seed)
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
