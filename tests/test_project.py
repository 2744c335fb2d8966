"""The project's files agree with each other, and imports run one way."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tools import readme, syllabus

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "munit_lite"

# The reading order of the package: a module may import only modules that stand before it.
_READING_ORDER = """
networks config acceleration.devices acceleration.distributed model acceleration.fused_layers
acceleration.parallel_domains losses objective methods.cyclegan methods.unit methods.bicyclegan methods
acceleration.objective acceleration.accelerate acceleration storage.files storage.tensors paths
storage.checkpoints storage.run_folder training_errors data.image_files counter_rng world data.base
samples presets data.fetch data.downloads evaluation.statistics evaluation.translator
theory.linear_gaussian theory.two_sample theory.verdicts evaluation.attribute_predictors
evaluation.world_metrics evaluation.convergence course.figures course.exercises.framework
course.exercises.inputs course.exercises.shared_latent_assumption course.exercises.content_encoder
course.exercises.style_encoder course.exercises.adain_decoder course.exercises.image_reconstruction
course.exercises.latent_reconstruction course.exercises.adversarial_loss course.exercises.full_objective
course.exercises.optimality course.exercises.latent_matching course.exercises.cycle_consistency
course.exercises.joint_matching course.exercises.experiments course.exercises.real_images
course.exercises course.explorers.pictures course.explorers.widget course data.folder_layout data.folders
data.image_statistics data.synthetic data.fashion data storage.nvlabs callbacks interruptions
training_step training translation_warnings inference evaluation.weight_files
evaluation.pretrained_networks evaluation.image_metrics
evaluation.fashion_metrics evaluation.unlabeled_metrics evaluation.mode_coverage
evaluation.metric_meanings evaluation.evaluate evaluation.metric_names
evaluation.steganography experiments.provenance experiments.results
experiments.markdown experiments.claims theory.variants theory.inversion theory.oracle
theory.propositions theory.error_rates theory.graded_distances theory.identifiability experiments.sweep_plan
experiments.notebook_times experiments.side_by_side experiments.sweep experiments.tables experiments.convergence_curves
experiments.benchmark_tables experiments.benchmark experiments.recipe_tables course.equation_display
course.equations course.notebook
course.explorers.proposition course.explorers.model_explorer course.explorers.world
course.explorers.style course.explorers.loss course.explorers.example course.explorers.adain
course.explorers.symmetry course.explorers doctor course.reader_copy course.reexports commands cli
"""
ORDER = _READING_ORDER.split()
# A package whose file only says what it holds; those that export names have their place in the order.
DESCRIPTIONS = ["storage", "evaluation", "theory", "experiments"]


def _name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _modules() -> dict[str, Path]:
    """Every module of the package by its name below munit_lite; the package's own file is left out."""
    return {_name(file): file for file in PACKAGE.rglob("*.py") if _name(file)}


def _files(name: str) -> list[Path]:
    """The files of a module or of a package."""
    return sorted((PACKAGE / name).rglob("*.py")) or [PACKAGE / f"{name}.py"]


def _imports(file: Path) -> set[str]:
    """Modules of the package that a file imports, at any depth of the file, by their names below munit_lite."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "munit_lite":
            package = node.module.removeprefix("munit_lite").strip(".")
            for alias in node.names:
                module = f"{package}.{alias.name}".strip(".")
                found.add(module if module in _modules() else package)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("munit_lite.") for alias in node.names if "munit_lite." in alias.name}
    return found - {""}


def test_every_module_has_its_place_in_the_order():
    assert sorted(_modules()) == sorted(ORDER + DESCRIPTIONS)


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_modules_that_stand_before_it(name):
    later = _imports(_modules()[name]) - set(ORDER[: ORDER.index(name)])
    assert not later, f"{name} imports {sorted(later)}, which must not stand after it"


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_file_of_a_package_says_in_two_sentences_what_it_holds(name):
    tree = ast.parse(_modules()[name].read_text())
    assert not _imports(_modules()[name])
    text = ast.get_docstring(tree) or ""
    assert len(re.findall(r"[a-z0-9]\.(?:\s|$)", text)) == 2


def test_the_conda_environment_holds_exactly_the_locked_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == (ROOT / "requirements.lock").read_text().splitlines()


def test_the_lock_pins_every_dependency_of_the_project():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [d for extra in project["optional-dependencies"].values() for d in extra if not d.startswith("munit-lite")]
    wanted = project["dependencies"] + extras
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
        *ROOT.glob("[!.]*.*"),
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
    assert readme.update(text) == text, "run: python -m tools.readme"


def test_the_tracks_and_the_syllabus_of_the_readme_are_what_the_notebooks_state():
    text = (ROOT / "README.md").read_text()
    assert syllabus.update(text) == text, "run: python -m tools.syllabus"
