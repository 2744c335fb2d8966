"""Papermill drives the notebooks with other parameters than the stored ones."""

import json
import os
from pathlib import Path

import nbformat
import papermill
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def execute(name: str, tmp_path: Path, **parameters) -> nbformat.NotebookNode:
    return papermill.execute_notebook(
        str(NOTEBOOKS / name),
        str(tmp_path / name),
        parameters=parameters,
        cwd=str(NOTEBOOKS),
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=300,
    )


def test_training_runs_with_another_seed_and_writes_results_with_their_provenance(tmp_path):
    results = tmp_path / "results.json"
    out = tmp_path / "run"
    execute("09_training.ipynb", tmp_path, fast=True, seed=1, style_dim=2, out=str(out), results=str(results))
    written = json.loads(results.read_text())
    assert set(written["numbers"]) == {"sketch to painting", "painting to sketch"}
    assert written["provenance"]["settings"]["style_dim"] == 2 and written["provenance"]["settings"]["seed"] == 1
    assert list((out / "samples").glob("*.png")) and list((out / "weights").glob("*.safetensors"))


def test_training_runs_on_real_images(tmp_path):
    if not os.environ.get("MUNIT_LITE_DATA"):
        pytest.skip("MUNIT_LITE_DATA names no folder with FashionMNIST")
    results = tmp_path / "results.json"
    out = str(tmp_path / "run")
    execute("09_training.ipynb", tmp_path, preset="fashion32", fast=True, out=out, results=str(results), test_count=8)
    assert "edge_agreement" in json.loads(results.read_text())["numbers"]["drawing to photo"]


def test_an_unknown_parameter_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match=r"unknown parameter 'stepps'; known: .*steps"):
        execute("09_training.ipynb", tmp_path, fast=True, stepps=3)
