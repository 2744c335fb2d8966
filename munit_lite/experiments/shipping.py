"""Checkpoints made ready to ship: small, with recipe, measured figures, checksum and a model card.

`python -m munit_lite.experiments.shipping ship RUN NAME` ships a run's newest averaged weights with RUN/results.json;
`python -m munit_lite.experiments.shipping cards` writes the cards of what is shipped afresh.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import tyro
from torch import Tensor

from munit_lite.config import Config, from_dict, override, to_dict
from munit_lite.evaluation.metric_names import with_current_metric_names
from munit_lite.experiments import results as measurements
from munit_lite.presets import PRESETS
from munit_lite.storage.checkpoints import SHIPPED, checkpoint_path, load
from munit_lite.storage.files import CheckpointError, atomic_path, sha256, write_checksum
from munit_lite.storage.tensors import read_tensors, write_tensors

LARGEST = 8_000_000  # bytes
_PREDICTOR = "attribute_predictor_"
_ANYWHERE = {"device": "auto", "threads": 0, "data_root": ""}  # what a run was made on is no part of the model
_DATA = {
    "world": "the known world of this course, drawn by `munit_lite/world.py` (MIT)",
    "fashion": "edges and photos of Fashion-MNIST (MIT, Zalando SE)",
    "folder": "folders of images",
}


def ship(
    source: tyro.conf.Positional[str],
    name: tyro.conf.Positional[str],
    results: Path | None = None,
    discriminators: bool = False,
) -> Path:
    """Ship a model: write data/checkpoints/NAME.safetensors, its card and its checksum.

    The weights are the averaged auto-encoders, in float32 if the file then stays within 8 MB, else in float16.

    Args:
        source: run folder, or one of the weights files kept along a run.
        name: what `munit_lite.load` will know it by: small letters, digits, underscores.
        results: the figures measured on it, as `munit-lite evaluate --json-file` writes them; by default the run
            folder's results.json.
        discriminators: ship them too, for those who look at what they learned.

    Returns:
        The written weights file.

    Raises:
        CheckpointError: no such model, too large, a name that cannot be used, no figures, an unwritable folder.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.startswith(_PREDICTOR):
        raise CheckpointError(
            f"{name!r} cannot name a model: use lowercase letters, digits and _, and no name that "
            f"begins with {_PREDICTOR}"
        )
    model, (_, header) = load(source), read_tensors(checkpoint_path(source))
    config = _portable(model.config)
    measured = _measured(results or Path(source) / "results.json")
    tensors = model.state_dict().items()
    kept = {key: value for key, value in tensors if discriminators or not key.startswith("discriminators.")}
    header |= {"config": to_dict(config), "note": {"results": measured}}
    path = SHIPPED / f"{name}.safetensors"
    write_tensors(path, _small(kept, name), header)
    write_checksum(path)
    write_card(path)
    return path


def _small(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    numbers, header_room = sum(tensor.numel() for tensor in tensors.values()), 100_000
    if 4 * numbers + header_room <= LARGEST:
        return tensors
    if 2 * numbers + header_room <= LARGEST:
        return {key: tensor.half() for key, tensor in tensors.items()}
    raise CheckpointError(
        f"{name} has {numbers:,} numbers, {2 * numbers / 1e6:.1f} MB in float16, but a shipped file is at most "
        f"{LARGEST / 1e6:.0f} MB; train one of a smaller width"
    )


def _portable(config: Config) -> Config:
    """The same run without a machine's device and paths: data sets by their names below the data root."""
    places = {name: getattr(config.data, name) for name in ("folder", "folder_1", "folder_2")}
    names = {name: Path(place).name if Path(place).is_absolute() else place for name, place in places.items()}
    return override(config, **_ANYWHERE, **names)


def _measured(file: Path) -> dict[str, Any]:
    try:
        measured = json.loads(file.read_text())
        return {"numbers": dict(measured["numbers"]), "provenance": dict(measured["provenance"])}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"there is no file {file}: nothing is shipped without measured figures; write them with munit-lite "
            f"evaluate MODEL --json-file {file}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} holds no results as munit-lite evaluate --json-file writes them: {error}"
        ) from error


# ------------------------------------------------------------------------------------------------------- cards


def write_card(path: Path) -> Path:
    """Write the model card beside a shipped weights file."""
    target = path.with_suffix(".md")
    with atomic_path(target) as temporary:
        temporary.write_text(card(path))
    return target


def cards() -> None:
    """Write the card of every shipped checkpoint afresh, say after a preset has changed."""
    for path in sorted(SHIPPED.glob("*.safetensors")):
        write_card(path)


def card(path: Path) -> str:
    """The model card of a shipped file, made of the file alone; the errors of predictors are read from data/results."""
    tensors, header = read_tensors(path)
    if "config" in header:
        critics = any(tensor.startswith("discriminators.") for tensor in tensors)
        if "results" not in header["note"]:
            raise CheckpointError(f"{path} names no measured figures: it was saved, but not shipped; use `ship`")
        about, recipe, measured = _about_model(path.stem, header, critics), header["config"], header["note"]["results"]
    else:
        about, recipe, measured = (
            _about_predictor(path.stem, header),
            header["recipe"],
            _measured(measurements.RESULTS / "attribute_predictors.json"),
        )
        measured["numbers"] = measured["numbers"][path.stem.removeprefix(_PREDICTOR)]
    kinds = " and ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))
    made = ", ".join(f"{name} {version}" for name, version in header["versions"].items())
    found = measured["provenance"]
    return f"""# {path.stem}

{about}

## Measured

{_table(with_current_metric_names(measured["numbers"]))}

By `{found["command"]}`
at commit {found["commit"]}, on {found["device"]}, {found["time"]}. After ±: half of the 95 % interval.

## File

`{path.name}`: {path.stat().st_size:,} bytes, {sum(t.numel() for t in tensors.values()):,} numbers as {kinds}, sha256
`{sha256(path)}`.
Made with {made}.
It is read without running any code in it. Licence: MIT, as the course.

## Recipe

```json
{json.dumps(recipe, indent=1)}
```
"""


def _about_model(name: str, header: dict[str, Any], critics: bool) -> str:
    config = from_dict(header["config"])
    word = "with" if critics else "without"
    part = "" if header["step"] == config.steps else f", {header['step']:,} of them done"
    return f"""A MUNIT at {config.data.size} px, trained on {_DATA[config.data.dataset]}:
{config.steps:,} steps with batches of {config.batch_size}{part}. Averaged weights of both auto-encoders, {word} the
discriminators. It is made for this course and knows nothing but the two domains that it was trained on.

```python
model = munit_lite.load("{name}")
paintings = model.translate(images, source=1, target=2)  # (B, 3, {config.data.size}, {config.data.size}) in [-1, 1]
```

Trained again with

```
{train_command(config)}
```"""


def _about_predictor(name: str, header: dict[str, Any]) -> str:
    domain = {"attribute_predictor_sketch": 1, "attribute_predictor_painting": 2}[name]
    return f"""An attribute predictor: it predicts the content and style factors of a {name.removeprefix(_PREDICTOR)}
of the known world, so that translations can be evaluated. It translates nothing, and it applies only to
that world (MIT, rendered by `munit_lite/world.py`).

```python
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor

attributes = load_attribute_predictor({domain})(images)  # (B, 3, H, W) in [-1, 1]
```

Trained again, with its twin, with

```
python -m tools.train_predictors
```"""


def train_command(config: Config) -> str:
    """The command line that trains a configuration: its preset, and an option for each field that differs from it."""
    if config.name not in PRESETS:
        raise CheckpointError(f"the model began from the preset {config.name!r}, but there is no such preset any more")
    words = ["munit-lite", "train", config.name]
    for field, value in _differing(PRESETS[config.name], config):
        option = field.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def _differing(a: Any, b: Any) -> list[tuple[str, Any]]:
    found = []
    for field in fields(b):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if is_dataclass(two):
            found += _differing(one, two)
        elif one != two:
            found.append((field.name, two))
    return found


def _table(numbers: dict[str, Any]) -> str:
    """Figures as Markdown, a row a measure; a column a direction if they are told by direction."""
    nested = all(isinstance(value, dict) for value in numbers.values())
    columns = numbers if nested else {"value": numbers}
    rows = [
        key for key in dict.fromkeys(k for column in columns.values() for k in column) if not key.endswith("_interval")
    ]
    lines = ["| measure | " + " | ".join(columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    for key in rows:
        cells = [_shown(column.get(key), column.get(f"{key}_interval")) for column in columns.values()]
        lines.append(f"| {key.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(value: float | None, interval: float | None) -> str:
    if value is None:
        return ""
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return shown if interval is None else f"{shown} ± {interval:.3f}"


if __name__ == "__main__":
    try:
        written = tyro.extras.subcommand_cli_from_dict({"ship": ship, "cards": cards})
    except (CheckpointError, ValueError) as error:
        sys.exit(str(error))
    if written:
        print(f"shipped as {written}, with its card and checksum")
