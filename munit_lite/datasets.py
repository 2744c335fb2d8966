"""Image data behind one interface: the known world, edges and photos of Fashion-MNIST, folders.

A training batch is a pure function of (seed, step), so a resumed run sees the very same images. Domains are
unpaired in training; `test` gives held-out images, as true pairs where the data set has them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image, ImageOps
from skimage.feature import canny
from torch import Tensor
from torchvision.datasets import FashionMNIST
from tqdm.auto import tqdm

from munit_lite.config import Config
from munit_lite.world import World, uniform


class DataError(RuntimeError):
    """The data cannot be used; the message says which file or folder and what to do."""


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
        return WorldData(World(data.variant), data.size, config.seed)
    if data.dataset == "fashion":
        return FashionData(data_root(config), data.size, data.fashion_classes, config.seed)
    return FolderData(data_root(config) / data.folder, data.size, config.seed)


def data_root(config: Config) -> Path:
    """Where data sets lie: the configuration's data_root, else the variable MUNIT_LITE_DATA, else data/downloads."""
    return Path(config.data.data_root or os.environ.get("MUNIT_LITE_DATA") or Path("data") / "downloads")


class WorldData:
    """The known world, drawn anew at every step: no image is seen twice."""

    def __init__(self, world: World, size: int, seed: int) -> None:
        self.world, self.size, self.seed = world, size, seed

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        index = torch.arange(count) + step * count
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
    train_1: Tensor  # (N, 3, H, W) uint8
    train_2: Tensor
    held_out: HeldOut

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        numbers = torch.arange(count) + step * count
        pick_1 = (uniform(numbers, f"{self.seed}/pick/1") * len(self.train_1)).long()
        pick_2 = (uniform(numbers, f"{self.seed}/pick/2") * len(self.train_2)).long()
        return to_unit(self.train_1[pick_1]), to_unit(self.train_2[pick_2])

    def test(self, count: int) -> HeldOut:
        one, two, paired = self.held_out
        return HeldOut(to_unit(one[:count]), to_unit(two[:count]), paired)


def to_unit(images: Tensor) -> Tensor:
    """Bytes 0 … 255 -> float in [-1, 1]."""
    return images.float() / 127.5 - 1


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
    """

    def __init__(self, root: Path, size: int, classes: tuple[int, ...], seed: int) -> None:
        unknown = [label for label in classes if label not in range(10)]
        if unknown or not classes:
            raise DataError(f"fashion_classes is {classes}, but labels are 0 to 9 (9 is the ankle boot, 8 the bag)")
        if size % 32:
            raise DataError(f"size {size} is not a multiple of 32, which Fashion-MNIST's 28 pixels with a margin need")
        self.seed = seed
        photos, self.labels = _fashion_photos(root, train=True, classes=classes, size=size)
        test, self.test_labels = _fashion_photos(root, train=False, classes=classes, size=size)
        self.train_1 = edge_drawing(photos[0::2])
        self.train_2 = photos[1::2]
        self.held_out = HeldOut(edge_drawing(test), test, paired=True)


def edge_drawing(photos: Tensor) -> Tensor:
    """Black Canny edges on white paper.

    Args:
        photos: (N, 3, H, W) uint8.

    Returns:
        (N, 3, H, W) uint8, values 0 and 255.
    """
    grey = photos.float().mean(dim=1).numpy() / 255
    sigma = photos.shape[-1] / 32
    progress = tqdm(grey, desc="edge drawings", mininterval=1, disable=len(grey) < 2000)
    edges = np.stack([canny(photo, sigma=sigma) for photo in progress])
    return torch.from_numpy(np.where(edges, 0, 255).astype(np.uint8))[:, None].repeat(1, 3, 1, 1)


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
            photos = FashionMNIST(str(root), train=train, download=True)
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


class FolderData:
    """Two folders of images, trainA and trainB, with testA and testB held out (the original's layout).

    Training images are a random crop of the image resized so that its shorter side is 9/8 of `size`, mirrored
    half of the time; test images are the centre crop of the image resized to `size`.

    Args:
        folder: holds trainA, trainB, testA, testB.
        size: side of the square crops in pixels.
        seed: of the order, crops and flips.
    """

    def __init__(self, folder: Path, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.train = [_read_folder(folder / name, size * 9 // 8) for name in ("trainA", "trainB")]
        self.tests = [_read_folder(folder / name, size) for name in ("testA", "testB")]

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        numbers = torch.arange(count) + step * count
        return self._crops(1, numbers), self._crops(2, numbers)

    def _crops(self, domain: int, numbers: Tensor) -> Tensor:
        images = self.train[domain - 1]
        pick, down, right, flip = (
            uniform(numbers, f"{self.seed}/{what}/{domain}").tolist() for what in ("pick", "down", "right", "flip")
        )
        crops = []
        for k in range(len(numbers)):
            image = images[int(pick[k] * len(images))]  # (3, h, w)
            top = int(down[k] * (image.shape[1] - self.size + 1))
            left = int(right[k] * (image.shape[2] - self.size + 1))
            crop = image[:, top : top + self.size, left : left + self.size]
            crops.append(crop.flip(2) if flip[k] < 0.5 else crop)
        return to_unit(torch.stack(crops))

    def test(self, count: int) -> HeldOut:
        one, two = (
            to_unit(torch.stack([TF.center_crop(image, [self.size, self.size]) for image in images[:count]]))
            for images in self.tests
        )
        shorter = min(len(one), len(two))
        return HeldOut(one[:shorter], two[:shorter], paired=False)


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def _read_folder(folder: Path, shorter_side: int) -> list[Tensor]:
    """Every image of a folder, RGB, shorter side resized: a list of (3, h, w) uint8 in the order of the names."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; a data set has trainA, trainB, testA and testB")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    progress = tqdm(files, desc=f"reading {folder.name}", mininterval=1, disable=len(files) < 500)
    return [read_image(file, shorter_side) for file in progress]


def read_image(file: Path, shorter_side: int) -> Tensor:
    """One image as (3, h, w) uint8: turned upright, RGB, its shorter side resized.

    Raises:
        DataError: PIL cannot read it; names the file.
    """
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion would clip at 255
                image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().astype(np.uint8))
            image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as an image ({error}); repair or remove it") from error
    return TF.resize(TF.pil_to_tensor(image), [shorter_side], antialias=True)
