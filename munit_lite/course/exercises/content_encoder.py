"""Exercises of 02_content_encoder: tones after the norm, a norm without sign, and how much a factor moves a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Input, exercise

EPS = 1e-5
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


# ------------------------------------------------------------------------------------- a norm that removes the sign


def feature_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        yield Input(label, (features,))
    checkerboard = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    yield Input("symmetric channels", (torch.stack([checkerboard, 1 - checkerboard])[None],))
    skewed = torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64) ** 4
    yield Input("skewed to the left", (-skewed,))
    skewed[:, 1] *= -1
    yield Input("skewed to both sides", (skewed,))


def _normalize(features: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    count = 1
    for dim in dims:
        count *= features.shape[dim]
    centered = features - features.sum(dims, keepdim=True) / count
    return centered / (centered.square().sum(dims, keepdim=True) / count + EPS) ** 0.5


def _flip(normalized: Tensor, moment: Tensor) -> Tensor:
    return normalized * (1 - 2 * (moment < 0).to(normalized))


@exercise(cases=feature_cases)
def sign_free_norm(features: Tensor) -> Tensor:
    normalized = _normalize(features)
    return _flip(normalized, (normalized**3).sum((2, 3), keepdim=True))


@sign_free_norm.bug(
    "takes the absolute value of the normalized features",
    fix="Flip whole channels. The absolute value also makes light and dark details of one image equal.",
)
def absolute_value(features: Tensor) -> Tensor:
    return _normalize(features).abs()


@sign_free_norm.bug(
    "sets channels to zero whose third moment is zero",
    fix="`sign` of 0 is 0. Multiply by -1 where the third moment is negative and by 1 everywhere else.",
)
def sign_of_zero(features: Tensor) -> Tensor:
    normalized = _normalize(features)
    return normalized * (normalized**3).mean((2, 3), keepdim=True).sign()


@sign_free_norm.bug(
    "flips all channels of an image together",
    fix="Decide for each channel. Other colors may invert the contrast of some channels and not of others.",
)
def one_sign_per_image(features: Tensor) -> Tensor:
    normalized = _normalize(features)
    return _flip(normalized, (normalized**3).mean((1, 2, 3), keepdim=True))


@sign_free_norm.bug(
    "takes the third moment before it subtracts the mean",
    fix="Normalize first. The cubes of features that are all positive have a positive mean, whatever their contrast.",
)
def raw_moment(features: Tensor) -> Tensor:
    return _flip(_normalize(features), (features**3).mean((2, 3), keepdim=True))


@sign_free_norm.bug(
    "takes the statistics over the whole batch",
    fix="Each image has its own mean and standard deviation; otherwise its code depends on the rest of the batch.",
)
def over_the_batch(features: Tensor) -> Tensor:
    normalized = _normalize(features, (0, 2, 3))
    return _flip(normalized, (normalized**3).mean((2, 3), keepdim=True))


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
