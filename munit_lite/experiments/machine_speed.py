"""How long a notebook takes here: its own minutes on two cores, times how much longer one training step takes here.

`python -m munit_lite.experiments.machine_speed` times that step on the two-core machine that the
notebooks' minutes are meant for, and writes data/results/calibration.json. Torch is imported only to time.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from munit_lite.config import Config, override
from munit_lite.experiments.results import write_results

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

# A training step of the small presets' kind, but fixed, so that tuning a preset does not move the yardstick.
YARDSTICK = override(
    Config(name="yardstick"),
    size=32, batch_size=8, width=16, downsamples=1, style_downsamples=3, blocks=2, mlp_width=64, discriminator_width=32,
    discriminator_scales=1, device="cpu",
)  # fmt: skip


def yardstick_seconds(steps: int = 3) -> float:
    """Seconds of one small training step on the CPU: the best of `steps`, after one that is not counted."""
    import torch
    from lightning_fabric import Fabric

    from munit_lite.training import Trainer

    trainer = Trainer.new(YARDSTICK, Fabric(accelerator="cpu", devices=1))
    x_1, x_2 = torch.rand(2, YARDSTICK.batch_size, 3, YARDSTICK.data.size, YARDSTICK.data.size) * 2 - 1
    seconds = []
    for number in range(steps + 1):
        begin = time.perf_counter()
        trainer.step(number, x_1, x_2)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


def nominal(notebook: Path) -> float | None:
    """The minutes on two CPU cores that a notebook states in its first cell, after `**Time**`; None if it does not."""
    first = json.loads(notebook.read_text())["cells"][0]["source"]
    stated = re.search(r"\*\*Time\*\*[^.]*?(\d+(?:\.\d+)?)\s*(second|minute|hour)", "".join(first))
    return float(stated[1]) * {"second": 1 / 60, "minute": 1, "hour": 60}[stated[2]] if stated else None


def shown(minutes: float) -> str:
    """Minutes in words: "40 s" below one."""
    return f"{minutes * 60:.0f} s" if minutes < 1 else f"{minutes:.0f} min"


if __name__ == "__main__":
    write_results(
        "calibration",
        {"seconds_per_step": yardstick_seconds(20)},
        {"step": "munit_lite.experiments.machine_speed.YARDSTICK"},
        command="python -m munit_lite.experiments.machine_speed",
    )
