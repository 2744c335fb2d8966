"""Write the page of the paper's table 1 in the laboratory world, with its curves, from data/results/laboratory.json.

`munit-lite sweep data/sweeps/laboratory.yaml --results data/results/laboratory.json` measures the runs, and
`python -m tools.laboratory_page` writes data/results/laboratory.md and data/results/laboratory_methods.png. Tables,
figure and ledger hold the methods that have been measured; one sentence names the others.
"""

from __future__ import annotations

import inspect
import textwrap
from collections import Counter
from collections.abc import Container, Sequence
from statistics import mean
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from scipy import stats

from munit_lite.course import figures
from munit_lite.evaluation import convergence as rule
from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.claims import FAILS, HOLDS, OUT_OF_REACH, UNDECIDED, Comparison, compare, mean_over_seeds
from munit_lite.experiments.convergence_curves import collect_quality_curves, exchanged_classes
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.recipe_tables import worse_direction
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.experiments.tables import REAL_LPIPS, TABLE_1
from munit_lite.paths import RESULTS_DIR, SWEEPS_DIR
from munit_lite.presets import preset
from munit_lite.world import DIRECTIONS, PAINTING, SKETCH, World
from tools.pages import (
    TEMPLATES,
    WIDTH,
    count_in_words,
    fill_template,
    label_marks,
    listed,
    minus_signs,
    save_figure,
    table,
    value_range,
)

DATA = "laboratory"
PLAN = SWEEPS_DIR / f"{DATA}.yaml"
PAGE, CURVES = RESULTS_DIR / f"{DATA}.md", RESULTS_DIR / f"{DATA}_methods.png"
METHODS = {  # a method of the sweep -> its name, and its row in the paper's table 1
    "unit": ("UNIT", "unit"),
    "cyclegan": ("CycleGAN", "cyclegan"),
    "cyclegan_input_noise": ("CycleGAN with noise at the input", "cyclegan_noise"),
    "cyclegan_noise": ("CycleGAN with noise through AdaIN", ""),
    "munit_without_image": ("MUNIT without image reconstruction", "munit_without_image"),
    "munit_without_content": ("MUNIT without content reconstruction", "munit_without_content"),
    "munit_without_style": ("MUNIT without style reconstruction", "munit_without_style"),
    "munit": ("MUNIT", "munit"),
    "munit_with_cycle": ("MUNIT with the cycle loss", ""),
    "munit_style_dim_2": ("MUNIT with 2 style dimensions", ""),
    "munit_style_dim_8": ("MUNIT with 8 style dimensions", ""),
    "bicyclegan": ("BicycleGAN, trained on pairs", "bicyclegan"),
}
METRICS = {"class_accuracy": "class accuracy", "diversity_ratio": "diversity ratio", "sampled_style_r2": "style R²"}
CRITERIA = {"class_accuracy": rule.MIN_CLASS_ACCURACY, "diversity_ratio": rule.MIN_DIVERSITY_RATIO}
MEASUREMENT = inspect.signature(rule.measure_quality).parameters  # their defaults are those of training
CHANCE = sum(share**2 for share in World(DATA).variant.frequencies_1)  # class accuracy of independent classes
# Claims that the plan words more strongly, or more briefly, than its bounds test them.
REWORDED = yaml.safe_load((TEMPLATES / "laboratory_claims.yaml").read_text())
DECISIVE, MOST_SEEDS = 0.05, 10  # the rule for more seeds, in the plan
# Seeds of MUNIT: those on which two earlier recipes had been run before this one was chosen, and those never used.
OLD_SEEDS, NEW_SEEDS = range(5), range(5, 10)

Runs = dict[str, dict[str, Any]]  # seed -> run
Sweep = dict[str, dict[str, Runs]]  # data -> method -> runs


def measured(sweep: Sweep) -> dict[str, Runs]:
    """Return the runs of each method that has one, by the method's name on the page, in the order of `METHODS`."""
    return {name: sweep[DATA][method] for method, (name, _) in METHODS.items() if sweep[DATA].get(method)}


def converged(runs: Runs, seeds: Container[int] = range(MOST_SEEDS)) -> int:
    """Return how many of the runs with some seeds have converged."""
    return sum(rule.convergence(run["quality"]).has_converged for seed, run in runs.items() if int(seed) in seeds)


def final(run: dict[str, Any], metric: str) -> float:
    """Return a metric of the final evaluation of a run, the mean over both directions."""
    return mean_over_directions(run["numbers"], metric)[0]


def differences(sweep: Sweep, runs: Runs, metric: str) -> list[float]:
    """Return a metric of a method minus that of MUNIT for each seed that both have."""
    munit = sweep[DATA]["munit"]
    return [final(run, metric) - final(munit[seed], metric) for seed, run in runs.items() if seed in munit]


def with_interval(values: Sequence[float]) -> str:
    """Return the mean over seeds, with half of its 95 % interval if there are several, or a bound near zero.

    Example:
        >>> with_interval([0.0, 0.0002, -0.0001])
        '< 0.001'
    """
    if max(map(abs, values)) < 0.0005:
        return "< 0.001"
    if len(values) < 2:
        return minus_signs(f"{values[0]:z.3f}")
    center, half_width = mean_over_seeds(values)
    return minus_signs(f"{center:z.3f} ± {half_width:.3f}")


def _over_seeds(metric: str) -> Any:
    return lambda runs: with_interval([final(run, metric) for run in runs.values()])


def _at_end(metric: str) -> Any:
    return lambda runs: with_interval(
        [mean(run["quality"][-1][way][metric] for way in DIRECTIONS.values()) for run in runs.values()]
    )


def _below_criterion(metric: str) -> Any:
    return lambda runs: sum(worse_direction(run["quality"][-1], metric) < CRITERIA[metric] for run in runs.values())


def runs_table(sweep: Sweep) -> str:
    """Return how many runs of each measured method converge, and what the others lack after their last step."""
    columns = {
        "runs converged": lambda runs: f"{converged(runs)} of {len(runs)}",
        **{f"{METRICS[metric]} below {bound}": _below_criterion(metric) for metric, bound in CRITERIA.items()},
        "classes exchanged": lambda runs: sum(bool(exchanged_classes(run)) for run in runs.values()),
        "class accuracy": _at_end("class_accuracy"),
        "relabeled accuracy": _at_end("relabeled_accuracy"),
        "style R²": _over_seeds("sampled_style_r2"),
    }
    return table("method", measured(sweep), columns)


def results_table(sweep: Sweep) -> str:
    """Return the paper's numbers of each measured method beside ours, with intervals over seeds."""
    rows, runs = [], measured(sweep)
    for name, reported in METHODS.values():
        if name in runs:
            paper = [(f"{quality:.1f} %", f"{lpips:.3f}") for quality, lpips in TABLE_1.get(reported, ())]
            quality, lpips = zip(*paper or [("–", "–")] * 2, strict=True)
            accuracy, diversity = (_over_seeds(metric)(runs[name]) for metric in CRITERIA)
            rows.append([name, *quality, accuracy, *lpips, diversity])
    rows.append(["real images", "–", "–", "1", *(f"{lpips:.3f}" for lpips in REAL_LPIPS), "1"])
    ours = ("ours: class accuracy", "ours: diversity ratio")
    header = ["method", "quality, shoes", "quality, handbags", ours[0], "LPIPS, shoes", "LPIPS, handbags", ours[1]]
    return markdown_table(header, rows)


def rank_correlations(sweep: Sweep) -> tuple[int, list[str]]:
    """Return of how many methods the paper reports numbers, and how their order agrees with ours in both criteria."""
    runs = measured(sweep)
    both = {name: TABLE_1[reported] for name, reported in METHODS.values() if name in runs and reported}
    found = []
    for k, metric in enumerate(CRITERIA):
        ours = [mean(final(run, metric) for run in runs[name].values()) for name in both]
        found.append(stats.spearmanr([mean(data[k] for data in row) for row in both.values()], ours).statistic)
    return len(both), [minus_signs(f"{value:z.2f}") for value in found]


def differences_table(sweep: Sweep) -> str:
    """Return the difference of each measured method from MUNIT, paired by seed, with its interval over seeds."""

    def cell(metric: str) -> Any:
        return lambda runs: with_interval(differences(sweep, runs, metric))

    others = {name: runs for name, runs in measured(sweep).items() if name != "MUNIT"}
    columns = {title: cell(metric) for metric, title in METRICS.items()}
    return table("method", others, {"seeds": lambda runs: len(differences(sweep, runs, "class_accuracy")), **columns})


def needs_a_seed(differences: Sequence[float]) -> bool:
    """Return whether the plan calls for another seed.

    That is where the interval contains zero and reaches further than `DECISIVE` to either side, up to `MOST_SEEDS`.
    """
    if not 2 <= len(differences) < MOST_SEEDS:
        return False
    center, half_width = mean_over_seeds(differences)
    return abs(center) <= half_width and half_width > DECISIVE


def ledger_table(comparisons: Sequence[Comparison]) -> str:
    """Return the claims about measured methods: metric, result, bounds and verdict."""
    rows = []
    for comparison in comparisons:
        expected, values, verdict = comparison.expectation, comparison.values, comparison.verdict
        metric = METRICS[expected.metric] + " minus that of MUNIT" * (expected.difference_from == "munit")
        if verdict == UNDECIDED:
            verdict += f" with {len(values)} seed{'s' * (len(values) > 1)}"
        verdict += " (bound set after the runs)" * (expected.subject == "munit")
        claim = REWORDED.get(expected.claim, expected.claim)
        rows.append([claim, metric, with_interval(values), minus_signs(expected.bounds), verdict])
    return markdown_table(["claim", "metric", "measured", "bound", "verdict"], rows)


def commands(sweep: Sweep) -> str:
    """Return the command that repeats the first run of each measured method, with its seeds and commits."""
    lines = []
    for name, runs in measured(sweep).items():
        commits = sorted({attempt["commit"] for run in runs.values() for attempt in run["attempts"]})
        lines.append(f"# {name}; seeds: {', '.join(runs)}; commit {', '.join(commits)}")
        lines.append(next(iter(runs.values()))["provenance"]["command"].replace(" -p ", " \\\n    -p ", 1))
    return "\n".join(lines)


def curves_figure(sweep: Sweep) -> Figure:
    """Plot class accuracy and diversity ratio against training steps, one panel per measured method."""
    methods = [method for method in METHODS if sweep[DATA].get(method)]
    columns = 2 if len(methods) < 5 else 3
    rows = -(-len(methods) // columns)
    figure, axes = figures.subplots(columns, size=(WIDTH, 2.2 * rows + 1), rows=rows)
    for axis, method, letter in zip(axes, methods, "abcdefghijkl", strict=False):
        curves = collect_quality_curves(sweep, DATA, method, tuple(CRITERIA))
        for (metric, criterion), color, line in zip(CRITERIA.items(), figures.COLORS, figures.LINES, strict=False):
            name, values = METRICS[metric], np.min(list(curves.values[metric].values()), axis=0)
            axis.plot(curves.steps, values.mean(axis=0), line, color=color, label=f"{name}, mean over seeds")
            band = {"color": color, "alpha": 0.2, "linewidth": 0, "label": f"{name}, all seeds"}
            axis.fill_between(curves.steps, values.min(axis=0), values.max(axis=0), **band)
            label = f"{name}, criterion {criterion}"
            axis.axhline(criterion, linestyle=":", color=color, linewidth=1.2, label=label)
        end = max(curves.steps)
        axis.set(ylim=(0, 1.05), yticks=np.linspace(0, 1, 5), xlim=(0, 1.02 * end), xticks=np.linspace(0, end, 3))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.set_xlabel("training step")
        axis.set_title(textwrap.fill(f"({letter}) {METHODS[method][0]}", 78 // columns), fontsize=10, loc="left")
    for axis in axes[len(methods) :]:
        axis.remove()
    figure.supylabel("accuracy or ratio", fontsize=10)
    label_marks(figure, axes[0], 2)
    runs = measured(sweep).values()
    most = count_in_words(sum(2 * converged(group) > len(group) for group in runs))
    total = f"({sum(map(converged, runs))} of {sum(map(len, runs))} runs in total)"
    figure.suptitle(f"Most runs converge with {most} of {count_in_words(len(runs))} methods\n{total}")
    return figure


def page(sweep: Sweep) -> str:
    """Return the page in Markdown."""
    runs, munit, way = measured(sweep), sweep[DATA]["munit"], DIRECTIONS[PAINTING, SKETCH]
    missing = "; ".join(name for name, _ in METHODS.values() if name not in runs)
    status = f"**{len(runs)} of {len(METHODS)} methods have been measured so far.** Not measured yet: {missing}."
    ends = {seed: run["quality"][-1] for seed, run in munit.items()}
    missed = {
        int(seed): ends[seed][way]["diversity_ratio"]
        for seed, run in munit.items()
        if not rule.convergence(run["quality"]).has_converged
    }
    before = [run["quality"][-3] for run in munit.values()]
    falls = [a[way]["diversity_ratio"] - b[way]["diversity_ratio"] for a, b in zip(before, ends.values(), strict=True)]
    lower = [worse_direction(end, "diversity_ratio") for end in ends.values()]
    needed = [
        name
        for name, group in runs.items()
        if any(needs_a_seed(differences(sweep, group, metric)) for metric in CRITERIA)
    ]
    comparisons = [comparison for comparison in compare(read_plan(PLAN).expectations, sweep) if comparison.values]
    verdicts = Counter(c.verdict for c in comparisons if c.expectation.subject != "munit")
    verbs = {HOLDS: ("holds", "hold"), FAILS: ("fails", "fail"), UNDECIDED: ("is undecided", "are undecided")}
    beyond = [(REWORDED.get(claim, claim), why) for claim, why in OUT_OF_REACH.items()]
    both, correlations = rank_correlations(sweep)
    # What the template says in words.
    assert len(munit) == 10 and list(missed) == [5, 7] and min(falls) > 0 and len(OUT_OF_REACH) == 3
    assert sorted(missed.values()) == sorted(value for value in lower if value < rule.MIN_DIVERSITY_RATIO)
    assert [c.verdict for c in comparisons if c.expectation.subject == "munit"] == [HOLDS] * 3
    return fill_template(
        DATA,
        status=status if missing else f"**All {count_in_words(len(METHODS))} methods have been measured.**",
        old=converged(munit, OLD_SEEDS),
        new=converged(munit, NEW_SEEDS),
        accuracy=_over_seeds("class_accuracy")(munit),
        diversity=_over_seeds("diversity_ratio")(munit),
        steps=preset(DATA).steps,
        chance=CHANCE,
        rule=rule,
        measurement=MEASUREMENT,
        numbers=munit["0"]["numbers"][way],
        missed=missed,
        falls=value_range(falls),
        runs=runs_table(sweep),
        results=results_table(sweep),
        both=count_in_words(both),
        correlations=correlations,
        differences=differences_table(sweep),
        needed=f"That is so for {listed(needed)}." if needed else "No difference measured so far is of this kind.",
        tested=count_in_words(verdicts.total()),
        verdicts=listed([f"{count_in_words(n)} {verbs[v][n > 1]}" for v in verbs if (n := verdicts[v])]),
        ledger=ledger_table(comparisons),
        lower=mean(lower),
        out_of_reach="\n".join(f"- {c[0].upper()}{c[1:]}: {why}." for c, why in beyond),
        commands=commands(sweep),
    )


def main() -> None:
    """Write the page and its figure again."""
    sweep = read_results(DATA)
    save_figure(CURVES, curves_figure(sweep), sweep)
    PAGE.write_text(page(sweep))


if __name__ == "__main__":
    main()
