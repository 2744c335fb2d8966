"""Atomic writes, locks and checksums, for every file that the package writes. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

CHECKSUMS = "checksums.txt"


class StorageError(RuntimeError):
    """A file or folder cannot be written, or is in use; the message names it and says what to do."""


class CheckpointError(StorageError):
    """A checkpoint, or what a run resumes from, is missing, damaged or of another model; the message names the file."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write a file atomically: it replaces `path` when the block ends, and is removed if the block fails.

    A reader therefore sees the old file or the whole new one, never a part of it.

    Args:
        path: the file to write; its folder is created if it does not exist.

    Yields:
        a temporary path in the same folder, to write to.

    Raises:
        StorageError: the file cannot be written; what was at `path` is unchanged.

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
        raise write_error(path, error, "the previous file is unchanged" if path.exists() else "") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_error(path: Path, error: OSError, kept: str = "") -> StorageError:
    """Describe a full disk or a folder without write permission.

    Args:
        path: what cannot be written.
        error: the reason.
        kept: a clause that says what is still there.

    Returns:
        the error to raise; its message is one sentence.
    """
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space or choose another folder" if is_full else "choose another folder"
    return StorageError(f"cannot write {path}: {error.strerror or error}{f' ({kept})' if kept else ''}; {remedy}")


@contextlib.contextmanager
def hold_lock(path: Path, activity: str) -> Iterator[None]:
    """Hold a lock inside the block, so that no second process does the same in this folder.

    Args:
        path: the lock file; its folder is created if it does not exist.
        activity: what the process that holds the lock is doing, such as "training", for the error message.

    Raises:
        StorageError: another process holds the lock, or the folder cannot be written.
    """
    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        message = f"another process is {activity} in {path.parent}; wait for it or choose another folder"
        raise StorageError(message) from error
    except OSError as error:
        raise write_error(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


# -------------------------------------------------------------------------------------------------- checksums


def sha256(path: Path) -> str:
    """Compute the SHA-256 checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksum(path: Path) -> None:
    """Add a file to the checksums.txt beside it, or update its line.

    Args:
        path: the file whose checksum is computed.

    Raises:
        StorageError: checksums.txt is damaged or cannot be written.
    """
    listing = path.parent / CHECKSUMS
    write_checksums(listing, read_checksums(listing) | {path.name: sha256(path)})


def write_checksums(listing: Path, checksums: dict[str, str]) -> None:
    """Write the checksums of files, in the format of `sha256sum`.

    Args:
        listing: the file to write.
        checksums: for each file name its checksum in hexadecimal.

    Raises:
        StorageError: the file cannot be written.
    """
    with atomic_path(listing) as temporary:
        temporary.write_text("".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items())))


def read_checksums(listing: Path) -> dict[str, str]:
    """Read a file written by `write_checksums`.

    Args:
        listing: the file; it need not exist.

    Returns:
        the checksum of each file name; empty if there is no such file.

    Raises:
        StorageError: the file is damaged.
    """
    if not listing.is_file():
        return {}
    try:
        return {name: checksum for checksum, name in (line.split("  ", 1) for line in listing.read_text().splitlines())}
    except ValueError as error:
        raise StorageError(
            f"{listing} is damaged, because a line is not a sha256, two spaces and a file name; restore or remove it"
        ) from error


def verify_checksum(path: Path) -> None:
    """Compare a file with its line in the checksums.txt beside it; without one there is nothing to check.

    Args:
        path: the file.

    Raises:
        CheckpointError: the checksum differs.
        StorageError: checksums.txt is damaged.
        OSError: the file cannot be read.
    """
    expected = read_checksums(path.parent / CHECKSUMS).get(path.name)
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(
            f"{path} is damaged or was changed: its sha256 differs from the one in {CHECKSUMS} beside it; restore both "
            "from the repository"
        )
