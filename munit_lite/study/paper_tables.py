"""The paper's two tables beside ours, and a ledger of its claims; everything of ours is read from `data/results/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from munit_lite.study.expectations import Comparison

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
# Table 2: CIS and IS of translations between animals, the mean over six directions; log 4 at most.
TABLE_2 = {
    "cyclegan": (0.076, 0.813),
    "cyclegan_noise": (0.068, 0.762),
    "unit": (0.115, 0.826),
    "munit": (1.039, 1.050),
}

OUT_OF_REACH = {
    "people prefer MUNIT's pictures to those of UNIT and CycleGAN": "it needs people; here judges read the content",
    "street scenes and Yosemite's seasons at 256 and 512 pixels": "it needs those images and days on a GPU",
    "with the domain-invariant perceptual loss scenes keep their layout": "it needs VGG's weights and those images",
}


@dataclass(frozen=True)
class Estimate:
    """A number of a method: the mean over seeds and half of a 95 % interval."""

    mean: float
    interval: float  # over seeds; of one seed: over the test contents of its run
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.interval:.2f}"


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two or more seeds, and half of its 95 % interval by Student's t; it takes the seeds for a sample."""
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * spread


def estimate(found: dict[str, Any], data: str, method: str, number: str) -> Estimate | None:
    """A number of a method, the mean over both directions; None where no run of it is finished or measures it.

    Args:
        found: what `sweep.gather` found.
        data: of a grid of the sweep.
        method: of the sweep.
        number: as `munit-lite evaluate` names it.
    """
    means, intervals = [], []
    for record in found.get(data, {}).get(method, {}).values():
        directions = [numbers for numbers in record["numbers"].values() if number in numbers]
        if directions:
            means.append(sum(numbers[number] for numbers in directions) / len(directions))
            squares = [numbers.get(f"{number}_interval", float("nan")) ** 2 for numbers in directions]
            intervals.append(sum(squares) ** 0.5 / len(directions))
    if not means:
        return None
    mean, interval = over_seeds(means) if len(means) > 1 else (means[0], intervals[0])
    return Estimate(mean, interval, len(means))


def table_rows(found: dict[str, Any], data: str, numbers: Sequence[str]) -> list[list[str]]:
    """A row for each method: its name, its seeds, each number with its interval; "" where there is none."""
    rows = []
    for method, name in METHODS.items():
        estimates = [estimate(found, data, method, number) for number in numbers]
        seeds = max((one.seeds for one in estimates if one), default=0)
        rows.append([name or method.replace("_", " ").replace("munit", "MUNIT"), str(seeds), *map(shown, estimates)])
    return rows


def shown(one: Estimate | None) -> str:
    return "" if one is None else str(one)


@dataclass(frozen=True)
class Entry:
    """A line of the ledger."""

    claim: str
    measured: str  # where, and the number
    verdict: str


def ledger(judged: Sequence[Comparison]) -> list[Entry]:
    """The paper's claims: holds, does not hold, not measured yet, or out of reach.

    A claim is judged by the mean over the seeds, as it was written down before the sweep; where the interval over the
    seeds reaches across the bound, the verdict says that it is not certain.
    """
    entries = []
    for one in judged:
        asked = one.expectation
        where = f"{asked.data}, {asked.method}{asked.against}: {asked.number.replace('_', ' ')}"
        if one.holds is None:
            entries.append(Entry(asked.claim, where, "not measured yet"))
            continue
        verdict, value = ("holds" if one.holds else "does not hold"), f"{one.mean:.2f}, one seed"
        if len(one.values) > 1:
            mean, interval = over_seeds(one.values)
            value = f"{mean:.2f} ± {interval:.2f}, {len(one.values)} seeds"
            sides = {asked.at_least <= end <= asked.at_most for end in (mean - interval, mean + interval)}
            verdict += "" if sides == {one.holds} else ", not certain"
        entries.append(Entry(asked.claim, f"{where} {value}, expected {bounds(one)}", verdict))
    return entries + [Entry(claim, why, "out of reach") for claim, why in OUT_OF_REACH.items()]


def bounds(one: Comparison) -> str:
    asked = one.expectation
    low = "" if asked.at_least == -np.inf else f"at least {asked.at_least:g}"
    high = "" if asked.at_most == np.inf else f"at most {asked.at_most:g}"
    return " and ".join(filter(None, (low, high)))
