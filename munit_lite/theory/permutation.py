"""Permutation p-values: which units a permutation puts into the first group, and when enough of them were drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

_LEVEL = 0.05  # of the critical value that `units_for_power` reckons with
_AT_ONCE = 250  # permutations
_ENOUGH = 100  # permutations that reach the sample's effect: its p-value is then known to a tenth of itself


@dataclass(frozen=True)
class TwoSampleResult:
    """What one test found.

    Args:
        method: what the effect is: "MMD²", "energy distance" or "classifier accuracy".
        effect: unbiased estimate; `null` if the distributions are equal.
        low, high: 95 % interval of the effect (jackknife over units; for the classifier over held-out units).
        p_value: share of permutations with an effect as large; the sample's own order is counted among them, unless
            drawing stopped early.
        units: units a group that were tested; held-out ones are not counted.
        permutations: drawn at random.
        null: effect of equal distributions.
        largest: effect if the groups never met and all else were the same.
        critical: smallest effect that 5 % of the permutations or fewer reach.
        rate: `critical` comes closer to `null` like units^-rate.
    """

    method: str
    effect: float
    low: float
    high: float
    p_value: float
    units: int
    permutations: int
    null: float
    largest: float
    critical: float
    rate: float

    def units_for_power(self, power: float = 0.9) -> float:
        """Units a group that an effect of this size needs to be rejected at .05 with probability `power`.

        Reckoned with a normal estimate around the effect; infinite if no effect was measured.
        """
        effect, critical = self.effect - self.null, max(self.critical - self.null, 0.0)
        if effect <= 0:
            return math.inf
        root = self.units**0.5
        spread = NormalDist().inv_cdf(power) * (self.high - self.low) / (2 * NormalDist().inv_cdf(0.975)) * root
        if self.rate == 0.5:  # effect - critical sqrt(units / n) = spread / sqrt(n)
            return ((critical * root + spread) / effect) ** 2
        return ((spread + (spread**2 + 4 * effect * critical * self.units) ** 0.5) / (2 * effect)) ** 2


def permuted(
    statistic: Callable[[Tensor], Tensor],
    effect: float,
    units: int,
    count: int,
    permutations: int,
    generator: torch.Generator,
) -> tuple[float, Tensor]:
    """The p-value of an effect, and the effects of the permutations that were drawn.

    Drawing stops once `_ENOUGH` of them reach the sample's own effect: their share among those drawn until then is a
    valid p-value too (Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 1991).

    Args:
        statistic: effects (P,) for 0/1 labels (P, units).
        effect: of the sample's own order.
        units, count: in both groups, in the first.
        permutations: at most.
        generator: draws them.
    """
    drawn = torch.empty(0, dtype=torch.float64)
    while len(drawn) < permutations:
        each = min(_AT_ONCE, permutations - len(drawn))
        order = torch.rand(each, units, generator=generator, dtype=torch.float64)
        labels = torch.zeros(each, units, dtype=torch.float64)
        labels.scatter_(1, order.topk(count, dim=1, sorted=False).indices, 1.0)
        drawn = torch.cat([drawn, statistic(labels)])
        slack = 1e-12 * max(1.0, drawn.abs().max().item())  # equal sums may differ in their last bits
        reached = torch.nonzero(drawn >= effect - slack).flatten()
        if len(reached) >= _ENOUGH:
            return _ENOUGH / (int(reached[_ENOUGH - 1]) + 1), drawn
    return (1 + len(reached)) / (permutations + 1), drawn


def result(
    method: str,
    effect: float,
    error: float,
    p_value: float,
    drawn: Tensor,
    units: int,
    null: float,
    largest: float,
    rate: float,
) -> TwoSampleResult:
    """A test's result from its effect, the effect's standard error and the effects `drawn` by permutations."""
    half = NormalDist().inv_cdf(0.975) * error
    values, counts = drawn.round(decimals=12).unique(return_counts=True)  # accuracies come in steps
    reach = counts.flip(0).cumsum(0).flip(0) / len(drawn)
    return TwoSampleResult(
        method=method,
        effect=effect,
        low=effect - half,
        high=effect + half,
        p_value=p_value,
        units=units,
        permutations=len(drawn),
        null=null,
        largest=largest,
        critical=values[reach <= _LEVEL].min().item() if (reach <= _LEVEL).any() else values.max().item(),
        rate=rate,
    )
