"""Statistics of images: their values where they are known, and how often they tell wrong images from right ones."""

import json
import os
import shutil

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from scipy.stats import binomtest
from tiny import tiny

import munit_lite as ml
from munit_lite.data import open_data
from munit_lite.data.base import HeldOut, InMemoryData
from munit_lite.data.image_files import float_to_uint8, write_png
from munit_lite.data.image_statistics import (
    STATISTICS,
    compress_as_jpeg,
    find_mismatches,
    image_statistics,
    measure_domains,
)
from munit_lite.experiments.results import read_results
from munit_lite.storage.checkpoints import STATE_FILE, shipped_checkpoints
from munit_lite.storage.tensors import read_header
from munit_lite.world import World
from tools.measure_unlike_inputs import (
    MEAN,
    SWAPPED_FOLDERS,
    VALID,
    VALID_FOLDERS,
    VALID_JPEG,
    VALID_WHOLE,
    measure_model,
)

VALID_KINDS = (VALID, VALID_JPEG, VALID_WHOLE, VALID_FOLDERS)


def square(background, foreground, size=32):
    """A square in the middle, on a background; both are RGB from 0 to 255."""
    image = torch.tensor(background, dtype=torch.uint8)[:, None, None].repeat(1, size, size)
    image[:, size // 4 : -(size // 4), size // 4 : -(size // 4)] = torch.tensor(foreground)[:, None, None]
    return image[None]


@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize(
    ("background", "foreground", "expected"),
    [
        ((255, 255, 255), (0, 0, 0), {"background brightness": 1, "mean brightness": 0.75, "contrast": 0.433,
                                      "saturation": 0, "brightness of the dark parts": 0}),
        ((0, 0, 0), (255, 255, 255), {"background brightness": 0, "mean brightness": 0.25, "contrast": 0.433}),
        ((255, 0, 0), (0, 0, 255), {"red-green of the background": 1, "blue-yellow of the background": 0.5,
                                    "red-green of the center": 0, "blue-yellow of the center": -1,
                                    "edge strength": 0, "saturation": 1}),
        ((51, 51, 51), (51, 51, 51), {"contrast": 0, "edge density": 0, "median brightness": 0.2,
                                      "brightness of the light parts": 0.2}),
    ],
)  # fmt: skip
def test_statistics_of_a_square_are_what_they_are_called(background, foreground, expected, size):
    values = dict(zip(STATISTICS, image_statistics(square(background, foreground, size), 32)[0].tolist(), strict=True))
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=0.05)


def test_more_edges_raise_density_and_strength():
    one, many = square((255,) * 3, (0,) * 3), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    many[..., ::4, :] = 255
    first, second = image_statistics(torch.cat([one, many]), 32)
    for name in ("edge density", "edge strength"):
        assert second[STATISTICS.index(name)] > 2 * first[STATISTICS.index(name)]


def test_every_file_of_weights_of_a_run_holds_the_statistics_of_its_training_images(tmp_path):
    config = tiny(steps=2, num_checkpoints=1)
    run = ml.train(config, tmp_path, callbacks=[])
    expected = json.loads(json.dumps(measure_domains(open_data(config))))
    for file in (tmp_path / STATE_FILE, *(tmp_path / "weights").iterdir()):
        assert read_header(file)["image_statistics"] == expected
        assert ml.load(file).image_statistics == expected
    assert run.model.image_statistics == expected


def test_a_run_that_resumes_takes_the_statistics_from_its_state(tmp_path, monkeypatch):
    first = ml.train(tiny(steps=1), tmp_path, callbacks=[])
    monkeypatch.setattr("munit_lite.training.measure_domains", lambda data: pytest.fail("measured again"))
    second = ml.train(tiny(steps=2), tmp_path, callbacks=[])
    assert second.model.image_statistics == first.model.image_statistics is not None


def test_a_run_needs_no_codec_of_torchvision(tmp_path, monkeypatch):
    monkeypatch.setattr(TF, "jpeg", lambda *_: pytest.fail("torchvision's JPEG codec is used"))
    assert ml.train(tiny(steps=1), tmp_path, callbacks=[]).model.image_statistics is not None


def test_images_are_measured_in_batches():
    class Batches:
        def batch(self, step, count):
            sizes.append(count)
            return data.batch(step, count)

    data, sizes = open_data(tiny()), []
    assert measure_domains(Batches()) == measure_domains(data)
    assert max(sizes) <= 32 and sum(sizes) == 2 * 256


def rendered_folder(folder, count, size=32):
    """A dataset of images of the known world, all of them training images."""
    for domain, name in ((1, "A"), (2, "B")):
        for k, image in enumerate(float_to_uint8(World().images(torch.arange(count), 5, domain, size + 8))):
            write_png(folder / f"train{name}" / f"{k:03d}.png", image)
        (folder / f"test{name}").mkdir()
        shutil.move(folder / f"train{name}" / "000.png", folder / f"test{name}" / "000.png")
    return folder


@pytest.mark.parametrize(("count", "measured"), [(61, False), (100, False), (101, True), (151, True), (301, True)])
def test_new_images_are_not_reported_after_training_on_a_small_folder(count, measured, tmp_path):
    folder = rendered_folder(tmp_path, count)
    data = open_data(tiny(dataset="folder", folder=str(folder)))
    statistics = measure_domains(data)
    assert (statistics is not None) == measured  # fewer than 100 training images set no limit, so nothing is reported
    assert not data._cache._images  # which is for the crops of the training
    for domain in (1, 2) if measured else ():
        images = float_to_uint8(World().images(torch.arange(1000), 6, domain, 32))
        reported = find_mismatches(statistics, image_statistics(images, 32), domain).reasons
        assert len(reported) <= 30, domain
        inverted = find_mismatches(statistics, image_statistics(255 - images, 32), domain).reasons
        assert len(inverted) >= 800, domain


def test_copies_of_few_images_set_no_limits():
    class Few(InMemoryData):
        def __init__(self, count):
            self.seed, self.paired = 0, False
            self.train_1 = self.train_2 = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)
            self.held_out = HeldOut(self.train_1[:1], self.train_2[:1], False)

    assert measure_domains(Few(60)) is None
    assert measure_domains(Few(2000)) is not None


def test_most_of_a_folder_can_look_like_the_other_domain_though_no_image_does():
    header = read_header(shipped_checkpoints()["world32"])
    statistics = json.loads(json.dumps(header["image_statistics"]))
    for domain in statistics["domains"]:
        domain |= {"max_distance": 1e9, "max_ratio": 1e9}  # so that no single image is reported
    sketches, paintings = (
        image_statistics(float_to_uint8(World().images(torch.arange(10), 6, domain, 32)), 32) for domain in (1, 2)
    )
    for swapped, count, majority in ((5, 5, True), (4, 5, True), (3, 5, False), (8, 10, True), (7, 10, False),
                                     (4, 4, False), (0, 5, False)):  # fmt: skip
        folder = torch.cat([paintings[:swapped], sketches[: count - swapped]])
        mismatch = find_mismatches(statistics, folder, 1)
        assert not mismatch.reasons and not mismatch.like_other
        assert mismatch.majority_is_other == majority, (swapped, count)


def test_jpeg_compression_changes_an_image_a_little():
    images = float_to_uint8(World().images(torch.arange(4), 0, 2, 32))
    difference = (compress_as_jpeg(images).int() - images.int()).abs().double()
    assert 0.5 < difference.mean() < 20 and compress_as_jpeg(images).dtype == torch.uint8


def test_statistics_of_a_version_that_computes_others_are_left_alone():
    statistics = read_header(shipped_checkpoints()["world32"])["image_statistics"]
    black = image_statistics(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 32)
    assert find_mismatches(statistics, black, 1).reasons
    assert not find_mismatches(statistics | {"names": ["hue"]}, black, 1).reasons


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_at_most_1_of_100_valid_images_is_reported_and_the_mean_kind_of_wrong_ones_in_9_of_10_cases(name):
    for domain, fractions in read_results("unlike_inputs")[name].items():
        assert len(fractions) >= 14, domain  # ten kinds, their mean, the valid images and two kinds of folders
        assert fractions[MEAN] >= 0.9, domain
        for kind in set(VALID_KINDS) & set(fractions):
            assert fractions[kind] <= 0.01, (domain, kind)


@pytest.mark.parametrize("name", ["world32", "world64s"])
def test_the_recorded_fractions_are_measured_again_on_fewer_images(name):
    recorded = read_results("unlike_inputs")[name]
    for domain, fractions in measure_model(name, 40, datasets=()).items():
        for kind, fraction in fractions.items():
            if kind != MEAN:  # over other kinds
                assert_same_rate(fraction, 400 if kind in VALID_KINDS else 40, recorded[domain][kind], kind)
        assert fractions[MEAN] >= 0.9


def assert_same_rate(fraction, count, recorded, kind):
    """A two-sided binomial test at the level 0.001; the recorded rate is itself measured, on 200 images or more."""
    rate = (recorded * 200 + 0.5) / 201
    assert binomtest(round(fraction * count), count, rate).pvalue > 1e-3, (kind, fraction, recorded)


def test_the_recorded_fractions_of_photos_are_measured_again():
    if not os.environ.get("MUNIT_LITE_DATA"):
        pytest.skip("MUNIT_LITE_DATA names no folder with apples2citrus")
    recorded = read_results("unlike_inputs")["apples2citrus"]
    for domain, fractions in measure_model("apples2citrus", 40, datasets=("world32",)).items():
        for kind in (VALID, VALID_JPEG, VALID_WHOLE, VALID_FOLDERS, SWAPPED_FOLDERS):  # of all test photos, again
            assert fractions[kind] == pytest.approx(recorded[domain][kind], abs=0.005), kind
        for kind in set(fractions) - {MEAN, *VALID_KINDS, SWAPPED_FOLDERS}:
            assert_same_rate(fractions[kind], 40, recorded[domain][kind], kind)
