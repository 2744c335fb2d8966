"""Sample sheets: what a model generates from held-out images, as rows of images and as one image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.utils import make_grid

from munit_lite.data.base import ImageData
from munit_lite.data.image_files import float_to_uint8
from munit_lite.model import MUNIT


@torch.no_grad()
def sample_rows(
    model: MUNIT, data: ImageData, source: int, columns: int = 8, styles: int = 4, seed: int = 0
) -> list[tuple[str, Tensor]]:
    """Generate the rows of a sample sheet for one direction of translation.

    The rows are the inputs, their reconstructions, their translations with `styles` sampled styles (one style per row),
    images of the target domain as examples, and the translations guided by the example in the same column.

    Args:
        model: translates the images.
        data: its held-out images are the inputs and examples.
        source: domain of the inputs, 1 or 2.
        columns: how many inputs.
        styles: how many styles to sample.
        seed: of the sampled styles.

    Returns:
        for each row its label and its images, (columns, 3, H, W) in [-1, 1].

    Example:
        >>> from munit_lite.data import open_data
        >>> from munit_lite.storage.checkpoints import load
        >>> model = load("world32")
        >>> rows = sample_rows(model, open_data(model.config), source=1, columns=2, styles=1)
        >>> [label for label, _ in rows]
        ['input', 'reconstruction', 'sampled style 1', 'example', 'example-guided']
    """
    device = next(model.parameters()).device
    held_out = data.test(columns)
    # A held-out pair would make an example-guided translation trivial, so the examples are shifted by one.
    images = {1: held_out.images_1.to(device), 2: held_out.images_2.to(device).roll(1, dims=0)}
    inputs, examples, target = images[source], images[3 - source], 3 - source
    sampled_styles = model.sample_style(styles, torch.Generator().manual_seed(seed))
    rows = [("input", inputs), ("reconstruction", model.reconstruct(inputs, source))]
    for k, style in enumerate(sampled_styles.split(1), 1):
        rows.append((f"sampled style {k}", model.translate(inputs, source, target, style=style)))
    rows.append(("example", examples))
    rows.append(("example-guided", model.translate(inputs, source, target, style_from=examples)))
    return rows


def sample_sheet(model: MUNIT, data: ImageData, columns: int = 8) -> Tensor:
    """Arrange the sample rows of both directions in one image.

    Args:
        model: translates the images.
        data: its held-out images are the inputs and examples.
        columns: how many inputs of each domain.

    Returns:
        (3, H, W) uint8.
    """
    rows = [row for source in (1, 2) for _, row in sample_rows(model, data, source, columns)]
    return make_grid(float_to_uint8(torch.cat(rows)).cpu(), nrow=len(rows[0]))
