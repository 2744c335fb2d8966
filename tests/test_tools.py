"""The ways through the course hold every notebook, in order, with the minutes and exercises that it states."""

import re

import pytest
from notebook_files import WRITTEN, markdown, read

from tools import tracks

NUMBERS = [name[:2] for name in WRITTEN]


@pytest.mark.parametrize("parts", [tracks.WEEKEND, tracks.SYLLABUS])
def test_a_weekend_and_a_course_go_through_every_notebook_once_and_in_order(parts):
    assert [number for numbers in parts.values() for number in numbers] == NUMBERS


def test_an_afternoon_is_shorter_than_either_day_of_a_weekend():
    def minutes(numbers):
        hours, rest = re.fullmatch(r"(\d+) h (\d\d) min", tracks.total(numbers)).groups()
        return 60 * int(hours) + int(rest)

    assert 120 <= minutes(tracks.AFTERNOON) < min(minutes(numbers) for numbers in tracks.WEEKEND.values())
    assert minutes(NUMBERS) == sum(minutes(numbers) for numbers in tracks.WEEKEND.values())


@pytest.mark.parametrize("name", WRITTEN)
def test_every_exercise_and_the_minutes_are_those_that_the_notebook_states(name):
    found, text = tracks.stated(name[:2]), markdown(read(name))
    assert found.file == f"{name}.ipynb" and 0 < found.run <= found.work
    assert len(found.exercises) == len(re.findall(r"^### Exercise \d", text, re.MULTILINE))
    minutes = [int(exercise.split()[-2]) for exercise in found.exercises]
    assert found.work >= sum(minutes) + found.run


def test_a_notebook_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="there are 0 notebooks 99_"):
        tracks.stated("99")
