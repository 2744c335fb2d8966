"""The oracle: E* inverts G*, exactly for vectors, from the pixels alone for images; the codes' distribution."""

import inspect

import pytest
import torch
from scipy import stats

from munit_lite.model import MUNIT
from munit_lite.theory.inversion import fit_codes
from munit_lite.theory.oracle import (
    CONTENT_DIM,
    CodeWorld,
    Oracle,
    PixelWorld,
    code_from_content,
    content_from_code,
)
from munit_lite.theory.propositions import CHECKS
from munit_lite.theory.variants import BROKEN_VARIANTS, ORACLE_VARIANTS
from munit_lite.theory.verdicts import HOLDS
from munit_lite.world import CONTENT_FACTORS, SHAPE_NAMES, STYLE_DIM, World, code_from_style, style_from_code

pytestmark = pytest.mark.numerical

each_domain = pytest.mark.parametrize("domain", [1, 2])
CLASSES = len(SHAPE_NAMES)


def index(count):
    return torch.arange(count)


def wide_styles(count, seed=0):
    """Return styles with coordinates up to 4 in size; the first eight are the corners."""
    generator = torch.Generator().manual_seed(seed)
    styles = 8 * torch.rand(count, STYLE_DIM, generator=generator, dtype=torch.float64) - 4
    styles[:8] = 4.0 * (2 * torch.cartesian_prod(*3 * [torch.tensor([0.0, 1.0], dtype=torch.float64)]) - 1)
    return styles


# ------------------------------------------------------------------------------------------------------- the codes


@each_domain
def test_codes_hold_the_class_and_independent_normal_scores(domain):
    world = World()
    content, style = CodeWorld().codes(index(4000), 3, domain)
    assert content.shape == (4000, CONTENT_DIM) and style.shape == (4000, 3) and content.dtype == torch.float64
    assert (content[:, :CLASSES].argmax(1) == world.content(index(4000), 3, domain, "test").shape_class).all()
    numbers = torch.cat([content[:, CLASSES : CLASSES + 3], style], dim=1)
    turning = content[:, 2:CLASSES].sum(1) == 1  # discs and rings have no angle
    for column in [*numbers.T, content[turning, -1]]:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
    assert (content[~turning, -1] == 0).all() and 0.1 < turning.double().mean() < 0.9
    off_diagonal = torch.corrcoef(torch.cat([content, style], dim=1).T) - torch.eye(CONTENT_DIM + 3)
    assert off_diagonal[CLASSES:].abs().max() < 4.5 / 4000**0.5  # numbers with each other and with every class


@each_domain
def test_contents_survive_the_round_trip_through_codes(domain):
    content = World().content(index(500), 1, domain, "test")
    recovered = content_from_code(code_from_content(content))
    assert (recovered.shape_class == content.shape_class).all()
    for name in ("position", "size", "angle"):  # the world's factors are float32
        torch.testing.assert_close(getattr(recovered, name), getattr(content, name).double(), rtol=0, atol=1e-7)
    code = code_from_content(recovered)
    torch.testing.assert_close(code_from_content(content_from_code(code)), code, rtol=0, atol=1e-10)


def test_a_code_off_the_support_is_mapped_into_every_range():
    content = content_from_code(torch.full((1, CONTENT_DIM), 9.0, dtype=torch.float64))
    x, y, size, _ = CONTENT_FACTORS
    assert content.position[0].tolist() == pytest.approx([x.high, y.high]) and content.size.item() == size.high


@each_domain
def test_styles_survive_the_round_trip_through_factors_up_to_rounding(domain):
    """The error is 4e-8 at |z| = 6 in float64; in float32 it is 6e-4 at 4, and nothing useful is left beyond 5.5."""

    def error(size, dtype):
        code = torch.linspace(-size, size, 99, dtype=dtype)[:, None].expand(99, 3)
        return (code_from_style(style_from_code(code, domain)) - code).abs().max().item()

    assert error(4, torch.float64) < 1e-10 and error(6, torch.float64) < 4e-8
    assert 1e-4 < error(4, torch.float32) < 1e-3 and not error(5.5, torch.float32) < 1


# ------------------------------------------------------------------------------------------------- level 1: codes


@each_domain
def test_the_oracle_of_vectors_is_exact_for_styles_up_to_four(domain):
    world = CodeWorld()
    oracle, other = Oracle(world), 3 - domain
    content, style = world.codes(index(1000), 0, domain)[0], wide_styles(1000)
    images = oracle.decode(content, style, domain)
    assert (oracle.encode_content(images, domain) - content).abs().max() <= 1e-10
    assert (oracle.encode_style(images, domain) - style).abs().max() <= 1e-10
    assert (oracle.reconstruct(images, domain) - images).abs().max() <= 1e-10
    translation = oracle.translate(images, domain, other, wide_styles(1000, seed=1))
    cycle = oracle.translate(translation, other, domain, oracle.encode_style(images, domain))
    assert (cycle - images).abs().max() <= 1e-10
    assert images.abs().max() > 20  # absolute errors of numbers of that size
    assert (translation - images).abs().amax(1).min() > 0.1  # the domains look different


def test_the_vectors_are_not_linear_in_the_code():
    content, style = CodeWorld().codes(index(200), 0, 1)
    images = CodeWorld().render(content, style, 1)
    code = torch.cat([content, style], dim=1)
    residual = images - code @ torch.linalg.lstsq(code, images).solution
    assert residual.abs().mean() > 0.05  # not linear
    assert (images[:, :, None] - code[:, None]).abs().amax(0).min() > 0.5  # no coordinate equals one of the code


@pytest.mark.parametrize("variant", ORACLE_VARIANTS, ids=[variant.name for variant in ORACLE_VARIANTS])
def test_the_cycle_is_expected_to_close_where_each_encoder_inverts_its_decoder(variant):
    world = CodeWorld(variant.world)
    model, errors = Oracle(world, variant), {}
    for domain in (1, 2):
        images, style = world.images(index(200), 0, domain), model.sample_style(200, torch.Generator().manual_seed(1))
        content = model.encode_content(images, domain)
        translation = model.decode(content, style, domain)
        errors[domain] = max(
            (model.reconstruct(images, domain) - images).abs().max().item(),
            (model.encode_content(translation, domain) - content).abs().max().item(),
            (model.encode_style(translation, domain) - style).abs().max().item(),
        )
    assert (max(errors.values()) < 1e-8) == (variant.expected.cycle_consistency == HOLDS)


@pytest.mark.parametrize("variant", ORACLE_VARIANTS, ids=[variant.name for variant in ORACLE_VARIANTS])
def test_a_variant_edits_exactly_what_its_description_names(variant):
    world = CodeWorld(variant.world)
    content, style = world.codes(index(50), 0, 2)
    for domain in (1, 2):
        letter, all_codes = "₁₂"[domain - 1], "all of z" in variant.description
        codes = variant.encode[domain](content, style) if all_codes else (content, style)
        assert _changes(variant.encode[domain], content, style) == (f"E{letter}" in variant.description or all_codes)
        assert _changes(variant.decode[domain], *codes) == (f"G{letter}" in variant.description or all_codes)


def _changes(edit, content, style):
    changed = edit(content, style)
    return any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(changed, (content, style), strict=True))


def test_names_are_unique_and_some_variant_breaks_each_proposition():
    assert len({variant.name for variant in ORACLE_VARIANTS}) == len(ORACLE_VARIANTS)
    for name in CHECKS:
        expected = {getattr(variant.expected, name) for variant in BROKEN_VARIANTS}
        assert len(expected - {HOLDS}) >= 1 and (HOLDS in expected) == (name != "optimality")


# ------------------------------------------------------------------------------------------------ level 2: pixels


@pytest.fixture(scope="module")
def pixels():
    return PixelWorld()


@pytest.mark.slow
@each_domain
def test_content_and_style_are_recovered_from_pixels_alone(pixels, domain):
    """For 100 images no class is wrong, and the largest error of any normal score has a 95 % quantile below 1e-9."""
    content, style = pixels.codes(index(100), 4, domain)
    images = pixels.render(content, style, domain)
    fitted_content, fitted_style = pixels.invert(images.clone(), domain)
    assert (fitted_content[:, :CLASSES] == content[:, :CLASSES]).all()
    errors = torch.cat([fitted_content - content, fitted_style - style], dim=1).abs().amax(1)
    assert errors.quantile(0.95) < 1e-9 and errors.median() < 1e-11
    pixel_errors = (pixels.render(fitted_content, fitted_style, domain) - images).flatten(1).abs().amax(1)
    assert pixel_errors.quantile(0.95) < 1e-9


@pytest.mark.slow
@each_domain
def test_images_rounded_to_eight_bits_are_fitted_up_to_the_rounding(pixels, domain):
    content, style = pixels.codes(index(30), 5, domain)
    images = pixels.render(content, style, domain)
    stored = ((images + 1) * 127.5).round() / 127.5 - 1
    fit = pixels.fit(stored, domain)
    errors = torch.cat([code_from_content(fit.content) - content, fit.style_code - style], dim=1).abs().amax(1)
    assert (fit.content.shape_class == content[:, :CLASSES].argmax(1)).all()
    assert 1e-4 < errors.median() < 0.05 and errors.quantile(0.9) < 0.2
    assert (fit.residual > 1e-6).all() and fit.residual.median() < 2 / 255 / 12**0.5  # what rounding leaves


@pytest.mark.slow
def test_a_wrong_predicted_class_is_corrected(pixels):
    class WrongClass(torch.nn.Module):
        def forward(self, images):
            reading = pixels._predictors[1](images)
            return reading._replace(class_logits=torch.nn.functional.one_hot(reading.shape_class + 2, 6).float())

    content, style = pixels.codes(index(60), 6, 1)
    discs = content[:, 0] == 1  # predicted as squares
    images = pixels.render(content[discs], style[discs], 1)
    assert (WrongClass()(images.float()).shape_class == 2).all() and len(images) >= 5
    fit = fit_codes(images, 1, WrongClass())
    assert (fit.content.shape_class == 0).all() and (fit.style_code - style[discs]).abs().max() < 1e-8


def test_sizes_that_the_predictors_cannot_handle_are_rejected():
    with pytest.raises(ValueError, match="size 48 is not a multiple of 32"):
        PixelWorld(size=48)


def test_magnified_images_are_rejected_instead_of_being_inverted_wrongly():
    with pytest.raises(ValueError, match="'laboratory' are magnified"):
        PixelWorld("laboratory")


# --------------------------------------------------------------------------------------------------- the interface


def test_the_oracle_has_the_interface_of_a_trained_model():
    for name in ("encode_content", "encode_style", "decode", "sample_style", "reconstruct", "translate"):
        ours, theirs = (inspect.signature(getattr(kind, name)).parameters for kind in (Oracle, MUNIT))
        assert [(p.name, p.default, p.kind) for p in ours.values()] == [
            (p.name, p.default, p.kind) for p in theirs.values()
        ], name
    with pytest.raises(ValueError, match="source and target are both domain 1"):
        Oracle(CodeWorld()).translate(torch.zeros(2, 13), 1, 1)
    with pytest.raises(ValueError, match="there are two: 1 and 2"):
        Oracle(CodeWorld()).decode(torch.zeros(2, 10), torch.zeros(2, 3), 3)


def test_without_a_style_translations_sample_the_prior():
    world = CodeWorld()
    images = world.images(index(2000), 0, 1)
    styles = world.invert(Oracle(world).translate(images, generator=torch.Generator().manual_seed(0)), 2)[1]
    assert all(stats.kstest(column.numpy(), "norm").pvalue > 1e-3 for column in styles.T)
