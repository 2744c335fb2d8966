"""CycleGAN (Zhu et al., 2017), with and without noise, on MUNIT's networks.

The MUNIT paper's CycleGAN uses dropout, at test time too, and its CycleGAN with noise is a U-Net with noise at the
input. Here the noise enters through AdaIN (`NoisyCycleGAN`) or at the input (`InputNoiseCycleGAN`), and the generators
are MUNIT's networks in both cases. CycleGAN's buffer of earlier translations is left out.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from munit_lite import losses
from munit_lite.config import Config, smallest_size
from munit_lite.model import MUNIT, check_translation
from munit_lite.networks import ConvBlock, kaiming_init
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

    def translate_with_noise(self, images: Tensor, noise: Tensor, source: int) -> Tensor:
        """Translate images with given noise, with gradients.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            noise: (B, style_dim), as `sample_style` returns it.
            source: domain of the images, 1 or 2.

        Returns:
            (B, 3, H, W) in (-1, 1).
        """
        return self.decode(self.encode_content(images, source), noise, 3 - source)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Translate images to the other domain and back."""
        return reconstruct_by_cycle(self, images, domain)


class CycleGAN(NoisyCycleGAN):
    """Translate each input into one output: AdaIN gets a constant style, so its scales and shifts are learned."""

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Decode as MUNIT does, but ignore the style."""
        return super().decode(content, torch.ones_like(style), domain)


class InputNoiseCycleGAN(CycleGAN):
    """Translate with noise at the input: the sampled style, the same at every pixel, is added to the image's channels.

    The decoder gets a constant style, as that of CycleGAN. The first convolution has no normalization, as in a U-Net:
    instance normalization subtracts the mean of each channel, and with it whatever is the same at every pixel.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        network = config.network
        for domain in (1, 2):
            first = ConvBlock(3 + network.style_dim, network.base_channels, 7)
            kaiming_init(first)
            self.auto_encoder(domain).content_encoder.layers[0] = first
        if network.same_initial_weights:
            self.auto_encoder(2).load_state_dict(self.auto_encoder(1).state_dict())

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """Encode images as MUNIT does, with the noise at its mean, 0."""
        return self._encode_with_noise(images, self.encode_style(images, domain), domain)

    def translate_with_noise(self, images: Tensor, noise: Tensor, source: int) -> Tensor:
        """Translate images with given noise; see `NoisyCycleGAN.translate_with_noise`."""
        return self.decode(self._encode_with_noise(images, noise, source), noise, 3 - source)

    @torch.no_grad()
    def translate(
        self,
        images: Tensor,
        source: int = 1,
        target: int = 2,
        style: Tensor | None = None,
        style_from: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Translate images as MUNIT does, with the style as the noise; that of every example image is 0."""
        check_translation(source, target, style, style_from)
        if style_from is not None:
            style = self.encode_style(style_from, target)
        if style is None:
            style = self.sample_style(len(images), generator)
        noise = style.expand(len(images), -1) if len(style) == 1 else style
        return self.translate_with_noise(images, noise, source)

    def _encode_with_noise(self, images: Tensor, noise: Tensor, domain: int) -> Tensor:
        height, width = self._check_images(images).shape[2:]
        if min(height, width) < (least := smallest_size(self.config.network)):
            raise ValueError(f"images are {height} x {width} pixels: both sides must be {least} or more")
        if noise.shape != (len(images), self.config.network.style_dim):
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}, but {len(images)} images and style_dim "
                f"{self.config.network.style_dim} need ({len(images)}, {self.config.network.style_dim})"
            )
        channels = noise[:, :, None, None].expand(-1, -1, height, width)
        return self.auto_encoder(domain).content_encoder(torch.cat([images, channels], dim=1))


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
        assert isinstance(model, NoisyCycleGAN)
        # Translate both images.
        image_1_to_2 = model.translate_with_noise(x_1, s_2, source=1)
        image_2_to_1 = model.translate_with_noise(x_2, s_1, source=2)
        # Translate them back.
        cycle_1 = model.translate_with_noise(image_1_to_2, s_1, source=2)
        cycle_2 = model.translate_with_noise(image_2_to_1, s_2, source=1)
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
