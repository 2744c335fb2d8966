"""Old names of metrics, so that result files, model cards and sweeps written under them can still be read.

A metric name is a sequence of words joined by underscores, for example `light_diversity_ratio_interval`. Importing this
module does not import torch.
"""

from __future__ import annotations

import re
from typing import Any

# Consecutive words of an old metric name -> words that replace them. The order matters: longer sequences come first.
OLD_METRIC_NAMES = {
    "turn_error_periods": "rotation_error_periods",
    "fill_hue": "foreground_hue",
    "ground_hue": "background_hue",
    "varieties_reached_by_photos_of_one": "modes_covered_by_photos_of_one_mode",
    "varieties_reached": "modes_covered",
    "diversity_of_true": "diversity_ratio",
    "spread_of_true": "diversity_ratio",
    "drawn_code": "sampled_style",
    "encoded_code": "encoded_style",
    "ks_one_output": "ks_deterministic",
    "one_style": "mean_style",
    "best_below_random": "improvement_over_random_photos",
    "accuracy_within_training": "cross_validation_accuracy",
    "recognised": "recall",
    "recognized": "recall",
    "styles_each": "styles_per_input",
    "samples_each": "samples_per_input",
    "pairs_each": "pairs_per_input",
}
_SHARE_OF_A_VARIETY = re.compile(r"(.+)_share(_interval)?")  # `share_of_data` of a benchmark is another matter


def current_metric_name(name: str) -> str:
    """Return the current name of a metric that may have an old one.

    Example:
        >>> current_metric_name("light_spread_of_true_interval")
        'light_diversity_ratio_interval'
        >>> current_metric_name("class_accuracy")
        'class_accuracy'
    """
    for old, new in OLD_METRIC_NAMES.items():
        name = re.sub(rf"(?<![^_]){old}(?![^_])", new, name)
    return _SHARE_OF_A_VARIETY.sub(r"\1_fraction\2", name) if _SHARE_OF_A_VARIETY.fullmatch(name) else name


def with_current_metric_names(results: Any) -> Any:
    """Rename the keys of nested dictionaries by `current_metric_name`; other values are returned unchanged.

    Example:
        >>> with_current_metric_names({"sketch to painting": {"diversity_of_true": 0.9}})
        {'sketch to painting': {'diversity_ratio': 0.9}}
    """
    if isinstance(results, dict):
        return {current_metric_name(key): with_current_metric_names(value) for key, value in results.items()}
    return results
