"""What a check of a proposition found: for each of its parts a number with bounds, and a status that can be undecided.

A part *holds* only if the upper bound of its effect lies below what counts as none; not to reject is not enough. It
*fails* if the test rejects and the effect is larger than that. Else it is *undecided*: more units are needed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from munit_lite.theory.permutation import TwoSampleResult
from munit_lite.theory.two_sample import holm

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
SHARE = 0.95  # an equality of images or codes counts as kept if it is kept for this share of the units
_TAIL = 0.025  # on each side of an interval


@dataclass(frozen=True)
class ErrorSummary:
    """Relative errors of n units: quantiles, and the distribution-free 95 % interval of the one that is judged.

    An error of 1 is that of guessing the mean.
    """

    median: float
    judged: float  # quantile at `SHARE`
    low: float
    high: float
    largest: float
    units: int


@dataclass(frozen=True)
class Part:
    """One equality that a proposition needs.

    Args:
        name: the equality in words or symbols.
        code: why the check fails if this part does, see `munit_lite.theory.variants.Expected`.
        status: holds, fails or undecided.
        measure: what the effect is: a share of the largest two-sample distance, or a relative error.
        effect, low, high: estimate with its 95 % interval.
        threshold: an effect up to this counts as none.
        p_value: after Holm over the tests of the check; None for errors, where a single unit disproves equality.
        median: of the errors; None for tests.
    """

    name: str
    code: str
    status: str
    measure: str
    effect: float
    low: float
    high: float
    threshold: float
    p_value: float | None = None
    median: float | None = None

    def text(self) -> str:
        p = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        return (
            f"{self.name}: {self.status}; {self.measure} {self.effect:.2g} [{self.low:.2g}, {self.high:.2g}]{p}, "
            f"counts from {self.threshold:.2g}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a check says of a model.

    Args:
        claim: what was checked.
        parts: the equalities that it needs.
        units: independent images of each domain.
        alpha: chance of any false rejection by the tests of this check.
        reads: what the tests looked at.
    """

    claim: str
    parts: tuple[Part, ...]
    units: int
    alpha: float
    reads: str

    @property
    def statuses(self) -> dict[str, str]:
        """Status by reason code: fails if one of its parts does, holds if all do.

        J is left out if a marginal (M) fails: the joint distribution then differs for that reason.
        """
        found = {}
        for code in dict.fromkeys(part.code for part in self.parts):
            own = {part.status for part in self.parts if part.code == code}
            found[code] = next((status for status in (FAILS, UNDECIDED) if status in own), HOLDS)
        if found.get("M") == FAILS:
            found.pop("J", None)
        return found

    @property
    def status(self) -> str:
        """Of the claim: fails if one of its codes does, holds if all do."""
        own = self.statuses.values()
        return next((status for status in (FAILS, UNDECIDED) if status in own), HOLDS)

    @property
    def reasons(self) -> str:
        """As in `munit_lite.theory.variants.Expected`: the codes that fail, else "H"; "?" stands for undecided ones."""
        failing = "".join(code for code, status in self.statuses.items() if status == FAILS)
        return (failing + "?" * (UNDECIDED in self.statuses.values())) or "H"

    @property
    def decisive(self) -> Part:
        """The part that settles the status; of several the one whose effect exceeds its threshold most."""
        own = [part for part in self.parts if part.status == self.status]
        return max(own, key=lambda part: (part.high if part.status == UNDECIDED else part.effect) / part.threshold)

    def sentence(self) -> str:
        part, basis = self.decisive, f"{self.units} images of each domain, {self.reads}"
        p = "" if part.p_value is None else f", p = {part.p_value:.2g}"
        effect = f"{part.measure} {part.effect:.2g}, 95 % interval {part.low:.2g} to {part.high:.2g}{p}"
        if self.status == HOLDS:
            bounds = f"every effect is bounded below what counts; the nearest to it is {part.name} ({effect})"
            return f"{self.claim}: holds, for {bounds}; {basis}."
        if self.status == FAILS:
            return f"{self.claim}: fails, above all in {part.name} ({effect}); {basis}."
        return f"{self.claim}: undecided, for {part.name} is not settled ({effect}); {basis}."

    def text(self) -> str:
        """The sentence, and below it every part."""
        return "\n".join([self.sentence(), *(f"  {part.text()}" for part in self.parts)])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"status": self.status, "reasons": self.reasons, "sentence": self.sentence()}


def verdict(
    claim: str,
    tests: dict[tuple[str, str], TwoSampleResult],
    errors: dict[tuple[str, str], ErrorSummary],
    effect_threshold: float,
    tolerance: float,
    units: int,
    alpha: float,
    reads: str,
) -> Verdict:
    """Judge the parts of a check.

    Args:
        claim: what was checked.
        tests, errors: found for each (name, code).
        effect_threshold: an effect of a test counts as none up to this share of the largest there could be.
        tolerance: relative error up to this counts as none.
        units: independent images of each domain.
        alpha: level of all tests together.
        reads: what the tests looked at.
    """
    parts = []
    for ((name, code), test), p in zip(tests.items(), holm([t.p_value for t in tests.values()]), strict=True):
        largest = test.largest - test.null
        effect, low, high = ((value - test.null) / largest for value in (test.effect, test.low, test.high))
        status = HOLDS if high <= effect_threshold else UNDECIDED
        if p <= alpha and effect > effect_threshold:
            status = FAILS
        measure = f"share of the largest {test.method}"
        parts.append(Part(name, code, status, measure, effect, low, high, effect_threshold, p_value=p))
    for (name, code), error in errors.items():
        status = HOLDS if error.high <= tolerance else FAILS if error.low > tolerance else UNDECIDED
        measure = f"relative error ({SHARE:.0%} quantile)"
        bounds = (error.judged, error.low, error.high, tolerance)
        parts.append(Part(name, code, status, measure, *bounds, median=error.median))
    return Verdict(claim, tuple(parts), units, alpha, reads)


def relative_error(found: Tensor, wanted: Tensor) -> ErrorSummary:
    """How far B images or codes are from those wanted, in units of what distinguishes the wanted ones.

    Args:
        found, wanted: (B, ...) of one shape, 72 or more of them.

    Returns:
        root mean square differences, each divided by the root mean square deviation of the wanted from their mean, so
        that neither the size nor the scale of a code counts; if all wanted are alike, they are not divided.
    """
    flat_found, flat_wanted = found.flatten(1).double().cpu(), wanted.flatten(1).double().cpu()
    spread = flat_wanted.var(0, correction=0).mean().sqrt()
    errors = (flat_found - flat_wanted).square().mean(1).sqrt() / (spread if spread > 0 else 1.0)
    return summarized(errors)


def summarized(errors: Tensor) -> ErrorSummary:
    """Quantiles of (B,) errors; the interval's ends are order statistics, whatever the distribution.

    Raises:
        ValueError: too few to bound the quantile from above.
    """
    count = len(errors)
    if SHARE**count > _TAIL:
        needed = math.ceil(math.log(_TAIL) / math.log(SHARE))
        raise ValueError(f"{count} errors cannot bound their {SHARE:.0%} quantile; {needed} or more are needed")
    ordered = errors.double().sort().values
    below = torch.distributions.Binomial(count, torch.tensor(SHARE, dtype=torch.float64))
    at_most = below.log_prob(torch.arange(count, dtype=torch.float64)).exp().cumsum(0)  # P(k or fewer lie below)
    low = max(0, int((at_most <= _TAIL).sum()) - 1)
    high = int((at_most < 1 - _TAIL).sum())
    median, judged = ordered.quantile(torch.tensor([0.5, SHARE], dtype=torch.float64)).tolist()
    return ErrorSummary(median, judged, ordered[low].item(), ordered[high].item(), ordered[-1].item(), count)
