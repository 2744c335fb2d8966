"""What a run tells while it trains: progress bar, TensorBoard, sample sheets."""

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
from munit_lite.storage.files import cannot_write, replacing

if TYPE_CHECKING:
    from munit_lite.data.datasets import ImageData


class Callback:
    """Told of a run's course; override what is of interest."""

    def on_start(self, config: Config, first: int) -> None:
        """Training begins at step `first` (above 0 when resumed)."""

    def on_log(self, record: dict[str, float]) -> None:
        """A record of the losses: `step` and every term by name."""

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        """Time for pictures; `model` holds the averaged weights."""

    def on_end(self) -> None:
        """Training ends, finished or stopped."""


class ProgressBar(Callback):
    def on_start(self, config: Config, first: int) -> None:
        self.bar = tqdm(total=config.steps, initial=first, desc=config.name, unit="step", mininterval=1)

    def on_log(self, record: dict[str, float]) -> None:
        def both(kind: str) -> str:
            return f"{(record[f'{kind}_1'] + record[f'{kind}_2']) / 2:.3f}"

        shown = ("image", "content", "style", "gan", "discriminator")
        self.bar.set_postfix({kind: both(kind) for kind in shown if f"{kind}_1" in record}, refresh=False)
        self.bar.update(int(record["step"]) - self.bar.n)

    def on_end(self) -> None:
        self.bar.close()


class TensorBoardLog(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_start(self, config: Config, first: int) -> None:
        with self._errors_named():
            self.writer = SummaryWriter(str(self.folder), purge_step=first)

    def on_log(self, record: dict[str, float]) -> None:
        with self._errors_named():
            for name, value in record.items():
                if name != "step":
                    self.writer.add_scalar(f"loss/{name}", value, int(record["step"]))

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        sheet = sample_sheet(model, data)
        with self._errors_named():
            self.writer.add_image("samples", sheet, step)

    def on_end(self) -> None:
        with self._errors_named():
            self.writer.close()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """TensorBoard writes in a thread of its own and tells a full disk later, without a file name."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self.folder, error, "The last saved state is untouched") from error


class SampleSheets(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_sample(self, step: int, model: MUNIT, data: ImageData) -> None:
        sheet = sample_sheet(model, data)
        with replacing(self.folder / f"step_{step:08d}.png") as partial:
            save_image(sheet, partial, format="png")


@torch.no_grad()
def sample_rows(
    model: MUNIT, data: ImageData, source: int, columns: int = 8, styles: int = 4
) -> list[tuple[str, Tensor]]:
    """The rows of a sample sheet for one direction, with their names.

    Inputs, reconstructions, `styles` rows of one drawn style each, and a row guided by the image of the other
    domain in the same column. Each row is (columns, 3, H, W) in [-1, 1].
    """
    device = next(model.parameters()).device
    held_out = data.test(columns)
    images = {1: held_out.images_1.to(device), 2: held_out.images_2.to(device).roll(1, dims=0)}
    target = 3 - source
    drawn = model.sample_style(styles, torch.Generator().manual_seed(0))
    rows = [("input", images[source]), ("reconstruction", model.reconstruct(images[source], source))]
    for k in range(styles):
        rows.append((f"drawn style {k + 1}", model.translate(images[source], source, target, style=drawn[k : k + 1])))
    rows.append(("example", images[target]))
    rows.append(("guided by it", model.translate(images[source], source, target, style_from=images[target])))
    return rows


def sample_sheet(model: MUNIT, data: ImageData, columns: int = 8) -> Tensor:
    """Both directions as one picture: (3, H, W) in [0, 1], never stretched."""
    rows = [row for source in (1, 2) for _, row in sample_rows(model, data, source, columns)]
    return make_grid((torch.cat(rows).float().cpu() / 2 + 0.5).clamp(0, 1), nrow=len(rows[0]))


def default_callbacks(folder: Path) -> list[Callback]:
    return [ProgressBar(), TensorBoardLog(folder / "tensorboard"), SampleSheets(folder / "samples")]
