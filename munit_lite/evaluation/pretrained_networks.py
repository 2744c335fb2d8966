"""Networks pretrained on ImageNet, whose features LPIPS, FID and KID compare: AlexNet and Inception v3.

Their weights are used where torch's cache already holds them. Nothing here downloads: a sentence states the command.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from munit_lite.data.image_files import float_to_uint8

Features = Callable[[Tensor], Tensor]  # (B, 3, H, W) in [-1, 1] -> (B, D)

INCEPTION_SIZE = 299  # side in pixels to which Inception v3's images are resized
BATCH_SIZE = 25  # images that Inception v3 processes at once, which takes about 0.5 GiB
TORCH_FIDELITY_FILE = "weights-inception-2015-12-05-6726825d.pth"
ALEXNET_FILE, INCEPTION_FILE = (
    weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    for weights in (torchvision.models.AlexNet_Weights, torchvision.models.Inception_V3_Weights)
)

HOW_TO_GET_ALEXNET = (
    "LPIPS is not measured, because the weights of AlexNet are not in torch's cache. To download them (233 MB), run: "
    "python -c \"import torchvision; torchvision.models.alexnet(weights='IMAGENET1K_V1')\""
)
HOW_TO_GET_INCEPTION = (
    "KID and FID are not measured, because the weights of Inception v3 are not in torch's cache. To download them "
    "(104 MB), run: python -c \"import torchvision; torchvision.models.inception_v3(weights='IMAGENET1K_V1')\". For "
    "values that can be compared with published ones, install torch-fidelity and download its weights (96 MB) instead: "
    'pip install torch-fidelity && python -c "from torchmetrics.image.fid import NoTrainInceptionV3 as Network; '
    "Network('inception-v3-compat', ['2048'])\""
)


def is_cached(file: str) -> bool:
    """Return whether torch's cache of weights holds a file of this name."""
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


def load_inception() -> tuple[str, Features] | None:
    """Load Inception v3 as a function from images to features, from torch's cache alone.

    The network of torch-fidelity is the one of published FID values. That of torchvision has other weights and
    therefore gives other values.

    Returns:
        A suffix for the names of metrics and the features (B, 2048) of images (B, 3, H, W) in [-1, 1] of any size. The
        suffix is empty for the network of torch-fidelity and `_torchvision` for the other. None if the cache holds
        neither.
    """
    if find_spec("torch_fidelity") and is_cached(TORCH_FIDELITY_FILE):
        from torchmetrics.image.fid import NoTrainInceptionV3

        published = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
        return "", _in_batches(lambda images: published(float_to_uint8(images)))
    if not is_cached(INCEPTION_FILE):
        return None
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
