"""The diagram of the model and its losses, in which each notebook highlights the part that it is about."""

from __future__ import annotations

from typing import NamedTuple

from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from munit_lite.course import figures

# Blue, vermilion and green of the shared palette; the last two darker, so that white letters are legible.
CONTENT, STYLE_CODE, LOSS, OTHER = figures.COLORS[0], "#B84E00", "#00694D", "#555555"
FADED = "#D5D5D5"


class Box(NamedTuple):
    """A box of the diagram: its part for `highlight`, its text, center, width and color."""

    part: str
    text: str
    x: float
    y: float
    width: float
    color: str


_BOXES = {
    "x1": Box("images", "$x_1$\nsketch", 0.6, 2.0, 1.0, OTHER),
    "E1c": Box("content encoder", "$E_1^c$\ncontent encoder", 2.35, 3.0, 1.75, CONTENT),
    "E1s": Box("style encoder", "$E_1^s$\nstyle encoder", 2.35, 1.0, 1.75, STYLE_CODE),
    "c1": Box("content", "$c_1$", 4.0, 3.0, 0.7, CONTENT),
    "s1": Box("style", "$s_1$", 4.0, 1.0, 0.7, STYLE_CODE),
    "s2": Box("prior", r"$s_2 \sim q(s_2)$", 4.0, 4.1, 1.4, STYLE_CODE),
    "G2": Box("decoder", "$G_2$\ndecoder", 5.75, 3.5, 1.2, OTHER),
    "G1": Box("decoder", "$G_1$\ndecoder", 5.75, 1.0, 1.2, OTHER),
    "x12": Box("translation", "$x_{1 \\to 2}$\npainting", 7.5, 3.5, 1.2, OTHER),
    "x1r": Box("images", "$\\hat x_1$\nreconstruction", 7.5, 1.0, 1.4, OTHER),
    "E2s": Box("style encoder", "$E_2^s$", 9.15, 4.1, 0.8, STYLE_CODE),
    "E2c": Box("content encoder", "$E_2^c$", 9.15, 3.0, 0.8, CONTENT),
    "D2": Box("discriminator", "$D_2$", 9.15, 2.0, 0.8, OTHER),
    "Ls": Box("style loss", "$|\\hat s_2 - s_2|$  style loss", 11.1, 4.1, 2.3, LOSS),
    "Lc": Box("content loss", "$|\\hat c_1 - c_1|$  content loss", 11.1, 3.0, 2.3, LOSS),
    "La": Box("adversarial loss", "real or fake?  GAN loss", 11.1, 2.0, 2.3, LOSS),
    "Lx": Box("image loss", "$|\\hat x_1 - x_1|$  image loss", 11.1, 1.0, 2.3, LOSS),
}
_ARROWS = (
    ("x1", "E1c"), ("x1", "E1s"), ("E1c", "c1"), ("E1s", "s1"), ("c1", "G2"), ("s2", "G2"), ("c1", "G1"),
    ("s1", "G1"), ("G2", "x12"), ("G1", "x1r"), ("x12", "E2s"), ("x12", "E2c"), ("x12", "D2"), ("E2s", "Ls"),
    ("E2c", "Lc"), ("D2", "La"), ("x1r", "Lx"),
)  # fmt: skip
PARTS = sorted({box.part for box in _BOXES.values()})


def model_diagram(*highlight: str) -> Image:
    """Draw how MUNIT encodes, reconstructs and translates a sketch, and where each loss applies.

    Args:
        *highlight: names in `PARTS`, or single boxes such as "G1" or "E2s", to show in color with the arrows
            between them; everything else is faded. Without names, everything is in color.

    Returns:
        A PNG with alternative text.

    Raises:
        ValueError: the diagram has no such part.

    Example:
        >>> model_diagram("content encoder", "content").alt.split(". ")[-1]
        'Highlighted: content encoder, content.'
    """
    unknown = sorted(set(highlight) - set(PARTS) - set(_BOXES))
    if unknown:
        raise ValueError(f"the diagram has no part {unknown[0]!r}; known: {', '.join(PARTS)}")
    figure, (axis,) = figures.subplots(1, size=(10.5, 3.7))
    axis.set(xlim=(-0.1, 12.4), ylim=(0.45, 4.6))
    axis.set_axis_off()
    highlighted = {name for name, box in _BOXES.items() if not highlight or name in highlight or box.part in highlight}
    for start, end in _ARROWS:
        _draw_arrow(axis, _BOXES[start], _BOXES[end], highlighted={start, end} <= highlighted)
    for name, box in _BOXES.items():
        _draw_box(axis, box, highlighted=name in highlighted)
    parts = f"Highlighted: {', '.join(highlight)}." if highlight else "Everything is shown in color."
    return figures.figure_to_image(
        figure,
        "Diagram of the model. A content encoder and a style encoder encode the sketch x1. Its content and its own "
        "style are decoded into a reconstruction (image loss). Its content and a sampled style s2 are decoded into a "
        "painting, which a discriminator classifies as real or fake (GAN loss). The painting is encoded again, and its "
        f"codes are compared with those that it was decoded from (content loss, style loss). {parts}",
    )


def _draw_box(axis: Axes, box: Box, highlighted: bool) -> None:
    height, edge, fill = 0.62, box.color if highlighted else FADED, box.color if highlighted else "white"
    corner, shape = (box.x - box.width / 2, box.y - height / 2), "round,pad=0.02,rounding_size=0.12"
    axis.add_patch(FancyBboxPatch(corner, box.width, height, shape, facecolor=fill, edgecolor=edge, linewidth=1.2))
    axis.text(
        box.x, box.y, box.text, ha="center", va="center", fontsize=9, linespacing=1.15,
        color="white" if highlighted else "#8A8A8A",
    )  # fmt: skip


def _draw_arrow(axis: Axes, start: Box, end: Box, highlighted: bool) -> None:
    color = OTHER if highlighted else FADED
    axis.annotate(
        "",
        xy=(end.x - end.width / 2 - 0.03, end.y),
        xytext=(start.x + start.width / 2 + 0.03, start.y),
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
        zorder=0,
    )
