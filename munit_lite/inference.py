"""Translations of image files: what `munit-lite translate` reads, makes and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.utils import make_grid, save_image
from tqdm.auto import tqdm

from munit_lite.data.image_files import DataError, is_image, read_image, to_unit
from munit_lite.model import MUNIT
from munit_lite.world import check_domain

SHEET = "sheet.png"
SHEET_INPUTS, SHEET_STYLES, SHEET_CELL = 16, 8, 256  # rows and columns at most; pixels of a cell's side at most


def image_files(source: Path) -> list[Path]:
    """An image itself, or a folder's own images in the order of their names.

    Hidden files, files that are no images, and folders inside the folder are not looked at.

    Raises:
        DataError: nothing there, or no image in the folder.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"there is no file or folder {source}")
    files = sorted(filter(is_image, source.iterdir()))
    if not files:
        raise DataError(
            f"{source} is neither an image nor a folder with images that PIL reads; folders inside it are not looked at"
        )
    return files


def read_squares(files: Sequence[Path], size: int) -> Tensor:
    """Images with the shorter side resized to `size`, and the center cut out: (N, 3, size, size) uint8.

    Raises:
        DataError: one cannot be read; names it.
    """
    progress = tqdm(files, desc="reading", unit="image", delay=1, mininterval=1)
    return torch.stack([TF.center_crop(read_image(file, size), [size, size]) for file in progress])


def check_size(model: MUNIT, size: int) -> None:
    """Whether the model can translate images of this side.

    Raises:
        ValueError: it is not divisible by the content encoder's step, or too small for an encoder.
    """
    network = model.config.network
    step = 2**network.downsamples
    smallest = max(2 * step, 2**network.style_downsamples)  # a content of one pixel cannot be padded by reflection
    if size < smallest:
        raise ValueError(f"size {size} is below {smallest}, the smallest that this model's encoders take")
    if size % step:
        below = size // step * step
        raise ValueError(f"size {size} is not divisible by {step}, as this model needs; use {below} or {below + step}")


def translate_files(
    model: MUNIT,
    images: Path,
    out: Path,
    *,
    source: int = 1,
    styles: int = 4,
    style_from: Path | None = None,
    fresh_styles: bool = False,
    size: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Translate every image in every style; write one PNG for each, and a sheet of them all.

    Everything that can be refused is refused before a file is written.

    Args:
        model: on the device that shall do it.
        images: an image or a folder of images of the source domain.
        out: folder to write into, made if missing: <image>_style<k>.png with k from 1, or <image>_like_<example>.png,
            and the sheet.
        source: domain of the images, 1 or 2.
        styles: how many are drawn from the prior.
        style_from: an image or a folder of images of the other domain, each a style, instead of drawn ones.
        fresh_styles: draw other styles for every image instead of the same ones for all.
        size: side in pixels that the images are resized and cropped to; by default the model's own.
        seed: of the drawn styles.
        batch_size: translations made at once.
        overwrite: replace files that are there.

    Returns:
        What was written: `images` with input, style and output of each, `sheet`, and the settings.

    Raises:
        DataError: an image is missing, unreadable or would be overwritten; a file cannot be written.
        ValueError: a number out of range.
    """
    side = model.config.data.size if size is None else size
    check_size(model, side)
    check_domain(source)
    for name, number in {"styles": styles, "batch_size": batch_size}.items():
        if number < 1:
            raise ValueError(f"{name} is {number}, but it must be 1 or more")
    if fresh_styles and style_from is not None:
        raise ValueError("fresh styles are drawn, but style_from names images to take the styles from: choose one")
    inputs = image_files(images)
    examples = image_files(style_from) if style_from is not None else []
    names = [f"like_{file.stem}" for file in examples] or [
        f"style{k:0{len(str(styles))}d}" for k in range(1, styles + 1)
    ]
    targets = [out / f"{file.stem}_{name}.png" for file in inputs for name in names]  # input by input
    _refuse_overwriting(targets, out, (images, style_from), overwrite)

    pictures = read_squares(inputs, side)
    guides = read_squares(examples, side) if examples else None
    codes = _codes(model, len(inputs), styles, guides, source, fresh_styles, seed, batch_size)
    try:
        out.mkdir(parents=True, exist_ok=True)
        rows: list[list[Tensor]] = [[_cell(picture)] for picture in pictures[:SHEET_INPUTS]]
        made = _translations(model, pictures, codes, source, batch_size)
        progress = tqdm(targets, desc="translating", unit="image", delay=1, mininterval=1)
        for number, (target, image) in enumerate(zip(progress, made, strict=True)):
            save_image(image.float() / 255, target)
            row, column = divmod(number, len(names))
            if row < SHEET_INPUTS and column < SHEET_STYLES:
                rows[row].append(_cell(image))
        if guides is not None:
            heads = [_cell(guide) for guide in guides[:SHEET_STYLES]]
            rows.insert(0, [torch.full_like(heads[0], 255), *heads])
        sheet = torch.stack([cell for row in rows for cell in row]).float() / 255
        save_image(make_grid(sheet, nrow=len(rows[0]), pad_value=1), out / SHEET)
    except OSError as error:
        raise DataError(f"cannot write into {out}: {error}; free some space or choose another folder") from error
    labels = [str(file) for file in examples] or names
    return {
        "images": [
            {"input": str(file), "style": label, "output": str(target)}
            for (file, label), target in zip(((f, s) for f in inputs for s in labels), targets, strict=True)
        ],
        "sheet": str(out / SHEET),
        "sheet_shows": {"inputs": min(len(inputs), SHEET_INPUTS), "styles": min(len(names), SHEET_STYLES)},
        "settings": {"source": source, "target": 3 - source, "size": side, "seed": seed, "fresh_styles": fresh_styles},
    }


def _refuse_overwriting(targets: list[Path], out: Path, read: tuple[Path | None, ...], overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, but a folder to write into is needed")
    for folder in read:
        if folder is not None and folder.is_dir() and folder.resolve() == out.resolve():
            raise DataError(f"{out} is also read from, and a second run would read what this one writes; use another")
    # Without regard to case, as the file systems of Windows and macOS have it.
    target, count = Counter(str(target).casefold() for target in targets).most_common(1)[0]
    if count > 1:
        twice = next(t for t in targets if str(t).casefold() == target)
        raise DataError(f"{count} translations would be written to {twice}: two images share a name; rename one")
    there = [target for target in (*targets, out / SHEET) if target.exists()]
    if there and not overwrite:
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise DataError(f"{there[0]} is already there{others}; use --overwrite or another folder")


@torch.inference_mode()
def _codes(
    model: MUNIT,
    inputs: int,
    styles: int,
    guides: Tensor | None,
    source: int,
    fresh: bool,
    seed: int,
    batch_size: int,
) -> Tensor:
    """The styles of every input: (inputs, K, style_dim)."""
    generator = torch.Generator().manual_seed(seed)
    if guides is not None:
        device = next(model.parameters()).device
        parts = [model.encode_style(to_unit(part.to(device)), 3 - source) for part in guides.split(batch_size)]
        codes = torch.cat(parts)[None]
    elif fresh:
        codes = model.sample_style(inputs * styles, generator).unflatten(0, (inputs, styles))
    else:
        codes = model.sample_style(styles, generator)[None]
    return codes.expand(inputs, -1, -1)


@torch.inference_mode()
def _translations(model: MUNIT, pictures: Tensor, codes: Tensor, source: int, batch_size: int) -> Iterator[Tensor]:
    """Every input in every one of its styles, input by input: (3, H, W) uint8 each. Contents are encoded once."""
    device = next(model.parameters()).device
    count = codes.shape[1]
    for inputs in torch.arange(len(pictures)).split(max(1, batch_size // count)):
        content = model.encode_content(to_unit(pictures[inputs].to(device)), source)  # (b, C, h, w)
        style = codes[inputs].flatten(0, 1)  # (b * count, style_dim)
        for pairs in torch.arange(len(style)).split(batch_size):
            images = model.decode(content[pairs // count], style[pairs], 3 - source)
            yield from ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu()


def _cell(image: Tensor) -> Tensor:
    side = min(image.shape[-1], SHEET_CELL)
    return TF.resize(image, [side, side], antialias=True) if side < image.shape[-1] else image
