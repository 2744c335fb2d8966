"""Attribute predictors: outputs, loss, training, and the published weights against their recorded errors."""

from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from munit_lite.evaluation import attribute_predictors
from munit_lite.evaluation.attribute_predictors import (
    INPUT_SIZES,
    TEST_STREAM,
    TRAIN_STREAM,
    AttributePredictor,
    labeled_images,
    load_attribute_predictor,
    prediction_errors,
    results_name,
)
from munit_lite.experiments import results
from munit_lite.storage.files import CheckpointError
from munit_lite.world import CONTENT_FACTORS, DOMAIN_NAMES, ROTATION, SHAPE_NAMES, STYLE_FACTORS, World
from tools import train_predictors
from tools.train_predictors import Recipe, train_predictor

pytestmark = pytest.mark.numerical

each_domain = pytest.mark.parametrize("domain", [1, 2])
TURN_OUTPUT = len(SHAPE_NAMES) + 3
ROUND = [SHAPE_NAMES.index("disc"), SHAPE_NAMES.index("ring")]


def random_predictor(domain, seed=0):
    torch.manual_seed(seed)
    return AttributePredictor(domain)


def renders(domain, count, seed, stream, size=32):
    """Return images, their contents and their style factors."""
    images, content, style, _ = labeled_images(World(), domain, torch.arange(count), seed, size, stream)
    return images, content, style.factors


def examples(domain, count=200):
    return renders(domain, count, 5, TEST_STREAM)


def select(batch, mask):
    images, content, factors = batch
    return images[mask], content[mask], factors[mask]


@each_domain
def test_an_output_of_one_half_predicts_the_middle_of_every_range(domain):
    predictor = random_predictor(domain)
    torch.nn.init.zeros_(predictor.layers[-1].weight)
    torch.nn.init.constant_(predictor.layers[-1].bias, 0.5)
    attributes = predictor(torch.zeros(4, 3, 32, 32))
    middle = torch.tensor([(f.low + f.high) / 2 for f in (*CONTENT_FACTORS, *STYLE_FACTORS[domain])])
    torch.testing.assert_close(attributes.continuous(), middle.expand(4, 7))
    assert attributes.class_logits.shape == (4, len(SHAPE_NAMES)) and attributes.shape_class.shape == (4,)


@pytest.mark.parametrize("factor", [2, 4])
def test_larger_images_are_averaged_down_before_prediction(factor):
    predictor, images = random_predictor(1), torch.rand(3, 3, 32 * factor, 32 * factor)
    averaged = images.view(3, 3, 32, factor, 32, factor).mean(dim=(3, 5))
    for large, small in zip(predictor(images), predictor(averaged), strict=True):
        torch.testing.assert_close(large, small, rtol=1e-4, atol=1e-5)


@each_domain
def test_labels_of_renders_are_in_the_units_of_the_factors(domain):
    images, content, factors = examples(domain)
    assert images.shape == (200, 3, 32, 32)
    for k, factor in enumerate(STYLE_FACTORS[domain]):
        assert factor.low < factors[:, k].min() and factors[:, k].max() < factor.high
    if domain == 1:  # the corner shows the paper; large shapes leave it free
        torch.testing.assert_close((images[:, 0, 0, 0] + 1) / 2, factors[:, 2])
    trained_on = renders(domain, 200, 5, TRAIN_STREAM)[1]
    assert not (content.position == trained_on.position).any()


@each_domain
def test_the_loss_is_cross_entropy_and_weighted_errors_in_units_of_the_ranges(domain):
    predictor = random_predictor(domain)
    images, content, factors = examples(domain)
    with torch.no_grad():
        attributes, loss = predictor(images), predictor.loss(images, content, factors).item()
    logits = attributes.class_logits.double().numpy()
    chosen = logits[np.arange(200), content.shape_class.numpy()]
    entropy = (np.log(np.exp(logits).sum(axis=1)) - chosen).mean()
    spans = [f.span for f in (*CONTENT_FACTORS, *STYLE_FACTORS[domain])]
    place = np.abs(attributes.position.numpy() - content.position.numpy()).sum(axis=1) / spans[0]
    size = np.abs(attributes.size.numpy() - content.size.numpy()) / spans[2]
    rotation = np.abs(attributes.rotation.numpy() - content.rotation.numpy()) / spans[3]
    rotation = np.where(np.isin(content.shape_class.numpy(), ROUND), 0, rotation)
    style = np.abs(attributes.style.numpy() - factors.numpy()) / spans[4:]
    expected = entropy + 4 * ((place + size).mean() / 3 + rotation.mean() + style.mean())
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_loss_ignores_the_rotation_of_round_shapes():
    predictor, batch = random_predictor(1), examples(1)
    is_round = torch.isin(batch[1].shape_class, torch.tensor(ROUND))
    for mask, learns in ((is_round, False), (~is_round, True)):
        predictor.zero_grad()
        predictor.loss(*select(batch, mask)).backward()
        gradient = predictor.layers[-1].weight.grad
        assert (gradient[TURN_OUTPUT] != 0).any() == learns
        assert (gradient[TURN_OUTPUT - 1] != 0).any()  # the size is learned from every shape


@pytest.fixture(scope="module")
def briefly_trained():
    """Predictors after 60 steps, and the control with shuffled labels."""
    recipe = Recipe(steps=60, batch_size=32)
    return {
        "sketch": train_predictor(1, recipe),
        "painting": train_predictor(2, recipe),
        "control": train_predictor(1, recipe, shuffle_labels=True),
    }


def held_out_loss(predictor):
    with torch.no_grad():
        return predictor.loss(*examples(predictor.domain, 500)).item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sketch", "painting"])
def test_a_short_training_lowers_the_loss_and_finds_the_shape(briefly_trained, name):
    predictor = briefly_trained[name]
    untrained, trained = held_out_loss(random_predictor(predictor.domain)), held_out_loss(predictor)
    assert trained < 0.65 * untrained  # measured 0.52 and 0.49
    errors = prediction_errors(predictor, count=500)
    assert errors["position_error"] < 0.05  # always predicting the middle gives about 0.115
    assert not predictor.training


@pytest.mark.slow
def test_with_shuffled_labels_only_the_averages_are_learned(briefly_trained):
    errors = prediction_errors(briefly_trained["control"], count=500)
    assert errors["position_error"] > 0.1
    assert errors["class_accuracy"] < 0.3
    assert held_out_loss(briefly_trained["control"]) > 1.2 * held_out_loss(briefly_trained["sketch"])


def test_training_depends_on_its_seed_alone():
    first, repeated, other_seed = (train_predictor(1, Recipe(steps=3, batch_size=4, seed=s)) for s in (0, 0, 1))
    weights = [torch.cat([p.flatten() for p in predictor.parameters()]) for predictor in (first, repeated, other_seed)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.slow
@each_domain
def test_prediction_errors_are_the_means_over_all_chunks(domain):
    predictor, count = random_predictor(domain), 620  # one chunk of 500 and one of 120
    found = prediction_errors(predictor, count=count, seed=3)
    images, content, factors = renders(domain, count, 3, TEST_STREAM)
    with torch.no_grad():
        attributes = predictor(images)
    position = np.hypot(*(attributes.position - content.position).T.numpy()).mean()
    cornered = ~np.isin(content.shape_class.numpy(), ROUND)
    rotation = np.abs(attributes.rotation.numpy() - content.rotation.numpy())[cornered].mean()
    assert found["class_accuracy"] == pytest.approx(
        (attributes.shape_class == content.shape_class).float().mean().item()
    )
    assert found["position_error"] == pytest.approx(position, rel=1e-4)
    assert found["rotation_error_periods"] == pytest.approx(rotation, rel=1e-4)
    continuous = np.c_[content.position, content.size, content.rotation, factors]
    for k, factor in enumerate((*CONTENT_FACTORS, *STYLE_FACTORS[domain])):
        kept = cornered if factor is ROTATION else np.full(count, True)
        residual = (attributes.continuous().numpy()[:, k] - continuous[:, k])[kept]
        expected = 1 - np.square(residual).mean() / continuous[kept, k].var(ddof=1)
        assert found[f"{factor.name}_r2"] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    for k, factor in enumerate(STYLE_FACTORS[domain]):
        expected = np.abs(attributes.style[:, k].numpy() - factors[:, k].numpy()).mean() / factor.span
        assert found[f"{factor.name}_error_of_range"] == pytest.approx(expected, rel=1e-4)
    assert found["count"] == count


def test_there_are_predictors_for_two_domains_only():
    with pytest.raises(ValueError, match="there are two: 1 and 2"):
        AttributePredictor(3)


# ---------------------------------------------------------------------------------------------------- shipped files


@pytest.mark.slow
def test_predictors_are_published_and_loaded_with_their_measured_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(attribute_predictors, "CHECKPOINTS_DIR", tmp_path / "checkpoints")
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path / "results")
    with pytest.raises(CheckpointError, match=r"there is no file .*attribute_predictor_sketch"):
        load_attribute_predictor(1)
    measured = {"class_accuracy": 0.5, "count": 10}
    monkeypatch.setattr(train_predictors, "prediction_errors", lambda predictor, count=0: dict(measured))
    recipe = Recipe(steps=16, batch_size=4)
    train_predictors.publish_predictors(recipe)
    for domain in DOMAIN_NAMES:
        loaded = load_attribute_predictor(domain).state_dict()
        assert not load_attribute_predictor(domain).training
        fresh = train_predictor(domain, recipe).state_dict()
        assert all(torch.equal(loaded[name], fresh[name]) for name in fresh)
    numbers = results.read_results("attribute_predictors")
    assert set(numbers) == {"sketch", "painting"}
    weights = load_attribute_predictor(1).state_dict()
    train_predictors.publish_predictors(replace(recipe, seed=1), measure_only=True)
    kept = load_attribute_predictor(1).state_dict()
    assert all(torch.equal(weights[name], kept[name]) for name in weights)
    assert numbers["sketch"] == measured | {"class_accuracy_shuffled_labels": 0.5, "most_frequent_class": 0.23}


def shipped(domain, variant="standard"):
    stated = results.read_results(results_name(variant))[DOMAIN_NAMES[domain]]
    return load_attribute_predictor(domain, variant), stated


@pytest.mark.slow
@pytest.mark.parametrize("variant", INPUT_SIZES)
@each_domain
def test_a_published_predictor_has_the_recorded_errors_on_fresh_renders(domain, variant):
    predictor, stated = shipped(domain, variant)
    found = prediction_errors(predictor, count=2000, seed=77)
    assert found["class_accuracy"] >= 0.99
    for name in (n for n in found if n.endswith("_r2")):
        assert found[name] >= 0.95 and found[name] == pytest.approx(stated[name], abs=0.01), name
    assert found["class_accuracy"] == pytest.approx(stated["class_accuracy"], abs=0.005)
    for name in (n for n in found if "error" in n):
        assert found[name] == pytest.approx(stated[name], rel=0.15), name
    assert stated["class_accuracy_shuffled_labels"] < stated["most_frequent_class"] + 0.05


@pytest.mark.parametrize("size", [16, 48])
def test_sizes_that_are_not_multiples_of_32_are_refused(size):
    with pytest.raises(ValueError, match=f"cannot process images of {size} px"):
        AttributePredictor(1)(torch.zeros(2, 3, size, size))


def test_every_variant_with_predictors_can_be_trained_by_the_tool():
    assert get_args(get_type_hints(Recipe)["world_variant"]) == tuple(INPUT_SIZES)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="unknown world variant 'laborotory'; known: standard"):
        load_attribute_predictor(1, "laborotory")


def test_variants_without_predictors_of_their_own_share_the_standard_ones():
    weights = [load_attribute_predictor(1, name).layers[0].weight for name in ("standard", "cyclic", "laboratory")]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@each_domain
def test_a_published_predictor_also_processes_larger_images(domain):
    predictor, stated = shipped(domain)
    images, content, _ = renders(domain, 200, 78, TEST_STREAM, size=64)
    with torch.no_grad():
        attributes = predictor(images)
    assert (attributes.shape_class == content.shape_class).float().mean() >= 0.98
    assert (attributes.position - content.position).norm(dim=1).mean() < 2 * stated["position_error"] + 0.005
