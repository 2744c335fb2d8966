r"""MUNIT: two autoencoders, two discriminators, and what one does with them after training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from munit_lite.config import Config, check_domain, smallest_size
from munit_lite.networks import AutoEncoder, MultiScaleDiscriminator


class MUNIT(nn.Module):
    """The model of the paper's figure 2: an autoencoder and a discriminator for each domain.

    The global random state decides the initial weights; `munit_lite.build` derives them from `config.seed`.

    Args:
        config: `config.network` holds the sizes of the networks.

    Example:
        >>> from munit_lite.presets import preset
        >>> model = MUNIT(preset("world32"))
        >>> images = torch.zeros(4, 3, 32, 32)
        >>> content, style = model.encode(images, domain=1)
        >>> content.shape, style.shape
        (torch.Size([4, 32, 16, 16]), torch.Size([4, 3]))
        >>> model.translate(images, source=1, target=2).shape
        torch.Size([4, 3, 32, 32])
    """

    image_statistics: dict[str, Any] | None = None
    """Statistics of the training images (`munit_lite.data.image_statistics`), if the checkpoint holds them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        n = config.network
        self.auto_encoders = nn.ModuleList(
            AutoEncoder(
                n.base_channels,
                n.num_downsamples,
                n.num_style_downsamples,
                n.num_residual_blocks,
                n.style_dim,
                n.mlp_width,
            )
            for _ in (1, 2)
        )
        if n.same_initial_weights:
            self.auto_encoders[1].load_state_dict(self.auto_encoders[0].state_dict())
        self.discriminators = nn.ModuleList(
            MultiScaleDiscriminator(
                n.discriminator_base_channels,
                n.discriminator_layers,
                n.discriminator_scales,
                n.discriminator_init,
                n.minibatch_std_group,
            )
            for _ in (1, 2)
        )

    def auto_encoder(self, domain: int) -> AutoEncoder:
        """Return the autoencoder of domain 1 or 2; raises ValueError for any other."""
        return self.auto_encoders[check_domain(domain) - 1]  # type: ignore[return-value]

    def discriminator(self, domain: int) -> MultiScaleDiscriminator:
        """Return the discriminator of domain 1 or 2; raises ValueError for any other."""
        return self.discriminators[check_domain(domain) - 1]  # type: ignore[return-value]

    def encode(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Encode images into content and style (section 3.2): (c, s) = (E^c(x), E^s(x)).

        Args:
            images: x, (B, 3, H, W) in [-1, 1].
            domain: of the images, 1 or 2.

        Returns:
            content and style, as `encode_content` and `encode_style` return them.

        Raises:
            ValueError: `encode_content` or `encode_style` does not accept the images or the domain.
        """
        return self.encode_content(images, domain), self.encode_style(images, domain)

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """Encode the content of images: c = E^c(x).

        Args:
            images: x, (B, 3, H, W) in [-1, 1].
            domain: of the images, 1 or 2.

        Returns:
            (B, C, H/4, W/4) with two downsamplings, as in the paper.

        Raises:
            ValueError: the images have another shape, a side that the encoder cannot halve, or one that is too small
                for reflect padding; or there is no such domain.
        """
        height, width = self._check_images(images).shape[2:]
        if min(height, width) < (least := smallest_size(self.config.network)):
            raise ValueError(f"images are {height} x {width} pixels: both sides must be {least} or more")
        return self.auto_encoder(domain).content_encoder(images)

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Encode the style of images: s = E^s(x).

        Args:
            images: x, (B, 3, H, W) in [-1, 1].
            domain: of the images, 1 or 2.

        Returns:
            (B, style_dim).

        Raises:
            ValueError: the images have another shape, or are too small to be halved as often as the style encoder does;
                or there is no such domain.
        """
        smallest = 2**self.config.network.num_style_downsamples
        if min(self._check_images(images).shape[2:]) < smallest:
            raise ValueError(
                f"images are {images.shape[2]} x {images.shape[3]} pixels, but the style encoder halves them "
                f"{self.config.network.num_style_downsamples} times: both sides must be {smallest} or more"
            )
        return self.auto_encoder(domain).style_encoder(images)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Decode images: x = G(c, s).

        Args:
            content: c, (B, C, h, w), of either domain.
            style: s, (B, style_dim), of the domain to decode.
            domain: of the images to decode, 1 or 2.

        Returns:
            (B, 3, 4h, 4w) in (-1, 1), with two upsamplings, as in the paper.

        Raises:
            ValueError: content or style has another shape, or there is no such domain.
        """
        network, style_dim = self.config.network, self.config.network.style_dim
        channels = network.base_channels * 2**network.num_downsamples
        if content.ndim != 4 or content.shape[1] != channels:
            raise ValueError(f"content has shape {tuple(content.shape)}, but this model needs (B, {channels}, h, w)")
        if style.shape != (len(content), style_dim):
            raise ValueError(
                f"style has shape {tuple(style.shape)}, but {len(content)} contents and style_dim {style_dim} "
                f"need ({len(content)}, {style_dim})"
            )
        return self.auto_encoder(domain).decoder(content, style)

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        r"""Sample styles from the prior (section 3.2), the only one in the package.

        $$ s_1 \sim q(s_1) = \mathcal N(0, I), \qquad s_2 \sim q(s_2) = \mathcal N(0, I) $$

        Args:
            count: how many.
            generator: on the CPU; with it the styles are repeatable, and the same for every device.

        Returns:
            (count, style_dim), of the model's device and type.
        """
        style = torch.randn(count, self.config.network.style_dim, generator=generator)
        return style.to(next(self.parameters()), non_blocking=True)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Reconstruct images from their own codes: G(E^c(x), E^s(x)).

        Args:
            images: x, (B, 3, H, W) in [-1, 1].
            domain: of the images, 1 or 2.

        Returns:
            (B, 3, H, W) in (-1, 1), with a gradient.

        Raises:
            ValueError: `encode_content` or `encode_style` does not accept the images or the domain.
        """
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
        r"""Translate images into the other domain (section 3.2).

        $$ x_{1 \to 2} = G_2(E_1^c(x_1), s_2), \qquad s_2 \sim q(s_2) $$

        Args:
            images: (B, 3, H, W) in [-1, 1] of the source domain.
            source: domain of the images, 1 or 2.
            target: domain of the translations, the other one.
            style: codes, (B, style_dim) or (1, style_dim); by default sampled from the prior.
            style_from: images of the target domain to take the style from, (B, 3, H, W) or (1, 3, H, W).
            generator: makes the sampled styles repeatable.

        Returns:
            (B, 3, H, W) in (-1, 1), without a gradient.

        Raises:
            ValueError: there is no such domain, source and target are equal, both kinds of style are given, or a shape
                is wrong.
        """
        check_translation(source, target, style, style_from)
        content = self.encode_content(images, source)
        if style_from is not None:
            style = self.encode_style(style_from, target)
        if style is None:
            style = self.sample_style(len(images), generator)
        if style.shape == (1, self.config.network.style_dim):
            style = style.expand(len(images), -1)
        return self.decode(content, style, target)

    def swap(self, images_1: Tensor, images_2: Tensor) -> tuple[Tensor, Tensor]:
        """Exchange the styles of images of the two domains.

        Args:
            images_1: (B, 3, H, W) in [-1, 1] of domain 1.
            images_2: (B, 3, H, W) in [-1, 1] of domain 2.

        Returns:
            the content of 1 in the style of 2, and the content of 2 in the style of 1; both (B, 3, H, W) in (-1, 1).

        Raises:
            ValueError: images have another shape, or there are not as many of domain 1 as of domain 2.
        """
        return (
            self.translate(images_1, 1, 2, style_from=images_2),
            self.translate(images_2, 2, 1, style_from=images_1),
        )

    def _check_images(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images have shape {tuple(images.shape)}, but (B, 3, H, W) is needed")
        step, least = 2**self.config.network.num_downsamples, smallest_size(self.config.network)
        for side, pixels in (("height", images.shape[2]), ("width", images.shape[3])):
            if pixels % step:
                nearest = max(least, round(pixels / step) * step)
                raise ValueError(f"image {side} {pixels} is not divisible by {step}; resize or crop it to {nearest}")
        return images


def check_translation(source: int, target: int, style: Tensor | None, style_from: Tensor | None) -> None:
    """Check the arguments of `translate`.

    Raises:
        ValueError: there is no such domain, source and target are equal, or both kinds of style are given.
    """
    if check_domain(source) == check_domain(target):
        raise ValueError(f"source and target are both domain {source}; to stay in a domain use `reconstruct`")
    if style is not None and style_from is not None:
        raise ValueError("give `style` or `style_from`, not both")
