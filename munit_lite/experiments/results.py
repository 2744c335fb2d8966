"""Measured numbers and where they come from: every file in `data/results/` is written and read here.

A results file holds flat records, so that it loads as one table:

```json
{"schema": 2,
 "records": [
  {"direction": "sketch to painting", "metric": "class_accuracy", "value": 0.94, "half_width": 0.015}],
 "provenance": {"command": "munit-lite evaluate ...", "commit": "...", "settings": {}, "device": "...", "time": "..."}}
```

`half_width` is half of the 95 % interval and is absent where there is none. The columns before `metric` say what was
measured. The records of a sweep have the columns `data`, `method` and `seed` as well, and a second table, `runs`, holds
each run's parameters, attempts and provenance under these three keys.

Programs mostly look numbers up by name, so `read_results` returns the same numbers as nested dictionaries, in which
the half-width of a metric has the key `<metric>_interval`. Reading needs no torch, so that the doctor can read results
where torch is broken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from munit_lite.evaluation.metric_names import with_current_metric_names, with_current_names
from munit_lite.experiments.provenance import provenance
from munit_lite.paths import RESULTS_DIR

SCHEMA = 2

Record = dict[str, Any]

# Names that changed in sweep files, run folders and results files; those of metrics are in `metric_names.py`.
OLD_NAMES = {"number": "metric", "starts": "attempts"}

_HALF_WIDTH = "_interval"  # how the key of a half-width ends in nested numbers
_MEASURED = ("metric", "value", "half_width")
_RUN = ("data", "method", "seed")
_ENTRY = {"parameters", "numbers", "provenance"}  # what is known of a run; older results lack its attempts


# --------------------------------------------------------------------------------------------- writing and reading


def write_results(
    name: str | Path,
    numbers: Mapping[str, Any],
    settings: dict[str, Any],
    command: str | None = None,
    columns: Sequence[str] = (),
) -> Path:
    """Write measured numbers with their provenance as flat records.

    Args:
        name: a bare name, which stands for data/results/<name>.json, or a path that ends in .json.
        numbers: nested dictionaries of numbers, or what `sweep.gather` returns.
        settings: the configuration and the seeds of the measurement.
        command: the command that measures the numbers again; by default the command line of this process.
        columns: the name of the column for each level of nesting, outermost first. An unnamed level is called
            "direction" if its keys are such as "sketch to painting", else by its depth.

    Returns:
        The path of the written file.

    Raises:
        StorageError: the file cannot be written; an earlier file at its path is untouched.
        TypeError: a value is of a type that JSON cannot hold.
    """
    from munit_lite.storage.files import atomic_path

    content: dict[str, Any] = {"schema": SCHEMA, "records": flatten(numbers, columns)}
    if numbers and is_sweep(numbers):
        content["runs"] = run_table(numbers)
    path = _path(name)
    text = _to_json(content | {"provenance": provenance(settings, command)})
    with atomic_path(path) as partial:
        partial.write_text(text)
    return path


def read_results(name: str | Path) -> dict[str, Any]:
    """Return the numbers of a results file as nested dictionaries, whichever schema it was written in.

    Args:
        name: as for `write_results`.

    Returns:
        For example direction -> metric -> value. A sweep's file gives what `sweep.gather` returned: data -> method ->
        seed -> the run's parameters, attempts, numbers and provenance.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: the file is JSON, but not a results file.
        ValueError: the file is not JSON.
    """
    return read_results_file(name)["numbers"]


def read_records(name: str | Path) -> list[Record]:
    """Return the numbers of a results file as a flat table, whichever schema it was written in.

    Args:
        name: as for `write_results`.

    Returns:
        A dictionary for each row: the columns that say what was measured, then `metric`, `value` and, where there is a
        95 % interval, `half_width`.

    Example:
        >>> [sorted(record) for record in read_records("calibration")]
        [['metric', 'value']]
    """
    content = json.loads(_path(name).read_text())
    records = content["records"] if "records" in content else flatten(content["numbers"])
    return [with_current_names(record) for record in records]


def read_results_file(name: str | Path) -> dict[str, Any]:
    """Return the numbers of a results file, as `read_results` does, with their provenance.

    Args:
        name: as for `write_results`.

    Returns:
        A dictionary with the keys "numbers" and "provenance".

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: the file is JSON, but not a results file.
        ValueError: the file is not JSON.
    """
    content = json.loads(_path(name).read_text())
    if "records" not in content:  # schema 1: nested numbers
        numbers = content["numbers"]
    else:
        numbers = _nest_sweep(content["records"], content["runs"]) if "runs" in content else nest(content["records"])
    numbers = with_current_metric_names(numbers)
    for _, entry in _runs(numbers) if is_sweep(numbers) else ():
        for old_name in OLD_NAMES.keys() & entry.keys():
            entry[OLD_NAMES[old_name]] = entry.pop(old_name)
    return {"numbers": numbers, "provenance": content.get("provenance", {})}


def is_sweep(numbers: Any) -> bool:
    """Return whether nested numbers have the form of what `sweep.gather` returns, which may be empty."""
    level = [numbers]
    for _ in _RUN:
        if not all(isinstance(node, dict) for node in level):
            return False
        level = [value for node in level for value in node.values()]
    return (bool(level) or not numbers) and all(isinstance(run, dict) and run.keys() >= _ENTRY for run in level)


# ------------------------------------------------------------------------------------- nested numbers, flat records


def flatten(numbers: Mapping[str, Any], columns: Sequence[str] = ()) -> list[Record]:
    """Turn nested dictionaries of numbers into flat records.

    A list of dictionaries is a level of nesting, too, and its column holds positions. Other lists are values.

    Args:
        numbers, columns: as for `write_results`.

    Example:
        >>> flatten({"world32": {"seconds": 0.25, "seconds_interval": 0.01}}, columns=["preset"])
        [{'preset': 'world32', 'metric': 'seconds', 'value': 0.25, 'half_width': 0.01}]
    """
    if not is_sweep(numbers):
        return _flatten(numbers, {}, columns)
    return [
        dict(zip(_RUN, run, strict=True)) | record
        for run, entry in _runs(numbers)
        for record in flatten(entry["numbers"], columns or ("direction",))
    ]


def run_table(sweep: Mapping[str, Any]) -> list[Record]:
    """Return a row for each run of what `sweep.gather` returns: everything about it but its numbers."""
    return [
        dict(zip(_RUN, run, strict=True)) | {key: value for key, value in entry.items() if key != "numbers"}
        for run, entry in _runs(sweep)
    ]


def nest(records: Iterable[Record]) -> dict[str, Any]:
    """Turn flat records back into the nested dictionaries that `flatten` was given.

    Example:
        >>> nest([{"preset": "world32", "metric": "seconds", "value": 0.25, "half_width": 0.01}])
        {'world32': {'seconds': 0.25, 'seconds_interval': 0.01}}
    """
    numbers: dict[str, Any] = {}
    for record in records:
        node: Any = numbers
        path = [value for column, value in record.items() if column not in _MEASURED]
        last = record["metric"]
        for key, next_key in pairwise([*path, last]):
            empty: Any = [] if isinstance(next_key, int) else {}
            if isinstance(key, str):
                node = node.setdefault(key, empty)
            else:
                node.extend([empty] * (key == len(node)))
                node = node[key]
        node[last] = record["value"]
        if "half_width" in record:
            node[f"{last}{_HALF_WIDTH}"] = record["half_width"]
    return numbers


def _flatten(node: Any, labels: Record, columns: Sequence[str]) -> list[Record]:
    pairs = list(enumerate(node) if isinstance(node, list) else node.items())
    depth = len(labels)
    column = columns[depth] if depth < len(columns) else _column_name([k for k, v in pairs if _is_level(v)], depth)
    records: list[Record] = []
    latest: Record = {}
    for key, value in pairs:
        if _is_level(value):
            records += _flatten(value, labels | {column: key}, columns)
            latest = {}
        elif latest and "half_width" not in latest and key == f"{latest['metric']}{_HALF_WIDTH}":
            latest["half_width"] = value
        else:
            latest = labels | {"metric": key, "value": value}
            records.append(latest)
    return records


def _is_level(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, dict) and item for item in value)
    return isinstance(value, dict) and bool(value)


def _column_name(keys: Sequence[Any], depth: int) -> str:
    return "direction" if all(re.fullmatch(r".+ to .+", str(key)) for key in keys) else f"level_{depth + 1}"


def _runs(numbers: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, int], dict[str, Any]]]:
    for data, methods in numbers.items():
        for method, seeds in methods.items():
            for seed, entry in seeds.items():
                yield (data, method, int(seed)), entry


def _nest_sweep(records: Sequence[Record], runs: Sequence[Record]) -> dict[str, Any]:
    numbers = {
        run: nest({column: value for column, value in record.items() if column not in _RUN} for record in rows)
        for run, rows in groupby(records, key=lambda record: tuple(record[column] for column in _RUN))
    }
    sweep: dict[str, Any] = {}
    for row in runs:
        entry = {key: value for key, value in row.items() if key not in (*_RUN, "provenance")}
        entry |= {"numbers": numbers.get(tuple(row[c] for c in _RUN), {}), "provenance": row["provenance"]}
        sweep.setdefault(row["data"], {}).setdefault(row["method"], {})[str(row["seed"])] = entry
    return sweep


def _to_json(content: dict[str, Any]) -> str:
    """Return the content as JSON, with one line for each row of a table."""
    parts = []
    for name, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
            parts.append(f" {json.dumps(name)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(name)}: " + json.dumps(value, indent=1).replace("\n", "\n "))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _path(name: str | Path) -> Path:
    return Path(name) if str(name).endswith(".json") else RESULTS_DIR / f"{name}.json"
