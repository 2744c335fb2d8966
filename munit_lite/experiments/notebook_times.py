"""How long a notebook takes on this machine: its stated minutes on two cores, scaled by the time of one training step.

`tools/time_calibration_step.py` records the step's time on the two-core machine that the stated minutes refer to. Torch
is imported only to time the step.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from munit_lite.config import Config, override

# The configuration whose step calibrates a machine: like the small presets, but tuning those does not change it.
CALIBRATION_CONFIG = override(
    Config(preset="calibration"),
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


def time_calibration_step(steps: int = 3) -> float:
    """Return the seconds of one small training step on the CPU: the minimum over `steps` steps after a warm-up step."""
    import torch
    from lightning_fabric import Fabric

    from munit_lite.training_step import Trainer

    trainer = Trainer.new(CALIBRATION_CONFIG, Fabric(accelerator="cpu", devices=1))
    size = CALIBRATION_CONFIG.data.image_size
    x_1, x_2 = torch.rand(2, CALIBRATION_CONFIG.batch_size, 3, size, size) * 2 - 1
    seconds = []
    for step in range(steps + 1):
        start = time.perf_counter()
        trainer.step(step, x_1, x_2)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def stated_minutes(notebook: Path) -> float | None:
    """Return the minutes on two CPU cores that a notebook's first cell states after `**Time**`, or None if it does not.

    Args:
        notebook: path of an .ipynb file.
    """
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
