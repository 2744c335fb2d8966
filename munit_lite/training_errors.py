"""Errors that end a run, each with the settings to change: exhausted memory, failed compilation, values not finite."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor

from munit_lite.acceleration import all_reduce_mean
from munit_lite.config import Config
from munit_lite.storage.run_folder import RunFolder, TrainingState


class TrainingError(RuntimeError):
    """Training cannot continue; the message says why, and what to do."""


@contextmanager
def explain_failed_step(config: Config, folder: RunFolder) -> Iterator[None]:
    """Report exhausted memory and failed compilation inside the block, with the settings to change.

    Args:
        config: of the run.
        folder: of the run; the message names its last saved state.

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


def check_finite_losses(
    step: int, loss_terms: dict[str, Tensor], folder: RunFolder, fabric: Fabric
) -> dict[str, float]:
    """Convert the losses of a step to numbers, each the mean over the processes, and check that they are finite.

    Args:
        step: the number of finished steps.
        loss_terms: scalars by the names of the losses.
        folder: of the run; the message names its last saved state.
        fabric: the processes.

    Returns:
        a record for the history: the step, and the losses by their names.

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


def check_finite_state(state: TrainingState, folder: RunFolder) -> TrainingState:
    """Return the state unchanged if all its tensors are finite.

    Args:
        state: weights and optimizer states.
        folder: of the run; the message names its last saved state.

    Raises:
        TrainingError: a weight or one of Adam's moments is not finite.
    """
    if all(bool(value.isfinite().all()) for value in state.state_dict().values() if value.is_floating_point()):
        return state
    raise TrainingError(
        f"weights, or Adam's moments of their gradients, are not finite at step {state.step}; {_last_state(folder)}. "
        "Resume with a lower learning_rate; the run accepts it."
    )


def _out_of_memory(error: Exception) -> bool:
    """Return whether an error means that the memory of the GPU, or of the machine, is exhausted."""
    phrases = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in phrases)


def _in_compiled_code(error: Exception) -> bool:
    """Return whether an error comes from torch's compiler, or from code that it generated."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.startswith(("torch._dynamo", "torch._inductor")) for module in modules)


def _last_state(folder: RunFolder) -> str:
    return f"the last saved state is in {folder.state_file}" if folder.has_state() else "no state has been saved yet"
