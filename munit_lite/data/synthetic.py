"""The known world of `munit_lite.world` as a dataset."""

from __future__ import annotations

import torch
from torch import Tensor

from munit_lite.data.base import HeldOut
from munit_lite.world import World


class WorldData:
    """Images of the known world, rendered anew at every step, so that no image occurs twice.

    Args:
        world: the world to sample from.
        size: height and width of the images in pixels.
        seed: of contents and styles.
        paired: train on true pairs, for the paired upper bound BicycleGAN; otherwise the domains are unpaired.

    Example:
        >>> data = WorldData(World(), size=32, seed=0)
        >>> images_1, images_2 = data.batch(step=0, count=4)
        >>> images_1.shape
        torch.Size([4, 3, 32, 32])
        >>> data.test(2).paired
        True
    """

    def __init__(self, world: World, size: int, seed: int, paired: bool = False) -> None:
        self.world, self.size, self.seed, self.paired = world, size, seed, paired

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Render the training images of a step; see `ImageData.batch`."""
        index = torch.arange(count) + step * count
        if self.paired:
            pairs = self.world.pairs(index, self.seed, self.size, stream="train")
            return pairs.image_1, pairs.image_2
        # Unpaired although the index is the same: the domain is part of the key of the random numbers (World.content).
        return (self.world.images(index, self.seed, 1, self.size), self.world.images(index, self.seed, 2, self.size))

    def test(self, count: int) -> HeldOut:
        """Render true pairs from random streams that training does not use; see `ImageData.test`."""
        pairs = self.world.pairs(torch.arange(count), self.seed, self.size)
        return HeldOut(pairs.image_1, pairs.image_2, paired=True)
