"""Write the page of the paper's table 1 in the laboratory world, with its curves, from data/results/laboratory.json.

`munit-lite sweep data/sweeps/laboratory.yaml --results data/results/laboratory.json` measures the runs, and
`python -m tools.laboratory_page` writes data/results/laboratory.md and data/results/laboratory_methods.png.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

import numpy as np

from munit_lite.course import figures
from munit_lite.evaluation.convergence import MIN_CLASS_ACCURACY, MIN_DIVERSITY_RATIO, convergence
from munit_lite.experiments.claims import NOT_MEASURED, compare, ledger_table, mean_over_seeds
from munit_lite.experiments.convergence_curves import collect_quality_curves, exchanged_classes
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep_plan import read_plan
from munit_lite.experiments.tables import TABLE_1, estimates_by_seed
from munit_lite.paths import RESULTS_DIR, SWEEPS_DIR
from munit_lite.world import DIRECTIONS
from tools.page_figures import digest_of, png_with_digest

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
METRICS = {"class_accuracy": "class accuracy", "diversity_ratio": "diversity ratio", "sampled_style_r2": "style R²"}
PROTOCOLS = [  # how the paper's numbers differ from ours
    ["images", "edges to shoes and to handbags, 256 px", "the laboratory world, 16 px, whose true factors are known"],
    [
        "quality",
        "percentage of people who prefer the output to MUNIT's",
        "class accuracy: the fraction of outputs whose predicted class is that of the input",
    ],
    [
        "diversity",
        "LPIPS, the mean distance between two outputs of one input",
        "diversity ratio: the standard deviation of the predicted style factors over the outputs of one input, divided "
        "by the true one",
    ],
    ["runs", "one per method", "several seeds per method"],
    [
        "CycleGAN with noise",
        "noise at the input of a network with skip connections",
        "noise at the input, or through AdaIN like MUNIT's style",
    ],
]
DASH = "–"
DECISIVE, MOST_SEEDS = 0.05, 10  # the rule for more seeds, in the plan

Sweep = dict[str, Any]


def _runs(sweep: Sweep, method: str) -> list[dict[str, Any]]:
    return list(sweep.get(DATA, {}).get(method, {}).values())


def results_table(sweep: Sweep) -> str:
    """Return the paper's numbers of each method beside ours, with intervals over seeds."""
    header = ["method", "shoes: quality, %", "LPIPS", "handbags: quality, %", "LPIPS", "**ours:** seeds"]
    header += ["converged", "exchanged", "class accuracy", "relabeled", "diversity ratio", "style R²"]
    rows = []
    for method, (name, reported) in METHODS.items():
        numbers = [number for dataset in TABLE_1.get(reported or "", ()) for number in dataset]
        paper = [f"{value:.{3 if k % 2 else 1}f}" for k, value in enumerate(numbers)] or [DASH] * 4
        rows.append([name, *paper, *_measured(sweep, method)])
    return markdown_table(header, rows)


def _measured(sweep: Sweep, method: str) -> list[str]:
    runs = _runs(sweep, method)
    if not runs:
        return ["0", DASH, DASH, *[NOT_MEASURED] * 4]
    relabeled = [mean(run["quality"][-1][d]["relabeled_accuracy"] for d in DIRECTIONS.values()) for run in runs]
    accuracy, diversity, style = (_with_interval(list(_by_seed(sweep, method, m).values())) for m in METRICS)
    return [
        str(len(runs)),
        str(sum(convergence(run["quality"]).has_converged for run in runs)),
        str(sum(bool(exchanged_classes(run)) for run in runs)),
        accuracy,
        _with_interval(relabeled),
        diversity,
        style,
    ]


def _by_seed(sweep: Sweep, method: str, metric: str) -> dict[str, float]:
    """Return the mean over both directions of each seed."""
    return {seed: estimate.mean for seed, estimate in estimates_by_seed(sweep, DATA, method, metric).items()}


def _listed(methods: list[str]) -> str:
    return ", ".join(METHODS[method][0] for method in methods) or "none of those measured so far"


def _with_interval(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:z.3f}" if values else NOT_MEASURED
    center, half_width = mean_over_seeds(values)
    return f"{center:z.3f} ± {half_width:.3f}"


def differences_table(sweep: Sweep) -> str:
    """Return the difference of each method from MUNIT, paired by seed, with its interval over seeds."""
    rows = []
    for method, (name, _) in METHODS.items():
        if method == "munit":
            continue
        cells, seeds = [], 0
        for metric in METRICS:
            differences = _differences(sweep, method, metric)
            cells.append(_with_interval(differences))
            seeds = max(seeds, len(differences))
        rows.append([name, str(seeds), *cells])
    return markdown_table(["method minus MUNIT", "seeds", *METRICS.values()], rows)


def methods_that_need_a_seed(sweep: Sweep) -> list[str]:
    """Return the methods whose difference from MUNIT is undecided, and which get another seed by the plan's rule.

    That is where, in class accuracy or diversity ratio, the interval contains zero and reaches further than
    `DECISIVE` to either side, up to `MOST_SEEDS` seeds.
    """
    found = []
    for method in METHODS:
        for metric in ("class_accuracy", "diversity_ratio") if method != "munit" else ():
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


def commands_table(sweep: Sweep) -> str:
    """Return the command that repeats the first run of each method, and the commits of all of its runs."""
    rows = []
    for method, (name, _) in METHODS.items():
        runs = _runs(sweep, method)
        commits = sorted({attempt["commit"] for run in runs for attempt in run["attempts"]})
        command = f"`{runs[0]['provenance']['command']}`" if runs else NOT_MEASURED
        rows.append([name, ", ".join(sweep.get(DATA, {}).get(method, {})) or DASH, ", ".join(commits) or DASH, command])
    return markdown_table(["method", "seeds", "commits", "command of the first seed"], rows)


def _curves(sweep: Sweep) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Return the steps, and for each of two metrics (seeds, N) means over both directions, of each measured method."""
    found = {}
    for method in METHODS:
        if any(run.get("quality") for run in _runs(sweep, method)):
            curves = collect_quality_curves(sweep, DATA, method, ("class_accuracy", "diversity_ratio"))
            values = {metric: np.mean(list(sides.values()), axis=0) for metric, sides in curves.values.items()}
            found[method] = curves.steps, values
    return found


def digest(sweep: Sweep) -> str:
    """Return a number for the data of the figure, which the figure's file holds: it shows whether the file is old."""
    data = [(m, s.tolist(), {k: v.round(6).tolist() for k, v in c.items()}) for m, (s, c) in _curves(sweep).items()]
    return digest_of(data)


def curves_figure(sweep: Sweep) -> bytes:
    """Return class accuracy and diversity ratio against training steps, one panel per method, as PNG."""
    curves = _curves(sweep)
    rows = -(-len(curves) // 3)
    figure, axes = figures.subplots(3, size=(9.0, 2.3 * rows + 0.4), rows=rows)
    for axis in axes:
        axis.set_axis_off()
    for axis, (method, (steps, metrics)) in zip(axes, curves.items(), strict=False):
        axis.set_axis_on()
        for color, line, (metric, values) in zip(figures.COLORS, figures.LINES, metrics.items(), strict=False):
            axis.plot(steps, values.mean(axis=0), line, color=color, label=METRICS[metric])
            axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0)
        axis.set(xlabel="training step", ylim=(0, 1.12))
        axis.set_title(f"{METHODS[method][0]} ({len(values)} seeds)", fontsize=9.5)
    axes[0].legend(loc="lower right", fontsize=9)
    figure.suptitle("How much of the content each method keeps, and how diverse its outputs are")
    alt = "Class accuracy and diversity ratio of each method during training."
    return png_with_digest(figure, alt, digest(sweep))


def page(sweep: Sweep) -> str:
    """Return the page in Markdown."""
    return f"""# The paper's table 1 in the laboratory world

The first table of the paper compares MUNIT with other methods, and with itself without one of its losses. This page
repeats the comparison on the preset `laboratory`, the known world at 16 px without rings, where plain MUNIT converges
within minutes. [The plan of the sweep](../sweeps/{PLAN.name}) holds the protocol and the
expected bounds. They were written after MUNIT's runs and before those of all other methods. No run is left out, and no
checkpoint is selected. **{sum(bool(_runs(sweep, method)) for method in METHODS)} of {len(METHODS)} methods have been
measured so far.**

![Class accuracy and diversity ratio of each method against training steps]({CURVES.name})

*Each panel shows one method. Lines are means over seeds and over both directions, measured on 200 held-out images
during training; bands cover all seeds. A run has converged if, in both directions and until its end, the class accuracy
is at least {MIN_CLASS_ACCURACY} and the diversity ratio at least {MIN_DIVERSITY_RATIO}, and if the class accuracy is
flat.*

## Reported and measured

The left half shows the numbers that the paper reports, and the right half ours after the last training step, on 500
held-out contents, as means over both directions. ± is half of the 95 % interval over training seeds. "Converged" and
"exchanged" count seeds. "Relabeled" is the class accuracy after the best relabeling of the classes: where it is much
higher than the class accuracy, classes are exchanged; where both are low, they are lost.

{results_table(sweep)}

The units differ, so compare the order of the methods and not the sizes of the numbers:

{markdown_table(["", "the paper", "here"], PROTOCOLS)}

## Differences from MUNIT

A method and MUNIT are compared seed by seed. An interval that contains zero leaves open which of the two is better.

{differences_table(sweep)}

The plan adds a seed where an interval contains zero and reaches further than {DECISIVE} to either side. This applies
to: {_listed(methods_that_need_a_seed(sweep))}.

## The ledger of claims

Each claim, of the paper or of this course, was translated into bounds before the runs of the methods other than MUNIT.
It holds if the whole 95 % interval over seeds lies within its bounds, fails if the whole interval lies outside of them,
and is undecided otherwise.

{ledger_table(compare(read_plan(PLAN).expectations, sweep))}

## Commands

`munit-lite sweep data/sweeps/{PLAN.name}` runs everything, and resumes where it was stopped.

{commands_table(sweep)}
"""


def main() -> None:
    """Write the page and its figure again."""
    sweep = read_results(DATA)
    CURVES.write_bytes(curves_figure(sweep))
    PAGE.write_text(page(sweep))


if __name__ == "__main__":
    main()
