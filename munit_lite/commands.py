"""The commands of `munit-lite`: each is a function whose parameters are its options and whose docstring is its help.

`cli.py` parses what was typed, calls the function, and prints its result. Each function imports torch only when it
runs, so that help and completion appear at once and `doctor` answers where torch is broken.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro
from tyro.conf import Positional

from munit_lite.config import Config, Device, Precision, check_folders
from munit_lite.presets import PRESETS, preset


class CommandResult(NamedTuple):
    """The result of a command, as text and as plain values for `--json`; without success the exit code is 1."""

    text: str
    values: dict[str, Any]
    success: bool = True


class UsageError(ValueError):
    """The value of an option is not acceptable: exit code 2."""


# ---------------------------------------------------------------------------------------------------------- training


class UncheckedConfig(Config):
    """A configuration before its values are checked, so that `train` and not the parser reports a wrong value."""

    preset: tyro.conf.Suppress[str]  # no option: it is chosen by its name

    def __post_init__(self) -> None:
        pass

    def checked(self) -> Config:
        """Return the configuration.

        Raises:
            UsageError: a field has a value that it does not accept.
        """
        try:
            config = Config(**vars(self))
            check_folders(config.data)
            return config
        except ValueError as error:
            raise UsageError(str(error)) from error


def _description(config: Config) -> str:
    dataset = {
        "world": "the known world",
        "fashion": "edges and photos of Fashion-MNIST",
        "folder": "two folders of your own images (--folder)",
    }[config.data.dataset]
    return f"{dataset} at {config.data.image_size} px, {config.steps:,} steps, batch size {config.batch_size}"


PresetConfig: Any = tyro.extras.subcommand_type_from_defaults(
    {name: UncheckedConfig(**vars(config)) for name, config in PRESETS.items()},
    {name: _description(config) for name, config in PRESETS.items()},
    prefix_names=False,
)


def train(config: PresetConfig, out: Path | None = None) -> CommandResult:
    """Train a preset, resume an unfinished run, or train one longer; every field of the configuration is an option.

    Args:
        config: The preset to start from; its fields are options.
        out: Folder of the run. If it holds an unfinished run of the same configuration, training resumes exactly where
            it stopped; with more --steps, a run goes on beyond its old end. None: runs/PRESET.
    """
    checked = config.checked()
    from munit_lite.training import train as train_model

    run = train_model(checked, out or Path("runs") / checked.preset)
    losses = run.history[-1] if run.history else {}
    return CommandResult(
        f"trained {run.config.steps} steps; weights, losses and sample sheets are in {run.folder}",
        {"run": str(run.folder), "preset": run.config.preset, "steps": run.config.steps, "losses": losses},
    )


# -------------------------------------------------------------------------------------------------------- translation


def translate(
    model: Positional[str],
    images: Positional[Path],
    out: Positional[Path],
    source: Literal[1, 2] = 1,
    styles: int = 4,
    fresh_styles: bool = False,
    style_from: Path | None = None,
    size: int | Literal["native"] | None = None,
    crop: Literal["none", "square"] = "none",
    seed: int = 0,
    batch_size: int = 16,
    device: Device = "auto",
    overwrite: bool = False,
) -> CommandResult:
    """Translate an image or a folder of images into the other domain, in several styles.

    Args:
        model: A run folder, a weights file, or the name of a shipped checkpoint.
        images: An image of the source domain, or a folder of such images; its subfolders are ignored.
        out: Folder for IMAGE_style1.png, … or IMAGE_like_EXAMPLE.png, and sheet.png (at most 16 inputs by 8 styles).
        source: Domain of the images; they are translated into the other one.
        styles: Number of styles sampled from the prior, the same ones for every image.
        fresh_styles: Sample new styles for every image instead of the same ones for all.
        style_from: Image of the target domain, or a folder of them, whose styles replace the sampled ones. They
            are resized to the trained size and used whole.
        size: Pixels to which the shorter side of each image is resized; the aspect ratio is kept. native: each image
            keeps its size, at most 2,097,152 pixels (about 1920 x 1080). None: the size that the model was trained at.
        crop: square: cut images and examples to their center squares.
        seed: Seed of the sampled styles.
        batch_size: Translations computed in one batch; a smaller number takes less memory.
        device: Where to compute; auto: a GPU if there is one.
        overwrite: Replace existing files; otherwise an existing file stops the command before it writes anything.
    """
    from munit_lite.acceleration import find_device
    from munit_lite.inference import translate_files
    from munit_lite.storage.checkpoints import load

    translations = translate_files(
        load(model).to(find_device(device)),
        images,
        out,
        source=source,
        styles=styles,
        style_from=style_from,
        fresh_styles=fresh_styles,
        size=size,
        crop=crop,
        seed=seed,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    num_inputs = len({image["input"] for image in translations["images"]})
    num_styles = len(translations["images"]) // num_inputs
    on_sheet = translations["sheet_shows"]
    complete = on_sheet == {"inputs": num_inputs, "styles": num_styles}
    part = "all of them" if complete else f"the first {on_sheet['inputs']} × {on_sheet['styles']} of them"
    trained = translations["settings"]["trained_size"]
    side = "the images kept their size" if size == "native" else f"the shorter side was {size or trained} px"
    lines = [
        f"wrote {num_inputs} × {num_styles} images (inputs × styles) into {out}, and {translations['sheet']} with "
        f"{part}",
        f"{side}; the model was trained at {trained} px",
        *(f"warning: {warning}" for warning in translations["warnings"]),
    ]
    return CommandResult("\n".join(lines), {"model": model, **translations})


# -------------------------------------------------------------------------------------------------------- measurements

MUNIT_PRESETS = tuple(name for name, config in PRESETS.items() if config.method == "munit")


def evaluate(
    model: Positional[str],
    count: int | None = None,
    seed: int = 1,
    device: Device = "auto",
    propositions: bool = False,
    json_file: Path | None = None,
) -> CommandResult:
    """Evaluate a trained model: on the known world against the truth, on Fashion-MNIST against held-out photos, on
    folders by reconstruction and cycle errors, diversity, KID and FID, and by mode coverage if the photos name their
    varieties (Lemon_001.jpg, or one folder for each).

    Args:
        model: A run folder, a weights file, or the name of a shipped checkpoint.
        count: Test contents or images in each direction; at least 2, by default 1000, with --propositions 2000. KID and
            FID need 100. For the model apples2citrus and one core, 20 images take about 1 minute, the default about 5,
            both without LPIPS, KID and FID.
        seed: Seed of the test contents and of the sampled styles.
        device: Where to translate; auto: a GPU if there is one. Attribute predictors run on the CPU.
        propositions: Instead report for each of the paper's four propositions whether it holds for the model, fails or
            is undecided.
        json_file: Also write the numbers into this .json file, which `compare` reads.
    """
    _check_json_file(json_file)
    if count is not None and count < 2:
        raise UsageError(f"--count is {count}, but an interval needs 2 or more")
    from munit_lite.acceleration import find_device
    from munit_lite.data import open_data
    from munit_lite.evaluation import evaluate as evaluation
    from munit_lite.evaluation.metric_meanings import format_meanings
    from munit_lite.storage.checkpoints import load

    loaded = load(model).to(find_device(device))
    if propositions:
        from munit_lite.theory.propositions import UNITS, check_trained_model

        count = UNITS if count is None else count
        settings: dict[str, Any] = {"model": model, "count": count, "seed": seed}
        verdicts = check_trained_model(loaded, count, seed)
        text = "\n\n".join(verdict.report() for verdict in verdicts.values())
        numbers = {name: verdict.to_dict() for name, verdict in verdicts.items()}
        return _measurement(
            text, numbers, settings | {"propositions": True}, json_file, ("proposition", "list", "part")
        )
    images, count = open_data(loaded.config), 1000 if count is None else count
    settings = {"model": model, "count": count, "seed": seed}
    numbers = evaluation.evaluate(loaded, count, seed, images)
    heading = f"{model}: {loaded.config.preset}, mean ± half of the 95 % interval"
    notes = evaluation.explain(loaded, numbers, images)
    tables = evaluation.format_metrics(numbers), format_meanings(numbers)
    text = "\nmeaning of the metrics\n".join(table.replace("_", " ") for table in tables)
    result = _measurement("\n\n".join([f"{heading}\n{text}", *notes]), numbers, settings, json_file, ("direction",))
    return result._replace(values=result.values | {"notes": notes})


def bench(
    presets: tuple[str, ...] = MUNIT_PRESETS,
    steps: int = 5,
    precisions: tuple[Precision, ...] = (),
    batch_sizes: tuple[int, ...] = (),
    compile: bool = False,
    straight_line: bool = False,
    json_file: Path | None = None,
) -> CommandResult:
    """Measure time, memory and time split of one training step of each preset.

    Args:
        presets: Presets to measure, each in a process of its own; by default those of MUNIT.
        steps: Timed steps of each preset, after an untimed one.
        precisions: Precisions to measure each preset with; by default the preset's own.
        batch_sizes: Batch sizes to measure each preset with; by default the preset's own.
        compile: Also measure each preset compiled.
        straight_line: Also time the straight-line step, in alternation: objective.py on a plain model, without
            acceleration.
        json_file: Also write the numbers into this .json file.
    """
    _check_json_file(json_file)
    if steps < 1:
        raise UsageError(f"--steps is {steps}, but it must be 1 or more")
    from munit_lite.experiments import benchmark
    from munit_lite.experiments.benchmark_tables import cost_table, profile_table

    cases = benchmark.cases(presets, precisions, compile, batch_sizes)
    for case in cases:
        case.config()  # an invalid one raises before minutes are spent on the others
    numbers = {str(case): benchmark.measure(case, steps, straight_line) for case in benchmark.with_progress_bar(cases)}
    text = f"{cost_table(numbers)}\n\n{profile_table(numbers)}"
    return _measurement(text, numbers, {"steps": steps, "straight_line": straight_line}, json_file, ("preset",))


def _check_json_file(file: Path | None) -> None:
    """Check that the file can be written, before minutes are spent on measuring.

    Raises:
        UsageError: its name does not end in .json, or its folder cannot be written to.
    """
    if file is None:
        return
    if file.suffix != ".json":
        raise UsageError(f"--json-file is {file}, but its name must end in .json")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--json-file is {file}, but its folder cannot be created: {error}") from error
    if not os.access(file.parent, os.W_OK):
        raise UsageError(f"--json-file is {file}, but its folder cannot be written to")


def _measurement(
    text: str, numbers: dict[str, Any], settings: dict[str, Any], file: Path | None, columns: tuple[str, ...]
) -> CommandResult:
    """Return numbers with their provenance, and write them into the file if there is one."""
    from munit_lite.experiments.provenance import provenance
    from munit_lite.experiments.results import write_results

    if file is not None:
        write_results(file, numbers, settings, columns=columns)
    return CommandResult(text, {"numbers": numbers, "provenance": provenance(settings)})


def compare(files: Positional[tuple[Path, ...]], metrics: tuple[str, ...] = ()) -> CommandResult:
    """Show the results of several runs in one table, one column for each; a sweep has a column for each method.

    Args:
        files: Results files: those that notebook 09 writes through papermill (-p results FILE.json), and those of
            evaluate --json-file and sweep --results.
        metrics: Metrics to show, such as class_accuracy. None: the main ones.
    """
    from munit_lite.experiments.side_by_side import read_columns, side_by_side

    if not files:
        raise UsageError("compare needs one or more results files")
    try:
        columns = [column for file in files for column in read_columns(file)]
        table = side_by_side(columns, metrics)
    except ValueError as error:
        raise UsageError(str(error)) from error
    text = f"{table}\n\n± is half of the 95 % interval, over test images for a single run and over seeds for several"
    values = {
        column.heading: {f"{what}: {metric}": value[0] for (what, metric), value in column.values.items()}
        for column in columns
    }
    return CommandResult(text, values)


# -------------------------------------------------------------------------------------------------------------- sweeps


def sweep(
    file: Positional[Path],
    out: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    results: Path | None = None,
) -> CommandResult:
    """Run a grid of training notebooks (methods, seeds, data); finished runs are not repeated.

    Args:
        file: The grid: a .yaml file such as data/sweeps/paper_tables.yaml.
        out: Folder of the runs, on a cluster one that all workers share. None: runs/ and the file's name.
        workers: Processes on this machine. None: one for each GPU, or for each core. Each has OMP_NUM_THREADS threads;
            if that is not set, they share the cores.
        scheduler: Address of a cluster's Dask scheduler, tcp://host:8786, whose workers perform the runs instead.
        results: Also write the numbers of all finished runs, with their provenance, into this .json file. Runs that it
            already holds are not repeated, so a long sweep can be run in pieces, each on another machine.
    """
    if results is not None and results.suffix != ".json":
        raise UsageError(f"--results is {results}, but its name must end in .json")
    from munit_lite.experiments.results import write_results
    from munit_lite.experiments.sweep import gather, run_sweep, summarize
    from munit_lite.experiments.sweep_plan import read_plan

    plan, out = read_plan(file), out or Path("runs") / file.stem
    earlier_results = _read_earlier_results(results)

    def save_results() -> None:
        if results is not None:
            numbers = gather(plan, out, earlier_results)
            write_results(results, numbers, {"sweep": file.name}, f"munit-lite sweep {file}")

    outcomes = run_sweep(plan, out, workers, scheduler, earlier_results, on_run_finished=save_results)
    save_results()
    from munit_lite.experiments import claims

    comparisons = claims.compare(plan.expectations, gather(plan, out, earlier_results))
    text = "\n".join(filter(None, [claims.format_comparisons(comparisons), summarize(outcomes)]))
    return CommandResult(
        f"{text}\nnotebooks and numbers of the runs are in {out}",
        {
            "out": str(out),
            "runs": [vars(o) for o in outcomes],
            "expectations": claims.to_dicts(comparisons),
        },
        success=not any(outcome.status == "failed" for outcome in outcomes),
    )


def _read_earlier_results(file: Path | None) -> dict[str, Any]:
    """Return what the results file already holds.

    Raises:
        UsageError: the file was not written by a sweep.
    """
    from munit_lite.experiments.results import is_sweep, read_results

    if file is None or not file.exists():
        return {}
    try:
        earlier_results = read_results(file)
    except (ValueError, KeyError, TypeError):
        earlier_results = None
    if not is_sweep(earlier_results):
        raise UsageError(f"--results is {file}, which no sweep has written; give another name")
    return earlier_results or {}


# ------------------------------------------------------------------------------------------- course, data and machine


def start(folder: Positional[Path], overwrite: bool = False) -> CommandResult:
    """Copy the course into a folder of your own, so that your answers do not conflict with updates of the repository.

    The copy holds the notebooks and the files that they link to. It needs an installation from a clone of the
    repository (`pip install -e`), because the package alone does not hold the notebooks.

    Args:
        folder: Folder that receives the course; it is created if it does not exist, and must not hold notebooks.
        overwrite: Replace the notebooks of the course that the folder holds, and your answers in them.
    """
    from munit_lite.course.reader_copy import copy_course

    copies = copy_course(folder, overwrite)
    notebooks = [copy for copy in copies if copy.suffix == ".ipynb"]
    num_others = len(copies) - len(notebooks)
    return CommandResult(
        f"copied {len(notebooks)} notebooks, and {num_others} files that they link to, into {folder}\n"
        f"open them with: jupyter lab {shlex.quote(str(folder))}\n"
        f"and begin with {notebooks[0].relative_to(folder)}; updates of the repository do not change this folder",
        {"folder": str(folder), "files": [str(copy) for copy in copies]},
    )


def download(
    name: Positional[Literal["edges2shoes", "edges2handbags", "apples2citrus"]], root: Path | None = None
) -> CommandResult:
    """Download a public dataset, or resume an interrupted download.

    Args:
        name: edges2shoes (an archive of 2 GB) or edges2handbags (8 GB): edges and photos of pix2pix; apples2citrus
            (0.1 GB): photos of five varieties per domain from the Grocery Store Dataset. Unpacking takes the same space
            again.
        root: Data root that receives the dataset. None: the environment variable MUNIT_LITE_DATA, else
            ./data/downloads.
    """
    from munit_lite.data import data_root
    from munit_lite.data.downloads import ARCHIVES
    from munit_lite.data.downloads import download as download_archive

    folder = download_archive(name, root or data_root(preset("folder64")))
    subfolders = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    counts = {subfolder.name: sum(1 for _ in subfolder.iterdir()) for subfolder in subfolders}
    images = ", ".join(f"{count:,} images in {subfolder}" for subfolder, count in counts.items())
    recipe = name if name in PRESETS else f"folder64 --folder {name}"
    root_option = f" --data-root {shlex.quote(str(root))}" if root else ""
    return CommandResult(
        f"{name} is in {folder}: {images}\ntrain on it with: munit-lite train {recipe}{root_option}",
        {"name": name, "folder": str(folder), "url": ARCHIVES[name].url, "images": counts},
    )


def doctor() -> CommandResult:
    """Examine this machine: versions, device, memory, disk, data, checkpoints, browser, minutes of each notebook."""
    from munit_lite.doctor import diagnose

    report = diagnose()
    return CommandResult(report.text(), report.as_dict(), report.healthy)


COMMANDS: dict[str, Callable[..., CommandResult]] = {
    function.__name__: function
    for function in (start, train, translate, evaluate, compare, sweep, bench, download, doctor)
}
