"""The paper's tables and the ledger, rebuilt from made-up results whose answers are known by hand."""

import math

import pytest

from munit_lite.experiments.claims import OUT_OF_REACH, Expectation, compare, ledger, mean_over_seeds
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.sweep import gather
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.experiments.tables import (
    PAPER_NAMES,
    PAPER_SWEEP,
    TABLE_1,
    TABLE_2,
    Estimate,
    estimate_over_seeds,
    estimates_by_seed,
    photo_table,
    table_1,
    table_2,
    table_rows,
)


def run(there, back, interval=0.02):
    directions = {"there": there, "back": back}
    return {"numbers": {name: {"quality": value, "quality_interval": interval} for name, value in directions.items()}}


FOUND = {
    "world32": {
        "munit": {"0": run(0.7, 0.9), "1": run(0.8, 1.0), "2": run(0.9, 1.1)},  # means .8, .9, 1.0
        "unit": {"0": run(0.3, 0.5)},
    }
}


def test_three_seeds_have_the_interval_of_students_t():
    """Deviation .1, three seeds, two degrees of freedom: t = 4.3027."""
    mean, interval = mean_over_seeds([0.8, 0.9, 1.0])
    assert mean == pytest.approx(0.9) and interval == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)


def test_a_number_is_the_mean_over_directions_then_over_seeds():
    found = estimate_over_seeds(FOUND, "world32", "munit", "quality")
    assert found.mean == pytest.approx(0.9) and found.seeds == 3
    assert found.half_width == pytest.approx(mean_over_seeds([0.8, 0.9, 1.0])[1])


def test_one_seed_has_the_interval_of_its_own_test_contents():
    found = estimate_over_seeds(FOUND, "world32", "unit", "quality")
    assert (found.mean, found.seeds) == (pytest.approx(0.4), 1)
    assert found.half_width == pytest.approx(0.02)  # both directions saw the same contents: nothing averages out


def test_each_seed_has_its_own_number():
    seeds = estimates_by_seed(FOUND, "world32", "munit", "quality")
    assert {seed: one.mean for seed, one in seeds.items()} == pytest.approx({"0": 0.8, "1": 0.9, "2": 1.0})


@pytest.mark.parametrize(
    ("number", "text"), [((-0.001, 0.05), "0.00 ± 0.05"), ((0.5, math.nan), "0.50"), ((0.5, 0.1), "0.50 ± 0.10")]
)
def test_a_number_has_its_interval_where_there_is_one(number, text):
    assert str(Estimate(*number, 1)) == text


@pytest.mark.parametrize("asked", [("fashion32", "munit", "quality"), ("world32", "munit", "other")])
def test_what_was_not_measured_has_no_number(asked):
    assert estimate_over_seeds(FOUND, *asked) is None


def test_the_table_has_a_row_for_each_method_and_blanks_where_nothing_is_known():
    rows = dict(zip(PAPER_NAMES, table_rows(FOUND, "world32", ["quality"]), strict=True))
    assert rows["munit"] == ["MUNIT", "3", "0.90 ± 0.25"] and rows["unit"] == ["UNIT", "1", "0.40 ± 0.02"]
    assert (
        rows["cyclegan"] == ["CycleGAN", "0", "not measured yet"]
        and rows["munit_style_dim_2"][0] == "MUNIT style dim 2"
    )


def test_the_ledger_states_what_holds_what_fails_and_what_is_undecided():
    asked = [
        Expectation("world32", "munit", "quality", at_least=0.6, claim="surely"),
        Expectation("world32", "munit", "quality", at_least=0.85, claim="barely"),  # the interval reaches to .65
        Expectation("world32", "munit", "quality", at_most=0.3, claim="surely not"),
        Expectation("world32", "unit", "quality", at_most=0.45, claim="one seed"),
        Expectation("world32", "cyclegan", "quality", at_most=0.2, claim="nothing"),
        Expectation("world32", "unit", "quality", at_most=0.6, ratio_to="munit", claim="a share"),  # .4 / .8
    ]
    entries = {entry.claim: entry for entry in ledger(compare(asked, FOUND))}
    verdicts = {claim: entry.verdict for claim, entry in entries.items()}
    assert verdicts == {
        "surely": "holds",
        "barely": "undecided at 3 seeds",
        "surely not": "fails",
        "one seed": "undecided at 1 seed",
        "nothing": "not measured yet",
        "a share": "undecided at 1 seed",
        **dict.fromkeys(OUT_OF_REACH, "out of reach"),
    }
    assert entries["barely"].measured == "world32, munit: quality 0.900 ± 0.248, 3 seeds, expected at least 0.85"
    assert entries["a share"].measured == "world32, unit / munit: quality 0.500, 1 seed, expected at most 0.6"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.49, 0.50, 0.51), "holds"),
        ((0.30, 0.50, 0.70), "undecided at 3 seeds"),
        ((0.69, 0.70, 0.71), "fails"),
        ((0.29, 0.30, 0.31), "fails"),
        ((0.20, 0.70, 1.20), "undecided at 3 seeds"),  # one end below what is allowed, the other above
        ((0.60,), "undecided at 1 seed"),
    ],
)
def test_a_claim_holds_or_fails_only_if_the_whole_interval_says_so(values, verdict):
    found = {"world32": {"munit": {str(k): run(value, value) for k, value in enumerate(values)}}}
    asked = [Expectation("world32", "munit", "quality", at_least=0.4, at_most=0.6)]
    assert ledger(compare(asked, found))[0].verdict == verdict


def test_a_table_in_markdown_keeps_its_columns():
    assert markdown_table(["a", "b"], [["1", "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


def test_the_papers_numbers_stand_beside_ours():
    scores = {"numbers": {"there": {"cis": 0.5, "is": 1.0}, "back": {"cis": 0.7, "is": 1.2}}}
    kept = {"numbers": {"there": {"class_accuracy": 0.75, "class_accuracy_interval": 0.02}}}
    edges = {
        "numbers": {
            "there": {"edge_agreement": 0.9, "edge_agreement_interval": 0.01, "improvement_over_random_photos": 0.6}
        }
    }
    found = {"apples2citrus": {"munit": {"0": scores}}, "world32": {"unit": {"0": kept}}}
    first, second = table_1(found).splitlines(), table_2(found).splitlines()
    missing = "not measured yet"
    assert first[2] == f"| UNIT | 37.4 | 0.011 | 37.3 | 0.023 | 1 | 0.75 ± 0.02 | {missing} | {missing} |"
    assert first[-2].startswith("| MUNIT style dim 8 | – | – | – | – | 0 |") and len(first) == 3 + len(PAPER_NAMES)
    assert first[-1].startswith("| real images | – | 0.293 | – | 0.371 |")
    assert second[-1] == "| MUNIT | 1.039 | 1.050 | 1 | 0.60 | 1.10 |" and len(second) == 2 + len(TABLE_2)
    third = photo_table({"fashion32": {"unit": {"0": edges}}}, ["unit"]).splitlines()
    assert third[-1] == f"| UNIT | 1 | 0.90 ± 0.01 | 0.60 | {missing} |"


def test_the_papers_methods_are_those_of_the_shipped_sweep(tmp_path):
    plan = read_plan(PAPER_SWEEP)
    assert {planned.method for planned in plan.runs} == set(PAPER_NAMES) and set(TABLE_1) < set(PAPER_NAMES)
    assert all(one.claim for one in plan.expectations) and gather(plan, tmp_path) == {}
