"""Old names of metrics and proposition checks, so that what was written under them can still be read.

They occur in result files, model cards and sweeps. A metric name is a sequence of words joined by underscores, for
example `light_diversity_ratio_interval`. Importing this module does not import torch.
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
# Old names of the proposition checks, and the letters that stood for their reasons.
OLD_CHECK_NAMES = {
    "minimum": "optimality", "latents": "latent_matching", "joint": "joint_matching", "cycle": "cycle_consistency",
    "content": "content_preservation",
}  # fmt: skip
_OLD_REASONS = {
    "A": "adversarial", "R": "reconstruction", "M": "marginal", "J": "joint",
    "F": "fails", "H": "holds", "?": "undecided",
}  # fmt: skip
_REASON_KEYS = ("reason", "reasons", "expected")
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


def current_reasons(reasons: Any) -> Any:
    """Return the reasons of a proposition check in words, whether they were recorded as letters or as words.

    Example:
        >>> current_reasons("AR?"), current_reasons("adversarial, reconstruction")
        ('adversarial, reconstruction, undecided', 'adversarial, reconstruction')
    """
    if isinstance(reasons, str) and set(reasons) <= set(_OLD_REASONS):
        return ", ".join(_OLD_REASONS[letter] for letter in reasons)
    return reasons


def with_current_metric_names(results: Any) -> Any:
    """Rename metrics, proposition checks and their reasons in nested dictionaries; other values are unchanged.

    Example:
        >>> with_current_metric_names({"sketch to painting": {"diversity_of_true": 0.9}})
        {'sketch to painting': {'diversity_ratio': 0.9}}
    """
    if isinstance(results, list):
        return [with_current_metric_names(value) for value in results]
    if not isinstance(results, dict):
        return results
    renamed: dict[str, Any] = {}
    for key, value in results.items():
        name = OLD_CHECK_NAMES[key] if isinstance(value, dict) and key in OLD_CHECK_NAMES else key
        value = current_reasons(value) if key in _REASON_KEYS else value
        renamed[current_metric_name(name)] = with_current_metric_names(value)
    return renamed


def with_current_names(record: dict[str, Any]) -> dict[str, Any]:
    """Do the same to a flat record, as `munit_lite.experiments.results.read_records` returns it."""
    current = {column: OLD_CHECK_NAMES.get(value, value) for column, value in record.items() if column != "value"}
    value = current_reasons(record["value"]) if record["metric"] in _REASON_KEYS else record["value"]
    return current | {"metric": current_metric_name(record["metric"]), "value": value}
