"""MUNIT: two auto-encoders, two discriminators, and what one does with them once trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit_lite.config import Config, smallest_side
from munit_lite.networks import AutoEncoder, MultiScaleDiscriminator
from munit_lite.world import check_domain


class MUNIT(nn.Module):
    """The model of the paper's figure 2.

    Args:
        config: the sizes of its networks are read from `config.network`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        n = config.network
        self.auto_encoders = nn.ModuleList(
            AutoEncoder(n.width, n.downsamples, n.style_downsamples, n.blocks, n.style_dim, n.mlp_width) for _ in (1, 2)
        )
        if n.equal_start:
            self.auto_encoders[1].load_state_dict(self.auto_encoders[0].state_dict())
        self.discriminators = nn.ModuleList(
            MultiScaleDiscriminator(
                n.discriminator_width, n.discriminator_layers, n.discriminator_scales, n.discriminator_init
            )
            for _ in (1, 2)
        )

    def auto_encoder(self, domain: int) -> AutoEncoder:
        return self.auto_encoders[check_domain(domain) - 1]  # type: ignore[return-value]

    def discriminator(self, domain: int) -> MultiScaleDiscriminator:
        return self.discriminators[check_domain(domain) - 1]  # type: ignore[return-value]

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """c = E^c(x): (B, 3, H, W) in [-1, 1] -> (B, C, H/4, W/4) with the usual two downsamples.

        Raises:
            ValueError: not such a batch, or a side that the encoder cannot halve, or with nothing left to mirror.
        """
        height, width = self._checked(images).shape[2:]
        if min(height, width) < (least := smallest_side(self.config.network)):
            raise ValueError(f"images are {height} x {width} pixels: both sides must be {least} or more")
        return self.auto_encoder(domain).content_encoder(images)

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """s = E^s(x): (B, 3, H, W) in [-1, 1] -> (B, style_dim).

        Raises:
            ValueError: not such a batch, or images too small to be halved as often as the style encoder does.
        """
        smallest = 2**self.config.network.style_downsamples
        if min(self._checked(images).shape[2:]) < smallest:
            raise ValueError(
                f"images are {images.shape[2]} x {images.shape[3]} pixels, but the style encoder halves them "
                f"{self.config.network.style_downsamples} times: both sides must be {smallest} or more"
            )
        return self.auto_encoder(domain).style_encoder(images)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """x = G(c, s): (B, C, h, w) and (B, style_dim) -> (B, 3, 4h, 4w) in (-1, 1).

        Raises:
            ValueError: content or style of another shape.
        """
        network, style_dim = self.config.network, self.config.network.style_dim
        channels = network.width * 2**network.downsamples
        if content.ndim != 4 or content.shape[1] != channels:
            raise ValueError(f"content has shape {tuple(content.shape)}, but this model needs (B, {channels}, h, w)")
        if style.shape != (len(content), style_dim):
            raise ValueError(
                f"style has shape {tuple(style.shape)}, but {len(content)} contents and style_dim {style_dim} "
                f"need ({len(content)}, {style_dim})"
            )
        return self.auto_encoder(domain).decoder(content, style)

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw styles from the prior q(s) = N(0, I): (count, style_dim), on the model's device."""
        style = torch.randn(count, self.config.network.style_dim, generator=generator)
        return style.to(next(self.parameters()).device)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """G_i(E_i^c(x), E_i^s(x)): the image through its own auto-encoder."""
        return self.decode(self.encode_content(images, domain), self.encode_style(images, domain), domain)

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
        """Translate images into the other domain: G_target(E_source^c(x), s).

        Args:
            images: (B, 3, H, W) in [-1, 1] of the source domain.
            source: their domain, 1 or 2.
            target: the domain to paint in, the other one.
            style: (B, style_dim) or (1, style_dim) codes; by default drawn from the prior.
            style_from: (B, 3, H, W) or (1, 3, H, W) images of the target domain to take the style from.
            generator: makes the drawn styles repeatable.

        Returns:
            (B, 3, H, W) in (-1, 1).

        Raises:
            ValueError: a domain that does not exist, source equal to target, both kinds of style, wrong shapes.
        """
        if check_domain(source) == check_domain(target):
            raise ValueError(f"source and target are both domain {source}; to stay in a domain use `reconstruct`")
        if style is not None and style_from is not None:
            raise ValueError("give `style` or `style_from`, not both")
        content = self.encode_content(images, source)
        if style_from is not None:
            style = self.encode_style(style_from, target)
        if style is None:
            style = self.sample_style(len(images), generator)
        if style.shape == (1, self.config.network.style_dim):
            style = style.expand(len(images), -1)
        return self.decode(content, style, target)

    def swap(self, images_1: Tensor, images_2: Tensor) -> tuple[Tensor, Tensor]:
        """Exchange styles: (content of 1 with style of 2, content of 2 with style of 1)."""
        return (
            self.translate(images_1, 1, 2, style_from=images_2),
            self.translate(images_2, 2, 1, style_from=images_1),
        )

    def _checked(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images have shape {tuple(images.shape)}, but (B, 3, H, W) is needed")
        step, least = 2**self.config.network.downsamples, smallest_side(self.config.network)
        for side, pixels in (("height", images.shape[2]), ("width", images.shape[3])):
            if pixels % step:
                nearest = max(least, round(pixels / step) * step)
                raise ValueError(f"image {side} {pixels} is not divisible by {step}; resize or crop it to {nearest}")
        return images


MODELS: dict[str, type[MUNIT]] = {"munit": MUNIT}  # the baselines enter themselves


def build(config: Config) -> MUNIT:
    """An untrained model of the configuration's method, whose weights depend on `config.seed` alone.

    Raises:
        ValueError: the method is a baseline, and nobody has imported the baselines.
    """
    if config.method not in MODELS:
        raise ValueError(f"method {config.method!r} is a baseline: import munit_lite.study.baselines first")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would reseed every device
        return MODELS[config.method](config)
