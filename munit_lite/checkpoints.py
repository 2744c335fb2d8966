"""Files of a run: weights, the state it resumes from, its configuration and history.

Weights are safetensors (nothing in them is executed); step, versions and configuration travel in the same
file's header, so one atomic rename replaces everything at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from munit_lite.config import Config, from_dict, to_dict
from munit_lite.model import MUNIT, build

Tensors = dict[str, Tensor]
SHIPPED = Path(__file__).parents[1] / "data" / "checkpoints"
# What may differ between a run and its continuation without changing a single weight.
_MAY_DIFFER = ("device", "threads", "log_every", "sample_every", "save_every", "keep", "data_root")


class CheckpointError(RuntimeError):
    """A file of a run cannot be written, read or used; the message says which and what to do."""


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("munit-lite", "torchvision", "lightning-fabric", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


# ---------------------------------------------------------------------------------------------------- one file


def write_tensors(path: Path, tensors: Tensors, header: dict[str, Any]) -> None:
    """Write tensors and a JSON header; a reader sees the old file or the whole new one, never a part.

    Raises:
        CheckpointError: the file cannot be written; the old one is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(ready, partial, metadata={"munit_lite": json.dumps(header)})
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write {path}: {error}. Free some space or choose another folder; what was there is untouched."
        ) from error


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and header of a file written by `write_tensors`.

    Raises:
        CheckpointError: missing, cut off, or not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["munit_lite"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a whole munit-lite checkpoint ({error}); it may be cut off: use another one"
        ) from error


@dataclass
class TrainingState:
    """All that a run needs to go on exactly: step, modules, optimisers."""

    step: int
    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    def tensors(self) -> Tensors:
        found = {}
        for name, module in self.modules.items():
            found.update({f"{name}/{key}": value for key, value in module.state_dict().items()})
        for name, optimiser in self.optimisers.items():
            for number, slots in optimiser.state_dict()["state"].items():
                found.update({f"{name}/{number}/{slot}": value for slot, value in slots.items()})
        return found

    def restore(self, tensors: Tensors) -> None:
        for name, module in self.modules.items():
            module.load_state_dict(_below(tensors, name))
        for name, optimiser in self.optimisers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(tensors, name).items():
                number, slot = key.split("/")
                slots.setdefault(int(number), {})[slot] = value
            optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


def _below(tensors: Tensors, name: str) -> Tensors:
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


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
        wanted = to_dict(config)
        if not self.config_file.exists():
            text = json.dumps({"config": wanted, "versions": versions()}, indent=1)
            partial = self.config_file.with_suffix(".partial")
            partial.write_text(text)
            partial.replace(self.config_file)
            return
        held = to_dict(self.config())
        differences = [
            f"{name}: {old!r} in the folder, {new!r} asked for"
            for name, old, new in _differences(held, wanted)
            if name not in _MAY_DIFFER
        ]
        if differences:
            raise CheckpointError(
                f"{self.path} holds a run of another configuration ({'; '.join(differences)}). "
                "Use another folder, or ask for the same configuration to go on."
            )

    def config(self) -> Config:
        try:
            return from_dict(json.loads(self.config_file.read_text())["config"])
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.path} is not a run folder: it has no config.json") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.config_file} cannot be read: {error}") from error

    def has_state(self) -> bool:
        return self.state_file.exists()

    def save(self, state: TrainingState, config: Config) -> None:
        write_tensors(self.state_file, state.tensors(), _header(config, state.step))

    def restore(self, state: TrainingState) -> int:
        """Load the saved state into the modules and optimisers; returns the number of steps done."""
        tensors, header = read_tensors(self.state_file)
        try:
            state.restore(tensors)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.state_file} does not fit the configuration: {error}") from error
        return int(header["step"])

    def save_weights(self, model: MUNIT, step: int) -> None:
        save_model(self.path / "weights" / f"step_{step:08d}.safetensors", model, step)

    def weights(self) -> list[Path]:
        """The weights kept along the run, oldest first."""
        return sorted((self.path / "weights").glob("step_*.safetensors"))

    def append(self, record: dict[str, float]) -> None:
        with open(self.history_file, "a") as file:
            file.write(json.dumps(record) + "\n")

    def history(self, until: int) -> list[dict[str, float]]:
        """Records up to a step; later ones (and a line cut off by a kill) are dropped from the file."""
        records = []
        if self.history_file.exists():
            for line in self.history_file.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
            records = [record for record in records if record["step"] <= until]
            self.history_file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return records


def _header(config: Config, step: int) -> dict[str, Any]:
    return {"config": to_dict(config), "step": step, "versions": versions()}


def _differences(old: dict, new: dict) -> list[tuple[str, Any, Any]]:
    found = []
    for name in old:
        if isinstance(old[name], dict):
            found += _differences(old[name], new[name])
        elif old[name] != new[name]:
            found.append((name, old[name], new[name]))
    return found


# ------------------------------------------------------------------------------------------------------ models


def save_model(path: Path, model: MUNIT, step: int, note: dict[str, Any] | None = None) -> None:
    """Write a model's weights with its configuration, step, versions and an optional note."""
    write_tensors(path, model.state_dict(), _header(model.config, step) | {"note": note or {}})


def load(source: str | Path) -> MUNIT:
    """Load a trained model, ready to translate.

    Args:
        source: a run folder (its newest averaged weights), a weights file, or the name of a shipped checkpoint.

    Raises:
        CheckpointError: nothing there, damaged, or of another architecture; the message lists the shipped names.
    """
    path = Path(source)
    if path.is_dir():
        folder = RunFolder(path)
        kept = folder.weights()
        if kept:
            return _model_from(kept[-1])
        if folder.has_state():
            return _model_from(folder.state_file)
        raise CheckpointError(f"{path} holds no weights yet: its run has not saved a state")
    if path.is_file():
        return _model_from(path)
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    if str(source) in shipped:
        return _model_from(shipped[str(source)])
    names = ", ".join(name for name in shipped if not name.startswith("judge")) or "none"
    raise CheckpointError(f"{source} is neither a run folder, a weights file nor a shipped checkpoint ({names})")


def _model_from(path: Path) -> MUNIT:
    tensors, header = read_tensors(path)
    try:
        model = build(from_dict(header["config"]))
        if any(name.startswith("average/") for name in tensors):  # a state: take its averaged auto-encoders
            averaged = _below(tensors, "average")
            tensors = _below(tensors, "model")
            for name in list(tensors):
                if name.startswith("auto_encoders."):
                    tensors[name] = averaged[name.replace("auto_encoders.", "module.", 1)]
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold a MUNIT of the configuration it names: {error}") from error
    return model.eval()
