"""Metrics on translators whose quality is known: an oracle, and oracles with one thing broken."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from munit_lite.config import preset
from munit_lite.datasets import FashionData, HeldOut, edge_drawing, to_unit
from munit_lite.model import build
from munit_lite.study import metrics
from munit_lite.study.judges import Judge, Reading
from munit_lite.study.metrics import (
    content_metrics,
    edge_agreement,
    evaluate,
    ks_to_uniform,
    mean_with_interval,
    photo_metrics,
    style_metrics,
    table,
)
from munit_lite.world import SHAPE_NAMES, STYLE_FACTORS, Content, World, render, style_from_code

# ------------------------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize("count", [1, 5, 200])
def test_ks_distance_is_scipys_statistic(count):
    samples = torch.rand(20, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 1.5
    wanted = [stats.kstest(row, "uniform").statistic for row in samples.numpy()]
    np.testing.assert_allclose(ks_to_uniform(samples), wanted, atol=1e-12)


def test_ks_distance_of_a_constant_and_of_values_out_of_range():
    assert ks_to_uniform(torch.full((1, 64), 0.5)).item() == pytest.approx(0.5)
    assert ks_to_uniform(torch.full((1, 64), 1.7)).item() == pytest.approx(1)
    assert ks_to_uniform(torch.full((1, 64), -0.3)).item() == pytest.approx(1)
    assert ks_to_uniform((torch.arange(64.0) + 0.5)[None] / 64).item() == pytest.approx(0.5 / 64)


def test_mean_with_interval_is_the_normal_interval():
    values = torch.randn(300, generator=torch.Generator().manual_seed(0)) * 3 + 1
    mean, half = mean_with_interval(values)
    low, high = stats.norm.interval(0.95, loc=values.double().mean(), scale=stats.sem(values.double()))
    assert mean == pytest.approx((low + high) / 2) and half == pytest.approx((high - low) / 2, rel=1e-4)
    assert mean_with_interval(torch.tensor([True, False, True, True]))[0] == 0.75


# ----------------------------------------------------------------------------------------- the world and its oracle


class Facts(dict):
    """What every image shows, by its bytes: class, x, y, size, turn, three style factors."""

    def note(self, images, content, style, domain):
        factors = [getattr(style, f.name) for f in STYLE_FACTORS[domain]]
        rows = torch.stack([content.shape_class, *content.position.T, content.size, content.turn, *factors], dim=1)
        self.update({image.numpy().tobytes(): row for image, row in zip(images, rows.double(), strict=True)})

    def of(self, images):
        return torch.stack([self[image.numpy().tobytes()] for image in images])


class Oracle:
    """The true translation; `change` corrupts the content, `restyle` the style code."""

    def __init__(self, source, count, seed, change=lambda content: content, restyle=lambda code, content: code):
        self.facts, self.change, self.restyle = Facts(), change, restyle
        self.judge = TruthfulJudge(self.facts, 3 - source)
        pairs = World().pairs(torch.arange(count), seed, 32)
        images, code = (pairs.image_1, pairs.code_1) if source == 1 else (pairs.image_2, pairs.code_2)
        self.facts.note(images, pairs.content, style_from_code(code, source), source)

    def sample_style(self, count, generator=None):
        return torch.randn(count, 3, generator=generator)

    def translate(self, images, source, target, style=None):
        facts = self.facts.of(images).float()
        shape_class = facts[:, 0].long()
        content = with_turn(Content(shape_class, facts[:, 1:3], facts[:, 3], facts[:, 4]), facts[:, 4])
        content, factors = self.change(content), style_from_code(self.restyle(style, content), target)
        made = render(content, factors, target, 32)
        self.facts.note(made, content, factors, target)
        return made


def with_turn(content, turn):
    folds = torch.tensor([0.0, 0, 4, 3, 4, 5])[content.shape_class]
    return replace(content, angle=torch.where(folds > 0, turn * 2 * math.pi / folds.clamp_min(1), 0.0))


class TruthfulJudge:
    """Looks the truth up."""

    def __init__(self, facts, domain):
        self.facts, self.domain = facts, domain

    def __call__(self, images):
        row = self.facts.of(images).float()
        logits = torch.nn.functional.one_hot(row[:, 0].long(), len(SHAPE_NAMES)).float()
        return Reading(logits, row[:, 1:3], row[:, 3], row[:, 4], row[:, 5:])


def measured_content(oracle, source, count=1000, seed=4):
    return content_metrics(oracle, oracle.judge, World(), source, count, seed, size=32)


CHANCE = 0.23**2 + 0.20**2 + 0.18**2 + 0.15**2 + 0.13**2 + 0.11**2
each_source = pytest.mark.parametrize("source", [1, 2])


@each_source
def test_the_oracle_keeps_all_content(source):
    found = measured_content(Oracle(source, 1000, 4), source)
    assert found["class_accuracy"] == 1 and found["class_accuracy_interval"] == 0
    for name in ("position_error", "size_error", "turn_error_periods"):
        assert found[name] < 1e-6
    assert found["class_accuracy_shuffled_contents"] == pytest.approx(CHANCE, abs=0.04)
    assert found["contents"] == 1000


@each_source
def test_a_translator_that_shuffles_classes_is_at_chance_and_keeps_the_rest(source):
    def shuffle(content):
        return with_turn(replace(content, shape_class=content.shape_class.roll(3)), torch.zeros(len(content)))

    found = measured_content(Oracle(source, 1000, 4, change=shuffle), source)
    assert abs(found["class_accuracy"] - CHANCE) < 2 * found["class_accuracy_interval"]
    assert found["class_accuracy_interval"] == pytest.approx(1.96 * math.sqrt(CHANCE * (1 - CHANCE) / 1000), rel=0.1)
    assert found["position_error"] < 1e-6 and found["size_error"] < 1e-6


def test_errors_of_position_size_and_turn_are_in_their_units():
    def nudge(content):
        moved = replace(content, position=content.position + torch.tensor([0.03, -0.04]), size=content.size - 0.01)
        return with_turn(moved, content.turn + 0.05)

    found = measured_content(Oracle(1, 300, 4, change=nudge), 1, count=300)
    assert found["class_accuracy"] == 1
    assert found["position_error"] == pytest.approx(0.05, abs=1e-6) and found["position_error_interval"] < 1e-6
    assert found["size_error"] == pytest.approx(0.01, abs=1e-6)
    assert found["turn_error_periods"] == pytest.approx(0.05, abs=1e-6)  # of the shapes that have a turn


def test_content_numbers_repeat_with_the_seed():
    oracle = Oracle(1, 60, 4)
    judge = Judge(2)
    first, again = (content_metrics(oracle, judge, World(), 1, 60, 4, 32) for _ in range(2))
    assert first == again
    assert content_metrics(oracle, judge, World(), 1, 40, 4, 32) != first


def measured_style(oracle, source, count=40, styles_each=64):
    return style_metrics(oracle, oracle.judge, World(), source, count, 4, 32, styles_each)


def ks_null(count):
    """Mean and standard deviation of the KS distance of uniform samples, from SciPy's exact distribution."""
    at = np.linspace(0, 1, 2001)
    tail = stats.kstwo.sf(at, count)
    mean = np.trapezoid(tail, at)
    return mean, math.sqrt(np.trapezoid(2 * at * tail, at) - mean**2)


@each_source
@pytest.mark.parametrize("styles_each", [16, 64])
def test_true_styles_have_the_ks_distance_of_uniform_samples(source, styles_each):
    found = measured_style(Oracle(source, 40, 4), source, styles_each=styles_each)
    mean, deviation = ks_null(styles_each)
    assert mean == pytest.approx(0.87 / math.sqrt(styles_each), rel=0.05)
    for factor in STYLE_FACTORS[3 - source]:
        assert found[f"{factor.name}_ks"] == pytest.approx(mean, abs=4 * deviation / math.sqrt(40))
        assert found[f"{factor.name}_ks_interval"] == pytest.approx(1.96 * deviation / math.sqrt(40), rel=0.4)
        assert found[f"{factor.name}_spread_of_true"] == pytest.approx(1, abs=0.05)
    assert found["inputs"] == 40 and found["styles_each"] == styles_each


@each_source
def test_a_deterministic_translator_has_no_spread_and_half_the_ks_distance(source):
    found = measured_style(Oracle(source, 20, 4, restyle=lambda code, content: 0 * code), source, count=20)
    for factor in STYLE_FACTORS[3 - source]:
        assert found[f"{factor.name}_ks"] >= 0.5 - 1e-6
        assert found[f"{factor.name}_spread_of_true"] < 1e-5


def test_one_collapsed_factor_is_told_from_the_others():
    oracle = Oracle(1, 20, 4, restyle=lambda code, content: code * torch.tensor([1.0, 0.0, 1.0]))
    found = measured_style(oracle, 1, count=20)
    assert found["ground_hue_ks"] > 0.49 and found["ground_hue_spread_of_true"] < 1e-5
    for name in ("fill_hue", "light"):
        assert found[f"{name}_ks"] < 0.15 and found[f"{name}_spread_of_true"] > 0.9


def test_the_spread_is_that_of_one_input_not_of_many():
    oracle = Oracle(1, 20, 4, restyle=lambda code, content: (content.position[:, :1] - 0.5).expand(-1, 3) * 10)
    found = measured_style(oracle, 1, count=20)  # the style is a function of the input alone
    for factor in STYLE_FACTORS[2]:
        assert found[f"{factor.name}_spread_of_true"] < 1e-5 and found[f"{factor.name}_ks"] > 0.49


# ------------------------------------------------------------------------------------------------ edges and photos


def boxes(count, seed=0, first=2, last=9):
    """Photos of one dark box each, (count, 3, 32, 32) uint8."""
    photos, rng = torch.full((count, 3, 32, 32), 255, dtype=torch.uint8), np.random.default_rng(seed)
    for photo in photos:
        top, left, height, width = rng.integers([first, first, 8, 8], [last, last, 16, 16])
        photo[:, top : top + height, left : left + width] = int(rng.integers(20, 150))
    return photos


def test_edges_that_agree_give_one_and_edges_apart_give_zero():
    photos = boxes(5)
    drawings = to_unit(edge_drawing(photos))
    assert torch.equal(edge_agreement(to_unit(photos), drawings), torch.ones(5))
    apart = torch.ones(5, 3, 32, 32)
    apart[:, :, :, -1] = -1
    assert torch.equal(edge_agreement(to_unit(photos), apart), torch.zeros(5))
    assert torch.equal(edge_agreement(to_unit(photos), torch.ones(5, 3, 32, 32)), torch.zeros(5))


def test_a_shift_of_one_pixel_is_within_the_tolerance_and_two_are_not():
    photos = boxes(5)
    drawings = to_unit(edge_drawing(photos))
    assert torch.equal(edge_agreement(to_unit(photos), drawings.roll(1, 3)), torch.ones(5))
    assert edge_agreement(to_unit(photos), drawings.roll(1, 3), tolerance=0).max() < 0.8
    assert edge_agreement(to_unit(photos), drawings.roll(2, 3)).max() < 0.9


def test_edges_that_are_half_there_have_the_f1_of_their_precision_and_recall():
    one = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    one[:, :, 10:22, 4:12] = 30
    both = torch.minimum(one, one.roll(16, 3))  # a second box of the same size
    found = edge_agreement(to_unit(one), to_unit(edge_drawing(both)))
    assert found.item() == pytest.approx(2 / 3)  # precision 1, recall 1/2
    swapped = edge_agreement(to_unit(both), to_unit(edge_drawing(one)))
    assert swapped.item() == pytest.approx(2 / 3)


def photo_data(photos, labels):
    """Held-out pairs without files."""
    data = FashionData.__new__(FashionData)
    data.held_out, data.test_labels = HeldOut(edge_drawing(photos), photos, paired=True), torch.tensor(labels)
    return data


PHOTOS = boxes(40)
DATA = photo_data(PHOTOS, [8, 9] * 20)


class Photographer:
    """A translator of drawings that knows the true photo; `paint` makes of it what it returns."""

    def __init__(self, paint):
        self.paint = paint
        drawings, photos, _ = DATA.test(40)
        self.photo = {d.numpy().tobytes(): p for d, p in zip(drawings, photos, strict=True)}

    def sample_style(self, count, generator=None):
        return torch.rand(count, 1, generator=generator)

    def translate(self, images, source, target, style=None):
        assert (source, target) == (1, 2)
        return self.paint(torch.stack([self.photo[image.numpy().tobytes()] for image in images]), style)


def test_a_translator_that_copies_the_true_photo_is_perfect_and_not_diverse():
    found = photo_metrics(Photographer(lambda photos, style: photos), DATA, 40, seed=0)
    assert found["best_of_10_distance"] == 0 and found["best_below_random"] == 1 and found["diversity"] == 0
    assert found["edge_agreement"] == found["edge_agreement_true_photos"] == pytest.approx(1)
    assert found["edge_agreement_shuffled_drawings"] < 0.6
    assert found["random_photo_distance"] > 0.05 and found["drawings"] == 40 and found["styles_each"] == 10


def test_a_constant_translator_has_no_diversity_and_the_distance_to_its_constant():
    found = photo_metrics(Photographer(lambda photos, style: torch.zeros_like(photos)), DATA, 40, seed=0)
    wanted = (PHOTOS.double() / 255 - 0.5).abs().mean().item()
    assert found["diversity"] == 0 and found["edge_agreement"] == 0
    assert found["best_of_10_distance"] == pytest.approx(wanted, abs=1e-5)


def test_the_best_of_k_is_the_nearest_and_diversity_the_mean_difference():
    def one_right(photos, style):
        right = torch.arange(len(photos)) % 4 == 3
        return torch.where(right[:, None, None, None], photos, torch.ones_like(photos))

    found = photo_metrics(Photographer(one_right), DATA, 40, seed=0, styles_each=4)
    assert found["best_of_4_distance"] == 0
    to_white = (1 - PHOTOS.double() / 255).mean().item()  # between the right output and each of three white ones
    assert found["diversity"] == pytest.approx(to_white * 3 / 6, rel=1e-4)
    tones = photo_metrics(Photographer(lambda photos, u: (2 * u - 1)[:, :, None, None] + 0 * photos), DATA, 40, seed=0)
    assert tones["diversity"] == pytest.approx(1 / 3, abs=0.06)  # of two uniform numbers


def test_the_random_photo_is_another_one_of_the_same_class():
    tones = torch.tensor([20, 200]).repeat(20) + torch.arange(40) // 2 % 2  # two tones a class, one level apart
    photos = tones.byte()[:, None, None, None].expand(40, 3, 32, 32).contiguous()
    data = photo_data(photos, [8, 9] * 20)
    constant = Photographer(lambda photos, style: photos)
    constant.photo = {d.numpy().tobytes(): p for d, p in zip(*data.test(40)[:2], strict=True)}
    found = photo_metrics(constant, data, 40, seed=0)
    assert 0 < found["random_photo_distance"] < 1.01 / 255
    with pytest.raises(ValueError, match="only one photo of class 9 among 5: raise the count"):
        photo_metrics(constant, photo_data(photos[:5], [8, 8, 9, 8, 8]), 5, seed=0)


# ------------------------------------------------------------------------------------------------------ everything

TINY = {"width": 4, "mlp_width": 8, "discriminator_width": 4}


def test_evaluate_measures_a_world_model_in_both_directions(monkeypatch):
    monkeypatch.setattr(metrics, "load_judge", Judge)
    numbers = evaluate(build(preset("world32", **TINY, blocks=1)), count=40)
    assert list(numbers) == ["sketch to painting", "painting to sketch"]
    for (_, found), domain in zip(numbers.items(), (2, 1), strict=True):
        assert found["contents"] == 40 and found["inputs"] == 2
        assert all(f"{factor.name}_ks" in found for factor in STYLE_FACTORS[domain])
        assert all(math.isfinite(value) for value in found.values())


def test_evaluate_measures_photos_and_refuses_folders(monkeypatch):
    monkeypatch.setattr(metrics, "open_data", lambda config: DATA)
    numbers = evaluate(build(preset("fashion32", **TINY, blocks=1)), count=25)
    assert list(numbers) == ["drawing to photo"] and numbers["drawing to photo"]["drawings"] == 25
    with pytest.raises(ValueError, match="two folders has no truth"):
        evaluate(build(preset("folder64", **TINY, blocks=1)))


def test_the_table_shows_values_with_their_intervals():
    numbers = {"a to b": {"accuracy": 0.91234, "accuracy_interval": 0.0125, "spread": 1.0, "count": 40}}
    lines = [line.split() for line in table(numbers).splitlines()]
    assert lines == [["a", "to", "b"], ["accuracy", "0.912", "±", "0.013"], ["spread", "1.000"], ["count", "40"]]
