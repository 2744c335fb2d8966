"""Evaluate a trained model with the metrics of its dataset."""

from __future__ import annotations

from munit_lite.data import open_data
from munit_lite.data.fashion import FashionData
from munit_lite.data.folders import FolderData
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.fashion_metrics import fashion_metrics
from munit_lite.evaluation.mode_coverage import mode_coverage_metrics
from munit_lite.evaluation.statistics import Metrics
from munit_lite.evaluation.world_metrics import Direction, code_metrics, content_metrics, example_metrics, style_metrics
from munit_lite.model import MUNIT
from munit_lite.world import DIRECTIONS, World

MAX_CODES = 2000  # The time of the regression on codes grows with the cube of their number.


def evaluate(model: MUNIT, count: int = 1000, seed: int = 1) -> dict[str, Metrics]:
    """Evaluate a trained model with all metrics that apply to its dataset.

    Args:
        model: a trained model. Its configuration names the dataset.
        count: test contents (or drawings) per direction. The style metrics use count / 20 inputs, the code metrics at
            most `MAX_CODES`, mode coverage at most 100 photos.
        seed: seed of the test contents and of the sampled styles.

    Returns:
        Direction -> metrics. The half-width of the 95 % interval of a metric `<name>` is `<name>_interval`.

    Raises:
        DataError: the held-out images are missing.
        NoVarietyLabelsError: the photos of a folder dataset do not name their varieties.
        ValueError: the attribute predictors cannot process images of the model's size.
    """
    data = model.config.data
    if data.dataset == "fashion":
        photos = open_data(model.config)
        assert isinstance(photos, FashionData)
        return {"drawing to photo": fashion_metrics(model, photos, min(count, 400), seed)}
    if data.dataset == "folder":
        photos = open_data(model.config)
        assert isinstance(photos, FolderData)
        return mode_coverage_metrics(model, photos, count, seed)
    world, metrics = World(data.world_variant), {}
    for (source, target), name in DIRECTIONS.items():
        direction = Direction(
            model, load_attribute_predictor(target, data.world_variant), world, source, seed, data.image_size
        )
        metrics[name] = {
            **content_metrics(direction, count),
            **style_metrics(direction, max(2, count // 20)),
            **code_metrics(direction, min(max(8, count), MAX_CODES)),
            **example_metrics(direction, count),
        }
    return metrics


def format_metrics(metrics: dict[str, Metrics]) -> str:
    """Format metrics as plain text, one per line: the value, and its 95 % interval where there is one.

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
            formatted = f"{value:d}" if isinstance(value, int) else f"{value:.3f}"
            lines.append(f"  {name:34} {formatted}" + (f" ± {interval:.3f}" if interval is not None else ""))
    return "\n".join(lines)
