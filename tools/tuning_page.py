"""Write the page about the tuning of the recipe, with its figure, from the log data/results/recipe_tuning.json.

`python -m tools.tune_recipe` adds runs to the log, and `python -m tools.tuning_page` writes
data/results/recipe_tuning.md and data/results/recipe_tuning.png.
"""

from __future__ import annotations

from statistics import mean, median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from munit_lite.course import figures
from munit_lite.evaluation import convergence as rule
from munit_lite.experiments.convergence_curves import scaled_minutes
from munit_lite.experiments.recipe_tables import deviations_table, setting_without, tuning_table, worse_direction
from munit_lite.experiments.results import read_results
from munit_lite.paths import RESULTS_DIR
from munit_lite.presets import DEVIATIONS, preset
from munit_lite.world import DIRECTIONS, PAINTING, SHAPE_NAMES, SKETCH
from tools.laboratory_page import CHANCE, CRITERIA, MEASUREMENT, NEW_SEEDS, OLD_SEEDS, converged
from tools.pages import WIDTH, count_in_words, dot_plot, fill_template, label_marks, save_figure, value_range
from tools.tune_recipe import LOG, ROWS, SETTINGS, read_log

PAGE, FIGURE = (RESULTS_DIR / f"{LOG}.{suffix}" for suffix in ("md", "png"))
RECIPE = "recipe, 2,500 steps"
DEVIATION_SEED = "102"  # with which the recipe was run with the paper's values
# Deviations without which the recipe loses the classes, and those that change little.
LOST = ("content resolution", "gradient penalty", "batch size", "learning rate")
OTHERS = tuple(name for name in DEVIATIONS if name not in (*LOST, "Adam") and setting_without(name) in SETTINGS)

Log = dict[str, Any]  # setting and length -> seed -> step -> direction -> metrics


def last_step(log: Log, name: str) -> list[dict[str, Any]]:
    """Return direction -> metrics after the last step of each run of a setting and length, sorted by seed."""
    return [records[max(records, key=int)] for _, records in sorted(log[name].items())]


def worse_ends(log: Log) -> dict[str, dict[str, list[float]]]:
    """Return metric -> setting and length -> value of each run at its end, in the worse direction."""
    return {m: {name: [worse_direction(end, m) for end in last_step(log, name)] for name in log} for m in CRITERIA}


def count_good(log: Log, name: str) -> int:
    """Return how many runs of a setting and length meet both criteria at their end."""
    ends = last_step(log, name)
    return sum(all(worse_direction(end, metric) >= bound for metric, bound in CRITERIA.items()) for end in ends)


def tuning_figure(log: Log) -> Figure:
    """Plot class accuracy and diversity ratio of each setting with several seeds, joined by a line."""
    rows = [row for group, labels in ROWS.items() for row in (("", group), *labels.items())]
    good = [y for y, (name, _) in enumerate(rows) if name and count_good(log, name) == len(log[name])]
    figure, axes = figures.subplots(2, size=(WIDTH, 0.24 * len(rows) + 1.9))
    units = ("share of translations", "relative to true styles")
    for axis, (metric, values), letter, unit in zip(axes, worse_ends(log).items(), "ab", units, strict=True):
        title = f"({letter}) {metric.replace('_', ' ')}"
        dot_plot(axis, [values.get(name, []) for name, _ in rows], {"criterion": CRITERIA[metric]}, title)
        for y in good:
            label = "both runs meet both criteria"
            axis.axhspan(y - 0.5, y + 0.5, color=figures.COLORS[4], alpha=0.25, linewidth=0, label=label)
        axis.set_xlabel(unit)
    axes[0].set_yticklabels([label for _, label in rows])
    for text, (name, _) in zip(axes[0].get_yticklabels(), rows, strict=True):
        text.set_fontweight("normal" if name else "bold")
    axes[1].yaxis.tick_right()
    axes[1].set_yticklabels([name.partition(", ")[2] for name, _ in rows])
    label_marks(figure, axes[0], 3)
    figure.suptitle(
        f"Only {count_in_words(len(good))} of {len(rows) - len(ROWS)} rows meet both criteria with both seeds,\n"
        "and the chosen recipe needs fewer training images than the other"
    )
    return figure


def confusion(log: Log, name: str) -> dict[str, dict[str, float]]:
    """Return which percentage of each sketched class becomes which painted class, over the runs of a setting."""
    counts = sum(np.array(end[DIRECTIONS[SKETCH, PAINTING]]["confusion"]) for end in last_step(log, name))
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    return {shape: dict(zip(SHAPE_NAMES, row, strict=True)) for shape, row in zip(SHAPE_NAMES, shares, strict=True)}


def sorted_deviations(log: Log) -> str:
    """Return a table of the recipe with the paper's value of one deviation, sorted by class accuracy."""
    same_seed = {
        name: {DEVIATION_SEED: seeds[DEVIATION_SEED]} for name, seeds in log.items() if DEVIATION_SEED in seeds
    }
    *header, rows = deviations_table(same_seed).split("\n", 3)
    return "\n".join([*header, *sorted(rows.split("\n"), key=lambda row: row.split(" | ")[-2])])


def page(log: Log, provenance: dict[str, Any]) -> str:
    """Return the page in Markdown.

    Args:
        log: setting and length -> seed -> step -> direction -> metrics.
        provenance: what the log says about each setting and length, among it the seeds that `failed`.
    """
    ends = worse_ends(log)
    accuracy, diversity = ends.values()
    munit = read_results("laboratory")["laboratory"]["munit"]  # the recipe with seeds that are not tuned
    minutes = {name: [next(iter(end.values()))["cpu_minutes"] for end in last_step(log, name)] for name in log}
    several = [name for name, seeds in log.items() if len(seeds) > 1]
    good = [name for name, seeds in log.items() if len(seeds) == 1 and count_good(log, name)]
    spread = {m: [max(values[name]) - min(values[name]) for name in several] for m, values in ends.items()}
    one_changed = [f"{setting_without(name)}, 2,500 steps" for name in OTHERS]
    (recipe,) = (k for k, seed in enumerate(sorted(log[RECIPE])) if seed == DEVIATION_SEED)
    runs = munit.values()
    way = DIRECTIONS[PAINTING, SKETCH]
    return fill_template(
        LOG,
        accuracy={name: value_range(values) for name, values in accuracy.items()},
        diversity={name: value_range(values) for name, values in diversity.items()},
        settings=len({name.rsplit(", ", 1)[0] for name in log}),
        recipe_accuracy=100 * min(accuracy[RECIPE]),
        cpu=value_range(minutes[RECIPE] + [run["quality"][-1]["cpu_minutes"] for run in runs], ".0f"),
        scaled=value_range([scaled_minutes(run)[-1] for run in runs], ".0f"),
        old=converged(munit, OLD_SEEDS),
        new=converged(munit, NEW_SEEDS),
        lost=value_range([accuracy[f"{setting_without(name)}, 2,500 steps"][0] for name in LOST]),
        chance=CHANCE,
        rule=rule,
        measurement=MEASUREMENT,
        baseline=preset("world32", **SETTINGS["baseline"].fields),
        runs=sum(map(len, log.values())),
        combinations=len(log),
        several=len(several),
        single=len(log) - len(several),
        good=count_in_words(len(good)),
        good_deviations=count_in_words(sum(name.startswith("paper") for name in good)),
        divided=sum(min(diversity[name]) < rule.MIN_DIVERSITY_RATIO <= max(diversity[name]) for name in several),
        minutes={name: mean(values) for name, values in minutes.items()},
        median=median(spread["diversity_ratio"]),
        largest={metric: max(values) for metric, values in spread.items()},
        missed=sorted(worse_direction(run["quality"][-1], "diversity_ratio") for run in runs),
        lost_at_32=confusion(log, "recipe_32, 2,500 steps"),
        lost_with_cycle=confusion(log, "constant_rate_32_cycle, 4,000 steps"),
        back_at_32=min(end[way]["class_accuracy"] for end in last_step(log, "recipe_32, 2,500 steps")),
        deviations=len(DEVIATIONS),
        change={m: max(abs(v[name][0] - v[RECIPE][recipe]) for name in one_changed) for m, v in ends.items()},
        deviations_table=sorted_deviations(log),
        every_run=tuning_table(log, provenance, {name: setting.reason for name, setting in SETTINGS.items()}),
    )


def main() -> None:
    """Write the page and its figure again."""
    log, provenance = read_log()
    save_figure(FIGURE, tuning_figure(log), log)
    PAGE.write_text(page(log, provenance))


if __name__ == "__main__":
    main()
