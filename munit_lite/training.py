"""A training run: it repeats the step of `munit_lite.training_step`, reports, saves, and resumes.

Batches and sampled styles are pure functions of (seed, step), so a run resumes exactly from weights, optimizer states
and the step number alone, also with another number of processes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from munit_lite.acceleration import all_reduce_max, open_fabric
from munit_lite.callbacks import Callback, default_callbacks
from munit_lite.config import Config
from munit_lite.data import open_data
from munit_lite.data.base import ImageData
from munit_lite.data.folder_layout import describe_few_images
from munit_lite.data.folders import FolderData
from munit_lite.data.image_statistics import measure_domains
from munit_lite.interruptions import raise_stop, save_on_data_error, stop_signals
from munit_lite.model import MUNIT
from munit_lite.storage.run_folder import RunFolder
from munit_lite.training_errors import TrainingError, check_finite_losses, check_finite_state, explain_failed_step
from munit_lite.training_step import Trainer

__all__ = ["Run", "TrainingError", "train"]

SAVE_SECONDS = 60.0  # a run of one process that is killed loses no more time than this, and the step it was in


@dataclass
class Run:
    """A finished training run.

    Args:
        folder: where its files are.
        config: what was trained.
        model: with the averaged weights.
        history: a record of losses for every `log_every` steps, with its `step`.
    """

    folder: Path
    config: Config
    model: MUNIT
    history: list[dict[str, float]]


def train(
    config: Config,
    out: str | Path,
    callbacks: Iterable[Callback] | None = None,
    data: ImageData | None = None,
) -> Run:
    """Train a model, or go on training: an unfinished run of the same configuration in the folder resumes exactly.

    With more `steps`, a run goes on beyond its old end, whether it had reached it or not. With the schedule "step" the
    result is exactly that of a run of so many steps from the start. With "cosine" it is not, and a warning says so: the
    learning rate had fallen towards 0 at the old end, and goes on with the value that the longer schedule has there.

    The state is saved every `save_every` steps, and by a single process also once a minute. Started by torchrun or a
    scheduler, several processes share each batch; the folder must be one that all of them see.

    Args:
        config: what to train. A warning says what to expect of few images in folders.
        out: the run's folder, created if it does not exist.
        callbacks: receive losses and samples; by default a progress bar, JSON lines, TensorBoard and sample sheets.
        data: the images; by default those that `config.data` names.

    Returns:
        the run, with the averaged model.

    Raises:
        CheckpointError: the folder holds a run of another configuration, or of more steps.
        StorageError: the folder cannot be written, or another run is using it.
        DataError: an image can no longer be read; a single process saves its state first.
        TrainingError: a loss is not finite, memory is full, or torch.compile failed; the message says what to do. The
            last saved state stays in the folder.
        ValueError: the device does not exist, the batch cannot be divided, or a loss has a weight that the method never
            computes.
        KeyboardInterrupt: Ctrl-C; SystemExit on SIGTERM. The state is saved first.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from munit_lite.presets import preset
        >>> small = {"base_channels": 4, "discriminator_base_channels": 4, "batch_size": 1}
        >>> config = preset("world32", steps=1, num_checkpoints=0, **small)
        >>> with TemporaryDirectory() as folder:
        ...     run = train(config, folder, callbacks=[])
        >>> run.history[0]["step"]
        1
    """
    fabric = open_fabric(config)
    folder, is_main = RunFolder(out), fabric.is_global_zero  # one process alone writes and reports
    data = data or open_data(config)
    trainer = Trainer.new(config, fabric)  # before the folder is locked: it may refuse the configuration
    with folder.lock(config) if is_main else nullcontext(), stop_signals() as received:
        fabric.barrier()
        if is_main and isinstance(data, FolderData) and (few_images := describe_few_images(data.files)):
            warnings.warn(few_images, stacklevel=2)
        first = folder.load_state(trainer.state(0)) if folder.has_state() else 0
        own_callbacks = list(default_callbacks(folder.path) if callbacks is None else callbacks) if is_main else []
        history = folder.truncate_history(until=first) if is_main else []
        if is_main and folder.image_statistics is None:
            folder.image_statistics = measure_domains(data)
        checkpoint_steps = {
            round(config.steps * (k + 1) / config.num_checkpoints) for k in range(config.num_checkpoints)
        }
        for callback in own_callbacks:
            callback.on_start(config, first)
        saved_at = time.monotonic()
        try:
            for number in range(first, config.steps):
                unsaved = trainer.state(number) if is_main and number > first else None
                with save_on_data_error(folder, unsaved, config):
                    # A batch of all processes is the same whatever their number; each loads its rows of it.
                    batch_number = number * fabric.world_size + fabric.global_rank
                    batch = data.batch(batch_number, config.batch_size // fabric.world_size)
                    x_1, x_2 = (x.to(fabric.device, non_blocking=True) for x in batch)
                with explain_failed_step(config, folder):
                    loss_terms = trainer.step(number, x_1, x_2)

                done = number + 1
                last = done == config.steps
                logging, sampling = done % config.log_every == 0 or last, done % config.sample_every == 0 or last
                stop = all_reduce_max(fabric, received()) if logging or fabric.world_size == 1 else 0
                due = fabric.world_size == 1 and time.monotonic() - saved_at > SAVE_SECONDS
                saving = done % config.save_every == 0 or done in checkpoint_steps or last or stop or due
                if logging or saving:  # the only places that wait for the device
                    record = check_finite_losses(done, loss_terms, folder, fabric)
                if logging:
                    history.append(record)
                    if is_main:
                        folder.append_history(record)
                    for callback in own_callbacks:
                        callback.on_log(record)
                if saving and is_main:
                    state = check_finite_state(trainer.state(done), folder)
                if is_main and (done in checkpoint_steps or sampling):
                    ema_model = trainer.ema_model()
                    if done in checkpoint_steps:
                        folder.save_checkpoint(ema_model, done)
                    for callback in own_callbacks if sampling else ():
                        callback.on_sample(done, ema_model, data)
                if saving and is_main:  # last: a run that resumes from an earlier state repeats what comes before
                    folder.save_state(state, config)
                    saved_at = time.monotonic()
                if stop:
                    raise_stop(stop, done)
        finally:
            for callback in own_callbacks:
                callback.on_end()
        model = trainer.ema_model()
        model.image_statistics = folder.image_statistics
        return Run(folder.path, config, model, history)
