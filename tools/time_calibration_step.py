"""Time the training step by which the doctor scales the minutes that the notebooks state.

`python -m tools.time_calibration_step` writes data/results/calibration.json; run it on the two-core machine that the
stated minutes refer to.
"""

from munit_lite.experiments.notebook_times import time_calibration_step
from munit_lite.experiments.results import write_results

if __name__ == "__main__":
    write_results(
        "calibration",
        {"seconds_per_step": time_calibration_step(20)},
        {"step": "munit_lite.experiments.notebook_times.CALIBRATION_CONFIG"},
        command="python -m tools.time_calibration_step",
    )
