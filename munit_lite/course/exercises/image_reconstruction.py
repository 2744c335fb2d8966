"""Exercises of 05_image_reconstruction: the image loss, what L1 and L2 paint, and pictures for files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.adain_decoder import small_decoder
from munit_lite.course.exercises.framework import Bug, Exercise, Input

Encode = Callable[[Tensor], Tensor]
Decode = Callable[[Tensor, Tensor], Tensor]

# ---------------------------------------------------------------------------------------------------- the image loss


def _recon(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return decode(encode_content(x), encode_style(x))


def _image_term(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    difference = _recon(encode_content, encode_style, decode, x) - x
    return torch.where(difference < 0, -difference, difference).sum() / x.numel()


def _squared(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return (_recon(encode_content, encode_style, decode, x) - x).square().mean()


def _summed(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return (_recon(encode_content, encode_style, decode, x) - x).abs().sum()


def _without_bars(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return (_recon(encode_content, encode_style, decode, x) - x).mean()


def _neighbors_style(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return (decode(encode_content(x), encode_style(x).roll(1, 0)) - x).abs().mean()


def _zero_style(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return (decode(encode_content(x), torch.zeros_like(encode_style(x))) - x).abs().mean()


def _detached(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return (_recon(encode_content, encode_style, decode, x).detach() - x).abs().mean()


def small_encoders(generator: Generator, channels: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """A content encoder (B, C, h, w) -> (B, C, h, w) and a style encoder -> (B, C), with random weights."""
    content = nn.Conv2d(channels, channels, 1, dtype=dtype)
    style = nn.Conv2d(channels, channels, 1, dtype=dtype)
    for layer in (content, style):
        for parameter in layer.parameters():
            nn.init.normal_(parameter, generator=generator)
    return content, nn.Sequential(nn.AdaptiveAvgPool2d(1), style, nn.Flatten())


def _image_cases(generator: Generator) -> Iterator[Input]:
    for label, x in inputs.feature_batches(generator):
        if label in ("large values", "far from zero"):  # no image
            continue
        yield Input(label, (*small_encoders(generator, x.shape[1], x.dtype), small_decoder, x))


image_term = Exercise(
    "image_term",
    _image_term,
    _image_cases,
    (
        Bug(
            "image-loss-squared",
            _squared,
            "the differences are squared",
            "Equation 1 has the L1 norm: absolute differences. Squares paint the mean of what a code leaves open.",
        ),
        Bug(
            "image-loss-summed",
            _summed,
            "the differences are summed, not averaged",
            "Take the mean over images, channels and pixels, so that the weight 10 means the same at every size.",
        ),
        Bug(
            "image-loss-without-bars",
            _without_bars,
            "there are no absolute values, so that too dark and too light cancel",
            "Take the absolute value of each difference before the mean.",
            "the summary of the paper that this course grew from",
        ),
        Bug(
            "image-loss-neighbors-style",
            _neighbors_style,
            "each content is decoded with the style of another image of the batch",
            "Content and style are those of the same image: row b with row b.",
        ),
        Bug(
            "image-loss-zero-style",
            _zero_style,
            "the decoder gets a style of zeros",
            "Decode with the style of the image itself; without it the style encoder learns nothing from this loss.",
        ),
        Bug(
            "image-loss-detached",
            _detached,
            "the reconstruction is cut out of the gradient",
            "The value is right, but no network learns from it: let the gradient flow through decoder and encoders.",
        ),
    ),
    compare_gradients=True,
)

# ------------------------------------------------------------------------------------------- what L1 and L2 paint


def _best_guess(images: Tensor, norm: int) -> Tensor:
    if norm == 1:
        return images.sort(dim=0).values[len(images) // 2]
    return images.sum(0) / len(images)


def _always_mean(images: Tensor, norm: int) -> Tensor:
    return images.mean(0)


def _exchanged(images: Tensor, norm: int) -> Tensor:
    return _best_guess(images, 3 - norm)


def _half_way(images: Tensor, norm: int) -> Tensor:
    return (images.amax(0) + images.amin(0)) / 2 if norm == 1 else images.mean(0)


def _channels_together(images: Tensor, norm: int) -> Tensor:
    gray = images.mean(1, keepdim=True)
    return (_best_guess(gray, 1) if norm == 1 else images.mean(0)).expand(images.shape[1:])


def _one_of_them(images: Tensor, norm: int) -> Tensor:
    """The picture among them with the smallest mean distance to all."""
    distance = ((images[:, None] - images[None]).abs() ** norm).mean((1, 2, 3, 4))
    return images[distance.argmin()] if norm == 1 else images.mean(0)


def _guess_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    outlier = draw(5, 1, 2, 2)
    outlier[0] = 1000.0
    pictures = (
        ("one picture", draw(1, 2, 1, 1)),
        ("three pictures", draw(3, 1, 1, 2)),
        ("an outlier", outlier),
        ("all alike", draw(1, 2, 3, 2).repeat(5, 1, 1, 1)),
        ("not contiguous", draw(7, 3, 2, 4).transpose(2, 3)),
        ("float64", draw(9, 3, 2, 2, dtype=torch.float64)),
    )
    for label, images in pictures:
        for norm in (1, 2):
            yield Input(label, (images, norm))


best_guess = Exercise(
    "best_guess",
    _best_guess,
    _guess_cases,
    (
        Bug(
            "guess-always-mean",
            _always_mean,
            "the mean is returned for L1 too",
            "The mean is best for L2. For L1 it is the median: moving the guess past an image changes the sum only by "
            "how many images lie on each side.",
        ),
        Bug(
            "guess-norms-exchanged",
            _exchanged,
            "median and mean have changed places",
            "L1, norm 1, has the median; L2, norm 2, the mean.",
        ),
        Bug(
            "guess-half-way",
            _half_way,
            "for L1 it lies half way between the darkest and the lightest",
            "That minimizes the largest difference, not the mean one: the median does.",
        ),
        Bug(
            "guess-channels-together",
            _channels_together,
            "for L1 the channels are averaged before the vote",
            "Every channel of every pixel is chosen alone.",
        ),
        Bug(
            "guess-one-of-them",
            _one_of_them,
            "for L1 a whole picture among them is returned",
            "A decoder may mix: each pixel takes its own median, even if no single picture looks like the result.",
        ),
    ),
)

# ----------------------------------------------------------------------------------------------- pictures for files


def _to_picture(images: Tensor) -> Tensor:
    return (images * 0.5 + 0.5).minimum(images.new_ones(())).maximum(images.new_zeros(()))


def _stretched(images: Tensor) -> Tensor:
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp_min(1e-5)


def _stretched_together(images: Tensor) -> Tensor:
    return (images - images.min()) / (images.max() - images.min()).clamp_min(1e-5)


def _not_shifted(images: Tensor) -> Tensor:
    return images.clamp(0, 1)


def _not_clamped(images: Tensor) -> Tensor:
    return (images + 1) / 2


def _squashed(images: Tensor) -> Tensor:
    return torch.sigmoid(images)


def _picture_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        scale = 0.5 if label in ("one pixel", "faint", "batch of one") else 1.2
        yield Input(label, (torch.tanh(features) * scale,))


to_picture = Exercise(
    "to_picture",
    _to_picture,
    _picture_cases,
    (
        Bug(
            "picture-stretched",
            _stretched,
            "each picture is stretched from its own darkest to its own lightest value",
            "The same rule for every picture, (x + 1) / 2: tone and contrast are style, and measured later.",
            "NVlabs/MUNIT, test script: save_image(normalize=True)",
        ),
        Bug(
            "picture-stretched-over-the-batch",
            _stretched_together,
            "the batch is stretched from its darkest to its lightest value",
            "The same rule for every picture, (x + 1) / 2: else a picture depends on its neighbors in the batch.",
        ),
        Bug(
            "picture-not-shifted",
            _not_shifted,
            "negative values become black",
            "−1 is black and 1 is white: shift and halve before cutting off.",
        ),
        Bug(
            "picture-not-clamped",
            _not_clamped,
            "values above 1 and below −1 are not cut off",
            "Cut off at 0 and 1: a file's bytes would wrap around, and white would become black.",
        ),
        Bug(
            "picture-sigmoid",
            _squashed,
            "a sigmoid squeezes the tones",
            "The map is linear, (x + 1) / 2: white must become 1, not 0.73.",
        ),
    ),
)
