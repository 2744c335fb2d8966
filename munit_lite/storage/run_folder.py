"""A run's folder: its configuration, the state that it resumes from, its checkpoints, and the history of its losses.

All tensors are stored as safetensors files, whose headers hold step, versions and configuration, so that one atomic
rename replaces everything at once.
"""

from __future__ import annotations

import contextlib
import json
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from munit_lite.config import Config, from_dict, to_dict
from munit_lite.model import MUNIT
from munit_lite.storage.files import CheckpointError, atomic_path, hold_lock, write_error
from munit_lite.storage.tensors import StateDict, read_header, read_tensors, write_tensors

# Fields that may change when a run resumes, because they affect how it is computed and reported, not its result.
_IGNORED_ON_RESUME = (
    *("device", "threads", "compile", "activation_checkpointing", "grad_accumulation"),
    *("log_every", "sample_every", "save_every", "num_checkpoints", "data_root", "cache_gib"),
)
# Fields that may change to rescue a run whose losses are no longer finite. They do affect the result: the run warns.
_WARNED_ON_RESUME = ("learning_rate", "precision")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    installed = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("munit-lite", "torchvision", "lightning-fabric", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def save_model(path: Path, model: MUNIT, step: int, note: dict[str, Any] | None = None) -> None:
    """Write a model's weights to a file that `munit_lite.load` reads.

    Args:
        path: the file to write; its name should end in .safetensors.
        model: its weights are written, and its configuration, with which it can be built again.
        step: steps of training.
        note: any further values for the header that JSON can represent.

    Raises:
        StorageError: the file cannot be written.
    """
    write_tensors(path, model.state_dict(), _header(model.config, step) | {"note": note or {}})


@dataclass
class TrainingState:
    """All that a run needs to resume exactly: its step, modules and optimizers."""

    step: int
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def state_dict(self) -> StateDict:
        """Return all tensors, with names that begin with the name of their module or optimizer."""
        tensors = {}
        for name, module in self.modules.items():
            tensors.update({f"{name}/{key}": value for key, value in module.state_dict().items()})
        for name, optimizer in self.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                tensors.update({f"{name}/{index}/{key}": value for key, value in moments.items()})
        return tensors

    def load_state_dict(self, tensors: StateDict) -> None:
        """Copy tensors into the modules and optimizers.

        Raises:
            ValueError: a tensor is missing, unexpected or of the wrong shape.
        """
        for name, module in self.modules.items():
            load_module(module, strip_prefix(tensors, name))
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for path, value in strip_prefix(tensors, name).items():
                index, key = path.split("/")
                state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
            for parameter, moments in optimizer.state.items():  # fused Adam needs the memory layout of the parameter
                for key, value in moments.items():
                    if value.shape == parameter.shape:
                        moments[key] = torch.empty_like(parameter).copy_(value)


def strip_prefix(tensors: StateDict, name: str) -> StateDict:
    """Select the tensors whose names begin with `name/`, and remove that from their names."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def load_module(module: nn.Module, tensors: StateDict) -> None:
    """Load a state dict into a module.

    Raises:
        ValueError: the first tensor that is missing, unexpected or of the wrong shape; torch's own error lists all.
    """
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise ValueError(f"{name} is missing")
        if tensors[name].shape != tensor.shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, but must have {tuple(tensor.shape)}")
    for name in tensors:
        if name not in expected:
            raise ValueError(f"{name} is unexpected")
    module.load_state_dict(tensors)


# -------------------------------------------------------------------------------------------------- run folder


class RunFolder:
    """The folder of a training run.

    ```
    config.json                  the configuration and the versions
    state.safetensors            the state that the run resumes from
    weights/step_*.safetensors   checkpoints: the averaged weights after some steps
    metrics.jsonl                the history: one line of losses for each record
    samples/ tensorboard/
    ```

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.state_file = self.path / "state.safetensors"
        self.config_file = self.path / "config.json"
        self.history_file = self.path / "metrics.jsonl"

    @contextlib.contextmanager
    def lock(self, config: Config) -> Iterator[None]:
        """Reserve the folder for one run of a configuration, which is written to config.json.

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
            if not changed:
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

        Raises:
            StorageError: it cannot be written; the previous state is unchanged.
        """
        write_tensors(self.state_file, state.state_dict(), _header(config, state.step))

    def load_state(self, state: TrainingState) -> int:
        """Load the saved state into the modules and optimizers of `state`.

        Returns:
            the number of steps that are done.

        Raises:
            CheckpointError: the file is damaged or belongs to another run.
        """
        tensors, header = read_tensors(self.state_file)
        try:
            _check_same(from_dict(header["config"]), self.read_config(), self.state_file)
            state.load_state_dict(tensors)
            return int(header["step"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{self.state_file} is not a state of this run: {error}; remove it to train from the start"
            ) from error

    def save_checkpoint(self, model: MUNIT, step: int) -> None:
        """Write a checkpoint of the averaged model.

        Raises:
            StorageError: it cannot be written.
        """
        save_model(self.path / "weights" / f"step_{step:08d}.safetensors", model, step)

    def checkpoints(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        return sorted((self.path / "weights").glob("step_*.safetensors"))

    def newest_weights(self) -> Path | None:
        """Return the file with the newest averaged weights: the last checkpoint, or the state if that is newer."""
        checkpoints = self.checkpoints()
        if not checkpoints:
            return self.state_file if self.has_state() else None
        with contextlib.suppress(CheckpointError):
            last_step = int(checkpoints[-1].stem.removeprefix("step_"))
            if self.has_state() and read_header(self.state_file)["step"] > last_step:
                return self.state_file
        return checkpoints[-1]

    def append_history(self, record: dict[str, float]) -> None:
        """Add a record to the history: `step`, and every loss by name.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            with open(self.history_file, "a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise write_error(self.history_file, error, "the last saved state is unchanged") from error

    def truncate_history(self, until: int) -> list[dict[str, float]]:
        """Drop the records after a step from the history, and a line that a crash has truncated.

        Returns:
            the records up to that step.

        Raises:
            StorageError: the file cannot be written.
        """
        records = []
        if self.history_file.exists():
            for line in self.history_file.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
            records = [record for record in records if record["step"] <= until]
            with atomic_path(self.history_file) as temporary:
                temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
        return records


def _header(config: Config, step: int) -> dict[str, Any]:
    return {"config": to_dict(config), "step": step, "versions": versions()}


def _check_same(saved: Config, requested: Config, path: Path) -> None:
    differences = [
        f"{name}: {old!r} in the folder, {new!r} requested"
        for name, old, new in _differences(to_dict(saved), to_dict(requested))
        if name not in _IGNORED_ON_RESUME + _WARNED_ON_RESUME
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to a run of another configuration ({'; '.join(differences)}). "
            "Use another folder, or the same configuration to resume the run."
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
