"""Image data behind one interface: the known world, edges and photos of Fashion-MNIST, folders.

A training batch is a pure function of (seed, step), so a resumed run sees the very same images. Domains are
unpaired in training; `test` gives held-out images, as true pairs where the data set has them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import FashionMNIST
from tqdm.auto import tqdm

from munit_lite.config import Config
from munit_lite.data.folders import THREADS, ImageSets, Source, image_sets
from munit_lite.data.image_files import DataError, read_pixels, to_unit
from munit_lite.world import World, uniform


class HeldOut(NamedTuple):
    """Test images of both domains, each (B, 3, H, W) in [-1, 1]; row i of both is a true pair if `paired`."""

    images_1: Tensor
    images_2: Tensor
    paired: bool


class ImageData(Protocol):
    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Unpaired training images of a step: two of (count, 3, H, W) in [-1, 1]."""

    def test(self, count: int) -> HeldOut:
        """The first `count` held-out images of each domain."""


def open_data(config: Config) -> ImageData:
    """The data of a configuration.

    Raises:
        DataError: a file or folder is missing or unreadable.
    """
    data = config.data
    if data.dataset == "world":
        return WorldData(World(data.variant), data.size, config.seed, data.paired)
    if data.dataset == "fashion":
        return FashionData(data_root(config), data.size, data.fashion_classes, config.seed, data.paired)
    return FolderData(image_sets(data, data_root(config)), data.size, config.seed, data.cache_gib)


def data_root(config: Config) -> Path:
    """Where data sets lie: the configuration's data_root, else the variable MUNIT_LITE_DATA, else data/downloads."""
    return Path(config.data.data_root or os.environ.get("MUNIT_LITE_DATA") or Path("data") / "downloads")


class WorldData:
    """The known world, drawn anew at every step: no image is seen twice. Unpaired, unless `paired`."""

    def __init__(self, world: World, size: int, seed: int, paired: bool = False) -> None:
        self.world, self.size, self.seed, self.paired = world, size, seed, paired

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        index = torch.arange(count) + step * count
        if self.paired:
            pairs = self.world.pairs(index, self.seed, self.size, stream="train")
            return pairs.image_1, pairs.image_2
        return (
            self.world.images(index, self.seed, 1, self.size),
            self.world.images(index, self.seed, 2, self.size),
        )

    def test(self, count: int) -> HeldOut:
        pairs = self.world.pairs(torch.arange(count), self.seed, self.size)
        return HeldOut(pairs.image_1, pairs.image_2, paired=True)


class _Stored:
    """Images held in memory as bytes; batches drawn with replacement."""

    seed: int
    paired: bool
    train_1: Tensor  # (N, 3, H, W) uint8
    train_2: Tensor
    held_out: HeldOut

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        numbers = torch.arange(count) + step * count
        pick_1 = (uniform(numbers, f"{self.seed}/pick/1") * len(self.train_1)).long()
        pick_2 = (uniform(numbers, f"{self.seed}/pick/{1 if self.paired else 2}") * len(self.train_2)).long()
        return to_unit(self.train_1[pick_1]), to_unit(self.train_2[pick_2])

    def test(self, count: int) -> HeldOut:
        one, two, paired = self.held_out
        return HeldOut(to_unit(one[:count]), to_unit(two[:count]), paired)


# ---------------------------------------------------------------------------------------------- Fashion-MNIST

FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class FashionData(_Stored):
    """Domain 1: edge drawings of product photos. Domain 2: the photos. Boots and bags by default.

    Unpaired by construction: drawings come from even-numbered items, photos from odd-numbered ones. Test items
    are true pairs.

    Args:
        root: the data root; its FashionMNIST/raw holds the four files, else they are downloaded there.
        size: 32 or a multiple; the 28-pixel photo fills 7/8 of it.
        classes: Fashion-MNIST labels to use.
        seed: of the order of the batches.
        paired: train on the drawings of the very photos instead.
    """

    def __init__(self, root: Path, size: int, classes: tuple[int, ...], seed: int, paired: bool = False) -> None:
        unknown = [label for label in classes if label not in range(10)]
        if unknown or not classes:
            raise DataError(f"fashion_classes is {classes}, but labels are 0 to 9 (9 is the ankle boot, 8 the bag)")
        if size % 32:
            raise DataError(f"size {size} is not a multiple of 32, which Fashion-MNIST's 28 pixels with a margin need")
        self.seed, self.paired = seed, paired
        photos, self.labels = _fashion_photos(root, train=True, classes=classes, size=size)
        test, self.test_labels = _fashion_photos(root, train=False, classes=classes, size=size)
        self.train_1 = edge_drawing(photos[1::2] if paired else photos[0::2])
        self.train_2 = photos[1::2]
        self.held_out = HeldOut(edge_drawing(test), test, paired=True)


def edge_drawing(photos: Tensor) -> Tensor:
    """Black Canny edges on white paper.

    Args:
        photos: (N, 3, H, W) uint8.

    Returns:
        (N, 3, H, W) uint8, values 0 and 255.
    """
    from skimage.feature import canny  # not in the base installation, which needs no Fashion-MNIST

    gray = photos.float().mean(dim=1).numpy() / 255
    sigma = photos.shape[-1] / 32
    progress = tqdm(gray, desc="edge drawings", mininterval=1, disable=len(gray) < 2000)
    edges = np.stack([canny(photo, sigma=sigma) for photo in progress])
    return torch.from_numpy(np.where(edges, 0, 255).astype(np.uint8))[:, None].repeat(1, 3, 1, 1)


def _there_or_downloaded(root: Path, train: bool) -> FashionMNIST:
    try:
        return FashionMNIST(str(root), train=train)
    except RuntimeError:  # torchvision does not find it
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".FashionMNIST.lock"):  # one process downloads, the others find it then
            return FashionMNIST(str(root), train=train, download=True)


def _fashion_photos(root: Path, train: bool, classes: tuple[int, ...], size: int) -> tuple[Tensor, Tensor]:
    """Dark products on white: (N, 3, size, size) uint8, and their labels (N,)."""
    packed = root / "FashionMNIST" / "raw"
    try:
        if list(packed.glob("*.gz")):
            # torchvision checks, repairs and unpacks beside the packed files; a data root may be read-only.
            with tempfile.TemporaryDirectory() as scratch:
                raw = Path(scratch) / "FashionMNIST" / "raw"
                raw.mkdir(parents=True)
                for file in packed.glob("*.gz"):
                    shutil.copyfile(file, raw / file.name)
                photos = FashionMNIST(scratch, train=train, download=True)
        else:
            photos = _there_or_downloaded(root, train)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"Fashion-MNIST is not usable under {root} and cannot be downloaded ({error}). Point data_root or "
            f"MUNIT_LITE_DATA at a folder that holds FashionMNIST/raw with its four .gz files."
        ) from error
    chosen = torch.isin(photos.targets, torch.tensor(classes))
    images = 255 - photos.data[chosen][:, None]  # (N, 1, 28, 28), the product dark on white
    inner, margin = size * 7 // 8, size // 16
    images = TF.resize(images, [inner, inner], antialias=True) if inner != 28 else images
    return TF.pad(images, [margin], fill=255).repeat(1, 3, 1, 1), photos.targets[chosen]


# ----------------------------------------------------------------------------------------------------- folders


class Cache:
    """Decoded images, kept until the budget is spent.

    What is in stays in: batches are drawn at random, so no image is likelier to be wanted than another, and one that
    made room for another would have to be decoded again just as often.
    """

    def __init__(self, gibibytes: float) -> None:
        self.left = int(gibibytes * 2**30)
        self._held: dict[Any, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, read: Callable[[], np.ndarray]) -> np.ndarray:
        image = self._held.get(key)
        if image is None:
            image = read()
            with self._lock:
                if key not in self._held and image.nbytes <= self.left:
                    self._held[key] = image
                    self.left -= image.nbytes
        return image


class FolderData:
    """Images from folders, decoded when they are needed.

    A training image is a random crop of the image resized so that its shorter side is 9/8 of `size`, mirrored half of
    the time; a test image is the center crop of the image resized to `size`. While a batch is used, the next is
    decoded in threads.

    Args:
        sets: which files.
        size: side of the square crops in pixels.
        seed: of the order, crops and flips.
        cache_gib: memory for decoded images.
    """

    def __init__(self, sets: ImageSets, size: int, seed: int, cache_gib: float = 1.0) -> None:
        self.sets, self.size, self.seed = sets, size, seed
        self._cache = Cache(cache_gib)
        self._pool = ThreadPoolExecutor(THREADS)
        self._ahead: dict[tuple[int, int], list[list[Future]]] = {}
        self._last: int | None = None

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Raises DataError if an image has become unreadable; names it."""
        crops = self._ahead.get((step, count)) or self._started(step, count)
        stride = 1 if self._last is None else max(1, step - self._last)  # a process of several makes every n-th batch
        following = step + stride
        self._ahead, self._last = {(following, count): self._started(following, count)}, step
        one, two = (_stacked(future.result() for future in domain) for domain in crops)
        return one, two

    def test(self, count: int) -> HeldOut:
        count = min(count, *(len(source.files) for source in self.sets.test))
        one, two = (self.centers(source, range(count)) for source in self.sets.test)
        return HeldOut(one, two, self.sets.paired)

    def centers(self, source: Source, numbers: Iterable[int]) -> Tensor:
        """The center crops of some images of a set: (B, 3, size, size) in [-1, 1]."""
        return _stacked(self._pool.map(partial(self._center, source), numbers))

    def _started(self, step: int, count: int) -> list[list[Future]]:
        numbers = torch.arange(count) + step * count
        domains = []
        for domain, source in enumerate(self.sets.train, 1):
            draws = (uniform(numbers, f"{self.seed}/{what}/{domain}") for what in ("pick", "down", "right", "flip"))
            rows = zip(*(values.tolist() for values in draws), strict=True)
            domains.append([self._pool.submit(self._crop, source, *row) for row in rows])
        return domains

    def _crop(self, source: Source, pick: float, down: float, right: float, flip: float) -> np.ndarray:
        image = self._pixels(source, int(pick * len(source.files)), self.size * 9 // 8)  # (h, w, 3)
        top = int(down * (image.shape[0] - self.size + 1))
        left = int(right * (image.shape[1] - self.size + 1))
        crop = image[top : top + self.size, left : left + self.size]
        return crop[:, ::-1] if flip < 0.5 else crop

    def _center(self, source: Source, number: int) -> np.ndarray:
        image = self._pixels(source, number, self.size)
        top, left = ((side - self.size) // 2 for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]

    def _pixels(self, source: Source, number: int, shorter_side: int) -> np.ndarray:
        file = source.files[number]
        read = partial(read_pixels, file, shorter_side, source.half)
        return self._cache.get((file, source.half, shorter_side), read)


def _stacked(images: Iterable[np.ndarray]) -> Tensor:
    """(h, w, 3) uint8 each -> (B, 3, h, w) in [-1, 1]."""
    return to_unit(torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).contiguous())
