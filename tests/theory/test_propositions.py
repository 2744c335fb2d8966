"""The four checks: the table of variants comes out as theory says, nulls are rejected as seldom as promised."""

import dataclasses

import pytest
import torch

from munit_lite.experiments.results import read_results
from munit_lite.theory import propositions
from munit_lite.theory.oracle import CodeWorld, Oracle, PixelWorld
from munit_lite.theory.permutation import TwoSampleResult
from munit_lite.theory.propositions import (
    ALPHA,
    CHECKS,
    EFFECT,
    check_all,
    check_cycle_consistency,
    check_joint_matching,
)
from munit_lite.theory.variants import BROKEN, ORACLE, UNSEEN, VARIANTS
from munit_lite.theory.verdicts import FAILS, HOLDS, UNDECIDED, Part, Verdict, relative_error, summarized, verdict

pytestmark = pytest.mark.numerical

BY_NAME = {variant.name: variant for variant in VARIANTS}
each_variant = pytest.mark.parametrize("name", BY_NAME)
UNITS, SEEDS = 500, (0, 1, 2)


@pytest.fixture(scope="module")
def found():
    """Verdicts of a variant by seed and check, found once."""
    kept = {}

    def of(name):
        if name not in kept:
            variant = BY_NAME[name]
            world = CodeWorld(variant.world)
            kept[name] = {seed: check_all(Oracle(world, variant), world, UNITS, seed) for seed in SEEDS}
        return kept[name]

    return of


# ------------------------------------------------------------------------------------------------------- the table


@pytest.mark.slow
@each_variant
def test_every_cell_of_the_table_comes_out_as_theory_says(found, name):
    variant = BY_NAME[name]
    expected = {**variant.expected._asdict(), "content": "H" if variant.keeps_content else "F"}
    for seed, checked in found(name).items():
        assert {check: result.reasons for check, result in checked.items()} == expected, f"seed {seed}"


@pytest.mark.slow
@each_variant
def test_what_fails_fails_by_far_and_what_holds_is_bounded(found, name):
    for checked in found(name).values():
        for result in checked.values():
            assert result.alpha == ALPHA == 0.001 and result.units == UNITS
            for part in result.parts:
                if part.status == FAILS and part.p_value is not None:
                    assert part.p_value <= ALPHA and part.effect > EFFECT and part.low > 0
                if part.status == HOLDS:
                    assert part.high <= part.threshold and (part.p_value is None or part.threshold == EFFECT)


@pytest.mark.slow
def test_where_the_minimum_holds_all_hold(found):
    for name in BY_NAME:
        for checked in found(name).values():
            if checked["minimum"].status == HOLDS:
                assert all(checked[check].status == HOLDS for check in CHECKS), name
    assert [v.name for v in VARIANTS if v.expected.minimum == "H"] == [v.name for v in (ORACLE, *UNSEEN)]


def test_the_rows_of_the_theory_are_all_there():
    """Which checks fail, for each row of THEORY's table (the row of styles has two variants)."""
    patterns = ["".join("H" if e == "H" else "F" for e in v.expected) for v in BROKEN]
    rows = "FFFH FFFH FFFF FFFH FFFH FFHF FFFF FFFH FFFF FHFF FFHF FFFH FHHF FHFF"
    assert patterns == rows.split()
    only_joint = [v.name for v in BROKEN if v.expected.latents == "J"]
    assert only_joint == ["content into style, same variance"]
    reasons = "A A AR A A R AR A AR AR R A R R"
    assert [v.expected.minimum for v in BROKEN] == reasons.split()


@pytest.mark.slow
def test_of_the_cycle_of_a_unit_like_model_only_the_style_slot_breaks(found):
    for checked in found("UNIT-like").values():
        statuses = {part.name: part.status for part in checked["cycle"].parts}
        assert {name for name, status in statuses.items() if status == FAILS} == {"style 1 kept", "style 2 kept"}


# ------------------------------------------------------------------------------------------- how often they are wrong


@pytest.mark.slow
@pytest.mark.parametrize("check", ["joint"])
def test_of_a_hundred_nulls_at_most_eleven_are_rejected(check):
    world, rejected = CodeWorld(), 0
    for seed in range(100):
        result = CHECKS[check](Oracle(world), world, 100, 5000 + seed)
        rejected += min(part.p_value for part in result.parts) <= 0.05
    assert rejected <= 11  # 99 % of what a true level of .05 gives


def test_the_recorded_run_rejects_nulls_as_often_as_promised():
    recorded = read_results("propositions_calibration")
    for name, counts in recorded["nulls"].items():
        assert 7 <= counts["rejected"] <= 36 and counts[HOLDS] + counts[UNDECIDED] + counts[FAILS] == 400, name
        assert counts[FAILS] <= 2 and counts[UNDECIDED] <= 20, name  # at .001


def test_in_the_recorded_run_every_break_is_seen_by_every_seed():
    recorded = read_results("propositions_calibration")["variants"]
    assert set(recorded) == set(BY_NAME)
    for variant in BROKEN:
        for check, cell in recorded[variant.name].items():
            assert cell["expected"] == getattr(variant.expected, check)
            if cell["expected"] != "H":
                assert cell[FAILS] == cell["seeds"] == 59, (variant.name, check)


def test_in_the_recorded_run_pixels_are_read_to_many_digits():
    for name, errors in read_results("propositions_calibration")["pixels"].items():
        assert errors["units"] == 500 and errors["q95"] <= errors["high"] < 1e-10, name


def test_four_styles_of_one_image_must_not_be_counted_as_four_units():
    """Why a unit is a whole pair: the same joint null with every image used four times is rejected nearly always."""
    world, wrong = CodeWorld(), 0

    class Repeated(CodeWorld):
        def images(self, index, seed, domain, stream="test"):
            return super().images(index // 4, seed, domain, stream)

    for seed in range(10):
        result = check_joint_matching(Oracle(world), Repeated(), 200, seed)
        wrong += min(part.p_value for part in result.parts) <= 0.05
    assert wrong >= 8


# ------------------------------------------------------------------------------------------------ pixels and judges


@pytest.fixture(scope="module")
def pixels():
    return PixelWorld()


@pytest.mark.slow
def test_in_pixels_the_oracle_closes_its_cycles(pixels):
    result = check_cycle_consistency(Oracle(pixels), pixels, 100, 0)
    assert result.status == HOLDS and result.reads == "images and codes"
    assert all(part.effect < 1e-6 for part in result.parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oracle", "content into style", "deterministic translator"])
def test_judged_factors_show_in_pixels_what_exact_ones_show_in_codes(pixels, name):
    """With encoders that know the code, for time's sake; what is tested are pictures and judges."""
    known = {}

    class Knowing:
        """E* by looking up what was drawn."""

        reads, tolerance, variant = pixels.reads, pixels.tolerance, "standard"

        def images(self, index, seed, domain, stream):
            return self.draw(*pixels.codes(index, seed, domain, stream), domain)

        def draw(self, content, style, domain):
            images = pixels.draw(content, style, domain)
            known.update(zip((x.numpy().tobytes() for x in images), zip(content, style, strict=True), strict=True))
            return images

        def invert(self, images, domain):
            codes = [known[x.numpy().tobytes()] for x in images]
            return torch.stack([c for c, _ in codes]), torch.stack([s for _, s in codes])

        factors = staticmethod(pixels.factors)

    world = Knowing()
    result = check_joint_matching(Oracle(world, BY_NAME[name]), world, UNITS, 0)
    assert result.status == (HOLDS if name == "oracle" else FAILS), result.text()


# --------------------------------------------------------------------------------------------------------- verdicts


def part(status, code="F", effect=0.1, high=0.2):
    return Part(code, code, status, "error", effect, 0.0, high, 0.04)


def test_a_verdict_fails_with_any_part_and_holds_with_all():
    def status(*parts):
        return Verdict("claim", tuple(parts), 100, ALPHA, "factors")

    assert status(part(HOLDS), part(HOLDS)).status == HOLDS
    assert status(part(HOLDS), part(UNDECIDED)).status == UNDECIDED
    failing = status(part(UNDECIDED, "A"), part(FAILS, "R"))
    assert failing.status == FAILS and failing.reasons == "R?"
    assert status(part(FAILS, "M"), part(FAILS, "J")).reasons == "M"  # a marginal explains the joint
    assert status(part(HOLDS, "M"), part(FAILS, "J")).reasons == "J"
    assert "undecided, for F is not settled" in status(part(HOLDS), part(UNDECIDED)).sentence()


@pytest.mark.parametrize(
    ("effect", "low", "high", "p", "status"),
    [
        (0.001, -0.01, 0.012, 0.4, HOLDS),
        (0.02, 0.015, 0.025, 0.0005, HOLDS),  # rejected, and yet too small to count
        (0.3, 0.2, 0.4, 0.0005, FAILS),
        (0.3, -0.2, 0.8, 0.4, UNDECIDED),  # large, and yet not rejected
        (0.01, -0.1, 0.12, 0.4, UNDECIDED),  # not rejected, and yet nothing is bounded
    ],
)
def test_not_to_reject_is_not_to_hold(effect, low, high, p, status):
    largest = 2.0  # effects are judged as shares of the largest
    test = TwoSampleResult("MMD²", effect * 2, low * 2, high * 2, p, 400, 999, 0.0, largest, 0.01, 1.0)
    result = verdict("claim", {("name", "A"): test}, {}, EFFECT, 0.05, 500, ALPHA, "factors")
    assert result.status == status and result.parts[0].effect == pytest.approx(effect)
    assert result.parts[0].name in result.sentence() and "500 images" in result.sentence()


def test_tests_of_a_check_share_its_level():
    test = TwoSampleResult("MMD²", 0.3, 0.2, 0.4, 0.0006, 400, 999, 0.0, 1.0, 0.01, 1.0)
    one, two = (
        verdict("", {(str(k), "A"): test for k in range(count)}, {}, EFFECT, 0.05, 500, ALPHA, "").statuses["A"]
        for count in (1, 2)
    )
    assert (one, two) == (FAILS, UNDECIDED)  # Holm makes .0012 of two times .0006


def test_relative_errors_count_in_units_of_what_tells_the_wanted_apart():
    wanted = 7.0 * torch.randn(2000, 3, 4, generator=torch.Generator().manual_seed(0))
    guessed = relative_error(wanted.mean(0).expand_as(wanted), wanted)
    assert guessed.median == pytest.approx(1, abs=0.05)  # guessing the mean is an error of 1
    for scale in (1.0, 1e-3, 1e3):
        near = relative_error(scale * (wanted + 0.7), scale * wanted)
        assert near.median == pytest.approx(0.1, rel=0.02) and near.low <= near.judged <= near.high <= near.largest
    assert relative_error(torch.full((100, 2), 3.0), torch.full((100, 2), 2.5)).median == 0.5  # nothing to divide by


def test_the_interval_of_the_judged_quantile_covers_it():
    covered = 0
    for seed in range(400):
        errors = torch.rand(150, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = summarized(errors)
        covered += found.low <= 0.95 <= found.high
    assert covered >= 370  # 380 of 400 are expected; fewer than 370 in one of 100 runs of a right interval
    with pytest.raises(ValueError, match="71 errors cannot bound their 95% quantile; 72 or more"):
        summarized(torch.rand(71))


def test_a_check_wants_enough_units():
    with pytest.raises(ValueError, match="n is 99, but a check needs 100"):
        check_joint_matching(Oracle(CodeWorld()), CodeWorld(), 99, 0)


@pytest.mark.slow
def test_verdicts_can_be_read_and_kept(found):
    result = found("oracle")[0]["latents"]
    kept = result.as_dict()
    assert kept["status"] == HOLDS and kept["reasons"] == "H" and len(kept["parts"]) == 5
    assert kept["sentence"].startswith("Proposition 2, latents match: holds, for every effect is bounded")
    assert result.text().count("\n") == 5


@pytest.mark.slow
def test_the_same_seed_gives_the_same_verdict(found):
    variant = BY_NAME["styles scaled"]
    world = CodeWorld(variant.world)
    again = propositions.check_joint_matching(Oracle(world, variant), world, UNITS, 0)
    assert dataclasses.asdict(again) == dataclasses.asdict(found("styles scaled")[0]["joint"])


@pytest.mark.slow
def test_the_verdict_on_the_minimum_says_what_each_kind_of_part_was_read_from(found):
    result = found("oracle")[0]["minimum"]
    assert result.reads == "the exact factors for translations, images and codes for reconstructions"
    for state in ("world32_step_1000", "world32_step_2000", "world32_step_4000", "world32"):
        recorded = read_results(f"{state}_propositions")["minimum"]
        assert recorded["reads"] == f"{PixelWorld.reads} for translations, images and codes for reconstructions"
        assert recorded["units"] == UNITS and recorded["status"] == FAILS
