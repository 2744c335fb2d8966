"""Interruptions of a run that is in order: stop signals, and images that can no longer be read. No step is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from munit_lite.config import Config
from munit_lite.data.image_files import DataError
from munit_lite.storage.checkpoints import TrainingState
from munit_lite.storage.run_folder import RunFolder


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
