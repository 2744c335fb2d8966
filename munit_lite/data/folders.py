"""Folders of images as a dataset: how the files that `folder_layout.py` lists are decoded, cropped and cached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from munit_lite.counter_rng import uniform
from munit_lite.data.base import HeldOut
from munit_lite.data.folder_layout import NUM_THREADS, DatasetFiles, FileSet
from munit_lite.data.image_files import read_pixels, uint8_to_float


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
        """Return the image of a key.

        Args:
            key: identifies the image.
            read: reads the image if it is not stored; the result is stored if the budget allows.
        """
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
