"""Write the page about the style factors that style encoders learn, with its figures.

`python -m tools.study_style_factors` measures the models, and `python -m tools.style_factors_page` writes
data/results/style_factors.md, data/results/style_factors.png and data/results/style_factors_lines.png.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import mean

import torch
from IPython.display import Image
from matplotlib.figure import Figure
from torch import Tensor

from munit_lite.config import from_dict
from munit_lite.course import figures
from munit_lite.evaluation.statistics import Metrics
from munit_lite.experiments.results import read_results
from munit_lite.paths import CHECKPOINTS_DIR, RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.tensors import read_header
from munit_lite.world import DIRECTIONS, PAINTING, SKETCH, STYLE_FACTORS, World, style_from_code
from tools.pages import WIDTH, dot_plot, fill_template, label_marks, save_figure, table, value_range
from tools.study_style_factors import PUBLISHED, RESULT, SETTINGS, Results, read_study

PAGE, FIGURE, LINES_FIGURE = (RESULTS_DIR / f"{RESULT}{suffix}" for suffix in (".md", ".png", "_lines.png"))
# Errors, as a share of the range of a factor: our goal, and what is expected of two other translators.
REFERENCES = {"goal (0.10)": 0.10, "constant style (0.25)": 1 / 4, "unrelated style (0.33)": 1 / 3}
LABELS = {
    "recipe": "base recipe",
    "cycle loss": "cycle loss",
    "detached": "stop-gradient",
    "detached, cycle loss": "stop-gradient, cycle loss",
    "detached, style weight 5": "stop-gradient, style weight 5",
    "world32": "world32 (shipped)",
    "world64s": "world64s (shipped)",
}
TITLES = {  # of the panels, in their order: the factors of paintings, then those of sketches
    "foreground_hue": "foreground hue",
    "background_hue": "background hue",
    "light": "light direction",
    "paper": "paper gray level",
    "ink": "ink gray level",
    "line_width": "line width",
}
EASY = ("foreground_hue", "background_hue", "paper")  # learned in every run
TO_PAINTING, TO_SKETCH = DIRECTIONS[SKETCH, PAINTING], DIRECTIONS[PAINTING, SKETCH]
TARGET = {factor.name: DIRECTIONS[3 - domain, domain] for domain in STYLE_FACTORS for factor in STYLE_FACTORS[domain]}
COUNT, CONTENT = 500, 3  # contents over which the change of a pixel is averaged, and the one in the figure
LOW, HIGH = 0.25, 0.75  # quantiles of line width and of the ink's gray level, of which the low one is dark
# Quantiles of line width and ink of two sketches: a pair that looks alike, and one that does not.
PAIRS = {
    "thin and dark,\nwide and pale": ((LOW, LOW), (HIGH, HIGH)),
    "thin and pale,\nwide and dark": ((LOW, HIGH), (HIGH, LOW)),
}

Runs = Mapping[str, Mapping[str, Metrics]]  # seed -> direction -> metrics


def errors(results: Results, model: str, factor: str) -> list[float]:
    """Return the error of example-guided translation in a style factor, in units of its range, for each seed."""
    return [run[TARGET[factor]][f"example_{factor}_error"] for run in results[model].values()]


def errors_figure(results: Results) -> Figure:
    """Plot the error of each model in each style factor, one panel per factor."""
    figure, axes = figures.subplots(3, size=(WIDTH, 6.2), rows=2)
    for letter, (factor, title), axis in zip("abcdef", TITLES.items(), axes, strict=True):
        dot_plot(axis, [errors(results, name, factor) for name in LABELS], REFERENCES, f"({letter}) {title}")
        axis.set(xlim=(-0.015, 0.37), xticks=(0, 0.1, 0.2, 0.3))
    for axis, domain in ((axes[0], "paintings"), (axes[3], "sketches")):
        axis.set_yticklabels(LABELS.values())
        axis.set_ylabel(domain, weight="bold")
    axes[4].set_xlabel("error of example-guided translation, as a share of the factor's range")
    label_marks(figure, axes[0], 2)
    figure.suptitle(
        "Both hues and the paper level reach the goal in every run,\nthe light in some runs, ink and line width in none"
    )
    return figure


def _sketches(line_width: float, ink: float, variant: str, size: int, index: Tensor) -> Tensor:
    world = World(variant)
    content = world.pairs(index, 1, size).content
    codes = torch.special.ndtri(torch.tensor([line_width, ink, 0.5])).expand(len(index), 3)
    return world.render(content, style_from_code(codes, SKETCH), SKETCH, size)


def changes_of_lines(variant: str, size: int, count: int = COUNT) -> list[float]:
    """Return how much an image changes when line width and ink both move by half of their range.

    Args:
        variant: of the known world.
        size: height and width in pixels.
        count: number of contents.

    Returns:
        Mean absolute differences in gray levels of 255 for the two pairs of `PAIRS`.
    """
    pairs = [[_sketches(*style, variant, size, torch.arange(count)) for style in pair] for pair in PAIRS.values()]
    return [255 / 2 * (first - second).abs().mean().item() for first, second in pairs]


def lines_figure() -> Image:
    """Show four sketches, thin or wide and dark or pale, and the differences of two pairs."""
    rows = []
    for (label, styles), change in zip(PAIRS.items(), changes_of_lines("laboratory", 16), strict=True):
        thin, wide = (_sketches(*style, "laboratory", 16, torch.tensor([CONTENT]))[0] for style in styles)
        difference = (1 - 2 * (thin - wide).abs()).clamp(-1, 1)  # a change by half of the range is black
        rows.append((f"{label}:\nmean change\n{change:.0f} of 255", torch.stack([thin, wide, difference])))
    title = "Thin dark and wide pale lines look more alike than thin pale and wide dark ones"
    return figures.image_rows(rows, "", title, cell=2, columns=("thin line", "wide line", "difference"))


def models_table(results: Results) -> str:
    """Return a table of how the models differ."""
    configs = {
        name: from_dict(read_header(CHECKPOINTS_DIR / f"{name}.safetensors")["config"])
        if name in PUBLISHED
        else preset("laboratory", **SETTINGS[name])
        for name in LABELS
    }
    columns: dict[str, Callable[[str], str]] = {
        "images": lambda name: f"{configs[name].data.image_size} px",
        "steps": lambda name: f"{configs[name].steps:,}",
        "seeds": lambda name: ", ".join(results[name]),
        "stop-gradient": lambda name: "yes" if configs[name].loss.detach_style else "no",
        "cycle weight": lambda name: f"{configs[name].loss.cycle_weight:g}",
        "style weight": lambda name: f"{configs[name].loss.style_weight:g}",
    }
    return table("model", {label: name for name, label in LABELS.items()}, columns)


def _mean(metric: str, *directions: str, sign: float = 1) -> Callable[[Runs], str]:
    """Return a column of a table: the mean over seeds of a metric in a direction, or in the lower of two."""
    return lambda runs: f"{sign * mean(min(run[way][metric] for way in directions) for run in runs.values()):.2f}"


def page(results: Results) -> str:
    """Return the page in Markdown."""
    runs = [run for name in LABELS for run in results[name].values()]
    errors_of = {factor: [e for name in LABELS for e in errors(results, name, factor)] for factor in TITLES}
    rows = {label: results[name] for name, label in LABELS.items()}
    base = errors(results, "recipe", "light")
    correlation = "line_width_ink_correlation"
    tied = [-mean(run[TO_SKETCH][correlation] for run in group.values()) for group in rows.values()]
    sizes = (("laboratory", 16), ("standard", 64))
    return fill_template(
        RESULT,
        poor=value_range(errors_of["ink"] + errors_of["line_width"]),
        numbers=runs[0][TO_SKETCH],
        models_table=models_table(results),
        easy=max(error for factor in EASY for error in errors_of[factor]),
        error={name: {factor: mean(errors(results, name, factor)) for factor in TITLES} for name in LABELS},
        range_of={factor: value_range(values) for factor, values in errors_of.items()},
        with_cycle=sorted(errors(results, "cycle loss", "light")),
        least_diverse=min(
            run[d]["diversity_ratio"] for run in results["detached"].values() for d in DIRECTIONS.values()
        ),
        light_table=table(
            "model",
            rows,
            {
                "error in the light": _mean("example_light_error", TO_PAINTING),
                "R² from the style code": _mean("encoded_style_light_r2", TO_PAINTING),
                "R² from the content code": _mean("style_in_content_light_r2", TO_SKETCH),  # in the source domain
                "class accuracy": _mean("class_accuracy", TO_PAINTING, TO_SKETCH),
                "diversity ratio": _mean("diversity_ratio", TO_PAINTING, TO_SKETCH),
            },
        ),
        base_spread=max(base) - min(base),
        supervised=read_results("style_reading")["laboratory"]["2,000 steps"]["sketch"],
        pixels=[STYLE_FACTORS[SKETCH][0].span * World(variant).variant.zoom * size for variant, size in sizes],
        changes=[changes_of_lines(*size) for size in sizes],
        over_runs={
            metric: value_range(run[TO_SKETCH][metric] for run in runs)
            for metric in ("style_in_content_light_r2", "sampled_style_line_width_r2", "sampled_style_ink_r2")
        },
        correlations=value_range(tied),
        line_table=table(
            "model",
            rows,
            {
                "error, line width": _mean("example_line_width_error", TO_SKETCH),
                "error, ink": _mean("example_ink_error", TO_SKETCH),
                "R², line width": _mean("encoded_style_line_width_r2", TO_SKETCH),
                "R², ink": _mean("encoded_style_ink_r2", TO_SKETCH),
                # Darkness is the opposite of the ink's gray level.
                "width and darkness, translations": _mean(correlation, TO_SKETCH, sign=-1),
                "width and darkness, reconstructions": _mean(f"reconstructed_{correlation}", TO_SKETCH, sign=-1),
            },
        ),
    )


def main() -> None:
    """Write the page and its figures again."""
    results = read_study()
    save_figure(FIGURE, errors_figure(results), results)
    save_figure(LINES_FIGURE, lines_figure(), [round(change) for change in changes_of_lines("laboratory", 16)])
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
