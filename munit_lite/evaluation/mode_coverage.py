"""Which of a domain's labeled varieties the translations of photos reach, by a classifier trained on its photos.

For any folders whose photos name their variety: by the folder that a photo lies in, where those of a set lie in
several, else by the file's name up to its number (`Lemon_001.jpg` is a Lemon). The classifier sees colors only and is
told nothing but the training photos; its accuracy on test photos stands beside every count, for what it confuses it
also "reaches". `python -m munit_lite.evaluation.mode_coverage` measures the classifiers alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from skimage.color import rgb2lab
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from munit_lite.data.datasets import FolderData, open_data
from munit_lite.data.folders import Source
from munit_lite.evaluation.image_metrics import conditional_inception_score, mode_probabilities
from munit_lite.evaluation.statistics import Numbers, Translator, mean_with_interval
from munit_lite.experiments.results import write_results
from munit_lite.presets import preset

ONE_IN = 10  # a variety is reached by one in ten or more: less could be the errors of a classifier that is 90 % right
MOST_INPUTS, SAMPLES = 100, 100  # the paper's, for CIS and IS
SHUFFLES = 10  # photos of one shelf fall together, so a single shuffling may be far from chance

_BINS = np.array([4, 8, 8])  # of lightness, green to red, blue to yellow
_LOW, _SPAN = np.array([0, -60, -40]), np.array([100, 140, 130])


class Varieties(NamedTuple):
    """The varieties of a domain's photos, in the order of the files."""

    train: list[str]
    test: list[str]

    @property
    def names(self) -> list[str]:
        return sorted(set(self.train))

    def numbers(self, labels: Sequence[str]) -> Tensor:
        """(N,) positions in `names`."""
        return torch.tensor([self.names.index(label) for label in labels])


class NoVarieties(ValueError):
    """Photos whose names, or folders, tell no varieties."""


def variety_of(files: Sequence[Path]) -> list[str]:
    """The variety that each photo of a set names."""
    if len({file.parent for file in files}) > 1:
        return [file.parent.name for file in files]
    return [re.sub(r"[\W_]*\d+\W*$", "", file.stem) for file in files]


def domain_varieties(data: FolderData, domain: int) -> Varieties:
    """The varieties of a domain's training and test photos.

    Raises:
        NoVarieties: the names say none: one for all, one of its own for a photo, or one in test alone.
    """
    train, test = (variety_of(sets[domain - 1].files) for sets in (data.sets.train, data.sets.test))
    counts = Counter(train)
    rarest, unknown = min(counts, key=lambda name: counts[name]), sorted(set(test) - set(counts))
    if len(counts) == 1:
        reason = f"all training photos of domain {domain} would be of one, {rarest!r}"
    elif counts[rarest] == 1:
        reason = f"{rarest!r} would have a single training photo of domain {domain}"
    elif unknown:
        reason = f"{unknown[0]!r} would have test photos of domain {domain} but none to train on"
    else:
        return Varieties(train, test)
    raise NoVarieties(
        "a model of two folders has no truth to be measured against unless their photos name varieties, by a folder "
        f"for each or as in Lemon_001.jpg, but {reason}; look at its sample sheets"
    )


# -------------------------------------------------------------------------------------------------- the classifier


def color_features(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, 256) square roots of the shares of pixels in each bin of CIELAB.

    Values beyond the range of bytes are clipped, as they are when an image is shown.
    """
    lab = rgb2lab(((images.double() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy())  # (B, H, W, 3)
    steps = np.clip(((lab - _LOW) / _SPAN * _BINS).astype(int), 0, _BINS - 1)
    bins = np.ravel_multi_index(tuple(np.moveaxis(steps, -1, 0)), tuple(_BINS)).reshape(len(images), -1)
    counts = np.stack([np.bincount(row, minlength=_BINS.prod()) for row in bins])
    return np.sqrt(counts / bins.shape[1])


def photo_features(data: FolderData, source: Source) -> np.ndarray:
    """`color_features` of all photos of a set, a few in memory at a time."""
    numbers = torch.arange(len(source.files)).split(250)
    return np.concatenate([color_features(data.centers(source, part.tolist())) for part in numbers])


def new_classifier() -> LogisticRegression:
    return LogisticRegression(C=100, max_iter=3000)


class Taught(NamedTuple):
    """A classifier of a domain's M varieties, and how it does on the domain's test photos."""

    varieties: Varieties
    features: np.ndarray  # (N, 256) of the training photos
    classifier: LogisticRegression
    confusion: Tensor  # (M, M) counts: in row i, column j test photos of i taken for j
    numbers: Numbers  # the accuracy, its control and what chance can do

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, M)."""
        return torch.from_numpy(self.classifier.predict_proba(color_features(images)))


def taught(data: FolderData, domain: int, seed: int) -> Taught:
    """A classifier of a domain's varieties, fitted to its training photos.

    Args:
        data: photos that name their varieties.
        domain: 1 or 2.
        seed: of the control, `SHUFFLES` classifiers that are taught the labels of other photos.

    Raises:
        DataError: a photo cannot be read.
        NoVarieties: the photos name none.
    """
    known = domain_varieties(data, domain)
    train, test = (photo_features(data, sets[domain - 1]) for sets in (data.sets.train, data.sets.test))
    labels, truth = known.numbers(known.train), known.numbers(known.test)
    classifier = new_classifier().fit(train, labels.numpy())
    guessed, modes = torch.from_numpy(classifier.predict(test)), len(known.names)
    accuracy, interval = mean_with_interval(guessed == truth)
    generator, control = torch.Generator().manual_seed(seed), []
    for _ in range(SHUFFLES):
        order = torch.randperm(len(labels), generator=generator)
        control.append(new_classifier().fit(train, labels[order].numpy()).predict(test) == truth.numpy())
    confusion = torch.bincount(truth * modes + guessed, minlength=modes**2).view(modes, modes)
    numbers: Numbers = {
        "classifier_accuracy": accuracy,
        "classifier_accuracy_interval": interval,
        "classifier_accuracy_shuffled_labels": float(np.mean(control)),
        "most_frequent_variety": (confusion.sum(1).max() / confusion.sum()).item(),
    }
    return Taught(known, train, classifier, confusion, numbers)


# ---------------------------------------------------------------------------------------------------- translations


def reached(counts: Tensor) -> Tensor:
    """How many varieties make up one in `ONE_IN` or more: counts (..., M) -> (...)."""
    return (ONE_IN * counts >= counts.sum(-1, keepdim=True)).logical_and(counts > 0).sum(-1)


def reached_metrics(probabilities: Tensor, names: Sequence[str]) -> Numbers:
    """How many of M varieties the translations reach, and the share of each, by the likeliest variety of each.

    Args:
        probabilities: (N, K, M), a classifier's for K translations of each of N inputs.
        names: of the M varieties.

    Returns:
        varieties reached from one input (mean over inputs) and over all of them; each variety's share; CIS and IS.
    """
    chosen = torch.nn.functional.one_hot(probabilities.argmax(2), len(names))  # (N, K, M)
    counts = chosen.sum(1)
    numbers: Numbers = {}
    numbers["varieties_reached"], numbers["varieties_reached_interval"] = mean_with_interval(reached(counts))
    numbers["varieties_reached_over_inputs"] = int(reached(counts.sum(0)))
    for k, name in enumerate(names):
        share = counts[:, k] / probabilities.shape[1]
        numbers[f"{name}_share"], numbers[f"{name}_share_interval"] = mean_with_interval(share)
    return numbers | conditional_inception_score(probabilities)


class OneStyle:
    """The control: a model made deterministic, which paints every input in the prior's mean style."""

    def __init__(self, model: Translator) -> None:
        self.model = model

    def translate(self, images: Tensor, source: int, target: int, style: Tensor | None = None) -> Tensor:
        return self.model.translate(images, source, target, style=style)

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(self.model.sample_style(count, generator))


@torch.no_grad()
def variety_metrics(
    model: Translator, data: FolderData, count: int, seed: int, samples: int = SAMPLES
) -> dict[str, Numbers]:
    """Which varieties of the target domain the translations of held-out photos reach, in both directions.

    Beside what `reached_metrics` gives stand the classifier's accuracy on test photos of the target, for each variety
    too, and the controls:
    - `classifier_accuracy_shuffled_labels`, the mean of `SHUFFLES` classifiers taught the labels of other photos: about
      one in M, where always guessing the `most_frequent_variety` gives its share;
    - `varieties_reached_by_photos_of_one`: how many the classifier sees in test photos of a single variety, the mean
      over varieties; 1 if it is always right. What a model reaches beyond it is not the classifier's error;
    - `…_one_style`: of the model made deterministic; 1 from each input, with a CIS of 0.

    Args:
        model: translates in both directions.
        data: photos that name their varieties.
        count: inputs in each direction, `MOST_INPUTS` at most.
        seed: of inputs, styles and the control's labels.
        samples: translations of each input.

    Raises:
        DataError: a photo cannot be read.
        NoVarieties: the photos name none.
    """
    classifiers = {domain: taught(data, domain, seed) for domain in (1, 2)}
    found = {}
    for source, target in ((1, 2), (2, 1)):
        known = classifiers[target]
        names, confusion, numbers = known.varieties.names, known.confusion, dict(known.numbers)
        tested = confusion.any(1)  # a variety may be missing from the test photos
        for k, name in enumerate(names):
            if tested[k]:
                numbers[f"{name}_recognized"] = (confusion[k, k] / confusion[k].sum()).item()
        files, generator = data.sets.test[source - 1], torch.Generator().manual_seed(seed)
        order = torch.randperm(len(files.files), generator=generator)[: min(count, MOST_INPUTS)]
        what = (data.centers(files, order.tolist()), source, known.probabilities)
        numbers |= reached_metrics(mode_probabilities(model, *what, samples, seed), names)
        numbers["varieties_reached_by_photos_of_one"] = reached(confusion[tested]).double().mean().item()
        control = reached_metrics(mode_probabilities(OneStyle(model), *what, 2, seed), names)
        for name in ("varieties_reached", "varieties_reached_over_inputs", "cis"):
            numbers[f"{name}_one_style"] = control[name]
        found[f"domain {source} to domain {target}"] = numbers
    return found


def measure_classifiers(folder: str = "apples2citrus", size: int = 64, seed: int = 0) -> Path:
    """Write data/results/varieties.json: how the classifiers of a data set's two domains do on its test photos.

    `accuracy_within_training` is that of five-fold cross-validation on the training photos. Where it is high and
    `classifier_accuracy` is not, the test photos differ from the training photos by more than chance does.
    """
    data = open_data(preset("folder64", folder=folder, size=size))
    assert isinstance(data, FolderData)
    measured = {}
    for domain in (1, 2):
        known = taught(data, domain, seed)
        labels = known.varieties.numbers(known.varieties.train)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        guessed = cross_val_predict(new_classifier(), known.features, labels.numpy(), cv=folds)
        within, interval = mean_with_interval(torch.from_numpy(guessed) == labels)
        measured[f"domain {domain}"] = {
            **known.numbers,
            "accuracy_within_training": within,
            "accuracy_within_training_interval": interval,
            "training_photos": len(labels),
            "test_photos": int(known.confusion.sum()),
            "varieties": known.varieties.names,
            "confusion": known.confusion.tolist(),
        }
    settings = {"folder": folder, "size": size, "seed": seed}
    command = "python -m munit_lite.evaluation.mode_coverage"
    return write_results("varieties", measured, settings, command, columns=("domain",))


if __name__ == "__main__":
    tyro.cli(measure_classifiers)
