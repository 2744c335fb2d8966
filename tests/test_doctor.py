"""The doctor: what it says of a healthy machine, and that it finds each thing that is broken."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from tiny import tiny

import munit_lite as ml
from munit_lite import doctor
from munit_lite.doctor import Fact, Problem, diagnose
from munit_lite.evaluation import weight_files
from munit_lite.experiments import notebook_times, results
from munit_lite.experiments.results import read_results
from munit_lite.paths import CHECKPOINTS_DIR
from munit_lite.storage.checkpoints import save_model


def look(topic) -> tuple[dict[str, Fact], list[Problem]]:
    found = list(doctor.TOPICS[topic]())
    facts = {fact.name: fact for fact in found if isinstance(fact, Fact)}
    return facts, [problem for problem in found if isinstance(problem, Problem)]


def command(*arguments, broken: Path | None = None) -> subprocess.CompletedProcess:
    """`munit-lite` in a process of its own, in which the packages of the folder `broken` hide the real ones."""
    script = f"import sys; sys.path[:0] = {[str(broken)] if broken else []}; from munit_lite.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def breaking(folder: Path, package: str, error: str) -> Path:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(f"raise {error}\n")
    return folder


@pytest.mark.slow
def test_a_healthy_machine_exits_with_0_and_prints_one_json_object():
    done = command("doctor", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["healthy"] is True and not [p for p in report["problems"] if p["essential"]]
    assert report["torch"]["build"] == torch.__version__
    assert report["software"]["numpy"] == np.__version__
    assert set(report) == {"healthy", *doctor.TOPICS, "problems"}
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert report["machine"]["memory, GiB"] == pytest.approx(installed, abs=0.1)
    assert report["machine"]["cores"] == len(os.sched_getaffinity(0))


def test_words_name_every_fact_and_every_problem():
    facts = [Fact("root", "here"), Fact("size", 3, "3 GiB")]
    report = doctor.Report({"data": facts}, [Problem("x is broken: mend it")])
    assert report.healthy and report.text().splitlines() == [
        "data",
        "  root                   here",
        "  size                   3 GiB",
        "problems",
        "  optional   x is broken: mend it",
    ]
    report.problems.append(Problem("y is missing", essential=True))
    assert not report.healthy and "essential  y is missing" in report.text()


# A torchvision built for another torch fails in exactly this way when it is imported.
MISMATCH = 'RuntimeError("operator torchvision::nms does not exist")'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "error", "sentence"),
    [
        ("torchvision", MISMATCH, "torchvision does not work with this torch"),
        ("torch", 'OSError("libtorch.so: cannot open shared object file")', "libtorch.so: cannot open"),
        ("safetensors", 'ImportError("no safetensors")', "munit_lite cannot be imported (ImportError: no safetensors)"),
    ],
)
def test_a_broken_package_is_essential_and_the_rest_is_still_reported(package, error, sentence, tmp_path):
    done = command("doctor", "--json", broken=breaking(tmp_path, package, error))
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    essential = [p["problem"] for p in report["problems"] if p["essential"]]
    assert any(sentence in problem for problem in essential), essential
    assert report["healthy"] is False
    assert report["machine"]["memory, GiB"] > 0 and report["software"]["torch"] and "Chromium" in report["browser"]
    assert "09_training" in report["notebooks"]


@pytest.mark.slow
def test_what_the_doctor_itself_looks_with_may_be_missing(tmp_path):
    done = command("doctor", "--json", broken=breaking(tmp_path, "psutil", 'ImportError("no psutil")'))
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["healthy"] and report["torch"]["build"] == torch.__version__
    assert "machine cannot be examined: ImportError: no psutil" in [p["problem"] for p in report["problems"]]


@pytest.mark.slow
def test_other_commands_on_a_broken_machine_send_to_the_doctor(tmp_path):
    for package, error in (("torchvision", MISMATCH), ("torch", 'ImportError("no torch")')):
        done = command("evaluate", "world32", broken=breaking(tmp_path / package, package, error))
        assert done.returncode == 1 and "munit-lite doctor" in done.stderr


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    monkeypatch.setattr(doctor, "EXTRAS", {"evaluation": ("scipy",), "notebooks": ("papermill", "no_such_module")})
    facts, (essential, optional) = look("software")
    assert facts["no-such-package"].value is None
    assert facts["extra evaluation"].value is True and facts["extra notebooks"].value is False
    assert essential.essential and "no-such-package is missing" in essential.message
    assert (
        not optional.essential
        and "lacks no_such_module: run python -m pip install -e '.[notebooks]'" in optional.message
    )


def test_an_unsupported_python_is_essential(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 0))
    _, problems = look("software")
    assert [p.essential for p in problems] == [True] and "is not 3.11, 3.12 or 3.13" in problems[0].message


def test_little_memory_and_a_full_disk_are_problems_but_not_essential(monkeypatch):
    assert look("machine")[1] == []
    memory = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    _, problems = look("machine")
    assert [p.essential for p in problems] == [False, False]
    assert f"{read_results('bench_cpu')['world32']['peak_memory_gib']:.1f} GiB of memory" in problems[0].message
    assert "are free in" in problems[1].message


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIT_LITE_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


FASHION = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def test_data_sets_are_found_each_with_its_path(root):
    assert look("data")[0]["Fashion-MNIST"].value == "not there"
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for k, name in enumerate(FASHION):
        (raw / (name + ".gz" * (k % 2))).touch()  # packed and unpacked files serve alike
    for name, count in (("trainA", 3), ("trainB", 2), ("testA", 1), ("testB", 1)):
        (root / "apples" / name).mkdir(parents=True)
        (root / "apples" / name / "notes.txt").touch()
        for k in range(count):
            Image.new("RGB", (4, 4)).save(root / "apples" / name / f"{k}.png")
    (root / "something else").mkdir()
    facts, problems = look("data")
    assert not problems and set(facts) == {"data root", "Fashion-MNIST", "apples"}
    assert facts["Fashion-MNIST"].value == "found" and str(raw) in facts["Fashion-MNIST"].display
    assert facts["apples"].value == {"path": str(root / "apples"), "trainA": 3, "trainB": 2, "testA": 1, "testB": 1}


def test_an_incomplete_data_set_is_a_problem_that_names_what_is_missing(root):
    (root / "FashionMNIST" / "raw").mkdir(parents=True)
    (root / "FashionMNIST" / "raw" / f"{FASHION[0]}.gz").touch()
    (root / "apples" / "trainA").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "apples" / "trainA" / "a.png")
    (root / "leaves" / "trainA").mkdir(parents=True)
    (root / "leaves" / "testB").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "leaves" / "testB" / "a.png")
    _, problems = look("data")
    said = [problem.message for problem in problems]
    assert all(f"{name}.gz" in said[0] for name in FASHION[1:]) and f"{FASHION[0]}.gz" not in said[0]
    empty = ["apples/trainB", "leaves/trainA", "leaves/trainB", "leaves/testA"]  # test folders both, or neither
    assert [s.split()[0] for s in said[1:]] == [str(root / name) for name in empty]


def test_a_missing_data_root_is_a_problem_only_where_somebody_has_named_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUNIT_LITE_DATA", raising=False)
    facts, problems = look("data")
    assert "does not exist yet" in facts["data root"].display and not problems
    assert "downloaded when it is needed" in facts["Fashion-MNIST"].display
    monkeypatch.setenv("MUNIT_LITE_DATA", str(tmp_path / "nowhere"))
    _, problems = look("data")
    assert [p.essential for p in problems] == [False]
    assert problems[0].message.startswith(f"MUNIT_LITE_DATA is {tmp_path / 'nowhere'}, which is not a folder")


def test_every_shipped_checkpoint_is_loaded():
    facts, problems = look("checkpoints")
    assert set(facts) == {file.stem for file in CHECKPOINTS_DIR.glob("*.safetensors")} and not problems
    assert all(fact.value == "loads" for fact in facts.values())


def test_damaged_and_missing_checkpoints_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("munit_lite.doctor.CHECKPOINTS_DIR", tmp_path)
    monkeypatch.setattr("munit_lite.evaluation.attribute_predictors.CHECKPOINTS_DIR", tmp_path)
    save_model(tmp_path / "good.safetensors", ml.build(tiny()), step=1)
    (tmp_path / "bad.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:-7])
    shutil.copy(CHECKPOINTS_DIR / "attribute_predictor_sketch.safetensors", tmp_path)
    facts, problems = look("checkpoints")
    assert {name: fact.value for name, fact in facts.items()} == {
        "bad": "damaged", "good": "loads",
        "attribute_predictor_painting": "missing", "attribute_predictor_sketch": "loads",
        "attribute_predictor_laboratory_painting": "missing", "attribute_predictor_laboratory_sketch": "missing",
    }  # fmt: skip
    assert [p.essential for p in problems] == [True] * 4
    for name in (name for name, fact in facts.items() if fact.value != "loads"):
        assert sum(f"/{name}.safetensors" in p.message for p in problems) == 1
    assert all("git checkout" in p.message for p in problems)


def test_a_browser_is_looked_for_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    facts, problems = look("browser")
    assert facts["Chromium"].value is None and [p.essential for p in problems] == [False]
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    facts, problems = look("browser")
    assert facts["Chromium"].value == str(tmp_path / "chromium") and not problems


@pytest.fixture
def user_kernels(tmp_path, monkeypatch):
    """The folder of the user's kernels, empty and preferred to those of the environment."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # of its JupyterLab
    return tmp_path / "user" / "kernels"


def write_kernel(kernels, program):
    (kernels / "python3").mkdir(parents=True)
    spec = {"argv": [program, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python 3"}
    (kernels / "python3" / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))


@pytest.mark.parametrize("program", [sys.executable, "python", "python3"])
def test_a_kernel_of_this_environment_is_no_problem(program, user_kernels):
    write_kernel(user_kernels, program)
    facts, problems = look("jupyter")
    assert facts["kernel python3"].value == sys.executable and not problems


@pytest.mark.slow
@pytest.mark.parametrize("exists", [True, False])
def test_a_kernel_of_another_environment_is_named_with_the_command_that_mends_it(exists, user_kernels, tmp_path):
    other = tmp_path / "other" / "bin" / "python"
    other.parent.mkdir(parents=True)
    if exists:  # as in a virtual environment: a link to the same interpreter
        other.symlink_to(Path(sys.executable).resolve())
    write_kernel(user_kernels, str(other))
    facts, (problem,) = look("jupyter")
    assert facts["kernel python3"].value == str(other) and not problem.essential
    beginning, _, mending = problem.message.partition(": run ")
    assert beginning == (
        f"the kernel python3 runs {other} instead of {sys.executable}, because {user_kernels / 'python3'} says so"
    )
    subprocess.run(mending.split(), check=True, capture_output=True)
    assert look("jupyter")[1] == []


@pytest.mark.parametrize(("preferred", "place"), [("1", "--sys-prefix"), ("0", "--user")])
def test_the_mended_kernel_goes_where_jupyter_looks_first(preferred, place, user_kernels, monkeypatch):
    from jupyter_client import kernelspec

    write_kernel(user_kernels, "/nowhere/python")
    other = kernelspec.KernelSpec.from_resource_dir(str(user_kernels / "python3"))
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda self, name: other)
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", preferred)
    assert look("jupyter")[1][0].message.endswith(f"-m ipykernel install {place}")


def test_a_missing_kernel_names_the_extra_that_installs_it(user_kernels, monkeypatch):
    from jupyter_client import kernelspec

    def missing(self, name):
        raise kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", missing)
    facts, (problem,) = look("jupyter")
    assert facts["kernel python3"].value is None
    assert (
        problem.message == "there is no kernel python3: run python -m pip install -e '.[notebooks]' in the repository"
    )


@pytest.fixture
def other_lab(tmp_path, monkeypatch):
    """The JupyterLab of another environment, first on the path; its python reports only the folders of its own data."""
    folder = tmp_path / "other" / "bin"
    folder.mkdir(parents=True)
    data = tmp_path / "other" / "share" / "jupyter"
    (folder / "python").write_text(f"#!/bin/sh\necho '{json.dumps({'data': [str(data)]})}'\n")
    (folder / "jupyter-lab").write_text(f"#!{folder}/python\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "jupyter-lab"


def add_extension(lab, name):
    (lab.parents[1] / "share" / "jupyter" / "labextensions" / name).mkdir(parents=True)
    (lab.parents[1] / "share" / "jupyter" / "labextensions" / name / "package.json").write_text("{}")


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ((), ["jupyterlab-widgets", "anywidget"]),
        (("anywidget",), ["jupyterlab-widgets"]),
        (("@jupyter-widgets/jupyterlab-manager",), ["anywidget"]),
        (("anywidget", "@jupyter-widgets/jupyterlab-manager"), []),
    ],
)
def test_the_lab_of_another_environment_is_named_and_so_is_what_it_lacks(installed, missing, other_lab):
    for name in installed:
        add_extension(other_lab, name)
    facts, problems = look("jupyter")
    assert facts["JupyterLab"].value == str(other_lab) and facts["widgets in JupyterLab"].value is not bool(missing)
    python = other_lab.parent / "python"
    assert problems[0].message == (
        f"`jupyter lab` starts {other_lab}, which runs in another environment, that of {python}: activate the "
        f"environment of {sys.executable} first, or run {sys.executable} -m jupyterlab"
    )
    said = [
        f"{other_lab} cannot display the explorers, because its environment lacks the extensions of "
        f"{' and '.join(missing)}: run {python} -m pip install --force-reinstall --no-deps {' '.join(missing)}"
    ]
    assert [p.message for p in problems[1:]] == (said if missing else [])
    assert not any(p.essential for p in problems)


@pytest.mark.parametrize(
    "beginning",
    [
        "#!/bin/sh\n'''exec' '{folder}/python' \"$0\" \"$@\"\n' '''\n",  # of pip, where the path is long or has spaces
        "#!/usr/bin/env python3\n",
        "#!{folder}/python -s\n",
        "MZ, a program\n",
    ],
)
def test_a_lab_that_does_not_name_its_python_runs_the_one_beside_it(beginning, other_lab, tmp_path, monkeypatch):
    other_lab.write_text(beginning.replace("{folder}", str(other_lab.parent)))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "jupyter-lab").symlink_to(other_lab)
    monkeypatch.setenv("PATH", str(tmp_path / "links"), prepend=os.pathsep)
    facts, problems = look("jupyter")
    assert "widgets in JupyterLab" in facts
    assert f"another environment, that of {other_lab.parent / 'python'}:" in problems[0].message


def test_a_lab_that_does_not_answer_is_a_problem(other_lab, monkeypatch):
    (other_lab.parent / "python").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(doctor, "LAB_SECONDS", 0.2)
    monkeypatch.setattr(doctor, "TOPICS", {"jupyter": doctor.check_jupyter})
    message = diagnose().problems[-1].message
    assert message.startswith("jupyter cannot be examined: TimeoutExpired") and "timed out" in message


def test_the_lab_of_this_environment_is_found_without_the_path_and_shows_the_widgets(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    facts, problems = look("jupyter")
    assert facts["JupyterLab"].value == str(Path(sys.executable).parent / "jupyter-lab") and not problems
    assert facts["widgets in JupyterLab"].value is True


@pytest.mark.parametrize("name", doctor.OPTIONAL_WEIGHTS)
def test_optional_weights_are_looked_for_in_the_cache_of_torch(name, tmp_path, monkeypatch):
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    assert Path(doctor.OPTIONAL_WEIGHTS[name]).suffix == ".pth"
    monkeypatch.setattr(doctor, "OPTIONAL_WEIGHTS", {name: f"net-{digest[:8]}.pth"})
    monkeypatch.setattr(doctor, "DOWNLOAD_COMMANDS", {f"net-{digest[:8]}.pth": "the command"})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    facts, problems = look("weights")
    assert facts[name].value == "not there" and not problems
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / f"net-{digest[:8]}.pth"
    file.write_bytes(content)
    facts, problems = look("weights")
    assert facts[name].value == "found" and str(file) in facts[name].display and not problems
    file.write_bytes(content[:-1])
    facts, (problem,) = look("weights")
    assert facts[name].value == "damaged" and not problem.essential
    assert problem.message == f"{file} is damaged: remove it and download it again: the command"


def test_weights_that_lack_their_package_are_unused(tmp_path, monkeypatch):
    name = f"net-{hashlib.sha256(b'').hexdigest()[:8]}.pth"
    monkeypatch.setattr(weight_files, "TORCH_FIDELITY_FILE", name)
    monkeypatch.setattr(doctor, "OPTIONAL_WEIGHTS", {"Inception": name})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).touch()
    for spec, state in ((None, "unused without torch-fidelity"), ("installed", "found")):
        monkeypatch.setattr(weight_files, "find_spec", {"torch_fidelity": spec}.get)
        facts, problems = look("weights")
        assert facts["Inception"].value == state and not problems


def test_the_doctor_looks_for_the_weights_that_evaluate_uses():
    assert sorted(doctor.OPTIONAL_WEIGHTS.values()) == sorted(weight_files.DOWNLOAD_COMMANDS)


# ---------------------------------------------------------------------------------------------------------- minutes


def notebook(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": text.splitlines(keepends=True)}]}))
    return file


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("# 09\n\n**Time** about 7 minutes on two CPU cores, most of it training. **You need** 3 minutes", 7),
        ("**Time** 1.5 minutes", 1.5),
        ("**Time** about 30 seconds", 0.5),
        ("**Time** about 2 hours", 120),
        ("# A page\n\n12 minutes of something else", None),
        ("**Time** not long. It was 5 minutes once", None),
    ],
)
def test_the_minutes_are_those_of_the_first_cell(text, stated, tmp_path):
    assert notebook_times.stated_minutes(notebook(tmp_path / "a.ipynb", text)) == stated


def test_minutes_grow_with_the_seconds_of_a_training_step(tmp_path, monkeypatch):
    notebook(tmp_path / "notebooks" / "01_a.ipynb", "**Time** about 4 minutes")
    notebook(tmp_path / "notebooks" / "02_b.ipynb", "# nothing said")
    (tmp_path / "calibration.json").write_text(json.dumps({"numbers": {"seconds_per_step": 0.2}}))
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    monkeypatch.setattr(doctor, "NOTEBOOKS_DIR", tmp_path / "notebooks")
    monkeypatch.setattr(notebook_times, "time_calibration_step", lambda: 0.5)
    facts, problems = look("notebooks")
    assert facts["01_a"].value == 10 and facts["01_a"].display == "about 10 min (4 min on two cores)"
    assert facts["02_b"].value is None and not problems
    assert facts["estimated by"].value == {"seconds_here": 0.5, "seconds_there": 0.2}


def test_minutes_that_cannot_be_scaled_are_said_to_be_those_of_two_cores(tmp_path, monkeypatch):
    notebook(tmp_path / "notebooks" / "01_a.ipynb", "**Time** about 4 minutes")
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    monkeypatch.setattr(doctor, "NOTEBOOKS_DIR", tmp_path / "notebooks")
    monkeypatch.setattr(notebook_times, "time_calibration_step", lambda: 0.5)
    facts, problems = look("notebooks")
    assert facts["01_a"].value == 4 and "minutes are for two cores" in problems[0].message


def test_every_notebook_of_the_course_says_its_time():
    files = sorted(doctor.NOTEBOOKS_DIR.glob("*.ipynb"))
    assert files and all(notebook_times.stated_minutes(file) for file in files)


def test_the_calibration_is_the_time_of_real_steps(monkeypatch):
    """Steps made to sleep are as slow as they are made; the first one does not count, the best of the others does."""
    sleeps = iter([0.05, 0.3, 0.2, 0.4])
    monkeypatch.setattr("munit_lite.training_step.Trainer.step", lambda self, *_: time.sleep(next(sleeps)))
    assert notebook_times.time_calibration_step(3) == pytest.approx(0.2, abs=0.05)


def test_a_topic_that_fails_leaves_the_others(monkeypatch):
    def broken():
        yield Fact("before", 1)
        raise OSError("the disk is on fire")

    monkeypatch.setattr(doctor, "TOPICS", {"machine": broken, "browser": doctor.check_browser})
    report = diagnose()
    assert [f.name for f in report.topics["machine"]] == ["before"] and report.topics["browser"]
    assert "machine cannot be examined: OSError: the disk is on fire" in report.problems[0].message
