"""Conversion from and to the weight files of the original implementation (NVlabs/MUNIT).

The generator file contains the state dict of one autoencoder for each domain, under 'a' and 'b'; the discriminator
file contains those of the discriminators. The outputs of the AdaIN MLP have the same order in both implementations: for
each layer the shift, then the scale. The original's AdaIN layers also contain `running_mean` and `running_var`, which
are never used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from munit_lite.config import NetworkConfig, override
from munit_lite.methods import build
from munit_lite.model import MUNIT
from munit_lite.presets import preset
from munit_lite.storage.files import CheckpointError, atomic_path
from munit_lite.storage.tensors import StateDict

_RUNNING_STATISTICS = re.compile(r"\.norm\.running_(mean|var)$")


def load_original(generator: str | Path, discriminator: str | Path | None = None) -> MUNIT:
    """Load the original's weight files, such as those that its authors published (in PyTorch's own format).

    No code in the files is executed. The sizes of the networks follow from the shapes of the tensors. Both
    implementations use images of shape (B, 3, H, W) in [-1, 1].

    Args:
        generator: the original's generator file, with tensors under 'a' (domain 1) and 'b' (domain 2).
        discriminator: its discriminator file; without it the discriminators have their initial weights.

    Returns:
        the model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: a file cannot be read, or a tensor is missing, unexpected or of the wrong shape.
    """
    generators = _read_weight_file(Path(generator))
    discriminators = _read_weight_file(Path(discriminator)) if discriminator is not None else None
    sizes = _generator_sizes(generators["a"], Path(generator))
    if discriminators is not None:
        sizes |= _discriminator_sizes(discriminators["a"], Path(discriminator or ""))
    size = max(256, 2 ** (sizes.get("discriminator_layers", 4) + sizes.get("discriminator_scales", 3) - 1))
    model = build(override(preset("paper256"), image_size=size, **sizes))
    network = model.config.network
    for domain, key in ((1, "a"), (2, "b")):
        _load_renamed(model.auto_encoder(domain), generators[key], network, f"{generator}, domain {key!r}")
        if discriminators is not None:
            _load_renamed(model.discriminator(domain), discriminators[key], network, f"{discriminator}, domain {key!r}")
    return model.eval()


def save_original(model: MUNIT, generator: str | Path, discriminator: str | Path) -> None:
    """Write a model as two files in the original's format, which its own code and other implementations can read.

    Args:
        model: a MUNIT with discriminators.
        generator: the file for both autoencoders.
        discriminator: the file for both discriminators.

    Raises:
        StorageError: a file cannot be written.
        ValueError: the discriminators have minibatch statistics, which the original's have not.
    """
    network = model.config.network
    if network.minibatch_std_group:
        raise ValueError(
            "the original's discriminators have no minibatch statistics: minibatch_std_group is "
            f"{network.minibatch_std_group}, but must be 0"
        )
    domains = {"a": 1, "b": 2}
    generators = {
        key: _rename_tensors(model.auto_encoder(domain), network) | _running_statistics(network)
        for key, domain in domains.items()
    }
    discriminators = {key: _rename_tensors(model.discriminator(domain), network) for key, domain in domains.items()}
    for path, state_dicts in ((Path(generator), generators), (Path(discriminator), discriminators)):
        with atomic_path(path) as temporary:
            torch.save(state_dicts, temporary)


# ------------------------------------------------------------------------------------------------------- names


def original_name(name: str, network: NetworkConfig) -> str:
    """Translate the name of a tensor of an autoencoder or a discriminator to the original's name.

    Args:
        name: as in `AutoEncoder.state_dict()` or `MultiScaleDiscriminator.state_dict()`.
        network: the sizes, which decide the position of the residual blocks and of the last convolution.

    Returns:
        the name in the original's files.

    Example:
        >>> original_name("decoder.blocks.0.second.conv.weight", preset("paper256").network)
        'dec.model.0.model.0.model.1.conv.weight'
    """
    first_block = network.num_downsamples + 1
    convolutions = {"first": 0, "second": 1}  # of a residual block
    rules: tuple[tuple[str, Any], ...] = (
        (r"content_encoder\.layers\.(\d+)\.conv", lambda m: f"enc_content.model.{m[1]}.conv"),
        (
            r"content_encoder\.layers\.(\d+)\.(first|second)",
            lambda m: f"enc_content.model.{first_block}.model.{int(m[1]) - first_block}.model.{convolutions[m[2]]}",
        ),
        (r"style_encoder\.layers", "enc_style.model"),
        (r"decoder\.mlp\.(\d+)", lambda m: f"mlp.model.{int(m[1]) // 2}.fc"),
        (r"decoder\.blocks\.(\d+)\.(first|second)", lambda m: f"dec.model.0.model.{m[1]}.model.{convolutions[m[2]]}"),
        (r"decoder\.upsampling\.(\d+)", lambda m: f"dec.model.{int(m[1]) + 1}"),
        (r"decoder\.to_image", f"dec.model.{2 * network.num_downsamples + 1}"),
        (r"norm\.scale$", "norm.gamma"),
        (r"norm\.shift$", "norm.beta"),
        (r"scales\.(\d+)\.layers", lambda m: f"cnns.{m[1]}"),
    )
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _rename_tensors(module: nn.Module, network: NetworkConfig) -> StateDict:
    """Collect the tensors of a module under the original's names."""
    return {original_name(name, network): value.detach().cpu() for name, value in module.state_dict().items()}


def _running_statistics(network: NetworkConfig) -> StateDict:
    """Create the running statistics that the original's AdaIN layers contain but never use."""
    channels = network.base_channels * 2**network.num_downsamples
    return {
        f"dec.model.0.model.{block}.model.{layer}.norm.running_{kind}": value.repeat(channels)
        for block in range(network.num_residual_blocks)
        for layer in (0, 1)
        for kind, value in (("mean", torch.zeros(1)), ("var", torch.ones(1)))
    }


# ----------------------------------------------------------------------------------------------------- reading


def _read_weight_file(path: Path) -> dict[str, StateDict]:
    """Read the state dict of each domain, 'a' and 'b', from a file of the original."""
    try:
        state_dicts = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except Exception as error:  # torch raises many kinds of exceptions for a damaged or malicious file
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{path} cannot be read as a weight file of the original ({reason}); use another copy"
        ) from error
    is_valid = isinstance(state_dicts, dict) and all(
        isinstance(state_dicts.get(key), dict) and all(isinstance(value, Tensor) for value in state_dicts[key].values())
        for key in ("a", "b")
    )
    if not is_valid:
        raise CheckpointError(
            f"{path} is not a weight file of the original: it must contain tensors by name under 'a' and 'b'"
        )
    return state_dicts


def _count_names(tensors: StateDict, pattern: str) -> int:
    """Count the tensors whose names match a regular expression."""
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def _generator_sizes(tensors: StateDict, path: Path) -> dict[str, int]:
    """Infer the sizes of the autoencoders from their tensors."""
    downsamples = _count_names(tensors, r"enc_content\.model\.\d+\.conv\.weight") - 1
    style_downsamples = _count_names(tensors, r"enc_style\.model\.\d+\.conv\.weight") - 1
    try:
        return {
            "base_channels": len(tensors["enc_content.model.0.conv.weight"]),
            "num_downsamples": downsamples,
            "num_style_downsamples": style_downsamples,
            "num_residual_blocks": _count_names(tensors, r"dec\.model\.0\.model\.\d+\.model\.0\.conv\.weight"),
            "style_dim": len(tensors[f"enc_style.model.{style_downsamples + 2}.weight"]),
            "mlp_width": len(tensors["mlp.model.0.fc.weight"]),
        }
    except KeyError as error:
        raise CheckpointError(f"{path} is not a generator file of the original: it has no tensor {error}") from error


def _discriminator_sizes(tensors: StateDict, path: Path) -> dict[str, int]:
    """Infer the sizes of the discriminators from their tensors."""
    try:
        return {
            "discriminator_base_channels": len(tensors["cnns.0.0.conv.weight"]),
            "discriminator_layers": _count_names(tensors, r"cnns\.0\.\d+\.conv\.weight"),
            "discriminator_scales": _count_names(tensors, r"cnns\.\d+\.0\.conv\.weight"),
        }
    except KeyError as error:
        raise CheckpointError(
            f"{path} is not a discriminator file of the original: it has no tensor {error}"
        ) from error


def _load_renamed(module: nn.Module, tensors: StateDict, network: NetworkConfig, location: str) -> None:
    """Load tensors with the original's names into a module; `location` is where they come from, for the messages."""
    expected = {original_name(name, network): value for name, value in module.state_dict().items()}
    for name in sorted(set(expected) - set(tensors)):
        raise CheckpointError(f"{location}: the tensor {name} is missing")
    for name in sorted(name for name in set(tensors) - set(expected) if not _RUNNING_STATISTICS.search(name)):
        raise CheckpointError(f"{location}: the tensor {name} is unexpected in a model of these sizes")
    with torch.no_grad():
        for name, value in expected.items():  # the tensors of a state dict share the memory of the module's
            if value.shape != tensors[name].shape:
                raise CheckpointError(
                    f"{location}: {name} has shape {tuple(tensors[name].shape)}, but must have {tuple(value.shape)}"
                )
            value.copy_(tensors[name])
