"""Write the README's tables and curves, and with `--run` its picture, from `data/results/` and the checkpoints.

python -m tools.readme [--run FOLDER]
"""

from __future__ import annotations

import textwrap

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
from munit_lite.paths import CHECKPOINTS_DIR, REPOSITORY_DIR, RESULTS_DIR
from munit_lite.storage.checkpoints import load
from munit_lite.storage.tensors import read_tensors
from tools.benchmark_explorers import latency_table
from tools.markdown_blocks import replace_block

README = REPOSITORY_DIR / "README.md"
PICTURE = RESULTS_DIR / "world64s_translations.png"
CURVES = RESULTS_DIR / "laboratory_munit.png"

_LABELS = {
    "class_accuracy": "predicted class is right",
    "class_accuracy_shuffled_contents": "the same, contents shuffled (control)",
    "position_error": "position error, image widths",
    "foreground_hue_ks": "KS distance of foreground hue, per input",
    "background_hue_ks": "KS distance of background hue, per input",
    "light_ks": "KS distance of light direction, per input",
    "line_width_ks": "KS distance of line width, per input",
    "ink_ks": "KS distance of ink, per input",
    "paper_ks": "KS distance of paper, per input",
}


def seeds_table(names: list[str]) -> str:
    """Return mean and range over runs as a Markdown table with one row per metric and one column per direction.

    Args:
        names: results files, one for each seed.
    """
    runs = [read_results(name) for name in names]
    directions = list(runs[0])
    rows = []
    for metric, label in _LABELS.items():
        cells = []
        for direction in directions:
            values = [run[direction][metric] for run in runs if metric in run[direction]]
            mean = sum(values) / max(1, len(values))
            extremes = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{mean:.3f}{extremes}" if values else "")
        rows.append([label, *cells])
    return markdown_table([f"{len(runs)} seed{'s' * (len(runs) > 1)}", *directions], rows)


def photo_table(name: str) -> str:
    """Return the metrics of edges to photos with their 95 % intervals."""
    (numbers,) = read_results(name).values()
    rows = [
        (metric.replace("_", " "), f"{value:.3f} ± {numbers[f'{metric}_interval']:.3f}")
        for metric, value in numbers.items()
        if f"{metric}_interval" in numbers
    ]
    return markdown_table(("metric", "value"), rows)


def checkpoints_table() -> str:
    """Return every published model with its results in both directions; the cards hold the complete commands."""
    rows = []
    for path in sorted(CHECKPOINTS_DIR.glob("*.safetensors")):
        _, header = read_tensors(path)
        if "config" not in header:  # an attribute predictor
            continue
        directions = with_current_metric_names(header["note"]["results"]["numbers"]).values()
        measured = (
            " / ".join(f"{numbers[metric]:.3f}" for numbers in directions if metric in numbers)
            for metric in ("class_accuracy", "diversity_ratio")
        )
        options = train_command(from_dict(header["config"])).removeprefix("munit-lite train ")
        options = textwrap.shorten(options, 80, placeholder=" …", break_on_hyphens=False)
        link = f"[`{path.stem}`](data/checkpoints/{path.stem}.md)"
        rows.append((link, f"{header['step']:,}", f"`{options}`", *measured))
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
        styles = model.sample_style(3, torch.Generator().manual_seed(3))
        rows.append((name, images))
        for style in styles:
            rows.append(("→ translated", model.translate(images, source, 3 - source, style=style[None])))
    return figures.image_rows(rows, alt="Sketches translated into paintings in three styles, and back.").data


def main() -> None:
    """Write the README's picture, tables and curves again."""
    PICTURE.write_bytes(translations())
    CURVES.write_bytes(convergence_figure())
    README.write_text(update(README.read_text()))


if __name__ == "__main__":
    main()
