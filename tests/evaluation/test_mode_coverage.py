"""Varieties: names, counts known by hand, a fake translator of known colors, and the real photos."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from munit_lite.data import open_data
from munit_lite.data.folders import FolderData
from munit_lite.evaluation import evaluate as evaluation
from munit_lite.evaluation.mode_coverage import (
    color_features,
    count_covered_modes,
    coverage_of_probabilities,
    domain_variety_labels,
    fit_variety_classifier,
    mode_coverage_metrics,
    parse_varieties,
)
from munit_lite.evaluation.translator import MeanStyleTranslator
from munit_lite.experiments.results import read_results
from munit_lite.methods import build
from munit_lite.presets import preset
from tools.measure_variety_classifiers import measure_classifiers

pytestmark = pytest.mark.numerical

COLORS = {"Blue": (20, 40, 200), "Lime": (90, 190, 40), "Red-Grapefruit": (220, 60, 50)}
TINY = {"base_channels": 4, "mlp_width": 8, "discriminator_base_channels": 4, "num_residual_blocks": 1}


def write_photos(root: Path, domain: str, train: int = 6, test: int = 4, colors=COLORS, pattern="{}_{:03}.png"):
    """Photos of one noisy color for each variety, no two alike."""
    rng = np.random.default_rng(ord(domain))
    for split, count in (("train", train), ("test", test)):
        for name, color in colors.items():
            for number in range(count):
                pixels = np.clip(np.array(color) + rng.normal(0, 6, (20, 16, 3)), 0, 255).astype(np.uint8)
                path = root / f"{split}{domain}" / pattern.format(name, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for domain in "AB":
        write_photos(tmp_path, domain)
    return tmp_path


def opened(folder: Path, **overrides) -> FolderData:
    data = open_data(preset("folder64", **TINY | {"folder": str(folder), "image_size": 64} | overrides))
    assert isinstance(data, FolderData)
    return data


def one_hot(modes, count):
    return torch.nn.functional.one_hot(torch.tensor(modes), count).double()


# ----------------------------------------------------------------------------------------------------------- names


def test_a_variety_is_the_name_up_to_the_number_or_the_folder_where_there_are_several():
    flat = ["Red-Grapefruit_012.jpg", "Lemon_1.jpg", "Lime 07.png", "Lime (3).png", "Pear.png"]
    assert parse_varieties([Path("trainB") / name for name in flat]) == [
        "Red-Grapefruit",
        "Lemon",
        "Lime",
        "Lime",
        "Pear",
    ]
    nested = [Path("trainB/Lemon/a_1.jpg"), Path("trainB/Lemon/b_1.jpg"), Path("trainB/Lime/a_1.jpg")]
    assert parse_varieties(nested) == ["Lemon", "Lemon", "Lime"]


def test_folders_and_names_give_the_same_varieties(folder, tmp_path):
    nested = tmp_path / "nested"
    for domain in "AB":
        write_photos(nested, domain, pattern="{}/photo{:03}.png")
    for domain in (1, 2):
        assert domain_variety_labels(opened(nested), domain) == domain_variety_labels(opened(folder), domain)
        assert domain_variety_labels(opened(folder), domain).names == list(COLORS)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"IMG_1": "trainB", "IMG_2": "trainB", "IMG_3": "testB"},
            "all training photos of domain 2 would be of the variety 'IMG'",
        ),
        (
            {"a": "trainB", "b": "trainB", "c": "testB"},
            "the variety 'a' would have a single training photo in domain 2",
        ),
        (
            {"a_1": "trainB", "a_2": "trainB", "b_1": "trainB", "b_2": "trainB", "Lemn_1": "testB"},
            "the variety 'Lemn' would have test photos but no training photos in domain 2",
        ),
    ],
)
def test_photos_without_varieties_have_no_mode_coverage_and_the_reason_is_stated(tmp_path, files, reason):
    write_photos(tmp_path, "A")
    for tone, (name, where) in enumerate(files.items()):
        (tmp_path / where).mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (tone, 0, 0)).save(tmp_path / where / f"{name}.png")
    model = build(preset("folder64", **TINY, folder=str(tmp_path)))
    numbers = evaluation.evaluate(model, count=2)
    assert all("cycle_error" in found and "modes_covered" not in found for found in numbers.values())
    sentence = evaluation.explain(model, numbers)[-1]
    assert sentence.startswith("Mode coverage is not measured, because the photos do not name their varieties")
    assert sentence.endswith(f"such as Lemon_001.jpg: {reason}.")


# -------------------------------------------------------------------------------------------------- the classifier


def test_features_are_the_square_roots_of_shares_of_lab_bins():
    half = torch.ones(1, 3, 4, 4)
    half[:, :, :, :1] = -1  # a quarter of it black, the rest white
    found = color_features(half)[0]
    assert sorted(found[found > 0]) == pytest.approx([0.5, math.sqrt(0.75)])
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels = rgb2lab(((images + 1) / 2).double().permute(0, 2, 3, 1).numpy()).reshape(3, 64, 3)
    limits = [(0, 100), (-60, 80), (-40, 90)]
    for row, lab in zip(color_features(images), pixels, strict=True):
        inside = np.stack([np.clip(lab[:, k], low, high) for k, (low, high) in enumerate(limits)], axis=1)
        expected, _ = np.histogramdd(inside, bins=[4, 8, 8], range=limits)
        np.testing.assert_allclose(row**2 * 64, expected.ravel(), atol=1e-9)


def test_colors_apart_are_all_recognized_and_shuffled_labels_are_near_chance(folder):
    classifier = fit_variety_classifier(opened(folder), 2, seed=0)
    assert classifier.confusion.tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert classifier.metrics["classifier_accuracy"] == 1
    assert classifier.metrics["most_frequent_variety"] == pytest.approx(1 / 3)
    assert classifier.metrics["classifier_accuracy_shuffled_labels"] == pytest.approx(1 / 3, abs=0.2)
    assert classifier.predict_probabilities(torch.zeros(2, 3, 8, 8)).sum(1).tolist() == pytest.approx([1, 1])


def test_the_confusion_has_the_truth_in_rows(folder):
    for number in range(4):  # what is called Lime in the test photos is of Blue's color
        color = (20 + number, 40, 200)
        Image.new("RGB", (16, 16), color).save(folder / "testB" / f"Lime_{number:03}.png")
    classifier = fit_variety_classifier(opened(folder), 2, seed=0)
    assert classifier.confusion.tolist() == [[4, 0, 0], [4, 0, 0], [0, 0, 4]]
    assert classifier.metrics["classifier_accuracy"] == pytest.approx(2 / 3)


# ---------------------------------------------------------------------------------------------------- translations


def test_a_mode_is_covered_by_one_output_in_ten_and_not_by_fewer():
    counts = torch.tensor([[100, 0, 0], [90, 10, 0], [91, 9, 0], [40, 30, 30], [0, 0, 7]])
    assert count_covered_modes(counts).tolist() == [1, 2, 1, 3, 1]


def test_fractions_and_coverage_of_two_inputs_by_hand():
    found = coverage_of_probabilities(one_hot([[0, 0, 1, 1], [0, 0, 0, 0]], 3), ["a", "b", "c"])
    assert found["modes_covered"] == 1.5 and found["modes_covered_over_inputs"] == 2
    assert [found[f"{name}_fraction"] for name in "abc"] == [0.75, 0.25, 0]
    assert found["cis"] == pytest.approx(math.log(2) / 2) and found["modes"] == 3


class Painter:
    """Paints whole images in the color of a variety that the style picks, or else a function of the images."""

    def __init__(self, chosen=None):
        self.colors, self.chosen = torch.tensor(list(COLORS.values())) / 127.5 - 1, chosen

    def sample_style(self, count, generator=None):
        return torch.rand(count, 1, generator=generator)

    def translate(self, images, source, target, style=None):
        varieties = (style[:, 0] * 3).long() if self.chosen is None else self.chosen(images)
        return self.colors[varieties][:, :, None, None].expand(-1, -1, *images.shape[2:])


@pytest.mark.slow
def test_a_translator_of_all_varieties_covers_all_and_a_deterministic_one_covers_one(folder):
    data = opened(folder)
    found = mode_coverage_metrics(Painter(), data, count=8, seed=0)
    assert list(found) == ["domain 1 to domain 2", "domain 2 to domain 1"]
    for numbers in found.values():
        assert numbers["modes_covered"] == 3 and numbers["inputs"] == 8 and numbers["samples_per_input"] == 100
        assert sum(numbers[f"{name}_fraction"] for name in COLORS) == pytest.approx(1)
        assert all(numbers[f"{name}_fraction"] == pytest.approx(1 / 3, abs=0.06) for name in COLORS)
        assert numbers["cis"] == pytest.approx(math.log(3), abs=0.2) and numbers["is"] >= numbers["cis"]
        assert numbers["modes_covered_mean_style"] == 1 and numbers["cis_mean_style"] == pytest.approx(0)
        assert numbers["modes_covered_over_inputs_mean_style"] == 1
        assert numbers["modes_covered_by_photos_of_one_mode"] == 1 and numbers["Lime_recall"] == 1

    def by_input(images):  # the variety that the input is of: each input one, all of them over inputs
        middle = images.mean((2, 3))
        return torch.cdist(middle, Painter().colors).argmin(1)

    for numbers in mode_coverage_metrics(Painter(by_input), data, count=12, seed=0).values():
        assert numbers["modes_covered"] == 1 and numbers["modes_covered_over_inputs"] == 3
        assert numbers["cis"] == pytest.approx(0, abs=1e-9)
        assert numbers["is"] == pytest.approx(math.log(3), abs=0.2)
        assert numbers["modes_covered_over_inputs_mean_style"] == 3


def test_photos_of_one_variety_classified_as_two_count_as_the_classifiers_own_coverage(folder):
    for number in range(2):  # half of the test photos of Lime look like Blue
        Image.new("RGB", (16, 16), (20 + number, 40, 200)).save(folder / "testB" / f"Lime_{number:03}.png")
    numbers = mode_coverage_metrics(Painter(), opened(folder), count=2, seed=0)["domain 1 to domain 2"]
    assert numbers["modes_covered_by_photos_of_one_mode"] == pytest.approx(4 / 3)
    assert numbers["Lime_recall"] == 0.5 and numbers["Blue_recall"] == 1


def test_the_mean_style_is_the_mean_of_the_prior():
    style = MeanStyleTranslator(Painter()).sample_style(3)
    assert style.shape == (3, 1) and not style.any()


def test_inputs_are_test_photos_of_the_source_and_swapped_folders_swap_the_varieties(folder):
    write_photos(folder / "other", "A", colors={"Dark": (10, 10, 10), "Light": (240, 240, 240)})
    write_photos(folder / "other", "B")
    plain = mode_coverage_metrics(Painter(), opened(folder / "other"), count=50, seed=0, samples=4)
    assert "Lime_fraction" in plain["domain 1 to domain 2"] and "Dark_fraction" in plain["domain 2 to domain 1"]
    assert plain["domain 1 to domain 2"]["inputs"] == 8 and plain["domain 2 to domain 1"]["inputs"] == 12
    swapped = mode_coverage_metrics(Painter(), opened(folder / "other", swap=True), count=50, seed=0, samples=4)
    assert "Dark_fraction" in swapped["domain 1 to domain 2"]


# ------------------------------------------------------------------------------------------------------ everything


def test_evaluate_measures_and_prints_a_model_of_folders(folder):
    numbers = evaluation.evaluate(build(preset("folder64", **TINY, folder=str(folder))), count=2)
    assert list(numbers) == ["domain 1 to domain 2", "domain 2 to domain 1"]
    for found in numbers.values():
        assert found["inputs"] == 2 and found["modes_covered_mean_style"] == 1 and found["cycle_error"] > 0
        assert all(math.isfinite(value) for value in found.values())
    text = evaluation.format_metrics(numbers)
    assert "modes_covered " in text and "Red-Grapefruit_fraction" in text
    json.dumps(numbers, allow_nan=False)


def real_folder() -> Path:
    root = os.environ.get("MUNIT_LITE_DATA")
    if not root or not (Path(root) / "apples2citrus").is_dir():
        pytest.skip("MUNIT_LITE_DATA names no folder with apples2citrus")
    return Path(root) / "apples2citrus"


@pytest.mark.slow
def test_the_real_photos_have_five_varieties_and_the_results_are_what_they_give(tmp_path, monkeypatch):
    folder = real_folder()
    committed = read_results("variety_classifiers")
    monkeypatch.setattr("munit_lite.experiments.results.RESULTS_DIR", tmp_path)
    measured = read_results(measure_classifiers(str(folder)))
    for domain, found in measured.items():
        assert len(found["varieties"]) == 5 and found["varieties"] == committed[domain]["varieties"]
        assert found["classifier_accuracy"] == pytest.approx(committed[domain]["classifier_accuracy"], abs=0.02)
        low = found["classifier_accuracy"] - 2 * found["classifier_accuracy_interval"]
        assert low > found["most_frequent_variety"] > 0.2
        assert found["classifier_accuracy_shuffled_labels"] == pytest.approx(1 / 5, abs=0.1)
