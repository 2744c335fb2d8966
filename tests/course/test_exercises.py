"""The checkers, tested by mutation: every bug gets its own message, nothing wrong passes, and nothing right fails."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
import torch
import torch.nn.functional as F
from notebook_files import WRITTEN, attempts, defined
from torch import Tensor

from munit_lite import networks
from munit_lite.course import exercises as checks
from munit_lite.course.exercises import framework
from tools import errata

pytestmark = pytest.mark.numerical

SEEDS = (0, 1)
BUGS = [(exercise.name, bug.name) for exercise in checks.EXERCISES.values() for bug in exercise.bugs]
POSED = [attempt for name in WRITTEN for attempt in attempts(name)]


def of(name: str) -> checks.Exercise:
    return checks.EXERCISES[name]


# --------------------------------------------------------------------------------------- every exercise, every bug


@pytest.mark.parametrize(("exercise", "bug"), BUGS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_bug_of_the_museum_is_named(exercise, bug, seed):
    verdict = of(exercise).verdict(checks.MUSEUM[bug].broken, seed)
    assert verdict.status == "known bug" and verdict.bug is checks.MUSEUM[bug]
    assert checks.MUSEUM[bug].wrong in verdict.text and checks.MUSEUM[bug].right in verdict.text
    assert "yours" in verdict.text and "expected" in verdict.text


def test_bugs_are_told_apart_by_their_words():
    assert len({bug.wrong for bug in checks.MUSEUM.values()}) == len(checks.MUSEUM)


@pytest.mark.parametrize("name", checks.EXERCISES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_answer_is_accepted(name, seed):
    verdict = of(name).verdict(of(name).oracle, seed)
    assert verdict.status == "correct", verdict.text


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", checks.EXERCISES)
def test_a_wrong_answer_that_no_bug_explains_is_shown_its_smallest_difference(name):
    def shifted(tree):
        if isinstance(tree, list | tuple):
            return type(tree)(shifted(part) for part in tree)
        if isinstance(tree, dict):
            return {key: shifted(part) for key, part in tree.items()}
        return ~tree if isinstance(tree, Tensor) and tree.dtype == torch.bool else tree + 1

    exercise = of(name)
    verdict = exercise.verdict(lambda *arguments: shifted(exercise.oracle(*arguments)))
    assert verdict.status == "wrong" and verdict.bug is None
    smallest = min(exercise.cases(torch.Generator().manual_seed(0)), key=lambda case: case.elements)
    assert f"Smallest input that shows it ({smallest.label})" in verdict.text
    assert "yours" in verdict.text and "expected" in verdict.text


@pytest.mark.parametrize("name", checks.EXERCISES)
def test_an_untouched_stub_is_untouched(name):
    def raises(*arguments):
        raise NotImplementedError

    def empty(*arguments): ...

    for stub in (raises, empty):
        assert of(name).verdict(stub).text == f"{name}: not attempted yet"


@pytest.mark.parametrize("name", checks.EXERCISES)
def test_inputs_include_awkward_ones_and_both_precisions(name):
    cases = list(of(name).cases(torch.Generator().manual_seed(0)))
    assert {case.dtype for case in cases} == {torch.float32, torch.float64}
    assert len({case.label for case in cases}) >= 3


@pytest.mark.parametrize("name", checks.EXERCISES)
def test_the_printed_verdict_is_the_same_twice(name):
    exercise = of(name)
    assert exercise.verdict(exercise.bugs[0].broken).text == exercise.verdict(exercise.bugs[0].broken).text
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exercise(exercise.oracle)
    assert printed.getvalue() == exercise.verdict(exercise.oracle).text + "\n"


# ------------------------------------------------------------------------------- the exercises as notebooks pose them


@pytest.mark.parametrize("posed", POSED, ids=lambda posed: f"{posed.notebook}-{posed.checker}")
def test_a_notebooks_stub_is_untouched_and_its_solution_accepted(posed):
    exercise = of(posed.checker)
    assert exercise.verdict(defined(posed.stub, posed.imports, posed.function)).status == "untouched"
    verdict = exercise.verdict(defined(posed.solution, posed.imports, posed.function))
    assert verdict.status == "correct", verdict.text


def test_every_exercise_is_posed_by_one_notebook():
    assert sorted(posed.checker for posed in POSED) == sorted(checks.EXERCISES)


@pytest.mark.slow
def test_the_page_of_the_museum_is_what_the_museum_holds():
    text = errata.PAGE.read_text()
    assert errata.update(text) == text, "run: python tools/errata.py"


# ---------------------------------------------------------------------------------------------------- the framework


def test_an_unknown_checker_is_an_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no checker named 'adani'; known: .*adain"):
        checks.adani  # noqa: B018


def test_the_packages_own_functions_pass():
    assert checks.adain.verdict(networks.adaptive_instance_norm).status == "correct"

    def package_block(first, second, features: Tensor, adain: Tensor) -> Tensor:
        block = networks.AdaINResidualBlock(features.shape[1])
        block.first, block.second = first, second
        return block(features, adain)

    assert checks.adain_block.verdict(package_block).status == "correct"


def test_a_bug_is_named_however_it_is_written():
    def with_layer_norm(features, scale, shift):
        normal = F.layer_norm(features, features.shape[1:])
        return normal * scale.unsqueeze(-1).unsqueeze(-1) + shift.unsqueeze(-1).unsqueeze(-1)

    assert checks.adain.verdict(with_layer_norm).bug is checks.MUSEUM["adain-layer-statistics"]


def _double(x):
    return 2 * x


def _cases(generator):
    for count, dtype in ((2, torch.float32), (3, torch.float64)):
        yield framework.Case(f"{count} numbers", (torch.arange(1.0, count + 1, dtype=dtype),))


DOUBLE = framework.Exercise("double", _double, _cases, (), gradients=True)


def test_the_smallest_input_is_shown_with_both_answers():
    assert DOUBLE.verdict(lambda x: 3 * x).text == (
        "double: not yet, and no bug of the museum explains it.\n"
        "Smallest input that shows it (2 numbers):\n"
        "  x = [1, 2]\n"
        "  result\n"
        "  yours    : [3, 6]\n"
        "  expected : [2, 4]"
    )


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: 2 * x.detach(), "gradient in x"),
        (lambda x: 2 * x.detach() + 3 * x - 3 * x.detach(), "gradient in x"),
        (lambda x: (2 * x).float(), "kind of result"),
        (lambda x: (2 * x)[None], "shape of result"),
        (lambda x: [2 * x], r"yours    : result\[0\]"),
        (lambda x: x / torch.zeros(()), "yours    : .inf, inf."),
        (lambda x: x @ torch.zeros(7, 7), "yours    : RuntimeError"),
        (lambda x: "2 x", "yours    : no tensor or number"),
    ],
)
def test_each_kind_of_difference_is_told(function, told):
    verdict = DOUBLE.verdict(function)
    assert verdict.status == "wrong"
    assert re.search(told, verdict.text), verdict.text


def test_a_function_that_changes_its_input_is_told_so():
    def in_place(x):
        x *= 2
        return x

    exercise = framework.Exercise("double", _double, _cases, ())
    assert "x after the call" in exercise.verdict(in_place).text


def test_large_results_show_the_first_element_that_differs():
    def cases(generator):
        yield framework.Case("many", (torch.zeros(4, 5),))

    def off(x):
        y = 2 * x
        y[2, 3] += 1
        return y

    text = framework.Exercise("double", _double, cases, ()).verdict(off).text
    assert "result, element [2, 3] (1 of 20 differ)\n  yours    : 1\n  expected : 0" in text
    assert "x = float32 of shape (4, 5)" in text
