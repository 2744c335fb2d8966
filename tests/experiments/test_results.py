"""Results files: flat records, their provenance, files of the first schema, and writing whole files or none."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from munit_lite.experiments import results
from munit_lite.experiments.results import (
    flatten,
    nest,
    read_records,
    read_results,
    read_results_file,
    write_results,
)

NUMBERS = {"sketch to painting": {"class_accuracy": 0.93, "contents": 1000}, "seeds": [0, 1, 2]}
SETTINGS = {"preset": "world32", "seed": 1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path / "data" / "results")
    return tmp_path / "data" / "results"


def test_numbers_come_back_as_they_were_written(home):
    assert write_results("quality", NUMBERS, SETTINGS) == home / "quality.json"
    assert read_results("quality") == NUMBERS


def test_a_path_that_ends_in_json_is_taken_as_it_is(home, tmp_path):
    path = write_results(tmp_path / "elsewhere" / "mine.json", NUMBERS, SETTINGS)
    assert path == tmp_path / "elsewhere" / "mine.json" and not home.exists()
    assert read_results(path) == NUMBERS


def test_the_file_says_where_its_numbers_come_from(home, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/munit-lite", "evaluate", "--count", "40"])
    provenance = json.loads(write_results("quality", NUMBERS, SETTINGS).read_text())["provenance"]
    assert set(provenance) == {"command", "commit", "settings", "device", "versions", "time"}
    assert provenance["command"] == "munit-lite evaluate --count 40"  # no path of this machine
    assert provenance["settings"] == SETTINGS
    assert torch.__version__.startswith(provenance["versions"]["torch"])  # without "+cpu"
    assert provenance["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "munit-lite" in provenance["versions"] and "numpy" in provenance["versions"]
    written = datetime.fromisoformat(provenance["time"])
    assert written.utcoffset() == timedelta(0) and abs(datetime.now(UTC) - written) < timedelta(minutes=1)


# ------------------------------------------------------------------------------------------------ flat records

RESULTS_FILES = sorted(results.RESULTS_DIR.glob("*.json"))
NESTED = {
    "seconds": 0.5,
    "optimality": {
        "holds": True,
        "effect": 0.1,
        "effect_interval": 0.02,
        "median": None,
        "parts": [{"name": "a", "low": -1}, {"name": "b"}],
        "confusion": [[1, 2], [3, 4]],
        "empty": {},
        "none": [],
    },
    "sketch to painting": {"other_interval": 1, "other": 2, "deep": {"x": {"y": 1}}, "x_interval": 3},
}
RUN = {
    "parameters": {"preset": "p"},
    "attempts": [{"commit": "a", "time": "t"}],
    "quality": [{"step": 250, "there": {"class_accuracy": 0.5, "confusion": [[1, 2], [3, 4]]}}],
}
SWEEP = {
    "world32": {
        "munit": {
            "0": RUN | {"numbers": {"there": {"a": 1, "a_interval": 0.5}, "back": {"a": 2}}, "provenance": {"x": 1}},
            "10": {"parameters": {}, "numbers": {}, "provenance": {}},
        }
    },
    "fashion32": {"unit": {"0": RUN | {"numbers": {"there": {"b": 0.1}}, "provenance": {}}}},
}


def test_records_are_flat_rows_that_say_what_was_measured():
    records = flatten(NESTED, columns=("proposition", "list", "part"))
    assert records[:3] == [
        {"metric": "seconds", "value": 0.5},
        {"proposition": "optimality", "metric": "holds", "value": True},
        {"proposition": "optimality", "metric": "effect", "value": 0.1, "half_width": 0.02},
    ]
    assert {"proposition": "optimality", "list": "parts", "part": 0, "metric": "low", "value": -1} in records
    assert flatten({"a to b": {"n": 1}, "b to a": {"n": 2}})[1] == {"direction": "b to a", "metric": "n", "value": 2}
    assert flatten({"a": {"n": 1}}) == [{"level_1": "a", "metric": "n", "value": 1}]


@pytest.mark.parametrize("numbers", [NESTED, SWEEP, {}, {"a_interval": 1, "a": {"b": 1}, "c": 1, "c_interval": 2}])
def test_nested_numbers_come_back_from_the_file_as_they_were_in_the_same_order(numbers, home):
    path = write_results("any", numbers, SETTINGS)
    assert json.dumps(read_results("any")) == json.dumps(numbers)
    content = json.loads(path.read_text())
    assert content["schema"] == 2 and read_records("any") == content["records"]
    if numbers is not SWEEP:
        assert nest(content["records"]) == numbers and "runs" not in content


@pytest.mark.parametrize("schema", [1, 2])
def test_the_attempts_of_a_run_are_read_under_their_old_name(schema, home):
    path = write_results("sweep", SWEEP, SETTINGS)
    text = path.read_text() if schema == 2 else json.dumps({"numbers": SWEEP})
    path.write_text(text.replace('"attempts"', '"starts"'))
    assert '"starts"' in path.read_text() and read_results("sweep") == SWEEP


def test_a_sweeps_file_has_a_table_of_records_and_a_table_of_runs(home):
    content = json.loads(write_results("sweep", SWEEP, SETTINGS).read_text())
    key = {"data": "world32", "method": "munit", "seed": 0}
    assert content["records"][0] == key | {"direction": "there", "metric": "a", "value": 1, "half_width": 0.5}
    assert content["runs"][0] == key | RUN | {"provenance": {"x": 1}}
    assert content["runs"][1] == key | {"seed": 10, "parameters": {}, "provenance": {}}
    assert len(content["records"]) == 3 and len(content["runs"]) == 3


@pytest.mark.parametrize("numbers", [NESTED, SWEEP], ids=["numbers", "sweep"])
def test_a_file_of_the_first_schema_is_read_like_one_of_today(numbers, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"numbers": numbers, "provenance": {"commit": "c"}}))
    write_results(new, numbers, SETTINGS)
    assert read_results(old) == numbers and read_records(old) == read_records(new)
    assert read_results_file(old)["provenance"] == {"commit": "c"}


@pytest.mark.parametrize("file", RESULTS_FILES, ids=[file.stem for file in RESULTS_FILES])
def test_every_results_file_loads_as_one_table(file):
    content, records = json.loads(file.read_text()), read_records(file)
    assert content["schema"] == 2 and content["provenance"]["commit"]
    assert records and all({"metric", "value"} <= set(record) for record in records)
    columns = [{key: value for key, value in r.items() if key not in ("value", "half_width")} for r in records]
    assert not any(isinstance(value, dict | list) for row in columns for value in row.values())
    assert len({tuple(row.items()) for row in columns}) == len(records)  # no row contradicts another


# --------------------------------------------------------------------------------------------------- whole files


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(home):
    write_results("quality", {"old": 1}, SETTINGS)
    write_results("quality", NUMBERS, SETTINGS)
    assert read_results("quality") == NUMBERS
    assert [file.name for file in home.iterdir()] == ["quality.json"]


@pytest.mark.parametrize("failure", ["cannot be stored", "killed before the rename"])
def test_a_write_that_fails_leaves_the_old_file_whole(home, monkeypatch, failure):
    path = write_results("quality", NUMBERS, SETTINGS)
    before = path.read_bytes()
    if failure == "cannot be stored":
        with pytest.raises(TypeError):
            write_results("quality", {"tensor": torch.zeros(2)}, SETTINGS)
    else:

        def killed(self, target):
            assert self.parent == Path(target).parent  # a rename within a folder is atomic
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_results("quality", {"new": 1}, SETTINGS)
    assert path.read_bytes() == before and read_results("quality") == NUMBERS
