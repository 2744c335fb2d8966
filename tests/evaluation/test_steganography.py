"""A hidden signal is detected in a model that hides one on purpose; the metrics are those that the notebook uses."""

import pytest
import torch
from tiny import tiny

from munit_lite.evaluation.steganography import NOISE_LEVELS, measure_hidden_signal, noisy_round_trip
from munit_lite.methods import build
from munit_lite.theory.verdicts import summarize_nrmse
from munit_lite.world import World

pytestmark = pytest.mark.numerical

STEP = 0.04


class Hider:
    """Paints something else, and writes the sketch into its last digits."""

    def __init__(self, paintings):
        self.paintings = paintings

    def sample_style(self, count, generator=None):
        return torch.randn(count, 3, generator=generator)

    def translate(self, images, source, target, style=None):
        if source == 1:
            return (self.paintings / STEP).round() * STEP + 0.4 * STEP * images
        return (images - (images / STEP).round() * STEP) / (0.4 * STEP)


def test_faint_noise_destroys_what_is_hidden_and_nothing_else():
    pairs = World().pairs(torch.arange(80), 0, 32)
    model = Hider(pairs.image_2.roll(1, 0))
    errors = [
        summarize_nrmse(noisy_round_trip(model, pairs.image_1, 1, noise, 0), pairs.image_1).median
        for noise in NOISE_LEVELS
    ]
    assert errors[0] < 1e-3 and all(error > 1 for error in errors[1:])
    model.translate = lambda images, source, target, style=None: -images
    errors = [
        summarize_nrmse(noisy_round_trip(model, pairs.image_1, 1, noise, 0), pairs.image_1).median
        for noise in NOISE_LEVELS
    ]
    assert errors[0] == 0 and max(errors) < 0.3


def test_a_model_that_changes_nothing_hides_nothing_closes_its_cycle_and_is_not_diverse():
    model = build(tiny()).eval()
    model.translate = lambda images, source, target, style=None: images
    for numbers in measure_hidden_signal(model, count=80, styles_per_input=2).values():
        errors = [numbers[f"cycle_error_noise_{noise:g}"] for noise in NOISE_LEVELS]
        assert errors[0] == 0 and errors == sorted(errors) and 0.01 < errors[-1] < 0.5
        assert numbers["diversity_ratio"] == pytest.approx(0, abs=1e-6)
        assert numbers["diversity_ratio_on_translations"] == pytest.approx(0, abs=1e-6)


def test_a_model_of_the_laboratory_is_measured_with_the_predictors_of_its_world():
    size = {"image_size": 16, "num_style_downsamples": 2, "discriminator_layers": 3}
    found = measure_hidden_signal(build(tiny(world_variant="laboratory", **size)).eval(), count=72, styles_per_input=2)
    assert all(numbers["diversity_ratio"] >= 0 for numbers in found.values())


def test_the_numbers_of_a_model():
    found = measure_hidden_signal(build(tiny(method="cyclegan_noise")).eval(), count=72, styles_per_input=2)
    assert set(found) == {"sketch to painting", "painting to sketch"}
    for numbers in found.values():
        assert {f"cycle_error_noise_{noise:g}" for noise in NOISE_LEVELS} < set(numbers)
        assert {"diversity_ratio", "diversity_ratio_on_translations_interval"} < set(numbers)
