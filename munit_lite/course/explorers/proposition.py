"""Proposition explorer: break the oracle by a chosen amount and see which checks reject it at a given sample size."""

from __future__ import annotations

from functools import lru_cache

from IPython.display import Image

from munit_lite.course.explorers.widget import Choice, Control, Explorer, Slider, State, default_values
from munit_lite.course.figures import COLORS, figure_to_image, subplots
from munit_lite.theory.oracle import CodeWorld, Oracle
from munit_lite.theory.propositions import check_all
from munit_lite.theory.variants import BREAKS
from munit_lite.theory.verdicts import FAILS, HOLDS, UNDECIDED, PropositionVerdict

STATUS_MARKERS = {HOLDS: (0, "o"), FAILS: (1, "X"), UNDECIDED: (2, "$?$")}  # index into `figures.COLORS`, and marker
CHECK_NAMES = {
    "optimality": "1 · the objective is minimal",
    "latent_matching": "2 · latent distributions match",
    "joint_matching": "3 · joint distributions match",
    "cycle_consistency": "4 · cycles are consistent",
    "content_preservation": "content is preserved",
}


def make_controls() -> dict[str, Control]:
    """Return the controls: what is broken, how much, and the sample."""
    return {
        "broken": Choice(tuple(BREAKS), "what is broken"),
        "strength": Slider(0.0, 1.0, 1.0, "strength", "from 0 (the oracle) to 1"),
        "units": Slider(100, 400, 400, "images of each domain", "from 100 to 400"),
        "seed": Slider(0, 9, 0, "seed", "of the images"),
    }


@lru_cache(maxsize=1)  # the picture and its description show the same verdicts
def run_checks(broken: str, strength: float, units: int, seed: int) -> dict[str, PropositionVerdict]:
    """Run all checks on a broken oracle in code space, where factors are exact.

    Args:
        broken: one of `BREAKS`.
        strength: from 0 (the oracle itself) to 1.
        units: images of each domain.
        seed: of the images and sampled styles.

    Returns:
        A verdict for each key of `CHECK_NAMES`.
    """
    world = CodeWorld()
    return check_all(Oracle(world, BREAKS[broken](strength)), world, units, seed)


def render(broken: str, strength: float, units: int, seed: int) -> Image:
    """Plot for each check its decisive part: the effect with its interval, as a multiple of the threshold.

    Args:
        broken: one of `BREAKS`.
        strength: 0 … 1.
        units: images of each domain.
        seed: seed of the images and sampled styles.
    """
    results = run_checks(broken, strength, units, seed)
    figure, (axis,) = subplots(1, (7.5, 2.9))
    for row, result in enumerate(results.values()):
        part, (color, mark) = result.decisive_finding, STATUS_MARKERS[result.status]
        low, effect, high = (max(value / part.threshold, 0.0) for value in (part.low, part.effect, part.high))
        axis.plot([low, high], [row, row], "-", color=COLORS[color], lw=3)
        axis.plot(effect, row, marker=mark, color=COLORS[color], ms=11, mec="white")
        axis.annotate(result.status, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axis.axvline(1, color="black", lw=1, linestyle="--")
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xticks((0, 1, 10, 100, 1000), ("0", "1", "10", "100", "1000"))  # the default labels take 50 ms to typeset
    axis.minorticks_off()
    axis.set_yticks(range(len(results)), [CHECK_NAMES[name] for name in results])
    axis.set(xlabel="effect / threshold (dashed: 1)", xlim=(-0.05, 1e3), ylim=(len(results) - 0.5, -0.5))
    return figure_to_image(figure, _sentence(results, broken, strength, units))


def _sentence(results: dict[str, PropositionVerdict], broken: str, strength: float, units: int) -> str:
    statuses = "; ".join(f"{CHECK_NAMES[name]}: {result.status}" for name, result in results.items())
    return f"The oracle with {broken}, strength {strength:g}, {units} images of each domain. {statuses}."


def describe(broken: str, strength: float, units: int, seed: int) -> tuple[str, list[list[str]]]:
    """Describe the picture, and return every verdict with the part that decides it."""
    results = run_checks(broken, strength, units, seed)
    rows = [["check", "verdict", "decided by", "effect", "95 % interval", "threshold"]]
    for name, result in results.items():
        part = result.decisive_finding
        interval = f"{part.low:.2g} to {part.high:.2g}"
        rows.append(
            [CHECK_NAMES[name], result.status, part.name, f"{part.effect:.2g}", interval, f"{part.threshold:.2g}"]
        )
    return _sentence(results, broken, strength, units), rows


class PropositionExplorer(Explorer):
    """The checks of the four propositions on a broken oracle; see `render`."""

    def __init__(self, state: State | None = None) -> None:
        """
        Args:
            state: initial values.
        """
        controls = make_controls()
        stored_image = render(**default_values(controls))
        super().__init__(render, controls, stored_image, "Proposition explorer", describe, state)
