"""An equation as notebooks show it, with its LaTeX read from the docstring of the function that implements it."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.display import Markdown

Function = Callable[..., Any]


@dataclass(frozen=True)
class Equation:
    """An equation of the paper.

    Args:
        key: the name that the course uses, such as "L_recon^s2".
        location: number or section in the paper.
        summary: what it states, in one sentence.
        latex: the formula, without dollars.
        functions: the functions that implement it; empty for an equality of distributions or of maps.
        check: for such an equality: the check in `munit_lite.theory.propositions` that measures it.
        symbols: LaTeX of a symbol -> its meaning in plain words.
    """

    key: str
    location: str
    summary: str
    latex: str
    functions: tuple[Function, ...] = ()
    check: str = ""
    symbols: dict[str, str] = field(default_factory=dict)

    def markdown(self, source: bool = True) -> str:
        """Return the equation and its symbols as Markdown.

        Args:
            source: whether to add the check that measures it and the folded source of its functions.
        """
        lines = [f"**{self.summary}** ({self.location})", "", f"$$ {self.latex} $$", ""]
        lines += [f"- ${symbol}$: {meaning}" for symbol, meaning in self.symbols.items()]
        if not source:
            return "\n".join(lines)
        if self.check:
            lines += ["", f"Measured by the check `{self.check}`."]
        for function in self.functions:
            name = f"{function.__module__}.{function.__qualname__}"
            code = textwrap.dedent(inspect.getsource(function)).rstrip()
            lines += ["", f"<details><summary>source: <code>{name}</code></summary>", ""]
            lines += ["```python", code, "```", "", "</details>"]
        return "\n".join(lines)

    def show(self, source: bool = True) -> Markdown:
        """Return `markdown(source)` as an object that a notebook displays."""
        from IPython.display import Markdown

        return Markdown(self.markdown(source))


def latex_from_docstring(*functions: Function) -> str:
    r"""Read the LaTeX in the docstrings of functions.

    Args:
        *functions: each has one formula between $$ in its docstring.

    Returns:
        The formulas without dollars, joined by `, \qquad `.

    Raises:
        ValueError: a docstring has no formula, or more than one.

    Example:
        >>> from munit_lite.losses import lsgan_generator_loss
        >>> latex_from_docstring(lsgan_generator_loss)
        '\\min_G \\; \\mathbb E[(D(\\hat x) - 1)^2]'
    """
    formulas = []
    for function in functions:
        found = re.findall(r"\$\$(.+?)\$\$", function.__doc__ or "", flags=re.DOTALL)
        if len(found) != 1:
            raise ValueError(f"the docstring of {function.__qualname__} has {len(found)} formulas between $$, not one")
        formulas.append(" ".join(found[0].split()))
    return r", \qquad ".join(formulas)


def exchange_domains(latex: str) -> str:
    r"""Exchange the domains 1 and 2 in the subscripts of a formula; the 1 of an L1 norm stays.

    Args:
        latex: the formula, without dollars.

    Returns:
        The formula of the opposite direction, as the paper's "defined in a similar manner".

    Example:
        >>> exchange_domains(r"\lVert E_2^s(G_2(c_1, s_2)) - s_2 \rVert_1")
        '\\lVert E_1^s(G_1(c_2, s_1)) - s_1 \\rVert_1'
    """
    return re.sub(r"(?<!\\rVert)_([12])", lambda match: f"_{3 - int(match[1])}", latex)
