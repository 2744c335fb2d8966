"""The notebooks keep the template, are stored in normal form, and run with other parameters than the stored ones."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import papermill
import papermill.cli
import papermill.parameterize
import pytest
from notebook_files import (
    COURSE,
    NOTEBOOKS,
    REWRITTEN,
    ROOT,
    TEACHING,
    WRITTEN,
    calls_of,
    code,
    markdown,
    number_of,
    read,
)
from PIL import Image

import munit_lite
import munit_lite.course
from munit_lite.callbacks import default_callbacks
from munit_lite.course import check_parameters
from munit_lite.experiments.results import read_results, read_results_file

TAG_IGNORED = "nbval-ignore-output"
FIRST_EDITION = [name for name in WRITTEN if name not in REWRITTEN]


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


@pytest.mark.slow
def test_training_runs_with_another_seed_and_writes_results_with_their_provenance(tmp_path):
    results = tmp_path / "results.json"
    out = tmp_path / "run"
    execute("09_training.ipynb", tmp_path, fast=True, seed=1, style_dim=2, out=str(out), results=str(results))
    written = read_results_file(results)
    assert set(written["numbers"]) == {"sketch to painting", "painting to sketch"}
    assert written["provenance"]["settings"]["style_dim"] == 2 and written["provenance"]["settings"]["seed"] == 1
    assert list((out / "samples").glob("*.png")) and list((out / "weights").glob("*.safetensors"))


def test_training_keeps_every_log_that_the_command_keeps(tmp_path):
    """Sweeps run the notebook, and collect what its callbacks write."""
    source = "\n".join(cell.source for cell in code(read("09_training")))
    names = {type(callback).__name__ for callback in default_callbacks(tmp_path)} - {"ProgressBar"}
    assert "QualityLog" in names and all(f"{name}(" in source for name in names)


@pytest.mark.slow
def test_training_runs_on_real_images(tmp_path):
    if not os.environ.get("MUNIT_LITE_DATA"):
        pytest.skip("MUNIT_LITE_DATA names no folder with FashionMNIST")
    results = tmp_path / "results.json"
    out = str(tmp_path / "run")
    execute("09_training.ipynb", tmp_path, preset="fashion32", fast=True, out=out, results=str(results), test_count=8)
    assert "edge_agreement" in read_results(results)["drawing to photo"]


@pytest.mark.slow
def test_an_unknown_parameter_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match=r"unknown parameter 'stepps'; known: .*steps"):
        execute("09_training.ipynb", tmp_path, fast=True, stepps=3)


def own_images_command() -> str:
    """The command for two folders as the notebook states it."""
    (found,) = re.findall(r"papermill [^`]*?-p folder_1 [^`]*", markdown(read("09_training")))
    return found.strip()


def test_readme_and_notebook_state_the_same_command_for_two_folders():
    command = own_images_command()
    assert all(part in command for part in ("-p seed 3", "-p steps 500", "-p folder_2 "))
    assert command in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_command_for_two_folders_resumes_after_a_stop_and_refuses_other_settings(tmp_path):
    """With fewer steps of smaller networks than a reader's run, and otherwise as it is written."""
    for number, kind in enumerate(("cats", "dogs")):
        (tmp_path / kind).mkdir()
        for k in range(20):
            pixels = np.random.default_rng([number, k]).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{k}.png")
    command = own_images_command().replace("/path/to/", f"{tmp_path}/").replace("../runs/mine", str(tmp_path / "run"))
    command = command.replace("runs/mine.ipynb", str(tmp_path / "mine.ipynb")).replace("-p steps 500", "-p steps 60")
    overrides = "base_channels: 4, batch_size: 2, save_every: 5, log_every: 1, num_threads: 1"
    command += f" -p test_count 4 -y 'overrides: {{{overrides}}}'"

    def start(text: str) -> subprocess.Popen:
        words = [sys.executable, "-m", *shlex.split(text.replace("\\\n", ""))]
        return subprocess.Popen(words, cwd=ROOT, stdout=-1, stderr=subprocess.STDOUT, text=True)

    process = start(command)
    deadline = time.monotonic() + 240
    while not (tmp_path / "run" / "state.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    records = tmp_path / "run" / "metrics.jsonl"
    stopped = len(records.read_text().splitlines())
    assert process.returncode != 0 and 5 <= stopped < 60

    refused = start(command.replace("-p seed 3", "-p seed 4"))
    assert "seed: 3 in the folder, 4 requested" in refused.communicate(timeout=240)[0] and refused.returncode != 0
    again = start(command)
    output = again.communicate(timeout=400)[0]
    assert again.returncode == 0, output
    assert [json.loads(line)["step"] for line in records.read_text().splitlines()] == list(range(1, 61))


WRONG = {  # what follows -p on papermill's command line -> a part of the message
    "09_training": {
        "fast false": "fast is 'false', which is text; it must be True or False",
        "steps 1e3": "steps is 1000.0; it must be a whole number",
        "steps True": "steps is True; it must be a whole number",
        "seed 0.5": "seed is 0.5; it must be a whole number",
        "seed None": "seed is None; it must be a whole number",
        "style_dim 2.5": "style_dim is 2.5; it must be a whole number",
        "gan_weight abc": "gan_weight is 'abc', which is text; it must be a number",
        "learning_rate False": "learning_rate is False; it must be a number",
        "preset 32": "preset is 32; it must be text",
        "out 7": "write -r out 7",
        "test_count many": "test_count is 'many', which is text; it must be a whole number",
        "stepps 3": "unknown parameter 'stepps'",
    },
    "02_content_encoder": {
        "fast false": "fast is 'false'",
        "seed 1.5": "seed is 1.5; it must be a whole number",
        "sede 1": "unknown parameter 'sede'",
    },
    "15_experiments": {
        "fast no": "fast is 'no'",
        "seed x": "seed is 'x', which is text; it must be a whole number",
        "results 3": "results is 3; it must be text",
    },
}


@pytest.mark.parametrize(
    ("name", "passed", "message"), [(name, p, m) for name, cases in WRONG.items() for p, m in cases.items()]
)
def test_a_wrong_parameter_ends_in_a_sentence_before_anything_runs(name, passed, message):
    """Papermill's own reading of its command line, and the cell that it injects."""
    parameter, text = passed.split()
    value = papermill.cli._resolve_type(text)
    (defaults,) = [cell.source for cell in code(read(name)) if "parameters" in tags(cell)]
    injected = papermill.parameterize.translate_parameters("python3", "python", {parameter: value}, "Parameters")
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        check_parameters(["", defaults, injected])


def test_a_parameter_whose_default_is_an_expression_takes_any_value_unless_it_is_annotated():
    check_parameters(["", "out = str(Path('runs'))", "# Parameters\nout = 7"])
    with pytest.raises(TypeError, match="out is 7; it must be text"):
        check_parameters(["", "out: str = str(Path('runs'))", "# Parameters\nout = 7"])


# ---------------------------------------------------------------------------------------------------- the template
# Execution counts, errors, sizes and paths of machines are tested in test_project.py.


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def aims(name: str) -> str:
    """The cell "You will be able to …"."""
    (found,) = [c.source for c in read(name).cells if c.source.startswith("## You will be able to")]
    return found


def test_every_notebook_belongs_to_the_course():
    assert set(WRITTEN) <= set(COURSE)


@pytest.mark.parametrize("name", FIRST_EDITION)
def test_the_first_cell_says_where_one_is_and_what_it_takes(name):
    first = read(name).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith(f"# {number_of(name)} · ")
    assert all(f"**{word}**" in first.source for word in ("Time", "You need", "Paper"))


@pytest.mark.parametrize("name", WRITTEN)
def test_the_first_cell_links_its_neighbors(name):
    number = COURSE.index(name)
    neighbors = [COURSE[k] for k in (number - 1, number + 1) if 0 <= k < len(COURSE)]
    for neighbor in neighbors:
        assert f"]({neighbor}.ipynb)" in read(name).cells[0].source, neighbor


@pytest.mark.parametrize("name", WRITTEN)
def test_links_to_files_resolve(name):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", markdown(read(name))):
        planned = target.removesuffix(".ipynb") in COURSE  # a notebook of the course may still be in writing
        assert target.startswith("http") or planned or (NOTEBOOKS / target).exists(), target


@pytest.mark.parametrize("name", FIRST_EDITION)
def test_the_frame_is_there(name):
    cells = read(name).cells
    first_code = code(read(name))[0]
    assert "parameters" in tags(first_code) and re.search(r"^fast = False", first_code.source, flags=re.MULTILINE)
    assert sum("parameters" in tags(cell) for cell in cells) == 1
    setup = code(read(name))[1]
    assert TAG_IGNORED in tags(setup) and re.search(r"(setup_notebook|check_parameters)\(In\b", setup.source)
    assert 3 <= len(re.findall(r"^\d\. \*\*", aims(name), flags=re.MULTILINE)) <= 5
    assert pictures(name)
    recall = next(cell.source for cell in cells if cell.source.startswith("## Recall"))
    assert recall.count("<details><summary>answer</summary>") == len(re.findall(r"^\d\. ", recall, re.MULTILINE)) >= 3
    assert "**Next**" in cells[-1].source


CORE = {
    *("", "world", "networks", "losses", "model", "objective", "training_step", "training", "config", "presets"),
    "methods",
}


def imported_names(name: str) -> set[tuple[str, str]]:
    """What a notebook imports from the package: (module without `munit_lite.`, name)."""
    return {
        (node.module.removeprefix("munit_lite").lstrip("."), alias.name)
        for cell in code(read(name))
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "munit_lite"
        for alias in node.names
    }


@pytest.mark.parametrize("name", WRITTEN)
def test_a_notebook_imports_from_the_core_the_course_and_at_most_one_more_package(name):
    imported = imported_names(name)
    assert {module for module, _ in imported if module.startswith("course.")} == set(), "import from munit_lite.course"
    assert {attribute for module, attribute in imported if not module} <= {*munit_lite.__all__, *CORE}
    packages = {module.split(".")[0] for module, _ in imported} - CORE - {"course"}
    assert len(packages) <= 1, f"export the names of all but one of {sorted(packages)} in munit_lite/course"
    for cell in code(read(name)):
        assert "import munit_lite." not in cell.source


def test_the_course_exports_exactly_what_notebooks_import_from_it():
    imported = {attribute for name in WRITTEN for module, attribute in imported_names(name) if module == "course"}
    assert imported == set(munit_lite.course.__all__)


@pytest.mark.parametrize("name", munit_lite.course.__all__)
def test_each_name_that_the_course_exports_can_be_imported(name):
    assert getattr(munit_lite.course, name) is not None


def pictures(name: str) -> list[tuple[nbformat.NotebookNode, nbformat.NotebookNode]]:
    """The pictures of a notebook with their cells."""
    return [
        (cell, output) for cell in code(read(name)) for output in cell.outputs if "image/png" in output.get("data", {})
    ]


@pytest.mark.parametrize("name", WRITTEN)
def test_pictures_have_alternative_text(name):
    for cell, output in pictures(name):
        if TAG_IGNORED not in tags(cell):  # live curves, drawn anew in a cell below
            alt = output.metadata.get("image/png", {}).get("alt", "")
            assert len(alt) > 20, cell.source
    for image in re.findall(r"!\[(.*?)\]\(", markdown(read(name))):
        assert len(image) > 20


@pytest.mark.parametrize("name", FIRST_EDITION)
def test_only_the_set_up_is_folded(name):
    folded = [cell for cell in code(read(name)) if "hide-input" in tags(cell) or cell.metadata.get("jupyter", {}) != {}]
    assert folded == [code(read(name))[1]] and folded[0].metadata["jupyter"] == {"source_hidden": True}


@pytest.mark.parametrize("name", FIRST_EDITION)
def test_visible_code_cells_have_twenty_lines_at_most(name):
    for cell in code(read(name)):
        assert "hide-input" in tags(cell) or len(cell.source.splitlines()) <= 20, cell.source


@pytest.mark.parametrize("name", FIRST_EDITION)
def test_prose_has_at_most_2500_words(name):
    prose = re.sub(r"```.*?```|</?(?:details|summary)>", " ", markdown(read(name)), flags=re.DOTALL)
    assert len(prose.split()) <= 2500


@pytest.mark.parametrize("name", WRITTEN)
def test_no_output_prints_an_address(name):
    for cell in code(read(name)):
        for output in cell.outputs:
            told = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
            assert TAG_IGNORED in tags(cell) or not re.search(r" at 0x[0-9a-f]+>", told), cell.source


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_the_stored_form_is_normal(name):
    keys = "metadata.widgets metadata.papermill metadata.language_info cell.metadata.execution"
    options = ["--verify", "--keep-output", "--keep-count", "--keep-id", "--extra-keys", keys]
    command = [sys.executable, "-m", "nbstripout", *options, str(NOTEBOOKS / f"{name}.ipynb")]
    stripped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stripped.returncode == 0, f"make execute NB=notebooks/{name}.ipynb\n{stripped.stdout}"


@pytest.mark.parametrize("name", TEACHING)
def test_the_prediction_is_scored_below_by_something_measured(name):
    sources = [cell.source for cell in code(read(name))]
    asked = next(k for k, source in enumerate(sources) if "predict(" in source)
    scored = next(k for k, source in enumerate(sources) if "score_prediction(" in source)
    assert scored > asked
    (call,) = (
        node
        for node in ast.walk(ast.parse(sources[scored]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "score_prediction"
    )
    assert not isinstance(call.args[1], ast.Constant), "the right choice is typed in, not measured"


@pytest.mark.parametrize("name", WRITTEN)
def test_unsolved_exercises_are_stored_unsolved(name):
    for cell in code(read(name)):
        if calls_of(cell.source, "exercises"):
            told = "".join(output.get("text", "") for output in cell.outputs)
            assert told.strip().endswith("not attempted yet"), cell.source


@pytest.mark.slow
@pytest.mark.parametrize("name", TEACHING)
def test_a_teaching_notebook_runs_fast_with_another_seed(name, tmp_path):
    executed = execute(f"{name}.ipynb", tmp_path, fast=True, seed=1)
    (injected,) = [cell.source for cell in executed.cells if "injected-parameters" in tags(cell)]
    assert "seed = 1" in injected and "fast = True" in injected
    assert [cell.execution_count for cell in code(executed)] == list(range(1, len(code(executed)) + 1))
