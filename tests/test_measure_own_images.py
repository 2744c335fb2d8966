"""Test the measurements of tools/measure_own_images.py on cases whose answer is known, and its committed results."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.mode_coverage import color_features, new_logistic_regression
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.storage.checkpoints import load
from munit_lite.world import DIRECTIONS, SHAPE_NAMES, World, style_from_code
from tools import measure_own_images as tool
from tools.measure_own_images import FACTORS, PHOTO_DIRECTIONS, SHIFTS, PhotoDirection, PhotoScores


class BlockTranslator:
    """Replace each block of pixels by its mean, and add the style: equivariant to shifts by whole blocks only."""

    def __init__(self, block: int) -> None:
        self.block = block

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.arange(count).float()[:, None]

    def translate(self, images: Tensor, source: int, target: int, style: Tensor | None = None) -> Tensor:
        assert style is not None
        means = F.avg_pool2d(images, self.block)
        return F.interpolate(means, scale_factor=self.block, mode="nearest") + style[:, :, None, None]


@pytest.mark.parametrize(("block", "exact"), [(1, SHIFTS), (2, (2, 4, 6, 8)), (4, (4, 8)), (8, (8,))])
def test_a_translator_of_blocks_flickers_unless_the_camera_moves_by_whole_blocks(block: int, exact: tuple[int, ...]):
    canvases = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))

    measured = tool.flicker_metrics(BlockTranslator(block), canvases, source=1)

    flicker = {shift: measured[str(shift)]["flicker"] for shift in SHIFTS}
    assert all(flicker[shift] < 1e-4 for shift in exact)
    assert all(flicker[shift] > 1 for shift in set(SHIFTS) - set(exact))
    # Three canvases have the styles 0, 1 and 2, and then 3, 4 and 5: images in [-1, 1] differ by 3 units.
    assert measured["references"]["new_style"] == pytest.approx(3 * 127.5, rel=1e-5)


@pytest.mark.parametrize(
    ("columns", "gray_levels"), [([0.5] * 12, 0.0), (np.linspace(-1, 1, 12), 0.0), ([-1.0, 1.0] * 6, 127.5)]
)
def test_interpolation_blurs_stripes_but_no_ramp(columns, gray_levels: float):
    images = torch.tensor(np.array(columns), dtype=torch.float32).expand(2, 3, 12, 12)
    blurred = tool.blur(images)
    assert tool.mean_difference(blurred, images[..., 1:-1]).tolist() == pytest.approx([gray_levels] * 2, abs=1e-4)


def test_the_middle_frame_of_a_canvas_is_the_image_of_the_known_world():
    canvases = tool.world_canvases(32, domain=2, count=4)
    images = World().images(torch.arange(4), 1, 2, 32, "test")
    assert (tool.crop_frame(canvases, SHIFTS[-1] // 2) - images).abs().max() < 1e-4


def test_a_frame_moves_over_its_canvas_to_the_right():
    canvas = torch.arange(20.0).expand(1, 3, 20, 20)
    assert [tool.crop_frame(canvas, shift)[0, 0, 0, [0, -1]].tolist() for shift in (0, 3, 8)] == [
        [0, 11],
        [3, 14],
        [8, 19],
    ]


def test_far_from_the_border_the_shipped_model_moves_with_its_input_by_multiples_of_its_stride():
    measured = tool.flicker_metrics(load("world32"), tool.world_canvases(32, 1, count=2, frame=4), source=1)
    even, odd = ([measured[str(shift)]["flicker"] for shift in SHIFTS if shift % 2 == k] for k in (0, 1))
    assert max(even) < 0.01 < 0.03 < min(odd)


@pytest.mark.parametrize("size", [16, 24, 36, 48, 64])
@pytest.mark.parametrize("domain", [1, 2])
def test_the_predictor_recognizes_the_classes_of_true_images_of_other_sizes(domain: int, size: int):
    predictor = tool.ResizingPredictor(load_attribute_predictor(domain))
    assert tool.true_image_metrics(predictor, size, count=100)["true_class_accuracy"] > 0.95


def test_images_whose_size_the_predictor_accepts_are_not_interpolated():
    predictor = load_attribute_predictor(2)
    images = World().images(torch.arange(3), 0, 2, 64, "test")
    assert torch.equal(tool.ResizingPredictor(predictor)(images).continuous(), predictor(images).continuous())


class GrayModel:
    """An autoencoder whose content is the image and whose style is added to it; the encoded style is 0."""

    config = SimpleNamespace(data=SimpleNamespace(image_size=8))

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        return images

    def encode(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        return images, torch.zeros(len(images), 1)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        return content + style[:, :, None, None]


def test_photos_are_scored_by_what_is_known_of_gray_ones():
    # Levels of gray that a histogram distinguishes: the darker ones are domain 1, the brighter ones domain 2.
    levels = torch.tensor([-0.5, 0.0, 0.6])
    features = color_features(levels[:, None, None, None].expand(-1, 3, 8, 8))
    domains, varieties = (new_logistic_regression().fit(features, labels) for labels in ([1, 1, 2], [0, 1, 2]))
    direction = PhotoDirection(GrayModel(), 1, varieties, domains, torch.tensor([[0.0], [0.6]]))  # type: ignore[arg-type]

    scores = direction.score(torch.zeros(12, 3, 16, 16))

    assert scores.varieties.tolist() == [[1, 2]] * 12
    assert scores.classified_as_target.tolist() == [0.5] * 12
    # The round trip of the second style ends 0.6 from the photo, that of the first at the photo.
    assert scores.cycle_error.tolist() == pytest.approx([0.3 * 127.5] * 12)
    assert scores.reconstruction_error.tolist() == [0] * 12 == scores.input_detail.tolist()


def _scores(varieties: list[list[int]], error: float) -> PhotoScores:
    ones = torch.ones(len(varieties))
    return PhotoScores(torch.tensor(varieties), ones, ones * error, ones, ones)


def test_scores_are_compared_photo_by_photo():
    first, second = _scores([[0, 1], [2, 2]], error=10.0), _scores([[0, 1], [2, 1]], error=8.0)

    metrics = tool.paired_metrics(first, second)

    assert metrics["cycle_error_difference"] == -2 and metrics["cycle_error_difference_interval"] == 0
    assert metrics["variety_agreement"] == 0.75
    assert metrics["variety_agreement_other_styles"] == 0.25  # only the last photo has one variety twice
    assert (metrics["distinct_varieties_at_size"], metrics["distinct_varieties_at_training_scale"]) == (1.5, 2)


@pytest.mark.parametrize("source", [1, 2])
def test_a_translator_that_ignores_its_input_is_equally_good_at_both_scales(source: int):
    world, count = World("laboratory"), 300
    classes = world.content(torch.arange(100), 5, 1).shape_class
    number = int((classes == SHAPE_NAMES.index("disc")).nonzero()[0])
    disc = world.content(torch.tensor([number]), 5, 1)
    style = style_from_code(torch.zeros(1, 3), 3 - source)
    output = world.render(disc, style, 3 - source, 16)
    model = SimpleNamespace(
        config=SimpleNamespace(data=SimpleNamespace(image_size=16)),
        sample_style=lambda count, generator: torch.zeros(count, 3),
        translate=lambda images, *_, **__: output.expand(len(images), -1, -1, -1),
    )

    metrics = tool.class_accuracy_at_training_scale(model, "laboratory", source, count)  # type: ignore[arg-type]

    assert metrics["class_accuracy_difference"] == 0 == metrics["class_accuracy_difference_interval"]
    assert metrics["class_accuracy_at_training_scale"] == pytest.approx(0.36, abs=0.08)  # the frequency of discs
    assert metrics["true_class_accuracy_at_training_scale"] > 0.95


@pytest.mark.parametrize("model", ["world32", "apples2citrus"])
def test_the_stored_sizes_are_complete(model: str):
    measured = read_results("other_sizes")[model]
    assert list(measured) == [f"{factor:g}" for factor in FACTORS]
    directions = DIRECTIONS if model == "world32" else PHOTO_DIRECTIONS
    names = {"world32": {"class_accuracy", "example_error", "diversity_ratio", "true_class_accuracy"}}
    needed = names.get(model, {"variety_agreement", "classified_as_target", "cycle_error"})
    for by_direction in measured.values():
        assert list(by_direction) == list(directions.values())
        assert all(metrics.keys() >= needed for metrics in by_direction.values())


def test_the_stored_agreement_with_the_trained_size_is_complete_there():
    assert all(m["variety_agreement"] == 1 for m in read_results("other_sizes")["apples2citrus"]["1"].values())


def test_the_stored_scale_is_complete():
    measured = read_results_file("train_test_scale")
    photos, control = measured["numbers"].values()
    assert list(photos) == list(PHOTO_DIRECTIONS.values())
    assert list(control) == list(DIRECTIONS.values())
    assert all(metrics["class_accuracy_difference_interval"] >= 0 for metrics in control.values())
    assert measured["provenance"]["settings"]["shorter_sides"] == [64, 72]
    for metrics in photos.values():
        for name in PhotoScores._fields[1:]:
            difference = metrics[f"{name}_at_training_scale"] - metrics[f"{name}_at_size"]
            assert metrics[f"{name}_difference"] == pytest.approx(difference, abs=1e-6)
            assert metrics[f"{name}_difference_interval"] >= 0


def test_the_stored_flicker_is_complete():
    measured = read_results_file("video_flicker")
    assert list(measured["numbers"]) == [
        "world32",
        "world32, wide frame",
        "world64s",
        "world64s, wide frame",
        "apples2citrus",
    ]
    for model in measured["numbers"].values():
        assert len(model) == 2
        for by_shift in model.values():
            assert list(by_shift) == ["references", *map(str, SHIFTS)]
    assert measured["provenance"]["settings"]["strides"] == {"world32": 2, "world64s": 4, "apples2citrus": 4}
