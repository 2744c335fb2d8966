"""A copy of the course in a folder of the reader's own, so that answers do not conflict with updates of the repository.

The notebooks stand beside the package in the repository, and a wheel does not hold them. The copy keeps the layout of
the repository, because links between notebooks, and from notebooks to data, are relative.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from munit_lite.doctor import install_command
from munit_lite.paths import NOTEBOOKS_DIR, REPOSITORY_DIR

# Links of Markdown, and other paths that lead out of the folder of a notebook, such as Path("../data/file.json").
_PATHS = re.compile(r"\]\(([^)#\s]{1,200})|(\.\./[\w./-]{1,200})")
_NOT_COPIED = ("munit_lite", "runs")  # the installed package is used; runs are the reader's own


def copy_course(folder: Path, overwrite: bool = False) -> list[Path]:
    """Copy the notebooks, and the files of the repository that they name or link to, into a folder.

    Args:
        folder: receives `notebooks/` and the other files, such as `README.md`, where the repository has them. It is
            created if it does not exist.
        overwrite: replace files that exist, and with them the reader's answers.

    Returns:
        The copies, notebooks first.

    Raises:
        FileNotFoundError: the package was installed without the repository.
        FileExistsError: the folder already holds notebooks, and `overwrite` is False.
        ValueError: the folder is the repository itself, or a file.
    """
    notebooks = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(
            "this installation has no notebooks, because they are part of the repository and not of the package: clone "
            f"the repository, run {install_command('notebooks')} in it, and then this command again"
        )
    if folder.resolve() == REPOSITORY_DIR.resolve():
        raise ValueError(f"{folder} is the repository itself; choose a folder of your own")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder")
    present = [path for pattern in ("*.ipynb", "notebooks/*.ipynb") for path in sorted(folder.glob(pattern))]
    if present and not overwrite:
        raise FileExistsError(
            f"{folder} already holds notebooks, such as {present[0].name}; choose another folder, or use --overwrite, "
            "which replaces the notebooks of the course and your answers in them"
        )
    copies = []
    for source in [*notebooks, *_linked_files(notebooks)]:
        copy = folder / source.resolve().relative_to(REPOSITORY_DIR.resolve())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        copies.append(copy)
    return copies


def _linked_files(notebooks: list[Path]) -> list[Path]:
    """Return the files that notebooks name or link to, and the files that the Markdown files among them link to."""
    found: set[Path] = set()
    unread = list(notebooks)
    while unread:
        file = unread.pop()
        for link, path in _PATHS.findall(file.read_text(encoding="utf-8")):
            target = (file.parent / (link or path)).resolve()
            if target not in found and _is_to_be_copied(target):
                found.add(target)
                unread += [target] if target.suffix == ".md" else []
    return sorted(found - {notebook.resolve() for notebook in notebooks})


def _is_to_be_copied(file: Path) -> bool:
    root = REPOSITORY_DIR.resolve()
    return file.is_file() and file.is_relative_to(root) and file.relative_to(root).parts[0] not in _NOT_COPIED
