"""Statistics of images: their values where they are known, and how often they tell wrong images from right ones."""

import json
import os

import pytest
import torch
from tiny import tiny

import munit_lite as ml
from munit_lite.data import open_data
from munit_lite.data.image_statistics import STATISTICS, find_mismatches, image_statistics, measure_domains
from munit_lite.experiments.results import read_results
from munit_lite.storage.checkpoints import STATE_FILE, shipped_checkpoints
from munit_lite.storage.tensors import read_header
from tools.measure_unlike_inputs import VALID, VALID_JPEG, measure_model

MEAN = "mean of wrong kinds"


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


def test_statistics_of_a_version_that_computes_others_are_left_alone():
    statistics = read_header(shipped_checkpoints()["world32"])["image_statistics"]
    black = image_statistics(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 32)
    assert find_mismatches(statistics, black, 1).reasons
    assert not find_mismatches(statistics | {"names": ["hue"]}, black, 1).reasons


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_at_least_9_of_10_wrong_images_and_at_most_1_of_100_valid_ones_are_unlike_the_domain(name):
    for domain, fractions in read_results("unlike_inputs")[name].items():
        assert len(fractions) >= 12, domain  # ten kinds, their mean, and the valid images
        assert fractions[MEAN] >= 0.9 and fractions[VALID] <= 0.01 and fractions[VALID_JPEG] <= 0.01, domain


@pytest.mark.parametrize("name", ["world32", "world64s"])
def test_the_recorded_fractions_are_measured_again_on_fewer_images(name):
    recorded = read_results("unlike_inputs")[name]
    for domain, fractions in measure_model(name, 40, datasets=()).items():
        for kind, fraction in fractions.items():
            if kind != MEAN:  # over other kinds
                # Five standard errors of 40 images; of the 400 valid ones less.
                assert fraction == pytest.approx(
                    recorded[domain][kind], abs=0.02 if kind in (VALID, VALID_JPEG) else 0.35
                ), kind
        assert fractions[MEAN] >= 0.9 and fractions[VALID] <= 0.02


def test_the_recorded_fractions_of_photos_are_measured_again():
    if not os.environ.get("MUNIT_LITE_DATA"):
        pytest.skip("MUNIT_LITE_DATA names no folder with apples2citrus")
    recorded = read_results("unlike_inputs")["apples2citrus"]
    for domain, fractions in measure_model("apples2citrus", 40, datasets=("world32",)).items():
        assert fractions[VALID] == pytest.approx(recorded[domain][VALID], abs=1e-3)  # all test photos, again
        assert fractions["inverted gray levels"] > 0.9 and fractions["world32, domain 1"] > 0.9
