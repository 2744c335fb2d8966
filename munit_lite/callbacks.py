"""What a run reports while it trains: a progress bar, TensorBoard logs, sample sheets and measured quality."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from munit_lite.config import Config
from munit_lite.data.base import ImageData
from munit_lite.data.image_files import write_png
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.convergence import measure_quality
from munit_lite.model import MUNIT
from munit_lite.samples import sample_sheet
from munit_lite.storage.files import CheckpointError, write_error
from munit_lite.storage.run_folder import RunFolder, append_record, truncate_records
from munit_lite.world import DOMAIN_NAMES, World


class Callback:
    """Base class of what `munit_lite.train` accepts as `callbacks`; override the methods that you need.

    With several processes, only the main one calls them.

    Example:
        >>> class PrintTotal(Callback):
        ...     def on_log(self, record):
        ...         print(f"step {record['step']:.0f}: total loss {record['total']:.2f}")
        >>> PrintTotal().on_log({"step": 100, "total": 5.125})
        step 100: total loss 5.12

        Pass it to a run with `train(config, out, callbacks=[PrintTotal()])`.
    """

    def on_start(self, config: Config, first_step: int) -> None:
        """Handle the beginning of training.

        Args:
            config: configuration of the run.
            first_step: the number of steps that are already done; above 0 if the run resumes.
        """

    def on_log(self, record: dict[str, float]) -> None:
        """Handle a record of the losses, every `config.log_every` steps.

        Args:
            record: `step`, and every loss by its name; `total` is the weighted sum of the autoencoders' losses.
        """

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        """Generate sample images, every `config.sample_every` steps.

        Args:
            step: steps that are done.
            model: with the averaged weights.
            data: the dataset, with held-out images.
        """

    def on_end(self) -> None:
        """Handle the end of training, whether it is finished or stopped."""


class ProgressBar(Callback):
    """Show a progress bar with the main losses, each averaged over the two domains."""

    LOSSES = ("image", "content", "style", "gan", "discriminator")

    def on_start(self, config: Config, first_step: int) -> None:
        self.bar = tqdm(total=config.steps, initial=first_step, desc=config.preset, unit="step", mininterval=1)

    def on_log(self, record: dict[str, float]) -> None:
        means = {
            loss: f"{(record[f'{loss}_1'] + record[f'{loss}_2']) / 2:.3f}"
            for loss in self.LOSSES
            if f"{loss}_1" in record
        }
        self.bar.set_postfix(means, refresh=False)
        self.bar.update(int(record["step"]) - self.bar.n)

    def on_end(self) -> None:
        self.bar.close()


class TensorBoardLog(Callback):
    """Log losses and sample sheets for TensorBoard.

    Args:
        folder: where to save the event files.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_start(self, config: Config, first_step: int) -> None:
        with self._report_write_errors():
            self.writer = SummaryWriter(str(self.folder), purge_step=first_step)

    def on_log(self, record: dict[str, float]) -> None:
        with self._report_write_errors():
            for name, value in record.items():
                if name != "step":
                    self.writer.add_scalar(f"loss/{name}", value, int(record["step"]))

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        sheet = sample_sheet(model, data, step=step)
        with self._report_write_errors():
            self.writer.add_image("samples", sheet, step)

    def on_end(self) -> None:
        with self._report_write_errors():
            self.writer.close()

    @contextlib.contextmanager
    def _report_write_errors(self) -> Iterator[None]:
        """Add the folder to errors: TensorBoard writes in its own thread, and reports a full disk without a path."""
        try:
            yield
        except OSError as error:
            raise write_error(self.folder, error, "the last saved state is unchanged") from error


class SampleSheets(Callback):
    """Save a sample sheet as a PNG file, named by its step.

    Args:
        folder: where to save the files.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        write_png(self.folder / f"step_{step:08d}.png", sample_sheet(model, data, step=step))


class QualityLog(Callback):
    """On the known world, measure the translations during training: class accuracy, diversity, style R².

    Each record in `quality.jsonl` holds the step, the CPU minutes of the training so far without the measurements, and
    what `evaluation.convergence.measure_quality` returns. Nothing is measured on other datasets, at image sizes that
    the attribute predictors cannot process, and at the end of a run that is no multiple of `config.sample_every`. Where
    the predictors are missing, the run warns and goes on without. A run that resumes counts its minutes from the last
    record.

    Args:
        file: the JSON lines file.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_start(self, config: Config, first_step: int) -> None:
        records = truncate_records(self.file, until=first_step)
        self.earlier_minutes = records[-1]["cpu_minutes"] if records else 0.0
        self.started = time.process_time()
        self.config, self.world = config, _measurable_world(config)

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        if self.world is None or step % self.config.sample_every:
            return
        now = time.process_time()
        minutes = self.earlier_minutes + (now - self.started) / 60
        quality = measure_quality(model, self.world, self.config.data.image_size)
        append_record(self.file, {"step": step, "cpu_minutes": round(minutes, 4)} | quality)
        self.started += time.process_time() - now


def _measurable_world(config: Config) -> World | None:
    """Return the known world of a run, or None if its translations cannot be measured."""
    data = config.data
    if data.dataset != "world":
        return None
    try:
        predictors = [load_attribute_predictor(domain, data.world_variant) for domain in DOMAIN_NAMES]
    except CheckpointError as error:  # as in an installation without a clone of the repository
        warnings.warn(f"the translations are not measured during training: {error}", stacklevel=2)
        return None
    return World(data.world_variant) if data.image_size % predictors[0].input_size == 0 else None


def default_callbacks(folder: Path) -> list[Callback]:
    """Return the callbacks that `munit_lite.train` uses by default.

    Args:
        folder: of the run.
    """
    return [
        ProgressBar(),
        TensorBoardLog(folder / "tensorboard"),
        SampleSheets(folder / "samples"),
        QualityLog(RunFolder(folder).quality_file),
    ]
