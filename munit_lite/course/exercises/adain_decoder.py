"""Exercises of 04_adain_decoder: AdaIN, its parameters, the residual block, and interpolation between two styles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Exercise, Input

# -------------------------------------------------------------------------------------------------------- AdaIN


def _over(features: Tensor, scale: Tensor, shift: Tensor, dims: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """Reference: normalize over some dimensions, then scale and shift each channel of each sample."""
    mean = features.mean(dims, keepdim=True)
    variance = ((features - mean) ** 2).mean(dims, keepdim=True)
    return scale[..., None, None] * (features - mean) / (variance + eps) ** 0.5 + shift[..., None, None]


def reference_adain(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (2, 3))


def _scale_and_shift_swapped(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return reference_adain(features, shift, scale)


def _batch_statistics(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (0, 2, 3))


def _layer_statistics(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (1, 2, 3))


def _one_plus_scale(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return reference_adain(features, 1 + scale, shift)


def _not_normalized(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return scale[..., None, None] * features + shift[..., None, None]


def _divided_by_variance(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True)
    variance = features.var((2, 3), keepdim=True, correction=0)
    return scale[..., None, None] * (features - mean) / (variance + 1e-5) + shift[..., None, None]


def _unbiased(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, variance = features.mean((2, 3), keepdim=True), features.var((2, 3), keepdim=True)
    return scale[..., None, None] * (features - mean) / (variance + 1e-5).sqrt() + shift[..., None, None]


def _no_epsilon(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _over(features, scale, shift, (2, 3), eps=0)


def _epsilon_outside(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True)
    deviation = features.std((2, 3), keepdim=True, correction=0)
    return scale[..., None, None] * (features - mean) / (deviation + 1e-5) + shift[..., None, None]


def _detached(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean((2, 3), keepdim=True).detach()
    variance = features.var((2, 3), keepdim=True, correction=0).detach()
    return scale[..., None, None] * (features - mean) / (variance + 1e-5).sqrt() + shift[..., None, None]


def _half_precision(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return reference_adain(features.half(), scale, shift).to(features.dtype)


def _adain_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        scale, shift = torch.randn(2, *features.shape[:2], generator=generator, dtype=features.dtype)
        yield Input(label, (features, scale, shift))


adain = Exercise(
    "adain",
    reference_adain,
    _adain_cases,
    (
        Bug(
            "adain-scale-for-shift",
            _scale_and_shift_swapped,
            "scale and shift have changed places",
            "The scale γ multiplies the normalized features, the shift β is added.",
        ),
        Bug(
            "adain-batch-statistics",
            _batch_statistics,
            "mean and deviation are taken over the batch as well, as Batch Norm does",
            "Each sample has its own statistics: take them over height and width, dimensions 2 and 3. "
            "Else one image's style leaks into its neighbors.",
        ),
        Bug(
            "adain-layer-statistics",
            _layer_statistics,
            "mean and deviation are taken over the channels as well, as Layer Norm does",
            "Each channel has its own statistics: take them over height and width alone.",
        ),
        Bug(
            "adain-one-plus-scale",
            _one_plus_scale,
            "the features are multiplied by 1 + scale",
            "The paper multiplies by the scale itself; 1 + γ is the convention of other papers, and weights "
            "trained with one do not fit the other.",
        ),
        Bug(
            "adain-not-normalized",
            _not_normalized,
            "the features are scaled and shifted but never normalized",
            "Subtract each channel's mean and divide by its deviation first; else the content's own contrast stays "
            "beside the style's.",
        ),
        Bug(
            "adain-variance-for-deviation",
            _divided_by_variance,
            "the features are divided by the variance",
            "Divide by the deviation, the square root of the variance.",
        ),
        Bug(
            "adain-unbiased",
            _unbiased,
            "the variance divides by n − 1",
            "Instance Norm divides by n (`correction=0`); with n − 1 a channel of one pixel is 0/0.",
        ),
        Bug(
            "adain-no-epsilon",
            _no_epsilon,
            "nothing keeps the deviation away from zero",
            "Add eps = 1e-5 to the variance, under the root: a constant channel is 0/0 without it.",
        ),
        Bug(
            "adain-epsilon-outside",
            _epsilon_outside,
            "eps is added to the deviation, outside the root",
            "Instance Norm adds it to the variance, under the root. Faint features show the difference.",
        ),
        Bug(
            "adain-detached-statistics",
            _detached,
            "mean and deviation are cut out of the gradient",
            "The values are right, the gradient is not: let it flow through the statistics too, or training pushes "
            "features in directions that the norm then removes.",
        ),
        Bug(
            "adain-half-precision",
            _half_precision,
            "the statistics are computed in half precision",
            "Keep mean and variance in float32 at least: 16 bits lose features that are far from zero.",
            "NVlabs/MUNIT: statistics in low precision",
        ),
    ),
    compare_gradients=True,
)


# -------------------------------------------------------------------------------- from the MLP's output to layers


def _split(flat: Tensor, blocks: int, channels: int) -> Tensor:
    """Reference, element by element: row b holds block after block, in each shift 1, scale 1, shift 2, scale 2."""
    batch = len(flat)
    out = flat.new_zeros(batch, blocks, 4, channels)
    for block in range(blocks):
        for part in range(4):
            start = (4 * block + part) * channels
            out[:, block, part] = flat[:, start : start + channels]
    return out


def _shared(flat: Tensor, blocks: int, channels: int) -> Tensor:
    return flat[:, : 4 * channels].reshape(len(flat), 1, 4, channels).repeat(1, blocks, 1, 1)


def _scale_first(flat: Tensor, blocks: int, channels: int) -> Tensor:
    return flat.reshape(len(flat), blocks, 4, channels)[:, :, [1, 0, 3, 2]]


def _interleaved(flat: Tensor, blocks: int, channels: int) -> Tensor:
    return flat.reshape(len(flat), blocks, channels, 4).transpose(2, 3)


def _batch_mixed(flat: Tensor, blocks: int, channels: int) -> Tensor:
    return flat.reshape(blocks, len(flat), 4, channels).transpose(0, 1)


def _split_cases(generator: Generator) -> Iterator[Input]:
    for blocks, channels in ((1, 1), (2, 3), (3, 2)):
        for label, flat in inputs.vector_batches(generator, blocks * 4 * channels):
            yield Input(label, (flat, blocks, channels))


adain_parameters = Exercise(
    "adain_parameters",
    _split,
    _split_cases,
    (
        Bug(
            "parameters-shared-by-all-blocks",
            _shared,
            "every block gets the first block's parameters",
            "Each AdaIN layer has its own scale and shift: all blocks × 4 × channels numbers of the MLP are used.",
            "taki0112/MUNIT-Tensorflow #12 (as reported)",
        ),
        Bug(
            "parameters-scale-first",
            _scale_first,
            "in each layer the scale comes before the shift",
            "Each layer's shift comes first. Trained from scratch both orders work; published weights fit one.",
        ),
        Bug(
            "parameters-interleaved",
            _interleaved,
            "the four kinds alternate number by number",
            "The first `channels` numbers are the first layer's shift, the next its scale, and so on: "
            "view as (B, blocks, 4, channels).",
        ),
        Bug(
            "parameters-mixed-over-the-batch",
            _batch_mixed,
            "numbers of one image end up in another image's parameters",
            "Row b of the MLP's output belongs to image b: keep the batch as the first dimension of the view.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------- the AdaIN block

Layer = Callable[[Tensor], Tensor]


def _block(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    hidden = F.relu(reference_adain(first(features), adain[:, 1], adain[:, 0]))
    return features + reference_adain(second(hidden), adain[:, 3], adain[:, 2])


def _style_ignored(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    one, zero = torch.ones_like(adain[:, 0]), torch.zeros_like(adain[:, 0])
    return _block(first, second, features, torch.stack([zero, one, zero, one], dim=1))


def _no_skip(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    return _block(first, second, features, adain) - features


def _relu_after_sum(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    return F.relu(_block(first, second, features, adain))


def _first_layer_twice(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    return _block(first, second, features, adain[:, [0, 1, 0, 1]])


def _relu_before_adain(first: Layer, second: Layer, features: Tensor, adain: Tensor) -> Tensor:
    hidden = reference_adain(F.relu(first(features)), adain[:, 1], adain[:, 0])
    return features + reference_adain(second(hidden), adain[:, 3], adain[:, 2])


def _block_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        if label in ("large values", "far from zero"):  # the skip would drown what the layers make
            continue
        channels = features.shape[1]
        layers = [nn.Conv2d(channels, channels, 1, dtype=features.dtype) for _ in range(2)]
        for parameter in (p for layer in layers for p in layer.parameters()):
            nn.init.normal_(parameter, generator=generator)
        adain = torch.randn(len(features), 4, channels, generator=generator, dtype=features.dtype)
        yield Input(label, (*layers, features, adain))


adain_block = Exercise(
    "adain_block",
    _block,
    _block_cases,
    (
        Bug(
            "block-style-ignored",
            _style_ignored,
            "the block normalizes but never uses the style's scale and shift",
            "Give `adain` on to both layers. Else every style gives the same image, and each alone may look good.",
            "vliu15/munit: AdaIN never applied",
        ),
        Bug(
            "block-without-skip",
            _no_skip,
            "the features that came in are not added at the end",
            "A residual block returns features + what its layers made of them.",
        ),
        Bug(
            "block-relu-after-sum",
            _relu_after_sum,
            "there is a ReLU after the sum",
            "The block ends with the sum; a ReLU there would forbid negative features.",
        ),
        Bug(
            "block-first-layer-twice",
            _first_layer_twice,
            "the second layer uses the first layer's shift and scale",
            "`adain[:, 0]` and `adain[:, 1]` are the first layer's shift and scale, `adain[:, 2]` and `adain[:, 3]` "
            "the second's.",
        ),
        Bug(
            "block-relu-before-adain",
            _relu_before_adain,
            "the ReLU comes before AdaIN",
            "Convolution, then AdaIN, then ReLU: so the shift decides how much of a channel the ReLU lets through.",
        ),
    ),
)

# -------------------------------------------------------------------------------------------- between two styles

Decode = Callable[[Tensor, Tensor], Tensor]


def _interpolate(decode: Decode, content: Tensor, style_a: Tensor, style_b: Tensor, steps: int) -> Tensor:
    images = []
    for step in range(steps):
        share = step / (steps - 1)
        images.append(decode(content, style_a + share * (style_b - style_a)))
    return torch.stack(images)


def _pixels_blended(decode: Decode, content: Tensor, style_a: Tensor, style_b: Tensor, steps: int) -> Tensor:
    ends = decode(content, style_a), decode(content, style_b)
    return torch.stack([ends[0] + k / (steps - 1) * (ends[1] - ends[0]) for k in range(steps)])


def _end_left_out(decode: Decode, content: Tensor, style_a: Tensor, style_b: Tensor, steps: int) -> Tensor:
    return torch.stack([decode(content, style_a + k / steps * (style_b - style_a)) for k in range(steps)])


def _backwards(decode: Decode, content: Tensor, style_a: Tensor, style_b: Tensor, steps: int) -> Tensor:
    return _interpolate(decode, content, style_b, style_a, steps)


def small_decoder(content: Tensor, style: Tensor) -> Tensor:
    """A decoder of two lines: (B, C, h, w) and (B, C) -> (B, C, h, w); not linear in the style."""
    return torch.tanh(reference_adain(content, style, style**2))


def _interpolation_cases(generator: Generator) -> Iterator[Input]:
    for label, content in inputs.feature_batches(generator):
        style_a, style_b = torch.randn(2, *content.shape[:2], generator=generator, dtype=content.dtype)
        for steps in (3, 4):
            yield Input(label, (small_decoder, content, style_a, style_b, steps))


interpolate = Exercise(
    "interpolate",
    _interpolate,
    _interpolation_cases,
    (
        Bug(
            "interpolation-of-pixels",
            _pixels_blended,
            "two images are blended, not two styles",
            "Mix the codes, then decode each mixture: a blend of pixels shows both styles at once, like a double "
            "exposure.",
        ),
        Bug(
            "interpolation-without-its-end",
            _end_left_out,
            "the last image does not reach the second style",
            "The shares run from 0 to 1, both included: step / (steps − 1).",
        ),
        Bug(
            "interpolation-backwards",
            _backwards,
            "it starts at the second style and ends at the first",
            "The first image has `style_a`, the last one `style_b`.",
        ),
    ),
)
