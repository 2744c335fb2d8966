"""The page of the paper's table 1 fits the committed results, and its tables those of runs with known outcomes."""

import io

import numpy as np
import pytest
from PIL import Image

from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.world import DIRECTIONS
from tools import laboratory_page
from tools.laboratory_page import CURVES, DATA, METHODS, PAGE, PLAN
from tools.page_figures import read_digest

RIGHT = np.diag([10, 0, 5, 5, 5, 5])
EXCHANGED = RIGHT[[2, 1, 0, 3, 4, 5]]  # every disc becomes a square, and the other way around


def run(accuracy, relabeled=None, confusion=RIGHT, diversity=0.95):
    """A run with the same quality in both directions from its first measurement on."""
    metrics = {"class_accuracy": accuracy, "diversity_ratio": diversity, "sampled_style_r2": 0.8}
    quality = {
        "class_accuracy": accuracy,
        "relabeled_accuracy": relabeled or accuracy,
        "diversity_ratio": diversity,
        "confusion": confusion.tolist(),
    }
    return {
        "attempts": [{"commit": "abc", "calibration_seconds": 0.1}],
        "provenance": {"command": "train it"},
        "numbers": dict.fromkeys(DIRECTIONS.values(), metrics),
        "quality": [
            {"step": 100 * k, "cpu_minutes": k, **dict.fromkeys(DIRECTIONS.values(), quality)} for k in range(1, 11)
        ],
    }


SWEEP = {
    DATA: {
        "munit": {"0": run(0.96), "1": run(0.98)},
        "unit": {"0": run(0.34, relabeled=1.0, confusion=EXCHANGED), "1": run(0.9, diversity=0.0)},
        "cyclegan": {"1": run(0.5), "2": run(0.7)},
    }
}


def rows(table):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0]: line[1:] for line in cells[2:]}


def test_the_page_and_its_picture_are_those_of_the_committed_results():
    sweep = read_results(DATA)
    assert PAGE.read_text() == laboratory_page.page(sweep), "run: python -m tools.laboratory_page"
    assert read_digest(CURVES) == laboratory_page.digest(sweep), (
        "the curves are old; run: python -m tools.laboratory_page"
    )


def test_the_page_has_a_row_for_each_method_of_the_plan():
    assert {planned.method for planned in read_plan(PLAN).runs} == set(METHODS)


def test_converged_and_exchanged_seeds_are_counted():
    found = rows(laboratory_page.results_table(SWEEP))
    # Student's t of two seeds is 12.706, so the interval of 0.96 and 0.98 is 0.97 ± 12.706 × 0.01.
    measured = ["0.970 ± 0.127", "0.970 ± 0.127", "0.950 ± 0.000", "0.800 ± 0.000"]
    assert found["MUNIT"] == ["50.0", "0.109", "50.0", "0.175", "2", "2", "0", *measured]
    assert found["UNIT"][4:7] == ["2", "0", "1"] and found["UNIT"][8] == "0.950 ± 0.635"
    assert found["BicycleGAN, trained on pairs"][4:] == ["0", "–", "–", *["not measured yet"] * 4]


def test_methods_are_compared_with_munit_seed_by_seed():
    found = rows(laboratory_page.differences_table(SWEEP))
    assert found["UNIT"][:2] == ["2", "-0.350 ± 3.431"]  # -0.62 and -0.08
    assert found["CycleGAN"][:2] == ["1", "-0.480"]  # MUNIT has no seed 2
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


def test_each_method_has_the_command_of_its_first_run():
    assert rows(laboratory_page.commands_table(SWEEP))["UNIT"] == ["0, 1", "abc", "`train it`"]


def test_the_figure_has_a_panel_for_each_measured_method_and_knows_its_data():
    image = Image.open(io.BytesIO(laboratory_page.curves_figure(SWEEP)))
    assert image.info["digest"] == laboratory_page.digest(SWEEP) != laboratory_page.digest({DATA: {}})
    changed = {DATA: SWEEP[DATA] | {"munit": {"0": run(0.96), "1": run(0.97)}}}
    assert laboratory_page.digest(changed) != laboratory_page.digest(SWEEP)


@pytest.mark.parametrize("text", ["undecided at 2 seeds", "0.970 ± 0.127", "train it"])
def test_the_page_holds_ledger_tables_and_commands(text):
    assert text in laboratory_page.page(SWEEP)
