"""Quality during training and the criterion of convergence, against NumPy and against models with known failures."""

import itertools

import numpy as np
import pytest
import torch

import munit_lite as ml
from munit_lite.callbacks import Callback, QualityLog
from munit_lite.evaluation import attribute_predictors
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.convergence import (
    best_relabeling,
    confusion_matrix,
    convergence,
    measure_quality,
    relabeled_accuracy,
)
from munit_lite.storage.run_folder import read_records
from munit_lite.world import DIRECTIONS, SHAPE_NAMES, STYLE_FACTORS, World, style_from_code

pytestmark = pytest.mark.numerical

SKETCH_TO_PAINTING = DIRECTIONS[1, 2]


class TrueTranslator:
    """Renders the content that the predictor of the source domain sees, after a relabeling of its class."""

    def __init__(self, world, relabel=tuple(range(6)), style_scale=1.0):
        self.world, self.relabel, self.style_scale = world, torch.tensor(relabel), style_scale

    def sample_style(self, count, generator=None):
        return torch.randn(count, 3, generator=generator)

    def translate(self, images, source, target, style=None):
        predicted = load_attribute_predictor(source, self.world.name)(images)
        content = self.world.content(torch.arange(len(images)), 0, 1)
        content = type(content)(
            self.relabel[predicted.shape_class],
            predicted.position,
            predicted.size,
            torch.zeros(len(images)),
        )
        return self.world.render(content, style_from_code(self.style_scale * style, target), target, images.shape[-1])


class Constant(TrueTranslator):
    """Returns the same gray picture for every input and style."""

    def translate(self, images, source, target, style=None):
        return torch.zeros_like(images)


@pytest.mark.parametrize("variant", ["standard", "laboratory"])
def test_a_true_translator_keeps_class_and_style(variant):
    size = {"standard": 32, "laboratory": 16}[variant]
    for quality in measure_quality(TrueTranslator(World(variant)), World(variant), size).values():
        assert quality["class_accuracy"] > 0.97 and quality["relabeled_accuracy"] > 0.97
        assert quality["diversity_ratio"] == pytest.approx(1, abs=0.12)
        assert quality["style_r2"] > 0.7
        assert np.sum(quality["confusion"]) == 400


def test_exchanged_classes_are_told_from_a_lost_content():
    exchange = TrueTranslator(World("laboratory"), relabel=(2, 1, 0, 3, 4, 5))  # disc and square
    exchanged = measure_quality(exchange, World("laboratory"), 16)[SKETCH_TO_PAINTING]
    assert exchanged["class_accuracy"] < 0.5 and exchanged["relabeled_accuracy"] > 0.97
    lost = measure_quality(Constant(World("laboratory")), World("laboratory"), 16)[SKETCH_TO_PAINTING]
    assert lost["relabeled_accuracy"] < 0.5 and lost["diversity_ratio"] == pytest.approx(0, abs=1e-4)


def test_half_of_the_style_is_half_of_the_diversity_in_quantiles_of_normal_codes():
    quality = measure_quality(TrueTranslator(World("laboratory"), style_scale=0.5), World("laboratory"), 16)
    codes = np.random.default_rng(0).standard_normal(200_000)
    quantiles = torch.special.ndtr(torch.from_numpy(0.5 * codes)).numpy()
    expected = quantiles.std() * 12**0.5  # 0.63
    for direction in quality.values():
        assert direction["diversity_ratio"] == pytest.approx(expected, abs=0.1)


class FixedInk(TrueTranslator):
    """Decides the ink of a sketch by the input instead of the style."""

    def translate(self, images, source, target, style=None):
        if target == 1:
            style = style.clone()
            style[:, 1] = 1.5 * torch.sin(1e4 * images.mean(dim=(1, 2, 3)))
        return super().translate(images, source, target, style)


def test_a_factor_that_the_content_decides_has_spread_but_no_diversity():
    quality = measure_quality(FixedInk(World("laboratory")), World("laboratory"), 16)["painting to sketch"]
    assert [factor.name for factor in STYLE_FACTORS[1]] == ["line_width", "ink", "paper"]
    diversity, spread = quality["factor_diversity"], quality["factor_spread"]
    assert diversity[1] < 0.25 and min(diversity[0], diversity[2]) > 0.9
    assert min(spread) > 0.85
    assert quality["diversity_ratio"] == pytest.approx(np.mean(diversity), abs=1e-4)  # both are rounded to 1e-4


def test_quality_is_a_function_of_its_seed_alone():
    world = World("laboratory")
    first, again, other = (measure_quality(TrueTranslator(world), world, 16, inputs=50, seed=s) for s in (0, 0, 1))
    assert first == again and first != other


def test_confusion_and_relabeling_agree_with_numpy():
    rng = np.random.default_rng(3)
    true, predicted = rng.integers(0, 6, 300), rng.integers(0, 6, 300)
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (true, predicted), 1)
    confusion = confusion_matrix(torch.from_numpy(true), torch.from_numpy(predicted))
    assert (confusion.numpy() == counts).all()
    best = max(counts[range(6), order].sum() for order in itertools.permutations(range(6)))
    assert relabeled_accuracy(confusion) == pytest.approx(best / 300)


def test_a_relabeling_moves_no_class_without_need():
    assert best_relabeling(torch.zeros(len(SHAPE_NAMES), len(SHAPE_NAMES))) == tuple(range(len(SHAPE_NAMES)))


def records(accuracies, ratios=None):
    ratios = ratios or [1.0] * len(accuracies)
    names = list(DIRECTIONS.values())
    return [
        {"step": 100 * (k + 1), names[0]: {"class_accuracy": a, "diversity_ratio": r}}
        | {names[1]: {"class_accuracy": 1.0, "diversity_ratio": 1.0}}
        for k, (a, r) in enumerate(zip(accuracies, ratios, strict=True))
    ]


def test_a_run_converges_at_the_step_from_which_it_stays_good():
    found = convergence(records([0.5, 0.96, 0.9] + [0.97] * 7))
    assert found.has_converged and found.step == 400 and found.class_accuracy == pytest.approx(0.97)


@pytest.mark.parametrize(
    ("accuracies", "ratios", "step", "is_flat"),
    [
        ([0.5] * 10, None, None, True),  # flat, but bad
        ([0.97] * 9 + [0.94], None, None, False),  # bad at its end
        ([0.97] * 10, [1.0] * 9 + [0.89], None, True),  # too little diversity at its end
        ([0.5] * 8 + [0.951, 0.99], None, 900, False),  # still rising
    ],
)
def test_a_run_has_not_converged(accuracies, ratios, step, is_flat):
    found = convergence(records(accuracies, ratios))
    assert not found.has_converged and (found.step, found.is_flat) == (step, is_flat)


def test_one_evaluation_is_too_few():
    with pytest.raises(ValueError, match="two evaluations or more, but there are 1"):
        convergence(records([0.97]))


SMALL = {
    "world_variant": "laboratory",
    "image_size": 16,
    "base_channels": 4,
    "discriminator_base_channels": 4,
    "discriminator_layers": 3,
    "num_style_downsamples": 2,
    "batch_size": 1,
    "steps": 4,
    "sample_every": 2,
    "save_every": 2,
    "num_checkpoints": 0,
    "device": "cpu",
}


class StopAfter(Callback):
    def __init__(self, step):
        self.step = step

    def on_sample(self, step, model, data):
        if step == self.step:
            raise KeyboardInterrupt


def test_a_run_records_its_quality_and_goes_on_where_it_stopped(tmp_path):
    config = ml.preset("world32", **SMALL)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    ml.train(config, whole, callbacks=[QualityLog(whole / "quality.jsonl")])
    log = QualityLog(stopped / "quality.jsonl")
    with pytest.raises(KeyboardInterrupt):  # after the record of step 4, before its state is saved
        ml.train(config, stopped, callbacks=[log, StopAfter(4)])
    ml.train(config, stopped, callbacks=[log])
    expected, found = (read_records(folder / "quality.jsonl") for folder in (whole, stopped))
    assert [record["step"] for record in found] == [2, 4]
    for record in (*expected, *found):
        assert record.pop("cpu_minutes") > 0
    assert expected == found


def test_a_run_without_attribute_predictors_warns_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(attribute_predictors, "CHECKPOINTS_DIR", tmp_path / "nowhere")
    log = QualityLog(tmp_path / "run" / "quality.jsonl")
    with pytest.warns(UserWarning, match=r"not measured during training: there is no file"):
        run = ml.train(ml.preset("world32", **SMALL), tmp_path / "run", callbacks=[log])
    assert run.history[-1]["step"] == 4 and not log.file.exists()


def test_nothing_is_measured_on_images_that_no_predictor_knows(tmp_path):
    config = ml.preset("world32", **SMALL | {"world_variant": "standard", "steps": 2})
    ml.train(config, tmp_path, callbacks=[QualityLog(tmp_path / "quality.jsonl")])
    assert not (tmp_path / "quality.jsonl").exists()
