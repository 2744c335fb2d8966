"""Metrics on translators whose quality is known: an oracle, and oracles with one thing broken."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import ImageTable
from scipy import stats

from munit_lite.evaluation import evaluate as evaluation
from munit_lite.evaluation.attribute_predictors import AttributePredictor, Attributes
from munit_lite.evaluation.evaluate import evaluate, format_metrics
from munit_lite.evaluation.world_metrics import (
    Direction,
    code_metrics,
    content_metrics,
    example_metrics,
    factor_correlation,
    style_metrics,
    style_quantiles,
)
from munit_lite.methods import build
from munit_lite.presets import preset
from munit_lite.world import SHAPE_NAMES, STYLE_FACTORS, Content, World, render, style_from_code

pytestmark = pytest.mark.numerical

# ----------------------------------------------------------------------------------------- the world and its oracle


def facts_of(content, style, domain):
    """What every image shows: class, x, y, size, rotation, three style factors."""
    factors = [getattr(style, f.name) for f in STYLE_FACTORS[domain]]
    return torch.stack(
        [content.shape_class, *content.position.T, content.size, content.rotation, *factors], dim=1
    ).double()


class Oracle:
    """The true translation; `change` corrupts the content, `restyle` the style code."""

    def __init__(self, source, count, seed, change=lambda content: content, restyle=lambda code, content: code):
        self.facts, self.change, self.restyle = ImageTable(), change, restyle
        self.predictor = OraclePredictor(self.facts, 3 - source)
        pairs = World().pairs(torch.arange(count), seed, 32)
        images, code = (pairs.image_1, pairs.code_1) if source == 1 else (pairs.image_2, pairs.code_2)
        self.facts.note(images, facts_of(pairs.content, style_from_code(code, source), source))

    def sample_style(self, count, generator=None):
        return torch.randn(count, 3, generator=generator)

    def translate(self, images, source, target, style=None):
        facts = self.facts.of(images).float()
        shape_class = facts[:, 0].long()
        content = with_rotation(Content(shape_class, facts[:, 1:3], facts[:, 3], facts[:, 4]), facts[:, 4])
        content, factors = self.change(content), style_from_code(self.restyle(style, content), target)
        outputs = render(content, factors, target, 32)
        self.facts.note(outputs, facts_of(content, factors, target))
        return outputs


def with_rotation(content, rotation):
    folds = torch.tensor([0.0, 0, 4, 3, 4, 5])[content.shape_class]
    return replace(content, angle=torch.where(folds > 0, rotation * 2 * math.pi / folds.clamp_min(1), 0.0))


class OraclePredictor:
    """Looks the truth up."""

    def __init__(self, facts, domain):
        self.facts, self.domain = facts, domain

    def __call__(self, images):
        row = self.facts.of(images).float()
        logits = torch.nn.functional.one_hot(row[:, 0].long(), len(SHAPE_NAMES)).float()
        return Attributes(logits, row[:, 1:3], row[:, 3], row[:, 4], row[:, 5:])


def measured_content(oracle, source, count=1000, seed=4):
    return content_metrics(Direction(oracle, oracle.predictor, World(), source, seed, 32), count)


CHANCE = 0.23**2 + 0.20**2 + 0.18**2 + 0.15**2 + 0.13**2 + 0.11**2
each_source = pytest.mark.parametrize("source", [1, 2])


@each_source
def test_the_oracle_keeps_all_content(source):
    found = measured_content(Oracle(source, 1000, 4), source)
    assert found["class_accuracy"] == 1 and found["class_accuracy_interval"] == 0
    for name in ("position_error", "size_error", "rotation_error_periods"):
        assert found[name] < 1e-6
    assert found["class_accuracy_shuffled_contents"] == pytest.approx(CHANCE, abs=0.04)
    assert found["contents"] == 1000


@each_source
def test_a_translator_that_shuffles_classes_is_at_chance_and_keeps_the_rest(source):
    def shuffle(content):
        return with_rotation(replace(content, shape_class=content.shape_class.roll(3)), torch.zeros(len(content)))

    found = measured_content(Oracle(source, 1000, 4, change=shuffle), source)
    assert abs(found["class_accuracy"] - CHANCE) < 2 * found["class_accuracy_interval"]
    assert found["class_accuracy_interval"] == pytest.approx(1.96 * math.sqrt(CHANCE * (1 - CHANCE) / 1000), rel=0.1)
    assert found["position_error"] < 1e-6 and found["size_error"] < 1e-6


def test_errors_of_position_size_and_turn_are_in_their_units():
    def nudge(content):
        moved = replace(content, position=content.position + torch.tensor([0.03, -0.04]), size=content.size - 0.01)
        return with_rotation(moved, content.rotation + 0.05)

    found = measured_content(Oracle(1, 300, 4, change=nudge), 1, count=300)
    assert found["class_accuracy"] == 1
    assert found["position_error"] == pytest.approx(0.05, abs=1e-6) and found["position_error_interval"] < 1e-6
    assert found["size_error"] == pytest.approx(0.01, abs=1e-6)
    assert found["rotation_error_periods"] == pytest.approx(0.05, abs=1e-6)  # of the shapes that have a rotation


def test_content_numbers_repeat_with_the_seed():
    oracle = Oracle(1, 60, 4)
    predictor = AttributePredictor(2)
    first, again = (content_metrics(Direction(oracle, predictor, World(), 1, 4, 32), 60) for _ in range(2))
    assert first == again
    assert content_metrics(Direction(oracle, predictor, World(), 1, 4, 32), 40) != first


def measured_style(oracle, source, count=40, styles_per_input=64):
    return style_metrics(Direction(oracle, oracle.predictor, World(), source, 4, 32), count, styles_per_input)


def ks_null(count):
    """Mean and standard deviation of the KS distance of uniform samples, from SciPy's exact distribution."""
    at = np.linspace(0, 1, 2001)
    tail = stats.kstwo.sf(at, count)
    mean = np.trapezoid(tail, at)
    return mean, math.sqrt(np.trapezoid(2 * at * tail, at) - mean**2)


@each_source
@pytest.mark.parametrize("styles_per_input", [16, 64])
def test_true_styles_have_the_ks_distance_of_uniform_samples(source, styles_per_input):
    found = measured_style(Oracle(source, 40, 4), source, styles_per_input=styles_per_input)
    mean, deviation = ks_null(styles_per_input)
    assert mean == pytest.approx(0.87 / math.sqrt(styles_per_input), rel=0.05)
    for factor in STYLE_FACTORS[3 - source]:
        assert found[f"{factor.name}_ks"] == pytest.approx(mean, abs=4 * deviation / math.sqrt(40))
        assert found[f"{factor.name}_ks_interval"] == pytest.approx(1.96 * deviation / math.sqrt(40), rel=0.4)
        # One value u for all has the distance max(u, 1 - u), which is uniform on (0.5, 1).
        alone = found[f"{factor.name}_ks_deterministic"]
        assert alone == pytest.approx(0.75, abs=4 * 0.5 / math.sqrt(12 * 40))
        assert found[f"{factor.name}_diversity_ratio"] == pytest.approx(1, abs=0.05)
    assert found["inputs"] == 40 and found["styles_per_input"] == styles_per_input


@each_source
def test_a_deterministic_translator_has_no_spread_and_half_the_ks_distance(source):
    found = measured_style(Oracle(source, 20, 4, restyle=lambda code, content: 0 * code), source, count=20)
    for factor in STYLE_FACTORS[3 - source]:
        assert found[f"{factor.name}_ks"] >= 0.5 - 1e-6
        assert found[f"{factor.name}_ks"] == pytest.approx(found[f"{factor.name}_ks_deterministic"])
        assert found[f"{factor.name}_diversity_ratio"] < 1e-5


def test_one_collapsed_factor_is_distinguished_from_the_others():
    oracle = Oracle(1, 20, 4, restyle=lambda code, content: code * torch.tensor([1.0, 0.0, 1.0]))
    found = measured_style(oracle, 1, count=20)
    assert found["background_hue_ks"] > 0.49 and found["background_hue_diversity_ratio"] < 1e-5
    for name in ("foreground_hue", "light"):
        assert found[f"{name}_ks"] < 0.15 and found[f"{name}_diversity_ratio"] > 0.9


def test_the_spread_is_that_of_one_input_not_of_many():
    oracle = Oracle(1, 20, 4, restyle=lambda code, content: (content.position[:, :1] - 0.5).expand(-1, 3) * 10)
    found = measured_style(oracle, 1, count=20)  # the style is a function of the input alone
    for factor in STYLE_FACTORS[2]:
        assert found[f"{factor.name}_diversity_ratio"] < 1e-5 and found[f"{factor.name}_ks"] > 0.49


def test_true_styles_have_all_of_the_true_diversity_and_a_small_wasserstein_distance():
    found = measured_style(Oracle(1, 40, 4), 1)
    assert found["diversity_ratio"] == pytest.approx(1, abs=0.05)
    assert 0 < found["diversity_ratio_interval"] < 0.05
    for factor in STYLE_FACTORS[2]:
        # E W1 = E integral |F_n - F|, and F_n - F is nearly normal with variance u (1 - u) / n.
        expected = math.sqrt(2 / math.pi / 64) * math.pi / 8
        assert found[f"{factor.name}_wasserstein"] == pytest.approx(expected, rel=0.2)


def test_a_translator_of_one_style_has_no_diversity_and_a_wasserstein_distance_of_a_quarter():
    found = measured_style(Oracle(2, 20, 4, restyle=lambda code, content: 0 * code), 2, count=20)
    assert found["diversity_ratio"] < 1e-5
    for factor in STYLE_FACTORS[1]:
        assert found[f"{factor.name}_wasserstein"] == pytest.approx(1 / 4, abs=1e-4)


def test_half_the_range_is_half_the_diversity():
    def squeeze(code, content):
        return torch.special.ndtri(0.25 + 0.5 * torch.special.ndtr(code.double())).float()

    found = measured_style(Oracle(1, 20, 4, restyle=squeeze), 1, count=20)
    assert found["diversity_ratio"] == pytest.approx(1 / 2, abs=0.03)
    for factor in STYLE_FACTORS[2]:
        assert found[f"{factor.name}_wasserstein"] == pytest.approx(1 / 8, abs=0.03)


def test_factors_that_never_vary_independently_are_correlated_although_each_covers_its_range():
    opposed = Oracle(1, 20, 4, restyle=lambda code, content: torch.stack([code[:, 0], -code[:, 0], code[:, 2]], dim=1))
    found, true = measured_style(opposed, 1, count=20), measured_style(Oracle(1, 20, 4), 1, count=20)
    assert found["diversity_ratio"] > 0.95
    assert found["foreground_hue_background_hue_correlation"] == pytest.approx(-1, abs=1e-3)
    for name in ("foreground_hue_light_correlation", "background_hue_light_correlation"):
        assert abs(found[name]) < 0.1  # the mean of 20 correlations of 64 pairs has a standard error of 0.03
    assert all(abs(value) < 0.1 for name, value in true.items() if name.endswith("_correlation"))


def test_a_factor_that_does_not_vary_is_not_correlated():
    assert factor_correlation(torch.tensor([[[0.5, 0.1], [0.5, 0.9]]]), 0, 1).tolist() == [0.0]


def test_styles_sampled_from_a_uniform_prior_cover_too_little():
    oracle = Oracle(1, 20, 4)  # trained on N(0, 1), sampled from U(-1, 1)
    oracle.sample_style = lambda count, generator=None: 2 * torch.rand(count, 3, generator=generator) - 1
    found = measured_style(oracle, 1, count=20)
    assert found["diversity_ratio"] == pytest.approx(0.70, abs=0.03)  # sqrt(12) times the deviation of Phi(U(-1, 1))
    assert found["foreground_hue_ks"] > 0.16


def test_images_reach_the_predictor_without_rescaling():
    predictor, seen = AttributePredictor(2), []
    world, model = World(), Oracle(1, 10, 4)
    model.translate = lambda images, source, target, style: 0.01 * style[:, :1, None, None].expand(-1, 3, 32, 32)

    def look(images):
        seen.append(images)
        return predictor(images)

    look.domain = 2
    style_metrics(Direction(model, look, world, 1, 4, 32), 2, 8)
    assert torch.cat(seen).abs().max() < 0.1


# ----------------------------------------------------------------------------------------------------------- codes


class EncodingOracle(Oracle):
    """An oracle with codes: the true ones, unless `style_code` and `content_code` say otherwise.

    Both are given an image's facts: class, x, y, size, rotation, three style quantiles.
    """

    def __init__(self, source, count, seed, style_code=lambda f: f[:, 5:], content_code=lambda f: f[:, :5], **changes):
        super().__init__(source, count, seed, **changes)
        self.style_code, self.content_code = style_code, content_code
        self.shown = {1: ImageTable(), 2: ImageTable()}
        for stream in ("test", "codes", "examples"):
            pairs = World().pairs(torch.arange(count), seed, 32, stream)
            for domain, images, code in ((1, pairs.image_1, pairs.code_1), (2, pairs.image_2, pairs.code_2)):
                content = pairs.content
                quantiles = torch.special.ndtr(code)
                known = [content.shape_class, *content.position.T, content.size, content.rotation, *quantiles.T]
                self.shown[domain].note(images, torch.stack(known, dim=1))

    def encode_style(self, images, domain):
        return torch.special.ndtri(self.style_code(self.shown[domain].of(images)).double()).float()

    def encode_content(self, images, domain):
        code = self.content_code(self.shown[domain].of(images))
        return code[:, :, None, None] * torch.ones(4, 4)


def codes_of(coder, source, count=800):
    return code_metrics(Direction(coder, coder.predictor, World(), source, 4, 32), count)


@pytest.mark.slow
@each_source
def test_true_codes_determine_their_own_factors_and_carry_no_information_about_the_others(source):
    found = codes_of(EncodingOracle(source, 800, 4), source)
    assert found["sampled_style_r2"] > 0.97 and found["encoded_style_r2"] > 0.97
    assert abs(found["style_in_content_r2"]) < 0.05 and abs(found["content_in_style_r2"]) < 0.05
    assert abs(found["class_from_style_accuracy"] - found["most_frequent_class"]) < 0.05
    assert found["most_frequent_class"] == pytest.approx(0.23, abs=0.04)
    for factor in STYLE_FACTORS[3 - source]:
        assert found[f"sampled_style_{factor.name}_r2"] > 0.95 and found[f"encoded_style_{factor.name}_r2"] > 0.95
    assert {f"style_in_content_{factor.name}_r2" for factor in STYLE_FACTORS[source]} <= found.keys()


@pytest.mark.slow
def test_a_decoder_that_ignores_the_style_has_a_sampled_style_r2_of_zero():
    ignored = lambda code, content: (content.position[:, :1] - 0.5).expand(-1, 3) * 10  # noqa: E731
    found = codes_of(EncodingOracle(1, 800, 4, restyle=ignored), 1)
    assert abs(found["sampled_style_r2"]) < 0.05 and found["encoded_style_r2"] > 0.97


@pytest.mark.slow
def test_style_that_hides_in_the_content_code_is_found():
    def leak(facts):
        return torch.cat([facts[:, :5], 0.05 * facts[:, 5:6]], dim=1)

    found = codes_of(EncodingOracle(2, 800, 4, content_code=leak), 2)
    assert found["style_in_content_foreground_hue_r2"] > 0.9
    assert abs(found["style_in_content_light_r2"]) < 0.05
    assert abs(found["content_in_style_r2"]) < 0.05


@pytest.mark.slow
def test_content_that_hides_in_the_style_code_is_found():
    def leak(facts):
        noise = (facts[:, 0:1] + 0.5) / len(SHAPE_NAMES)
        return torch.cat([facts[:, 5:], noise, (facts[:, 3:4] - 0.1).clamp(0.01, 0.99)], dim=1)

    found = codes_of(EncodingOracle(1, 800, 4, style_code=leak), 1)
    assert found["content_in_style_size_r2"] > 0.9 and found["class_from_style_accuracy"] > 0.7
    assert abs(found["content_in_style_x_r2"]) < 0.05
    assert abs(found["style_in_content_r2"]) < 0.05


def test_models_whose_every_style_is_the_same_have_codes_without_information():
    found = codes_of(
        EncodingOracle(1, 200, 4, style_code=lambda f: 0 * f[:, 5:] + 0.5, restyle=lambda s, c: 0 * s), 1, 200
    )
    assert found["sampled_style_r2"] == pytest.approx(0, abs=1e-6) and abs(found["encoded_style_r2"]) < 0.1
    assert all(math.isfinite(value) for value in found.values())


@each_source
def test_a_translation_guided_by_an_example_has_its_style(source):
    coder = EncodingOracle(source, 300, 4)
    found = example_metrics(Direction(coder, coder.predictor, World(), source, 4, 32), 300)
    assert found["example_error"] < 1e-4
    # Two independent uniform numbers are 1/3 apart.
    assert found["example_error_other_example"] == pytest.approx(1 / 3, abs=0.02)
    for factor in STYLE_FACTORS[3 - source]:
        assert found[f"example_{factor.name}_error_other_example"] == pytest.approx(1 / 3, abs=0.04)


def test_an_example_that_is_ignored_leaves_the_error_of_the_middle_of_the_range():
    coder = EncodingOracle(1, 300, 4, style_code=lambda facts: 0 * facts[:, 5:] + 0.5)
    found = example_metrics(Direction(coder, coder.predictor, World(), 1, 4, 32), 300)
    assert found["example_error"] == pytest.approx(1 / 4, abs=0.02)
    assert found["example_error_other_example"] == pytest.approx(found["example_error"], abs=1e-6)


def test_style_quantiles_are_uniform_on_true_styles():
    code = World().style_code(torch.arange(500), 0, 2)
    style = style_from_code(code, 2)
    factors = torch.stack([getattr(style, f.name) for f in STYLE_FACTORS[2]], dim=1)
    nothing = torch.zeros(500)
    found = style_quantiles(Attributes(nothing, nothing, nothing, nothing, factors), 2)
    torch.testing.assert_close(found, torch.special.ndtr(code), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------------ everything

TINY = {"base_channels": 4, "mlp_width": 8, "discriminator_base_channels": 4}


def test_evaluate_measures_a_world_model_in_both_directions(monkeypatch):
    monkeypatch.setattr(evaluation, "load_attribute_predictor", AttributePredictor)
    numbers = evaluate(build(preset("world32", **TINY, num_residual_blocks=1)), count=40)
    assert list(numbers) == ["sketch to painting", "painting to sketch"]
    for (_, found), domain in zip(numbers.items(), (2, 1), strict=True):
        assert found["contents"] == 40 and found["inputs"] == 2
        assert {"sampled_style_r2", "style_in_content_r2", "content_in_style_r2", "example_error"} <= found.keys()
        assert all(f"{factor.name}_ks" in found for factor in STYLE_FACTORS[domain])
        assert all(math.isfinite(value) for value in found.values())


def test_the_table_shows_values_with_their_intervals():
    numbers = {"a to b": {"accuracy": 0.91234, "accuracy_interval": 0.0125, "spread": 1.0, "count": 40}}
    lines = [line.split() for line in format_metrics(numbers).splitlines()]
    assert lines == [["a", "to", "b"], ["accuracy", "0.912", "±", "0.013"], ["spread", "1.000"], ["count", "40"]]
