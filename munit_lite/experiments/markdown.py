"""Tables in Markdown, for the README, for the model cards and for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; a vertical bar inside a cell is escaped.

    Example:
        >>> print(markdown_table(["loss", "weight"], [["image", "10"]]))
        | loss | weight |
        | --- | --- |
        | image | 10 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
