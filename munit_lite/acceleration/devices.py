"""The device, the arithmetic and the processes of a run."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric

from munit_lite.config import Config, check_group


def open_fabric(config: Config) -> Fabric:
    """Open the device of this process, joined with the other processes if torchrun or a scheduler started some.

    Sets torch's number of threads and its arithmetic for fp32 products on a GPU, both for the whole process.

    Args:
        config: device, precision, number of threads, and how the batch is divided.

    Raises:
        ValueError: the device does not exist, or the batch cannot be divided evenly.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    micro_batches = processes * config.grad_accumulation
    if config.batch_size % micro_batches:
        raise ValueError(
            f"batch_size is {config.batch_size}, but {processes} processes compute it in {config.grad_accumulation} "
            f"micro-batches each: it must be a multiple of {micro_batches}"
        )
    check_group(config.batch_size // micro_batches, config.network.minibatch_std_group)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    tf32 = config.precision == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")  # Fabric asks torch for it in this old way
    torch.backends.cudnn.conv.fp32_precision = "tf32" if tf32 else "ieee"  # type: ignore[attr-defined]
    fabric = Fabric(
        accelerator=find_device(config.device),
        devices=local_processes if processes > 1 else 1,
        num_nodes=processes // local_processes,
        strategy="ddp" if processes > 1 else "auto",
        precision="bf16-mixed" if config.precision == "bf16-mixed" else "32-true",
    )
    fabric.launch()
    return fabric


def find_device(name: str) -> str:
    """Find a device that torch can use on this machine.

    Args:
        name: cpu, cuda, mps, or auto for a GPU if there is one.

    Returns:
        cpu, cuda or mps.

    Raises:
        ValueError: torch cannot use the device.

    Example:
        >>> find_device("cpu")
        'cpu'
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(kind for kind, usable in available.items() if usable)
    if not available[name]:
        raise ValueError(f"device is {name}, but this machine's torch finds none; use auto or cpu")
    return name
