"""Two-sample tests against closed forms and other libraries; their level, power and intervals."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel
from torchmetrics.image.kid import maximum_mean_discrepancy

from munit_lite.theory import two_sample
from munit_lite.theory.two_sample import (
    classifier_test,
    gaussian_kernel,
    gaussian_mmd2,
    holm,
    kernel_test,
    mmd2,
    mmd_test,
    quadratic_classifier,
    scaled_kernel,
    sequential_permutation_test,
)

pytestmark = pytest.mark.numerical

TESTS = {"mmd": mmd_test, "classifier": classifier_test}
each_test = pytest.mark.parametrize("name", TESTS)


def rng(seed):
    return torch.Generator().manual_seed(seed)


def normal(count, width, seed, scale=1.0, shift=0.0):
    return shift + scale * torch.randn(count, width, generator=rng(seed), dtype=torch.float64)


# --------------------------------------------------------------------------------------------------- the estimates

COVARIANCE_A = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
COVARIANCE_B = torch.tensor([[0.5, 0.0], [0.0, 2.0]], dtype=torch.float64)
MEAN_A, MEAN_B = torch.zeros(2, dtype=torch.float64), torch.tensor([0.4, -0.3], dtype=torch.float64)


def test_closed_form_of_two_gaussians_is_the_integral_of_the_kernel():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    bandwidth = 1.3

    def mean_kernel(mean, covariance):  # E k over one difference ~ N(mean, covariance), by quadrature
        root = np.linalg.cholesky(covariance)
        grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1) @ root.T + mean
        return (np.outer(weights, weights) * np.exp(-(grid**2).sum(-1) / (2 * bandwidth**2))).sum()

    a, b = COVARIANCE_A.numpy(), COVARIANCE_B.numpy()
    expected = mean_kernel(0, 2 * a) + mean_kernel(0, 2 * b) - 2 * mean_kernel((MEAN_A - MEAN_B).numpy(), a + b)
    result = gaussian_mmd2(MEAN_A, COVARIANCE_A, MEAN_B, COVARIANCE_B, bandwidth)
    assert result == pytest.approx(expected, abs=1e-10) and result > 0.02
    assert gaussian_mmd2(MEAN_A, COVARIANCE_A, MEAN_A, COVARIANCE_A, bandwidth) == pytest.approx(0, abs=1e-15)


def test_the_estimate_is_unbiased():
    root_a, root_b = torch.linalg.cholesky(COVARIANCE_A), torch.linalg.cholesky(COVARIANCE_B)
    result = [
        mmd2(normal(40, 2, 2 * k) @ root_a.T, normal(30, 2, 2 * k + 1) @ root_b.T + MEAN_B, 1.3) for k in range(300)
    ]
    expected = gaussian_mmd2(MEAN_A, COVARIANCE_A, MEAN_B, COVARIANCE_B, 1.3)
    assert abs(np.mean(result) - expected) <= 3 * stats.sem(result)
    assert stats.sem(result) < expected / 20  # so that a bias of one tenth would be seen


def test_mmd_agrees_with_other_libraries():
    a, b = normal(25, 4, 0).numpy(), normal(25, 4, 1, shift=0.5).numpy()
    kernels = [torch.from_numpy(rbf_kernel(x, y, gamma=1 / (2 * 0.9**2))) for x, y in ((a, a), (a, b), (b, b))]
    expected = maximum_mean_discrepancy(*kernels).item()
    assert mmd2(torch.from_numpy(a), torch.from_numpy(b), 0.9) == pytest.approx(expected, abs=1e-12)


def test_permutation_p_value_agrees_with_scipy():
    a, b = normal(30, 1, 0).flatten(), normal(30, 1, 1, shift=0.3).flatten()
    theirs = stats.permutation_test(
        (a.numpy(), b.numpy()),
        lambda x, y, axis: abs(x.mean(axis) - y.mean(axis)),
        alternative="greater",
        n_resamples=1999,
        vectorized=True,
        rng=0,
    ).pvalue
    pooled = torch.cat([a, b])

    def mean_difference(labels):
        return (labels @ pooled / 30 - (1 - labels) @ pooled / 30).abs()

    effect = (a.mean() - b.mean()).abs().item()
    ours = sequential_permutation_test(mean_difference, effect, 60, 30, 3999, rng(0))
    assert 0.01 < theirs < 0.5  # else equality says little
    # Ours stops at the hundredth permutation that reaches the effect, and so is known to about a tenth of itself.
    assert ours == pytest.approx(theirs, abs=4 * (theirs * (1 - theirs) / 1999 + (theirs / 10) ** 2) ** 0.5)


def test_holm_agrees_with_the_definition_and_an_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm (1979), by hand
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([0.02]) == [0.02] and holm([]) == []


# ------------------------------------------------------------------------------------------------- level and power


@each_test
def test_level_holds_on_short_null_runs(name):
    p_values = [TESTS[name](normal(60, 3, 2 * k), normal(60, 3, 2 * k + 1), rng(k), 199).p_value for k in range(100)]
    assert sum(p <= 0.05 for p in p_values) <= 11  # 99 % of what a true level of .05 gives
    assert stats.kstest(p_values, "uniform").pvalue > 0.001  # and they are not all large either


@each_test
@pytest.mark.parametrize("change", ["shift", "scale", "correlation"])
def test_every_kind_of_difference_is_detected(name, change):
    a, b = normal(200, 3, 0), normal(200, 3, 1)
    if change == "shift":
        b = b + 0.7
    elif change == "scale":
        b = b * 1.8
    else:
        b = b @ torch.linalg.cholesky(0.1 * torch.eye(3, dtype=b.dtype) + 0.9).T
    result = TESTS[name](a, b, rng(2))
    assert result.p_value == 0.001 and result.null_effect < result.low < result.effect < result.high


def test_four_outputs_of_one_input_are_one_unit_not_four():
    def inputs(seed):  # four outputs of each input, which have its factors in common
        return normal(40, 2, seed)[:, None] + 0.2 * normal(40, 8, seed + 10_000).view(40, 4, 2)

    right, wrong = [], []
    for k in range(60):
        a, b = inputs(2 * k), inputs(2 * k + 1)
        right.append(mmd_test(a, b, rng(k), 199).p_value <= 0.05)
        wrong.append(mmd_test(a.flatten(0, 1), b.flatten(0, 1), rng(k), 199).p_value <= 0.05)
    assert sum(right) <= 8 and sum(wrong) >= 30


def test_rows_of_a_unit_are_averaged_in_the_estimate():
    a, b = normal(12, 2, 0), normal(12, 2, 1, shift=0.5)
    assert mmd2(a[:, None], b[:, None], 1.0) == pytest.approx(mmd2(a, b, 1.0), abs=1e-15)
    twice = torch.stack([a, a], dim=1), torch.stack([b, b], dim=1)
    assert mmd2(*twice, 1.0) == pytest.approx(mmd2(a, b, 1.0), abs=1e-12)


def test_a_wide_block_does_not_hide_a_narrow_one():
    wide_a, wide_b = 50 * normal(150, 200, 0), 50 * normal(150, 200, 1)
    narrow_a, narrow_b = normal(150, 3, 2), normal(150, 3, 3, shift=1.0)
    together = [torch.cat(blocks, dim=1) for blocks in ((wide_a, narrow_a), (wide_b, narrow_b))]
    assert mmd_test(*together, rng(0)).p_value > 0.01
    assert mmd_test((wide_a, narrow_a), (wide_b, narrow_b), rng(0)).p_value == 0.001


def test_a_constant_block_is_not_a_difference():
    constant = torch.ones(50, 2)
    result = mmd_test((constant, normal(50, 2, 0)), (constant, normal(50, 2, 1)), rng(0))
    assert result.p_value > 0.01 and abs(result.effect) < 0.05


# --------------------------------------------------------------------------------------------- effects and numbers


def test_each_end_of_the_interval_misses_the_truth_as_rarely_as_it_should():
    """2.5 % of 200 are 5; 13 or more in one of 700 runs of a right interval."""
    units = 400
    scale, bandwidth = 0.79, 0.5  # styles that are 21 % too narrow
    identity, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    expected = gaussian_mmd2(zero, scale**2 * identity, zero, identity, bandwidth)
    below = above = 0
    for k in range(200):
        a, b = normal(units, 3, 2 * k, scale), normal(units, 3, 2 * k + 1)
        result = kernel_test(gaussian_kernel(a, b, bandwidth), units)
        assert result.effect == pytest.approx(mmd2(a, b, bandwidth), abs=1e-12)
        below, above = below + (result.high < expected), above + (result.low > expected)
    assert below < 13 and above < 13


def test_intervals_of_groups_of_different_sizes_cover_the_truth():
    expected, covered = gaussian_mmd2(MEAN_A, COVARIANCE_A, MEAN_B, COVARIANCE_B, 2**0.5), 0
    root_a, root_b = torch.linalg.cholesky(COVARIANCE_A), torch.linalg.cholesky(COVARIANCE_B)
    for k in range(200):
        a, b = normal(150, 2, 2 * k) @ root_a.T, normal(70, 2, 2 * k + 1) @ root_b.T + MEAN_B
        result = kernel_test(gaussian_kernel(a, b, 2**0.5), 150)
        covered += result.low <= expected <= result.high
    assert covered >= 180  # 95 % of 200 are 190; 180 or fewer in one of 400 runs of a right interval


def test_intervals_of_no_effect_cover_zero():
    null = [kernel_test(gaussian_kernel(normal(60, 2, 2 * k), normal(60, 2, 2 * k + 1), 1.5), 60) for k in range(150)]
    assert sum(result.low <= 0 <= result.high for result in null) >= 133  # nearly 95 %, though nothing is normal here
    assert sum(result.low <= 0 for result in null) >= 137  # the estimates are skewed: about 6 % instead of 2.5 % miss


@pytest.mark.parametrize(("m", "n"), [(60, 60), (80, 30)])
def test_the_variance_without_an_effect_is_that_of_permutations(m, n):
    kernel = gaussian_kernel(normal(m, 3, 0), normal(n, 3, 1, scale=1.3), 0.7).fill_diagonal_(0)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(m + n), (5000, 1)), axis=1)
    effects = []
    for order in orders:
        a, b = order[:m], order[m:]
        within = kernel[a][:, a].sum() / (m * (m - 1)) + kernel[b][:, b].sum() / (n * (n - 1))
        effects.append((within - 2 * kernel[a][:, b].mean()).item())
    # The standard error of the variance of 5,000 values is at least 2 %.
    sums = torch.stack([kernel.square().sum(), kernel.sum(1).square().sum(), kernel.sum()])[:, None]
    result = two_sample._null_variance(torch.tensor([m]), torch.tensor([n]), sums).item()
    assert result == pytest.approx(np.var(effects), rel=0.08)


def test_weights_repeat_units():
    units, index = normal(40, 2, 0), torch.randint(40, (2, 50), generator=rng(1))
    weights = torch.stack([torch.bincount(row, minlength=40) for row in index]).double()[:, :, None]
    result = two_sample.weighted_mmd2(gaussian_kernel(units[:20], units[20:], 0.7), *weights)
    expected = kernel_test(gaussian_kernel(units[index[0]], units[index[1]], 0.7), 50)
    for value, name in zip(result, ("effect", "low", "high", "max_effect"), strict=True):
        assert value.item() == pytest.approx(getattr(expected, name), rel=1e-9)


def test_relabeling_the_units_does_not_change_the_kernel():
    pooled, order = normal(60, 3, 0), torch.randperm(60, generator=rng(1))
    kernel = scaled_kernel(pooled[:30], pooled[30:], 0.5)
    relabeled = scaled_kernel(pooled[order][:30], pooled[order][30:], 0.5)
    torch.testing.assert_close(relabeled, kernel[order][:, order], rtol=0, atol=1e-12)


def test_without_permutations_nothing_is_rejected():
    assert mmd_test(normal(50, 2, 0), normal(50, 2, 1, shift=3.0), rng(0), permutations=0).p_value == 1.0


def test_classifier_accuracy_is_bounded_by_the_total_variation():
    result = classifier_test(normal(4000, 1, 0), normal(4000, 1, 1, shift=1.0), rng(0), 99)
    best = stats.norm.cdf(0.5)  # of any classifier: (1 + total variation) / 2
    assert result.low <= best <= result.high
    assert result.effect == pytest.approx(best, abs=0.02)


def test_another_classifier_can_be_used():
    from sklearn.neighbors import KNeighborsClassifier

    a, b = normal(300, 1, 0), normal(300, 1, 1)
    a = a.sign() * a.abs().sqrt()  # same mean and nearly the same variance
    b = b.sign() * 0.8
    quadratic, neighbors = (
        classifier_test(a, b, rng(0), build_classifier=build)
        for build in (quadratic_classifier, lambda: KNeighborsClassifier(9))
    )
    assert neighbors.p_value == 0.001 and neighbors.effect > 0.9 > quadratic.effect


@pytest.mark.parametrize("reaching", [0, 99])
def test_few_permutations_that_reach_the_effect_do_not_stop_the_sampling(reaching):
    effects = torch.arange(999.0, dtype=torch.float64)
    p_value = sequential_permutation_test(replay(effects), 999.0 - reaching - 0.5, 8, 4, 999, rng(0))
    assert p_value == (1 + reaching) / 1000


def test_sampling_stops_at_the_hundredth_permutation_that_reaches_the_effect():
    effects = torch.tensor([0.0, 0.0, 1.0]).double().repeat(167)[:500]  # two batches; a third would find none
    assert sequential_permutation_test(replay(effects), 1.0, 8, 4, 999, rng(0)) == 100 / 300


def replay(effects):
    """Return a statistic that returns these effects one after the other."""
    remaining = iter(effects.tolist())

    def statistic(labels):
        assert labels.shape[1] == 8 and (labels.sum(1) == 4).all()
        return torch.tensor([next(remaining) for _ in labels], dtype=torch.float64)

    return statistic


def test_the_maximal_effect_is_that_of_groups_that_do_not_overlap():
    a, b = normal(100, 3, 0), normal(100, 3, 1)
    far = [mmd_test(a, b + 1000.0, rng(2), bandwidth=0.01), classifier_test(a, b + 1000.0, rng(2))]
    assert [result.effect / result.max_effect for result in far] == pytest.approx([1, 1], rel=1e-6)
    near = mmd_test(a, b + 1.0, rng(2))
    assert 0 < near.effect < near.max_effect < 2


# ----------------------------------------------------------------------------------------------- invalid samples


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(50, 2), "a group has 5 units"),
        (torch.zeros(50, 2), torch.zeros(50, 3), "they may differ only in the number of units"),
        ((torch.zeros(50, 2), torch.zeros(40, 2)), torch.zeros(50, 2), r"shapes \(50, 2\), \(40, 2\)"),
        (torch.zeros(50), torch.zeros(50), r"shapes \(50,\)"),
    ],
)
def test_samples_with_mismatched_shapes_are_rejected(a, b, message):
    with pytest.raises(ValueError, match=message):
        mmd_test(a, b, rng(0))
