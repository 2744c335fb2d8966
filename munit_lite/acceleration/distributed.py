"""What several processes exchange in a training step; with one process nothing happens."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import Tensor


def shard(fabric: Fabric, batch: Tensor) -> Tensor:
    """Take this process's rows of a batch that belongs to all processes.

    Args:
        fabric: the processes.
        batch: (B, …), the same on every process; B is a multiple of their number.

    Returns:
        (B / processes, …).
    """
    return batch.chunk(fabric.world_size)[fabric.global_rank]


def average_gradients(fabric: Fabric, parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes, in one message.

    Args:
        fabric: the processes.
        parameters: of any shapes, the same on every process; those without a gradient are left out.
    """
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    averaged = all_reduce_mean(fabric, torch.cat([g.flatten() for g in gradients]))
    for gradient, mean in zip(gradients, averaged.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def all_reduce_mean(fabric: Fabric, values: Tensor) -> Tensor:
    """Compute the mean of each value over the processes.

    Args:
        fabric: the processes.
        values: of any shape, the same shape on every process.

    Returns:
        of the same shape, equal on every process.
    """
    if fabric.world_size == 1:
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)  # Fabric's own would wait at a barrier first
    return total / fabric.world_size


def all_reduce_max(fabric: Fabric, number: int) -> int:
    """Compute the maximum over the processes of a number that each of them has."""
    if fabric.world_size == 1:
        return number
    largest = torch.tensor(number, device=fabric.device)
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return int(largest)
