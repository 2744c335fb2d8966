"""UNIT (Liu et al., 2017) on MUNIT's networks: the whole latent code is shared, and one output belongs to an input.

The MUNIT paper gives its UNIT dropout, at test time too, and samples its latent codes; here it is evaluated at their
mean.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.methods.cyclegan import CycleGAN
from munit_lite.model import MUNIT
from munit_lite.networks import upcast_to_fp32
from munit_lite.objective import LossTerms, Objective


def kl_to_prior(mean: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Compute KL(N(mean, variance) || N(0, 1)) = (mean² + variance - 1 - log variance) / 2 of each element.

    Args:
        mean: of any shape.
        log_variance: of the same shape; None for a variance of 1, as in UNIT.

    Returns:
        of the same shape.

    Example:
        >>> kl_to_prior(torch.tensor([0.0, 2.0]))
        tensor([0., 2.])
    """
    mean = upcast_to_fp32(mean)
    divergence = mean.square()
    if log_variance is not None:
        log_variance = upcast_to_fp32(log_variance)
        divergence = divergence + log_variance.exp() - 1 - log_variance
    return divergence / 2


def seeded_noise(like: Tensor, styles: Tensor, number: int = 0) -> Tensor:
    """Sample N(0, I) for each image as a function of its sampled style alone.

    So a run that resumes repeats it, and so does one that divides its batches among other processes.

    Args:
        like: a tensor of the shape and device that the noise shall have, (B, ...).
        styles: (B, style_dim); the first elements of an image's style, rounded to 1/1024, are its seed. Without
            rounding, the last bit, which differs between processors, would change the noise altogether.
        number: distinguishes the noise tensors of one step.

    Returns:
        of the shape and device of `like`.

    Example:
        >>> styles = torch.tensor([[0.5, -1.0], [1.5, 0.0]])
        >>> noise = seeded_noise(torch.zeros(2, 3, 8, 8), styles)
        >>> torch.equal(noise[1:], seeded_noise(torch.zeros(1, 3, 8, 8), styles[1:]))
        True
    """
    rows = []
    for elements in (styles[:, :4].double() * 1024).round().long().tolist():
        seed = number
        for element in elements:
            seed = (seed * 1_000_003 + element) % 2**63
        rows.append(torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)))
    return torch.stack(rows).to(like.device)


class UNIT(CycleGAN):
    """Share the whole latent code z ~ N(E(x), I) between the domains.

    The residual blocks beside the latent code, of encoders and of decoders, are the same for both domains.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        first, second = self.auto_encoder(1), self.auto_encoder(2)
        for k in range(-config.network.num_residual_blocks, 0):
            second.content_encoder.layers[k] = first.content_encoder.layers[k]
        second.decoder.blocks, second.decoder.mlp = first.decoder.blocks, first.decoder.mlp

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Reconstruct images by the domain's own autoencoder."""
        return MUNIT.reconstruct(self, images, domain)


class UNITOutputs(NamedTuple):
    """Outputs of UNIT for two images."""

    mean_1: Tensor  # E_1(x_1), (B, C, h, w)
    mean_2: Tensor
    recon_1: Tensor  # G_1(z_1) with z_1 ~ N(mean_1, I), (B, 3, H, W)
    recon_2: Tensor
    image_1_to_2: Tensor  # G_2 of the same z_1
    image_2_to_1: Tensor


class UNITObjective(Objective):
    """Compute L_VAE, L_GAN and L_CC of both domains (Liu et al., section "Learning")."""

    LOSSES: ClassVar[tuple[str, ...]] = ("gan", "image", "cycle", "kl")

    def generate(  # type: ignore[override]
        self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor
    ) -> UNITOutputs:
        model = self.model
        # Encode: each image becomes a distribution N(mean, I) of latent codes, and one code is sampled from it.
        mean_1, mean_2 = model.encode_content(x_1, domain=1), model.encode_content(x_2, domain=2)
        z_1, z_2 = mean_1 + seeded_noise(mean_1, s_1), mean_2 + seeded_noise(mean_2, s_2)
        # Decode each code in both domains; UNIT ignores the styles.
        recon_1, recon_2 = model.decode(z_1, s_1, domain=1), model.decode(z_2, s_2, domain=2)
        image_1_to_2, image_2_to_1 = model.decode(z_1, s_2, domain=2), model.decode(z_2, s_1, domain=1)
        return UNITOutputs(mean_1, mean_2, recon_1, recon_2, image_1_to_2, image_2_to_1)

    def generator_losses(  # type: ignore[override]
        self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor, outputs: UNITOutputs
    ) -> LossTerms:
        model, image_1_to_2, image_2_to_1 = self.model, outputs.image_1_to_2, outputs.image_2_to_1
        adversarial_loss = losses.GENERATOR_LOSSES[self.loss.gan_mode]
        # Encode the translations, sample, and decode back.
        cycle_mean_1 = model.encode_content(image_1_to_2, domain=2)
        cycle_mean_2 = model.encode_content(image_2_to_1, domain=1)
        cycle_1 = model.decode(cycle_mean_1 + seeded_noise(cycle_mean_1, s_1, number=1), s_1, domain=1)
        cycle_2 = model.decode(cycle_mean_2 + seeded_noise(cycle_mean_2, s_2, number=1), s_2, domain=2)
        return {
            "gan_1": adversarial_loss(model.discriminator(1)(image_2_to_1)),
            "gan_2": adversarial_loss(model.discriminator(2)(image_1_to_2)),
            "image_1": losses.image_reconstruction_loss(outputs.recon_1, x_1),
            "image_2": losses.image_reconstruction_loss(outputs.recon_2, x_2),
            "cycle_1": losses.cycle_consistency_loss(cycle_1, x_1),
            "cycle_2": losses.cycle_consistency_loss(cycle_2, x_2),
            # An image's divergence is part of L_VAE and, with its translation's, of L_CC.
            "kl_1": 2 * kl_to_prior(outputs.mean_1).mean() + kl_to_prior(cycle_mean_1).mean(),
            "kl_2": 2 * kl_to_prior(outputs.mean_2).mean() + kl_to_prior(cycle_mean_2).mean(),
        }
