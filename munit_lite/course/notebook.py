"""What every notebook needs: set-up, predictions and their score, tables, and loss curves while training."""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import DisplayHandle, Markdown, display

from munit_lite.callbacks import Callback
from munit_lite.config import Config
from munit_lite.course.exercises.framework import Exercise
from munit_lite.course.figures import loss_figure

_TYPES = {
    "bool": "True or False",
    "int": "a whole number such as 3",
    "float": "a number such as 0.5",
    "str": "text",
    "dict": "a dictionary",
    "list": "a list",
}


_EXPRESSION = object()  # the value of a name that a cell assigns something other than a literal to


def check_parameters(inputs: Sequence[str]) -> None:
    """Check the parameters that papermill passes, which itself only warns about unknown names and checks no type.

    A parameter's type is its annotation in the notebook's parameters cell, or the type of its value there. None is
    accepted where it is the value there, and anything where an expression without an annotation is.

    Args:
        inputs: IPython's `In`: the sources of the cells that have run.

    Raises:
        ValueError: papermill passed an unknown name; the message lists the known ones.
        TypeError: papermill passed a value of another type; the message names the parameter and what it must be.

    Example:
        >>> check_parameters(["", "seed = 0", "print(seed)"])
        >>> check_parameters(["", "fast = False", "# Parameters\\nfast = 'false'"])
        Traceback (most recent call last):
        TypeError: the parameter fast is 'false', which is text; it must be True or False
    """
    for number, source in enumerate(inputs):
        if number and source.lstrip().startswith("# Parameters"):  # the cell that papermill injects
            known, injected = _assignments(inputs[number - 1]), _assignments(source)
            for name, (value, _) in injected.items():
                if name not in known:
                    raise ValueError(f"unknown parameter {name!r}; known: {', '.join(sorted(known))}")
                default, annotation = known[name]
                if annotation or default is not _EXPRESSION:
                    _check_type(name, value, annotation or type(default).__name__, default is None)


def _assignments(source: str) -> dict[str, tuple[Any, str]]:
    """Return the value and the annotation ("" without one) of each name that a cell assigns a literal to."""
    found = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found[statement.target.id] = _literal(statement.value), ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign):
            names = [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            found |= dict.fromkeys(names, (_literal(statement.value), ""))
    return found


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:  # papermill writes nan and infinity as float('nan') and float('inf')
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "float":
            return float(ast.literal_eval(node.args[0]))
        return _EXPRESSION


def _check_type(name: str, value: Any, expected: str, none_allowed: bool) -> None:
    kind = type(value).__name__
    if expected == kind or (expected, kind) == ("float", "int") or (value is None and none_allowed):
        return
    described = {"str": ", which is text", "list": ", which is a list", "dict": ", which is a dictionary"}.get(kind, "")
    advice = {"str": f"; on papermill's command line write -r {name} {value}"}.get(expected, "")
    wanted = _TYPES.get(expected, expected) + " or None" * none_allowed
    raise TypeError(f"the parameter {name} is {value!r}{described}; it must be {wanted}{advice}")


def drop_none(**parameters: Any) -> dict[str, Any]:
    """Select the parameters that are set, such as those that override a preset.

    Args:
        **parameters: name -> value, or None if the reader did not set it.

    Returns:
        Those that are not None.

    Example:
        >>> drop_none(steps=100, device=None)
        {'steps': 100}
    """
    return {name: value for name, value in parameters.items() if value is not None}


def setup_notebook(inputs: Sequence[str], seed: int) -> None:
    """Set up a notebook: refuse unknown parameters and seed torch.

    Args:
        inputs: IPython's `In`.
        seed: the seed of torch's global generator.

    Raises:
        ValueError: papermill passed a parameter that the notebook does not have.
    """
    check_parameters(inputs)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Prediction:
    """A multiple-choice question and the reader's choice.

    Args:
        question: Markdown.
        choice: the reader's letter; None if the reader made no prediction.
        choices: letter -> Markdown.
    """

    question: str
    choice: str | None
    choices: dict[str, str]


def predict(question: str, choice: str | None = None, /, **choices: str) -> Prediction:
    """Ask a question before the measurement; `score_prediction` scores the prediction afterwards.

    Args:
        question: Markdown.
        choice: the reader's letter; None if the reader makes no prediction.
        **choices: letter -> Markdown.

    Returns:
        What `score_prediction` takes.

    Raises:
        ValueError: the reader's letter is not among the choices.
    """
    if choice is not None and choice not in choices:
        raise ValueError(f"your prediction is {choice!r}, but the choices are {', '.join(choices)}")
    lines = [f"**{question}**", "", *(f"- ({letter}) {text}" for letter, text in choices.items())]
    display(Markdown("\n".join(lines)))
    return Prediction(question, choice, choices)


def score_prediction(prediction: Prediction, measured: str) -> None:
    """Print the measured answer, and beside it the reader's prediction if there is one.

    Args:
        prediction: the value that `predict` returned.
        measured: the letter that the measurement gives; it is computed, not typed in.

    Example:
        >>> score_prediction(Prediction("Which loss is larger?", "a", {"a": "image", "b": "style"}), measured="b")
        measured: (b) style
        your prediction: (a) image
    """
    print(f"measured: ({measured}) {prediction.choices[measured]}")
    if prediction.choice is not None:
        print(f"your prediction: ({prediction.choice}) {prediction.choices[prediction.choice]}")


def print_progress(*exercises: Exercise) -> None:
    """Print which exercises of a notebook are solved; the last cell of a notebook calls it.

    Args:
        *exercises: the checkers of the notebook.
    """
    solved = [exercise.last is not None and exercise.last.status == "correct" for exercise in exercises]
    print(f"{sum(solved)} of {len(exercises)} exercises solved")
    for exercise, is_solved in zip(exercises, solved, strict=True):
        print(f"  {exercise.name}: {'solved' if is_solved else 'open'}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 2) -> None:
    """Print a small table with aligned columns and rounded numbers.

    Args:
        header: a name for each column.
        rows: text, integers, floats, or (mean, interval) pairs, which are printed with a ±.
        digits: digits after the decimal point.

    Example:
        >>> print_table(["factor", "R²", "n"], [["size", (0.913, 0.021), 500], ["rotation", 0.5, 500]])
        factor             R²    n
        size      0.91 ± 0.02  500
        rotation         0.50  500
    """

    def format_value(value: Any) -> str:
        if isinstance(value, tuple):
            return " ± ".join(f"{number:z.{digits}f}" for number in value)
        return f"{value:z.{digits}f}" if isinstance(value, float) else str(value)

    cells = [list(header), *([format_value(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for row in cells:
        first, *numbers = (
            text.rjust(width) if k else text.ljust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *numbers]).rstrip())


class LiveCurves(Callback):
    """Redraw the loss curves in place while training, and print how long the rest of the run will take.

    The first estimate comes with the first record of the losses, further ones after every twentieth of the run.

    Args:
        min_seconds: the least time between two redraws.

    Example:
        Pass it to a run with `munit_lite.train(config, out, callbacks=[LiveCurves()])`.
    """

    def __init__(self, min_seconds: float = 5.0) -> None:
        self.min_seconds = min_seconds

    def on_start(self, config: Config, first_step: int) -> None:
        self.steps, self.first_step, self.start_time = config.steps, first_step, time.monotonic()
        self.history: list[dict[str, float]] = []
        self.handle, self.last_draw_time, self.last_printed_step = DisplayHandle(), 0.0, first_step

    def on_log(self, record: dict[str, float]) -> None:
        self.history.append(record)
        step = int(record["step"])
        if step - self.last_printed_step >= self.steps / 20 or step == self.steps or len(self.history) == 1:
            self.last_printed_step = step
            seconds_per_step = (time.monotonic() - self.start_time) / max(1, step - self.first_step)
            minutes_left = seconds_per_step * (self.steps - step) / 60
            print(f"step {step} of {self.steps}, about {minutes_left:.1f} minutes left", flush=True)
        if time.monotonic() - self.last_draw_time >= self.min_seconds or step == self.steps:
            self._redraw()

    def _redraw(self) -> None:
        figure = loss_figure(self.history)
        if self.last_draw_time:
            self.handle.update(figure)
        else:
            self.handle.display(figure)
        plt.close(figure)
        self.last_draw_time = time.monotonic()
