"""Measure whether a model of the known world hides information about its inputs in its translations.

`python -m tools.measure_steganography --run RUN` writes data/results/steganography.json.
"""

from __future__ import annotations

from pathlib import Path

import tyro

from munit_lite.evaluation.steganography import measure_hidden_signal
from munit_lite.experiments.provenance import train_command
from munit_lite.experiments.results import write_results
from munit_lite.storage.checkpoints import load


def main(run: Path, count: int = 200, seed: int = 1) -> Path:
    """Write data/results/steganography.json.

    Args:
        run: folder of a run on the known world.
        count: number of images of each domain.
        seed: seed of images, styles and noise.

    Returns:
        The path of the written file.
    """
    model = load(run)
    settings = {"run": train_command(model.config), "count": count, "seed": seed}
    command = f"python -m tools.measure_steganography --run RUN --count {count} --seed {seed}"
    return write_results("steganography", measure_hidden_signal(model, count, seed), settings, command)


if __name__ == "__main__":
    tyro.cli(main)
