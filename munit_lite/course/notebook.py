"""What notebooks need and would otherwise repeat: set-up, predictions and their score, tables, progress shown live."""

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
from munit_lite.course.figures import loss_figure
from munit_lite.storage.run_folder import versions


def check_parameters(inputs: Sequence[str]) -> None:
    """Refuse parameters the notebook does not have; papermill itself only warns.

    Args:
        inputs: IPython's `In`: the sources of the cells run so far.

    Raises:
        ValueError: a name that the parameters cell does not set; the message lists the known ones.
    """
    for number, source in enumerate(inputs):
        if number and source.lstrip().startswith("# Parameters"):  # the cell that papermill injects
            known, given = _assigned(inputs[number - 1]), _assigned(source)
            unknown = sorted(given - known)
            if unknown:
                raise ValueError(f"unknown parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _assigned(source: str) -> set[str]:
    return {
        name.id
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }


def given(**parameters: Any) -> dict[str, Any]:
    """The parameters that are not None: what overrides a preset."""
    return {name: value for name, value in parameters.items() if value is not None}


def start(inputs: Sequence[str], seed: int) -> None:
    """Set up a notebook: refuse unknown parameters, seed torch, print the versions (ignore this cell's output).

    Args:
        inputs: IPython's `In`.
        seed: of torch's own generator.
    """
    check_parameters(inputs)
    torch.manual_seed(seed)
    print(", ".join(f"{name} {version}" for name, version in versions().items()))


@dataclass(frozen=True)
class Prediction:
    """A question with choices, and what the reader chose."""

    question: str
    mine: str | None
    choices: dict[str, str]


def predict(question: str, mine: str | None = None, /, **choices: str) -> Prediction:
    """Ask before the measurement; `answer` scores it afterwards.

    Args:
        question: Markdown.
        mine: the reader's letter; None: no prediction made.
        **choices: letter -> Markdown.

    Raises:
        ValueError: a letter that is not among the choices.
    """
    if mine is not None and mine not in choices:
        raise ValueError(f"your prediction is {mine!r}, but the choices are {', '.join(choices)}")
    lines = [f"**{question}**", "", *(f"- ({letter}) {choice}" for letter, choice in choices.items())]
    display(Markdown("\n".join(lines)))
    return Prediction(question, mine, choices)


def answer(prediction: Prediction, measured: str) -> None:
    """Print what was measured beside what was predicted.

    Args:
        prediction: what `predict` returned.
        measured: the letter that the measurement gives, computed and not typed in.
    """
    told = {None: "you made no prediction", measured: "you predicted it"}
    verdict = told.get(prediction.mine, f"you predicted ({prediction.mine})")
    print(f"measured: ({measured}) {prediction.choices[measured]}\n{verdict}")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 2) -> None:
    """Print a small table, columns aligned, numbers rounded.

    Args:
        header: a name for each column.
        rows: text, whole numbers, floats, or (mean, interval) pairs, which are printed with a ±.
        digits: after the point. So few that threads and instruction sets cannot change them.
    """

    def shown(value: Any) -> str:
        if isinstance(value, tuple):
            return " ± ".join(f"{part:z.{digits}f}" for part in value)
        return f"{value:z.{digits}f}" if isinstance(value, float) else str(value)

    cells = [list(header), *([shown(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for row in cells:
        first, *others = (
            text.ljust(width) if not k else text.rjust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())


class LiveCurves(Callback):
    """Loss curves redrawn in place while training, and a line of progress every twentieth of the run.

    Args:
        every_seconds: least time between two redraws.
    """

    def __init__(self, every_seconds: float = 5.0) -> None:
        self.every_seconds = every_seconds

    def on_start(self, config: Config, first: int) -> None:
        self.steps, self.first, self.begin = config.steps, first, time.monotonic()
        self.history: list[dict[str, float]] = []
        self.handle, self.drawn, self.told = DisplayHandle(), 0.0, first

    def on_log(self, record: dict[str, float]) -> None:
        self.history.append(record)
        step = int(record["step"])
        if step - self.told >= self.steps / 20 or step == self.steps:
            self.told = step
            seconds = (time.monotonic() - self.begin) / max(1, step - self.first) * (self.steps - step)
            print(f"step {step} of {self.steps}, about {seconds / 60:.1f} minutes left", flush=True)
        if time.monotonic() - self.drawn >= self.every_seconds or step == self.steps:
            self._draw()

    def _draw(self) -> None:
        figure = loss_figure(self.history)
        if self.drawn:
            self.handle.update(figure)
        else:
            self.handle.display(figure)
        plt.close(figure)
        self.drawn = time.monotonic()
