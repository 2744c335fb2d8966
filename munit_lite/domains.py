"""The same work for both domains: at once, in two threads, where that saves time.

The domains' networks share no weights, so a step is a chain of pairs of independent pieces. On a CPU their layers are
too small to keep several cores busy; two pieces side by side, on half of the cores each, do better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
Work = Callable[..., Tensors]  # called with the domain, 1 or 2, and its tensors

_workers: ContextVar[ThreadPoolExecutor | None] = ContextVar("workers", default=None)


@contextmanager
def at_once(workers: ThreadPoolExecutor | None) -> Iterator[None]:
    """While inside, `both` uses these two threads, and this one leaves the cores to them; None: changes nothing.

    Weights receive their gradients by `backward` only: `torch.autograd.grad` cannot look into another thread's graph.
    """
    if workers is None:
        yield
        return
    token, threads = _workers.set(workers), torch.get_num_threads()
    torch.set_num_threads(1)  # torch's helpers of this thread would wait in a busy loop, on a core of a worker
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _workers.reset(token)


def two_workers(threads: int) -> ThreadPoolExecutor:
    """Two threads for `at_once` that share this many of torch's threads, 2 or more."""
    return ThreadPoolExecutor(2, "domain", lambda: torch.set_num_threads(threads // 2))


def both(work: Work, given_1: Sequence[Tensor], given_2: Sequence[Tensor]) -> tuple[Tensors, Tensors]:
    """work(1, *given_1) and work(2, *given_2).

    Args:
        work: returns a tuple of tensors, of the same length for both domains.
        given_1: tensors of domain 1; gradients flow into them.
        given_2: as many of domain 2.
    """
    workers = _workers.get()
    if workers is None:
        return work(1, *given_1), work(2, *given_2)
    if not torch.is_grad_enabled():
        made_1, made_2 = _at_once(workers, work, (1, *given_1), (2, *given_2))
        return made_1, made_2
    link = torch.empty(0, requires_grad=True)  # so that the results have a gradient if only weights do
    made = _Both.apply(link, workers, work, *given_1, *given_2)
    return made[: len(made) // 2], made[len(made) // 2 :]


def _at_once(workers: ThreadPoolExecutor, work: Callable, *given: Sequence[Any]) -> list[Any]:
    """Call the work in the workers, with this thread's gradient mode and precision."""
    learning = torch.is_grad_enabled()
    mixed, precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def job(arguments: Sequence[Any]) -> Any:
        with torch.set_grad_enabled(learning), torch.autocast("cpu", precision, mixed):
            return work(*arguments)

    return list(workers.map(job, given))


class _Both(torch.autograd.Function):
    """Each thread keeps the graph of its piece, and walks it back when the results' gradients arrive."""

    @staticmethod
    def forward(ctx: Any, link: Tensor, workers: ThreadPoolExecutor, work: Work, *given: Tensor) -> Tensors:
        leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in given]
        halves = leaves[: len(leaves) // 2], leaves[len(leaves) // 2 :]
        with torch.enable_grad():
            made = _at_once(workers, work, (1, *halves[0]), (2, *halves[1]))
        ctx.workers, ctx.leaves, ctx.made = workers, leaves, made
        ctx.set_materialize_grads(False)
        return tuple(tensor.detach() for tensors in made for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Any, ...]:
        half = len(slopes) // 2
        _at_once(ctx.workers, _walk_back, (ctx.made[0], slopes[:half]), (ctx.made[1], slopes[half:]))
        leaves, ctx.leaves, ctx.made = ctx.leaves, None, None
        return (None, None, None, *(leaf.grad for leaf in leaves))


def _walk_back(made: Tensors, slopes: Sequence[Tensor | None]) -> None:
    pairs = [(tensor, slope) for tensor, slope in zip(made, slopes, strict=True) if slope is not None]
    roots = [(tensor, slope) for tensor, slope in pairs if tensor.requires_grad]
    if roots:
        torch.autograd.backward([tensor for tensor, _ in roots], [slope for _, slope in roots])
