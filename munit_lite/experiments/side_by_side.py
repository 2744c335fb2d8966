"""Results files side by side in one table: single runs as they are, the runs of a sweep as means over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_lite.experiments.claims import mean_over_seeds
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_records

# Shown where no metric is asked for: of the known world, of Fashion-MNIST, of folders.
MAIN_METRICS = (
    "class_accuracy", "position_error", "diversity_ratio", "sampled_style_r2",
    "edge_agreement", "improvement_over_random_photos", "diversity",
    "reconstruction_error", "cycle_error", "style_variance_fraction", "pixel_diversity", "lpips_diversity",
    "kid", "fid", "kid_torchvision", "fid_torchvision", "cis", "is",
)  # fmt: skip
Key = tuple[str, str]  # what was measured, such as "sketch to painting", and the metric
ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """The measurements of one run, or of one method of a sweep.

    Args:
        title: the file's name, with data and method for a sweep.
        seeds: number of runs that the values are means over; 1 for a file of a single run.
        values: (what, metric) -> the value, and half of its 95 % interval or NaN. The interval covers test images for
            a single run, and training seeds for several.
    """

    title: str
    seeds: int
    values: dict[Key, tuple[float, float]]

    @property
    def heading(self) -> str:
        """Return the title, with the number of seeds if there are several."""
        return self.title if self.seeds == 1 else f"{self.title}, {self.seeds} seeds"


def read_columns(file: Path) -> list[Column]:
    """Read a results file: one column for a run, one for each data and method of a sweep.

    Args:
        file: written by notebook 09, `munit-lite evaluate` or `munit-lite sweep`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a results file.
    """
    unreadable = f"{file} is not a results file, which notebook 09, `evaluate` and `sweep` write and call FILE.json"
    if file.suffix != ".json":
        raise ValueError(unreadable)
    try:
        runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for record in read_records(file):
            in_sweep = {"data", "method", "seed"} <= record.keys()
            title = f"{file.stem}: {record['data']}/{record['method']}" if in_sweep else file.stem
            runs.setdefault((title, record["seed"] if in_sweep else 0), []).append(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(unreadable) from error
    values: dict[str, list[dict[Key, tuple[float, float]]]] = {}
    for (title, _), rows in runs.items():
        values.setdefault(title, []).append(_values(rows))
    return [Column(title, len(seeds), _mean(seeds)) for title, seeds in values.items()]


def _values(records: Sequence[dict[str, Any]]) -> dict[Key, tuple[float, float]]:
    """Return the numbers among the values; the other columns of a record say what was measured."""
    known = {"data", "method", "seed", "metric", "value", "half_width"}
    return {
        (", ".join(str(v) for column, v in record.items() if column not in known), record["metric"]): (
            float(record["value"]),
            float(record.get("half_width", math.nan)),
        )
        for record in records
        if isinstance(record["value"], int | float)
    }


def _mean(runs: Sequence[dict[Key, tuple[float, float]]]) -> dict[Key, tuple[float, float]]:
    if len(runs) == 1:
        return runs[0]
    shared = [key for key in runs[0] if all(key in run for run in runs)]
    return {key: mean_over_seeds([run[key][0] for run in runs]) for key in shared}


def side_by_side(columns: Sequence[Column], metrics: Sequence[str] = ()) -> str:
    """Return a Markdown table with one row per direction and metric, and one column per run or method.

    Args:
        columns: from `read_columns`.
        metrics: names of metrics; by default those of `MAIN_METRICS` that a column has.

    Raises:
        ValueError: no column has one of the metrics; the message lists the metrics that there are.

    Example:
        >>> column = Column("a", 1, {("sketch to painting", "class_accuracy"): (0.9, 0.02)})
        >>> print(side_by_side([column]))
        | measured | metric | a |
        | --- | --- | --- |
        | sketch to painting | class accuracy | 0.900 ± 0.020 |
    """
    known = list(dict.fromkeys(metric for column in columns for _, metric in column.values))
    unknown = [metric for metric in metrics if metric not in known]
    if unknown:
        raise ValueError(f"no file has the metric {unknown[0]!r}; the metrics are {', '.join(known)}")
    shown = list(metrics) or [metric for metric in MAIN_METRICS if metric in known]
    measured = list(dict.fromkeys(what for column in columns for what, _ in column.values))
    rows = []
    for what in measured:
        for metric in shown:
            cells = [_cell(column.values.get((what, metric))) for column in columns]
            if set(cells) != {ABSENT}:
                rows.append([what, metric.replace("_", " "), *cells])
    return markdown_table(["measured", "metric", *(column.heading for column in columns)], rows)


def _cell(value: tuple[float, float] | None) -> str:
    if value is None:
        return ABSENT
    mean, half_width = value
    return f"{mean:z.3f}" if math.isnan(half_width) else f"{mean:z.3f} ± {half_width:.3f}"
