"""The faults of seeded_faults.py fit the package, and the recorded run noticed them."""

import json

import pytest
import seeded_faults
from notebook_files import ROOT, WRITTEN, number_of
from seeded_faults import FAULTS, NBVAL, NOTICED, noticed, table

from munit_lite.experiments.results import read_results


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_its_file_and_still_compiles(fault):
    file = ROOT / "munit_lite" / fault.file
    source = file.read_text()
    faulty = fault.put_into(source)
    assert faulty != source
    compile(faulty, str(file), "exec")
    assert {f"{number}_" for number in fault.taught_in} <= {name[:3] for name in WRITTEN}


@pytest.mark.parametrize("times", [0, 2])
def test_text_that_does_not_occur_once_is_an_error(times):
    fault = FAULTS[0]
    with pytest.raises(ValueError, match=rf"occurs {times} times in munit_lite/{fault.file}, not once"):
        fault.put_into(times * f"{fault.old}\n")


def test_nbval_runs_as_in_make_test():
    recipe = " ".join((ROOT / "Makefile").read_text().replace("\\\n", " ").split())
    assert f"MUNIT_LITE_FAST=1 PYTHONPATH=tests $(BIN)/pytest {' '.join(NBVAL)}" in recipe


def test_a_copy_holds_the_package_the_notebooks_and_what_they_read(tmp_path):
    seeded_faults.copy_of_the_tree(tmp_path)
    for name in (
        "munit_lite/theory/two_sample.py",
        "notebooks/02_content_encoder.ipynb",
        "data/results/attribute_predictors.json",
    ):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A record in another folder, and notebooks that turn red where the test says so: {fault or "": notebooks}."""
    reds: dict[str, set[str]] = {}
    ran = []

    def first_red(tree, notebook):
        copied, own = tree / "munit_lite", ROOT / "munit_lite"
        faults = [f for f in FAULTS if (copied / f.file).read_text() == f.put_into((own / f.file).read_text())]
        (name,) = [fault.name for fault in faults] or [""]
        ran.append((name, number_of(notebook)))
        return {"cell": "c", "nbval": "Cell outputs differ"} if number_of(notebook) in reds.get(name, ()) else None

    monkeypatch.setattr(seeded_faults, "first_red", first_red)
    monkeypatch.setattr("munit_lite.experiments.results.RESULTS_DIR", tmp_path)
    monkeypatch.setattr(seeded_faults, "RESULTS_DIR", tmp_path)
    return reds, ran


def test_others_run_only_if_the_notebooks_that_teach_it_stay_green(pretended):
    reds, ran = pretended
    reds |= {fault.name: set(fault.taught_in) for fault in FAULTS[:-1]}
    assert seeded_faults.main(jobs=1) == 0
    for fault in FAULTS[:-1]:
        assert [number for name, number in ran if name == fault.name] == list(fault.taught_in)
    for unnoticed in ("", FAULTS[-1].name):
        assert sorted(number for name, number in ran if name == unnoticed) == [number_of(name) for name in WRITTEN]
    assert noticed(read_results("seeded_faults")) == [fault.name for fault in FAULTS[:-1]]


def test_fewer_than_nine_noticed_is_a_failure(pretended):
    reds, _ = pretended
    reds |= {fault.name: set(fault.taught_in) for fault in FAULTS[2:]}
    assert seeded_faults.main(jobs=1) == 1


def test_notebooks_that_are_red_without_a_fault_stop_everything(pretended):
    reds, ran = pretended
    reds[""] = {"05"}
    assert seeded_faults.main(jobs=1) == 1
    assert {name for name, _ in ran} == {""}


def test_a_run_goes_on_and_one_fault_can_be_run_again(pretended):
    _, ran = pretended
    seeded_faults.main(only=(FAULTS[3].name,), jobs=1)
    ran.clear()
    seeded_faults.main(jobs=1)
    assert {name for name, _ in ran} == {fault.name for fault in FAULTS} - {FAULTS[3].name}
    assert list(read_results("seeded_faults")["faults"]) == [fault.name for fault in FAULTS]
    ran.clear()
    seeded_faults.main(only=(FAULTS[3].name,), jobs=1)
    assert {name for name, _ in ran} == {FAULTS[3].name}


def test_a_record_of_another_commit_does_not_count(pretended, tmp_path):
    _, ran = pretended
    seeded_faults.main(only=(FAULTS[3].name,), jobs=1)
    path = tmp_path / "seeded_faults.json"
    record = json.loads(path.read_text())
    record["provenance"]["commit"] = "0000000"
    path.write_text(json.dumps(record))
    ran.clear()
    seeded_faults.main(only=(FAULTS[0].name,), jobs=1)
    assert {name for name, _ in ran} == {"", FAULTS[0].name}


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown faults \['none'\]; known: content norm missing, "):
        seeded_faults.main(only=("none",))


# ------------------------------------------------------------------------------------------------- what is recorded


def test_the_record_is_of_these_faults_and_green_without_one():
    measured = read_results("seeded_faults")
    assert list(measured["faults"]) == [fault.name for fault in FAULTS]
    assert measured["control"] and not any(measured["control"].values())


def test_at_least_nine_of_ten_faults_turned_a_notebook_red():
    assert len(FAULTS) == 10 and len(noticed(read_results("seeded_faults"))) >= NOTICED


def test_the_table_has_a_line_for_each_fault_and_one_without():
    lines = table(read_results("seeded_faults")).splitlines()
    assert len(lines) == len(FAULTS) + 2 and "red" not in lines[1]
