"""Public datasets by name: downloaded, verified and unpacked; a dataset's folder exists only if it is complete.

An interrupted download resumes if the server still has the same file; otherwise it starts again. The length of the
archive, where the server states it, and the checksum inside the gzip file are verified. The publishers give no sha256
for these archives, so that of the first complete download is stored beside the dataset and later ones must match it.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from tqdm.auto import tqdm

from munit_lite.data.fetch import CHUNK_SIZE, fetch
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


def download(name: str, root: Path) -> Path:
    """Download a dataset into the data root, unless it is already there.

    Args:
        name: a name in `ARCHIVES`.
        root: the data root, created if it does not exist. Until the archive is unpacked, it needs twice its size.

    Returns:
        the folder of the dataset.

    Raises:
        DataError: the name is unknown, or the server, the network or the archive failed.
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
            listing = root / f"{archive.name}.sha256"
            checksum = _compare_with_first_download(archive, listing)
            unpack(archive, folder, ARCHIVES[name].layout)
            write_checksums(listing, {archive.name: checksum})
            archive.unlink()
    return folder


def _compare_with_first_download(archive: Path, listing: Path) -> str:
    """Return the sha256 of an archive, which must be the one in the listing if there is one.

    Raises:
        DataError: they differ.
    """
    checksum = sha256(archive)
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
