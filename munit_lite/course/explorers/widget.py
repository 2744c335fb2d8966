"""Explorers: controls beside a picture that a pure function draws, and a stored strip where no kernel runs.

The view is one small widget: native sliders with labels, so that keyboards and screen readers work, and one dictionary
of values. The front end sends the newest values only once the last picture has arrived, so none queue up.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import PIL.Image
import traitlets
from IPython.display import Image

from munit_lite.data.image_files import DataError
from munit_lite.storage.files import CheckpointError

State = dict[str, Any]
Picture = np.ndarray  # (H, W, 3) uint8
Tell = Callable[..., tuple[str, Sequence[Sequence[str]]]]
TOLD = (ValueError, CheckpointError, DataError)  # errors whose sentences are for the reader


@dataclass(frozen=True)
class Slider:
    """A number to be turned by hand.

    Args:
        low, high, first: range and first value; whole numbers give steps of one.
        name: what it moves, in words; by default the key in the explorer's state.
        words: its range in words, with the unit.
        density: heights in [0, 1] drawn behind it, from `low` to `high`.
    """

    low: float
    high: float
    first: float
    name: str = ""
    words: str = ""
    density: tuple[float, ...] = ()

    @property
    def step(self) -> float:
        if all(isinstance(value, int) for value in (self.low, self.high, self.first)):
            return 1
        most = (self.high - self.low) / 40
        power = 10.0 ** math.floor(math.log10(most))
        return max(round(k * power, 9) for k in (1, 2, 5) if k * power <= most)

    def checked(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"{name} is {value!r}, but goes from {self.low:g} to {self.high:g}")
        return round(value) if self.step == 1 else round(float(value), 6)

    def spec(self, key: str) -> dict[str, Any]:
        return {
            "kind": "slider", "key": key, "name": self.name or key.replace("_", " "), "low": self.low,
            "high": self.high, "step": self.step, "density": list(self.density),
            "words": self.words or f"from {self.low:g} to {self.high:g}",
        }  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One of several words; the first is chosen to begin with unless `first` says otherwise."""

    options: tuple[str, ...]
    name: str = ""
    words: str = ""
    first: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", self.first or self.options[0])

    def checked(self, name: str, value: Any) -> str:
        if value not in self.options:
            raise ValueError(f"{name} is {value!r}, but the choices are: {', '.join(self.options)}")
        return value

    def spec(self, key: str) -> dict[str, Any]:
        return {
            "kind": "choice", "key": key, "name": self.name or key.replace("_", " "), "words": self.words,
            "options": list(self.options),
        }  # fmt: skip


Control = Slider | Choice


class Explorer(anywidget.AnyWidget):
    """Controls beside a picture; a stored page shows the strip in its place.

    Args:
        render: called with each control's value by name; returns a (H, W, 3) uint8 picture, or a figure as PNG.
            Nothing else may happen in it: the same values give the same picture.
        controls: name -> `Slider`, `Choice` or (lowest, highest, first) value.
        strip: the picture that stands for the explorer where no kernel runs, with alternative text; None: there is
            nothing to show but the sentence that `render` raises.
        title: a name for the whole, for screen readers.
        tell: called like `render`; says in one sentence what the picture shows, and gives rows for a table below it
            (the first row is its header; no rows, no table).
        state: values to begin with instead of the controls' own; what "copy this state as code" gives.
    """

    _esm = Path(__file__).with_name("widget.js")
    _css = Path(__file__).with_name("widget.css")
    title = traitlets.Unicode().tag(sync=True)
    controls: Any = traitlets.List().tag(sync=True)
    actions = traitlets.Dict().tag(sync=True)  # key -> what the button says
    uploads = traitlets.Dict().tag(sync=True)  # key -> what the file chooser says
    state = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)  # PNG
    sentence = traitlets.Unicode().tag(sync=True)  # what the picture shows: also its alternative text
    problem = traitlets.Unicode().tag(sync=True)  # what went wrong and what to do
    rows: Any = traitlets.List().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        render: Callable[..., Picture | Image],
        controls: Mapping[str, Control | tuple[float, float, float]],
        strip: Image | None,
        title: str = "Explorer",
        tell: Tell | None = None,
        state: State | None = None,
    ) -> None:
        self.render, self.strip = render, strip
        self.tell: Tell = tell or (lambda **_: (strip.alt if strip else "", []))
        self.ranges = {name: c if isinstance(c, Control) else Slider(*c) for name, c in controls.items()}
        specs = [control.spec(name) for name, control in self.ranges.items()]
        super().__init__(
            title=title, controls=specs, actions={"reset": "Reset"} if specs else {}, state=self.begin() | (state or {})
        )
        self._draw()
        self.observe(self._draw, names="state")
        self.on_msg(self._received)

    def begin(self) -> State:
        """The values to begin with, and to go back to on "Reset"."""
        return {name: control.first for name, control in self.ranges.items()}

    def act(self, action: str) -> None:
        """What a button does."""
        if action == "reset":
            self.state = self.begin()

    def receive(self, upload: str, file: str, content: bytes) -> None:
        """What becomes of an uploaded file. Errors in `TOLD` are shown."""

    def as_code(self, state: State) -> str:
        """What to run to come back to a state."""
        return f"explorer.state = {state}"

    def _draw(self, *_: Any) -> None:
        try:
            state = self._checked(self.state)
            drawn = self.render(**state)
            sentence, rows = self.tell(**state)
        except TOLD as error:
            self.problem = str(error)
            return
        with self.hold_sync():
            self.picture = drawn.data if isinstance(drawn, Image) else png(drawn)
            self.sentence, self.rows, self.problem = sentence, [list(row) for row in rows], ""
            self.code = self.as_code(state)

    def _checked(self, state: State) -> State:
        unknown = sorted(set(state) - set(self.ranges))
        if unknown:
            raise ValueError(f"the explorer has no {unknown[0]!r}; known: {', '.join(self.ranges)}")
        return {name: control.checked(name, state[name]) for name, control in self.ranges.items()}

    def _received(self, _: Any, content: dict[str, str], buffers: Sequence[memoryview]) -> None:
        try:
            if "action" in content:
                self.act(content["action"])
            else:
                self.receive(content["upload"], content["file"], bytes(buffers[0]))
        except TOLD as error:
            self.problem = str(error)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view, *_ = super()._repr_mimebundle_(**options) or ({},)
        if self.strip is None:
            return view | {"text/plain": self.problem}, {}
        stored = {"image/png": base64.b64encode(self.strip.data).decode(), "text/plain": self.strip.alt}
        return view | stored, {"image/png": {"alt": self.strip.alt}}


def png(picture: Picture) -> bytes:
    """(H, W, 3) uint8 as PNG; lightly compressed, for speed."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
