"""Exercises of 08_total_loss (one training step) and 08b_loss_contributions (a vanished code, a leaking style)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Input, exercise

# ------------------------------------------------------------------------------------------------- one training step
# A translation is codes @ decoder, a score is image @ discriminator, both losses are least squares. The gradients are
# written by hand.


def discriminator_gradient(discriminator: Tensor, real: Tensor, translations: Tensor) -> Tensor:
    on_real = real.mT @ (real @ discriminator - 1) / len(real)
    return 2 * (on_real + translations.mT @ (translations @ discriminator) / len(translations))


def decoder_gradient(decoder: Tensor, discriminator: Tensor, codes: Tensor, target: float = 1.0) -> Tensor:
    return 2 * codes.mT @ torch.outer(codes @ decoder @ discriminator - target, discriminator) / len(codes)


def step_cases(generator: Generator) -> Iterator[Input]:
    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    yield Input("one image each", (normal(1, 2), normal(2), normal(1, 2), normal(1, 1), 0.1))
    yield Input("a discriminator of zeros", (normal(2, 2), torch.zeros(2), normal(3, 2), normal(3, 2), 0.1))
    yield Input("more real images than translations", (normal(2, 3), normal(3), normal(6, 3), normal(4, 2), 0.1))
    yield Input("not contiguous", (normal(3, 2).T, normal(3), normal(3, 5).T, normal(2, 5).T, 0.05))
    double = {"dtype": torch.float64}
    arguments = (normal(2, 3, **double), normal(3, **double), normal(5, 3, **double), normal(5, 2, **double))
    yield Input("float64", (*arguments, 0.1))


@exercise(step_cases)
def game_step(
    decoder: Tensor, discriminator: Tensor, real: Tensor, codes: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    discriminator = discriminator - rate * discriminator_gradient(discriminator, real, codes @ decoder)
    return decoder - rate * decoder_gradient(decoder, discriminator, codes), discriminator


@game_step.bug(
    "updates the decoder with the discriminator from before its own update",
    fix="MUNIT's step updates the discriminator first, and the decoder then learns from the updated one.",
)
def simultaneous(decoder: Tensor, discriminator: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple:
    updated = discriminator - rate * discriminator_gradient(discriminator, real, codes @ decoder)
    return decoder - rate * decoder_gradient(decoder, discriminator, codes), updated


@game_step.bug(
    "adds the gradient of the discriminator's loss to the decoder's own",
    fix="Detach the translations in the discriminator's loss, or clear the decoder's gradient before its update.",
)
def gradients_added_up(decoder: Tensor, discriminator: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple:
    moved, updated = game_step.reference(decoder, discriminator, real, codes, rate)
    return moved - rate * decoder_gradient(decoder, discriminator, codes, target=0.0), updated


@game_step.bug(
    "updates the discriminator a second time, with the decoder's loss",
    fix="The decoder's loss must change the decoder alone, although its gradient passes through the discriminator.",
)
def discriminator_moves_twice(
    decoder: Tensor, discriminator: Tensor, real: Tensor, codes: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    moved, updated = game_step.reference(decoder, discriminator, real, codes, rate)
    translations = codes @ decoder
    return moved, updated - rate * 2 * translations.mT @ (translations @ updated - 1) / len(translations)


@game_step.bug(
    "gives the decoder's loss the target 0",
    fix="The decoder wants its translations to be taken for real images, so its target is 1.",
    met="vliu15/munit: the generator's adversarial target is 0",
)
def target_of_zero(decoder: Tensor, discriminator: Tensor, real: Tensor, codes: Tensor, rate: float) -> tuple:
    _, updated = game_step.reference(decoder, discriminator, real, codes, rate)
    return decoder - rate * decoder_gradient(decoder, updated, codes, target=0.0), updated


# ---------------------------------------------------------------------------- the gradient of a discriminator's loss
# that leaks into the decoder


def logit_cases(generator: Generator) -> Iterator[Input]:
    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    yield Input("one logit", (normal(1) - 1,))
    yield Input("an undecided discriminator", (torch.zeros(2),))
    yield Input("large logits", (torch.tensor([-300.0, 200.0, 0.5]),))
    yield Input("a map of logits per image", (normal(2, 1, 2, 2),))
    yield Input("float64", (normal(6, dtype=torch.float64),))


@exercise(logit_cases)
def leaked_gradient(logits: Tensor) -> Tensor:
    return torch.tanh(logits / 2) / logits.numel()


@leaked_gradient.bug(
    "differentiates the decoder's loss alone",
    fix="The discriminator's loss contains the same translations; add the derivative of −log(1 − D).",
)
def decoder_alone(logits: Tensor) -> Tensor:
    return (torch.sigmoid(logits) - 1) / logits.numel()


@leaked_gradient.bug(
    "subtracts the gradient of the discriminator's loss",
    fix="`.grad` holds a sum: both losses are minimized, so both gradients enter with a plus sign.",
)
def subtracted(logits: Tensor) -> Tensor:
    return torch.full_like(logits, -1 / logits.numel())


@leaked_gradient.bug(
    "leaves out the mean over the logits",
    fix="Both losses are means over all logits, so each derivative is divided by their number.",
)
def mean_left_out(logits: Tensor) -> Tensor:
    return torch.tanh(logits / 2)


@leaked_gradient.bug(
    "takes logarithms of probabilities that round to 0 or 1",
    fix="For a logit of −300, D is 0 in float32 and log D is −∞. Simplify the derivative by hand instead.",
)
def rounded_probabilities(logits: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = logits.detach().float().requires_grad_()
        d = torch.sigmoid(leaf)
        loss = -(torch.log(d) + torch.log(1 - d)).mean()
        return torch.autograd.grad(loss, leaf)[0].to(logits.dtype)


# -------------------------------------------------------------------- the mismatch that a vanished content code leaves
# If the content code is zero, a translation is a vector times the sampled style, so its covariance has rank 1.


def covariance_cases(generator: Generator) -> Iterator[Input]:
    def covariance(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        mixing = torch.randn(*shape, shape[-1] + 1, generator=generator, dtype=dtype)
        return mixing @ mixing.mT

    yield Input("independent numbers", (torch.diag(torch.tensor([0.5, 2.0])),))
    yield Input("equal variances", (torch.tensor([[1.0, 0.6], [0.6, 1.0]]),))
    yield Input("two numbers", (covariance(2),))
    yield Input("several covariances", (covariance(4, 2),))
    yield Input("images of three numbers", (covariance(2, 3),))
    yield Input("float64", (covariance(3, 2, dtype=torch.float64),))


def half_squared_norm(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-2, -1)) / 2


@exercise(covariance_cases)
def vanished_code(covariance: Tensor) -> Tensor:
    variances, directions = torch.linalg.eigh(covariance)
    best = variances[..., -1:].sqrt() * directions[..., :, -1]
    return half_squared_norm(covariance - best[..., :, None] * best[..., None, :])


@vanished_code.bug(
    "matches the direction of the smallest variance",
    fix="One style can match one eigenvector. Matching that of the largest eigenvalue leaves the least.",
)
def smallest_matched(covariance: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(covariance)[..., 1:].square().sum(-1) / 2


@vanished_code.bug(
    "adds up the remaining eigenvalues without squaring them",
    fix="The squared norm of a symmetric matrix is the sum of its squared eigenvalues.",
)
def not_squared(covariance: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(covariance)[..., :-1].sum(-1) / 2


@vanished_code.bug(
    "leaves out the factor ½",
    fix="The adversarial loss of the toy is half the squared norm of the mismatch.",
)
def factor_left_out(covariance: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(covariance)[..., :-1].square().sum(-1)


@vanished_code.bug(
    "matches the first row of the covariance exactly",
    fix="A vector that is right for one number can be wrong for the others. Minimize over all vectors.",
)
def first_row_matched(covariance: Tensor) -> Tensor:
    vector = covariance[..., 0, :] / covariance[..., :1, 0].sqrt()
    return half_squared_norm(covariance - vector[..., :, None] * vector[..., None, :])


@vanished_code.bug(
    "matches only the variances, not the covariances",
    fix="The mismatch contains the entries off the diagonal, too. Use eigenvalues in place of variances.",
)
def variances_alone(covariance: Tensor) -> Tensor:
    variances = covariance.diagonal(dim1=-2, dim2=-1).sort(-1).values
    return variances[..., :-1].square().sum(-1) / 2


# ------------------------------------------------------------------------------ the style loss of a style that leaks

MEAN_ABSOLUTE_NORMAL = math.sqrt(2 / math.pi)  # E|z| of z ~ N(0, 1)


def angle_cases(generator: Generator) -> Iterator[Input]:
    yield Input("one angle", (torch.tensor([0.7]),))
    yield Input("only the sampled style", (torch.zeros(2),))
    yield Input("negative and obtuse angles", (torch.tensor([-0.4, 2.5, -2.0]),))
    yield Input("several angles", (2 * torch.rand(4, generator=generator),))
    yield Input("float64", (2 * torch.rand(5, generator=generator, dtype=torch.float64),))


@exercise(angle_cases)
def leaked_style(angle: Tensor) -> Tensor:
    return MEAN_ABSOLUTE_NORMAL * (1 - torch.cos(angle) ** 2).sqrt()


@leaked_style.bug(
    "keeps the style encoder at k = 1",
    fix="The encoder is trained, too: choose the k for which the error is smallest.",
)
def encoder_not_adapted(angle: Tensor) -> Tensor:
    return MEAN_ABSOLUTE_NORMAL * (2 - 2 * torch.cos(angle)).sqrt()


@leaked_style.bug(
    "returns the variance of the error",
    fix="The loss is the mean absolute error: √(2/π) times the standard deviation.",
)
def variance(angle: Tensor) -> Tensor:
    return torch.sin(angle) ** 2


@leaked_style.bug(
    "returns the standard deviation of the error",
    fix="The mean absolute value of a normal variable is √(2/π) times its standard deviation.",
)
def standard_deviation(angle: Tensor) -> Tensor:
    return torch.sin(angle).abs()


@leaked_style.bug(
    "becomes negative for negative angles",
    fix="A standard deviation is never negative: take the absolute value.",
)
def signed(angle: Tensor) -> Tensor:
    return MEAN_ABSOLUTE_NORMAL * torch.sin(angle)
