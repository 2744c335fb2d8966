"""Curves over seeds, scaled minutes, exchanged classes and the table, for runs of a known outcome."""

import math

import numpy as np
import pytest

from munit_lite.course.figures import seed_bands
from munit_lite.experiments.convergence_curves import (
    collect_quality_curves,
    convergence_table,
    exchanged_classes,
    scaled_minutes,
)
from munit_lite.experiments.results import read_results
from munit_lite.world import DIRECTIONS

TO_PAINTING, TO_SKETCH = DIRECTIONS.values()
RIGHT = np.diag([10, 0, 5, 5, 5, 5])
EXCHANGED = RIGHT[[2, 1, 0, 3, 4, 5]]  # what was a disc becomes a square, and the other way around
LOST = np.full((6, 6), 3)


def quality(accuracy, relabeled=None, confusion=RIGHT, diversity=0.95):
    return {
        "class_accuracy": accuracy,
        "relabeled_accuracy": accuracy if relabeled is None else relabeled,
        "diversity_ratio": diversity,
        "style_r2": 0.9,
        "confusion": confusion.tolist(),
    }


def run(*ends, seconds=0.2, steps=10):
    """A run whose quality is 0.3 at the first two measurements and `ends` (of both directions) afterwards."""
    to_painting, to_sketch = ends if len(ends) == 2 else ends * 2
    start = quality(0.3, confusion=LOST)
    return {
        "parameters": {},
        "attempts": [{"commit": "a", "time": "t"} | ({"calibration_seconds": seconds} if seconds else {})],
        "numbers": {},
        "provenance": {},
        "quality": [
            {"step": 100 * k, "cpu_minutes": 0.5 * k}
            | {TO_PAINTING: to_painting if k > 2 else start, TO_SKETCH: to_sketch if k > 2 else start}
            for k in range(1, steps + 1)
        ],
    }


def test_curves_hold_one_row_per_seed():
    sweep = {"laboratory": {"munit": {"0": run(quality(0.97)), "1": run(quality(0.5), quality(0.99))}}}
    curves = collect_quality_curves(sweep, "laboratory", "munit", ["class_accuracy"])
    assert curves.seeds == ("0", "1") and curves.steps.tolist() == list(range(100, 1100, 100))
    assert curves.values["class_accuracy"][TO_PAINTING].tolist() == [[0.3] * 2 + [0.97] * 8, [0.3] * 2 + [0.5] * 8]
    assert curves.values["class_accuracy"][TO_SKETCH][1, -1] == 0.99
    assert curves.minutes.shape == (2, 10)


def test_minutes_are_scaled_to_the_machine_of_the_calibration():
    reference = read_results("calibration")["seconds_per_step"]
    assert scaled_minutes(run(quality(1.0), seconds=2 * reference))[-1] == pytest.approx(5.0 / 2)
    assert math.isnan(scaled_minutes(run(quality(1.0), seconds=None))[0])


def test_runs_without_quality_or_with_other_steps_are_refused():
    with pytest.raises(KeyError, match="no run of laboratory/unit"):
        collect_quality_curves(
            {"laboratory": {"unit": {"0": run(quality(1.0)) | {"quality": []}}}}, "laboratory", "unit"
        )
    sweep = {"laboratory": {"munit": {"0": run(quality(1.0)), "1": run(quality(1.0), steps=9)}}}
    with pytest.raises(ValueError, match="at different steps"):
        collect_quality_curves(sweep, "laboratory", "munit")


def test_exchanged_classes_are_named_and_a_lost_content_is_none():
    exchange = quality(0.33, relabeled=1.0, confusion=EXCHANGED)
    assert exchanged_classes(run(quality(0.97), exchange)) == {TO_SKETCH: "disc → square, square → disc"}
    assert exchanged_classes(run(quality(0.2, relabeled=0.25, confusion=LOST))) == {}
    assert exchanged_classes(run(quality(0.97))) == {}


def test_the_table_counts_runs_that_converged_and_runs_that_exchange_classes():
    seconds = read_results("calibration")["seconds_per_step"]  # minutes are not scaled
    exchange = quality(0.33, relabeled=1.0, confusion=EXCHANGED)
    runs = [run(quality(0.97), seconds=seconds), run(quality(0.99, diversity=0.8)), run(exchange, quality(0.97))]
    table = convergence_table({"laboratory": {"munit": dict(zip("012", runs, strict=True))}}, [("laboratory", "munit")])
    cells = [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")]
    assert cells == ["laboratory", "munit", "3", "1", "1", "300", "1.5", "0.33 to 0.99", "0.80 to 0.95"]


def test_the_band_is_drawn_with_a_second_axis():
    accuracy = np.array([[0.4, 0.8], [0.5, 0.9]])
    picture = seed_bands(
        [100, 200],
        {"class accuracy": {TO_PAINTING: accuracy}, "diversity ratio": {TO_PAINTING: accuracy}},
        alt="Both rise.",
        minutes_per_step=0.01,
        thresholds={"class accuracy": 0.95},
    )
    assert picture.alt == "Both rise." and picture.data[:4] == b"\x89PNG"
