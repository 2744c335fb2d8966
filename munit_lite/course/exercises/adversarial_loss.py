"""Exercises of 07_adversarial_loss: the best discriminator, both players' losses, and logarithms without overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Exercise, Input

Scales = list[Tensor]
Discriminate = Callable[[Tensor], Scales]

# ---------------------------------------------------------------------------------------------- the best discriminator


def _best_discriminator(real: Tensor, made: Tensor) -> Tensor:
    return 1 / (1 + made / real)


def _of_made(real: Tensor, made: Tensor) -> Tensor:
    return made / (real + made)


def _odds(real: Tensor, made: Tensor) -> Tensor:
    return real / made


def _logit(real: Tensor, made: Tensor) -> Tensor:
    return (real / made).log()


def _hard(real: Tensor, made: Tensor) -> Tensor:
    return (real > made).to(real.dtype)


def _density_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype) + 0.05

    yield Input("one point", (draw(1), draw(1)))
    yield Input("equal densities", (torch.full((2,), 0.3), torch.full((2,), 0.3)))
    yield Input("far apart", (torch.tensor([1.0, 1e-6]), torch.tensor([1e-6, 1.0])))
    yield Input("not contiguous", (draw(3, 4).T, draw(3, 4).T))
    yield Input("float64", (draw(5, dtype=torch.float64), draw(5, dtype=torch.float64)))


best_discriminator = Exercise(
    "best_discriminator",
    _best_discriminator,
    _density_cases,
    (
        Bug(
            "discriminator-of-the-made",
            _of_made,
            "it is the probability of being made",
            "D says how likely an image is real: p stands above the line.",
        ),
        Bug(
            "discriminator-odds",
            _odds,
            "it is the ratio p / q, which is no probability",
            "The odds are p to q; the probability is p / (p + q).",
        ),
        Bug(
            "discriminator-logit",
            _logit,
            "it is the logit log p/q, not the probability",
            "A sigmoid turns it into D: 1 / (1 + q/p).",
        ),
        Bug(
            "discriminator-hard",
            _hard,
            "it decides for the larger density with certainty",
            "That is the best decision, no probability: the logarithm punishes false certainty without limit.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------- the generator's loss


def _generator_loss(fake: Scales) -> Tensor:
    return torch.stack([(scale**2 - 2 * scale + 1).sum() / scale.numel() for scale in fake]).sum()


def _target_zero(fake: Scales) -> Tensor:
    return torch.stack([(scale**2).mean() for scale in fake]).sum()


def _mean_of_scales(fake: Scales) -> Tensor:
    return _generator_loss(fake) / len(fake)


def _finest_only(fake: Scales) -> Tensor:
    return _generator_loss(fake[:1])


def _with_half(fake: Scales) -> Tensor:
    return _generator_loss(fake) / 2


def _patches_pooled(fake: Scales) -> Tensor:
    return ((torch.cat([scale.flatten() for scale in fake]) - 1) ** 2).mean()


def _mean_logit(fake: Scales) -> Tensor:
    return torch.stack([(scale.mean() - 1) ** 2 for scale in fake]).sum()


def _logits(generator: Generator) -> Iterator[tuple[str, Scales]]:
    def draw(*sides: int, batch: int = 2, dtype: torch.dtype = torch.float32) -> Scales:
        return [torch.randn(batch, 1, side, side, generator=generator, dtype=dtype) for side in sides]

    yield "one scale, one patch", draw(1, batch=1)
    yield "two scales", draw(2, 1, batch=1)
    yield "three scales", draw(4, 2, 1)
    yield "large values", [100 * scale for scale in draw(3, 2)]
    yield "not contiguous", [torch.randn(1, 2, 3, 2, generator=generator).transpose(0, 1)]
    yield "float64", draw(4, 2, batch=3, dtype=torch.float64)


def _logit_cases(generator: Generator) -> Iterator[Input]:
    for label, scales in _logits(generator):
        yield Input(label, (scales,))


generator_loss = Exercise(
    "generator_loss",
    _generator_loss,
    _logit_cases,
    (
        Bug(
            "generator-target-zero",
            _target_zero,
            "the generator's target is 0: it is trained to look made",
            "The generator wants the discriminator to say 1.",
            "vliu15/munit: generator's adversarial target is 0",
        ),
        Bug(
            "generator-mean-over-scales",
            _mean_of_scales,
            "the scales are averaged",
            "Sum over scales: with three of them the adversarial loss weighs three times as much.",
        ),
        Bug(
            "generator-finest-scale-only",
            _finest_only,
            "only the first scale counts",
            "Every scale's discriminator judges: sum over all of them.",
        ),
        Bug(
            "generator-with-a-half",
            _with_half,
            "there is a factor ½",
            "The original has none: at q = p the generator's loss is ¼ a scale.",
        ),
        Bug(
            "generator-patches-pooled",
            _patches_pooled,
            "all patches of all scales are averaged together, so that the finest scale drowns the others",
            "Average within a scale, then sum over scales.",
        ),
        Bug(
            "generator-mean-logit",
            _mean_logit,
            "the logits are averaged before they are squared",
            "Every patch must look real: square each patch's distance to 1, then average.",
        ),
    ),
    compare_gradients=True,
)

# ------------------------------------------------------------------------------------------ the discriminator's loss


class SmallDiscriminator(nn.Module):
    """Two scales, a 1 x 1 convolution each: (B, C, h, w) -> [(B, 1, h, w), (B, 1, 1, 1)]."""

    def __init__(self, channels: int, dtype: torch.dtype, generator: Generator) -> None:
        super().__init__()
        self.fine, self.coarse = (nn.Conv2d(channels, 1, 1, dtype=dtype) for _ in range(2))
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, image: Tensor) -> Scales:
        return [self.fine(image), self.coarse(image.mean((2, 3), keepdim=True))]


def _pair(on_real: Scales, on_made: Scales) -> Tensor:
    halves = [
        ((r - 1) ** 2).sum() / r.numel() + (f**2).sum() / f.numel() for r, f in zip(on_real, on_made, strict=True)
    ]
    return torch.stack(halves).sum()


def _discriminator_loss(discriminate: Discriminate, real: Tensor, made: Tensor) -> Tensor:
    return _pair(discriminate(real), discriminate(made.detach()))


def _not_detached(discriminate: Discriminate, real: Tensor, made: Tensor) -> Tensor:
    return _pair(discriminate(real), discriminate(made))


def _labels_swapped(discriminate: Discriminate, real: Tensor, made: Tensor) -> Tensor:
    return _pair(discriminate(made.detach()), discriminate(real))


def _real_only(discriminate: Discriminate, real: Tensor, made: Tensor) -> Tensor:
    return torch.stack([((scale - 1) ** 2).mean() for scale in discriminate(real)]).sum()


def _nothing_learned(discriminate: Discriminate, real: Tensor, made: Tensor) -> Tensor:
    return _pair([s.detach() for s in discriminate(real)], [s.detach() for s in discriminate(made)])


def _difference_of_logits(discriminate: Discriminate, real: Tensor, made: Tensor) -> Tensor:
    scales = zip(discriminate(real), discriminate(made.detach()), strict=True)
    return torch.stack([((r - f - 1) ** 2).mean() for r, f in scales]).sum()


def _discriminator_cases(generator: Generator) -> Iterator[Input]:
    for label, real in inputs.feature_batches(generator):
        if label in ("large values", "far from zero"):  # no image
            continue
        made = torch.randn(real.shape, generator=generator, dtype=real.dtype)
        yield Input(label, (SmallDiscriminator(real.shape[1], real.dtype, generator), real, made))


discriminator_loss = Exercise(
    "discriminator_loss",
    _discriminator_loss,
    _discriminator_cases,
    (
        Bug(
            "discriminator-made-not-detached",
            _not_detached,
            "the made images are not detached: the discriminator's loss reaches the generator",
            "Detach them here: else the generator's step gets this gradient added, which makes its images *easier* to "
            "tell apart, and the graph is kept for nothing.",
        ),
        Bug(
            "discriminator-labels-swapped",
            _labels_swapped,
            "real and made images have each other's targets",
            "Real has the target 1, made has 0.",
        ),
        Bug(
            "discriminator-real-only",
            _real_only,
            "the made images do not count",
            "Both halves belong to the loss: without the second the discriminator says 1 to everything.",
        ),
        Bug(
            "discriminator-logits-detached",
            _nothing_learned,
            "the logits are detached, so that the discriminator learns nothing",
            "Detach the made images, not what the discriminator says of them.",
        ),
        Bug(
            "discriminator-difference-of-logits",
            _difference_of_logits,
            "each real image is compared with one made image",
            "The images are unpaired: each logit has its own target.",
        ),
    ),
    compare_gradients=True,
)

# --------------------------------------------------------------------------------------- logarithms without overflow


def _nonsaturating(fake: Scales) -> Tensor:
    return torch.stack(
        [(scale.clamp_max(0).neg() + torch.log1p(torch.exp(-scale.abs()))).mean() for scale in fake]
    ).sum()


def _naive_log(fake: Scales) -> Tensor:
    return torch.stack([-torch.log(torch.sigmoid(scale)).mean() for scale in fake]).sum()


def _log_with_epsilon(fake: Scales) -> Tensor:
    return torch.stack([-torch.log(torch.sigmoid(scale) + 1e-8).mean() for scale in fake]).sum()


def _saturating(fake: Scales) -> Tensor:
    return torch.stack([-F.softplus(scale).mean() for scale in fake]).sum()


def _wrong_sign(fake: Scales) -> Tensor:
    return torch.stack([F.softplus(scale).mean() for scale in fake]).sum()


def _base_two(fake: Scales) -> Tensor:
    return torch.stack([F.softplus(-scale).mean() / math.log(2) for scale in fake]).sum()


def _overflow_cases(generator: Generator) -> Iterator[Input]:
    yield from _logit_cases(generator)
    yield Input("sure that it is made", ([torch.full((1, 1, 1, 1), -200.0)],))
    yield Input("sure that it is real", ([torch.full((1, 1, 1, 1), 200.0)],))
    yield Input("very sure, float64", ([torch.full((1, 1, 1, 1), -2000.0, dtype=torch.float64)],))


nonsaturating = Exercise(
    "nonsaturating",
    _nonsaturating,
    _overflow_cases,
    (
        Bug(
            "log-of-sigmoid",
            _naive_log,
            "the sigmoid is computed first: where it is 0 the logarithm is infinite",
            "Use `F.softplus(-logit)` or `F.logsigmoid`, which never form the sigmoid.",
        ),
        Bug(
            "log-with-epsilon",
            _log_with_epsilon,
            "a small number is added inside the logarithm, so that it stops at 18",
            "It hides the overflow and kills the gradient exactly where it is needed: use `F.softplus(-logit)`.",
        ),
        Bug(
            "log-saturating",
            _saturating,
            "it is log(1 − D), equation 4 as written",
            "That form is flat where the discriminator wins: train on −log D.",
        ),
        Bug(
            "log-wrong-sign-of-logit",
            _wrong_sign,
            "it is −log(1 − D): the generator is trained to look made",
            "−log D = softplus(−logit).",
        ),
        Bug(
            "log-base-two",
            _base_two,
            "the logarithm has base two",
            "Natural logarithms: at D = ½ the loss is log 2 = 0.693 a scale.",
        ),
    ),
    compare_gradients=True,
)
