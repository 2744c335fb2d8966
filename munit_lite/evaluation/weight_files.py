"""Weights of networks pretrained on ImageNet in torch's cache: those that LPIPS, FID and KID use, and how to get them.

Nothing here downloads: a sentence states the command. Importing this module needs no torch, as the doctor requires.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
INCEPTION_FILE = "inception_v3_google-0cc3c7bd.pth"  # torchvision's
TORCH_FIDELITY_FILE = "weights-inception-2015-12-05-6726825d.pth"  # that of published FID values

# The command that downloads each file. The end of a file's name is the beginning of its sha256.
DOWNLOAD_COMMANDS = {
    ALEXNET_FILE: "python -c \"import torchvision; torchvision.models.alexnet(weights='IMAGENET1K_V1')\"",
    INCEPTION_FILE: "python -c \"import torchvision; torchvision.models.inception_v3(weights='IMAGENET1K_V1')\"",
    TORCH_FIDELITY_FILE: (
        'pip install torch-fidelity && python -c "from torchmetrics.image.fid import NoTrainInceptionV3 as Network; '
        "Network('inception-v3-compat', ['2048'])\""
    ),
}
HOW_TO_GET_ALEXNET = (
    "LPIPS is not measured, because the weights of AlexNet are not in torch's cache. To download them (233 MB), run: "
    f"{DOWNLOAD_COMMANDS[ALEXNET_FILE]}"
)
HOW_TO_GET_INCEPTION = (
    "KID and FID are not measured, because the weights of Inception v3 are not in torch's cache. To download them "
    f"(104 MB), run: {DOWNLOAD_COMMANDS[INCEPTION_FILE]}. For values that can be compared with published ones, install "
    f"torch-fidelity and download its weights (96 MB) instead: {DOWNLOAD_COMMANDS[TORCH_FIDELITY_FILE]}"
)


def cache_path(file: str) -> Path:
    """Return where torch's cache of weights holds a file of this name, or would hold it."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / file


def is_usable(file: str) -> bool:
    """Return whether torch's cache holds a file of weights, and the package that its network needs is installed."""
    return cache_path(file).is_file() and (file != TORCH_FIDELITY_FILE or find_spec("torch_fidelity") is not None)


def usable_inception() -> str | None:
    """Return the file of Inception v3 that is used, or None; the network of published FID values is preferred."""
    return next(filter(is_usable, (TORCH_FIDELITY_FILE, INCEPTION_FILE)), None)
