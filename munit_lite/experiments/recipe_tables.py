"""The recipe of the small presets: its deviations from the paper, and what each of them changes.

The numbers come from `data/results/recipe_tuning.json`, the log of `tools/tune_recipe.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from munit_lite.experiments.markdown import markdown_table
from munit_lite.presets import DEVIATIONS, PRESETS, preset
from munit_lite.world import DIRECTIONS

METRICS = ("class_accuracy", "diversity_ratio")


def setting_without(deviation: str) -> str:
    """Return the name in the tuning log of the recipe with the paper's values in place of a deviation."""
    return f"paper: {deviation}"


def paper_values(deviation: str) -> dict[str, Any]:
    """Return the paper's values of the fields of a deviation.

    Args:
        deviation: a name in `presets.DEVIATIONS`.

    Example:
        >>> paper_values("style dimension")
        {'style_dim': 8}
    """
    paper = _flat("paper256")
    return {name: paper[name] for name in DEVIATIONS[deviation].fields}


def _flat(name: str) -> dict[str, Any]:
    config = preset(name)
    return vars(config) | vars(config.network) | vars(config.data) | vars(config.loss) | vars(config.optimizer)


def deviations_table(log: dict[str, Any], steps: int = PRESETS["laboratory"].steps) -> str:
    """Return a table in Markdown of the recipe's deviations from the paper with their reasons and effects.

    Args:
        log: the numbers of the tuning log: setting and length -> seed -> step -> direction -> metrics.
        steps: training steps of the runs that are compared; by default those of the preset `laboratory`.

    Returns:
        A first row for the recipe itself, then one row per deviation: the paper's value, the recipe's, the reason, and
        the class accuracy and the diversity ratio of a run with the paper's value in its place, as the mean over seeds
        in the worse direction; "not run" where no such run exists.
    """
    rows = [["(the recipe)", "", "", "", *_effects(log, "recipe", steps)]]
    for name, deviation in DEVIATIONS.items():
        paper = ", ".join(f"{field} {value}" for field, value in paper_values(name).items())
        recipe = ", ".join(f"{value}" for value in deviation.fields.values())
        rows.append([name, paper, recipe, deviation.reason, *_effects(log, setting_without(name), steps)])
    header = ["deviation", "paper", "recipe", "reason", "class accuracy with the paper's value", "diversity ratio"]
    return markdown_table(header, rows)


def tuning_table(log: dict[str, Any], runs: dict[str, Any]) -> str:
    """Return a table in Markdown of every setting that was tried, in the order of the log.

    Args:
        log: the numbers of the tuning log.
        runs: what its provenance says about each setting: at least the `reason` and the seeds that `failed`.

    Returns:
        One row per setting and length: the reason, the seeds, and after the last step the class accuracy, the accuracy
        after the best relabeling and the diversity ratio, of the worse direction and one per seed; and the CPU minutes.
    """
    rows = []
    for name, run in runs.items():
        seeds = log.get(name, {})
        ends = [records[max(records, key=int)] for records in seeds.values()]
        columns = [
            ", ".join(f"{min(end[direction][metric] for direction in DIRECTIONS.values()):.2f}" for end in ends)
            for metric in ("class_accuracy", "relabeled_accuracy", "diversity_ratio")
        ]
        minutes = [end[direction]["cpu_minutes"] for end in ends for direction in DIRECTIONS.values()]
        failed = [f"{seed} (failed)" for seed in run["failed"]]
        rows.append([name, run["reason"], ", ".join([*seeds, *failed]), *columns, f"{max(minutes, default=0):.1f}"])
    header = ["setting", "reason", "seeds", "class accuracy", "relabeled", "diversity ratio", "CPU minutes"]
    return markdown_table(header, rows)


def _effects(log: dict[str, Any], setting: str, steps: int) -> list[str]:
    """Return the metrics of a setting's runs after a number of steps, in the worse direction: mean over seeds."""
    ends = [run[str(steps)] for name, runs in log.items() if name.startswith(f"{setting}, ") for run in runs.values()]
    if not ends:
        return ["not run"] * len(METRICS)
    return [
        f"{np.mean([min(end[direction][metric] for direction in DIRECTIONS.values()) for end in ends]):.2f}"
        for metric in METRICS
    ]
