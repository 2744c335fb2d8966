"""Files that are whole or not there: written aside and renamed, tensors without code, checksums beside shipped ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
CHECKSUMS = "checksums.txt"


class CheckpointError(RuntimeError):
    """A file of a run cannot be written, read or used; the message says which and what to do."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; its file takes the place of `path` at once when the block is through, else it is removed.

    Raises:
        CheckpointError: it cannot be written; what was at `path` is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "r+b") as written:  # Windows does not sync what is open for reading alone
            os.fsync(written.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error, "What was there is untouched") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception, kept: str) -> CheckpointError:
    """The error of a full disk or an unwritable folder, in a sentence."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return CheckpointError(f"cannot write {path}: {reason}. {kept}; free some space or choose another folder.")


def write_tensors(path: Path, tensors: Tensors, header: dict[str, Any]) -> None:
    """Write tensors and a JSON header; a reader sees the old file or the whole new one, never a part.

    Raises:
        CheckpointError: the file cannot be written; the old one is untouched.
    """
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # what the user's umask wants; safetensors writes for the owner alone
        save_file(ready, partial, metadata={"munit_lite": json.dumps(header)})
        partial.chmod(mode)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and header of a file written by `write_tensors`; nothing in it is executed.

    Raises:
        CheckpointError: missing, cut off, not such a file, or not the one that a checksums.txt beside it lists.
    """
    try:
        _verify(path)
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
                f"{path} is a pickle, as torch.save writes it. Opening one can run any code that is in it, so "
                "munit-lite reads safetensors files only"
            ) from error
        raise CheckpointError(
            f"{path} is not a whole munit-lite checkpoint ({error}); it may be cut off: use another one"
        ) from error


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file written by `write_tensors`, without its tensors or its checksum.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["munit_lite"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} has no header that can be read: {error}") from error


def _is_pickle(path: Path) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(4)
        return start == b"PK\x03\x04" or start[:1] == b"\x80" or path.suffix in (".pt", ".pth", ".ckpt", ".pkl")
    return False


# -------------------------------------------------------------------------------------------------- checksums


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksum(path: Path) -> None:
    """Set a file's line in the checksums.txt beside it, as `sha256sum` writes it; the other lines stay as they are."""
    lines = read_checksums(path.parent) | {path.name: sha256_of(path)}
    with replacing(path.parent / CHECKSUMS) as partial:
        partial.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items())))


def read_checksums(folder: Path) -> dict[str, str]:
    """File name -> sha256; empty if the folder has no checksums.txt.

    Raises:
        CheckpointError: its checksums.txt is damaged.
    """
    listing = folder / CHECKSUMS
    if not listing.is_file():
        return {}
    try:
        return {name: digest for digest, name in (line.split("  ", 1) for line in listing.read_text().splitlines())}
    except ValueError as error:
        raise CheckpointError(
            f"{listing} is damaged: a line must be a sha256, two spaces and a file name; restore it from the repository"
        ) from error


def _verify(path: Path) -> None:
    listed = read_checksums(path.parent).get(path.name)
    if listed is not None and sha256_of(path) != listed:
        raise CheckpointError(
            f"{path} is damaged or was changed: its sha256 is not the one that {CHECKSUMS} beside it lists; restore "
            "both from the repository"
        )
