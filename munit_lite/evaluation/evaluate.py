"""Evaluate a trained model with the metrics of its dataset."""

from __future__ import annotations

import math

from torch import Tensor

from munit_lite.data import open_data
from munit_lite.data.base import ImageData
from munit_lite.data.fashion import FashionData
from munit_lite.data.folders import FolderData
from munit_lite.evaluation import unlabeled_metrics as unlabeled
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.fashion_metrics import fashion_metrics
from munit_lite.evaluation.metric_meanings import ONE_OUTPUT_BOUND
from munit_lite.evaluation.mode_coverage import NoVarietyLabelsError, domain_variety_labels, mode_coverage_metrics
from munit_lite.evaluation.statistics import Metrics
from munit_lite.evaluation.weight_files import HOW_TO_GET_ALEXNET, HOW_TO_GET_INCEPTION
from munit_lite.evaluation.world_metrics import Direction, code_metrics, content_metrics, example_metrics, style_metrics
from munit_lite.methods import WITHOUT_STYLE
from munit_lite.model import MUNIT
from munit_lite.world import DIRECTIONS, World

MAX_CODES = 2000  # The time of the regression on codes grows with the cube of their number.
NUM_FRACTION_INPUTS = 20  # for the style's fraction of the variance, where other metrics measure the styles in detail


def evaluate(model: MUNIT, count: int = 1000, seed: int = 1, images: ImageData | None = None) -> dict[str, Metrics]:
    """Evaluate a trained model with all metrics that apply to its dataset.

    Args:
        model: a trained model. Its configuration names the dataset.
        count: held-out contents, drawings or images per direction. The style metrics of the known world use count / 20
            inputs, its code metrics at most `MAX_CODES`; diversity and mode coverage of folders use at most 100 images.
        seed: seed of the test contents and of the sampled styles.
        images: the dataset of the configuration. None: it is opened here.

    Returns:
        Direction -> metrics. The half-width of the 95 % interval of a metric `<name>` is `<name>_interval`. A folder
        dataset has mode coverage only if its photos name their varieties; `explain` says why a metric is missing.

    Raises:
        DataError: the held-out images are missing.
        ValueError: the attribute predictors cannot process images of the model's size.
    """
    data, images = model.config.data, images or open_data(model.config)
    if isinstance(images, FolderData):
        metrics_of = unlabeled.unlabeled_metrics(model, images, count, seed)
        if _missing_varieties(images) is None:
            for name, metrics in mode_coverage_metrics(model, images, count, seed).items():
                metrics_of[name] |= metrics
        return metrics_of
    held_out = images.test(NUM_FRACTION_INPUTS)
    if isinstance(images, FashionData):
        metrics = fashion_metrics(model, images, min(count, 400), seed)
        return {"drawing to photo": metrics | _style_fraction(model, held_out.images_1, 1, seed)}
    world, metrics_of = World(data.world_variant), {}
    for (source, target), name in DIRECTIONS.items():
        direction = Direction(
            model, load_attribute_predictor(target, data.world_variant), world, source, seed, data.image_size
        )
        metrics_of[name] = {
            **content_metrics(direction, count),
            **style_metrics(direction, max(2, count // 20)),
            **_style_fraction(model, held_out.images_1 if source == 1 else held_out.images_2, source, seed),
            **code_metrics(direction, min(max(8, count), MAX_CODES)),
            **example_metrics(direction, count),
        }
    return metrics_of


def _style_fraction(model: MUNIT, images: Tensor, source: int, seed: int) -> Metrics:
    """Compute the style's fraction of the variance of the outputs, without its parts."""
    fractions = unlabeled.variance_fractions(model, images, source, seed=seed)
    return {name: fractions[name] for name in ("style_variance_fraction", "style_variance_fraction_interval")}


def _missing_varieties(data: FolderData) -> str | None:
    """Return why mode coverage cannot be measured; None if the photos name their varieties."""
    try:
        for domain in (1, 2):
            domain_variety_labels(data, domain)
    except NoVarietyLabelsError as error:
        return str(error)
    return None


def explain(model: MUNIT, metrics_of: dict[str, Metrics], images: ImageData | None = None) -> list[str]:
    """Explain in sentences what the numbers alone do not say: a deterministic model, and metrics that are missing.

    Args:
        model: the evaluated model.
        metrics_of: what `evaluate` returned for it.
        images: as for `evaluate`.

    Returns:
        A sentence or two for each of these that applies; none for a model whose outputs differ, with every metric.

    Example:
        >>> from munit_lite.presets import preset
        >>> from munit_lite.methods import build
        >>> explain(build(preset("world32_unit")), {})
        ['The method unit generates one output for each input, because it ignores the style.']
    """
    config, sentences = model.config, []
    if config.method in WITHOUT_STYLE:
        sentences.append(
            f"The method {config.method} generates one output for each input, because it ignores the style."
        )
    else:
        for direction, metrics in metrics_of.items():
            fraction = metrics.get("style_variance_fraction", math.inf)
            if fraction < ONE_OUTPUT_BOUND:
                measured = f"{100 * fraction:.2f} %" if fraction >= 0.0001 else "less than 0.01 %"
                sentences.append(
                    f"From {direction}, the model generates one output for each input: the style explains {measured} "
                    f"of the variance of its outputs, less than {100 * ONE_OUTPUT_BOUND:g} %."
                )
    if config.data.dataset != "folder" or not metrics_of:
        return sentences
    names = {name for metrics in metrics_of.values() for name in metrics}
    if "lpips_diversity" not in names:
        too_small = f"LPIPS is not measured, because it needs images of {unlabeled.MIN_LPIPS_SIZE} px or more."
        sentences.append(too_small if config.data.image_size < unlabeled.MIN_LPIPS_SIZE else HOW_TO_GET_ALEXNET)
    if not any(name.startswith("kid") for name in names):
        counts = {name: (int(m.get("images", 0)), int(m.get("real_images", 0))) for name, m in metrics_of.items()}
        found = ", ".join(f"{n} inputs and {real} real images from {name}" for name, (n, real) in counts.items())
        too_few = (
            f"KID and FID are not measured, because they need {2 * unlabeled.KID_SUBSET_SIZE} inputs and as many real "
            f"images, but there are {found}; choose a larger count, or hold out more images."
        )
        enough = all(unlabeled.has_enough_images(*numbers) for numbers in counts.values())
        sentences.append(HOW_TO_GET_INCEPTION if enough else too_few)
    if "modes_covered" not in names:
        images = images or open_data(config)
        assert isinstance(images, FolderData)
        sentences.append(_missing_varieties(images) or "")
    return list(filter(None, sentences))


def format_metrics(metrics: dict[str, Metrics]) -> str:
    """Format metrics as plain text, one per line: the value, and its 95 % interval where there is one.

    Numbers have three decimal places, and up to six if the interval would otherwise be zero.

    Example:
        >>> print(format_metrics({"1 to 2": {"cis": 0.5, "cis_interval": 0.02}}))
        1 to 2
          cis                                0.500 ± 0.020
    """
    lines = []
    for direction, values in metrics.items():
        lines.append(direction)
        for name, value in values.items():
            if name.endswith("_interval"):
                continue
            interval = values.get(f"{name}_interval")
            lines.append(f"  {name:34} {_format_number(value, interval)}")
    return "\n".join(lines)


def _format_number(value: float, interval: float | None) -> str:
    if isinstance(value, int):
        return f"{value:d}"
    if 0 < abs(value) < 1e-6:
        return "< 0.000001"
    smallest = interval or abs(value)  # must keep a digit
    digits = min(6, max(3, math.ceil(-math.log10(smallest)))) if smallest and math.isfinite(smallest) else 3
    return f"{value:z.{digits}f}" + (f" ± {interval:.{digits}f}" if interval is not None else "")
