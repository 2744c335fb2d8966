"""The project's files agree with each other, and imports run one way."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from munit_lite.study.readme import filled

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "munit_lite"

# A module may import only those that stand before it; modules of one line know nothing of each other.
ORDER = [
    ["networks", "losses", "world", "storage", "images", "domains"],
    ["config"],
    ["model", "folders", "downloads"],
    ["datasets", "engine", "objective", "runs", "original"],
    ["checkpoints", "reporting"],
    ["training"],
    ["study"],
    ["jobs"],
    ["cli"],
]


def _imports(file: Path) -> set[str]:
    """Modules of the package that a file imports, at any depth of the file, by their first name below munit_lite."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("munit_lite."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "munit_lite":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("munit_lite.")}
    return found


def test_every_module_has_its_place_in_the_order():
    modules = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"} | {"study"}
    assert modules == {name for layer in ORDER for name in layer}


@pytest.mark.parametrize("layer", range(len(ORDER)))
def test_imports_run_one_way(layer):
    allowed = {name for before in ORDER[:layer] for name in before}
    for name in ORDER[layer]:
        files = PACKAGE.glob("study/**/*.py") if name == "study" else [PACKAGE / f"{name}.py"]
        for file in files:
            wrong = _imports(file) - allowed - ({"study"} if name == "study" else set())
            assert not wrong, f"{file.name} imports {sorted(wrong)}, which must not stand below it"


def test_the_readme_lists_every_module_below_those_that_it_imports():
    text = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| \[`(\w+)(?:\.py|/)`\]", text, re.MULTILINE)
    assert sorted(listed) == sorted(name for layer in ORDER for name in layer)
    for k, name in enumerate(listed):
        if name != "study":
            later = _imports(PACKAGE / f"{name}.py") - set(listed[:k])
            assert not later, f"{name} stands above {sorted(later)}, which it imports"


def test_the_conda_environment_holds_exactly_the_locked_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == (ROOT / "requirements.lock").read_text().splitlines()


def test_the_lock_pins_every_dependency_of_the_project():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    locked = {re.split(r"[=\s;]", line)[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert {re.split(r"[><=]", d)[0] for d in wanted} <= locked


def test_every_notebook_was_run_from_top_to_bottom_without_errors():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code" and c["source"]]
        assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1)), path.name
        assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"], path.name
        assert path.stat().st_size < 1.5e6, path.name


def test_no_file_names_a_path_of_a_machine():
    for path in [
        *ROOT.glob("*.*"),
        *PACKAGE.rglob("*.py"),
        *ROOT.glob("notebooks/*.ipynb"),
        *ROOT.glob("data/**/*.json"),
    ]:
        if path.is_file() and path.name != ".git":  # which a worktree has as a file, with the path of its repository
            assert not re.search(r"/(home|root|work|tmp)/\w", path.read_text()), path


def test_links_of_the_readme_resolve():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_every_number_of_the_readme_comes_from_the_results():
    text = (ROOT / "README.md").read_text()
    assert filled(text) == text
