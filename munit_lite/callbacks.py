"""What a run reports while it trains: a progress bar, TensorBoard logs and sample sheets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid, save_image
from tqdm.auto import tqdm

from munit_lite.config import Config
from munit_lite.model import MUNIT
from munit_lite.storage.files import atomic_path, write_error

if TYPE_CHECKING:
    from munit_lite.data.base import ImageData


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
            config: of the run.
            first_step: number of steps that are already done, above 0 if the run resumes.
        """

    def on_log(self, record: dict[str, float]) -> None:
        """Handle a record of the losses, every `config.log_every` steps.

        Args:
            record: `step`, and every loss by its name; `total` is the weighted sum of the auto-encoders' losses.
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
        self.bar = tqdm(total=config.steps, initial=first_step, desc=config.name, unit="step", mininterval=1)

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
        folder: for its event files.

    Raises:
        CheckpointError: the folder cannot be written.
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
        sheet = sample_sheet(model, data)
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
            raise write_error(self.folder, error, "The last saved state is unchanged") from error


class SampleSheets(Callback):
    """Save a sample sheet as a PNG file, named by its step.

    Args:
        folder: for the files.

    Raises:
        CheckpointError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        sheet = sample_sheet(model, data)
        with atomic_path(self.folder / f"step_{step:08d}.png") as temporary:
            save_image(sheet, temporary, format="png")


@torch.no_grad()
def sample_rows(
    model: MUNIT, data: ImageData, source: int, columns: int = 8, styles: int = 4
) -> list[tuple[str, Tensor]]:
    """Generate the rows of a sample sheet for one direction of translation.

    The rows are the inputs, their reconstructions, their translations with `styles` sampled styles (one style per row),
    images of the target domain as examples, and the translations guided by the example in the same column.

    Args:
        model: translates the images.
        data: its held-out images are the inputs and examples.
        source: domain of the inputs, 1 or 2.
        columns: how many inputs.
        styles: how many styles to sample.

    Returns:
        for each row its label and its images, (columns, 3, H, W) in [-1, 1].

    Example:
        >>> from munit_lite.data import open_data
        >>> from munit_lite.storage.checkpoints import load
        >>> model = load("world32")
        >>> rows = sample_rows(model, open_data(model.config), source=1, columns=2, styles=1)
        >>> [label for label, _ in rows]
        ['input', 'reconstruction', 'sampled style 1', 'example', 'example-guided']
    """
    device = next(model.parameters()).device
    held_out = data.test(columns)
    # A held-out pair would make an example-guided translation trivial, so the examples are shifted by one.
    images = {1: held_out.images_1.to(device), 2: held_out.images_2.to(device).roll(1, dims=0)}
    inputs, examples, target = images[source], images[3 - source], 3 - source
    sampled_styles = model.sample_style(styles, torch.Generator().manual_seed(0))
    rows = [("input", inputs), ("reconstruction", model.reconstruct(inputs, source))]
    for k, style in enumerate(sampled_styles.split(1), 1):
        rows.append((f"sampled style {k}", model.translate(inputs, source, target, style=style)))
    rows.append(("example", examples))
    rows.append(("example-guided", model.translate(inputs, source, target, style_from=examples)))
    return rows


def sample_sheet(model: MUNIT, data: ImageData, columns: int = 8) -> Tensor:
    """Arrange the sample rows of both directions in one image.

    Args:
        model: translates the images.
        data: its held-out images are the inputs and examples.
        columns: how many inputs of each domain.

    Returns:
        (3, H, W) in [0, 1].
    """
    rows = [row for source in (1, 2) for _, row in sample_rows(model, data, source, columns)]
    return make_grid((torch.cat(rows).float().cpu() / 2 + 0.5).clamp(0, 1), nrow=len(rows[0]))


def default_callbacks(folder: Path) -> list[Callback]:
    """Return the callbacks that `munit_lite.train` uses by default.

    Args:
        folder: of the run.
    """
    return [ProgressBar(), TensorBoardLog(folder / "tensorboard"), SampleSheets(folder / "samples")]
