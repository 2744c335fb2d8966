"""Exercises of 04_adain_decoder: AdaIN, the residual block through which the style enters, and a change of style."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Input, exercise

# -------------------------------------------------------------------------------------------------------- AdaIN


def _normalize(features: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    mean = features.mean(dims, keepdim=True)
    variance = ((features - mean) ** 2).mean(dims, keepdim=True)
    return (features - mean) / (variance + 1e-5) ** 0.5


def _scale_and_shift(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return scale[..., None, None] * features + shift[..., None, None]


def reference_adain(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalize each channel of each sample, then scale and shift it: (B, C, H, W), (B, C), (B, C) -> (B, C, H, W)."""
    return _scale_and_shift(_normalize(features), scale, shift)


def small_decoder(content: Tensor, style: Tensor) -> Tensor:
    """A decoder of two lines: (B, C, h, w) and (B, C) -> (B, C, h, w); not linear in the style."""
    return torch.tanh(reference_adain(content, style, style**2))


def adain_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        if label == "one pixel":  # batch normalization, out of which the notebook builds AdaIN, refuses it
            continue
        scale, shift = torch.randn(2, *features.shape[:2], generator=generator, dtype=features.dtype)
        yield Input(label, (features, scale, shift))


@exercise(adain_cases, gradients=True)
def adain(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return reference_adain(features, scale, shift)


@adain.bug(
    "takes the mean and standard deviation over the batch as well, as batch normalization does",
    fix="Take them over height and width of each sample alone. Otherwise each image's style depends on its batch.",
)
def batch_statistics(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _scale_and_shift(_normalize(features, (0, 2, 3)), scale, shift)


@adain.bug(
    "takes the mean and standard deviation over the channels as well, as layer normalization does",
    fix="Each channel has its own statistics: take them over height and width only.",
)
def layer_statistics(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _scale_and_shift(_normalize(features, (1, 2, 3)), scale, shift)


@adain.bug(
    "divides by n − 1 in the variance",
    fix="Instance normalization divides by n (`correction=0`); with n − 1, a channel of one pixel becomes 0/0.",
)
def unbiased_variance(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, variance = features.mean((2, 3), keepdim=True), features.var((2, 3), keepdim=True)
    return _scale_and_shift((features - mean) / (variance + 1e-5).sqrt(), scale, shift)


@adain.bug(
    "computes the statistics in half precision",
    fix="Keep mean and variance in float32 at least: 16 bits are too few for features that are far from zero.",
    met="NVlabs/MUNIT: statistics in low precision",
)
def half_precision(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return reference_adain(features.half(), scale, shift).to(features.dtype)


# ------------------------------------------------------------------------------------------------- the AdaIN block

Layer = Callable[[Tensor], Tensor]


def block_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        if label in ("large values", "far from zero"):  # the skip connection would drown what the layers add
            continue
        channels = features.shape[1]
        layers = [nn.Conv2d(channels, channels, 1, dtype=features.dtype) for _ in range(2)]
        for parameter in (p for layer in layers for p in layer.parameters()):
            nn.init.normal_(parameter, generator=generator)
        rows = torch.randn(len(features), 4, channels, generator=generator, dtype=features.dtype)
        yield Input(label, (*layers, features, rows))


@exercise(block_cases)
def adain_block(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    hidden = F.relu(reference_adain(first(features), adain[:, 1], adain[:, 0]))
    return features + reference_adain(second(hidden), adain[:, 3], adain[:, 2])


@adain_block.bug(
    "normalizes, but never uses the scale and shift of the style",
    fix="Pass the rows of `adain` to both layers. Otherwise every style gives the same image, which may look good.",
    met="vliu15/munit: AdaIN never applied",
)
def style_ignored(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    one, zero = torch.ones_like(adain[:, 0]), torch.zeros_like(adain[:, 0])
    return adain_block.reference(first, second, features, torch.stack([zero, one, zero, one], dim=1))


@adain_block.bug(
    "uses the shift and scale of the first layer in the second layer, too",
    fix="Every layer has its own: `adain[:, 0]` and `adain[:, 1]` belong to the first layer, the other two rows to "
    "the second.",
    met="taki0112/MUNIT-Tensorflow #12, where all blocks share one vector (as reported)",
)
def shared_by_both_layers(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    return adain_block.reference(first, second, features, adain[:, [0, 1, 0, 1]])


@adain_block.bug(
    "takes the first row of each pair as the scale",
    fix="Each layer's shift comes first. Trained from scratch both orders work, but published weights fit only one.",
)
def scale_before_shift(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    return adain_block.reference(first, second, features, adain[:, [1, 0, 3, 2]])


@adain_block.bug(
    "does not add the features that entered the block",
    fix="A residual block returns its input plus what its layers computed.",
)
def no_skip_connection(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    return adain_block.reference(first, second, features, adain) - features


# ------------------------------------------------------------------------------------------------ a change of style


def restyle_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        scale_a, shift_a, scale_b, shift_b = torch.randn(
            4, *features.shape[:2], generator=generator, dtype=features.dtype
        )
        scale_a = scale_a.sign() * (0.5 + scale_a.abs())  # a scale of 0 could not be undone
        scale_a[0, 0] = -1.5  # the smallest input, too, has a channel that style A inverts
        yield Input(label, (reference_adain(features, scale_a, shift_a), scale_a, shift_a, scale_b, shift_b))


@exercise(restyle_cases)
def restyle(styled: Tensor, scale_a: Tensor, shift_a: Tensor, scale_b: Tensor, shift_b: Tensor) -> Tensor:
    normalized = (styled - shift_a[..., None, None]) / scale_a[..., None, None]
    return _scale_and_shift(normalized, scale_b, shift_b)


@restyle.bug(
    "normalizes the styled features again, and so forgets the sign of the first scale",
    fix="A negative scale inverts the pattern, and a normalization does not undo that: divide by `scale_a`.",
)
def normalized_again(styled: Tensor, scale_a: Tensor, shift_a: Tensor, scale_b: Tensor, shift_b: Tensor) -> Tensor:
    return reference_adain(styled, scale_b, shift_b)


@restyle.bug(
    "normalizes the styled features again; even with the sign restored, ε counts twice",
    fix="Invert the first style exactly: subtract its shift and divide by its scale.",
)
def sign_restored(styled: Tensor, scale_a: Tensor, shift_a: Tensor, scale_b: Tensor, shift_b: Tensor) -> Tensor:
    return reference_adain(styled, scale_b * scale_a.sign(), shift_b)


@restyle.bug(
    "divides by the first scale before it subtracts the first shift",
    fix="Undo the steps in reverse order: the shift was added last, so subtract it first.",
)
def undone_in_the_wrong_order(
    styled: Tensor, scale_a: Tensor, shift_a: Tensor, scale_b: Tensor, shift_b: Tensor
) -> Tensor:
    return _scale_and_shift(styled / scale_a[..., None, None] - shift_a[..., None, None], scale_b, shift_b)


@restyle.bug(
    "adds the second style on top of the first",
    fix="Remove the first style before you apply the second one.",
)
def first_style_kept(styled: Tensor, scale_a: Tensor, shift_a: Tensor, scale_b: Tensor, shift_b: Tensor) -> Tensor:
    return _scale_and_shift(styled, scale_b, shift_b)
