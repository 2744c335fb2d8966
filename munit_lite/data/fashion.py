"""Fashion-MNIST as two domains: Canny edges of product photos, and the photos."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import FashionMNIST
from tqdm.auto import tqdm

from munit_lite.data.base import HeldOut, InMemoryData
from munit_lite.data.image_files import DataError

FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class FashionData(InMemoryData):
    """Edge drawings of product photos as domain 1, and the photos as domain 2; bags and ankle boots by default.

    The domains are unpaired by construction: the drawings show even-numbered items, the photos odd-numbered ones. The
    held-out images are true pairs.

    Args:
        root: the data root. Its FashionMNIST/raw holds the four files; missing files are downloaded.
        size: height and width in pixels, a multiple of 32; the photo of 28 pixels fills 7/8 of it.
        classes: labels of Fashion-MNIST to use, 0 to 9.
        seed: of the order of the images.
        paired: train on the drawings of the same photos instead.

    Raises:
        DataError: a class or the size is not possible, or the files are missing and cannot be downloaded.
    """

    def __init__(self, root: Path, size: int, classes: tuple[int, ...], seed: int, paired: bool = False) -> None:
        unknown = [label for label in classes if label not in range(10)]
        if unknown or not classes:
            raise DataError(
                f"fashion_classes is {classes}, but it must name labels from 0 to 9 (9 is the ankle boot, 8 the bag)"
            )
        if size % 32:
            raise DataError(
                f"size is {size}, but it must be a multiple of 32: the photos of Fashion-MNIST have 28 pixels and get "
                "a margin"
            )
        self.seed, self.paired = seed, paired
        photos, self.labels = _load_photos(root, train=True, classes=classes, size=size)
        test_photos, self.test_labels = _load_photos(root, train=False, classes=classes, size=size)
        self.train_1 = edge_drawing(photos[1::2] if paired else photos[0::2])
        self.train_2 = photos[1::2]
        self.held_out = HeldOut(edge_drawing(test_photos), test_photos, paired=True)


def edge_drawing(photos: Tensor) -> Tensor:
    """Draw the Canny edges of photos in black on white.

    Args:
        photos: (N, 3, H, W) uint8.

    Returns:
        (N, 3, H, W) uint8, each value 0 or 255.

    Example:
        >>> photos = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
        >>> photos[:, :, 8:24, 8:24] = 0
        >>> edge_drawing(photos).unique().tolist()
        [0, 255]
    """
    from skimage.feature import canny  # not in the base installation, which needs no Fashion-MNIST

    gray = photos.float().mean(dim=1).numpy() / 255
    sigma = photos.shape[-1] / 32
    progress = tqdm(gray, desc="edge drawings", mininterval=1, disable=len(gray) < 2000)
    edges = np.stack([canny(photo, sigma=sigma) for photo in progress])
    return torch.from_numpy(np.where(edges, 0, 255).astype(np.uint8))[:, None].repeat(1, 3, 1, 1)


def _load_photos(root: Path, train: bool, classes: tuple[int, ...], size: int) -> tuple[Tensor, Tensor]:
    """Load dark products on white, (N, 3, size, size) uint8, and their labels, (N,)."""
    raw = root / "FashionMNIST" / "raw"
    try:
        if archives := list(raw.glob("*.gz")):
            dataset = _unpack_elsewhere(archives, train)
        else:
            dataset = _load_or_download(root, train)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"Fashion-MNIST cannot be read from {root} or downloaded ({error}). Set data_root or MUNIT_LITE_DATA to a "
            "folder that contains FashionMNIST/raw with its four .gz files."
        ) from error
    selected = torch.isin(dataset.targets, torch.tensor(classes))
    images = 255 - dataset.data[selected][:, None]  # (N, 1, 28, 28), dark on white
    inner, margin = size * 7 // 8, size // 16
    images = TF.resize(images, [inner, inner], antialias=True) if inner != 28 else images
    return TF.pad(images, [margin], fill=255).repeat(1, 3, 1, 1), dataset.targets[selected]


def _unpack_elsewhere(archives: list[Path], train: bool) -> FashionMNIST:
    """Load packed files from a temporary copy: torchvision unpacks beside them, but a data root may be read-only."""
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for archive in archives:
            shutil.copyfile(archive, raw / archive.name)
        return FashionMNIST(temporary, train=train, download=True)


def _load_or_download(root: Path, train: bool) -> FashionMNIST:
    try:
        return FashionMNIST(str(root), train=train)
    except RuntimeError:  # torchvision does not find the files
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".FashionMNIST.lock"):  # one process downloads; the others wait and then find the files
            return FashionMNIST(str(root), train=train, download=True)
