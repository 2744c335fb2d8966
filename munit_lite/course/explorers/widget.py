"""Explorers: controls beside a picture that a pure function renders, and a stored image where no kernel runs.

The view is one small widget: native sliders with labels, so that keyboards and screen readers work, and one dictionary
of values. The front end sends the newest values only after the last picture has arrived, so that none queue up.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import Image

from munit_lite.course.explorers.pictures import Picture, to_png
from munit_lite.data.image_files import DataError
from munit_lite.storage.files import StorageError

State = dict[str, Any]
Describe = Callable[..., tuple[str, Sequence[Sequence[str]]]]
USER_ERRORS = (ValueError, StorageError, DataError)  # errors whose messages are for the reader


@dataclass(frozen=True)
class Slider:
    """A number that the reader can change.

    Args:
        low, high, default: the range and the initial value; integers give steps of one.
        label: text beside the slider; by default the key in the explorer's state.
        description: the meaning and the range, with the unit.
        density: heights in [0, 1] of a curve behind the slider, from `low` to `high`.
    """

    low: float
    high: float
    default: float
    label: str = ""
    description: str = ""
    density: tuple[float, ...] = ()

    @property
    def step(self) -> float:
        """The distance of two values: 1 if the range has integers, else 1, 2 or 5 times a power of ten."""
        if all(isinstance(value, int) for value in (self.low, self.high, self.default)):
            return 1
        max_step = (self.high - self.low) / 40
        power = 10.0 ** math.floor(math.log10(max_step))
        return max(round(k * power, 9) for k in (1, 2, 5) if k * power <= max_step)

    def validate(self, name: str, value: Any) -> float:
        """Return a value without the rounding noise of binary fractions.

        Args:
            name: the key in the explorer's state, for the message.
            value: what the front end or the user sets.

        Raises:
            ValueError: it is not a number, or out of range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"{name} is {value!r}, but goes from {self.low:g} to {self.high:g}")
        return round(value) if self.step == 1 else round(float(value), 6)

    def to_dict(self, key: str) -> dict[str, Any]:
        """Return what the front end needs to build the control, which sets `key` of the explorer's state."""
        return {
            "kind": "slider", "key": key, "label": self.label or key.replace("_", " "), "low": self.low,
            "high": self.high, "step": self.step, "density": list(self.density),
            "description": self.description or f"from {self.low:g} to {self.high:g}",
        }  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One of several options.

    Args:
        options: the texts to choose from.
        label, description: as for a `Slider`.
        default: the option that is chosen initially; by default the first.
    """

    options: tuple[str, ...]
    label: str = ""
    description: str = ""
    default: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "default", self.default or self.options[0])

    def validate(self, name: str, value: Any) -> str:
        """Return a value that is one of the options.

        Args:
            name: the key in the explorer's state, for the message.
            value: what the front end or the user sets.

        Raises:
            ValueError: it is not among the options.
        """
        if value not in self.options:
            raise ValueError(f"{name} is {value!r}, but the choices are: {', '.join(self.options)}")
        return value

    def to_dict(self, key: str) -> dict[str, Any]:
        """Return what the front end needs to build the control, which sets `key` of the explorer's state."""
        return {
            "kind": "choice", "key": key, "label": self.label or key.replace("_", " "), "options": list(self.options),
            "description": self.description,
        }  # fmt: skip


Control = Slider | Choice


def default_values(controls: Mapping[str, Control]) -> State:
    """Return the default of each control by name: the state of an explorer that nobody has touched.

    Example:
        >>> default_values({"size": Slider(1, 9, 4), "view": Choice(("near", "far"))})
        {'size': 4, 'view': 'near'}
    """
    return {name: control.default for name, control in controls.items()}


class Explorer(anywidget.AnyWidget):
    """Controls beside a picture; a page without a kernel shows a stored image instead.

    Args:
        render: takes the value of each control by name; returns a (H, W, 3) uint8 picture, or a figure as PNG. It is
            a pure function: the same values give the same picture.
        controls: name -> `Slider`, `Choice` or (low, high, default).
        stored_image: the image that represents the explorer where no kernel runs, with alternative text; None if
            there is nothing to show but the message of the error that `render` raises.
        title: the name of the explorer, for screen readers.
        describe: takes the same values as `render`; returns one sentence that says what the picture shows, and the
            rows of a table below it (the first row is the header; without rows there is no table).
        state: initial values in place of the controls' defaults, such as those that "Copy this state as code" gives.

    Example:
        >>> import numpy as np
        >>> black = Explorer(lambda size: np.zeros((size, size, 3), np.uint8), {"size": (1, 9, 4)}, None)
        >>> black.state, black.code
        ({'size': 4}, "explorer.state = {'size': 4}")
    """

    _esm = Path(__file__).with_name("widget.js")
    _css = Path(__file__).with_name("widget.css")
    title = traitlets.Unicode().tag(sync=True)
    controls: Any = traitlets.List().tag(sync=True)
    actions = traitlets.Dict().tag(sync=True)  # key -> text of the button
    uploads = traitlets.Dict().tag(sync=True)  # key -> text of the file chooser
    state = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)  # PNG
    sentence = traitlets.Unicode().tag(sync=True)  # what the picture shows: also its alternative text
    problem = traitlets.Unicode().tag(sync=True)  # what went wrong and what to do about it
    rows: Any = traitlets.List().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        render: Callable[..., Picture | Image],
        controls: Mapping[str, Control | tuple[float, float, float]],
        stored_image: Image | None,
        title: str = "Explorer",
        describe: Describe | None = None,
        state: State | None = None,
    ) -> None:
        self.render, self.stored_image = render, stored_image
        self.describe: Describe = describe or (lambda **_: (stored_image.alt if stored_image else "", []))
        self.control_by_name = {name: c if isinstance(c, Control) else Slider(*c) for name, c in controls.items()}
        super().__init__(
            title=title,
            controls=[control.to_dict(name) for name, control in self.control_by_name.items()],
            actions={"reset": "Reset"} if controls else {},
            state=default_values(self.control_by_name) | (state or {}),
        )
        self._redraw()
        self.observe(self._redraw, names="state")
        self.on_msg(self._handle_message)

    def handle_action(self, action: str) -> None:
        """Do what a button asks for.

        Args:
            action: a key of `actions`.
        """
        if action == "reset":
            self.state = default_values(self.control_by_name)

    def handle_upload(self, upload: str, file: str, content: bytes) -> None:
        """Use an uploaded file; the message of an error in `USER_ERRORS` is shown to the reader.

        Args:
            upload: a key of `uploads`.
            file: its name.
            content: its bytes.
        """

    def as_code(self, state: State) -> str:
        """Return the code that restores a state: a call of the subclass, or an assignment to `explorer.state`."""
        name = type(self).__name__  # anywidget gives each instance a class of its own, of the same name
        return f"explorer.state = {state}" if name == Explorer.__name__ else f"{name}(state={state})"

    def _redraw(self, *_: Any) -> None:
        try:
            state = self._validate(self.state)
            picture = self.render(**state)
            sentence, rows = self.describe(**state)
        except USER_ERRORS as error:
            self.problem = str(error)
            return
        with self.hold_sync():
            self.picture = picture.data if isinstance(picture, Image) else to_png(picture)
            self.sentence, self.rows, self.problem = sentence, [list(row) for row in rows], ""
            self.code = self.as_code(state)

    def _validate(self, state: State) -> State:
        unknown = sorted(set(state) - set(self.control_by_name))
        if unknown:
            raise ValueError(f"the explorer has no {unknown[0]!r}; known: {', '.join(self.control_by_name)}")
        return {name: control.validate(name, state[name]) for name, control in self.control_by_name.items()}

    def _handle_message(self, _: Any, content: dict[str, str], buffers: Sequence[memoryview]) -> None:
        try:
            if "action" in content:
                self.handle_action(content["action"])
            else:
                self.handle_upload(content["upload"], content["file"], bytes(buffers[0]))
        except USER_ERRORS as error:
            self.problem = str(error)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view, *_ = super()._repr_mimebundle_(**options) or ({},)
        if self.stored_image is None:
            return view | {"text/plain": self.problem}, {}
        stored = {"image/png": base64.b64encode(self.stored_image.data).decode(), "text/plain": self.stored_image.alt}
        return view | stored, {"image/png": {"alt": self.stored_image.alt}}
