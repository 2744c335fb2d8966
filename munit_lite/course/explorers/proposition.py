"""Proposition explorer: break the oracle a little or much, and see which verdicts notice from how many images."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from IPython.display import Image

from munit_lite.course.explorers.widget import Choice, Control, Explorer, Slider, State
from munit_lite.course.figures import COLORS, picture, subplots
from munit_lite.theory.oracle import CodeWorld, Oracle
from munit_lite.theory.propositions import check_all
from munit_lite.theory.variants import (
    ORACLE,
    SIZE_COLUMN,
    CodeEdit,
    OracleVariant,
    edit_content,
    leak_content_into_style,
    mix_content_and_style,
    transform_style,
)
from munit_lite.theory.verdicts import FAILS, HOLDS, UNDECIDED, PropositionVerdict
from munit_lite.world import STYLE_DIM

MARKS = {HOLDS: (0, "o"), FAILS: (1, "X"), UNDECIDED: (2, "$?$")}  # number in `figures.COLORS`, and marker
NAMES = {
    "minimum": "1 · the minimum is reached",
    "latents": "2 · latents match",
    "joint": "3 · joints match",
    "cycle": "4 · cycles close",
    "content": "content is kept",
}
_I = torch.eye(STYLE_DIM, dtype=torch.float64)


def _edited(encode: CodeEdit | None = None, decode: CodeEdit | None = None) -> OracleVariant:
    """The oracle with domain 2's encoder or decoder edited."""
    one, two = ({} if edit is None else {2: edit} for edit in (encode, decode))
    return OracleVariant("broken by hand", "", ORACLE.expected, encode=one, decode=two)


def _correlated(strength: float) -> OracleVariant:
    factor = torch.linalg.cholesky((1 - 0.9 * strength) * _I + 0.9 * strength)
    return _edited(transform_style(factor.inverse()), transform_style(factor))


def _content_in_style(strength: float) -> OracleVariant:
    share, rest = 0.8 * strength, math.sqrt(1 - (0.8 * strength) ** 2)
    return _edited(leak_content_into_style(share, rest), leak_content_into_style(-share / rest, 1 / rest))


BREAKS: dict[str, Callable[[float], OracleVariant]] = {
    "styles of domain 2 scaled, in E and G": lambda t: _edited(
        transform_style(_I / (1 + t)), transform_style((1 + t) * _I)
    ),
    "styles of domain 2 correlated, in E and G": _correlated,
    "content in the style, its variance kept": _content_in_style,
    "content in the style, encoder only": lambda t: _edited(leak_content_into_style(1.5 * t)),
    "a larger size in domain 2, in E and G": lambda t: _edited(
        edit_content(SIZE_COLUMN, lambda size: size - t), edit_content(SIZE_COLUMN, lambda size: size + t)
    ),
    "style turned to its negative, encoder only": lambda t: _edited(transform_style((1 - 2 * t) * _I)),
    "content and style mixed by a turn, in E and G": lambda t: _edited(
        mix_content_and_style(-t * math.pi / 2), mix_content_and_style(t * math.pi / 2)
    ),
}


def controls() -> dict[str, Control]:
    return {
        "broken": Choice(tuple(BREAKS), "what is broken"),
        "strength": Slider(0.0, 1.0, 1.0, "strength", "from 0, the oracle itself, to 1"),
        "units": Slider(100, 600, 500, "images of each domain", "from 100 to 600"),
        "seed": Slider(0, 9, 0, "seed", "another draw of images"),
    }


@lru_cache(maxsize=1)  # the picture and its description need the same verdicts
def verdicts(broken: str, strength: float, units: int, seed: int) -> dict[str, PropositionVerdict]:
    """All checks of the oracle with one of `BREAKS`, in code space: exact factors."""
    world = CodeWorld()
    return check_all(Oracle(world, BREAKS[broken](strength)), world, units, seed)


def render(broken: str, strength: float, units: int, seed: int) -> Image:
    """For each check its decisive part: the effect with its interval, in units of what counts.

    Args:
        broken: one of `BREAKS`.
        strength: 0 … 1.
        units: images of each domain.
        seed: of the images, drawn styles and permutations.
    """
    found = verdicts(broken, strength, units, seed)
    figure, (axis,) = subplots(1, (7.5, 2.9))
    for row, result in enumerate(found.values()):
        part, (color, mark) = result.decisive_finding, MARKS[result.status]
        low, effect, high = (max(value / part.threshold, 0.0) for value in (part.low, part.effect, part.high))
        axis.plot([low, high], [row, row], "-", color=COLORS[color], lw=3)
        axis.plot(effect, row, marker=mark, color=COLORS[color], ms=11, mec="white")
        axis.annotate(result.status, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axis.axvline(1, color="black", lw=1, linestyle="--")
    axis.set_xscale("symlog", linthresh=1)
    axis.set_yticks(range(len(found)), [NAMES[name] for name in found])
    axis.set(xlabel="effect / what counts (dashed: 1)", xlim=(-0.05, 1e3), ylim=(len(found) - 0.5, -0.5))
    return picture(figure, _sentence(found, broken, strength, units))


def _sentence(found: dict[str, PropositionVerdict], broken: str, strength: float, units: int) -> str:
    told = "; ".join(f"{NAMES[name]}: {result.status}" for name, result in found.items())
    return f"The oracle with {broken}, strength {strength:g}, {units} images of each domain. {told}."


def describe(broken: str, strength: float, units: int, seed: int) -> tuple[str, list[list[str]]]:
    """Every verdict in words, and for each the part that settles it."""
    found = verdicts(broken, strength, units, seed)
    rows = [["check", "verdict", "settled by", "effect", "95 % interval", "counts from"]]
    for name, result in found.items():
        part = result.decisive_finding
        interval = f"{part.low:.2g} to {part.high:.2g}"
        rows.append([NAMES[name], result.status, part.name, f"{part.effect:.2g}", interval, f"{part.threshold:.2g}"])
    return _sentence(found, broken, strength, units), rows


class PropositionExplorer(Explorer):
    """The checks of the four propositions on an oracle broken by hand; see `render`."""

    def __init__(self, state: State | None = None) -> None:
        """
        Args:
            state: values to begin with.
        """
        made = controls()
        first: State = {name: control.first for name, control in made.items()}
        strip = render(**first)
        super().__init__(render, made, strip, "Proposition explorer", describe, state)

    def as_code(self, state: State) -> str:
        return f"PropositionExplorer(state={state})"
