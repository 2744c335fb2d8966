"""The course tracks hold every notebook, in order, with the minutes and exercises that it states; generated blocks of a
page are replaced whole."""

import io
import re

import numpy as np
import pytest
from notebook_files import WRITTEN, markdown, number_of, read
from PIL import Image

from munit_lite.course import explorers
from munit_lite.experiments.results import read_results
from tools import benchmark_explorers, syllabus, title_pictures
from tools.markdown_blocks import replace_block

NUMBERS = [number_of(name) for name in WRITTEN]


@pytest.mark.parametrize("parts", [syllabus.WEEKEND, syllabus.SYLLABUS])
def test_a_weekend_and_a_course_go_through_every_notebook_once_and_in_order(parts):
    assert [number for numbers in parts.values() for number in numbers] == NUMBERS


def test_an_afternoon_is_shorter_than_either_day_of_a_weekend():
    def minutes(numbers):
        hours, rest = re.fullmatch(r"(\d+) h (\d\d) min", syllabus.total_time(numbers)).groups()
        return 60 * int(hours) + int(rest)

    assert 120 <= minutes(syllabus.AFTERNOON) < min(minutes(numbers) for numbers in syllabus.WEEKEND.values())
    assert minutes(NUMBERS) == sum(minutes(numbers) for numbers in syllabus.WEEKEND.values())


@pytest.mark.parametrize("name", WRITTEN)
def test_every_exercise_and_the_minutes_are_those_that_the_notebook_states(name):
    lesson, text = syllabus.read_lesson(number_of(name)), markdown(read(name))
    assert lesson.file == f"{name}.ipynb" and 0 < lesson.run_minutes <= lesson.work_minutes
    assert len(lesson.exercises) == len(re.findall(r"^### Exercise \d", text, re.MULTILINE))
    minutes = [int(exercise.split()[-2]) for exercise in lesson.exercises]
    assert lesson.work_minutes >= sum(minutes) + lesson.run_minutes


def test_a_notebook_that_is_missing_is_an_error():
    with pytest.raises(ValueError, match="there are 0 notebooks 99_"):
        syllabus.read_lesson("99")


def test_a_block_of_a_page_is_replaced_and_must_be_there_once():
    page = "a\n<!-- t -->\nold\n<!-- /t -->\nb"
    assert replace_block(page, "t", r"new \1") == "a\n<!-- t -->\nnew \\1\n<!-- /t -->\nb"
    for text in ("", page + page):
        with pytest.raises(ValueError, match=r"has [02] blocks named t, but it needs exactly one"):
            replace_block(text, "t", "")


def test_every_explorer_is_timed_from_a_moved_slider_to_its_picture(monkeypatch, tmp_path, capsys):
    kept = {"WorldExplorer": explorers.WorldExplorer, "StyleExplorer": explorers.StyleExplorer}
    monkeypatch.setattr(explorers, "__all__", list(kept))
    seen = {name: [] for name in kept}
    for name, kind in kept.items():

        def redraw(self, *change, name=name, original=kind._redraw):
            original(self, *change)
            seen[name].append(self.problem)

        monkeypatch.setattr(kind, "_redraw", redraw)
    monkeypatch.setattr("munit_lite.experiments.results.RESULTS_DIR", tmp_path)
    numbers = read_results(benchmark_explorers.main(moves=2))
    out = capsys.readouterr().out
    assert list(numbers) == list(kept)
    for name, row in numbers.items():
        assert f"`{name}`" in out and row["sliders"] > 1 and 0 < row["median"] <= row["percentile_95"]
        assert row["sliders"] < row["moves"] <= 2 * row["sliders"] and set(seen[name]) == {""}
        assert len(seen[name]) == row["moves"] + 2, "each move draws; so do the beginning and the one not counted"


def test_at_least_one_move_is_timed():
    with pytest.raises(ValueError, match="--moves is 0, but it must be 1 or more"):
        benchmark_explorers.main(moves=0)


def test_the_picture_above_the_first_notebook_shows_what_the_shipped_model_paints():
    stored = np.asarray(Image.open(title_pictures.ONE_SKETCH).convert("RGB"), dtype=float)
    now = np.asarray(Image.open(io.BytesIO(title_pictures.one_sketch_many_paintings())).convert("RGB"), dtype=float)
    assert now.shape == stored.shape and np.abs(now - stored).mean() < 2, "run: python -m tools.title_pictures"
