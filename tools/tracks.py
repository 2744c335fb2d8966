"""The ways through the course, from what its notebooks state: minutes to work through, exercises, their level."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from munit_lite.experiments.machine_speed import NOTEBOOKS, nominal

AFTERNOON = ("00", "01", "04", "08", "14")
WEEKEND = {
    "Saturday": ("00", "01", "02", "03", "04", "05", "06"),
    "Sunday": ("07", "08", "09", "10", "11", "12", "13", "14", "15", "16"),
}
SYLLABUS = {
    "unpaired images and what they share": ("00", "01"),
    "two encoders": ("02", "03"),
    "a decoder that takes a style": ("04", "05"),
    "codes come back": ("06",),
    "the game": ("07",),
    "the whole objective": ("08", "09"),
    "what the paper proves": ("10", "11"),
    "joint distributions and cycles": ("12", "13"),
    "turning the codes by hand": ("14",),
    "experiments and what they may claim": ("15",),
    "real images": ("16",),
}


class Stated(NamedTuple):
    """What a notebook says of itself."""

    file: str
    run: float  # minutes on two cores
    work: float  # minutes to read and work through; those of the run where it states no others
    exercises: list[str]  # "title ★★☆ 10 min"


def stated(number: str) -> Stated:
    """The notebook with this number, "00" for the first.

    Raises:
        ValueError: there is not exactly one.
    """
    files = sorted(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if len(files) != 1:
        raise ValueError(f"there are {len(files)} notebooks {number}_…, but one is needed")
    cells = json.loads(files[0].read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    run = nominal(files[0])
    work = re.search(r"\*\*Time\*\*[^.]*?(\d+) minutes to (?:read|work through)", text)
    exercises = re.findall(r"^### Exercise \d · (.+) · (\S+) · (\d+ min)$", text, re.MULTILINE)
    assert run is not None, f"{files[0].name} states no time"
    return Stated(files[0].name, run, float(work[1]) if work else run, [" ".join(one) for one in exercises])


def total(numbers: Sequence[str]) -> str:
    """Hours and minutes to work through notebooks."""
    minutes = round(sum(stated(number).work for number in numbers))
    return f"{minutes // 60} h {minutes % 60:02} min"


def links(numbers: Sequence[str]) -> str:
    return ", ".join(f"[{number}](notebooks/{stated(number).file})" for number in numbers)


def tracks_table() -> str:
    """The afternoon and the weekend as a Markdown table."""
    rows = {"an afternoon": AFTERNOON} | {f"a weekend, {day}": numbers for day, numbers in WEEKEND.items()}
    lines = ["| you have | notebooks | to work through |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {name} | {links(numbers)} | {total(numbers)} |" for name, numbers in rows.items()])


def syllabus_table() -> str:
    """A teacher's course as a Markdown table: one meeting a row."""
    lines = ["| meeting | subject | notebooks | exercises | to work through |", "| --- | --- | --- | --- | --- |"]
    for week, (subject, numbers) in enumerate(SYLLABUS.items(), 1):
        exercises = "; ".join(exercise for number in numbers for exercise in stated(number).exercises)
        lines.append(f"| {week} | {subject} | {links(numbers)} | {exercises} | {total(numbers)} |")
    return "\n".join(lines)
