"""Write the README's course tracks and syllabus from what the notebooks state: minutes, exercises and their levels.

python -m tools.syllabus
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.notebook_times import stated_minutes
from munit_lite.paths import NOTEBOOKS_DIR, REPOSITORY_DIR
from tools.markdown_blocks import replace_block

README = REPOSITORY_DIR / "README.md"
AFTERNOON = ("00", "01", "04", "08", "14")
WEEKEND = {
    "Saturday": ("00", "01", "02", "03", "04", "05", "06"),
    "Sunday": ("07", "08", "08b", "09", "10", "11", "12", "13", "14", "15", "16"),
}
SYLLABUS = {
    "unpaired images and what they share": ("00", "01"),
    "two encoders": ("02", "03"),
    "a decoder that takes a style": ("04", "05"),
    "latent reconstruction": ("06",),
    "the adversarial game": ("07",),
    "the whole objective": ("08", "08b", "09"),
    "what the paper proves": ("10", "11"),
    "joint distributions and cycles": ("12", "13"),
    "exploring the codes": ("14",),
    "experiments and what they may claim": ("15",),
    "real images": ("16",),
}


class Lesson(NamedTuple):
    """What a notebook states about itself."""

    file: str
    run_minutes: float  # on two cores
    work_minutes: float  # to read and work through; the running time where the notebook states no other
    exercises: list[str]  # such as "A probe ★★☆ 10 min"


def read_lesson(number: str) -> Lesson:
    """Read the notebook with this number, "00" for the first.

    Raises:
        ValueError: there is not exactly one.
    """
    files = sorted(NOTEBOOKS_DIR.glob(f"{number}_*.ipynb"))
    if len(files) != 1:
        raise ValueError(f"there are {len(files)} notebooks {number}_…, but there must be one")
    cells = json.loads(files[0].read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    run = stated_minutes(files[0])
    work = re.search(r"\*\*Time\*\*[^.]*?(\d+) minutes to (?:read|work through)", text)
    exercises = re.findall(r"^### Exercise \d · (.+) · (\S+) · (\d+ min)$", text, re.MULTILINE)
    assert run is not None, f"{files[0].name} states no time"
    return Lesson(files[0].name, run, float(work[1]) if work else run, [" ".join(parts) for parts in exercises])


def total_time(numbers: Sequence[str]) -> str:
    """Return the hours and minutes that it takes to work through notebooks."""
    minutes = round(sum(read_lesson(number).work_minutes for number in numbers))
    return f"{minutes // 60} h {minutes % 60:02} min"


def links(numbers: Sequence[str]) -> str:
    """Return a link to each notebook."""
    return ", ".join(f"[{number}](notebooks/{read_lesson(number).file})" for number in numbers)


def tracks_table() -> str:
    """Return the afternoon and the weekend as a Markdown table."""
    tracks = {"an afternoon": AFTERNOON} | {f"a weekend, {day}": numbers for day, numbers in WEEKEND.items()}
    rows = [(name, links(numbers), total_time(numbers)) for name, numbers in tracks.items()]
    return markdown_table(("you have", "notebooks", "to work through"), rows)


def syllabus_table() -> str:
    """Return a course for a class as a Markdown table with one meeting per row."""
    rows = []
    for meeting, (subject, numbers) in enumerate(SYLLABUS.items(), 1):
        exercises = "; ".join(exercise for number in numbers for exercise in read_lesson(number).exercises)
        rows.append((str(meeting), subject, links(numbers), exercises, total_time(numbers)))
    return markdown_table(("meeting", "subject", "notebooks", "exercises", "to work through"), rows)


def update(text: str) -> str:
    """Return the README's text with both tables written again."""
    text = replace_block(text, "results:tracks", tracks_table())
    return replace_block(text, "results:syllabus", syllabus_table())


if __name__ == "__main__":
    README.write_text(update(README.read_text()))
