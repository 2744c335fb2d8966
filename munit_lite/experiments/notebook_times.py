"""How long a notebook takes on this machine: its stated minutes on two cores, scaled by the time of one training step.

`python -m munit_lite.experiments.notebook_times` times that step on the two-core machine that the stated minutes refer
to, and writes data/results/calibration.json. Torch is imported only to time the step.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from munit_lite.config import Config, override
from munit_lite.experiments.results import write_results

# A training step like that of the small presets. It is fixed here, so that tuning a preset does not change it.
YARDSTICK = override(
    Config(preset="yardstick"),
    image_size=32,
    batch_size=8,
    base_channels=16,
    num_downsamples=1,
    num_style_downsamples=3,
    num_residual_blocks=2,
    mlp_width=64,
    discriminator_base_channels=32,
    discriminator_scales=1,
    device="cpu",
)


def time_yardstick_step(steps: int = 3) -> float:
    """Return the seconds of one small training step on the CPU: the minimum over `steps` steps after a warm-up step."""
    import torch
    from lightning_fabric import Fabric

    from munit_lite.training import Trainer

    trainer = Trainer.new(YARDSTICK, Fabric(accelerator="cpu", devices=1))
    x_1, x_2 = torch.rand(2, YARDSTICK.batch_size, 3, YARDSTICK.data.image_size, YARDSTICK.data.image_size) * 2 - 1
    seconds = []
    for step in range(steps + 1):
        start = time.perf_counter()
        trainer.step(step, x_1, x_2)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def stated_minutes(notebook: Path) -> float | None:
    """Return the minutes on two CPU cores that a notebook's first cell states after `**Time**`, or None."""
    first_cell = json.loads(notebook.read_text())["cells"][0]["source"]
    stated = re.search(r"\*\*Time\*\*[^.]*?(\d+(?:\.\d+)?)\s*(second|minute|hour)", "".join(first_cell))
    return float(stated[1]) * {"second": 1 / 60, "minute": 1, "hour": 60}[stated[2]] if stated else None


def format_minutes(minutes: float) -> str:
    """Return a time in words.

    Example:
        >>> format_minutes(7.2), format_minutes(2 / 3)
        ('7 min', '40 s')
    """
    return f"{minutes * 60:.0f} s" if minutes < 1 else f"{minutes:.0f} min"


if __name__ == "__main__":
    write_results(
        "calibration",
        {"seconds_per_step": time_yardstick_step(20)},
        {"step": "munit_lite.experiments.notebook_times.YARDSTICK"},
        command="python -m munit_lite.experiments.notebook_times",
    )
