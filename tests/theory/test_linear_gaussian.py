"""The linear-Gaussian MUNIT: closed forms against Monte Carlo in NumPy, quadrature against a Riemann sum."""

import math

import numpy as np
import pytest
import torch

from munit_lite.theory.linear_gaussian import LinearMUNIT, optimal_discriminator, optimal_model

pytestmark = pytest.mark.numerical

MIXING = torch.tensor([[[1.0, 0.3], [0.0, 0.6]], [[1.0, -0.6], [0.4, 0.8]]], dtype=torch.float64)
ANGLES = [(0.0, 0.0), (0.4, -1.1), (math.pi / 2, 0.3)]


def random_model(seed: int) -> LinearMUNIT:
    """Return a model that is far from every optimum."""
    draws = torch.Generator().manual_seed(seed)
    encoders, decoders = torch.randn(2, 2, 2, 2, generator=draws, dtype=torch.float64)
    return LinearMUNIT(MIXING, encoders, decoders)


def simulate(model: LinearMUNIT, i: int, n: int, seed: int) -> dict[str, np.ndarray]:
    """Sample images, translations, cycles and loss terms of one direction, one row for each image."""
    rng, j = np.random.default_rng(seed), 3 - i
    A, M, B = (matrix.numpy() for matrix in (model.mixing, model.encoders, model.decoders))
    z, style = rng.standard_normal((n, 2)), rng.standard_normal(n)
    x = z @ A[i - 1].T
    code = x @ M[i - 1].T
    translation = np.stack([code[:, 0], style], 1) @ B[j - 1].T
    recon = translation @ M[j - 1].T
    cycle = np.stack([recon[:, 0], code[:, 1]], 1) @ B[i - 1].T
    return {
        "z": z,
        "x": x,
        "translation": translation,
        "style": style,
        "cycle": cycle,
        f"image_{i}": np.abs(code @ B[i - 1].T - x).sum(1),
        f"content_{i}": np.abs(recon[:, 0] - code[:, 0]),
        f"style_{j}": np.abs(recon[:, 1] - style),
    }


def within(values: np.ndarray, expected: float) -> bool:
    return abs(values.mean() - expected) <= 3 * values.std(ddof=1) / math.sqrt(len(values)) + 1e-12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_losses_agree_with_samples_within_three_standard_errors(seed):
    model = random_model(seed)
    for i in (1, 2):
        samples = simulate(model, i, 20_000, seed)
        for name, expected in model.reconstruction_losses().items():
            assert name not in samples or within(samples[name], expected), name
    assert set(model.reconstruction_losses()) == {
        f"{kind}_{i}" for kind in ("image", "content", "style") for i in (1, 2)
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_cycles_and_content_correlations_agree_with_samples(seed):
    model = random_model(seed)
    for i in (1, 2):
        samples = simulate(model, i, 20_000, seed)
        pair = np.concatenate([samples["x"], samples["translation"]][:: 3 - 2 * i], 1)
        products = pair[:, :, None] * pair[:, None]
        for row in range(4):
            for column in range(4):
                expected = model.pair_covariances()[i - 1][row, column].item()
                assert abs(products[:, row, column].mean() - expected) <= 4 * products[:, row, column].std() / 141
        cycle = np.concatenate([samples["x"], samples["style"][:, None]], 1) @ model.cycle_matrix(i).numpy().T
        np.testing.assert_allclose(cycle[:, :2], samples["cycle"], atol=1e-9)
        content = np.linalg.solve(model.mixing[2 - i].numpy(), samples["translation"].T)[0]
        correlation = np.corrcoef(content, samples["z"][:, 0])[0, 1]
        assert correlation == pytest.approx(model.content_correlation(i), abs=0.03)


def test_no_quadratic_critic_exceeds_the_adversarial_loss():
    model, draws = random_model(0), torch.Generator().manual_seed(0)
    for i, j in ((1, 2), (2, 1)):
        translation = model.translation_matrix(i)
        gap = model.image_covariance(j) - translation @ translation.mT
        best = model.adversarial_losses()[f"gan_{j}"]
        for scale in (0.01, 0.1, 1.0):
            critic = gap + scale * torch.randn(2, 2, generator=draws, dtype=torch.float64)
            assert (critic * gap).sum() - critic.square().sum() / 2 < best
        assert (gap * gap).sum() - gap.square().sum() / 2 == pytest.approx(best)


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_at_every_optimum_all_propositions_hold_whatever_the_content_correlation(angles, scale):
    model = optimal_model(MIXING, angles, scale)
    assert max(*model.reconstruction_losses().values(), *model.adversarial_losses().values()) == pytest.approx(
        0, abs=1e-12
    )
    for i in (1, 2):
        expected = torch.diag(torch.tensor([scale**2, 1.0], dtype=torch.float64))
        torch.testing.assert_close(model.code_covariance(i), expected)
        torch.testing.assert_close(model.cycle_matrix(i), torch.eye(3, dtype=torch.float64))
        assert abs(model.content_correlation(i)) == pytest.approx(abs(math.cos(angles[0]) * math.cos(angles[1])))
    torch.testing.assert_close(*model.pair_covariances())


def test_away_from_an_optimum_no_proposition_holds():
    model = random_model(0)
    assert min(*model.reconstruction_losses().values(), *model.adversarial_losses().values()) > 0.01
    first, second = model.pair_covariances()
    assert (first - second).abs().max() > 0.1
    assert (model.cycle_matrix(1) - torch.eye(3, dtype=torch.float64)).abs().max() > 0.1


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0, 1.7])
def test_losses_at_the_optimal_discriminator_agree_with_a_riemann_sum(sigma):
    x, step = np.linspace(-20, 20, 400_001, retstep=True)
    log_p, log_q = (-((x / s) ** 2) / 2 - math.log(s * math.sqrt(2 * math.pi)) for s in (1.0, sigma))
    p, q, log_sum = np.exp(log_p), np.exp(log_q), np.logaddexp(log_p, log_q)
    d = np.exp(log_p - log_sum)
    log = (p * (log_p - log_sum) + q * (log_q - log_sum)).sum() * step
    losses = optimal_discriminator(sigma)
    assert losses.log_value == pytest.approx(log, abs=1e-5)
    assert losses.lsgan_discriminator_minimum == pytest.approx((p * (d - 1) ** 2 + q * d**2).sum() * step, abs=1e-6)
    assert losses.lsgan_generator_value == pytest.approx((q * (d - 1) ** 2).sum() * step, abs=1e-6)


def test_losses_at_the_optimal_discriminator_are_extremal_where_q_equals_p():
    equal = optimal_discriminator(1.0)
    assert tuple(equal) == pytest.approx((-math.log(4), 0.5, 0.25))
    for sigma in (0.5, 0.9, 1.1, 2.0):
        losses = optimal_discriminator(sigma)
        assert (
            losses.log_value > equal.log_value
            and losses.lsgan_discriminator_minimum < equal.lsgan_discriminator_minimum
        )
        assert losses.lsgan_generator_value > equal.lsgan_generator_value
    with pytest.raises(ValueError, match="sigma is 0, but a standard deviation is above 0"):
        optimal_discriminator(0)
