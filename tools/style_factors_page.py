"""Write the page about the style factors that style encoders learn, with its figures.

`python -m tools.study_style_factors` measures the models, and `python -m tools.style_factors_page` writes
data/results/style_factors.md, data/results/style_factors.png and data/results/style_factors_lines.png.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import Any

import torch
from matplotlib.lines import Line2D
from torch import Tensor

from munit_lite.config import Config, from_dict
from munit_lite.course import figures
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.world_metrics import factor_correlation, labeled_batches, style_quantiles
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results
from munit_lite.paths import CHECKPOINTS_DIR, RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.tensors import read_header
from munit_lite.world import DIRECTIONS, PAINTING, SKETCH, STYLE_FACTORS, World, style_from_code
from tools.page_figures import FONT, WIDTH, digest_of, png_with_digest
from tools.page_text import minus_signs
from tools.study_style_factors import PUBLISHED, RESULT, SETTINGS, Results, read_study

PAGE = RESULTS_DIR / f"{RESULT}.md"
FIGURE = RESULTS_DIR / f"{RESULT}.png"
LINES_FIGURE = RESULTS_DIR / f"{RESULT}_lines.png"
GOAL = 0.10  # of the range of a factor
UNRELATED, MIDDLE = 1 / 3, 1 / 4  # expected errors for two independent uniform factors, and for a constant middle value
LABELS = {
    "recipe": "base recipe",
    "cycle loss": "cycle loss",
    "detached": "stop-gradient",
    "detached, cycle loss": "stop-gradient, cycle loss",
    "detached, style weight 5": "stop-gradient, style weight 5",
    "world32": "world32 (shipped)",
    "world64s": "world64s (shipped)",
}
# Each factor with the direction of translation that generates it, in the order of the panels.
PAINTING_FACTORS, SKETCH_FACTORS = ("foreground_hue", "background_hue", "light"), ("paper", "ink", "line_width")
TO_PAINTING, TO_SKETCH = DIRECTIONS[SKETCH, PAINTING], DIRECTIONS[PAINTING, SKETCH]
TARGET = {factor.name: DIRECTIONS[3 - domain, domain] for domain in STYLE_FACTORS for factor in STYLE_FACTORS[domain]}
WORDS = {"light": "light direction", "paper": "paper gray level", "ink": "ink gray level"}

# Title, pairs of a direction and a metric, of which the lower counts, and a factor.
Column = tuple[str, list[tuple[str, str]], float]


def _words(factor: str) -> str:
    return WORDS.get(factor, factor.replace("_", " "))


def _models(results: Results) -> list[str]:
    return [name for name in LABELS if name in results]


def errors(results: Results, model: str, factor: str) -> list[float]:
    """Return the error of example-guided translation in a style factor, in units of its range, for each seed."""
    return [run[TARGET[factor]][f"example_{factor}_error"] for run in results[model].values()]


def digest(results: Results) -> str:
    """Return the digest of what the figure shows."""
    found = {m: {f: [round(e, 6) for e in errors(results, m, f)] for f in TARGET} for m in _models(results)}
    return digest_of([GOAL, found])


def errors_figure(results: Results) -> bytes:
    """Return the error of each model in each style factor, one panel per factor, as PNG."""
    models = _models(results)
    figure, axes = figures.subplots(3, size=(WIDTH, 6.2), rows=2)
    positions = [row + 0.5 * (name in PUBLISHED) for row, name in enumerate(models)]
    references = {
        f"goal ({GOAL:.2f})": (GOAL, "black", "--"),
        f"constant style ({MIDDLE:.2f})": (MIDDLE, "0.35", "-."),
        f"unrelated style ({UNRELATED:.2f})": (UNRELATED, "0.45", ":"),
    }
    for letter, factor, axis in zip("abcdef", PAINTING_FACTORS + SKETCH_FACTORS, axes, strict=True):
        for name, y in zip(models, positions, strict=True):
            values = errors(results, name, factor)
            heights = [y + 0.26 * (k - (len(values) - 1) / 2) for k in range(len(values))]
            axis.plot(values, heights, "-", color="0.6", linewidth=1.5, zorder=1)
            for value, height in zip(values, heights, strict=True):
                axis.plot(value, height, **_marker(value <= GOAL, name in PUBLISHED))
        for value, color, line in references.values():
            axis.axvline(value, color=color, linestyle=line, linewidth=1.3, zorder=0)
        axis.set(xlim=(-0.015, 0.37), xticks=(0, 0.1, 0.2, 0.3), ylim=(positions[-1] + 0.6, -0.6), yticks=positions)
        axis.set_yticklabels([LABELS[name] for name in models] if letter in "ad" else [], fontsize=FONT)
        axis.set_title(f"({letter}) {_words(factor)}", fontsize=FONT + 0.5, loc="left")
        axis.tick_params(axis="x", labelsize=FONT)
        axis.tick_params(axis="y", length=0)
    beside: Any = {"textcoords": "offset points", "fontsize": FONT, "va": "center"}
    for axis, domain in ((axes[0], "Paintings"), (axes[3], "Sketches")):
        axis.annotate(domain, (0, 1), (-6, 9), xycoords="axes fraction", ha="right", weight="bold", **beside)
    axes[4].set_xlabel("error of example-guided translation, as a share of the factor's range", fontsize=FONT + 0.5)
    axes[4].xaxis.set_label_coords(0.2, -0.17)
    marks: dict[str, Any] = {
        "reaches the goal": _marker(True, False),
        "misses the goal": _marker(False, False),
        "shipped model": _marker(False, True) | {"color": "0.35"},
    }
    handles = [Line2D([], [], color=color, linestyle=line, label=name) for name, (_, color, line) in references.items()]
    handles += [Line2D([], [], **style, label=name) for name, style in marks.items()]
    handles = [handle for pair in zip(handles[:3], handles[3:], strict=True) for handle in pair]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=FONT)
    figure.suptitle(
        "Both hues and the paper level reach the goal in every run,\n"
        "the light in some runs, ink and line width in none",
        fontsize=FONT + 2,
    )
    return png_with_digest(figure, ALT, digest(results))


def _marker(reached: bool, published: bool) -> dict[str, Any]:
    color = figures.COLORS[0 if reached else 1]
    return {"marker": "D" if published else "o", "linestyle": "none", "color": color, "markersize": 6}


ALT = (
    "Six panels, one per style factor, show the error of each model. The errors of both hues and of the paper level "
    "are below the goal, those of the light lie on both sides of it, and those of ink and line width are all above it."
)


def _config(model: str) -> Config:
    if model in PUBLISHED:
        return from_dict(read_header(CHECKPOINTS_DIR / f"{model}.safetensors")["config"])
    return preset("laboratory", **SETTINGS[model])


def models_table(results: Results) -> str:
    """Return a table of how the models differ."""
    rows = []
    for name in _models(results):
        config = _config(name)
        loss = config.loss
        weights = [f"{loss.cycle_weight:g}", f"{loss.style_weight:g}"]
        row = [LABELS[name], f"{config.data.image_size} px", f"{config.steps:,}", ", ".join(results[name])]
        rows.append([*row, "yes" if loss.detach_style else "no", *weights])
    return markdown_table(["model", "images", "steps", "seeds", "stop-gradient", "cycle weight", "style weight"], rows)


COUNT = 500  # contents over which the change of a pixel is averaged
LOW, HIGH = 0.25, 0.75  # quantiles of line width and of the ink's gray level, of which the low one is dark
# Titles and quantiles of line width and ink: a pair that looks alike, and one that does not.
PAIRS = {
    ("thin, dark", "wide, pale"): ((LOW, LOW), (HIGH, HIGH)),
    ("thin, pale", "wide, dark"): ((LOW, HIGH), (HIGH, LOW)),
}


def _sketches(line_width: float, ink: float, variant: str, size: int, index: Tensor) -> Tensor:
    world = World(variant)
    content = world.pairs(index, 1, size).content
    codes = torch.special.ndtri(torch.tensor([line_width, ink, 0.5])).expand(len(index), 3)
    return world.render(content, style_from_code(codes, SKETCH), SKETCH, size)


def changes_of_lines(variant: str, size: int, count: int = COUNT) -> tuple[float, float]:
    """Return how much an image changes when line width and ink both move by half of their range.

    Args:
        variant: of the known world.
        size: height and width in pixels.
        count: number of contents.

    Returns:
        Mean absolute differences in gray levels of 255: from a thin dark to a wide pale line, and from a thin pale
        to a wide dark one.
    """
    index = torch.arange(count)
    alike, unlike = (
        255 / 2 * (_sketches(*first, variant, size, index) - _sketches(*second, variant, size, index)).abs().mean()
        for first, second in PAIRS.values()
    )
    return alike.item(), unlike.item()


def _line_images() -> list[list[Tensor]]:
    """Return the sketches of each pair and their absolute difference, one content at 16 px."""
    index = torch.tensor([CONTENT])
    pairs = [[_sketches(*style, "laboratory", 16, index)[0] for style in pair] for pair in PAIRS.values()]
    return [[first, second, (first - second).abs()] for first, second in pairs]


CONTENT = 3  # of the sketches in the figure, a shape with a long outline


def lines_digest() -> str:
    """Return the digest of what the figure of the four lines shows."""
    sums = [[round(image.mean().item(), 4) for image in images] for images in _line_images()]
    return digest_of([sums, [round(change, 2) for change in changes_of_lines("laboratory", 16)]])


def lines_figure() -> bytes:
    """Return four sketches, thin or wide and dark or pale, and the differences of two pairs, as PNG."""
    figure, axes = figures.subplots(3, size=(0.8 * WIDTH, 4.3), rows=2)
    rows = zip(PAIRS, _line_images(), changes_of_lines("laboratory", 16), strict=True)
    for row, (titles, images, change) in enumerate(rows):
        for k, image in enumerate(images):
            axis = axes[3 * row + k]
            low = 0 if k == 2 else -1
            shown = (image[0] if k < 2 else -image[0]).numpy()
            axis.imshow(shown, cmap="gray", vmin=-1, vmax=-low, interpolation="nearest")
            axis.set_xticks([]), axis.set_yticks([]), axis.grid(visible=False)
            for spine in axis.spines.values():
                spine.set(visible=True, color="0.6", linewidth=0.6)
            name = titles[k] if k < 2 else f"change: {change:.0f} of 255"
            axis.set_title(f"({'abcdef'[3 * row + k]}) {name}", fontsize=FONT)
    figure.suptitle(LINES_TITLE, fontsize=FONT + 1)
    return png_with_digest(figure, LINES_ALT, lines_digest())


LINES_TITLE = "Thin dark and wide pale lines look more alike\nthan thin pale and wide dark ones"
LINES_ALT = (
    "Two rows of sketches of the same shape. Above, a thin dark and a wide pale outline, which look alike, with their "
    "faint difference; below, a thin pale and a wide dark outline with their stronger difference."
)


@torch.no_grad()
def predicted_correlation(variant: str, size: int, count: int = 1000) -> float:
    """Return the correlation of line width and darkness that the attribute predictor finds in real sketches.

    Args:
        variant: of the known world, in which the two factors are independent.
        size: height and width in pixels.
        count: number of sketches.
    """
    predictor = load_attribute_predictor(SKETCH, variant)
    batches = labeled_batches(World(variant), SKETCH, count, seed=1, size=size, stream="test")
    quantiles = torch.cat([style_quantiles(predictor(batch.images), SKETCH) for batch in batches])
    return -factor_correlation(quantiles[None], 0, 1).item()  # a high gray level is pale


def page(results: Results) -> str:
    """Return the page in Markdown."""
    models = _models(results)
    runs = [run for model in models for run in results[model].values()]

    def error(model: str, factor: str) -> str:
        return f"{mean(errors(results, model, factor)):.2f}"

    def extremes(*factors: str) -> tuple[str, str]:
        values = [e for m in models for f in factors for e in errors(results, m, f)]
        return f"{min(values):.2f}", f"{max(values):.2f}"

    def within(metric: str, direction: str, sign: float = 1) -> str:
        values = [sign * run[direction][metric] for run in runs]
        return f"{min(values):z.2f} to {max(values):z.2f}"

    alike, unlike = changes_of_lines("laboratory", 16)
    supervised = read_results("style_reading")["laboratory"]["2,000 steps"]["sketch"]
    predictor = read_results("attribute_predictors_laboratory")
    line = STYLE_FACTORS[SKETCH][0]
    sizes = (("laboratory", 16), ("standard", 32), ("standard", 64))
    pixels = [line.span * World(variant).variant.zoom * size for variant, size in sizes]
    real = [abs(predicted_correlation(variant, size)) for variant, size in sizes]
    numbers = runs[0][TO_SKETCH]
    _, easy = extremes("foreground_hue", "background_hue", "paper")
    low_ink, high_ink = extremes("ink")
    low_width, high_width = extremes("line_width")
    first, second = sorted(errors(results, "cycle loss", "light"))
    return f"""# Which style factors does a style encoder learn?

In our small models of one synthetic world, MUNIT's style encoder learns three of six style factors in every run: both
hues of a painting and the gray level of a sketch's paper. It learns the direction of light under some training
conditions only. It learns the line width of a sketch and the gray level of its ink poorly in every run: a translation
that should copy them from an example misses them by {min(low_ink, low_width)} to {max(high_ink, high_width)} of their
range, and one that has the same style for all examples would miss them by {MIDDLE:.2f}.

## What was measured

An *example-guided translation* combines the content code of an input image with the style code of an example image
from the other domain. It should show the content of the input in the style of the example. We can measure whether it
does because our images come from a *known world*: each image is rendered from a content (the class, position, size and
rotation of a shape) and three style factors. In a sketch these are the line width, the gray level of the ink and the
gray level of the paper; in a painting, the hues of foreground and background and the direction of the light. No factor
wraps around: each hue covers less than half of the color wheel, and the light less than half of a turn.

The *error* is the mean absolute difference between the factor of the translation, as a pretrained attribute predictor
estimates it, and the true factor of the example. It is the mean over {numbers["contents"]:,.0f} pairs of input and
example, divided by the factor's range. Our goal is an error of at most {GOAL:.2f}. For comparison, translations whose
style is unrelated to the example have an expected error of {UNRELATED:.2f}. If all translations have the same style, in
the middle of the range, the expected error is {MIDDLE:.2f}. The attribute predictor is a small part of the errors: on
real 16 px sketches, its own error is {predictor["sketch"]["line_width_error_of_range"]:.2f} for line width and
{predictor["sketch"]["ink_error_of_range"]:.2f} for ink.

We compare training conditions. The *base recipe* is the preset `laboratory`, a small version of MUNIT for images of
16 px. Three changes are added to it:

- *Cycle loss*: an explicit cycle consistency loss, by which a translation to the other domain and back must return the
  original image.
- *Stop-gradient* (`detach_style`): the gradients of the image reconstruction loss and of the cycle loss do not reach
  the style encoders. Only the style reconstruction loss (equation 3 of the paper) then trains them: a style encoder
  must recover the style code that was sampled for a generated image.
- *Style weight 5*: the style reconstruction loss has five times its usual weight.

The *shipped* models `world32` and `world64s` come with the course. They also differ in image size and networks, so
compare each of them with the goal rather than with the other models:

{models_table(results)}

## What the style encoders learn

![{ALT}]({FIGURE.name})

*Each panel shows one style factor, and each row a model. The upper panels show the factors of paintings, the lower
panels those of sketches. Each marker is a training seed; a gray bar joins the two seeds of a model. Look at panel (c),
where the error depends on how the model was trained, and at panels (e) and (f), where all errors are closer to that of
a constant style than to the goal.*

- **Both hues and the paper level** have an error of at most {easy} in every run.
- **The light** has an error of {error("recipe", "light")} with the base recipe. With the stop-gradient it is
  {error("detached", "light")}, and with the cycle loss {first:.3f} and {second:.3f}, so one seed just reaches the goal.
- **Ink and line width** have errors of {low_ink} to {high_ink} and of {low_width} to {high_width}. At
  {MIDDLE:.2f}, the translation follows the example no better than a constant style.

## Light: does the image reconstruction loss interfere?

The stop-gradient lowers the error in the light with both seeds, and the style code then contains more of the light. The
table shows the error again, beside the R² of two probes, which are kernel regressions that predict the light of a real
painting from its style code or from its content code. R² is measured on held-out images; it is 1 if the code determines
the light and 0 if it says nothing about it. The last two columns check that a lower error was not bought at the expense
of something else. The *class accuracy* is the share of translations that show the class of their input. The *diversity
ratio* is the standard deviation of the style over the translations of one input, divided by that of the true styles.
Both are given for the direction of translation in which they are lower. All numbers are means over seeds.

{_table(results, _light_columns())}

(The diversity ratio is measured on {numbers["inputs"]:.0f} inputs with {numbers["styles_per_input"]:.0f} styles each.
Other pages use other inputs, so their values for the same recipe differ by about 0.01.)

Where the error is low, the style code predicts the light well. The content code, however, keeps most of the light in
every model: its R² is {within("style_in_content_light_r2", TO_SKETCH)} over all runs. This suggests an explanation.
The decoder can take the light of a painting from the content code, so the image reconstruction loss does not need it in
the style code. It may even work against the style reconstruction loss, but we have not measured the gradients.

Three observations do not fit this explanation:

1. The cycle loss alone lowers the error almost as much, to {error("cycle loss", "light")}. In these runs the gradient
   of the image reconstruction loss still reaches the style encoder, so it does not prevent a low error.
2. The shipped model `world32` was trained with the cycle loss, yet its error is {error("world32", "light")}.
   `world64s`, trained with cycle loss and stop-gradient, has {error("world64s", "light")}. So neither change is
   sufficient for other image sizes and networks.
3. With a style weight of 5 in addition to the stop-gradient, the error rises to
   {error("detached, style weight 5", "light")}. If the image reconstruction loss were the only obstacle, more weight on
   the loss that teaches the light should not hurt. These runs also lose some classes, and no run has the larger weight
   without the stop-gradient, so we cannot say which of the two is responsible.

With two seeds per setting, these are observations about a few runs, not estimates of the size of an effect.

## Line width and ink: why are they hard to separate?

Line width and ink are hard to tell apart in a small image. Over its whole range, the line width changes by only
{pixels[0]:.1f} pixels at 16 px, {pixels[1]:.1f} pixels at 32 px and {pixels[2]:.1f} pixels at 64 px. (The world at
16 px shows its shapes {World("laboratory").variant.zoom:g} times as large.) So a change of width is visible mostly as a
change of darkness.

![{LINES_ALT}]({LINES_FIGURE.name})

*Four sketches of the same shape at 16 px, and what changes between the two of each row. Width and ink move by half of
their range in both rows. The titles of (c) and (f) give the mean change of a pixel over {COUNT} shapes, in gray
levels.*

If we exchange a thin dark line for a wide pale one, a pixel changes by {alike:.0f} of 255 gray levels on average. If we
exchange a thin pale line for a wide dark one, it changes by {unlike:.0f}. A loss on pixels therefore penalizes an
error in the first direction less. This cannot be the only reason for the errors, because the models with stop-gradient
have the same ones although no loss on pixels trains their style encoders.

The translations vary mostly in the second direction. In the known world, line width and darkness are independent, and
in real sketches the attribute predictor finds a correlation of less than {_up(max(real), 0.01):.2f}. In the
translations, the correlation is {within("line_width_ink_correlation", TO_SKETCH, -1)}: wide lines tend to be dark and
thin lines pale. The table shows the errors, the R² of probes that predict each factor of a real sketch from its style
code, and the correlation of width and darkness in translations and in reconstructions of real sketches.

{_table(results, _line_columns())}

The probes explain less than {100 * _ceil(results):.0f} % of the variance of either factor in every run. The correlation
of width and darkness is positive in every run, in translations and in reconstructions. The stop-gradient does not help
here. A possible reason is that a style encoder with stop-gradient is trained on translations alone, in which width and
ink depend on each other. It is then applied to real sketches, in which they do not.

Most of the loss of information seems to happen in the style encoder. The decoder does use the style code: the style
code that was sampled for a translation predicts its line width with an R² of
{within("sampled_style_line_width_r2", TO_SKETCH)} and its ink with an R² of
{within("sampled_style_ink_r2", TO_SKETCH)}. The information is also in the images: a style encoder of the same
architecture that is trained on the true codes of 16 px sketches for 2,000 steps estimates line width with an error of
{supervised["line_width"]:.2f} and ink with an error of {supervised["ink"]:.2f}
([`style_reading.json`](style_reading.json)). This is the error of the codes and not of a translation, so compare it
with the {MIDDLE:.2f} of an encoder that ignores the image. Neither the images nor the architecture prevent a style
encoder from learning these two factors.

## How to repeat it

`python -m tools.study_style_factors` trains the five settings on two seeds and evaluates all models, and
`python -m tools.style_factors_page` writes this page. All metrics of all runs are in
[`{RESULT}.json`]({RESULT}.json).
"""


def _up(value: float, step: float) -> float:
    """Return the least multiple of a step above a value."""
    return (int(value / step) + 1) * step


def _ceil(results: Results) -> float:
    """Return the least upper bound, in steps of 0.05, of the R² of line width and ink from the style code."""
    runs = [run[TO_SKETCH] for seeds in results.values() for run in seeds.values()]
    return _up(max(run[f"encoded_style_{factor}_r2"] for run in runs for factor in ("line_width", "ink")), 0.05)


def _light_columns() -> list[Column]:
    quality = {"class_accuracy": "class accuracy", "diversity_ratio": "diversity ratio"}
    return [
        ("error in the light", [(TO_PAINTING, "example_light_error")], 1),
        ("R² from the style code", [(TO_PAINTING, "encoded_style_light_r2")], 1),
        ("R² from the content code", [(TO_SKETCH, "style_in_content_light_r2")], 1),  # measured in the source domain
        *((title, [(direction, metric) for direction in DIRECTIONS.values()], 1) for metric, title in quality.items()),
    ]


def _line_columns() -> list[Column]:
    """Return the columns about line width and ink; darkness is the opposite of the ink's gray level."""
    return [
        ("error, line width", [(TO_SKETCH, "example_line_width_error")], 1),
        ("error, ink", [(TO_SKETCH, "example_ink_error")], 1),
        ("R², line width", [(TO_SKETCH, "encoded_style_line_width_r2")], 1),
        ("R², ink", [(TO_SKETCH, "encoded_style_ink_r2")], 1),
        ("width and darkness, translations", [(TO_SKETCH, "line_width_ink_correlation")], -1),
        ("width and darkness, reconstructions", [(TO_SKETCH, "reconstructed_line_width_ink_correlation")], -1),
    ]


def _table(results: Results, columns: Iterable[Column]) -> str:
    """Return a table of one row per model with means over seeds; a column of two directions shows the lower one."""
    columns = list(columns)
    rows = []
    for name in _models(results):
        runs = results[name].values()
        cells = [
            minus_signs(f"{sign * mean(min(run[d][m] for d, m in sources) for run in runs):z.2f}")
            for _, sources, sign in columns
        ]
        rows.append([LABELS[name], *cells])
    return markdown_table(["model", *(title for title, *_ in columns)], rows)


def main() -> None:
    """Write the page and its figures again."""
    results = read_study()
    FIGURE.write_bytes(errors_figure(results))
    LINES_FIGURE.write_bytes(lines_figure())
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
