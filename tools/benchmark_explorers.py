"""Measure the latency of each explorer, from a moved slider to the new picture, in the kernel.

`python -m tools.benchmark_explorers` writes data/results/bench_explorers.json in about a minute.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
import tyro

from munit_lite.course import explorers
from munit_lite.course.explorers.widget import Slider, default_values
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import write_results


def measure_latency(moves: int) -> dict[str, dict[str, float]]:
    """Measure the seconds from a moved slider to the new picture as PNG, for each explorer on its shipped models.

    Args:
        moves: number of moves of each slider, each to another value, after one that is not counted.

    Returns:
        For each explorer the numbers of sliders and moves, and the median and 95th percentile of the seconds.
    """
    latencies = {}
    for kind in explorers.__all__:
        explorer = getattr(explorers, kind)()
        sliders = {name: control for name, control in explorer.control_by_name.items() if isinstance(control, Slider)}
        defaults = default_values(explorer.control_by_name)
        explorer.state = defaults | {name: slider.high for name, slider in sliders.items()}
        seconds = []
        for name, slider in sliders.items():
            for k in range(moves):
                value = slider.low + (slider.high - slider.low) * k / moves
                state = defaults | {name: slider.validate(name, value)}
                if state == explorer.state:  # the default of the slider: nothing moves
                    continue
                start = time.perf_counter()
                explorer.state = state
                seconds.append(time.perf_counter() - start)
        median, slowest = torch.tensor(seconds).quantile(torch.tensor([0.5, 0.95])).tolist()
        latencies[kind] = {"sliders": len(sliders), "moves": len(seconds), "median": median, "percentile_95": slowest}
    return latencies


def latency_table(latencies: dict[str, dict[str, float]]) -> str:
    """Format the latencies as a Markdown table.

    Args:
        latencies: what `measure_latency` returns.
    """
    rows = [
        (f"`{name}`", str(row["sliders"]), f"{1000 * row['median']:.0f}", f"{1000 * row['percentile_95']:.0f}")
        for name, row in latencies.items()
    ]
    return markdown_table(("explorer", "sliders", "median, ms", "95th percentile, ms"), rows)


def main(moves: int = 5) -> Path:
    """Write data/results/bench_explorers.json, and print it as a table.

    Args:
        moves: number of timed moves of each slider, after one that is not timed.

    Returns:
        The path of the written file.

    Raises:
        ValueError: no move is to be timed.
    """
    if moves < 1:
        raise ValueError(f"--moves is {moves}, but it must be 1 or more")
    latencies = measure_latency(moves)
    print(latency_table(latencies))
    command = "python -m tools.benchmark_explorers"
    return write_results("bench_explorers", latencies, {"moves": moves}, command, ("explorer",))


if __name__ == "__main__":
    tyro.cli(main)
