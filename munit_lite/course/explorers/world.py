"""World explorer: every content and style factor of the known world, what judges read, and the codes beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from IPython.display import Image

import munit_lite as ml
from munit_lite.course.explorers.exhibit import CELL, tiles
from munit_lite.course.explorers.widget import Choice, Control, Explorer, Picture, Slider, State, png
from munit_lite.evaluation.attribute_predictors import AttributePredictor, load_attribute_predictor
from munit_lite.model import MUNIT
from munit_lite.storage.files import CheckpointError
from munit_lite.world import (
    CONTENT_FACTORS,
    DOMAIN_NAMES,
    SHAPE_NAMES,
    SHAPES,
    STYLE_FACTORS,
    Content,
    Factor,
    PaintingStyle,
    SketchStyle,
    Style,
    code_from_style,
)
from munit_lite.world import (
    render as draw,
)

SIZE = 32
EDGE = 0.02  # share of a style's range left out at its open ends, where the code is infinite


class Instruments(NamedTuple):
    """What reads the images: judges of domain 1 and 2, and a model whose codes are shown, if there is one."""

    judges: tuple[AttributePredictor, AttributePredictor]
    model: MUNIT | None
    missing: str  # why there is none


def open_instruments(checkpoint: str | Path | MUNIT) -> Instruments:
    """The judges, and the model if it is there and of the known world."""
    judges = (load_attribute_predictor(1), load_attribute_predictor(2))
    try:
        model = checkpoint if isinstance(checkpoint, MUNIT) else ml.load(checkpoint)
    except CheckpointError as error:
        return Instruments(judges, None, str(error))
    data = model.config.data
    if data.dataset != "world":
        return Instruments(judges, None, f"the model was trained on {data.dataset}, not on the known world")
    return Instruments(judges, model.cpu().eval(), "")


def controls() -> dict[str, Control]:
    """One control for each factor, in its own unit."""
    return {
        "shape": Choice(SHAPE_NAMES, "shape", "content: shared by both domains", "star"),
        **{factor.name: _slider(factor, f"content, {factor.unit}", 0.0) for factor in CONTENT_FACTORS},
        **{
            factor.name: _slider(factor, f"style of the {DOMAIN_NAMES[domain]}, {factor.unit}", EDGE)
            for domain, factors in STYLE_FACTORS.items()
            for factor in factors
        },
    }


def _slider(factor: Factor, words: str, edge: float) -> Slider:
    low, high = (round(factor.low + share * factor.span, 4) for share in (edge, 1 - edge))
    return Slider(low, high, round((low + high) / 2, 4), words=f"{words}; from {low:g} to {high:g}")


def content_of(shape: str, x: float, y: float, size: float, turn: float) -> Content:
    """One content; the turn is in symmetry periods of its shape."""
    number = SHAPE_NAMES.index(shape)
    return Content(
        torch.tensor([number]),
        torch.tensor([[x, y]]),
        torch.tensor([size]),
        torch.tensor([turn * SHAPES[number].period]),
    )


def styles_of(**factors: float) -> dict[int, Style]:
    """One style of each domain."""
    one = {name: torch.tensor([value]) for name, value in factors.items()}
    line, paint = ({f.name: one[f.name] for f in STYLE_FACTORS[domain]} for domain in DOMAIN_NAMES)
    return {1: SketchStyle(**line), 2: PaintingStyle(**paint)}


def _split(state: State) -> tuple[Content, dict[int, Style]]:
    held = {"shape", *(f.name for f in CONTENT_FACTORS)}
    content = content_of(**{name: state[name] for name in held})
    return content, styles_of(**{name: value for name, value in state.items() if name not in held})


def render(**state: Any) -> Picture:
    """The sketch and the painting of one content.

    Args:
        **state: `shape` and the factors by name, in their units.
    """
    content, styles = _split(state)
    return tiles([torch.cat([draw(content, styles[domain], domain, SIZE) for domain in DOMAIN_NAMES])], cell=4 * CELL)


@torch.no_grad()
def describe(instruments: Instruments, **state: Any) -> tuple[str, list[list[str]]]:
    """One sentence, and for each factor the truth, what the judges read, and the true code of the style."""
    content, styles = _split(state)
    images = {domain: draw(content, styles[domain], domain, SIZE) for domain in DOMAIN_NAMES}
    readings = {domain: judge(images[domain]) for domain, judge in zip(DOMAIN_NAMES, instruments.judges, strict=True)}
    rows = [
        ["factor", "truth", "judge of sketches", "judge of paintings", "true code"],
        ["shape", state["shape"], *(SHAPE_NAMES[int(r.shape_class)] for r in readings.values()), ""],
    ]
    places = {name: [torch.cat([r.position[0], r.size, r.turn])[k] for r in readings.values()] for k, name in
              enumerate(f.name for f in CONTENT_FACTORS)}  # fmt: skip
    is_round = SHAPES[SHAPE_NAMES.index(state["shape"])].fold == 0
    for name, read in places.items():
        told = ["none"] * 3 if name == "turn" and is_round else [f"{float(v):.2f}" for v in (state[name], *read)]
        rows.append([name, *told, ""])
    for domain, reading in readings.items():
        codes = code_from_style(styles[domain])[0]
        for k, factor in enumerate(STYLE_FACTORS[domain]):
            cells = ["", ""]
            cells[domain - 1] = f"{float(reading.style[0, k]):.2f}"
            rows.append([factor.name.replace("_", " "), f"{state[factor.name]:.2f}", *cells, f"{float(codes[k]):.2f}"])
    return f"A {state['shape']} as a sketch and as a painting. {_encoded(instruments, images)}", rows


def _encoded(instruments: Instruments, images: dict[int, torch.Tensor]) -> str:
    if instruments.model is None:
        return f"Encoded styles are not shown: {instruments.missing}."
    codes = (instruments.model.encode_style(images[domain], domain)[0] for domain in DOMAIN_NAMES)
    one, two = (", ".join(f"{float(value):.2f}" for value in code) for code in codes)
    return f"The model encodes the styles as ({one}) and ({two}); the coordinates need not be the true ones."


class WorldExplorer(Explorer):
    """A slider for every factor of the known world; see `render` and `describe`."""

    def __init__(self, checkpoint: str | Path | MUNIT = "world32", state: State | None = None) -> None:
        """
        Args:
            checkpoint: a model whose style codes are shown beside the truth; it may be missing.
            state: values to begin with.
        """
        self.checkpoint = checkpoint
        made = controls()
        first = {name: control.first for name, control in made.items()}
        alt = "World explorer. Every shape of the known world as a sketch and, below it, as a painting."
        strip = Image(png(_strip(first)), format="png", alt=alt)
        super().__init__(render, made, strip, "World explorer", partial(describe, open_instruments(checkpoint)), state)

    def as_code(self, state: State) -> str:
        name = "model" if isinstance(self.checkpoint, MUNIT) else repr(str(self.checkpoint))
        return f"WorldExplorer({name}, state={state})"


def _strip(first: State) -> Picture:
    kinds = [_split(first | {"shape": shape, "turn": 0.1}) for shape in SHAPE_NAMES]
    sketches, paintings = (
        torch.cat([draw(content, styles[domain], domain, SIZE) for content, styles in kinds]) for domain in DOMAIN_NAMES
    )
    return tiles([sketches, paintings], 2 * CELL)
