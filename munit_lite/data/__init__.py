"""Image data behind one interface: the known world, Fashion-MNIST, and folders of images.

A training batch is a pure function of the seed and the step, so that a resumed run sees the same images.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from munit_lite.config import Config

if TYPE_CHECKING:
    from munit_lite.data.base import ImageData


def open_data(config: Config) -> ImageData:
    """Open the dataset that a configuration names.

    Args:
        config: `config.data` names the dataset and its settings; the seed decides the order of the images.

    Returns:
        an object with `batch(step, count)` for training and `test(count)` for held-out images.

    Raises:
        DataError: a file or folder is missing or cannot be read.

    Example:
        >>> from munit_lite.presets import preset
        >>> data = open_data(preset("world32"))
        >>> images_1, images_2 = data.batch(step=0, count=4)
        >>> images_1.shape
        torch.Size([4, 3, 32, 32])
    """
    data = config.data
    if data.dataset == "world":
        from munit_lite.data.synthetic import WorldData
        from munit_lite.world import World

        return WorldData(World(data.world_variant), data.image_size, config.seed, data.paired)
    if data.dataset == "fashion":
        from munit_lite.data.fashion import FashionData

        return FashionData(data_root(config), data.image_size, data.fashion_classes, config.seed, data.paired)
    from munit_lite.data.folder_layout import find_dataset_files
    from munit_lite.data.folders import FolderData

    return FolderData(find_dataset_files(data, data_root(config)), data.image_size, config.seed, data.cache_gib)


def data_root(config: Config) -> Path:
    """Return the folder that holds the datasets.

    Args:
        config: its `data_root` names the folder. Without one, the environment variable MUNIT_LITE_DATA does.

    Returns:
        the folder, which need not exist; data/downloads in the current folder if neither names one.
    """
    return Path(config.data.data_root or os.environ.get("MUNIT_LITE_DATA") or Path("data") / "downloads")
