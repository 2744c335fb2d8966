"""What explorers of a trained model share: the model, held-out images with their codes, judges, uploads, tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from IPython.display import Image
from torch import Tensor

import munit_lite as ml
from munit_lite.course.explorers.widget import TOLD, Choice, Control, Explorer, Picture, Slider, State, png
from munit_lite.data import open_data
from munit_lite.data.image_files import DataError, read_image, uint8_to_float
from munit_lite.evaluation.attribute_predictors import AttributePredictor, Attributes, load_attribute_predictor
from munit_lite.model import MUNIT
from munit_lite.world import DOMAIN_NAMES, SHAPE_NAMES, STYLE_FACTORS

SHOWN = 8  # held-out images of each domain
CELL = 64  # least side of a tile in pixels
NAMES = {
    "world": (DOMAIN_NAMES[1], DOMAIN_NAMES[2]),
    "fashion": ("drawing", "photo"),
    "folder": ("image A", "image B"),
}
GAP = 4  # between tiles
REACH = 3.0  # sliders of the style code go from -REACH to REACH
TICKS = np.linspace(-REACH, REACH, 61)
NORMAL = tuple(np.exp(-(TICKS**2) / 2).round(4).tolist())  # the prior's density, its peak 1


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: the explorers remember pictures of it
class Exhibit:
    """A trained model and held-out images of both domains, encoded once.

    Args:
        model: in evaluation mode.
        names: what the domains are called, of domain 1 and 2.
        images: (SHOWN, 3, H, W) in [-1, 1] of domain 1 and 2; unpaired to look at.
        contents: their content codes.
        judges: of domain 1 and 2; none where the truth is not known.
    """

    model: MUNIT
    names: tuple[str, str]
    images: tuple[Tensor, Tensor]
    contents: tuple[Tensor, Tensor]
    judges: tuple[AttributePredictor, ...]

    @property
    def style_dim(self) -> int:
        return self.model.config.network.style_dim

    @property
    def directions(self) -> tuple[str, str]:
        one, two = self.names
        return f"{one} to {two}", f"{two} to {one}"

    def source(self, direction: str) -> int:
        """The domain, 1 or 2, that a direction starts from."""
        return self.directions.index(direction) + 1

    def name(self, domain: int) -> str:
        return self.names[domain - 1]

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """As `MUNIT.decode`; one content or one style serves all rows of the other."""
        rows = max(len(content), len(style))
        return self.model.decode(content.expand(rows, -1, -1, -1), style.expand(rows, -1), domain)

    def drawn_style(self, number: int) -> Tensor:
        """Draw `number` from the prior, (1, style_dim): the same for the same number, within the sliders' range."""
        drawn = self.model.sample_style(1, torch.Generator().manual_seed(number))
        return (100 * drawn.clamp(-REACH, REACH)).round() / 100

    def judged(self, images: Tensor, domain: int) -> Attributes | None:
        """What the domain's judge reads, where there is one."""
        return self.judges[domain - 1](images) if self.judges else None

    def with_image(self, domain: int, number: int, image: Tensor) -> Exhibit:
        """The same with one image, (1, 3, H, W), in place of another."""
        one, two = (images.clone() for images in self.images)
        (one, two)[domain - 1][number] = image[0]
        return replace(self, images=(one, two), contents=_encoded(self.model, one, two))

    def uploaded(self, file: str, content: bytes, domain: int) -> Tensor:
        """An uploaded image of a domain, its center square: (1, 3, H, W) in [-1, 1].

        Raises:
            DataError: it cannot be read, or looks like one of the other domain.
        """
        name, size = Path(file).name or "upload", self.images[0].shape[-1]
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_bytes(content)
            try:
                image = uint8_to_float(TF.center_crop(read_image(path, size), [size, size]))[None]
            except DataError as error:
                raise DataError(str(error).replace(str(path), name)) from error
        gray = [_is_gray(images) for images in self.images]
        if gray[0] != gray[1] and _is_gray(image) != gray[domain - 1]:
            told = ("no colors", "has some") if _is_gray(image) else ("colors", "has none")
            raise DataError(
                f"{name} has {told[0]}, but a {self.name(domain)} {told[1]}: choose the other direction, or an image "
                f"that looks like a {self.name(domain)}"
            )
        return image


@torch.no_grad()
def _encoded(model: MUNIT, images_1: Tensor, images_2: Tensor) -> tuple[Tensor, Tensor]:
    return model.encode_content(images_1, 1), model.encode_content(images_2, 2)


def _is_gray(images: Tensor) -> bool:
    return bool((images.amax(1) - images.amin(1)).mean() < 0.05)


def open_exhibit(checkpoint: str | Path | MUNIT) -> Exhibit:
    """A model by name with the first held-out images of its own data.

    Args:
        checkpoint: what `munit_lite.load` takes, or a model.

    Raises:
        CheckpointError, DataError: there is no such model, or its data are not there.
    """
    model = (checkpoint if isinstance(checkpoint, MUNIT) else ml.load(checkpoint)).cpu().eval()
    data = model.config.data
    held_out = open_data(model.config).test(2 * SHOWN)
    images = (held_out.images_1[:SHOWN], held_out.images_2[-SHOWN:])
    judges = (load_attribute_predictor(1), load_attribute_predictor(2)) if data.dataset == "world" else ()
    return Exhibit(model, NAMES[data.dataset], images, _encoded(model, *images), judges)


class Idea(NamedTuple):
    """What an explorer of a trained model shows, as pure functions.

    Args:
        title: its name.
        render: (exhibit, **state) -> picture.
        describe: (exhibit, **state) -> one sentence and the rows of a table.
        controls: exhibit -> controls by name.
        strip: values of the stored picture that differ from the first ones.
        actions, uploads: key -> what the button or file chooser says.
    """

    title: str
    render: Callable[..., Picture]
    describe: Callable[..., tuple[str, list[list[str]]]]
    controls: Callable[[Exhibit], dict[str, Control]]
    strip: State = {}  # noqa: RUF012
    actions: Mapping[str, str] = {}
    uploads: Mapping[str, str] = {}


class ModelExplorer(Explorer):
    """The view of an `Idea`; without the model, the sentence that says what is missing."""

    idea: ClassVar[Idea]

    def __init__(self, checkpoint: str | Path | MUNIT = "world32", state: State | None = None) -> None:
        """
        Args:
            checkpoint: the name of a shipped model, a run folder, a weights file, or a model.
            state: values to begin with.
        """
        self.checkpoint = checkpoint
        try:
            self.exhibit = self.opened = open_exhibit(checkpoint)
        except TOLD as error:
            super().__init__(partial(refuse, error), {}, None, self.idea.title)
            return
        controls = self.idea.controls(self.exhibit)
        stored = {name: control.first for name, control in controls.items()} | self.idea.strip
        strip = Image(
            png(self._render(**stored)), format="png", alt=f"{self.idea.title}. {self._describe(**stored)[0]}"
        )
        super().__init__(self._render, controls, strip, self.idea.title, self._describe, state)
        self.actions, self.uploads = {**self.actions, **self.idea.actions}, dict(self.idea.uploads)

    def as_code(self, state: State) -> str:
        name = str(self.checkpoint) if isinstance(self.checkpoint, str | Path) else "model"
        return f"{type(self).__name__}({name if name == 'model' else repr(name)}, state={state})"

    def act(self, action: str) -> None:
        if action == "reset":
            self.exhibit = self.opened
            self._draw()  # also where only an upload differed
        super().act(action)

    def show(self, domain: int, number: int, file: str, content: bytes) -> None:
        """Put an uploaded image in the place of a held-out one."""
        self.exhibit = self.exhibit.with_image(domain, number, self.exhibit.uploaded(file, content, domain))
        self._draw()

    def _render(self, **state: Any) -> Picture:
        return self.idea.render(self.exhibit, **state)

    def _describe(self, **state: Any) -> tuple[str, list[list[str]]]:
        return self.idea.describe(self.exhibit, **state)


def refuse(error: Exception, **_: Any) -> Picture:
    """The renderer of an explorer that has nothing to show but the reason."""
    raise error


# ----------------------------------------------------------------------------------------------------- controls


def direction_control(exhibit: Exhibit) -> Choice:
    return Choice(exhibit.directions, "direction")


def image_control(name: str = "image", words: str = f"which of {SHOWN} held-out images") -> Slider:
    return Slider(1, SHOWN, 1, name, words)


# ----------------------------------------------------------------------------------------------------- pictures


def tiles(rows: Sequence[Tensor], cell: int = CELL) -> Picture:
    """Rows of images as one picture on white, each image enlarged by whole numbers to `cell` pixels or more.

    Args:
        rows: (N, 3, H, W) images in [-1, 1]; shown as they are, never stretched.
        cell: least side of an image in the picture.
    """
    scale = max(1, -(-cell // rows[0].shape[-1]))
    side = rows[0].shape[-1] * scale
    columns = max(len(images) for images in rows)
    step = side + GAP
    picture = np.full((step * len(rows) - GAP, step * columns - GAP, 3), 255, np.uint8)
    for y, images in enumerate(rows):
        for x, image in enumerate(as_bytes(images)):
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)
            picture[y * step : y * step + side, x * step : x * step + side] = large
    return picture


def as_bytes(images: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def stacked(*pictures: Picture) -> Picture:
    """Pictures below each other, filled up with white to the widest."""
    width = max(picture.shape[1] for picture in pictures)
    gap = np.full((2 * GAP, width, 3), 255, np.uint8)
    parts = []
    for picture in pictures:
        margin = ((0, 0), (0, width - picture.shape[1]), (0, 0))
        parts += [np.pad(picture, margin, constant_values=255), gap]
    return np.concatenate(parts[:-1])


def reading_rows(reading: Attributes, columns: Sequence[str], domain: int) -> list[list[str]]:
    """A table of what a judge reads: a row for the shape and each style factor, a named column for each image."""
    rows = [["judge reads", *columns], ["shape", *(SHAPE_NAMES[k] for k in reading.shape_class.tolist())]]
    for factor, values in zip(STYLE_FACTORS[domain], reading.style.T.tolist(), strict=True):
        rows.append([factor.name.replace("_", " "), *(f"{value:.2f}" for value in values)])
    return rows
