"""What the command line can do: each command is a record of its options that runs and answers.

A field's docstring is its line of help. Torch is imported by what needs it, so that help and completion come at once
and `doctor` answers where torch is broken.
"""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import tyro

from munit_lite.config import Config
from munit_lite.presets import PRESETS, preset

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
    """Side in pixels: the shorter side is resized to it, the center square cut out. None: the model's own side."""
    seed: int = 0
    """Seed of the drawn styles."""
    batch_size: int = 16
    """Translations made at once; fewer take less memory."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto: a GPU if there is one."""
    overwrite: bool = False
    """Replace files that are already there; otherwise a single one stops the command before it starts."""

    def run(self) -> Answer:
        from munit_lite.acceleration import find_device
        from munit_lite.inference import translate_files
        from munit_lite.storage.checkpoints import load

        done = translate_files(
            load(self.model).to(find_device(self.device)),
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
        inputs = len({image["input"] for image in done["images"]})
        styles = len(done["images"]) // inputs
        shown = done["sheet_shows"]
        whole = shown == {"inputs": inputs, "styles": styles}
        part = "all" if whole else f"the first {shown['inputs']} × {shown['styles']} of them"
        return Answer(
            f"wrote {inputs} × {styles} images (inputs × styles) into {self.out}, and {done['sheet']} with {part}",
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
        if self.json_file is not None:  # told before minutes are spent on measuring
            self.json_file.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(self.json_file.parent, os.W_OK):
                raise ValueError(f"--json-file is {self.json_file}, but its folder cannot be written into")
        text, numbers, settings = self.measure()
        from munit_lite.experiments.results import provenance, write_results

        if self.json_file is not None:
            write_results(self.json_file, numbers, settings)
        return Answer(text, {"numbers": numbers, "provenance": provenance(settings)})


@dataclass(kw_only=True)
class Evaluate(Measurement):
    """Measure a trained model: on the known world against its truth, on Fashion-MNIST against held-out photos, on
    folders by the varieties it reaches, if their photos name them (Lemon_001.jpg, or a folder for each)."""

    model: Model
    """A run folder, a weights file, or the name of a shipped checkpoint."""
    count: int = 1000
    """Test contents or images in each direction; at least 2."""
    seed: int = 1
    """Seed of the test contents and of the drawn styles."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to translate; auto: a GPU if there is one. Judges read on the CPU."""
    propositions: bool = False
    """Instead say of each of the paper's four propositions whether it holds, fails or is undecided for the model."""

    def measure(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        if self.count < 2:
            raise ValueError(f"--count is {self.count}, but an interval needs 2 or more")
        from munit_lite.acceleration import find_device
        from munit_lite.evaluation import metrics
        from munit_lite.storage.checkpoints import load

        model = load(self.model).to(find_device(self.device))
        if self.propositions:
            from munit_lite.theory.propositions import check_trained

            verdicts = check_trained(model, self.count, self.seed)
            return (
                "\n\n".join(verdict.text() for verdict in verdicts.values()),
                {name: verdict.as_dict() for name, verdict in verdicts.items()},
                {"model": self.model, "count": self.count, "seed": self.seed, "propositions": True},
            )
        numbers = metrics.evaluate(model, count=self.count, seed=self.seed)
        heading = f"{self.model}: {model.config.name}, mean ± half of the 95 % interval"
        return (
            f"{heading}\n{metrics.table(numbers).replace('_', ' ')}",
            numbers,
            {"model": self.model, "count": self.count, "seed": self.seed},
        )


@dataclass
class Bench(Measurement):
    """Time, memory and time split of one training step of each preset, each in processes of its own; or the explorers'
    times."""

    presets: tuple[str, ...] = field(default=tuple(name for name in PRESETS if PRESETS[name].method == "munit"))
    """Presets to measure; by default MUNIT's."""
    steps: int = 5
    """Timed steps of each, with --explorers timed moves of each slider, after one that is not counted."""
    precisions: tuple[Literal["32-true", "tf32", "bf16-mixed"], ...] = ()
    """Arithmetics to measure each in; by default the preset's own."""
    batch_sizes: tuple[int, ...] = ()
    """Batch sizes to measure each with; by default the preset's own."""
    compile: bool = False
    """Measure each also compiled."""
    straight_line: bool = False
    """Also time, in alternation, the straight-line step: objective.py on a plain model, nothing accelerated."""
    explorers: bool = False
    """Instead time each explorer from a moved slider to the new picture, in the kernel."""

    def measure(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        if self.steps < 1:
            raise ValueError(f"--steps is {self.steps}, but it must be 1 or more")
        if self.explorers:
            from munit_lite.course.explorers import timing as bench_explorers

            numbers = bench_explorers.measure_latency(self.steps)
            return bench_explorers.latency_table(numbers), numbers, {"steps": self.steps, "explorers": True}
        from munit_lite.experiments import benchmark as bench

        rows = bench.cases(self.presets, self.precisions, self.compile, self.batch_sizes)
        for row in rows:
            row.config()  # what does not exist is told before minutes are spent on the others
        numbers = {str(row): bench.measure(row, self.steps, self.straight_line) for row in bench.shown(rows)}
        text = f"{bench.table(numbers)}\n\n{bench.split_table(numbers)}"
        return text, numbers, {"steps": self.steps, "straight_line": self.straight_line}


@dataclass(kw_only=True)
class Sweep(Job):
    """Run a grid of training notebooks (methods, seeds, data); what is finished already is not repeated."""

    file: tyro.conf.Positional[Path]
    """The grid: a .yaml file such as data/sweeps/paper_tables.yaml."""
    out: Path | None = None
    """Folder of the runs, on a cluster one that all workers see; None: runs/ and the file's name."""
    workers: int | None = None
    """Processes of this machine; None: one for each GPU, or for each core."""
    scheduler: str | None = None
    """Address of a cluster's Dask scheduler, tcp://host:8786, whose workers do the runs instead."""
    results: Path | None = None
    """Also write the numbers of all finished runs, with their provenance, into this .json file; runs that it holds
    already are not repeated, so a long sweep can be run in pieces, each on another machine."""

    def run(self) -> Answer:
        if self.results is not None and self.results.suffix != ".json":
            raise ValueError(f"--results is {self.results}, but its name must end in .json")
        from munit_lite.experiments import claims as expectations
        from munit_lite.experiments import plans, sweep
        from munit_lite.experiments.results import write_results

        planned, out = plans.read_plan(self.file), self.out or Path("runs") / self.file.stem
        earlier = self._earlier()

        def keep() -> None:
            if self.results is not None:
                found = sweep.gather(planned, out, earlier)
                write_results(self.results, found, {"sweep": self.file.name}, f"munit-lite sweep {self.file}")

        outcomes = sweep.run_sweep(planned, out, self.workers, self.scheduler, earlier, finished=keep)
        keep()
        judged = expectations.compared(planned.expectations, sweep.gather(planned, out, earlier))
        words = "\n".join(filter(None, [expectations.told(judged), sweep.report(outcomes)]))
        return Answer(
            f"{words}\nnotebooks and numbers of the runs are in {out}",
            {"out": str(out), "runs": [vars(o) for o in outcomes], "expectations": expectations.as_dicts(judged)},
            good=not any(outcome.status == "failed" for outcome in outcomes),
        )

    def _earlier(self) -> dict[str, Any]:
        """What the results file holds already."""
        from munit_lite.experiments.results import read_results
        from munit_lite.experiments.sweep import is_gathered

        if self.results is None or not self.results.exists():
            return {}
        try:
            found = read_results(self.results)
        except (ValueError, KeyError, TypeError):
            found = None
        if not is_gathered(found):
            raise ValueError(f"--results is {self.results}, which no sweep has written; give another name")
        return found or {}


@dataclass(kw_only=True)
class Download(Job):
    """Download a public data set, or go on with a download that broke off."""

    name: tyro.conf.Positional[Literal["edges2shoes", "edges2handbags", "apples2citrus"]]
    """edges2shoes (an archive of 2 GB) or edges2handbags (8 GB): edges and photos of pix2pix; apples2citrus (0.1 GB):
    photos of five varieties a side from the Grocery Store Dataset. Unpacking takes as much room again."""
    root: Path | None = None
    """Data root to put it into; None: the variable MUNIT_LITE_DATA, else ./data/downloads."""

    def run(self) -> Answer:
        from munit_lite.data.datasets import data_root
        from munit_lite.data.downloads import ARCHIVES, download

        folder = download(self.name, self.root or data_root(preset("folder64")))
        inside = [place for place in sorted(folder.iterdir()) if place.is_dir()]
        counts = {place.name: sum(1 for _ in place.iterdir()) for place in inside}
        pictures = ", ".join(f"{count:,} pictures in {name}" for name, count in counts.items())
        recipe = self.name if self.name in PRESETS else f"folder64 --folder {self.name}"
        where = f" --data-root {shlex.quote(str(self.root))}" if self.root else ""
        return Answer(
            f"{self.name} is in {folder}: {pictures}\ntrain on it with: munit-lite train {recipe}{where}",
            {"name": self.name, "folder": str(folder), "url": ARCHIVES[self.name].url, "pictures": counts},
        )


@dataclass
class Doctor(Job):
    """Examine the machine: versions, device, memory, disk, data, checkpoints, browser, minutes of each notebook."""

    def run(self) -> Answer:
        from munit_lite.doctor import examine

        report = examine()
        return Answer(report.text(), report.as_dict(), report.healthy)


COMMANDS: dict[str, Any] = {
    "train": train,
    "translate": Translate,
    "evaluate": Evaluate,
    "sweep": Sweep,
    "bench": Bench,
    "download": Download,
    "doctor": Doctor,
}
