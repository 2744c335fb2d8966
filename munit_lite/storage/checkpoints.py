"""Trained models by name: from a run's folder, a weights file, or those shipped with the repository."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from munit_lite.config import from_dict
from munit_lite.methods import build
from munit_lite.model import MUNIT
from munit_lite.storage.files import CheckpointError, read_tensors, write_tensors
from munit_lite.storage.run_folder import RunFolder, TrainingState, below, fill, save_model, versions

__all__ = [
    "SHIPPED",
    "CheckpointError",
    "LeftOut",
    "RunFolder",
    "TrainingState",
    "load",
    "read_tensors",
    "save_model",
    "shipped_models",
    "versions",
    "weights_file",
    "write_tensors",
]

SHIPPED = Path(__file__).parents[2] / "data" / "checkpoints"


def load(source: str | Path) -> MUNIT:
    """Load a trained model, ready to translate.

    Args:
        source: a run folder (its newest averaged weights), a weights file, or the name of a shipped checkpoint. A
            file without discriminators gives a model whose discriminators refuse to be called.

    Raises:
        CheckpointError: nothing there, damaged, or of another architecture; the message lists the shipped names.
    """
    return _model_from(weights_file(source))


def weights_file(source: str | Path) -> Path:
    """The file that `load` reads for a run folder, a weights file or a name.

    Raises:
        CheckpointError: nothing there; the message lists the shipped names.
    """
    path = Path(source)
    if path.is_dir():
        newest = RunFolder(path).newest()
        if newest is None:
            raise CheckpointError(f"{path} holds no weights yet: its run has not saved a state")
        return newest
    if path.is_file():
        return path
    shipped = shipped_models()
    if str(source) in shipped:
        return shipped[str(source)]
    if (SHIPPED / f"{source}.safetensors").is_file():
        raise CheckpointError(
            f"{source} is an attribute predictor, not a translator; load it with load_attribute_predictor(1 or 2) of "
            "munit_lite.evaluation.attribute_predictors"
        )
    if not SHIPPED.is_dir():
        raise CheckpointError(
            f"{source} is neither a run folder nor a weights file, and this installation has no shipped checkpoints: "
            "they come with the repository (data/checkpoints), so clone it and install with pip install -e ."
        )
    names = ", ".join(shipped) or "none"
    raise CheckpointError(f"{source} is neither a run folder, a weights file nor a shipped checkpoint ({names})")


def shipped_models() -> dict[str, Path]:
    """The models under data/checkpoints by name; without the attribute predictors, which are not translators."""
    files = sorted(SHIPPED.glob("*.safetensors"))
    return {file.stem: file for file in files if not file.stem.startswith("attribute_predictor_")}


class LeftOut(nn.Module):
    """Stands where a file's discriminators were left out to keep it small."""

    def forward(self, images: Tensor) -> list[Tensor]:
        raise CheckpointError("this checkpoint holds no discriminators: train a model, or load one that has them")


def _model_from(path: Path) -> MUNIT:
    tensors, header = read_tensors(path)
    if "config" not in header:
        raise CheckpointError(f"{path} holds no MUNIT: it names no configuration")
    try:
        model = build(from_dict(header["config"]))
        if any(name.startswith("average/") for name in tensors):  # a state: take its averaged auto-encoders
            averaged = below(tensors, "average")
            tensors = below(tensors, "model")
            for name in list(tensors):
                if name.startswith("auto_encoders."):
                    tensors[name] = averaged[name.replace("auto_encoders.", "module.", 1)]
        if not any(name.startswith("discriminators.") for name in tensors):
            model.discriminators = nn.ModuleList([LeftOut(), LeftOut()])
        fill(model, {name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold a MUNIT of the configuration it names: {error}") from error
    return model.eval()
