"""Test the measurements of tools/measure_few_images.py on cases whose answer is known, and its committed results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from munit_lite.data import open_data
from munit_lite.data.image_files import float_to_uint8, write_png
from munit_lite.experiments import results
from munit_lite.experiments.results import read_results, read_results_file, write_results
from munit_lite.world import DIRECTIONS, World, style_from_code
from tools import measure_few_images as tool


class StubModel:
    """Translate by a function, and discriminate by brightness: dark images are real."""

    def __init__(self, translate: Callable[[Tensor], Tensor]) -> None:
        self._translate = translate

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros(count, 3)

    def translate(
        self, images: Tensor, source: int, target: int, style: Tensor | None = None, generator=None
    ) -> Tensor:
        return self._translate(images)

    def discriminator(self, domain: int) -> Callable[[Tensor], list[Tensor]]:
        return lambda images: [-images.mean((1, 2, 3), keepdim=True)]


def test_the_folders_hold_images_of_the_known_world_that_training_reads(tmp_path: Path):
    tool.write_world_folders(tmp_path, images=3, held_out=2)

    data = open_data(tool.few_images_config(tmp_path, steps=10))

    counts = {path.name: len(list(path.iterdir())) for path in tmp_path.iterdir()}
    assert counts == {"trainA": 3, "trainB": 3, "testA": 2, "testB": 2}
    true = World("laboratory").images(torch.arange(2), 0, 2, 16, "test")
    assert (data.test(2).images_2 - true).abs().mean() < 0.03
    assert data.batch(0, 16)[0].shape == (16, 3, 16, 16)


@pytest.mark.parametrize(("held_out_level", "accepted"), [(-0.5, 1.0), (0.5, 0.0)])
def test_a_discriminator_is_measured_on_training_and_held_out_images(
    tmp_path: Path, held_out_level: float, accepted: float
):
    for folder, level, count in (("train", -0.5, 5), ("test", held_out_level, 50)):
        for letter in "AB":
            for number in range(count):
                image = float_to_uint8(torch.full((3, 64, 64), level))
                write_png(tmp_path / f"{folder}{letter}" / f"{number:02d}.png", image)
    model = StubModel(lambda images: -images)  # translations of dark training images are bright

    metrics = tool.discriminator_metrics(model, tmp_path, domain=2)  # type: ignore[arg-type]

    assert metrics["training_images_accepted"] == 1 == metrics["translations_rejected"]
    assert metrics["held_out_images_accepted"] == accepted


@pytest.mark.parametrize(("shift", "lowest", "highest"), [(0, 0.95, 1.0), (1, 0.0, 0.5)])
def test_the_class_accuracy_on_training_images_is_that_of_a_translator_that_is_right_or_wrong(
    shift: int, lowest: float, highest: float
):
    world, images, styles = World("laboratory"), 20, 8
    content = world.content(torch.arange(images), 0, 1)[torch.arange(images).roll(shift)]
    paintings = world.render(content, style_from_code(world.style_code(torch.arange(images), 9, 2), 2), 2, 16)
    model = StubModel(lambda _: paintings.repeat_interleave(styles, 0))

    metrics = tool.class_accuracy_on_training_images(model, 1, images, styles)  # type: ignore[arg-type]

    assert lowest <= metrics["class_accuracy_training_images"] <= highest
    assert metrics["classes_of_training_images"] == len(content.shape_class.unique())


def test_more_training_than_held_out_images_are_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(ValueError, match="--images is 401, but the discriminators are measured on 400 held-out"):
        tool.measure_few_images(tmp_path, images=401)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_added_does_not_relabel_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    direction = DIRECTIONS[1, 2]
    old = {f"{n} images": {direction: {"class_accuracy": 0.2}} for n in (5, 17)}
    write_results(tool.RESULT, old, {"steps": 1500, "seed": 0}, "a command for both", ("training_images", "direction"))
    before = read_results_file(tool.RESULT)["provenance"]

    tool.add_run(17, 10, {direction: {"class_accuracy": 0.3}})
    tool.add_run(3, 20, {direction: {"class_accuracy": 0.1}})

    found = read_results_file(tool.RESULT)
    accuracy = {name: metrics[direction]["class_accuracy"] for name, metrics in found["numbers"].items()}
    assert accuracy == {"3 images": 0.1, "5 images": 0.2, "17 images": 0.3}
    settings = found["provenance"]["settings"]
    assert settings["runs"]["5 images"] == before and settings["seed"] == 0 and "steps" not in settings
    assert settings["runs"]["17 images"]["command"].endswith("--images 17 --steps 10")
    assert settings["runs"]["3 images"]["settings"]["steps"] == 20


def test_the_first_run_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    tool.add_run(5, 10, {DIRECTIONS[1, 2]: {"class_accuracy": 0.2}})
    assert read_results_file(tool.RESULT)["provenance"]["settings"]["steps"] == 10


def test_the_stored_results_are_complete():
    measured = read_results(tool.RESULT)
    assert list(measured) == ["5 images", "17 images", "100 images"]
    needed = {
        "class_accuracy", "class_accuracy_training_images", "class_accuracy_at_training_scale", "diversity_ratio",
        "training_images_accepted", "held_out_images_accepted", "translations_rejected",
    }  # fmt: skip
    for by_direction in measured.values():
        assert list(by_direction) == list(DIRECTIONS.values())
        assert all(metrics.keys() >= needed for metrics in by_direction.values())
