"""Translation of image files: what `munit-lite translate` reads, generates and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.utils import make_grid
from tqdm.auto import tqdm

from munit_lite.config import check_domain, check_size
from munit_lite.data.image_files import DataError, float_to_uint8, list_images, read_image, uint8_to_float, write_png
from munit_lite.model import MUNIT

SHEET = "sheet.png"
SHEET_INPUTS, SHEET_STYLES = 16, 8  # at most this many rows and columns
SHEET_CELL = 256  # at most this many pixels on the side of a cell


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
    """Translate every image in every style, and write a PNG file for each and a sheet that shows them together.

    All arguments and files are checked before anything is written. The files are <image>_style<k>.png, where k counts
    from 1, or <image>_like_<example>.png; the sheet is sheet.png.

    Args:
        model: translates on the device that it is on.
        images: an image of the source domain, or a folder of such images.
        out: the folder to write to, created if it does not exist.
        source: domain of the images, 1 or 2.
        styles: how many styles to sample from the prior.
        style_from: take the styles from an image of the other domain, or from a folder of them, instead of sampling.
        fresh_styles: sample new styles for every image, instead of the same ones for all.
        size: side in pixels to which the images are resized and cropped; by default the model's own.
        seed: of the sampled styles.
        batch_size: how many translations to compute at once.
        overwrite: replace existing files.

    Returns:
        what was written: `images` (with input, style and output of each), `sheet`, `sheet_shows` (how many inputs and
        styles are on the sheet) and `settings`.

    Raises:
        DataError: an image is missing or cannot be read, or a file exists already.
        StorageError: a file cannot be written.
        ValueError: a number is out of range, or fresh styles are requested together with examples.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> from munit_lite.storage.checkpoints import load
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("RGB", (32, 32), "white").save(Path(folder) / "sketch.png")
        ...     _ = translate_files(load("world32"), Path(folder) / "sketch.png", Path(folder) / "out", styles=2)
        ...     sorted(file.name for file in (Path(folder) / "out").iterdir())
        ['sheet.png', 'sketch_style1.png', 'sketch_style2.png']
    """
    side = model.config.data.image_size if size is None else size
    check_size(side, model.config.network)
    check_domain(source)
    for name, number in {"styles": styles, "batch_size": batch_size}.items():
        if number < 1:
            raise ValueError(f"{name} is {number}, but it must be 1 or more")
    if fresh_styles and style_from is not None:
        raise ValueError("fresh_styles samples styles, but style_from takes them from images: choose one of the two")
    input_files = _image_files(images)
    example_files = _image_files(style_from) if style_from is not None else []
    style_names = [f"like_{file.stem}" for file in example_files] or [
        f"style{k:0{len(str(styles))}d}" for k in range(1, styles + 1)
    ]
    output_files = [out / f"{file.stem}_{name}.png" for file in input_files for name in style_names]  # input by input
    _check_output_files(output_files, out, (images, style_from), overwrite)

    inputs = read_center_crops(input_files, side)
    examples = read_center_crops(example_files, side) if example_files else None
    if examples is not None:
        style = _encode_styles(model, examples, 3 - source, batch_size).expand(len(inputs), -1, -1)
    else:
        style = _sample_styles(model, len(inputs), styles, fresh_styles, seed)
    rows: list[list[Tensor]] = [[_sheet_cell(image)] for image in inputs[:SHEET_INPUTS]]
    outputs = _translate(model, inputs, style, source, batch_size)
    progress = tqdm(output_files, desc="translating", unit="image", delay=1, mininterval=1)
    for number, (file, output) in enumerate(zip(progress, outputs, strict=True)):
        write_png(file, output)
        row, column = divmod(number, len(style_names))
        if row < SHEET_INPUTS and column < SHEET_STYLES:
            rows[row].append(_sheet_cell(output))
    if examples is not None:
        header = [_sheet_cell(example) for example in examples[:SHEET_STYLES]]
        rows.insert(0, [torch.full_like(header[0], 255), *header])
    cells = torch.stack([cell for row in rows for cell in row])
    write_png(out / SHEET, make_grid(cells, nrow=len(rows[0]), pad_value=255))
    labels = [str(file) for file in example_files] or style_names
    pairs = [(file, label) for file in input_files for label in labels]
    return {
        "images": [
            {"input": str(file), "style": label, "output": str(output_file)}
            for (file, label), output_file in zip(pairs, output_files, strict=True)
        ],
        "sheet": str(out / SHEET),
        "sheet_shows": {"inputs": min(len(inputs), SHEET_INPUTS), "styles": min(len(style_names), SHEET_STYLES)},
        "settings": {"source": source, "target": 3 - source, "size": side, "seed": seed, "fresh_styles": fresh_styles},
    }


def read_center_crops(files: Sequence[Path], size: int) -> Tensor:
    """Read images, resize their shorter sides and crop the center squares.

    Args:
        files: the images.
        size: side of the squares in pixels.

    Returns:
        (N, 3, size, size) uint8.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    progress = tqdm(files, desc="reading", unit="image", delay=1, mininterval=1)
    return torch.stack([TF.center_crop(read_image(file, size), [size, size]) for file in progress])


def _image_files(path: Path) -> list[Path]:
    """Return an image itself, or the images in a folder without its subfolders."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"there is no file or folder {path}")
    return list_images(path, recursive=False)


def _check_output_files(
    output_files: list[Path], out: Path, input_paths: tuple[Path | None, ...], overwrite: bool
) -> None:
    """Raise a DataError if the files would replace others or each other, or if they would be read by the next call."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, but it must be a folder")
    for path in input_paths:
        if path is not None and path.is_dir() and path.resolve() == out.resolve():
            raise DataError(
                f"{out} contains the input images, so a second call would translate the output of the first; choose "
                "another folder"
            )
    # The file systems of Windows and macOS ignore case.
    name, count = Counter(str(file).casefold() for file in output_files).most_common(1)[0]
    if count > 1:
        duplicate = next(file for file in output_files if str(file).casefold() == name)
        raise DataError(f"{count} translations would be written to {duplicate}: two images share a name; rename one")
    existing = [file for file in (*output_files, out / SHEET) if file.exists()]
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise DataError(f"{existing[0]} already exists{more}; use --overwrite or another folder")


@torch.inference_mode()
def _encode_styles(model: MUNIT, examples: Tensor, domain: int, batch_size: int) -> Tensor:
    """Encode the styles of examples: (N, 3, H, W) uint8 to (N, style_dim)."""
    device = next(model.parameters()).device
    batches = examples.split(batch_size)
    return torch.cat([model.encode_style(uint8_to_float(batch.to(device)), domain) for batch in batches])


def _sample_styles(model: MUNIT, inputs: int, styles: int, fresh: bool, seed: int) -> Tensor:
    """Sample the styles of every input, (inputs, styles, style_dim): the same ones for all, or fresh ones for each."""
    generator = torch.Generator().manual_seed(seed)
    if fresh:
        return model.sample_style(inputs * styles, generator).unflatten(0, (inputs, styles))
    return model.sample_style(styles, generator).expand(inputs, -1, -1)


@torch.inference_mode()
def _translate(model: MUNIT, inputs: Tensor, style: Tensor, source: int, batch_size: int) -> Iterator[Tensor]:
    """Translate every input in each of its styles, encoding each content once.

    Args:
        model: translates the images.
        inputs: (N, 3, H, W) uint8.
        style: (N, K, style_dim).
        source: domain of the inputs.
        batch_size: how many translations to compute at once.

    Yields:
        (3, H, W) uint8, input by input.
    """
    device = next(model.parameters()).device
    per_input = style.shape[1]
    for rows in torch.arange(len(inputs)).split(max(1, batch_size // per_input)):
        content = model.encode_content(uint8_to_float(inputs[rows].to(device)), source)  # (b, C, h, w)
        flat_style = style[rows].flatten(0, 1)  # (b * K, style_dim)
        for pairs in torch.arange(len(flat_style)).split(batch_size):
            images = model.decode(content[pairs // per_input], flat_style[pairs], 3 - source)
            yield from float_to_uint8(images).cpu()


def _sheet_cell(image: Tensor) -> Tensor:
    side = min(image.shape[-1], SHEET_CELL)
    return TF.resize(image, [side, side], antialias=True) if side < image.shape[-1] else image
