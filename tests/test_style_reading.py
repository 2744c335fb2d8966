"""Test the measurement of what a style encoder reads from images (tools/measure_style_reading.py)."""

from __future__ import annotations

import pytest
import torch

from munit_lite.experiments.results import read_results
from munit_lite.networks import StyleEncoder
from munit_lite.presets import preset
from munit_lite.world import DOMAIN_NAMES, STYLE_FACTORS
from tools.measure_style_reading import RESULT, reading_errors, train_style_encoder


def test_an_encoder_that_reads_nothing_is_wrong_by_a_quarter_of_the_range():
    encoder = StyleEncoder(base_channels=4, num_downsamples=2, style_dim=3)
    torch.nn.init.zeros_(encoder.layers[-1].weight)
    torch.nn.init.zeros_(encoder.layers[-1].bias)

    errors = reading_errors(encoder, preset("laboratory"), domain=1, count=2000)

    # The true quantile is uniform, and the zero code is its median: E|u - 1/2| = 1/4, with a standard error of 0.003.
    assert errors == pytest.approx({factor.name: 0.25 for factor in STYLE_FACTORS[1]}, abs=0.012)


def test_training_on_true_codes_lowers_the_errors_of_what_is_easy_to_see():
    config = preset("laboratory", base_channels=8)

    errors = reading_errors(train_style_encoder(config, domain=2, steps=200), config, domain=2, count=500)

    assert errors["foreground_hue"] < 0.1 and errors["background_hue"] < 0.1


@pytest.mark.parametrize("name", ["laboratory", "world32"])
def test_the_stored_errors_fall_with_more_steps(name: str):
    short, long = read_results(RESULT)[name].values()

    for domain, domain_name in DOMAIN_NAMES.items():
        factors = [factor.name for factor in STYLE_FACTORS[domain]]
        assert list(long[domain_name]) == factors
        assert all(0 < long[domain_name][name] < short[domain_name][name] < 0.25 for name in factors)
