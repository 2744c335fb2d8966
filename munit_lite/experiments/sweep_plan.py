"""The plan of a sweep: read a YAML file and check everything that it names, before the first run starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
import yaml

from munit_lite.experiments.claims import Expectation
from munit_lite.experiments.results import OLD_NAMES
from munit_lite.paths import NOTEBOOKS_DIR

_SET_BY_THE_GRID = {"seed", "out", "results"}  # parameters of the notebook that a sweep's file must not set


class SweepError(ValueError):
    """A sweep's file is wrong, or does not fit its folder; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid: the notebook with one method, one seed and the data of one grid.

    A method is a row of the paper's tables, such as MUNIT without a loss; several may share a class of `methods/`.
    """

    data: str
    method: str
    seed: int
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the run's name, which is also the path of its folder in that of the sweep."""
        return f"{self.data}/{self.method}/seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """The content of a sweep's file."""

    notebook: Path
    runs: tuple[PlannedRun, ...]
    expectations: tuple[Expectation, ...] = ()


def read_plan(file: Path) -> Plan:
    """Read a sweep's file.

    ```yaml
    notebook: 09_training.ipynb           # of the course, or a path relative to this file; this one by default
    parameters: {test_count: 500}         # of every run
    methods: {munit: {}, unit: {preset: "{data}_unit"}}      # parameters of each; {data} stands for the grid's data
    grids:
    - {data: world32, seeds: [0, 1, 2]}   # and, for this grid alone: methods, a list of names; parameters
    expectations:
    - {data: world32, method: unit, metric: class_accuracy, at_least: 0.8}
    ```

    A run's preset is the name of its data, unless its method sets another.

    Args:
        file: a YAML file as above; data/sweeps/paper_tables.yaml is one.

    Raises:
        SweepError: the file cannot be read, names something unknown, or plans a run twice.
    """
    try:
        content = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SweepError(f"{file} cannot be read as a sweep: {error}") from error
    _mapping(content, str(file), {"notebook", "parameters", "methods", "grids", "expectations"}, {"methods", "grids"})
    notebook = _notebook(Path(file), content.get("notebook", "09_training.ipynb"))
    runs = tuple(_runs(content, str(file), set(papermill.inspect_notebook(str(notebook))) - _SET_BY_THE_GRID))
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{file} plans {name} {names.count(name)} times: grids must not overlap")
    try:
        expectations = tuple(
            Expectation(**{OLD_NAMES.get(key, key): value for key, value in fields.items()})
            for fields in content.get("expectations", [])
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise SweepError(f"{file} has an expectation that cannot be read: {error}") from error
    for expectation in expectations:
        for method in filter(None, (expectation.method, expectation.ratio_to, expectation.difference_from)):
            if (expectation.data, method) not in {(run.data, run.method) for run in runs}:
                raise SweepError(f"{file} has an expectation of {expectation.data}/{method}, which no grid runs")
    return Plan(notebook, runs, expectations)


def _runs(content: dict[str, Any], file: str, known: set[str]) -> Iterator[PlannedRun]:
    common = _mapping(content.get("parameters", {}), f"parameters of {file}", known)
    methods = {
        name: _mapping(parameters or {}, f"the method {name} of {file}", known)
        for name, parameters in _mapping(content["methods"], f"methods of {file}").items()
    }
    for grid in _list(content["grids"], f"grids of {file}"):
        where = f"a grid of {file}"
        _mapping(grid, where, {"data", "seeds", "methods", "parameters"}, {"data", "seeds"})
        own = _mapping(grid.get("parameters", {}), f"parameters of {where}", known)
        for seed in _list(grid["seeds"], f"seeds of {where}"):  # the outer loop, so that each seed has every method
            for method in _list(grid.get("methods", list(methods)), f"methods of {where}"):
                if method not in methods:
                    raise SweepError(
                        f"{file} has a grid with the method {method!r}, but methods are {', '.join(methods)}"
                    )
                parameters = {"preset": grid["data"]} | common | own | methods[method]
                parameters["preset"] = str(parameters["preset"]).replace("{data}", grid["data"])
                yield PlannedRun(grid["data"], method, seed, parameters)


def _mapping(value: Any, where: str, known: set[str] | None = None, needed: Collection[str] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SweepError(f"{where}: {value!r} is not a mapping of names to values")
    unknown = sorted(set(value) - known) if known is not None else []
    if known is not None and unknown:
        raise SweepError(f"{where} has an unknown {unknown[0]!r}; known: {', '.join(sorted(known))}")
    missing = sorted(set(needed) - set(value))
    if missing:
        raise SweepError(f"{where} has no {missing[0]!r}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise SweepError(f"{where}: {value!r} is not a list")
    return value


def _notebook(file: Path, name: str) -> Path:
    for folder in (NOTEBOOKS_DIR, file.parent):
        if (folder / name).is_file():
            return (folder / name).resolve()
    raise SweepError(f"{file} names the notebook {name}, which is neither in notebooks nor beside it")
