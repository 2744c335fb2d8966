"""Exercises of 08_total_loss: the weighted sum, one step of the game, and how hard each term pulls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Bug, Exercise, Input

Terms = dict[str, Tensor]
Weights = dict[str, float]
Parameters = list[Tensor]
ComputeTerms = Callable[[Parameters], Terms]

KINDS = ("gan", "image", "content", "style", "cycle")

# -------------------------------------------------------------------------------------------------------- the total


def _total(terms: Terms, weights: Weights) -> Tensor:
    kinds = [kind for kind in KINDS if f"{kind}_1" in terms]
    return torch.stack([weights[kind] * (terms[f"{kind}_1"] + terms[f"{kind}_2"]) for kind in kinds]).sum()


def _unweighted(terms: Terms, weights: Weights) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _one_domain(terms: Terms, weights: Weights) -> Tensor:
    return _total({name: value if name.endswith("_1") else 0 * value for name, value in terms.items()}, weights)


def _domains_averaged(terms: Terms, weights: Weights) -> Tensor:
    return _total(terms, weights) / 2


def _weights_normalized(terms: Terms, weights: Weights) -> Tensor:
    return _total(terms, weights) / sum(weights.values())


def _content_and_style_swapped(terms: Terms, weights: Weights) -> Tensor:
    return _total(terms, weights | {"content": weights["style"], "style": weights["content"]})


def _gan_unweighted(terms: Terms, weights: Weights) -> Tensor:
    return _total(terms, weights | {"gan": 1.0})


def _gan_subtracted(terms: Terms, weights: Weights) -> Tensor:
    return _total(terms, weights | {"gan": -weights["gan"]})


def _terms_detached(terms: Terms, weights: Weights) -> Tensor:
    return _total(terms, weights).detach()


def _total_cases(generator: Generator) -> Iterator[Input]:
    def draw(count: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> Terms:
        values = size * torch.rand(2 * count, generator=generator, dtype=dtype)
        names = [f"{kind}_{domain}" for kind in KINDS[:count] for domain in (1, 2)]
        return dict(zip(names, values, strict=True))

    weights = {"gan": 2.0, "image": 10.0, "content": 1.0, "style": 0.5, "cycle": 3.0}
    yield Input("no cycle", (draw(4), weights))
    yield Input("with the cycle", (draw(5), weights))
    yield Input("a weight of 0", (draw(5), weights | {"content": 0.0}))
    yield Input("a negative adversarial term", (draw(5) | {"gan_1": torch.tensor(-1.5)}, weights))
    yield Input("large values", (draw(5, size=1000.0), weights))
    yield Input("float64", (draw(5, torch.float64), weights))


total_loss = Exercise(
    "total_loss",
    _total,
    _total_cases,
    (
        Bug(
            "total-unweighted",
            _unweighted,
            "the weights are not used",
            "Multiply each term by the weight of its kind: `image_1` and `image_2` by the weight `image`.",
        ),
        Bug(
            "total-one-domain",
            _one_domain,
            "only the terms of domain 1 count",
            "Equation 5 adds up both domains: without the mirror image nobody trains the other half.",
        ),
        Bug(
            "total-domains-averaged",
            _domains_averaged,
            "the two domains are averaged",
            "Equation 5 is a sum. The half changes the balance with all that is not halved, such as weight decay.",
        ),
        Bug(
            "total-weights-normalized",
            _weights_normalized,
            "the total is divided by the sum of the weights",
            "Equation 5 is a weighted sum, no weighted mean.",
        ),
        Bug(
            "total-content-and-style-swapped",
            _content_and_style_swapped,
            "content and style have each other's weight",
            "With the paper's weights, 1 and 1, nobody notices; with any others one trains another objective.",
        ),
        Bug(
            "total-gan-without-its-weight",
            _gan_unweighted,
            "the adversarial terms are added without their weight",
            "Their weight is 1 in the paper, so that this is invisible until it is changed: use `weights['gan']`.",
        ),
        Bug(
            "total-gan-subtracted",
            _gan_subtracted,
            "the adversarial terms are subtracted",
            "The terms that you are given are the autoencoders' own losses: all of them go down.",
        ),
        Bug(
            "total-detached",
            _terms_detached,
            "the total has the right value, but no gradient flows from it",
            "Add tensors up as they are: `.item()`, `float(...)` and `.detach()` cut the graph.",
        ),
    ),
    compare_gradients=True,
)

# ---------------------------------------------------------------------------------------------- one step of the game
# Made images are codes @ player, a logit is image @ critic, the loss is least squares. Gradients written by hand.


def _critic_gradient(critic: Tensor, real: Tensor, made: Tensor) -> Tensor:
    return 2 * (real.mT @ (real @ critic - 1) / len(real) + made.mT @ (made @ critic) / len(made))


def _player_gradient(player: Tensor, critic: Tensor, codes: Tensor, target: float = 1.0) -> Tensor:
    return 2 * codes.mT @ torch.outer(codes @ player @ critic - target, critic) / len(codes)


def _game_step(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    critic = critic - rate * _critic_gradient(critic, real, codes @ player)
    return player - rate * _player_gradient(player, critic, codes), critic


def _simultaneous(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    updated = critic - rate * _critic_gradient(critic, real, codes @ player)
    return player - rate * _player_gradient(player, critic, codes), updated


def _player_first(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    player = player - rate * _player_gradient(player, critic, codes)
    return player, critic - rate * _critic_gradient(critic, real, codes @ player)


def _player_ascends(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    moved, critic = _game_step(player, critic, real, codes, rate)
    return 2 * player - moved, critic


def _added_up(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    moved, updated = _game_step(player, critic, real, codes, rate)
    return moved - rate * _player_gradient(player, critic, codes, target=0.0), updated


def _not_frozen(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    moved, critic = _game_step(player, critic, real, codes, rate)
    made = codes @ player
    return moved, critic - rate * 2 * made.mT @ (made @ critic - 1) / len(made)


def _critic_ascends(player: Tensor, critic: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    critic = critic + rate * _critic_gradient(critic, real, codes @ player)
    return player - rate * _player_gradient(player, critic, codes), critic


def _step_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    yield Input("one image each", (draw(1, 2), draw(2), draw(1, 2), draw(1, 1), 0.1))
    yield Input("a critic that knows nothing", (draw(2, 2), torch.zeros(2), draw(3, 2), draw(3, 2), 0.1))
    yield Input("more real images than made ones", (draw(2, 3), draw(3), draw(6, 3), draw(4, 2), 0.1))
    yield Input("not contiguous", (draw(3, 2).T, draw(3), draw(3, 5).T, draw(2, 5).T, 0.05))
    double = torch.float64
    yield Input(
        "float64", (draw(2, 3, dtype=double), draw(3, dtype=double), *(draw(5, k, dtype=double) for k in (3, 2)), 0.1)
    )


game_step = Exercise(
    "game_step",
    _game_step,
    _step_cases,
    (
        Bug(
            "step-simultaneous",
            _simultaneous,
            "the player moves against the critic of before its update",
            "The package lets the critic learn first, and the player is judged by the critic that has just learned.",
        ),
        Bug(
            "step-player-first",
            _player_first,
            "the player moves first, and the critic sees what the moved player makes",
            "The critic moves first, on the images that are there; the player follows, on the same images.",
        ),
        Bug(
            "step-player-ascends",
            _player_ascends,
            "the player goes up its own loss",
            "Both go *down*, each its own loss: the player's has the target 1.",
        ),
        Bug(
            "step-critic-ascends",
            _critic_ascends,
            "the critic goes up its least-squares loss",
            "The *max* in equation 5 is about log-likelihoods. A loss with targets 1 and 0 is minimized, by both.",
        ),
        Bug(
            "step-gradients-added-up",
            _added_up,
            "the player also moves down the critic's loss: the gradient of the first half was still there",
            "Detach what was made in the critic's half, and clear gradients before the player's half: else the player "
            "helps the critic to tell its images apart.",
        ),
        Bug(
            "step-critic-not-frozen",
            _not_frozen,
            "the critic moves twice, the second time down the player's loss",
            "The player's half must leave the critic alone: freeze it, and let each optimizer hold the weights of one "
            "side only.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------ how hard each term pulls


def small_terms(parameters: Parameters) -> Terms:
    """Four terms of two parameters, (n,) and (m,); the first uses one of them alone."""
    first, second = parameters
    return {
        "image_1": first.square().sum() / 2,
        "content_1": 3 * (first.sum() - second.sum()),
        "style_2": torch.sin(second).sum(),
        "gan_2": first.sum() * second.square().sum(),
    }


def _pieces(parameters: Parameters) -> dict[str, tuple[Tensor, Tensor]]:
    """The gradient of each of `small_terms` in each parameter, by hand."""
    first, second = (parameter.detach() for parameter in parameters)
    return {
        "image_1": (first, torch.zeros_like(second)),
        "content_1": (torch.full_like(first, 3), torch.full_like(second, -3)),
        "style_2": (torch.zeros_like(first), torch.cos(second)),
        "gan_2": (torch.ones_like(first) * second.square().sum(), 2 * first.sum() * second),
    }


def _weight(name: str, weights: Weights) -> float:
    return weights[name.split("_")[0]]


def _pulls(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    return {
        name: abs(_weight(name, weights)) * (a.square().sum() + b.square().sum()).sqrt()
        for name, (a, b) in _pieces(parameters).items()
    }


def _pulls_unweighted(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    return {name: torch.cat(parts).norm() for name, parts in _pieces(parameters).items()}


def _pulls_of_values(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    return {name: _weight(name, weights) * value.detach() for name, value in compute_terms(parameters).items()}


def _lengths_added(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    pieces = _pieces(parameters).items()
    return {name: _weight(name, weights) * torch.stack([part.norm() for part in parts]).sum() for name, parts in pieces}


def _squared_lengths(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    return {name: value.square() for name, value in _pulls(compute_terms, parameters, weights).items()}


def _gradients_accumulated(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    together = torch.zeros_like(torch.cat([parameter.detach() for parameter in parameters]))
    found = {}
    for name, parts in _pieces(parameters).items():
        together = together + _weight(name, weights) * torch.cat(parts)
        found[name] = together.norm()
    return found


def _first_parameter(compute_terms: ComputeTerms, parameters: Parameters, weights: Weights) -> Terms:
    return {name: _weight(name, weights) * parts[0].norm() for name, parts in _pieces(parameters).items()}


def _pull_cases(generator: Generator) -> Iterator[Input]:
    def draw(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, generator=generator, dtype=dtype)

    weights = {"gan": 1.0, "image": 10.0, "content": 0.5, "style": 2.0}
    yield Input("two numbers each", (small_terms, [draw(2), draw(2)], weights))
    yield Input("a parameter at zero", (small_terms, [torch.zeros(3), draw(2)], weights))
    yield Input("a weight of 0", (small_terms, [draw(3), draw(4)], weights | {"style": 0.0}))
    yield Input("large values", (small_terms, [10 * draw(4), 10 * draw(4)], weights))
    yield Input("float64", (small_terms, [draw(5, torch.float64), draw(6, torch.float64)], weights))


pulls = Exercise(
    "pulls",
    _pulls,
    _pull_cases,
    (
        Bug(
            "pulls-unweighted",
            _pulls_unweighted,
            "the gradients are measured without the weights",
            "What moves the parameters is weight times gradient.",
        ),
        Bug(
            "pulls-of-values",
            _pulls_of_values,
            "it is the weighted value of each term, not the length of its gradient",
            "A large loss may be flat and a small one steep: take the gradient in the parameters.",
        ),
        Bug(
            "pulls-lengths-added",
            _lengths_added,
            "the lengths of the parameters' gradients are added up",
            "All parameters together are one vector: square, add, and take one root.",
        ),
        Bug(
            "pulls-squared",
            _squared_lengths,
            "the root is missing: it is the squared length",
            "The length is the root of the sum of squares.",
        ),
        Bug(
            "pulls-accumulated",
            _gradients_accumulated,
            "each gradient still holds those of the terms before it",
            "`backward` adds to `.grad`: clear it between terms, or use `torch.autograd.grad`.",
        ),
        Bug(
            "pulls-of-the-first-parameter",
            _first_parameter,
            "only the first parameter counts",
            "Take all parameters; where a term does not use one, its gradient there is zero (`allow_unused=True`).",
        ),
    ),
    compare_gradients=True,
)
