"""Folders of images: which files make up the training and the held-out set of each domain.

A data set's folder holds trainA and trainB, and testA and testB to hold out; folders inside these are searched too.
A `list_trainA.txt` beside or instead of trainA, with one path relative to it a line, chooses the files and their
order. Or it holds pictures of pairs, A on the left and B on the right, in train, and in test or val to hold out.
Without test sets every tenth training image, in the order of the names, is held out.
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
from munit_lite.data.image_files import DataError, Half, check_image, is_image

HELD_OUT_EVERY = 10
THREADS = min(8, os.cpu_count() or 1)


class Source(NamedTuple):
    """Files of one set, and which part of each picture belongs to the domain."""

    files: Sequence[Path]
    half: Half = "whole"


class ImageSets(NamedTuple):
    """Training and held-out images of domain 1 and 2; row i of both held-out ones is a true pair if `paired`."""

    train: tuple[Source, Source]
    test: tuple[Source, Source]
    paired: bool = False


# ------------------------------------------------------------------------------------------------- which files


def image_sets(data: DataConfig, root: Path) -> ImageSets:
    """The files that a configuration names, their headers looked at.

    Args:
        data: names `folder`, or `folder_1` and `folder_2`.
        root: the data root.

    Raises:
        DataError: a folder or file is missing, empty or no image, or two sets share a file.
    """
    if data.folder and not (data.folder_1 or data.folder_2):
        folder = _located(data.folder, root)
        unpaired = any((folder / name).exists() for name in ("trainA", "trainB", "list_trainA.txt", "list_trainB.txt"))
        sets = _pairs(folder) if (folder / "train").is_dir() and not unpaired else _four_sets(folder)
    elif data.folder_1 and data.folder_2 and not data.folder:
        folders = [_located(name, root) for name in (data.folder_1, data.folder_2)]
        if folders[0].resolve() == folders[1].resolve():
            raise DataError(f"folder_1 and folder_2 are both {folders[0]}, but the domains need different images")
        one, two = (held_out(_list(f, f.parent) if f.is_file() else image_files(f), f) for f in folders)
        sets = ImageSets((Source(one[0]), Source(two[0])), (Source(one[1]), Source(two[1])))
    else:
        raise DataError(
            "say where the images are: `folder` names a data set (with trainA and trainB, or train), or `folder_1` "
            "and `folder_2` name one folder for each domain"
        )
    _check_headers([*sets.train, *sets.test])
    _check_disjoint(sets)
    return ImageSets(sets.train[::-1], sets.test[::-1], sets.paired) if data.swap else sets


def _located(name: str, root: Path) -> Path:
    """A path as it is, from the current folder, else below the data root."""
    for path in (Path(name), root / name):
        if path.exists():
            return path
    raise DataError(
        f"there is no folder {name}, here or in the data root {root}; give a path, or let MUNIT_LITE_DATA name the "
        "folder that holds it. `munit-lite download --help` lists the data sets that can be fetched"
    )


def _four_sets(folder: Path) -> ImageSets:
    train_1, train_2, test_1, test_2 = (
        _listed_or_inside(folder, name) for name in ("trainA", "trainB", "testA", "testB")
    )
    for files, name in ((train_1, "trainA"), (train_2, "trainB")):
        if files is None:
            raise DataError(
                f"there is no folder {folder / name}; a data set has trainA and trainB (and testA and testB, else "
                f"every {HELD_OUT_EVERY}th image is held out), or list_trainA.txt, …, or train with pictures of pairs"
            )
    assert train_1 is not None and train_2 is not None
    if test_1 is None and test_2 is None:
        train_1, test_1 = held_out(train_1, folder / "trainA")
        train_2, test_2 = held_out(train_2, folder / "trainB")
    for files, name, other in ((test_1, "testA", "testB"), (test_2, "testB", "testA")):
        if files is None:
            raise DataError(f"there is no folder {folder / name}, but there is {other}; both are needed, or none")
    assert test_1 is not None and test_2 is not None
    return ImageSets((Source(train_1), Source(train_2)), (Source(test_1), Source(test_2)))


def _pairs(folder: Path) -> ImageSets:
    """Pictures of pairs. Unpaired in training: domain 1 takes the even-numbered pictures, domain 2 the odd ones."""
    files = image_files(folder / "train")
    test = next((image_files(folder / name) for name in ("test", "val") if (folder / name).is_dir()), None)
    if test is None:
        files, test = held_out(files, folder / "train")
    if len(files) < 2:
        raise DataError(f"{folder / 'train'} holds one picture, but two domains need two that are no pair")
    return ImageSets(
        (Source(files[0::2], "left"), Source(files[1::2], "right")), (Source(test, "left"), Source(test, "right")), True
    )


def _listed_or_inside(folder: Path, name: str) -> list[Path] | None:
    """The files of list_NAME.txt, else of the folder NAME; None if there is neither."""
    inside, listing = folder / name, folder / f"list_{name}.txt"
    if listing.is_file():
        return _list(listing, inside if inside.is_dir() else folder)
    return image_files(inside) if inside.is_dir() else None


def image_files(folder: Path) -> list[Path]:
    """Every image in a folder and the folders inside it, in the order of the names.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    found = [path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts)]
    files = sorted(filter(is_image, found), key=lambda path: path.relative_to(folder).as_posix())
    if not files:
        raise DataError(f"{folder} holds no images; put some there: any format that PIL reads")
    return files


def _list(listing: Path, folder: Path) -> list[Path]:
    """The files that a text file names, one a line, relative to a folder; empty lines are passed over."""
    try:
        lines = [line.strip() for line in listing.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{listing} is no list of files: it cannot be read as UTF-8 text ({error})") from error
    for number, line in enumerate(lines, 1):
        if line and not (folder / line).is_file():
            raise DataError(f"{listing}, line {number}: there is no file {folder / line}; correct the list")
    if not any(lines):
        raise DataError(f"{listing} names no images; write one path a line, relative to {folder}")
    return [folder / line for line in lines if line]


def held_out(files: Sequence[Path], where: Path) -> tuple[list[Path], list[Path]]:
    """Training and test files: every tenth is a test file, beginning with the first.

    Raises:
        DataError: a single file cannot be both.
    """
    if len(files) < 2:
        raise DataError(f"{where} holds one image, but one to train on and one to hold out are needed")
    train = [file for number, file in enumerate(files) if number % HELD_OUT_EVERY]
    return train, list(files[::HELD_OUT_EVERY])


def _check_headers(sources: Iterable[Source]) -> None:
    checks = [partial(check_image, file, source.half) for source in sources for file in source.files]
    bar = tqdm(desc="looking at images", total=len(checks), delay=1, mininterval=1, leave=False)
    with ThreadPoolExecutor(THREADS) as pool, bar:
        for _ in pool.map(lambda check: check(), checks):
            bar.update()


def _check_disjoint(sets: ImageSets) -> None:
    """Refuse an image that two sets share: domains that overlap, or a test image that was trained on."""
    (train_1, _), (train_2, _) = sets.train
    (test_1, _), (test_2, _) = sets.test
    groups = [[*train_1, *train_2], test_1] if sets.paired else [train_1, train_2, test_1, test_2]
    by_size: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for group, files in enumerate(groups):
        for file in dict.fromkeys(files):
            by_size[file.stat().st_size].append((group, file))
    shared = []
    for candidates in by_size.values():
        if len({group for group, _ in candidates}) > 1:  # files of other lengths cannot be the same
            seen: dict[bytes, tuple[int, Path]] = {}
            for group, file in candidates:
                first, twin = seen.setdefault(hashlib.sha256(file.read_bytes()).digest(), (group, file))
                if first != group:
                    shared.append((twin, file))
    if shared:
        more = f" (and {len(shared) - 1} more such files)" if len(shared) > 1 else ""
        raise DataError(
            f"{shared[0][1]} is the same image as {shared[0][0]}{more}: the two domains, and training and test, must "
            "share none; remove it from one of them"
        )
