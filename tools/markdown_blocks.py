"""Generated blocks inside Markdown pages that are otherwise written by hand."""

from __future__ import annotations

import re


def replace_block(text: str, name: str, content: str) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` in a Markdown page.

    Raises:
        ValueError: the page does not hold exactly one such block.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    text, count = re.subn(pattern, lambda _: f"{begin}\n{content}\n{end}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} blocks named {name}, but it needs exactly one")
    return text
