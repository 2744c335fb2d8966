"""Translation of image files: what `munit-lite translate` reads, generates and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.utils import make_grid
from tqdm.auto import tqdm

from munit_lite.config import NetworkConfig, check_domain, smallest_size
from munit_lite.data.folders import Cache
from munit_lite.data.image_files import (
    DataError,
    float_to_uint8,
    list_images,
    read_image,
    read_pixels,
    uint8_to_float,
    write_png,
)
from munit_lite.data.image_statistics import image_statistics
from munit_lite.model import MUNIT
from munit_lite.translation_warnings import warn_of_equal_outputs, warn_of_images, warn_of_size

SHEET = "sheet.png"
SHEET_INPUTS, SHEET_STYLES = 16, 8  # at most this many rows and columns
SHEET_CELL = 256  # at most this many pixels on the longer side of a cell
# Of one image, and of all images of a batch. A translation takes about 0.6 KB of memory for each pixel with the
# networks of the shipped models, and 2.1 KB with those of the paper: 1.3 and 4.5 GB.
MAX_PIXELS = 2**21

Size: TypeAlias = int | Literal["native"] | None
Crop: TypeAlias = Literal["none", "square"]


def translate_files(
    model: MUNIT,
    images: Path,
    out: Path,
    *,
    source: int = 1,
    styles: int = 4,
    style_from: Path | None = None,
    fresh_styles: bool = False,
    size: Size = None,
    crop: Crop = "none",
    seed: int = 0,
    batch_size: int = 16,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Translate every image in every style, and write a PNG file for each and a sheet that shows them together.

    All arguments and files are checked before anything is written. The files are <image>_style<k>.png, where k counts
    from 1, or <image>_like_<example>.png; the sheet is sheet.png. An output has the aspect ratio of its input: the
    networks see the image with its edges mirrored up to the next size that they can halve, and the margin is cut off.

    Args:
        model: translates on the device that it is on.
        images: an image of the source domain, or a folder of such images.
        out: the folder to write to, created if it does not exist.
        source: domain of the images, 1 or 2.
        styles: how many styles to sample from the prior.
        style_from: take the styles from an image of the other domain, or from a folder of them, instead of sampling.
            Examples are always resized to the side of the training images.
        fresh_styles: sample new styles for every image, instead of the same ones for all.
        size: to which the shorter side of each image is resized, in pixels; by default that of the training images.
            "native" keeps each image's own size.
        crop: "square" cuts inputs and examples to their center squares; "none" keeps the whole frame.
        seed: of the sampled styles.
        batch_size: how many translations to compute at once.
        overwrite: replace existing files.

    Returns:
        what was written: `images` (with input, style and output of each), `sheet`, `sheet_shows` (how many inputs and
        styles are on the sheet), `warnings` (sentences about images unlike the training images, about sizes other than
        the trained one, and about styles that change nothing) and `settings`.

    Raises:
        DataError: an image is missing, cannot be read or is too large, or a file exists already.
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
    trained, least = model.config.data.image_size, smallest_size(model.config.network)
    side = trained if size is None else None if size == "native" else size
    if side is not None and side < least:
        raise ValueError(f"size is {side}, but the smallest side that this model accepts is {least}")
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

    # Every image is read once before the first file is written, and kept in memory if there is room.
    square, cache = crop == "square", Cache(gibibytes=1)

    def read(file: Path) -> Tensor:
        pixels = cache.get(file, partial(read_pixels, file, side, square=square, max_pixels=MAX_PIXELS))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    shapes, values = [], []
    for file in tqdm(input_files, desc="reading", unit="image", delay=1, mininterval=1):
        shapes.append(tuple(read(file).shape[1:]))
        # Enlarging or shrinking an image twice would blur it, so statistics are those of the image at the trained size.
        image = read(file) if side == trained else read_image(file, trained, square)
        values.append(image_statistics(image[None], trained))
    warnings = warn_of_size([min(shape) for shape in shapes], trained)
    warnings += warn_of_images(model, input_files, torch.cat(values), source, examples=False)
    examples = [read_image(file, trained, square) for file in example_files]
    if examples:
        style = _encode_styles(model, examples, 3 - source).expand(len(input_files), -1, -1)
        values = [image_statistics(example[None], trained) for example in examples]
        warnings += warn_of_images(model, example_files, torch.cat(values), 3 - source, examples=True)
    else:
        style = _sample_styles(model, len(input_files), styles, fresh_styles, seed)

    rows = [[_sheet_cell(read(file))] for file in input_files[:SHEET_INPUTS]]
    spreads: list[float] = []
    total, squares = torch.zeros(()), 0.0  # of an input's outputs: the sum of each pixel, and that of all squares
    outputs = _translate(model, [partial(read, file) for file in input_files], shapes, style, source, batch_size)
    progress = tqdm(outputs, desc="translating", unit="image", delay=1, mininterval=1, total=len(output_files))
    for row, column, output in progress:
        write_png(output_files[row * len(style_names) + column], output)
        if row < SHEET_INPUTS and column < SHEET_STYLES:
            rows[row].append(_sheet_cell(output))
        total = output.double() + (total if column else 0)
        squares = output.double().square().sum().item() + (squares if column else 0)
        if column == len(style_names) - 1:
            variance = (squares - total.square().sum().item() / len(style_names)) / max(1, len(style_names) - 1)
            spreads.append((max(0.0, variance) / total.numel()) ** 0.5)
    warnings += warn_of_equal_outputs(model, len(style_names), bool(examples), spreads)
    if examples:
        header = [_sheet_cell(example) for example in examples[:SHEET_STYLES]]
        rows.insert(0, [torch.full_like(header[0], 255), *header])
    write_png(out / SHEET, _sheet(rows))
    labels = [str(file) for file in example_files] or style_names
    pairs = [(file, label) for file in input_files for label in labels]
    return {
        "images": [
            {"input": str(file), "style": label, "output": str(output_file)}
            for (file, label), output_file in zip(pairs, output_files, strict=True)
        ],
        "sheet": str(out / SHEET),
        "sheet_shows": {"inputs": min(len(input_files), SHEET_INPUTS), "styles": min(len(style_names), SHEET_STYLES)},
        "warnings": warnings,
        "settings": {
            **{"source": source, "target": 3 - source, "size": side or "native", "trained_size": trained},
            **{"crop": crop, "seed": seed, "fresh_styles": fresh_styles},
        },
    }


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
def _encode_styles(model: MUNIT, examples: Sequence[Tensor], domain: int) -> Tensor:
    """Encode the styles of examples: (3, h, w) uint8 of any shapes to (N, style_dim)."""
    device = next(model.parameters()).device
    padded = (_pad(example[None], model.config.network)[0].to(device) for example in examples)
    return torch.cat([model.encode_style(uint8_to_float(example), domain) for example in padded])


def _sample_styles(model: MUNIT, inputs: int, styles: int, fresh: bool, seed: int) -> Tensor:
    """Sample the styles of every input, (inputs, styles, style_dim): the same ones for all, or fresh ones for each."""
    generator = torch.Generator().manual_seed(seed)
    if fresh:
        return model.sample_style(inputs * styles, generator).unflatten(0, (inputs, styles))
    return model.sample_style(styles, generator).expand(inputs, -1, -1)


@torch.inference_mode()
def _translate(
    model: MUNIT,
    inputs: Sequence[Callable[[], Tensor]],
    shapes: Sequence[tuple[int, ...]],
    style: Tensor,
    source: int,
    batch_size: int,
) -> Iterator[tuple[int, int, Tensor]]:
    """Translate every input in each of its styles; images of equal shapes share batches.

    Args:
        model: translates the images.
        inputs: functions that read the N images, (3, h, w) uint8.
        shapes: height and width of each image.
        style: (N, K, style_dim).
        source: domain of the inputs.
        batch_size: how many translations to compute at once; fewer if they have more than MAX_PIXELS together.

    Yields:
        number of the input, number of the style, and the translation, (3, h, w) uint8; all styles of an input in turn.
    """
    device = next(model.parameters()).device
    per_input = style.shape[1]
    for shape in dict.fromkeys(shapes):
        rows = torch.tensor([k for k, other in enumerate(shapes) if other == shape])
        at_once = max(1, min(batch_size, MAX_PIXELS // (shape[0] * shape[1])))
        for part in rows.split(max(1, at_once // per_input)):
            stacked = torch.stack([inputs[k]() for k in part.tolist()])
            padded, top, left = _pad(stacked, model.config.network)
            images = uint8_to_float(padded.to(device))
            content = model.encode_content(images, source)  # (b, C, h, w), encoded once for all styles
            flat_style = style[part].flatten(0, 1)  # (b * K, style_dim)
            for pairs in torch.arange(len(flat_style)).split(at_once):
                if model.config.method == "cyclegan_input_noise":  # its style enters before the content is encoded
                    outputs = model.translate(images[pairs // per_input], source, 3 - source, flat_style[pairs])
                else:
                    outputs = model.decode(content[pairs // per_input], flat_style[pairs], 3 - source)
                outputs = float_to_uint8(outputs[..., top : top + shape[0], left : left + shape[1]]).cpu()
                for pair, output in zip(pairs.tolist(), outputs, strict=True):
                    yield int(part[pair // per_input]), pair % per_input, output


def _pad(images: Tensor, network: NetworkConfig) -> tuple[Tensor, int, int]:
    """Mirror the edges of images until the encoders can halve both sides.

    Args:
        images: (N, 3, h, w) uint8.
        network: sizes of the encoders.

    Returns:
        the padded images, and how many rows and columns of the margin are above and to the left.
    """
    step, least = 2**network.num_downsamples, smallest_size(network)
    margins = []
    for length in images.shape[2:]:
        extra = max(least, -(-length // step) * step) - length
        margins.append((extra // 2, extra - extra // 2))
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), *margins), mode="reflect")
    return torch.from_numpy(padded), margins[0][0], margins[1][0]


def _sheet_cell(image: Tensor) -> Tensor:
    """Shrink an image whose longer side does not fit into a cell."""
    scale = SHEET_CELL / max(image.shape[1:])
    shape = [max(1, round(length * scale)) for length in image.shape[1:]]
    return TF.resize(image, shape, antialias=True) if scale < 1 else image


def _sheet(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Arrange images in rows, each in the middle of a white cell that is large enough for all."""
    images = [image for row in rows for image in row]
    height, width = (max(image.shape[dim] for image in images) for dim in (1, 2))
    cells = []
    for image in images:
        free_y, free_x = height - image.shape[1], width - image.shape[2]
        margins = [free_x // 2, free_y // 2, free_x - free_x // 2, free_y - free_y // 2]
        cells.append(TF.pad(image, margins, fill=255))
    return make_grid(torch.stack(cells), nrow=len(rows[0]), pad_value=255)
