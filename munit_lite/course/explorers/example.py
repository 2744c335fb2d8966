"""Example-guided explorer: contents of one domain in the styles of images of the other, G(E^c(x), E^s(y))."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from munit_lite.course.explorers.exhibit import (
    SHOWN,
    Exhibit,
    Idea,
    ModelExplorer,
    direction_control,
    image_control,
    tiles,
)
from munit_lite.course.explorers.widget import Control, Picture
from munit_lite.world import STYLE_FACTORS

CONTENTS, STYLES = 4, 7  # rows and columns of the table of translations


def controls(exhibit: Exhibit) -> dict[str, Control]:
    words = f"of {SHOWN} held-out images"
    return {
        "direction": direction_control(exhibit),
        "first_content": image_control("first image of the content strip", words),
        "first_style": image_control("first image of the style strip", words),
    }


@lru_cache(maxsize=1)  # the picture and its description need the same images
@torch.no_grad()
def strips(exhibit: Exhibit, direction: str, first_content: int, first_style: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images of the two strips, and the table of translations.

    Returns:
        contents (CONTENTS, 3, H, W), styles (STYLES, 3, H, W), translations (CONTENTS * STYLES, 3, H, W), row by row.
    """
    source = exhibit.source(direction)
    rows = (torch.arange(CONTENTS) + first_content - 1) % SHOWN
    columns = (torch.arange(STYLES) + first_style - 1) % SHOWN
    examples = exhibit.images[2 - source][columns]
    codes = exhibit.model.encode_style(examples, 3 - source)
    content = exhibit.contents[source - 1][rows].repeat_interleave(STYLES, 0)
    made = exhibit.decode(content, codes.repeat(CONTENTS, 1), 3 - source)
    return exhibit.images[source - 1][rows], examples, made


@torch.no_grad()
def render(exhibit: Exhibit, direction: str, first_content: int, first_style: int) -> Picture:
    """Examples across, contents down, and in each cell the content of its row in the style of its column.

    Args:
        exhibit: the model and its images.
        direction: one of `exhibit.directions`.
        first_content: 1 … SHOWN, where the strip of contents begins; it goes on from the first after the last.
        first_style: the same for the strip of examples.
    """
    contents, examples, made = strips(exhibit, direction, first_content, first_style)
    corner = torch.ones_like(contents[:1])
    return tiles(
        [
            torch.cat([corner, examples]),
            *(torch.cat([content[None], row]) for content, row in zip(contents, made.split(STYLES), strict=True)),
        ]
    )


@torch.no_grad()
def describe(exhibit: Exhibit, direction: str, first_content: int, first_style: int) -> tuple[str, list[list[str]]]:
    """One sentence; and where judges read both domains, how much of content and style arrived."""
    source = exhibit.source(direction)
    sentence = (
        f"First column: {CONTENTS} images of domain {source} ({exhibit.name(source)}). First row: {STYLES} of domain "
        f"{3 - source} ({exhibit.name(3 - source)}). Each cell: the content of its row in the style of its column."
    )
    contents, examples, made = strips(exhibit, direction, first_content, first_style)
    wanted, given = exhibit.judged(contents, source), exhibit.judged(examples, 3 - source)
    found = exhibit.judged(made, 3 - source)
    if wanted is None or given is None or found is None:
        return sentence, []
    same = (found.shape_class == wanted.shape_class.repeat_interleave(STYLES)).float().mean()
    rows = [["in these cells", "judged"], ["same shape as the content", f"{float(same):.0%}"]]
    for k, factor in enumerate(STYLE_FACTORS[3 - source]):
        error = (found.style[:, k] - given.style[:, k].repeat(CONTENTS)).abs().mean() / factor.span
        rows.append([f"{factor.name.replace('_', ' ')}: distance to the example's", f"{float(error):.0%} of its range"])
    return sentence, rows


class ExampleExplorer(ModelExplorer):
    """Content strip and style strip of a trained model, in both directions; see `render`."""

    idea = Idea(
        "Example-guided explorer", render, describe, controls,
        uploads={"content": "Your own content, first of its strip", "style": "Your own style, first of its strip"},
    )  # fmt: skip

    def receive(self, upload: str, file: str, content: bytes) -> None:
        source = self.exhibit.source(self.state["direction"])
        self.show(source if upload == "content" else 3 - source, self.state[f"first_{upload}"] - 1, file, content)
