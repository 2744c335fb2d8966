"""Convergence of a run on the known world: how good its translations are during training, and when that stops changing.

Two failures look alike in the class accuracy: the content is lost, or classes are exchanged consistently. The accuracy
after the best relabeling of the classes tells them apart: it stays high when classes are only exchanged.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.statistics import held_out_r2
from munit_lite.evaluation.translator import EncodingTranslator
from munit_lite.evaluation.world_metrics import Direction, labeled_batches, style_quantiles
from munit_lite.world import DIRECTIONS, SHAPE_NAMES, STYLE_FACTORS, World

MIN_CLASS_ACCURACY, MIN_DIVERSITY_RATIO = 0.95, 0.9  # of both directions
MAX_CHANGE = 0.02  # of the class accuracy between the halves of the last fifth of a run
STREAM = "convergence"  # images that neither training nor the final evaluation uses


def measure_quality(
    model: EncodingTranslator, world: World, size: int, inputs: int = 200, styles_per_input: int = 2, seed: int = 1
) -> dict[str, dict[str, Any]]:
    """Measure content and style of translations in both directions, quickly enough to be repeated during training.

    Args:
        model: translates the images.
        world: the known world that the model was trained on.
        size: height and width of the images in pixels.
        inputs: held-out images that are translated in each direction.
        styles_per_input: styles sampled from the prior for each of them, 2 or more.
        seed: seed of contents and styles.

    Returns:
        For each direction, rounded to four digits:

        - `class_accuracy`, the fraction of translations that keep the class;
        - `relabeled_accuracy`, the same after the best relabeling of the classes;
        - `diversity_ratio`, the standard deviation of the style over the outputs of an input, divided by the true one;
        - `factor_diversity`, the same for each style factor of the target in the order of `STYLE_FACTORS`, and
          `factor_spread`, the standard deviation over all outputs divided by the true one: a spread of 1 with a low
          diversity means that the content code of the input, and not the style code, decides the factor;
        - `style_r2`, the held-out R² of a probe from the sampled style code to the style factors of the output;
        - `confusion`, whose entry [i][j] counts the translations of class i of `SHAPE_NAMES` that show class j.

    Raises:
        CheckpointError: the attribute predictors are missing.
        ValueError: they cannot process images of this size.

    Example:
        >>> from munit_lite.storage.checkpoints import load
        >>> quality = measure_quality(load("world32"), World(), size=32)
        >>> quality["sketch to painting"]["class_accuracy"] > 0.9
        True
    """
    return {
        name: _measure_direction(
            Direction(model, load_attribute_predictor(target, world.name), world, source, seed, size),
            inputs,
            styles_per_input,
        )
        for (source, target), name in DIRECTIONS.items()
    }


@torch.no_grad()
def _measure_direction(direction: Direction, inputs: int, styles_per_input: int) -> dict[str, Any]:
    world, source, seed, size = direction.world, direction.source, direction.seed, direction.size
    generator = torch.Generator().manual_seed(seed)
    shape_classes, predicted_classes, sampled_styles, output_styles = [], [], [], []
    for batch in labeled_batches(world, source, inputs, seed, size, STREAM, batch_size=100):
        styles = direction.model.sample_style(styles_per_input * len(batch.images), generator)
        attributes = direction.predict_translations(batch.images.repeat_interleave(styles_per_input, 0), styles)
        shape_classes.append(batch.content.shape_class.repeat_interleave(styles_per_input))
        predicted_classes.append(attributes.shape_class)
        sampled_styles.append(styles.cpu())
        output_styles.append(style_quantiles(attributes, direction.target))
    confusion = confusion_matrix(torch.cat(shape_classes), torch.cat(predicted_classes))
    quantiles = torch.cat(output_styles)  # (inputs × styles, factors)
    # With few styles per input, the variance is averaged over inputs before the root is taken: that is unbiased.
    variance = quantiles.view(inputs, styles_per_input, -1).var(dim=1).mean(dim=0)
    factor_diversity = (variance * 12).sqrt()  # the quantiles of the true factors are uniform, with a variance of 1/12
    order = torch.randperm(len(quantiles), generator=generator)  # both halves of the probe's data see all inputs
    factors = [factor.name for factor in STYLE_FACTORS[direction.target]]
    style_r2 = held_out_r2(torch.cat(sampled_styles)[order], quantiles[order], factors, "style")["style_r2"]
    return {
        "class_accuracy": round(confusion.trace().item() / confusion.sum().item(), 4),
        "relabeled_accuracy": round(relabeled_accuracy(confusion), 4),
        "diversity_ratio": round(factor_diversity.mean().item(), 4),
        "factor_diversity": [round(ratio, 4) for ratio in factor_diversity.tolist()],
        "factor_spread": [round(ratio, 4) for ratio in (quantiles.var(dim=0) * 12).sqrt().tolist()],
        "style_r2": round(style_r2, 4),
        "confusion": confusion.tolist(),
    }


def confusion_matrix(true: Tensor, predicted: Tensor) -> Tensor:
    """Count the pairs of a true and a predicted class.

    Args:
        true: (B,) indices of `SHAPE_NAMES`.
        predicted: (B,) indices of `SHAPE_NAMES`.

    Returns:
        (K, K) counts for the K classes, true classes in rows.

    Example:
        >>> confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 1]))[0, :2]
        tensor([1, 1])
    """
    classes = len(SHAPE_NAMES)
    return torch.bincount(true * classes + predicted, minlength=classes**2).view(classes, classes)


def best_relabeling(confusion: Tensor) -> tuple[int, ...]:
    """Find the relabeling of the predicted classes with which most predictions are right.

    Args:
        confusion: (K, K) counts, true classes in rows and predicted ones in columns; K is at most 8.

    Returns:
        For each true class the predicted class that stands for it. Among equally good ones, that with most classes
        unchanged.

    Example:
        >>> best_relabeling(torch.tensor([[0, 5, 0], [5, 0, 0], [0, 0, 5]]))
        (1, 0, 2)
    """
    counts, classes = confusion.tolist(), range(len(confusion))

    def hits(order: tuple[int, ...]) -> tuple[int, int]:
        return sum(counts[i][order[i]] for i in classes), sum(order[i] == i for i in classes)

    return max(itertools.permutations(classes), key=hits)


def relabeled_accuracy(confusion: Tensor) -> float:
    """Compute the accuracy after the best relabeling of the predicted classes.

    Args:
        confusion: (K, K) counts, true classes in rows and predicted ones in columns; K is at most 8.

    Returns:
        The accuracy in [0, 1]: 1 if classes are exchanged consistently, however they are exchanged.

    Example:
        >>> relabeled_accuracy(torch.tensor([[0, 5], [5, 0]]))
        1.0
    """
    order = best_relabeling(confusion)
    return sum(confusion[i, j].item() for i, j in enumerate(order)) / confusion.sum().item()


class Convergence(NamedTuple):
    """Whether and when a run has converged; see `convergence`."""

    step: int | None  # from this step on the run meets the criterion until its end; None: it does not at its end
    is_flat: bool  # the class accuracy no longer changes over the last fifth of the run
    class_accuracy: float  # mean over the last fifth of the run, of the worse direction
    diversity_ratio: float  # the same

    @property
    def has_converged(self) -> bool:
        """Whether the run meets the criterion at its end with a flat curve."""
        return self.step is not None and self.is_flat


def convergence(records: Sequence[dict[str, Any]]) -> Convergence:
    """Decide whether a run has converged.

    The criterion is a class accuracy of at least 0.95 and a diversity ratio of at least 0.9, both in the worse
    direction, and a flat curve of the class accuracy: over the last fifth of the run, it changes by at most 0.02. The
    diversity ratio need not be flat, only above its bound.

    Args:
        records: the run's `quality.jsonl`, one record per evaluation: `step`, and what `measure_quality` returns.

    Raises:
        ValueError: there are fewer than two evaluations.

    Example:
        >>> good = {"class_accuracy": 0.97, "diversity_ratio": 0.95}
        >>> records = [{"step": k, **dict.fromkeys(DIRECTIONS.values(), good)} for k in range(100, 1100, 100)]
        >>> convergence(records).has_converged, convergence(records).step
        (True, 100)
    """
    if len(records) < 2:
        raise ValueError(f"convergence needs two evaluations or more, but there are {len(records)}")

    def worse(record: dict[str, Any], metric: str) -> float:
        return min(record[name][metric] for name in DIRECTIONS.values())

    def is_good(record: dict[str, Any]) -> bool:
        accuracy, ratio = worse(record, "class_accuracy"), worse(record, "diversity_ratio")
        return accuracy >= MIN_CLASS_ACCURACY and ratio >= MIN_DIVERSITY_RATIO

    good_end = list(itertools.takewhile(is_good, reversed(records)))
    last_fifth = records[-max(2, len(records) // 5) :]
    accuracies = [worse(record, "class_accuracy") for record in last_fifth]
    half = len(accuracies) // 2
    change = abs(sum(accuracies[-half:]) - sum(accuracies[:half])) / half
    return Convergence(
        good_end[-1]["step"] if good_end else None,
        change <= MAX_CHANGE,
        sum(accuracies) / len(accuracies),
        sum(worse(record, "diversity_ratio") for record in last_fifth) / len(last_fifth),
    )
