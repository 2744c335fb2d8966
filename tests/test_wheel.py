"""The package as others install it: a wheel, in an environment that does not see the repository."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# None of these explorers needs data/checkpoints, which comes with the repository only: the first computes on an oracle,
# the others show a message that says what is missing.
OPEN = """
from pathlib import Path
import munit_lite
from munit_lite.course.explorers import LossExplorer, PropositionExplorer, WorldExplorer

explorer = PropositionExplorer()
assert explorer.picture.startswith(b"\\x89PNG") and not explorer.problem, explorer.problem
for name in ("_esm", "_css"):
    Path(name).write_text(str(getattr(explorer, name)))
problem = LossExplorer().problem
assert "this installation has no checkpoints" in problem, problem
problem = WorldExplorer().problem
assert "the attribute predictors are missing" in problem, problem
print(Path(munit_lite.__file__).parent)
"""


def package_files() -> set[str]:
    """Paths of the package's files in the working tree, without those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "munit_lite"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints. Its environment names no folder that Python would import from."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that neither an old build/ nor an old list of sources adds files, and none are left."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*package_files(), "pyproject.toml", "README.md", "LICENSE"):
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, folder / "source", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment that holds the wheel and reads every other package from the one running now."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    bin_folder = folder / "bin"
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", bin_folder / "python", "install", *options, wheel, cwd=folder)
    own = sysconfig.get_path("purelib", vars={"base": str(folder)})
    # A folder that a .pth file adds stands last; .pth files in it, as of an editable installation, are not read.
    (Path(own) / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return bin_folder


def test_the_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert held == package_files()


def test_an_explorer_opens_from_the_wheel_with_its_script_and_its_style(environment, tmp_path):
    package = Path(run(environment / "python", "-c", OPEN, cwd=tmp_path).strip())
    assert package.is_relative_to(environment.parent.resolve())
    for name, suffix in (("_esm", "js"), ("_css", "css")):
        (source,) = (ROOT / "munit_lite").rglob(f"widget.{suffix}")
        assert (tmp_path / name).read_text() == source.read_text() != ""


def test_the_command_runs_from_the_wheel(environment, tmp_path):
    assert "train" in run(environment / "munit-lite", "--help", cwd=tmp_path)


def test_start_says_from_the_wheel_that_the_notebooks_are_in_the_repository(environment, tmp_path):
    command = [environment / "munit-lite", "start", tmp_path / "mine"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 1 and "this installation has no notebooks" in done.stderr, done.stderr
    assert not (tmp_path / "mine").exists()
