"""What `munit-lite doctor` finds out about a machine; nothing here needs torch until torch is what is examined."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from munit_lite.experiments import notebook_times
from munit_lite.experiments.results import NOTEBOOKS, read_results
from munit_lite.presets import preset

GIB = 2**30
PACKAGES = ("munit-lite", "torch", "torchvision", "lightning-fabric", "numpy", "pillow", "safetensors", "tyro")
COURSE_PACKAGES = ("jupyterlab", "ipywidgets", "matplotlib", "nbconvert", "papermill")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FREE_DISK_GIB = 2  # below it a warning: a run with its kept weights and sheets, or a data set, may not fit

Found = Iterator["Fact | Problem"]


@dataclass(frozen=True)
class Fact:
    name: str
    value: Any
    shown: str = ""


@dataclass(frozen=True)
class Problem:
    """A sentence of what is wrong and what to do; without something essential nothing of the course runs."""

    sentence: str
    essential: bool = False


@dataclass
class Report:
    """Facts by topic, and problems."""

    topics: dict[str, list[Fact]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return not any(problem.essential for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        facts = {topic: {fact.name: fact.value for fact in found} for topic, found in self.topics.items()}
        problems = [{"problem": p.sentence, "essential": p.essential} for p in self.problems]
        return {"healthy": self.healthy, **facts, "problems": problems}

    def text(self) -> str:
        lines = []
        for topic, found in self.topics.items():
            lines.append(topic)
            lines += [f"  {fact.name:22} {fact.shown or fact.value}" for fact in found]
        lines.append("problems" if self.problems else "no problems found")
        lines += [f"  {'essential' if p.essential else 'optional':10} {p.sentence}" for p in self.problems]
        return "\n".join(lines)


def examine() -> Report:
    """Look at everything; a topic that cannot be examined becomes a problem and the others go on."""
    report = Report()
    for topic, look in TOPICS.items():
        facts = report.topics.setdefault(topic, [])
        try:
            for found in look():
                if isinstance(found, Fact):
                    facts.append(found)
                else:
                    report.problems.append(found)
        except Exception as error:  # whatever is broken here is what the doctor is asked about
            sentence = f"{topic} cannot be examined: {_reason(error)}"
            report.problems.append(Problem(sentence, essential=topic in ("software", "torch")))
    return report


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def software() -> Found:
    yield Fact("python", platform.python_version())
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Problem(f"Python {platform.python_version()} is not 3.11, 3.12 or 3.13: use one of these", essential=True)
    for name in PACKAGES:
        try:
            yield Fact(name, version(name))
        except PackageNotFoundError:
            yield Fact(name, None, "missing")
            yield Problem(f"the package {name} is missing: install as the README says", essential=True)
    missing = [name for name in COURSE_PACKAGES if not _installed(name)]
    yield Fact("for the notebooks", not missing, f"{', '.join(missing)} missing" if missing else "installed")
    if missing:
        yield Problem(f"the notebooks need {', '.join(missing)}: python -m pip install {' '.join(missing)}")


def _installed(name: str) -> bool:
    with suppress(PackageNotFoundError):
        return bool(version(name))
    return False


def torch_works() -> Found:
    """Whether the machinery imports and computes; a torch and a torchvision of different builds do not."""
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
            f"torchvision does not work with this torch ({_reason(error)}): install the pair that requirements.lock "
            "names into a fresh environment",
            essential=True,
        )
        return
    try:
        importlib.import_module("munit_lite.training")
    except Exception as error:
        yield Problem(f"munit_lite cannot be imported ({_reason(error)}): install as the README says", essential=True)


def _device_name() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU (mps)" if torch.backends.mps.is_available() else f"{platform.machine()} CPU"


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> Found:
    import psutil

    yield Fact("system", platform.platform(terse=True))
    yield Fact("cores", _cores())
    memory = psutil.virtual_memory()
    shown = f"{memory.total / GIB:.1f}, {memory.available / GIB:.1f} free"
    yield Fact("memory, GiB", round(memory.total / GIB, 1), shown)
    needed = read_results("bench_cpu")["world32"]["peak_memory_gib"]
    if memory.available < needed * GIB:
        yield Problem(f"training world32 takes {needed:.1f} GiB of memory: close other programs")
    free = shutil.disk_usage(Path.cwd()).free / GIB
    yield Fact("free disk here, GiB", round(free, 1))
    if free < FREE_DISK_GIB:
        yield Problem(f"less than {FREE_DISK_GIB} GiB are free in {Path.cwd()}: runs are written there; free some")


def data() -> Found:
    from torchvision.datasets import FashionMNIST

    from munit_lite.data.datasets import data_root
    from munit_lite.data.image_files import IMAGE_SUFFIXES

    root = data_root(preset("fashion32"))
    note = "" if root.is_dir() else " (not there yet; made when a data set is downloaded)"
    yield Fact("data root", str(root), f"{root}{note}")
    if note and os.environ.get("MUNIT_LITE_DATA"):
        yield Problem(f"MUNIT_LITE_DATA names {root}, where no folder is: if data should lie there, mend it")
    raw = root / "FashionMNIST" / "raw"
    names = [Path(url).name for url, _ in FashionMNIST.resources]
    missing = [name for name in names if not ((raw / name).is_file() or (raw / name).with_suffix("").is_file())]
    state = "found" if not missing else "not there" if len(missing) == len(names) else "incomplete"
    wanted = " (downloaded when it is needed)" if state == "not there" else ""
    yield Fact("Fashion-MNIST", state, f"{state}{wanted}, {raw}")
    if state == "incomplete":
        yield Problem(f"{raw} lacks {', '.join(missing)}: remove the folder to have it downloaded again")
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if (folder / "trainA").is_dir() or (folder / "trainB").is_dir():
            counts = {
                name: sum(file.suffix.lower() in IMAGE_SUFFIXES for file in (folder / name).glob("*"))
                for name in ("trainA", "trainB", "testA", "testB")
            }
            shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            yield Fact(folder.name, {"path": str(folder), **counts}, f"{shown} images, {folder}")
            needed = counts if counts["testA"] or counts["testB"] else ("trainA", "trainB")
            for name in (name for name in needed if not counts[name]):
                yield Problem(
                    f"{folder / name} holds no images: a folder data set needs trainA and trainB, and testA and testB "
                    "or neither"
                )


def checkpoints() -> Found:
    from munit_lite.evaluation.attribute_predictors import judge_file, load_judge
    from munit_lite.storage.checkpoints import SHIPPED, load
    from munit_lite.world import DOMAIN_NAMES

    judges = {judge_file(domain): domain for domain in DOMAIN_NAMES}
    files = sorted({*SHIPPED.glob("*.safetensors"), *judges})
    for file in files:
        try:
            if file in judges:
                load_judge(judges[file])
            else:
                load(file)
            yield Fact(file.stem, "loads", f"loads, {file.stat().st_size / 2**20:.1f} MB")
        except Exception as error:
            yield Fact(file.stem, "damaged" if file.exists() else "missing")
            sentence = f"{' '.join(str(error).split())}; restore it from the repository: git checkout data/checkpoints"
            yield Problem(sentence, essential=True)


def browser() -> Found:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    yield Fact("Chromium", found, found or "not found")
    if not found:
        yield Problem("no Chromium was found: the browser tests need one, the notebooks run in any browser")


def notebooks() -> Found:
    try:
        here, there = notebook_times.time_yardstick_step(), read_results("calibration")["seconds_per_step"]
        yield Fact(
            "estimated by",
            {"seconds_here": here, "seconds_there": there},
            f"a small training step takes {here:.2f} s on this CPU and {there:.2f} s on the course's two cores",
        )
        factor = here / there
    except Exception as error:
        factor = 1.0
        yield Problem(f"this machine's speed cannot be measured ({_reason(error)}): minutes are as on two cores")
    files = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not files:
        yield Problem("there is no folder of notebooks beside the package: clone the repository to have the course")
    for file in files:
        nominal = notebook_times.stated_minutes(file)
        if nominal is None:
            yield Fact(file.stem, None, "says no time")
        else:
            here_minutes, stated = (notebook_times.format_minutes(m) for m in (nominal * factor, nominal))
            yield Fact(file.stem, round(nominal * factor, 2), f"about {here_minutes} ({stated} on two cores)")


TOPICS: dict[str, Callable[[], Found]] = {
    "software": software,
    "torch": torch_works,
    "machine": machine,
    "data": data,
    "checkpoints": checkpoints,
    "browser": browser,
    "notebooks": notebooks,
}
