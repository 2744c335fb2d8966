"""What a sweep is to run and what is expected of it, read from a YAML file and checked before anything is started."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
import yaml

from munit_lite.experiments.claims import Expectation
from munit_lite.experiments.machine_speed import NOTEBOOKS

_OWN = {"seed", "out", "results"}  # of the notebook's parameters, those that the grid sets


class SweepError(ValueError):
    """A sweep's file is wrong, or does not fit the folder; the message says what and what to do."""


@dataclass(frozen=True)
class Planned:
    """One run of the grid."""

    data: str
    method: str
    seed: int
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.data}/{self.method}/seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What a YAML file asks for."""

    notebook: Path
    runs: tuple[Planned, ...]
    expectations: tuple[Expectation, ...] = ()


def read_plan(file: Path) -> Plan:
    """Read a sweep's file.

    ```yaml
    notebook: 09_training.ipynb           # of the course, or a path from this file; this one if left out
    parameters: {test_count: 500}         # of every run
    methods: {munit: {}, unit: {preset: "{data}_unit"}}      # parameters of each; {data} is the grid's
    grids:
    - {data: world32, seeds: [0, 1, 2]}   # and, for this grid alone: methods, a list of names; parameters
    expectations:
    - {data: world32, method: unit, number: diversity_ratio, at_most: 0.2}
    ```

    A run's preset is its data's name, unless its method says otherwise.

    Raises:
        SweepError: it cannot be read, names something unknown, or plans a run twice.
    """
    try:
        text = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SweepError(f"{file} cannot be read as a sweep: {error}") from error
    _mapping(text, str(file), {"notebook", "parameters", "methods", "grids", "expectations"}, {"methods", "grids"})
    notebook = _notebook(Path(file), text.get("notebook", "09_training.ipynb"))
    runs = tuple(_runs(text, str(file), set(papermill.inspect_notebook(str(notebook))) - _OWN))
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{file} plans {name} {names.count(name)} times: grids must not overlap")
    try:
        expectations = tuple(Expectation(**given) for given in text.get("expectations", []))
    except (TypeError, ValueError) as error:
        raise SweepError(f"{file} has an expectation that cannot be read: {error}") from error
    for one in expectations:
        for method in filter(None, (one.method, one.ratio_to, one.difference_from)):
            if (one.data, method) not in {(run.data, run.method) for run in runs}:
                raise SweepError(f"{file} expects something of {one.data}/{method}, which no grid runs")
    return Plan(notebook, runs, expectations)


def _runs(text: dict[str, Any], file: str, known: set[str]) -> Iterator[Planned]:
    common = _mapping(text.get("parameters", {}), f"parameters of {file}", known)
    methods = {
        name: _mapping(given or {}, f"the method {name} of {file}", known)
        for name, given in _mapping(text["methods"], f"methods of {file}").items()
    }
    for grid in _list(text["grids"], f"grids of {file}"):
        where = f"a grid of {file}"
        _mapping(grid, where, {"data", "seeds", "methods", "parameters"}, {"data", "seeds"})
        own = _mapping(grid.get("parameters", {}), f"parameters of {where}", known)
        for seed in _list(grid["seeds"], f"seeds of {where}"):  # first of all, so that a part of it has every method
            for method in _list(grid.get("methods", list(methods)), f"methods of {where}"):
                if method not in methods:
                    raise SweepError(
                        f"{file} has a grid with the method {method!r}, but methods are {', '.join(methods)}"
                    )
                given = {"preset": grid["data"]} | common | own | methods[method]
                given["preset"] = str(given["preset"]).replace("{data}", grid["data"])
                yield Planned(grid["data"], method, seed, given)


def _mapping(given: Any, where: str, known: set[str] | None = None, needed: Collection[str] = ()) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise SweepError(f"{where}: {given!r} is no mapping of names to values")
    unknown = sorted(set(given) - known) if known is not None else []
    if known is not None and unknown:
        raise SweepError(f"{where} has an unknown {unknown[0]!r}; known: {', '.join(sorted(known))}")
    missing = sorted(set(needed) - set(given))
    if missing:
        raise SweepError(f"{where} has no {missing[0]!r}")
    return given


def _list(given: Any, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise SweepError(f"{where}: {given!r} is no list")
    return given


def _notebook(file: Path, name: str) -> Path:
    for folder in (NOTEBOOKS, file.parent):
        if (folder / name).is_file():
            return (folder / name).resolve()
    raise SweepError(f"{file} names the notebook {name}, which is neither in notebooks nor beside it")
