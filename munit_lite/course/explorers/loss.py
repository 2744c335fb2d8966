"""Loss surgery: the same images in the same styles by models that differ in one loss term, and what each measured."""

from __future__ import annotations

from functools import cache, partial

import torch
from IPython.display import Image

from munit_lite.course.explorers.exhibit import (
    CELL,
    SHOWN,
    Exhibit,
    direction_control,
    image_control,
    open_exhibit,
    refuse,
    stacked,
    tiles,
)
from munit_lite.course.explorers.widget import TOLD, Choice, Control, Explorer, Picture, Slider, State, png
from munit_lite.experiments.results import read_results

REFERENCE = "all terms"
RUNS = {
    "no image reconstruction": "world32_no_image",
    "no content reconstruction": "world32_no_content",
    "no style reconstruction": "world32_no_style",
    "all terms and the cycle": "world32_with_cycle",
    REFERENCE: "world32_munit",
}
MEASURED = {
    "class right": "class_accuracy",
    "place off by, image widths": "position_error",
    "diversity, of the true one": "diversity_ratio",
    "drawn code rules the style, R²": "sampled_style_r2",
    "distance to the example's style": "example_error",
}
ROWS, STYLES = 3, 7


@cache
def arm(run: str) -> Exhibit:
    """A shipped run by its words in `RUNS`, with held-out images.

    Raises:
        CheckpointError: its file is missing or corrupt.
    """
    return open_exhibit(RUNS[run])


def controls(exhibit: Exhibit) -> dict[str, Control]:
    return {
        "run": Choice(tuple(RUNS), "the run below"),
        "direction": direction_control(exhibit),
        "image": image_control("first image", f"of {SHOWN} held-out images"),
        "first_style": Slider(1, 99, 1, "first style", "the number of a draw from the prior"),
    }


@torch.no_grad()
def render(run: str, direction: str, image: int, first_style: int) -> Picture:
    """Three images, first column, in seven drawn styles: above by the run with all terms, below by the chosen one.

    Args:
        run: one of `RUNS`.
        direction: one of the models' directions.
        image: 1 … SHOWN, the first of the three.
        first_style: number of the first of seven draws from the prior, the same for both runs.
    """
    return stacked(*(tiles(_rows(name, direction, image, first_style), CELL) for name in (REFERENCE, run)))


def _rows(run: str, direction: str, image: int, first_style: int) -> list[torch.Tensor]:
    exhibit = arm(run)
    source = exhibit.source(direction)
    styles = torch.cat([exhibit.drawn_style(first_style + k) for k in range(STYLES)])
    chosen = [(image - 1 + k) % SHOWN for k in range(ROWS)]
    images, contents = exhibit.images[source - 1], exhibit.contents[source - 1]
    return [torch.cat([images[[k]], exhibit.decode(contents[[k]], styles, 3 - source)]) for k in chosen]


def describe(run: str, direction: str, image: int, first_style: int) -> tuple[str, list[list[str]]]:
    """What `render` shows; and the two runs' figures over 1,000 test contents, with 95 % intervals over contents."""
    exhibit = arm(run)
    source = exhibit.source(direction)
    sentence = (
        f"First column: three images of domain {source} ({exhibit.name(source)}), then each in {STYLES} drawn styles. "
        f"Above: the run with {REFERENCE}. Below: {run}. One seed each, so small differences say nothing."
    )
    found = [read_results(RUNS[name])[direction] for name in (REFERENCE, run)]
    rows = [["measured on 1,000 contents", REFERENCE, run]]
    for words, key in MEASURED.items():
        rows.append([words, *(f"{numbers[key]:.2f} ± {numbers[f'{key}_interval']:.2f}" for numbers in found)])
    return sentence, rows


class LossExplorer(Explorer):
    """The shipped runs with a term missing, side by side; see `render`."""

    def __init__(self, state: State | None = None) -> None:
        """
        Args:
            state: values to begin with.
        """
        title = "Loss surgery"
        try:
            opened = [arm(run) for run in RUNS]  # all of them, so that a missing one is told at once
        except TOLD as error:
            super().__init__(partial(refuse, error), {}, None, title)
            return
        made = controls(opened[0])
        first: State = {name: control.first for name, control in made.items()}
        stored = tiles(
            [row for run in RUNS for row in _rows(run, first["direction"], first["image"], first["first_style"])[:1]]
        )
        alt = f"{title}. One sketch in {STYLES} drawn styles, a row for each run: {'; '.join(RUNS)}."
        super().__init__(render, made, Image(png(stored), format="png", alt=alt), title, describe, state)

    def as_code(self, state: State) -> str:
        return f"LossExplorer(state={state})"
