"""Write the README's tables, curves and picture, from `data/results/` and the checkpoints: `python -m tools.readme`."""

from __future__ import annotations

import textwrap
from functools import partial
from statistics import mean

import torch

from munit_lite.config import from_dict
from munit_lite.course import figures
from munit_lite.data import open_data
from munit_lite.evaluation.convergence import MIN_CLASS_ACCURACY, MIN_DIVERSITY_RATIO
from munit_lite.evaluation.metric_names import with_current_metric_names
from munit_lite.experiments.benchmark_tables import cost_table, profile_table
from munit_lite.experiments.convergence_curves import collect_quality_curves, convergence_table
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.provenance import train_command
from munit_lite.experiments.results import read_results
from munit_lite.paths import REPOSITORY_DIR, RESULTS_DIR
from munit_lite.storage.checkpoints import load, shipped_checkpoints
from munit_lite.storage.tensors import read_header
from tools.benchmark_explorers import latency_table
from tools.markdown_blocks import replace_block
from tools.pages import table

README = REPOSITORY_DIR / "README.md"
PICTURE = RESULTS_DIR / "world64s_translations.png"
CURVES = RESULTS_DIR / "laboratory_munit.png"

_METRICS = {  # of the table of seeds
    "predicted class is right": "class_accuracy",
    "the same, contents shuffled (control)": "class_accuracy_shuffled_contents",
    "position error, image widths": "position_error",
    "KS distance of foreground hue, per input": "foreground_hue_ks",
    "KS distance of background hue, per input": "background_hue_ks",
    "KS distance of light direction, per input": "light_ks",
    "KS distance of line width, per input": "line_width_ks",
    "KS distance of ink, per input": "ink_ks",
    "KS distance of paper, per input": "paper_ks",
}


def seeds_table(names: list[str]) -> str:
    """Return mean and range over runs as a Markdown table with one row per metric and one column per direction.

    Args:
        names: results files, one for each seed.
    """
    runs = [read_results(name) for name in names]

    def cell(direction: str, metric: str) -> str:
        values = [run[direction][metric] for run in runs if metric in run[direction]]
        extremes = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        return f"{mean(values):.3f}{extremes}" if values else ""

    title = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
    return table(title, _METRICS, {direction: partial(cell, direction) for direction in runs[0]})


def photo_table(name: str) -> str:
    """Return the metrics of edges to photos with their 95 % intervals."""
    (numbers,) = read_results(name).values()
    rows = {metric.replace("_", " "): metric for metric in numbers if f"{metric}_interval" in numbers}
    return table("metric", rows, {"value": lambda m: f"{numbers[m]:.3f} ± {numbers[f'{m}_interval']:.3f}"})


def checkpoints_table() -> str:
    """Return every published model with its results in both directions; the cards hold the complete commands."""
    rows = []
    for name, path in shipped_checkpoints().items():
        header = read_header(path)
        options = train_command(from_dict(header["config"])).removeprefix("munit-lite train ")
        options = textwrap.shorten(options, 80, placeholder=" …", break_on_hyphens=False)
        directions = with_current_metric_names(header["note"]["results"]["numbers"]).values()
        metrics = ("class_accuracy", "diversity_ratio")
        measured = (" / ".join(f"{found[metric]:.3f}" for found in directions if metric in found) for metric in metrics)
        rows.append((f"[`{name}`](data/checkpoints/{name}.md)", f"{header['step']:,}", f"`{options}`", *measured))
    return markdown_table(("model", "steps", "trained with", "predicted class is right", "diversity ratio"), rows)


def blocks() -> dict[str, str]:
    """Return every table by the name of its block in the README."""
    reference = read_results("bench_reference")
    return {
        "world32": seeds_table(sorted(file.stem for file in RESULTS_DIR.glob("world32_seed*.json"))),
        "convergence": convergence_table(read_results("laboratory"), [("laboratory", "munit")]),
        "fashion32": photo_table("fashion32"),
        "shipped": checkpoints_table(),
        "bench_cpu": cost_table(read_results("bench_cpu")),
        "bench_reference": cost_table(reference),
        "bench_split": profile_table(reference),
        "bench_explorers": latency_table(read_results("bench_explorers")),
    }


def convergence_figure() -> bytes:
    """Return the curves of plain MUNIT in the laboratory world over its seeds as PNG."""
    curves = collect_quality_curves(
        read_results("laboratory"), "laboratory", "munit", ("class_accuracy", "diversity_ratio")
    )
    return figures.seed_bands(
        curves.steps.tolist(),
        {metric.replace("_", " "): values for metric, values in curves.values.items()},
        alt="Class accuracy and diversity ratio of both directions against training steps, with bands over seeds.",
        title=f"Plain MUNIT keeps the class with every seed; "
        f"the diversity of sketches falls again (mean and range of {len(curves.seeds)} seeds)",
        minutes_per_step=float((curves.minutes[:, -1] / curves.steps[-1]).mean()),
        thresholds={"class accuracy": MIN_CLASS_ACCURACY, "diversity ratio": MIN_DIVERSITY_RATIO},
    ).data


def update(text: str) -> str:
    """Return the README's text with every table written again."""
    for name, block in blocks().items():
        text = replace_block(text, f"results:{name}", block)
    return text


@torch.no_grad()
def translations(columns: int = 9) -> bytes:
    """Return the README's picture as PNG: inputs and translations with three sampled styles, in both directions."""
    model = load("world64s")
    test = open_data(model.config).test(columns)
    rows = []
    for source, images, name in ((1, test.images_1, "sketch"), (2, test.images_2, "painting")):
        styles = model.sample_style(3, torch.Generator().manual_seed(3)).split(1)
        outputs = [model.translate(images, source, 3 - source, style=style) for style in styles]
        rows += [(name, images), *(("→ translated", output) for output in outputs)]
    return figures.image_rows(rows, alt="Sketches translated into paintings in three styles, and back.").data


def main() -> None:
    """Write the README's picture, tables and curves again."""
    PICTURE.write_bytes(translations())
    CURVES.write_bytes(convergence_figure())
    README.write_text(update(README.read_text()))


if __name__ == "__main__":
    main()
