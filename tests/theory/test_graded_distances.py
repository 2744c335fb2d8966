"""Named margins, dose equivalents and remaining distances, against images and recorded curves."""

import math

import pytest
import torch

from munit_lite.experiments.results import read_results
from munit_lite.theory.graded_distances import (
    EFFECT_MARGINS,
    IMAGE_MARGINS,
    dose_equivalent,
    grade,
    remaining_distance,
)
from munit_lite.theory.oracle import PixelWorld
from munit_lite.theory.propositions import BANDWIDTH, EFFECT_THRESHOLD
from munit_lite.theory.two_sample import gaussian_mmd2
from munit_lite.theory.variants import BREAKS
from munit_lite.theory.verdicts import nrmse
from tools import record_propositions

pytestmark = pytest.mark.numerical


def test_the_margins_of_images_have_the_stated_psnr():
    world, generator = PixelWorld(), torch.Generator().manual_seed(0)
    for domain, psnrs in {1: (41, 29, 21), 2: (44, 32, 24)}.items():
        images = world.images(torch.arange(500), 0, domain)
        noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
        for margin, psnr in zip(IMAGE_MARGINS.values(), psnrs, strict=True):
            noisy = images + noise * margin / nrmse(images + noise, images).mean()
            assert nrmse(noisy, images).mean() == pytest.approx(margin, rel=0.01)
            assert 10 * math.log10(4 / (noisy - images).square().mean()) == pytest.approx(psnr, abs=0.7)  # range 2


def test_the_first_margins_are_those_of_the_checks():
    assert IMAGE_MARGINS["indistinguishable"] == PixelWorld.tolerances.images
    assert EFFECT_MARGINS["indistinguishable"] == EFFECT_THRESHOLD


def test_an_effect_has_the_grade_of_its_upper_end():
    names = ["indistinguishable", "faint", "visible"]
    assert [grade(margin, EFFECT_MARGINS) for margin in EFFECT_MARGINS.values()] == names
    assert [grade(margin + 0.001, EFFECT_MARGINS) for margin in EFFECT_MARGINS.values()] == [*names[1:], "gross"]


def exact_effect(width):
    """The normalized MMD² between N(0, I₃) and N(0, width² I₃), with the bandwidth of the checks."""
    zero, one = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    a, b = torch.randn(2, 3000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bandwidth = BANDWIDTH * torch.pdist(torch.cat([a, width * b])).median().item()
    within = sum((1 + 2 * deviation**2 / bandwidth**2) ** -1.5 for deviation in (1, width))
    return gaussian_mmd2(zero, one, zero, width**2 * one, bandwidth) / within


def test_the_margins_of_effects_are_those_of_styles_that_are_too_wide():
    assert [exact_effect(width) for width in (1.21, 1.43, 2.04)] == pytest.approx([*EFFECT_MARGINS.values()], rel=0.02)


def test_the_recorded_curve_of_wide_styles_agrees_with_the_exact_effects():
    curves = read_results("dose_curves")
    assert set(curves) == set(BREAKS)
    curve = curves["styles of domain 2 scaled, in E and G"]["latent_matching"]["p(s2) = q"]
    strengths = [name for name in curve if not name.endswith("_interval")]
    for strength in strengths:  # 1.7 intervals are 3.3 standard errors
        exact = exact_effect(1 + float(strength))
        assert curve[strength] == pytest.approx(exact, abs=1.7 * curve[f"{strength}_interval"]), strength
    widths, effects = [float(strength) for strength in strengths], [curve[strength] for strength in strengths]
    doses = [dose_equivalent(margin, widths, effects) for margin in EFFECT_MARGINS.values()]
    assert doses == [pytest.approx(0.21, abs=0.03), pytest.approx(0.43, abs=0.03), math.inf]  # the curve ends at 1


def test_recorded_doses_start_at_the_oracle_and_end_above_the_margin_where_a_check_fails():
    for name, checks in read_results("dose_curves").items():
        effects = [effect for check in checks.values() for effect in check.values()]
        assert all(abs(effect["0"]) < 0.03 for effect in effects), name
        assert max(effect["1"] for effect in effects) > EFFECT_THRESHOLD, name


def test_doses_are_read_off_the_curve():
    strengths, effects = [0.0, 0.5, 1.0], [0.0, 0.1, 0.3]
    assert [dose_equivalent(e, strengths, effects) for e in (-0.01, 0.05, 0.1, 0.2)] == pytest.approx(
        [0, 0.25, 0.5, 0.75]
    )
    assert dose_equivalent(0.31, strengths, effects) == math.inf
    noisy = dose_equivalent(0.05, [0.0, 0.2, 0.4, 0.6], [0.01, 0.0, 0.0, 0.09])
    assert 0.4 < noisy < 0.6  # the largest effect up to 0.4 is 0.01


def test_the_remaining_distance_is_one_at_the_start_and_zero_at_the_oracle():
    assert [remaining_distance(e, 0.1, 0.9) for e in (0.9, 0.5, 0.1)] == pytest.approx([1, 0.5, 0])


def test_the_recorded_states_come_closer_to_the_oracle():
    """Each reconstruction error, from the untrained model to 8,000 steps."""
    states = ("untrained", "world32_step_1000", "world32_step_4000", "world32")
    recorded = {name: read_results(f"{name}_propositions")["optimality"]["findings"] for name in states}
    oracle = read_results("pixel_oracle_propositions")["optimality"]["findings"]
    for part, of_oracle in enumerate(oracle):
        if of_oracle["reason"] == "reconstruction":
            effects = [recorded[name][part]["effect"] for name in states]
            left = [remaining_distance(effect, of_oracle["effect"], effects[0]) for effect in effects]
            assert left[0] == 1 and left[1] > left[2] > left[3] > 0, of_oracle["name"]


def test_the_recorded_oracle_passes_every_check_on_pixels():
    for check, verdict in read_results("pixel_oracle_propositions").items():
        assert verdict["status"] == "holds", check


def test_the_recording_script_measures_curves_of_the_recorded_form(monkeypatch):
    name = "styles of domain 2 scaled, in E and G"
    monkeypatch.setattr(record_propositions, "BREAKS", {name: BREAKS[name]})
    monkeypatch.setattr(record_propositions, "STRENGTHS", (0.0, 1.0))
    measured, recorded = (
        record_propositions.measure_dose_curves(400, range(1, 4))[name],
        read_results("dose_curves")[name],
    )
    assert {check: set(curves) for check, curves in measured.items()} == {
        check: set(curves) for check, curves in recorded.items()
    }
    for strength in ("0", "1"):
        style = (curves["latent_matching"]["p(s2) = q"][strength] for curves in (measured, recorded))
        assert next(style) == pytest.approx(next(style), abs=0.08)  # 3 runs of 400 images instead of 20 of 1,000
