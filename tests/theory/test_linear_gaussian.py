"""The linear-Gaussian MUNIT: formulas against Monte Carlo in NumPy, quadrature against a plain sum."""

import math

import numpy as np
import pytest
import torch

from munit_lite.theory.linear_gaussian import LinearMUNIT, best_discriminator, optimum

pytestmark = pytest.mark.numerical

MIXING = torch.tensor([[[1.0, 0.3], [0.0, 0.6]], [[1.0, -0.6], [0.4, 0.8]]], dtype=torch.float64)
ANGLES = [(0.0, 0.0), (0.4, -1.1), (math.pi / 2, 0.3)]


def away(seed: int) -> LinearMUNIT:
    """A model far from every optimum."""
    draws = torch.Generator().manual_seed(seed)
    encoders, decoders = torch.randn(2, 2, 2, 2, generator=draws, dtype=torch.float64)
    return LinearMUNIT(MIXING, encoders, decoders)


def sampled(model: LinearMUNIT, i: int, n: int, seed: int) -> dict[str, np.ndarray]:
    """Everything of one direction, as the paper writes it, one row for each image."""
    draws, j = np.random.default_rng(seed), 3 - i
    A, M, B = (part.numpy() for part in (model.mixing, model.encoders, model.decoders))
    z, drawn = draws.standard_normal((n, 2)), draws.standard_normal(n)
    x = z @ A[i - 1].T
    code = x @ M[i - 1].T
    made = np.stack([code[:, 0], drawn], 1) @ B[j - 1].T
    again = made @ M[j - 1].T
    back = np.stack([again[:, 0], code[:, 1]], 1) @ B[i - 1].T
    return {
        "z": z,
        "x": x,
        "made": made,
        "drawn": drawn,
        "back": back,
        f"image_{i}": np.abs(code @ B[i - 1].T - x).sum(1),
        f"content_{i}": np.abs(again[:, 0] - code[:, 0]),
        f"style_{j}": np.abs(again[:, 1] - drawn),
    }


def within(values: np.ndarray, wanted: float) -> bool:
    return abs(values.mean() - wanted) <= 3 * values.std(ddof=1) / math.sqrt(len(values)) + 1e-12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_losses_are_those_of_samples_within_three_standard_errors(seed):
    model = away(seed)
    for i in (1, 2):
        found = sampled(model, i, 20_000, seed)
        for name, wanted in model.losses().items():
            assert name not in found or within(found[name], wanted), name
    assert set(model.losses()) == {f"{kind}_{i}" for kind in ("image", "content", "style") for i in (1, 2)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_cycles_and_the_kept_content_are_those_of_samples(seed):
    model = away(seed)
    for i in (1, 2):
        found = sampled(model, i, 20_000, seed)
        pair = np.concatenate([found["x"], found["made"]][:: 3 - 2 * i], 1)
        products = pair[:, :, None] * pair[:, None]
        for row in range(4):
            for column in range(4):
                wanted = model.pair_covariances()[i - 1][row, column].item()
                assert abs(products[:, row, column].mean() - wanted) <= 4 * products[:, row, column].std() / 141
        forth = np.concatenate([found["x"], found["drawn"][:, None]], 1) @ model.cycle(i).numpy().T
        np.testing.assert_allclose(forth[:, :2], found["back"], atol=1e-9)
        content = np.linalg.solve(model.mixing[2 - i].numpy(), found["made"].T)[0]
        correlation = np.corrcoef(content, found["z"][:, 0])[0, 1]
        assert correlation == pytest.approx(model.content_correlation(i), abs=0.03)


def test_no_critic_of_its_family_beats_the_best():
    model, draws = away(0), torch.Generator().manual_seed(0)
    for i, j in ((1, 2), (2, 1)):
        made = model.made_from(i)
        gap = model.image_covariance(j) - made @ made.mT
        best = model.adversarial()[f"gan_{j}"]
        for scale in (0.01, 0.1, 1.0):
            critic = gap + scale * torch.randn(2, 2, generator=draws, dtype=torch.float64)
            assert (critic * gap).sum() - critic.square().sum() / 2 < best
        assert (gap * gap).sum() - gap.square().sum() / 2 == pytest.approx(best)


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_at_every_optimum_all_four_propositions_hold_and_content_turns_away(angles, scale):
    model = optimum(MIXING, angles, scale)
    assert max(*model.losses().values(), *model.adversarial().values()) == pytest.approx(0, abs=1e-12)
    for i in (1, 2):
        wanted = torch.diag(torch.tensor([scale**2, 1.0], dtype=torch.float64))
        torch.testing.assert_close(model.code_covariance(i), wanted)
        torch.testing.assert_close(model.cycle(i), torch.eye(3, dtype=torch.float64))
        assert abs(model.content_correlation(i)) == pytest.approx(abs(math.cos(angles[0]) * math.cos(angles[1])))
    torch.testing.assert_close(*model.pair_covariances())


def test_away_from_the_optimum_nothing_holds():
    model = away(0)
    assert min(*model.losses().values(), *model.adversarial().values()) > 0.01
    first, second = model.pair_covariances()
    assert (first - second).abs().max() > 0.1
    assert (model.cycle(1) - torch.eye(3, dtype=torch.float64)).abs().max() > 0.1


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0, 1.7])
def test_constants_of_the_best_discriminator_are_those_of_a_plain_sum(sigma):
    x, step = np.linspace(-20, 20, 400_001, retstep=True)
    log_p, log_q = (-((x / s) ** 2) / 2 - math.log(s * math.sqrt(2 * math.pi)) for s in (1.0, sigma))
    p, q, both = np.exp(log_p), np.exp(log_q), np.logaddexp(log_p, log_q)
    d = np.exp(log_p - both)
    log = (p * (log_p - both) + q * (log_q - both)).sum() * step
    found = best_discriminator(sigma)
    assert found.log == pytest.approx(log, abs=1e-5)
    assert found.least_squares == pytest.approx((p * (d - 1) ** 2 + q * d**2).sum() * step, abs=1e-6)
    assert found.generator == pytest.approx((q * (d - 1) ** 2).sum() * step, abs=1e-6)


def test_where_made_is_as_real_the_constants_are_the_known_ones_and_elsewhere_they_are_not():
    equal = best_discriminator(1.0)
    assert tuple(equal) == pytest.approx((-math.log(4), 0.5, 0.25))
    for sigma in (0.5, 0.9, 1.1, 2.0):
        found = best_discriminator(sigma)
        assert found.log > equal.log and found.least_squares < equal.least_squares
        assert found.generator > equal.generator
    with pytest.raises(ValueError, match="sigma is 0, but a standard deviation is above 0"):
        best_discriminator(0)
