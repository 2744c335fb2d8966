"""Exercises of 03_style_encoder: pooling of padded images, what a sketch's tones do to features, leaks in a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises.framework import Input, exercise

# ------------------------------------------------------------------------------------- pooling of padded images


def pooling_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, shape: tuple[int, ...], sizes: list[tuple[int, int]], dtype=torch.float32) -> Input:
        features = torch.randn(shape, generator=generator, dtype=dtype)
        heights, widths = torch.tensor(sizes).T
        return Input(label, (features, heights, widths))

    yield case("one pixel of four", (1, 1, 2, 2), [(1, 1)])
    yield case("nothing is padded", (2, 3, 4, 4), [(4, 4), (4, 4)])
    yield case("wide and high images", (2, 2, 5, 5), [(1, 4), (5, 2)])
    yield case("a canvas that is not square", (3, 2, 3, 6), [(3, 6), (2, 5), (1, 3)])
    yield case("equal areas", (2, 3, 4, 4), [(2, 4), (4, 2)])
    yield case("float64", (3, 4, 6, 5), [(6, 5), (3, 4), (2, 1)], torch.float64)


def _valid(features: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """(B, 1, H, W), true where a pixel belongs to its image."""
    rows = torch.arange(features.shape[2])[:, None] < heights[:, None, None]
    columns = torch.arange(features.shape[3])[None, :] < widths[:, None, None]
    return (rows & columns)[:, None]


@exercise(cases=pooling_cases, gradients=True)
def pool_padded(features: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    images = zip(features, heights.tolist(), widths.tolist(), strict=True)
    return torch.stack([image[:, :h, :w].sum((1, 2)) / (h * w) for image, h, w in images])


@pool_padded.bug(
    "the padding is averaged as well",
    fix="Sum over the pixels of the image alone, rows below its height and columns below its width, and divide by "
    "their number.",
)
def averages_the_padding(features: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    return features.mean((2, 3))


@pool_padded.bug(
    "the sum is divided by the area of the canvas and not by that of the image",
    fix="Divide by height · width of each image. Otherwise the style of a small image shrinks towards zero.",
)
def divides_by_the_canvas(features: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    return (features * _valid(features, heights, widths)).mean((2, 3))


@pool_padded.bug(
    "all images are divided by the same area, the mean over the batch",
    fix="Divide each image by its own area. Otherwise its style depends on the images that happen to be beside it.",
)
def divides_by_the_mean_area(features: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    valid = _valid(features, heights, widths)
    return (features * valid).sum((2, 3)) / (valid.sum() / len(features))


@pool_padded.bug(
    "height and width are exchanged",
    fix="The third dimension of the features is the height, the fourth the width.",
)
def exchanges_the_sides(features: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    valid = _valid(features, widths, heights)
    return (features * valid).sum((2, 3)) / valid.sum((2, 3))


# ------------------------------------------------------------------ what the tones of a sketch do to its features


def retone_cases(generator: Generator) -> Iterator[Input]:
    def case(
        label: str, tones: list[list[float]], new_tones: list[list[float]], channels: int = 3, dtype=torch.float32
    ) -> Input:
        count = len(tones)
        conv = nn.Conv2d(3, channels, 3)
        for parameter in conv.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
        conv = conv.to(dtype)
        line = torch.rand(count, 1, 5, 6, generator=generator, dtype=dtype)
        ink, paper = torch.tensor(tones, dtype=dtype).T[:, :, None, None, None]
        image = (paper + (ink - paper) * line).expand(-1, 3, -1, -1)
        return Input(label, (conv, conv(image).detach(), torch.tensor(tones, dtype=dtype), torch.tensor(new_tones)))

    yield case("one channel", [[-0.8, 0.6]], [[-0.4, 0.9]], channels=1)
    yield case("the same tones", [[-0.9, 0.5]], [[-0.9, 0.5]])
    yield case("other paper, same contrast", [[-0.5, 0.3]], [[-0.2, 0.6]])
    yield case("white on black", [[-0.8, 0.6], [-0.6, 0.9]], [[1.0, -1.0], [0.5, -0.5]])
    yield case("several images", [[-0.9, 0.9], [-0.3, 0.4], [-0.7, 0.5]], [[-0.3, 0.3], [-0.9, 1.0], [-0.4, 0.8]])
    double = case("float64", [[-0.8, 0.6], [-0.5, 0.7]], [[-0.4, 0.9], [-1.0, 0.4]], dtype=torch.float64)
    yield Input("float64", (*double.arguments[:3], double.arguments[3].double()))


def _recompute(
    conv: nn.Conv2d, features: Tensor, tones: Tensor, new_tones: Tensor, total: Tensor, bias: Tensor
) -> Tensor:
    """Subtract the response to blank paper, scale the rest by the ratio of contrasts, add the new paper's response."""
    gain = (new_tones[:, 0] - new_tones[:, 1]) / (tones[:, 0] - tones[:, 1])
    blank, new_blank = (bias + paper[:, 1:] * total for paper in (tones, new_tones))
    return new_blank[:, :, None, None] + gain[:, None, None, None] * (features - blank[:, :, None, None])


@exercise(cases=retone_cases)
def retone(conv: nn.Conv2d, features: Tensor, tones: Tensor, new_tones: Tensor) -> Tensor:
    assert conv.bias is not None
    weights = conv.weight.flatten(1)
    line = (features - conv.bias[:, None, None] - torch.einsum("b,ck->bc", tones[:, 1], weights)[:, :, None, None]) / (
        tones[:, 0] - tones[:, 1]
    ).view(-1, 1, 1, 1)
    level = conv.bias + torch.einsum("b,ck->bc", new_tones[:, 1], weights)
    return level[:, :, None, None] + line * (new_tones[:, 0] - new_tones[:, 1]).view(-1, 1, 1, 1)


@retone.bug(
    "the features are shifted by the new paper, but their contrast stays the old one",
    fix="The response to the line is proportional to ink − paper, so it must be scaled as well.",
)
def only_shifts(conv: nn.Conv2d, features: Tensor, tones: Tensor, new_tones: Tensor) -> Tensor:
    shift = (new_tones[:, 1:] - tones[:, 1:]) * conv.weight.sum((1, 2, 3))
    return features + shift[:, :, None, None]


@retone.bug(
    "the bias is scaled like the response to the image",
    fix="The bias does not depend on the image. Subtract it before you scale, and add it again afterwards.",
)
def scales_the_bias(conv: nn.Conv2d, features: Tensor, tones: Tensor, new_tones: Tensor) -> Tensor:
    total = conv.weight.sum((1, 2, 3))
    return _recompute(conv, features, tones, new_tones, total, torch.zeros_like(total))


@retone.bug(
    "the response to blank paper takes the mean of the weights instead of their sum",
    fix="A convolution adds up all products, so a constant image is multiplied by the sum of the kernel's weights.",
)
def averages_the_weights(conv: nn.Conv2d, features: Tensor, tones: Tensor, new_tones: Tensor) -> Tensor:
    assert conv.bias is not None
    return _recompute(conv, features, tones, new_tones, conv.weight.mean((1, 2, 3)), conv.bias)


@retone.bug(
    "the response to the line is scaled by |ink − paper|, so that white lines on black look like black ones on white",
    fix="Keep the sign of ink − paper: it says whether the line is lighter or darker than the paper.",
)
def loses_the_sign(conv: nn.Conv2d, features: Tensor, tones: Tensor, new_tones: Tensor) -> Tensor:
    assert conv.bias is not None
    dark = torch.stack([new_tones[:, 1] - (new_tones[:, 0] - new_tones[:, 1]).abs(), new_tones[:, 1]], dim=1)
    return _recompute(conv, features, tones, dark, conv.weight.sum((1, 2, 3)), conv.bias)


# --------------------------------------------------------------------------------------- leaks, on held-out rows


def leakage_cases(generator: Generator) -> Iterator[Input]:
    def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    codes = sample(12, 2)
    yield Input("no information", (codes, sample(12)))
    yield Input("an odd number of rows", (sample(13, 1), sample(13)))
    yield Input("all information", (codes, codes @ torch.tensor([2.0, -1.0]) + 3))
    codes = sample(30, 3)
    yield Input("some information", (codes, codes[:, 0] + sample(30)))
    yield Input("far from zero", (codes + 10, 100 + codes[:, 1] + sample(30)))
    yield Input("not contiguous", (sample(3, 24).T, sample(24)))
    yield Input("float64", (sample(24, 4, dtype=torch.float64), sample(24, dtype=torch.float64)))


def _fit(codes: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
    """Least squares with a constant, through the singular values of the centered codes."""
    mean, level = codes.mean(0), target.mean()
    weights = torch.linalg.pinv(codes - mean) @ (target - level)
    return lambda rows: level + (rows - mean) @ weights


def _r2(prediction: Tensor, truth: Tensor) -> Tensor:
    return 1 - ((truth - prediction) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


@exercise(cases=leakage_cases)
def leakage(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return _r2(_fit(codes[:half], target[:half])(codes[half:]), target[half:])


@leakage.bug(
    "R² is computed on the rows that were fitted",
    fix="Compute it on the second half alone: fitted rows are predicted well even from pure noise, the better the "
    "longer the code is.",
)
def on_training_rows(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return _r2(_fit(codes[:half], target[:half])(codes[:half]), target[:half])


@leakage.bug(
    "the held-out rows were fitted as well",
    fix="Fit on the first half alone. What is tested must not have been trained on.",
    met="eriklindernoren/PyTorch-GAN: test files added to training",
)
def held_out_rows_in_training(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    return _r2(_fit(codes, target)(codes[half:]), target[half:])


@leakage.bug(
    "the linear map has no constant term",
    fix="Add a column of ones, or center codes and target with the means of the first half.",
)
def without_a_constant(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    weights = torch.linalg.pinv(codes[:half]) @ target[:half]
    return _r2(codes[half:] @ weights, target[half:])


@leakage.bug(
    "it is the squared correlation of prediction and truth",
    fix="A correlation ignores a wrong scale, level and sign of the prediction. R² = 1 − squared error / variance "
    "does not, and may be negative.",
)
def squared_correlation(codes: Tensor, target: Tensor) -> Tensor:
    half = len(codes) // 2
    prediction = _fit(codes[:half], target[:half])(codes[half:])
    return torch.corrcoef(torch.stack([prediction, target[half:]]))[0, 1] ** 2
