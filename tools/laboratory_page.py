"""Write the page of the paper's table 1 in the laboratory world, with its curves, from data/results/laboratory.json.

`munit-lite sweep data/sweeps/laboratory.yaml --results data/results/laboratory.json` measures the runs, and
`python -m tools.laboratory_page` writes data/results/laboratory.md and data/results/laboratory_methods.png. Tables,
figure and ledger hold the methods that have been measured; one sentence names the others.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from munit_lite.course import figures
from munit_lite.evaluation.convergence import (
    MAX_CHANGE,
    MIN_CLASS_ACCURACY,
    MIN_DIVERSITY_RATIO,
    convergence,
    measure_quality,
)
from munit_lite.experiments.claims import OUT_OF_REACH, UNDECIDED, Comparison, compare, mean_over_seeds
from munit_lite.experiments.convergence_curves import collect_quality_curves, exchanged_classes
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.experiments.tables import REAL_LPIPS, TABLE_1, estimates_by_seed
from munit_lite.paths import RESULTS_DIR, SWEEPS_DIR
from munit_lite.presets import preset
from munit_lite.world import DIRECTIONS, PAINTING, SKETCH, World
from tools.page_figures import FONT, WIDTH, digest_of, png_with_digest
from tools.page_text import count_in_words, listed, minus_signs, seed_range

DATA = "laboratory"
PLAN = SWEEPS_DIR / f"{DATA}.yaml"
PAGE = RESULTS_DIR / f"{DATA}.md"
CURVES = RESULTS_DIR / f"{DATA}_methods.png"
METHODS = {  # a method of the sweep -> its name, and its row in the paper's table 1
    "unit": ("UNIT", "unit"),
    "cyclegan": ("CycleGAN", "cyclegan"),
    "cyclegan_input_noise": ("CycleGAN with noise at the input", "cyclegan_noise"),
    "cyclegan_noise": ("CycleGAN with noise through AdaIN", None),
    "munit_without_image": ("MUNIT without image reconstruction", "munit_without_image"),
    "munit_without_content": ("MUNIT without content reconstruction", "munit_without_content"),
    "munit_without_style": ("MUNIT without style reconstruction", "munit_without_style"),
    "munit": ("MUNIT", "munit"),
    "munit_with_cycle": ("MUNIT with the cycle loss", None),
    "munit_style_dim_2": ("MUNIT with 2 style dimensions", None),
    "munit_style_dim_8": ("MUNIT with 8 style dimensions", None),
    "bicyclegan": ("BicycleGAN, trained on pairs", "bicyclegan"),
}
BASELINES = ("unit", "cyclegan", "cyclegan_input_noise", "cyclegan_noise", "bicyclegan")
NOISE = ("cyclegan_input_noise", "cyclegan_noise")
METRICS = {"class_accuracy": "class accuracy", "diversity_ratio": "diversity ratio", "sampled_style_r2": "style R²"}
CRITERIA = {"class_accuracy": MIN_CLASS_ACCURACY, "diversity_ratio": MIN_DIVERSITY_RATIO}
PROTOCOLS = {  # how the paper's numbers differ from ours
    "images": ("edges to shoes and to handbags, 256 px", "sketches and paintings of known shapes, 16 px"),
    "quality": (
        "how often people prefer the output to MUNIT's, so MUNIT itself has 50 %",
        "class accuracy, a substitute: the paper's images have no classes",
    ),
    "diversity": ("LPIPS, the mean perceptual distance between two outputs of one input", "diversity ratio"),
    "runs": ("one per method", "several seeds per method"),
    "CycleGAN with noise": (
        "noise at the input of a network with skip connections",
        "noise at the input, or through AdaIN as MUNIT's style",
    ),
}
# Claims that the plan words more strongly, or more briefly, than its bounds test them.
REWORDED = {
    "MUNIT's outputs for one input cover the styles": (
        "MUNIT's outputs for one input vary almost as much as the true styles"
    ),
    "the style-augmented cycle loss does not reduce the diversity": (
        "with the cycle loss, the outputs vary almost as much as the true styles"
    ),
    "with pairs the outputs are as diverse": (
        "with BicycleGAN, which is trained on pairs, the outputs vary almost as much as the true styles"
    ),
    "UNIT is deterministic": "UNIT's outputs for one input hardly vary",
    "CycleGAN is deterministic": "CycleGAN's outputs for one input hardly vary",
    "with the cycle loss the content is preserved as well": "MUNIT with the cycle loss preserves the content",
    "pairs bound what can be reached": "BicycleGAN, which is trained on pairs, preserves the content",
    "without image reconstruction quality falls": "without image reconstruction, the class accuracy falls",
    "without content reconstruction quality falls": "without content reconstruction, the class accuracy falls",
    "without style reconstruction quality falls": "without style reconstruction, the class accuracy does not rise",
    "UNIT preserves the content less well than MUNIT": "UNIT preserves the content no better than MUNIT",
    "CycleGAN preserves the content less well than MUNIT": "CycleGAN preserves the content no better than MUNIT",
    "street scenes and Yosemite's seasons at 256 and 512 pixels": (
        "MUNIT translates street scenes and the seasons of Yosemite at 256 and 512 pixels"
    ),
}
AFTERWARDS = "munit"  # the method whose runs came before its bounds
DASH = "–"
DECISIVE, MOST_SEEDS = 0.05, 10  # the rule for more seeds, in the plan
# Seeds of MUNIT: those on which two earlier recipes had been run before this one was chosen, and those never used.
SEED_GROUPS = {"0 to 4": range(5), "5 to 9": range(5, 10)}
LOWEST = 0.8  # end of the axis of the diversity ratio in the figure of a single method
END = 500  # steps before the end over which the fall of the diversity is stated

Sweep = dict[str, Any]


def _runs(sweep: Sweep, method: str) -> dict[str, dict[str, Any]]:
    return sweep.get(DATA, {}).get(method, {})


def measured(sweep: Sweep) -> list[str]:
    """Return the methods that have a run, in the order of `METHODS`."""
    return [method for method in METHODS if _runs(sweep, method)]


def _names(methods: Sequence[str]) -> list[str]:
    return [METHODS[method][0] for method in methods]


def _by_seed(sweep: Sweep, method: str, metric: str) -> dict[str, float]:
    """Return the mean over both directions of each seed."""
    return {seed: estimate.mean for seed, estimate in estimates_by_seed(sweep, DATA, method, metric).items()}


def _over_seeds(sweep: Sweep, method: str, metric: str) -> str:
    return _with_interval(list(_by_seed(sweep, method, metric).values()))


def _with_interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return minus_signs(f"{values[0]:z.3f}") if values else DASH
    center, half_width = mean_over_seeds(values)
    return minus_signs(f"{center:z.3f} ± {half_width:.3f}")


# ------------------------------------------------------------------------------------------------- convergence


def converged(sweep: Sweep, method: str) -> list[str]:
    """Return the seeds of a method that converged."""
    return [seed for seed, run in _runs(sweep, method).items() if convergence(run["quality"]).has_converged]


def converged_in_groups(runs: dict[str, dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return of each group of seeds how many of its runs converged, and how many there are."""
    return {
        name: (sum(convergence(run["quality"]).has_converged for run in group), len(group))
        for name, seeds in SEED_GROUPS.items()
        if (group := [run for seed, run in runs.items() if int(seed) in seeds])
    }


def seed_words(runs: dict[str, dict[str, Any]]) -> str:
    """Return how many runs of MUNIT converge with seeds on which earlier recipes were run, and with new ones."""
    (old, new), counts = SEED_GROUPS, converged_in_groups(runs)
    if new not in counts:
        return ""
    return (
        f"With the seeds {new}, which we had never used before these runs, {counts[new][0]} of {counts[new][1]} "
        f"converge; with the seeds {old}, on which we had run two earlier recipes before we chose this one, "
        f"{counts[old][0]} of {counts[old][1]}."
    )


def shortfalls(run: dict[str, Any]) -> list[str]:
    """Return what a run lacks after its last step, such as "a diversity ratio of 0.894 from painting to sketch"."""
    end = run["quality"][-1]
    found = []
    for metric, criterion in CRITERIA.items():
        value, direction = min((end[name][metric], name) for name in DIRECTIONS.values())
        if value < criterion:
            found.append(f"a {METRICS[metric]} of {value:.3f} from {direction}")
    if not convergence(run["quality"]).is_flat:
        found.append("a class accuracy that still changes")
    return found


def convergence_words(sweep: Sweep, method: str) -> str:
    """Return a paragraph about the runs of a method: how many converged, what the others lack, what is not settled."""
    runs, good = _runs(sweep, method), converged(sweep, method)
    name, others = METHODS[method][0], {seed: run for seed, run in runs.items() if seed not in good}
    verb = "converges" if len(good) == 1 else "converge"
    share = f"{_capital(count_in_words(len(good)))} of the" if others else "All"
    text = f"{share} {count_in_words(len(runs))} runs of {name} {verb}."
    if others:
        ends = [f"seed {seed} with {listed(shortfalls(run))}" for seed, run in others.items()]
        one, more = "The other one ends", f"The other {count_in_words(len(others))} end"
        text += f" {one if len(others) == 1 else more} without meeting the criteria: {listed(ends)}."
    falls = [fall for run in runs.values() if (fall := _fall_of_sketches(run)) is not None]
    if len(falls) == len(runs) and min(falls) > 0:
        text += (
            f" The diversity of the generated sketches has not settled: in every run, it falls over the last {END} "
            f"steps, by {min(falls):.2f} to {max(falls):.2f}. With another number of steps, another number of runs "
            "would converge."
        )
    return text


def _fall_of_sketches(run: dict[str, Any]) -> float | None:
    by_step = {record["step"]: record[DIRECTIONS[PAINTING, SKETCH]]["diversity_ratio"] for record in run["quality"]}
    before = by_step.get(max(by_step) - END)
    return None if before is None else before - by_step[max(by_step)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def runs_table(sweep: Sweep) -> str:
    """Return how many runs of each measured method converge, and what the others lack after their last step."""
    rows = []
    for method in measured(sweep):
        runs = list(_runs(sweep, method).values())
        low = [
            sum(min(run["quality"][-1][d][metric] for d in DIRECTIONS.values()) < criterion for run in runs)
            for metric, criterion in CRITERIA.items()
        ]
        relabeled = [mean(run["quality"][-1][d]["relabeled_accuracy"] for d in DIRECTIONS.values()) for run in runs]
        exchanged = sum(bool(exchanged_classes(run)) for run in runs)
        share = f"{len(converged(sweep, method))} of {len(runs)}"
        accuracy = [mean(run["quality"][-1][d]["class_accuracy"] for d in DIRECTIONS.values()) for run in runs]
        means = [_with_interval(accuracy), _with_interval(relabeled), _over_seeds(sweep, method, "sampled_style_r2")]
        rows.append([METHODS[method][0], share, *map(str, low), str(exchanged), *means])
    header = ["method", "runs converged"]
    header += [f"{METRICS[metric]} below {criterion}" for metric, criterion in CRITERIA.items()]
    header += ["classes exchanged", METRICS["class_accuracy"], "relabeled accuracy", METRICS["sampled_style_r2"]]
    return markdown_table(header, rows)


def panel_rows(count: int) -> list[int]:
    """Return the number of panels in each row of the figure: at most three, and about the same in every row.

    Example:
        >>> panel_rows(1), panel_rows(4), panel_rows(7), panel_rows(12)
        ([1], [2, 2], [3, 2, 2], [3, 3, 3, 3])
    """
    rows = -(-count // 3)
    return [count // rows + (row < count % rows) for row in range(rows)]


def _curves(sweep: Sweep) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Return of each measured method the steps, and for two metrics (seeds, N) values of the worse direction."""
    found = {}
    for method in measured(sweep):
        if any(run.get("quality") for run in _runs(sweep, method).values()):
            curves = collect_quality_curves(sweep, DATA, method, tuple(CRITERIA))
            values = {metric: np.min(list(sides.values()), axis=0) for metric, sides in curves.values.items()}
            found[method] = curves.steps, values
    return found


def digest(sweep: Sweep) -> str:
    """Return a number for the data of the figure, which the figure's file holds: it shows whether the file is old."""
    data = [(m, s.tolist(), {k: v.round(6).tolist() for k, v in c.items()}) for m, (s, c) in _curves(sweep).items()]
    ways = [[run["quality"][-1][way]["diversity_ratio"] for way in DIRECTIONS.values()] for run in _all_runs(sweep)]
    return digest_of([CRITERIA, data, ways])


def curves_figure(sweep: Sweep) -> bytes:
    """Return class accuracy and diversity ratio against training steps, one panel per measured method, as PNG.

    With one method, the panels show the diversity ratio of each of its runs in both directions.
    """
    if len(measured(sweep)) == 1:
        return _runs_figure(sweep, measured(sweep)[0])
    curves = _curves(sweep)
    rows = panel_rows(len(curves))
    with plt.rc_context(figures.STYLE):
        figure = plt.figure(figsize=(WIDTH, (2.2 if len(rows) > 1 else 2.9) * len(rows) + 1), layout="constrained")
        grid = figure.add_gridspec(len(rows), 6)
        places = [grid[r, 6 // n * k : 6 // n * (k + 1)] for r, n in enumerate(rows) for k in range(n)]
        axes = [figure.add_subplot(place) for place in places]
    firsts = {sum(rows[:row]) for row in range(len(rows))}
    for k, (axis, (method, (steps, metrics))) in enumerate(zip(axes, curves.items(), strict=True)):
        for color, line, (metric, values) in zip(figures.COLORS, figures.LINES, metrics.items(), strict=False):
            axis.plot(steps, values.mean(axis=0), line, color=color, label=f"{METRICS[metric]}, mean over seeds")
            axis.fill_between(
                steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0,
                label=f"{METRICS[metric]}, all seeds",
            )  # fmt: skip
            criterion = CRITERIA[metric]
            axis.axhline(
                criterion, linestyle=":", color=color, linewidth=1.2, label=f"{METRICS[metric]}, criterion {criterion}"
            )
        axis.set(ylim=(0, 1.05), yticks=(0, 0.25, 0.5, 0.75, 1), xlim=(0, max(steps) * 1.02))
        axis.set_xticks(np.linspace(0, max(steps), 6 if len(rows) == 1 and len(axes) < 3 else 3))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.tick_params(labelsize=FONT)
        axis.set_ylabel("accuracy or ratio" if k in firsts else "", fontsize=FONT)
        axis.set_xlabel("training step" if k >= len(axes) - rows[-1] else "", fontsize=FONT)
        title = f"({'abcdefghijkl'[k]}) {METHODS[method][0]}" if len(axes) > 1 else ""
        per_row = next(n for r, n in enumerate(rows) if k < sum(rows[: r + 1]))
        axis.set_title(textwrap.fill(title, 78 // per_row), fontsize=FONT, loc="left")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=FONT)
    figure.suptitle(headline(sweep), fontsize=FONT + 2)
    return png_with_digest(figure, alt_text(sweep), digest(sweep))


def _runs_figure(sweep: Sweep, method: str) -> bytes:
    """Return the diversity ratio of each run of a method against training steps, one panel per direction, as PNG."""
    curves = collect_quality_curves(sweep, DATA, method, ("diversity_ratio",))
    good = converged(sweep, method)
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True, layout="constrained")
    for axis, letter, (direction, values) in zip(axes, "ab", curves.values["diversity_ratio"].items(), strict=True):
        missed = 0
        for seed, run in zip(curves.seeds, values, strict=True):
            if seed in good:
                style: dict[str, Any] = {"color": "0.6", "linestyle": "-", "linewidth": 1.2, "label": "converges"}
            else:
                line = {"color": figures.COLORS[1], "linestyle": figures.LINES[missed % 4], "linewidth": 2}
                style = {**line, "label": f"seed {seed}, does not converge", "zorder": 3}
                missed += 1
            axis.plot(curves.steps, run, **style)
        axis.axhline(MIN_DIVERSITY_RATIO, color="black", linestyle=":", linewidth=1.4, label="criterion")
        axis.set(ylim=(LOWEST, 1.01), xlim=(0, max(curves.steps) * 1.02), xlabel="training step")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.set_title(f"({letter}) {direction}", fontsize=FONT, loc="left")
    axes[0].set_ylabel("diversity ratio")
    handles = {label: handle for handle, label in zip(*axes[0].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=FONT)
    figure.suptitle(headline(sweep), fontsize=FONT + 2)
    return png_with_digest(figure, alt_text(sweep), digest(sweep))


def _all_runs(sweep: Sweep) -> list[dict[str, Any]]:
    return [run for method in measured(sweep) for run in _runs(sweep, method).values()]


def figure_caption(sweep: Sweep) -> str:
    """Return the caption of the figure."""
    if len(measured(sweep)) > 1:
        return (
            "Each panel shows one method. For each seed, we take the direction of translation in which the metric "
            "is\nlower; lines are means over seeds, and bands cover all seeds. Dotted lines are the criteria of "
            "convergence."
        )
    method = measured(sweep)[0]
    ends = [min(run["quality"][-1][d]["class_accuracy"] for d in DIRECTIONS.values()) for run in _all_runs(sweep)]
    return (
        f"Each line is one of the {count_in_words(len(ends))} runs of {METHODS[method][0]}. The vertical axis begins "
        f"at {LOWEST}, so that the\ndistances from the criterion are visible. The class accuracy is not shown: at the "
        f"end of each run, it is at least {min(ends):.3f}\nin both directions."
    )


def headline(sweep: Sweep) -> str:
    """Return the title of the figure: how many runs of how many methods converge."""
    methods = measured(sweep)
    good, runs = (sum(map(len, groups)) for groups in (
        [converged(sweep, method) for method in methods], [_runs(sweep, method) for method in methods]
    ))  # fmt: skip
    if len(methods) == 1:
        text = f"{_capital(count_in_words(good))} of {count_in_words(runs)} runs of {METHODS[methods[0]][0]} converge"
        lacks = [words for run in _all_runs(sweep) for words in shortfalls(run)]
        way = DIRECTIONS[PAINTING, SKETCH]
        if lacks and all("diversity" in words and way in words for words in lacks):
            text += ";\nthe others generate sketches with slightly too little diversity"
        return text
    most = [method for method in methods if 2 * len(converged(sweep, method)) > len(_runs(sweep, method))]
    number = count_in_words(len(most)) if most else "none"
    return (
        f"Most runs converge with {number} of {count_in_words(len(methods))} methods\n({good} of {runs} runs in total)"
    )


def alt_text(sweep: Sweep) -> str:
    """Return the alternative text of the figure."""
    if len(measured(sweep)) == 1:
        ends = {
            way: [run["quality"][-1][way]["diversity_ratio"] for run in _all_runs(sweep)] for way in DIRECTIONS.values()
        }
        parts = [f"{min(values):.3f} to {max(values):.3f} from {way}" for way, values in ends.items()]
        return f"Curves of the diversity ratio of each run during training. The runs end with {listed(parts)}."
    text = "Curves of class accuracy and diversity ratio during training, in the worse direction."
    for method, (_, values) in _curves(sweep).items() if len(measured(sweep)) < 4 else ():
        ends = listed([f"a {METRICS[metric]} of {curves[:, -1].mean():.2f}" for metric, curves in values.items()])
        text += f" {METHODS[method][0]} ends with {ends}."
    return text


# ----------------------------------------------------------------------------------------------- final results


def results_table(sweep: Sweep) -> str:
    """Return the paper's numbers of each measured method beside ours, with intervals over seeds."""
    header = ["method", "quality, shoes", "quality, handbags", "ours: class accuracy"]
    header += ["LPIPS, shoes", "LPIPS, handbags", "ours: diversity ratio"]
    rows = []
    for method in measured(sweep):
        name, reported = METHODS[method]
        paper = TABLE_1.get(reported or "")
        quality = [f"{dataset[0]:.1f} %" for dataset in paper] if paper else [DASH] * 2
        lpips = [f"{dataset[1]:.3f}" for dataset in paper] if paper else [DASH] * 2
        accuracy, diversity = (_over_seeds(sweep, method, metric) for metric in CRITERIA)
        rows.append([name, *quality, accuracy, *lpips, diversity])
    rows.append(["real images", DASH, DASH, "1", *(f"{lpips:.3f}" for lpips in REAL_LPIPS), "1"])
    return markdown_table(header, rows)


def order_words(sweep: Sweep) -> str:
    """Return a sentence about whether the measured methods have the order that the paper reports."""
    methods = [method for method in measured(sweep) if METHODS[method][1]]
    if len(methods) < 3:
        return f"With {listed(_names(methods))} alone, there is no order to compare yet."
    paper = [TABLE_1[METHODS[method][1] or ""] for method in methods]
    pairs = []
    for k, metric in enumerate(CRITERIA):
        ours = [mean(_by_seed(sweep, method, metric).values()) for method in methods]
        pairs.append(stats.spearmanr([mean(dataset[k] for dataset in row) for row in paper], ours).statistic)
    quality, diversity = (minus_signs(f"{value:z.2f}") for value in pairs)
    return (
        f"For the {count_in_words(len(methods))} methods that both measure, the rank correlation between the paper's "
        f"quality and our class accuracy is {quality}, and that between LPIPS and the diversity ratio is {diversity}. "
        "(The paper's numbers are averaged over its two datasets; a correlation of 1 means the same order, −1 the "
        "reverse one.)"
    )


def differences_table(sweep: Sweep) -> str:
    """Return the difference of each measured method from MUNIT, paired by seed, with its interval over seeds."""
    rows = []
    for method in measured(sweep):
        differences = [_differences(sweep, method, metric) for metric in METRICS]
        if method != "munit":
            rows.append([METHODS[method][0], str(max(map(len, differences))), *map(_with_interval, differences)])
    return markdown_table(["method", "seeds", *METRICS.values()], rows)


def methods_that_need_a_seed(sweep: Sweep) -> list[str]:
    """Return the methods whose difference from MUNIT is undecided, and which get another seed by the plan's rule.

    That is where, in class accuracy or diversity ratio, the interval contains zero and reaches further than
    `DECISIVE` to either side, up to `MOST_SEEDS` seeds.
    """
    found = []
    for method in METHODS:
        for metric in CRITERIA if method != "munit" else ():
            differences = _differences(sweep, method, metric)
            if 2 <= len(differences) < MOST_SEEDS:
                center, half_width = mean_over_seeds(differences)
                if abs(center) <= half_width and half_width > DECISIVE:
                    found.append(method)
                    break
    return found


def _differences(sweep: Sweep, method: str, metric: str) -> list[float]:
    """Return the method minus MUNIT for each seed that both have."""
    munit = _by_seed(sweep, "munit", metric)
    return [value - munit[seed] for seed, value in _by_seed(sweep, method, metric).items() if seed in munit]


# -------------------------------------------------------------------------------------------------- the ledger


def ledger_table(comparisons: Sequence[Comparison]) -> str:
    """Return the claims about measured methods: metric, result, bounds and verdict."""
    rows = []
    for comparison in comparisons:
        expected, values = comparison.expectation, comparison.values
        if values:
            metric = METRICS[expected.metric] + (
                f" minus that of {METHODS[expected.difference_from][0]}" if expected.difference_from else ""
            )
            verdict = comparison.verdict + (
                f" with {len(values)} seed{'s' * (len(values) > 1)}" if comparison.verdict == UNDECIDED else ""
            )
            late = " (bound set after the runs)" if expected.subject == AFTERWARDS else ""
            claim = REWORDED.get(expected.claim, expected.claim)
            rows.append([claim, metric, _with_interval(values), minus_signs(expected.bounds), verdict + late])
    return markdown_table(["claim", "metric", "measured", "bound", "verdict"], rows)


def verdict_words(comparisons: Sequence[Comparison]) -> str:
    """Return how many claims hold, fail and are undecided, those with earlier and those with later bounds apart."""
    verbs = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), UNDECIDED: ("is undecided", "are undecided")}
    parts = []
    for late in (False, True):
        found = [c for c in comparisons if c.values and (c.expectation.subject == AFTERWARDS) == late]
        counts = {verdict: sum(c.verdict == verdict for c in found) for verdict in verbs}
        outcomes = [
            f"{'all' if n == len(found) > 1 else count_in_words(n)} {verbs[verdict][n > 1]}"
            for verdict, n in counts.items()
            if n
        ]
        number = count_in_words(len(found))
        if found and late:
            parts.append(
                f"The bounds of the {number} claims about MUNIT itself were set after its runs, so they describe these "
                f"runs and do not test a prediction: {listed(outcomes)}."
            )
        elif found:
            parts.append(
                f"Of the {number} measured claims with a bound that was set before the runs, {listed(outcomes)}."
            )
    return " ".join(parts)


def commands(sweep: Sweep) -> str:
    """Return the command that repeats the first run of each measured method, with its seeds and commits."""
    lines = []
    for method in measured(sweep):
        runs = _runs(sweep, method)
        commits = sorted({attempt["commit"] for run in runs.values() for attempt in run["attempts"]})
        first, run = next(iter(runs.items()))
        lines.append(f"# {METHODS[method][0]}: seed {first} of {seed_range(list(runs))}; commit {', '.join(commits)}")
        lines.append(run["provenance"]["command"].replace(" -p ", " \\\n    -p ", 1))
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------- the page


def status_words(sweep: Sweep) -> str:
    """Return how many methods have been measured, and in one sentence which ones have not."""
    methods, missing = measured(sweep), [method for method in METHODS if method not in measured(sweep)]
    if not missing:
        return f"**All {count_in_words(len(METHODS))} methods have been measured.**"
    verb = "has" if len(methods) == 1 else "have"
    return (
        f"**{len(methods)} of {len(METHODS)} methods {verb} been measured so far.** Not measured yet: "
        f"{'; '.join(_names(missing))}."
    )


def page(sweep: Sweep) -> str:
    """Return the page in Markdown."""
    methods = measured(sweep)
    comparisons = compare(read_plan(PLAN).expectations, sweep)
    tested = [comparison for comparison in comparisons if comparison.values]
    munit = _runs(sweep, "munit")
    numbers = next(iter(munit.values()))["numbers"][DIRECTIONS[PAINTING, SKETCH]]
    quality = {name: field.default for name, field in inspect.signature(measure_quality).parameters.items()}
    protocols = [
        [row, *cells] for row, cells in PROTOCOLS.items() if row != "CycleGAN with noise" or set(NOISE) & set(methods)
    ]
    out_of_reach = "\n".join(f"- {_capital(REWORDED.get(claim, claim))}: {why}." for claim, why in OUT_OF_REACH.items())
    chance = sum(share**2 for share in World(DATA).variant.frequencies_1)
    lower = [min(run["quality"][-1][d]["diversity_ratio"] for d in DIRECTIONS.values()) for run in munit.values()]
    reworded = (
        """
- Some claims are worded more carefully here than in the plan, because their bounds test less than the plan says. For
  example, a bound of at most 0 on a difference only excludes that the method is better than MUNIT."""
        if methods != ["munit"]
        else ""
    )
    return f"""# The paper's table 1 in the laboratory world

Table 1 of the paper compares MUNIT with other methods and with versions of itself that lack one loss each. Do the
methods have the same order in a world where we know the right translation? To find out, we train the methods of that
table and some further variants on images of a known world. {status_words(sweep)}

Of {len(munit)} runs of MUNIT, {len(converged(sweep, "munit"))} converge. {seed_words(munit)} Over all runs, MUNIT has a
class accuracy of {_over_seeds(sweep, "munit", "class_accuracy")} and a diversity ratio of
{_over_seeds(sweep, "munit", "diversity_ratio")}, as means over both directions of translation. (± is half of the 95 %
interval over training seeds.)

## How the comparison works

**The world.** The *laboratory world* holds sketches and paintings of 16 × 16 pixels. Each shows a shape of one of five
classes, rendered from a known content and three known style factors. We use it because plain MUNIT trains well in it
within minutes, so a comparison of many runs is affordable. In the standard world, which has larger images and a
sixth class, the same recipe loses classes ([results](recipe_tuning.md#what-did-not-help)).

**The runs.** [The plan](../sweeps/{PLAN.name}) fixes the methods, the seeds and the expected results. Every method
trains for {preset(DATA).steps:,} steps with the recipe of the preset `{DATA}`. No run is left out, and no checkpoint is
selected: the tables below show the model after its last step.

**A bias in favor of MUNIT.** The recipe was [searched for MUNIT](recipe_tuning.md). The methods of other authors only
get a learning rate of their own, the best of three ([`learning_rates.yaml`](../sweeps/learning_rates.yaml)), and the
variants of MUNIT get nothing of their own.

**The metrics.** Pretrained attribute predictors estimate the class and the style factors of each translation.

- The *class accuracy* is the fraction of translations that show the class of their input. By chance, it is
  {chance:.2f}: the five classes are not equally frequent.
- The *relabeled accuracy* is the class accuracy after the best one-to-one relabeling of the classes. If it is much
  higher than the class accuracy, the method exchanges classes; if both are low, the classes are lost. We count classes
  as exchanged if the relabeling raises the accuracy by at least 0.05, to at least 0.9.
- The *diversity ratio* is the standard deviation of the style factors over the outputs of one input, divided by that of
  the true styles. It is 0 for a deterministic method. It measures the spread alone, and not whether every style occurs.
- The *style R²* is the fraction of the variance of a translation's style factors that a probe, a regression fitted on
  other translations, predicts from the style code sampled for it.
- A run has *converged* if it meets two conditions in both directions. From some step to its end, the class accuracy is
  at least {MIN_CLASS_ACCURACY} and the diversity ratio at least {MIN_DIVERSITY_RATIO}. Over the last fifth of the run,
  the class accuracy changes by at most {MAX_CHANGE}.

There are two evaluations. *During training*, we measure {quality["inputs"]} held-out inputs with
{quality["styles_per_input"]} sampled styles each; convergence is decided by these numbers, and in each direction alone.
The *final evaluation* uses other held-out inputs: {numbers["contents"]:,.0f} for the class accuracy, and
{numbers["inputs"]:.0f} with {numbers["styles_per_input"]:.0f} styles each for the diversity ratio. Its numbers are
means over both directions.

## Which runs converge

{convergence_words(sweep, "munit")}

![{alt_text(sweep)}]({CURVES.name})

*{figure_caption(sweep)}*

{runs_table(sweep)}

*The columns before the class accuracy count runs; "below" means below the criterion in at least one direction at the
end of training. The others are means over both directions: class accuracy and relabeled accuracy at the end of
training, and the style R² in the final evaluation.*
{_paper_section(sweep, protocols)}{_differences_section(sweep)}
## The ledger of claims

We turned each claim of the paper or of this course into a numerical bound before we ran any method other than MUNIT in
this world. A claim *holds* if the whole 95 % interval over seeds lies within the bound, *fails* if the whole interval
lies outside, and is *undecided* otherwise. {verdict_words(comparisons)}

{ledger_table(tested)}

These reservations apply:

- The bounds apply to means over both directions of the final evaluation, which is milder than convergence. In the worse
  direction at the end of training, MUNIT's mean diversity ratio is {mean(lower):.3f}, and {_low(lower)} of
  {len(lower)} runs are below {MIN_DIVERSITY_RATIO}.
- Most of the methods had been run at 32 px before ([`paper_tables.json`](paper_tables.json)), and MUNIT with eight
  style dimensions once in this world ([tuning log](recipe_tuning.md)).
- The seeds of MUNIT are not all new: see the counts at the top of this page.{reworded}

{_capital(count_in_words(len(OUT_OF_REACH)))} claims of the paper are out of reach here:

{out_of_reach}

## How to repeat it

`munit-lite sweep data/sweeps/{PLAN.name}` runs the whole plan and resumes where it was stopped. To repeat a single
run, use the command below with the seed of that run:

```bash
{commands(sweep)}
```
"""


def _low(values: Sequence[float]) -> int:
    return sum(value < MIN_DIVERSITY_RATIO for value in values)


def _paper_section(sweep: Sweep, protocols: list[list[str]]) -> str:
    if measured(sweep) == ["munit"]:  # one method has no order
        return ""
    return f"""
## The paper's numbers beside ours

The paper's numbers and ours measure related things in different units, so compare the order of the methods and not the
sizes of the numbers:

{markdown_table(["", "the paper", "here"], protocols)}

Higher numbers mean a better or a more diverse output. Real images are the reference.

{results_table(sweep)}

{order_words(sweep)}
"""


def _differences_section(sweep: Sweep) -> str:
    if measured(sweep) == ["munit"]:
        return ""
    needed = _names(methods_that_need_a_seed(sweep))
    more = f"That is so for {listed(needed)}." if needed else "No difference measured so far is of this kind."
    return f"""
## Differences from MUNIT

Each method is compared with MUNIT seed by seed. The table shows the metric of the method minus that of MUNIT.
An interval that contains zero leaves open which of the two is better.

{differences_table(sweep)}

If an interval of the class accuracy or the diversity ratio contains zero and extends beyond ±{DECISIVE}, the plan calls
for another seed, up to {MOST_SEEDS}. {more}
"""


def main() -> None:
    """Write the page and its figure again."""
    sweep = read_results(DATA)
    CURVES.write_bytes(curves_figure(sweep))
    PAGE.write_text(page(sweep))


if __name__ == "__main__":
    main()
