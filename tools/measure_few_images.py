"""Measure what MUNIT learns from few images: `python -m tools.measure_few_images --runs RUNS --images 5`.

The images are those of the known world, saved as a user's own folders would be, so that translations of new images can
be compared with the truth. Each call trains one model and adds it to data/results/few_images.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from munit_lite.config import Config
from munit_lite.data.folder_layout import DatasetFiles, FileSet
from munit_lite.data.folders import FolderData
from munit_lite.data.image_files import float_to_uint8, list_images, write_png
from munit_lite.evaluation.attribute_predictors import labeled_images, load_attribute_predictor
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.world_metrics import Direction, content_metrics, style_metrics
from munit_lite.experiments.provenance import provenance
from munit_lite.experiments.results import read_results_file, write_results
from munit_lite.model import MUNIT
from munit_lite.presets import preset
from munit_lite.training import train
from munit_lite.world import DIRECTIONS, DOMAIN_NAMES, World
from tools.measure_own_images import class_accuracy_at_training_scale

RESULT = "few_images"
VARIANT, SIZE = "laboratory", 16
PNG_SIZE = 64  # photos, too, are larger than the size at which a model is trained
HELD_OUT = 400  # real images of each domain that the discriminators have not seen
SEED = 0


def write_world_folders(folder: Path, images: int, held_out: int = HELD_OUT) -> None:
    """Save images of the known world in trainA (sketches), trainB (paintings), testA and testB.

    Args:
        folder: where to create the four folders.
        images: number of training images of each domain.
        held_out: number of held-out images of each domain.
    """
    world = World(VARIANT)
    for domain, letter in zip(DOMAIN_NAMES, "AB", strict=True):
        for stream, count in (("train", images), ("test", held_out)):
            for number, image in enumerate(world.images(torch.arange(count), SEED, domain, PNG_SIZE, stream)):
                write_png(folder / f"{stream}{letter}" / f"{number:04d}.png", float_to_uint8(image))


def few_images_config(folder: Path, steps: int) -> Config:
    """Return the configuration of a run: the preset `laboratory`, but with images from folders."""
    options = {"dataset": "folder", "folder": str(folder), "steps": steps, "seed": SEED, "num_threads": 1}
    return preset("laboratory", **options, sample_every=steps, num_checkpoints=1)


def crops_of(files: list[Path], count: int) -> Tensor:
    """Return `count` random crops of images, as training would see them: (count, 3, 16, 16) in [-1, 1]."""
    file_set = FileSet(files)
    return FolderData(DatasetFiles((file_set, file_set), (file_set, file_set)), SIZE, SEED + 1).batch(0, count)[0]


@torch.no_grad()
def discriminator_metrics(model: MUNIT, folder: Path, domain: int, count: int = 320) -> Metrics:
    """Measure which images a discriminator classifies as real: a mean logit above 0.

    The discriminators of the preset compare groups of eight images, so the groups of held-out images show as few
    different images as those of training do.

    Args:
        model: a trained model with its discriminators.
        folder: of `write_world_folders`.
        domain: 1 or 2, of the discriminator.
        count: crops, and translations, to classify; a multiple of 32.

    Returns:
        `training_images_accepted`, `held_out_images_accepted` and `translations_rejected` in [0, 1], the last for
        translations of training images, each with its 95 % interval over crops. Several crops show the same image and
        are therefore not independent, so the interval is too narrow for a statement about other images.
    """
    letter, other = "AB"[domain - 1], "BA"[domain - 1]
    files, held_out = (list_images(folder / f"{stream}{letter}") for stream in ("train", "test"))
    sets = [held_out[k : k + len(files)] for k in range(0, len(held_out) - len(files) + 1, len(files))][: count // 32]
    generator = torch.Generator().manual_seed(SEED)
    inputs = crops_of(list_images(folder / f"train{other}"), count)
    images = {
        "training_images_accepted": crops_of(files, count),
        "held_out_images_accepted": torch.cat([crops_of(part, count // len(sets) // 8 * 8) for part in sets]),
        "translations_rejected": model.translate(inputs, 3 - domain, domain, generator=generator),
    }
    metrics: Metrics = {}
    for name, batch in images.items():
        logits = torch.cat(model.discriminator(domain)(batch), dim=1).mean((1, 2, 3))
        hits = (logits > 0) == (name != "translations_rejected")
        metrics[name], metrics[f"{name}_interval"] = mean_with_interval(hits)
    return metrics


@torch.no_grad()
def class_accuracy_on_training_images(model: MUNIT, source: int, images: int, styles: int = 64) -> Metrics:
    """Measure how often translations of the training images show their class, and count their classes.

    Args:
        model: translates the images.
        source: 1 or 2.
        images: number of training images of each domain.
        styles: translations of each image.
    """
    batch = labeled_images(World(VARIANT), source, torch.arange(images), SEED, SIZE, "train")
    style = model.sample_style(images * styles, torch.Generator().manual_seed(SEED))
    outputs = model.translate(batch.images.repeat_interleave(styles, 0), source, 3 - source, style=style)
    predicted = load_attribute_predictor(3 - source, VARIANT)(outputs).shape_class.view(images, styles)
    hits = (predicted == batch.content.shape_class[:, None]).double().mean(1)
    accuracy, interval = mean_with_interval(hits)
    return {
        "class_accuracy_training_images": accuracy,
        "class_accuracy_training_images_interval": interval,
        "classes_of_training_images": len(batch.content.shape_class.unique()),
    }


def model_metrics(model: MUNIT, folder: Path, images: int, contents: int = 500) -> dict[str, Metrics]:
    """Measure a model on new images of the known world, and its discriminators on training and held-out images.

    Args:
        model: trained on a folder of `write_world_folders`.
        folder: that folder.
        images: its number of training images of each domain.
        contents: number of new images of each domain.

    Returns:
        Direction -> metrics; the discriminator's are those of the target domain.
    """
    measured = {}
    for (source, target), name in DIRECTIONS.items():
        predictor = load_attribute_predictor(target, VARIANT)
        direction = Direction(model, predictor, World(VARIANT), source, SEED + 1, SIZE)
        measured[name] = {
            **content_metrics(direction, contents),
            **style_metrics(direction, contents // 10),
            **class_accuracy_on_training_images(model, source, images),
            **class_accuracy_at_training_scale(model, VARIANT, source, contents),
            **discriminator_metrics(model, folder, target),
        }
    return measured


def measure_few_images(runs: Path, images: int, steps: int = 1500) -> Path:
    """Train on few images of the known world, and add the run's metrics to data/results/few_images.json.

    Args:
        runs: folder for the images and the run; a run that was stopped resumes.
        images: number of training images of each domain.
        steps: training steps.

    Returns:
        The path of the written file.

    Raises:
        ValueError: there are fewer held-out images than training images, so the discriminators cannot be measured.
    """
    if images > HELD_OUT:
        raise ValueError(f"--images is {images}, but the discriminators are measured on {HELD_OUT} held-out images")
    folder = runs / f"{images}_images"
    write_world_folders(folder, images)
    model = train(few_images_config(folder, steps), runs / f"{images}_run").model
    return add_run(images, steps, model_metrics(model.eval(), folder, images))


def add_run(images: int, steps: int, metrics: dict[str, Metrics]) -> Path:
    """Add the metrics of a run to data/results/few_images.json, where every run keeps a provenance of its own.

    Args:
        images: number of training images of each domain; earlier metrics of as many are replaced.
        steps: training steps.
        metrics: direction -> metrics.

    Returns:
        The path of the written file. The settings in its provenance are those that all runs share, and `runs` with the
        provenance of each.
    """
    try:
        earlier = read_results_file(RESULT)
    except FileNotFoundError:
        earlier = {"numbers": {}, "provenance": {"settings": {}}}
    measured = earlier["numbers"]
    # A file without `runs` has one provenance for all of them.
    runs = earlier["provenance"]["settings"].get("runs") or dict.fromkeys(measured, earlier["provenance"])
    settings = {"preset": "laboratory", "dataset": "folder", "steps": steps, "seed": SEED, "held_out": HELD_OUT}
    command = f"python -m tools.measure_few_images --runs RUNS --images {images} --steps {steps}"
    measured[f"{images} images"], runs[f"{images} images"] = metrics, provenance(settings, command)
    ordered = dict(sorted(measured.items(), key=lambda item: int(item[0].split()[0])))
    shared: dict[str, Any] = {
        name: value
        for name, value in settings.items()
        if all(run["settings"].get(name) == value for run in runs.values())
    }
    return write_results(RESULT, ordered, shared | {"runs": runs}, command, ("training_images", "direction"))


if __name__ == "__main__":
    tyro.cli(measure_few_images)
