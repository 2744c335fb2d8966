r"""The networks of the paper's figure 3 and appendix B.

They stand in the order in which an image meets them: blocks, content encoder, style encoder, decoder, the autoencoder
that joins them, and the multi-scale discriminator. Style enters a decoder as an argument; no module keeps state between
calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def instance_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    r"""Normalize each channel of each sample to mean 0 and variance 1, without a learned scale or shift (section 5.1).

    $$ \mathrm{IN}(z) = \frac{z - \mu(z)}{\sigma(z)} $$

    Args:
        features: z, (B, C, H, W); mean μ(z) and standard deviation σ(z) are taken over height and width.
        eps: added to the variance.

    Returns:
        (B, C, H, W).

    Example:
        >>> instance_norm(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[[[-1.0000,  1.0000]]]])
    """
    return F.layer_norm(features, features.shape[2:], eps=eps)


def adaptive_instance_norm(features: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-5) -> Tensor:
    r"""Give each channel the scale and shift that belong to a style (AdaIN, section 5.1).

    $$ \mathrm{AdaIN}(z, \gamma, \beta) = \gamma \, \frac{z - \mu(z)}{\sigma(z)} + \beta $$

    Args:
        features: z, (B, C, H, W).
        scale: γ, (B, C).
        shift: β, (B, C).
        eps: added to the variance.

    Returns:
        (B, C, H, W), each channel with mean β and standard deviation |γ|.

    Example:
        >>> z = torch.tensor([[[[1.0, 3.0]]]])
        >>> adaptive_instance_norm(z, scale=torch.tensor([[2.0]]), shift=torch.tensor([[5.0]]))
        tensor([[[[3.0000, 7.0000]]]])
    """
    return torch.addcmul(shift[:, :, None, None], scale[:, :, None, None], instance_norm(features, eps))


class LayerNorm(nn.Module):
    r"""Normalize a whole sample by one mean and one standard deviation, as the original's decoder does.

    The text of the paper omits it. As in the published code, the standard deviation d(z) is the unbiased one, ε is
    added to it, and the scale starts at U(0, 1).

    $$ \mathrm{LN}(z) = a \, \frac{z - m(z)}{d(z) + \varepsilon} + b $$

    Args:
        channels: C; scale a and shift b are learned for each channel.
        eps: ε.

    Example:
        >>> LayerNorm(8)(torch.randn(2, 8, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).uniform_())
        self.shift = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        features = upcast_to_fp32(features)  # (B, C, H, W)
        std, mean = torch.std_mean(features, dim=(1, 2, 3), keepdim=True)
        scale = self.scale[:, None, None] / (std + self.eps)
        return torch.addcmul(self.shift[:, None, None], scale, features - mean)


def upcast_to_fp32(values: Tensor) -> Tensor:
    """Convert bf16 to fp32 and leave other types as they are: bf16 has too few bits for statistics, styles and losses.

    Example:
        >>> upcast_to_fp32(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
        >>> upcast_to_fp32(torch.zeros(2, dtype=torch.float64)).dtype
        torch.float64
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def apply_in_fp32(layers: nn.Module, values: Tensor) -> Tensor:
    """Apply layers to values of any shape with autocast switched off."""
    if not torch.amp.is_autocast_available(values.device.type):
        return layers(values)
    with torch.autocast(values.device.type, enabled=False):
        return layers(upcast_to_fp32(values))


def leaky_relu(features: Tensor) -> Tensor:
    """Apply LeakyReLU with the discriminators' negative slope, 0.2."""
    return F.leaky_relu(features, 0.2)


class ConvBlock(nn.Module):
    """Pad by reflection, convolve with a bias, normalize and activate.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel; (kernel_size - 1) // 2 pixels are padded on each side.
        stride: of the convolution; 2 halves the side.
        norm: applied to the convolution's output, if given.
        activation: applied last, unless None.

    Example:
        >>> ConvBlock(3, 16, kernel_size=4, stride=2, norm=instance_norm)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 16, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        norm: Callable[[Tensor], Tensor] | None = None,
        activation: Callable[[Tensor], Tensor] | None = F.relu,
    ) -> None:
        super().__init__()
        self.padding = (kernel_size - 1) // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride)
        self.norm, self.activation = norm, activation

    def forward(self, features: Tensor) -> Tensor:
        if self.padding:
            features = F.pad(features, [self.padding] * 4, mode="reflect")
        return self.normalize_and_activate(self.convolve(features))

    def convolve(self, padded: Tensor) -> Tensor:
        """Convolve features that are already padded."""
        return self.conv(padded)

    def normalize_and_activate(self, features: Tensor) -> Tensor:
        """Apply what follows the convolution."""
        if self.norm is not None:
            features = self.norm(features)
        return features if self.activation is None else self.activation(features)


class ResidualBlock(nn.Module):
    """Add conv(relu(conv(x))) to x, both 3×3 with instance normalization; no activation follows the sum.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, 3, norm=instance_norm)
        self.second = ConvBlock(channels, channels, 3, norm=instance_norm, activation=None)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))


class AdaINResidualBlock(nn.Module):
    """Add conv(relu(conv(x))) to x, both 3×3 with AdaIN, through which the style enters the decoder.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, 3, activation=None)
        self.second = ConvBlock(channels, channels, 3, activation=None)

    def forward(self, features: Tensor, adain: Tensor) -> Tensor:
        """Compute the block.

        Args:
            features: (B, C, H, W).
            adain: rows of the style MLP's output, (B, 4, C), in the order of the original's weights: shift and scale of
                the first AdaIN layer, shift and scale of the second.
        """
        shift_1, scale_1, shift_2, scale_2 = adain.unbind(dim=1)
        hidden = F.relu(adaptive_instance_norm(self.first(features), scale_1, shift_1))
        return features + adaptive_instance_norm(self.second(hidden), scale_2, shift_2)


class ContentEncoder(nn.Module):
    """Encode the content of an image (E^c) by strided convolutions and residual blocks with instance normalization.

    Args:
        base_channels: channels after the first convolution (64 in the paper).
        num_downsamples: stride-2 convolutions (2 in the paper); each halves the side and doubles the channels.
        num_residual_blocks: residual blocks (4 in the paper).

    Example:
        >>> ContentEncoder(base_channels=8, num_downsamples=2, num_residual_blocks=1)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32, 8, 8])
    """

    def __init__(self, base_channels: int, num_downsamples: int, num_residual_blocks: int) -> None:
        super().__init__()
        channels = [base_channels * 2**k for k in range(num_downsamples + 1)]
        self.layers = nn.Sequential(
            ConvBlock(3, base_channels, 7, norm=instance_norm),
            *(ConvBlock(a, b, 4, 2, norm=instance_norm) for a, b in itertools.pairwise(channels)),
            *(ResidualBlock(channels[-1]) for _ in range(num_residual_blocks)),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)  # (B, 3, H, W) -> (B, 4 base_channels, H/4, W/4) with 2 downsamplings


class StyleEncoder(nn.Module):
    """Encode the style of an image (E^s) by strided convolutions, global average pooling and a linear map.

    It has no normalization, which would remove the means and variances that carry the style.

    Args:
        base_channels: channels after the first convolution (64 in the paper); they double twice at most.
        num_downsamples: stride-2 convolutions (4 in the paper).
        style_dim: length of the style code (8 in the paper).

    Example:
        >>> StyleEncoder(base_channels=8, num_downsamples=3, style_dim=3)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 3])
    """

    def __init__(self, base_channels: int, num_downsamples: int, style_dim: int) -> None:
        super().__init__()
        channels = [base_channels * 2 ** min(k, 2) for k in range(num_downsamples + 1)]
        self.layers = nn.Sequential(
            ConvBlock(3, base_channels, 7),
            *(ConvBlock(a, b, 4, 2) for a, b in itertools.pairwise(channels)),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels[-1], style_dim, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        features = self.layers[:-2](image)
        return apply_in_fp32(self.layers[-2:], features).flatten(1)  # (B, 3, H, W) -> (B, style_dim)


class Decoder(nn.Module):
    """Decode an image from content and style (G) by AdaIN residual blocks and upsampling.

    An MLP computes the scale and shift of every AdaIN layer from the style code.

    Args:
        base_channels: channels before the last convolution (64 in the paper).
        num_upsamples: doublings of the side (2 in the paper); the content has base_channels · 2^num_upsamples channels.
        num_residual_blocks: AdaIN residual blocks (4 in the paper).
        style_dim: length of the style code (8 in the paper).
        mlp_width: units of each of the MLP's two hidden layers (256 in the paper).

    Example:
        >>> decoder = Decoder(base_channels=8, num_upsamples=2, num_residual_blocks=1, style_dim=3, mlp_width=16)
        >>> decoder(torch.zeros(2, 32, 8, 8), torch.zeros(2, 3)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self, base_channels: int, num_upsamples: int, num_residual_blocks: int, style_dim: int, mlp_width: int
    ) -> None:
        super().__init__()
        self.channels = base_channels * 2**num_upsamples
        self.mlp = nn.Sequential(
            nn.Linear(style_dim, mlp_width),
            nn.ReLU(),
            nn.Linear(mlp_width, mlp_width),
            nn.ReLU(),
            nn.Linear(mlp_width, num_residual_blocks * 4 * self.channels),
        )
        self.blocks = nn.ModuleList(AdaINResidualBlock(self.channels) for _ in range(num_residual_blocks))
        self.upsampling = nn.Sequential()
        for k in range(num_upsamples, 0, -1):
            self.upsampling.append(nn.Upsample(scale_factor=2, mode="nearest"))
            half = base_channels * 2 ** (k - 1)
            self.upsampling.append(ConvBlock(2 * half, half, 5, norm=LayerNorm(half)))
        self.to_image = ConvBlock(base_channels, 3, 7, activation=torch.tanh)

    def adain_parameters(self, style: Tensor) -> Tensor:
        """Compute shift and scale of every AdaIN layer: (B, style_dim) -> (B, blocks, 4, channels)."""
        return apply_in_fp32(self.mlp, style).view(len(style), len(self.blocks), 4, self.channels)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        features = content  # (B, channels, H/4, W/4)
        for block, adain in zip(self.blocks, self.adain_parameters(style).unbind(dim=1), strict=True):
            features = block(features, adain)
        return self.to_image(self.upsampling(features))  # (B, 3, H, W) in (-1, 1)


class AutoEncoder(nn.Module):
    """Hold the content encoder E^c, the style encoder E^s and the decoder G of one domain.

    Args:
        base_channels: channels after the first convolution of the encoders and before the last of the decoder.
        num_downsamples: stride-2 convolutions of the content encoder, and doublings of the decoder.
        num_style_downsamples: stride-2 convolutions of the style encoder.
        num_residual_blocks: residual blocks of the content encoder, and of the decoder.
        style_dim: length of the style code.
        mlp_width: hidden units of the AdaIN MLP.

    Example:
        >>> auto_encoder = AutoEncoder(8, 2, 3, num_residual_blocks=1, style_dim=3, mlp_width=16)
        >>> content, style = auto_encoder.encode(torch.zeros(2, 3, 32, 32))
        >>> auto_encoder.decoder(content, style).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        base_channels: int,
        num_downsamples: int,
        num_style_downsamples: int,
        num_residual_blocks: int,
        style_dim: int,
        mlp_width: int,
    ) -> None:
        super().__init__()
        self.content_encoder = ContentEncoder(base_channels, num_downsamples, num_residual_blocks)
        self.style_encoder = StyleEncoder(base_channels, num_style_downsamples, style_dim)
        self.decoder = Decoder(base_channels, num_downsamples, num_residual_blocks, style_dim, mlp_width)
        kaiming_init(self)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        r"""Encode images into content and style (section 3.2).

        $$ (c_i, s_i) = (E_i^c(x_i), E_i^s(x_i)) = E_i(x_i) $$

        Args:
            image: x_i, (B, 3, H, W) in [-1, 1].

        Returns:
            content c_i, (B, C, h, w), and style s_i, (B, style_dim).
        """
        return self.content_encoder(image), self.style_encoder(image)


def minibatch_std(features: Tensor, group_size: int) -> Tensor:
    r"""Measure how much the images of a group differ (not in the paper; after Karras et al., 2018, section 3).

    One image alone does not show that a generator covers only a part of the styles; several images do. Groups are
    consecutive images. For group g and channel c,

    $$ \sigma_{gc} = \frac{1}{hw} \sum_{y,x} \sqrt{\mathrm{var}_{i \in g}(z_{icyx}) + \varepsilon} $$

    with the unbiased variance over the images i of the group and ε = 1e-8. Karras et al. average over the channels as
    well; here each channel keeps its own value.

    Args:
        features: z, (B, C, h, w).
        group_size: images in a group, 2 or more.

    Returns:
        (B, C, h, w), in which all images and positions of a group have the same values.

    Raises:
        ValueError: B is no multiple of the group's size.

    Example:
        >>> minibatch_std(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), group_size=2).flatten()
        tensor([1.4142, 1.4142])
    """
    if len(features) % group_size:
        raise ValueError(
            f"the discriminator compares groups of {group_size} images, so it needs a multiple of {group_size} images, "
            f"but there are {len(features)}"
        )
    groups = upcast_to_fp32(features).unflatten(0, (-1, group_size))
    variance = groups.var(dim=1, keepdim=True)
    std = (variance + 1e-8).sqrt().mean(dim=(3, 4), keepdim=True)  # 1e-8: the root has a gradient at 0
    return std.expand_as(groups).flatten(0, 1).to(features.dtype)


class PatchDiscriminator(nn.Module):
    """Compute one logit for each patch of an image by convolutions without normalization.

    Args:
        base_channels: channels after the first layer; they double with each layer.
        layers: stride-2 convolutions.
        minibatch_std_group: images whose differences the last layer sees beside the features (`minibatch_std`); 0 as in
            the paper for none.
    """

    def __init__(self, base_channels: int, layers: int, minibatch_std_group: int = 0) -> None:
        super().__init__()
        channels = [3] + [base_channels * 2**k for k in range(layers)]
        self.minibatch_std_group = minibatch_std_group
        self.layers = nn.Sequential(
            *(ConvBlock(a, b, 4, 2, activation=leaky_relu) for a, b in itertools.pairwise(channels)),
            nn.Conv2d(channels[-1] * (2 if minibatch_std_group else 1), 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        features = self.layers[:-1](image)
        if self.minibatch_std_group:
            features = torch.cat([features, minibatch_std(features, self.minibatch_std_group)], dim=1)
        return self.layers[-1](features)  # (B, 3, H, W) -> (B, 1, H/16, W/16) with 4 layers


class MultiScaleDiscriminator(nn.Module):
    """Apply patch discriminators with separate weights to an image and to its downsampled copies.

    Args:
        base_channels: channels after the first layer (64 in the paper).
        layers: stride-2 layers (4 in the paper).
        scales: copies of the image, each half the side of the one before (3 in the paper).
        init: a name in `DISCRIMINATOR_INITS` (gaussian in the original).
        minibatch_std_group: as for `PatchDiscriminator` (0 in the paper).

    Example:
        >>> discriminator = MultiScaleDiscriminator(base_channels=8, layers=2, scales=2)
        >>> [tuple(logits.shape) for logits in discriminator(torch.zeros(4, 3, 32, 32))]
        [(4, 1, 8, 8), (4, 1, 4, 4)]
    """

    def __init__(
        self, base_channels: int, layers: int, scales: int, init: str = "gaussian", minibatch_std_group: int = 0
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            PatchDiscriminator(base_channels, layers, minibatch_std_group) for _ in range(scales)
        )
        DISCRIMINATOR_INITS[init](self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the logits of images.

        Args:
            image: (B, 3, H, W).

        Returns:
            one (B, 1, h, w) tensor for each scale, the finest first.
        """
        logits = []
        for discriminator in self.scales:
            logits.append(discriminator(image))
            image = F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)
        return logits


def kaiming_init(module: nn.Module) -> None:
    """Initialize weights with Kaiming's normal distribution and biases with 0: the autoencoders, MLP included."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def gaussian_init(module: nn.Module) -> None:
    """Initialize weights with N(0, 0.02²) and biases with 0: the original's discriminators."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


DISCRIMINATOR_INITS = {"gaussian": gaussian_init, "kaiming": kaiming_init}


def parameter_count(module: nn.Module) -> int:
    """Count a module's weights.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in module.parameters())
