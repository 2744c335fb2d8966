"""Style explorer: turn the style code by hand and watch what it paints, G(E^c(x), s) (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from munit_lite.course.explorers.exhibit import (
    CELL,
    NORMAL,
    REACH,
    SHOWN,
    Exhibit,
    Idea,
    ModelExplorer,
    direction_control,
    image_control,
    reading_rows,
    stacked,
    tiles,
)
from munit_lite.course.explorers.widget import Choice, Control, Picture, Slider

EIGHT, ALONE, BETWEEN = "this style on eight images", "each coordinate alone", "between two styles"
TURNED = 2.5  # "each coordinate alone" goes from -TURNED to TURNED


def controls(exhibit: Exhibit) -> dict[str, Control]:
    """One slider for each coordinate of the style code, and what to show with it."""
    words = f"from −{REACH:g} to {REACH:g}; of drawn styles 95 % lie between −2 and 2"
    return {
        "direction": direction_control(exhibit),
        "image": image_control(),
        **{
            f"style_{k + 1}": Slider(-REACH, REACH, 0.0, f"style coordinate {k + 1}", words, NORMAL)
            for k in range(exhibit.style_dim)
        },
        "view": Choice((EIGHT, ALONE, BETWEEN), "below"),
        "second": Slider(1, 99, 1, "second style", "the number of a draw from the prior; for “between two styles”"),
    }


def code_of(exhibit: Exhibit, style: Mapping[str, float]) -> Tensor:
    """The sliders' values as a style code, (1, style_dim)."""
    return torch.tensor([[style[f"style_{k + 1}"] for k in range(exhibit.style_dim)]])


@torch.no_grad()
def render(exhibit: Exhibit, direction: str, image: int, view: str, second: int, **style: float) -> Picture:
    """The chosen image and its translation, large; below them one of three views of the style.

    Args:
        exhibit: the model and its images.
        direction: one of `exhibit.directions`.
        image: 1 … SHOWN.
        view: `EIGHT`, `ALONE` or `BETWEEN`.
        second: number of the draw that `BETWEEN` leads to.
        **style: style_1 … style_n, the code.
    """
    source = exhibit.source(direction)
    target, code = 3 - source, code_of(exhibit, style)
    images, contents = exhibit.images[source - 1], exhibit.contents[source - 1]
    chosen = contents[image - 1 : image]
    if view == EIGHT:
        made = exhibit.decode(contents, code, target)
        rows, translation = [images, made], made[image - 1 : image]
    else:
        codes = _alone(code) if view == ALONE else _between(code, exhibit.drawn_style(second))
        subjects = [chosen] if view == ALONE else [contents[(image - 1 + k) % SHOWN][None] for k in range(3)]
        rows = [exhibit.decode(subject, row, target) for subject in subjects for row in codes.split(SHOWN)]
        translation = exhibit.decode(chosen, code, target)
    return stacked(tiles([torch.cat([images[image - 1 : image], translation])], cell=4 * CELL), tiles(rows))


def _alone(code: Tensor) -> Tensor:
    """Each coordinate in SHOWN steps, the others as they are: (style_dim * SHOWN, style_dim)."""
    turned = code.repeat(code.shape[1] * SHOWN, 1)
    for k in range(code.shape[1]):
        turned[k * SHOWN : (k + 1) * SHOWN, k] = torch.linspace(-TURNED, TURNED, SHOWN)
    return turned


def _between(first: Tensor, second: Tensor) -> Tensor:
    """SHOWN codes on the straight line between two: (SHOWN, style_dim)."""
    return torch.lerp(first, second, torch.linspace(0, 1, SHOWN)[:, None])


@torch.no_grad()
def describe(
    exhibit: Exhibit, direction: str, image: int, view: str, second: int, **style: float
) -> tuple[str, list[list[str]]]:
    """What `render` shows in one sentence, and what the judge reads from the translation."""
    source = exhibit.source(direction)
    target, code = 3 - source, code_of(exhibit, style)
    other = ", ".join(f"{value:.2f}" for value in exhibit.drawn_style(second)[0])
    below = {
        EIGHT: f"eight images of domain {source}, and under each its translation with this style",
        ALONE: f"a row for each coordinate, turned alone from −{TURNED:g} to {TURNED:g}",
        BETWEEN: f"three contents on the straight way from this style to ({other})",
    }
    sentence = (
        f"A held-out {exhibit.name(source)} and its translation into a {exhibit.name(target)} with the style "
        f"({', '.join(f'{value:.2f}' for value in code[0])}). Below: {below[view]}."
    )
    chosen = exhibit.contents[source - 1][image - 1 : image]
    reading = exhibit.judged(exhibit.decode(chosen, code, target), target)
    return sentence, reading_rows(reading, ["translation"], target) if reading else []


class StyleExplorer(ModelExplorer):
    """Sliders for the style code of a trained model; see `render`."""

    idea = Idea(
        "Style explorer", render, describe, controls,
        strip={"view": ALONE},
        actions={"draw": "Draw from the prior"},
        uploads={"image": "Your own image, in the chosen one's place"},
    )  # fmt: skip
    draws = 0

    def act(self, action: str) -> None:
        super().act(action)
        if action == "draw":
            self.draws += 1
            drawn = self.exhibit.drawn_style(self.draws)[0].tolist()
            self.state = self.state | {f"style_{k + 1}": round(value, 2) for k, value in enumerate(drawn)}

    def receive(self, upload: str, file: str, content: bytes) -> None:
        self.show(self.exhibit.source(self.state["direction"]), self.state["image"] - 1, file, content)
