"""Quality during training over the seeds of a sweep: the curves, and which runs converged.

Machines differ by a factor of 2.5, so CPU minutes are scaled to the machine of `data/results/calibration.json`: a run
of 10 minutes on a machine whose calibration step takes twice as long counts as 5 minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from munit_lite.evaluation.convergence import Convergence, best_relabeling, convergence
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results
from munit_lite.world import DIRECTIONS, SHAPE_NAMES


@dataclass(frozen=True)
class QualityCurves:
    """A metric of the same training step of several runs.

    Args:
        seeds: of the runs.
        steps: (N,) training steps at which quality was measured.
        minutes: (seeds, N) scaled CPU minutes of the training until then; NaN where the machine was not calibrated.
        values: metric -> direction -> (seeds, N).
    """

    seeds: tuple[str, ...]
    steps: np.ndarray
    minutes: np.ndarray
    values: dict[str, dict[str, np.ndarray]]


def collect_quality_curves(
    sweep: dict[str, Any],
    data: str,
    method: str,
    metrics: Sequence[str] = ("class_accuracy", "relabeled_accuracy", "diversity_ratio", "style_r2"),
) -> QualityCurves:
    """Collect the quality during training of all runs of a method.

    Args:
        sweep: what `sweep.gather` returns.
        data: the data of one of the sweep's grids.
        method: a method of the sweep.
        metrics: names that `evaluation.convergence.measure_quality` gives them.

    Raises:
        KeyError: the sweep has no run of the method that measured its quality.
        ValueError: the runs measured it at different steps.
    """
    runs = {seed: run for seed, run in sweep.get(data, {}).get(method, {}).items() if run.get("quality")}
    if not runs:
        raise KeyError(f"the sweep has no run of {data}/{method} that measured its quality during training")
    steps = [[record["step"] for record in run["quality"]] for run in runs.values()]
    if any(other != steps[0] for other in steps):
        raise ValueError(f"the runs of {data}/{method} measured their quality at different steps")
    values = {
        metric: {
            direction: np.array([[record[direction][metric] for record in run["quality"]] for run in runs.values()])
            for direction in DIRECTIONS.values()
        }
        for metric in metrics
    }
    minutes = np.array([scaled_minutes(run) for run in runs.values()])
    return QualityCurves(tuple(runs), np.array(steps[0]), minutes, values)


def scaled_minutes(run: dict[str, Any]) -> list[float]:
    """Return the CPU minutes of a run at each measurement, scaled to the machine of `data/results/calibration.json`.

    Args:
        run: an entry of what `sweep.gather` returns, with `quality`; NaN if its last attempt was not calibrated.
    """
    seconds = (run.get("attempts") or [{}])[-1].get("calibration_seconds", float("nan"))
    scale = read_results("calibration")["seconds_per_step"] / seconds
    return [record["cpu_minutes"] * scale for record in run["quality"]]


def exchanged_classes(run: dict[str, Any]) -> dict[str, str]:
    """Return, for each direction whose translations exchange classes at the end of a run, which ones.

    Classes are exchanged where a relabeling raises the accuracy by 0.05 or more to 0.9 or more. A run whose content is
    lost has no such relabeling.

    Args:
        run: an entry of what `sweep.gather` returns, with `quality`.

    Returns:
        direction -> the classes and what they become, such as "disc → ring, ring → disc".
    """
    exchanged = {}
    for direction in DIRECTIONS.values():
        last = run["quality"][-1][direction]
        if last["relabeled_accuracy"] >= max(0.9, last["class_accuracy"] + 0.05):
            order = best_relabeling(torch.tensor(last["confusion"]))
            moved = [f"{SHAPE_NAMES[i]} → {SHAPE_NAMES[j]}" for i, j in enumerate(order) if i != j]
            exchanged[direction] = ", ".join(moved)
    return exchanged


def convergence_table(sweep: dict[str, Any], rows: Iterable[tuple[str, str]]) -> str:
    """Return a table in Markdown of how the runs of methods converged.

    Args:
        sweep: what `sweep.gather` returns.
        rows: data and method of each row.

    Returns:
        One row per method: the seeds; how many converged, and how many exchanged classes; from which step and scaled
        minute on they met the criterion; class accuracy and diversity ratio over the last fifth of the runs. A range
        covers the seeds.
    """
    header = ["data", "method", "seeds", "converged", "exchanged classes", "from step", "scaled CPU minutes"]
    return markdown_table(
        [*header, "class accuracy at the end", "diversity ratio at the end"],
        [
            [data, method, *_row([run for run in sweep[data][method].values() if "quality" in run])]
            for data, method in rows
        ],
    )


def _row(runs: Sequence[dict[str, Any]]) -> list[str]:
    found = [convergence(run["quality"]) for run in runs]
    good = [(run, end) for run, end in zip(runs, found, strict=True) if end.has_converged]
    return [
        str(len(runs)),
        str(len(good)),
        str(sum(bool(exchanged_classes(run)) for run in runs)),
        _range([end.step or 0 for _, end in good], ",.0f"),
        _range([_minutes_at(run, end) for run, end in good], ".1f"),
        _range([end.class_accuracy for end in found], ".2f"),
        _range([end.diversity_ratio for end in found], ".2f"),
    ]


def _minutes_at(run: dict[str, Any], end: Convergence) -> float:
    steps = [record["step"] for record in run["quality"]]
    return scaled_minutes(run)[steps.index(end.step)]


def _range(values: Sequence[float], form: str) -> str:
    ends = [f"{value:{form}}" for value in (min(values), max(values))] if values else ["–"]
    return " to ".join(dict.fromkeys(ends))
