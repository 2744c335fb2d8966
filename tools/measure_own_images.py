"""Measure what users meet with images of their own; each command writes one file of data/results.

- `python -m tools.measure_own_images other-sizes`: translation at another size than the model was trained at.
- `python -m tools.measure_own_images train-test-scale`: training resizes photos to 9/8 of the size at which they are
  translated.
- `python -m tools.measure_own_images video-flicker`: a video is translated frame by frame with one style.

Photos are those of apples2citrus. `python -m tools.measure_few_images` measures what few training images cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
import tyro
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from munit_lite.data import open_data
from munit_lite.data.folders import FolderData
from munit_lite.data.image_files import read_image, uint8_to_float
from munit_lite.evaluation.attribute_predictors import (
    AttributePredictor,
    Attributes,
    labeled_images,
    load_attribute_predictor,
)
from munit_lite.evaluation.mode_coverage import (
    color_features,
    fit_variety_classifier,
    new_logistic_regression,
    photo_features,
)
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.translator import Translator
from munit_lite.evaluation.world_metrics import (
    Direction,
    content_metrics,
    example_metrics,
    labeled_batches,
    style_metrics,
    style_quantiles,
)
from munit_lite.experiments.results import write_results
from munit_lite.model import MUNIT
from munit_lite.presets import preset
from munit_lite.storage.checkpoints import load
from munit_lite.world import DIRECTIONS, World, render, style_from_code

FACTORS = (0.5, 0.75, 1.0, 1.125, 1.5, 2.0, 4.0)  # of the size at which a model was trained
PHOTOS = "apples2citrus"
PHOTO_DIRECTIONS = {direction: "domain {} to domain {}".format(*direction) for direction in DIRECTIONS}
GRAY_LEVELS = 127.5  # per unit of a difference of images in [-1, 1]
_KEPT = ("class_accuracy", "class_accuracy_shuffled_contents", "example_error", "diversity_ratio")
SHIFTS = tuple(range(1, 9))  # of a camera between two frames, in pixels


def resize(images: Tensor, size: int) -> Tensor:
    """Resize square images, (B, 3, H, H), to (B, 3, size, size): bilinearly, and without aliasing."""
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def mean_difference(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean absolute difference of images, (N, 3, H, W), in gray levels: (N,)."""
    return (first - second).abs().mean((1, 2, 3)) * GRAY_LEVELS


def with_intervals(**values: Tensor) -> Metrics:
    """Return the mean of each metric over its units, and as `<metric>_interval` half of its 95 % interval."""
    metrics: Metrics = {}
    for name, units in values.items():
        metrics[name], metrics[f"{name}_interval"] = mean_with_interval(units)
    return metrics


def blur(images: Tensor) -> Tensor:
    """Shift images, (N, 3, H, W), by half a pixel and back with linear interpolation: (N, 3, H, W - 2)."""
    return (images[..., :-2] + 2 * images[..., 1:-1] + images[..., 2:]) / 4


def _write(name: str, measured: dict[str, Any], settings: dict[str, Any], *columns: str) -> Path:
    return write_results(
        name, measured, settings, f"python -m tools.measure_own_images {name.replace('_', '-')}", columns
    )


# ------------------------------------------------------------------------------------- other sizes, the known world


class ResizingPredictor:
    """An attribute predictor for images of any size, which it resizes to its own.

    Args:
        predictor: of either domain.
    """

    def __init__(self, predictor: AttributePredictor) -> None:
        self.predictor, self.domain = predictor, predictor.domain

    def __call__(self, images: Tensor) -> Attributes:
        """Predict the attributes of images, (B, 3, H, H) in [-1, 1]; multiples of its size are averaged down."""
        side = self.predictor.input_size
        return self.predictor(resize(images, side) if images.shape[-1] % side else images)


@torch.no_grad()
def true_image_metrics(predictor: ResizingPredictor, size: int, count: int, seed: int = 1) -> Metrics:
    """Measure the predictor on true images of a size, which no translation can surpass.

    Returns:
        `true_class_accuracy`, and `true_style_error` in units of the factors' ranges.
    """
    hits, errors = [], []
    for batch in labeled_batches(World(), predictor.domain, count, seed, size):
        attributes = predictor(batch.images)
        hits.append(attributes.shape_class == batch.content.shape_class)
        errors.append((style_quantiles(attributes, predictor.domain) - batch.style_quantiles).abs().mean(1))
    return {
        "true_class_accuracy": torch.cat(hits).double().mean().item(),
        "true_style_error": torch.cat(errors).mean().item(),
    }


def world_metrics_at_size(model: MUNIT, size: int, count: int) -> dict[str, Metrics]:
    """Measure a model of the known world on images of a size.

    Args:
        model: trained on the standard world.
        size: height and width of inputs, examples and outputs in pixels.
        count: number of inputs; `diversity_ratio` is measured on count / 20 inputs with 32 styles each.

    Returns:
        Direction -> class accuracy, error of the style that an example gives, diversity ratio, and the first two of
        true images.
    """
    measured = {}
    for (source, target), name in DIRECTIONS.items():
        predictor = ResizingPredictor(load_attribute_predictor(target))
        direction = Direction(model, predictor, World(), source, 1, size)  # type: ignore[arg-type]
        found = content_metrics(direction, count) | example_metrics(direction, count)
        found |= style_metrics(direction, max(2, count // 20), styles_per_input=32)
        kept = {key: value for key, value in found.items() if key.removesuffix("_interval") in _KEPT}
        measured[name] = kept | true_image_metrics(predictor, size, count)
    return measured


# -------------------------------------------------------------------------------------------- other sizes, photos


class PhotoScores(NamedTuple):
    """What N photos and their K translations each score."""

    varieties: Tensor  # (N, K), index of the variety of the target domain that each translation shows
    classified_as_target: Tensor  # (N,), share of the translations whose colors are those of the target domain
    cycle_error: Tensor  # (N,), mean absolute error after a round trip, in gray levels
    reconstruction_error: Tensor  # (N,), mean absolute error of the autoencoder alone, in gray levels
    input_detail: Tensor  # (N,), what the inputs lose by a little blur, in gray levels; smooth images are easier


@dataclass(frozen=True)
class PhotoDirection:
    """A direction of translation of photos, with the classifiers for its outputs.

    Args:
        model: translates from `source` into the other domain.
        source: 1 or 2.
        variety_classifier: recognizes the varieties of the target domain by color.
        domain_classifier: predicts the domain, 1 or 2, by color.
        style: the styles of every photo's translations, (K, style_dim).
    """

    model: MUNIT
    source: int
    variety_classifier: LogisticRegression
    domain_classifier: LogisticRegression
    style: Tensor

    @torch.no_grad()
    def score(self, photos: Tensor) -> PhotoScores:
        """Translate photos, (N, 3, H, H) in [-1, 1], in all styles, and score the translations."""
        parts = [self._score(batch) for batch in photos.split(10)]
        return PhotoScores(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def _score(self, photos: Tensor) -> PhotoScores:
        model, source, target, styles = self.model, self.source, 3 - self.source, len(self.style)
        content, own_style = model.encode(photos, source)
        outputs = model.decode(content.repeat_interleave(styles, 0), self.style.repeat(len(photos), 1), target)
        cycled = model.decode(model.encode_content(outputs, target), own_style.repeat_interleave(styles, 0), source)
        features = color_features(resize(outputs, model.config.data.image_size))
        classifiers = (self.variety_classifier, self.domain_classifier)
        varieties, domains = (torch.from_numpy(found.predict(features)).view(-1, styles) for found in classifiers)
        return PhotoScores(
            varieties,
            (domains == target).double().mean(1),
            mean_difference(cycled, photos.repeat_interleave(styles, 0)).view(-1, styles).mean(1),
            mean_difference(model.decode(content, own_style, source), photos),
            mean_difference(blur(photos), photos[..., 1:-1]),
        )


def photo_direction(model: MUNIT, data: FolderData, source: int, styles: int, seed: int = 0) -> PhotoDirection:
    """Fit the classifiers of a direction to the training photos, and sample its styles."""
    features = [photo_features(data, file_set) for file_set in data.files.train]
    domains = np.repeat((1, 2), [len(rows) for rows in features])
    return PhotoDirection(
        model,
        source,
        fit_variety_classifier(data, 3 - source, seed).regression,
        new_logistic_regression().fit(np.concatenate(features), domains),
        model.sample_style(styles, torch.Generator().manual_seed(seed)),
    )


def held_out_files(data: FolderData, domain: int, count: int, seed: int = 0) -> list[Path]:
    """Sample held-out photos of a domain."""
    files = data.files.test[domain - 1].files
    return [files[k] for k in torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))[:count]]


def read_photos(files: Sequence[Path], shorter_side: int, size: int) -> Tensor:
    """Read photos, resize their shorter sides and crop the center squares: (N, 3, size, size) in [-1, 1]."""
    crops = [TF.center_crop(read_image(file, shorter_side), [size, size]) for file in files]
    return uint8_to_float(torch.stack(crops))


def agreement_metrics(scores: PhotoScores, reference: PhotoScores) -> Metrics:
    """Measure how often translations show the same variety as those of the same photos and styles in a reference.

    Returns:
        `variety_agreement` in [0, 1], and as a control the same for translations in different styles.
    """
    others = {"": reference.varieties, "_other_styles": reference.varieties.roll(1, 1)}
    agree = {f"variety_agreement{name}": (scores.varieties == other).double() for name, other in others.items()}
    return with_intervals(**{name: values.mean(1) for name, values in agree.items()})


def photo_metrics(scores: PhotoScores, at_trained_size: PhotoScores) -> Metrics:
    """Average scores over photos; varieties are compared with those at the trained size."""
    errors = with_intervals(classified_as_target=scores.classified_as_target, cycle_error=scores.cycle_error)
    return agreement_metrics(scores, at_trained_size) | errors


def measure_other_sizes(contents: int = 200, photos: int = 30, styles: int = 2) -> Path:
    """Write data/results/other_sizes.json: what it costs to translate at another size than that of the training.

    Args:
        contents: inputs of each domain of the known world, for world32.
        photos: held-out photos of each domain, for apples2citrus.
        styles: translations of each photo.
    """
    measured: dict[str, Any] = {}
    model = load("world32")
    sizes = {f"{factor:g}": round(factor * model.config.data.image_size) for factor in FACTORS}
    measured["world32"] = {name: world_metrics_at_size(model, size, contents) for name, size in sizes.items()}
    model, data = load(PHOTOS), open_data(preset(PHOTOS))
    trained_size = model.config.data.image_size
    measured[PHOTOS] = {f"{factor:g}": {} for factor in FACTORS}
    for (source, target), name in PHOTO_DIRECTIONS.items():
        direction, files = photo_direction(model, data, source, styles), held_out_files(data, source, photos)
        at_trained_size = direction.score(read_photos(files, trained_size, trained_size))
        real = color_features(read_photos(held_out_files(data, target, 200), trained_size, trained_size))
        right = direction.domain_classifier.predict(real) == target
        controls = {"photos_classified_as_their_domain": right.mean().item()}
        for factor, by_direction in measured[PHOTOS].items():
            size = round(float(factor) * trained_size)
            scores = direction.score(read_photos(files, size, size))
            by_direction[name] = photo_metrics(scores, at_trained_size) | controls
    settings = {"contents": contents, "photos": photos, "styles": styles, "seed": 1}
    return _write("other_sizes", measured, settings, "model", "factor", "direction")


# ------------------------------------------------------------------------------------- the scale of training crops


def paired_metrics(at_size: PhotoScores, at_training_scale: PhotoScores) -> Metrics:
    """Compare scores of the same photos at two scales.

    Returns:
        For each score its mean at both scales and the mean difference over photos, second minus first, with its 95 %
        interval; the agreement of varieties, with the control between different styles.
    """
    metrics: Metrics = {}
    columns = [scores._asdict() for scores in (at_size, at_training_scale)]
    for column in columns:
        column["distinct_varieties"] = torch.tensor([len(set(row)) for row in column.pop("varieties").tolist()])
    for name in columns[0]:
        first, second = (column[name].double() for column in columns)
        metrics[f"{name}_at_size"], metrics[f"{name}_at_training_scale"] = first.mean().item(), second.mean().item()
        metrics |= with_intervals(**{f"{name}_difference": second - first})
    return metrics | agreement_metrics(at_training_scale, at_size)


@torch.no_grad()
def class_accuracy_at_training_scale(model: MUNIT, variant: str, source: int, contents: int, seed: int = 1) -> Metrics:
    """Compare the class accuracy on images of the known world with that at the scale of training crops from folders.

    Args:
        model: translates the images.
        variant: of the known world.
        source: 1 or 2.
        contents: number of images, which the model has not seen.
        seed: seed of the images; that of the styles is one less.

    Returns:
        `class_accuracy_at_training_scale`, on images of which the center is shown at 9/8 of their scale; its difference
        to the class accuracy on whole images, with a 95 % interval over images; and the accuracy of the predictor on
        true images of the target domain at that scale.
    """
    world, target, index, size = World(variant), 3 - source, torch.arange(contents), model.config.data.image_size
    predictor = load_attribute_predictor(target, variant)
    style = model.sample_style(contents, torch.Generator().manual_seed(seed - 1))
    hits, true_hits = [], []
    for side in (size, size * 9 // 8):
        inputs, true = (
            labeled_images(world, domain, index, seed, side, "test", content_domain=1) for domain in (source, target)
        )
        outputs = model.translate(TF.center_crop(inputs.images, [size, size]), source, target, style=style)
        hits.append((predictor(outputs).shape_class == inputs.content.shape_class).double())
        true_classes = predictor(TF.center_crop(true.images, [size, size])).shape_class
        true_hits.append((true_classes == true.content.shape_class).double())
    accuracies = {"class_accuracy": hits[1], "true_class_accuracy": true_hits[1]}
    metrics = {f"{name}_at_training_scale": values.mean().item() for name, values in accuracies.items()}
    return metrics | with_intervals(class_accuracy_difference=hits[1] - hits[0])


def measure_train_test_scale(photos: int = 150, styles: int = 6, contents: int = 500) -> Path:
    """Write data/results/train_test_scale.json: photos resized to 64 px, or to 72 px as in training, then cropped.

    As a control, world32 is measured at both scales. It was trained on whole images, so it has no mismatch to remove.

    Args:
        photos: held-out photos of each domain.
        styles: translations of each photo.
        contents: images of each domain of the known world, for world32.
    """
    model, data = load(PHOTOS), open_data(preset(PHOTOS))
    measured: dict[str, Any] = {PHOTOS: {}}
    size = model.config.data.image_size
    for (source, _), name in PHOTO_DIRECTIONS.items():
        direction, files = photo_direction(model, data, source, styles), held_out_files(data, source, photos)
        scores = [direction.score(read_photos(files, side, size)) for side in (size, size * 9 // 8)]
        measured[PHOTOS][name] = paired_metrics(*scores)
    control = load("world32")
    measured["world32"] = {
        name: class_accuracy_at_training_scale(control, "standard", source, contents)
        for (source, _), name in DIRECTIONS.items()
    }
    settings = {"model": PHOTOS, "photos": photos, "styles": styles, "shorter_sides": [size, size * 9 // 8]}
    return _write("train_test_scale", measured, settings | {"contents": contents, "seed": 0}, "model", "direction")


# ------------------------------------------------------------------------------------------------- flicker of videos


def world_canvases(size: int, domain: int, count: int, frame: int = 1) -> Tensor:
    """Render images of the known world that are 8 px larger than a frame, at the scale of images of a size.

    Args:
        size: pixels per image width.
        domain: 1 or 2.
        count: number of images.
        frame: side of a frame in image widths; with 1 shapes reach the border, with 4 they are far from it.
    """
    index, world, side = torch.arange(count), World(), frame * size + SHIFTS[-1]
    style = style_from_code(world.style_code(index, 1, domain, "test"), domain)
    return render(world.content(index, 1, domain, "test"), style, domain, side, zoom=size / side)


def crop_frame(canvases: Tensor, shift: int) -> Tensor:
    """Crop what a camera sees that has moved `shift` pixels to the right; a frame is 8 px smaller than a canvas."""
    side, middle = canvases.shape[-1] - SHIFTS[-1], SHIFTS[-1] // 2
    return canvases[..., middle : middle + side, shift : shift + side]


@torch.no_grad()
def flicker_metrics(model: Translator, canvases: Tensor, source: int, seed: int = 0) -> dict[str, Metrics]:
    """Measure how much the translation of a point changes when the camera moves by whole pixels.

    Args:
        model: translates from `source` into the other domain.
        canvases: (N, 3, H, W) in [-1, 1], 8 px larger than a frame.
        source: 1 or 2.
        seed: seed of the styles, one for each canvas.

    Returns:
        Shift -> `flicker`, the mean absolute difference of both translations in the overlap of the frames, in gray
        levels, with its 95 % interval over canvases. Under "references" stand `new_style`, the difference between
        translations of one frame in two styles, and `interpolation`, the change of an input that is shifted by half a
        pixel and back with linear interpolation.
    """
    style, other_style = model.sample_style(2 * len(canvases), torch.Generator().manual_seed(seed)).chunk(2)
    target, frame = 3 - source, crop_frame(canvases, 0)
    fixed = model.translate(frame, source, target, style=style)
    references = with_intervals(
        new_style=mean_difference(fixed, model.translate(frame, source, target, style=other_style)),
        interpolation=mean_difference(blur(frame), frame[..., 1:-1]),
    )
    measured = {"references": references}
    for shift in SHIFTS:
        moved = model.translate(crop_frame(canvases, shift), source, target, style=style)
        measured[f"{shift}"] = with_intervals(flicker=mean_difference(fixed[..., shift:], moved[..., :-shift]))
    return measured


def measure_video_flicker(count: int = 60) -> Path:
    """Write data/results/video_flicker.json: how much a fixed style flickers when the camera moves by 1 to 8 pixels.

    Args:
        count: images of each domain; a fifteenth of them is also measured in a frame of four image widths.
    """
    measured: dict[str, Any] = {}
    for name in ("world32", "world64s"):
        model = load(name)
        size = model.config.data.image_size
        for label, frame, images in ((name, 1, count), (f"{name}, wide frame", 4, max(2, count // 15))):
            measured[label] = {
                direction: flicker_metrics(model, world_canvases(size, source, images, frame), source)
                for (source, _), direction in DIRECTIONS.items()
            }
    model, data, measured[PHOTOS] = load(PHOTOS), open_data(preset(PHOTOS)), {}
    side = model.config.data.image_size + SHIFTS[-1]
    for (source, _), direction in PHOTO_DIRECTIONS.items():
        photos = read_photos(held_out_files(data, source, count), side, side)
        measured[PHOTOS][direction] = flicker_metrics(model, photos, source)
    strides = {name: 2 ** load(name).config.network.num_downsamples for name in ("world32", "world64s", PHOTOS)}
    settings = {"count": count, "shifts": SHIFTS, "strides": strides, "seed": 0}
    return _write("video_flicker", measured, settings, "model", "direction", "shift")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {
            "other-sizes": measure_other_sizes,
            "train-test-scale": measure_train_test_scale,
            "video-flicker": measure_video_flicker,
        }
    )
