"""Download one file over HTTP, resuming after an interruption if the server still has the same version of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm.auto import tqdm

from munit_lite.data.image_files import DataError
from munit_lite.storage.files import write_error

TIMEOUT = 30.0  # seconds without a byte
MAX_ATTEMPTS = 5  # in a row that bring no new bytes
RETRY_DELAY = 1.0  # seconds before the second attempt, doubled before each further one
CHUNK_SIZE = 2**18  # bytes


class _Progress(NamedTuple):
    """What an earlier attempt has downloaded."""

    received: int = 0  # bytes
    total: int | None = None  # length of the whole file in bytes; None: the server does not state it
    version: str = ""  # of the file, as the server identifies it


def fetch(url: str, target: Path) -> None:
    """Download a file, resuming an earlier attempt.

    Args:
        url: the file.
        target: where to store it. An incomplete download lies beside it.

    Raises:
        DataError: the server refuses, or `MAX_ATTEMPTS` attempts in a row bring no new bytes.
        StorageError: the disk is full.
    """
    partial = target.with_name(f".{target.name}.partial")
    metadata = partial.with_suffix(".json")
    most_received, failures = _read_progress(partial, metadata).received, 0
    while True:
        try:
            _receive(url, partial, metadata)
            partial.replace(target)
            metadata.unlink(missing_ok=True)
            return
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            received = _read_progress(partial, metadata).received
            failures = 0 if received > most_received else failures + 1
            most_received = max(most_received, received)
            if failures == MAX_ATTEMPTS or _is_permanent(error):
                kept = f"{received:,} bytes are kept in {partial}: " if received else ""
                raise DataError(f"cannot download {url}: {_describe(error, url)}; {kept}try again later") from error
            time.sleep(RETRY_DELAY * 2 ** max(failures - 1, 0))
        except OSError as error:
            raise write_error(partial, error, "what has been downloaded is kept") from error


def _receive(url: str, partial: Path, metadata: Path) -> None:
    """Make one attempt to download the rest of a file."""
    progress = _read_progress(partial, metadata)
    if progress.received and progress.received == progress.total:
        return
    headers = {"Accept-Encoding": "identity"}
    if progress.received:
        headers |= {"Range": f"bytes={progress.received}-", "If-Range": progress.version}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        if response.status_code != 206:  # the whole file: first attempt, new version, or a server without ranges
            length = response.headers.get("Content-Length")
            progress = _Progress(0, int(length) if length else None, _version(response.headers))
            partial.unlink(missing_ok=True)  # it belongs to another version than the new metadata
            metadata.write_text(json.dumps({"total": progress.total, "version": progress.version}))
        elif response.headers.get("Content-Range") != (
            f"bytes {progress.received}-{(progress.total or 0) - 1}/{progress.total}"
        ):
            metadata.unlink()  # the next attempt starts from the beginning
            raise requests.RequestException("the server sent another part of the file than the one requested")
        _check_disk_space(partial.parent, progress)
        done, total, name = progress.received, progress.total, url.rpartition("/")[2]
        bar = tqdm(desc=name, initial=done, total=total, unit="B", unit_scale=True, mininterval=1)
        with open(partial, "ab" if done else "wb") as file, bar:
            for chunk in response.raw.stream(CHUNK_SIZE, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))


def _read_progress(partial: Path, metadata: Path) -> _Progress:
    """Read what earlier attempts have downloaded: nothing, if the server does not identify versions of the file."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(metadata.read_text())
        received = partial.stat().st_size
        if stored["version"] and stored["total"] and received <= stored["total"]:
            return _Progress(received, stored["total"], stored["version"])
    return _Progress()


def _version(headers: Mapping[str, str]) -> str:
    """Return a value for If-Range: a strong ETag, otherwise the date of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _check_disk_space(root: Path, progress: _Progress) -> None:
    """Raise a DataError if the rest of the archive and the unpacked images do not fit on the disk."""
    if progress.total is None:
        return
    # Images are compressed already, so that they take as much space unpacked as in the archive.
    needed, free = 2 * progress.total - progress.received, shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"the archive and its images need {needed / 1e9:.1f} GB, but {root} has only {free / 1e9:.1f} GB free; "
            "free some space or choose another data root"
        )


def _is_permanent(error: Exception) -> bool:
    """Tell whether another attempt is useless because the server has understood and refused the request."""
    response = getattr(error, "response", None)
    return response is not None and 400 <= response.status_code < 500 and response.status_code not in (408, 416, 429)


def _describe(error: Exception, url: str) -> str:
    """Describe the error of a request in a clause."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"the server sent nothing for {TIMEOUT:g} seconds"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection was interrupted"
    if isinstance(error, requests.ConnectionError):
        return f"no connection to {urlsplit(url).hostname}"
    return str(error)
