"""The networks of the paper's figure 3 and appendix B.

Everything in the order an image meets it: blocks, content encoder, style encoder, decoder, the
auto-encoder that joins them, and the multi-scale discriminator. Style enters a decoder as an argument;
no module keeps state between calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import vgg16


def instance_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Remove each sample's mean and deviation, channel by channel (no learnt scale or shift).

    Args:
        features: (B, C, H, W).
    """
    return F.layer_norm(features, features.shape[2:], eps=eps)


def adaptive_instance_norm(features: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-5) -> Tensor:
    """AdaIN(z, gamma, beta) = gamma (z - mu(z)) / sigma(z) + beta (paper, section 5.1).

    Args:
        features: (B, C, H, W), z.
        scale: (B, C), gamma.
        shift: (B, C), beta.
    """
    return torch.addcmul(shift[:, :, None, None], scale[:, :, None, None], instance_norm(features, eps))


class LayerNorm(nn.Module):
    """The decoder's layer norm: statistics over (C, H, W) of each sample, scale and shift per channel.

    Divides by (deviation + eps) with the unbiased deviation; the scale starts at U(0, 1), like the original's.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).uniform_())
        self.shift = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        features = at_least_fp32(features)
        deviation, mean = torch.std_mean(features, dim=(1, 2, 3), keepdim=True)
        scale = self.scale[:, None, None] / (deviation + self.eps)
        return torch.addcmul(self.shift[:, None, None], scale, features - mean)


def at_least_fp32(values: Tensor) -> Tensor:
    """bf16 becomes fp32, all else stays: statistics and styles need more than the eight bits of bf16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_fp32(layers: nn.Module, values: Tensor) -> Tensor:
    """Apply layers without the autocast that may be on."""
    if not torch.amp.is_autocast_available(values.device.type):
        return layers(values)
    with torch.autocast(values.device.type, enabled=False):
        return layers(at_least_fp32(values))


def leaky_relu(features: Tensor) -> Tensor:
    return F.leaky_relu(features, 0.2)


class ConvBlock(nn.Module):
    """Reflect-padded convolution with bias -> norm -> activation."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        norm: Callable[[Tensor], Tensor] | None = None,
        activation: Callable[[Tensor], Tensor] | None = F.relu,
    ) -> None:
        super().__init__()
        self.padding = (kernel - 1) // 2
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride)
        self.norm, self.activation = norm, activation

    def forward(self, features: Tensor) -> Tensor:
        if self.padding:
            features = F.pad(features, [self.padding] * 4, mode="reflect")
        return self.finish(self.convolve(features))

    def convolve(self, padded: Tensor) -> Tensor:
        return self.conv(padded)

    def finish(self, features: Tensor) -> Tensor:
        if self.norm is not None:
            features = self.norm(features)
        return features if self.activation is None else self.activation(features)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), both 3x3 with instance norm; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, 3, norm=instance_norm)
        self.second = ConvBlock(channels, channels, 3, norm=instance_norm, activation=None)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))


class AdaINResidualBlock(nn.Module):
    """The same block with AdaIN: the style's scales and shifts arrive as an argument."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, 3, activation=None)
        self.second = ConvBlock(channels, channels, 3, activation=None)

    def forward(self, features: Tensor, adain: Tensor) -> Tensor:
        """features (B, C, H, W); adain (B, 4, C): shift, scale of the first and of the second layer."""
        shift_1, scale_1, shift_2, scale_2 = adain.unbind(dim=1)
        hidden = F.relu(adaptive_instance_norm(self.first(features), scale_1, shift_1))
        return features + adaptive_instance_norm(self.second(hidden), scale_2, shift_2)


class ContentEncoder(nn.Module):
    """x -> c: strided convolutions and residual blocks, all with instance norm.

    Args:
        width: channels after the first convolution (64 in the paper).
        downsamples: stride-2 convolutions; each halves the side and doubles the channels.
        blocks: residual blocks.
    """

    def __init__(self, width: int, downsamples: int, blocks: int) -> None:
        super().__init__()
        channels = [width * 2**k for k in range(downsamples + 1)]
        self.layers = nn.Sequential(
            ConvBlock(3, width, 7, norm=instance_norm),
            *(ConvBlock(a, b, 4, 2, norm=instance_norm) for a, b in itertools.pairwise(channels)),
            *(ResidualBlock(channels[-1]) for _ in range(blocks)),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)  # (B, 3, H, W) -> (B, 4 width, H/4, W/4) with 2 downsamples


class StyleEncoder(nn.Module):
    """x -> s: strided convolutions, global average pool, a linear map. No norm: it would remove the style.

    Args:
        width: channels after the first convolution; they double twice at most.
        downsamples: stride-2 convolutions (4 in the paper).
        style_dim: length of the style code.
    """

    def __init__(self, width: int, downsamples: int, style_dim: int) -> None:
        super().__init__()
        channels = [width * 2 ** min(k, 2) for k in range(downsamples + 1)]
        self.layers = nn.Sequential(
            ConvBlock(3, width, 7),
            *(ConvBlock(a, b, 4, 2) for a, b in itertools.pairwise(channels)),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels[-1], style_dim, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        features = self.layers[:-2](image)
        return in_fp32(self.layers[-2:], features).flatten(1)  # (B, 3, H, W) -> (B, style_dim)


class Decoder(nn.Module):
    """(c, s) -> x: AdaIN residual blocks steered by an MLP of the style, then upsampling.

    Args:
        width: channels before the last convolution (64 in the paper).
        upsamples: doublings of the side; the content has width * 2**upsamples channels.
        blocks: AdaIN residual blocks.
        style_dim: length of the style code.
        mlp_width: hidden units of the MLP's two hidden layers.
    """

    def __init__(self, width: int, upsamples: int, blocks: int, style_dim: int, mlp_width: int) -> None:
        super().__init__()
        self.channels = width * 2**upsamples
        self.mlp = nn.Sequential(
            nn.Linear(style_dim, mlp_width),
            nn.ReLU(),
            nn.Linear(mlp_width, mlp_width),
            nn.ReLU(),
            nn.Linear(mlp_width, blocks * 4 * self.channels),
        )
        self.blocks = nn.ModuleList(AdaINResidualBlock(self.channels) for _ in range(blocks))
        self.upsampling = nn.Sequential()
        for k in range(upsamples, 0, -1):
            self.upsampling.append(nn.Upsample(scale_factor=2, mode="nearest"))
            half = width * 2 ** (k - 1)
            self.upsampling.append(ConvBlock(2 * half, half, 5, norm=LayerNorm(half)))
        self.to_image = ConvBlock(width, 3, 7, activation=torch.tanh)

    def adain_parameters(self, style: Tensor) -> Tensor:
        """(B, style_dim) -> (B, blocks, 4, channels): shift and scale of every AdaIN layer."""
        return in_fp32(self.mlp, style).view(len(style), len(self.blocks), 4, self.channels)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        features = content  # (B, channels, H/4, W/4)
        for block, adain in zip(self.blocks, self.adain_parameters(style).unbind(dim=1), strict=True):
            features = block(features, adain)
        return self.to_image(self.upsampling(features))  # (B, 3, H, W) in (-1, 1)


class AutoEncoder(nn.Module):
    """One domain's E^c, E^s and G."""

    def __init__(
        self, width: int, downsamples: int, style_downsamples: int, blocks: int, style_dim: int, mlp_width: int
    ) -> None:
        super().__init__()
        self.content_encoder = ContentEncoder(width, downsamples, blocks)
        self.style_encoder = StyleEncoder(width, style_downsamples, style_dim)
        self.decoder = Decoder(width, downsamples, blocks, style_dim, mlp_width)
        kaiming_init(self)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image (B, 3, H, W) -> content (B, C, h, w), style (B, style_dim)."""
        return self.content_encoder(image), self.style_encoder(image)


class PatchDiscriminator(nn.Module):
    """A fully convolutional discriminator: one logit for each patch, no norm."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        channels = [3] + [width * 2**k for k in range(layers)]
        self.layers = nn.Sequential(
            *(ConvBlock(a, b, 4, 2, activation=leaky_relu) for a, b in itertools.pairwise(channels)),
            nn.Conv2d(channels[-1], 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators with separate weights on the image and its halved copies.

    Args:
        width: channels after the first layer (64 in the paper).
        layers: stride-2 layers (4 in the paper).
        scales: copies of the image, each half the side of the one before (3 in the paper).
        init: a name in `DISCRIMINATOR_INITS` (gaussian in the original).
    """

    def __init__(self, width: int, layers: int, scales: int, init: str = "gaussian") -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(width, layers) for _ in range(scales))
        DISCRIMINATOR_INITS[init](self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, 1, h, w) tensor of logits for each scale, finest first."""
        logits = []
        for discriminator in self.scales:
            logits.append(discriminator(image))
            image = F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)
        return logits


class VGGFeatures(nn.Module):
    """VGG16's features after its last convolution (relu5_3), for the domain-invariant perceptual loss.

    Args:
        weights: torchvision's name of the weights (downloaded once); None for random ones.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | None = "IMAGENET1K_V1") -> None:
        super().__init__()
        self.layers = vgg16(weights=weights).features[:30].eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], H of 32 or more -> (B, 512, H/16, W/16)."""
        return self.layers(((image + 1) / 2 - self.mean) / self.deviation)


def kaiming_init(module: nn.Module) -> None:
    """Kaiming-normal weights, zero biases: the auto-encoders' (the MLP included)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def gaussian_init(module: nn.Module) -> None:
    """N(0, 0.02) weights, zero biases: the original's discriminators."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


DISCRIMINATOR_INITS = {"gaussian": gaussian_init, "kaiming": kaiming_init}


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
