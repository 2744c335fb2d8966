"""The matplotlib figures that notebooks share; each returns an image with alternative text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from munit_lite.data.image_files import float_to_uint8
from munit_lite.evaluation.convergence import MIN_CLASS_ACCURACY, MIN_DIVERSITY_RATIO
from munit_lite.world import DIRECTIONS

# The palette of Okabe and Ito, which color-blind readers can distinguish. Line styles differ, too, for prints in gray.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=COLORS[:4]) + cycler(linestyle=LINES),
}


def subplots(columns: int = 1, size: tuple[float, float] = (6, 3.2), rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Create a figure in the style of the course.

    Args:
        columns: number of columns of axes.
        size: width and height of the figure in inches.
        rows: number of rows of axes.

    Returns:
        The figure and its axes, row by row.

    Example:
        >>> figure, (left, right) = subplots(2)
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    return figure, list(axes.flat)


def figure_to_image(figure: Figure, alt: str) -> Image:
    """Convert a figure to an image, and close it.

    Args:
        figure: what is shown.
        alt: alternative text.

    Returns:
        A PNG, which a notebook shows as the last value of a cell.

    Example:
        >>> figure, (axis,) = subplots()
        >>> figure_to_image(figure, alt="An empty pair of axes.").alt
        'An empty pair of axes.'
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    return Image(buffer.getvalue(), format="png", alt=alt)


def image_rows(
    rows: Sequence[tuple[str, Tensor]], alt: str, title: str = "", cell: float = 0.95, columns: Sequence[str] = ()
) -> Image:
    """Show rows of images with a label to the left of each row.

    Args:
        rows: label and (N, 3, H, W) images in [-1, 1]; the contrast is not stretched.
        alt: alternative text.
        title: title of the figure.
        cell: side of an image in inches.
        columns: labels of the columns; there may be fewer labels than columns.

    Returns:
        A PNG with alternative text.

    Example:
        >>> from munit_lite.world import World
        >>> pairs = World().pairs(torch.arange(4), 0, 32)
        >>> image_rows([("sketches", pairs.image_1), ("paintings", pairs.image_2)], alt="Four true pairs.").format
        'png'
    """
    width = max(len(images) for _, images in rows)
    above = 0.3 * bool(title) + 0.25 * bool(columns)
    height = cell * len(rows) + above
    figure, axes = plt.subplots(len(rows), width, figsize=(cell * width + 1.3, height), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for (name, images), line in zip(rows, axes, strict=True):
        for image, axis in zip(images, line, strict=False):
            axis.imshow(_to_pixels(image), interpolation="nearest")
        line[0].text(-0.12, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    for name, axis in zip(columns, axes[0], strict=False):
        axis.set_title(name, fontsize=10, pad=4)
    figure.suptitle(title, y=1.0)
    figure.subplots_adjust(wspace=0.06, hspace=0.06, top=1 - above / height)
    return figure_to_image(figure, alt)


def one_to_many(
    image: Tensor, outputs: Tensor, alt: str, title: str = "", labels: tuple[str, str] = ("input", "outputs")
) -> Image:
    """Show an image, enlarged, beside two rows of images that were generated from it.

    Args:
        image: (1, 3, H, W) in [-1, 1].
        outputs: (N, 3, H, W) in [-1, 1], with an even N; the contrast is not stretched.
        alt: alternative text.
        title: title of the figure.
        labels: text above the image and above the outputs.

    Returns:
        A PNG with alternative text, in which the outputs are enlarged to about 96 pixels by a whole number.

    Example:
        >>> from munit_lite.world import World
        >>> paintings = World().images(torch.arange(4), 0, domain=2, size=32)
        >>> one_to_many(paintings[:1], paintings, alt="A painting beside four paintings.").format
        'png'
    """
    dpi, gap, above, between = 100, 8, 24 + 26 * bool(title), 44
    side = outputs.shape[-1] * max(1, 96 // outputs.shape[-1])
    columns, large = len(outputs) // 2, 2 * side
    width, height = large + between + columns * (side + gap) - gap, large + gap + above
    figure = plt.figure(figsize=(width / dpi, height / dpi), dpi=dpi)

    def place(picture: Tensor, left: int, bottom: int, pixels: int) -> Axes:
        axis = figure.add_axes((left / width, bottom / height, pixels / width, pixels / height))
        axis.imshow(_to_pixels(picture), interpolation="nearest")
        axis.set_axis_off()
        return axis

    place(image[0], 0, gap // 2, large)
    for k, output in enumerate(outputs):
        row, column = divmod(k, columns)
        place(output, large + between + column * (side + gap), (1 - row) * (side + gap), side)
    canvas = figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[], xlim=(0, width), ylim=(0, height))
    middle = (large + gap) / 2
    canvas.annotate(
        "",
        xy=(large + between - 8, middle),
        xytext=(large + 8, middle),
        arrowprops={"arrowstyle": "-|>", "lw": 1.5, "color": "0.3"},
    )
    for text, x in zip(labels, (large / 2, (large + between + width) / 2), strict=True):
        figure.text(x / width, (large + gap + 6) / height, text, ha="center", va="bottom", fontsize=10)
    figure.text(0.5, 1 - 2 / height, title, ha="center", va="top", fontsize=12)
    return figure_to_image(figure, alt)


def _to_pixels(image: Tensor) -> np.ndarray:
    """Convert an image from (3, H, W) in [-1, 1] to (H, W, 3) in 0–255."""
    return float_to_uint8(image).permute(1, 2, 0).cpu().numpy()


def joint_tables(
    tables: dict[str, Tensor],
    row_images: Tensor,
    column_images: Tensor,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    alt: str,
    title: str,
    cell: float = 0.74,
) -> Image:
    """Show joint distributions as tables side by side, with images as labels and the marginals in gray.

    Args:
        tables: title -> (R, C) probabilities of sum 1; zeros are left blank.
        row_images: (R, 3, H, W) images in [-1, 1], one for each row.
        column_images: (C, 3, H, W) images in [-1, 1], one for each column.
        row_labels: one for each row, to the left of the first table.
        column_labels: one for each column, above its image.
        alt: alternative text.
        title: title of the figure.
        cell: side of a cell in inches.

    Returns:
        A PNG with alternative text.
    """
    rows, columns = len(row_images), len(column_images)
    size = (cell * (columns + 2.1) * len(tables) + 1.2, cell * (rows + 2.3) + 0.7)
    figure, axes = plt.subplots(1, len(tables), figsize=size, squeeze=False, layout="constrained")
    center = {"ha": "center", "va": "center", "fontsize": 11}
    for axis, (name, table) in zip(axes.flat, tables.items(), strict=True):
        positive = np.where(table.numpy() > 0, table.numpy(), np.nan)
        axis.imshow(positive, cmap="Blues", vmin=0, vmax=0.55, extent=(0, columns, rows, 0))
        for row, column in (table > 0).nonzero().tolist():
            axis.text(column + 0.5, row + 0.5, f"{table[row, column]:.0%}", **center)
        for row, share in enumerate(table.sum(1).tolist()):
            axis.text(columns + 0.5, row + 0.5, f"{share:.0%}", color="0.35", **center)
        for column, share in enumerate(table.sum(0).tolist()):
            axis.text(column + 0.5, rows + 0.4, f"{share:.0%}", color="0.35", **center)
        for images, right, down in ((row_images, 0, 1), (column_images, 1, 0)):
            for k, image in enumerate(images):
                x, y = right * (k + 1) - 1, down * (k + 1) - 1
                extent = (x + 0.05, x + 0.95, y + 0.95, y + 0.05)
                axis.imshow(_to_pixels(image), extent=extent, interpolation="nearest")
                axis.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, fill=False, color="0.6", linewidth=0.6))
        for k in range(1, rows):
            axis.plot((0, columns), (k, k), color="0.8", linewidth=0.6)
        for k in range(1, columns):
            axis.plot((k, k), (0, rows), color="0.8", linewidth=0.6)
        axis.add_patch(Rectangle((0, 0), columns, rows, fill=False, color="0.3", linewidth=1))
        for row, label in enumerate(row_labels if axis is axes[0, 0] else ()):
            axis.text(-1.08, row + 0.5, label, ha="right", va="center", fontsize=10)
        for column, label in enumerate(column_labels):
            axis.text(column + 0.5, -1.05, label, ha="center", va="bottom", fontsize=10)
        axis.text(columns + 0.5, -0.5, "total", color="0.35", **center)
        axis.text(-0.5, rows + 0.4, "total", color="0.35", **center)
        axis.set(xlim=(-1, columns + 1), ylim=(rows + 0.7, -1.05))
        axis.set_title(name, fontsize=12, pad=40)
        axis.set_axis_off()
    figure.suptitle(title, fontsize=13, y=1.06)
    return figure_to_image(figure, alt)


_PANELS = (
    ("(a) reconstruction", ("image", "content", "style", "cycle")),
    ("(b) discriminators", ("discriminator",)),
    ("(c) generators, adversarial", ("gan",)),
)


def loss_figure(
    history: Sequence[dict[str, float]],
    title: str = "",
    chance: float | None = None,
    ignored_style: float | None = None,
) -> Figure:
    """Plot loss curves: reconstruction losses on a logarithmic scale, adversarial losses on linear ones.

    With 40 records or more, pale lines are the records, and dark lines their moving average over a twentieth of them.
    Each line is labeled with its last value.

    Args:
        history: records of the training, each with `step` and the losses by name, such as `image_1`.
        title: title of the figure.
        chance: the loss of a discriminator that cannot distinguish translations from real images; a dotted line.
        ignored_style: the style loss of a model whose decoder ignores the style code; a dotted line.

    Returns:
        The figure, which the caller closes.
    """
    with plt.rc_context(STYLE):
        figure, places = plt.subplot_mosaic("aa;bc", figsize=(8.4, 5.8), layout="constrained")
    axes = [places[letter] for letter in "abc"]
    steps = [record["step"] for record in history]
    for axis, (name, kinds) in zip(axes, _PANELS, strict=True):
        labels: dict[str, tuple[float, str]] = {}  # text -> height and color
        for color, kind in zip(COLORS, kinds, strict=False):
            for domain, line in ((1, "-"), (2, "--")):
                if not history or f"{kind}_{domain}" not in history[-1]:
                    continue
                values = np.array([record[f"{kind}_{domain}"] for record in history])
                if len(values) >= 40:
                    axis.plot(steps, values, "-", lw=0.6, alpha=0.25, color=color)
                    values = _moving_average(values, len(values) // 20)
                axis.plot(steps, values, line, lw=1.6, color=color)
                text = f"{kind} {domain}" if len(kinds) > 1 else f"domain {domain}"
                labels[f"{text}: {values[-1]:.2f}"] = values[-1], color
        axis.set_title(name, fontsize=10.5)
        axis.set_xlabel("step")
        if kinds == ("discriminator",) and chance is not None:
            axis.axhline(chance, color="black", linestyle=":", lw=1.2)
            labels[f"chance: {chance:.2f}"] = chance, "black"
        if "style" in kinds and ignored_style is not None and history and "style_1" in history[-1]:
            axis.axhline(ignored_style, color="black", linestyle=":", lw=1.2)
            labels[f"style ignored: {ignored_style:.2f}"] = ignored_style, "black"
        if len(kinds) > 1:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        _label_ends(axis, labels)
        axis.set_ylabel("loss")
    figure.suptitle(title, fontsize=12)
    return figure


def _label_ends(axis: Axes, labels: dict[str, tuple[float, str]], gap: float = 0.1) -> None:
    """Write labels to the right of the axes at the heights of their lines, moved apart to `gap` of the axes' height."""
    low, high = axis.get_ylim()
    if axis.get_yscale() == "log":
        low, high = np.log(low), np.log(high)
        labels = {text: (float(np.log(max(value, 1e-12))), color) for text, (value, color) in labels.items()}
    place = -gap
    for text, (value, color) in sorted(labels.items(), key=lambda item: item[1][0]):
        place = max(place + gap, (value - low) / (high - low) if np.isfinite(value) else 0.0)
        axis.text(1.03, place, text, color=color, fontsize=10, va="center", transform=axis.transAxes)


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Return at each position the mean of the last `window` values, or of fewer at the beginning."""
    sums = np.concatenate([[0.0], values.cumsum()])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def loss_curves(
    history: Sequence[dict[str, float]],
    title: str = "",
    chance: float | None = None,
    ignored_style: float | None = None,
) -> Image:
    """Plot loss curves as `loss_figure` does, and convert them to an image.

    Args:
        history: records of the training, as `loss_figure` takes them; at least one.
        title: title of the figure.
        chance: the loss of a discriminator that cannot distinguish translations from real images; a dotted line.
        ignored_style: the style loss of a model whose decoder ignores the style code; a dotted line.

    Returns:
        A PNG with alternative text; solid lines are domain 1, dashed ones domain 2.

    Example:
        >>> losses = {f"{kind}_{domain}": 0.5 for kind in ("image", "gan", "discriminator") for domain in (1, 2)}
        >>> loss_curves([{"step": 100, **losses}]).alt
        'Loss curves over 100 steps in three panels; solid lines domain 1, dashed lines domain 2.'
    """
    return figure_to_image(
        loss_figure(history, title, chance, ignored_style),
        f"Loss curves over {int(history[-1]['step'])} steps in three panels; solid lines domain 1, dashed lines "
        "domain 2.",
    )


def quality_curves(records: Sequence[dict[str, Any]]) -> Image:
    """Plot how class accuracy and diversity ratio of both directions changed during a run on the known world.

    Args:
        records: the run's `quality.jsonl`, which `callbacks.QualityLog` writes; at least one record.

    Returns:
        A PNG with alternative text and two lettered panels. The title gives the beginning and the end of the class
        accuracy in the worse direction. Dotted lines are the criterion of convergence.

    Example:
        >>> quality = {"class_accuracy": 0.9, "diversity_ratio": 0.8}
        >>> records = [{"step": step, "sketch to painting": quality} for step in (100, 200)]
        >>> quality_curves(records).alt
        'Class accuracy and diversity ratio from step 100 to 200.'
    """
    directions = [name for name in DIRECTIONS.values() if name in records[0]]
    first, last = (min(records[k][direction]["class_accuracy"] for direction in directions) for k in (0, -1))
    at_end = "over 0.99" if last > 0.99 else f"{last:.2f}"
    panels = {
        metric.replace("_", " "): {
            direction: np.array([[record[direction][metric] for record in records]]) for direction in directions
        }
        for metric in ("class_accuracy", "diversity_ratio")
    }
    steps = [record["step"] for record in records]
    return seed_bands(
        steps,
        panels,
        f"Class accuracy and diversity ratio from step {steps[0]:,} to {steps[-1]:,}.",
        title=f"The class accuracy of the worse direction: {first:.2f} at step {steps[0]:,}, {at_end} at step "
        f"{steps[-1]:,}",
        thresholds={"class accuracy": MIN_CLASS_ACCURACY, "diversity ratio": MIN_DIVERSITY_RATIO},
        width=4.1,
    )


def seed_bands(
    steps: Sequence[int],
    panels: dict[str, dict[str, np.ndarray]],
    alt: str,
    title: str = "",
    minutes_per_step: float | None = None,
    thresholds: dict[str, float] | None = None,
    width: float = 4.6,
) -> Image:
    """Plot metrics in [0, 1] against training steps: the mean over seeds, and a band that covers all seeds.

    Args:
        steps: the training steps at which the metrics were measured.
        panels: label of the vertical axis -> label of the curve -> (seeds, steps) values.
        alt: alternative text.
        title: title of the figure.
        minutes_per_step: scaled CPU minutes, shown by a second axis above each panel.
        thresholds: label of the vertical axis -> a dotted line that the metric should reach.
        width: of a panel in inches.

    Returns:
        A PNG with alternative text and one lettered panel per metric.

    Example:
        >>> accuracy = np.array([[0.4, 0.8], [0.5, 0.9]])  # of two seeds
        >>> seed_bands([100, 200], {"class accuracy": {"sketch to painting": accuracy}}, alt="It rises.").alt
        'It rises.'
    """
    figure, axes = subplots(len(panels), size=(width * len(panels), 3.6))
    for (ylabel, curves), axis, letter in zip(panels.items(), axes, "abcdefgh", strict=False):
        for (name, values), color, line in zip(curves.items(), COLORS, LINES, strict=False):
            marker = "o" if len(values) == 1 else ""  # a run of one measurement has no line
            axis.plot(steps, values.mean(axis=0), line, marker=marker, markersize=3, color=color, label=name)
            axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0)
        if thresholds and ylabel in thresholds:
            axis.axhline(thresholds[ylabel], color="black", linestyle=":", linewidth=1)
        axis.set(xlabel="training step", ylabel=ylabel, ylim=(0, 1.12))
        axis.set_title(f"({letter})", loc="left", fontsize=10)
        if minutes_per_step:
            axis.secondary_xaxis("top", functions=_scaling(minutes_per_step)).set_xlabel("scaled CPU minutes")
    axes[0].legend(loc="lower right")
    figure.suptitle(title)
    return figure_to_image(figure, alt)


def _scaling(factor: float) -> Any:
    return lambda value: value * factor, lambda value: value / factor
