"""Exercises of 03_style_encoder: global pooling, the style encoder, leaks on held-out rows, numbers that are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Exercise, Input

# ------------------------------------------------------------------------------------------- global average pooling


def _pooled(features: Tensor) -> Tensor:
    """Reference, pixel by pixel: their sum over their number."""
    height, width = features.shape[2:]
    total = torch.zeros_like(features[:, :, 0, 0])
    for row in range(height):
        for column in range(width):
            total = total + features[:, :, row, column]
    return total / (height * width)


def _maximum(features: Tensor) -> Tensor:
    return features.amax((2, 3))


def _sum(features: Tensor) -> Tensor:
    return features.sum((2, 3))


def _over_channels(features: Tensor) -> Tensor:
    return features.mean(1)


def _over_the_batch(features: Tensor) -> Tensor:
    return features.mean((0, 2, 3)).expand(features.shape[:2])


def _dimensions_kept(features: Tensor) -> Tensor:
    return features.mean((2, 3), keepdim=True)


def _middle_pixel(features: Tensor) -> Tensor:
    return features[:, :, features.shape[2] // 2, features.shape[3] // 2]


def _pooled_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        yield Input(label, (features,))


global_pool = Exercise(
    "global_pool",
    _pooled,
    _pooled_cases,
    (
        Bug(
            "pool-maximum",
            _maximum,
            "the largest pixel is returned, not the mean",
            "The mean says how much there is in the whole image; the maximum hears one pixel alone, and so does the "
            "gradient.",
        ),
        Bug(
            "pool-sum",
            _sum,
            "the pixels are added up, not averaged",
            "Divide by their number: else an image twice as large has features four times as large.",
        ),
        Bug(
            "pool-over-channels",
            _over_channels,
            "the mean is taken over the channels: a map is left",
            "The mean over height and width, dimensions 2 and 3, leaves one number for each channel.",
        ),
        Bug(
            "pool-over-the-batch",
            _over_the_batch,
            "the mean is taken over the batch as well, so that all images get the same style",
            "Each image has its own style: dimensions 2 and 3 alone.",
        ),
        Bug(
            "pool-dimensions-kept",
            _dimensions_kept,
            "height and width stay behind as dimensions of length 1",
            "(B, C) is asked for: without `keepdim`, or `flatten(1)` afterwards.",
        ),
        Bug(
            "pool-middle-pixel",
            _middle_pixel,
            "one pixel, the one in the middle, stands for all",
            "All pixels count alike; a single one says what is at one place.",
        ),
    ),
    compare_gradients=True,
)

# ---------------------------------------------------------------------------------------------- the style encoder


def _padded(image: Tensor, conv: nn.Conv2d, mode: str = "reflect") -> Tensor:
    return F.pad(image, [(int(conv.kernel_size[0]) - 1) // 2] * 4, mode=mode)


def _style_code(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    for conv in convs:
        image = conv(_padded(image, conv)).clamp_min(0)
    return head(image.sum((2, 3)) / (image.shape[2] * image.shape[3]))


def _instance_normed(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    for conv in convs:
        image = F.relu(F.instance_norm(conv(_padded(image, conv))))
    return head(image.mean((2, 3)))


def _zero_padding(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    for conv in convs:
        image = F.relu(conv(_padded(image, conv, "constant")))
    return head(image.mean((2, 3)))


def _positive_code(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    return F.relu(_style_code(convs, head, image))


def _linear(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    for conv in convs:
        image = conv(_padded(image, conv))
    return head(image.mean((2, 3)))


def _last_one_linear(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    *first, last = convs
    for conv in first:
        image = F.relu(conv(_padded(image, conv)))
    return head(last(_padded(image, last)).mean((2, 3)))


def _pooled_by_maximum(convs: Iterable[nn.Conv2d], head: nn.Linear, image: Tensor) -> Tensor:
    for conv in convs:
        image = F.relu(conv(_padded(image, conv)))
    return head(image.amax((2, 3)))


def _style_code_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    constant = torch.full((2, 3, 8, 8), 0.3)
    images = [
        ("batch of one", draw(1, 3, 8, 8)),
        ("constant image", constant),
        ("higher than wide", draw(2, 3, 16, 8)),
        ("large values", 100 * draw(2, 3, 8, 8)),
        ("not contiguous", draw(2, 3, 12, 8).transpose(2, 3)),
        ("float64", draw(2, 3, 8, 8, dtype=torch.float64)),
    ]
    for label, image in images:
        convs = nn.ModuleList([nn.Conv2d(3, 4, 7), nn.Conv2d(4, 6, 4, 2), nn.Conv2d(6, 5, 4, 2)])
        head = nn.Linear(5, 3)
        for parameter in (*convs.parameters(), *head.parameters()):
            nn.init.normal_(parameter, std=0.3, generator=generator)
        yield Input(label, (convs.to(image.dtype), head.to(image.dtype), image))


style_code = Exercise(
    "style_code",
    _style_code,
    _style_code_cases,
    (
        Bug(
            "style-encoder-instance-norm",
            _instance_normed,
            "there is Instance Norm behind each convolution",
            "The style encoder has no norm: mean and deviation of a channel are what carries tone and color.",
        ),
        Bug(
            "style-encoder-zero-padding",
            _zero_padding,
            "the borders are padded with zeros",
            "Reflect them, as the encoders do: a gray frame round every image is nothing that its style should hold.",
        ),
        Bug(
            "style-encoder-relu-on-the-code",
            _positive_code,
            "there is a ReLU on the code itself",
            "The last layer is linear: half of all numbers from N(0, 1) are negative.",
        ),
        Bug(
            "style-encoder-without-relu",
            _linear,
            "there is no ReLU anywhere",
            "A ReLU follows each convolution: else the encoder is one linear map, and sees little but the mean of the "
            "image.",
        ),
        Bug(
            "style-encoder-last-relu-left-out",
            _last_one_linear,
            "the last convolution has no ReLU behind it",
            "Each convolution has one, the last as well: the mean of what a filter *finds* is pooled, not the mean of "
            "finds and misses that cancel.",
        ),
        Bug(
            "style-encoder-maximum-pool",
            _pooled_by_maximum,
            "the largest pixel of each channel is pooled, not the mean",
            "Global *average* pooling: `mean` over height and width.",
        ),
    ),
    compare_gradients=True,
)

# --------------------------------------------------------------------------------------- leaks, on held-out rows


def _fitted(codes: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
    """Least squares with a constant, through the singular values of the centered codes."""
    mean, level = codes.mean(0), target.mean()
    weights = torch.linalg.pinv(codes - mean) @ (target - level)
    return lambda rows: level + (rows - mean) @ weights


def _share(guess: Tensor, truth: Tensor) -> Tensor:
    return 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


def _leakage(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return _share(_fitted(codes[:half], target[:half])(codes[half:]), target[half:])


def _on_training_rows(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return _share(_fitted(codes[:half], target[:half])(codes[:half]), target[:half])


def _test_rows_in_training(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return _share(_fitted(codes, target)(codes[half:]), target[half:])


def _without_a_constant(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    weights = torch.linalg.pinv(codes[:half]) @ target[:half]
    return _share(codes[half:] @ weights, target[half:])


def _correlation(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    guess = _fitted(codes[:half], target[:half])(codes[half:])
    return torch.corrcoef(torch.stack([guess, target[half:]]))[0, 1] ** 2


def _never_negative(codes: Tensor, target: Tensor) -> Tensor:
    return _leakage(codes, target).clamp_min(0)


def _error_itself(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return 1 - ((target[half:] - _fitted(codes[:half], target[:half])(codes[half:])) ** 2).mean()


def _leakage_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    codes = draw(12, 2)
    yield Input("it tells nothing", (codes, draw(12)))
    yield Input("an odd number of rows", (draw(13, 1), draw(13)))
    yield Input("it tells all", (codes, codes @ torch.tensor([2.0, -1.0]) + 3))
    codes = draw(30, 3)
    yield Input("it tells a part", (codes, codes[:, 0] + draw(30)))
    yield Input("far from zero", (codes + 10, 100 + codes[:, 1] + draw(30)))
    yield Input("not contiguous", (draw(3, 24).T, draw(24)))
    yield Input("float64", (draw(24, 4, dtype=torch.float64), draw(24, dtype=torch.float64)))


leakage = Exercise(
    "leakage",
    _leakage,
    _leakage_cases,
    (
        Bug(
            "leakage-on-training-rows",
            _on_training_rows,
            "the guesses are judged on the rows that they were fitted on",
            "Judge them on the second half alone: fitted rows are guessed well even from pure noise, the better the "
            "longer the code is.",
        ),
        Bug(
            "leakage-test-rows-in-training",
            _test_rows_in_training,
            "the rows that judge were also fitted",
            "Fit on the first half alone. What is tested must not have been trained on.",
            "eriklindernoren/PyTorch-GAN: test files added to training",
        ),
        Bug(
            "leakage-without-a-constant",
            _without_a_constant,
            "the guess has no constant term",
            "Add a column of ones, or center codes and target with the means of the first half.",
        ),
        Bug(
            "leakage-correlation",
            _correlation,
            "it is the squared correlation of guess and truth",
            "The correlation forgives a wrong size, level and sign of the guess. R² = 1 − squared error / variance "
            "does not, and may be negative.",
        ),
        Bug(
            "leakage-never-negative",
            _never_negative,
            "negative values are cut off at 0",
            "Leave them: below 0 the guess is worse than the mean, and averages over cut values report a leak that is "
            "none.",
        ),
        Bug(
            "leakage-error-not-a-share",
            _error_itself,
            "the squared error is not divided by the variance of the target",
            "Divide by it: a share does not depend on the unit.",
        ),
    ),
)

# ------------------------------------------------------------------------------------ how many numbers are shown

Decode = Callable[[Tensor], Tensor]


def _jacobian(decode: Decode, style: Tensor) -> Tensor:
    """(pixels, S), one row of gradients a pixel."""
    style = style.detach().clone().requires_grad_(True)
    rows = [torch.autograd.grad(pixel, style, retain_graph=True)[0] for pixel in decode(style).flatten()]
    return torch.stack(rows)


def _lengths(decode: Decode, style: Tensor) -> Tensor:
    """How much the image moves along each of S orthogonal directions: roots of the eigenvalues of JᵀJ."""
    jacobian = _jacobian(decode, style).double()
    return torch.linalg.eigvalsh(jacobian.T @ jacobian).clamp_min(0).sqrt()


def _shown_numbers(decode: Decode, style: Tensor, least: float) -> int:
    return int((_lengths(decode, style) > least).sum())


def _coordinates(decode: Decode, style: Tensor, least: float) -> int:
    return int((_jacobian(decode, style).norm(dim=0) > least).sum())


def _every_trace(decode: Decode, style: Tensor, least: float) -> int:
    lengths = _lengths(decode, style)
    return int((lengths > 1e-5 * lengths.max()).sum())


def _of_the_largest(decode: Decode, style: Tensor, least: float) -> int:
    lengths = _lengths(decode, style)
    return int((lengths > least * lengths.max()).sum())


def _at_style_zero(decode: Decode, style: Tensor, least: float) -> int:
    return _shown_numbers(decode, torch.zeros_like(style), least)


def _squared_lengths(decode: Decode, style: Tensor, least: float) -> int:
    return int((_lengths(decode, style) ** 2 > least).sum())


def _all_that_are_fed(decode: Decode, style: Tensor, least: float) -> int:
    return len(style)


def _decoder(generator: Generator, lengths: list[float], dtype: torch.dtype, mixed: bool = True) -> nn.Module:
    """Moves its image by these lengths along orthogonal directions of the style, which are its numbers unless mixed."""
    count = len(lengths)

    def turn(size: int) -> Tensor:
        return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q

    weights = turn(2 * count)[:, :count] * torch.tensor(lengths, dtype=torch.float64)
    layer = nn.Linear(count, 2 * count)
    layer.weight = nn.Parameter(weights @ turn(count) if mixed else weights)
    return layer.to(dtype)


def _shown_cases(generator: Generator) -> Iterator[Input]:
    def style(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, generator=generator, dtype=dtype)

    single, double = torch.float32, torch.float64
    hidden = [3.0, 2.0, 1.0] + [1e-3] * 5
    yield Input("one number", (_decoder(generator, [1.0], single), style(1), 0.5))
    yield Input("a style that is ignored", (_decoder(generator, [0.0, 0.0], single), style(2), 0.5))
    yield Input("two numbers that do the same", (_decoder(generator, [2.0, 0.0], single), style(2), 0.5))
    yield Input("three that show and five that hide", (_decoder(generator, hidden, single), style(8), 0.1))
    yield Input("unmixed", (_decoder(generator, hidden, double, mixed=False), style(8, double), 0.1))
    yield Input("a coarse measure", (_decoder(generator, [3.0, 1.5], single), style(2), 2.0))
    yield Input("faint, but visible", (_decoder(generator, [40.0, 0.3, 0.3], single), style(3), 0.2))
    saturated = nn.Sequential(_decoder(generator, [4.0, 4.0], double, mixed=False), nn.Hardtanh())
    yield Input("far out, where it saturates", (saturated, torch.tensor([1000.0, 1000.0], dtype=double), 0.2))


shown_numbers = Exercise(
    "shown_numbers",
    _shown_numbers,
    _shown_cases,
    (
        Bug(
            "shown-counts-coordinates",
            _coordinates,
            "it counts the numbers that move the image, one by one",
            "Two numbers that do the same show one thing. Count directions: the singular values of the Jacobian.",
        ),
        Bug(
            "shown-every-trace",
            _every_trace,
            "it counts everything that is not exactly zero: the usual rank of a matrix",
            "Count what is larger than `least`; a trace that no eye sees is hidden, not shown.",
        ),
        Bug(
            "shown-share-of-the-largest",
            _of_the_largest,
            "`least` is taken as a share of the largest singular value",
            "`least` is a length in the image: a faint factor beside a strong one is visible all the same.",
        ),
        Bug(
            "shown-at-style-zero",
            _at_style_zero,
            "the Jacobian is taken at the style 0",
            "Take it at the `style` that is given: a decoder is not linear.",
        ),
        Bug(
            "shown-squared-lengths",
            _squared_lengths,
            "it compares squares: the eigenvalues of JᵀJ",
            "Singular values are the roots of those eigenvalues.",
        ),
        Bug(
            "shown-all-that-are-fed",
            _all_that_are_fed,
            "it counts the numbers that are fed, without a look at the image",
            "The length of the code says what the decoder may use, not what it uses.",
        ),
    ),
)
