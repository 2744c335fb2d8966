"""Exercises of 07_adversarial_loss: a density from a discriminator, MUNIT's losses, and a bound of a divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Input, exercise

Scales = list[Tensor]
Discriminate = Callable[[Tensor], Scales]

# ------------------------------------------------------------------------------------------ a density from logits


def density_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, *shape: int, k: float, dtype: torch.dtype = torch.float32) -> Input:
        logits = torch.randn(shape, generator=generator, dtype=dtype)
        return Input(label, (logits, 0.1 + torch.rand(shape, generator=generator, dtype=dtype), k))

    yield case("one point", 1, k=3.0)
    yield case("more real than generated numbers", 2, k=0.5)
    yield Input(
        "a discriminator that is certain", (torch.tensor([-9.0, 9.0, 0.0]), torch.tensor([0.5, 1e-4, 0.2]), 2.0)
    )
    yield case("a grid of points", 3, 4, k=4.0)
    yield case("float64", 5, k=2.0, dtype=torch.float64)


@exercise(density_cases)
def real_density(logits: Tensor, generated_density: Tensor, k: float) -> Tensor:
    return k * generated_density * torch.exp(logits)


@real_density.bug(
    "multiplies the density by D instead of by the odds D / (1 − D)",
    fix="Solve D = p / (p + k g) for p. The probability D alone never exceeds 1, but p may exceed k g.",
)
def probability_for_odds(logits: Tensor, generated_density: Tensor, k: float) -> Tensor:
    return k * generated_density * torch.sigmoid(logits)


@real_density.bug(
    "uses D = p / (p + g), the optimum for equally many real and generated numbers",
    fix="With k generated numbers for each real one, the second term of the loss has the weight k.",
)
def equally_many(logits: Tensor, generated_density: Tensor, k: float) -> Tensor:
    return generated_density * torch.exp(logits)


@real_density.bug(
    "divides by k",
    fix="The more generated numbers a batch contains, the lower D is at the same p. Multiplying by k makes up for it.",
)
def divided_by_k(logits: Tensor, generated_density: Tensor, k: float) -> Tensor:
    return generated_density * torch.exp(logits) / k


@real_density.bug(
    "takes the odds of being generated",
    fix="A high logit means that real numbers are frequent there, so p grows with the logit.",
)
def inverse_odds(logits: Tensor, generated_density: Tensor, k: float) -> Tensor:
    return k * generated_density * torch.exp(-logits)


# --------------------------------------------------------------------------------------------- the losses of a step


class SmallDiscriminator(nn.Module):
    """Two scales, a 1 x 1 convolution each: (B, C, h, w) -> [(B, 1, h, w), (B, 1, 1, 1)]."""

    def __init__(self, channels: int, dtype: torch.dtype, generator: Generator) -> None:
        super().__init__()
        self.fine, self.coarse = (nn.Conv2d(channels, 1, 1, dtype=dtype) for _ in range(2))
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, image: Tensor) -> Scales:
        return [self.fine(image), self.coarse(image.mean((2, 3), keepdim=True))]


def mean_squares(outputs: Scales, target: float) -> Tensor:
    """The mean squared distance from a target over the patches of each scale, summed over the scales."""
    return torch.stack([((scale - target) ** 2).sum() / scale.numel() for scale in outputs]).sum()


def loss_cases(generator: Generator) -> Iterator[Input]:
    for label, real in inputs.feature_batches(generator):
        if label in ("large values", "far from zero"):  # no image
            continue
        fake = torch.randn(real.shape, generator=generator, dtype=real.dtype)
        yield Input(label, (SmallDiscriminator(real.shape[1], real.dtype, generator), real, fake))


@exercise(loss_cases, gradients=True)
def least_squares_losses(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    loss_d = mean_squares(discriminate(real), 1) + mean_squares(discriminate(fake.detach()), 0)
    return loss_d, mean_squares(discriminate(fake), 1)


@least_squares_losses.bug(
    "has all three bugs of the exercise still",
    fix="Check the gradient of each loss, the number of scales, and what output the generator aims at.",
)
def as_posed(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    on_real, on_fake = (
        torch.cat([scale.flatten() for scale in discriminate(images)]) for images in (real, fake.detach())
    )
    return ((on_real - 1) ** 2).mean() + (on_fake**2).mean(), -(on_fake**2).mean()


@least_squares_losses.bug(
    "gives the generator the target 0, so that it is trained to look fake",
    fix="The generator wants the discriminator to output 1 for its images.",
    met="vliu15/munit: the generator's adversarial target is 0",
)
def generator_target_zero(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return least_squares_losses.reference(discriminate, real, fake)[0], mean_squares(discriminate(fake), 0)


@least_squares_losses.bug(
    "lets the loss of the discriminator send a gradient to the generator",
    fix="Detach the generated images in the discriminator's loss. Its gradient would make them easier to recognize.",
)
def fake_not_detached(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    on_fake = discriminate(fake)
    return mean_squares(discriminate(real), 1) + mean_squares(on_fake, 0), mean_squares(on_fake, 1)


@least_squares_losses.bug(
    "detaches the generated images in both losses, so that the generator learns nothing",
    fix="Only the discriminator's loss detaches them. The generator learns through the discriminator.",
)
def fake_always_detached(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return least_squares_losses.reference(discriminate, real, fake.detach())


@least_squares_losses.bug(
    "averages the discriminator's loss over the scales",
    fix="Both losses are summed over the scales: at p = g, each scale adds 1/2 to the discriminator's loss.",
)
def scales_averaged(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    loss_d, loss_g = least_squares_losses.reference(discriminate, real, fake)
    return loss_d / 2, loss_g


@least_squares_losses.bug(
    "averages over the patches of all scales together, so that the finest scale outweighs the coarse ones",
    fix="Take the mean over the patches of each scale, then the sum over the scales.",
)
def patches_pooled(discriminate: Discriminate, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    def pooled(images: Tensor, target: float) -> Tensor:
        return mean_squares([torch.cat([scale.flatten() for scale in discriminate(images)])], target)

    return pooled(real, 1) + pooled(fake.detach(), 0), pooled(fake, 1)


# ---------------------------------------------------------------------------------------------- a bound from logits


def bound_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, real: int, fake: int, factor: float = 1.0, dtype: torch.dtype = torch.float32) -> Input:
        logits = [factor * torch.randn(count, 1, generator=generator, dtype=dtype) for count in (real, fake)]
        return Input(label, (logits[0] + factor, logits[1] - factor))

    yield case("one number each", 1, 1)
    yield case("different batch sizes", 5, 3)
    yield Input("certain and right", (torch.full((2, 1), 200.0), torch.full((2, 1), -200.0)))
    yield Input("certain and wrong", (torch.full((2, 1), -200.0), torch.full((2, 1), 200.0)))
    yield case("float64", 6, 4, dtype=torch.float64)
    yield case("large values", 4, 4, factor=50.0)


@exercise(bound_cases)
def jensen_shannon_bound(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    def log_sigmoid(logits: Tensor) -> Tensor:
        return logits.clamp_max(0) - torch.log1p(torch.exp(-logits.abs()))

    return math.log(2) + (log_sigmoid(real_logits).mean() + log_sigmoid(-fake_logits).mean()) / 2


@jensen_shannon_bound.bug(
    "computes the sigmoid first, whose logarithm is −∞ where it rounds to 0",
    fix="`F.logsigmoid(logits)` computes log D without forming D, and log(1 − D) is `F.logsigmoid(-logits)`.",
)
def sigmoid_first(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    d_real, d_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return math.log(2) + (d_real.log().mean() + (1 - d_fake).log().mean()) / 2


@jensen_shannon_bound.bug(
    "adds a small number inside the logarithms, which then stop near −18",
    fix="It hides the overflow, but the value is wrong where D is certain: use `F.logsigmoid`.",
)
def epsilon_inside(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    d_real, d_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return math.log(2) + ((d_real + 1e-8).log().mean() + (1 - d_fake + 1e-8).log().mean()) / 2


@jensen_shannon_bound.bug(
    "is twice the bound",
    fix="Each Kullback–Leibler divergence has the weight 1/2: equation 4 has the maximum 2 JSD − log 4.",
)
def not_halved(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return 2 * jensen_shannon_bound.reference(real_logits, fake_logits)


@jensen_shannon_bound.bug(
    "returns half of equation 4 without adding log 2",
    fix="Equation 4 is −log 4 where p = g, but the divergence is 0 there.",
)
def without_constant(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return jensen_shannon_bound.reference(real_logits, fake_logits) - math.log(2)


@jensen_shannon_bound.bug(
    "takes log D of the generated numbers instead of log(1 − D)",
    fix="For generated numbers, being right means a low D: 1 − σ(ℓ) = σ(−ℓ).",
)
def log_d_of_fake(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    return math.log(2) + (F.logsigmoid(real_logits).mean() + F.logsigmoid(fake_logits).mean()) / 2
