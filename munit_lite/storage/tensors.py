"""Files of tensors with a JSON header, in the safetensors format: reading one never executes code."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from munit_lite.storage.files import CheckpointError, atomic_path, verify_checksum

StateDict = dict[str, Tensor]


def write_tensors(path: Path, tensors: StateDict, header: dict[str, Any]) -> None:
    """Write tensors and a header to one file, atomically.

    Args:
        path: the file to write.
        tensors: by name, on any device.
        header: any values that JSON can represent.

    Raises:
        StorageError: the file cannot be written; the previous one is unchanged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weights.safetensors"
        ...     write_tensors(file, {"weight": torch.ones(2)}, {"step": 10})
        ...     read_tensors(file)
        ({'weight': tensor([1., 1.])}, {'step': 10})
    """
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask of the user has it; safetensors sets permissions for the owner
        try:
            save_file(contiguous, temporary, metadata={"munit_lite": json.dumps(header)})
        except SafetensorError as error:  # an error of the system, whose number stands in the text
            number = re.search(r"\(os error (\d+)\)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error)) from error
        temporary.chmod(mode)


def read_tensors(path: Path) -> tuple[StateDict, dict[str, Any]]:
    """Read a file written by `write_tensors`.

    Args:
        path: the file.

    Returns:
        the tensors by name, on the CPU, and the header.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind, or differs from its checksum in a
            checksums.txt beside it.
    """
    try:
        verify_checksum(path)
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["munit_lite"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except KeyError as error:
        raise CheckpointError(f"{path} is a safetensors file, but munit-lite did not write it") from error
    except (OSError, SafetensorError, ValueError) as error:
        if _is_pickle(path):
            raise CheckpointError(
                f"{path} is a pickle, the format of torch.save. Opening a pickle can execute any code in it, so "
                "munit-lite reads safetensors files only"
            ) from error
        raise CheckpointError(
            f"{path} is not a complete munit-lite checkpoint ({error}); it may be truncated, so use another one"
        ) from error


def read_header(path: Path) -> dict[str, Any]:
    """Read only the header of a file written by `write_tensors`; its checksum is not verified.

    Args:
        path: the file.

    Returns:
        the header, as it was written.

    Raises:
        CheckpointError: the header cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["munit_lite"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"the header of {path} cannot be read: {error}") from error


def _is_pickle(path: Path) -> bool:
    """Tell whether a file is a pickle, by its first bytes or, if they are not typical, by its suffix."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(4)
        return start == b"PK\x03\x04" or start[:1] == b"\x80" or path.suffix in (".pt", ".pth", ".ckpt", ".pkl")
    return False
