"""Exercises of 13_cycle_consistency: when random translations return, and whether a round trip survives a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises.framework import Input, exercise

Map = Callable[[Tensor], Tensor]

# --------------------------------------------------------------------------------- how often does an image return?


def table_cases(generator: Generator) -> Iterator[Input]:
    def tables(sketches: int, paintings: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        shapes = (sketches, paintings), (paintings, sketches)
        forward, back = (torch.randn(shape, generator=generator, dtype=dtype).softmax(1) for shape in shapes)
        return forward, back

    two_each = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    yield Input("one sketch", tables(1, 2))
    yield Input("two paintings per sketch", (two_each, (two_each.T > 0).float()))
    yield Input("a permutation", (torch.eye(3).roll(1, 0), torch.eye(3).roll(-1, 0)))
    yield Input("more sketches than paintings", tables(5, 3))
    yield Input("float64", tables(4, 6, torch.float64))


@exercise(table_cases)
def return_probabilities(forward: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    return torch.einsum("ij,ji->i", forward, back), torch.einsum("ji,ij->j", back, forward)


@return_probabilities.bug(
    "takes the way back from `forward`, as if it were the inverse",
    fix="The way back is another translator with its own table: `back`.",
)
def inverse_for_back(forward: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    inverse = (forward / forward.sum(0)).T
    return return_probabilities.reference(forward, inverse)


@return_probabilities.bug(
    "follows only the most probable translation of each image",
    fix="An image returns if any of its translations leads back: add the probabilities of all of them.",
)
def likeliest_way_only(forward: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    paths = forward * back.T
    return paths.max(1).values, paths.max(0).values


@return_probabilities.bug(
    "exchanges the results for sketches and paintings",
    fix="The first result has one element per sketch, the second one per painting.",
)
def results_exchanged(forward: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    sketches, paintings = return_probabilities.reference(forward, back)
    return paintings, sketches


@return_probabilities.bug(
    "averages over the images instead of returning one probability for each",
    fix="Take the diagonal of the product of the two tables; its elements are the probabilities of the images.",
)
def averaged_over_images(forward: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    sketches, paintings = return_probabilities.reference(forward, back)
    return sketches.mean(), paintings.mean()


# ---------------------------------------------------------------------------------------- a round trip through a file


class AffineMap(nn.Module):
    """An elementwise map: scale x + shift."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def round_trip_cases(generator: Generator) -> Iterator[Input]:
    def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1

    yield Input("one pixel", (images(1, 1, 1, 1), AffineMap(0.5, 0.1), AffineMap(2.0, -0.2)))
    yield Input("a faint signal", (images(2, 3, 2, 2), AffineMap(0.001, 0.3), AffineMap(1000.0, -300.0)))
    yield Input("values outside [-1, 1]", (images(3, 3, 4, 2), AffineMap(1.5, 0.2), AffineMap(1 / 1.5, -0.2 / 1.5)))
    yield Input("float64", (images(4, 3, 3, 3, dtype=torch.float64), AffineMap(-0.8, 0.0), AffineMap(-1.2, 0.01)))


def _saved(x: Tensor) -> Tensor:
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def _errors(x: Tensor, translate: Map, translate_back: Map, saved: Map) -> Tensor:
    returned = [translate_back(translate(x)), translate_back(saved(translate(x)))]
    return torch.stack([(image - x).abs().mean() for image in returned])


@exercise(round_trip_cases)
def errors_without_and_with_file(x: Tensor, translate: Map, translate_back: Map) -> Tensor:
    return _errors(x, translate, translate_back, _saved)


@errors_without_and_with_file.bug(
    "stretches the values of the translation to the whole range before it rounds them",
    fix="Map -1 to 0 and 1 to 255, whatever the image contains. Stretching changes every color.",
    met="NVlabs/MUNIT test script: save_image(normalize=True)",
)
def stretched_values(x: Tensor, translate: Map, translate_back: Map) -> Tensor:
    def stretched(image: Tensor) -> Tensor:
        return _saved(2 * (image - image.min()) / (image.max() - image.min()).clamp_min(1e-5) - 1)

    return _errors(x, translate, translate_back, stretched)


@errors_without_and_with_file.bug(
    "rounds down, as a conversion to integers does",
    fix="Round to the nearest level: `.round()`. Rounding down makes every image darker by half a level on average.",
)
def rounded_down(x: Tensor, translate: Map, translate_back: Map) -> Tensor:
    return _errors(x, translate, translate_back, lambda y: ((y.clamp(-1, 1) + 1) * 127.5).floor() / 127.5 - 1)


@errors_without_and_with_file.bug(
    "does not clip the translation to [-1, 1]",
    fix="An 8-bit file cannot hold values below 0 or above 255: clip before you round.",
)
def unclipped_values(x: Tensor, translate: Map, translate_back: Map) -> Tensor:
    return _errors(x, translate, translate_back, lambda y: ((y + 1) * 127.5).round() / 127.5 - 1)


@errors_without_and_with_file.bug(
    "saves the image that returns instead of the translation",
    fix="Save the translation before the way back. A hidden signal is in the translation.",
)
def returned_image_saved(x: Tensor, translate: Map, translate_back: Map) -> Tensor:
    returned = translate_back(translate(x))
    return torch.stack([(image - x).abs().mean() for image in (returned, _saved(returned))])
