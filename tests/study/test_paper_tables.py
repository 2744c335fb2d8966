"""The paper's tables and the ledger, rebuilt from made-up results whose answers are known by hand."""

import math

import pytest

from munit_lite.study.expectations import Expectation, compared
from munit_lite.study.paper_tables import METHODS, OUT_OF_REACH, TABLE_1, estimate, ledger, over_seeds, table_rows
from munit_lite.study.plans import read_plan
from munit_lite.study.sweep import gather


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
    mean, interval = over_seeds([0.8, 0.9, 1.0])
    assert mean == pytest.approx(0.9) and interval == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)


def test_a_number_is_the_mean_over_directions_then_over_seeds():
    found = estimate(FOUND, "world32", "munit", "quality")
    assert found.mean == pytest.approx(0.9) and found.seeds == 3
    assert found.interval == pytest.approx(over_seeds([0.8, 0.9, 1.0])[1])


def test_one_seed_has_the_interval_of_its_own_test_contents():
    found = estimate(FOUND, "world32", "unit", "quality")
    assert (found.mean, found.seeds) == (pytest.approx(0.4), 1)
    assert found.interval == pytest.approx(math.hypot(0.02, 0.02) / 2)  # two independent directions


@pytest.mark.parametrize("asked", [("fashion32", "munit", "quality"), ("world32", "munit", "other")])
def test_what_was_not_measured_has_no_number(asked):
    assert estimate(FOUND, *asked) is None


def test_the_table_has_a_row_for_each_method_and_blanks_where_nothing_is_known():
    rows = dict(zip(METHODS, table_rows(FOUND, "world32", ["quality"]), strict=True))
    assert rows["munit"] == ["MUNIT", "3", "0.90 ± 0.25"] and rows["unit"] == ["UNIT", "1", "0.40 ± 0.01"]
    assert rows["cyclegan"] == ["CycleGAN", "0", ""] and rows["munit_style_dim_2"][0] == "MUNIT style dim 2"


def test_the_ledger_tells_what_holds_what_not_and_what_is_not_certain():
    asked = [
        Expectation("world32", "munit", "quality", at_least=0.6, claim="surely"),
        Expectation("world32", "munit", "quality", at_least=0.85, claim="barely"),  # the interval reaches to .65
        Expectation("world32", "munit", "quality", at_most=0.3, claim="surely not"),
        Expectation("world32", "unit", "quality", at_most=0.45, claim="one seed"),
        Expectation("world32", "cyclegan", "quality", at_most=0.2, claim="nothing"),
        Expectation("world32", "unit", "quality", at_most=0.6, ratio_to="munit", claim="a share"),  # .4 / .8
    ]
    entries = {entry.claim: entry for entry in ledger(compared(asked, FOUND))}
    verdicts = {claim: entry.verdict for claim, entry in entries.items()}
    assert verdicts == {
        "surely": "holds",
        "barely": "holds, not certain",
        "surely not": "does not hold",
        "one seed": "holds",
        "nothing": "not measured yet",
        "a share": "holds",
        **dict.fromkeys(OUT_OF_REACH, "out of reach"),
    }
    assert entries["barely"].measured == "world32, munit: quality 0.90 ± 0.25, 3 seeds, expected at least 0.85"
    assert entries["a share"].measured == "world32, unit / munit: quality 0.50, one seed, expected at most 0.6"


def test_the_papers_methods_are_those_of_the_shipped_sweep(tmp_path):
    from munit_lite.study.minutes import NOTEBOOKS

    plan = read_plan(NOTEBOOKS.parent / "data" / "sweeps" / "paper_tables.yaml")
    assert {planned.method for planned in plan.runs} == set(METHODS) and set(TABLE_1) < set(METHODS)
    assert all(one.claim for one in plan.expectations) and gather(plan, tmp_path) == {}
