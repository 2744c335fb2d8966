"""The rows of the paper's tables beside MUNIT: UNIT, CycleGAN with and without noise, BicycleGAN, on our networks.

Each is a model of MUNIT's networks and a registered `forward` and `generator_terms`: the same loop trains them with the
same discriminators, schedule and averaging, so that the methods differ in their terms and in where style enters alone.
Importing this module enters them among the methods of `model.build`.

The MUNIT paper gives its baselines randomness that these have not: dropout, in testing too, for UNIT and CycleGAN, and
latents drawn by UNIT, which is judged at their mean here. Its CycleGAN with noise is a U-Net with noise at the input;
here the noise enters by AdaIN. CycleGAN's buffer of earlier translations is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.model import MODELS, MUNIT
from munit_lite.networks import StyleEncoder, kaiming_init
from munit_lite.objective import Terms, forward, generator_terms


def kl_to_prior(mean: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) = (mean² + variance - 1 - log variance) / 2 of each element.

    Args:
        mean: of any shape.
        log_variance: of the same shape; None for a variance of 1, as UNIT has it.
    """
    divergence = mean.square()
    if log_variance is not None:
        divergence = divergence + log_variance.exp() - 1 - log_variance
    return divergence / 2


def _fools(model: MUNIT, domain: int, images: Tensor, gan: str) -> Tensor:
    """Equation 4, the generators' side, for translations into a domain."""
    return losses.GENERATOR_LOSSES[gan]([scale.float() for scale in model.discriminator(domain)(images)])


class _WithoutStyleEncoder(MUNIT):
    """Two translators: nothing is decoded in its own domain, so a reconstruction goes there and back."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for domain in (1, 2):
            del self.auto_encoder(domain).style_encoder

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """No style is encoded: the prior's mean for every image, (B, style_dim)."""
        return images.new_zeros(len(self._checked(images)), self.config.network.style_dim)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """To the other domain and back."""
        return there_and_back(self, images, domain)


def there_and_back(model: MUNIT, images: Tensor, domain: int) -> Tensor:
    """Images translated with the prior's mean style and back with their own."""
    style, other = model.encode_style(images, domain), 3 - domain
    there = model.decode(model.encode_content(images, domain), torch.zeros_like(style), other)
    return model.decode(model.encode_content(there, other), style, domain)


# ----------------------------------------------------------------------------------------------------- CycleGAN


class NoisyCycleGAN(_WithoutStyleEncoder):
    """CycleGAN with noise: the drawn style enters the translator, and nothing asks for it to be used."""


class CycleGAN(_WithoutStyleEncoder):
    """CycleGAN (Zhu et al., 2017): one output for an input. AdaIN is fed a constant: learnt scales and shifts."""

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """As MUNIT's, whatever the style."""
        return super().decode(content, torch.ones_like(style), domain)


class Cycle(NamedTuple):
    """What CycleGAN makes of two images, with or without noise; each (B, 3, H, W)."""

    image_1_to_2: Tensor
    image_2_to_1: Tensor
    cycle_1: Tensor  # x1 to domain 2 and back
    cycle_2: Tensor


@forward.register
def _(model: _WithoutStyleEncoder, x_1: Tensor, x_2: Tensor, style_prior_1: Tensor, style_prior_2: Tensor) -> Cycle:
    image_1_to_2 = model.decode(model.encode_content(x_1, 1), style_prior_2, 2)
    image_2_to_1 = model.decode(model.encode_content(x_2, 2), style_prior_1, 1)
    cycle_1 = model.decode(model.encode_content(image_1_to_2, 2), style_prior_1, 1)
    cycle_2 = model.decode(model.encode_content(image_2_to_1, 1), style_prior_2, 2)
    return Cycle(image_1_to_2, image_2_to_1, cycle_1, cycle_2)


@generator_terms.register
def _(
    model: _WithoutStyleEncoder,
    x_1: Tensor,
    x_2: Tensor,
    style_prior_1: Tensor,
    style_prior_2: Tensor,
    made: Cycle,
    config: Config,
    perceptual: nn.Module | None = None,
) -> Terms:
    """Zhu et al., equation 3: adversarial and cycle terms."""
    return {
        "gan_1": _fools(model, 1, made.image_2_to_1, config.loss.gan),
        "gan_2": _fools(model, 2, made.image_1_to_2, config.loss.gan),
        "cycle_1": losses.cycle_reconstruction(made.cycle_1.float(), x_1),
        "cycle_2": losses.cycle_reconstruction(made.cycle_2.float(), x_2),
    }


# --------------------------------------------------------------------------------------------------------- UNIT


class UNIT(CycleGAN):
    """UNIT (Liu et al., 2017): the whole latent is shared, z ~ N(E(x), I); one output for an input.

    The residual blocks next to the latent, of encoders and of decoders, are the same for both domains.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        one, two = self.auto_encoder(1), self.auto_encoder(2)
        for k in range(-config.network.blocks, 0):
            two.content_encoder.layers[k] = one.content_encoder.layers[k]
        two.decoder.blocks, two.decoder.mlp = one.decoder.blocks, one.decoder.mlp

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Through the domain's own auto-encoder."""
        return MUNIT.reconstruct(self, images, domain)


class Latents(NamedTuple):
    """What UNIT makes of two images."""

    mean_1: Tensor  # E1(x1), (B, C, h, w)
    mean_2: Tensor
    recon_1: Tensor  # G1 of z1 ~ N(mean_1, I), (B, 3, H, W)
    recon_2: Tensor
    image_1_to_2: Tensor  # G2 of the same z1
    image_2_to_1: Tensor


def latent_noise(like: Tensor, drawn: Tensor, number: int = 0) -> Tensor:
    """N(0, I) in the shape of a latent, a function of the step's drawn styles alone: a resumed run repeats it.

    Args:
        like: of the wanted shape and device.
        drawn: (B, style_dim) float32 styles, whose bits are the seed.
        number: of the noise, where a step needs several.
    """
    seed = number + (int(drawn.flatten()[0].view(torch.int32)) & 0xFFFFFFFF)
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.device)


@forward.register
def _(model: UNIT, x_1: Tensor, x_2: Tensor, style_prior_1: Tensor, style_prior_2: Tensor) -> Latents:
    mean_1, mean_2 = model.encode_content(x_1, 1), model.encode_content(x_2, 2)
    latents = torch.cat([mean_1 + latent_noise(mean_1, style_prior_1), mean_2 + latent_noise(mean_2, style_prior_2)])
    unused = torch.cat([style_prior_1, style_prior_2])
    recon_1, image_2_to_1 = model.decode(latents, unused, 1).chunk(2)
    image_1_to_2, recon_2 = model.decode(latents, unused, 2).chunk(2)
    return Latents(mean_1, mean_2, recon_1, recon_2, image_1_to_2, image_2_to_1)


@generator_terms.register
def _(
    model: UNIT,
    x_1: Tensor,
    x_2: Tensor,
    style_prior_1: Tensor,
    style_prior_2: Tensor,
    made: Latents,
    config: Config,
    perceptual: nn.Module | None = None,
) -> Terms:
    """Liu et al., section "Learning": L_VAE, L_GAN and L_CC of both domains.

    The divergence of an image's latent from the prior stands in L_VAE, and in L_CC beside its translation's.
    """
    again_1 = model.encode_content(made.image_1_to_2, 2)
    again_2 = model.encode_content(made.image_2_to_1, 1)
    cycle_1 = model.decode(again_1 + latent_noise(again_1, style_prior_1, 1), style_prior_1, 1)
    cycle_2 = model.decode(again_2 + latent_noise(again_2, style_prior_2, 1), style_prior_2, 2)
    return {
        "gan_1": _fools(model, 1, made.image_2_to_1, config.loss.gan),
        "gan_2": _fools(model, 2, made.image_1_to_2, config.loss.gan),
        "image_1": losses.image_reconstruction(made.recon_1.float(), x_1),
        "image_2": losses.image_reconstruction(made.recon_2.float(), x_2),
        "cycle_1": losses.cycle_reconstruction(cycle_1.float(), x_1),
        "cycle_2": losses.cycle_reconstruction(cycle_2.float(), x_2),
        "kl_1": 2 * kl_to_prior(made.mean_1.float()).mean() + kl_to_prior(again_1.float()).mean(),
        "kl_2": 2 * kl_to_prior(made.mean_2.float()).mean() + kl_to_prior(again_2.float()).mean(),
    }


# --------------------------------------------------------------------------------------------------- BicycleGAN


class BicycleGAN(MUNIT):
    """BicycleGAN (Zhu et al., 2017b), both ways at once: it learns from true pairs, so it bounds what is possible.

    Its style encoders give mean and log variance of a code. A discriminator sees an image alone, without the input it
    was made from, and the same one judges translations with encoded and with drawn styles: both are options of its
    authors' code, and what MUNIT has.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        n = config.network
        for domain in (1, 2):
            encoder = StyleEncoder(n.width, n.style_downsamples, 2 * n.style_dim)
            kaiming_init(encoder)
            self.auto_encoder(domain).style_encoder = encoder

    def style_distribution(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the encoded style, two of (B, style_dim)."""
        mean, log_variance = super().encode_style(images, domain).chunk(2, dim=1)
        return mean, log_variance

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """The mean of the encoded style, (B, style_dim)."""
        return self.style_distribution(images, domain)[0]

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """To the other domain and back with the encoded style: no image is decoded from its own content in training."""
        return there_and_back(self, images, domain)


class Paired(NamedTuple):
    """What BicycleGAN makes of a true pair. Its B translations with encoded styles stand before B with drawn ones."""

    mean_1: Tensor  # of the style encoded from x1, (B, style_dim)
    log_variance_1: Tensor
    mean_2: Tensor
    log_variance_2: Tensor
    image_1_to_2: Tensor  # (2B, 3, H, W); the first half is to equal x2
    image_2_to_1: Tensor


@forward.register
def _(model: BicycleGAN, x_1: Tensor, x_2: Tensor, style_prior_1: Tensor, style_prior_2: Tensor) -> Paired:
    codes, images = [], []
    for source, x_source, x_target, drawn in ((1, x_1, x_2, style_prior_2), (2, x_2, x_1, style_prior_1)):
        content = model.encode_content(x_source, source)
        mean, log_variance = model.style_distribution(x_target, 3 - source)
        encoded = mean + (log_variance / 2).exp() * drawn
        images.append(model.decode(content.repeat(2, 1, 1, 1), torch.cat([encoded, drawn]), 3 - source))
        codes.append((mean, log_variance))
    return Paired(*codes[1], *codes[0], *images)


@generator_terms.register
def _(
    model: BicycleGAN,
    x_1: Tensor,
    x_2: Tensor,
    style_prior_1: Tensor,
    style_prior_2: Tensor,
    made: Paired,
    config: Config,
    perceptual: nn.Module | None = None,
) -> Terms:
    """Zhu et al., the hybrid objective: cVAE-GAN on encoded styles, cLR-GAN on drawn ones. The divergence is a sum."""
    terms: Terms = {}
    (recon_2, drawn_2), (recon_1, drawn_1) = made.image_1_to_2.chunk(2), made.image_2_to_1.chunk(2)
    for domain, x, recon, translation, style, mean, log_variance in (
        (1, x_1, recon_1, drawn_1, style_prior_1, made.mean_1, made.log_variance_1),
        (2, x_2, recon_2, drawn_2, style_prior_2, made.mean_2, made.log_variance_2),
    ):
        encoder = model.auto_encoder(domain).style_encoder
        encoder.requires_grad_(False)  # or encoder and decoder would agree on a code hidden in the image
        style_again = model.encode_style(translation, domain)
        encoder.requires_grad_(True)
        gan = config.loss.gan
        terms[f"gan_{domain}"] = _fools(model, domain, recon, gan) + _fools(model, domain, translation, gan)
        terms[f"image_{domain}"] = losses.image_reconstruction(recon.float(), x)
        terms[f"style_{domain}"] = losses.style_reconstruction(style_again.float(), style)
        terms[f"kl_{domain}"] = kl_to_prior(mean.float(), log_variance.float()).sum(1).mean()
    return terms


MODELS.update({"unit": UNIT, "cyclegan": CycleGAN, "cyclegan_noise": NoisyCycleGAN, "bicyclegan": BicycleGAN})
