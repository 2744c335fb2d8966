"""Exercises of 02_content_encoder: tones after the norm, statistics taken apart, and how much a factor moves a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Input, exercise

EPS = 1e-5
Statistics = tuple[Tensor, Tensor, Tensor]
Encode = Callable[[Tensor], Tensor]

# ----------------------------------------------------------------------------------------------- tones after the norm


def tone_cases(generator: Generator) -> Iterator[Input]:
    def uniform(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(count, generator=generator, dtype=dtype)

    yield Input("a quarter inked", (torch.zeros(1), torch.ones(1), torch.full((1,), 0.25)))
    yield Input("ink lighter than paper", (torch.ones(2), torch.zeros(2), 0.1 + 0.4 * uniform(2)))
    yield Input("half inked", (0.3 * uniform(3), 0.7 + 0.3 * uniform(3), torch.full((3,), 0.5)))
    yield Input("thin line", (0.3 * uniform(4), 0.7 + 0.3 * uniform(4), 0.01 + 0.04 * uniform(4)))
    yield Input("any tones", (uniform(5), 2 + uniform(5), 0.1 + 0.8 * uniform(5)))
    double = torch.float64
    yield Input("float64", (uniform(6, double), 2 + uniform(6, double), 0.1 + 0.8 * uniform(6, double)))


@exercise(cases=tone_cases)
def tones_after_norm(ink: Tensor, paper: Tensor, fraction: Tensor) -> Tensor:
    odds = (fraction / (1 - fraction)).sqrt()
    polarity = (ink - paper).sign()
    return torch.stack([polarity / odds, -polarity * odds], dim=1)


def _normalize_tones(ink: Tensor, paper: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return torch.stack([(ink - mean) / std, (paper - mean) / std], dim=1)


@tones_after_norm.bug(
    "weights both tones equally in the mean",
    fix="The mean counts pixels: the ink has the weight `fraction`, the paper the rest.",
)
def unweighted_mean(ink: Tensor, paper: Tensor, fraction: Tensor) -> Tensor:
    std = (ink - paper).abs() * (fraction * (1 - fraction)).sqrt()
    return _normalize_tones(ink, paper, (ink + paper) / 2, std)


@tones_after_norm.bug(
    "divides by the variance of the tones",
    fix="Divide by the standard deviation. Otherwise the result still depends on the contrast.",
)
def variance_for_std(ink: Tensor, paper: Tensor, fraction: Tensor) -> Tensor:
    mean = fraction * ink + (1 - fraction) * paper
    return _normalize_tones(ink, paper, mean, (ink - paper).square() * fraction * (1 - fraction))


@tones_after_norm.bug(
    "takes half the contrast as the standard deviation, whatever the fraction",
    fix="Half the contrast is right only if half of the pixels are inked. Average the squared differences over pixels.",
)
def half_contrast(ink: Tensor, paper: Tensor, fraction: Tensor) -> Tensor:
    mean = fraction * ink + (1 - fraction) * paper
    return _normalize_tones(ink, paper, mean, (ink - paper).abs() / 2)


@tones_after_norm.bug(
    "loses the sign of the contrast, so that light ink on dark paper looks like dark ink on light paper",
    fix="The standard deviation is positive, so the norm keeps the sign of ink - paper.",
)
def lost_polarity(ink: Tensor, paper: Tensor, fraction: Tensor) -> Tensor:
    odds = (fraction / (1 - fraction)).sqrt()
    return torch.stack([-1 / odds, odds], dim=1)


# --------------------------------------------------------------------------------------------- statistics taken apart


def feature_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        yield Input(label, (features,))


def _split(features: Tensor, dims: tuple[int, ...] = (2, 3), less: int = 0) -> Statistics:
    count = 1
    for dim in dims:
        count *= features.shape[dim]
    mean = features.sum(dims, keepdim=True) / count
    variance = ((features - mean) ** 2).sum(dims, keepdim=True) / (count - less)
    std = (variance + EPS) ** 0.5
    return (features - mean) / std, mean, std


@exercise(cases=feature_cases, gradients=True)
def split_statistics(features: Tensor) -> Statistics:
    return _split(features)


@split_statistics.bug(
    "takes the statistics over the whole batch",
    fix="Each image has its own mean and standard deviation; otherwise its code depends on the rest of the batch.",
)
def over_the_batch(features: Tensor) -> Statistics:
    return _split(features, (0, 2, 3))


@split_statistics.bug(
    "shares one mean and standard deviation among all channels of an image",
    fix="Take them for each channel. Statistics of a whole sample are layer normalization.",
)
def over_the_channels(features: Tensor) -> Statistics:
    return _split(features, (1, 2, 3))


@split_statistics.bug(
    "divides the sum of squares by n - 1",
    fix="Divide by n (`correction=0`), so that a single pixel becomes 0 and not 0/0.",
)
def unbiased_std(features: Tensor) -> Statistics:
    return _split(features, less=1)


@split_statistics.bug(
    "returns a standard deviation other than the one that it divided by",
    fix="Return sqrt(variance + eps), so that normalized * std + mean gives back the features even if they are faint.",
)
def two_stds(features: Tensor) -> Statistics:
    normalized, mean, std = _split(features)
    return normalized, mean, (std**2 - EPS).clamp_min(0) ** 0.5


@split_statistics.bug(
    "normalizes with running buffers that were never filled, mean 0 and variance 1",
    fix="Instance normalization computes the statistics of each image anew, also in evaluation. It needs no buffers.",
    met="constructed; NVlabs/MUNIT carries such buffers in its batch-norm trick",
)
def running_buffers(features: Tensor) -> Statistics:
    flat = features.reshape(1, -1, *features.shape[2:])
    mean, variance = features.new_zeros(flat.shape[1]), features.new_ones(flat.shape[1])
    normalized = F.batch_norm(flat, mean, variance, training=False).view_as(features)
    shape = (*features.shape[:2], 1, 1)
    return normalized, mean.view(shape), (variance.view(shape) + EPS).sqrt()


# --------------------------------------------------------------------------------------- how much a factor moves a code


def effect_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, shape: tuple[int, ...], factors: int, dtype: torch.dtype = torch.float32) -> Input:
        encode = nn.Conv2d(shape[1], 3, 3, 2, 1, dtype=dtype)
        for parameter in encode.parameters():
            nn.init.normal_(parameter, generator=generator)

        def sample() -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        images = sample()
        changed = [images + 0.1 * (k + 1) * sample() for k in range(factors)]
        return Input(label, (encode, images, changed, sample()))

    yield case("one factor", (1, 1, 4, 4), 1)
    yield case("three factors", (2, 1, 6, 4), 3)
    yield case("color images", (3, 3, 6, 8), 2)
    yield case("float64", (4, 3, 8, 8), 3, torch.float64)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean()


@exercise(cases=effect_cases)
def relative_effect(encode: Encode, images: Tensor, changed: list[Tensor], other_content: Tensor) -> Tensor:
    code = encode(images)
    unit = (encode(other_content) - code).abs().sum()
    return torch.stack([(encode(images_k) - code).abs().sum() / unit for images_k in changed])


@relative_effect.bug(
    "compares the images instead of their codes",
    fix="Encode first. The question is what reaches the code.",
)
def effect_on_images(encode: Encode, images: Tensor, changed: list[Tensor], other_content: Tensor) -> Tensor:
    return torch.stack([_distance(x, images) / _distance(other_content, images) for x in changed])


@relative_effect.bug(
    "lets positive and negative differences cancel",
    fix="Take the absolute difference of each element before the mean. A normalized channel has mean 0 in any case.",
)
def signed_differences(encode: Encode, images: Tensor, changed: list[Tensor], other_content: Tensor) -> Tensor:
    code = encode(images)
    unit = (encode(other_content) - code).mean()
    return torch.stack([(encode(x) - code).mean() / unit for x in changed])


@relative_effect.bug(
    "divides by the size of the code, not by the effect of other content",
    fix="Divide by the mean absolute difference between the codes of `other_content` and of `images`.",
)
def relative_to_the_code(encode: Encode, images: Tensor, changed: list[Tensor], other_content: Tensor) -> Tensor:
    code = encode(images)
    return torch.stack([_distance(encode(x), code) / code.abs().mean() for x in changed])


@relative_effect.bug(
    "compares the mean code of one batch with the mean code of the other",
    fix="Compare each image with its own changed version, then average: means hide what single codes do.",
)
def means_over_the_batch(encode: Encode, images: Tensor, changed: list[Tensor], other_content: Tensor) -> Tensor:
    code = encode(images).mean((0, 2, 3))
    unit = _distance(encode(other_content).mean((0, 2, 3)), code)
    return torch.stack([_distance(encode(x).mean((0, 2, 3)), code) / unit for x in changed])
