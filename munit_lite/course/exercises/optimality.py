"""Exercises of 10_optimality: both players' values at the best D, the hypothesis that breaks, a bound that holds."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.special import xlogy

from munit_lite.course.exercises.framework import Bug, Exercise, Input

# -------------------------------------------------------------------------------------- densities on a grid of points


def _normal(x: Tensor, mean: float, deviation: float) -> Tensor:
    return torch.exp(-(((x - mean) / deviation) ** 2) / 2) / deviation / math.sqrt(2 * math.pi)


def _density_cases(generator: Generator) -> Iterator[Input]:
    shift = 1 + torch.rand((), generator=generator).item()
    steps = torch.tensor([0.5, 0.5, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.5, 0.5])
    yield Input("no overlap: p or q is 0", (*steps, 1.0))
    x = torch.linspace(-8, 8, 161)
    yield Input("equal densities", (_normal(x, 0, 1), _normal(x, 0, 1), 0.1))
    yield Input("a narrower q", (_normal(x, 0, 1), _normal(x, 0, 0.5), 0.1))
    fine = torch.linspace(-8, 8, 321, dtype=torch.float64)
    yield Input("a shifted q, float64", (_normal(fine, 0, 1), _normal(fine, shift, 1), 0.05))


# ------------------------------------------------------------------------------------------- the discriminator's value


def _best_value(real: Tensor, made: Tensor, step: float) -> Tensor:
    total = real + made
    return step * (xlogy(real, real) + xlogy(made, made) - xlogy(total, total)).sum()


def _zero_times_infinity(real: Tensor, made: Tensor, step: float) -> Tensor:
    best = real / (real + made)
    return step * (real * best.log() + made * (1 - best).log()).sum()


def _negated_value(real: Tensor, made: Tensor, step: float) -> Tensor:
    return -_best_value(real, made, step)


def _divergence_only(real: Tensor, made: Tensor, step: float) -> Tensor:
    return _best_value(real, made, step) + math.log(4)


def _in_bits(real: Tensor, made: Tensor, step: float) -> Tensor:
    return _best_value(real, made, step) / math.log(2)


def _no_step(real: Tensor, made: Tensor, step: float) -> Tensor:
    return _best_value(real, made, 1.0)


def _real_half(real: Tensor, made: Tensor, step: float) -> Tensor:
    return step * xlogy(real, real / (real + made)).sum()


best_value = Exercise(
    "best_value",
    _best_value,
    _density_cases,
    (
        Bug(
            "value-zero-times-infinity",
            _zero_times_infinity,
            "where a density is 0 it multiplies 0 by the logarithm of 0, which is not a number",
            "0 log 0 counts as 0 in an expectation: `torch.special.xlogy` does so.",
        ),
        Bug(
            "value-negated",
            _negated_value,
            "it is the value with the other sign, the loss that an optimizer goes down on",
            "Equation 4 is maximized by D: its value is never positive.",
        ),
        Bug(
            "value-divergence-only",
            _divergence_only,
            "the constant is missing: it is twice the Jensen-Shannon divergence alone",
            "The value is 2 JSD − log 4.",
        ),
        Bug(
            "value-in-bits",
            _in_bits,
            "the value is in bits",
            "Equation 4 has natural logarithms: the optimum is −log 4 = −1.386.",
        ),
        Bug(
            "value-without-step",
            _no_step,
            "the sum over the grid is not multiplied by the distance of its points",
            "An integral is the sum of heights times the step.",
        ),
        Bug(
            "value-real-half-only",
            _real_half,
            "only the expectation over real data is there",
            "Add the expectation of log(1 − D) over the made data.",
        ),
    ),
)

# ----------------------------------------------------------------------------------------------- the generator's value


def _generator_value(real: Tensor, made: Tensor, step: float) -> Tensor:
    return step * (made**3 / (real + made) ** 2).sum()


def _over_real(real: Tensor, made: Tensor, step: float) -> Tensor:
    return step * (real * (real / (real + made) - 1) ** 2).sum()


def _generator_to_zero(real: Tensor, made: Tensor, step: float) -> Tensor:
    return step * (made * (real / (real + made)) ** 2).sum()


def _minus_discriminator(real: Tensor, made: Tensor, step: float) -> Tensor:
    return -step * (real * made / (real + made)).sum()


def _both_players(real: Tensor, made: Tensor, step: float) -> Tensor:
    return step * (real * made / (real + made)).sum()


def _half_generator(real: Tensor, made: Tensor, step: float) -> Tensor:
    return _generator_value(real, made, step) / 2


generator_value = Exercise(
    "generator_value",
    _generator_value,
    _density_cases,
    (
        Bug(
            "generator-value-over-real",
            _over_real,
            "the expectation is over the real data, on which the generator has no influence",
            "The generator's loss is an expectation over what it makes: weigh by q.",
        ),
        Bug(
            "generator-value-target-zero",
            _generator_to_zero,
            "it is E[D²] over the made data, the discriminator's half of the loss",
            "The generator wants D to be 1: E[(D − 1)²].",
        ),
        Bug(
            "generator-value-zero-sum",
            _minus_discriminator,
            "it is the discriminator's loss with the other sign",
            "The least-squares game is not zero-sum: the generator has a loss of its own, E[(D − 1)²] over q.",
        ),
        Bug(
            "generator-value-of-discriminator",
            _both_players,
            "it is the discriminator's least-squares loss at its best, ½ where q = p",
            "The generator's is E[(D − 1)²] over the made data: ¼ where q = p.",
        ),
        Bug(
            "generator-value-halved",
            _half_generator,
            "it is half of the generator's value",
            "There is no ½ in the squares as the original trains them: the optimum is ¼ a scale.",
        ),
    ),
)

# --------------------------------------------------------------------------------------------- which hypothesis broke

Broken = dict[str, bool]


def _violated(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float) -> Broken:
    told_apart = [p <= alpha and found > effect for p, found in zip(p_values.tolist(), effects.tolist(), strict=True)]
    return {"A": any(told_apart), "R": max(lows.tolist()) > error}


def _letters_swapped(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float):
    found = _violated(p_values, effects, lows, alpha, effect, error)
    return {"A": found["R"], "R": found["A"]}


def _all_must_fail(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float):
    told_apart = ((p_values <= alpha) & (effects > effect)).all().item()
    return {"A": told_apart, "R": (lows > error).all().item()}


def _p_value_only(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float):
    return {"A": (p_values <= alpha).any().item(), "R": (lows > error).any().item()}


def _effect_only(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float):
    return {"A": (effects > effect).any().item(), "R": (lows > error).any().item()}


def _of_different_parts(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float):
    told_apart = (p_values <= alpha).any() & (effects > effect).any()
    return {"A": told_apart.item(), "R": (lows > error).any().item()}


def _on_average(p_values: Tensor, effects: Tensor, lows: Tensor, alpha: float, effect: float, error: float):
    found = _violated(p_values, effects, lows, alpha, effect, error)
    return {"A": found["A"], "R": (lows.mean() > error).item()}


def _finding_cases(generator: Generator) -> Iterator[Input]:
    noise = 1e-9 * torch.rand(6, generator=generator, dtype=torch.float64)
    findings = {
        "nothing differs": ([0.4, 0.7], [0.001, -0.002], []),
        "one direction of translation": ([0.001 / 2, 0.6], [0.3, 0.002], []),
        "one reconstruction, barely": ([0.5, 0.5], [0.0, 0.01], [4]),
        "everything": ([0.001 / 2, 0.001 / 2], [0.3, 0.2], range(6)),
        "sure, but small": ([0.001 / 2, 0.3], [0.02, 0.0], []),
        "large, but not sure": ([0.2, 0.3], [0.06, 0.0], []),
        "sure in one part, large in the other": ([0.001 / 2, 0.2], [0.02, 0.06], []),
    }
    for kind in (torch.float32, torch.float64):
        for label, (p_values, effects, broken) in findings.items():
            lows = noise.clone()
            lows[list(broken)] = 2e-6
            samples = (torch.tensor(p_values, dtype=kind), torch.tensor(effects, dtype=kind), lows.to(kind))
            yield Input(label, (*samples, 0.001, 0.04, 1e-6))


violated = Exercise(
    "violated",
    _violated,
    _finding_cases,
    (
        Bug(
            "violated-letters-swapped",
            _letters_swapped,
            "A and R have each other's findings",
            "A: the tests of translations against real images. R: the reconstruction errors.",
        ),
        Bug(
            "violated-only-if-all-fail",
            _all_must_fail,
            "a hypothesis counts as violated only if each of its parts is",
            "The minimum needs every part: one that fails is enough.",
        ),
        Bug(
            "violated-by-p-value-alone",
            _p_value_only,
            "a small p-value is enough, however small the difference",
            "With many units any difference is found: the effect must count, too.",
        ),
        Bug(
            "violated-by-effect-alone",
            _effect_only,
            "a large effect is enough, though chance explains it",
            "With few units large effects come by chance: the test must reject, too.",
        ),
        Bug(
            "violated-by-different-parts",
            _of_different_parts,
            "one part is sure, another one large, and neither is both",
            "Join p-value and effect part by part, then ask whether any part fails.",
        ),
        Bug(
            "violated-on-average",
            _on_average,
            "the reconstruction errors are averaged, so that good parts hide a bad one",
            "Each reconstruction term must be zero: judge them one by one.",
        ),
    ),
)

# --------------------------------------------------------------------------------------------------- a bound that holds


def _bound_of(values: Tensor) -> Tensor:
    """Equation 4 on each pair, (n,) -> bound on the divergence and its low end: (2,)."""
    bounds = (values + math.log(4)) / 2
    error = ((bounds - bounds.mean()).square().sum() / (len(bounds) - 1) / len(bounds)).sqrt()
    return torch.stack([bounds.mean(), bounds.mean() - 1.96 * error])


def _value(real: Tensor, made: Tensor) -> Tensor:
    """log D on real images and log(1 - D) on made ones, from logits: (n,) each -> (n,)."""
    return F.logsigmoid(real) + F.logsigmoid(-made)


def _divergence_bound(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return _bound_of(_value(real[~seen], made[~seen]))


def _on_training_pairs(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return _bound_of(_value(real[seen], made[seen]))


def _on_all_pairs(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return _bound_of(_value(real, made))


def _bound_not_halved(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return 2 * _divergence_bound(real, made, seen)


def _value_alone(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return 2 * _divergence_bound(real, made, seen) - math.log(4)


def _overflowing(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return _bound_of(torch.sigmoid(real[~seen]).log() + (1 - torch.sigmoid(made[~seen])).log())


def _made_as_real(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    return _bound_of(_value(real[~seen], -made[~seen]))


def _spread_of_pairs(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    mean, low = _divergence_bound(real, made, seen)
    return torch.stack([mean, mean - (mean - low) * (~seen).sum().sqrt()])


def _high_end(real: Tensor, made: Tensor, seen: Tensor) -> Tensor:
    mean, low = _divergence_bound(real, made, seen)
    return torch.stack([mean, 2 * mean - low])


def _logit_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, count: int, gap: float, kind: torch.dtype = torch.float32) -> Input:
        logits = torch.randn(2, count, generator=generator, dtype=torch.float64)
        seen = torch.arange(count) % 3 != 2
        shift = torch.where(seen, 2.0, gap / 2)  # it knows its own pairs by heart
        return Input(label, ((logits[0] + shift).to(kind), (logits[1] - shift).to(kind), seen))

    yield case("six held out", 18, 1.0)
    yield case("nothing to tell apart", 60, 0.0)
    yield case("held out, worse than a guess", 60, -1.0)
    yield case("told apart", 90, 3.0, torch.float64)
    sure = case("sure, and once wrong", 30, 4.0)
    sure.arguments[1][5] = 200.0  # held out
    yield sure


divergence_bound = Exercise(
    "divergence_bound",
    _divergence_bound,
    _logit_cases,
    (
        Bug(
            "bound-on-training-pairs",
            _on_training_pairs,
            "it is measured on the pairs that the discriminator was trained on",
            "It may know those by heart, and then says more than the divergence: use the held-out ones, `~seen`.",
        ),
        Bug(
            "bound-on-all-pairs",
            _on_all_pairs,
            "the pairs of the training are among those it is measured on",
            "A bound holds on images that the discriminator has never seen: leave the others out.",
        ),
        Bug(
            "bound-not-halved",
            _bound_not_halved,
            "it is a bound on twice the divergence",
            "The value is at most 2 JSD − log 4: add log 4, then take half.",
        ),
        Bug(
            "bound-without-constant",
            _value_alone,
            "it is the mean of equation 4 itself, which is a bound on no divergence yet",
            "The value is at most 2 JSD − log 4: solve for JSD.",
        ),
        Bug(
            "bound-overflow",
            _overflowing,
            "where the discriminator is sure and wrong, it takes the logarithm of 0",
            "Take the logarithm from the logit: `torch.nn.functional.softplus` or `logsigmoid`.",
        ),
        Bug(
            "bound-made-called-real",
            _made_as_real,
            "the made images enter with log D",
            "Equation 4 has log D on real images and log(1 − D) on made ones.",
        ),
        Bug(
            "bound-spread-of-pairs",
            _spread_of_pairs,
            "the low end lies 1.96 deviations of a single pair below",
            "The interval is that of a mean: divide the deviation by the root of the number of pairs.",
        ),
        Bug(
            "bound-high-end",
            _high_end,
            "the end of the interval is the high one",
            "A lower bound is certain down to the low end of its interval.",
        ),
    ),
)
