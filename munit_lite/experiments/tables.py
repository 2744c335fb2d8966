"""The paper's two tables beside ours, and a ledger of its claims; everything of ours is read from `data/results/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from scipy import stats

from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.claims import Comparison
from munit_lite.experiments.machine_speed import NOTEBOOKS
from munit_lite.experiments.results import markdown_table

PLAN = NOTEBOOKS.parent / "data" / "sweeps" / "paper_tables.yaml"

METHODS = {  # a method of the sweep: its name in the paper's tables, "" where it has none there
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

NOT_YET = "not measured yet"

OUT_OF_REACH = {
    "people prefer MUNIT's pictures to those of UNIT and CycleGAN": "it needs people; here judges read the content",
    "street scenes and Yosemite's seasons at 256 and 512 pixels": "it needs those images and days on a GPU",
    "with the domain-invariant perceptual loss scenes keep their layout": "it needs VGG's weights and those images",
}


@dataclass(frozen=True)
class Estimate:
    """A number of a method: the mean over seeds and half of a 95 % interval."""

    mean: float
    interval: float  # over seeds; of one seed: over the test contents of its run, at most
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:z.2f}" + ("" if np.isnan(self.interval) else f" ± {self.interval:.2f}")


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two or more seeds, and half of its 95 % interval by Student's t; it takes the seeds for a sample."""
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * spread


def by_seed(found: dict[str, Any], data: str, method: str, number: str) -> dict[str, Estimate]:
    """A number of each finished run of a method, the mean over directions: seed -> value with its own interval.

    Args:
        found: what `sweep.gather` found.
        data: of a grid of the sweep.
        method: of the sweep.
        number: as `munit-lite evaluate` names it.
    """
    seeds = {}
    for seed, record in found.get(data, {}).get(method, {}).items():
        if any(number in metrics for metrics in record["numbers"].values()):
            seeds[seed] = Estimate(*mean_over_directions(record["numbers"], number), 1)
    return seeds


def estimate(found: dict[str, Any], data: str, method: str, number: str) -> Estimate | None:
    """The mean of a number over seeds and directions; None where no run of it is finished or measures it.

    Args:
        (as in `by_seed`)
    """
    seeds = list(by_seed(found, data, method, number).values())
    if len(seeds) < 2:
        return seeds[0] if seeds else None
    return Estimate(*over_seeds([one.mean for one in seeds]), len(seeds))


def table_rows(
    found: dict[str, Any], data: str, numbers: Sequence[str], methods: Sequence[str] = tuple(METHODS)
) -> list[list[str]]:
    """A row for each method: its name, its seeds, each number with its interval; `NOT_YET` where there is none."""
    rows = []
    for method in methods:
        estimates = [estimate(found, data, method, number) for number in numbers]
        seeds = max((one.seeds for one in estimates if one), default=0)
        rows.append([name_of(method), str(seeds), *(str(one) if one else NOT_YET for one in estimates)])
    return rows


def name_of(method: str) -> str:
    """The paper's name of a method, or the sweep's in words."""
    return METHODS[method] or method.replace("_", " ").replace("munit", "MUNIT")


# --------------------------------------------------------------------------------------- the tables as Markdown


def table_1(found: dict[str, Any]) -> str:
    """The paper's table 1 beside the known world: the paper's two data sets, then ours with 95 % intervals."""
    header = ["method", "shoes: quality, %", "LPIPS", "handbags: quality, %", "LPIPS"]
    header += ["**ours:** seeds", "class kept", "diversity, share of the true", "R² of the drawn style"]
    numbers = ("class_accuracy", "diversity_ratio", "sampled_style_r2")
    rows = []
    for method, (name, *ours) in zip(METHODS, table_rows(found, "world32", numbers), strict=True):
        reported = [number for data in TABLE_1.get(method, ()) for number in data]
        paper = [f"{value:.{3 if k % 2 else 1}f}" for k, value in enumerate(reported)] or ["–"] * 4
        rows.append([name, *paper, *ours])
    shoes, handbags = (f"{lpips:.3f}" for lpips in REAL_LPIPS)
    rows.append(["real images", "–", shoes, "–", handbags, "", "", "1 by definition", ""])
    return markdown_table(header, rows)


def table_2(found: dict[str, Any]) -> str:
    """The paper's table 2, animals, beside apples and citrus fruit: CIS and IS without exp."""
    found_rows = table_rows(found, "apples2citrus", ("cis", "is"), tuple(TABLE_2))
    rows = [
        [name, *(f"{value:.3f}" for value in reported), *ours]
        for reported, (name, *ours) in zip(TABLE_2.values(), found_rows, strict=True)
    ]
    return markdown_table(["method", "animals: CIS", "IS", "**ours:** seeds", "CIS", "IS"], rows)


def photo_table(found: dict[str, Any], methods: Sequence[str]) -> str:
    """Edges to photos: how well outputs follow the drawing, how much those of one drawing differ."""
    numbers = ("edge_agreement", "improvement_over_random_photos", "diversity")
    header = [
        "method",
        "seeds",
        "edge agreement",
        "closest of ten outputs, below the closest of ten photos",
        "difference between outputs",
    ]
    return markdown_table(header, table_rows(found, "fashion32", numbers, methods))


def ledger_table(judged: Sequence[Comparison]) -> str:
    """The ledger, a claim a row."""
    return markdown_table(
        ["claim", "where it was measured", "verdict"], [list(astuple(entry)) for entry in ledger(judged)]
    )


# ------------------------------------------------------------------------------------------------------ the ledger


@dataclass(frozen=True)
class Entry:
    """A line of the ledger."""

    claim: str
    measured: str  # where, and the number
    verdict: str


def ledger(judged: Sequence[Comparison]) -> list[Entry]:
    """The paper's claims: holds, does not hold, not measured yet, or out of reach.

    A claim is judged by the mean over the seeds, as it was written down before the sweep; where the interval over the
    seeds reaches across the bound, the verdict says that it is not certain, and of one seed that there is no other.
    """
    entries = []
    for one in judged:
        asked = one.expectation
        where = f"{asked.data}, {asked.method}{asked.against}: {asked.number.replace('_', ' ')}"
        if one.holds is None:
            entries.append(Entry(asked.claim, where, NOT_YET))
            continue
        verdict, value = ("holds" if one.holds else "does not hold"), f"{one.mean:z.3f}"
        if len(one.values) > 1:
            mean, interval = over_seeds(one.values)
            value = f"{mean:z.3f} ± {interval:.3f}, {len(one.values)} seeds"
            verdict += "" if is_certain(one) else ", not certain"
        else:
            verdict += ", one seed"
        entries.append(Entry(asked.claim, f"{where} {value}, expected {bounds(one)}", verdict))
    return entries + [Entry(claim, why, "out of reach") for claim, why in OUT_OF_REACH.items()]


def is_certain(one: Comparison) -> bool:
    """Whether the interval over two or more seeds lies on one side of the bounds, as its mean does."""
    mean, interval = over_seeds(one.values)
    low, high, asked = mean - interval, mean + interval, one.expectation
    if one.holds:
        return asked.at_least <= low and high <= asked.at_most
    return high < asked.at_least or low > asked.at_most


def bounds(one: Comparison) -> str:
    asked = one.expectation
    low = "" if asked.at_least == -np.inf else f"at least {asked.at_least:g}"
    high = "" if asked.at_most == np.inf else f"at most {asked.at_most:g}"
    return " and ".join(filter(None, (low, high)))
