"""The page of the paper's table 1 fits the committed results, and its tables those of runs with known outcomes."""

import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from munit_lite.experiments.claims import OUT_OF_REACH, compare
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.world import DIRECTIONS
from tools import laboratory_page
from tools.laboratory_page import CURVES, DATA, METHODS, PAGE, PLAN, REWORDED, converged, differences, needs_a_seed
from tools.pages import digest_of

RIGHT = np.diag([10, 0, 5, 5, 5, 5])
EXCHANGED = RIGHT[[2, 1, 0, 3, 4, 5]]  # every disc becomes a square, and the other way around


def run(accuracy, relabeled=None, confusion=RIGHT, diversity=0.95):
    """A run with the same quality in both directions from its first measurement on."""
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
            {"step": 250 * k, "cpu_minutes": k, **dict.fromkeys(DIRECTIONS.values(), quality)} for k in range(1, 11)
        ],
    }


MUNIT = {"0": run(0.96), "1": run(0.98)}
RESULTS = read_results(DATA)
SWEEP = {
    DATA: {
        "munit": MUNIT,
        "unit": {"0": run(0.34, relabeled=1.0, confusion=EXCHANGED), "1": run(0.9, diversity=0.0)},
        "cyclegan": {"1": run(0.5), "2": run(0.7)},
    }
}
# The committed runs of MUNIT, and all other methods of the plan.
ALL = {DATA: {method: {"0": run(0.5), "1": run(0.6)} for method in METHODS} | {"munit": RESULTS[DATA]["munit"]}}


def rows(table):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0]: line[1:] for line in cells[2:]}


def test_the_page_and_its_picture_are_those_of_the_committed_results():
    assert PAGE.read_text() == laboratory_page.page(RESULTS), "run: python -m tools.laboratory_page"
    assert Image.open(CURVES).info["digest"] == digest_of(RESULTS), "run: python -m tools.laboratory_page"


def test_the_page_knows_each_method_and_each_claim_of_the_plan():
    plan = read_plan(PLAN)
    assert {planned.method for planned in plan.runs} == set(METHODS)
    assert set(REWORDED) <= {expectation.claim for expectation in plan.expectations} | set(OUT_OF_REACH)
    assert {expectation.difference_from for expectation in plan.expectations} == {None, "munit"}


def test_with_all_methods_the_page_lacks_nothing():
    page = laboratory_page.page(ALL)
    assert "**All twelve methods have been measured.**" in page and "Not measured yet" not in page
    assert len(rows(laboratory_page.runs_table(ALL))) == 12
    assert len(rows(laboratory_page.results_table(ALL))) == 13  # and real images
    assert len(rows(laboratory_page.differences_table(ALL))) == 11
    assert "For the eight methods that both measure, the rank correlation" in page
    ledger = page.split("## The ledger of claims\n", 1)[1].split("\n## ", 1)[0]
    assert ledger.count("\n| ") == len(read_plan(PLAN).expectations) + 2  # with the header and its rule


@pytest.mark.parametrize("sweep", [RESULTS, ALL])
def test_the_page_has_no_code_names_no_hyphens_for_minus_and_no_table_that_is_too_wide(sweep):
    page = laboratory_page.page(sweep)
    text = page.split("## How to repeat it")[0]
    assert not [name for name in METHODS if "_" in name and name in text] and "{" not in page
    assert not re.search(r"[\s|]-\d", text) and " - " not in re.sub(r"\| (--- \| )+", "", text)
    assert max(line.count("|") for line in page.splitlines() if line.startswith("|")) <= 9


def test_a_claim_that_the_page_states_in_words_must_hold():
    changed = {DATA: ALL[DATA] | {"munit": ALL[DATA]["munit"] | {"0": run(0.96, diversity=0.85)}}}
    with pytest.raises(AssertionError):
        laboratory_page.page(changed)


def test_a_metric_that_is_zero_in_every_run_is_a_bound_and_no_other_is():
    assert laboratory_page.with_interval([0.0, 0.0002, -0.0001]) == laboratory_page.with_interval([0.0]) == "< 0.001"
    assert laboratory_page.with_interval([0.0, 0.0006]) == "0.000 ± 0.004"


def test_converged_runs_and_shortfalls_are_counted():
    found = rows(laboratory_page.runs_table(SWEEP))
    assert found["MUNIT"] == ["2 of 2", "0", "0", "0", "0.970 ± 0.127", "0.970 ± 0.127", "0.800 ± 0.000"]
    assert found["UNIT"][:4] == ["0 of 2", "2", "1", "1"]
    assert "BicycleGAN, trained on pairs" not in found
    runs = {"0": run(0.96), "4": run(0.9), "5": run(0.99)}
    assert (converged(runs), converged(runs, range(5))) == (2, 1)


def test_the_papers_numbers_stand_beside_ours():
    found = rows(laboratory_page.results_table(SWEEP))
    # Student's t of two seeds is 12.706, so the interval of 0.96 and 0.98 is 0.97 ± 12.706 × 0.01.
    assert found["MUNIT"] == ["50.0 %", "50.0 %", "0.970 ± 0.127", "0.109", "0.175", "0.950 ± 0.000"]
    assert found["real images"] == ["–", "–", "1", "0.293", "0.371", "1"]
    assert rows(laboratory_page.results_table(ALL))["MUNIT with the cycle loss"][:2] == ["–", "–"]
    # The paper's quality of MUNIT, CycleGAN and UNIT is 50, 38.4 and 37.35 %; our class accuracy is 0.97, 0.6 and 0.62.
    assert laboratory_page.rank_correlations(SWEEP)[1][0] == "0.50"


def test_methods_are_compared_with_munit_seed_by_seed():
    found = rows(laboratory_page.differences_table(SWEEP))
    assert found["UNIT"][:2] == ["2", "−0.350 ± 3.431"]  # -0.62 and -0.08
    assert found["CycleGAN"][:2] == ["1", "−0.480"]  # MUNIT has no seed 2
    assert "MUNIT" not in found
    assert differences(SWEEP, SWEEP[DATA]["unit"], "diversity_ratio") == pytest.approx([0, -0.95])


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-0.5], False),  # one seed has no interval
        ([-0.002, 0.0, 0.002], False),  # narrow
        ([-0.45, -0.46, -0.44], False),  # clear
        ([0.0, -0.3, 0.1], True),
        ([-0.3, 0.3] * 5, False),  # ten seeds are the most
    ],
)
def test_a_method_gets_another_seed_while_its_difference_is_undecided(differences, expected):
    assert needs_a_seed(differences) == expected


def test_only_munits_verdicts_are_marked_as_having_a_later_bound():
    comparisons = compare(read_plan(PLAN).expectations, ALL)
    verdicts = [line.split("|")[-2] for line in laboratory_page.ledger_table(comparisons).splitlines()[2:]]
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        assert ("after the runs" in verdict) == (comparison.expectation.subject == "munit")


def test_each_method_has_the_command_of_its_first_run():
    lines = laboratory_page.commands(SWEEP).splitlines()
    assert lines[:3] == ["# UNIT; seeds: 0, 1; commit abc", "train \\", "    -p preset laboratory -p seed 0"]


@pytest.mark.parametrize(("sweep", "panels"), [(SWEEP, 3), (RESULTS, 4), (ALL, 12)])
def test_the_figure_has_a_panel_for_each_measured_method(sweep, panels):
    figure = laboratory_page.curves_figure(sweep)
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes]
    names = [name for method, (name, _) in METHODS.items() if method in sweep[DATA]]
    assert titles == [f"({letter}) {name}" for letter, name in zip("abcdefghijkl", names, strict=False)]
    (munit,) = [axis for axis, name in zip(figure.axes, names, strict=True) if name == "MUNIT"]
    worse = [
        min(run["quality"][-1][way]["class_accuracy"] for way in DIRECTIONS.values())
        for run in sweep[DATA]["munit"].values()
    ]
    assert munit.lines[0].get_ydata()[-1] == pytest.approx(np.mean(worse))
    plt.close(figure)
