"""Measure how often `munit-lite translate` warns of images that do not belong to a domain, and of those that do.

`python -m tools.measure_unlike_inputs` writes data/results/unlike_inputs.json. It reads Fashion-MNIST and apples2citrus
from the data root.
"""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import skimage.data
import torch
import torchvision.transforms.v2.functional as TF
import tyro
from torch import Tensor

from munit_lite.config import Config, from_dict
from munit_lite.data import open_data
from munit_lite.data.folders import FolderData
from munit_lite.data.image_files import float_to_uint8, read_image
from munit_lite.data.image_statistics import compress_as_jpeg, find_mismatches, image_statistics
from munit_lite.experiments.results import write_results
from munit_lite.storage.checkpoints import shipped_checkpoints
from munit_lite.storage.tensors import read_header
from munit_lite.world import World

DATASETS = ("world32", "fashion32", "apples2citrus")  # checkpoints, each of another dataset
VALID = "held-out images of the domain"
VALID_JPEG = "held-out images of the domain, saved as JPEG"
VALID_WHOLE = "held-out images of the domain, whole frame"  # of folders, whose images are otherwise center crops
VALID_FOLDERS, SWAPPED_FOLDERS = "folders of 5 held-out images of the domain", "folders of 5 images of the other domain"
MEAN = "mean of wrong kinds"
FOLDERS = 1000  # of 5 images, drawn at random
FRESH_SEED = 1000  # added to the seed of a model of the known world, so that no test image was seen in any choice


def measure_model(name: str, count: int, datasets: tuple[str, ...] = DATASETS) -> dict[str, dict[str, float]]:
    """Measure the fraction of images that are reported as unlike a domain, and of folders reported as the other one.

    Args:
        name: a shipped checkpoint.
        count: wrong images of each kind; valid are all held-out photos, or ten times this number of the known world.
        datasets: checkpoints whose datasets provide wrong images.

    Returns:
        for "domain 1" and "domain 2" the fraction of each kind of images and folders, and the mean over the kinds of
        wrong images.
    """
    header = read_header(shipped_checkpoints()[name])
    config = from_dict(header["config"])
    size, fractions = config.data.image_size, {}
    measure = partial(image_statistics, size=size)
    find = partial(find_mismatches, header["image_statistics"])
    held_out = held_out_images(config, 10 * count)
    for domain in (1, 2):
        own, other = held_out[domain - 1], held_out[2 - domain]
        valid = {VALID: measure(own), VALID_JPEG: measure(compress_as_jpeg(own))}
        if config.data.dataset == "folder":
            valid[VALID_WHOLE] = whole_frames(config, domain)
        wrong = {kind: measure(images) for kind, images in wrong_images(config, domain, count, datasets).items()}
        rates = {kind: len(find(values, domain).reasons) / len(values) for kind, values in (valid | wrong).items()}
        folders = {VALID_FOLDERS: valid[VALID], SWAPPED_FOLDERS: measure(other)}
        rates |= {kind: majority_rate(header["image_statistics"], values, domain) for kind, values in folders.items()}
        fractions[f"domain {domain}"] = {MEAN: sum(rates[kind] for kind in wrong) / len(wrong)} | rates
    return fractions


def majority_rate(statistics: dict[str, Any], values: Tensor, domain: int) -> float:
    """Return the fraction of random folders of 5 images that are reported as images of the other domain."""
    generator = torch.Generator().manual_seed(0)
    folders = torch.rand(FOLDERS, len(values), generator=generator).argsort(1)[:, :5]
    return sum(find_mismatches(statistics, values[folder], domain).majority_is_other for folder in folders) / FOLDERS


def whole_frames(config: Config, domain: int) -> Tensor:
    """Return the statistics of the whole frames of a folder's held-out images, as `translate` reads them."""
    data, size = open_data(config), config.data.image_size
    assert isinstance(data, FolderData)
    return torch.cat(
        [image_statistics(read_image(file, size)[None], size) for file in data.files.test[domain - 1].files]
    )


@cache
def held_out_images(config: Config, count: int) -> tuple[Tensor, Tensor]:
    """Return held-out images of both domains, (N, 3, H, W) uint8: at most `count`, but all test photos of folders."""
    size = config.data.image_size
    if config.data.dataset == "world":
        world, seed = World(config.data.world_variant), config.seed + FRESH_SEED
        domains = [world.images(torch.arange(count), seed, domain, size, stream="test") for domain in (1, 2)]
    else:
        data = open_data(config)
        if isinstance(data, FolderData):
            domains = [data.center_crops(files, range(len(files.files))) for files in data.files.test]
        else:
            domains = list(data.test(count)[:2])
    return float_to_uint8(domains[0]), float_to_uint8(domains[1])


def wrong_images(config: Config, domain: int, count: int, datasets: tuple[str, ...]) -> dict[str, Tensor]:
    """Return images that do not belong to a domain, by their kind; each (N, 3, H, W) uint8."""
    size = config.data.image_size
    own, other = (select_evenly(held_out_images(config, 10 * count)[k - 1], count) for k in (domain, 3 - domain))
    generator = torch.Generator().manual_seed(0)
    kinds = {
        "inverted gray levels": 255 - own,
        "gray levels rotated by half": (own.int() + 128).remainder(256).byte(),
        "a fifth of the contrast": (own * 0.2 + 100).byte(),
        "the other domain": other,
    }
    for name in datasets:
        foreign = from_dict(read_header(shipped_checkpoints()[name])["config"])
        if foreign.data.dataset != config.data.dataset:
            for k, images in enumerate(held_out_images(foreign, 10 * count), 1):
                kinds[f"{name}, domain {k}"] = TF.resize(select_evenly(images, count), [size, size], antialias=True)
    kinds["noise"] = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    kinds["gray noise"] = kinds["noise"][:, :1].expand(-1, 3, -1, -1)
    kinds["flat color"] = kinds["noise"][:, :, :1, :1].expand(-1, -1, size, size)
    angle = torch.rand(count, 1, 1, 1, generator=generator) * 2 * math.pi
    ramp = torch.linspace(-0.5, 0.5, size)
    position = ramp[:, None] * angle.sin() + ramp * angle.cos()
    start, end = torch.rand(2, count, 3, 1, 1, generator=generator)
    kinds["color gradient"] = ((start + (end - start) * (position * 0.7 + 0.5)).clamp(0, 1) * 255).byte()
    for kind, names in {
        "photos of other things": ("astronaut", "coffee", "cat", "rocket"),
        "photos of textures": ("brick", "grass", "gravel"),
        "scanned text": ("page", "text"),
    }.items():
        kinds[kind] = random_crops([getattr(skimage.data, name)() for name in names], count, size)
    gray = own.float().mean(1, keepdim=True).byte().expand(-1, 3, -1, -1)
    if (gray.int() - own.int()).abs().max() > 8:  # only where the domain has colors
        kinds["converted to gray"] = gray
    return kinds


def select_evenly(images: Tensor, count: int) -> Tensor:
    """Select images at equal distances, because the photos of a folder are sorted by their variety."""
    count = min(count, len(images))
    return images[torch.arange(count) * len(images) // count]


def random_crops(photos: list[np.ndarray], count: int, size: int) -> Tensor:
    """Crop random squares of at least half of the shorter side, and resize them: (count, 3, size, size) uint8."""
    random, crops = np.random.default_rng(0), []
    for k in range(count):
        photo = photos[k % len(photos)]
        image = torch.from_numpy(np.atleast_3d(photo).copy()).permute(2, 0, 1)
        shorter = min(image.shape[1:])
        side = int(random.integers(shorter // 2, shorter + 1))
        top, left = (int(random.integers(0, length - side + 1)) for length in image.shape[1:])
        crop = TF.resize(image[:, top : top + side, left : left + side], [size, size], antialias=True)
        crops.append(cast(Tensor, crop).expand(3, -1, -1))
    return torch.stack(crops)


def main(count: int = 200) -> Path:
    """Write data/results/unlike_inputs.json.

    Args:
        count: wrong images of each kind.

    Returns:
        The path of the written file.
    """
    fractions, measured = {}, {}
    for name, path in shipped_checkpoints().items():
        key = str(read_header(path)["image_statistics"])  # models that were trained on the same images share them
        measured[key] = fractions[name] = measured.get(key) or measure_model(name, count)
    command = f"python -m tools.measure_unlike_inputs --count {count}"
    return write_results("unlike_inputs", fractions, {"count": count}, command, columns=("model", "domain"))


if __name__ == "__main__":
    tyro.cli(main)
