"""The losses against the NumPy transcription of the paper's equations, in value and gradient, and known constants."""

from __future__ import annotations

import math
import zlib

import numpy as np
import numpy_reference as reference
import pytest
import torch

from munit_lite import losses

pytestmark = pytest.mark.numerical

RECONSTRUCTIONS = {
    "image": losses.image_reconstruction_loss,
    "content": losses.content_reconstruction_loss,
    "style": losses.style_reconstruction_loss,
    "cycle": losses.cycle_consistency_loss,
}
DISCRIMINATORS = {
    "lsgan": losses.lsgan_discriminator_loss,
    "minimax": losses.minimax_discriminator_loss,
    "hinge": losses.hinge_discriminator_loss,
}
GENERATORS = {
    "lsgan": losses.lsgan_generator_loss,
    "minimax": losses.minimax_generator_loss,
    "nonsaturating": losses.nonsaturating_generator_loss,
    "hinge": losses.hinge_generator_loss,
}
FEATURES = {"batch": (3, 4, 6, 5), "batch of one": (1, 4, 3, 3), "one pixel": (2, 3, 1, 1), "one number": (1, 1, 1, 1)}
LOGITS = {
    "three scales": [(2, 1, 8, 8), (2, 1, 4, 4), (2, 1, 2, 2)],
    "one scale": [(4, 1, 3, 5)],
    "batch of one": [(1, 1, 4, 4), (1, 1, 2, 2)],
    "one pixel": [(1, 1, 1, 1)] * 3,
}


def draw(shape: tuple[int, ...], label: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(f"{label}{shape}".encode())).normal(0, 1.5, shape)


def draw_logits(case: str, label: str) -> list[np.ndarray]:
    return [draw(shape, f"{label}{k}") for k, shape in enumerate(LOGITS[case])]


def value_and_gradients(loss, *arguments) -> tuple[float, list[np.ndarray]]:
    """A loss of arrays, or of lists of arrays, and its gradient in each array, by autograd."""
    leaves: list[torch.Tensor] = []

    def leaf(array: np.ndarray) -> torch.Tensor:
        leaves.append(torch.from_numpy(array.copy()).requires_grad_())
        return leaves[-1]

    value = loss(*([leaf(x) for x in a] if isinstance(a, list) else leaf(a) for a in arguments))
    assert value.shape == () and value.dtype == torch.float64
    return value.item(), [g.numpy() for g in torch.autograd.grad(value, leaves)]


def assert_agrees(actual, expected_value: float, expected_gradients) -> None:
    value, gradients = actual
    np.testing.assert_allclose(value, expected_value, rtol=1e-12, atol=1e-14)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


def double(*shape: int, label: str = "") -> torch.Tensor:
    return torch.from_numpy(draw(shape, label)).requires_grad_()


def constant_logits(value: float, scales: int = 3) -> list[torch.Tensor]:
    return [torch.full((2, 1, 2**k, 2**k), value, dtype=torch.float64) for k in range(scales)]


# ------------------------------------------------------------------------------------------------ reconstruction


@pytest.mark.parametrize("case", FEATURES)
@pytest.mark.parametrize("kind", RECONSTRUCTIONS)
def test_reconstruction_agrees_with_numpy(kind, case):
    shape = FEATURES[case][:2] if kind == "style" else FEATURES[case]
    a, b = draw(shape, "a"), draw(shape, "b")
    value, in_a, in_b = reference.mean_l1(a, b)
    assert_agrees(value_and_gradients(RECONSTRUCTIONS[kind], a, b), value, [in_a, in_b])


@pytest.mark.parametrize("kind", RECONSTRUCTIONS)
def test_reconstruction_is_a_mean_over_elements_with_gradient_into_the_target(kind):
    a, b = np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([[1.0, 3.0, 0.0, 9.0]])
    value, (in_a, in_b) = value_and_gradients(RECONSTRUCTIONS[kind], a, b)
    assert value == (0 + 1 + 4 + 1) / 4
    np.testing.assert_array_equal(in_a, [[0, -0.25, 0.25, -0.25]])
    np.testing.assert_array_equal(in_b, -in_a)


@pytest.mark.parametrize("kind", RECONSTRUCTIONS)
def test_reconstruction_passes_gradcheck_away_from_its_kink(kind):
    a = double(2, 3, 2, 2)
    b = (a.detach() + 0.1 + torch.rand(a.shape, dtype=a.dtype, generator=torch.Generator().manual_seed(0))).neg_()
    assert (a - b).abs().min() > 0.01
    assert torch.autograd.gradcheck(RECONSTRUCTIONS[kind], (a, b.requires_grad_()))


@pytest.mark.parametrize(
    ("kind", "noun"), [("image", "image"), ("content", "content"), ("style", "style"), ("cycle", "image")]
)
def test_reconstruction_refuses_shapes_that_would_broadcast(kind, noun):
    message = rf"the {noun} reconstruction has shape \(2, 3\), its target \(1, 3\): they must be equal"
    with pytest.raises(ValueError, match=message):
        RECONSTRUCTIONS[kind](torch.zeros(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("shrink", [0.0, 0.25, 0.5, 1.0])
def test_style_target_of_the_wrong_domain_keeps_the_loss_above_its_floor(shrink):
    """A known bug: with target s1 the best that an encoder of s2 can do is to answer 0, at sqrt(2/pi)."""
    generator = torch.Generator().manual_seed(0)
    s_1, s_2 = torch.randn(2, 50_000, 8, generator=generator, dtype=torch.float64)
    assert losses.style_reconstruction_loss(s_2, s_2) == 0
    wrong = losses.style_reconstruction_loss(shrink * s_2, s_1).item()
    five_errors = 5 / math.sqrt(s_1.numel())
    assert wrong == pytest.approx(math.sqrt(2 / math.pi * (1 + shrink**2)), abs=five_errors)
    assert wrong > math.sqrt(2 / math.pi) - five_errors


# --------------------------------------------------------------------------------------------------- adversarial


@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("form", DISCRIMINATORS)
def test_discriminator_loss_agrees_with_numpy(form, case):
    real, fake = draw_logits(case, "real"), draw_logits(case, "fake")
    expected = reference.discriminator_loss(form, real, fake)
    assert_agrees(value_and_gradients(DISCRIMINATORS[form], real, fake), *expected)


@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("form", GENERATORS)
def test_generator_loss_agrees_with_numpy(form, case):
    fake = draw_logits(case, "fake")
    assert_agrees(value_and_gradients(GENERATORS[form], fake), *reference.generator_loss(form, fake))


@pytest.mark.parametrize("form", DISCRIMINATORS)
def test_real_and_fake_batches_are_averaged_separately(form):
    real, fake = [draw((5, 1, 2, 2), "real")], [draw((2, 1, 3, 3), "fake")]
    expected = reference.discriminator_loss(form, real, fake)
    assert_agrees(value_and_gradients(DISCRIMINATORS[form], real, fake), *expected)


@pytest.mark.parametrize("level", [-700.0, -40.0, 40.0, 700.0])
def test_minimax_losses_stay_exact_where_the_sigmoid_saturates(level):
    logits = [np.full((1, 1, 2, 2), level)]
    assert_agrees(
        value_and_gradients(losses.minimax_discriminator_loss, logits, logits),
        *reference.discriminator_loss("minimax", logits, logits),
    )
    for form in ("minimax", "nonsaturating"):
        assert_agrees(value_and_gradients(GENERATORS[form], logits), *reference.generator_loss(form, logits))


def test_minimax_form_is_the_papers_equation_with_a_sigmoid():
    real, fake = draw_logits("one scale", "real"), draw_logits("one scale", "fake")
    d_real, d_fake = (1 / (1 + np.exp(-u[0])) for u in (real, fake))
    adversarial = np.log(1 - d_fake).mean() + np.log(d_real).mean()  # equation 4, which D ascends and G descends
    value, _ = value_and_gradients(losses.minimax_discriminator_loss, real, fake)
    assert value == pytest.approx(-adversarial, rel=1e-12)
    assert value_and_gradients(losses.minimax_generator_loss, fake)[0] == pytest.approx(
        np.log(1 - d_fake).mean(), rel=1e-12
    )
    assert value_and_gradients(losses.nonsaturating_generator_loss, fake)[0] == pytest.approx(-np.log(d_fake).mean())


@pytest.mark.parametrize("form", DISCRIMINATORS)
def test_discriminator_loss_passes_gradcheck_away_from_kinks(form):
    logits = [double(2, 1, 2, 2, label=f"{form}{k}") for k in range(4)]  # two scales of real, two of fake
    assert all((u.abs() - 1).abs().min() > 1e-3 for u in logits)
    assert torch.autograd.gradcheck(lambda *u: DISCRIMINATORS[form](u[:2], u[2:]), logits)


@pytest.mark.parametrize("form", GENERATORS)
def test_generator_loss_passes_gradcheck(form):
    logits = [double(2, 1, 2, 2, label="a"), double(2, 1, 1, 1, label="b")]
    assert torch.autograd.gradcheck(lambda *u: GENERATORS[form](u), logits)


@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize(
    ("loss", "level", "per_scale"),
    [
        (lambda d: losses.lsgan_discriminator_loss(d, d), 0.5, 1 / 2),
        (losses.lsgan_generator_loss, 0.5, 1 / 4),
        (lambda d: losses.minimax_discriminator_loss(d, d), 0.0, 2 * math.log(2)),
        (losses.minimax_generator_loss, 0.0, -math.log(2)),
        (losses.nonsaturating_generator_loss, 0.0, math.log(2)),
        (lambda d: losses.hinge_discriminator_loss(d, d), 0.0, 2.0),
        (losses.hinge_generator_loss, 0.0, 0.0),
    ],
)
def test_constants_where_real_and_fake_cannot_be_told_apart(loss, level, per_scale, scales):
    assert loss(constant_logits(level, scales)).item() == pytest.approx(scales * per_scale, rel=1e-14)


@pytest.mark.parametrize(("form", "optimum"), [("lsgan", 0.5), ("minimax", 0.0)])
def test_one_half_is_the_discriminators_best_answer_to_equal_distributions(form, optimum):
    at, below, above = (
        DISCRIMINATORS[form](d, d) for d in map(constant_logits, (optimum, optimum - 0.1, optimum + 0.1))
    )
    assert at < below and at < above


@pytest.mark.parametrize("form", GENERATORS)
def test_generator_wants_to_look_real_where_the_discriminator_wants_it_to_look_fake(form):
    fake = [np.zeros((1, 1, 2, 2))]
    discriminator = DISCRIMINATORS["minimax" if form == "nonsaturating" else form]
    _, (for_generator,) = value_and_gradients(GENERATORS[form], fake)
    _, (_, for_discriminator) = value_and_gradients(discriminator, fake, fake)
    assert (for_generator < 0).all() and (for_discriminator >= 0).all()
    if form != "hinge":
        assert GENERATORS[form](constant_logits(1.0)) < GENERATORS[form](constant_logits(0.0))


def test_least_squares_targets_are_one_for_the_generator_and_zero_and_one_for_the_discriminator():
    zeros, ones = constant_logits(0.0), constant_logits(1.0)
    assert losses.lsgan_generator_loss(ones) == 0 and losses.lsgan_generator_loss(zeros) == 3
    assert losses.lsgan_discriminator_loss(ones, zeros) == 0 and losses.lsgan_discriminator_loss(zeros, ones) == 6


def test_only_the_nonsaturating_generator_learns_where_the_discriminator_wins():
    fake = [np.full((1, 1, 1, 1), -30.0)]
    _, (saturated,) = value_and_gradients(losses.minimax_generator_loss, fake)
    _, (alive,) = value_and_gradients(losses.nonsaturating_generator_loss, fake)
    assert abs(saturated.item()) < 1e-12 and alive.item() == pytest.approx(-1)
    assert losses.GENERATOR_LOSSES["nonsaturating"] is losses.nonsaturating_generator_loss


def test_r1_penalty_of_a_quadratic_is_half_its_squared_slope():
    # Scale 1: D(x) = sum a x^2 at one place; scale 2: two places, b x summed and its triple, whose mean is 2 b x.
    rng = np.random.default_rng(0)
    x, a, b = rng.normal(size=(5, 3, 4, 6)), rng.normal(size=(3, 4, 6)), rng.normal(size=(3, 4, 6))
    images = torch.tensor(x, requires_grad=True)
    linear = (torch.tensor(b) * images).sum(dim=(1, 2, 3))[:, None, None, None]
    scales = [(torch.tensor(a) * images**2).sum(dim=(1, 2, 3))[:, None, None, None], torch.cat([linear, 3 * linear], 3)]
    slope = 2 * a * x + 2 * b
    assert losses.r1_penalty(scales, images).item() == pytest.approx((slope**2).sum((1, 2, 3)).mean() / 2)


def test_r1_penalty_teaches_the_discriminator():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    losses.r1_penalty([(weight * x).sum(dim=(1, 2, 3)).view(2, 1, 1, 1)], x).backward()
    torch.testing.assert_close(weight.grad, weight.detach())  # d/dw of |w|^2 / 2


@pytest.mark.parametrize("form", losses.DISCRIMINATOR_LOSSES)
def test_discriminator_loss_refuses_lists_of_different_scales(form):
    with pytest.raises(ValueError, match="logits have 3 and 2 scales: equally many"):
        losses.DISCRIMINATOR_LOSSES[form](constant_logits(0.0, 3), constant_logits(0.0, 2))


# ---------------------------------------------------------------------------------------------------- perceptual


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
@pytest.mark.parametrize("case", FEATURES)
def test_perceptual_loss_agrees_with_numpy(case, eps):
    a, b = draw(FEATURES[case], "a"), draw(FEATURES[case], "b")
    a[:, 0] = 0.7  # a constant channel
    value, in_a, in_b = reference.perceptual(a, b, eps)
    actual = value_and_gradients(lambda x, y: losses.domain_invariant_perceptual_loss(x, y, eps), a, b)
    assert_agrees(actual, value, [in_a, in_b])


def test_perceptual_loss_passes_gradcheck():
    inputs = double(2, 2, 3, 2, label="a"), double(2, 2, 3, 2, label="b")
    assert torch.autograd.gradcheck(losses.domain_invariant_perceptual_loss, inputs)


def test_perceptual_loss_does_not_see_a_channels_mean_and_contrast_but_sees_its_pattern():
    features = double(2, 4, 5, 5).detach()
    gain, offset = torch.rand(2, 2, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
    assert losses.domain_invariant_perceptual_loss(features, gain * features + offset) < 1e-8
    assert losses.domain_invariant_perceptual_loss(features, features.flip(3)) > 0.5


# --------------------------------------------------------------------------------------------------------- total


def test_total_weighs_each_kind_in_both_domains():
    weights = {"gan": 1.0, "image": 10.0, "content": 0.5, "style": 2.0, "two_words": 0.0}
    names = [f"{kind}_{domain}" for kind in weights for domain in (1, 2)]
    values = [np.array(float(k * k)) for k in range(len(names))]
    value, gradients = value_and_gradients(
        lambda *terms: losses.total_loss(dict(zip(names, terms, strict=True)), weights), *values
    )
    assert value == 1 * (0 + 1) + 10 * (4 + 9) + 0.5 * (16 + 25) + 2 * (36 + 49)
    assert [g.item() for g in gradients] == [1, 1, 10, 10, 0.5, 0.5, 2, 2, 0, 0]


def test_total_refuses_a_term_without_a_weight():
    with pytest.raises(ValueError, match="no weight for the loss 'stile'; weights are given for: image, style"):
        losses.total_loss({"image_1": torch.zeros(()), "stile_2": torch.zeros(())}, {"style": 1.0, "image": 1.0})


@pytest.mark.parametrize(
    ("computed", "missing"),
    [
        (["image_1", "image_2"], "style_1"),  # in no domain
        (["image_1", "image_2", "style_1"], "style_2"),  # in one domain only
    ],
)
def test_total_refuses_a_weight_for_a_loss_that_was_not_computed(computed, missing):
    loss_terms = {name: torch.ones(()) for name in computed}
    with pytest.raises(
        ValueError, match=rf"the loss {missing} has a weight, but it was not computed; computed: image_1"
    ):
        losses.total_loss(loss_terms, {"image": 10.0, "style": 1.0})


def test_total_accepts_a_weight_of_zero_for_a_loss_that_was_not_computed():
    loss_terms = {"image_1": torch.tensor(1.0), "image_2": torch.tensor(2.0)}
    assert losses.total_loss(loss_terms, {"image": 10.0, "style": 0.0}) == 30


def test_total_refuses_no_terms():
    with pytest.raises(ValueError, match="there are no losses to weigh"):
        losses.total_loss({}, {"image": 1.0})


@pytest.mark.parametrize("form", sorted(losses.GENERATOR_LOSSES))
def test_logits_must_come_in_a_list_of_scales(form):
    one = torch.zeros(2, 1, 3, 3)
    with pytest.raises(TypeError, match="a list of one tensor for each scale is needed"):
        losses.GENERATOR_LOSSES[form](one)
    with pytest.raises(TypeError, match="a list of one tensor for each scale is needed"):
        losses.DISCRIMINATOR_LOSSES[form]([one, one], one)
    with pytest.raises(ValueError, match="logits have 0 scales: equally many, 1 or more"):
        losses.GENERATOR_LOSSES[form]([])
