"""Draw the pictures above the first code cell of a notebook, from the shipped models and the run of notebook 09.

python -m tools.title_pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from munit_lite.course import figures
from munit_lite.methods import build
from munit_lite.paths import RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.checkpoints import load
from munit_lite.world import SHAPE_NAMES, SKETCH, World

ONE_SKETCH = RESULTS_DIR / "one_sketch_many_paintings.png"
TRAINING_PROGRESS = RESULTS_DIR / "training_progress.png"
TRAINING_RUN = Path(__file__).parents[1] / "runs" / "laboratory_seed0"


@torch.no_grad()
def one_sketch_many_paintings() -> bytes:
    """Return notebook 00's picture as a PNG: a held-out sketch of a star, and ten paintings of it by `world64s`."""
    model, world = load("world64s"), World()
    index = torch.arange(50)
    star = index[world.content(index, seed=0, domain=SKETCH, stream="test").shape_class == 5][:1]
    sketch = world.images(star, seed=0, domain=SKETCH, size=model.config.data.image_size, stream="test")
    styles = model.sample_style(10, torch.Generator().manual_seed(5))
    paintings = model.translate(sketch.expand(10, -1, -1, -1), source=1, target=2, style=styles)
    picture = figures.one_to_many(
        sketch,
        paintings,
        alt="A sketch of a star beside ten paintings of it, in different colors.",
        title="One sketch becomes ten different paintings of the same star",
        labels=("sketch (given)", "paintings (generated from ten sampled styles)"),
    )
    return picture.data


@torch.no_grad()
def training_progress(run: Path = TRAINING_RUN) -> bytes:
    """Return notebook 09's picture as a PNG: seven held-out sketches and their paintings at four stages of its run.

    Args:
        run: the folder of the run, which notebook 09 trains.
    """
    config = preset("laboratory", device="cpu")
    weights = {step: run / "weights" / f"step_{step:08d}.safetensors" for step in (500, 1000, 2500)}
    stages = {"untrained": build(config).eval()} | {f"step {step:,}": load(file) for step, file in weights.items()}
    world, size = World(config.data.world_variant), config.data.image_size
    classes = world.content(torch.arange(100), seed=0, domain=SKETCH, stream="test").shape_class
    # The first sketch of each class, and the second of those that are hardest at 16 px.
    shown = [(0, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 0), (5, 1)]
    index = torch.stack([(classes == shape).nonzero()[k, 0] for shape, k in shown])
    sketches = world.images(index, seed=0, domain=SKETCH, size=size, stream="test")
    styles = stages["untrained"].sample_style(len(index), torch.Generator().manual_seed(17))
    rows = [("sketch", sketches)]
    rows += [(name, model.translate(sketches, source=1, target=2, style=styles)) for name, model in stages.items()]
    picture = figures.image_rows(
        rows,
        alt="Seven sketches, and below each the painting that the model generates from it before training and after "
        "500, 1,000 and 2,500 steps. Noise becomes a colored blob on a colored background, which then takes the shape "
        "of the sketch.",
        title="At step 500 the colors look right, but the small star is still a blob",
        columns=[SHAPE_NAMES[shape] for shape, _ in shown],
    )
    return picture.data


def main() -> None:
    """Write the pictures again."""
    ONE_SKETCH.write_bytes(one_sketch_many_paintings())
    if not TRAINING_RUN.exists():
        sys.exit(f"{TRAINING_RUN} is missing: execute notebooks/09_training.ipynb, then run this again")
    TRAINING_PROGRESS.write_bytes(training_progress())


if __name__ == "__main__":
    main()
