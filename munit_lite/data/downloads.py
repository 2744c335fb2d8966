"""Public datasets by name: downloaded, verified and unpacked; a dataset's folder exists only if it is complete.

An interrupted download resumes if the server still has the same file; otherwise it starts again. The length of the
archive, where the server states it, and the checksum inside the gzip file are verified. The publishers give no sha256
for these archives, so that of the first complete download is stored beside the dataset and later ones must match it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import tarfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm.auto import tqdm

from munit_lite.data.image_files import DataError
from munit_lite.storage.files import hold_lock, read_checksums, sha256, write_checksums, write_error

Layout = dict[str, tuple[str, ...]]  # for each folder of a dataset: the folders of the archive whose files it gets


class Archive(NamedTuple):
    """A tar.gz file with one folder at its top, which is the dataset itself or is rearranged by a layout."""

    url: str
    gigabytes: float  # rounded
    layout: Layout | None = None


_FRUIT = {
    "A": [f"Apple/{name}" for name in ("Golden-Delicious", "Granny-Smith", "Pink-Lady", "Red-Delicious", "Royal-Gala")],
    "B": ["Lemon", "Lime", "Orange", "Red-Grapefruit", "Satsumas"],
}
ARCHIVES = {  # train and val of the first two contain pairs: edges on the left, photo on the right
    "edges2shoes": Archive("https://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2shoes.tar.gz", 2.0),
    "edges2handbags": Archive("https://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2handbags.tar.gz", 8.0),
    "apples2citrus": Archive(
        "https://github.com/marcusklasson/GroceryStoreDataset/archive/fc80ba90f803d79d0383df52c5a4ac5de99ff6fc.tar.gz",
        0.1,
        {
            f"{split}{domain}": tuple(f"dataset/{split}/Fruit/{variety}" for variety in varieties)
            for split in ("train", "test")
            for domain, varieties in _FRUIT.items()
        },
    ),
}
TIMEOUT = 30.0  # seconds without a byte
MAX_ATTEMPTS = 5  # in a row that bring no new bytes
RETRY_DELAY = 1.0  # seconds before the second attempt, doubled before each further one
CHUNK_SIZE = 2**18  # bytes


def download(name: str, root: Path) -> Path:
    """Download a dataset into the data root, unless it is already there.

    Args:
        name: a name in `ARCHIVES`.
        root: the data root, created if it does not exist. Until the archive is unpacked, it needs twice its size.

    Returns:
        the folder of the dataset.

    Raises:
        DataError: the server, the network or the archive failed.
        StorageError: the disk is full, or another process downloads the same dataset. In all cases what has been
            downloaded is kept, so that another call resumes.
    """
    if name not in ARCHIVES:
        raise DataError(f"unknown dataset {name!r}; known: {', '.join(ARCHIVES)}")
    folder, archive = root / name, root / f"{name}.tar.gz"
    with hold_lock(root / f".{name}.lock", f"downloading {name}"):
        if not folder.is_dir():
            if not archive.is_file():
                fetch(ARCHIVES[name].url, archive)
            checksum = _verify_checksum(archive)
            unpack(archive, folder, ARCHIVES[name].layout)
            write_checksums(_checksum_file(archive), {archive.name: checksum})
            archive.unlink()
    return folder


# ------------------------------------------------------------------------------------------------- downloading


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
        bar = tqdm(
            desc=url.rpartition("/")[2],
            initial=progress.received,
            total=progress.total,
            unit="B",
            unit_scale=True,
            mininterval=1,
        )
        with open(partial, "ab" if progress.received else "wb") as file, bar:
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


# --------------------------------------------------------------------------------------- verifying and unpacking


def _checksum_file(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _verify_checksum(archive: Path) -> str:
    """Compute the sha256 of an archive, and compare it with that of the first download.

    Raises:
        DataError: they differ.
    """
    checksum, listing = sha256(archive), _checksum_file(archive)
    first = read_checksums(listing).get(archive.name, checksum)
    if first != checksum:
        raise DataError(
            f"{archive} has the sha256 {checksum}, but the first download had {first}: it is damaged, or the publisher "
            f"has changed it; remove it to download it again, or remove {listing.name} to accept it"
        )
    return checksum


def unpack(archive: Path, folder: Path, layout: Layout | None = None) -> None:
    """Unpack an archive; the folder appears when everything is unpacked.

    Nothing is written outside: absolute paths, paths and links that lead out, and device files are refused.

    Args:
        archive: a tar.gz file with one folder at its top. Without a layout that must be the dataset's, with a train.
        folder: the dataset's folder, which is created.
        layout: for each subfolder of the dataset, the folders of the archive, below its top, whose files it gets;
            other files are omitted.

    Raises:
        DataError: the archive is damaged or refused, and has been removed.
        StorageError: the disk is full; the archive is kept.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    size, title = archive.stat().st_size, f"unpacking {archive.name}"
    try:
        with (
            open(archive, "rb") as packed,
            tqdm.wrapattr(packed, "read", total=size, desc=title, mininterval=1) as counted,
            gzip.open(cast(BinaryIO, counted)) as plain,
        ):
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                tar.extractall(temporary, filter="data")
            while plain.read(CHUNK_SIZE):  # to the end, where gzip verifies the checksum of the whole
                pass
        _arrange(temporary, folder.name, layout).replace(folder)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise DataError(f"{archive} cannot be used: {error}. It was removed; run again to download it anew") from error
    except OSError as error:
        raise write_error(folder, error, "the archive is kept") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _arrange(unpacked: Path, name: str, layout: Layout | None) -> Path:
    """Return the dataset's folder inside what was unpacked, after moving files into it as the layout says.

    Raises:
        TarError: a folder is missing.
    """
    dataset = unpacked / name
    if layout is None:
        if not (dataset / "train").is_dir():
            raise tarfile.TarError(f"it contains no {name}/train")
        return dataset
    top = next(unpacked.glob("*/"), unpacked)  # GitHub names it after the commit
    for subfolder, sources in layout.items():
        (dataset / subfolder).mkdir(parents=True)
        for source in sources:
            if not (top / source).is_dir():
                raise tarfile.TarError(f"it contains no {source}")
            for file in (top / source).iterdir():
                file.replace(dataset / subfolder / file.name)
    return dataset
