"""nbval_numbers.py: texts are compared exactly, numbers within 2 % or one unit of the last digit."""

import os
import re
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace

import nbformat
import nbval_numbers
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval_numbers import METADATA, TOLERANCE, Number, accept_numbers, cell_tolerance, compare_texts, tokens
from notebook_files import ROOT, WRITTEN, code, read

# --------------------------------------------------------------------------------------------------- two texts


def numbers(text: str) -> list[str]:
    return [token.text for token in tokens(text) if isinstance(token, Number)]


def equal(stored: str, computed: str, tolerance: Decimal = TOLERANCE) -> bool:
    return not compare_texts(stored, computed, tolerance).problems


@pytest.mark.parametrize(
    ("stored", "computed"),
    [
        ("loss 1.000", "loss 1.020"),  # 2 %
        ("loss 1.000", "loss 0.980"),
        ("loss -1.000", "loss -1.020"),
        ("R² −0.500", "R² −0.509"),  # the minus of typography
        ("0.03", "0.04"),  # one unit of the last digit
        ("0.00", "-0.01"),
        ("0.0 ± 0.0", "0.0 ± 0.1"),
        ("0.00", "-0.00"),
        ("1e-07", "9e-08"),
        ("1.50e+06", "1.52e+06"),
        ("1,000.0", "1,019.9"),
        ("10", "9.98"),  # both are printed with three digits at most
        ("37 ± 4", "38 ± 4"),  # an integer that is measured
        ("37 % of the pixels", "38 % of the pixels"),
        ("37%", "38%"),
        ("[0.50, -0.50]", "[0.51, -0.49]"),
        ("[[ 0.00,  0.50]]", "[[-0.01,  0.50]]"),
        ("| a | 0.50 |", "| a | 0.51 |"),
        ("<td>0.50</td>", "<td>0.51</td>"),
        ("0.11, 0.07 to 0.15", "0.12, 0.07 to 0.16"),
        ("it ends at 0.50.", "it ends at 0.51."),
        ("x = 0.50", "x = 0.51"),
        ("0.50 -> 0.70", "0.51 -> 0.71"),
        ("p(0.5)-0.50", "p(0.5)-0.51"),
        ("run    loss\nfirst   9.9\n", "run     loss\nfirst   10.0\n"),  # one space more in a table's head
        ("   9.9  1.0\n  20.0  1.0", "10.0  1.0\n20.0  1.0"),
    ],
)
def test_equal_within_the_tolerance(stored, computed):
    assert equal(stored, computed)


@pytest.mark.parametrize(
    ("stored", "computed"),
    [
        ("loss 1.000", "loss 1.021"),
        ("loss 1.000", "loss 0.979"),
        ("loss 1.00", "loss 1.03"),
        ("0.03", "0.05"),
        ("0.00", "0.02"),
        ("0.86 ± 0.04", "0.86 ± 0.06"),
        ("0.50", "-0.50"),  # another sign
        ("-0.01", "0.01"),
        ("1.50e-06", "1.50e-05"),  # another exponent
        ("1e-07", "3e-07"),
        ("0", "0.5"),
        ("10", "9.1"),  # to one decimal, the finer of both
        (f"p {1 / 1000:#.2g}", f"p {0.0:#.2g}"),  # two significant digits are never a unit away from zero
        ("1,000.0", "1,021.0"),
        ("3 of 3", "2 of 3"),  # integers count
        ("1000 images", "1001 images"),
        ("10,000 images", "10,001 images"),
        ("(8, 3, 32, 32)", "(8, 3, 32, 33)"),
        ("37 ± 4", "39 ± 4"),
        ("30 %", "32 %"),
        ("error < 1e-6", "error < 2e-6"),  # bounds
        ("R² > 0.99", "R² > 0.98"),
        ("p ≤ 0.05", "p ≤ 0.04"),
        ("p <= 0.05", "p <= 0.04"),
        ("<td>0.50</td>", "<td>0.52</td>"),
        ('<td width="0.50">', '<td width="0.51">'),
        ("loss 0.50", "loss of 0.50"),  # words
        ("accuracy yes", "accuracy no"),
        ("0.50 s", "0.50 ms"),
        ("0.50", "nan"),
        ("0.50", "inf"),
        ("inf", "-inf"),
        ("0.50 ± 0.04", "0.50"),
        ("0.50\n", "0.50\n0.50\n"),
        ("0.50\n", "0.50"),
        ("a\n\nb", "a\nb"),
        ("0.50 - 0.30", "0.50 + 0.30"),
        ("x1 0.50", "x2 0.50"),  # digits inside words
        ("seed0", "seed1"),
        ("version 2.15.0", "version 2.15.1"),
        ("2.15.0+cu132", "2.15.0+cu133"),
        ("run_0.50.json", "run_0.51.json"),
        ("run-0.50", "run-0.51"),
        ("runs/0.50", "runs/0.51"),
        ("10⁻⁵", "10⁻⁶"),
        ("hash 12345e67", "hash 12346e67"),
        ("`eps = 0.50`", "`eps = 0.51`"),  # code
        ("```python\neps = 0.50\n```", "```python\neps = 0.51\n```"),
        ("```python\nif a:\n    b\n```", "```python\nif a:\nb\n```"),
    ],
)
def test_different_beyond_the_tolerance(stored, computed):
    assert not equal(stored, computed)


@pytest.mark.parametrize("text", ["x1 seed0 .05 1.2.3 0.5s 3f2a run-7 a_0.5 0.5.json 10⁵ ½ `0.5`", "nan inf", "", "\n"])
def test_a_text_without_numbers(text):
    assert numbers(text) == [] and equal(text, text)


def test_the_numbers_of_a_text():
    text = "style_dim 3: (-1, +0.5), 10-20, 1,234.5 and 1e-06; 2 * 0.034 - 1.386; x_{1 \\to 2} −2.50 '0.67', 95 %."
    found = ["3", "-1", "+0.5", "10", "20", "1,234.5", "1e-06", "2", "0.034", "1.386", "1", "2", "−2.50", "0.67", "95"]
    assert numbers(text) == found


def test_the_stored_number_is_the_base():
    assert equal("102.0", "100.0") and equal("100.0", "102.0")
    assert equal("0.10000", "0.10200") and not equal("0.10200", "0.09995")


@pytest.mark.parametrize(("tolerance", "same"), [("0.05", True), ("0.03", False)])
def test_a_cell_may_have_a_larger_tolerance_for_measurements_alone(tolerance, same):
    assert equal("1.00", "1.04", Decimal(tolerance)) is same
    assert not equal("100", "101", Decimal(tolerance)) and not equal("a 1.00", "b 1.00", Decimal(tolerance))


def test_a_report_shows_both_numbers_the_tolerance_and_the_lines():
    (first, second), moved = compare_texts("kept\nloss 1.00\nn 3\n", "kept\nloss 1.03\nn 4\n")
    assert first.splitlines() == [
        "line 2: stored 1.00, computed 1.03; they differ by 0.03, allowed is 0.0200 (2 % of the stored number)",
        "    stored:   loss 1.00",
        "    computed: loss 1.03",
    ]
    assert second.startswith("line 3: stored 3, computed 4; they differ by 1, allowed is 0 (integers and bounds are")
    assert [difference.spread for difference in moved] == [0.03, 0.0]
    (unit,), _ = compare_texts("0.03", "0.05")
    assert "they differ by 0.02, allowed is 0.01 (one unit of the last digit)" in unit


def test_a_report_shows_the_first_line_whose_text_differs():
    (problem,), _ = compare_texts("loss 1.00\nall right\n", "loss 1.01\nnot right\n")
    assert problem == "line 2: the text differs\n    stored:   all right\n    computed: not right"
    (problem,), _ = compare_texts("one\n", "one\ntwo\n")
    assert problem.startswith("line 2: the text differs")
    (problem,), _ = compare_texts("```\nif a:\n    b\n```", "```\nif a:\nb\n```")
    assert problem.startswith("line 3: the text differs")


def test_a_report_lists_ten_numbers_and_how_many_more():
    problems, moved = compare_texts("\n".join(12 * ["1.00"]), "\n".join(12 * ["2.00"]))
    assert len(problems) == 11 and problems[-1] == "and 2 more numbers" and len(moved) == 12


def test_numbers_that_moved_within_the_tolerance_are_known():
    comparison = compare_texts("0.50 1.000 0.00 7", "0.51 1.015 0.01 7")
    assert comparison.problems == []
    assert [(d.stored, d.computed, d.spread) for d in comparison.moved] == [
        ("0.50", "0.51", 0),
        ("1.000", "1.015", 0.015),
        ("0.00", "0.01", 0),
    ]


# ----------------------------------------------------------------------------------------------- a cell's tolerance


@pytest.mark.parametrize(("tolerance", "spread"), [(0.05, 0.03), (0.05, 0.05), (0.06, 0.03)])
def test_a_tolerance_with_the_measured_spread(tolerance, spread):
    assert cell_tolerance({METADATA: {"tolerance": tolerance, "spread": spread}}) == Decimal(str(tolerance))


def test_without_metadata_a_cell_has_two_percent():
    assert cell_tolerance({"tags": ["hide-input"]}) == Decimal("0.02")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tolerance": 0.05}, 'must hold a "tolerance" and the measured "spread"'),
        ({"spread": 0.05}, 'must hold a "tolerance" and the measured "spread"'),
        ({"tolerance": 0.05, "spread": 0.03, "unit": 2}, 'must hold a "tolerance" and the measured "spread"'),
        (0.05, 'must hold a "tolerance" and the measured "spread"'),
        ({"tolerance": "0.05", "spread": 0.03}, "\"tolerance\" must be a fraction between 0 and 1, not '0.05'"),
        ({"tolerance": 0.05, "spread": True}, '"spread" must be a fraction between 0 and 1, not True'),
        ({"tolerance": 1.2, "spread": 0.8}, '"tolerance" must be a fraction between 0 and 1, not 1.2'),
        ({"tolerance": 0.05, "spread": 0}, '"spread" must be a fraction between 0 and 1, not 0'),
        ({"tolerance": 0.02, "spread": 0.02}, "is not larger than 0.02, which every cell has"),
        ({"tolerance": 0.07, "spread": 0.03}, "must lie between the measured spread 0.03 and twice the spread"),
        ({"tolerance": 0.03, "spread": 0.05}, "must lie between the measured spread 0.05 and twice the spread"),
    ],
)
def test_a_tolerance_that_nobody_measured_is_an_error(asked, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cell_tolerance({METADATA: asked})


@pytest.mark.parametrize("name", WRITTEN)
def test_the_notebooks_ask_for_measured_tolerances_where_outputs_are_compared(name):
    for cell in read(name).cells:
        if METADATA in cell.metadata:
            cell_tolerance(cell.metadata)
            assert cell in code(read(name)) and "nbval-ignore-output" not in cell.metadata.get("tags", [])


# --------------------------------------------------------------------------------------------------------- outputs


def stdout(text: str) -> nbformat.NotebookNode:
    return new_output("stream", name="stdout", text=text)


def test_a_stored_text_gives_way_to_an_equal_one_and_the_notebook_is_not_changed():
    stored = [stdout("loss 1.00\n"), new_output("display_data", {"text/plain": "0.50", "image/png": "abc"})]
    computed = [stdout("loss 1.01\n"), new_output("display_data", {"text/plain": "0.60", "image/png": "abd"})]
    accepted, problems, moved = accept_numbers(computed, stored, TOLERANCE)
    assert accepted[0].text == "loss 1.01\n" and stored[0].text == "loss 1.00\n"
    assert accepted[1].data == stored[1].data == {"text/plain": "0.50", "image/png": "abc"}
    assert len(problems) == 1 and problems[0].startswith("text/plain, line 1: stored 0.50, computed 0.60")
    assert len(moved) == 2


def test_outputs_of_another_number_are_left_to_nbval():
    stored = [stdout("1.00"), new_output("display_data", {"text/plain": "0.50"})]
    accepted, problems, moved = accept_numbers([stdout("1.01"), *stored[1:], *stored[1:]], stored, TOLERANCE)
    assert [accepted[0].text, accepted[1:], problems] == ["1.01", stored[1:], []] and len(moved) == 1


def test_another_nbval_is_an_error(monkeypatch):
    class Cell:
        def compare(self, test, ref): ...

    monkeypatch.setattr("nbval.plugin.IPyNbCell", Cell)
    with pytest.raises(pytest.UsageError, match="which this version of nbval does not have"):
        nbval_numbers.pytest_itemcollected(Cell())
    nbval_numbers.pytest_itemcollected(SimpleNamespace())  # a test of another kind


# ------------------------------------------------------------------------------------------------- nbval itself

CELLS = {  # name: (source, stored output, metadata), and whether nbval must call it equal
    "unchanged": (("print('loss 1.00')", "loss 1.00\n", {}), True),
    "within": (("print('loss   1.00')", "loss 1.02\n", {}), True),
    "unit": (("print('0.0 ± 0.1')", "0.1 ± 0.0\n", {}), True),
    "beyond": (("print('loss 1.03')", "loss 1.00\n", {}), False),
    "words": (("print('gain 1.00')", "loss 1.00\n", {}), False),
    "count": (("print('3 of 3')", "2 of 3\n", {}), False),
    "nothing": (("pass", "loss 1.00\n", {}), False),
    "spread": (("print('1.04')", "1.00\n", {METADATA: {"tolerance": 0.05, "spread": 0.04}}), True),
    "beyond the spread": (("print('1.06')", "1.00\n", {METADATA: {"tolerance": 0.05, "spread": 0.04}}), False),
    "no spread": (("print('1.00')", "1.00\n", {METADATA: {"tolerance": 0.05}}), False),
    "after": (("print('0.50')", "0.49\n", {}), True),
}


def write(path, cells: dict) -> None:
    stored = [
        new_code_cell(source, execution_count=k, outputs=[stdout(text)], metadata=metadata)
        for k, ((source, text, metadata), _) in enumerate(cells.values(), 1)
    ]
    nbformat.write(new_notebook(cells=stored), path)


def nbval(folder, *options: str) -> str:
    """What pytest prints of the notebooks in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += ["--rootdir", str(folder), "-c", os.devnull, "--color=no", "-rA", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist", "loadscope"]], ids=["one process", "two workers"])
def test_nbval_is_green_within_the_tolerance_and_red_beyond(tmp_path, workers):
    for name in ("a", "b") if workers else ("a",):
        write(tmp_path / f"{name}.ipynb", CELLS)
    printed = nbval(tmp_path, "-p", "nbval_numbers", "--nbval-spread", *workers)
    for name in ("a", "b") if workers else ("a",):
        outcomes = dict(re.findall(rf"^(?:PASSED|FAILED) {name}\.ipynb::(Cell \d+)(.*)$", printed, re.MULTILINE))
        assert len(outcomes) == len(CELLS)
        passed = re.findall(rf"^PASSED {name}\.ipynb::Cell (\d+)", printed, re.MULTILINE)
        assert [list(CELLS)[int(k)] for k in sorted(passed, key=int)] == [k for k, (_, same) in CELLS.items() if same]
        assert f"{name}.ipynb::Cell 3: 1 moved, 1 too far; spread 0.03, from 1.00 to 1.03" in printed
        assert f"{name}.ipynb::Cell 2: 2 moved, 0 too far; within one unit each" in printed
    assert "stdout, line 1: stored 1.00, computed 1.03; they differ by 0.03, allowed is 0.0200 (2 % of" in printed
    assert "stdout, line 1: stored 1.00, computed 1.06; they differ by 0.06, allowed is 0.0500 (5 % of" in printed
    assert "stdout, line 1: the text differs\n    stored:   loss 1.00\n    computed: gain 1.00" in printed
    assert "Missing output fields from running code: {'stdout'}" in printed
    assert 'Cell 9: metadata "munit_lite" must hold a "tolerance" and the measured "spread", not' in printed


def test_without_the_plugin_nbval_is_red_within_the_tolerance(tmp_path):
    write(tmp_path / "a.ipynb", {"within": CELLS["within"]})
    assert "FAILED a.ipynb::Cell 0" in nbval(tmp_path)
    assert "PASSED a.ipynb::Cell 0" in nbval(tmp_path, "-p", "nbval_numbers")
