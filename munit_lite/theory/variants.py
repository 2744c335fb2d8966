"""Broken variants of the oracle: each edits E* or G* in code space, and says which proposition must fail, and why.

An edit maps codes to codes: content (B, 10), see `munit_lite.theory.oracle`, and style (B, 3). The encoder's edit comes
after E*, the decoder's before G*, so an edit of both that are inverse to each other keeps E = G^-1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from munit_lite.world import SHAPE_NAMES, STYLE_DIM

Edit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_CLASSES = len(SHAPE_NAMES)
X, Y, SIZE = _CLASSES, _CLASSES + 1, _CLASSES + 2  # columns of a content code; each is N(0, 1) in every domain


def unchanged(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    return content, style


class Expected(NamedTuple):
    """What theory says of the four checks: "H" it holds; else it fails, and why.

    For the minimum: A the adversarial terms, R the reconstruction terms. For the latents: M some marginal,
    J the joint distribution of content and style alone. For joint matching and cycle: F.
    """

    minimum: str
    latents: str
    joint: str
    cycle: str


@dataclass(frozen=True)
class Variant:
    """A variant of the oracle.

    Args:
        name: short.
        meaning: what is changed, in a formula.
        expected: what theory says of the four checks.
        encode, decode: edits by domain; a domain that is not named is unchanged.
        world: variant of the known world that it lives in.
        keeps_content: are translations of the same content? Only a known world can tell.
    """

    name: str
    meaning: str
    expected: Expected
    encode: Mapping[int, Edit] = field(default_factory=dict)
    decode: Mapping[int, Edit] = field(default_factory=dict)
    world: str = "standard"
    keeps_content: bool = True

    def __post_init__(self) -> None:
        for name in ("encode", "decode"):
            edits = {1: unchanged, 2: unchanged} | dict(getattr(self, name))
            object.__setattr__(self, name, MappingProxyType(edits))


# ------------------------------------------------------------------------------------------------------- edits


def style_times(matrix: Tensor) -> Edit:
    """s -> M s."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        return content, style @ matrix.to(style.dtype).T

    return edit


def style_plus_content(share: float, scale: float = 1.0) -> Edit:
    """s -> scale s + share g(c), with g the normal scores of x, y and size."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        return content, scale * style + share * content[:, X : X + 3]

    return edit


def content_plus_style(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([content[:, :X], content[:, X : X + 3] + 2 * style, content[:, X + 3 :]], dim=1), style


def column(number: int, change: Callable[[Tensor], Tensor]) -> Edit:
    """Change one column of the content."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        content = content.clone()
        content[:, number] = change(content[:, number])
        return content, style

    return edit


def without_first_style(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    return content, torch.cat([torch.zeros_like(style[:, :1]), style[:, 1:]], dim=1)


def without_style(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    return content, torch.zeros_like(style)


def all_into_content(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([content, style], dim=1), torch.zeros_like(style)


def all_from_content(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    return content[:, : -style.shape[1]], content[:, -style.shape[1] :]


def shift_class(by: int) -> Edit:
    """The next of the last four classes; turn (in periods of the class) and size go with it."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([content[:, :2], content[:, 2:X].roll(by, dims=1), content[:, X:]], dim=1), style

    return edit


def turn_style_with_content(sign: float) -> Edit:
    """Rotate the first two style coordinates by an angle that the content sets."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = torch.cos(2 * content[:, X]), sign * torch.sin(2 * content[:, X])
        a, b = style[:, 0], style[:, 1]
        return content, torch.stack([cos * a - sin * b, sin * a + cos * b, style[:, 2]], dim=1)

    return edit


def mix_content_and_style(angle: float) -> Edit:
    """Rotate (x, first style coordinate), both N(0, 1) and independent, by an angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        x, s = content[:, X], style[:, 0]
        content = content.clone()
        content[:, X] = cos * x - sin * s
        return content, torch.cat([(sin * x + cos * s)[:, None], style[:, 1:]], dim=1)

    return edit


# ---------------------------------------------------------------------------------------------------- variants

ORACLE = Variant("oracle", "E*, G*", Expected("H", "H", "H", "H"))

_I = torch.eye(STYLE_DIM, dtype=torch.float64)
_L = torch.linalg.cholesky(0.1 * _I + 0.9)  # L Lᵀ has correlations of .9
_R = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)

BROKEN = (
    Variant(
        "styles scaled",
        "G₂(c, 2s), E₂ˢ = s/2",
        Expected("A", "M", "F", "H"),
        encode={2: style_times(_I / 2)},
        decode={2: style_times(2 * _I)},
    ),
    Variant(
        "styles correlated",
        "G₂(c, Ls), E₂ˢ = L⁻¹s",
        Expected("A", "M", "F", "H"),
        encode={2: style_times(_L.inverse())},
        decode={2: style_times(_L)},
    ),
    Variant(
        "one style coordinate collapsed",
        "G₁ and G₂ ignore their first one, E₁ˢ and E₂ˢ give 0 for it",
        Expected("AR", "M", "F", "F"),
        encode={1: without_first_style, 2: without_first_style},
        decode={1: without_first_style, 2: without_first_style},
    ),
    Variant(
        "content into style",
        "E₂ˢ = s + 1.5 g(c), and G₂ takes it out",
        Expected("A", "M", "F", "H"),
        encode={2: style_plus_content(1.5)},
        decode={2: style_plus_content(-1.5)},
    ),
    Variant(
        "content into style, same variance",
        "E₂ˢ = .6 s + .8 g(c), and G₂ takes it out",
        Expected("A", "J", "F", "H"),
        encode={2: style_plus_content(0.8, 0.6)},
        decode={2: style_plus_content(-0.8 / 0.6, 1 / 0.6)},
    ),
    Variant(
        "content into style, encoder only",
        "E₂ˢ = s + 1.5 g(c), G*",
        Expected("R", "M", "H", "F"),
        encode={2: style_plus_content(1.5)},
    ),
    Variant(
        "style into content, one encoder",
        "E₁ᶜ = c + 2s₁, G*",
        Expected("AR", "M", "F", "F"),
        encode={1: content_plus_style},
        keeps_content=False,
    ),
    Variant("p(c) differs between domains", "E*, G*", Expected("A", "M", "F", "H"), world="different_frequencies"),
    Variant(
        "two contents, one image",
        "G₂(|x|, …), E₂ a section",
        Expected("AR", "M", "F", "F"),
        encode={2: column(X, torch.abs)},
        decode={2: column(X, torch.abs)},
        keeps_content=False,
    ),
    Variant(
        "deterministic translator",
        "G₂*(c, 0), E*",
        Expected("AR", "H", "F", "F"),
        decode={2: without_style},
    ),
    Variant(
        "UNIT-like",
        "all of z is content, Eˢ = 0",
        Expected("R", "M", "H", "F"),
        encode={1: all_into_content, 2: all_into_content},
        decode={1: all_from_content, 2: all_from_content},
    ),
    Variant(
        "content bijection that is no symmetry",
        "size + 1 in G₂, size − 1 in E₂",
        Expected("A", "M", "F", "H"),
        encode={2: column(SIZE, lambda size: size - 1)},
        decode={2: column(SIZE, lambda size: size + 1)},
        keeps_content=False,
    ),
    Variant("style sign, encoder only", "E₂ˢ = −s, G*", Expected("R", "H", "H", "F"), encode={2: style_times(-_I)}),
    Variant(
        "content symmetry, decoder only",
        "classes shifted in G₂, E*",
        Expected("R", "H", "F", "F"),
        decode={2: shift_class(1)},
        world="cyclic",
        keeps_content=False,
    ),
)

UNSEEN = (
    Variant(
        "content symmetry",
        "classes shifted in G₂, and back in E₂",
        ORACLE.expected,
        encode={2: shift_class(-1)},
        decode={2: shift_class(1)},
        world="cyclic",
        keeps_content=False,
    ),
    Variant(
        "content and style mixed",
        "(x, s₂₁) rotated in G₂, and back in E₂",
        ORACLE.expected,
        encode={2: mix_content_and_style(-math.pi / 4)},
        decode={2: mix_content_and_style(math.pi / 4)},
        keeps_content=False,
    ),
    Variant(
        "style rotation",
        "G₂(c, Rs), E₂ˢ = Rᵀs",
        ORACLE.expected,
        encode={2: style_times(_R.T)},
        decode={2: style_times(_R)},
    ),
    Variant(
        "style rotation set by content",
        "G₂(c, R(c)s), E₂ˢ = R(c)ᵀs",
        ORACLE.expected,
        encode={2: turn_style_with_content(-1.0)},
        decode={2: turn_style_with_content(1.0)},
    ),
)

VARIANTS = (ORACLE, *BROKEN, *UNSEEN)
