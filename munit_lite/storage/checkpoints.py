"""Checkpoints: files that hold the weights of a model or the state of a run, and how a model is loaded from them.

All tensors are stored as safetensors files, whose headers hold step, versions and configuration, so that one atomic
rename replaces everything at once.
"""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from munit_lite.config import Config, from_dict, to_dict
from munit_lite.methods import build
from munit_lite.model import MUNIT
from munit_lite.paths import CHECKPOINTS_DIR
from munit_lite.storage.files import CheckpointError
from munit_lite.storage.tensors import StateDict, read_header, read_tensors, write_tensors

STATE_FILE = "state.safetensors"  # of a run folder


# ----------------------------------------------------------------------------------------------------- writing


def save_model(path: Path, model: MUNIT, step: int, note: dict[str, Any] | None = None) -> None:
    """Write a model's weights to a file that `munit_lite.load` reads.

    Args:
        path: the file to write; its name should end in .safetensors.
        model: its weights are written, its configuration, with which it can be built again, and the statistics of its
            training images, if it has them.
        step: steps of training.
        note: any further values for the header that JSON can represent.

    Raises:
        StorageError: the file cannot be written.
    """
    header = _header(model.config, step, model.image_statistics)
    write_tensors(path, model.state_dict(), header | {"note": note or {}})


def save_state(
    path: Path, state: TrainingState, config: Config, image_statistics: dict[str, Any] | None = None
) -> None:
    """Write all that a run needs to resume to a file.

    Args:
        path: the file to write.
        state: what to write.
        config: of the run; it is written into the header.
        image_statistics: of the training images, for the header.

    Raises:
        StorageError: it cannot be written; the previous state is unchanged.
    """
    write_tensors(path, state.state_dict(), _header(config, state.step, image_statistics))


def _header(config: Config, step: int, image_statistics: dict[str, Any] | None) -> dict[str, Any]:
    header = {"config": to_dict(config), "step": step, "versions": versions()}
    return header if image_statistics is None else header | {"image_statistics": image_statistics}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    installed = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("munit-lite", "torchvision", "lightning-fabric", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


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

        Args:
            tensors: as `state_dict` returns them.

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

    Args:
        module: receives the tensors.
        tensors: by name; all that the module has, and no others.

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


# ----------------------------------------------------------------------------------------------------- loading


def load(source: str | Path) -> MUNIT:
    """Load a trained model in evaluation mode, on the CPU.

    Args:
        source: a run folder (its newest averaged weights), a file of weights, or the name of a checkpoint that comes
            with the repository. A file without discriminators gives a model whose discriminators raise an error.

    Returns:
        the model.

    Raises:
        CheckpointError: there is no such model, or it is damaged or of another architecture.

    Example:
        >>> model = load("world32")
        >>> model.translate(torch.zeros(1, 3, 32, 32), source=1, target=2).shape
        torch.Size([1, 3, 32, 32])
    """
    path = checkpoint_path(source)
    tensors, header = read_tensors(path)
    if "config" not in header:
        raise CheckpointError(f"{path} is not a MUNIT checkpoint: its header has no configuration")
    try:
        model = build(from_dict(header["config"]))
        model.image_statistics = header.get("image_statistics")
        if any(name.startswith("average/") for name in tensors):  # a training state: take its averaged autoencoders
            averaged = strip_prefix(tensors, "average")
            tensors = strip_prefix(tensors, "model")
            for name in list(tensors):
                if name.startswith("auto_encoders."):
                    tensors[name] = averaged[name.replace("auto_encoders.", "module.", 1)]
        if not any(name.startswith("discriminators.") for name in tensors):
            model.discriminators = nn.ModuleList([MissingDiscriminator(), MissingDiscriminator()])
        load_module(model, {name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not match the configuration in its header: {error}") from error
    return model.eval()


def checkpoint_path(source: str | Path) -> Path:
    """Return the file that `load` reads.

    Args:
        source: as for `load`.

    Raises:
        CheckpointError: there is no such model; the message lists the checkpoints that come with the repository.
    """
    path = Path(source)
    if path.is_dir():
        newest = newest_weights(path)
        if newest is None:
            raise CheckpointError(f"{path} contains no weights yet: its run has not saved any")
        return newest
    if path.is_file():
        return path
    shipped = shipped_checkpoints()
    if str(source) in shipped:
        return shipped[str(source)]
    if (CHECKPOINTS_DIR / f"{source}.safetensors").is_file():
        raise CheckpointError(
            f"{source} is an attribute predictor, not a translation model; load it with "
            "load_attribute_predictor(1 or 2) of munit_lite.evaluation.attribute_predictors"
        )
    if not CHECKPOINTS_DIR.is_dir():
        raise CheckpointError(
            f"{source} is neither a run folder nor a file of weights, and this installation has no checkpoints: they "
            "come with the repository (data/checkpoints), so clone it and install with pip install -e ."
        )
    names = ", ".join(shipped) or "none"
    raise CheckpointError(f"{source} is neither a run folder, a file of weights, nor a checkpoint by name ({names})")


def shipped_checkpoints() -> dict[str, Path]:
    """Return the files of the translation models in data/checkpoints by name, without the attribute predictors."""
    files = sorted(CHECKPOINTS_DIR.glob("*.safetensors"))
    return {file.stem: file for file in files if not file.stem.startswith("attribute_predictor_")}


def list_checkpoints(run: Path) -> list[Path]:
    """List the checkpoints in a run folder, oldest first."""
    return sorted((run / "weights").glob("step_*.safetensors"))


def newest_weights(run: Path) -> Path | None:
    """Return the file with the newest averaged weights of a run: its last checkpoint, or its state if that is newer."""
    checkpoints, state_file = list_checkpoints(run), run / STATE_FILE
    if not checkpoints:
        return state_file if state_file.exists() else None
    with contextlib.suppress(CheckpointError):
        if read_header(state_file)["step"] > int(checkpoints[-1].stem.removeprefix("step_")):
            return state_file
    return checkpoints[-1]


class MissingDiscriminator(nn.Module):
    """Placeholder for a discriminator that a checkpoint omits to stay small."""

    def forward(self, images: Tensor) -> list[Tensor]:
        raise CheckpointError("this checkpoint has no discriminators: train a model, or load one that has them")
