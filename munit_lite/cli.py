"""`munit-lite`: train, translate, evaluate, bench, doctor.

A job is a record of its options; it runs and answers, in words or as JSON. Torch is imported by what needs it, so
that help and completion come at once and `doctor` answers where torch is broken.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import tyro

import munit_lite
from munit_lite.config import PRESETS, Config, preset

Model: TypeAlias = tyro.conf.Positional[str]


class Answer(NamedTuple):
    """What a job says: in words, and as plain values for --json."""

    text: str
    values: dict[str, Any]
    good: bool = True


@dataclass(kw_only=True)
class Job(ABC):
    json: bool = False
    """Print one JSON object on stdout instead of words; progress goes to stderr either way."""

    @abstractmethod
    def run(self) -> Answer: ...


@dataclass
class TrainJob(Job):
    config: Config
    out: Path
    """Folder of the run; an unfinished run of the same configuration in it goes on exactly where it stopped."""

    def run(self) -> Answer:
        from munit_lite.training import train

        run = train(self.config, self.out)
        losses = run.history[-1] if run.history else {}
        return Answer(
            f"trained {run.config.steps} steps; weights, losses and sample sheets are in {run.folder}",
            {"run": str(run.folder), "preset": run.config.name, "steps": run.config.steps, "losses": losses},
        )


_DATA = {
    "world": "the known world",
    "fashion": "edges and photos of Fashion-MNIST",
    "folder": "two folders of your own images (--folder)",
}
AnyTrainJob: Any = tyro.extras.subcommand_type_from_defaults(
    {name: TrainJob(config=config, out=Path("runs") / name) for name, config in PRESETS.items()},
    {
        name: f"{_DATA[config.data.dataset]} at {config.data.size} px, {config.steps:,} steps, batches of "
        f"{config.batch_size}"
        for name, config in PRESETS.items()
    },
    prefix_names=False,
)


def train(job: AnyTrainJob) -> TrainJob:
    """Train a preset, or go on with an unfinished run; every field of the configuration is an option."""
    return job


@dataclass
class Translate(Job):
    """Translate an image or a folder of images into the other domain, in several styles."""

    model: Model
    """A run folder, a weights file, or the name of a shipped checkpoint."""
    images: tyro.conf.Positional[Path]
    """An image of the source domain, or a folder of such images; folders inside it are not looked at."""
    out: tyro.conf.Positional[Path]
    """Folder for IMAGE_style1.png, … or IMAGE_like_EXAMPLE.png, and sheet.png (at most 16 inputs by 8 styles)."""
    source: Literal[1, 2] = 1
    """Domain of the images; they are translated into the other one."""
    styles: int = 4
    """How many styles to draw from the prior, the same ones for every image."""
    fresh_styles: bool = False
    """Draw other styles for every image instead of the same ones for all."""
    style_from: Path | None = None
    """Image of the target domain, or a folder of them, to take the styles from instead of drawing."""
    size: int | None = None
    """Side in pixels: the shorter side is resized to it, the centre square cut out. None: the model's own side."""
    seed: int = 0
    """Seed of the drawn styles."""
    batch_size: int = 16
    """Translations made at once; fewer take less memory."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto: a GPU if there is one."""
    overwrite: bool = False
    """Replace files that are already there; otherwise a single one stops the command before it starts."""

    def run(self) -> Answer:
        from munit_lite.checkpoints import load
        from munit_lite.study.translations import translate_files

        done = translate_files(
            load(self.model).to(_device(self.device)),
            self.images,
            self.out,
            source=self.source,
            styles=self.styles,
            style_from=self.style_from,
            fresh_styles=self.fresh_styles,
            size=self.size,
            seed=self.seed,
            batch_size=self.batch_size,
            overwrite=self.overwrite,
        )
        shown = done["sheet_shows"]
        inputs = len({image["input"] for image in done["images"]})
        styles = len(done["images"]) // inputs
        part = "" if (inputs, styles) == tuple(shown.values()) else f" (the first {shown['inputs']} inputs and "
        part += f"{shown['styles']} styles)" if part else ""
        return Answer(
            f"wrote {len(done['images'])} images into {self.out}: {inputs} inputs in {styles} styles each, and "
            f"{done['sheet']}{part}",
            {"model": self.model, **done},
        )


@dataclass
class Measurement(Job, ABC):
    json_file: Path | None = None
    """Also write the JSON object into this .json file."""

    @abstractmethod
    def measure(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """The numbers in words, the numbers, and the settings they were measured with."""

    def run(self) -> Answer:
        if self.json_file is not None and self.json_file.suffix != ".json":
            raise ValueError(f"--json-file is {self.json_file}, but its name must end in .json")
        text, numbers, settings = self.measure()
        from munit_lite.study.results import provenance, write_results

        if self.json_file is not None:
            write_results(self.json_file, numbers, settings)
        return Answer(text, {"numbers": numbers, "provenance": provenance(settings)})


@dataclass(kw_only=True)
class Evaluate(Measurement):
    """Measure a trained model: on the known world against its truth, on Fashion-MNIST against held-out photos."""

    model: Model
    """A run folder, a weights file, or the name of a shipped checkpoint."""
    count: int = 1000
    """Test contents or images in each direction; at least 2."""
    seed: int = 1
    """Seed of the test contents and of the drawn styles."""

    def measure(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        if self.count < 2:
            raise ValueError(f"--count is {self.count}, but an interval needs 2 or more")
        from munit_lite.checkpoints import load
        from munit_lite.study import metrics

        model = load(self.model)
        numbers = metrics.evaluate(model, count=self.count, seed=self.seed)
        heading = f"{self.model}: {model.config.name}, mean ± half of the 95 % interval"
        return (
            f"{heading}\n{metrics.table(numbers).replace('_', ' ')}",
            numbers,
            {"model": self.model, "count": self.count, "seed": self.seed},
        )


@dataclass
class Bench(Measurement):
    """Time and memory of one training step of each preset, each in a process of its own."""

    presets: tuple[str, ...] = field(default=tuple(PRESETS))
    """Presets to measure."""
    steps: int = 5
    """Timed steps of each, after one that is not counted."""

    def measure(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        for name in self.presets:
            preset(name)  # an unknown one is told before minutes are spent on the others
        if self.steps < 1:
            raise ValueError(f"--steps is {self.steps}, but it must be 1 or more")
        from munit_lite.study import bench

        numbers = {name: bench.measure(name, self.steps) for name in self.presets}
        return bench.table(numbers), numbers, {"steps": self.steps}


@dataclass
class Doctor(Job):
    """Examine the machine: versions, device, memory, disk, data, checkpoints, browser, minutes of each notebook."""

    def run(self) -> Answer:
        from munit_lite.study.doctor import examine

        report = examine()
        return Answer(report.text(), report.as_dict(), report.healthy)


COMMANDS: dict[str, Any] = {
    "train": train,
    "translate": Translate,
    "evaluate": Evaluate,
    "bench": Bench,
    "doctor": Doctor,
}
DESCRIPTION = """Train MUNIT, translate images with it, and measure it.
- `munit-lite COMMAND --help` tells a command's options
- `munit-lite --version` tells the version
- `munit-lite --tyro-print-completion bash` (or zsh, tcsh) prints a script that completes them in the shell
- exit codes: 0 good; 1 an error, told in a sentence on stderr, or something essential that doctor misses;
2 a command or option that does not exist; 130 stopped by Ctrl-C; 143 stopped by SIGTERM"""


def main() -> None:
    """The command `munit-lite`."""
    arguments = sys.argv[1:] or ["--help"]
    if arguments == ["--version"]:
        print(f"munit-lite {munit_lite.__version__}")
        return
    job = _parse(arguments)
    try:
        with _sigterm_exits(), contextlib.redirect_stdout(sys.stderr) if job.json else contextlib.nullcontext():
            answer = job.run()
    except KeyboardInterrupt as stop:
        print(f"munit-lite: {str(stop) or 'stopped by Ctrl-C'}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            print("munit-lite: this is unexpected; `munit-lite doctor` examines the installation", file=sys.stderr)
            raise
        sys.exit(f"munit-lite: {sentence}")
    try:
        print(json.dumps(_finite(answer.values), indent=1) if job.json else answer.text, flush=True)
    except BrokenPipeError:  # who read it, say `head`, has gone; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not answer.good:
        sys.exit(1)


def _parse(arguments: Sequence[str]) -> Job:
    try:
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="munit-lite",
            description=DESCRIPTION,
            args=arguments,
            config=(
                tyro.conf.OmitArgPrefixes,
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.PositionalMetavarFromFieldName,
                tyro.conf.DisallowNone,
            ),
        )
    except SystemExit as stop:
        near = _near(arguments) if stop.code == 2 else None
        if near:
            print(f"munit-lite: did you mean {near}?", file=sys.stderr)
        raise


def _near(arguments: Sequence[str]) -> str | None:
    """The command or preset that was probably meant, if the first name that is none looks like one."""
    for given, known in zip(arguments, (COMMANDS, PRESETS), strict=False):
        if given not in known:
            return next(iter(difflib.get_close_matches(given, known, n=1)), None)
        if given != "train":
            return None
    return None


def _sentence(error: Exception) -> str | None:
    """What to tell of a foreseen error: one of the package's own, a wrong value, a file, memory, an import."""
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU's memory is full; use a smaller --batch-size, a smaller --size, or --device cpu"
    if isinstance(error, ImportError):
        return f"{error}; `munit-lite doctor` says what is missing"
    if isinstance(error, ValueError | OSError) or type(error).__module__.startswith("munit_lite."):
        return str(error)
    return None


def _device(name: str) -> str:
    import torch

    if name != "auto":
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not available[name]:
            raise ValueError(f"--device is {name}, but this machine's torch finds none; use auto or cpu")
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _finite(values: Any) -> Any:
    """The same values with null for numbers that are not finite, which JSON cannot hold."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """While inside, SIGTERM leaves by way of an exception, so that what is open is closed; training has its own way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
