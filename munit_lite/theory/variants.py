"""Broken variants of the oracle: each edits E* or G* in code space and states which proposition must fail, and why.

An edit maps codes to codes: content (B, 10), see `munit_lite.theory.oracle`, and style (B, 3). The encoder's edit
follows E*, the decoder's precedes G*, so two edits that are inverse to each other keep E = G⁻¹.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from munit_lite.theory.verdicts import ADVERSARIAL, FAILS, HOLDS, JOINT, MARGINAL, RECONSTRUCTION
from munit_lite.world import SHAPE_NAMES, STYLE_DIM

CodeEdit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# Columns of a content code: normal scores of x and of size, each N(0, 1) in every domain.
X_COLUMN, SIZE_COLUMN = len(SHAPE_NAMES), len(SHAPE_NAMES) + 2


def identity(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Leave both codes as they are."""
    return content, style


class ExpectedReasons(NamedTuple):
    """What theory predicts for the four checks: "holds", or the reasons why the check fails, joined by commas.

    The reasons are those of `munit_lite.theory.verdicts.Finding`.
    """

    optimality: str
    latent_matching: str
    joint_matching: str
    cycle_consistency: str


@dataclass(frozen=True)
class OracleVariant:
    """The oracle with its encoders or decoders edited.

    Args:
        name: short and unique.
        description: the edits as formulas.
        expected: what theory predicts for the four checks.
        encode: the encoder's edit for each domain, applied after E*; a domain that is missing is not edited.
        decode: the decoder's edit for each domain, applied before G*.
        world: the variant of the known world that it is defined on.
        preserves_content: whether translations keep the true content, which no proposition says.
    """

    name: str
    description: str
    expected: ExpectedReasons
    encode: Mapping[int, CodeEdit] = field(default_factory=dict)
    decode: Mapping[int, CodeEdit] = field(default_factory=dict)
    world: str = "standard"
    preserves_content: bool = True

    def __post_init__(self) -> None:
        for name in ("encode", "decode"):
            edits = {1: identity, 2: identity} | dict(getattr(self, name))
            object.__setattr__(self, name, MappingProxyType(edits))


# ------------------------------------------------------------------------------------------------------- edits


def transform_style(matrix: Tensor) -> CodeEdit:
    """Return the edit s -> M s.

    Args:
        matrix: M, (3, 3).

    Example:
        >>> edit = transform_style(2 * torch.eye(3))
        >>> edit(torch.zeros(1, 10), torch.ones(1, 3))[1]
        tensor([[2., 2., 2.]])
    """

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        return content, style @ matrix.to(style.dtype).T

    return edit


def leak_content_into_style(weight: float, scale: float = 1.0) -> CodeEdit:
    """Return the edit s -> scale s + weight g(c), where g(c) are the normal scores of x, y and size."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        return content, scale * style + weight * content[:, X_COLUMN : SIZE_COLUMN + 1]

    return edit


def leak_style_into_content(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Add twice the style to the scores of x, y and size."""
    content = content.clone()
    content[:, X_COLUMN : SIZE_COLUMN + 1] += 2 * style
    return content, style


def edit_content(column: int, function: Callable[[Tensor], Tensor]) -> CodeEdit:
    """Return the edit that applies a function, (B,) -> (B,), to one column of the content code."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        content = content.clone()
        content[:, column] = function(content[:, column])
        return content, style

    return edit


def zero_first_style_coordinate(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the first style coordinate by 0."""
    return content, torch.cat([torch.zeros_like(style[:, :1]), style[:, 1:]], dim=1)


def zero_style(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the style by 0."""
    return content, torch.zeros_like(style)


def move_style_into_content(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Append the style to the content, (B, 13), and replace it by 0, as an encoder without a style code would."""
    return torch.cat([content, style], dim=1), torch.zeros_like(style)


def split_style_from_content(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Ignore the style and take it from the end of the content: the inverse of `move_style_into_content`."""
    return content[:, : -style.shape[1]], content[:, -style.shape[1] :]


def shift_class(steps: int) -> CodeEdit:
    """Return the edit that shifts the last four classes cyclically; size and rotation stay."""

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        shifted = content[:, 2:X_COLUMN].roll(steps, dims=1)
        return torch.cat([content[:, :2], shifted, content[:, X_COLUMN:]], dim=1), style

    return edit


def rotate_style_by_content(sign: float) -> CodeEdit:
    """Return the edit that rotates the first two style coordinates by an angle that depends on the content.

    Args:
        sign: 1.0, or -1.0 for the inverse rotation.
    """

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = torch.cos(2 * content[:, X_COLUMN]), sign * torch.sin(2 * content[:, X_COLUMN])
        a, b = style[:, 0], style[:, 1]
        return content, torch.stack([cos * a - sin * b, sin * a + cos * b, style[:, 2]], dim=1)

    return edit


def mix_content_and_style(angle: float) -> CodeEdit:
    """Return the edit that rotates (x, first style coordinate), which are independent and N(0, 1).

    Args:
        angle: in radians; π/2 exchanges the two, up to a sign.
    """
    cos, sin = math.cos(angle), math.sin(angle)

    def edit(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        x, s = content[:, X_COLUMN], style[:, 0]
        content = content.clone()
        content[:, X_COLUMN] = cos * x - sin * s
        return content, torch.cat([(sin * x + cos * s)[:, None], style[:, 1:]], dim=1)

    return edit


# ---------------------------------------------------------------------------------------------------- variants

_ADVERSARIAL_AND_RECONSTRUCTION = f"{ADVERSARIAL}, {RECONSTRUCTION}"
_MARGINAL_AND_JOINT = f"{MARGINAL}, {JOINT}"  # codes whose marginals differ have another joint distribution, too

ORACLE = OracleVariant("oracle", "E*, G*", ExpectedReasons(HOLDS, HOLDS, HOLDS, HOLDS))

_IDENTITY = torch.eye(STYLE_DIM, dtype=torch.float64)
_CORRELATE = torch.linalg.cholesky(0.1 * _IDENTITY + 0.9)  # L Lᵀ has correlations of .9
_ROTATION = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)

BROKEN_VARIANTS = (
    OracleVariant(
        "styles scaled",
        "G₂(c, 2s), E₂ˢ = s/2",
        ExpectedReasons(ADVERSARIAL, _MARGINAL_AND_JOINT, FAILS, HOLDS),
        encode={2: transform_style(_IDENTITY / 2)},
        decode={2: transform_style(2 * _IDENTITY)},
    ),
    OracleVariant(
        "styles correlated",
        "G₂(c, Ls), E₂ˢ = L⁻¹s",
        ExpectedReasons(ADVERSARIAL, _MARGINAL_AND_JOINT, FAILS, HOLDS),
        encode={2: transform_style(_CORRELATE.inverse())},
        decode={2: transform_style(_CORRELATE)},
    ),
    OracleVariant(
        "one style coordinate collapsed",
        "G₁ and G₂ ignore their first one, E₁ˢ and E₂ˢ give 0 for it",
        ExpectedReasons(_ADVERSARIAL_AND_RECONSTRUCTION, _MARGINAL_AND_JOINT, FAILS, FAILS),
        encode={1: zero_first_style_coordinate, 2: zero_first_style_coordinate},
        decode={1: zero_first_style_coordinate, 2: zero_first_style_coordinate},
    ),
    OracleVariant(
        "content into style",
        "E₂ˢ = s + 1.5 g(c), and G₂ takes it out",
        ExpectedReasons(ADVERSARIAL, _MARGINAL_AND_JOINT, FAILS, HOLDS),
        encode={2: leak_content_into_style(1.5)},
        decode={2: leak_content_into_style(-1.5)},
    ),
    OracleVariant(
        "content into style, same variance",
        "E₂ˢ = .6 s + .8 g(c), and G₂ takes it out",
        ExpectedReasons(ADVERSARIAL, JOINT, FAILS, HOLDS),
        encode={2: leak_content_into_style(0.8, 0.6)},
        decode={2: leak_content_into_style(-0.8 / 0.6, 1 / 0.6)},
    ),
    OracleVariant(
        "content into style, encoder only",
        "E₂ˢ = s + 1.5 g(c), G*",
        ExpectedReasons(RECONSTRUCTION, _MARGINAL_AND_JOINT, HOLDS, FAILS),
        encode={2: leak_content_into_style(1.5)},
    ),
    OracleVariant(
        "style into content, one encoder",
        "E₁ᶜ = c + 2s₁, G*",
        ExpectedReasons(_ADVERSARIAL_AND_RECONSTRUCTION, _MARGINAL_AND_JOINT, FAILS, FAILS),
        encode={1: leak_style_into_content},
        preserves_content=False,
    ),
    OracleVariant(
        "p(c) differs between domains",
        "E*, G*",
        ExpectedReasons(ADVERSARIAL, _MARGINAL_AND_JOINT, FAILS, HOLDS),
        world="different_frequencies",
    ),
    OracleVariant(
        "two contents, one image",
        "G₂(|x|, …), E₂ a section",
        ExpectedReasons(_ADVERSARIAL_AND_RECONSTRUCTION, _MARGINAL_AND_JOINT, FAILS, FAILS),
        encode={2: edit_content(X_COLUMN, torch.abs)},
        decode={2: edit_content(X_COLUMN, torch.abs)},
        preserves_content=False,
    ),
    OracleVariant(
        "deterministic translator",
        "G₂*(c, 0), E*",
        ExpectedReasons(_ADVERSARIAL_AND_RECONSTRUCTION, HOLDS, FAILS, FAILS),
        decode={2: zero_style},
    ),
    OracleVariant(
        "UNIT-like",
        "all of z is content, Eˢ = 0",
        ExpectedReasons(RECONSTRUCTION, _MARGINAL_AND_JOINT, HOLDS, FAILS),
        encode={1: move_style_into_content, 2: move_style_into_content},
        decode={1: split_style_from_content, 2: split_style_from_content},
    ),
    OracleVariant(
        "content bijection that is no symmetry",
        "size + 1 in G₂, size − 1 in E₂",
        ExpectedReasons(ADVERSARIAL, _MARGINAL_AND_JOINT, FAILS, HOLDS),
        encode={2: edit_content(SIZE_COLUMN, lambda size: size - 1)},
        decode={2: edit_content(SIZE_COLUMN, lambda size: size + 1)},
        preserves_content=False,
    ),
    OracleVariant(
        "style sign, encoder only",
        "E₂ˢ = −s, G*",
        ExpectedReasons(RECONSTRUCTION, HOLDS, HOLDS, FAILS),
        encode={2: transform_style(-_IDENTITY)},
    ),
    OracleVariant(
        "content symmetry, decoder only",
        "classes shifted in G₂, E*",
        ExpectedReasons(RECONSTRUCTION, HOLDS, FAILS, FAILS),
        decode={2: shift_class(1)},
        world="cyclic",
        preserves_content=False,
    ),
)

UNDETECTABLE_VARIANTS = (
    OracleVariant(
        "content symmetry",
        "classes shifted in G₂, and back in E₂",
        ORACLE.expected,
        encode={2: shift_class(-1)},
        decode={2: shift_class(1)},
        world="cyclic",
        preserves_content=False,
    ),
    OracleVariant(
        "content and style mixed",
        "(x, s₂₁) rotated in G₂, and back in E₂",
        ORACLE.expected,
        encode={2: mix_content_and_style(-math.pi / 4)},
        decode={2: mix_content_and_style(math.pi / 4)},
        preserves_content=False,
    ),
    OracleVariant(
        "style rotation",
        "G₂(c, Rs), E₂ˢ = Rᵀs",
        ORACLE.expected,
        encode={2: transform_style(_ROTATION.T)},
        decode={2: transform_style(_ROTATION)},
    ),
    OracleVariant(
        "style rotation set by content",
        "G₂(c, R(c)s), E₂ˢ = R(c)ᵀs",
        ORACLE.expected,
        encode={2: rotate_style_by_content(-1.0)},
        decode={2: rotate_style_by_content(1.0)},
    ),
)

ORACLE_VARIANTS = (ORACLE, *BROKEN_VARIANTS, *UNDETECTABLE_VARIANTS)

# ------------------------------------------------------------------------------------------- breaks of any strength


def _edit_oracle(encode: CodeEdit | None = None, decode: CodeEdit | None = None) -> OracleVariant:
    """Edit the encoder or the decoder of domain 2 of the oracle."""
    encode_edits, decode_edits = ({} if edit is None else {2: edit} for edit in (encode, decode))
    return OracleVariant("broken by hand", "", ORACLE.expected, encode=encode_edits, decode=decode_edits)


def _correlated(strength: float) -> OracleVariant:
    factor = torch.linalg.cholesky((1 - 0.9 * strength) * _IDENTITY + 0.9 * strength)
    return _edit_oracle(transform_style(factor.inverse()), transform_style(factor))


def _content_in_style(strength: float) -> OracleVariant:
    weight, scale = 0.8 * strength, math.sqrt(1 - (0.8 * strength) ** 2)
    return _edit_oracle(leak_content_into_style(weight, scale), leak_content_into_style(-weight / scale, 1 / scale))


# By name: strength, from 0 (the oracle) to 1 -> the variant.
BREAKS: dict[str, Callable[[float], OracleVariant]] = {
    "styles of domain 2 scaled, in E and G": lambda t: _edit_oracle(
        transform_style(_IDENTITY / (1 + t)), transform_style((1 + t) * _IDENTITY)
    ),
    "styles of domain 2 correlated, in E and G": _correlated,
    "content in the style, with the same variance": _content_in_style,
    "content in the style, encoder only": lambda t: _edit_oracle(leak_content_into_style(1.5 * t)),
    "a larger size in domain 2, in E and G": lambda t: _edit_oracle(
        edit_content(SIZE_COLUMN, lambda size: size - t), edit_content(SIZE_COLUMN, lambda size: size + t)
    ),
    "style negated, encoder only": lambda t: _edit_oracle(transform_style((1 - 2 * t) * _IDENTITY)),
    "content and style mixed by a rotation, in E and G": lambda t: _edit_oracle(
        mix_content_and_style(-t * math.pi / 2), mix_content_and_style(t * math.pi / 2)
    ),
}
