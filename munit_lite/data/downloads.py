"""Public data sets by name: downloaded, checked and unpacked, whole or not there.

A broken download goes on where it stopped, if the server still has the very same file; else it starts again. The
archive's length, where the server tells it, and gzip's own checksum are checked. No publisher names a sha256 for these
archives, so the one of the first whole download is written beside the data set, and a later one must have the same.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from munit_lite.data.image_files import DataError
from munit_lite.storage.files import replacing, sha256_of


class Archive(NamedTuple):
    """A tar.gz with one folder at its top: the data set as it is, or where the files of the set's folders come from."""

    url: str
    gigabytes: float
    parts: dict[str, tuple[str, ...]] | None = None  # folder of the data set: folders of the archive


_FRUIT = {
    "A": [f"Apple/{name}" for name in ("Golden-Delicious", "Granny-Smith", "Pink-Lady", "Red-Delicious", "Royal-Gala")],
    "B": ["Lemon", "Lime", "Orange", "Red-Grapefruit", "Satsumas"],
}
ARCHIVES = {  # sizes are rounded; train and val of the first two hold pairs: edges on the left, photo on the right
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
TRIES = 5  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try, doubled before each further one
CHUNK = 2**18  # bytes


def download(name: str, root: Path) -> Path:
    """The folder of a data set, downloaded into the data root if it is not there.

    Args:
        name: a name in `ARCHIVES`.
        root: the data root, made if missing. The archive takes as much room again until it is unpacked.

    Raises:
        DataError: the server, the network, the disk or the archive failed; what has come is kept for another try.
    """
    if name not in ARCHIVES:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(ARCHIVES)}")
    folder, archive = root / name, root / f"{name}.tar.gz"
    with _claimed(root, name):
        if not folder.is_dir():
            if not archive.is_file():
                fetch(ARCHIVES[name].url, archive)
            digest = _same_as_before(archive)
            unpack(archive, folder, ARCHIVES[name].parts)
            with replacing(_pin(archive)) as partial:
                partial.write_text(f"{digest}  {archive.name}\n")
            archive.unlink()
    return folder


@contextlib.contextmanager
def _claimed(root: Path, name: str) -> Iterator[None]:
    """Hold the data set's place against a second download."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{name}.lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise DataError(f"another download of {name} into {root} is running; wait for it") from error
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        yield
    finally:
        lock.release()


def _unwritable(place: Path, error: OSError) -> DataError:
    reason = error.strerror or error
    return DataError(f"cannot write {place}: {reason}; free some space or choose another data root")


# ------------------------------------------------------------------------------------------------- downloading


class _Held(NamedTuple):
    """What an earlier try has left: so many bytes of a file of this length, with the server's mark of its version."""

    bytes: int = 0
    total: int | None = None
    version: str = ""


def fetch(url: str, target: Path) -> None:
    """Download a file; what an earlier try has left of it is not downloaded again.

    Raises:
        DataError: the server refuses, or brings nothing new in `TRIES` tries, or the disk is full.
    """
    partial = target.with_name(f".{target.name}.partial")
    note = partial.with_suffix(".json")
    furthest, idle = _held(partial, note).bytes, 0
    while True:
        try:
            _receive(url, partial, note)
            partial.replace(target)
            note.unlink(missing_ok=True)
            return
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            held = _held(partial, note)
            idle = 0 if held.bytes > furthest else idle + 1
            furthest = max(furthest, held.bytes)
            if idle == TRIES or _final(error):
                kept = f"{held.bytes:,} bytes are kept in {partial}: " if held.bytes else ""
                raise DataError(f"cannot download {url}: {_reason(error, url)}; {kept}try again later") from error
            time.sleep(PAUSE * 2 ** max(idle - 1, 0))
        except OSError as error:
            raise _unwritable(partial, error) from error


def _receive(url: str, partial: Path, note: Path) -> None:
    held = _held(partial, note)
    if held.bytes and held.bytes == held.total:
        return
    headers = {"Accept-Encoding": "identity"}
    if held.bytes:
        headers |= {"Range": f"bytes={held.bytes}-", "If-Range": held.version}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        if response.status_code != 206:  # from the start: the first try, another version, or a server without ranges
            length = response.headers.get("Content-Length")
            held = _Held(0, int(length) if length else None, _version(response.headers))
            partial.unlink(missing_ok=True)  # of another version: the note is not to speak of it
            note.write_text(json.dumps({"total": held.total, "version": held.version}))
        elif response.headers.get("Content-Range") != f"bytes {held.bytes}-{(held.total or 0) - 1}/{held.total}":
            note.unlink()  # so that the next try starts from the start
            raise requests.RequestException("the server sent another part of the file than it was asked for")
        _check_room(partial.parent, held)
        progress = tqdm(
            desc=url.rpartition("/")[2], initial=held.bytes, total=held.total, unit="B", unit_scale=True, mininterval=1
        )
        with open(partial, "ab" if held.bytes else "wb") as file, progress:
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                progress.update(len(chunk))


def _held(partial: Path, note: Path) -> _Held:
    """Nothing is held of a file whose version the server does not tell: its parts may not fit together."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text())
        size = partial.stat().st_size
        if known["version"] and known["total"] and size <= known["total"]:
            return _Held(size, known["total"], known["version"])
    return _Held()


def _version(headers: Any) -> str:
    """What If-Range may ask for: a strong ETag, else the date of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _check_room(root: Path, held: _Held) -> None:
    if held.total is None:
        return
    needed, free = 2 * held.total - held.bytes, shutil.disk_usage(root).free  # pictures take what they take packed
    if free < needed:
        raise DataError(
            f"archive and pictures take {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are free in {root}; free "
            "some space or choose another data root"
        )


def _final(error: Exception) -> bool:
    """Whether another try is useless: the server has understood and refused."""
    response = getattr(error, "response", None)
    return response is not None and 400 <= response.status_code < 500 and response.status_code not in (408, 416, 429)


def _reason(error: Exception, url: str) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"the server was silent for {TIMEOUT:g} seconds"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection was cut off"
    if isinstance(error, requests.ConnectionError):
        return f"no connection to {urlsplit(url).hostname}"
    return str(error)


# --------------------------------------------------------------------------------------- checking and unpacking


def _pin(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _same_as_before(archive: Path) -> str:
    """The archive's sha256, which must be that of the first download."""
    digest = sha256_of(archive)
    pin = _pin(archive)
    if pin.is_file() and (before := (pin.read_text().split() or [""])[0]) != digest:
        raise DataError(
            f"{archive} has the sha256 {digest}, but the first download had {before or 'none'}: it is damaged or the "
            f"publisher has changed it. Remove it to download it again, or {pin.name} to accept the new one"
        )
    return digest


def unpack(archive: Path, folder: Path, parts: dict[str, tuple[str, ...]] | None = None) -> None:
    """Unpack an archive; the folder takes its place when all of it is unpacked.

    Nothing is written outside: absolute paths, paths and links that lead out, and device files are refused.

    Args:
        archive: a tar.gz with one folder at its top, of this name and with a train in it unless parts are named.
        folder: to make.
        parts: folder inside it: folders of the archive, below the top, whose files it takes; all others are left out.

    Raises:
        DataError: the archive is damaged or refused, and removed; or the disk is full, and it is kept.
    """
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    size, title = archive.stat().st_size, f"unpacking {archive.name}"
    try:
        with (
            open(archive, "rb") as packed,
            tqdm.wrapattr(packed, "read", total=size, desc=title, mininterval=1) as counted,
            gzip.open(cast(BinaryIO, counted)) as plain,
        ):
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                tar.extractall(aside, filter="data")
            while plain.read(CHUNK):  # to the end, where gzip's checksum of the whole stands
                pass
        _arranged(aside, folder.name, parts).replace(folder)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise DataError(f"{archive} cannot be used: {error}. It was removed; run again to download it anew") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _arranged(aside: Path, name: str, parts: dict[str, tuple[str, ...]] | None) -> Path:
    """The data set's folder among what was unpacked.

    Raises:
        TarError: it is not there.
    """
    if parts is None:
        if not (aside / name / "train").is_dir():
            raise tarfile.TarError(f"it holds no {name}/train")
        return aside / name
    top = next(aside.glob("*/"), aside)  # GitHub names it after the commit
    made = aside / name
    for part, sources in parts.items():
        (made / part).mkdir(parents=True)
        for source in sources:
            if not (top / source).is_dir():
                raise tarfile.TarError(f"it holds no {source}")
            for file in (top / source).iterdir():
                file.replace(made / part / file.name)
    return made
