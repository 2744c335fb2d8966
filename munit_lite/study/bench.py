"""Time and memory of one training step, each preset in a process of its own; how soon explorers follow the hand."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from lightning_fabric import Fabric

from munit_lite.config import preset
from munit_lite.engine import fabric_precision
from munit_lite.study import explorers
from munit_lite.study.explore import Slider
from munit_lite.training import Trainer


def measure(name: str, steps: int) -> dict[str, float]:
    """Run `python -m munit_lite.study.bench NAME STEPS` and read its numbers.

    Raises:
        ChildProcessError: the process failed; its last line is in the message.
    """
    command = [sys.executable, "-m", "munit_lite.study.bench", name, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ChildProcessError(f"one step of {name} could not be measured: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def one_process(name: str, steps: int) -> dict[str, float]:
    """Seconds of a step (median) and peak memory of a preset on random images."""
    config = preset(name)
    fabric = Fabric(accelerator=config.device, devices=1, precision=fabric_precision(config))
    trainer = Trainer.new(config, fabric)
    on_gpu = fabric.device.type == "cuda"
    size = config.data.size
    x_1, x_2 = torch.rand(2, config.batch_size, 3, size, size, device=fabric.device) * 2 - 1
    seconds = []
    for number in range(steps + 1):
        begin = time.perf_counter()
        trainer.step(number, x_1, x_2)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    median = sorted(seconds[1:])[steps // 2]
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "size": size,
        "batch_size": config.batch_size,
        "seconds_per_step": median,
        "images_per_second": 2 * config.batch_size / median,
        "peak_memory_gib": peak / 2**30,
    }


def follow(moves: int) -> dict[str, dict[str, float]]:
    """From a moved slider to the new picture as PNG, in the kernel, for each explorer on its shipped models.

    Args:
        moves: of each of an explorer's sliders, each to a value of its own, after one that is not counted.
    """
    found = {}
    for kind in explorers.__all__:
        explorer = getattr(explorers, kind)()
        sliders = {name: control for name, control in explorer.ranges.items() if isinstance(control, Slider)}
        explorer.state = explorer.begin() | {name: slider.high for name, slider in sliders.items()}
        seconds = []
        for name, slider in sliders.items():
            for k in range(moves):
                value = slider.low + (slider.high - slider.low) * k / moves
                state = explorer.begin() | {name: slider.checked(name, value)}
                if state == explorer.state:  # another slider's first value was the beginning, too: nothing moves
                    continue
                begin = time.perf_counter()
                explorer.state = state
                seconds.append(time.perf_counter() - begin)
        median, slowest = torch.tensor(seconds).quantile(torch.tensor([0.5, 0.95])).tolist()
        found[kind] = {"sliders": len(sliders), "moves": len(seconds), "median": median, "percentile_95": slowest}
    return found


def follow_table(numbers: dict[str, dict[str, float]]) -> str:
    """The explorers' measurements as a Markdown table."""
    lines = ["| explorer | sliders | median, ms | 95th percentile, ms |", "| --- | --- | --- | --- |"]
    for name, row in numbers.items():
        milliseconds = f"{1000 * row['median']:.0f} | {1000 * row['percentile_95']:.0f}"
        lines.append(f"| `{name}` | {row['sliders']} | {milliseconds} |")
    return "\n".join(lines)


def table(numbers: dict[str, dict[str, float]]) -> str:
    """The measurements as a Markdown table."""
    lines = [
        "| preset | size | batch | seconds a step | images/s | peak memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in numbers.items():
        lines.append(
            f"| `{name}` | {row['size']} px | {row['batch_size']} | {row['seconds_per_step']:.2f} | "
            f"{row['images_per_second']:.1f} | {row['peak_memory_gib']:.1f} GiB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(one_process(sys.argv[1], int(sys.argv[2]))))
