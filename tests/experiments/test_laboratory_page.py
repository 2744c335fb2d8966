"""The page of the paper's table 1 fits the committed results, and its tables those of runs with known outcomes."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from munit_lite.experiments.claims import OUT_OF_REACH, compare
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.world import DIRECTIONS
from tools import laboratory_page
from tools.laboratory_page import AFTERWARDS, CURVES, DATA, METHODS, PAGE, PLAN, REWORDED, panel_rows
from tools.page_figures import read_digest

RIGHT = np.diag([10, 0, 5, 5, 5, 5])
EXCHANGED = RIGHT[[2, 1, 0, 3, 4, 5]]  # every disc becomes a square, and the other way around


def run(accuracy, relabeled=None, confusion=RIGHT, diversity=0.95, fall=0.0):
    """A run with the same quality in both directions from its first measurement on, or with a diversity that falls."""
    metrics = {"class_accuracy": accuracy, "diversity_ratio": diversity, "sampled_style_r2": 0.8}
    sizes = {"contents": 500.0, "inputs": 25.0, "styles_per_input": 64.0}
    quality = {
        "class_accuracy": accuracy,
        "relabeled_accuracy": relabeled or accuracy,
        "diversity_ratio": diversity,
        "confusion": confusion.tolist(),
    }
    return {
        "attempts": [{"commit": "abc", "calibration_seconds": 0.1}],
        "provenance": {"command": "train -p preset laboratory -p seed 0"},
        "numbers": dict.fromkeys(DIRECTIONS.values(), metrics | sizes),
        "quality": [
            {
                "step": 100 * k,
                "cpu_minutes": k,
                **dict.fromkeys(DIRECTIONS.values(), quality | {"diversity_ratio": diversity + (10 - k) * fall}),
            }
            for k in range(1, 11)
        ],
    }


MUNIT = {"0": run(0.96), "1": run(0.98)}
SWEEP = {
    DATA: {
        "munit": MUNIT,
        "unit": {"0": run(0.34, relabeled=1.0, confusion=EXCHANGED), "1": run(0.9, diversity=0.0)},
        "cyclegan": {"1": run(0.5), "2": run(0.7)},
    }
}
ONLY_MUNIT = {DATA: {"munit": MUNIT}}
ALL = {DATA: {method: {"0": run(0.5), "1": run(0.6)} for method in METHODS} | SWEEP[DATA]}


def rows(table):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0]: line[1:] for line in cells[2:]}


def section(page, heading):
    return page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_page_and_its_picture_are_those_of_the_committed_results():
    sweep = read_results(DATA)
    assert PAGE.read_text() == laboratory_page.page(sweep), "run: python -m tools.laboratory_page"
    assert read_digest(CURVES) == laboratory_page.digest(sweep), (
        "the curves are old; run: python -m tools.laboratory_page"
    )


def test_the_page_knows_each_method_and_each_claim_of_the_plan():
    plan = read_plan(PLAN)
    assert {planned.method for planned in plan.runs} == set(METHODS)
    assert set(REWORDED) <= {expectation.claim for expectation in plan.expectations} | set(OUT_OF_REACH)


def test_with_munit_alone_the_page_shows_only_what_is_measured():
    page = laboratory_page.page(ONLY_MUNIT)
    assert "**1 of 12 methods has been measured so far.** Not measured yet: UNIT; CycleGAN; " in page
    assert "## Differences from MUNIT" not in page and "rank correlation" not in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert not [line for line in tables if "UNIT" in re.sub("MUNIT", "", line) or "CycleGAN" in line]
    assert len(rows(laboratory_page.ledger_table(compare(read_plan(PLAN).expectations, ONLY_MUNIT)))) == 3
    assert page.count("(bound set after the runs)") == 3
    assert "The bounds of the three claims about MUNIT itself were set after its runs" in page
    assert "## The paper's numbers beside ours" not in page


def test_with_all_methods_the_page_lacks_nothing():
    page = laboratory_page.page(ALL)
    assert "**All twelve methods have been measured.**" in page and "Not measured yet" not in page
    assert len(rows(laboratory_page.runs_table(ALL))) == 12
    assert len(rows(laboratory_page.results_table(ALL))) == 13  # and real images
    assert len(rows(laboratory_page.differences_table(ALL))) == 11
    assert "For the eight methods that both measure, the rank correlation" in page
    ledger = section(page, "The ledger of claims")
    assert ledger.count("\n| ") == len(read_plan(PLAN).expectations) + 2  # with the header and its rule
    assert "set before the runs" in ledger and "set after the runs" in ledger
    assert "noise at the input, or through AdaIN" in page and "learning_rates.yaml" in page


@pytest.mark.parametrize("sweep", [ONLY_MUNIT, SWEEP, ALL])
def test_the_page_has_no_code_names_no_hyphens_for_minus_and_no_table_that_is_too_wide(sweep):
    page = laboratory_page.page(sweep)
    text = page.split("## How to repeat it")[0]
    assert not [name for name in METHODS if "_" in name and name in text] and "not measured yet |" not in page
    assert not re.search(r"[\s|]-\d", text) and " - " not in re.sub(r"\| (--- \| )+", "", text)
    assert max(line.count("|") for line in page.splitlines() if line.startswith("|")) <= 9


def test_converged_runs_and_shortfalls_are_counted():
    found = rows(laboratory_page.runs_table(SWEEP))
    assert found["MUNIT"] == ["2 of 2", "0", "0", "0", "0.970 ± 0.127", "0.970 ± 0.127", "0.800 ± 0.000"]
    assert found["UNIT"][:4] == ["0 of 2", "2", "1", "1"]
    assert "BicycleGAN, trained on pairs" not in found


def test_the_papers_numbers_stand_beside_ours():
    found = rows(laboratory_page.results_table(SWEEP))
    # Student's t of two seeds is 12.706, so the interval of 0.96 and 0.98 is 0.97 ± 12.706 × 0.01.
    assert found["MUNIT"] == ["50.0 %", "50.0 %", "0.970 ± 0.127", "0.109", "0.175", "0.950 ± 0.000"]
    assert found["real images"] == ["–", "–", "1", "0.293", "0.371", "1"]
    assert rows(laboratory_page.results_table(ALL))["MUNIT with the cycle loss"][:2] == ["–", "–"]


def test_the_page_says_in_words_how_many_runs_converge_and_what_the_others_lack():
    runs = {"0": run(0.96), "1": run(0.99, diversity=0.89), "2": run(0.9)}
    text = laboratory_page.convergence_words({DATA: {"munit": runs}}, "munit")
    assert text.startswith("One of the three runs of MUNIT converges.")
    assert "seed 1 with a diversity ratio of 0.890 from painting to sketch" in text
    assert "seed 2 with a class accuracy of 0.900" in text and "has not settled" not in text
    falling = {DATA: {"munit": {"0": run(0.96, fall=0.01), "1": run(0.96, fall=0.004)}}}
    assert "over the last 500 steps, by 0.02 to 0.05" in laboratory_page.convergence_words(falling, "munit")


def test_seeds_that_had_been_used_for_earlier_recipes_are_counted_apart():
    runs = {"0": run(0.96), "4": run(0.9), "5": run(0.99), "9": run(0.99)}
    assert laboratory_page.converged_in_groups(runs) == {"0 to 4": (1, 2), "5 to 9": (2, 2)}
    text = laboratory_page.seed_words(runs)
    assert "seeds 5 to 9" in text and "2 of 2 converge" in text and text.endswith("1 of 2.")
    assert laboratory_page.seed_words({"0": run(0.96)}) == ""


def test_methods_are_compared_with_munit_seed_by_seed():
    found = rows(laboratory_page.differences_table(SWEEP))
    assert found["UNIT"][:2] == ["2", "−0.350 ± 3.431"]  # -0.62 and -0.08
    assert found["CycleGAN"][:2] == ["1", "−0.480"]  # MUNIT has no seed 2
    assert "MUNIT" not in found


def test_a_method_gets_another_seed_while_its_difference_is_undecided():
    assert laboratory_page.methods_that_need_a_seed(SWEEP) == ["unit"]  # CycleGAN has one pair of seeds only
    runs = {str(k): run(0.96 + 0.001 * k) for k in range(3)}
    narrow = {DATA: {"munit": runs, "unit": {k: run(0.961) for k in runs}}}  # ± 0.0025 around zero
    clear = {DATA: {"munit": runs, "unit": {k: run(0.5 + 0.001 * int(k)) for k in runs}}}
    wide = {DATA: {"munit": runs, "unit": {"0": run(0.96), "1": run(0.6), "2": run(0.9, diversity=0.9)}}}
    most = {str(k): run(0.96) for k in range(10)}
    ten = {DATA: {"munit": most, "unit": {k: run(0.3 + 0.1 * int(k)) for k in most}}}
    found = [laboratory_page.methods_that_need_a_seed(sweep) for sweep in (narrow, clear, wide, ten)]
    assert found == [[], [], ["unit"], []]


def test_only_munits_verdicts_are_marked_as_having_a_later_bound():
    comparisons = compare(read_plan(PLAN).expectations, ALL)
    verdicts = [line.split("|")[-2] for line in laboratory_page.ledger_table(comparisons).splitlines()[2:]]
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        assert ("after the runs" in verdict) == (comparison.expectation.subject == AFTERWARDS)


def test_each_method_has_the_command_of_its_first_run():
    lines = laboratory_page.commands(SWEEP).splitlines()
    assert lines[:3] == [
        "# UNIT: seed 0 of 0 and 1; commit abc",
        "train \\",
        "    -p preset laboratory -p seed 0",
    ]


@pytest.mark.parametrize("count", range(1, 13))
def test_the_panels_fill_every_row_of_the_figure(count):
    layout = panel_rows(count)
    assert sum(layout) == count and max(layout) <= 3 and max(layout) - min(layout) <= 1
    assert all(6 % panels == 0 for panels in layout)


@pytest.mark.parametrize("sweep", [ONLY_MUNIT, ALL])
def test_the_figure_spans_its_width_and_knows_its_data(sweep):
    image = Image.open(io.BytesIO(laboratory_page.curves_figure(sweep)))
    assert image.info["digest"] == laboratory_page.digest(sweep) != laboratory_page.digest({DATA: {}})
    inked = (np.asarray(image.convert("L")) < 128).any(axis=0).nonzero()[0]
    assert inked[0] < 0.05 * image.width and inked[-1] > 0.95 * image.width
    changed = {DATA: sweep[DATA] | {"munit": {"0": run(0.96), "1": run(0.97)}}}
    assert laboratory_page.digest(changed) != laboratory_page.digest(sweep)
