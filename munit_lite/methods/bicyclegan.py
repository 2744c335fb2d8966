"""BicycleGAN (Zhu et al., 2017b) on MUNIT's networks, in both directions: the paired upper bound.

It learns from true pairs, so it bounds what is possible. A discriminator sees an image alone, without the input that it
was translated from, and the same one serves translations with encoded and with sampled styles: both are options of its
authors' code, and what MUNIT has.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.methods.cyclegan import reconstruct_by_cycle
from munit_lite.methods.unit import kl_to_prior
from munit_lite.model import MUNIT
from munit_lite.networks import StyleEncoder, kaiming_init
from munit_lite.objective import LossTerms, Objective


class BicycleGAN(MUNIT):
    """Hold MUNIT's networks with variational style encoders, which encode the mean and log variance of a style."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        n = config.network
        for domain in (1, 2):
            encoder = StyleEncoder(n.base_channels, n.num_style_downsamples, 2 * n.style_dim)
            kaiming_init(encoder)
            self.auto_encoder(domain).style_encoder = encoder

    def style_distribution(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Encode mean and log variance of the style, both (B, style_dim)."""
        mean, log_variance = super().encode_style(images, domain).chunk(2, dim=1)
        return mean, log_variance

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Encode the mean of the style, (B, style_dim)."""
        return self.style_distribution(images, domain)[0]

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Translate images to the other domain and back: training never decodes an image from its own content."""
        return reconstruct_by_cycle(self, images, domain)


class BicycleGANOutputs(NamedTuple):
    """Outputs of BicycleGAN for a true pair: B translations with encoded styles before B with sampled ones."""

    mean_1: Tensor  # of the style encoded from x_1, (B, style_dim)
    mean_2: Tensor
    log_variance_1: Tensor
    log_variance_2: Tensor
    image_1_to_2: Tensor  # (2B, 3, H, W); the first half must equal x_2
    image_2_to_1: Tensor


class BicycleGANObjective(Objective):
    """Compute the hybrid objective (Zhu et al.): cVAE-GAN on encoded styles, cLR-GAN on sampled ones."""

    LOSSES: ClassVar[tuple[str, ...]] = ("gan", "image", "style", "kl")
    model: BicycleGAN

    def generate(  # type: ignore[override]
        self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor
    ) -> BicycleGANOutputs:
        model = self.model
        content_1, content_2 = model.encode_content(x_1, domain=1), model.encode_content(x_2, domain=2)
        # Encode the style of the target image as a distribution, and sample from it.
        mean_1, log_variance_1 = model.style_distribution(x_1, domain=1)
        mean_2, log_variance_2 = model.style_distribution(x_2, domain=2)
        encoded_1 = mean_1 + (log_variance_1 / 2).exp() * s_1
        encoded_2 = mean_2 + (log_variance_2 / 2).exp() * s_2
        # Translate with the encoded style, and with a style from the prior.
        image_1_to_2 = torch.cat([model.decode(content_1, style, domain=2) for style in (encoded_2, s_2)])
        image_2_to_1 = torch.cat([model.decode(content_2, style, domain=1) for style in (encoded_1, s_1)])
        return BicycleGANOutputs(mean_1, mean_2, log_variance_1, log_variance_2, image_1_to_2, image_2_to_1)

    def generator_losses(  # type: ignore[override]
        self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor, outputs: BicycleGANOutputs
    ) -> LossTerms:
        adversarial_loss = losses.GENERATOR_LOSSES[self.loss.gan_mode]
        discriminator_1, discriminator_2 = self.model.discriminator(1), self.model.discriminator(2)
        (recon_1, random_1), (recon_2, random_2) = outputs.image_2_to_1.chunk(2), outputs.image_1_to_2.chunk(2)
        return {
            # Translations with encoded and with sampled styles have an adversarial loss each.
            "gan_1": adversarial_loss(discriminator_1(recon_1)) + adversarial_loss(discriminator_1(random_1)),
            "gan_2": adversarial_loss(discriminator_2(recon_2)) + adversarial_loss(discriminator_2(random_2)),
            "image_1": losses.image_reconstruction_loss(recon_1, x_1),
            "image_2": losses.image_reconstruction_loss(recon_2, x_2),
            "style_1": losses.style_reconstruction_loss(self._encode_style_frozen(random_1, domain=1), s_1),
            "style_2": losses.style_reconstruction_loss(self._encode_style_frozen(random_2, domain=2), s_2),
            "kl_1": kl_to_prior(outputs.mean_1, outputs.log_variance_1).sum(1).mean(),
            "kl_2": kl_to_prior(outputs.mean_2, outputs.log_variance_2).sum(1).mean(),
        }

    def _encode_style_frozen(self, images: Tensor, domain: int) -> Tensor:
        """Encode styles without a gradient for the encoder, or it would agree with the decoder on a hidden code."""
        encoder = self.model.auto_encoder(domain).style_encoder
        encoder.requires_grad_(False)
        style = self.model.encode_style(images, domain)
        encoder.requires_grad_(True)
        return style
