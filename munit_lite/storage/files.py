"""Atomic writes and checksums, for every file that the package writes. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

CHECKSUMS = "checksums.txt"


class CheckpointError(RuntimeError):
    """A file cannot be written, read or used; the message names it and says what to do."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write a file atomically: it replaces `path` when the block ends, and is removed if the block fails.

    A reader therefore sees the old file or the whole new one, never a part of it.

    Args:
        path: the file to write; its folder is created if it does not exist.

    Yields:
        a temporary path in the same folder, to write to.

    Raises:
        CheckpointError: the file cannot be written; what was at `path` is unchanged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "notes.txt") as temporary:
        ...         _ = temporary.write_text("complete")
        ...     (Path(folder) / "notes.txt").read_text()
        'complete'
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "r+b") as file:  # Windows cannot sync a file that is open for reading alone
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error, "The previous file is unchanged") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_error(path: Path, error: OSError, consequence: str) -> CheckpointError:
    """Describe a full disk or a folder without write permission.

    Args:
        path: what cannot be written.
        error: the reason.
        consequence: a sentence that says what is still there, without its period.

    Returns:
        the error to raise.
    """
    reason = error.strerror or error
    return CheckpointError(f"cannot write {path}: {reason}. {consequence}; free some space or choose another folder.")


# -------------------------------------------------------------------------------------------------- checksums


def sha256(path: Path) -> str:
    """Compute the SHA-256 checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksum(path: Path) -> None:
    """Add a file to the checksums.txt beside it, or update its line, in the format of `sha256sum`.

    Raises:
        CheckpointError: checksums.txt is damaged or cannot be written.
    """
    checksums = read_checksums(path.parent) | {path.name: sha256(path)}
    with atomic_path(path.parent / CHECKSUMS) as temporary:
        temporary.write_text("".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items())))


def read_checksums(folder: Path) -> dict[str, str]:
    """Read the checksums.txt of a folder.

    Returns:
        the checksum of each file name; empty if there is no checksums.txt.

    Raises:
        CheckpointError: checksums.txt is damaged.
    """
    listing = folder / CHECKSUMS
    if not listing.is_file():
        return {}
    try:
        return {name: checksum for checksum, name in (line.split("  ", 1) for line in listing.read_text().splitlines())}
    except ValueError as error:
        raise CheckpointError(
            f"{listing} is damaged: each line must be a sha256, two spaces and a file name; restore it from the "
            "repository"
        ) from error


def verify_checksum(path: Path) -> None:
    """Compare a file with its line in the checksums.txt beside it; without one there is nothing to check.

    Raises:
        CheckpointError: the checksum differs, or checksums.txt is damaged.
        OSError: the file cannot be read.
    """
    expected = read_checksums(path.parent).get(path.name)
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(
            f"{path} is damaged or was changed: its sha256 differs from the one in {CHECKSUMS} beside it; restore both "
            "from the repository"
        )
