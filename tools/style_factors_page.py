"""Write the page about the style factors that style encoders learn, with its figure.

`python -m tools.study_style_factors` measures the models, and `python -m tools.style_factors_page` writes
data/results/style_factors.md and data/results/style_factors.png.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import Any

import torch

from munit_lite.config import Config, from_dict
from munit_lite.course import figures
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results
from munit_lite.paths import CHECKPOINTS_DIR, RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.tensors import read_header
from munit_lite.world import DIRECTIONS, PAINTING, SKETCH, STYLE_FACTORS, World, style_from_code
from tools.page_figures import FONT, WIDTH, digest_of, png_with_digest
from tools.study_style_factors import PUBLISHED, RESULT, SETTINGS, Results, read_study

PAGE = RESULTS_DIR / f"{RESULT}.md"
FIGURE = RESULTS_DIR / f"{RESULT}.png"
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

Column = tuple[str, list[tuple[str, str]]]  # title, and pairs of a direction and a metric, of which the lower counts


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
    figure, axes = figures.subplots(3, size=(WIDTH, 5.6), rows=2)
    positions = [row + 0.5 * (name in PUBLISHED) for row, name in enumerate(models)]
    for letter, factor, axis in zip("abcdef", PAINTING_FACTORS + SKETCH_FACTORS, axes, strict=True):
        for name, y in zip(models, positions, strict=True):
            values = errors(results, name, factor)
            axis.plot((min(values), max(values)), (y, y), "-", color="0.6", linewidth=1.5, zorder=1)
            for value in values:
                color = figures.COLORS[0 if value <= GOAL else 1]
                axis.plot(value, y, "D" if name in PUBLISHED else "o", color=color, markersize=6.5, alpha=0.85)
        axis.axvline(GOAL, color="black", linestyle="--", linewidth=1.2, zorder=0)
        axis.axvline(UNRELATED, color="0.45", linestyle=":", linewidth=1.5, zorder=0)
        axis.set(xlim=(0, 0.37), xticks=(0, 0.1, 0.2, 0.3), ylim=(positions[-1] + 0.6, -0.6), yticks=positions)
        axis.set_yticklabels([LABELS[name] for name in models] if letter in "ad" else [], fontsize=FONT)
        axis.set_title(f"({letter}) {_words(factor)}", fontsize=FONT + 0.5, loc="left")
        axis.tick_params(axis="x", labelsize=FONT)
        axis.tick_params(axis="y", length=0)
    beside: Any = {"textcoords": "offset points", "fontsize": FONT, "va": "center"}
    axes[0].annotate("goal", (GOAL, 1.5), (6, 0), **beside)
    axes[0].annotate("unrelated\nstyle", (UNRELATED, 4), (-5, 0), ha="right", color="0.3", **beside)
    for axis, domain in ((axes[0], "Paintings"), (axes[3], "Sketches")):
        axis.annotate(domain, (0, 1), (-6, 9), xycoords="axes fraction", ha="right", weight="bold", **beside)
    figure.supxlabel("error of example-guided translation, as a share of the factor's range", fontsize=FONT + 0.5)
    figure.suptitle(
        "Both hues and the paper level reach the goal in every run,\n"
        "the light in some runs, ink and line width in none",
        fontsize=FONT + 2,
    )
    return png_with_digest(figure, ALT, digest(results))


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


def changes_of_lines(variant: str, size: int, count: int = 500) -> tuple[float, float]:
    """Return how much an image changes when line width and ink both move by half of their range.

    Args:
        variant: of the known world.
        size: height and width in pixels.
        count: number of contents.

    Returns:
        Mean absolute differences in gray levels of 255: from a thin dark to a wide pale line, and from a thin pale
        to a wide dark one.
    """
    world = World(variant)
    content = world.pairs(torch.arange(count), 1, size).content

    def sketches(line_width: float, ink: float) -> torch.Tensor:
        codes = torch.special.ndtri(torch.tensor([line_width, ink, 0.5])).expand(count, 3)
        return world.render(content, style_from_code(codes, SKETCH), SKETCH, size)

    low, high = 0.25, 0.75  # quantiles; a low gray level of the ink is dark
    pairs = ((sketches(low, low), sketches(high, high)), (sketches(low, high), sketches(high, low)))
    hidden, visible = (255 / 2 * (first - second).abs().mean().item() for first, second in pairs)
    return hidden, visible


def page(results: Results) -> str:
    """Return the page in Markdown."""
    models = _models(results)

    def error(model: str, factor: str) -> str:
        return f"{mean(errors(results, model, factor)):.2f}"

    def lowest(*factors: str) -> str:
        return f"{min(e for m in models for f in factors for e in errors(results, m, f)):.2f}"

    def highest(*factors: str) -> str:
        return f"{max(e for m in models for f in factors for e in errors(results, m, f)):.2f}"

    def within(metric: str, direction: str) -> str:
        values = [run[direction][metric] for model in models for run in results[model].values()]
        return f"{min(values):z.2f} to {max(values):z.2f}"

    hidden, visible = changes_of_lines("laboratory", 16)
    supervised = read_results("style_reading")["laboratory"]["2,000 steps"]["sketch"]
    predictor = read_results("attribute_predictors_laboratory")
    line = STYLE_FACTORS[SKETCH][0]
    pixels = [
        line.span * World(variant).variant.zoom * size for variant, size in (("laboratory", 16), ("standard", 32))
    ]
    contents = int(next(iter(results[models[0]].values()))[TO_SKETCH]["contents"])
    easy = highest("foreground_hue", "background_hue", "paper")
    return f"""# Which style factors does a style encoder learn?

MUNIT's style encoder learns three of the six style factors of our synthetic images in every run: both hues of a
painting and the gray level of a sketch's paper. It learns the direction of light under some training conditions only,
and it confuses the width of a line with its darkness under all of them.

![{ALT}]({FIGURE.name})

*Each panel shows one style factor, each row a model, and each marker a training seed. The upper panels show the factors
of paintings, the lower panels those of sketches. Circles are models that we trained for this comparison; diamonds are
models that come with the course. Blue markers reach our goal, an error of at most {GOAL:.2f} of the factor's range
(dashed line), and orange markers do not. The dotted line is the expected error of a translation whose style is
unrelated to the example. Look at panel (c), where the error depends on how the model was trained, and at panels (e) and
(f), where every model misses the goal.*

- **Both hues and the paper level** have an error of at most {easy} in every run.
- **The light** has an error of {error("recipe", "light")} with the base recipe. It falls to
  {error("detached", "light")} if the gradient of the image reconstruction loss does not reach the style encoder (the
  row "stop-gradient").
- **Ink and line width** have errors of at least {lowest("ink")} and {lowest("line_width")} in every run, about twice
  the goal.

## What was measured

An *example-guided translation* combines the content code of an input image with the style code of an example image
from the other domain. It should show the content of the input in the style of the example. We can measure whether it
does because our images come from a *known world*: each image is rendered from a content (the class, position, size and
rotation of a shape) and three style factors. In a sketch these are the line width, the gray level of the ink and the
gray level of the paper; in a painting, the hues of foreground and background and the direction of the light.

The error is the mean absolute difference between the factor of the translation, as a pretrained attribute predictor
estimates it, and the true factor of the example. It is the mean over {contents:,} pairs of input and example, divided
by the factor's range. An unrelated style has an expected error of {UNRELATED:.2f}, and a constant style in the middle
of the range one of {MIDDLE:.2f}. The attribute predictor's own error on real 16 px sketches is
{predictor["sketch"]["line_width_error_of_range"]:.2f} for line width and
{predictor["sketch"]["ink_error_of_range"]:.2f} for ink, so it explains only a small part of the errors above.

The models differ in how they were trained:

{models_table(results)}

The first five models use the preset `laboratory`, a small version of MUNIT for images of 16 px, and differ only in the
last three columns. The shipped models also have other image sizes and networks, so compare each of them with the goal
rather than with the first five. Three changes appear in the table:

- *Stop-gradient* (`detach_style`): the gradients of the image reconstruction loss and of the cycle loss do not reach
  the style encoders. Only the style reconstruction loss (equation 3 of the paper) then trains them: a style encoder
  must recover the style code that was sampled for a generated image.
- *Cycle weight*: the weight of the explicit cycle consistency loss, by which a translation to the other domain and
  back must return the original image.
- *Style weight*: the weight of the style reconstruction loss.

## Light: the image reconstruction loss interferes with the style encoder

The stop-gradient lowers the error in the light with both seeds, and the style code then contains more of the light. The
table shows the error again, beside the R² of two probes, which are kernel regressions that predict the light of a real
painting from its style code or from its content code. R² is measured on held-out images; it is 1 if the code determines
the light and 0 if it says nothing about it. The two last columns guard against a low error that costs something else:
the *class accuracy* is the share of translations that show the class of their input, and the *diversity ratio* is the
standard deviation of the style over the translations of one input, divided by the true one. Both are given for the
direction of translation in which they are lower. All numbers are means over seeds.

{_table(results, _light_columns())}

Where the error is low, the style code predicts the light well. The content code, however, keeps most of the light in
every model: its R² is {within("style_in_content_light_r2", TO_SKETCH)} over all runs. This suggests an explanation.
Because the decoder can take the light of a painting from the content code, the image reconstruction loss
does not need it in the style code, and its gradient works against that of the style reconstruction loss.

The explanation is incomplete for three reasons. The cycle loss alone lowers the error almost as much, to
{error("cycle loss", "light")}. The shipped model `world32` was trained with the cycle loss, yet its error is
{error("world32", "light")}; `world64s`, trained with cycle loss and stop-gradient at a higher resolution, has
{error("world64s", "light")}. And with a style weight of 5 in addition to the stop-gradient, the error rises to
{error("detached, style weight 5", "light")}, and some classes are lost. With two seeds per setting, these are
observations about a few runs, not estimates of the size of an effect.

## Line width and ink: a thin dark line looks almost like a wide pale one

Line width and ink are hard to tell apart in a small image. Over its whole range, the line width changes by only
{pixels[0]:.1f} pixels at 16 px and {pixels[1]:.1f} pixels at 32 px, so a change of width is mostly visible as a change
of darkness. If we exchange a thin dark line for a wide pale one, the pixels of a 16 px sketch change by {hidden:.0f} of
255 gray levels on average. If we exchange a thin pale line for a wide dark one, they change by {visible:.0f}. (In both
cases, width and ink move by half of their range.) The image reconstruction loss therefore hardly penalizes the first
mistake.

The translations show this mistake. In the known world, line width and ink are independent. In the translations they are
negatively correlated; since a high gray level is pale, this means that wide lines tend to be dark and thin lines pale.
The models thus reproduce the visible direction, from thin and pale to wide and dark, better than the hidden one. The
table shows the errors, the R² of probes that predict each factor of a real sketch from its style code, and the
correlation of the two factors in translations and in reconstructions of real sketches.

{_table(results, _line_columns())}

The probes explain less than {_ceil(results)} of the variance of either factor in every run. The correlation is
negative in the translations of every run, and in the reconstructions of every model. The stop-gradient does not help
here. A possible reason is that such a style encoder learns from translations alone, in which width and ink depend on
each other, and is then applied to real sketches, in which they do not.

The information is in the images, however: a style encoder of the same architecture that is trained on the true codes
for 2,000 steps has an error of {supervised["line_width"]:.2f} for line width and {supervised["ink"]:.2f} for ink
([`style_reading.json`](style_reading.json)). So neither the images nor the architecture of the encoder prevent it from
learning these two factors.

## How to repeat it

`python -m tools.study_style_factors` trains the five settings on two seeds and evaluates all models, and
`python -m tools.style_factors_page` writes this page. All metrics of all runs are in
[`{RESULT}.json`]({RESULT}.json).
"""


def _ceil(results: Results) -> str:
    """Return the least upper bound, in steps of 0.05, of the R² of line width and ink from the style code."""
    runs = [run[TO_SKETCH] for seeds in results.values() for run in seeds.values()]
    highest = max(run[f"encoded_style_{factor}_r2"] for run in runs for factor in ("line_width", "ink"))
    return f"{(int(highest * 20) + 1) / 20:.2f}"


def _light_columns() -> list[Column]:
    quality = {"class_accuracy": "class accuracy", "diversity_ratio": "diversity ratio"}
    return [
        ("error in the light", [(TO_PAINTING, "example_light_error")]),
        ("R² from the style code", [(TO_PAINTING, "encoded_style_light_r2")]),
        ("R² from the content code", [(TO_SKETCH, "style_in_content_light_r2")]),  # measured in the source domain
        *((title, [(direction, metric) for direction in DIRECTIONS.values()]) for metric, title in quality.items()),
    ]


def _line_columns() -> list[Column]:
    return [
        ("error, line width", [(TO_SKETCH, "example_line_width_error")]),
        ("error, ink", [(TO_SKETCH, "example_ink_error")]),
        ("R², line width", [(TO_SKETCH, "encoded_style_line_width_r2")]),
        ("R², ink", [(TO_SKETCH, "encoded_style_ink_r2")]),
        ("correlation, translations", [(TO_SKETCH, "line_width_ink_correlation")]),
        ("correlation, reconstructions", [(TO_SKETCH, "reconstructed_line_width_ink_correlation")]),
    ]


def _table(results: Results, columns: Iterable[Column]) -> str:
    """Return a table of one row per model with means over seeds; a column of two directions shows the lower one."""
    columns = list(columns)
    rows = []
    for name in _models(results):
        runs = results[name].values()
        cells = [f"{mean(min(run[d][m] for d, m in sources) for run in runs):z.2f}" for _, sources in columns]
        rows.append([LABELS[name], *cells])
    return markdown_table(["model", *(title for title, _ in columns)], rows)


def main() -> None:
    """Write the page and its figure again."""
    results = read_study()
    FIGURE.write_bytes(errors_figure(results))
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
