"""The museum as a page: its table in ERRATA.md is made from the checkers, never by hand.

`python -m tools.errata` makes it anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from munit_lite.course.exercises import EXERCISES
from munit_lite.experiments.results import markdown_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ERRATA.md"
BEGIN, END = "<!-- museum -->", "<!-- /museum -->"


def posed_in(checker: str) -> str:
    """The notebook that poses a checker's exercise, as a link."""
    found = [
        path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if f"exercises.{checker}(" in path.read_text()
    ]
    if not found:
        raise ValueError(f"no notebook calls exercises.{checker}")
    return f"[{found[0].stem}](notebooks/{found[0].name})"


def museum_table() -> str:
    """A row for each bug: what was coded, what is right, where it was met, where a cell shows it."""
    rows = [
        (f"`{bug.name}`", bug.wrong, bug.right, bug.origin, f"{posed_in(exercise.name)}, `exercises.{exercise.name}`")
        for exercise in sorted(EXERCISES.values(), key=lambda exercise: (posed_in(exercise.name), exercise.name))
        for bug in exercise.bugs
    ]
    return markdown_table(("bug", "what it does", "what is right", "where it was met", "shown in"), rows)


def filled(text: str) -> str:
    """The page's text with the museum's table made anew."""
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    if len(re.findall(pattern, text, flags=re.DOTALL)) != 1:
        raise ValueError(f"the page needs one block between {BEGIN} and {END}")
    return re.sub(pattern, lambda _: f"{BEGIN}\n{museum_table()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
