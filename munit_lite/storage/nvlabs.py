"""The original's weights in and out: its files' names for our tensors, and the sizes that a file implies.

The generator file holds one table of tensors a domain, under 'a' and 'b'; the discriminator file likewise. The AdaIN
parameters that the MLP makes stand in the same order in both: for each layer the shift, then the scale. The original's
AdaIN layers also carry `running_mean` and `running_var`; nothing ever reads them.
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
from munit_lite.storage.files import CheckpointError, replacing

Tensors = dict[str, Tensor]
_DUMMY = re.compile(r"\.norm\.running_(mean|var)$")


def load_original(generator: str | Path, discriminator: str | Path | None = None) -> MUNIT:
    """A model with the weights of the original's files, such as those its authors published (PyTorch's own format).

    Nothing in the files is executed. The sizes are read off the tensors. Images are (B, 3, H, W) in [-1, 1] in both.

    Args:
        generator: its generator file: tensors under 'a' (domain 1) and 'b' (domain 2).
        discriminator: its discriminator file; without it the discriminators hold their first weights.

    Raises:
        CheckpointError: a file that cannot be read, or does not hold what its sizes imply; names the tensor.
    """
    tables = _read(Path(generator))
    critics = _read(Path(discriminator)) if discriminator is not None else None
    sizes = _generator_sizes(tables["a"], Path(generator))
    if critics is not None:
        sizes |= _discriminator_sizes(critics["a"], Path(discriminator or ""))
    size = max(256, 2 ** (sizes.get("discriminator_layers", 4) + sizes.get("discriminator_scales", 3) - 1))
    model = build(override(preset("paper256"), size=size, **sizes))
    network = model.config.network
    for domain, key in ((1, "a"), (2, "b")):
        _fill(model.auto_encoder(domain), tables[key], network, f"{generator}, domain {key!r}")
        if critics is not None:
            _fill(model.discriminator(domain), critics[key], network, f"{discriminator}, domain {key!r}")
    return model.eval()


def save_original(model: MUNIT, generator: str | Path, discriminator: str | Path) -> None:
    """Write a model as the original's two files, which its own code and other implementations can read.

    Raises:
        CheckpointError: a file cannot be written.
    """
    network = model.config.network
    domains = {"a": 1, "b": 2}
    makers = {key: _table(model.auto_encoder(domain), network) for key, domain in domains.items()}
    critics = {key: _table(model.discriminator(domain), network) for key, domain in domains.items()}
    for table in makers.values():
        table |= _dummies(network)
    for path, tables in ((Path(generator), makers), (Path(discriminator), critics)):
        with replacing(path) as partial:
            torch.save(tables, partial)


# ------------------------------------------------------------------------------------------------------- names


def original_name(name: str, network: NetworkConfig) -> str:
    """What the original calls one of our tensors of an auto-encoder or a discriminator.

    Args:
        name: as in `AutoEncoder.state_dict()` or `MultiScaleDiscriminator.state_dict()`.
        network: the sizes; they set where the residual blocks and the last convolution stand.
    """
    first_block = network.downsamples + 1
    rules: tuple[tuple[str, Any], ...] = (
        (r"content_encoder\.layers\.(\d+)\.conv", lambda m: f"enc_content.model.{m[1]}.conv"),
        (
            r"content_encoder\.layers\.(\d+)\.(first|second)",
            lambda m: f"enc_content.model.{first_block}.model.{int(m[1]) - first_block}.model.{_nth(m[2])}",
        ),
        (r"style_encoder\.layers", "enc_style.model"),
        (r"decoder\.mlp\.(\d+)", lambda m: f"mlp.model.{int(m[1]) // 2}.fc"),
        (r"decoder\.blocks\.(\d+)\.(first|second)", lambda m: f"dec.model.0.model.{m[1]}.model.{_nth(m[2])}"),
        (r"decoder\.upsampling\.(\d+)", lambda m: f"dec.model.{int(m[1]) + 1}"),
        (r"decoder\.to_image", f"dec.model.{2 * network.downsamples + 1}"),
        (r"norm\.scale$", "norm.gamma"),
        (r"norm\.shift$", "norm.beta"),
        (r"scales\.(\d+)\.layers", lambda m: f"cnns.{m[1]}"),
    )
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _nth(word: str) -> int:
    return ("first", "second").index(word)


def _table(module: nn.Module, network: NetworkConfig) -> Tensors:
    return {original_name(name, network): value.detach().cpu() for name, value in module.state_dict().items()}


def _dummies(network: NetworkConfig) -> Tensors:
    """The running statistics that the original's AdaIN layers carry and never use."""
    channels = network.width * 2**network.downsamples
    return {
        f"dec.model.0.model.{block}.model.{layer}.norm.running_{kind}": value.repeat(channels)
        for block in range(network.blocks)
        for layer in (0, 1)
        for kind, value in (("mean", torch.zeros(1)), ("var", torch.ones(1)))
    }


# ----------------------------------------------------------------------------------------------------- reading


def _read(path: Path) -> dict[str, Tensors]:
    try:
        tables = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except Exception as error:  # torch raises many things on a damaged or malicious file
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{path} cannot be read as the original's weights ({reason}); use another copy"
        ) from error
    whole = isinstance(tables, dict) and all(
        isinstance(tables.get(key), dict) and all(isinstance(value, Tensor) for value in tables[key].values())
        for key in ("a", "b")
    )
    if not whole:
        raise CheckpointError(f"{path} does not hold the original's weights: tables of tensors under 'a' and 'b'")
    return tables


def _count(table: Tensors, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in table)


def _generator_sizes(table: Tensors, path: Path) -> dict[str, int]:
    """The sizes of the auto-encoders that a table of tensors implies."""
    downsamples = _count(table, r"enc_content\.model\.\d+\.conv\.weight") - 1
    style_downsamples = _count(table, r"enc_style\.model\.\d+\.conv\.weight") - 1
    try:
        return {
            "width": len(table["enc_content.model.0.conv.weight"]),
            "downsamples": downsamples,
            "style_downsamples": style_downsamples,
            "blocks": _count(table, r"dec\.model\.0\.model\.\d+\.model\.0\.conv\.weight"),
            "style_dim": len(table[f"enc_style.model.{style_downsamples + 2}.weight"]),
            "mlp_width": len(table["mlp.model.0.fc.weight"]),
        }
    except KeyError as error:
        raise CheckpointError(f"{path} is no generator file of the original: it has no tensor {error}") from error


def _discriminator_sizes(table: Tensors, path: Path) -> dict[str, int]:
    try:
        return {
            "discriminator_width": len(table["cnns.0.0.conv.weight"]),
            "discriminator_layers": _count(table, r"cnns\.0\.\d+\.conv\.weight"),
            "discriminator_scales": _count(table, r"cnns\.\d+\.0\.conv\.weight"),
        }
    except KeyError as error:
        raise CheckpointError(f"{path} is no discriminator file of the original: it has no tensor {error}") from error


def _fill(module: nn.Module, table: Tensors, network: NetworkConfig, where: str) -> None:
    wanted = {original_name(name, network): value for name, value in module.state_dict().items()}
    missing = sorted(set(wanted) - set(table))
    unknown = sorted(name for name in set(table) - set(wanted) if not _DUMMY.search(name))
    for name in missing:
        raise CheckpointError(f"{where}: the tensor {name} is missing")
    for name in unknown:
        raise CheckpointError(f"{where}: the tensor {name} has no place in a model of these sizes")
    with torch.no_grad():
        for name, value in wanted.items():  # state_dict's tensors are the module's own
            if value.shape != table[name].shape:
                raise CheckpointError(
                    f"{where}: {name} has shape {tuple(table[name].shape)}, but {tuple(value.shape)} is needed"
                )
            value.copy_(table[name])
