"""Measure the variety classifiers of a folder dataset alone: `python -m tools.measure_variety_classifiers`."""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from munit_lite.data import open_data
from munit_lite.data.folders import FolderData
from munit_lite.evaluation.mode_coverage import fit_variety_classifier, new_logistic_regression
from munit_lite.evaluation.statistics import mean_with_interval
from munit_lite.experiments.results import write_results
from munit_lite.presets import preset


def measure_classifiers(folder: str = "apples2citrus", size: int = 64, seed: int = 0) -> Path:
    """Write data/results/variety_classifiers.json: the accuracy of both domains' classifiers on their test photos.

    `cross_validation_accuracy` is that of five-fold cross-validation on the training photos. Where it is high and
    `classifier_accuracy` is not, the test photos differ systematically from the training photos.

    Args:
        folder: dataset folder with trainA, trainB, testA and testB.
        size: height and width in pixels.
        seed: seed of the folds and of the shuffled labels.

    Returns:
        The path of the written file.
    """
    data = open_data(preset("folder64", folder=folder, image_size=size))
    assert isinstance(data, FolderData)
    measured = {}
    for domain in (1, 2):
        classifier = fit_variety_classifier(data, domain, seed)
        classes = classifier.labels.indices(classifier.labels.train)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        predictions = cross_val_predict(new_logistic_regression(), classifier.features, classes.numpy(), cv=folds)
        accuracy, interval = mean_with_interval(torch.from_numpy(predictions) == classes)
        measured[f"domain {domain}"] = {
            **classifier.metrics,
            "cross_validation_accuracy": accuracy,
            "cross_validation_accuracy_interval": interval,
            "training_photos": len(classes),
            "test_photos": int(classifier.confusion.sum()),
            "varieties": classifier.labels.names,
            "confusion": classifier.confusion.tolist(),
        }
    settings = {"folder": folder, "size": size, "seed": seed}
    return write_results(
        "variety_classifiers", measured, settings, "python -m tools.measure_variety_classifiers", ("domain",)
    )


if __name__ == "__main__":
    tyro.cli(measure_classifiers)
