"""What was expected of a sweep, written down before it, beside what it measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from munit_lite.evaluation.metric_names import current_metric_name
from munit_lite.evaluation.statistics import mean_over_directions


@dataclass(frozen=True)
class Expectation:
    """What was expected of a method before the sweep: a number between two bounds, or so compared with another's.

    Raises:
        ValueError: no bound, or two comparisons.
    """

    data: str
    method: str
    number: str
    at_least: float = -math.inf
    at_most: float = math.inf
    ratio_to: str | None = None
    difference_from: str | None = None
    claim: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", current_metric_name(self.number))
        if self.at_least == -math.inf and self.at_most == math.inf:
            raise ValueError(f"an expectation of {self.data}/{self.method} has no bound: it needs at_least or at_most")
        if self.ratio_to and self.difference_from:
            raise ValueError(f"an expectation of {self.data}/{self.method} has both ratio_to and difference_from")

    @property
    def against(self) -> str:
        """The other method, with the sign of the comparison; "" if there is none."""
        return f" / {self.ratio_to}" if self.ratio_to else f" - {self.difference_from}" if self.difference_from else ""


@dataclass(frozen=True)
class Comparison:
    """An expectation beside what was measured: a value for each seed, the mean over directions."""

    expectation: Expectation
    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values) if self.values else math.nan

    @property
    def holds(self) -> bool | None:
        """Whether the mean lies within the bounds; None if nothing was measured."""
        return self.expectation.at_least <= self.mean <= self.expectation.at_most if self.values else None


def compared(expectations: Sequence[Expectation], found: dict[str, Any]) -> list[Comparison]:
    """Every expectation with what `sweep.gather` found; a comparison is made seed by seed.

    Raises:
        ValueError: a number that was not among those measured; the message lists them.
    """

    def values(one: Expectation, method: str) -> dict[str, float]:
        means = {}
        for seed, result in found.get(one.data, {}).get(method, {}).items():
            directions = list(result["numbers"].values())
            if not directions:  # photos that name no varieties
                continue
            for numbers in directions:
                if one.number not in numbers:
                    raise ValueError(
                        f"an expectation of {one.data}/{method} is about {one.number!r}, but measured were: "
                        f"{', '.join(sorted(numbers))}"
                    )
            means[seed], _ = mean_over_directions(result["numbers"], one.number)
        return means

    rows = []
    for one in expectations:
        own = values(one, one.method)
        if other := one.ratio_to or one.difference_from:
            theirs = values(one, other)
            pairs = [(value, theirs[seed]) for seed, value in own.items() if seed in theirs]
            if one.ratio_to:  # of nothing there is no share
                rows.append(Comparison(one, [a / b for a, b in pairs if b]))
            else:
                rows.append(Comparison(one, [a - b for a, b in pairs]))
        else:
            rows.append(Comparison(one, list(own.values())))
    return rows


def told(judged: Sequence[Comparison]) -> str:
    """Each expectation in a line: whether it holds, the mean over seeds, the lowest and the highest, the bounds."""
    lines = []
    for found in judged:
        one = found.expectation
        word = {True: "holds", False: "does not hold", None: "not measured"}[found.holds]
        low = "" if one.at_least == -math.inf else f"{one.at_least:g} <= "
        high = "" if one.at_most == math.inf else f" <= {one.at_most:g}"
        values = found.values
        shown = f"{found.mean:.3f} ({min(values):.3f} to {max(values):.3f})" if values else "nothing"
        lines.append(f"{word:13} {one.data}/{one.method}{one.against} {one.number}: {shown}, expected {low}…{high}")
    return "\n".join(lines)


def as_dicts(judged: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [asdict(v.expectation) | {"values": v.values, "mean": v.mean, "holds": v.holds} for v in judged]
