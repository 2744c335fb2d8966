"""Mode coverage: how many of a domain's labeled varieties the translations of photos show.

A *variety* is the label of a photo, and a *mode* of the distribution of its domain. Mode coverage applies to folders
whose photos name their variety, either by the subfolder of each photo or by the file name up to its number
(`Lemon_001.jpg` is a Lemon). A classifier on color histograms, fitted to the training photos, recognizes the varieties.
Its accuracy on test photos is reported beside every count, because it also counts the modes that it confuses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from skimage.color import rgb2lab
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from munit_lite.data.folder_layout import FileSet
from munit_lite.data.folders import FolderData
from munit_lite.evaluation.image_metrics import conditional_inception_score, mode_probabilities
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.translator import MeanStyleTranslator, Translator
from munit_lite.world import DIRECTIONS

MIN_MODE_FRACTION = 0.1  # of the outputs; smaller fractions could be errors of a 90 % accurate classifier
MAX_INPUTS, SAMPLES_PER_INPUT = 100, 100  # the paper's, for CIS and IS
NUM_SHUFFLES = 10  # Photos of one shelf are classified together, so a single shuffle may be far from chance.

_BINS = np.array([4, 8, 8])  # of L* (lightness), a* (green to red) and b* (blue to yellow)
_LOW, _SPAN = np.array([0, -60, -40]), np.array([100, 140, 130])


class VarietyLabels(NamedTuple):
    """The varieties of a domain's photos, in the order of the files."""

    train: list[str]
    test: list[str]

    @property
    def names(self) -> list[str]:
        """The M distinct varieties, sorted."""
        return sorted(set(self.train))

    def indices(self, labels: Sequence[str]) -> Tensor:
        """Convert N labels to indices into `names`: (N,)."""
        return torch.tensor([self.names.index(label) for label in labels])


class NoVarietyLabelsError(ValueError):
    """The names and folders of the photos do not identify varieties."""


def parse_varieties(files: Sequence[Path]) -> list[str]:
    """Parse the variety of each photo from its folder, or from its file name if all lie in one folder.

    Example:
        >>> parse_varieties([Path("trainB/Lemon_001.jpg"), Path("trainB/Lime_001.jpg")])
        ['Lemon', 'Lime']
    """
    if len({file.parent for file in files}) > 1:
        return [file.parent.name for file in files]
    return [re.sub(r"[\W_]*\d+\W*$", "", file.stem) for file in files]


def domain_variety_labels(data: FolderData, domain: int) -> VarietyLabels:
    """Return the varieties of a domain's training and test photos.

    Raises:
        NoVarietyLabelsError: all photos have one variety, a variety has a single training photo, or a variety has test
            photos only.
    """
    train, test = (parse_varieties(sets[domain - 1].files) for sets in (data.files.train, data.files.test))
    counts = Counter(train)
    rarest, unknown = min(counts, key=lambda name: counts[name]), sorted(set(test) - set(counts))
    if len(counts) == 1:
        reason = f"all training photos of domain {domain} would be of the variety {rarest!r}"
    elif counts[rarest] == 1:
        reason = f"the variety {rarest!r} would have a single training photo in domain {domain}"
    elif unknown:
        reason = f"the variety {unknown[0]!r} would have test photos but no training photos in domain {domain}"
    else:
        return VarietyLabels(train, test)
    raise NoVarietyLabelsError(
        "Mode coverage is not measured, because the photos do not name their varieties, by a subfolder for each or by "
        f"file names such as Lemon_001.jpg: {reason}."
    )


# -------------------------------------------------------------------------------------------------- the classifier


def color_features(images: Tensor) -> np.ndarray:
    """Compute the square roots of color histograms in CIELAB space.

    Args:
        images: (B, 3, H, W) in [-1, 1]. Values outside are clipped, as they are when an image is displayed.

    Returns:
        (B, 256); the squares of each row sum to 1.
    """
    lab = rgb2lab(((images.double() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy())  # (B, H, W, 3)
    levels = np.clip(((lab - _LOW) / _SPAN * _BINS).astype(int), 0, _BINS - 1)
    bins = np.ravel_multi_index(tuple(np.moveaxis(levels, -1, 0)), tuple(_BINS)).reshape(len(images), -1)
    counts = np.stack([np.bincount(row, minlength=_BINS.prod()) for row in bins])
    return np.sqrt(counts / bins.shape[1])


def photo_features(data: FolderData, source: FileSet) -> np.ndarray:
    """Compute `color_features` of all N photos of a set, with at most 250 in memory: (N, 256)."""
    chunks = torch.arange(len(source.files)).split(250)
    return np.concatenate([color_features(data.center_crops(source, chunk.tolist())) for chunk in chunks])


def new_logistic_regression() -> LogisticRegression:
    """Construct the unfitted classifier."""
    return LogisticRegression(C=100, max_iter=3000)


class VarietyClassifier(NamedTuple):
    """A classifier of a domain's M varieties, with its performance on the domain's test photos."""

    labels: VarietyLabels
    features: np.ndarray  # (N, 256) of the training photos
    regression: LogisticRegression
    confusion: Tensor  # (M, M) counts: row i, column j holds the test photos of variety i classified as j
    metrics: Metrics  # the accuracy, its control and the frequency of the most frequent variety

    def predict_probabilities(self, images: Tensor) -> Tensor:
        """Predict class probabilities (B, M) of images (B, 3, H, W) in [-1, 1]."""
        return torch.from_numpy(self.regression.predict_proba(color_features(images)))


def fit_variety_classifier(data: FolderData, domain: int, seed: int) -> VarietyClassifier:
    """Fit a classifier of a domain's varieties to its training photos.

    Args:
        data: photos that name their varieties.
        domain: 1 or 2.
        seed: seed of the control, `NUM_SHUFFLES` classifiers that are fitted to shuffled labels.

    Raises:
        DataError: a photo cannot be read.
        NoVarietyLabelsError: the photos do not name their varieties.
    """
    labels = domain_variety_labels(data, domain)
    train, test = (photo_features(data, sets[domain - 1]) for sets in (data.files.train, data.files.test))
    train_modes, test_modes = labels.indices(labels.train), labels.indices(labels.test)
    regression = new_logistic_regression().fit(train, train_modes.numpy())
    predictions, num_modes = torch.from_numpy(regression.predict(test)), len(labels.names)
    accuracy, interval = mean_with_interval(predictions == test_modes)
    generator, control = torch.Generator().manual_seed(seed), []
    for _ in range(NUM_SHUFFLES):
        shuffled = train_modes[torch.randperm(len(train_modes), generator=generator)]
        control.append(new_logistic_regression().fit(train, shuffled.numpy()).predict(test) == test_modes.numpy())
    confusion = torch.bincount(test_modes * num_modes + predictions, minlength=num_modes**2)
    confusion = confusion.view(num_modes, num_modes)
    metrics: Metrics = {
        "classifier_accuracy": accuracy,
        "classifier_accuracy_interval": interval,
        "classifier_accuracy_shuffled_labels": float(np.mean(control)),
        "most_frequent_variety": (confusion.sum(1).max() / confusion.sum()).item(),
    }
    return VarietyClassifier(labels, train, regression, confusion, metrics)


# ---------------------------------------------------------------------------------------------------- translations


def count_covered_modes(counts: Tensor) -> Tensor:
    """Count the modes that make up at least `MIN_MODE_FRACTION` of the outputs.

    Args:
        counts: outputs classified as each of M modes, (..., M).

    Returns:
        Numbers of covered modes, (...).

    Example:
        >>> count_covered_modes(torch.tensor([[90, 10, 0], [91, 9, 0]]))
        tensor([2, 1])
    """
    return (counts / counts.sum(-1, keepdim=True) >= MIN_MODE_FRACTION).sum(-1)


def coverage_of_probabilities(probabilities: Tensor, names: Sequence[str]) -> Metrics:
    """Compute mode coverage from class probabilities; each output counts for its most probable mode.

    Args:
        probabilities: (N, K, M), of a classifier for K translations of each of N inputs.
        names: names of the M modes.

    Returns:
        `modes_covered` by the translations of one input (mean over inputs), `modes_covered_over_inputs` by all
        translations together, the `<name>_fraction` of translations that show each mode, CIS and IS.
    """
    one_hot = torch.nn.functional.one_hot(probabilities.argmax(2), len(names))  # (N, K, M)
    counts = one_hot.sum(1)
    metrics: Metrics = {}
    metrics["modes_covered"], metrics["modes_covered_interval"] = mean_with_interval(count_covered_modes(counts))
    metrics["modes_covered_over_inputs"] = int(count_covered_modes(counts.sum(0)))
    for k, name in enumerate(names):
        fractions = counts[:, k] / probabilities.shape[1]
        metrics[f"{name}_fraction"], metrics[f"{name}_fraction_interval"] = mean_with_interval(fractions)
    return metrics | conditional_inception_score(probabilities)


@torch.no_grad()
def mode_coverage_metrics(
    model: Translator, data: FolderData, count: int, seed: int, samples: int = SAMPLES_PER_INPUT
) -> dict[str, Metrics]:
    """Measure which varieties of the target domain the translations of held-out photos cover, in both directions.

    Args:
        model: translates in both directions.
        data: photos that name their varieties.
        count: inputs per direction; at most `MAX_INPUTS` are used.
        seed: seed of inputs, styles and shuffled labels.
        samples: translations of each input.

    Returns:
        Direction -> the metrics of `coverage_of_probabilities`, the classifier's accuracy on test photos of the target
        domain, its `<variety>_recall`, and these controls:

        - `classifier_accuracy_shuffled_labels`, the mean over `NUM_SHUFFLES` classifiers: about 1 / M. Always
          predicting the most frequent variety has an accuracy of `most_frequent_variety`.
        - `modes_covered_by_photos_of_one_mode`: the modes that the classifier finds in test photos of a single variety,
          the mean over varieties. It is 1 for a perfect classifier; only coverage beyond it is due to the model.
        - `…_mean_style`: the same metrics of the model made deterministic, with a coverage of 1 and a CIS of 0.

    Raises:
        DataError: a photo cannot be read.
        NoVarietyLabelsError: the photos do not name their varieties.
    """
    classifiers = {domain: fit_variety_classifier(data, domain, seed) for domain in (1, 2)}
    metrics_of = {}
    for source, target in DIRECTIONS:
        classifier = classifiers[target]
        names, confusion, metrics = classifier.labels.names, classifier.confusion, dict(classifier.metrics)
        has_photos = confusion.any(1)  # A variety may have no test photos.
        for k, name in enumerate(names):
            if has_photos[k]:
                metrics[f"{name}_recall"] = (confusion[k, k] / confusion[k].sum()).item()
        photos, generator = data.files.test[source - 1], torch.Generator().manual_seed(seed)
        order = torch.randperm(len(photos.files), generator=generator)[: min(count, MAX_INPUTS)]
        arguments = (data.center_crops(photos, order.tolist()), source, classifier.predict_probabilities)
        metrics |= coverage_of_probabilities(mode_probabilities(model, *arguments, samples, seed), names)
        of_photos = count_covered_modes(confusion[has_photos])
        metrics["modes_covered_by_photos_of_one_mode"] = of_photos.double().mean().item()
        control = mode_probabilities(MeanStyleTranslator(model), *arguments, 2, seed)
        control_metrics = coverage_of_probabilities(control, names)
        for name in ("modes_covered", "modes_covered_over_inputs", "cis"):
            metrics[f"{name}_mean_style"] = control_metrics[name]
        metrics_of[f"domain {source} to domain {target}"] = metrics
    return metrics_of
