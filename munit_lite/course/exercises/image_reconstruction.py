"""Exercises of 05_image_reconstruction: which code holds the image, and what a decoder outputs when it must guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.adain_decoder import small_decoder
from munit_lite.course.exercises.framework import Input, exercise

Encode = Callable[[Tensor], Tensor]
Decode = Callable[[Tensor, Tensor], Tensor]

# ------------------------------------------------------------------------------------ which code holds the image


def small_encoders(generator: Generator, channels: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """A content encoder (B, C, h, w) -> (B, C, h, w) and a style encoder -> (B, C), with random weights."""
    content = nn.Conv2d(channels, channels, 1, dtype=dtype)
    style = nn.Conv2d(channels, channels, 1, dtype=dtype)
    for layer in (content, style):
        for parameter in layer.parameters():
            nn.init.normal_(parameter, generator=generator)
    return content, nn.Sequential(nn.AdaptiveAvgPool2d(1), style, nn.Flatten())


def exchange_cases(generator: Generator) -> Iterator[Input]:
    for label, x in inputs.feature_batches(generator):
        if label in ("large values", "far from zero"):  # no image
            continue
        yield Input(label, (*small_encoders(generator, x.shape[1], x.dtype), small_decoder, x))


def _differences(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    """Element [i, j] is the content of image i in the style of image j, minus image i: (B, B, C, H, W)."""
    content, style = encode_content(x), encode_style(x)
    rows = [[decode(content[i : i + 1], style[j : j + 1])[0] - x[i] for j in range(len(x))] for i in range(len(x))]
    return torch.stack([torch.stack(row) for row in rows])


@exercise(exchange_cases)
def exchange_matrix(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    difference = _differences(encode_content, encode_style, decode, x)
    return torch.where(difference < 0, -difference, difference).sum((2, 3, 4)) / x[0].numel()


@exchange_matrix.bug(
    "the differences have no absolute value, so that too dark and too light cancel",
    fix="Take the absolute value of each difference before the mean.",
    met="a summary of the paper, which leaves out the norm bars of equation 1",
)
def without_norm_bars(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return _differences(encode_content, encode_style, decode, x).mean((2, 3, 4))


@exchange_matrix.bug(
    "the differences are squared",
    fix="Equation 1 has the L1 norm: take absolute differences.",
)
def squared_differences(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return _differences(encode_content, encode_style, decode, x).square().mean((2, 3, 4))


@exchange_matrix.bug(
    "the rows of the result belong to the styles and the columns to the contents",
    fix="Element [i, j] has the content of image i and the style of image j. Look at the order in which you repeat "
    "the codes: `repeat_interleave` repeats each element, `repeat` the whole batch.",
)
def transposed(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    return exchange_matrix.reference(encode_content, encode_style, decode, x).T


@exchange_matrix.bug(
    "each output is compared with the image that gave the style",
    fix="Compare with the image that gave the content, x[i]. Then a row is constant if the style code is ignored.",
)
def compared_with_the_image_of_the_style(
    encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor
) -> Tensor:
    difference = _differences(encode_content, encode_style, decode, x) + x[:, None] - x[None]
    return difference.abs().mean((2, 3, 4))


@exchange_matrix.bug(
    "every content is decoded with the style of its own image, so that all columns are equal",
    fix="Decode every content with every style: only those off the diagonal show what the style code controls.",
)
def styles_not_exchanged(encode_content: Encode, encode_style: Encode, decode: Decode, x: Tensor) -> Tensor:
    errors = exchange_matrix.reference(encode_content, encode_style, decode, x)
    return errors.diagonal()[:, None].expand(-1, len(x))


# ------------------------------------------------------------------------------------------------- the best guess


def guess_cases(generator: Generator) -> Iterator[Input]:
    def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    def probabilities(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return sample(count, dtype=dtype).softmax(0)

    outlier = sample(5, 1, 2, 2)
    outlier[0] = 100.0
    cases = (
        ("one image", sample(1, 2, 1, 1), torch.ones(1)),
        ("three images", sample(3, 1, 1, 2), torch.tensor([0.45, 0.35, 0.2])),
        ("a majority", sample(3, 2, 1, 2), torch.tensor([0.2, 0.7, 0.1])),
        ("an even number", sample(4, 1, 2, 2), torch.tensor([0.21, 0.1, 0.31, 0.38])),
        ("an outlier", outlier, probabilities(5)),
        ("equal images", sample(1, 2, 3, 2).repeat(5, 1, 1, 1), probabilities(5)),
        ("an impossible image", sample(4, 2, 2, 2), torch.tensor([0.0, 0.15, 0.4, 0.45])),
        ("not contiguous", sample(7, 3, 2, 4).transpose(2, 3), probabilities(7)),
        ("float64", sample(9, 3, 2, 2, dtype=torch.float64), probabilities(9, torch.float64)),
    )
    for label, images, p in cases:
        for norm in (1, 2):
            yield Input(label, (images, p, norm))


@exercise(guess_cases)
def best_guess(images: Tensor, probabilities: Tensor, norm: int) -> Tensor:
    # The best of the N values of each pixel and channel: the expected loss is linear between two neighboring values.
    if norm == 2:
        return (probabilities[:, None, None, None] * images).sum(0) / probabilities.sum()
    errors = torch.einsum("n,nkchw->kchw", probabilities, (images[:, None] - images[None]).abs())
    return images.gather(0, errors.argmin(dim=0, keepdim=True))[0]


@best_guess.bug(
    "the mean is returned for L1 too",
    fix="The mean is best for squared errors. Ask how the expected L1 error of one pixel changes if the guess moves "
    "up a little: what is below the guess, and what above?",
)
def mean_for_both(images: Tensor, probabilities: Tensor, norm: int) -> Tensor:
    return best_guess.reference(images, probabilities, 2)


@best_guess.bug(
    "all images count equally, whatever their probability",
    fix="Weight each image by its probability, for both losses.",
)
def probabilities_ignored(images: Tensor, probabilities: Tensor, norm: int) -> Tensor:
    return images.median(0).values if norm == 1 else images.mean(0)


@best_guess.bug(
    "for L1, the most probable image is returned",
    fix="It is best only if its probability exceeds one half. Otherwise the images that differ from it outweigh it.",
)
def likeliest_image(images: Tensor, probabilities: Tensor, norm: int) -> Tensor:
    return images[probabilities.argmax()] if norm == 1 else best_guess.reference(images, probabilities, 2)


@best_guess.bug(
    "for L1, one whole image of the N is returned",
    fix="A decoder may combine them: choose the value of each pixel and channel separately.",
)
def whole_image(images: Tensor, probabilities: Tensor, norm: int) -> Tensor:
    if norm == 2:
        return best_guess.reference(images, probabilities, 2)
    distances = (images[:, None] - images[None]).abs().mean((2, 3, 4))
    return images[(probabilities @ distances).argmin()]
