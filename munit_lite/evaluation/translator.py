"""What evaluation requires of a model, and a control that every metric can be compared with.

MUNIT, the baselines and the oracle implement all three interfaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

Item = TypeVar("Item")


MAX_BATCH_PIXELS = 2**20  # translated at once: 256 images of 64 × 64 pixels or 16 of 256 × 256


class Translator(Protocol):
    """A model that translates images with styles from a prior."""

    def translate(self, images: Tensor, source: int, target: int, style: Tensor | None = None) -> Tensor:
        """Translate images (B, 3, H, W) of domain `source` into domain `target` with styles (B, style_dim)."""
        ...

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample styles (count, style_dim) from the prior, on the device of the model."""
        ...


class Encoder(Protocol):
    """A model that encodes images into content codes, (B, C, h, w) or (B, D), and style codes, (B, style_dim)."""

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """Encode the contents of images (B, 3, H, W) of a domain."""
        ...

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Encode the styles of images (B, 3, H, W) of a domain."""
        ...


class EncodingTranslator(Translator, Encoder, Protocol):
    """A translator whose codes can be inspected."""


class EncoderDecoder(Encoder, Protocol):
    """A model that consists of encoders and decoders, as the propositions assume."""

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Decode contents and styles into images (B, 3, H, W) of a domain."""
        ...

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample styles (count, style_dim) from the prior, on the device of the model."""
        ...


class Images(Protocol):
    """Images that can be indexed by rows: a tensor (N, 3, H, W) in [-1, 1], or images that are read when indexed."""

    def __len__(self) -> int:
        """Return N."""
        ...

    def __getitem__(self, rows: Any, /) -> Tensor:
        """Return the images of some rows, (B, 3, H, W)."""
        ...


class MeanStyleTranslator:
    """A deterministic control: translate every input with the mean style of the prior."""

    def __init__(self, model: Translator) -> None:
        self.model = model

    def translate(self, images: Tensor, source: int, target: int, style: Tensor | None = None) -> Tensor:
        """Translate images (B, 3, H, W) with the underlying model."""
        return self.model.translate(images, source, target, style=style)

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean style `count` times: zeros, (count, style_dim)."""
        return torch.zeros_like(self.model.sample_style(count, generator))


def batch_size(images: Tensor) -> int:
    """Return how many images (B, 3, H, W) to process at once: those that have at most `MAX_BATCH_PIXELS` pixels.

    Example:
        >>> batch_size(torch.zeros(1, 3, 256, 256))
        16
    """
    return max(1, MAX_BATCH_PIXELS // (images.shape[2] * images.shape[3]))


def row_batches(images: Images) -> tuple[Tensor, ...]:
    """Return the row numbers of images, `batch_size` at a time.

    Example:
        >>> [len(rows) for rows in row_batches(torch.zeros(20, 3, 256, 256))]
        [16, 4]
    """
    return torch.arange(len(images)).split(batch_size(images[:1]))


def translate_on_device(model: Translator, images: Tensor, source: int, target: int, style: Tensor) -> Tensor:
    """Translate images on the device of the model, and return the outputs on the CPU, where they are evaluated.

    Args:
        model: any translator.
        images: (B, 3, H, W) in [-1, 1], on any device. They are translated `batch_size` at a time.
        source: 1 or 2.
        target: 1 or 2.
        style: (B, style_dim), on the device of the model.

    Returns:
        Translations (B, 3, H, W) in float32.
    """
    size = batch_size(images)
    batches = zip(images.split(size), style.split(size), strict=True)
    return torch.cat(
        [model.translate(x.to(style.device), source, target, style=styles).float().cpu() for x, styles in batches]
    )


def with_progress_bar(items: Sequence[Item] | Tensor, description: str, unit: str = "image") -> Iterable:
    """Iterate with a progress bar on stderr, if that is a terminal and the loop takes longer than a second."""
    return tqdm(items, desc=description, unit=unit, delay=1, mininterval=1, leave=False, disable=None)
