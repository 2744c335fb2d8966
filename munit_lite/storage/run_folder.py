"""A run's folder: its configuration, the state that it resumes from, its checkpoints, and the history of its losses."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from munit_lite.config import Config, from_dict, to_dict
from munit_lite.model import MUNIT
from munit_lite.storage.checkpoints import STATE_FILE, TrainingState, list_checkpoints, save_model, save_state, versions
from munit_lite.storage.files import CheckpointError, atomic_path, hold_lock, write_error
from munit_lite.storage.tensors import read_tensors

# Fields that may change when a run resumes, because they affect how it is computed and reported, not its result.
_IGNORED_ON_RESUME = (
    *("device", "num_threads", "compile", "activation_checkpointing", "grad_accumulation"),
    *("log_every", "sample_every", "save_every", "num_checkpoints", "data_root", "cache_gib"),
)
# Fields that may change to rescue a run whose losses are no longer finite. They do affect the result: the run warns.
_WARNED_ON_RESUME = ("learning_rate", "precision")


class RunFolder:
    """The folder of a training run.

    ```
    config.json                  the configuration and the versions
    state.safetensors            the state that the run resumes from
    weights/step_*.safetensors   checkpoints: the averaged weights after some steps
    metrics.jsonl                the history: one line of losses for each record
    quality.jsonl                on the known world: how good the translations are, measured during training
    samples/ tensorboard/
    ```

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.state_file = self.path / STATE_FILE
        self.config_file = self.path / "config.json"
        self.history_file = self.path / "metrics.jsonl"
        self.quality_file = self.path / "quality.jsonl"
        self.image_statistics: dict[str, Any] | None = None  # of the training images, saved with every file of weights

    @contextlib.contextmanager
    def lock(self, config: Config) -> Iterator[None]:
        """Reserve the folder inside the block for one run.

        Args:
            config: of the run; it is written to config.json.

        Raises:
            StorageError: the folder cannot be written, or another run is using it.
            CheckpointError: it holds another configuration.
        """
        with hold_lock(self.path / ".lock", "training"):
            self._update_config(config)
            yield

    def _update_config(self, config: Config) -> None:
        """Check the configuration against the one in the folder, if there is one, and write it if it differs."""
        if self.config_file.exists():
            saved = self.read_config()
            _check_same(saved, config, self.path)
            changed = [d for d in _differences(to_dict(saved), to_dict(config)) if d[0] in _WARNED_ON_RESUME]
            for name, old, new in changed:
                warnings.warn(f"{self.path} resumes with {name} {new} instead of {old}", stacklevel=4)
            longer = config.steps > saved.steps
            if longer and config.optimizer.schedule == "cosine":
                warnings.warn(
                    f"{self.path} is trained for {config.steps:,} steps instead of {saved.steps:,}: its cosine "
                    "schedule now ends at the new last step, so the learning rate rises where the run goes on, and the "
                    f"result is not that of a run of {config.steps:,} steps from the start",
                    stacklevel=4,
                )
            if not (changed or longer):
                return
        text = json.dumps({"config": to_dict(config), "versions": versions()}, indent=1)
        with atomic_path(self.config_file) as temporary:
            temporary.write_text(text)

    def read_config(self) -> Config:
        """Read the configuration.

        Raises:
            CheckpointError: there is no config.json, or it cannot be read.
        """
        try:
            return from_dict(json.loads(self.config_file.read_text())["config"])
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.path} is not a run folder: it has no config.json") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.config_file} cannot be read: {error}") from error

    def has_state(self) -> bool:
        """Tell whether the run has saved a state that it can resume from."""
        return self.state_file.exists()

    def save_state(self, state: TrainingState, config: Config) -> None:
        """Replace the state that the run resumes from.

        Args:
            state: what to save.
            config: of the run.

        Raises:
            StorageError: it cannot be written; the previous state is unchanged.
        """
        save_state(self.state_file, state, config, self.image_statistics)

    def load_state(self, state: TrainingState) -> int:
        """Load the saved state, and the statistics of the training images from its header.

        Args:
            state: its modules and optimizers receive the saved tensors.

        Returns:
            the number of steps that are done.

        Raises:
            CheckpointError: the file is damaged or belongs to another run.
        """
        tensors, header = read_tensors(self.state_file)
        try:
            _check_same(from_dict(header["config"]), self.read_config(), self.state_file)
            state.load_state_dict(tensors)
            self.image_statistics = header.get("image_statistics")
            return int(header["step"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{self.state_file} is not a state of this run: {error}; remove it to train from the start"
            ) from error

    def save_checkpoint(self, model: MUNIT, step: int) -> None:
        """Write a checkpoint.

        Args:
            model: with the averaged weights.
            step: steps that are done; the file is named by them.

        Raises:
            StorageError: it cannot be written.
        """
        model.image_statistics = self.image_statistics
        save_model(self.path / "weights" / f"step_{step:08d}.safetensors", model, step)

    def checkpoints(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        return list_checkpoints(self.path)

    def append_history(self, record: dict[str, float]) -> None:
        """Add a record to the history.

        Args:
            record: `step`, and every loss by its name.

        Raises:
            StorageError: it cannot be written.
        """
        append_record(self.history_file, record)

    def truncate_history(self, until: int) -> list[dict[str, float]]:
        """Drop the records after a step from the history, and a line that a crash has truncated.

        Args:
            until: the last step to keep.

        Returns:
            the records up to that step.

        Raises:
            StorageError: the file cannot be written.
        """
        return truncate_records(self.history_file, until)

    def read_quality(self) -> list[dict[str, Any]]:
        """Return the records that `callbacks.QualityLog` wrote; none where the run did not measure its quality."""
        return read_records(self.quality_file)


def append_record(file: Path, record: dict[str, Any]) -> None:
    """Add a record to a file of JSON lines.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with open(file, "a") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise write_error(file, error, "the last saved state is unchanged") from error


def read_records(file: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines without the lines that a crash has truncated; no file counts as an empty one."""
    records = []
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def truncate_records(file: Path, until: int) -> list[dict[str, Any]]:
    """Drop the records after a step from a file of JSON lines, and lines that a crash has truncated.

    Args:
        file: records with a `step` each.
        until: the last step to keep.

    Returns:
        the records up to that step.

    Raises:
        StorageError: the file cannot be written.
    """
    records = [record for record in read_records(file) if record["step"] <= until]
    if file.exists():
        with atomic_path(file) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
    return records


def _check_same(saved: Config, requested: Config, path: Path) -> None:
    """Raise a CheckpointError if a field differs that must not change when a run resumes; its steps may grow."""
    differences = [
        f"{name}: {old!r} in the folder, {new!r} requested"
        for name, old, new in _differences(to_dict(saved), to_dict(requested))
        if name not in _IGNORED_ON_RESUME + _WARNED_ON_RESUME and not (name == "steps" and new > old)
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to a run of another configuration ({'; '.join(differences)}). "
            "Use another folder, or the same configuration to resume the run, or more steps to train it longer."
        )


def _differences(old: dict, new: dict) -> list[tuple[str, Any, Any]]:
    """List the fields of two nested configurations that differ: (name, old value, new value)."""
    different = []
    for name in old:
        if isinstance(old[name], dict):
            different += _differences(old[name], new[name])
        elif old[name] != new[name]:
            different.append((name, old[name], new[name]))
    return different
