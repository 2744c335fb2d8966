"""Measured numbers travel with where they come from, and a file is replaced whole or not at all."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from munit_lite.experiments import results
from munit_lite.experiments.results import read_results, write_results

NUMBERS = {"sketch to painting": {"class_accuracy": 0.93, "contents": 1000}, "seeds": [0, 1, 2]}
SETTINGS = {"preset": "world32", "seed": 1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "data" / "results")
    return tmp_path / "data" / "results"


def test_numbers_come_back_as_they_were_written(home):
    assert write_results("quality", NUMBERS, SETTINGS) == home / "quality.json"
    assert read_results("quality") == NUMBERS


def test_a_path_that_ends_in_json_is_taken_as_it_is(home, tmp_path):
    path = write_results(tmp_path / "elsewhere" / "mine.json", NUMBERS, SETTINGS)
    assert path == tmp_path / "elsewhere" / "mine.json" and not home.exists()
    assert json.loads(path.read_text())["numbers"] == NUMBERS


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


def test_a_notebook_names_the_command_that_runs_it_again(home):
    command = results.papermill_command("09_training.ipynb", {"steps": 5, "seed": 1})
    assert command == "papermill notebooks/09_training.ipynb out.ipynb --cwd notebooks -p steps 5 -p seed 1"
    provenance = json.loads(write_results("quality", NUMBERS, SETTINGS, command=command).read_text())["provenance"]
    assert provenance["command"] == command


def test_the_device_is_the_gpu_or_the_processor_with_its_threads(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert results.device_name().endswith(f"{torch.get_num_threads()} torch threads")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert results.device_name() == "a GPU"


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_named_and_marked_if_files_differ_from_it(tmp_path, monkeypatch):
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    git(tmp_path, "init", "-q")
    assert results.commit() == "unknown"  # nothing committed yet
    (tmp_path / "results.py").write_text("one = 1\n")
    git(tmp_path, "add", "results.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    name = git(tmp_path, "rev-parse", "--short", "HEAD")
    (tmp_path / "untracked.txt").write_text("does not count")
    assert results.commit() == name
    (tmp_path / "results.py").write_text("one = 2\n")
    assert results.commit() == f"{name}+"


def test_the_commit_is_unknown_without_git(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert results.commit() == "unknown"


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
