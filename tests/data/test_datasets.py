"""Image data: pure batches, no leak between the domains, errors that name what is wrong. No network."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import FashionMNIST

from munit_lite.data import data_root, open_data
from munit_lite.data.fashion import FashionData, edge_drawing
from munit_lite.data.image_files import uint8_to_float
from munit_lite.data.synthetic import WorldData
from munit_lite.presets import preset
from munit_lite.world import World

# ------------------------------------------------------------------------------------------------- the known world


def test_a_world_batch_depends_on_seed_and_step_alone():
    data = WorldData(World(), 32, seed=0)
    data.batch(0, 8)
    later = data.batch(3, 8)
    for fresh, same in zip(WorldData(World(), 32, seed=0).batch(3, 8), later, strict=True):
        assert torch.equal(fresh, same)
    for other in (data.batch(4, 8), WorldData(World(), 32, seed=1).batch(3, 8)):
        assert not any(torch.equal(a, b) for a, b in zip(later, other, strict=True))


def test_steps_of_the_world_repeat_no_image_and_no_held_out_one():
    data = WorldData(World(), 32, seed=0)
    for domain in (0, 1):
        seen = torch.cat([data.batch(step, 8)[domain] for step in range(4)] + [data.test(16)[domain]])
        assert len({image.numpy().tobytes() for image in seen}) == 48


def test_world_batches_are_unpaired_and_held_out_images_are_true_pairs():
    world = World()
    data = WorldData(world, 32, seed=0)
    assert data.test(20).paired
    pairs = world.pairs(torch.arange(20), 0, 32)
    assert torch.equal(data.test(20).images_1, pairs.image_1) and torch.equal(data.test(20).images_2, pairs.image_2)
    shapes = [world.content(torch.arange(400), 0, domain).shape_class for domain in (1, 2)]
    agree = (shapes[0] == shapes[1]).float().mean()  # by chance: the sum of the squared frequencies
    assert agree == pytest.approx(sum(f**2 for f in world.variant.frequencies_1), abs=0.08)


# -------------------------------------------------------------------------------------------------- Fashion-MNIST


def packed(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def products(count, seed):
    """Bright boxes on black, each of another place or size: (count, 28, 28)."""
    images, rng = np.zeros((count, 28, 28), np.uint8), np.random.default_rng(seed)
    for image in images:
        top, left, height, width = rng.integers([3, 3, 8, 8], [9, 9, 15, 15])
        image[top : top + height, left : left + width] = rng.integers(120, 250)
    return images


TRAIN, TEST = products(60, seed=0), products(30, seed=1)


@pytest.fixture
def fashion_root(tmp_path, monkeypatch):
    """A data root with small files whose checksums torchvision expects; nothing can be downloaded."""
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    checksums = []
    for split, images in (("train", TRAIN), ("t10k", TEST)):
        for what, array in (("images-idx3", images), ("labels-idx1", np.arange(len(images)) % 10)):
            file = raw / f"{split}-{what}-ubyte.gz"
            file.write_bytes(packed(array))
            checksums.append((file.name, hashlib.md5(file.read_bytes()).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", checksums)
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "root"


def photos_of(raw, labels):
    """What the photos should be at 32 px: chosen, dark on white, a margin of 2."""
    chosen = np.isin(np.arange(len(raw)) % 10, labels)
    return np.pad(255 - raw[chosen], ((0, 0), (2, 2), (2, 2)), constant_values=255)


def files_below(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_even_items_become_drawings_and_odd_ones_photos(fashion_root):
    data = FashionData(fashion_root, 32, (8, 9), seed=0)
    truth = photos_of(TRAIN, [8, 9])
    assert torch.equal(data.train_2, torch.from_numpy(truth[1::2])[:, None].repeat(1, 3, 1, 1))
    assert len(data.train_1) == len(truth[0::2]) == 6
    assert set(data.train_1.unique().tolist()) == {0, 255}
    drawn, boxes = (np.stack([bounding_box(image) for image in images]) for images in (data.train_1[:, 0], truth))
    apart = np.abs(drawn[:, None] - boxes).max(axis=2)  # of each drawing from each photo
    assert (apart.argmin(axis=1) == np.arange(0, len(truth), 2)).all() and apart.min(axis=1).max() <= 1


def bounding_box(image):
    """First and last dark row and column."""
    rows, columns = np.nonzero(np.asarray(image) < 250)
    return np.array([rows.min(), columns.min(), rows.max(), columns.max()])


@pytest.mark.parametrize("classes", [(8, 9), (3,), tuple(range(10))])
def test_only_the_chosen_classes_are_used_and_held_out_items_are_true_pairs(fashion_root, classes):
    data = FashionData(fashion_root, 32, classes, seed=0)
    assert data.test_labels.tolist() == [k % 10 for k in range(30) if k % 10 in classes]
    held_out = data.test(100)
    truth = torch.from_numpy(photos_of(TEST, classes))[:, None].repeat(1, 3, 1, 1)
    assert held_out.paired and torch.equal(held_out.images_2, truth / 127.5 - 1)
    assert torch.equal(held_out.images_1, uint8_to_float(edge_drawing(truth)))
    assert len(data.test(2).images_1) == len(data.test(2).images_2) == 2


@pytest.mark.parametrize("size", [32, 64])
def test_photos_are_dark_on_a_white_margin(fashion_root, size):
    data = FashionData(fashion_root, size, (8, 9), seed=0)
    photos = data.test(6).images_2
    assert photos.shape == (6, 3, size, size) and photos.min() >= -1 and photos.max() == 1
    assert (photos[:, :, : size // 16] == 1).all() and (photos[:, :, :, -size // 16 :] == 1).all()
    small = torch.from_numpy(photos_of(TEST, [8, 9])) / 127.5 - 1
    averaged = torch.nn.functional.avg_pool2d(photos, size // 32)[:, 0]
    assert (averaged - small).abs().mean() < 0.02


def test_fashion_batches_depend_on_seed_and_step_and_cover_the_items(fashion_root):
    data = FashionData(fashion_root, 32, (8, 9), seed=0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(data.batch(5, 4), FashionData(fashion_root, 32, (8, 9), 0).batch(5, 4), strict=True)
    )
    assert not torch.equal(data.batch(5, 4)[1], data.batch(6, 4)[1])
    picks = []
    for stored, domain in ((data.train_1, 0), (data.train_2, 1)):
        numbers = {image.numpy().tobytes(): number for number, image in enumerate(uint8_to_float(stored))}
        picks.append([numbers[image.numpy().tobytes()] for step in range(20) for image in data.batch(step, 8)[domain]])
        assert set(picks[-1]) == set(range(len(stored)))
    assert np.equal(*picks).mean() < 0.35  # independent picks of 6 agree in 1/6


def test_the_data_root_is_left_untouched(fashion_root):
    before = files_below(fashion_root)
    FashionData(fashion_root, 32, (8, 9), seed=0)
    assert files_below(fashion_root) == before


def test_unpacked_files_are_read_too(fashion_root):
    truth = FashionData(fashion_root, 32, (8, 9), seed=0).train_2
    for file in (fashion_root / "FashionMNIST" / "raw").glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert torch.equal(FashionData(fashion_root, 32, (8, 9), seed=0).train_2, truth)


def test_the_data_root_is_the_configured_one_then_the_variable_then_downloads(monkeypatch):
    monkeypatch.setenv("MUNIT_LITE_DATA", "from-variable")
    assert data_root(preset("folder64", data_root="configured")) == Path("configured")
    assert data_root(preset("folder64")) == Path("from-variable")
    for unset in (lambda: monkeypatch.setenv("MUNIT_LITE_DATA", ""), lambda: monkeypatch.delenv("MUNIT_LITE_DATA")):
        unset()
        assert data_root(preset("folder64")) == Path("data") / "downloads"


def test_each_data_set_is_opened_by_its_configuration(fashion_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIT_LITE_DATA", str(fashion_root))
    assert isinstance(open_data(preset("fashion32")), FashionData)
    world = open_data(preset("world32", world_variant="cyclic", seed=3, image_size=64))
    assert isinstance(world, WorldData) and (world.world.name, world.seed, world.size) == ("cyclic", 3, 64)
