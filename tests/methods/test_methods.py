"""The baselines: their losses against their papers' equations, what they are and are not, and that each learns."""

from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from lightning_fabric import Fabric
from tiny import tiny
from torch.nn.functional import binary_cross_entropy_with_logits

import munit_lite as ml
from munit_lite import losses
from munit_lite.config import Config
from munit_lite.data import fashion, open_data
from munit_lite.data.fashion import FashionData, edge_drawing
from munit_lite.data.image_files import uint8_to_float
from munit_lite.data.synthetic import WorldData
from munit_lite.methods import METHODS, build, build_objective, check_loss_weights
from munit_lite.methods.unit import kl_to_prior, seeded_noise
from munit_lite.networks import parameter_count
from munit_lite.presets import PRESETS, preset
from munit_lite.samples import sample_rows
from munit_lite.training_step import Trainer, sample_styles
from munit_lite.world import World

pytestmark = pytest.mark.numerical

BASELINES = ("unit", "cyclegan", "cyclegan_noise", "cyclegan_input_noise", "bicyclegan")
SMALL = {
    name: value for name, value in vars(tiny()).items() if name in ("batch_size", "steps", "num_threads", "device")
}
each_method = pytest.mark.parametrize("method", BASELINES)


def small(method, **overrides):
    """The method's own preset, as small as the tests' tiny one."""
    sizes = {
        "base_channels": 4,
        "mlp_width": 8,
        "num_residual_blocks": 1,
        "discriminator_base_channels": 4,
        "discriminator_updates": 1,
    }
    run = {"log_every": 1, "save_every": 4, "sample_every": 1000, "num_checkpoints": 2, "r1_weight": 0.0}
    return preset(f"world32_{method}", **SMALL | sizes | run | overrides)


def step(method, **overrides):
    config = small(method, **overrides)
    x_1, x_2 = open_data(config).batch(0, config.batch_size)
    model = build(config)
    s_1, s_2 = sample_styles(model, 0, len(x_1))
    objective = build_objective(model)
    outputs = objective.generate(x_1, x_2, s_1, s_2)
    return model, x_1, x_2, s_1, s_2, outputs, objective.generator_losses(x_1, x_2, s_1, s_2, outputs)


def distance(one, other):
    return (one - other).abs().mean()


# ------------------------------------------------------------------------------------------------------- the terms


def assert_terms(terms, wanted):
    assert set(terms) == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, msg=name)


def fools(model, domain, fake):
    """-log D of the log form that the presets train, by torch's cross-entropy."""
    assert model.config.loss.gan_mode == "nonsaturating"
    logits = model.discriminator(domain)(fake)
    return sum(binary_cross_entropy_with_logits(scale, torch.ones_like(scale)) for scale in logits)


def adversarial(model, fake_1, fake_2):
    return {"gan_1": fools(model, 1, fake_1), "gan_2": fools(model, 2, fake_2)}


@pytest.mark.parametrize("method", ["cyclegan", "cyclegan_noise", "cyclegan_input_noise"])
def test_cyclegans_terms_are_the_adversarial_and_the_cycle(method):
    model, x_1, x_2, s_1, s_2, outputs, terms = step(method)

    def go(images, source, style):
        if method != "cyclegan_input_noise":
            return model.decode(model.encode_content(images, source), style, 3 - source)
        channels = style[:, :, None, None] * torch.ones_like(images[:, :1])  # each coordinate is a constant channel
        content = model.auto_encoder(source).content_encoder(torch.cat([images, channels], dim=1))
        return model.decode(content, torch.ones_like(style), 3 - source)

    there_2, there_1 = go(x_1, 1, s_2), go(x_2, 2, s_1)
    torch.testing.assert_close(outputs.image_1_to_2, there_2)
    cycles = {"cycle_1": distance(go(there_2, 2, s_1), x_1), "cycle_2": distance(go(there_1, 1, s_2), x_2)}
    assert_terms(terms, adversarial(model, there_1, there_2) | cycles)


def unit_divergence(mean):
    prior = torch.distributions.Normal(0.0, 1.0)
    return torch.distributions.kl_divergence(torch.distributions.Normal(mean, 1.0), prior).mean()


def test_units_terms_are_those_of_two_variational_auto_encoders_and_a_cycle():
    model, x_1, x_2, s_1, s_2, outputs, terms = step("unit")

    def latent(images, domain, drawn, number):
        mean = model.encode_content(images, domain)
        return mean, mean + seeded_noise(mean, drawn, number)

    (m_1, z_1), (m_2, z_2) = latent(x_1, 1, s_1, 0), latent(x_2, 2, s_2, 0)
    there_2, there_1 = model.decode(z_1, s_1, 2), model.decode(z_2, s_1, 1)
    (n_1, w_1), (n_2, w_2) = latent(there_2, 2, s_1, 1), latent(there_1, 1, s_2, 1)
    wanted = adversarial(model, there_1, there_2) | {
        "image_1": distance(model.decode(z_1, s_1, 1), x_1),
        "image_2": distance(model.decode(z_2, s_1, 2), x_2),
        "cycle_1": distance(model.decode(w_1, s_1, 1), x_1),
        "cycle_2": distance(model.decode(w_2, s_1, 2), x_2),
        "kl_1": unit_divergence(m_1) * 2 + unit_divergence(n_1),  # of z1 in L_VAE and in L_CC, of z2 in L_CC
        "kl_2": unit_divergence(m_2) * 2 + unit_divergence(n_2),
    }
    assert_terms(terms, wanted)
    torch.testing.assert_close(outputs.image_1_to_2, there_2)


def test_bicyclegans_terms_are_those_of_encoded_and_of_drawn_styles():
    model, x_1, x_2, s_1, s_2, _, terms = step("bicyclegan")
    wanted = {}
    for domain, x, other, drawn in ((1, x_1, x_2, s_1), (2, x_2, x_1, s_2)):
        mean, log_variance = model.auto_encoder(domain).style_encoder(x).chunk(2, dim=1)
        content = model.encode_content(other, 3 - domain)
        encoded = model.decode(content, mean + torch.exp(0.5 * log_variance) * drawn, domain)
        random = model.decode(content, drawn, domain)
        again = model.auto_encoder(domain).style_encoder(random)[:, : drawn.shape[1]]
        prior = torch.distributions.Normal(0.0, 1.0)
        posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
        wanted[f"image_{domain}"] = distance(encoded, x)
        wanted[f"style_{domain}"] = distance(again, drawn)
        wanted[f"kl_{domain}"] = torch.distributions.kl_divergence(posterior, prior).sum(dim=1).mean()
        for fake in (encoded, random):  # a term of its own for each, in L_GAN^VAE and L_GAN
            wanted[f"gan_{domain}"] = wanted.get(f"gan_{domain}", 0) + fools(model, domain, fake)
    assert_terms(terms, wanted)


def test_kl_is_torchs():
    mean, log_variance = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    posterior = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    wanted = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_prior(mean, log_variance), wanted)
    torch.testing.assert_close(kl_to_prior(mean), kl_to_prior(mean, torch.zeros(5, 3)))
    assert not kl_to_prior(torch.zeros(4)).any()


def test_bicyclegans_style_regression_does_not_train_the_encoder():
    model, *_, terms = step("bicyclegan")
    (terms["style_1"] + terms["style_2"]).backward(retain_graph=True)
    for domain in (1, 2):
        parts = model.auto_encoder(domain)
        assert not any(p.grad is not None and p.grad.any() for p in parts.style_encoder.parameters())
        assert any(p.grad is not None and p.grad.any() for p in parts.decoder.parameters())
    terms["image_1"].backward()
    assert any(p.grad is not None and p.grad.any() for p in model.auto_encoder(1).style_encoder.parameters())


@each_method
def test_discriminators_see_real_images_and_all_translations(method):
    model, x_1, x_2, _, _, outputs, _ = step(method, gan_mode="lsgan")
    found = build_objective(model).discriminator_losses(x_1, x_2, outputs)
    for domain, real, fake in ((1, x_1, outputs.image_2_to_1), (2, x_2, outputs.image_1_to_2)):
        wanted = losses.lsgan_discriminator_loss(model.discriminator(domain)(real), model.discriminator(domain)(fake))
        torch.testing.assert_close(found[f"discriminator_{domain}"], wanted)
    assert len(outputs.image_1_to_2) == (2 if method == "bicyclegan" else 1) * len(x_1)


@each_method
def test_every_term_has_a_weight_and_every_trained_weight_a_gradient(method):
    model, *_, terms = step(method)
    losses.total_loss(terms, model.config.loss.weights()).backward()
    for name, parameter in model.auto_encoders.named_parameters():
        assert parameter.grad is not None, name
    kinds = {name[:-2] for name in terms}
    weights = model.config.loss.weights()
    assert all(weights[kind] > 0 for kind in kinds)
    assert all(weights[kind] == 0 for kind in ("content",))


# -------------------------------------------------------------------------------------------------- what they are


@pytest.mark.parametrize("method", ["unit", "cyclegan"])
def test_deterministic_methods_have_one_output_whatever_the_style(method):
    model = build(small(method))
    images, _ = open_data(small(method)).batch(0, 2)
    first, second = (model.translate(images, style=style) for style in torch.randn(2, 2, 3))
    assert torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("method", ["cyclegan_noise", "cyclegan_input_noise", "bicyclegan"])
def test_noise_and_drawn_styles_reach_the_output(method):
    model = build(small(method))
    images, _ = open_data(small(method)).batch(0, 2)
    first, second = (model.translate(images, style=style) for style in torch.randn(2, 2, 3))
    assert (first - second).abs().mean() > 1e-3


def test_noise_at_the_input_is_zero_where_none_is_given_and_starts_equal_in_both_domains():
    model = build(small("cyclegan_input_noise", same_initial_weights=True))
    images, _ = open_data(small("cyclegan_input_noise")).batch(0, 2)
    zero = torch.zeros(1, 3)
    translation = model.translate(images, style=zero)
    torch.testing.assert_close(translation, model.translate(images, style_from=images))
    torch.testing.assert_close(translation, model.decode(model.encode_content(images, 1), zero.expand(2, -1), 2))
    for one, two in zip(model.auto_encoder(1).parameters(), model.auto_encoder(2).parameters(), strict=True):
        assert torch.equal(one, two)


def test_noise_at_the_input_is_checked_like_a_style_and_an_image():
    model = build(small("cyclegan_input_noise"))
    with pytest.raises(ValueError, match=r"noise has shape \(3, 3\), but 2 images and style_dim 3 need \(2, 3\)"):
        model.translate(torch.zeros(2, 3, 32, 32), style=torch.zeros(3, 3))
    with pytest.raises(ValueError, match="images are 2 x 2 pixels: both sides must be 4 or more"):
        model.translate(torch.zeros(2, 3, 2, 2))


def test_unit_shares_the_blocks_beside_its_latent_and_keeps_them_shared_in_training(tmp_path):
    config = small("unit", num_residual_blocks=2)
    model = build(config)
    one, two = model.auto_encoder(1), model.auto_encoder(2)
    shared = {p for part in (*one.content_encoder.layers[-2:], one.decoder.blocks) for p in part.parameters()}
    assert shared <= set(two.parameters())
    assert not set(one.content_encoder.layers[0].parameters()) & set(two.parameters())
    both = parameter_count(one) + parameter_count(two)
    assert parameter_count(model.auto_encoders) == both - parameter_count(one.decoder.mlp) - sum(
        p.numel() for p in shared
    )
    trained = ml.train(config, tmp_path, callbacks=[]).model
    first, second = trained.auto_encoder(1).decoder.blocks, trained.auto_encoder(2).decoder.blocks
    assert all(a is b for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_units_reconstruction_stays_in_its_domain_and_cyclegans_goes_there_and_back():
    images, _ = open_data(small("unit")).batch(0, 2)
    unit, cycle = build(small("unit")), build(small("cyclegan"))
    nothing = torch.zeros(2, 3)
    torch.testing.assert_close(unit.reconstruct(images, 1), unit.decode(unit.encode_content(images, 1), nothing, 1))
    there = cycle.translate(images, 1, 2)
    torch.testing.assert_close(cycle.reconstruct(images, 1), cycle.translate(there, 2, 1))


@each_method
def test_a_trained_baseline_is_saved_resumed_loaded_and_shown(method, tmp_path):
    whole = ml.train(small(method, steps=6), tmp_path / "whole", callbacks=[])
    config = small(method, steps=6)
    trainer = Trainer.new(config, Fabric(accelerator="cpu", devices=1))
    folder = ml.storage.run_folder.RunFolder(tmp_path / "parts")
    data = open_data(config)
    with folder.lock(config):
        for number in range(4):
            trainer.step(number, *data.batch(number, config.batch_size))
        folder.save_state(trainer.state(4), config)
    resumed = ml.train(config, tmp_path / "parts", callbacks=[])
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    loaded = ml.load(tmp_path / "whole")
    assert type(loaded) is METHODS[method][0]
    images, _ = data.batch(0, 2)
    style = torch.randn(2, 3)
    assert torch.equal(loaded.translate(images, style=style), whole.model.eval().translate(images, style=style))
    rows = [row for source in (1, 2) for _, row in sample_rows(loaded, data, source, columns=2)]
    assert torch.cat(rows).isfinite().all()


def test_every_method_that_a_configuration_may_name_has_a_model():
    assert set(get_args(get_type_hints(Config)["method"])) == set(METHODS)


def test_presets_of_every_method_give_weight_to_losses_that_it_computes():
    for config in PRESETS.values():
        check_loss_weights(config)
    for method in BASELINES:
        *_, loss_terms = step(method)
        assert {name[:-2] for name in loss_terms} == set(METHODS[method][1].LOSSES)


@pytest.mark.parametrize(
    ("preset_name", "weight", "computed_by"),
    [
        ("world32", "kl_weight", "the methods that do are unit, bicyclegan"),
        ("world32_cyclegan", "content_weight", "the methods that do are munit"),
        ("world32_unit", "style_weight", "the methods that do are munit, bicyclegan"),
    ],
)
def test_a_weight_of_a_loss_that_the_method_never_computes_is_refused(preset_name, weight, computed_by, tmp_path):
    config = preset(preset_name, **{weight: 0.5})
    message = rf"{weight} is 0\.5, but the method {config.method} never computes this loss \({computed_by}\)"
    with pytest.raises(ValueError, match=message):
        ml.train(config, tmp_path / "run", callbacks=[])
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=message):
        build_objective(build(config))  # the model itself can be built, so that old checkpoints load


def test_a_baseline_refuses_detach_style_which_only_munit_uses():
    with pytest.raises(ValueError, match="detach_style is set, but only the method munit uses it, not unit"):
        build_objective(build(preset("world32_unit", detach_style=True)))


def test_paired_batches_show_one_content_in_both_domains_and_others_do_not():
    paired, unpaired = (WorldData(World(), 32, 0, paired) for paired in (True, False))
    pairs = World().pairs(torch.arange(4) + 4, 0, 32, stream="train")
    x_1, x_2 = paired.batch(1, 4)
    assert torch.equal(x_1, pairs.image_1) and torch.equal(x_2, pairs.image_2)
    assert torch.equal(unpaired.batch(1, 4)[0], x_1) and not torch.equal(unpaired.batch(1, 4)[1], x_2)


def test_paired_photos_stand_beside_their_own_drawings_and_others_do_not(monkeypatch):
    photos = torch.full((20, 3, 32, 32), 255, dtype=torch.uint8)
    for k, photo in enumerate(photos):  # a box of its own for every photo
        photo[:, 4 + k // 5 : 20, 4 + k % 5 : 20] = 40
    monkeypatch.setattr(fashion, "_load_photos", lambda *_, **__: (photos, torch.arange(20) % 2 + 8))

    def agree(paired):
        drawings, made = FashionData(Path(), 32, (8, 9), 0, paired).batch(1, 8)
        return [
            torch.equal(uint8_to_float(edge_drawing(from_unit(p)[None]))[0], d)
            for d, p in zip(drawings, made, strict=True)
        ]

    assert all(agree(True)) and not any(agree(False))


def from_unit(image):
    return ((image + 1) * 127.5).round().byte()


def test_seeded_noise_is_normal_and_a_function_of_each_images_own_style():
    styles = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    noise = seeded_noise(torch.zeros(4, 8, 40, 40), styles)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs(torch.corrcoef(noise.flatten(1)) - torch.eye(4)).max() < 0.05
    assert torch.equal(noise, seeded_noise(noise, styles.clone()))
    assert torch.equal(noise[2:], seeded_noise(noise[2:], styles[2:]))
    assert not torch.equal(noise, seeded_noise(noise, styles, 1))
    assert not (noise == seeded_noise(noise, styles + 0.1)).any(dim=3).all()
    last_bit = torch.nextafter(styles, torch.full_like(styles, torch.inf))  # how far processors differ
    assert torch.equal(noise, seeded_noise(noise, last_bit))


# ---------------------------------------------------------------------------------------------------- each learns


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("unit", "image"),
        ("cyclegan", "cycle"),
        ("cyclegan_noise", "cycle"),
        ("cyclegan_input_noise", "cycle"),
        ("bicyclegan", "image"),
    ],
)
def test_each_baseline_learns(method, kind, tmp_path):
    run = ml.train(small(method, steps=80, base_channels=8, batch_size=4), tmp_path, callbacks=[])
    for name in (f"{kind}_1", f"{kind}_2"):
        first = sum(record[name] for record in run.history[:5]) / 5
        last = sum(record[name] for record in run.history[-5:]) / 5
        assert last < 0.7 * first, f"{name}: {first} -> {last}"
