"""Exercises of 04_adain_decoder: the parameters of AdaIN, its block, and styles between two styles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Case, Exercise
from munit_lite.course.exercises.normalization import right_adain

# -------------------------------------------------------------------------------- from the MLP's output to layers


def _split(flat: Tensor, blocks: int, channels: int) -> Tensor:
    """Oracle, element by element: row b holds block after block, in each shift 1, scale 1, shift 2, scale 2."""
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


def _split_cases(generator: Generator) -> Iterator[Case]:
    for blocks, channels in ((1, 1), (2, 3), (3, 2)):
        for label, flat in inputs.vectors(generator, blocks * 4 * channels):
            yield Case(label, (flat, blocks, channels))


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
    hidden = F.relu(right_adain(first(features), adain[:, 1], adain[:, 0]))
    return features + right_adain(second(hidden), adain[:, 3], adain[:, 2])


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
    hidden = right_adain(F.relu(first(features)), adain[:, 1], adain[:, 0])
    return features + right_adain(second(hidden), adain[:, 3], adain[:, 2])


def _block_cases(generator: Generator) -> Iterator[Case]:
    for label, features in inputs.features(generator):
        if label in ("large values", "far from zero"):  # the skip would drown what the layers make
            continue
        channels = features.shape[1]
        layers = [nn.Conv2d(channels, channels, 1, dtype=features.dtype) for _ in range(2)]
        for parameter in (p for layer in layers for p in layer.parameters()):
            nn.init.normal_(parameter, generator=generator)
        adain = torch.randn(len(features), 4, channels, generator=generator, dtype=features.dtype)
        yield Case(label, (*layers, features, adain))


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
    return torch.tanh(right_adain(content, style, style**2))


def _interpolation_cases(generator: Generator) -> Iterator[Case]:
    for label, content in inputs.features(generator):
        style_a, style_b = torch.randn(2, *content.shape[:2], generator=generator, dtype=content.dtype)
        for steps in (3, 4):
            yield Case(label, (small_decoder, content, style_a, style_b, steps))


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
