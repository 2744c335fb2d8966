"""Draw the pictures that stand above the first code cell of a notebook, from the shipped models.

python -m tools.title_pictures
"""

from __future__ import annotations

import torch

from munit_lite.course import figures
from munit_lite.methods import build
from munit_lite.paths import RESULTS_DIR
from munit_lite.storage.checkpoints import load
from munit_lite.world import SHAPE_NAMES, SKETCH, World

ONE_SKETCH = RESULTS_DIR / "one_sketch_many_paintings.png"
TRAINING_PROGRESS = RESULTS_DIR / "training_progress.png"


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
def training_progress() -> bytes:
    """Return notebook 09's picture as a PNG: six held-out sketches and their paintings at five stages of one run."""
    stages = {f"{step:,} steps": load(f"world32_step_{step}") for step in (1000, 2000, 4000)}
    final, world = load("world32"), World()
    stages = {"untrained": build(final.config).eval(), **stages, "8,000 steps": final}
    classes = world.content(torch.arange(100), seed=0, domain=SKETCH, stream="test").shape_class
    index = torch.stack([(classes == k).nonzero()[0, 0] for k in range(len(SHAPE_NAMES))])
    sketches = world.images(index, seed=0, domain=SKETCH, size=32, stream="test")
    styles = final.sample_style(len(index), torch.Generator().manual_seed(2))
    rows = [("sketch", sketches)]
    rows += [(name, model.translate(sketches, source=1, target=2, style=styles)) for name, model in stages.items()]
    picture = figures.image_rows(
        rows,
        alt="Six sketches, and below each the painting that the model generates from it before training and after "
        "1,000, 2,000, 4,000 and 8,000 steps. Colored noise becomes blurred and then sharp paintings; the ring has a "
        "hole from 2,000 steps on.",
        title="After 1,000 steps the paintings look real, but the ring has no hole yet",
        columns=SHAPE_NAMES,
    )
    return picture.data


def main() -> None:
    """Write the pictures again."""
    ONE_SKETCH.write_bytes(one_sketch_many_paintings())
    TRAINING_PROGRESS.write_bytes(training_progress())


if __name__ == "__main__":
    main()
