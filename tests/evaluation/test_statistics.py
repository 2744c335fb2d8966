"""Estimators against SciPy, closed forms and codes whose information is known."""

import numpy as np
import pytest
import torch
from scipy import stats

from munit_lite.evaluation import statistics as estimates
from munit_lite.evaluation.statistics import (
    held_out_predictions,
    held_out_r2,
    ks_to_uniform,
    mean_over_directions,
    mean_with_interval,
    wasserstein_to_uniform,
)

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("count", [1, 5, 200])
def test_ks_distance_is_scipys_statistic(count):
    samples = torch.rand(20, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 1.5
    expected = [stats.kstest(row, "uniform").statistic for row in samples.numpy()]
    np.testing.assert_allclose(ks_to_uniform(samples), expected, atol=1e-12)


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


def test_the_mean_over_directions_has_the_mean_of_the_half_widths():
    metrics = {"1 to 2": {"m": 0.2, "m_interval": 0.1, "n": 1.0}, "2 to 1": {"m": 0.6, "m_interval": 0.3, "n": 2.0}}
    assert mean_over_directions(metrics, "m") == pytest.approx((0.4, 0.2))
    mean, half_width = mean_over_directions(metrics, "n")
    assert mean == 1.5 and np.isnan(half_width)
    with pytest.raises(KeyError, match="p"):
        mean_over_directions(metrics, "p")


@pytest.mark.parametrize("count", [1, 3, 64])
def test_wasserstein_distance_is_scipys_on_a_fine_grid_of_the_uniform(count):
    samples = torch.rand(20, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.4 - 0.3
    grid = (np.arange(20_000) + 0.5) / 20_000
    expected = [stats.wasserstein_distance(row, grid) for row in samples.numpy()]
    np.testing.assert_allclose(wasserstein_to_uniform(samples), expected, atol=1e-4)


def test_wasserstein_distance_of_a_constant_a_shift_and_the_best_grid():
    assert wasserstein_to_uniform(torch.full((1, 64), 0.5)).item() == pytest.approx(1 / 4)
    assert wasserstein_to_uniform(torch.full((1, 64), 0.0)).item() == pytest.approx(1 / 2)
    grid = (torch.arange(64.0) + 0.5)[None] / 64
    assert wasserstein_to_uniform(grid).item() == pytest.approx(1 / 256)
    assert wasserstein_to_uniform(grid + 1).item() == pytest.approx(1)


# ------------------------------------------------------------------------------------------------------ regression


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def r2(codes, targets):
    names = [str(k) for k in range(targets.shape[1])]
    found = held_out_r2(codes, targets, names, "t")
    return [found[f"t_{name}_r2"] for name in names], [found[f"t_{name}_r2_interval"] for name in names], found


def test_r2_is_one_for_a_rotated_code_and_high_for_a_bent_one():
    codes = normal(600, 3)
    rotation = torch.linalg.qr(normal(3, 3, seed=1)).Q
    values, _, found = r2(codes, torch.special.ndtr(codes @ rotation))
    assert min(values) > 0.97
    assert found["t_r2"] == pytest.approx(np.mean(values), abs=1e-9)
    assert r2(codes, codes.square())[0][0] > 0.9  # no line could tell it


def test_r2_is_the_fraction_of_the_variance_that_the_code_explains():
    codes, noise = normal(2000, 2), normal(2000, 3, seed=1)
    targets = torch.stack([codes[:, 0] + noise[:, 0], codes[:, 0] + 3 * noise[:, 1], noise[:, 2]], dim=1)
    values, intervals, _ = r2(codes, targets)
    for value, interval, expected in zip(values, intervals, (1 / 2, 1 / 10, 0), strict=True):
        assert value == pytest.approx(expected, abs=interval + 0.04)
        assert 0 < interval < 0.12


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_an_interval_of_r2_holds_the_truth_in_95_of_100_experiments(fraction, monkeypatch):
    """With the best predictor of a target, which explains this fraction of its variance."""
    held, random = 0, torch.Generator().manual_seed(0)
    for _ in range(1000):
        explained, unexplained = torch.randn(2, 250, 1, generator=random, dtype=torch.float64)
        pair = fraction**0.5 * explained, fraction**0.5 * explained + (1 - fraction) ** 0.5 * unexplained
        monkeypatch.setattr(estimates, "held_out_predictions", lambda *_, pair=pair: pair)
        found = held_out_r2(explained, explained, ["one"], "t")
        assert found["t_r2"] == found["t_one_r2"] and found["t_r2_interval"] == found["t_one_r2_interval"]
        held += abs(found["t_r2"] - fraction) <= found["t_r2_interval"]
    assert 925 <= held <= 975


def test_a_constant_code_explains_nothing_and_a_constant_target_has_no_variance():
    assert abs(r2(torch.ones(200, 3), normal(200, 1))[0][0]) < 0.05
    assert r2(normal(200, 3), torch.ones(200, 1))[0] == [0]


def test_the_scale_of_a_code_does_not_matter_and_a_code_of_noise_is_not_learned_by_heart():
    codes, target = normal(400, 3), normal(400, 1, seed=2)
    assert r2(codes, codes[:, :1])[0][0] == pytest.approx(r2(1e-4 * codes + 7, codes[:, :1])[0][0], abs=1e-3)
    assert r2(normal(400, 300), target)[0][0] < 0.1  # with more dimensions than rows, a fit on the rows themselves is 1


def test_predictions_are_made_for_rows_that_were_not_seen():
    codes = normal(40, 2)
    changed = codes[:, :1].clone()
    changed[20:] = 100  # the second half's targets cannot help
    guessed, truth = held_out_predictions(codes, changed)
    assert guessed.abs().max() < 5 and torch.equal(truth, changed[20:])


@pytest.mark.parametrize(("codes", "targets"), [(7, 7), (20, 19)])
def test_too_few_rows_or_rows_that_do_not_match_are_refused(codes, targets):
    with pytest.raises(ValueError, match=f"got {codes} codes and {targets} targets, but need equally many, at least 8"):
        held_out_predictions(normal(codes, 2), normal(targets, 1))
