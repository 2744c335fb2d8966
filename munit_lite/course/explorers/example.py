"""Example-guided explorer: contents of one domain in the styles of images of the other, G(E^c(x), E^s(y))."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from munit_lite.course.explorers.model_explorer import (
    NUM_IMAGES,
    ExplorerSpec,
    ModelExplorer,
    ModelSamples,
    direction_control,
    image_control,
)
from munit_lite.course.explorers.pictures import Picture, tile_images
from munit_lite.course.explorers.widget import Control
from munit_lite.world import STYLE_FACTORS

NUM_CONTENTS, NUM_STYLES = 4, 7  # rows and columns of the grid of translations


def make_controls(samples: ModelSamples) -> dict[str, Control]:
    """Return the controls: the direction, and which content image and which example come first."""
    description = f"of {NUM_IMAGES} held-out images"
    return {
        "direction": direction_control(samples),
        "first_content": image_control("first content image", description),
        "first_example": image_control("first example", description),
    }


@lru_cache(maxsize=1)  # the picture and its description show the same images
@torch.no_grad()
def translate_grid(
    samples: ModelSamples, direction: str, first_content: int, first_example: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Translate each content image with the style of each example.

    Returns:
        Content images (NUM_CONTENTS, 3, H, W), examples (NUM_STYLES, 3, H, W), and translations
        (NUM_CONTENTS * NUM_STYLES, 3, H, W), row by row.
    """
    source = samples.source_domain(direction)
    rows = (torch.arange(NUM_CONTENTS) + first_content - 1) % NUM_IMAGES
    columns = (torch.arange(NUM_STYLES) + first_example - 1) % NUM_IMAGES
    examples = samples.images[2 - source][columns]
    codes = samples.model.encode_style(examples, 3 - source)
    content = samples.contents[source - 1][rows].repeat_interleave(NUM_STYLES, 0)
    translations = samples.decode(content, codes.repeat(NUM_CONTENTS, 1), 3 - source)
    return samples.images[source - 1][rows], examples, translations


@torch.no_grad()
def render(samples: ModelSamples, direction: str, first_content: int, first_example: int) -> Picture:
    """Render a grid of translations, each with the content of its row and the style of its column.

    Args:
        samples: the model and its images.
        direction: one of `samples.directions`.
        first_content: 1 … NUM_IMAGES, the first content image; after the last image follows the first.
        first_example: the same for the examples.
    """
    contents, examples, translations = translate_grid(samples, direction, first_content, first_example)
    corner = torch.ones_like(contents[:1])
    return tile_images(
        [
            torch.cat([corner, examples]),
            *(
                torch.cat([content[None], row])
                for content, row in zip(contents, translations.split(NUM_STYLES), strict=True)
            ),
        ]
    )


@torch.no_grad()
def describe(
    samples: ModelSamples, direction: str, first_content: int, first_example: int
) -> tuple[str, list[list[str]]]:
    """Describe the picture; if attributes are known, measure how well the outputs match content and style."""
    source = samples.source_domain(direction)
    target = 3 - source
    sentence = (
        f"First column: {NUM_CONTENTS} images of domain {source} ({samples.domain_name(source)}). First row: "
        f"{NUM_STYLES} images of domain {target} ({samples.domain_name(target)}). Each cell combines the content of "
        "its row with the style of its column."
    )
    contents, examples, translations = translate_grid(samples, direction, first_content, first_example)
    content_attributes = samples.predict_attributes(contents, source)
    example_attributes = samples.predict_attributes(examples, 3 - source)
    output_attributes = samples.predict_attributes(translations, 3 - source)
    if content_attributes is None or example_attributes is None or output_attributes is None:
        return sentence, []
    shapes = content_attributes.shape_class.repeat_interleave(NUM_STYLES)
    accuracy = (output_attributes.shape_class == shapes).float().mean()
    rows = [["of these translations", "predicted"], ["same shape as the content", f"{float(accuracy):.0%}"]]
    for k, factor in enumerate(STYLE_FACTORS[3 - source]):
        factor_values = example_attributes.style[:, k].repeat(NUM_CONTENTS)
        error = (output_attributes.style[:, k] - factor_values).abs().mean() / factor.span
        name = factor.name.replace("_", " ")
        rows.append([f"{name}: mean absolute error", f"{float(error):.0%} of its range"])
    return sentence, rows


class ExampleExplorer(ModelExplorer):
    """Translations of a trained model with the styles of example images; see `render`."""

    spec = ExplorerSpec(
        "Example-guided explorer", render, describe, make_controls,
        uploads={
            "content": "Your own content image (replaces the first)",
            "example": "Your own example (replaces the first)",
        },
    )  # fmt: skip

    def handle_upload(self, upload: str, file: str, content: bytes) -> None:
        source = self.samples.source_domain(self.state["direction"])
        self.show_upload(
            source if upload == "content" else 3 - source, self.state[f"first_{upload}"] - 1, file, content
        )
