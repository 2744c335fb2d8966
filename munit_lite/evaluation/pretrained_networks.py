"""Inception v3, pretrained on ImageNet, as the features that FID and KID compare. Nothing here downloads weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn

from munit_lite.data.image_files import float_to_uint8
from munit_lite.evaluation.weight_files import TORCH_FIDELITY_FILE, usable_inception

Features = Callable[[Tensor], Tensor]  # (B, 3, H, W) in [-1, 1] -> (B, D)

INCEPTION_SIZE = 299  # side in pixels to which Inception v3's images are resized
BATCH_SIZE = 25  # images that Inception v3 processes at once, which takes about 0.5 GiB


def load_inception() -> tuple[str, Features] | None:
    """Load Inception v3 as a function from images to features, from torch's cache alone.

    The network of torch-fidelity is the one of published FID values. That of torchvision has other weights and
    therefore gives other values.

    Returns:
        A suffix for the names of metrics and the features (B, 2048) of images (B, 3, H, W) in [-1, 1] of any size. The
        suffix is empty for the network of torch-fidelity and `_torchvision` for the other. None if neither is usable.
    """
    file = usable_inception()
    if file is None:
        return None
    if file == TORCH_FIDELITY_FILE:
        from torchmetrics.image.fid import NoTrainInceptionV3

        published = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
        return "", _in_batches(lambda images: published(float_to_uint8(images)))
    network = torchvision.models.inception_v3(weights="IMAGENET1K_V1").eval()
    network.fc = nn.Identity()
    network.transform_input = False  # it would convert from ImageNet's mean and deviation to [-1, 1], which we have

    def features(images: Tensor) -> Tensor:
        size = (INCEPTION_SIZE, INCEPTION_SIZE)
        return network(nn.functional.interpolate(images.clamp(-1, 1), size, mode="bilinear", antialias=True))

    return "_torchvision", _in_batches(features)


def _in_batches(features: Features) -> Features:
    """Compute features of at most `BATCH_SIZE` images at once, without gradients."""

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        return torch.cat([features(batch) for batch in images.split(BATCH_SIZE)])

    return compute
