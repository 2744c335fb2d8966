"""The template of the second edition: a notebook teaches one idea, within limits, with captions and folded plotting."""

from __future__ import annotations

import re

import nbformat
import pytest
from notebook_files import REWRITTEN, TEACHING, attempts, code, number_of, read

MAIN_PATH_WORDS, DEEPER_WORDS = 1500, 1000
MAX_VISIBLE_CELLS, MAX_LINES = 18, 15
# The parts of a teaching notebook, in order; each is the beginning of a heading of the second level.
PARTS = (
    "Predict", "The idea", "By hand", "In code", "Measure it", "Break it", "Explore", "Summary", "Exercises",
)  # fmt: skip
DEEPER = "## Going deeper"
Cells = list[nbformat.NotebookNode]

rewritten = pytest.mark.parametrize("name", REWRITTEN)
rewritten_teaching = pytest.mark.parametrize("name", [name for name in REWRITTEN if name in TEACHING])


def split(name: str) -> tuple[Cells, Cells]:
    """The cells of the main path, and those from "Going deeper" on."""
    cells = read(name).cells
    deeper = next((k for k, cell in enumerate(cells) if cell.source.startswith(DEEPER)), len(cells))
    return cells[:deeper], cells[deeper:]


def is_folded(cell: nbformat.NotebookNode) -> bool:
    return "hide-input" in cell.metadata.get("tags", [])


def words(cells: Cells) -> int:
    """The words that a reader reads: prose and printed text, without folded answers and code."""
    count = 0
    for cell in cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"<details.*?</details>|```.*?```|\]\([^)]*\)", " ", cell.source, flags=re.DOTALL)
            count += len(prose.split())
            continue
        for output in cell.outputs:
            text = output.get("text", "") or output.get("data", {}).get("text/markdown", "")
            count += len("".join(text).split())
    return count


def headings(name: str) -> list[str]:
    return [
        line.removeprefix("## ")
        for cell in read(name).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]


@rewritten
def test_the_first_cell_asks_the_question_and_shows_a_picture_before_any_code(name):
    cells = read(name).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith(f"# {number_of(name)} · ")
    before_code = "".join(cell.source for cell in cells[: [cell.cell_type for cell in cells].index("code")])
    assert all(f"**{word}**" in before_code for word in ("Time", "Prerequisites", "Paper", "You will be able to"))
    assert "?" in cells[0].source


@rewritten_teaching
def test_the_parts_stand_in_order(name):
    found = headings(name)
    starts = [next((k for k, heading in enumerate(found) if heading.startswith(part)), None) for part in PARTS]
    assert None not in starts, f"{PARTS[starts.index(None)]} is missing in {found}"
    assert starts == sorted(starts), found  # type: ignore[type-var]


@rewritten_teaching
def test_the_main_path_and_going_deeper_stay_within_their_limits(name):
    main, deeper = split(name)
    assert words(main) <= MAIN_PATH_WORDS and words(deeper) <= DEEPER_WORDS
    visible = [cell for cell in main if cell.cell_type == "code" and not is_folded(cell)]
    assert len(visible) <= MAX_VISIBLE_CELLS


@rewritten
def test_visible_cells_are_short(name):
    for cell in code(read(name)):
        assert is_folded(cell) or len(cell.source.splitlines()) <= MAX_LINES, cell.source


@rewritten
def test_what_is_folded_in_the_book_is_folded_in_jupyterlab(name):
    for cell in code(read(name)):
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert hidden is is_folded(cell), cell.source
    parameters, setup = code(read(name))[:2]
    assert "parameters" in parameters.metadata["tags"] and is_folded(parameters) and is_folded(setup)
    assert re.search(r"(setup_notebook|check_parameters)\(In\b", setup.source)


def is_live_curve(cell, output) -> bool:
    """Curves that a training redraws; the page of the book leaves them out."""
    ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
    return ignored and not output.get("metadata", {}).get("image/png", {}).get("alt")


@rewritten
def test_every_figure_has_a_caption_below_it(name):
    cells, number = read(name).cells, 0
    for k, cell in enumerate(cells):
        shown = cell.cell_type == "markdown" and "![" in cell.source
        if cell.cell_type == "code":
            shown = any(
                {"image/png", "image/svg+xml"} & set(output.get("data", {}))
                for output in cell.outputs
                if not is_live_curve(cell, output)
            )
        if shown:
            number += 1
            place = cell.source if cell.cell_type == "markdown" else cells[k + 1].source
            assert f"*Figure {number}. " in place, f"no caption of figure {number} below:\n{cell.source}"
    assert number >= 2


@rewritten
def test_a_caption_is_in_italics_from_its_first_word_to_its_last(name):
    """Emphasis within it would end the italics, and leave its asterisks in the page."""
    for cell in read(name).cells:
        for paragraph in cell.source.split("\n\n") if cell.cell_type == "markdown" else ():
            if paragraph.startswith("*Figure"):
                text = re.sub(r"\$[^$]*\$", "", paragraph.strip())
                assert text.count("*") == 2 and text.endswith("*"), paragraph


@rewritten_teaching
def test_each_of_the_three_aims_names_its_exercise(name):
    posed = re.findall(r"^### Exercise (\d) · ", "\n".join(cell.source for cell in split(name)[0]), re.MULTILINE)
    assert posed == [str(k + 1) for k in range(len(posed))] and 2 <= len(posed) <= 3
    aims = next(cell.source for cell in read(name).cells if "**You will be able to**" in cell.source)
    aims = aims.split("**You will be able to**")[1]
    assert set(re.findall(r"exercise (\d)", aims)) == set(posed)
    assert len(attempts(name)) >= 1


@rewritten
def test_a_stored_page_says_nothing_about_its_making(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    offered = ["papermill"] if name == "09_training" else []  # to readers, for runs of their own
    for word in {"nbval", "papermill", "continuous integration", "this course grew"}.difference(offered):
        assert word not in text.lower(), word
