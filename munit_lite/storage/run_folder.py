"""A run's folder: its configuration, the state it resumes from, the weights kept along it, its history.

Weights are safetensors (nothing in them is executed); step, versions and configuration travel in the same
file's header, so one atomic rename replaces everything at once.
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
from filelock import FileLock, Timeout
from torch import Tensor, nn

from munit_lite.config import Config, from_dict, to_dict
from munit_lite.model import MUNIT
from munit_lite.storage.files import (
    CheckpointError,
    Tensors,
    cannot_write,
    read_header,
    read_tensors,
    replacing,
    write_tensors,
)

# What may differ between a run and its continuation: how it is computed and told, not what.
_MAY_DIFFER = (
    *("device", "threads", "compile", "activation_checkpointing", "grad_accumulation"),
    *("log_every", "sample_every", "save_every", "num_checkpoints", "data_root", "cache_gib"),
)
# What a run that broke down may go on with; from there on it is another run, so it is told.
_REMEDIES = ("learning_rate", "precision")


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("munit-lite", "torchvision", "lightning-fabric", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def save_model(path: Path, model: MUNIT, step: int, note: dict[str, Any] | None = None) -> None:
    """Write a model's weights with its configuration, step, versions and an optional note."""
    write_tensors(path, model.state_dict(), _header(model.config, step) | {"note": note or {}})


@dataclass
class TrainingState:
    """All that a run needs to go on exactly: step, modules, optimizers."""

    step: int
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def tensors(self) -> Tensors:
        found = {}
        for name, module in self.modules.items():
            found.update({f"{name}/{key}": value for key, value in module.state_dict().items()})
        for name, optimizer in self.optimizers.items():
            for number, slots in optimizer.state_dict()["state"].items():
                found.update({f"{name}/{number}/{slot}": value for slot, value in slots.items()})
        return found

    def restore(self, tensors: Tensors) -> None:
        for name, module in self.modules.items():
            fill(module, below(tensors, name))
        for name, optimizer in self.optimizers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in below(tensors, name).items():
                number, slot = key.split("/")
                slots.setdefault(int(number), {})[slot] = value
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
            for weight, held in optimizer.state.items():  # fused Adam takes a weight's own memory layout for granted
                for slot, value in held.items():
                    if value.shape == weight.shape:
                        held[slot] = torch.empty_like(weight).copy_(value)


def below(tensors: Tensors, name: str) -> Tensors:
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def fill(module: nn.Module, tensors: Tensors) -> None:
    """Load a state dict; the error names the first tensor that does not fit instead of listing all.

    Raises:
        ValueError: a tensor is missing, too many, or of another shape.
    """
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ValueError(f"{name} is missing")
        if tensors[name].shape != tensor.shape:
            raise ValueError(f"{name} is {tuple(tensors[name].shape)}, but must be {tuple(tensor.shape)}")
    for name in tensors:
        if name not in wanted:
            raise ValueError(f"{name} is too many")
    module.load_state_dict(tensors)


# -------------------------------------------------------------------------------------------------- run folder


class RunFolder:
    """A run's folder.

    ```
    config.json            what was asked for, and the versions
    state.safetensors      what the run resumes from
    weights/step_*.safetensors   averaged weights kept along the run
    metrics.jsonl          one line of losses for each record
    samples/ tensorboard/
    ```
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.state_file = self.path / "state.safetensors"
        self.config_file = self.path / "config.json"
        self.history_file = self.path / "metrics.jsonl"

    @contextlib.contextmanager
    def claimed(self, config: Config) -> Iterator[None]:
        """Hold the folder for one run of this configuration.

        Raises:
            CheckpointError: it cannot be written, another run is using it, or it holds a different configuration.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout as error:
            raise CheckpointError(
                f"another run is training in {self.path}; wait for it or use another folder"
            ) from error
        except OSError as error:
            raise CheckpointError(f"cannot write into {self.path}: {error}; choose another folder") from error
        try:
            self._match(config)
            yield
        finally:
            lock.release()

    def _match(self, config: Config) -> None:
        if self.config_file.exists():
            held = self.config()
            _check_same(held, config, self.path)
            changed = [d for d in _differences(to_dict(held), to_dict(config)) if d[0] in _REMEDIES]
            for name, old, new in changed:
                warnings.warn(f"{self.path} goes on with {name} {new} in place of {old}", stacklevel=4)
            if not changed:
                return
        text = json.dumps({"config": to_dict(config), "versions": versions()}, indent=1)
        with replacing(self.config_file) as partial:
            partial.write_text(text)

    def config(self) -> Config:
        try:
            return from_dict(json.loads(self.config_file.read_text())["config"])
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.path} is not a run folder: it has no config.json") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.config_file} cannot be read: {error}") from error

    def has_state(self) -> bool:
        return self.state_file.exists()

    def newest(self) -> Path | None:
        """The file with the newest averaged weights: the last kept along the run, or the state if that is newer."""
        kept = self.weights()
        if not kept:
            return self.state_file if self.has_state() else None
        with contextlib.suppress(CheckpointError):
            if self.has_state() and read_header(self.state_file)["step"] > int(kept[-1].stem.removeprefix("step_")):
                return self.state_file
        return kept[-1]

    def save(self, state: TrainingState, config: Config) -> None:
        write_tensors(self.state_file, state.tensors(), _header(config, state.step))

    def restore(self, state: TrainingState) -> int:
        """Load the saved state into the modules and optimizers; returns the number of steps done."""
        tensors, header = read_tensors(self.state_file)
        try:
            _check_same(from_dict(header["config"]), self.config(), self.state_file)
            state.restore(tensors)
            return int(header["step"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{self.state_file} is no state of this run: {error}; remove it to train from the start"
            ) from error

    def save_weights(self, model: MUNIT, step: int) -> None:
        save_model(self.path / "weights" / f"step_{step:08d}.safetensors", model, step)

    def weights(self) -> list[Path]:
        """The weights kept along the run, oldest first."""
        return sorted((self.path / "weights").glob("step_*.safetensors"))

    def append(self, record: dict[str, float]) -> None:
        try:
            with open(self.history_file, "a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise cannot_write(self.history_file, error, "The last saved state is untouched") from error

    def history(self, until: int) -> list[dict[str, float]]:
        """Records up to a step; later ones (and a line cut off by a kill) are dropped from the file."""
        records = []
        if self.history_file.exists():
            for line in self.history_file.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
            records = [record for record in records if record["step"] <= until]
            with replacing(self.history_file) as partial:
                partial.write_text("".join(json.dumps(record) + "\n" for record in records))
        return records


def _header(config: Config, step: int) -> dict[str, Any]:
    return {"config": to_dict(config), "step": step, "versions": versions()}


def _check_same(held: Config, wanted: Config, where: Path) -> None:
    differences = [
        f"{name}: {old!r} in the folder, {new!r} asked for"
        for name, old, new in _differences(to_dict(held), to_dict(wanted))
        if name not in _MAY_DIFFER + _REMEDIES
    ]
    if differences:
        raise CheckpointError(
            f"{where} holds a run of another configuration ({'; '.join(differences)}). "
            "Use another folder, or ask for the same configuration to go on."
        )


def _differences(old: dict, new: dict) -> list[tuple[str, Any, Any]]:
    found = []
    for name in old:
        if isinstance(old[name], dict):
            found += _differences(old[name], new[name])
        elif old[name] != new[name]:
            found.append((name, old[name], new[name]))
    return found
