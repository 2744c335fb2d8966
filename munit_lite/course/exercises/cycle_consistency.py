"""Exercises of 13_cycle_consistency: the augmented translation, its relative error, and what a cycle matrix tells."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises.framework import Bug, Exercise, Input

Pair = tuple[Tensor, Tensor]

# ------------------------------------------------------------------------------------------ the augmented translation


class LinearModel(nn.Module):
    """A model of flat images, with the methods of `munit_lite.model.MUNIT`; not an optimum."""

    content: Tensor
    style: Tensor
    from_content: Tensor
    from_style: Tensor

    def __init__(self, image_width: int, content_width: int, style_width: int, generator: Generator) -> None:
        super().__init__()
        shapes = {
            "content": (content_width, image_width),
            "style": (style_width, image_width),
            "from_content": (image_width, content_width),
            "from_style": (image_width, style_width),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.randn(2, *shape, generator=generator))

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        return images @ self.content[domain - 1].T

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        return images @ self.style[domain - 1].T

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        return content @ self.from_content[domain - 1].T + style @ self.from_style[domain - 1].T


def _augmented(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    own, s = source - 1, target - 1
    made = image @ model.content[own].T @ model.from_content[s].T + style @ model.from_style[s].T
    return made, image @ model.style[own].T


def _own_style_decoded(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    kept = model.encode_style(image, source)
    return model.decode(model.encode_content(image, source), kept, target), kept


def _style_of_the_translation(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    made = model.decode(model.encode_content(image, source), style, target)
    return made, model.encode_style(made, target)


def _given_style_handed_on(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    return model.decode(model.encode_content(image, source), style, target), style


def _target_reads_the_style(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    return model.decode(model.encode_content(image, source), style, target), model.encode_style(image, target)


def _target_reads_the_content(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    return model.decode(model.encode_content(image, target), style, target), model.encode_style(image, source)


def _source_decodes(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    return model.decode(model.encode_content(image, source), style, source), model.encode_style(image, source)


def _one_way_only(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    return _augmented(model, image, style, 1, 2)


def _slots_exchanged(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Pair:
    made, kept = _augmented(model, image, style, source, target)
    return kept, made


def _model_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, count: int, widths: tuple[int, int, int], source: int, dtype: torch.dtype) -> Input:
        model = LinearModel(*widths, generator).to(dtype)
        image = torch.randn(count, widths[0], generator=generator).to(dtype)
        style = torch.randn(count, widths[2], generator=generator).to(dtype)
        return Input(label, (model, image, style, source, 3 - source))

    yield case("one sketch", 1, (2, 1, 1), 1, torch.float32)
    yield case("one painting", 1, (3, 2, 1), 2, torch.float32)
    yield case("several", 4, (5, 3, 2), 1, torch.float32)
    yield case("float64", 3, (4, 2, 2), 2, torch.float64)


augmented_translation = Exercise(
    "augmented_translation",
    _augmented,
    _model_cases,
    (
        Bug(
            "augmented-own-style-decoded",
            _own_style_decoded,
            "the image's own style is decoded, and the given one is not used",
            "The given style belongs to the target: decode it. The own style is what the second slot carries along.",
        ),
        Bug(
            "augmented-style-of-the-translation",
            _style_of_the_translation,
            "the second slot holds the style of the translation",
            "That is the style which was given. Keep the style of the *source* image: the way back needs it.",
        ),
        Bug(
            "augmented-given-style-handed-on",
            _given_style_handed_on,
            "the second slot hands on the style that was given",
            "It belongs to the target, and the way back needs a style of the source: encode the source image.",
        ),
        Bug(
            "augmented-target-reads-the-style",
            _target_reads_the_style,
            "the style is read from the source image by the encoder of the target",
            "Each domain has a style encoder of its own: take the source's.",
        ),
        Bug(
            "augmented-target-reads-the-content",
            _target_reads_the_content,
            "the content is read from the source image by the encoder of the target",
            "The two domains share contents, not encoders: take the source's.",
        ),
        Bug(
            "augmented-source-decodes",
            _source_decodes,
            "the decoder is that of the source",
            "Then the image stays in its domain. A translation is drawn by the target's decoder.",
        ),
        Bug(
            "augmented-one-way-only",
            _one_way_only,
            "it always goes from domain 1 to domain 2",
            "Use `source` and `target`: the same function must go back.",
        ),
        Bug(
            "augmented-slots-exchanged",
            _slots_exchanged,
            "the style comes first, the image second",
            "Return (image, style), the order of the arguments, so that the function can be applied to its own result.",
        ),
    ),
)

# --------------------------------------------------------------------------------------------------- the relative error

_SHARE = 0.95


def _errors(back: Tensor, image: Tensor) -> Tensor:
    """(B,): root mean square difference of each image."""
    return ((back - image) ** 2).flatten(1).mean(1) ** 0.5


def _spread(image: Tensor, correction: int = 0) -> Tensor:
    return image.flatten(1).var(0, correction=correction).mean() ** 0.5


def _relative_cycle_error(back: Tensor, image: Tensor) -> Tensor:
    away = image - image.mean(0)
    return (_errors(back, image) / (away**2).mean() ** 0.5).quantile(_SHARE)


def _mean_of_units(back: Tensor, image: Tensor) -> Tensor:
    return _errors(back, image).mean() / _spread(image)


def _median_of_units(back: Tensor, image: Tensor) -> Tensor:
    return _errors(back, image).median() / _spread(image)


def _lower_quantile(back: Tensor, image: Tensor) -> Tensor:
    return (_errors(back, image) / _spread(image)).quantile(1 - _SHARE)


def _quantile_of_pixels(back: Tensor, image: Tensor) -> Tensor:
    return ((back - image).abs().flatten() / _spread(image)).quantile(_SHARE)


def _absolute_difference(back: Tensor, image: Tensor) -> Tensor:
    return ((back - image).abs().flatten(1).mean(1) / _spread(image)).quantile(_SHARE)


def _not_divided(back: Tensor, image: Tensor) -> Tensor:
    return _errors(back, image).quantile(_SHARE)


def _divided_by_size(back: Tensor, image: Tensor) -> Tensor:
    return (_errors(back, image) / (image**2).mean() ** 0.5).quantile(_SHARE)


def _divided_by_contrast(back: Tensor, image: Tensor) -> Tensor:
    return (_errors(back, image) / image.std(correction=0)).quantile(_SHARE)


def _divided_by_the_spread_of_what_came_back(back: Tensor, image: Tensor) -> Tensor:
    return (_errors(back, image) / _spread(back)).quantile(_SHARE)


def _sample_variance(back: Tensor, image: Tensor) -> Tensor:
    return (_errors(back, image) / _spread(image, correction=1)).quantile(_SHARE)


def _returned_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, shape: tuple[int, ...], offset: float = 0.0, dtype: torch.dtype = torch.float32) -> Input:
        image = torch.randn(shape, generator=generator, dtype=dtype)
        image = image + offset + torch.arange(shape[-1], dtype=dtype)  # pixels differ in their means
        back = 0.8 * image + 0.3 * torch.randn(shape, generator=generator, dtype=dtype)
        return Input(label, (back, image))

    yield case("three images of two pixels", (3, 2))
    yield case("bright images", (5, 4), offset=5.0)
    yield case("pictures", (8, 3, 2, 2))
    yield case("many images", (40, 6))
    yield case("float64", (25, 3, 2, 2), dtype=torch.float64)


relative_cycle_error = Exercise(
    "relative_cycle_error",
    _relative_cycle_error,
    _returned_cases,
    (
        Bug(
            "cycle-mean-of-units",
            _mean_of_units,
            "it is the mean over the images",
            "Many good images hide some that do not come back: take the 95 % quantile.",
        ),
        Bug(
            "cycle-median-of-units",
            _median_of_units,
            "it is the median over the images",
            "Half of the images may be lost without moving it: take the 95 % quantile.",
        ),
        Bug(
            "cycle-lower-quantile",
            _lower_quantile,
            "it is the 5 % quantile, the error of the best images",
            "The claim is about 95 % of the images: take the quantile at .95.",
        ),
        Bug(
            "cycle-quantile-of-pixels",
            _quantile_of_pixels,
            "the quantile is taken over single pixels",
            "The unit is an image: one error for each, then the quantile.",
        ),
        Bug(
            "cycle-absolute-difference",
            _absolute_difference,
            "an image's error is its mean absolute difference",
            "Take the root of the mean square, as the spread does: error and unit must be of one kind.",
        ),
        Bug(
            "cycle-not-divided",
            _not_divided,
            "the error is not divided by anything",
            "An error is large or small beside what distinguishes the images: divide by their spread.",
        ),
        Bug(
            "cycle-divided-by-size",
            _divided_by_size,
            "the spread is taken about zero",
            "Take it about the mean image: brighter images would otherwise have smaller errors.",
        ),
        Bug(
            "cycle-divided-by-contrast",
            _divided_by_contrast,
            "the spread is taken about one mean of all pixels",
            "Every pixel has a mean of its own: what all images share distinguishes none.",
        ),
        Bug(
            "cycle-divided-by-what-came-back",
            _divided_by_the_spread_of_what_came_back,
            "it is divided by the spread of what came back",
            "A model must not set its own unit: divide by the spread of the images that went in.",
        ),
        Bug(
            "cycle-sample-variance",
            _sample_variance,
            "the spread divides by B − 1",
            "Divide by B (`correction=0`): it is a unit, the mean square about the mean image, and no estimate.",
        ),
    ),
)

# ----------------------------------------------------------------------------------------------------- the cycle matrix

_TOLERANCE = 1e-3


def _off(block: Tensor, wanted: Tensor) -> Tensor:
    """(N, a, b) -> (N,): is any entry away from the wanted one?"""
    return ((block - wanted).abs() > _TOLERANCE).flatten(1).any(1)


def _broken_blocks(cycles: Tensor) -> Tensor:
    wrong = (cycles - torch.eye(3, dtype=cycles.dtype)).abs() > _TOLERANCE
    slots = (slice(2), slice(2, 3))
    return torch.stack([wrong[:, row, column].flatten(1).any(1) for row in slots for column in slots], 1)


def _column_first(cycles: Tensor) -> Tensor:
    return _broken_blocks(cycles.mT)


def _nothing_is_wanted(cycles: Tensor) -> Tensor:
    return _broken_blocks(cycles + torch.eye(3, dtype=cycles.dtype))


def _ones_everywhere(cycles: Tensor) -> Tensor:
    a, b = cycles.split([2, 1], 1), torch.ones(1, dtype=cycles.dtype)
    return torch.stack([_off(part, b) for rows in a for part in rows.split([2, 1], 2)], 1)


def _diagonal_alone(cycles: Tensor) -> Tensor:
    return _broken_blocks(torch.diag_embed(cycles.diagonal(dim1=1, dim2=2)))


def _too_large_only(cycles: Tensor) -> Tensor:
    eye = torch.eye(3, dtype=cycles.dtype)
    return _broken_blocks((cycles - eye).clamp_min(0) + eye)


def _entries_summed(cycles: Tensor) -> Tensor:
    wrong = cycles - torch.eye(3, dtype=cycles.dtype)
    slots = (slice(2), slice(2, 3))
    sums = [wrong[:, row, column].flatten(1).sum(1) for row in slots for column in slots]
    return torch.stack(sums, 1).abs() > _TOLERANCE


def _image_is_one_number(cycles: Tensor) -> Tensor:
    wrong = (cycles - torch.eye(3, dtype=cycles.dtype)).abs() > _TOLERANCE
    slots = (slice(1), slice(1, 3))
    return torch.stack([wrong[:, row, column].flatten(1).any(1) for row in slots for column in slots], 1)


def _cycle_cases(generator: Generator) -> Iterator[Input]:
    eye = torch.eye(3)

    def edited(*edits: tuple[int, int, float]) -> Tensor:
        matrix = eye.clone()
        for row, column, change in edits:
            matrix[row, column] += change
        return matrix

    yield Input("it closes", (eye[None],))
    yield Input("rounding", (eye[None] + 1e-6 * torch.randn(1, 3, 3, generator=generator),))
    yield Input("one entry", (torch.stack([edited((r, c, 0.4)) for r in range(3) for c in range(3)]),))
    yield Input("one entry, negative", (torch.stack([edited((r, c, -0.7)) for r in range(3) for c in range(3)]),))
    opposite = [edited((0, 0, 0.5), (1, 1, -0.5)), edited((0, 2, 0.3), (1, 2, -0.3)), edited((2, 0, 1.0), (2, 1, -1.0))]
    yield Input("changes that cancel", (torch.stack(opposite),))
    yield Input("float64", (eye.double() + torch.randn(4, 3, 3, generator=generator, dtype=torch.float64),))


broken_blocks = Exercise(
    "broken_blocks",
    _broken_blocks,
    _cycle_cases,
    (
        Bug(
            "blocks-column-first",
            _column_first,
            "the two mixed blocks are exchanged",
            "A matrix acts on columns: row block image, column block style is what the *style* does to the *image*.",
        ),
        Bug(
            "blocks-nothing-is-wanted",
            _nothing_is_wanted,
            "every entry is compared with 0",
            "A cycle that closes is the identity: the diagonal is 1.",
        ),
        Bug(
            "blocks-ones-everywhere",
            _ones_everywhere,
            "every entry is compared with 1",
            "A cycle that closes is the identity: 1 on the diagonal, 0 elsewhere.",
        ),
        Bug(
            "blocks-diagonal-alone",
            _diagonal_alone,
            "it looks at the diagonal only",
            "What one slot does to the other stands beside the diagonal.",
        ),
        Bug(
            "blocks-too-large-only",
            _too_large_only,
            "it finds entries that are too large, and not those that are too small",
            "A lost style is a 0 where a 1 should be: take absolute values.",
        ),
        Bug(
            "blocks-entries-summed",
            _entries_summed,
            "it adds a block's deviations before it looks at their size",
            "They can cancel: take absolute values first.",
        ),
        Bug(
            "blocks-image-is-one-number",
            _image_is_one_number,
            "the image slot has one number and the style slot two",
            "An image of this world has two numbers, a style one: rows and columns 0 and 1 are the image's.",
        ),
    ),
)
