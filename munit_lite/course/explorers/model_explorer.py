"""What explorers of a trained model share: the model, held-out images and their codes, uploads, controls, tables."""

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
from munit_lite.course.explorers.pictures import Picture, to_png
from munit_lite.course.explorers.widget import (
    USER_ERRORS,
    Choice,
    Control,
    Explorer,
    Slider,
    State,
    default_values,
)
from munit_lite.data import open_data
from munit_lite.data.image_files import DataError, read_image, uint8_to_float
from munit_lite.evaluation.attribute_predictors import AttributePredictor, Attributes, load_attribute_predictor
from munit_lite.model import MUNIT
from munit_lite.world import DOMAIN_NAMES, SHAPE_NAMES, STYLE_FACTORS

NUM_IMAGES = 8  # held-out images of each domain
DOMAIN_NAMES_OF_DATASET = {
    "world": (DOMAIN_NAMES[1], DOMAIN_NAMES[2]),
    "fashion": ("drawing", "photo"),
    "folder": ("image A", "image B"),
}
MAX_STYLE = 3.0  # sliders of the style code go from -MAX_STYLE to MAX_STYLE
_GRID = np.linspace(-MAX_STYLE, MAX_STYLE, 61)
PRIOR_DENSITY = tuple(np.exp(-(_GRID**2) / 2).round(4).tolist())  # scaled to a peak of 1


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, because the explorers cache pictures of it
class ModelSamples:
    """A trained model and held-out images of both domains with their content codes.

    Args:
        model: in evaluation mode.
        domain_names: the names of domain 1 and 2.
        images: (NUM_IMAGES, 3, H, W) in [-1, 1] of domain 1 and 2; they are not pairs.
        contents: their content codes.
        predictors: the attribute predictors of domain 1 and 2; empty if the dataset has no known attributes.
    """

    model: MUNIT
    domain_names: tuple[str, str]
    images: tuple[Tensor, Tensor]
    contents: tuple[Tensor, Tensor]
    predictors: tuple[AttributePredictor, ...]

    @property
    def style_dim(self) -> int:
        """The dimension of the style code."""
        return self.model.config.network.style_dim

    @property
    def directions(self) -> tuple[str, str]:
        """The two directions of translation, such as "sketch to painting"."""
        name_1, name_2 = self.domain_names
        return f"{name_1} to {name_2}", f"{name_2} to {name_1}"

    def source_domain(self, direction: str) -> int:
        """Return the domain, 1 or 2, that a direction starts from."""
        return self.directions.index(direction) + 1

    def domain_name(self, domain: int) -> str:
        """Return the name of domain 1 or 2."""
        return self.domain_names[domain - 1]

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Decode as `MUNIT.decode` does, with one content or one style repeated for all rows of the other.

        Args:
            content: (B or 1, C, h, w) content codes.
            style: (B or 1, style_dim) style codes.
            domain: 1 or 2, the domain of the output.

        Returns:
            (B, 3, H, W) in [-1, 1].
        """
        batch_size = max(len(content), len(style))
        return self.model.decode(content.expand(batch_size, -1, -1, -1), style.expand(batch_size, -1), domain)

    def sample_style(self, seed: int) -> Tensor:
        """Sample a style code from the prior.

        Args:
            seed: of the sample.

        Returns:
            (1, style_dim), clamped to the range of the sliders and rounded as their values are.
        """
        style = self.model.sample_style(1, torch.Generator().manual_seed(seed))
        return (100 * style.clamp(-MAX_STYLE, MAX_STYLE)).round() / 100

    def predict_attributes(self, images: Tensor, domain: int) -> Attributes | None:
        """Predict the attributes of images.

        Args:
            images: (N, 3, H, W) in [-1, 1].
            domain: 1 or 2, the domain that they belong to.

        Returns:
            The attributes of N images; None if the dataset has no known attributes.
        """
        return self.predictors[domain - 1](images) if self.predictors else None

    def replace_image(self, domain: int, index: int, image: Tensor) -> ModelSamples:
        """Return a copy in which another image replaces one of a domain.

        Args:
            domain: 1 or 2.
            index: of the replaced image, from 0.
            image: (1, 3, H, W) in [-1, 1].
        """
        images_1, images_2 = (images.clone() for images in self.images)
        (images_1, images_2)[domain - 1][index] = image[0]
        contents = _encode_contents(self.model, images_1, images_2)
        return replace(self, images=(images_1, images_2), contents=contents)

    def read_upload(self, file: str, content: bytes, domain: int) -> Tensor:
        """Read the center square of an uploaded image.

        Args:
            file: its name.
            content: its bytes.
            domain: 1 or 2, the domain that the image should belong to.

        Returns:
            (1, 3, H, W) in [-1, 1].

        Raises:
            DataError: the file cannot be read, or looks like an image of the other domain.
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
            has, should = ("no colors", "has some") if _is_gray(image) else ("colors", "has none")
            raise DataError(
                f"{name} has {has}, but a {self.domain_name(domain)} {should}: choose the other direction, or an image "
                f"that looks like a {self.domain_name(domain)}"
            )
        return image


@torch.no_grad()
def _encode_contents(model: MUNIT, images_1: Tensor, images_2: Tensor) -> tuple[Tensor, Tensor]:
    return model.encode_content(images_1, 1), model.encode_content(images_2, 2)


def _is_gray(images: Tensor) -> bool:
    return bool((images.amax(1) - images.amin(1)).mean() < 0.05)


def load_model_samples(checkpoint: str | Path | MUNIT) -> ModelSamples:
    """Load a model with the first held-out images of its own dataset.

    Args:
        checkpoint: an argument of `munit_lite.load`, or a model.

    Raises:
        CheckpointError: there is no such model.
        DataError: its dataset is missing.

    Example:
        >>> samples = load_model_samples("world32")
        >>> samples.directions, samples.images[0].shape
        (('sketch to painting', 'painting to sketch'), torch.Size([8, 3, 32, 32]))
    """
    model = (checkpoint if isinstance(checkpoint, MUNIT) else ml.load(checkpoint)).cpu().eval()
    data = model.config.data
    held_out = open_data(model.config).test(2 * NUM_IMAGES)
    images = (held_out.images_1[:NUM_IMAGES], held_out.images_2[-NUM_IMAGES:])
    domains = DOMAIN_NAMES if data.dataset == "world" else ()
    predictors = tuple(load_attribute_predictor(domain, data.world_variant) for domain in domains)
    contents = _encode_contents(model, *images)
    return ModelSamples(model, DOMAIN_NAMES_OF_DATASET[data.dataset], images, contents, predictors)


class ExplorerSpec(NamedTuple):
    """What an explorer of a trained model shows, as pure functions.

    Args:
        title: the name of the explorer.
        render: (samples, **state) -> picture.
        describe: (samples, **state) -> one sentence and the rows of a table.
        make_controls: samples -> controls by name.
        stored_state: values of the stored image that differ from the defaults.
        actions, uploads: key -> text of the button or file chooser.
    """

    title: str
    render: Callable[..., Picture]
    describe: Callable[..., tuple[str, list[list[str]]]]
    make_controls: Callable[[ModelSamples], dict[str, Control]]
    stored_state: State = {}  # noqa: RUF012
    actions: Mapping[str, str] = {}
    uploads: Mapping[str, str] = {}


class ModelExplorer(Explorer):
    """The explorer of an `ExplorerSpec`; if the model is missing, it shows the message of the error instead."""

    spec: ClassVar[ExplorerSpec]

    def __init__(self, checkpoint: str | Path | MUNIT = "world32", state: State | None = None) -> None:
        """
        Args:
            checkpoint: the name of a shipped model, a run folder, a weights file, or a model.
            state: initial values.
        """
        self.checkpoint = checkpoint
        try:
            self.samples = self.initial_samples = load_model_samples(checkpoint)
        except USER_ERRORS as error:
            super().__init__(partial(raise_error, error), {}, None, self.spec.title)
            return
        controls = self.spec.make_controls(self.samples)
        stored = default_values(controls) | self.spec.stored_state
        alt = f"{self.spec.title}. {self._describe(**stored)[0]}"
        stored_image = Image(to_png(self._render(**stored)), format="png", alt=alt)
        super().__init__(self._render, controls, stored_image, self.spec.title, self._describe, state)
        self.actions, self.uploads = {**self.actions, **self.spec.actions}, dict(self.spec.uploads)

    def as_code(self, state: State) -> str:
        name = str(self.checkpoint) if isinstance(self.checkpoint, str | Path) else "model"
        return f"{type(self).__name__}({name if name == 'model' else repr(name)}, state={state})"

    def handle_action(self, action: str) -> None:
        if action == "reset":
            self.samples = self.initial_samples
            self._redraw()  # needed if only an upload differed
        super().handle_action(action)

    def show_upload(self, domain: int, index: int, file: str, content: bytes) -> None:
        """Show an uploaded image in the place of a held-out one.

        Args:
            domain: 1 or 2.
            index: of the replaced image, from 0.
            file: name of the uploaded file.
            content: its bytes.

        Raises:
            DataError: the file cannot be read, or looks like an image of the other domain.
        """
        self.samples = self.samples.replace_image(domain, index, self.samples.read_upload(file, content, domain))
        self._redraw()

    def _render(self, **state: Any) -> Picture:
        return self.spec.render(self.samples, **state)

    def _describe(self, **state: Any) -> tuple[str, list[list[str]]]:
        return self.spec.describe(self.samples, **state)


def raise_error(error: Exception, **_: Any) -> Picture:
    """Raise an error: the renderer of an explorer that has nothing to show but its message."""
    raise error


# ----------------------------------------------------------------------------------------------------- controls


def direction_control(samples: ModelSamples) -> Choice:
    """Return the choice of the direction of translation."""
    return Choice(samples.directions, "direction")


def image_control(label: str = "image", description: str = f"which of {NUM_IMAGES} held-out images") -> Slider:
    """Return the slider that selects a held-out image."""
    return Slider(1, NUM_IMAGES, 1, label, description)


# ------------------------------------------------------------------------------------------------------- tables


def attribute_rows(attributes: Attributes, columns: Sequence[str], domain: int) -> list[list[str]]:
    """Format predicted attributes as a table.

    Args:
        attributes: of N images.
        columns: the names of the N images.
        domain: 1 or 2, the domain that the images belong to.

    Returns:
        The header, then a row for the shape and for each style factor, with a column for each image.
    """
    rows = [["predicted", *columns], ["shape", *(SHAPE_NAMES[k] for k in attributes.shape_class.tolist())]]
    for factor, values in zip(STYLE_FACTORS[domain], attributes.style.T.tolist(), strict=True):
        rows.append([factor.name.replace("_", " "), *(f"{value:.2f}" for value in values)])
    return rows
