"""The README's tables and picture, made from `data/results/` and the notebooks: no number in it is typed by hand.

`python -m tools.readme` rewrites the tables; with `--run FOLDER` also the picture.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import torch
import tyro

from munit_lite.config import from_dict
from munit_lite.course import figures
from munit_lite.course.explorers import timing as bench_explorers
from munit_lite.data.datasets import open_data
from munit_lite.experiments import benchmark as bench
from munit_lite.experiments.results import RESULTS, markdown_table, read_results
from munit_lite.experiments.shipping import train_command
from munit_lite.storage.checkpoints import SHIPPED, load
from munit_lite.storage.files import read_tensors
from tools import tracks

README = Path(__file__).parents[1] / "README.md"
PICTURE = RESULTS / "world32_translations.png"

_ROWS = {
    "class_accuracy": "judged class is right",
    "class_accuracy_shuffled_contents": "the same, contents shuffled (control)",
    "position_error": "position error, image widths",
    "fill_hue_ks": "KS distance of fill hue, per input",
    "ground_hue_ks": "KS distance of ground hue, per input",
    "light_ks": "KS distance of light, per input",
    "line_width_ks": "KS distance of line width, per input",
    "ink_ks": "KS distance of ink, per input",
    "paper_ks": "KS distance of paper, per input",
}


def seeds_table(names: list[str]) -> str:
    """Mean and range over the runs of several seeds, a row a measure, a column a direction."""
    runs = [read_results(name) for name in names]
    directions = list(runs[0])
    heads = [f"{len(runs)} seed{'s' * (len(runs) > 1)}", *directions]
    rows = []
    for key, label in _ROWS.items():
        cells = []
        for direction in directions:
            values = [run[direction][key] for run in runs if key in run[direction]]
            mean = sum(values) / max(1, len(values))
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{mean:.3f}{spread}" if values else "")
        rows.append([label, *cells])
    return markdown_table(heads, rows)


def photo_table(name: str) -> str:
    """The measures of edges to photos with their 95 % intervals."""
    (numbers,) = read_results(name).values()
    rows = [
        (key.replace("_", " "), f"{value:.3f} ± {numbers[f'{key}_interval']:.3f}")
        for key, value in numbers.items()
        if f"{key}_interval" in numbers
    ]
    return markdown_table(("measure", "value"), rows)


def shipped_table() -> str:
    """Every shipped model with what was measured on it, both directions; a long command is whole in the card only."""
    heads = ("model", "steps", "trained with", "judged class is right", "diversity, share of the true")
    rows = []
    for path in sorted(SHIPPED.glob("*.safetensors")):
        _, header = read_tensors(path)
        if "config" not in header:  # a judge
            continue
        directions = header["note"]["results"]["numbers"].values()
        found = (
            " / ".join(f"{numbers[key]:.3f}" for numbers in directions if key in numbers)
            for key in ("class_accuracy", "diversity_of_true")
        )
        options = train_command(from_dict(header["config"])).removeprefix("munit-lite train ")
        options = textwrap.shorten(options, 80, placeholder=" …", break_on_hyphens=False)
        rows.append(
            (f"[`{path.stem}`](data/checkpoints/{path.stem}.md)", f"{header['step']:,}", f"`{options}`", *found)
        )
    return markdown_table(heads, rows)


def blocks() -> dict[str, str]:
    """Every generated block of the README by its name."""
    return {
        "world32": seeds_table(sorted(file.stem for file in RESULTS.glob("world32_seed*.json"))),
        "fashion32": photo_table("fashion32"),
        "shipped": shipped_table(),
        "bench_cpu": bench.table(read_results("bench_cpu")),
        "bench_reference": bench.table(read_results("bench_reference")),
        "bench_split": bench.split_table(read_results("bench_reference")),
        "bench_explorers": bench_explorers.latency_table(read_results("bench_explorers")),
        "tracks": tracks.tracks_table(),
        "syllabus": tracks.syllabus_table(),
    }


def filled(text: str) -> str:
    """The README's text with every generated block made anew."""
    for name, block in blocks().items():
        begin, end = f"<!-- results:{name} -->", f"<!-- /results:{name} -->"
        text, count = re.subn(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, block=block, begin=begin, end=end: f"{begin}\n{block}\n{end}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"the README has {count} blocks named {name}, but one is needed")
    return text


@torch.no_grad()
def translations(run: Path, columns: int = 9) -> bytes:
    """The README's picture as PNG: inputs and three drawn styles, both directions."""
    model = load(run)
    held_out = open_data(model.config).test(columns)
    rows = []
    for source, images, name in ((1, held_out.images_1, "sketch"), (2, held_out.images_2, "painting")):
        styles = model.sample_style(3, torch.Generator().manual_seed(3))
        rows.append((name, images))
        for style in styles:
            rows.append(("→ translated", model.translate(images, source, 3 - source, style=style[None])))
    return figures.image_rows(rows, alt="Sketches translated into paintings in three styles, and back.").data


def main(run: Path | None = None) -> None:
    """Rewrite the README's tables from data/results.

    Args:
        run: Also draw the README's picture from this run folder.
    """
    if run is not None:
        PICTURE.write_bytes(translations(run))
    README.write_text(filled(README.read_text()))


if __name__ == "__main__":
    tyro.cli(main)
