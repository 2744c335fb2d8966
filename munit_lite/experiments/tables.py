"""The paper's two tables beside ours.

Our numbers come from the results of a sweep: `munit-lite sweep` gathers them into data/results/paper_tables.json, and
notebook 15 reads that file with `read_results("paper_tables")` and passes it to the functions below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.claims import NOT_MEASURED, mean_over_seeds
from munit_lite.experiments.markdown import markdown_table
from munit_lite.paths import SWEEPS_DIR

PAPER_SWEEP = SWEEPS_DIR / "paper_tables.yaml"  # the plan of the sweep, not its results

PAPER_NAMES = {  # a method of the sweep -> its name in the paper's tables, "" if it is not in them
    "unit": "UNIT",
    "cyclegan": "CycleGAN",
    "cyclegan_noise": "CycleGAN with noise",
    "munit_without_image": "MUNIT without image reconstruction",
    "munit_without_content": "MUNIT without content reconstruction",
    "munit_without_style": "MUNIT without style reconstruction",
    "munit": "MUNIT",
    "bicyclegan": "BicycleGAN, trained on pairs",
    "munit_with_cycle": "",
    "munit_style_dim_2": "",
    "munit_style_dim_8": "",
}

# Table 1: quality (human preference over MUNIT, %) and diversity (LPIPS) on edges to shoes, on edges to handbags.
TABLE_1 = {
    "unit": ((37.4, 0.011), (37.3, 0.023)),
    "cyclegan": ((36.0, 0.010), (40.8, 0.012)),
    "cyclegan_noise": ((29.5, 0.016), (45.1, 0.011)),
    "munit_without_image": ((6.0, 0.213), (29.0, 0.191)),
    "munit_without_content": ((20.7, 0.172), (9.3, 0.185)),
    "munit_without_style": ((28.6, 0.070), (24.6, 0.139)),
    "munit": ((50.0, 0.109), (50.0, 0.175)),
    "bicyclegan": ((56.7, 0.104), (51.2, 0.140)),
}
REAL_LPIPS = (0.293, 0.371)  # table 1's row of real data
# Table 2: CIS and IS of translations between animals, the mean over six directions; log 4 at most.
TABLE_2 = {
    "cyclegan": (0.076, 0.813),
    "cyclegan_noise": (0.068, 0.762),
    "unit": (0.115, 0.826),
    "munit": (1.039, 1.050),
}

LPIPS_OF_A_LATER_VERSION = 0.215  # of MUNIT on shoes, as a user reports it (NVlabs/MUNIT issue 72)


@dataclass(frozen=True)
class Estimate:
    """A metric of a method: its mean over seeds and half of the 95 % interval."""

    mean: float
    half_width: float  # over seeds; for a single seed an upper bound of the half-width over its test contents
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:z.2f}" + ("" if np.isnan(self.half_width) else f" ± {self.half_width:.2f}")


def estimates_by_seed(sweep: dict[str, Any], data: str, method: str, metric: str) -> dict[str, Estimate]:
    """Return a metric of each finished run of a method, the mean over directions, by seed.

    Args:
        sweep: what `sweep.gather` returns.
        data: the data of one of the sweep's grids, such as "world32".
        method: a method of the sweep.
        metric: the name that `munit-lite evaluate` gives it.
    """
    estimates = {}
    for seed, run in sweep.get(data, {}).get(method, {}).items():
        directions = {name: numbers for name, numbers in run["numbers"].items() if metric in numbers}
        if directions:
            estimates[seed] = Estimate(*mean_over_directions(directions, metric), 1)
    return estimates


def estimate_over_seeds(sweep: dict[str, Any], data: str, method: str, metric: str) -> Estimate | None:
    """Return the mean of a metric over seeds and directions; None if no finished run measured it.

    Args:
        sweep, data, method, metric: as for `estimates_by_seed`.
    """
    estimates = list(estimates_by_seed(sweep, data, method, metric).values())
    if len(estimates) < 2:
        return estimates[0] if estimates else None
    return Estimate(*mean_over_seeds([estimate.mean for estimate in estimates]), len(estimates))


def table_rows(
    sweep: dict[str, Any], data: str, metrics: Sequence[str], methods: Sequence[str] = tuple(PAPER_NAMES)
) -> list[list[str]]:
    """Return one row per method: its name, its number of seeds, and each metric with its interval or `NOT_MEASURED`."""
    rows = []
    for method in methods:
        estimates = [estimate_over_seeds(sweep, data, method, metric) for metric in metrics]
        seeds = max((estimate.seeds for estimate in estimates if estimate), default=0)
        rows.append([method_name(method), str(seeds), *(str(e) if e else NOT_MEASURED for e in estimates)])
    return rows


def method_name(method: str) -> str:
    """Return the paper's name of a method, or the sweep's name in words if the paper does not have the method."""
    return PAPER_NAMES[method] or method.replace("_", " ").replace("munit", "MUNIT")


# --------------------------------------------------------------------------------------- the tables as Markdown


def table_1(sweep: dict[str, Any]) -> str:
    """Return the paper's table 1 beside the known world: the paper's two datasets, then ours with 95 % intervals."""
    header = ["method", "shoes: quality, %", "LPIPS", "handbags: quality, %", "LPIPS"]
    header += ["**ours:** seeds", "class kept", "diversity ratio", "R² of the sampled style"]
    metrics = ("class_accuracy", "diversity_ratio", "sampled_style_r2")
    rows = []
    for method, (name, *ours) in zip(PAPER_NAMES, table_rows(sweep, "world32", metrics), strict=True):
        reported = [number for data in TABLE_1.get(method, ()) for number in data]
        paper = [f"{value:.{3 if k % 2 else 1}f}" for k, value in enumerate(reported)] or ["–"] * 4
        rows.append([name, *paper, *ours])
    shoes, handbags = (f"{lpips:.3f}" for lpips in REAL_LPIPS)
    rows.append(["real images", "–", shoes, "–", handbags, "", "", "1 by definition", ""])
    return markdown_table(header, rows)


def table_2(sweep: dict[str, Any]) -> str:
    """Return the paper's table 2, animals, beside apples and citrus fruit: CIS and IS without exp."""
    our_rows = table_rows(sweep, "apples2citrus", ("cis", "is"), tuple(TABLE_2))
    rows = [
        [name, *(f"{value:.3f}" for value in reported), *ours]
        for reported, (name, *ours) in zip(TABLE_2.values(), our_rows, strict=True)
    ]
    return markdown_table(["method", "animals: CIS", "IS", "**ours:** seeds", "CIS", "IS"], rows)


def photo_table(sweep: dict[str, Any], methods: Sequence[str]) -> str:
    """Return a table of edges to photos: how well outputs follow the drawing, and how much they differ."""
    metrics = ("edge_agreement", "improvement_over_random_photos", "diversity")
    header = [
        "method",
        "seeds",
        "edge agreement",
        "closest of ten outputs, below the closest of ten photos",
        "difference between outputs",
    ]
    return markdown_table(header, table_rows(sweep, "fashion32", metrics, methods))
