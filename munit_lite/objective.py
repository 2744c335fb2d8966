"""The objective of one step: what is made from the images, and every term of the paper's losses on it.

Read it beside the paper's figure 2 and section 3.2; `training.py` says who learns from which term. What differs between
methods are `forward` and `generator_terms`: here they are MUNIT's, and each baseline registers its own for its model.
"""

from __future__ import annotations

from functools import partial, singledispatch
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.domains import both
from munit_lite.model import MUNIT

Terms = dict[str, Tensor]


class Made(Protocol):
    """What every method makes in a step: translations, (B, 3, H, W) or a whole multiple of B."""

    @property
    def image_1_to_2(self) -> Tensor: ...

    @property
    def image_2_to_1(self) -> Tensor: ...


class Forward(NamedTuple):
    """What both players use of one step, each computed once. Letters as in the paper."""

    content_1: Tensor  # E1c(x1), (B, C, h, w)
    content_2: Tensor
    style_1: Tensor  # E1s(x1), (B, style_dim)
    style_2: Tensor
    recon_1: Tensor  # G1(content_1, style_1), (B, 3, H, W)
    recon_2: Tensor
    image_1_to_2: Tensor  # G2(content_1, style_prior_2), (B, 3, H, W)
    image_2_to_1: Tensor


def encode(model: MUNIT, domain: int, image: Tensor) -> tuple[Tensor, Tensor]:
    return model.auto_encoder(domain).encode(image)


def decode_one(model: MUNIT, domain: int, content: Tensor, style: Tensor) -> tuple[Tensor]:
    return (model.auto_encoder(domain).decoder(content, style),)


def decode_two(
    model: MUNIT, domain: int, content: Tensor, style: Tensor, other_content: Tensor, style_prior: Tensor
) -> tuple[Tensor, ...]:
    """Reconstruction and translation into the domain, in one batch."""
    decoder = model.auto_encoder(domain).decoder
    return decoder(torch.cat([content, other_content]), torch.cat([style, style_prior])).chunk(2)


@singledispatch
def forward(model: MUNIT, x_1: Tensor, x_2: Tensor, style_prior_1: Tensor, style_prior_2: Tensor) -> Made:
    """Encode both images; decode reconstructions and translations, each decoder's two uses in one batch."""
    (content_1, style_1), (content_2, style_2) = both(partial(encode, model), [x_1], [x_2])
    (recon_1, image_2_to_1), (recon_2, image_1_to_2) = both(
        partial(decode_two, model),
        [content_1, style_1, content_2, style_prior_1],
        [content_2, style_2, content_1, style_prior_2],
    )
    return Forward(content_1, content_2, style_1, style_2, recon_1, recon_2, image_1_to_2, image_2_to_1)


def discriminator_terms(model: MUNIT, x_1: Tensor, x_2: Tensor, made: Made, gan: str) -> Terms:
    """Equation 4, the discriminators' side; translations are detached."""

    def judge(domain: int, real: Tensor, fake: Tensor) -> tuple[Tensor]:
        logits = model.discriminator(domain)(torch.cat([real, fake]))
        parts = [scale.float().split([len(real), len(fake)]) for scale in logits]
        return (losses.DISCRIMINATOR_LOSSES[gan]([part[0] for part in parts], [part[1] for part in parts]),)

    (of_1,), (of_2,) = both(judge, [x_1, made.image_2_to_1.detach()], [x_2, made.image_1_to_2.detach()])
    return {"discriminator_1": of_1, "discriminator_2": of_2}


def gradient_penalty(model: MUNIT, x_1: Tensor, x_2: Tensor) -> Tensor:
    """R1 of both discriminators on real images, which keeps them smooth: not in the paper, see the presets."""

    def penalise(domain: int, x: Tensor) -> tuple[Tensor]:
        x = x.detach().requires_grad_(True)
        return (losses.gradient_penalty([scale.float() for scale in model.discriminator(domain)(x)], x),)

    (of_1,), (of_2,) = both(penalise, [x_1], [x_2])
    return of_1 + of_2


@singledispatch
def generator_terms(
    model: MUNIT,
    x_1: Tensor,
    x_2: Tensor,
    style_prior_1: Tensor,
    style_prior_2: Tensor,
    made: Made,
    config: Config,
    perceptual: nn.Module | None = None,
) -> Terms:
    """Equations 1 to 4, the auto-encoders' side; content, style, cycle and perceptual terms only if a weight asks."""
    assert isinstance(made, Forward)  # MUNIT's own
    loss = config.loss
    again = loss.content_weight or loss.style_weight or loss.cycle_weight

    def judge_and_encode(domain: int, translation: Tensor) -> tuple[Tensor, ...]:
        logits = [scale.float() for scale in model.discriminator(domain)(translation)]
        return losses.GENERATOR_LOSSES[loss.gan](logits), *(encode(model, domain, translation) if again else ())

    (gan_1, *again_1), (gan_2, *again_2) = both(judge_and_encode, [made.image_2_to_1], [made.image_1_to_2])
    terms = {
        "image_1": losses.image_reconstruction(made.recon_1.float(), x_1),
        "image_2": losses.image_reconstruction(made.recon_2.float(), x_2),
        "gan_1": gan_1,
        "gan_2": gan_2,
    }
    if again:
        (content_2_again, style_1_again), (content_1_again, style_2_again) = again_1, again_2
        terms["content_1"] = losses.content_reconstruction(content_1_again.float(), made.content_1.float())
        terms["content_2"] = losses.content_reconstruction(content_2_again.float(), made.content_2.float())
        terms["style_1"] = losses.style_reconstruction(style_1_again.float(), style_prior_1)
        terms["style_2"] = losses.style_reconstruction(style_2_again.float(), style_prior_2)
    if loss.cycle_weight:
        decode = partial(decode_one, model)
        (cycle_1,), (cycle_2,) = both(decode, [content_1_again, made.style_1], [content_2_again, made.style_2])
        terms["cycle_1"] = losses.cycle_reconstruction(cycle_1.float(), x_1)
        terms["cycle_2"] = losses.cycle_reconstruction(cycle_2.float(), x_2)
    if perceptual is not None:
        for name, image, translation in (("1", x_1, made.image_1_to_2), ("2", x_2, made.image_2_to_1)):
            terms[f"perceptual_{name}"] = losses.domain_invariant_perceptual(
                perceptual(image).float(), perceptual(translation).float()
            )
    return terms
