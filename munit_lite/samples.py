"""Sample sheets: what a model generates from held-out images, as rows of images and as one labeled image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from munit_lite.config import Config, DataConfig
from munit_lite.data.base import ImageData
from munit_lite.data.image_files import float_to_uint8
from munit_lite.methods import WITHOUT_STYLE, WITHOUT_STYLE_ENCODER
from munit_lite.model import MUNIT
from munit_lite.storage.checkpoints import load
from munit_lite.storage.files import CheckpointError
from munit_lite.world import DIRECTIONS

Rows = Sequence[tuple[str, Tensor]]  # label and images (N, 3, H, W) in [-1, 1]

SHEET_CELL = 64  # smaller images are enlarged to at least this many pixels, by a whole number
SHEET_GAP = 2  # pixels between two images

# Shipped checkpoints that show what to expect of a run on the same data, by their step; the last one ends its run.
REFERENCES = {
    "world at 32 px": {
        1000: "world32_step_1000",
        2000: "world32_step_2000",
        4000: "world32_step_4000",
        8000: "world32",
    },
    "world at 64 px": {4000: "world64s"},
    "fashion at 32 px": {1600: "fashion32"},
    "apples2citrus at 64 px": {2500: "apples2citrus"},
}


@torch.no_grad()
def sample_rows(
    model: MUNIT, data: ImageData, source: int, columns: int = 8, styles: int = 4, seed: int = 0
) -> list[tuple[str, Tensor]]:
    """Generate the rows of a sample sheet for one direction of translation.

    The rows are the inputs, their reconstructions, their translations with `styles` sampled styles (one style per row),
    images of the target domain as examples, and the translations guided by the example in the same column. Methods that
    encode no style have no examples; UNIT and CycleGAN, which translate each input into one output, have one row of
    translations.

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
    rows = [("input", inputs), ("reconstruction", model.reconstruct(inputs, source))]
    method = model.config.method
    if method in WITHOUT_STYLE:
        return [*rows, ("translation", model.translate(inputs, source, target))]
    sampled_styles = model.sample_style(styles, torch.Generator().manual_seed(seed))
    for k, style in enumerate(sampled_styles.split(1), 1):
        rows.append((f"sampled style {k}", model.translate(inputs, source, target, style=style)))
    if method in WITHOUT_STYLE_ENCODER:
        return rows
    rows.append(("example", examples))
    rows.append(("example-guided", model.translate(inputs, source, target, style_from=examples)))
    return rows


def sample_sheet(model: MUNIT, data: ImageData, columns: int = 8, step: int | None = None) -> Tensor:
    """Draw the sample rows of both directions as one image with labels.

    Where a model that comes with the repository was trained on the same data, its translations of the same inputs
    stand below those of each direction, for comparison. Of several checkpoints, the one nearest in steps is shown.

    Args:
        model: translates the images.
        data: its held-out images are the inputs and examples.
        columns: how many inputs of each domain.
        step: how many steps the model was trained, for the title and for the choice of the shipped checkpoint.

    Returns:
        (3, H, W) uint8. Images of less than 64 px are enlarged by a whole number; the labels grow with larger images.

    Example:
        >>> from munit_lite.data import open_data
        >>> model = load("world32")
        >>> sample_sheet(model, open_data(model.config), columns=2, step=8000).dtype
        torch.uint8
    """
    config = model.config
    sections: list[tuple[str, Rows]] = []
    for source in (1, 2):
        rows = [(_sheet_label(label, config), images) for label, images in sample_rows(model, data, source, columns)]
        sections.append((_direction(config.data, source), rows))
        sections += _reference_section(config.data, rows[0][1], source, step)
    trained = "" if step is None else f", after {step:,} steps"
    return _draw_sheet(f"{config.preset}{trained}", sections)


def _sheet_label(label: str, config: Config) -> str:
    """Explain a row to readers who know only the sheet."""
    if label.startswith("sampled style") or label == "example-guided":
        return f"translation,\n{label}"
    if label == "example":
        return "example\nof the style"
    return f"{label}\n(round trip)" if label == "reconstruction" and config.method.startswith("cyclegan") else label


def _direction(data: DataConfig, source: int) -> str:
    """Name a direction of translation by the two domains."""
    if data.dataset == "world":
        return DIRECTIONS[source, 3 - source]
    domains = {1: "domain 1", 2: "domain 2"}
    if data.dataset == "fashion":
        domains = {1: "edges", 2: "photos"}
    else:
        folders = (data.folder_1, data.folder_2) if data.folder_1 else ("A", "B")
        for domain, folder in zip((1, 2), folders[::-1] if data.swap else folders, strict=True):
            if Path(folder).name.isascii():  # the built-in font has no other letters
                domains[domain] += f" ({Path(folder).name})"
    return f"{domains[source]} to {domains[3 - source]}"


@torch.no_grad()
def _reference_section(data: DataConfig, inputs: Tensor, source: int, step: int | None) -> list[tuple[str, Rows]]:
    """Translate inputs by the shipped checkpoint of the same data that is nearest in steps.

    Args:
        data: of the run.
        inputs: (N, 3, H, W) in [-1, 1].
        source: domain of the inputs, 1 or 2.
        step: of the run; None for the last checkpoint.

    Returns:
        a heading with its rows, or nothing if no checkpoint of the same data is shipped or installed.
    """
    kind, default = Path(data.folder).name if data.dataset == "folder" else data.dataset, DataConfig()
    checkpoints = REFERENCES.get(f"{kind} at {data.image_size} px", {})
    usual = (data.world_variant, data.fashion_classes, data.swap)
    if not checkpoints or usual != (default.world_variant, default.fashion_classes, default.swap):
        return []
    last = max(checkpoints)
    nearest = min(checkpoints, key=lambda its_step: abs(its_step - (last if step is None else step)))
    try:
        reference = _load_reference(checkpoints[nearest], inputs.device)
    except CheckpointError:  # as in an installation without a clone of the repository
        return []
    styles = reference.sample_style(2, torch.Generator().manual_seed(0)).split(1)
    rows = [
        (f"translation,\nsampled style {k}", reference.translate(inputs, source, 3 - source, style=style))
        for k, style in enumerate(styles, 1)
    ]
    heading = f"for comparison: shipped model {checkpoints[last]}, after {nearest:,} of {last:,} steps"
    return [(heading, rows)]


@lru_cache(maxsize=1)
def _load_reference(name: str, device: torch.device) -> MUNIT:
    return load(name).to(device)


def _draw_sheet(title: str, sections: Sequence[tuple[str, Rows]]) -> Tensor:
    """Draw a title, and below it each section: its heading, and its rows with a label to the left of each.

    Args:
        title: of the sheet.
        sections: heading and rows, all with images of one size.

    Returns:
        (3, H, W) uint8.
    """
    _, first_rows = sections[0]
    columns, _, _, side = first_rows[0][1].shape
    enlargement = -(-SHEET_CELL // side)
    cell, pitch = side * enlargement, side * enlargement + SHEET_GAP
    text_size = max(13, cell // 12)
    font, heading_font = (ImageFont.load_default(size) for size in (text_size, text_size * 5 // 4))
    margin, line = text_size // 2, text_size * 2
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    labels = [label for _, rows in sections for label, _ in rows]
    headings = [title, *(heading for heading, _ in sections)]
    left = 2 * margin + int(max(ruler.textbbox((0, 0), label, font=font)[2] for label in labels))
    width = max(left + columns * pitch, margin + int(max(ruler.textlength(text, heading_font) for text in headings)))
    height = line + sum(2 * line + len(rows) * pitch + margin for _, rows in sections)
    sheet = Image.new("RGB", (width + margin, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, line // 2), title, "black", heading_font, "lm")
    top = line
    for heading, rows in sections:
        draw.text((margin, top + line // 2), heading, "black", heading_font, "lm")
        for column in range(columns):
            middle = left + column * pitch + cell // 2
            draw.text((middle, top + line * 3 // 2), f"input {column + 1}", "black", font, "mm")
        top += 2 * line
        for label, images in rows:
            draw.text((left - margin, top + cell // 2), label, "black", font, "rm", align="right")
            for column, pixels in enumerate(float_to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()):
                enlarged = pixels.repeat(enlargement, 0).repeat(enlargement, 1)
                sheet.paste(Image.fromarray(enlarged), (left + column * pitch, top))
            top += pitch
        top += margin
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1)
