"""`munit-lite`: train, translate, evaluate, bench, doctor. Options come from the configuration records."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from munit_lite.checkpoints import CheckpointError, load, versions
from munit_lite.config import PRESETS, Config
from munit_lite.datasets import IMAGE_SUFFIXES, DataError, read_image, to_unit
from munit_lite.training import TrainingError
from munit_lite.training import train as train_model


@dataclass
class TrainJob:
    """Train a preset; an unfinished run in the same folder goes on exactly where it stopped."""

    config: Config
    out: Path
    """Folder of the run."""


_JOBS = {name: TrainJob(config, Path("runs") / name) for name, config in PRESETS.items()}
AnyJob: Any = tyro.extras.subcommand_type_from_defaults(_JOBS, prefix_names=False)


def train(job: AnyJob) -> None:
    """Train a preset; an unfinished run in the same folder goes on exactly where it stopped."""
    run = train_model(job.config, job.out)
    print(f"trained {run.config.steps} steps; weights, losses and sample sheets are in {run.folder}")


def translate(
    model: tyro.conf.Positional[str],
    images: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    source: int = 1,
    styles: int = 4,
    style_from: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Translate an image or a folder of images into the other domain.

    Args:
        model: A run folder, a weights file, or the name of a shipped checkpoint.
        images: An image or a folder of images of the source domain.
        out: Folder to write into.
        source: Domain of the images: 1 or 2.
        styles: Styles drawn for each image.
        style_from: An image of the target domain to take the style from, instead of drawing.
        seed: Seed of the drawn styles.
        overwrite: Replace files that are already there.
    """
    from torchvision.transforms.v2.functional import center_crop
    from torchvision.utils import save_image

    munit = load(model)
    side = munit.config.data.size

    def read(file: Path) -> torch.Tensor:
        return to_unit(center_crop(read_image(file, side), [side, side]))[None]

    files = [images] if images.is_file() else sorted(f for f in images.glob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{images} is neither an image nor a folder with images")
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    drawn = munit.sample_style(styles, generator)
    codes = drawn if style_from is None else munit.encode_style(read(style_from), 3 - source).detach()
    for file in files:
        picture = read(file)
        for k, code in enumerate(codes):
            target = out / f"{file.stem}_style{k}.png"
            if target.exists() and not overwrite:
                raise DataError(f"{target} is already there; use --overwrite or another folder")
            save_image(munit.translate(picture, source, 3 - source, style=code[None])[0] / 2 + 0.5, target)
    print(f"wrote {len(files) * len(codes)} images into {out}")


def evaluate(model: tyro.conf.Positional[str], count: int = 1000, seed: int = 1, json_file: Path | None = None) -> None:
    """Measure a trained model: on the known world against its truth, on real images against held-out ones.

    Args:
        model: A run folder, a weights file, or the name of a shipped checkpoint.
        count: Test contents or images in each direction.
        seed: Seed of the test contents and of the drawn styles.
        json_file: Also write the numbers, with provenance, into this .json file.
    """
    from munit_lite.study.metrics import evaluate as measure
    from munit_lite.study.metrics import table
    from munit_lite.study.results import write_results

    munit = load(model)
    numbers = measure(munit, count=count, seed=seed)
    print(table(numbers))
    if json_file is not None:
        write_results(json_file, numbers, settings={"model": model, "count": count, "seed": seed})


def bench(presets: tuple[str, ...] = tuple(PRESETS), steps: int = 5, json_file: Path | None = None) -> None:
    """Time and memory of one training step of each preset, each in a process of its own.

    Args:
        presets: Presets to measure.
        steps: Timed steps, after one that is not counted.
        json_file: Also write the numbers, with provenance, into this .json file.
    """
    from munit_lite.study.bench import measure, table
    from munit_lite.study.results import write_results

    numbers = {name: measure(name, steps) for name in presets}
    print(table(numbers))
    if json_file is not None:
        write_results(json_file, numbers, settings={"steps": steps})


def doctor() -> None:
    """What this machine offers: versions, device, threads, data sets, shipped checkpoints."""
    from munit_lite.checkpoints import SHIPPED
    from munit_lite.config import preset
    from munit_lite.datasets import data_root
    from munit_lite.study.results import device_name

    root = data_root(preset("fashion32"))
    facts: dict[str, Any] = {
        **versions(),
        "device": device_name(),
        "data root": f"{root}{'' if root.is_dir() else ' (not there yet; downloads go here)'}",
        "Fashion-MNIST": "found" if (root / "FashionMNIST" / "raw").is_dir() else "not found",
        "shipped checkpoints": ", ".join(sorted(f.stem for f in SHIPPED.glob("*.safetensors"))) or "none",
    }
    for name, fact in facts.items():
        print(f"{name:20} {fact}")


def main() -> None:
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"train": train, "translate": translate, "evaluate": evaluate, "bench": bench, "doctor": doctor},
            prog="munit-lite",
            description=__doc__,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    except (CheckpointError, DataError, TrainingError, ValueError) as error:
        sys.exit(f"munit-lite: {error}")
    except KeyboardInterrupt as stop:
        print(f"munit-lite: {stop}", file=sys.stderr)
        sys.exit(130)
