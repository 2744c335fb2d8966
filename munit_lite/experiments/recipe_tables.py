"""The recipe of the preset `laboratory`: its deviations from the paper, and what each of them changes.

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


def deviations_table(
    log: dict[str, Any], runs: dict[str, Any] | None = None, steps: int = PRESETS["laboratory"].steps
) -> str:
    """Return a table in Markdown of the recipe's deviations from the paper with their reasons and effects.

    Args:
        log: the numbers of the tuning log: setting and length -> seed -> step -> direction -> metrics.
        runs: what its provenance says about each setting: the seeds that `failed`; without it these are "not run".
        steps: training steps of the runs that are compared; by default those of the preset `laboratory`.

    Returns:
        A first row for the recipe itself, then one row per deviation: the paper's and the recipe's values, the reason,
        the seeds, and the class accuracy and the diversity ratio after the last step of the recipe with the paper's
        values of this deviation, as the mean over seeds in the worse direction.

    Example:
        >>> print(deviations_table({}).splitlines()[0])
        | deviation | paper → recipe | reason | seeds | class accuracy | diversity ratio |
    """
    rows = [["(the recipe)", "", "", *_effects(log, runs or {}, f"recipe, {steps:,} steps")]]
    for name, deviation in DEVIATIONS.items():
        changes = [f"{field} {value} → {deviation.fields[field]}" for field, value in paper_values(name).items()]
        effects = _effects(log, runs or {}, f"{setting_without(name)}, {steps:,} steps")
        rows.append([name, ", ".join(changes), deviation.reason, *effects])
    return markdown_table(["deviation", "paper → recipe", "reason", "seeds", *map(_words, METRICS)], rows)


def tuning_table(log: dict[str, Any], runs: dict[str, Any], reasons: dict[str, str]) -> str:
    """Return a table in Markdown of every setting that was tried, in the order of the log.

    Args:
        log: the numbers of the tuning log.
        runs: what its provenance says about each setting: the seeds that `failed`, with the last step measured.
        reasons: setting -> why it was tried.

    Returns:
        One row per setting and length: the change and its reason, the training steps, the seeds, and after the last
        step the class accuracy, the accuracy after the best relabeling and the diversity ratio, each of its worse
        direction and one per seed; the CPU minutes of the longest run; and the setting's name, which may be broken
        after each underscore.

    Example:
        >>> runs = {"baseline, 500 steps": {"failed": {"100": 250}}}
        >>> print(tuning_table({}, runs, {"baseline": "the starting point"}).splitlines()[-1])
        | the starting point | 500 | 100 (failed after step 250) |  |  |  | – | baseline |
    """
    rows = []
    for name, run in runs.items():
        seeds = log.get(name, {})
        ends = [records[max(records, key=int)] for records in seeds.values()]
        columns = [
            ", ".join(f"{worse_direction(end, metric):.2f}" for end in ends)
            for metric in ("class_accuracy", "relabeled_accuracy", "diversity_ratio")
        ]
        minutes = [end[direction]["cpu_minutes"] for end in ends for direction in DIRECTIONS.values()]
        failed = [f"{seed} (failed after step {step})" for seed, step in run["failed"].items()]
        setting, length = name.rsplit(", ", 1)
        longest = f"{max(minutes):.1f}" if minutes else "–"
        cells = [reasons[setting], length.removesuffix(" steps"), ", ".join([*seeds, *failed]), *columns, longest]
        rows.append([*cells, setting.replace("_", "_<wbr>")])
    header = ["change and reason", "steps", "seeds", "class accuracy", "relabeled", "diversity ratio", "CPU minutes"]
    return markdown_table([*header, "name"], rows)


def worse_direction(end: dict[str, Any], metric: str) -> float:
    """Return a metric in the direction of translation where it is lower.

    Args:
        end: direction -> metrics.
        metric: name of the metric.

    Example:
        >>> end = {"sketch to painting": {"style_r2": 0.9}, "painting to sketch": {"style_r2": 0.8}}
        >>> worse_direction(end, "style_r2")
        0.8
    """
    # Fractions of the same images were stored with other last digits: relabeling can only raise the accuracy.
    return round(min(end[direction][metric] for direction in DIRECTIONS.values()), 4)


def _effects(log: dict[str, Any], runs: dict[str, Any], name: str) -> list[str]:
    """Return the seeds of a setting's runs, and each metric after the last step in the worse direction."""
    failed = [f"{seed} (failed)" for seed in runs.get(name, {}).get("failed", {})]
    ends = [records[max(records, key=int)] for records in log.get(name, {}).values()]
    seeds = ", ".join([*log.get(name, {}), *failed]) or "not run"
    return [
        seeds,
        *(f"{np.mean([worse_direction(end, metric) for end in ends]):.2f}" if ends else "–" for metric in METRICS),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")
