"""Write the table of bugs in ERRATA.md from the exercises' known bugs, so that no row is written by hand.

python -m tools.errata
"""

from __future__ import annotations

from munit_lite.course.exercises import EXERCISES
from munit_lite.experiments.markdown import markdown_table
from munit_lite.paths import NOTEBOOKS_DIR, REPOSITORY_DIR
from tools.markdown_blocks import replace_block

PAGE = REPOSITORY_DIR / "ERRATA.md"


def notebook_link(exercise: str) -> str:
    """Return a link to the notebook that poses an exercise.

    Raises:
        ValueError: no notebook poses it.
    """
    for notebook in sorted(NOTEBOOKS_DIR.glob("*.ipynb")):
        if f"exercises.{exercise}(" in notebook.read_text():
            return f"[{notebook.stem}](notebooks/{notebook.name})"
    raise ValueError(f"no notebook calls exercises.{exercise}")


def bug_table() -> str:
    """Return one row per bug: what the code does, what is right, where the bug was met, which cell shows it."""
    links = {name: notebook_link(exercise.name) for name, exercise in EXERCISES.items()}
    rows = [
        (f"`{bug.name}`", bug.mistake, bug.fix, bug.origin, f"{links[name]}, `exercises.{exercise.name}`")
        for name, exercise in sorted(EXERCISES.items(), key=lambda item: (links[item[0]], item[1].name))
        for bug in exercise.bugs
    ]
    return markdown_table(("bug", "what it does", "what is right", "where it was found", "exercise"), rows)


def update(text: str) -> str:
    """Return the page's text with the table written again."""
    return replace_block(text, "known bugs", bug_table())


if __name__ == "__main__":
    PAGE.write_text(update(PAGE.read_text()))
