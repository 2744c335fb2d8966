"""Folders of images: which files make up the training and test set of each domain.

A dataset's folder contains trainA and trainB, and optionally testA and testB with held-out images; subfolders are
searched, too. A file `list_trainA.txt`, with one path per line relative to trainA, selects the files and their order;
it can also replace the folder. Alternatively, a folder contains pictures of pairs, A on the left and B on the right, in
train and optionally in test or val. Without test sets, every tenth training image in the order of the names is held
out.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from munit_lite.config import DataConfig
from munit_lite.data.image_files import DataError, Half, check_image, list_images

HELD_OUT_EVERY = 10
FEW_IMAGES = 100  # with so few training images in a domain, its discriminator memorizes them
NUM_THREADS = min(8, os.cpu_count() or 1)


class FileSet(NamedTuple):
    """The files of one set, and which part of each picture belongs to the domain."""

    files: Sequence[Path]
    half: Half = "whole"


class DatasetFiles(NamedTuple):
    """The training and held-out files of domains 1 and 2; with `paired`, row i of both test sets is a true pair."""

    train: tuple[FileSet, FileSet]
    test: tuple[FileSet, FileSet]
    paired: bool = False


def find_dataset_files(data: DataConfig, root: Path) -> DatasetFiles:
    """List the files that a configuration names, and check their headers.

    Args:
        data: names `folder`, or `folder_1` and `folder_2`.
        root: the data root.

    Returns:
        the training and held-out files of both domains.

    Raises:
        DataError: a folder or file is missing or empty, a file is not an image, or two sets share an image.
    """
    if data.folder and not (data.folder_1 or data.folder_2):
        folder = _locate(data.folder, root)
        unpaired = any((folder / name).exists() for name in ("trainA", "trainB", "list_trainA.txt", "list_trainB.txt"))
        files = _paired_files(folder) if (folder / "train").is_dir() and not unpaired else _unpaired_files(folder)
    elif data.folder_1 and data.folder_2 and not data.folder:
        path_1, path_2 = (_locate(name, root) for name in (data.folder_1, data.folder_2))
        if path_1.resolve() == path_2.resolve():
            raise DataError(f"folder_1 and folder_2 are both {path_1}, but the domains need different images")
        (train_1, test_1), (train_2, test_2) = (
            hold_out(_read_list(path, path.parent) if path.is_file() else list_images(path), path)
            for path in (path_1, path_2)
        )
        files = DatasetFiles((FileSet(train_1), FileSet(train_2)), (FileSet(test_1), FileSet(test_2)))
    else:
        raise DataError(
            "the configuration must name the images: set `folder` to a dataset (with trainA and trainB, or train), or "
            "`folder_1` and `folder_2` to one folder for each domain"
        )
    _check_headers([*files.train, *files.test])
    _check_disjoint(files)
    return DatasetFiles(files.train[::-1], files.test[::-1], files.paired) if data.swap else files


def hold_out(files: Sequence[Path], folder: Path) -> tuple[list[Path], list[Path]]:
    """Split files into training and test files: every tenth file, beginning with the first, is a test file.

    Args:
        files: in the order of their names.
        folder: where they come from, for the error message.

    Returns:
        the training files and the test files.

    Raises:
        DataError: there is only one file.
    """
    if len(files) < 2:
        raise DataError(f"{folder} contains one image, but at least two are needed: one to train on, one to hold out")
    train = [file for position, file in enumerate(files) if position % HELD_OUT_EVERY]
    return train, list(files[::HELD_OUT_EVERY])


def describe_few_images(files: DatasetFiles) -> str:
    """Explain what to expect of a training run on few images.

    Args:
        files: of a dataset.

    Returns:
        one sentence if a domain has `FEW_IMAGES` training images or fewer; otherwise an empty string.

    Example:
        >>> cats, dogs = (FileSet([Path(name) / "1.png"] * count) for name, count in (("cats", 5), ("dogs", 300)))
        >>> describe_few_images(DatasetFiles((cats, dogs), (cats, dogs))).partition(":")[0]
        'there are 5 training images of domain 1 (such as cats/1.png) and 300 of domain 2 (such as dogs/1.png)'
    """
    (train_1, _), (train_2, _) = files.train
    if min(len(train_1), len(train_2)) > FEW_IMAGES:
        return ""
    return (
        f"there are {len(train_1):,} training images of domain 1 (such as {train_1[0]}) and {len(train_2):,} of domain "
        f"2 (such as {train_2[0]}): with {FEW_IMAGES} or fewer, a discriminator memorizes its real images. In our "
        "measurements, translations did not keep the shape of the input with 5 or 17 images, and often lost it with "
        "100 (data/results/own_images.md); add images before you change anything else"
    )


def _locate(name: str, root: Path) -> Path:
    """Resolve a path, first from the current folder, then from the data root."""
    for path in (Path(name), root / name):
        if path.exists():
            return path
    raise DataError(
        f"there is no folder {name} in the current folder or in the data root {root}; use a full path, or set "
        "MUNIT_LITE_DATA to the folder that contains it. `munit-lite download --help` lists the datasets that can be "
        "downloaded"
    )


def _unpaired_files(folder: Path) -> DatasetFiles:
    """List the files of trainA and trainB; testA and testB, or else every tenth training file, are held out."""
    train_1, train_2, test_1, test_2 = (_list_set(folder, name) for name in ("trainA", "trainB", "testA", "testB"))
    for files, name in ((train_1, "trainA"), (train_2, "trainB")):
        if files is None:
            raise DataError(
                f"there is no folder {folder / name}; a dataset contains trainA and trainB, or list_trainA.txt and "
                "list_trainB.txt, or train with pictures of pairs"
            )
    assert train_1 is not None and train_2 is not None
    if test_1 is None and test_2 is None:
        train_1, test_1 = hold_out(train_1, folder / "trainA")
        train_2, test_2 = hold_out(train_2, folder / "trainB")
    for files, name, existing in ((test_1, "testA", "testB"), (test_2, "testB", "testA")):
        if files is None:
            raise DataError(f"there is no folder {folder / name}, but there is {existing}; provide both or neither")
    assert test_1 is not None and test_2 is not None
    return DatasetFiles((FileSet(train_1), FileSet(train_2)), (FileSet(test_1), FileSet(test_2)))


def _paired_files(folder: Path) -> DatasetFiles:
    """List pictures of pairs; for unpaired training, domain 1 takes the even-numbered ones, domain 2 the odd ones."""
    train = list_images(folder / "train")
    test = next((list_images(folder / name) for name in ("test", "val") if (folder / name).is_dir()), None)
    if test is None:
        train, test = hold_out(train, folder / "train")
    if len(train) < 2:
        raise DataError(f"{folder / 'train'} contains one picture, but two domains without pairs need at least two")
    return DatasetFiles(
        (FileSet(train[0::2], "left"), FileSet(train[1::2], "right")),
        (FileSet(test, "left"), FileSet(test, "right")),
        paired=True,
    )


def _list_set(folder: Path, name: str) -> list[Path] | None:
    """List the files of list_NAME.txt, otherwise of the subfolder NAME; None if there is neither."""
    subfolder, listing = folder / name, folder / f"list_{name}.txt"
    if listing.is_file():
        return _read_list(listing, subfolder if subfolder.is_dir() else folder)
    return list_images(subfolder) if subfolder.is_dir() else None


def _read_list(listing: Path, folder: Path) -> list[Path]:
    """Read the files that a text file names, one per line, relative to a folder; empty lines are skipped."""
    try:
        lines = [line.strip() for line in listing.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{listing} is not a list of files: it cannot be read as UTF-8 text ({error})") from error
    for number, line in enumerate(lines, 1):
        if line and not (folder / line).is_file():
            raise DataError(f"{listing}, line {number}: there is no file {folder / line}; correct the list")
    if not any(lines):
        raise DataError(f"{listing} names no images; write one path per line, relative to {folder}")
    return [folder / line for line in lines if line]


def _check_headers(file_sets: Iterable[FileSet]) -> None:
    """Check the header of every file in threads, with a progress bar if that takes longer than a second."""
    checks = [partial(check_image, file, file_set.half) for file_set in file_sets for file in file_set.files]
    bar = tqdm(desc="checking images", total=len(checks), delay=1, mininterval=1, leave=False)
    with ThreadPoolExecutor(NUM_THREADS) as pool, bar:
        for _ in pool.map(lambda check: check(), checks):
            bar.update()


def _check_disjoint(files: DatasetFiles) -> None:
    """Raise a DataError if two sets share an image: the domains overlap, or a test image is also trained on."""
    (train_1, _), (train_2, _) = files.train
    (test_1, _), (test_2, _) = files.test
    groups = [[*train_1, *train_2], test_1] if files.paired else [train_1, train_2, test_1, test_2]
    by_size: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for group, paths in enumerate(groups):
        for path in dict.fromkeys(paths):
            by_size[path.stat().st_size].append((group, path))
    duplicates = []
    for candidates in by_size.values():
        if len({group for group, _ in candidates}) > 1:  # files of different sizes cannot be equal
            seen: dict[bytes, tuple[int, Path]] = {}
            for group, path in candidates:
                first_group, first_path = seen.setdefault(hashlib.sha256(path.read_bytes()).digest(), (group, path))
                if first_group != group:
                    duplicates.append((first_path, path))
    if duplicates:
        more = f" (and {len(duplicates) - 1} more such files)" if len(duplicates) > 1 else ""
        raise DataError(
            f"{duplicates[0][1]} is the same image as {duplicates[0][0]}{more}, but the two domains, and training and "
            "test sets, must not share images; remove it from one of them"
        )
