"""MUNIT's straight-line objective against the equations of the paper, written out once more with the model's API."""

import pytest
import torch
from tiny import tiny

from munit_lite import losses
from munit_lite.data import open_data
from munit_lite.methods import build, build_objective
from munit_lite.training_step import sample_styles


@pytest.fixture
def step():
    """Objective, images, styles and outputs of a first step in float64."""
    config = tiny(cycle_weight=10.0, content_weight=2.0)
    model = build(config).double()
    x_1, x_2 = (x.double() for x in open_data(config).batch(0, config.batch_size))
    s_1, s_2 = sample_styles(model, 0, len(x_1))
    objective = build_objective(model)
    return objective, x_1, x_2, s_1, s_2, objective.generate(x_1, x_2, s_1, s_2)


def test_the_outputs_are_reconstructions_and_translations(step):
    objective, x_1, x_2, s_1, s_2, outputs = step
    model = objective.model
    torch.testing.assert_close(outputs.recon_1, model.reconstruct(x_1, 1))
    torch.testing.assert_close(outputs.recon_2, model.reconstruct(x_2, 2))
    torch.testing.assert_close(outputs.image_1_to_2, model.translate(x_1, 1, 2, style=s_2))
    torch.testing.assert_close(outputs.image_2_to_1, model.translate(x_2, 2, 1, style=s_1))


def test_the_generator_losses_are_the_papers_equations_with_the_right_targets(step):
    objective, x_1, x_2, s_1, s_2, outputs = step
    model, weights = objective.model, objective.loss
    loss_terms = objective.generator_losses(x_1, x_2, s_1, s_2, outputs)
    c_1, c_2 = model.encode_content(x_1, 1), model.encode_content(x_2, 2)
    x_12, x_21 = model.decode(c_1, s_2, 2), model.decode(c_2, s_1, 1)
    expected = {
        "image_1": (model.reconstruct(x_1, 1) - x_1).abs().mean(),
        "image_2": (model.reconstruct(x_2, 2) - x_2).abs().mean(),
        "content_1": (model.encode_content(x_12, 2) - c_1).abs().mean(),
        "content_2": (model.encode_content(x_21, 1) - c_2).abs().mean(),
        "style_1": (model.encode_style(x_21, 1) - s_1).abs().mean(),
        "style_2": (model.encode_style(x_12, 2) - s_2).abs().mean(),
        "cycle_1": (model.decode(model.encode_content(x_12, 2), model.encode_style(x_1, 1), 1) - x_1).abs().mean(),
        "cycle_2": (model.decode(model.encode_content(x_21, 1), model.encode_style(x_2, 2), 2) - x_2).abs().mean(),
        "gan_1": losses.GENERATOR_LOSSES[weights.gan_mode](model.discriminator(1)(x_21)),
        "gan_2": losses.GENERATOR_LOSSES[weights.gan_mode](model.discriminator(2)(x_12)),
    }
    assert set(loss_terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(loss_terms[name], value, msg=name)
    total = losses.total_loss(loss_terms, weights.weights())
    by_hand = sum(
        value * {"image": 10, "content": 2, "style": 1, "gan": 1, "cycle": 10}[name[:-2]]
        for name, value in loss_terms.items()
    )
    torch.testing.assert_close(total, by_hand)


def test_the_discriminator_losses_compare_real_images_with_translations_into_their_domain(step):
    objective, x_1, x_2, _, _, outputs = step
    found = objective.discriminator_losses(x_1, x_2, outputs)
    for domain, real, fake in ((1, x_1, outputs.image_2_to_1), (2, x_2, outputs.image_1_to_2)):
        discriminator = objective.model.discriminator(domain)
        expected = losses.DISCRIMINATOR_LOSSES[objective.loss.gan_mode](discriminator(real), discriminator(fake))
        torch.testing.assert_close(found[f"discriminator_{domain}"], expected)
    sum(found.values()).backward()
    assert all(p.grad is None for p in objective.model.auto_encoders.parameters())
    assert any(p.grad is not None and p.grad.any() for p in objective.model.discriminators.parameters())


def test_the_r1_penalty_is_half_the_squared_gradient_at_real_images(step):
    objective, x_1, x_2, *_ = step
    expected = 0.0
    for domain, x in ((1, x_1), (2, x_2)):
        for image in x:
            image = image[None].clone().requires_grad_()
            logit = sum(scale.mean() for scale in objective.model.discriminator(domain)(image))
            (gradient,) = torch.autograd.grad(logit, image)
            expected += gradient.square().sum().item() / 2 / len(x)
    assert objective.r1_penalty(x_1, x_2).item() == pytest.approx(expected, rel=1e-9)


def test_the_cycle_loss_is_computed_only_if_it_has_a_weight():
    for weight, expected in ((0.0, False), (1.0, True)):
        config = tiny(cycle_weight=weight)
        objective = build_objective(build(config))
        x_1, x_2 = open_data(config).batch(0, 2)
        styles = sample_styles(objective.model, 0, 2)
        loss_terms = objective.generator_losses(x_1, x_2, *styles, objective.generate(x_1, x_2, *styles))
        assert ("cycle_1" in loss_terms) is ("cycle_2" in loss_terms) is expected


@pytest.mark.parametrize("detach_style", [False, True])
def test_with_detach_style_only_equation_3_teaches_the_style_encoders(detach_style):
    config = tiny(cycle_weight=1.0, detach_style=detach_style)
    objective = build_objective(build(config))
    x_1, x_2 = open_data(config).batch(0, 2)
    styles = sample_styles(objective.model, 0, 2)
    loss_terms = objective.generator_losses(x_1, x_2, *styles, objective.generate(x_1, x_2, *styles))
    taught_by = set()
    for name, value in loss_terms.items():
        for domain in (1, 2):
            parameters = list(objective.model.auto_encoder(domain).style_encoder.parameters())
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            if any(gradient is not None and gradient.any() for gradient in gradients):
                taught_by.add((name, domain))
    equation_3 = {("style_1", 1), ("style_2", 2)}
    reconstructions = {("image_1", 1), ("image_2", 2), ("cycle_1", 1), ("cycle_2", 2)}
    assert taught_by == (equation_3 if detach_style else equation_3 | reconstructions)
