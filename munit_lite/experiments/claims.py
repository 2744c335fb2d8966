"""What was expected of a sweep, written down before it ran, compared with what it measured; a ledger of the paper's
claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from munit_lite.evaluation.metric_names import current_metric_name
from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.markdown import markdown_table

HOLDS, FAILS, UNDECIDED, NOT_MEASURED = "holds", "fails", "undecided", "not measured yet"

OUT_OF_REACH = {
    "people prefer MUNIT's pictures to those of UNIT and CycleGAN": (
        "it needs people; here attribute predictors measure the content"
    ),
    "street scenes and Yosemite's seasons at 256 and 512 pixels": "it needs those images and days on a GPU",
    "with the domain-invariant perceptual loss scenes keep their layout": "it needs VGG's weights and those images",
}


@dataclass(frozen=True)
class Expectation:
    """What was expected of a method before the sweep: bounds on a metric, or on its ratio to, or difference from, the
    same metric of another method.

    Raises:
        ValueError: it has no bound, or both kinds of comparison.
    """

    data: str
    method: str
    metric: str
    at_least: float = -math.inf
    at_most: float = math.inf
    ratio_to: str | None = None
    difference_from: str | None = None
    claim: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", current_metric_name(self.metric))
        if self.at_least == -math.inf and self.at_most == math.inf:
            raise ValueError(f"an expectation of {self.data}/{self.method} has no bound: it needs at_least or at_most")
        if self.ratio_to and self.difference_from:
            raise ValueError(f"an expectation of {self.data}/{self.method} has both ratio_to and difference_from")

    @property
    def subject(self) -> str:
        """Return the method, with the method that it is compared to: "unit", "unit / munit", "unit - munit"."""
        if self.ratio_to:
            return f"{self.method} / {self.ratio_to}"
        return f"{self.method} - {self.difference_from}" if self.difference_from else self.method

    @property
    def bounds(self) -> str:
        """Return the bounds in words, such as "at least 0.8 and at most 0.9"."""
        low = "" if self.at_least == -math.inf else f"at least {self.at_least:g}"
        high = "" if self.at_most == math.inf else f"at most {self.at_most:g}"
        return " and ".join(filter(None, (low, high)))


@dataclass(frozen=True)
class Comparison:
    """An expectation and what was measured: one value per seed, the mean over both directions."""

    expectation: Expectation
    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Return the mean over seeds; NaN if nothing was measured."""
        return sum(self.values) / len(self.values) if self.values else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the lower and the upper end of the 95 % interval over seeds; infinite with fewer than two seeds."""
        if len(self.values) < 2:
            return -math.inf, math.inf
        mean, half_width = mean_over_seeds(self.values)
        return mean - half_width, mean + half_width

    @property
    def verdict(self) -> str:
        """Return `HOLDS`, `FAILS`, `UNDECIDED` or `NOT_MEASURED`.

        An expectation holds if the whole interval lies within its bounds, and fails if the whole interval lies outside
        of them. Both rules ask the same of the data. One seed decides nothing, because it has no interval.
        """
        (low, high), expected = self.interval, self.expectation
        if not self.values:
            return NOT_MEASURED
        if len(self.values) == 1:
            return UNDECIDED
        if expected.at_least <= low and high <= expected.at_most:
            return HOLDS
        return FAILS if high < expected.at_least or low > expected.at_most else UNDECIDED


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over two or more training seeds and half of its 95 % interval.

    The interval is Student's t interval, which treats the seeds as a sample of all seeds.

    Example:
        >>> mean, half_width = mean_over_seeds([0.8, 0.9, 1.0])
        >>> print(f"{mean:.2f} ± {half_width:.2f}")
        0.90 ± 0.25
    """
    standard_error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * standard_error


def compare(expectations: Sequence[Expectation], sweep: dict[str, Any]) -> list[Comparison]:
    """Compare every expectation with the results of a sweep. A method is compared to another one seed by seed.

    Args:
        expectations: from `sweep_plan.read_plan`.
        sweep: what `sweep.gather` returns.

    Returns:
        A comparison for each expectation, in the same order.

    Raises:
        ValueError: an expectation of a metric that was not measured; the message lists the metrics that were.
    """
    comparisons = []
    for expectation in expectations:
        values = _values_by_seed(expectation, expectation.method, sweep)
        other = expectation.ratio_to or expectation.difference_from
        if other is None:
            comparisons.append(Comparison(expectation, list(values.values())))
            continue
        others = _values_by_seed(expectation, other, sweep)
        pairs = [(value, others[seed]) for seed, value in values.items() if seed in others]
        if expectation.ratio_to:  # a ratio to zero is undefined
            comparisons.append(Comparison(expectation, [a / b for a, b in pairs if b]))
        else:
            comparisons.append(Comparison(expectation, [a - b for a, b in pairs]))
    return comparisons


def _values_by_seed(expectation: Expectation, method: str, sweep: dict[str, Any]) -> dict[str, float]:
    means = {}
    for seed, run in sweep.get(expectation.data, {}).get(method, {}).items():
        directions = list(run["numbers"].values())
        for numbers in directions:
            if expectation.metric not in numbers:
                raise ValueError(
                    f"an expectation of {expectation.data}/{method} is about {expectation.metric!r}, but the metrics "
                    f"measured are {', '.join(sorted(numbers))}"
                )
        if directions:  # none are measured on photos whose varieties are not named
            means[seed], _ = mean_over_directions(run["numbers"], expectation.metric)
    return means


def format_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Return one line per expectation: the verdict, the mean, the lowest and highest over seeds, and the bounds."""
    lines = []
    for comparison in comparisons:
        expected, values = comparison.expectation, comparison.values
        measured = f"{comparison.mean:.3f} ({min(values):.3f} to {max(values):.3f})" if values else "nothing"
        subject = f"{expected.data}/{expected.subject} {expected.metric}"
        lines.append(f"{comparison.verdict:16} {subject}: {measured}, expected {expected.bounds}")
    return "\n".join(lines)


def to_dicts(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return one dictionary per expectation, for JSON."""
    return [asdict(c.expectation) | {"values": c.values, "mean": c.mean, "verdict": c.verdict} for c in comparisons]


# ------------------------------------------------------------------------------------------------------ the ledger


@dataclass(frozen=True)
class LedgerEntry:
    """A claim of the paper, where it was measured and with what result, and the verdict."""

    claim: str
    measured: str
    verdict: str


def ledger(comparisons: Sequence[Comparison]) -> list[LedgerEntry]:
    """Return a verdict for each claim: holds, fails, undecided, not measured yet, or out of reach.

    `Comparison.verdict` has the rule. An undecided verdict states the number of seeds.
    """
    entries = []
    for comparison in comparisons:
        expected, count = comparison.expectation, len(comparison.values)
        where = f"{expected.data}, {expected.subject}: {expected.metric.replace('_', ' ')}"
        verdict = comparison.verdict
        if count:
            seeds = f"{count} seed{'s' * (count > 1)}"
            interval = f" ± {mean_over_seeds(comparison.values)[1]:.3f}" if count > 1 else ""
            where += f" {comparison.mean:z.3f}{interval}, {seeds}"
            verdict += f" at {seeds}" if verdict == UNDECIDED else ""
        entries.append(LedgerEntry(expected.claim, f"{where}, expected {expected.bounds}", verdict))
    return entries + [LedgerEntry(claim, reason, "out of reach") for claim, reason in OUT_OF_REACH.items()]


def ledger_table(comparisons: Sequence[Comparison]) -> str:
    """Return the ledger as a Markdown table with one row per claim."""
    rows = [list(astuple(entry)) for entry in ledger(comparisons)]
    return markdown_table(["claim", "where it was measured", "verdict"], rows)
