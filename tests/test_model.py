"""What one does with a model: encode, decode, translate, swap, reconstruct; its errors; how it is built."""

from __future__ import annotations

import io
import re

import pytest
import torch
from torch import Tensor

from munit_lite.methods import build
from munit_lite.model import MUNIT
from munit_lite.presets import preset

pytestmark = pytest.mark.numerical


@pytest.fixture(scope="module")
def model() -> MUNIT:
    return build(preset("world32", num_downsamples=2, same_initial_weights=False))


def pictures(count: int = 2, seed: int = 0, height: int = 32, width: int = 32) -> Tensor:
    return 2 * torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 1


def styles(count: int = 2, seed: int = 7) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------- translation


@pytest.mark.parametrize(("source", "target"), [(1, 2), (2, 1)])
def test_translation_decodes_the_sources_content_with_the_style_in_the_target(model, source, target):
    content = model.auto_encoders[source - 1].content_encoder(pictures())
    expected = model.auto_encoders[target - 1].decoder(content, styles())
    torch.testing.assert_close(model.translate(pictures(), source, target, style=styles()), expected)


def test_translation_goes_from_1_to_2_unless_told(model):
    assert torch.equal(model.translate(pictures(), style=styles()), model.translate(pictures(), 1, 2, style=styles()))


@pytest.mark.parametrize(("source", "target"), [(1, 2), (2, 1)])
def test_translation_by_example_takes_the_style_of_an_image_of_the_target(model, source, target):
    example = pictures(seed=3)
    style = model.auto_encoders[target - 1].style_encoder(example)
    made = model.translate(pictures(), source, target, style_from=example)
    torch.testing.assert_close(made, model.translate(pictures(), source, target, style=style))


@pytest.mark.parametrize("by_example", [False, True])
def test_only_the_networks_of_the_path_take_part_in_a_translation(by_example):
    model = build(preset("world32"))
    style = {"style_from": pictures(seed=3)} if by_example else {"style": styles()}
    before, changed = model.translate(pictures(), 1, 2, **style), set()
    for name in [f"{d}.{part}" for d in (0, 1) for part in ("content_encoder", "style_encoder", "decoder")]:
        weights = [p for p in model.auto_encoders.get_submodule(name).parameters() if p.ndim > 1]
        for weight in weights:
            weight.data.mul_(-1)
        if not torch.equal(model.translate(pictures(), 1, 2, **style), before):
            changed.add(name)
        for weight in weights:
            weight.data.mul_(-1)
    assert changed == {"0.content_encoder", "1.decoder"} | ({"1.style_encoder"} if by_example else set())


def test_drawn_styles_repeat_with_the_generators_seed(model):
    def drawn(seed: int) -> Tensor:
        return model.translate(pictures(), generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert (drawn(1) - drawn(2)).abs().mean() > 1e-3
    style = model.sample_style(2, torch.Generator().manual_seed(1))
    assert torch.equal(drawn(1), model.translate(pictures(), style=style))


def test_each_image_of_a_batch_gets_its_own_drawn_style(model):
    same = pictures(1).expand(2, -1, -1, -1)
    first, second = model.translate(same, generator=torch.Generator().manual_seed(0))
    assert (first - second).abs().mean() > 1e-3


def test_a_generator_leaves_the_global_random_state_alone_and_its_absence_uses_it(model):
    state = torch.get_rng_state()
    model.translate(pictures(), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    model.translate(pictures())
    assert not torch.equal(torch.get_rng_state(), state)


def test_one_style_serves_the_whole_batch(model):
    one = styles(1)
    expected = model.translate(pictures(3), style=one.repeat(3, 1))
    torch.testing.assert_close(model.translate(pictures(3), style=one), expected)
    example = pictures(1, seed=3)
    expected = model.translate(pictures(3), style_from=example.repeat(3, 1, 1, 1))
    torch.testing.assert_close(model.translate(pictures(3), style_from=example), expected)


def test_swap_exchanges_the_styles(model):
    x_1, x_2 = pictures(), pictures(seed=4)
    (c_1, s_1), (c_2, s_2) = model.auto_encoders[0].encode(x_1), model.auto_encoders[1].encode(x_2)
    made_2, made_1 = model.swap(x_1, x_2)
    torch.testing.assert_close(made_2, model.auto_encoders[1].decoder(c_1, s_2))
    torch.testing.assert_close(made_1, model.auto_encoders[0].decoder(c_2, s_1))


@pytest.mark.parametrize("domain", [1, 2])
def test_reconstruction_goes_through_the_domains_own_auto_encoder_with_gradient(model, domain):
    own = model.auto_encoders[domain - 1]
    made = model.reconstruct(pictures(), domain)
    torch.testing.assert_close(made, own.decoder(*own.encode(pictures())))
    assert made.requires_grad and not model.translate(pictures()).requires_grad


def test_images_need_not_be_square(model):
    images = pictures(height=32, width=44)
    made = model.translate(images, style=styles())
    assert made.shape == images.shape and made.abs().max() < 1


def test_style_prior_is_the_standard_normal(model):
    drawn = model.sample_style(40_000, torch.Generator().manual_seed(0)).double()
    assert drawn.shape == (40_000, 3)
    assert drawn.mean(0).abs().max() < 5 / 200
    assert (drawn.T.cov() - torch.eye(3)).abs().max() < 5 * 2**0.5 / 200
    assert drawn.pow(4).mean().item() == pytest.approx(3, abs=0.15)  # a uniform draw would give 1.8 times its variance²


# -------------------------------------------------------------------------------------------------------- errors

NO_DOMAIN_3 = "domain is 3, but there are two: 1 and 2"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.translate(pictures(), 1, 3), NO_DOMAIN_3),
        (lambda m: m.translate(pictures(), 3, 1), NO_DOMAIN_3),
        (lambda m: m.encode_content(pictures(), 3), NO_DOMAIN_3),
        (lambda m: m.encode_style(pictures(), 3), NO_DOMAIN_3),
        (lambda m: m.reconstruct(pictures(), 3), NO_DOMAIN_3),
        (lambda m: m.auto_encoder(3), NO_DOMAIN_3),
        (lambda m: m.discriminator(0), "domain is 0, but there are two: 1 and 2"),
        (lambda m: m.decode(torch.zeros(2, 64, 8, 8), styles(), 3), NO_DOMAIN_3),
        (
            lambda m: m.translate(pictures(), 2, 2),
            "source and target are both domain 2; to stay in a domain use `reconstruct`",
        ),
        (
            lambda m: m.translate(pictures(), style=styles(), style_from=pictures()),
            "give `style` or `style_from`, not both",
        ),
    ],
)
def test_wrong_domains_and_double_styles_are_refused(model, call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(model)


@pytest.mark.parametrize("style", [styles(3), torch.zeros(2, 4), torch.zeros(3)])
def test_a_style_of_the_wrong_shape_is_refused(model, style):
    message = f"style has shape {tuple(style.shape)}, but 2 contents and style_dim 3 need (2, 3)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model.translate(pictures(), style=style)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model.decode(torch.zeros(2, 64, 8, 8), style, 1)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 7, 8, 8), (7, 8, 8)])
def test_a_content_of_the_wrong_shape_is_refused(model, shape):
    with pytest.raises(ValueError, match=re.escape(f"content has shape {shape}, but this model needs (B, ")):
        model.decode(torch.zeros(shape), torch.zeros(shape[0], 3), 2)


def test_images_too_small_for_the_style_encoder_are_refused(model):
    with pytest.raises(ValueError, match=r"images are 4 x 32 pixels, but the style encoder halves them 3 times"):
        model.encode_style(torch.zeros(1, 3, 4, 32), 1)


@pytest.mark.parametrize("shape", [(1, 3, 4, 32), (1, 3, 32, 0)])
def test_images_with_nothing_to_mirror_are_refused(model, shape):
    with pytest.raises(ValueError, match=f"images are {shape[2]} x {shape[3]} pixels: both sides must be 8 or more"):
        model.encode_content(torch.zeros(shape), 1)


def test_examples_that_do_not_match_the_batch_are_refused(model):
    with pytest.raises(ValueError, match=re.escape("style has shape (3, 3), but 2 contents")):
        model.translate(pictures(2), style_from=pictures(3))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 32, 32), "images have shape (2, 1, 32, 32), but (B, 3, H, W) is needed"),
        ((3, 32, 32), "images have shape (3, 32, 32), but (B, 3, H, W) is needed"),
        ((2, 3, 32), "images have shape (2, 3, 32), but (B, 3, H, W) is needed"),
        ((1, 3, 30, 32), "image height 30 is not divisible by 4; resize or crop it to 32"),
        ((1, 3, 32, 33), "image width 33 is not divisible by 4; resize or crop it to 32"),
        ((1, 3, 1, 32), "image height 1 is not divisible by 4; resize or crop it to 8"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.encode_content(x, 1),
        lambda m, x: m.encode_style(x, 2),
        lambda m, x: m.reconstruct(x, 1),
        lambda m, x: m.translate(x),
        lambda m, x: m.translate(pictures(len(x)), style_from=x),
        lambda m, x: m.swap(pictures(len(x)), x),
    ],
)
def test_images_of_the_wrong_shape_are_refused(model, call, shape, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(model, torch.zeros(shape))


# ------------------------------------------------------------------------------------------------------ building


def weights(model: MUNIT) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_weights_depend_on_the_seed_alone():
    first = weights(build(preset("world32", seed=3)))
    torch.rand(5)  # moves the global generator
    assert torch.equal(first, weights(build(preset("world32", seed=3, steps=7, learning_rate=0.5, batch_size=2))))
    assert not torch.equal(first, weights(build(preset("world32", seed=4))))


def test_building_does_not_disturb_the_global_random_state():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    build(preset("world32", seed=5))
    assert torch.equal(torch.rand(3), expected)


def test_the_two_domains_begin_with_different_weights_that_they_do_not_share(model):
    for first, second in (model.auto_encoders, model.discriminators):
        for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
            assert a.shape == b.shape and a.data_ptr() != b.data_ptr()
            assert name.endswith(("bias", "shift")) or not torch.equal(a, b), name


def test_an_equal_start_makes_the_auto_encoders_alike_without_sharing_them():
    model = build(preset("world32", same_initial_weights=True))
    first, second = model.auto_encoders
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
    assert not all(map(torch.equal, model.discriminators[0].parameters(), model.discriminators[1].parameters()))


def test_a_domains_number_finds_its_networks(model):
    for domain in (1, 2):
        assert model.auto_encoder(domain) is model.auto_encoders[domain - 1]
        assert model.discriminator(domain) is model.discriminators[domain - 1]


def test_state_dict_round_trip_restores_every_output(model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build(preset("world32", seed=9, num_downsamples=2))
    assert not torch.equal(other.translate(pictures(), style=styles()), model.translate(pictures(), style=styles()))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(weights(other), weights(model))
    assert torch.equal(other.translate(pictures(), style=styles()), model.translate(pictures(), style=styles()))
    for a, b in zip(other.discriminator(2)(pictures()), model.discriminator(2)(pictures()), strict=True):
        assert torch.equal(a, b)
