"""What the pages of data/results share: templates, tables, words, and figures that hold a digest of their data."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.PngImagePlugin import PngInfo

from munit_lite.course import figures
from munit_lite.experiments.markdown import markdown_table

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 7.2  # inches; at 10 pt, text has at least 9 pt on a page that shows the figure 650 px wide
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def fill_template(template: str, /, **fields: Any) -> str:
    """Return a text of tools/templates whose fields, such as `{steps:,}`, are replaced as by `str.format`."""
    return (TEMPLATES / f"{template}.md").read_text().format(**fields)


def table(first: str, rows: Mapping[str, Any], columns: Mapping[str, Callable[[Any], object]]) -> str:
    """Return a table in Markdown.

    Args:
        first: title of the first column.
        rows: label of each row, which stands in the first column -> what the row is about.
        columns: title of each further column -> the function from that to the text of the cell.

    Example:
        >>> print(table("run", {"a": 0.5}, {"accuracy": "{:.2f}".format}))
        | run | accuracy |
        | --- | --- |
        | a | 0.50 |
    """
    cells = ([label, *(str(cell(row)) for cell in columns.values())] for label, row in rows.items())
    return markdown_table([first, *columns], cells)


def minus_signs(text: str) -> str:
    """Return a text whose negative numbers begin with a minus sign instead of a hyphen.

    Example:
        >>> minus_signs("at most -0.1, from 1-2")
        'at most −0.1, from 1-2'
    """
    return re.sub(r"(?<![\w.)])-(?=\d)", "−", text)


def count_in_words(number: int) -> str:
    """Return a number up to twelve as a word.

    Example:
        >>> count_in_words(2), count_in_words(17)
        ('two', '17')
    """
    return _WORDS[number] if number < len(_WORDS) else str(number)


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a"])
        ('a, b and c', 'a')
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def value_range(values: Iterable[float], form: str = ".2f") -> str:
    """Return the lowest and the highest of some values, or one number if they are printed alike.

    Example:
        >>> value_range([0.5, 0.25]), value_range([0.5])
        ('0.25 to 0.50', '0.50')
    """
    ordered = sorted(values)
    return " to ".join(dict.fromkeys(f"{value:z{form}}" for value in (ordered[0], ordered[-1])))


def dot_plot(axis: Axes, rows: Sequence[Sequence[float]], lines: Mapping[str, float], title: str) -> None:
    """Plot one row of values, one per seed and joined by a gray line, below the other.

    Args:
        axis: where to plot.
        rows: the values of each row, from top to bottom; an empty row is left blank.
        lines: label -> the value at which a vertical line stands.
        title: title of the panel.
    """
    for y, values in enumerate(rows):
        heights = [y + 0.3 * (k - (len(values) - 1) / 2) for k in range(len(values))]
        axis.plot(values, heights, "-", color="0.6", zorder=1)
        axis.plot(values, heights, "o", color=figures.COLORS[0], markersize=5, label="one run" if values else None)
    for (label, value), line in zip(lines.items(), ("--", "-.", ":"), strict=False):
        axis.axvline(value, color="0.2", linestyle=line, linewidth=1.3, zorder=0, label=label)
    axis.set(ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)), yticklabels=[])
    axis.tick_params(axis="y", length=0)
    axis.set_title(title, fontsize=10.5, loc="left")


def label_marks(figure: Figure, axis: Axes, columns: int) -> None:
    """Write a legend below a figure, with each label of an axis once."""
    marks = {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=columns)


def digest_of(data: Any) -> str:
    """Return the digest of a figure's data, which must have a stable `repr`: lists, dicts, strings and numbers."""
    return hashlib.sha256(repr(data).encode()).hexdigest()


def save_figure(path: Path, figure: Figure | Image, data: Any) -> None:
    """Write a figure as PNG whose text field `digest` tells for which data it was plotted; a figure is closed."""
    image = figure if isinstance(figure, Image) else figures.figure_to_image(figure, alt="")  # the template has the alt
    info = PngInfo()
    info.add_text("digest", digest_of(data))
    PIL.Image.open(io.BytesIO(image.data)).save(path, pnginfo=info, optimize=True)
