"""What notebooks need and would otherwise repeat: parameters checked, progress shown live."""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import DisplayHandle

from munit_lite.config import Config
from munit_lite.reporting import Callback
from munit_lite.study.figures import loss_figure


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
