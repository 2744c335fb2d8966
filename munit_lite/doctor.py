"""`munit-lite doctor`: what this machine has, what is missing, and how long each notebook will take on it.

Each topic is a generator of facts and problems. Nothing here imports torch before torch itself is examined, so that the
report also appears where torch is broken.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from munit_lite.evaluation.weight_files import (
    ALEXNET_FILE,
    DOWNLOAD_COMMANDS,
    INCEPTION_FILE,
    TORCH_FIDELITY_FILE,
    cache_path,
    is_usable,
)
from munit_lite.experiments import notebook_times
from munit_lite.experiments.results import read_results
from munit_lite.paths import CHECKPOINTS_DIR, NOTEBOOKS_DIR
from munit_lite.presets import preset

GIB = 2**30
PACKAGES = ("munit-lite", "torch", "torchvision", "lightning-fabric", "numpy", "pillow", "safetensors", "tyro")
# The modules that each extra of pyproject.toml adds to the base installation.
EXTRAS: dict[str, tuple[str, ...]] = {
    "evaluation": ("scipy", "skimage", "sklearn", "torchmetrics"),
    "notebooks": (
        *("anywidget", "distributed", "IPython", "ipykernel", "ipywidgets", "jupyterlab", "matplotlib", "nbconvert"),
        *("papermill", "yaml"),
    ),
}
# The part of each widget package that runs inside JupyterLab -> the package that installs it.
LAB_EXTENSIONS = {"@jupyter-widgets/jupyterlab-manager": "jupyterlab-widgets", "anywidget": "anywidget"}
# For LPIPS; for FID and KID, the network of published values or the other.
OPTIONAL_WEIGHTS = {
    "AlexNet": ALEXNET_FILE,
    "Inception, published": TORCH_FIDELITY_FILE,
    "Inception, torchvision": INCEPTION_FILE,
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FREE_DISK_GIB = 2  # with less, a run with its checkpoints and sample sheets, or a dataset, may not fit
LAB_SECONDS = 60  # JupyterLab's interpreter may take this long to list its folders

Findings = Iterator["Fact | Problem"]


def extra_of(module: str) -> str | None:
    """Return the extra that installs a module, or None if it belongs to the base installation."""
    package = module.split(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if package in modules), None)


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"python -m pip install -e '.[{extra}]'"


@dataclass(frozen=True)
class Fact:
    """Something about the machine: a plain value for JSON, and the text to display if it is not the value itself."""

    name: str
    value: Any
    display: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong and what to do about it; an essential problem keeps the whole course from running."""

    message: str
    essential: bool = False


@dataclass
class Report:
    """The facts of each topic, and all problems."""

    topics: dict[str, list[Fact]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Return whether nothing essential is missing or broken."""
        return not any(problem.essential for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        facts = {topic: {fact.name: fact.value for fact in facts} for topic, facts in self.topics.items()}
        problems = [{"problem": p.message, "essential": p.essential} for p in self.problems]
        return {"healthy": self.healthy, **facts, "problems": problems}

    def text(self) -> str:
        """Return the report as lines of text."""
        lines = []
        for topic, facts in self.topics.items():
            lines.append(topic)
            lines += [f"  {fact.name:22} {fact.display or fact.value}" for fact in facts]
        lines.append("problems" if self.problems else "no problems found")
        lines += [f"  {'essential' if p.essential else 'optional':10} {p.message}" for p in self.problems]
        return "\n".join(lines)


def diagnose() -> Report:
    """Examine this machine, topic by topic.

    Returns:
        A report of every topic; a topic that cannot be examined becomes a problem, and the others follow.
    """
    report = Report()
    for topic, check in TOPICS.items():
        facts = report.topics.setdefault(topic, [])
        try:
            for finding in check():
                if isinstance(finding, Fact):
                    facts.append(finding)
                else:
                    report.problems.append(finding)
        except Exception as error:  # any exception is a finding: the doctor is asked about broken machines
            message = f"{topic} cannot be examined: {_one_line(error)}"
            report.problems.append(Problem(message, essential=topic in ("software", "torch")))
    return report


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def check_software() -> Findings:
    """Check the versions of Python and of the packages that the base installation needs, and what each extra adds."""
    yield Fact("python", platform.python_version())
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Problem(f"Python {platform.python_version()} is not 3.11, 3.12 or 3.13: use one of these", essential=True)
    for name in PACKAGES:
        try:
            yield Fact(name, version(name))
        except PackageNotFoundError:
            yield Fact(name, None, "missing")
            yield Problem(f"the package {name} is missing: install as the README says", essential=True)
    for extra, modules in EXTRAS.items():
        missing = ", ".join(module for module in modules if find_spec(module) is None)
        yield Fact(f"extra {extra}", not missing, f"without {missing}" if missing else "installed")
        if missing:
            yield Problem(f"the extra {extra!r} lacks {missing}: run {install_command(extra)} in the repository")


def check_torch() -> Findings:
    """Check that torch computes, that torchvision was built for it, and that the package can be imported."""
    import torch

    yield Fact("build", torch.__version__)
    yield Fact("computes on", _device_name())
    yield Fact("threads", torch.get_num_threads(), f"{torch.get_num_threads()} of {_cores()} cores")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        yield Fact("GPU memory, GiB", round(total / GIB, 1), f"{total / GIB:.1f}, {free / GIB:.1f} free")
    try:
        ops = importlib.import_module("torchvision.ops")
        ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:
        yield Problem(
            f"torchvision does not work with this torch ({_one_line(error)}): install the pair that requirements.lock "
            "names into a fresh environment",
            essential=True,
        )
        return
    try:
        importlib.import_module("munit_lite.training")
    except Exception as error:
        yield Problem(f"munit_lite cannot be imported ({_one_line(error)}): install as the README says", essential=True)


def _device_name() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU (mps)" if torch.backends.mps.is_available() else f"{platform.machine()} CPU"


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_machine() -> Findings:
    """Check cores, memory and free disk space."""
    import psutil

    yield Fact("system", platform.platform(terse=True))
    yield Fact("cores", _cores())
    memory = psutil.virtual_memory()
    display = f"{memory.total / GIB:.1f}, {memory.available / GIB:.1f} free"
    yield Fact("memory, GiB", round(memory.total / GIB, 1), display)
    needed = read_results("bench_cpu")["world32"]["peak_memory_gib"]
    if memory.available < needed * GIB:
        yield Problem(f"training world32 takes {needed:.1f} GiB of memory: close other programs")
    free = shutil.disk_usage(Path.cwd()).free / GIB
    yield Fact("free disk here, GiB", round(free, 1))
    if free < FREE_DISK_GIB:
        yield Problem(f"less than {FREE_DISK_GIB} GiB are free in {Path.cwd()}, where runs are written: free some")


def check_data() -> Findings:
    """Check the data root, Fashion-MNIST, and each folder dataset in the data root."""
    from torchvision.datasets import FashionMNIST

    from munit_lite.data import data_root
    from munit_lite.data.image_files import IMAGE_SUFFIXES

    root = data_root(preset("fashion32"))
    note = "" if root.is_dir() else " (does not exist yet; the first download creates it)"
    yield Fact("data root", str(root), f"{root}{note}")
    if note and os.environ.get("MUNIT_LITE_DATA"):
        yield Problem(f"MUNIT_LITE_DATA is {root}, which is not a folder: correct it if it should hold data")
    raw = root / "FashionMNIST" / "raw"
    names = [Path(url).name for url, _ in FashionMNIST.resources]
    missing = [name for name in names if not ((raw / name).is_file() or (raw / name).with_suffix("").is_file())]
    state = "found" if not missing else "not there" if len(missing) == len(names) else "incomplete"
    note = " (downloaded when it is needed)" if state == "not there" else ""
    yield Fact("Fashion-MNIST", state, f"{state}{note}, {raw}")
    if state == "incomplete":
        yield Problem(f"{raw} lacks {', '.join(missing)}: remove the folder, and the next run downloads it again")
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if (folder / "trainA").is_dir() or (folder / "trainB").is_dir():
            counts = {
                name: sum(file.suffix.lower() in IMAGE_SUFFIXES for file in (folder / name).glob("*"))
                for name in ("trainA", "trainB", "testA", "testB")
            }
            display = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            yield Fact(folder.name, {"path": str(folder), **counts}, f"{display} images, {folder}")
            required = counts if counts["testA"] or counts["testB"] else ("trainA", "trainB")
            for name in (name for name in required if not counts[name]):
                yield Problem(
                    f"{folder / name} holds no images: a folder dataset needs trainA and trainB, and either both testA "
                    "and testB or neither"
                )


def check_checkpoints() -> Findings:
    """Check that every shipped checkpoint loads."""
    from munit_lite.evaluation.attribute_predictors import load_attribute_predictor, predictor_files
    from munit_lite.storage.checkpoints import load

    predictors = predictor_files()
    files = sorted({*CHECKPOINTS_DIR.glob("*.safetensors"), *predictors})
    for file in files:
        try:
            if file in predictors:
                load_attribute_predictor(*predictors[file])
            else:
                load(file)
            yield Fact(file.stem, "loads", f"loads, {file.stat().st_size / 2**20:.1f} MB")
        except Exception as error:
            yield Fact(file.stem, "damaged" if file.exists() else "missing")
            message = f"{' '.join(str(error).split())}; restore it from the repository: git checkout data/checkpoints"
            yield Problem(message, essential=True)


def check_weights() -> Findings:
    """Check which optional weights are in torch's cache; the course runs without them."""
    for name, file_name in OPTIONAL_WEIGHTS.items():
        file = cache_path(file_name)
        if not file.is_file():
            yield Fact(name, "not there", f"not there (the course does not need them), {file}")
            continue
        with file.open("rb") as stream:
            intact = hashlib.file_digest(stream, "sha256").hexdigest().startswith(file.stem.rpartition("-")[2])
        state = "damaged" if not intact else "found" if is_usable(file_name) else "unused without torch-fidelity"
        yield Fact(name, state, f"{state}, {file}")
        if not intact:
            yield Problem(f"{file} is damaged: remove it and download it again: {DOWNLOAD_COMMANDS[file_name]}")


def check_jupyter() -> Findings:
    """Check that the kernel python3 runs this interpreter, and that JupyterLab can display the explorers' widgets."""
    if find_spec("jupyter_client") is None:
        yield Fact("kernel python3", None, "Jupyter is not installed")
        return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_core.paths import prefer_environment_over_user

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield Fact("kernel python3", None, "not found")
        yield Problem(f"there is no kernel python3: run {install_command('notebooks')} in the repository")
    else:
        # Jupyter runs a kernel whose program has no path, as ipykernel installs it, with its own interpreter.
        program = sys.executable if spec.argv[0].startswith("python") else spec.argv[0]
        yield Fact("kernel python3", program)
        if not _is_in_this_environment(program):
            place = "--sys-prefix" if prefer_environment_over_user() else "--user"
            yield Problem(
                f"the kernel python3 runs {program} instead of {sys.executable}, because {spec.resource_dir} says so: "
                f"run {sys.executable} -m ipykernel install {place}"
            )
    lab = shutil.which("jupyter-lab") or shutil.which("jupyter-lab", path=str(Path(sys.executable).parent))
    yield Fact("JupyterLab", lab, lab or "not found")
    if lab:
        yield from _check_lab(Path(lab))


def _check_lab(lab: Path) -> Findings:
    """Check that a JupyterLab belongs to this environment, and that its own environment has the widgets' extensions."""
    interpreter = _interpreter_of(lab)
    if not _is_in_this_environment(str(interpreter)):
        yield Problem(
            f"`jupyter lab` starts {lab}, which runs in another environment, that of {interpreter}: activate the "
            f"environment of {sys.executable} first, or run {sys.executable} -m jupyterlab"
        )
    command = [str(interpreter), "-m", "jupyter", "--paths", "--json"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LAB_SECONDS)
    paths = json.loads(listing.stdout)
    missing = [
        package
        for extension, package in LAB_EXTENSIONS.items()
        if not any((Path(path) / "labextensions" / extension / "package.json").is_file() for path in paths["data"])
    ]
    yield Fact("widgets in JupyterLab", not missing, f"without {', '.join(missing)}" if missing else "installed")
    if missing:
        yield Problem(
            f"{lab} cannot display the explorers, because its environment lacks the extensions of "
            f"{' and '.join(missing)}: run {interpreter} -m pip install --force-reinstall --no-deps {' '.join(missing)}"
        )


def _interpreter_of(program: Path) -> Path:
    """Return the Python that the first line of a program names, or else the one beside the program.

    In place of a long path or one with spaces, pip writes `#!/bin/sh`. `#!/usr/bin/env python3` names no path either.
    """
    first_line = program.read_bytes().partition(b"\n")[0]
    named = Path(os.fsdecode(first_line.removeprefix(b"#!").strip()))
    if first_line.startswith(b"#!") and named.name.startswith("python") and named.is_file():
        return named
    return program.resolve().parent / "python"


def _is_in_this_environment(interpreter: str) -> bool:
    """Return whether an interpreter is one of this environment; the links in it are not followed to their targets."""
    return Path(interpreter).parent.resolve() == Path(sys.executable).parent.resolve()


def check_browser() -> Findings:
    """Check that there is a Chromium, which the browser tests drive."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    yield Fact("Chromium", program, program or "not found")
    if not program:
        yield Problem("no Chromium was found: the browser tests need one, the notebooks run in any browser")


def estimate_notebooks() -> Findings:
    """Estimate the minutes of each notebook from the time of one small training step."""
    try:
        here, there = notebook_times.time_calibration_step(), read_results("calibration")["seconds_per_step"]
        yield Fact(
            "estimated by",
            {"seconds_here": here, "seconds_there": there},
            f"a small training step takes {here:.2f} s on this CPU and {there:.2f} s on the two reference cores",
        )
        factor = here / there
    except Exception as error:
        factor = 1.0
        yield Problem(f"this CPU's speed cannot be measured ({_one_line(error)}): minutes are for two cores")
    files = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))
    if not files:
        yield Problem("there is no folder of notebooks beside the package: clone the repository to get the course")
    for file in files:
        nominal = notebook_times.stated_minutes(file)
        if nominal is None:
            yield Fact(file.stem, None, "states no time")
        else:
            here_minutes, stated = (notebook_times.format_minutes(m) for m in (nominal * factor, nominal))
            yield Fact(file.stem, round(nominal * factor, 2), f"about {here_minutes} ({stated} on two cores)")


TOPICS: dict[str, Callable[[], Findings]] = {
    "software": check_software,
    "torch": check_torch,
    "machine": check_machine,
    "data": check_data,
    "checkpoints": check_checkpoints,
    "weights": check_weights,
    "jupyter": check_jupyter,
    "browser": check_browser,
    "notebooks": estimate_notebooks,
}
