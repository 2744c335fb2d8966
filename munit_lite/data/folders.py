"""Folders of images as a dataset: which files make up each set, and how they are decoded.

A dataset's folder contains trainA and trainB, and optionally testA and testB with held-out images; subfolders are
searched, too. A file `list_trainA.txt`, with one path per line relative to trainA, selects the files and their order;
it can also replace the folder. Alternatively, a folder contains pictures of pairs, A on the left and B on the right, in
train and optionally in test or val. Without test sets, every tenth training image in the order of the names is held
out.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from munit_lite.config import DataConfig
from munit_lite.counter_rng import uniform
from munit_lite.data.base import HeldOut
from munit_lite.data.image_files import DataError, Half, check_image, list_images, read_pixels, uint8_to_float

HELD_OUT_EVERY = 10
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


# ------------------------------------------------------------------------------------------------------- dataset


class FolderData:
    """Images from folders, decoded when they are needed.

    A training image is a random crop of the image, resized so that its shorter side is 9/8 of `size`, and flipped
    horizontally half of the time. A test image is the center crop of the image resized to `size`. While one batch is
    used, the next one is decoded in threads.

    Args:
        files: which files make up each set.
        size: side of the square crops in pixels.
        seed: of the order, crops and flips.
        cache_gib: memory for decoded images in GiB.
    """

    def __init__(self, files: DatasetFiles, size: int, seed: int, cache_gib: float = 1.0) -> None:
        self.files, self.size, self.seed = files, size, seed
        self._cache = Cache(cache_gib)
        self._pool = ThreadPoolExecutor(NUM_THREADS)
        self._prefetched: dict[tuple[int, int], list[list[Future]]] = {}
        self._last_step: int | None = None

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the training images of a step; see `ImageData.batch`.

        Raises:
            DataError: an image can no longer be read; the message names it.
        """
        crops = self._prefetched.get((step, count)) or self._submit(step, count)
        # One of n processes asks for every n-th batch.
        stride = 1 if self._last_step is None else max(1, step - self._last_step)
        self._prefetched, self._last_step = {(step + stride, count): self._submit(step + stride, count)}, step
        images_1, images_2 = (_stack(future.result() for future in domain) for domain in crops)
        return images_1, images_2

    def test(self, count: int) -> HeldOut:
        """Return the first held-out images of each domain, the same number of both; see `ImageData.test`."""
        count = min(count, *(len(file_set.files) for file_set in self.files.test))
        images_1, images_2 = (self.center_crops(file_set, range(count)) for file_set in self.files.test)
        return HeldOut(images_1, images_2, self.files.paired)

    def center_crops(self, file_set: FileSet, indices: Iterable[int]) -> Tensor:
        """Read the center crops of some images of a set.

        Args:
            file_set: a set of `files`.
            indices: positions of the images in the set.

        Returns:
            (B, 3, size, size) in [-1, 1].
        """
        return _stack(self._pool.map(partial(self._center_crop, file_set), indices))

    def _submit(self, step: int, count: int) -> list[list[Future]]:
        """Start to decode the crops of a batch; one list of futures for each domain."""
        index = torch.arange(count) + step * count
        domains = []
        for domain, file_set in enumerate(self.files.train, 1):
            numbers = (uniform(index, f"{self.seed}/{what}/{domain}") for what in ("pick", "down", "right", "flip"))
            rows = zip(*(values.tolist() for values in numbers), strict=True)
            domains.append([self._pool.submit(self._random_crop, file_set, *row) for row in rows])
        return domains

    def _random_crop(self, file_set: FileSet, pick: float, down: float, right: float, flip: float) -> np.ndarray:
        """Crop a training image by four random numbers in (0, 1)."""
        image = self._read(file_set, int(pick * len(file_set.files)), self.size * 9 // 8)  # (h, w, 3)
        top = int(down * (image.shape[0] - self.size + 1))
        left = int(right * (image.shape[1] - self.size + 1))
        crop = image[top : top + self.size, left : left + self.size]
        return crop[:, ::-1] if flip < 0.5 else crop

    def _center_crop(self, file_set: FileSet, index: int) -> np.ndarray:
        image = self._read(file_set, index, self.size)
        top, left = ((side - self.size) // 2 for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]

    def _read(self, file_set: FileSet, index: int, shorter_side: int) -> np.ndarray:
        file = file_set.files[index]
        read = partial(read_pixels, file, shorter_side, file_set.half)
        return self._cache.get((file, file_set.half, shorter_side), read)


class Cache:
    """Decoded images, stored until a budget of memory is spent, and never evicted.

    Batches are sampled at random, so no image is more likely to be needed than another, and evicting one would save
    nothing.

    Args:
        gibibytes: the budget in GiB.
    """

    def __init__(self, gibibytes: float) -> None:
        self.bytes_left = int(gibibytes * 2**30)
        self._images: dict[Hashable, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the image of a key; without one, read it and store it if the budget allows."""
        image = self._images.get(key)
        if image is None:
            image = read()
            with self._lock:
                if key not in self._images and image.nbytes <= self.bytes_left:
                    self._images[key] = image
                    self.bytes_left -= image.nbytes
        return image


def _stack(images: Iterable[np.ndarray]) -> Tensor:
    """Stack images of shape (h, w, 3), uint8, to (B, 3, h, w) in [-1, 1]."""
    return uint8_to_float(torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).contiguous())


# ------------------------------------------------------------------------------------------------- which files


def find_dataset_files(data: DataConfig, root: Path) -> DatasetFiles:
    """List the files that a configuration names, and check their headers.

    Args:
        data: names `folder`, or `folder_1` and `folder_2`.
        root: the data root.

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

    Raises:
        DataError: there is only one file.
    """
    if len(files) < 2:
        raise DataError(f"{folder} contains one image, but at least two are needed: one to train on, one to hold out")
    train = [file for position, file in enumerate(files) if position % HELD_OUT_EVERY]
    return train, list(files[::HELD_OUT_EVERY])


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
