"""What 15_experiments shows is what `data/results/` holds: its tables and its ledger are built again from the JSON."""

import re

import pytest
from notebook_files import NOTEBOOKS, code, markdown, read

from munit_lite.experiments import tables as paper_tables
from munit_lite.experiments.claims import compare, ledger_table
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.paths import RESULTS_DIR

NAME = "15_experiments"
SWEEP, PLAN = read_results("paper_tables"), read_plan(paper_tables.PAPER_SWEEP)
METHODS = [run.method for run in PLAN.runs if run.data == "fashion32"]
STATED = {"1.96", "0.975"}  # of the normal distribution and of an interval, not measured


def printed_tables() -> list[str]:
    return [output.get("data", {}).get("text/markdown", "") for cell in code(read(NAME)) for output in cell.outputs]


@pytest.mark.parametrize(
    "table",
    [
        paper_tables.table_1(SWEEP),
        paper_tables.table_2(SWEEP),
        paper_tables.photo_table(SWEEP, METHODS),
        ledger_table(compare(PLAN.expectations, SWEEP)),
    ],
    ids=["table 1", "table 2", "photos", "ledger"],
)
def test_the_stored_tables_are_those_of_the_results(table):
    assert table in printed_tables(), f"make execute NB=notebooks/{NAME}.ipynb"


def test_the_prose_holds_no_measured_number():
    prose = re.sub(r"```.*?```", "", markdown(read(NAME)), flags=re.DOTALL)
    assert set(re.findall(r"\d+\.\d\d+", prose)) <= STATED


def test_every_file_that_the_notebook_reads_is_there():
    read_files = set(
        re.findall(r'read_results\("(\w+)"\)', (NOTEBOOKS / f"{NAME}.ipynb").read_text().replace("\\", ""))
    )
    assert read_files and all((RESULTS_DIR / f"{name}.json").exists() for name in read_files)
