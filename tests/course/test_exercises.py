"""The checkers, tested by mutation: every bug gets its own message, nothing wrong passes, and nothing right fails."""

from __future__ import annotations

import contextlib
import inspect
import io
import re

import pytest
import torch
import torch.nn.functional as F
from notebook_files import WRITTEN, attempts, defined
from torch import Tensor

from munit_lite import networks
from munit_lite.course import exercises
from munit_lite.course.exercises import framework
from tools import errata

pytestmark = pytest.mark.numerical

SEEDS = (0, 1)
BUGS = [(exercise.name, bug.name) for exercise in exercises.EXERCISES.values() for bug in exercise.bugs]
POSED = [attempt for name in WRITTEN for attempt in attempts(name)]


def of(name: str) -> exercises.Exercise:
    return exercises.EXERCISES[name]


# --------------------------------------------------------------------------------------- every exercise, every bug


@pytest.mark.parametrize(("exercise", "bug"), BUGS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_known_bug_is_named(exercise, bug, seed):
    feedback = of(exercise).check(exercises.KNOWN_BUGS[bug].buggy, seed)
    assert feedback.status == "known bug" and feedback.bug is exercises.KNOWN_BUGS[bug]
    assert exercises.KNOWN_BUGS[bug].mistake in feedback.message and exercises.KNOWN_BUGS[bug].fix in feedback.message
    assert "yours" in feedback.message and "expected" in feedback.message


def test_each_bug_is_described_in_its_own_words():
    assert len({bug.mistake for bug in exercises.KNOWN_BUGS.values()}) == len(exercises.KNOWN_BUGS)


@pytest.mark.parametrize("name", exercises.EXERCISES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_answer_is_accepted(name, seed):
    feedback = of(name).check(of(name).reference, seed)
    assert feedback.status == "correct", feedback.message


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_a_wrong_answer_that_no_bug_explains_is_shown_its_smallest_difference(name):
    def shifted(tree):
        if isinstance(tree, list | tuple):
            return type(tree)(shifted(part) for part in tree)
        if isinstance(tree, dict):
            return {key: shifted(part) for key, part in tree.items()}
        return ~tree if isinstance(tree, Tensor) and tree.dtype == torch.bool else tree + 1

    exercise = of(name)
    feedback = exercise.check(lambda *arguments: shifted(exercise.reference(*arguments)))
    assert feedback.status == "incorrect" and feedback.bug is None
    smallest = min(exercise.cases(torch.Generator().manual_seed(0)), key=lambda case: case.num_elements)
    assert f"Smallest input that shows it ({smallest.label})" in feedback.message
    assert "yours" in feedback.message and "expected" in feedback.message


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_a_stub_is_not_attempted(name):
    def raises(*arguments):
        raise NotImplementedError

    def empty(*arguments): ...

    for stub in (raises, empty):
        assert of(name).check(stub).message == f"{name}: not attempted yet"


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_inputs_include_awkward_ones_and_both_precisions(name):
    cases = list(of(name).cases(torch.Generator().manual_seed(0)))
    assert {case.dtype for case in cases} == {torch.float32, torch.float64}
    assert len({case.label for case in cases}) >= 3


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_the_printed_feedback_is_the_same_twice(name):
    exercise = of(name)
    assert exercise.check(exercise.bugs[0].buggy).message == exercise.check(exercise.bugs[0].buggy).message
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exercise(exercise.reference)
    assert printed.getvalue() == exercise.check(exercise.reference).message + "\n"


# ------------------------------------------------------------------------------- the exercises as notebooks pose them


@pytest.mark.parametrize("posed", POSED, ids=lambda posed: f"{posed.notebook}-{posed.exercise}")
def test_a_notebooks_stub_is_not_attempted_and_its_solution_accepted(posed):
    exercise = of(posed.exercise)
    assert exercise.check(defined(posed.stub, posed.imports, posed.function)).status == "not attempted"
    feedback = exercise.check(defined(posed.solution, posed.imports, posed.function))
    assert feedback.status == "correct", feedback.message


def test_every_exercise_is_posed_by_one_notebook():
    assert sorted(posed.exercise for posed in POSED) == sorted(exercises.EXERCISES)


def test_the_exercises_of_a_notebook_stand_in_one_file():
    for name in {posed.notebook for posed in POSED}:
        files = {inspect.getsourcefile(of(posed.exercise).reference) for posed in POSED if posed.notebook == name}
        assert len(files) == 1, f"{name}: {files}"


@pytest.mark.slow
def test_the_page_of_errata_lists_the_known_bugs():
    text = errata.PAGE.read_text()
    assert errata.update(text) == text, "run: python -m tools.errata"


# ---------------------------------------------------------------------------------------------------- the framework


def test_an_unknown_checker_is_an_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no exercise named 'adani'; known: .*adain"):
        exercises.adani  # noqa: B018


def test_the_packages_own_functions_pass():
    assert exercises.adain.check(networks.adaptive_instance_norm).status == "correct"

    def package_block(first, second, features: Tensor, adain: Tensor) -> Tensor:
        block = networks.AdaINResidualBlock(features.shape[1])
        block.first, block.second = first, second
        return block(features, adain)

    assert exercises.adain_block.check(package_block).status == "correct"


def test_a_bug_is_named_however_it_is_written():
    def with_layer_norm(features, scale, shift):
        normal = F.layer_norm(features, features.shape[1:])
        return normal * scale.unsqueeze(-1).unsqueeze(-1) + shift.unsqueeze(-1).unsqueeze(-1)

    assert exercises.adain.check(with_layer_norm).bug is exercises.KNOWN_BUGS["adain-layer-statistics"]


def _double(x):
    return 2 * x


def _cases(generator):
    for count, dtype in ((2, torch.float32), (3, torch.float64)):
        yield framework.Input(f"{count} numbers", (torch.arange(1.0, count + 1, dtype=dtype),))


DOUBLE = framework.Exercise("double", _double, _cases, (), compare_gradients=True)


def test_the_smallest_input_is_shown_with_both_answers():
    assert DOUBLE.check(lambda x: 3 * x).message == (
        "double: not correct yet, and it is not a known bug.\n"
        "Smallest input that shows it (2 numbers):\n"
        "  x = [1, 2]\n"
        "  result\n"
        "  yours    : [3, 6]\n"
        "  expected : [2, 4]"
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: 2 * x.detach(), "gradient in x"),
        (lambda x: 2 * x.detach() + 3 * x - 3 * x.detach(), "gradient in x"),
        (lambda x: (2 * x).float(), "dtype of result"),
        (lambda x: (2 * x)[None], "shape of result"),
        (lambda x: [2 * x], r"yours    : result\[0\]"),
        (lambda x: x / torch.zeros(()), "yours    : .inf, inf."),
        (lambda x: x @ torch.zeros(7, 7), "yours    : RuntimeError"),
        (lambda x: "2 x", "yours    : no tensor or number"),
    ],
)
def test_each_kind_of_difference_is_reported(function, message):
    feedback = DOUBLE.check(function)
    assert feedback.status == "incorrect"
    assert re.search(message, feedback.message), feedback.message


def test_a_function_that_changes_its_input_is_incorrect():
    def in_place(x):
        x *= 2
        return x

    exercise = framework.Exercise("double", _double, _cases, ())
    assert "x after the call" in exercise.check(in_place).message


def test_large_results_show_the_first_element_that_differs():
    def cases(generator):
        yield framework.Input("many", (torch.zeros(4, 5),))

    def off(x):
        y = 2 * x
        y[2, 3] += 1
        return y

    text = framework.Exercise("double", _double, cases, ()).check(off).message
    assert "result, element [2, 3] (1 of 20 differ)\n  yours    : 1\n  expected : 0" in text
    assert "x = float32 of shape (4, 5)" in text
