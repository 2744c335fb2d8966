"""Where numbers come from: the commands, the device and the commit that a results file states."""

import subprocess

import torch

from munit_lite.experiments import provenance


def test_a_notebook_names_the_command_that_runs_it_again():
    command = provenance.papermill_command("09_training.ipynb", {"steps": 5, "seed": 1})
    assert command == "papermill notebooks/09_training.ipynb out.ipynb --cwd notebooks -p steps 5 -p seed 1"
    assert provenance.provenance({}, command)["command"] == command


def test_the_device_is_the_gpu_or_the_processor_with_its_threads(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert provenance.device_name().endswith(f"{torch.get_num_threads()} torch threads")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert provenance.device_name() == "a GPU"


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_named_and_marked_if_files_differ_from_it(tmp_path, monkeypatch):
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    git(tmp_path, "init", "-q")
    assert provenance.current_commit() == "unknown"  # nothing committed yet
    (tmp_path / "provenance.py").write_text("one = 1\n")
    git(tmp_path, "add", "provenance.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    name = git(tmp_path, "rev-parse", "--short", "HEAD")
    (tmp_path / "untracked.txt").write_text("does not count")
    assert provenance.current_commit() == name
    (tmp_path / "provenance.py").write_text("one = 2\n")
    assert provenance.current_commit() == f"{name}+"


def test_the_commit_is_unknown_without_git(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.current_commit() == "unknown"
