"""Style explorer: change the style code and see the translation, G(E^c(x), s) (section 3.2 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from munit_lite.course.explorers.model_explorer import (
    MAX_STYLE,
    NUM_IMAGES,
    PRIOR_DENSITY,
    ExplorerSpec,
    ModelExplorer,
    ModelSamples,
    attribute_rows,
    direction_control,
    image_control,
)
from munit_lite.course.explorers.pictures import TILE_SIZE, Picture, stack_pictures, tile_images
from munit_lite.course.explorers.widget import Choice, Control, Slider

ALL_IMAGES, COORDINATES, INTERPOLATION = "this style on eight images", "each coordinate alone", "between two styles"
MAX_COORDINATE = 2.5  # "each coordinate alone" goes from -MAX_COORDINATE to MAX_COORDINATE


def make_controls(samples: ModelSamples) -> dict[str, Control]:
    """Return a slider for each coordinate of the style code, and the choice of a view."""
    description = f"from −{MAX_STYLE:g} to {MAX_STYLE:g}; 95 % of sampled styles lie between −2 and 2"
    return {
        "direction": direction_control(samples),
        "image": image_control(),
        **{
            f"style_{k + 1}": Slider(
                -MAX_STYLE, MAX_STYLE, 0.0, f"style coordinate {k + 1}", description, PRIOR_DENSITY
            )
            for k in range(samples.style_dim)
        },
        "view": Choice((ALL_IMAGES, COORDINATES, INTERPOLATION), "view"),
        "second_style_seed": Slider(
            1, 99, 1, "second style", "seed of a sample from the prior; for “between two styles”"
        ),
    }


def style_code(samples: ModelSamples, coordinates: Mapping[str, float]) -> Tensor:
    """Collect the values of the sliders in a style code.

    Args:
        samples: the model and its images.
        coordinates: style_1 … style_n; other keys of a state are ignored.

    Returns:
        (1, style_dim).

    Example:
        >>> from munit_lite.course import load_model_samples
        >>> style_code(load_model_samples("world32"), {"style_1": 0.0, "style_2": 1.5, "style_3": -1.0})
        tensor([[ 0.0000,  1.5000, -1.0000]])
    """
    return torch.tensor([[coordinates[f"style_{k + 1}"] for k in range(samples.style_dim)]])


@torch.no_grad()
def render(
    samples: ModelSamples, direction: str, image: int, view: str, second_style_seed: int, **coordinates: float
) -> Picture:
    """Render an image and its translation, enlarged, above one of three views of the style.

    Args:
        samples: the model and its images.
        direction: one of `samples.directions`.
        image: 1 … NUM_IMAGES.
        view: `ALL_IMAGES`, `COORDINATES` or `INTERPOLATION`.
        second_style_seed: seed of the style at which `INTERPOLATION` ends.
        **coordinates: style_1 … style_n, the code.
    """
    source = samples.source_domain(direction)
    target, code = 3 - source, style_code(samples, coordinates)
    images, contents = samples.images[source - 1], samples.contents[source - 1]
    chosen = contents[image - 1 : image]
    if view == ALL_IMAGES:
        translations = samples.decode(contents, code, target)
        rows, translation = [images, translations], translations[image - 1 : image]
    else:
        if view == COORDINATES:
            codes, subjects = _vary_coordinates(code), [chosen]
        else:
            codes = _interpolate(code, samples.sample_style(second_style_seed))
            subjects = [contents[(image - 1 + k) % NUM_IMAGES][None] for k in range(3)]
        rows = [samples.decode(subject, row, target) for subject in subjects for row in codes.split(NUM_IMAGES)]
        translation = samples.decode(chosen, code, target)
    return stack_pictures(
        tile_images([torch.cat([images[image - 1 : image], translation])], min_size=4 * TILE_SIZE), tile_images(rows)
    )


def _vary_coordinates(code: Tensor) -> Tensor:
    """Vary one coordinate at a time in NUM_IMAGES steps: (style_dim * NUM_IMAGES, style_dim)."""
    varied = code.repeat(code.shape[1] * NUM_IMAGES, 1)
    for k in range(code.shape[1]):
        varied[k * NUM_IMAGES : (k + 1) * NUM_IMAGES, k] = torch.linspace(-MAX_COORDINATE, MAX_COORDINATE, NUM_IMAGES)
    return varied


def _interpolate(first: Tensor, second: Tensor) -> Tensor:
    """Return NUM_IMAGES codes on the line between two codes: (NUM_IMAGES, style_dim)."""
    return torch.lerp(first, second, torch.linspace(0, 1, NUM_IMAGES)[:, None])


@torch.no_grad()
def describe(
    samples: ModelSamples, direction: str, image: int, view: str, second_style_seed: int, **coordinates: float
) -> tuple[str, list[list[str]]]:
    """Describe the picture in one sentence, and return the predicted attributes of the translation."""
    source = samples.source_domain(direction)
    target, code = 3 - source, style_code(samples, coordinates)
    end = ", ".join(f"{value:.2f}" for value in samples.sample_style(second_style_seed)[0])
    views = {
        ALL_IMAGES: f"eight images of domain {source}, each above its translation with this style",
        COORDINATES: f"a row for each coordinate, which varies from −{MAX_COORDINATE:g} to {MAX_COORDINATE:g}",
        INTERPOLATION: f"three contents with styles interpolated from this one to ({end})",
    }
    sentence = (
        f"A held-out {samples.domain_name(source)} and its translation into a {samples.domain_name(target)} with the "
        f"style ({', '.join(f'{value:.2f}' for value in code[0])}). Below: {views[view]}."
    )
    chosen = samples.contents[source - 1][image - 1 : image]
    attributes = samples.predict_attributes(samples.decode(chosen, code, target), target)
    return sentence, attribute_rows(attributes, ["translation"], target) if attributes else []


class StyleExplorer(ModelExplorer):
    """Sliders for the style code of a trained model; see `render`."""

    spec = ExplorerSpec(
        "Style explorer", render, describe, make_controls,
        stored_state={"view": COORDINATES},
        actions={"sample": "Sample from the prior"},
        uploads={"image": "Your own image (replaces the selected one)"},
    )  # fmt: skip
    num_samples = 0

    def handle_action(self, action: str) -> None:
        super().handle_action(action)
        if action == "sample":
            self.num_samples += 1
            style = self.samples.sample_style(self.num_samples)[0].tolist()
            self.state = self.state | {f"style_{k + 1}": round(value, 2) for k, value in enumerate(style)}

    def handle_upload(self, upload: str, file: str, content: bytes) -> None:
        self.show_upload(self.samples.source_domain(self.state["direction"]), self.state["image"] - 1, file, content)
