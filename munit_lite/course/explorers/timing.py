"""How soon each explorer's picture follows the hand, in the kernel."""

from __future__ import annotations

import time

import torch

from munit_lite.course import explorers
from munit_lite.course.explorers.widget import Slider
from munit_lite.experiments.results import markdown_table


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
    rows = [
        (f"`{name}`", str(row["sliders"]), f"{1000 * row['median']:.0f}", f"{1000 * row['percentile_95']:.0f}")
        for name, row in numbers.items()
    ]
    return markdown_table(("explorer", "sliders", "median, ms", "95th percentile, ms"), rows)
