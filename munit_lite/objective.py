"""The objective of one step: what is made from the images, and every term of the paper's losses on it.

Read it beside the paper's figure 2 and section 3.2; `training.py` says who learns from which term. What differs between
methods are `forward` and `generator_terms`: here they are MUNIT's, and each baseline registers its own for its model.
"""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from munit_lite import losses
from munit_lite.config import Config
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


@singledispatch
def forward(model: MUNIT, x_1: Tensor, x_2: Tensor, style_prior_1: Tensor, style_prior_2: Tensor) -> Made:
    """Encode both images; decode reconstructions and translations, each decoder's two uses in one batch."""
    auto_1, auto_2 = model.auto_encoder(1), model.auto_encoder(2)
    content_1, style_1 = auto_1.encode(x_1)
    content_2, style_2 = auto_2.encode(x_2)
    decoded_1 = auto_1.decoder(torch.cat([content_1, content_2]), torch.cat([style_1, style_prior_1]))
    decoded_2 = auto_2.decoder(torch.cat([content_2, content_1]), torch.cat([style_2, style_prior_2]))
    recon_1, image_2_to_1 = decoded_1.chunk(2)
    recon_2, image_1_to_2 = decoded_2.chunk(2)
    return Forward(content_1, content_2, style_1, style_2, recon_1, recon_2, image_1_to_2, image_2_to_1)


def discriminator_terms(model: MUNIT, x_1: Tensor, x_2: Tensor, made: Made, gan: str) -> Terms:
    """Equation 4, the discriminators' side; translations are detached."""
    loss = losses.DISCRIMINATOR_LOSSES[gan]
    terms = {}
    for domain, real, fake in ((1, x_1, made.image_2_to_1), (2, x_2, made.image_1_to_2)):
        logits = model.discriminator(domain)(torch.cat([real, fake.detach()]))
        parts = [scale.float().split([len(real), len(fake)]) for scale in logits]
        terms[f"discriminator_{domain}"] = loss([part[0] for part in parts], [part[1] for part in parts])
    return terms


def gradient_penalty(model: MUNIT, x_1: Tensor, x_2: Tensor) -> Tensor:
    """R1 of both discriminators on real images, which keeps them smooth: not in the paper, see the presets."""
    images = [x.detach().requires_grad_(True) for x in (x_1, x_2)]
    logits = [model.discriminator(domain)(x) for domain, x in enumerate(images, 1)]
    penalties = [
        losses.gradient_penalty([s.float() for s in scales], x) for scales, x in zip(logits, images, strict=True)
    ]
    return torch.stack(penalties).sum()


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
    """Equations 1 to 4, the auto-encoders' side; a term is computed only if its weight is above 0."""
    assert isinstance(made, Forward)  # MUNIT's own
    loss, auto_1, auto_2 = config.loss, model.auto_encoder(1), model.auto_encoder(2)
    adversarial = losses.GENERATOR_LOSSES[loss.gan]
    terms = {
        "image_1": losses.image_reconstruction(made.recon_1.float(), x_1),
        "image_2": losses.image_reconstruction(made.recon_2.float(), x_2),
        "gan_1": adversarial([scale.float() for scale in model.discriminator(1)(made.image_2_to_1)]),
        "gan_2": adversarial([scale.float() for scale in model.discriminator(2)(made.image_1_to_2)]),
    }
    if loss.content_weight or loss.style_weight or loss.cycle_weight:
        content_1_again, style_2_again = auto_2.encode(made.image_1_to_2)
        content_2_again, style_1_again = auto_1.encode(made.image_2_to_1)
        terms["content_1"] = losses.content_reconstruction(content_1_again.float(), made.content_1.float())
        terms["content_2"] = losses.content_reconstruction(content_2_again.float(), made.content_2.float())
        terms["style_1"] = losses.style_reconstruction(style_1_again.float(), style_prior_1)
        terms["style_2"] = losses.style_reconstruction(style_2_again.float(), style_prior_2)
    if loss.cycle_weight:
        cycle_1 = auto_1.decoder(content_1_again, made.style_1)
        cycle_2 = auto_2.decoder(content_2_again, made.style_2)
        terms["cycle_1"] = losses.cycle_reconstruction(cycle_1.float(), x_1)
        terms["cycle_2"] = losses.cycle_reconstruction(cycle_2.float(), x_2)
    if perceptual is not None:
        for name, image, translation in (("1", x_1, made.image_1_to_2), ("2", x_2, made.image_2_to_1)):
            terms[f"perceptual_{name}"] = losses.domain_invariant_perceptual(
                perceptual(image).float(), perceptual(translation).float()
            )
    return terms
