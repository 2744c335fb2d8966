"""Load trained models: from a run folder, from a file of weights, or from those that come with the repository.

`run_folder.py` writes them: `save_model` one file, `RunFolder.save_checkpoint` those of a run.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from munit_lite.config import from_dict
from munit_lite.methods import build
from munit_lite.model import MUNIT
from munit_lite.storage.files import CheckpointError
from munit_lite.storage.run_folder import RunFolder, load_module, strip_prefix
from munit_lite.storage.tensors import read_tensors

SHIPPED = Path(__file__).parents[2] / "data" / "checkpoints"


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
        newest = RunFolder(path).newest_weights()
        if newest is None:
            raise CheckpointError(f"{path} contains no weights yet: its run has not saved any")
        return newest
    if path.is_file():
        return path
    shipped = shipped_checkpoints()
    if str(source) in shipped:
        return shipped[str(source)]
    if (SHIPPED / f"{source}.safetensors").is_file():
        raise CheckpointError(
            f"{source} is an attribute predictor, not a translation model; load it with "
            "load_attribute_predictor(1 or 2) of munit_lite.evaluation.attribute_predictors"
        )
    if not SHIPPED.is_dir():
        raise CheckpointError(
            f"{source} is neither a run folder nor a file of weights, and this installation has no checkpoints: they "
            "come with the repository (data/checkpoints), so clone it and install with pip install -e ."
        )
    names = ", ".join(shipped) or "none"
    raise CheckpointError(f"{source} is neither a run folder, a file of weights, nor a checkpoint by name ({names})")


def shipped_checkpoints() -> dict[str, Path]:
    """Return the files of the translation models in data/checkpoints by name, without the attribute predictors."""
    files = sorted(SHIPPED.glob("*.safetensors"))
    return {file.stem: file for file in files if not file.stem.startswith("attribute_predictor_")}


class MissingDiscriminator(nn.Module):
    """Placeholder for a discriminator that a checkpoint omits to stay small."""

    def forward(self, images: Tensor) -> list[Tensor]:
        raise CheckpointError("this checkpoint has no discriminators: train a model, or load one that has them")
