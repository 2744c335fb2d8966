"""The verdict of a proposition check: an effect with its interval for each equality, and a three-way status.

An equality *holds* if the 95 % interval of its effect lies below a margin, *fails* if it lies above, and is
*undecided* otherwise: more units are needed. A claim holds only if each of its equalities does. That is an
intersection-union test, so however many equalities there are, their intervals need no correction (Berger,
Multiparameter hypothesis testing and acceptance sampling, Technometrics 1982).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from munit_lite.theory.two_sample import TwoSampleResult

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
ADVERSARIAL, RECONSTRUCTION, MARGINAL, JOINT = "adversarial", "reconstruction", "marginal", "joint"
QUANTILE = 0.95  # images or codes count as equal if the errors are below the tolerance for this fraction of the units


@dataclass(frozen=True)
class ErrorSummary:
    """Quantiles of the errors of independent units.

    Args:
        median: the median.
        q95: the quantile at `QUANTILE`, which decides whether an equality holds.
        low: lower end of the distribution-free 95 % interval of that quantile.
        high: upper end of that interval.
        maximum: the largest error.
        units: number of units.
    """

    median: float
    q95: float
    low: float
    high: float
    maximum: float
    units: int


@dataclass(frozen=True)
class Finding:
    """The result for one equality that a proposition requires.

    Args:
        name: the equality, in words or symbols.
        reason: why the check fails if this equality does. For optimality it is `ADVERSARIAL` or `RECONSTRUCTION`, the
            losses that are not minimal. For latent matching it is `MARGINAL` or `JOINT`, the distributions that differ.
            The other checks have a single reason, `FAILS`.
        measure: what the effect is, a normalized two-sample statistic or an NRMSE.
        effect: the estimate.
        low: lower end of its 95 % interval.
        high: upper end of that interval.
        threshold: the margin, an effect up to this counts as zero.
        median: of the errors; None for tests.
    """

    name: str
    reason: str
    measure: str
    effect: float
    low: float
    high: float
    threshold: float
    median: float | None = None

    @property
    def status(self) -> str:
        """Holds if the interval lies below the threshold, fails if it lies above, undecided otherwise."""
        return HOLDS if self.high <= self.threshold else FAILS if self.low > self.threshold else UNDECIDED

    def describe_effect(self) -> str:
        """Return the measure, the effect and its interval as text."""
        return f"{self.measure} {self.effect:.2g}, 95 % interval {self.low:.2g} to {self.high:.2g}"

    def report(self) -> str:
        """Return everything in one line."""
        return f"{self.name}: {self.status}; {self.describe_effect()}, threshold {self.threshold:.2g}"


@dataclass(frozen=True)
class PropositionVerdict:
    """What a check concludes about a model.

    Args:
        claim: what was checked.
        findings: one for each equality that the claim requires.
        units: independent images of each domain.
        measured: what the tests compared.
    """

    claim: str
    findings: tuple[Finding, ...]
    units: int
    measured: str

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each reason: it fails if one of its findings does, and holds if all do."""
        return {
            reason: _combine(finding.status for finding in self.findings if finding.reason == reason)
            for reason in dict.fromkeys(finding.reason for finding in self.findings)
        }

    @property
    def status(self) -> str:
        """The status of the claim: it fails if one of its reasons does, and holds if all do."""
        return _combine(self.statuses.values())

    @property
    def reasons(self) -> str:
        """The reasons that fail, joined by commas, and `UNDECIDED` if some are; `HOLDS` if there are none."""
        reasons = [reason for reason, status in self.statuses.items() if status == FAILS]
        reasons += [UNDECIDED] * (UNDECIDED in self.statuses.values())
        return ", ".join(reasons) or HOLDS

    @property
    def decisive_finding(self) -> Finding:
        """The finding that decides the status; of several, the one that exceeds its threshold most."""
        candidates = [finding for finding in self.findings if finding.status == self.status]
        return max(candidates, key=lambda f: (f.high if f.status == UNDECIDED else f.effect) / f.threshold)

    def summary(self) -> str:
        """Return the verdict as one sentence."""
        finding, basis = self.decisive_finding, f"{self.units} images of each domain, {self.measured}"
        effect = finding.describe_effect()
        if self.status == HOLDS:
            bounds = f"every effect is bounded below its threshold; the nearest to it is {finding.name} ({effect})"
            return f"{self.claim}: holds, because {bounds}; {basis}."
        if self.status == FAILS:
            return f"{self.claim}: fails, most clearly for {finding.name} ({effect}); {basis}."
        return f"{self.claim}: undecided, because {finding.name} is not settled ({effect}); {basis}."

    def report(self) -> str:
        """Return the summary, followed by one line for each finding."""
        return "\n".join([self.summary(), *(f"  {finding.report()}" for finding in self.findings)])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, the statuses, the reasons and the summary for JSON."""
        findings = [asdict(finding) | {"status": finding.status} for finding in self.findings]
        conclusions = {"status": self.status, "reasons": self.reasons, "summary": self.summary()}
        return asdict(self) | {"findings": findings} | conclusions


def _combine(statuses: Any) -> str:
    """Return "fails" if one status is, otherwise "undecided" if one is, otherwise "holds"."""
    statuses = set(statuses)
    return next((status for status in (FAILS, UNDECIDED) if status in statuses), HOLDS)


def normalized_finding(name: str, reason: str, test: TwoSampleResult, threshold: float) -> Finding:
    """Turn a two-sample result into a finding.

    Args:
        name: as in `Finding`; so is `reason`.
        reason: why the check fails if this equality does.
        test: its effect is normalized: 0 for equal distributions, 1 for distributions that do not overlap.
        threshold: a normalized effect up to this counts as zero.
    """
    scale = test.max_effect - test.null_effect
    effect, low, high = ((value - test.null_effect) / scale for value in (test.effect, test.low, test.high))
    return Finding(name, reason, f"normalized {test.method}", effect, low, high, threshold)


def error_finding(name: str, reason: str, error: ErrorSummary, tolerance: float) -> Finding:
    """Turn the errors of a reconstruction into a finding about their quantile at `QUANTILE`.

    Args:
        name: as in `Finding`; so is `reason`.
        reason: why the check fails if this equality does.
        error: a summary of the errors.
        tolerance: an error up to this counts as zero.
    """
    measure = f"{100 * QUANTILE:.0f} % quantile of the NRMSE"
    return Finding(name, reason, measure, error.q95, error.low, error.high, tolerance, error.median)


def nrmse(estimate: Tensor, target: Tensor) -> Tensor:
    """Compute the normalized root mean square errors (NRMSE) of B images or codes.

    Each unit's root mean square error is divided by the standard deviation of the targets over units, averaged as a
    variance over coordinates. So the scale of a code does not matter, and predicting the mean has an error of about 1.
    Targets that are all equal are not divided.

    Args:
        estimate: (B, ...).
        target: of the same shape.

    Returns:
        (B,) in float64.

    Example:
        >>> nrmse(torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [2.0]])).tolist()
        [0.0, 1.0]
    """
    estimate, target = estimate.flatten(1).double().cpu(), target.flatten(1).double().cpu()
    scale = target.var(0, correction=0).mean().sqrt()
    return (estimate - target).square().mean(1).sqrt() / (scale if scale > 0 else 1.0)


def summarize_nrmse(estimate: Tensor, target: Tensor) -> ErrorSummary:
    """Summarize the errors that `nrmse` computes; B is 72 or more.

    Example:
        >>> target = torch.linspace(-1, 1, 100)[:, None]
        >>> summarize_nrmse(target, target).maximum
        0.0
    """
    return summarize_errors(nrmse(estimate, target))


def summarize_errors(errors: Tensor) -> ErrorSummary:
    """Summarize the errors of B units by quantiles; the ends of the interval are order statistics.

    Args:
        errors: (B,).

    Raises:
        ValueError: b is too small to bound the quantile from above.
    """
    # The ranks that scipy.stats.quantile_test computes, much faster.
    first, last = (int(rank) for rank in stats.binom.ppf([0.025, 0.975], len(errors), QUANTILE))
    if last >= len(errors):
        needed = math.ceil(math.log(0.025) / math.log(QUANTILE))
        raise ValueError(
            f"{len(errors)} errors cannot bound their {100 * QUANTILE:.0f} % quantile; {needed} or more are needed"
        )
    median, q95 = errors.double().quantile(torch.tensor([0.5, QUANTILE], dtype=torch.float64)).tolist()
    ordered = errors.double().sort().values
    low, high = ordered[first - 1].item(), ordered[last].item()
    return ErrorSummary(median, q95, low, high, ordered[-1].item(), len(errors))
