"""The networks against the paper's architecture: sizes, NumPy transcriptions, invariances, initialization."""

from __future__ import annotations

import math

import numpy as np
import numpy_reference as reference
import pytest
import torch
from torch import Tensor, nn

from munit_lite import losses
from munit_lite.config import override
from munit_lite.methods import build, build_objective
from munit_lite.model import MUNIT
from munit_lite.networks import (
    AutoEncoder,
    ContentEncoder,
    LayerNorm,
    MultiScaleDiscriminator,
    StyleEncoder,
    adaptive_instance_norm,
    instance_norm,
    minibatch_std,
    parameter_count,
)
from munit_lite.presets import PRESETS, preset

pytestmark = pytest.mark.numerical

# The paper's shape in small: two downsamplings, four blocks, the original's initialization.
SMALL = preset("world32", num_downsamples=2, num_residual_blocks=4, discriminator_init="gaussian")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_random_biases(module: nn.Module) -> nn.Module:
    """In float64, with every zero of the initialization replaced: a zero bias would hide a wrong one."""
    for seed, parameter in enumerate(module.double().parameters()):
        if parameter.ndim == 1:
            parameter.data = 0.5 * randn(*parameter.shape, seed=seed) + 0.3
    return module


def arrays(module: nn.Module, kind: type, first: str = "weight", second: str = "bias") -> list:
    """Pairs of NumPy parameters of a module's layers of one kind, in the order they are met."""
    layers = [m for m in module.modules() if isinstance(m, kind)]
    return [(getattr(m, first).detach().numpy(), getattr(m, second).detach().numpy()) for m in layers]


@pytest.fixture(scope="module")
def tiny() -> AutoEncoder:
    torch.manual_seed(0)
    return with_random_biases(
        AutoEncoder(4, num_downsamples=2, num_style_downsamples=3, num_residual_blocks=2, style_dim=3, mlp_width=8)
    )


@pytest.fixture(scope="module")
def critic() -> MultiScaleDiscriminator:
    torch.manual_seed(1)
    return with_random_biases(MultiScaleDiscriminator(4, layers=2, scales=3))


@pytest.fixture(scope="module")
def paper() -> MUNIT:
    with torch.device("meta"):
        return MUNIT(preset("paper256"))


# ------------------------------------------------------------------------------------------------ paper's sizes


def test_parameter_counts_are_the_papers(paper):
    assert parameter_count(paper) == 46_594_716
    for auto_encoder, discriminator in zip(paper.auto_encoders, paper.discriminators, strict=True):
        mlp = parameter_count(auto_encoder.decoder.mlp)
        assert parameter_count(auto_encoder.style_encoder) == 2_764_936
        assert parameter_count(auto_encoder.content_encoder) == 5_385_856
        assert parameter_count(auto_encoder.decoder) - mlp == 5_754_627
        assert mlp == 1_120_768
        assert parameter_count(auto_encoder) == 15_026_187
        assert parameter_count(discriminator) == 8_271_171


STEM = [(64, 3, 7, 7), (128, 64, 4, 4), (256, 128, 4, 4)]  # c7s1-64, then two 4x4 of stride 2
PAPER_WEIGHTS = {
    "content_encoder": STEM + 8 * [(256, 256, 3, 3)],
    "style_encoder": STEM + 2 * [(256, 256, 4, 4)] + [(8, 256, 1, 1)],
    "decoder.mlp": [(256, 8), (256, 256), (4096, 256)],
    "decoder.blocks": 8 * [(256, 256, 3, 3)],
    "decoder.upsampling": [(128, 256, 5, 5), (64, 128, 5, 5)],
    "decoder.to_image": [(3, 64, 7, 7)],
}
PAPER_CRITIC = [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 1, 1)]


@pytest.mark.parametrize("part", PAPER_WEIGHTS)
def test_tensor_shapes_are_the_papers(paper, part):
    layers = [m for m in paper.auto_encoders[0].get_submodule(part).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [tuple(m.weight.shape) for m in layers] == PAPER_WEIGHTS[part]
    assert [len(m.bias) for m in layers] == [shape[0] for shape in PAPER_WEIGHTS[part]]


def test_discriminator_and_layer_norm_shapes_are_the_papers(paper):
    for scale in paper.discriminators[0].scales:
        assert [tuple(p.shape) for p in scale.parameters() if p.ndim == 4] == PAPER_CRITIC
    norms = [m for m in paper.modules() if isinstance(m, LayerNorm)]
    assert [(len(m.scale), len(m.shift)) for m in norms] == 2 * [(128, 128), (64, 64)]


@pytest.mark.parametrize("name", PRESETS)
def test_shapes_of_every_network_in_every_preset(name):
    config = preset(name)
    n, size = config.network, config.data.image_size
    count = max(2, n.minibatch_std_group)
    with torch.device("meta"):
        model, images = MUNIT(config), torch.zeros(count, 3, size, size + 16)
    content, style = model.auto_encoders[0].encode(images)
    assert content.shape == (
        count,
        n.base_channels * 2**n.num_downsamples,
        size >> n.num_downsamples,
        (size + 16) >> n.num_downsamples,
    )
    assert style.shape == (count, n.style_dim)
    assert model.auto_encoders[0].decoder(content, style).shape == images.shape
    square = [size >> (n.discriminator_layers + k) for k in range(n.discriminator_scales)]
    assert [u.shape for u in model.discriminators[0](images[..., :size])] == [(count, 1, s, s) for s in square]


# ---------------------------------------------------------------------------------------------------- the norms


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 2, 2), (2, 3, 1, 1)])
def test_adain_agrees_with_numpy_in_value_and_gradient(shape):
    z, upstream, gamma, beta = (
        randn(*shape),
        randn(*shape, seed=1),
        randn(*shape[:2], seed=2),
        randn(*shape[:2], seed=3),
    )
    z[0, 0] = 1.5  # a constant channel
    inputs = [t.requires_grad_() for t in (z, gamma, beta)]
    actual = adaptive_instance_norm(*inputs)
    z_, gamma_, beta_, g = (t.detach().numpy() for t in (*inputs, upstream))
    np.testing.assert_allclose(actual.detach(), reference.adain(z_, gamma_, beta_), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(instance_norm(z).detach(), reference.instance_norm(z_), rtol=1e-12, atol=1e-13)
    gradients = torch.autograd.grad(actual, inputs, upstream)
    for gradient, expected in zip(gradients, reference.adain_gradients(z_, gamma_, g), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11)


def test_adain_of_four_pixels_by_hand():
    z = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]], dtype=torch.float64)  # mean 4, variance 20/4 = 5
    made = adaptive_instance_norm(z, torch.tensor([[2 * math.sqrt(5)]]).double(), torch.tensor([[1.0]]), eps=0.0)
    torch.testing.assert_close(made.flatten(), torch.tensor([-5.0, -1, 3, 7]).double(), rtol=1e-6, atol=0)


def test_adain_sets_mean_and_deviation_and_returns_the_input_for_its_own():
    z, scale, shift = 3 * randn(2, 4, 6, 6) + 2, randn(2, 4, seed=1), randn(2, 4, seed=2)
    deviation, mean = torch.std_mean(adaptive_instance_norm(z, scale, shift), dim=(2, 3), correction=0)
    torch.testing.assert_close(mean, shift)
    torch.testing.assert_close(deviation, scale.abs(), rtol=1e-5, atol=0)
    own_deviation, own_mean = torch.std_mean(z, dim=(2, 3), correction=0)
    torch.testing.assert_close(adaptive_instance_norm(z, own_deviation, own_mean), z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 1, 1)])
def test_layer_norm_agrees_with_numpy_in_value_and_gradient(shape):
    norm, z, upstream = with_random_biases(LayerNorm(shape[1])), randn(*shape).requires_grad_(), randn(*shape, seed=1)
    actual = norm(z)
    z_, scale, shift, g = (t.detach().numpy() for t in (z, norm.scale, norm.shift, upstream))
    np.testing.assert_allclose(actual.detach(), reference.layer_norm(z_, scale, shift), rtol=1e-12)
    gradients = torch.autograd.grad(actual, [z, norm.scale, norm.shift], upstream)
    for gradient, expected in zip(gradients, reference.layer_norm_gradients(z_, scale, g), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-10)


def test_layer_norm_divides_by_the_unbiased_deviation():
    norm = LayerNorm(2, eps=0.0).double()
    norm.scale.data.fill_(1.0)
    made = norm(torch.tensor([0.0, 2.0]).double().view(1, 2, 1, 1)).flatten()  # deviation sqrt(2), not 1
    torch.testing.assert_close(made, torch.tensor([-1.0, 1.0]).double() / math.sqrt(2))


def test_norms_of_a_constant_image_are_their_shifts_with_a_finite_gradient():
    flat, norm = torch.full((1, 3, 4, 4), 2.0, requires_grad=True), LayerNorm(3)
    norm.shift.data = torch.tensor([0.1, 0.2, 0.3])
    for made in (norm(flat), adaptive_instance_norm(flat, torch.ones(1, 3), norm.shift[None])):
        torch.testing.assert_close(made, norm.shift[None, :, None, None].expand_as(made))
        assert torch.autograd.grad(made.square().sum(), flat)[0].isfinite().all()


# ------------------------------------------------------------------------------------------ networks against NumPy


def test_encoders_agree_with_numpy(tiny):
    image = randn(2, 3, 16, 24)
    content = reference.content_encoder(image.numpy(), arrays(tiny.content_encoder, nn.Conv2d), downsamples=2)
    style = reference.style_encoder(image.numpy(), arrays(tiny.style_encoder, nn.Conv2d))
    made_content, made_style = tiny.encode(image)
    np.testing.assert_allclose(made_content.detach(), content, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(made_style.detach(), style, rtol=1e-9, atol=1e-10)


def test_decoder_agrees_with_numpy(tiny):
    content, style = randn(2, 16, 4, 6), randn(2, 3)
    layers = arrays(tiny.decoder, nn.Conv2d), arrays(tiny.decoder, nn.Linear)
    expected = reference.decoder(
        content.numpy(), style.numpy(), *layers, arrays(tiny.decoder, LayerNorm, "scale", "shift")
    )
    np.testing.assert_allclose(tiny.decoder(content, style).detach(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("sides", [(16, 16), (24, 18)])
def test_discriminator_agrees_with_numpy(critic, sides):
    image = randn(2, 3, *sides)
    expected = reference.discriminator(image.numpy(), [arrays(scale, nn.Conv2d) for scale in critic.scales])
    for made, logits in zip(critic(image), expected, strict=True):
        np.testing.assert_allclose(made.detach(), logits, rtol=1e-9, atol=1e-12)


def test_discriminator_with_minibatch_statistics_agrees_with_numpy_group_by_group():
    torch.manual_seed(0)
    discriminator = with_random_biases(MultiScaleDiscriminator(4, layers=2, scales=2, minibatch_std_group=2)).double()
    image = randn(6, 3, 16, 16)
    layers = [arrays(scale, nn.Conv2d) for scale in discriminator.scales]
    for logits, expected in zip(
        discriminator(image), reference.discriminator(image.numpy(), layers, group=2), strict=True
    ):
        np.testing.assert_allclose(logits.detach(), expected, rtol=1e-9, atol=1e-12)
    # The logits of a group do not depend on other groups, but on the other image of the group.
    for apart, together in zip(discriminator(image[2:4]), discriminator(image), strict=True):
        torch.testing.assert_close(apart, together[2:4], rtol=1e-12, atol=1e-12)
        assert (together[[0, 2]] - discriminator(image[[0, 2]])[0 if together.shape[-1] == 4 else 1]).abs().max() > 1e-6


def test_minibatch_statistics_of_equal_images_are_zero_with_a_finite_gradient():
    features = torch.ones(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    statistics = minibatch_std(features, 4)
    statistics.sum().backward()
    assert statistics.max() < 2e-4 and features.grad.isfinite().all()


def test_minibatch_statistics_have_the_gradient_of_finite_differences():
    assert torch.autograd.gradcheck(lambda features: minibatch_std(features, 2), randn(4, 2, 3, 3).requires_grad_())


@pytest.mark.parametrize("images", [1, 6])
def test_minibatch_statistics_need_whole_groups(images):
    with pytest.raises(ValueError, match=rf"compares groups of 4 images, .* but there are {images}"):
        minibatch_std(torch.zeros(images, 2, 3, 3), 4)


@pytest.mark.parametrize("constant", [True, False])
def test_discriminators_smaller_copies_do_not_count_padding(critic, constant):
    seen: list[Tensor] = []
    hooks = [s.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for s in critic.scales]
    image = torch.full((1, 3, 16, 16), 0.7, dtype=torch.float64) if constant else randn(1, 3, 16, 16)
    critic(image)
    for hook in hooks:
        hook.remove()
    expected = image.numpy()
    for copy in seen:
        np.testing.assert_allclose(copy, expected, rtol=1e-13)
        assert not constant or (copy - 0.7).abs().max() < 1e-15
        expected = reference.average_pool(expected)
    assert [copy.shape[-1] for copy in seen] == [16, 8, 4]


# ----------------------------------------------------------------------------------------------------- behavior


def test_every_network_treats_the_images_of_a_batch_separately(tiny, critic):
    images, content, style = randn(2, 3, 16, 16), randn(2, 16, 4, 4), randn(2, 3)

    def outputs(i: slice) -> list[Tensor]:
        return [*tiny.encode(images[i]), tiny.decoder(content[i], style[i]), *critic(images[i])]

    one_by_one = zip(outputs(slice(0, 1)), outputs(slice(1, 2)), strict=True)
    for together, pair in zip(outputs(slice(0, 2)), one_by_one, strict=True):
        torch.testing.assert_close(together, torch.cat(pair), rtol=1e-10, atol=1e-12)


def test_decoder_keeps_no_style_between_calls(tiny):
    content, style, other = randn(1, 16, 4, 4), randn(1, 3), randn(1, 3, seed=5)
    before = tiny.decoder(content, style)
    assert (tiny.decoder(content, other) - before).abs().mean() > 1e-3
    assert torch.equal(tiny.decoder(content, style), before)
    assert before.abs().max() < 1


@pytest.mark.parametrize("k", [0, 1])
def test_each_block_gets_its_own_adain_parameters(tiny, k):
    seen: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *call: seen.append(call[2])) for block in tiny.decoder.blocks]
    content, style, bias = randn(1, 16, 4, 4), randn(1, 3), tiny.decoder.mlp[-1].bias
    original = bias.detach().clone()
    before = tiny.decoder.adain_parameters(style)
    tiny.decoder(content, style)
    bias.data[k * 4 * 16 : (k + 1) * 4 * 16] += 1
    change = tiny.decoder.adain_parameters(style) - before
    tiny.decoder(content, style)
    bias.data = original
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(change[:, k], torch.ones_like(change[:, k]))
    assert change[:, 1 - k].abs().max() == 0
    assert torch.equal(seen[0], seen[2]) == (k == 1)  # the block before k has not changed
    assert not torch.equal(seen[1], seen[3])


def test_content_ignores_brightness_and_contrast_but_style_does_not(tiny):
    image = randn(1, 3, 16, 16)
    changed = 1.7 * image + torch.tensor([0.4, -0.2, 0.1]).double()[:, None, None]
    (content, style), (content_changed, style_changed) = tiny.encode(image), tiny.encode(changed)
    torch.testing.assert_close(content_changed, content, rtol=1e-3, atol=1e-3)
    assert (style_changed - style).abs().min() > 0.05


def test_content_ignores_scale_and_shift_of_each_feature_channel():
    encoder, image = ContentEncoder(4, 2, 1).double(), randn(1, 3, 16, 16)
    before, first = encoder(image), encoder.layers[0].conv
    gain = torch.tensor([0.5, 1.0, 2.0, 3.0]).double()
    first.weight.data *= gain[:, None, None, None]
    first.bias.data += 4 * gain
    torch.testing.assert_close(encoder(image), before, rtol=1e-2, atol=1e-2)


def test_style_encoder_has_no_norm():
    """Without biases, convolutions, ReLU and averages scale with the image; a norm anywhere would not."""
    encoder, image = StyleEncoder(4, 3, 3).double(), randn(2, 3, 16, 16)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    torch.testing.assert_close(encoder(5 * image), 5 * encoder(image), rtol=1e-12, atol=1e-12)


def test_gradients_reach_every_parameter_of_all_four_networks():
    model = build(SMALL).double()
    images, priors = randn(2, 2, 3, 32, 32).clamp(-2, 2) / 2, randn(2, 2, 3, seed=9)
    objective = build_objective(model)
    outputs = objective.generate(*images, *priors)
    loss_terms = objective.generator_losses(*images, *priors, outputs)
    losses.total_loss(loss_terms, SMALL.loss.weights()).backward()
    model.discriminators.zero_grad()  # what the generator's objective sent there is not what trains them
    torch.stack([*objective.discriminator_losses(*images, outputs).values()]).sum().backward()

    # A bias before an instance norm or AdaIN is taken out again by the norm: it is there, and has no gradient.
    without = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-13}
    named = {n for n, _ in model.named_parameters() if n.endswith("conv.bias")}
    assert without == {n for n in named if "content_encoder" in n or ".blocks." in n}
    assert len(without) == 2 * (3 + 8 + 8)


# ------------------------------------------------------------------------------------------------ initialization


@pytest.mark.parametrize("init", ["gaussian", "kaiming"])
def test_initial_weights_are_kaiming_normal_in_auto_encoders_and_as_asked_for_in_discriminators(init):
    model, standardized = build(override(SMALL, discriminator_init=init)), []
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            continue
        small = init == "gaussian" and name.startswith("discriminators")
        deviation = 0.02 if small else math.sqrt(2 / parameter[0].numel())
        z = parameter.detach().double() / deviation
        assert abs(z.mean()) < 5 / math.sqrt(z.numel()), name
        assert abs(z.std() - 1) < 5 / math.sqrt(2 * z.numel()), name
        standardized.append(z.flatten())
    assert torch.cat(standardized).pow(4).mean() == pytest.approx(3, abs=0.1)  # normal; uniform would give 1.8


def test_initial_biases_are_zero_and_layer_norms_scale_is_uniform():
    model = build(SMALL)
    biases = [p for n, p in model.named_parameters() if p.ndim == 1 and not n.endswith("norm.scale")]
    assert len(biases) > 60 and all((bias == 0).all() for bias in biases)
    scales = torch.cat([m.scale for m in model.modules() if isinstance(m, LayerNorm)]).detach()
    assert len(scales) == 2 * (32 + 16) and scales.min() >= 0 and scales.max() <= 1 and scales.std() > 0.2
    torch.manual_seed(0)
    many = LayerNorm(20_000).scale.detach().sort().values
    assert (many - torch.linspace(0, 1, 20_000)).abs().max() < 1.95 / math.sqrt(20_000)  # Kolmogorov, 0.1 %
