"""What can stop a run, and how it is reported: signals, a lack of memory, losses that are not finite, bad images."""

from __future__ import annotations

import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor

from munit_lite.acceleration import all_reduce_mean
from munit_lite.config import Config
from munit_lite.data.image_files import DataError
from munit_lite.storage.checkpoints import TrainingState
from munit_lite.storage.run_folder import RunFolder


class TrainingError(RuntimeError):
    """Training cannot continue; the message says why, and what to do."""


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Catch SIGTERM and Ctrl-C inside the block, so that the training loop can finish its step and save its state.

    Yields:
        a function that returns the first signal received, and 0 before that.
    """
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {s: signal.signal(s, lambda number, frame: received.append(number)) for s in signals}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


def raise_stop(received: int, step: int) -> None:
    """End the run after a stop signal.

    Raises:
        KeyboardInterrupt: the signal was Ctrl-C.
        SystemExit: it was another one; the exit status is 128 + signal, the convention of shells.
    """
    if received == signal.SIGINT:
        raise KeyboardInterrupt(f"stopped by Ctrl-C after step {step}; the state is saved, so run again to resume")
    raise SystemExit(128 + received)


@contextmanager
def save_on_data_error(folder: RunFolder, state: TrainingState | None, config: Config) -> Iterator[None]:
    """Save the state if an image cannot be read inside the block, so that no finished step is lost.

    Args:
        folder: of the run.
        state: the state to save; None if there is nothing new to save.
        config: of the run.
    """
    try:
        yield
    except DataError:
        if state is not None:
            folder.save_state(state, config)
        raise


@contextmanager
def explain_failed_step(config: Config, folder: RunFolder) -> Iterator[None]:
    """Report exhausted memory and failed compilation inside the block, with the settings to change.

    Raises:
        TrainingError: the step does not fit into memory, or torch.compile failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError, AssertionError) as error:
        if _out_of_memory(error):
            raise TrainingError(
                f"out of memory: a step on {config.batch_size} images of {config.data.image_size} px does not fit. "
                f"Set activation_checkpointing, raise grad_accumulation (now {config.grad_accumulation}), or lower "
                f"batch_size, image_size or base_channels; "
                f"{_last_state(folder)}"
            ) from error
        if config.compile and _in_compiled_code(error):
            reason = " ".join([line for line in str(error).splitlines() if line][:2]) or type(error).__name__
            raise TrainingError(
                f"torch.compile failed: {reason}\nTurn compile off, which does not change the result; "
                f"{_last_state(folder)}"
            ) from error
        raise


def _out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that the memory of the GPU, or of the machine, is exhausted."""
    phrases = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in phrases)


def _in_compiled_code(error: Exception) -> bool:
    """Tell whether an error comes from torch's compiler, or from code that it generated."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.startswith(("torch._dynamo", "torch._inductor")) for module in modules)


def _last_state(folder: RunFolder) -> str:
    return f"the last saved state is in {folder.state_file}" if folder.has_state() else "no state has been saved yet"


def finite_record(step: int, loss_terms: dict[str, Tensor], folder: RunFolder, fabric: Fabric) -> dict[str, float]:
    """Convert the losses of a step to numbers, each the mean over the processes.

    Raises:
        TrainingError: a loss is not finite; the message names it and the last saved state.
    """
    values = all_reduce_mean(fabric, torch.stack([value.float() for value in loss_terms.values()])).tolist()
    record = dict(zip(loss_terms, values, strict=True))
    not_finite = [name for name, value in record.items() if not math.isfinite(value)]
    if not_finite:
        raise TrainingError(
            f"the loss {not_finite[0]} is {record[not_finite[0]]} at step {step}; {_last_state(folder)}. "
            "Resume with a lower learning_rate or with precision 32-true; the run accepts both."
        )
    return {"step": step, **record}


def finite_state(state: TrainingState, folder: RunFolder) -> TrainingState:
    """Return the state unchanged if all its tensors are finite.

    Raises:
        TrainingError: a weight or one of Adam's moments is not finite.
    """
    if all(bool(value.isfinite().all()) for value in state.state_dict().values() if value.is_floating_point()):
        return state
    raise TrainingError(
        f"weights, or Adam's moments of their gradients, are not finite at step {state.step}; {_last_state(folder)}. "
        "Resume with a lower learning_rate; the run accepts it."
    )
