"""Exercises of 15_experiments: diversity as a share of the truth, an interval over seeds, and what it lets one say."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from scipy import stats
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Bug, Exercise, Input, exercise

Pair = tuple[Tensor, Tensor]

# ------------------------------------------------------------------------------------------ a share of the true spread

_TRUE = 12**-0.5  # standard deviation of a uniform number in (0, 1)


def _share_of_true_spread(quantiles: Tensor) -> Tensor:
    away = quantiles - quantiles.mean(1, keepdim=True)
    variance = away.square().sum(1) / (quantiles.shape[1] - 1)  # (N, F), unbiased
    return (12 * variance).sqrt().mean()


def _over_all_outputs(quantiles: Tensor) -> Tensor:
    return quantiles.flatten(0, 1).std(0).mean() / _TRUE


def _between_inputs(quantiles: Tensor) -> Tensor:
    return quantiles.std(0).mean() / _TRUE


def _of_the_mean_output(quantiles: Tensor) -> Tensor:
    return quantiles.mean(0).std(0).mean() / _TRUE


def _over_factors(quantiles: Tensor) -> Tensor:
    return quantiles.std(2).mean() / _TRUE


def _no_share(quantiles: Tensor) -> Tensor:
    return quantiles.std(1).mean()


def _share_of_variance(quantiles: Tensor) -> Tensor:
    return quantiles.var(1).mean() / _TRUE**2


def _all_outputs_known(quantiles: Tensor) -> Tensor:
    return quantiles.std(1, correction=0).mean() / _TRUE


def _range(quantiles: Tensor) -> Tensor:
    return (quantiles.amax(1) - quantiles.amin(1)).mean()


def _never_above_one(quantiles: Tensor) -> Tensor:
    return (quantiles.std(1) / _TRUE).clamp_max(1).mean()


def _quantile_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    yield Input("two outputs, far apart", (torch.tensor([[[0.1], [0.9]], [[0.2], [0.4]]]),))
    yield Input("one output an input, repeated", (draw(3, 1, 2).expand(3, 4, 2).clone(),))
    yield Input("inputs with the same outputs", (draw(2, 3, 3)[:1].repeat(2, 1, 1),))
    yield Input("not contiguous", (draw(5, 4, 2).transpose(0, 1),))
    yield Input("factors differ in spread", (draw(4, 6, 3) * torch.tensor([1.0, 0.5, 0.1]),))
    yield Input("float64", (draw(6, 5, 3, dtype=torch.float64),))


share_of_true_spread = Exercise(
    "share_of_true_spread",
    _share_of_true_spread,
    _quantile_cases,
    (
        Bug(
            "spread-over-all-outputs",
            _over_all_outputs,
            "the deviation is taken over the outputs of all inputs together",
            "One output for each input would look diverse: take it over the outputs of one input, then the mean.",
        ),
        Bug(
            "spread-between-inputs",
            _between_inputs,
            "it is the deviation between inputs",
            "Diversity is the choice that *one* input has: the second dimension holds its outputs.",
        ),
        Bug(
            "spread-of-the-mean-output",
            _of_the_mean_output,
            "outputs are averaged over the inputs before their deviation is taken",
            "The average over many inputs hardly varies: take the deviation for each input first.",
        ),
        Bug(
            "spread-over-factors",
            _over_factors,
            "it is the deviation between the factors of one output",
            "A hue and a direction of light are not compared: the last dimension is averaged at the end.",
        ),
        Bug(
            "spread-no-share",
            _no_share,
            "it is the deviation itself, not its share of the true one",
            "Divide by 1 / √12, the deviation of a uniform number: then 1 is all of the truth.",
        ),
        Bug(
            "spread-share-of-variance",
            _share_of_variance,
            "it is the share of the variance",
            "Half of the deviation is a quarter of the variance: take the root before the mean.",
        ),
        Bug(
            "spread-all-outputs-known",
            _all_outputs_known,
            "the variance divides by K, so that few outputs look less diverse",
            "K outputs are a sample of what the input could become: divide by K − 1.",
        ),
        Bug(
            "spread-range",
            _range,
            "it is the distance from the least to the greatest value",
            "A single odd output would decide it, and it grows with K: take the standard deviation.",
        ),
        Bug(
            "spread-never-above-one",
            _never_above_one,
            "shares above 1 are cut off",
            "Leave them: two outputs can lie further apart than the truth does, and the cut makes a bias.",
        ),
    ),
)

# --------------------------------------------------------------------------------------------- an interval over seeds


def _quantile(degrees: int, level: float = 0.975) -> float:
    return float(stats.t.ppf(level, degrees))


def _paired_interval(one: Tensor, other: Tensor) -> Pair:
    n = len(one)
    difference = one - other
    mean = difference.sum() / n
    variance = (difference - mean).square().sum() / (n - 1)
    return mean, _quantile(n - 1) * (variance / n).sqrt()


def _as_if_unpaired(one: Tensor, other: Tensor) -> Pair:
    n = len(one)
    return (one - other).mean(), _quantile(2 * n - 2) * ((one.var() + other.var()) / n).sqrt()


def _halves_in_quadrature(one: Tensor, other: Tensor) -> Pair:
    n = len(one)
    return (one - other).mean(), _quantile(n - 1) * ((one.var() + other.var()) / n).sqrt()


def _normal_quantile(one: Tensor, other: Tensor) -> Pair:
    d = one - other
    return d.mean(), 1.96 * d.std() / len(d) ** 0.5


def _deviation_of_one_seed(one: Tensor, other: Tensor) -> Pair:
    d = one - other
    return d.mean(), _quantile(len(d) - 1) * d.std()


def _divided_by_seeds(one: Tensor, other: Tensor) -> Pair:
    d = one - other
    return d.mean(), _quantile(len(d) - 1) * d.std(correction=0) / len(d) ** 0.5


def _a_degree_too_many(one: Tensor, other: Tensor) -> Pair:
    d = one - other
    return d.mean(), _quantile(len(d)) * d.std() / len(d) ** 0.5


def _one_sided(one: Tensor, other: Tensor) -> Pair:
    d = one - other
    return d.mean(), _quantile(len(d) - 1, 0.95) * d.std() / len(d) ** 0.5


def _whole_width(one: Tensor, other: Tensor) -> Pair:
    mean, half = _paired_interval(one, other)
    return mean, 2 * half


def _other_way_round(one: Tensor, other: Tensor) -> Pair:
    mean, half = _paired_interval(other, one)
    return mean, half


def _sorted_first(one: Tensor, other: Tensor) -> Pair:
    return _paired_interval(one.sort().values, other.sort().values)


def _seed_cases(generator: Generator) -> Iterator[Input]:
    def draw(count: int, shared: float, dtype: torch.dtype = torch.float32) -> Pair:
        luck = shared * torch.randn(count, generator=generator, dtype=dtype)
        own = torch.randn(2, count, generator=generator, dtype=dtype)
        return 0.8 + luck + own[0], 0.5 + luck + 0.7 * own[1]

    yield Input("two seeds", (torch.tensor([0.5, 0.75]), torch.tensor([0.625, 0.375])))
    yield Input("the same difference at every seed", (torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.5, 2.5, 1.5])))
    yield Input("three seeds", draw(3, 0.0))
    yield Input("seeds that share their luck", draw(5, 10.0))
    yield Input("many seeds", draw(40, 1.0))
    yield Input("float64", draw(4, 2.0, torch.float64))


paired_interval = Exercise(
    "paired_interval",
    _paired_interval,
    _seed_cases,
    (
        Bug(
            "seeds-as-if-unpaired",
            _as_if_unpaired,
            "the two methods' variances are added, as if their seeds had nothing to do with each other",
            "Run k of both has the same seed, batches and start: take differences first, then their deviation.",
        ),
        Bug(
            "seeds-halves-in-quadrature",
            _halves_in_quadrature,
            "each method has its own interval, and the two are added as if they were independent",
            "Run k of both shares its luck: take differences first, then their deviation.",
        ),
        Bug(
            "seeds-normal-quantile",
            _normal_quantile,
            "the factor is 1.96, whatever the number of seeds",
            "With few seeds the deviation is badly known: Student's t with S − 1 degrees, 4.3 for three seeds.",
        ),
        Bug(
            "seeds-deviation-of-one",
            _deviation_of_one_seed,
            "it is not divided by √S: that is where one more seed would fall, roughly",
            "The interval is of the mean, whose deviation is √S times smaller.",
        ),
        Bug(
            "seeds-all-known",
            _divided_by_seeds,
            "the variance of the differences divides by S",
            "The seeds are a sample of all seeds: divide by S − 1.",
        ),
        Bug(
            "seeds-a-degree-too-many",
            _a_degree_too_many,
            "Student's t has S degrees of freedom",
            "The mean took one of them: S − 1.",
        ),
        Bug(
            "seeds-one-sided",
            _one_sided,
            "the quantile is that of 95 %, which leaves 5 % on *each* side",
            "An interval of 95 % leaves 2.5 % on each side: the quantile at .975.",
        ),
        Bug(
            "seeds-whole-width",
            _whole_width,
            "it is the whole width of the interval",
            "After ± stands half of it.",
        ),
        Bug(
            "seeds-other-way-round",
            _other_way_round,
            "the difference is taken the other way round",
            "`one` less `other`: a positive mean says that `one` has more.",
        ),
        Bug(
            "seeds-sorted-first",
            _sorted_first,
            "the values are sorted before they are paired",
            "The order is that of the seeds: run k belongs to run k.",
        ),
    ),
)

# --------------------------------------------------------------------------------------------- what may be said of it


def _claim_cases(generator: Generator) -> Iterator[Input]:
    inf = float("inf")

    def case(label: str, *claims: tuple[float, float, float, float], dtype: torch.dtype = torch.float32) -> Input:
        return Input(label, tuple(torch.tensor(column, dtype=dtype) for column in zip(*claims, strict=True)))

    yield case("at least: one holds, one is undecided", (0.875, 0.0625, 0.75, inf), (0.875, 0.25, 0.75, inf))
    yield case("at most: one holds, one is undecided", (0.125, 0.0625, -inf, 0.25), (0.125, 0.25, -inf, 0.25))
    yield case("one fails, two are undecided", (0.5, 0.125, 0.75, inf), (0.5, 0.5, 0.75, inf), (0.5, 0.5, -inf, 0.25))
    yield case("an end on the bound", (0.75, 0.0, 0.75, inf), (0.5, 0.25, 0.25, 0.75), (0.5, 0.25, 0.75, inf))
    yield case("both bounds inside the interval", (0.5, 0.5, 0.375, 0.625), (0.75, 0.5, 0.375, 0.625))
    drawn = torch.rand(30, 2, generator=generator, dtype=torch.float64).tolist()
    yield case("float64", *((mean, half / 4, 0.3, 0.8) for mean, half in drawn), dtype=torch.float64)


def _within(value: Tensor, at_least: Tensor, at_most: Tensor) -> Tensor:
    return (value >= at_least) & (value <= at_most)


@exercise(cases=_claim_cases)
def claim_verdicts(mean: Tensor, half: Tensor, at_least: Tensor, at_most: Tensor) -> Pair:
    """Compare whole intervals with the bounds: holds, fails; a claim that does neither is undecided."""
    low, high = mean - half, mean + half
    holds = ~((low < at_least) | (high > at_most))
    return holds, ~((high >= at_least) & (low <= at_most))


@claim_verdicts.bug(
    "the mean alone decides",
    fix="Where a bound lies within the interval, other seeds may give the other verdict: such a claim is undecided.",
)
def mean_decides(mean: Tensor, half: Tensor, at_least: Tensor, at_most: Tensor) -> Pair:
    holds = _within(mean, at_least, at_most)
    return holds, ~holds


@claim_verdicts.bug(
    "a claim holds as soon as the interval touches what it allows",
    fix="Then a run of few seeds would make every claim hold. The whole interval must lie within the bounds.",
)
def touching_is_enough(mean: Tensor, half: Tensor, at_least: Tensor, at_most: Tensor) -> Pair:
    holds = (mean + half >= at_least) & (mean - half <= at_most)
    return holds, ~holds


@claim_verdicts.bug(
    "a claim fails as soon as it does not hold",
    fix="Both verdicts need the whole interval. If a bound lies within it, the claim is undecided.",
)
def whatever_does_not_hold(mean: Tensor, half: Tensor, at_least: Tensor, at_most: Tensor) -> Pair:
    holds, _ = claim_verdicts.reference(mean, half, at_least, at_most)
    return holds, ~holds


@claim_verdicts.bug(
    "a claim fails where both ends of the interval lie outside of the bounds, even on different sides",
    fix="An interval with one end below and one above the bounds contains everything that they allow: it is undecided.",
)
def ends_alone(mean: Tensor, half: Tensor, at_least: Tensor, at_most: Tensor) -> Pair:
    holds, _ = claim_verdicts.reference(mean, half, at_least, at_most)
    low_is_outside = ~_within(mean - half, at_least, at_most)
    return holds, low_is_outside & ~_within(mean + half, at_least, at_most)
