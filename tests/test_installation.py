"""The base installation needs the base dependencies only; what an extra adds is named where it is missing."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from munit_lite.doctor import EXTRAS

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

# Hides every installed package except those of the base installation, as if the others were not installed.
HIDE = """
import sys
from importlib.machinery import PathFinder

hidden = {hidden!r}

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else super().find_spec(name, path, target)

sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""

TRAIN_AND_TRANSLATE = """
import torch
import munit_lite as ml
from munit_lite.world import World

small = dict(base_channels=4, mlp_width=8, num_residual_blocks=1, discriminator_base_channels=4)
small |= dict(batch_size=2, steps=2, device="cpu")
run = ml.train(ml.preset("world32", **small), out="run")
sketches = World().images(torch.arange(2), seed=0, domain=1, size=32)
assert ml.load("run").translate(sketches, source=1, target=2).shape == (2, 3, 32, 32)
"""

COMMAND = """
from munit_lite.cli import main
sys.argv = ["munit-lite", *{arguments!r}]
main()
"""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _with_dependencies(names: set[str]) -> set[str]:
    """The distributions and whatever they require without extras, in this environment."""
    pending, complete = [_canonical(name) for name in names], set()
    while pending:
        name = pending.pop()
        if name in complete:
            continue
        complete.add(name)
        try:
            requirements = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # needed on another platform only
            continue
        pending += [_canonical(r.name) for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return complete


def _hidden_modules() -> set[str]:
    """The top-level modules of this environment that the base installation would not bring."""
    base = _with_dependencies({Requirement(text).name for text in PROJECT["dependencies"]}) | {"munit-lite"}
    return {
        module
        for module, distributions in packages_distributions().items()
        if not base & {_canonical(distribution) for distribution in distributions}
    }


def _run(program: str, folder: Path) -> subprocess.CompletedProcess:
    script = HIDE.format(hidden=_hidden_modules()) + program
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def test_what_the_extras_add_is_hidden_and_what_the_base_needs_is_not():
    hidden = _hidden_modules()
    assert {module for modules in EXTRAS.values() for module in modules} <= hidden
    assert not hidden & {"torch", "torchvision", "lightning_fabric", "tyro", "safetensors", "munit_lite"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_doctor_and_the_project_file_name_the_same_packages(extra):
    declared = {Requirement(text).name for text in PROJECT["optional-dependencies"][extra]} - {"munit-lite"}
    distributions = packages_distributions()
    assert {_canonical(distributions[module][0]) for module in EXTRAS[extra]} == {_canonical(name) for name in declared}


@pytest.mark.slow
def test_the_base_installation_trains_and_translates_on_the_known_world(tmp_path):
    done = _run(TRAIN_AND_TRANSLATE, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "train"),
        (["doctor"], "the extra 'evaluation' lacks scipy, skimage, sklearn, torchmetrics"),
        (["translate", "world32", "images", "out", "--styles", "2"], "wrote 1 × 2 images"),
    ],
)
def test_a_command_of_the_core_runs_in_the_base_installation(arguments, expected, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "images" / "a.png")
    done = _run(COMMAND.format(arguments=arguments), tmp_path)
    assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "fashion32", "--steps", "1"], "evaluation"),
        (["evaluate", "world32"], "evaluation"),
        (["sweep", "plan.yaml"], "notebooks"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(arguments, extra, tmp_path):
    done = _run(COMMAND.format(arguments=arguments), tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"run python -m pip install -e '.[{extra}]'" in done.stderr
