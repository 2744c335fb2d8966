"""How the tests read the notebooks."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import nbformat

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"

# In the order of the course; those named FRAME keep the frame of the template alone (title, aims, parameters, …).
COURSE = (
    "00_start_here",
    "01_shared_latent_assumption",
    "02_content_encoder",
    "03_style_encoder",
    "04_adain_decoder",
    "05_image_reconstruction",
    "06_latent_reconstruction",
    "07_adversarial_loss",
    "08_total_loss",
    "08b_loss_contributions",
    "09_training",
    "10_optimality",
    "11_latent_matching",
    "12_joint_matching",
    "13_cycle_consistency",
    "14_style_explorer",
    "15_experiments",
    "16_real_images",
)
FRAME = {"00_start_here", "09_training", "14_style_explorer", "15_experiments", "16_real_images"}
WRITTEN = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
TEACHING = [name for name in WRITTEN if name not in FRAME]
# Those with the template of the second edition (tests/test_template.py); the others have that of the first.
REWRITTEN = [
    "00_start_here",
    "01_shared_latent_assumption",
    "02_content_encoder",
    "03_style_encoder",
    "04_adain_decoder",
    "05_image_reconstruction",
    "06_latent_reconstruction",
    "07_adversarial_loss",
    "08_total_loss",
    "08b_loss_contributions",
    "09_training",
    "10_optimality",
    "11_latent_matching",
    "12_joint_matching",
    "13_cycle_consistency",
]


class Attempt(NamedTuple):
    """An exercise as a notebook poses it."""

    notebook: str
    exercise: str  # exercises.<exercise>
    function: str  # the name of the learner's function
    stub: str  # source of the cell that holds it
    solution: str  # source in the folded solution below
    imports: str  # what the notebook imported before


def number_of(name: str) -> str:
    """The number of a notebook, such as "08b"."""
    return name.split("_")[0]


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def calls_of(source: str, module: str) -> list[ast.Call]:
    """The calls `module.<name>(…)` in a cell's source."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == module
    ]


def attempts(name: str) -> list[Attempt]:
    """The exercises of a notebook: a cell with a stub and its checker, then a cell with the folded solution."""
    found = []
    imports: list[str] = []
    cells = read(name).cells
    for number, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        imports += [ast.unparse(s) for s in ast.parse(cell.source).body if isinstance(s, ast.Import | ast.ImportFrom)]
        for call in calls_of(cell.source, "exercises"):
            below = "\n".join(c.source for c in cells[number + 1 : number + 2] if c.cell_type == "markdown")
            folded = re.search(r"<summary>solution</summary>\s*```python\n(.*?)```", below, flags=re.DOTALL)
            assert folded, f"{name}: no folded solution in the cell below exercises.{call.func.attr}"  # type: ignore[attr-defined]
            assert "<summary>hint</summary>" in below, f"{name}: no folded hint below exercises.{call.func.attr}"  # type: ignore[attr-defined]
            learner = call.args[0].id  # type: ignore[attr-defined]
            found.append(
                Attempt(name, call.func.attr, learner, cell.source, folded[1], "\n".join(imports))  # type: ignore[attr-defined]
            )
    return found


def defined(source: str, imports: str, function: str):
    """A function out of the definitions of a source."""
    definitions = [
        ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    namespace: dict = {}
    exec("\n".join([imports, *definitions]), namespace)
    return namespace[function]
