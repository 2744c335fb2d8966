"""Draw the pictures that stand above the first code cell of a notebook, from the shipped models.

python -m tools.title_pictures
"""

from __future__ import annotations

import torch

from munit_lite.course import figures
from munit_lite.paths import RESULTS_DIR
from munit_lite.storage.checkpoints import load
from munit_lite.world import SKETCH, World

ONE_SKETCH = RESULTS_DIR / "one_sketch_many_paintings.png"


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


def main() -> None:
    """Write the pictures again."""
    ONE_SKETCH.write_bytes(one_sketch_many_paintings())


if __name__ == "__main__":
    main()
