"""The two domains at once, in two threads of a CPU that has cores for both.

The domains' networks share no weights, so a step is a sequence of pairs of independent computations. On a CPU their
layers are too small to keep several cores busy; two computations side by side, on half of the cores each, do better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
DomainFunction = Callable[..., Tensors]  # called with the domain, 1 or 2, and its tensors


def domain_threads(threads: int) -> ThreadPoolExecutor:
    """Open two threads for `map_domains` that divide this number of torch's threads, at least 2, between them."""
    return ThreadPoolExecutor(2, "domain", lambda: torch.set_num_threads(threads // 2))


@contextmanager
def reserve_cores(pool: ThreadPoolExecutor | None) -> Iterator[None]:
    """Reserve the cores for the threads of a pool: within this context, torch uses one core in the calling thread.

    Args:
        pool: from `domain_threads`; None changes nothing.
    """
    if pool is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # torch's helpers of this thread would wait in a busy loop, on a core of the pool
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def map_domains(
    pool: ThreadPoolExecutor | None, function: DomainFunction, inputs_1: Sequence[Tensor], inputs_2: Sequence[Tensor]
) -> tuple[Tensors, Tensors]:
    """Compute function(1, *inputs_1) and function(2, *inputs_2), in parallel if there is a pool.

    Weights receive their gradients by `backward` only: `torch.autograd.grad` cannot look into another thread's graph.

    Args:
        pool: of two threads, from `domain_threads`; None computes one domain after the other.
        function: returns a tuple of tensors, of the same length for both domains.
        inputs_1: tensors of domain 1; gradients flow into them.
        inputs_2: as many of domain 2.

    Returns:
        what the function returned for domain 1, and for domain 2.
    """
    if pool is None:
        return function(1, *inputs_1), function(2, *inputs_2)
    if not torch.is_grad_enabled():
        outputs_1, outputs_2 = _run_in_threads(pool, function, (1, *inputs_1), (2, *inputs_2))
        return outputs_1, outputs_2
    anchor = torch.empty(0, requires_grad=True)  # so that the outputs have a gradient if only weights do
    outputs = _ParallelDomains.apply(anchor, pool, function, *inputs_1, *inputs_2)
    return outputs[: len(outputs) // 2], outputs[len(outputs) // 2 :]


def _run_in_threads(pool: ThreadPoolExecutor, function: Callable, *arguments: Sequence[Any]) -> list[Any]:
    """Call the function in the pool, with this thread's gradient mode and precision."""
    grad_enabled = torch.is_grad_enabled()
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def call(own_arguments: Sequence[Any]) -> Any:
        with torch.set_grad_enabled(grad_enabled), torch.autocast("cpu", dtype, autocast):
            return function(*own_arguments)

    return list(pool.map(call, arguments))


class _ParallelDomains(torch.autograd.Function):
    """Keep the graph of each domain in its thread, which goes back through it when the gradients arrive."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, pool: ThreadPoolExecutor, function: DomainFunction, *inputs: Tensor) -> Any:
        leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs]
        half = len(leaves) // 2
        with torch.enable_grad():
            outputs = _run_in_threads(pool, function, (1, *leaves[:half]), (2, *leaves[half:]))
        ctx.pool, ctx.leaves, ctx.outputs = pool, leaves, outputs
        ctx.set_materialize_grads(False)
        return tuple(tensor.detach() for tensors in outputs for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        half = len(gradients) // 2
        (outputs_1, outputs_2), leaves = ctx.outputs, ctx.leaves
        _run_in_threads(ctx.pool, _backward, (outputs_1, gradients[:half]), (outputs_2, gradients[half:]))
        ctx.leaves, ctx.outputs = None, None
        return (None, None, None, *(leaf.grad for leaf in leaves))


def _backward(outputs: Tensors, gradients: Sequence[Tensor | None]) -> None:
    pairs = [(output, gradient) for output, gradient in zip(outputs, gradients, strict=True) if gradient is not None]
    roots = [(output, gradient) for output, gradient in pairs if output.requires_grad]
    if roots:
        torch.autograd.backward([output for output, _ in roots], [gradient for _, gradient in roots])
