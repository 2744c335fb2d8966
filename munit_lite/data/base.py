"""The interface of a dataset of two domains, and the datasets that fit into memory."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from munit_lite.counter_rng import uniform
from munit_lite.data.image_files import uint8_to_float


class HeldOut(NamedTuple):
    """Test images of both domains, each (B, 3, H, W) in [-1, 1]; with `paired`, row i of both is a true pair."""

    images_1: Tensor
    images_2: Tensor
    paired: bool


class ImageData(Protocol):
    """Images of two domains: what `munit_lite.train` accepts as `data`. Any class with these two methods will do."""

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the training images of a step, as a pure function of (seed, step), so that a run can resume.

        Args:
            step: number of the batch, counted from 0.
            count: images of each domain.

        Returns:
            images of domain 1 and of domain 2, unpaired; both (count, 3, H, W) in [-1, 1].
        """

    def test(self, count: int) -> HeldOut:
        """Return held-out images.

        Args:
            count: images of each domain; if there are not as many, fewer are returned.

        Returns:
            the first images of each domain, always in the same order.
        """


class InMemoryData:
    """Training and held-out images in memory as uint8; a batch is sampled with replacement.

    A subclass sets the attributes: `train_1` and `train_2` of shape (N, 3, H, W), `held_out` with images of the same
    kind, and `paired` if row i of both training sets is a true pair that a batch must keep together.
    """

    seed: int
    paired: bool
    train_1: Tensor
    train_2: Tensor
    held_out: HeldOut

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the training images of a step; see `ImageData.batch`."""
        index = torch.arange(count) + step * count
        rows_1 = (uniform(index, f"{self.seed}/pick/1") * len(self.train_1)).long()
        rows_2 = (uniform(index, f"{self.seed}/pick/{1 if self.paired else 2}") * len(self.train_2)).long()
        return uint8_to_float(self.train_1[rows_1]), uint8_to_float(self.train_2[rows_2])

    def test(self, count: int) -> HeldOut:
        """Return the first held-out images; see `ImageData.test`."""
        images_1, images_2, paired = self.held_out
        return HeldOut(uint8_to_float(images_1[:count]), uint8_to_float(images_2[:count]), paired)
