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
EASY = ("foreground_hue", "background_hue", "paper")  # learned in every run
PREDICTED = {"sketch": SKETCH_FACTORS, "painting": PAINTING_FACTORS}
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
            name = titles[k] if k < 2 else f"mean change: {change:.0f} of 255"
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
    _, easy = extremes(*EASY)
    low_ink, high_ink = extremes("ink")
    low_width, high_width = extremes("line_width")
    first, second = sorted(errors(results, "cycle loss", "light"))
    base = errors(results, "recipe", "light")
    base_spread = max(base) - min(base)
    own = [predictor[domain][f"{f}_error_of_range"] for domain, fs in PREDICTED.items() for f in fs]
    easy_r2 = min(run[TARGET[f]][f"encoded_style_{f}_r2"] for run in runs for f in EASY)
    least_diverse = min(run[d]["diversity_ratio"] for run in results["detached"].values() for d in DIRECTIONS.values())
    large = changes_of_lines("standard", 64)
    means = [-mean(run[TO_SKETCH]["line_width_ink_correlation"] for run in results[m].values()) for m in models]
    correlations = f"{min(means):.2f} to {max(means):.2f}"
    return f"""# Which style factors does a style encoder learn?

In our small models of a synthetic world, MUNIT's style encoder learns three of six style factors in every run: both
hues of a painting and the gray level of a sketch's paper. It learns the direction of light under some training
conditions only. In every run it learns a sketch's line width and ink poorly: when a translation should copy them from
an example, its error is {min(low_ink, low_width)} to {max(high_ink, high_width)} of their range, and ignoring the
example would give {MIDDLE:.2f}. We found no explanation that fits all runs.

## What was measured

An *example-guided translation* combines the content code of an input image with the style code of an example image
from the other domain. It should show the content of the input in the style of the example. We can measure whether it
does because our images come from a *known world*: each image is rendered from a content (the class, position, size and
rotation of a shape) and three style factors. In a sketch these are the line width, the gray level of the ink and the
gray level of the paper; in a painting, the hues of foreground and background and the direction of the light. No factor
wraps around: each hue covers less than half of the color wheel, and the light less than half of a turn.

The *error* in a factor is |factor of the translation − factor of the example| / range of the factor, as a mean over
{numbers["contents"]:,.0f} pairs of input and example. A pretrained attribute predictor estimates the factor of the
translation; on real 16 px images, its own error is at most {_up(max(own), 0.01):.2f} in each factor. Our goal, a round
number that we chose, is an error of at most {GOAL:.2f}. For comparison, translations whose style is unrelated to the
example have an expected error of {UNRELATED:.2f}, and translations that all have the same style, in the middle of the
range, {MIDDLE:.2f}. The error covers the whole path through encoder and decoder. To look at a code alone, we use
*probes*: kernel regressions that predict a factor of a real image from its style code or content code. Their R² on
held-out images is 1 if the code determines the factor, and 0 if it says nothing about it.

We compare training conditions. The *base recipe* is the preset `laboratory`, a small version of MUNIT for images of
16 px. Three changes are added to it:

- *Cycle loss*: an explicit cycle consistency loss, by which a translation to the other domain and back must return the
  original image.
- *Stop-gradient* (`detach_style`): the gradients of the image reconstruction loss and of the cycle loss do not reach
  the style encoders. Only the style reconstruction loss (equation 3 of the paper) then trains them: a style encoder
  must recover the style code that was sampled for a generated image.
- *Style weight 5*: the style reconstruction loss has five times its usual weight.

The *shipped* models `world32` and `world64s` come with the course. They differ from the others also in image size,
networks and world: their *standard world* has smaller shapes and a sixth class. So compare them with the goal first:

{models_table(results)}

## What the style encoders learn

![{ALT}]({FIGURE.name})

*Each panel shows one style factor, and each row a model. The upper panels show the factors of paintings, the lower
panels those of sketches. Each marker is a training seed; a gray bar joins the two seeds of a model. Look at panel (c),
where the error depends on how the model was trained, and at panels (e) and (f), where all errors are closer to that of
a constant style than to the goal.*

- **Both hues and the paper level** have an error of at most {easy} in every run, and the R² from the
  style code is at least {int(100 * easy_r2) / 100:.2f}.
- **The light** has an error of {error("recipe", "light")} with the base recipe. With the stop-gradient it is
  {error("detached", "light")}, and with the cycle loss {first:.3f} and {second:.3f}, so one seed just reaches the goal.
- **Ink and line width** have errors of {low_ink} to {high_ink} and of {low_width} to {high_width}. At
  {MIDDLE:.2f}, the translation follows the example no better than a constant style.

## Light: does the image reconstruction loss interfere?

The stop-gradient lowers the error in the light with both seeds, and the style code then contains more of the light. Its
price is small: the class accuracy stays the same, and the diversity ratio falls a little, with one of the two seeds
to {least_diverse:.2f}, just below the limit of 0.90 that we use [elsewhere](recipe_tuning.md). The *class accuracy* is
the share of translations that show the class of their input, and the *diversity ratio* is the standard deviation of the
style over the translations of one input, divided by that of the true styles. Both are given for the worse direction of
translation. All numbers in the tables are means over seeds.

{_table(results, _light_columns())}

(The diversity ratio is measured on {numbers["inputs"]:.0f} inputs with {numbers["styles_per_input"]:.0f} styles each.
Other pages use other inputs, so their values for the same recipe differ by about 0.01.)

Where the error is low, the style code predicts the light well. The content code, however, keeps most of the light in
every model: its R² is {within("style_in_content_light_r2", TO_SKETCH)} over all runs. This suggests an explanation.
The decoder can take the light of a painting from the content code, so the image reconstruction loss does not need it in
the style code. It may even work against the style reconstruction loss, but we have not measured the gradients.

Three observations show that this is not the whole explanation. They rest on one or two seeds each, and the two seeds of
the base recipe alone differ by {base_spread:.2f}:

1. The cycle loss without stop-gradient also lowers the error, to {first:.3f} and {second:.3f}, although the gradient of
   the image reconstruction loss still reaches the style encoder.
2. `world64s` has the stop-gradient and the cycle loss, and yet an error of {error("world64s", "light")}. So the
   stop-gradient is not sufficient for other image sizes and networks. (`world32`, which lacks it, has
   {error("world32", "light")}, as the explanation predicts.)
3. With a style weight of 5 in addition to the stop-gradient, the error rises to
   {error("detached, style weight 5", "light")}, although the weighted loss is the one that teaches the light. These
   runs also lose some classes, and we have no run with the larger weight and without the stop-gradient, so we cannot
   say why.

## Line width and ink: the images are not the limit

**The images show both factors.** A style encoder of the same architecture that is trained to predict the true style
factors of 16 px sketches for 2,000 steps has an error of {supervised["line_width"]:.2f} in line width and of
{supervised["ink"]:.2f} in ink on the encoder's output ([`style_reading.json`](style_reading.json)). In contrast, probes
of MUNIT's style codes explain less than {100 * _ceil(results):.0f} % of the variance of either factor in every run.

**A loss on pixels hardly notices when width and ink are exchanged, at 16 px.** Over its whole range, the line width
changes by only {pixels[0]:.1f} pixels there, so a wider line looks mostly like a darker one.

![{LINES_ALT}]({LINES_FIGURE.name})

*Four sketches of the same shape at 16 px, and what changes between the two of each row: the darker a pixel of (c) and
(f), the larger the change, with the same scale in both. Width and ink move by half of their range in both rows. The
titles of (c) and (f) give the mean over all pixels of {COUNT} shapes, in gray levels.*

Replacing a thin dark line by a wide pale one changes a pixel by {alike:.0f} of 255 gray levels on average; replacing a
thin pale line by a wide dark one changes it by {unlike:.0f}. Two observations speak against this as the main reason for
the errors. At 64 px, where the width changes by up to {pixels[2]:.1f} pixels, the two changes are closer
({large[0]:.0f} and {large[1]:.0f} gray levels), and yet `world64s` has the same error in line width as `world32`. And
in the models with stop-gradient, no loss on pixels trains the style encoders, but the errors are hardly lower.

**In translations, width and darkness depend on each other.** In the known world they are independent, and in real
sketches the attribute predictor finds a correlation of less than {_up(max(real), 0.01):.2f}. In the translations, the
correlation is {correlations} in the table: wide lines tend to be dark and thin lines pale.

{_table(results, _line_columns())}

*Errors, R² of the probes of the style code of real sketches, and the correlation of width and darkness in translations
and in reconstructions of real sketches.*

The decoder does use the style code: the style code that was sampled for a translation predicts its line width with an
R² of {within("sampled_style_line_width_r2", TO_SKETCH)} and its ink with
{within("sampled_style_ink_r2", TO_SKETCH)} over all runs. The weaker step is that from a real sketch to its code. A
possible reason is that the style reconstruction loss trains the encoder on translations, in which width and ink depend
on each other, while real sketches have them independent. We have not tested this.

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
