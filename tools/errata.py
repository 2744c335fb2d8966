"""Fill the table of known bugs in ERRATA.md from the checkers: `python -m tools.errata`."""

from __future__ import annotations

import re
from pathlib import Path

from munit_lite.course.exercises import EXERCISES
from munit_lite.experiments.results import markdown_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ERRATA.md"
BEGIN, END = "<!-- known bugs -->", "<!-- /known bugs -->"


def notebook_link(exercise: str) -> str:
    """Link to the notebook that poses an exercise."""
    paths = [
        path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if f"exercises.{exercise}(" in path.read_text()
    ]
    if not paths:
        raise ValueError(f"no notebook calls exercises.{exercise}")
    return f"[{paths[0].stem}](notebooks/{paths[0].name})"


def bug_table() -> str:
    """Return a row for each bug: what it does, what is right, where it was found, and which exercise recognizes it."""
    rows = [
        (
            f"`{bug.name}`",
            bug.mistake,
            bug.fix,
            bug.origin,
            f"{notebook_link(exercise.name)}, `exercises.{exercise.name}`",
        )
        for exercise in sorted(EXERCISES.values(), key=lambda exercise: (notebook_link(exercise.name), exercise.name))
        for bug in exercise.bugs
    ]
    return markdown_table(("bug", "what it does", "what is right", "where it was found", "exercise"), rows)


def fill_page(text: str) -> str:
    """Return the text of the page with its table replaced."""
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    if len(re.findall(pattern, text, flags=re.DOTALL)) != 1:
        raise ValueError(f"the page needs one block between {BEGIN} and {END}")
    return re.sub(pattern, lambda _: f"{BEGIN}\n{bug_table()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(fill_page(PAGE.read_text()))
