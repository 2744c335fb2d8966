"""CycleGAN (Zhu et al., 2017), with and without noise, on MUNIT's networks.

The MUNIT paper's CycleGAN uses dropout, at test time too, and its CycleGAN with noise is a U-Net with noise at the
input; here the noise enters through AdaIN. CycleGAN's buffer of earlier translations is left out.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.model import MUNIT
from munit_lite.objective import LossTerms, Objective


def reconstruct_by_cycle(model: MUNIT, images: Tensor, domain: int) -> Tensor:
    """Translate images with the prior's mean style and back with their own.

    Args:
        model: of any method.
        images: (B, 3, H, W) in [-1, 1].
        domain: of the images, 1 or 2.

    Returns:
        (B, 3, H, W) in (-1, 1).
    """
    style, other = model.encode_style(images, domain), 3 - domain
    translation = model.decode(model.encode_content(images, domain), torch.zeros_like(style), other)
    return model.decode(model.encode_content(translation, other), style, domain)


class NoisyCycleGAN(MUNIT):
    """Translate with noise: the sampled style enters the decoder, but no loss rewards its use.

    There is no style encoder and nothing is decoded in its own domain, so a reconstruction is a cycle.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for domain in (1, 2):
            del self.auto_encoder(domain).style_encoder

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Return the prior's mean for every image, (B, style_dim), because no style is encoded."""
        return images.new_zeros(len(self._check_images(images)), self.config.network.style_dim)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Translate images to the other domain and back."""
        return reconstruct_by_cycle(self, images, domain)


class CycleGAN(NoisyCycleGAN):
    """Translate each input into one output: AdaIN gets a constant style, so its scales and shifts are learned."""

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Decode as MUNIT does, but ignore the style."""
        return super().decode(content, torch.ones_like(style), domain)


class CycleGANOutputs(NamedTuple):
    """Outputs of CycleGAN for two images, with or without noise; each (B, 3, H, W)."""

    image_1_to_2: Tensor
    image_2_to_1: Tensor
    cycle_1: Tensor  # x_1 translated to domain 2 and back
    cycle_2: Tensor


class CycleGANObjective(Objective):
    """Compute the adversarial and cycle losses (Zhu et al., equation 3)."""

    LOSSES: ClassVar[tuple[str, ...]] = ("gan", "cycle")

    def generate(  # type: ignore[override]
        self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor
    ) -> CycleGANOutputs:
        model = self.model
        # Translate both images.
        image_1_to_2 = model.decode(model.encode_content(x_1, domain=1), s_2, domain=2)
        image_2_to_1 = model.decode(model.encode_content(x_2, domain=2), s_1, domain=1)
        # Translate them back.
        cycle_1 = model.decode(model.encode_content(image_1_to_2, domain=2), s_1, domain=1)
        cycle_2 = model.decode(model.encode_content(image_2_to_1, domain=1), s_2, domain=2)
        return CycleGANOutputs(image_1_to_2, image_2_to_1, cycle_1, cycle_2)

    def generator_losses(  # type: ignore[override]
        self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor, outputs: CycleGANOutputs
    ) -> LossTerms:
        adversarial_loss = losses.GENERATOR_LOSSES[self.loss.gan_mode]
        return {
            "gan_1": adversarial_loss(self.model.discriminator(1)(outputs.image_2_to_1)),
            "gan_2": adversarial_loss(self.model.discriminator(2)(outputs.image_1_to_2)),
            "cycle_1": losses.cycle_consistency_loss(outputs.cycle_1, x_1),
            "cycle_2": losses.cycle_consistency_loss(outputs.cycle_2, x_2),
        }
