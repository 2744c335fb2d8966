"""Exercises of 10_optimality: the optimum of the hinge loss, and a bound from a discriminator of several scales."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Input, exercise

# ------------------------------------------------------------------------------------ the optimum of the hinge loss


def probability_cases(generator: Generator) -> Iterator[Input]:
    def probabilities(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, generator=generator, dtype=dtype).softmax(0)

    p = probabilities(5)
    yield Input("one image", (torch.ones(1), torch.ones(1)))
    yield Input("two images", (torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])))
    yield Input("no overlap", (torch.tensor([0.4, 0.6, 0.0]), torch.tensor([0.0, 0.0, 1.0])))
    yield Input("equal distributions", (p, p.clone()))
    yield Input("an image that is never generated", (probabilities(4), torch.tensor([0.0, 0.5, 0.2, 0.3])))
    yield Input("float64", (probabilities(9, torch.float64), probabilities(9, torch.float64)))


@exercise(probability_cases)
def hinge_minimum(p: Tensor, g: Tensor) -> Tensor:
    return 2 * torch.minimum(p, g).sum()


def _hinge_loss(p: Tensor, g: Tensor, score: Tensor) -> Tensor:
    return (p * (1 - score).clamp_min(0) + g * (1 + score).clamp_min(0)).sum()


@hinge_minimum.bug(
    "inserts p / (p + g), the optimal discriminator of the logarithmic loss",
    fix="Every loss has its own optimal discriminator: minimize p max(0, 1 - D) + g max(0, 1 + D) over D.",
)
def discriminator_of_the_logarithm(p: Tensor, g: Tensor) -> Tensor:
    return _hinge_loss(p, g, p / (p + g))


@hinge_minimum.bug(
    "outputs a score of 0 for every image, which is optimal for equal distributions only",
    fix="Choose the score of each image separately. The loss of one image is linear in D between the corners.",
)
def constant_score(p: Tensor, g: Tensor) -> Tensor:
    return _hinge_loss(p, g, torch.zeros_like(p))


@hinge_minimum.bug(
    "sums only over the images that are more often real than generated",
    fix="The other images have a loss, too: they cost 2p, because real ones among them are classified as generated.",
)
def mostly_real_images_only(p: Tensor, g: Tensor) -> Tensor:
    return 2 * g[p > g].sum()


@hinge_minimum.bug(
    "subtracts the sum of |p - g| twice",
    fix="The minimum of p and g is (p + g - |p - g|) / 2, and the probabilities sum to 1: the loss is 2 - sum of "
    "|p - g|. Two distributions without overlap give 0.",
)
def difference_counted_twice(p: Tensor, g: Tensor) -> Tensor:
    return 2 - 2 * (p - g).abs().sum()


# --------------------------------------------------------------------------------- a bound from least-squares scores


def score_cases(generator: Generator) -> Iterator[Input]:
    def scores(gap: float, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], ...]:
        sign = torch.tensor([1.0, -1.0])
        return tuple(
            [0.5 + gap * s + 0.1 * torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
            for s in sign.tolist()
        )

    yield Input("one scale", scores(0.3, (2, 1, 1, 1)))
    yield Input("a discriminator that has learned nothing", scores(0.0, (2, 1, 2, 2), (2, 1, 1, 1)))
    yield Input("three scales", scores(0.2, (3, 1, 4, 4), (3, 1, 2, 2), (3, 1, 1, 1)))
    fine, coarse = scores(0.0, (4, 1, 4, 4)), scores(0.4, (4, 1, 2, 2))
    yield Input("only the coarse scale detects it", tuple(a + b for a, b in zip(fine, coarse, strict=True)))
    yield Input("float64", scores(0.25, (3, 1, 3, 3), (3, 1, 2, 2), dtype=torch.float64))


def _bounds(real_scores: list[Tensor], fake_scores: list[Tensor]) -> Tensor:
    """The bound of each scale: (scales,)."""
    losses = [(r - 1).square().mean() + f.square().mean() for r, f in zip(real_scores, fake_scores, strict=True)]
    return 2 - 4 * torch.stack(losses)


@exercise(score_cases)
def divergence_bound(real_scores: list[Tensor], fake_scores: list[Tensor]) -> Tensor:
    return _bounds(real_scores, fake_scores).max().clamp_min(0)


@divergence_bound.bug(
    "adds the bounds of the scales",
    fix="The scales see the same images, so they find the same difference several times. Each scale alone gives a "
    "bound; take the largest.",
)
def bounds_added(real_scores: list[Tensor], fake_scores: list[Tensor]) -> Tensor:
    return _bounds(real_scores, fake_scores).sum().clamp_min(0)


@divergence_bound.bug(
    "averages the bounds of the scales, which is correct, but weaker than necessary",
    fix="Each scale alone gives a bound, and the largest of them is a bound as well.",
)
def bounds_averaged(real_scores: list[Tensor], fake_scores: list[Tensor]) -> Tensor:
    return _bounds(real_scores, fake_scores).mean().clamp_min(0)


@divergence_bound.bug(
    "averages over the patches of all scales together, so that the finest scale outweighs the others",
    fix="Compute the loss of each scale, then the bound of each scale, then the largest bound.",
)
def patches_pooled(real_scores: list[Tensor], fake_scores: list[Tensor]) -> Tensor:
    real, fake = (torch.cat([scale.flatten() for scale in scores]) for scores in (real_scores, fake_scores))
    return _bounds([real], [fake])[0].clamp_min(0)


@divergence_bound.bug(
    "returns a negative bound if the discriminator is worse than the constant ½",
    fix="Δ is never negative, so 0 is a better bound.",
)
def negative_bound(real_scores: list[Tensor], fake_scores: list[Tensor]) -> Tensor:
    return _bounds(real_scores, fake_scores).max()
