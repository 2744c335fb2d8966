"""Exercises of 02_content_encoder: a cell's window, levels and pattern, where a map points, maps that move along."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Exercise, Input

# ------------------------------------------------------------------------------------------------------ a cell's window


def _back(cells: Tensor, layers: list[tuple[int, int, int]], more: int = 0) -> Tensor:
    """Reference: from outputs to the inputs they read; layers of (kernel, stride, padding), in the order to walk."""
    first, last = cells, cells
    for kernel, stride, padding in layers:
        first, last = stride * first - padding, stride * last - padding + kernel - 1 + more
    return torch.stack([first, last], dim=1)


def _layers(kernels: list[int], strides: list[int]) -> list[tuple[int, int, int]]:
    return [(k, s, (k - 1) // 2) for k, s in zip(kernels, strides, strict=True)]


def _window(cells: Tensor, kernels: list[int], strides: list[int]) -> Tensor:
    return _back(cells, _layers(kernels, strides)[::-1])


def _first_layer_first(cells: Tensor, kernels: list[int], strides: list[int]) -> Tensor:
    return _back(cells, _layers(kernels, strides))


def _strides_ignored(cells: Tensor, kernels: list[int], strides: list[int]) -> Tensor:
    return _window(cells, kernels, [1] * len(strides))


def _padding_ignored(cells: Tensor, kernels: list[int], strides: list[int]) -> Tensor:
    return _back(cells, [(k, s, 0) for k, s, _ in reversed(_layers(kernels, strides))])


def _one_too_many(cells: Tensor, kernels: list[int], strides: list[int]) -> Tensor:
    return _back(cells, _layers(kernels, strides)[::-1], more=1)


def _centered(cells: Tensor, kernels: list[int], strides: list[int]) -> Tensor:
    first, last = cells, cells
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        first, last = stride * first - kernel // 2, stride * last + kernel // 2
    return torch.stack([first, last], dim=1)


def _window_cases(generator: Generator) -> Iterator[Input]:
    def cells(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randint(0, 16, (count,), generator=generator).to(dtype)

    yield Input("one layer", (cells(1), [3], [1]))
    yield Input("an even kernel", (cells(2), [4], [2]))
    yield Input("no layer", (cells(3), [], []))
    yield Input("two strides", (cells(3), [7, 4, 4], [1, 2, 2]))
    yield Input("a late stride", (cells(4), [3, 5, 3, 4], [1, 1, 3, 2]))
    yield Input("between two cells", (cells(5) + 0.5, [7, 4, 3, 3], [1, 2, 1, 1]))
    yield Input("the paper's encoder", (cells(6), [7, 4, 4] + 8 * [3], [1, 2, 2] + 8 * [1]))
    yield Input("float64", (cells(7, torch.float64), [5, 2, 3], [2, 2, 1]))


window = Exercise(
    "window",
    _window,
    _window_cases,
    (
        Bug(
            "window-first-layer-first",
            _first_layer_first,
            "the layers are walked from the first to the last",
            "A cell is an output of the last layer: walk back from there, or carry the product of the strides along.",
        ),
        Bug(
            "window-strides-ignored",
            _strides_ignored,
            "strides are ignored, so that neighboring cells lie one pixel apart",
            "Behind a stride of 2 each step is two pixels: cell k of a layer reads from stride · k − padding on.",
        ),
        Bug(
            "window-padding-ignored",
            _padding_ignored,
            "padding is ignored: the window has the right size in the wrong place",
            "Each layer pads (kernel − 1) // 2 before the first pixel, so the window begins that much earlier.",
        ),
        Bug(
            "window-one-too-many",
            _one_too_many,
            "the last pixel is counted as the first one outside",
            "A kernel of 3 reads from k to k + 2: add kernel − 1.",
        ),
        Bug(
            "window-even-kernel-centered",
            _centered,
            "an even kernel reaches equally far to both sides",
            "A kernel of 4 with one pixel of padding reads 1 before and 2 behind: it has no middle.",
        ),
    ),
)

# -------------------------------------------------------------------------------------------------- levels and pattern

Parts = tuple[Tensor, Tensor, Tensor]
EPS = 1e-5


def _apart(features: Tensor, dims: tuple[int, ...] = (2, 3), less: int = 0, eps: float = EPS) -> Parts:
    count = 1
    for dim in dims:
        count *= features.shape[dim]
    mean = features.sum(dims, keepdim=True) / count
    variance = ((features - mean) ** 2).sum(dims, keepdim=True) / (count - less)
    deviation = (variance + eps) ** 0.5
    return (features - mean) / deviation, mean, deviation


def _taken_apart(features: Tensor) -> Parts:
    return _apart(features)


def _apart_batch(features: Tensor) -> Parts:
    return _apart(features, (0, 2, 3))


def _apart_sample(features: Tensor) -> Parts:
    return _apart(features, (1, 2, 3))


def _apart_pixel(features: Tensor) -> Parts:
    return _apart(features, (1,))


def _apart_unbiased(features: Tensor) -> Parts:
    return _apart(features, less=1)


def _apart_variance(features: Tensor) -> Parts:
    pattern, mean, deviation = _apart(features)
    return pattern / deviation, mean, deviation**2


def _apart_centered(features: Tensor) -> Parts:
    _, mean, deviation = _apart(features)
    return features - mean, mean, deviation


def _apart_two_deviations(features: Tensor) -> Parts:
    pattern, mean, _ = _apart(features)
    return pattern, mean, _apart(features, eps=0)[2]


def _apart_detached(features: Tensor) -> Parts:
    _, mean, deviation = _apart(features.detach())
    return (features - mean) / deviation, mean, deviation


def _apart_buffers(features: Tensor) -> Parts:
    flat = features.reshape(1, -1, *features.shape[2:])
    mean, variance = features.new_zeros(flat.shape[1]), features.new_ones(flat.shape[1])
    pattern = F.batch_norm(flat, mean, variance, training=False).view_as(features)
    shape = (*features.shape[:2], 1, 1)
    return pattern, mean.view(shape), (variance.view(shape) + EPS).sqrt()


def _feature_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        yield Input(label, (features,))


taken_apart = Exercise(
    "taken_apart",
    _taken_apart,
    _feature_cases,
    (
        Bug(
            "apart-over-the-batch",
            _apart_batch,
            "the levels are those of the whole batch",
            "Each image has levels of its own: with shared ones its neighbors decide what its content code is.",
        ),
        Bug(
            "apart-over-the-channels",
            _apart_sample,
            "all channels of an image share one level",
            "Each channel has its own mean and deviation: differences between channels hold color, and would stay.",
        ),
        Bug(
            "apart-at-each-pixel",
            _apart_pixel,
            "the levels are taken over the channels at each pixel",
            "Take them over height and width. At each pixel alone they are part of what is where.",
        ),
        Bug(
            "apart-unbiased",
            _apart_unbiased,
            "the deviation divides by n − 1",
            "Divide by n (`correction=0`): the pattern of one pixel is 0, not 0/0.",
        ),
        Bug(
            "apart-variance",
            _apart_variance,
            "the variance stands where the deviation should",
            "Take the square root: twice the contrast is twice the deviation, and the pattern stays.",
        ),
        Bug(
            "apart-only-centered",
            _apart_centered,
            "the pattern still has its contrast",
            "Divide by the deviation: strong and faint ink are the same pattern.",
        ),
        Bug(
            "apart-two-deviations",
            _apart_two_deviations,
            "the deviation handed back is not the one that the pattern was divided by",
            "Put eps under its root too: pattern · deviation + mean must be the features again, also for faint ones.",
        ),
        Bug(
            "apart-levels-detached",
            _apart_detached,
            "the levels are cut out of the gradient",
            "The values are right, but mean and deviation depend on every pixel, and the gradient must know.",
        ),
        Bug(
            "apart-running-buffers",
            _apart_buffers,
            "the levels come from running buffers that nothing has filled, 0 and 1",
            "Instance Norm measures each image anew, also in evaluation: it needs no buffers.",
            "constructed; NVlabs/MUNIT carries such buffers in its batch-norm trick",
        ),
    ),
    compare_gradients=True,
)

# ------------------------------------------------------------------------------------------------- where a map points


def _soft_argmax(heat: Tensor) -> Tensor:
    total = heat.logsumexp((1, 2))
    found = []
    for across, along in ((1, 2), (2, 1)):  # x: over the rows, then along a row
        share = (heat.logsumexp(across) - total[:, None]).exp()
        centers = (2 * torch.arange(heat.shape[along], dtype=heat.dtype) + 1) / (2 * heat.shape[along])
        found.append((share * centers).sum(1))
    return torch.stack(found, 1)


def _mean_place(weights: Tensor, first: float = 0.5, last: float = 0.5) -> Tensor:
    """(x, y) under (B, H, W) weights; a side of n cells is numbered from first / (first + n - 1 + last) on."""
    found = []
    for across, along in ((1, 2), (2, 1)):
        count = weights.shape[along]
        ticks = (torch.arange(count, dtype=weights.dtype) + first) / max(first + count - 1 + last, 1)
        found.append((weights.sum(across) * ticks).sum(1))
    return torch.stack(found, 1)


def _weights(heat: Tensor) -> Tensor:
    return heat.flatten(1).softmax(1).view_as(heat)


def _y_first(heat: Tensor) -> Tensor:
    return _mean_place(_weights(heat)).flip(1)


def _corners(heat: Tensor) -> Tensor:
    return _mean_place(_weights(heat), 0, 1)


def _edge_to_edge(heat: Tensor) -> Tensor:
    return _mean_place(_weights(heat), 0, 0)


def _of_each_row(heat: Tensor) -> Tensor:
    x, _ = _mean_place(heat.softmax(2) / heat.shape[1]).unbind(1)
    _, y = _mean_place(heat.softmax(1) / heat.shape[2]).unbind(1)
    return torch.stack([x, y], 1)


def _raw_weights(heat: Tensor) -> Tensor:
    return _mean_place(heat / heat.sum((1, 2), keepdim=True))


def _unguarded(heat: Tensor) -> Tensor:
    weights = heat.exp()
    return _mean_place(weights / weights.sum((1, 2), keepdim=True))


def _of_the_batch(heat: Tensor) -> Tensor:
    return _mean_place(heat.flatten().softmax(0).view_as(heat))


def _hard(heat: Tensor) -> Tensor:
    place = heat.flatten(1).argmax(1)
    rows, columns = place // heat.shape[2], place % heat.shape[2]
    return torch.stack([(columns + 0.5) / heat.shape[2], (rows + 0.5) / heat.shape[1]], 1).to(heat.dtype)


def _map_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    yield Input("one cell", (draw(1, 1, 1),))
    yield Input("one row", (draw(1, 1, 3),))
    yield Input("flat", (torch.full((2, 2, 3), -0.5),))
    yield Input("taller than wide", (draw(2, 4, 2),))
    yield Input("far from zero", (1000 + draw(2, 3, 3),))
    yield Input("large values", (1000 * draw(2, 3, 4),))
    yield Input("not contiguous", (draw(3, 5, 4).transpose(1, 2),))
    yield Input("float64", (draw(3, 5, 6, dtype=torch.float64),))


soft_argmax = Exercise(
    "soft_argmax",
    _soft_argmax,
    _map_cases,
    (
        Bug(
            "place-y-first",
            _y_first,
            "y comes before x",
            "The last dimension runs along a row: it is x, and x comes first.",
        ),
        Bug(
            "place-of-corners",
            _corners,
            "a cell is where its upper left corner is",
            "A cell is where its center is: (k + ½) / n. With corners every place is half a cell off.",
        ),
        Bug(
            "place-from-edge-to-edge",
            _edge_to_edge,
            "the first cell lies on one edge of the image and the last on the other",
            "Cells have a width: the centers of n cells are (k + ½) / n, the first is half a cell from the edge.",
        ),
        Bug(
            "place-of-each-row",
            _of_each_row,
            "each row, and each column, has a softmax of its own",
            "One softmax over all cells: else a row where nothing is counts as much as the row of the peak.",
        ),
        Bug(
            "place-raw-weights",
            _raw_weights,
            "the scores themselves are the weights, without softmax",
            "Scores may be negative, and add up to nothing: make them weights by a softmax.",
        ),
        Bug(
            "place-overflow",
            _unguarded,
            "large scores overflow in the exponential",
            "Subtract the largest score first, or use `softmax`, which does.",
        ),
        Bug(
            "place-of-the-batch",
            _of_the_batch,
            "all images of the batch share one softmax",
            "Each map has weights that add up to 1: flatten from dimension 1 on.",
        ),
        Bug(
            "place-hard",
            _hard,
            "it takes the largest score alone, which has no gradient",
            "The mean of all places, weighted by softmax, moves smoothly with the scores, and between the cells.",
        ),
    ),
    compare_gradients=True,
)

# ----------------------------------------------------------------------------------------------- a map that moves along

Encode = Callable[[Tensor], Tensor]


def _shift_gap(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    code, of_moved = encode(images), encode(_moved(images, cells * stride))
    return _inner((of_moved - _moved(code, cells)).abs(), margin)


def _moved(images: Tensor, steps: int) -> Tensor:
    """To the right; what leaves comes in at the left."""
    width = images.shape[3]
    return images[:, :, :, [(k - steps) % width for k in range(width)]]


def _inner(gap: Tensor, margin: int) -> Tensor:
    return gap[:, :, margin : gap.shape[2] - margin, margin : gap.shape[3] - margin].mean()


def _code_by_pixels(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    gap = encode(images.roll(cells * stride, 3)) - encode(images).roll(cells * stride, 3)
    return _inner(gap.abs(), margin)


def _image_by_cells(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    return _inner((encode(images.roll(cells, 3)) - encode(images).roll(cells, 3)).abs(), margin)


def _other_way(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    return _inner((encode(images.roll(cells * stride, 3)) - encode(images).roll(-cells, 3)).abs(), margin)


def _code_not_moved(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    return _inner((encode(images.roll(cells * stride, 3)) - encode(images)).abs(), margin)


def _downwards(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    return _inner((encode(images.roll(cells * stride, 2)) - encode(images).roll(cells, 2)).abs(), margin)


def _border_kept(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    return _shift_gap(encode, images, cells, stride, 0)


def _minus_zero(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    gap = (encode(images.roll(cells * stride, 3)) - encode(images).roll(cells, 3)).abs()
    return gap[:, :, margin:-margin, margin:-margin].mean()


def _signed(encode: Encode, images: Tensor, cells: int, stride: int, margin: int) -> Tensor:
    return _inner(encode(images.roll(cells * stride, 3)) - encode(images).roll(cells, 3), margin)


def _shift_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, shape: tuple[int, ...], numbers: tuple[int, int, int], dtype: torch.dtype = torch.float32):
        encode = nn.Conv2d(shape[1], 2, 3, numbers[1], 1, dtype=dtype)
        for parameter in encode.parameters():
            nn.init.normal_(parameter, generator=generator)
        images = torch.randn(shape, generator=generator, dtype=dtype)
        turned = images.transpose(2, 3) if label == "not contiguous" else images
        return Input(label, (encode, turned, *numbers))

    yield case("stride one", (1, 1, 4, 5), (1, 1, 1))
    yield case("no margin", (2, 1, 8, 10), (1, 2, 0))
    yield case("to the left", (1, 3, 10, 12), (-2, 2, 1))
    yield case("one image", (1, 2, 16, 12), (1, 2, 2))
    yield case("stride four", (2, 3, 16, 28), (2, 4, 1))
    yield case("not contiguous", (2, 3, 16, 20), (3, 2, 2))
    yield case("float64", (3, 3, 12, 18), (1, 2, 1), torch.float64)


shift_gap = Exercise(
    "shift_gap",
    _shift_gap,
    _shift_cases,
    (
        Bug(
            "shift-code-by-pixels",
            _code_by_pixels,
            "the code moves by as many cells as the image by pixels",
            "A cell is `stride` pixels wide: the image moves by cells · stride, the code by cells.",
        ),
        Bug(
            "shift-image-by-cells",
            _image_by_cells,
            "the image moves by as many pixels as the code by cells",
            "A cell is `stride` pixels wide: the image moves by cells · stride, the code by cells.",
        ),
        Bug(
            "shift-the-other-way",
            _other_way,
            "image and code move in opposite directions",
            "If the image moves to the right, so does its map: both rolls have the same sign.",
        ),
        Bug(
            "shift-code-not-moved",
            _code_not_moved,
            "the code of the moved image is compared with the code where it was",
            "That asks whether the code is *invariant*. A map should be equivariant: move it along before you compare.",
        ),
        Bug(
            "shift-downwards",
            _downwards,
            "everything moves down, not to the right",
            "The last dimension, 3, runs along a row.",
        ),
        Bug(
            "shift-border-kept",
            _border_kept,
            "the cells at the border are counted",
            "There the padding, and what was rolled around, is seen: leave `margin` cells out at each side.",
        ),
        Bug(
            "shift-minus-zero",
            _minus_zero,
            "a margin of 0 leaves nothing: `[0:-0]` is empty, and its mean is NaN",
            "Count the end from the length, `[margin : height - margin]`, not from behind.",
        ),
        Bug(
            "shift-signed",
            _signed,
            "the differences keep their signs and cancel",
            "Take the absolute difference of each cell, then the mean.",
        ),
    ),
)
