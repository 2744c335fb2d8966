"""The four checks: every variant gets the predicted verdicts, and nulls are rejected as rarely as promised."""

import dataclasses

import pytest
import torch
from scipy import stats

from munit_lite.experiments import results
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.theory import error_rates, propositions
from munit_lite.theory.oracle import CodeWorld, LookupWorld, Oracle, PixelWorld
from munit_lite.theory.propositions import (
    BANDWIDTH,
    CHECKS,
    EFFECT_THRESHOLD,
    check_all,
    check_cycle_consistency,
    check_joint_matching,
    record_joint_matching,
)
from munit_lite.theory.two_sample import TwoSampleResult, holm, mmd_test, scaled_kernel
from munit_lite.theory.variants import BROKEN_VARIANTS, ORACLE, ORACLE_VARIANTS, UNDETECTABLE_VARIANTS
from munit_lite.theory.verdicts import (
    ADVERSARIAL,
    FAILS,
    HOLDS,
    JOINT,
    MARGINAL,
    RECONSTRUCTION,
    UNDECIDED,
    Finding,
    PropositionVerdict,
    normalized_finding,
    summarize_errors,
    summarize_nrmse,
)
from tools import calibrate_propositions

pytestmark = pytest.mark.numerical

BY_NAME = {variant.name: variant for variant in ORACLE_VARIANTS}
each_variant = pytest.mark.parametrize("name", BY_NAME)
UNITS, SEEDS = 500, (0, 1, 2)


@pytest.fixture(scope="module")
def verdicts():
    """Return the verdicts of a variant by seed and check, computed once."""
    cache = {}

    def of(name):
        if name not in cache:
            variant = BY_NAME[name]
            world = CodeWorld(variant.world)
            cache[name] = {seed: check_all(Oracle(world, variant), world, UNITS, seed) for seed in SEEDS}
        return cache[name]

    return of


# ------------------------------------------------------------------------------------------------------- the table


@pytest.mark.slow
@each_variant
def test_every_variant_gets_the_predicted_verdicts(verdicts, name):
    variant = BY_NAME[name]
    expected = {**variant.expected._asdict(), "content_preservation": HOLDS if variant.preserves_content else FAILS}
    for seed, checked in verdicts(name).items():
        assert {check: result.reasons for check, result in checked.items()} == expected, f"seed {seed}"


@pytest.mark.slow
def test_if_the_minimum_is_reached_all_propositions_hold(verdicts):
    for name in BY_NAME:
        for checked in verdicts(name).values():
            if checked["optimality"].status == HOLDS:
                assert all(checked[check].status == HOLDS for check in CHECKS), name
    assert [v.name for v in ORACLE_VARIANTS if v.expected.optimality == HOLDS] == [
        v.name for v in (ORACLE, *UNDETECTABLE_VARIANTS)
    ]


def test_the_predictions_are_those_of_the_theory():
    """Which checks fail, for each broken variant."""
    patterns = ["".join("H" if e == HOLDS else "F" for e in v.expected) for v in BROKEN_VARIANTS]
    rows = "FFFH FFFH FFFF FFFH FFFH FFHF FFFF FFFH FFFF FHFF FFHF FFFH FHHF FHFF"
    assert patterns == rows.split()
    only_joint = [v.name for v in BROKEN_VARIANTS if v.expected.latent_matching == JOINT]
    assert only_joint == ["content into style, same variance"]
    initials = ["".join(word[0] for word in v.expected.optimality.split(", ")) for v in BROKEN_VARIANTS]
    assert initials == ["a", "a", "ar", "a", "a", "r", "ar", "a", "ar", "ar", "r", "a", "r", "r"]


@pytest.mark.slow
def test_the_cycle_of_a_unit_like_model_loses_only_the_style(verdicts):
    for checked in verdicts("UNIT-like").values():
        statuses = {finding.name: finding.status for finding in checked["cycle_consistency"].findings}
        assert {name for name, status in statuses.items() if status == FAILS} == {"style 1 recon", "style 2 recon"}


# ------------------------------------------------------------------------------------------------- error rates


def test_in_the_recorded_run_every_seed_detects_every_broken_variant():
    recorded = read_results("propositions_calibration")["variants"]
    assert set(recorded) == set(BY_NAME)
    for variant in BROKEN_VARIANTS:
        for check, cell in recorded[variant.name].items():
            assert cell["expected"] == getattr(variant.expected, check)
            if cell["expected"] != HOLDS:
                assert cell[FAILS] == cell["seeds"] == 59, (variant.name, check)
    for check, cell in recorded[ORACLE.name].items():
        assert cell[FAILS] == 0 and cell[HOLDS] >= 0.95 * cell["seeds"], check


def test_in_the_recorded_run_at_most_5_percent_of_the_verdicts_at_the_margin_are_false():
    recorded = read_results_file("propositions_calibration")
    repetitions = recorded["provenance"]["settings"]["repetitions"]
    assert (
        recorded["provenance"]["settings"]["units"] == propositions.UNITS
        and len(recorded["numbers"]["resampled"]) == 17
    )
    for name, counts in recorded["numbers"]["resampled"].items():
        assert max(counts["1"][HOLDS], counts["1"][FAILS]) <= 0.05 * repetitions, name
        assert counts["0.75"][FAILS] == counts["1.25"][HOLDS] == 0, name


def test_in_the_recorded_run_80_percent_are_decided_rightly_at_half_and_at_one_and_a_half_times_the_margin():
    recorded = read_results_file("propositions_calibration")
    repetitions = recorded["provenance"]["settings"]["repetitions"]
    for name, counts in recorded["numbers"]["resampled"].items():
        assert min(counts["0.5"][HOLDS], counts["1.5"][FAILS]) >= 0.8 * repetitions, name


def test_in_the_recorded_run_the_tolerance_lets_the_oracle_pass():
    """It was set from one group of seeds; the oracle passes on another."""
    floor = read_results("propositions_calibration")["floor"]
    tolerance = PixelWorld.tolerances.content
    for measured in floor["tolerance"].values():
        assert tolerance - 0.04 < measured["high_975"] < tolerance
    for measured in floor["check"].values():
        assert measured["passed"] >= 0.95 and measured["units"] == propositions.UNITS


def test_the_mixture_of_two_populations_has_the_wanted_effect():
    size = 100
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, size, 3, generator=generator, dtype=torch.float64)
    kernel = scaled_kernel(a * 0.3 + 1, b, BANDWIDTH)
    fraction = error_rates._mixture_fraction(kernel, 0.05)
    weights = torch.cat([torch.full((size,), fraction), torch.full((size,), 1 - fraction)]).double() / size
    reference = torch.cat([torch.zeros(size), torch.full((size,), 1 / size)]).double()
    within, other = weights @ kernel @ weights, reference @ kernel @ reference
    assert ((within + other - 2 * weights @ kernel @ reference) / (within + other)).item() == pytest.approx(0.05)
    with pytest.raises(ValueError, match="sign"):
        error_rates._mixture_fraction(kernel, 0.99)


def test_in_the_recorded_run_codes_are_recovered_from_pixels():
    for name, errors in read_results("propositions_calibration")["pixels"].items():
        assert errors["units"] == 500 and errors["q95"] <= errors["high"] < 1e-10, name


def test_four_outputs_of_one_image_must_not_count_as_four_units():
    """Why a unit is a whole pair: the same joint null with every image used four times is rejected nearly always."""
    world, wrong = CodeWorld(), 0

    class Repeated(CodeWorld):
        def images(self, index, seed, domain, stream="test"):
            return super().images(index // 4, seed, domain, stream)

    for seed in range(10):
        records = record_joint_matching(Oracle(world), Repeated(), 200, seed)
        generator = torch.Generator().manual_seed(seed)
        tests = [mmd_test(*samples, generator, 199, BANDWIDTH) for samples in records.samples.values()]
        wrong += min(holm([test.p_value for test in tests])) <= 0.05
    assert wrong >= 8


# -------------------------------------------------------------------------------- pixels and attribute predictors


@pytest.fixture(scope="module")
def pixels():
    return PixelWorld()


def test_looked_up_codes_are_those_that_the_fit_finds(pixels):
    world = LookupWorld()
    images = {domain: world.images(torch.arange(30), 5, domain) for domain in (1, 2)}
    for domain, x in images.items():
        torch.testing.assert_close(x, pixels.images(torch.arange(30), 5, domain), rtol=0, atol=0)
        for found, fitted in zip(world.invert(x.clone(), domain), pixels.invert(x, domain), strict=True):
            assert (found - fitted).abs().median() < 1e-11
    with pytest.raises(KeyError):
        world.invert(images[1] + 0.1, 1)


@pytest.mark.slow
def test_the_cycles_of_the_pixel_oracle_close(pixels):
    result = check_cycle_consistency(Oracle(pixels), pixels, 100, 0)
    assert result.status == HOLDS and result.measured == "images and codes"
    assert all(finding.effect < 1e-6 for finding in result.findings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oracle", "content into style", "deterministic translator"])
def test_predicted_attributes_of_images_lead_to_the_verdicts_of_exact_factors(name):
    world = LookupWorld()
    result = check_joint_matching(Oracle(world, BY_NAME[name]), world, UNITS, 0)
    assert result.status == (HOLDS if name == "oracle" else FAILS), result.report()


# --------------------------------------------------------------------------------------------------------- verdicts


def finding(status, reason=FAILS):
    low, high = {HOLDS: (0.0, 0.03), FAILS: (0.05, 0.06), UNDECIDED: (0.03, 0.05)}[status]
    return Finding(reason, reason, "error", (low + high) / 2, low, high, 0.04)


def test_a_verdict_fails_with_any_finding_and_holds_with_all():
    def status(*findings):
        return PropositionVerdict("claim", tuple(findings), 100, "factors")

    assert status(finding(HOLDS), finding(HOLDS)).status == HOLDS
    assert status(finding(HOLDS), finding(UNDECIDED)).status == UNDECIDED
    failing = status(finding(UNDECIDED, ADVERSARIAL), finding(FAILS, RECONSTRUCTION))
    assert failing.status == FAILS and failing.reasons == "reconstruction, undecided"
    assert status(finding(FAILS, MARGINAL), finding(FAILS, JOINT)).reasons == "marginal, joint"
    assert status(finding(HOLDS, MARGINAL), finding(FAILS, JOINT)).reasons == JOINT
    assert "undecided, because fails is not settled" in status(finding(HOLDS), finding(UNDECIDED)).summary()


@pytest.mark.parametrize(
    ("effect", "low", "high", "status"),
    [
        (0.001, -0.01, 0.012, HOLDS),
        (0.02, 0.015, 0.025, HOLDS),  # not zero, but below the margin
        (0.3, 0.2, 0.4, FAILS),
        (0.06, 0.03, 0.09, UNDECIDED),  # the estimate exceeds the margin, the interval does not
        (0.3, -0.2, 0.8, UNDECIDED),
        (0.01, -0.1, 0.12, UNDECIDED),  # not distinguished from zero, but not bounded either
    ],
)
def test_the_status_is_that_of_the_whole_interval(effect, low, high, status):
    max_effect = 2.0  # effects are normalized by it
    test = TwoSampleResult("MMD²", effect * 2, low * 2, high * 2, 0.4, 0.0, max_effect)
    found = normalized_finding("name", ADVERSARIAL, test, EFFECT_THRESHOLD)
    assert found.status == status and found.effect == pytest.approx(effect)
    summary = PropositionVerdict("claim", (found,), 500, "factors").summary()
    assert found.name in summary and "500 images" in summary


def test_nrmse_is_normalized_by_the_spread_of_the_targets():
    target = 7.0 * torch.randn(2000, 3, 4, generator=torch.Generator().manual_seed(0))
    mean_prediction = summarize_nrmse(target.mean(0).expand_as(target), target)
    assert mean_prediction.median == pytest.approx(1, abs=0.05)  # guessing the mean is an error of 1
    for scale in (1.0, 1e-3, 1e3):
        near = summarize_nrmse(scale * (target + 0.7), scale * target)
        assert near.median == pytest.approx(0.1, rel=0.02) and near.low <= near.q95 <= near.high <= near.maximum
    assert summarize_nrmse(torch.full((100, 2), 3.0), torch.full((100, 2), 2.5)).median == 0.5  # nothing to divide by


def test_the_interval_of_the_quantile_covers_it():
    covered = 0
    for seed in range(400):
        errors = torch.rand(150, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        summary = summarize_errors(errors)
        covered += summary.low <= 0.95 <= summary.high
        if seed < 5:
            interval = stats.quantile_test(errors[: 72 + seed].numpy(), p=0.95).confidence_interval(0.95)
            few = summarize_errors(errors[: 72 + seed])
            assert (few.low, few.high) == (interval.low, interval.high)
    assert covered >= 370  # 380 of 400 are expected; fewer than 370 in one of 100 runs of a right interval
    with pytest.raises(ValueError, match="71 errors cannot bound their 95 % quantile; 72 or more"):
        summarize_errors(torch.rand(71))


def test_a_check_needs_enough_units():
    with pytest.raises(ValueError, match="units is 99, but a check needs 100"):
        check_joint_matching(Oracle(CodeWorld()), CodeWorld(), 99, 0)


@pytest.mark.slow
def test_verdicts_have_a_report_and_a_dictionary(verdicts):
    result = verdicts("oracle")[0]["latent_matching"]
    record = result.to_dict()
    assert record["status"] == HOLDS and record["reasons"] == HOLDS and len(record["findings"]) == 5
    assert record["summary"].startswith("Proposition 2, latents match: holds, because every effect is bounded")
    assert result.report().count("\n") == 5


@pytest.mark.slow
def test_the_same_seed_gives_the_same_verdict(verdicts):
    variant = BY_NAME["styles scaled"]
    world = CodeWorld(variant.world)
    repeated = propositions.check_joint_matching(Oracle(world, variant), world, UNITS, 0)
    assert dataclasses.asdict(repeated) == dataclasses.asdict(verdicts("styles scaled")[0]["joint_matching"])


@pytest.mark.slow
def test_the_verdict_on_the_minimum_states_what_was_measured(verdicts):
    result = verdicts("oracle")[0]["optimality"]
    assert result.measured == "the exact factors for translations, images and codes for reconstructions"
    for state in ("world32_step_1000", "world32_step_2000", "world32_step_4000", "world32"):
        recorded = read_results(f"{state}_propositions")["optimality"]
        assert recorded["measured"] == f"{PixelWorld.measured} for translations, images and codes for reconstructions"
        assert recorded["units"] == 1000 and recorded["status"] == FAILS


@pytest.mark.slow
def test_the_calibration_script_writes_records_of_the_recorded_form(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    monkeypatch.setattr(calibrate_propositions, "BROKEN_VARIANTS", BROKEN_VARIANTS[:1])
    monkeypatch.setattr(calibrate_propositions, "UNDETECTABLE_VARIANTS", ())
    settings = calibrate_propositions.CalibrationSettings(
        seeds=2, variant_units=100, units=100, repetitions=3, population=200, inverted_images=72
    )
    calibrate_propositions.main(settings)
    written = read_results("propositions_calibration")
    monkeypatch.undo()
    recorded = read_results("propositions_calibration")
    assert written.keys() == recorded.keys()
    for section in ("pixels", "floor", "resampled"):
        assert {name: set(values) for name, values in written[section].items()} == {
            name: set(values) for name, values in recorded[section].items()
        }
    assert set(written["variants"]) == {ORACLE.name, BROKEN_VARIANTS[0].name}
    for name, checks in written["variants"].items():
        assert {check: set(cell) for check, cell in checks.items()} == {
            check: set(cell) for check, cell in recorded["variants"][name].items()
        }
    assert written["variants"][BROKEN_VARIANTS[0].name]["cycle_consistency"] == {
        "expected": HOLDS,
        "as_expected": 2,
        "seeds": 2,
        HOLDS: 2,
        FAILS: 0,
        UNDECIDED: 0,
    }
