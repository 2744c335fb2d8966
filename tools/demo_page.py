"""Write a page of translations by a shipped model, and open it: the first thing that `make demo` shows.

`python -m tools.demo_page runs/demo/shipped_model.html` takes a few seconds. Without a screen it prints the path alone.
"""

from __future__ import annotations

import base64
import os
import sys
import webbrowser
from html import escape
from pathlib import Path

import tyro

from munit_lite.course.figures import image_rows
from munit_lite.data import open_data
from munit_lite.samples import sample_rows
from munit_lite.storage.checkpoints import load
from munit_lite.storage.files import atomic_path
from munit_lite.world import DIRECTIONS

MODEL = "world64s"  # a shipped checkpoint
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>One input, many translations</title>
<style>body {{font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em}}
img {{max-width: 100%}}</style>
<h1>One input, many translations</h1>
<p>The shipped model <code>{name}</code> translates images that it has never seen; it was trained without a single pair
of images. Each column keeps the content of its input. Each row "sampled style" uses one style code for all inputs, and
the last row takes its style from the example above it.</p>
{figures}
</html>
"""


def write_page(file: Path, columns: int = 8) -> None:
    """Write the page.

    Args:
        file: its path; folders are created.
        columns: inputs per direction.

    Raises:
        StorageError: the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_page(Path(folder) / "page.html", columns=2)
        ...     (Path(folder) / "page.html").read_text()[:15]
        '<!doctype html>'
    """
    model = load(MODEL)
    data, figures = open_data(model.config), []
    for (source, _), direction in DIRECTIONS.items():
        rows = sample_rows(model, data, source, columns)
        alt = f"Translations from {direction}, in rows: {', '.join(label for label, _ in rows)}."
        title = f"From {direction}: each column keeps its content, each row of translations has one style"
        picture = image_rows(rows, alt=alt, title=title)
        encoded = base64.b64encode(picture.data).decode()
        figures.append(f'<img alt="{escape(alt)}" src="data:image/png;base64,{encoded}">')
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary:
        temporary.write_text(PAGE.format(name=escape(MODEL), figures="\n".join(figures)))


def show(file: tyro.conf.Positional[Path], /) -> None:
    """Write a page of translations by a shipped model, print its path, and open it where there is a screen.

    Args:
        file: path of the page.
    """
    write_page(file)
    print(f"translations by the shipped model {MODEL}: {file.resolve()}", flush=True)
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen:
        webbrowser.open(file.resolve().as_uri())


if __name__ == "__main__":
    tyro.cli(show, config=(tyro.conf.OmitArgPrefixes,))
