"""Publish a checkpoint: a small file with its recipe, measured figures, checksum and model card in data/checkpoints.

`python -m tools.publish_checkpoint publish RUN NAME` publishes a run's latest averaged weights with RUN/results.json;
`python -m tools.publish_checkpoint cards` writes the model cards of all published checkpoints again;
`python -m tools.publish_checkpoint statistics` measures the statistics of their training images again.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from torch import Tensor

from munit_lite.config import Config, from_dict, override, to_dict
from munit_lite.data import open_data
from munit_lite.data.image_statistics import measure_domains
from munit_lite.evaluation.attribute_predictors import predictor_files, results_name
from munit_lite.evaluation.metric_names import with_current_metric_names
from munit_lite.experiments.provenance import train_command
from munit_lite.experiments.results import read_results_file
from munit_lite.paths import CHECKPOINTS_DIR
from munit_lite.storage.checkpoints import checkpoint_path, load, shipped_checkpoints
from munit_lite.storage.files import CheckpointError, StorageError, atomic_path, sha256, write_checksum
from munit_lite.storage.tensors import read_tensors, write_tensors
from munit_lite.world import DOMAIN_NAMES
from tools.pages import fill_template, table

MAX_BYTES = 8_000_000
_MACHINE = {"device": "auto", "num_threads": 0, "data_root": ""}  # the machine of a run is not part of the model
_DATA = {
    "world": "the known world of this course, rendered by `munit_lite/world.py` (MIT)",
    "fashion": "edges and photos of Fashion-MNIST (MIT, Zalando SE)",
    "folder": "folders of images",
}


def publish(
    source: tyro.conf.Positional[str],
    name: tyro.conf.Positional[str],
    results: Path | None = None,
    discriminators: bool = False,
) -> Path:
    """Publish a model: write data/checkpoints/NAME.safetensors, its card and its checksum.

    The weights are the averaged autoencoders, in float32 if the file then stays within 8 MB, else in float16.

    Args:
        source: run folder, or one of the weights files saved during a run.
        name: the name that `munit_lite.load` will find it by: lowercase letters, digits, underscores.
        results: the figures measured on it, as `munit-lite evaluate --json-file` writes them; by default the run
            folder's results.json.
        discriminators: include the discriminators, for those who look at what they learned.

    Returns:
        The written weights file.

    Raises:
        CheckpointError: the model does not exist or is too large, its name cannot be used, it has no measured figures,
            or the folder cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.startswith("attribute_predictor_"):
        raise CheckpointError(
            f"{name!r} cannot name a model: use lowercase letters, digits and _, not attribute_predictor_ first"
        )
    model, (_, header) = load(source), read_tensors(checkpoint_path(source))
    measured = _read_figures(results or Path(source) / "results.json")
    tensors = model.state_dict().items()
    selected = {key: value for key, value in tensors if discriminators or not key.startswith("discriminators.")}
    header |= {"config": to_dict(_portable(model.config)), "note": {"results": measured}}
    path = CHECKPOINTS_DIR / f"{name}.safetensors"
    write_tensors(path, _fit_size(selected, name), header)
    write_checksum(path)
    write_card(path)
    return path


def statistics() -> None:
    """Add the statistics of the training images to the header of every published model; the tensors stay as they are.

    Fashion-MNIST and the folders of images are read from the data root.
    """
    measured: dict[str, dict[str, Any] | None] = {}
    for path in shipped_checkpoints().values():
        tensors, header = read_tensors(path)
        config = from_dict(header["config"])
        key = f"{config.data} {config.seed}"
        if key not in measured:
            measured[key] = measure_domains(open_data(config))
        write_tensors(path, tensors, header | {"image_statistics": measured[key]})
        write_checksum(path)
        write_card(path)


def _fit_size(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    parameters, bytes_for_header = sum(tensor.numel() for tensor in tensors.values()), 100_000
    if 2 * parameters + bytes_for_header > MAX_BYTES:
        raise CheckpointError(
            f"{name} has {parameters:,} parameters, {2 * parameters / 1e6:.1f} MB in float16, but a published file has "
            f"at most {MAX_BYTES / 1e6:.0f} MB; train a model of smaller base_channels"
        )
    fits = 4 * parameters + bytes_for_header <= MAX_BYTES
    return tensors if fits else {key: tensor.half() for key, tensor in tensors.items()}


def _portable(config: Config) -> Config:
    """Return the configuration without a machine's device and paths; datasets have their names in the data root."""
    folders = {name: getattr(config.data, name) for name in ("folder", "folder_1", "folder_2")}
    names = {name: Path(folder).name if Path(folder).is_absolute() else folder for name, folder in folders.items()}
    return override(config, **_MACHINE, **names)


def _read_figures(file: str | Path) -> dict[str, Any]:
    try:
        measured = read_results_file(file)
        return {"numbers": dict(measured["numbers"]), "provenance": dict(measured["provenance"])}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"there is no file {file}: a model is published with measured figures only; write them with munit-lite "
            f"evaluate MODEL --json-file {file}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} holds no results as munit-lite evaluate --json-file writes them: {error}"
        ) from error


# ------------------------------------------------------------------------------------------------------- cards


def cards() -> None:
    """Write the model card of every published checkpoint again, for example after a preset has changed."""
    for path in sorted(CHECKPOINTS_DIR.glob("*.safetensors")):
        write_card(path)


def write_card(path: Path) -> None:
    """Write the model card beside a published weights file."""
    with atomic_path(path.with_suffix(".md")) as partial:
        partial.write_text(card(path))


def card(path: Path) -> str:
    """Return the model card of a published file, from the file and, for an attribute predictor, its results file.

    Raises:
        CheckpointError: the file has no measured figures, or cannot be read.
    """
    tensors, header = read_tensors(path)
    if "config" in header:
        if "results" not in header["note"]:
            raise CheckpointError(f"{path} has no measured figures: it was saved, but not published")
        config, measured = from_dict(header["config"]), header["note"]["results"]
        recipe = to_dict(config)  # the fields by their current names
        about = fill_template(
            "card_of_a_model",
            name=path.stem,
            config=config,
            size=config.data.image_size,
            data=_DATA[config.data.dataset],
            progress="" if header["step"] == config.steps else f", of which {header['step']:,} are done",
            discriminators="with" if any(key.startswith("discriminators.") for key in tensors) else "without",
            command=train_command(config),
        )
    else:
        domain, variant = predictor_files()[path]
        recipe, measured = header["recipe"], _read_figures(results_name(variant))
        measured["numbers"] = measured["numbers"][DOMAIN_NAMES[domain]]
        standard = variant == "standard"
        about = fill_template(
            "card_of_a_predictor",
            domain=DOMAIN_NAMES[domain],
            world="the known world" if standard else f"the {variant} variant of the known world",
            arguments=domain if standard else f'{domain}, "{variant}"',
            command=predictor_command(variant, recipe["steps"]),
        )
    return fill_template(
        "card",
        name=path.stem,
        about=about,
        figures=_figures_table(with_current_metric_names(measured["numbers"])),
        origin=measured["provenance"],
        file=path,
        size=path.stat().st_size,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=" and ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})),
        digest=sha256(path),
        versions=", ".join(f"{name} {version}" for name, version in header["versions"].items()),
        recipe=json.dumps(recipe, indent=1),
    )


def predictor_command(variant: str, steps: int) -> str:
    """Return the command that trains the attribute predictors of a world variant."""
    command = "python -m tools.train_predictors"
    return command if variant == "standard" else f"{command} --world-variant {variant} --steps {steps}"


def _figures_table(numbers: dict[str, Any]) -> str:
    """Return a table with one row per metric, and one column per direction if the numbers are given by direction."""
    by_direction = all(isinstance(value, dict) for value in numbers.values())
    columns = numbers if by_direction else {"value": numbers}
    metrics = dict.fromkeys(key for column in columns.values() for key in column if not key.endswith("_interval"))
    rows = {metric.replace("_", " "): metric for metric in metrics}
    return table("metric", rows, {title: partial(_cell, column) for title, column in columns.items()})


def _cell(numbers: dict[str, float], metric: str) -> str:
    if metric not in numbers:
        return ""
    text = f"{numbers[metric]:,}" if isinstance(numbers[metric], int) else f"{numbers[metric]:.3f}"
    return text + (f" ± {numbers[f'{metric}_interval']:.3f}" if f"{metric}_interval" in numbers else "")


if __name__ == "__main__":
    try:
        published = tyro.extras.subcommand_cli_from_dict({"publish": publish, "cards": cards, "statistics": statistics})
    except (StorageError, ValueError) as error:
        sys.exit(str(error))
    if published:
        print(f"published as {published}, with its card and checksum")
