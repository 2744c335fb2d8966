"""Identifiability: planted pairings are named as such, analytic angles, labels and anchors, and the linear case."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from munit_lite.experiments.results import read_results
from munit_lite.methods import build
from munit_lite.objective import Objective
from munit_lite.presets import preset
from munit_lite.theory.identifiability import (
    FACTOR_PAIRINGS,
    LABELS,
    NUM_CLASSES,
    InvertibleMap,
    VectorMUNIT,
    VectorTraining,
    anchor_losses,
    class_pairing,
    code_world,
    factor_pairing,
    image_directions,
    plane_world,
    principal_angles,
    sample_labels,
    train_vectors,
    translate_codes,
)
from munit_lite.theory.oracle import CodeWorld
from munit_lite.world import World
from tools.measure_identifiability import AnchoredObjective, decode_factors, measure_pixels, rate, vector_conditions

pytestmark = pytest.mark.numerical

CYCLIC = code_world("cyclic", count=4000)
SQUARE, TRIANGLE, CROSS, STAR = 2, 3, 4, 5


def planted_model(world, code_map_2):
    """Return a run whose encoder is true in domain 1, and true up to an orthogonal map of the codes in domain 2."""
    dim = world.mixing.shape[-1]
    model = VectorMUNIT(world, VectorTraining(runs=1), torch.Generator().manual_seed(0))
    for encoder, mixing, code_map in zip(model.encoders, world.mixing, (torch.eye(dim), code_map_2), strict=True):
        encoder.matrix = (mixing @ code_map)[None]
    return model


def exchange(first, second, dim=13):
    """Return the permutation matrix that exchanges two columns of a code."""
    order = list(range(dim))
    order[first], order[second] = second, first
    return torch.eye(dim)[order]


# ------------------------------------------------------------------------------------------------- planted pairings


def test_a_planted_permutation_is_named_and_leaves_every_distribution_as_it_is():
    model = planted_model(CYCLIC, exchange(SQUARE, STAR))
    for source in (1, 2):
        codes, (translated,) = translate_codes(model, CYCLIC, source)
        pairing = class_pairing(codes[:, :NUM_CLASSES].argmax(1), translated[:, :NUM_CLASSES].argmax(1))
        assert pairing.permutation == (0, 1, STAR, TRIANGLE, CROSS, SQUARE) and pairing.name == "permuted"
        assert pairing.accuracy == pytest.approx(0.5, abs=0.05) and pairing.followed == 1
        assert pairing.frequency_gap < 0.05  # four equally frequent classes, 2000 contents
        assert factor_pairing(codes[:, 6:9], translated[:, 6:9]) == "kept"
        torch.testing.assert_close(translated[:, 6:10], codes[:, 6:10], rtol=0, atol=1e-4)


def test_the_truth_is_named_as_such():
    codes, (translated,) = translate_codes(planted_model(CYCLIC, torch.eye(13)), CYCLIC, source=1)
    pairing = class_pairing(codes[:, :NUM_CLASSES].argmax(1), translated[:, :NUM_CLASSES].argmax(1))
    assert pairing.name == "kept" and pairing.accuracy == 1 and pairing.permutation == tuple(range(6))
    torch.testing.assert_close(translated[:, :10], codes[:, :10], rtol=0, atol=1e-4)
    assert all(stats.kstest(column.numpy(), "norm").pvalue > 1e-3 for column in translated[:, 10:].T)


def test_a_class_that_is_divided_among_others_is_named_split():
    classes = torch.arange(600) % 6
    translated = torch.where(torch.arange(600) % 12 == 0, 1, classes)  # half of the discs become rings
    assert class_pairing(classes, translated).name == "kept"  # 92 % are right
    translated = torch.where(torch.arange(600) % 12 < 2, 3, classes)  # half of discs and rings become triangles
    pairing = class_pairing(classes, translated)
    assert pairing.name == "split" and pairing.accuracy == pytest.approx(5 / 6)
    assert pairing.frequency_gap == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("matrix", "name"),
    [
        (np.eye(3), "kept"),
        (np.diag([1, -1, 1]), "reflected"),
        (np.eye(3)[[1, 0, 2]], "exchanged"),
        ([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]], "mixed"),  # a correlation of 0.8
        ([[0.96, 0.28, 0], [-0.28, 0.96, 0], [0, 0, 1]], "kept"),  # 0.96
    ],
)
def test_maps_between_independent_factors_are_named(matrix, name):
    factors = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    assert factor_pairing(factors, factors @ torch.as_tensor(np.asarray(matrix), dtype=torch.float32).mT) == name


# ---------------------------------------------------------------------------------------------- anchors and labels


def test_one_anchor_excludes_the_permutations_that_move_its_class_and_no_others():
    truth, wrong = planted_model(CYCLIC, torch.eye(13)), planted_model(CYCLIC, exchange(SQUARE, STAR))
    classes = CYCLIC.pair_codes[0][:, :NUM_CLASSES].argmax(1)
    for shown, excluded in ((SQUARE, True), (STAR, True), (TRIANGLE, False), (CROSS, False)):
        k = (classes == shown).nonzero()[0]
        anchor = [CYCLIC.images(codes[k], domain)[None] for domain, codes in enumerate(CYCLIC.pair_codes, 1)]
        assert anchor_losses(truth, *anchor).item() < 1e-10
        # Two of 13 coordinates are wrong by 1, in each direction; rotations preserve squared distances.
        assert anchor_losses(wrong, *anchor).item() == pytest.approx(4 / 13 if excluded else 0, abs=1e-5)


def test_an_anchor_that_is_no_fixed_point_excludes_a_rotation_of_factors():
    c, s = math.cos(0.5), math.sin(0.5)
    rotation = torch.eye(13)
    rotation[6:8, 6:8] = torch.tensor([[c, -s], [s, c]])
    anchor = [CYCLIC.images(codes[:1], domain)[None] for domain, codes in enumerate(CYCLIC.pair_codes, 1)]
    squared = CYCLIC.pair_codes[0][0, 6:8].square().sum().item() * 2 * (1 - c)  # |Rv - v|² in the plane
    assert anchor_losses(planted_model(CYCLIC, rotation), *anchor).item() == pytest.approx(2 * squared / 13, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "allowed"), [("two groups of classes", 4), ("every class", 1), ("two labels, diverse", 1)]
)
def test_diverse_labels_leave_no_permutation_of_the_classes(name, allowed):
    """Count the permutations of the four equally frequent classes that preserve every p(label | class)."""
    table = LABELS[name].numpy().reshape(6, -1)[2:]
    preserved = [p for p in itertools.permutations(range(4)) if np.allclose(table[list(p)], table)]
    assert len(preserved) == allowed


def test_labels_have_the_frequencies_of_the_table_mixed_with_random_ones():
    codes, generator = CYCLIC.codes[0][None], torch.Generator().manual_seed(0)
    for wrong in (0.0, 0.5, 1.0):
        labels = sample_labels("two labels, diverse", codes, wrong, generator)
        assert labels.shape == (1, 4000, 2) and (labels.sum(2) == 1).all()
        for shape_class, probability in ((SQUARE, 0.05), (STAR, 0.95)):
            frequency = labels[codes[..., shape_class] == 1][:, 0].mean().item()
            assert frequency == pytest.approx((1 - wrong) * probability + wrong / 2, abs=0.065)  # four standard errors
    assert torch.equal(sample_labels("every class", codes, 0.0, generator), codes[..., :NUM_CLASSES])


# ------------------------------------------------------------------------------------------ models and the training


@pytest.mark.parametrize("hidden_width", [0, 16])
def test_maps_have_their_inverses_and_stay_orthogonal_in_training(hidden_width):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.linalg.qr(torch.randn(3, 5, 5, generator=generator)).Q
    layer = InvertibleMap(matrix, hidden_width, generator)
    torch.testing.assert_close(layer.matrix, matrix, rtol=0, atol=1e-6)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    x = torch.randn(3, 7, 5, generator=generator)
    for _ in range(5):
        optimizer.zero_grad()
        layer(x).exp().sum().backward()
        optimizer.step()
    assert (layer.matrix - matrix).abs().max() > 0.05
    torch.testing.assert_close(layer.matrix @ layer.matrix.mT, torch.eye(5).expand(3, 5, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.inverse(layer(x)), x, rtol=0, atol=1e-4)
    linear = layer(x + 1) - layer(x)
    assert (hidden_width == 0) == torch.allclose(linear, linear[:, :1].expand_as(linear), atol=1e-4)


def test_the_vectors_are_those_of_the_oracle_without_the_sinh():
    content, style = CodeWorld("cyclic").codes(torch.arange(50), 0, 2, "train")
    images = torch.asinh(CodeWorld("cyclic").render(content, style, 2))
    torch.testing.assert_close(CYCLIC.images(CYCLIC.codes[1][:50], 2), images.float(), rtol=0, atol=1e-5)
    assert torch.equal(CYCLIC.pair_codes[0][:, :10], CYCLIC.pair_codes[1][:, :10])
    assert not torch.equal(CYCLIC.codes[0][:, :10], CYCLIC.codes[1][:, :10])


def test_runs_start_as_near_the_truth_as_they_are_told():
    def accuracy(start_noise):
        model = VectorMUNIT(CYCLIC, VectorTraining(runs=20, start_noise=start_noise), torch.Generator().manual_seed(0))
        codes, runs = translate_codes(model, CYCLIC, 1)
        return (codes[:, :NUM_CLASSES].argmax(1) == runs[..., :NUM_CLASSES].argmax(2)).double().mean().item()

    assert accuracy(0.0) == 1 and accuracy(0.0) > accuracy(0.3) > accuracy(1.0) > accuracy(math.inf)
    assert accuracy(math.inf) == pytest.approx(1 / 6, abs=0.06)  # chance among six coordinates


@pytest.mark.parametrize("distribution", ["normal", "two values", "exponential"])
def test_a_rotation_changes_the_distribution_of_a_content_that_is_not_normal(distribution):
    """Cumulants of independent variables add: those of cos(θ) c + sin(θ) s are cosᵏ(θ) times those of c, for k > 2."""
    contents = plane_world(distribution).codes[0].numpy()
    rotated = math.cos(0.6) * contents[:, 0] + math.sin(0.6) * contents[:, 1]
    skewness, kurtosis = {"normal": (0, 0), "two values": (0, -2), "exponential": (2, 6)}[distribution]
    assert contents.var(axis=0) == pytest.approx(1, abs=0.05) and contents.mean(axis=0) == pytest.approx(0, abs=0.02)
    assert stats.skew(rotated) == pytest.approx(skewness * math.cos(0.6) ** 3, abs=0.05)
    assert stats.kurtosis(rotated) == pytest.approx(kurtosis * math.cos(0.6) ** 4, abs=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["normal", "two values", "exponential"])
def test_every_converged_run_keeps_a_content_that_is_not_normal_up_to_its_sign(distribution):
    world = plane_world(distribution, count=20_000)
    trained = train_vectors(world, VectorTraining(runs=20, steps=800, discriminator_width=24))
    codes, runs = translate_codes(trained.model, world, 1)
    names = [factor_pairing(codes[:, :1], run[:, :1]) for run, ok in zip(runs, trained.converged, strict=True) if ok]
    assert names  # about a third of the runs converge if the content is not normal
    if distribution == "normal":
        assert "mixed" in names and len(names) == 20  # the rotation is free, and nothing else can be wrong
    else:
        assert set(names) <= ({"kept"} if distribution == "exponential" else {"kept", "reflected"})


@pytest.mark.slow
def test_labels_of_every_class_restore_the_pairing_of_classes():
    world = code_world("cyclic", count=20_000)
    counts = []
    for labels in ("", "every class"):
        trained = train_vectors(world, VectorTraining(runs=6, steps=600, labels=labels))
        codes, runs = translate_codes(trained.model, world, 1)
        pairings = [class_pairing(codes[:, :6].argmax(1), run[:, :6].argmax(1)) for run in runs]
        counts.append(sum(pairing.name == "kept" for pairing in pairings))
    assert counts[1] >= 4 and counts[0] <= 2  # without labels, the chance of a run is 1/24


# ------------------------------------------------------------------------------------------------ directions, angles


def test_angles_between_known_subspaces():
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    first, second = np.eye(4)[:, :2], np.array([[c, 0], [0, 0], [s, 0], [0, 1]])
    np.testing.assert_allclose(principal_angles(first, second), [30, 90], atol=1e-9)
    np.testing.assert_allclose(principal_angles(first @ [[2, 1], [0, 3]], first), [0, 0], atol=1e-5)


def test_directions_are_derivatives_of_the_rendered_images():
    one_hot = torch.eye(NUM_CLASSES, dtype=torch.float64)[[2, 3, 4, 5, 2]]
    factors = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 2

    def decode(z):
        return decode_factors(z, one_hot=one_hot, model=None, domain=2, size=32)

    jacobians = np.stack(list(image_directions(decode, factors)))
    assert jacobians.shape == (5, 3 * 32 * 32, 7)
    for k in range(7):
        step = 1e-6 * torch.eye(7, dtype=torch.float64)[k]
        difference = (decode(factors + step) - decode(factors - step)).flatten(1) / 2e-6
        assert np.quantile(np.abs(jacobians[:, :, k] - difference.numpy()), 0.999) < 1e-4  # edges of pixels have kinks


# ------------------------------------------------------------------------------------------- the tool, its results


def test_the_stored_results_hold_every_condition_and_agree_with_what_can_be_derived():
    results = read_results("identifiability")
    for experiment, conditions in vector_conditions().items():
        assert results[experiment].keys() == conditions.keys()
        for numbers in results[experiment].values():
            assert numbers["runs"] >= 30 and numbers["cpu_seconds_per_run"] < 15
            assert sum(numbers[f"factors_{name}"] for name in FACTOR_PAIRINGS) == pytest.approx(1)
    # Without information, each of the permutations that are symmetries is equally likely: 24 of the classes of the
    # cyclic world, of which the two groups leave 4.
    for experiment, name, chance in (
        ("unsupervised", "cyclic world", 1 / 24),
        ("labels", "two groups of classes, 0% wrong", 1 / 4),
    ):
        assert results[experiment][name]["classes_kept_low"] < chance < results[experiment][name]["classes_kept_high"]
    assert results["labels"]["every class, 0% wrong"]["classes_kept"] == 1
    plane = results["plane"]
    assert plane["normal"]["factors_mixed"] > 0.75
    assert plane["exponential"]["factors_kept_and_converged"] == 30 * plane["exponential"]["converged"]
    assert (
        plane["two values"]["factors_mixed_and_converged"] == 0 < plane["two values"]["factors_reflected_and_converged"]
    )
    for angles in results["angles"]["true renderer"].values():
        assert 45 < angles["smallest"] < angles["mean"] < 90


def test_rates_have_exact_intervals():
    zero, all_ = rate("kept", 0, 30), rate("kept", 30, 30)
    assert zero["kept_low"] == 0 and zero["kept_high"] == pytest.approx(1 - 0.025 ** (1 / 30))
    assert all_["kept_high"] == 1 and all_["kept_low"] == pytest.approx(0.025 ** (1 / 30))


def test_anchors_add_the_paired_loss_to_the_image_reconstruction():
    config = preset("laboratory", base_channels=4, discriminator_base_channels=4)
    model, pairs = build(config), World("laboratory").pairs(torch.arange(3), seed=0, size=16)
    x_1, x_2 = torch.rand(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    s_1, s_2 = model.sample_style(16, torch.Generator().manual_seed(1)).chunk(2)
    anchored, plain = AnchoredObjective(model, config, pairs.image_1, pairs.image_2), Objective(model, config)
    with torch.no_grad():
        outputs = plain.generate(x_1, x_2, s_1, s_2)
        terms = [objective.generator_losses(x_1, x_2, s_1, s_2, outputs) for objective in (anchored, plain)]
        style = {1: model.encode_style(pairs.image_1, 1), 2: model.encode_style(pairs.image_2, 2)}
        for source, image, target in ((2, pairs.image_2, pairs.image_1), (1, pairs.image_1, pairs.image_2)):
            j = 3 - source
            expected = (model.translate(image, source, j, style=style[j]) - target).abs().mean().item()
            assert (terms[0][f"image_{j}"] - terms[1][f"image_{j}"]).item() == pytest.approx(expected, abs=1e-5)
    assert all(terms[0][name].item() == pytest.approx(terms[1][name].item(), abs=1e-5) for name in ("gan_1", "style_2"))


@pytest.mark.slow
def test_runs_on_pixels_return_the_pairing_of_both_directions():
    numbers = measure_pixels(anchors=4, seed=0, steps=3, count=50)
    assert list(numbers) == ["sketch to painting", "painting to sketch"]
    for metrics in numbers.values():
        assert 0 <= metrics["class_accuracy"] <= metrics["followed_permutation"] <= 1
        assert metrics["classes_kept"] + metrics["classes_permuted"] <= 1 and metrics["seconds"] > 0
