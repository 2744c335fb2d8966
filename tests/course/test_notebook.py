"""What notebooks share: predictions and their score, tables, set-up."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from munit_lite.course import exercises
from munit_lite.course.notebook import predict, print_progress, print_table, score_prediction, setup_notebook


@pytest.mark.parametrize(
    ("choice", "score"), [(None, ""), ("a", "your prediction: (a) this\n"), ("b", "your prediction: (b) that\n")]
)
def test_a_prediction_is_scored_by_what_is_measured(choice, score, capsys):
    prediction = predict("Which?", choice, a="this", b="that")
    capsys.readouterr()
    score_prediction(prediction, "b")
    assert capsys.readouterr().out == f"measured: (b) that\n{score}"


def test_the_progress_counts_the_exercises_that_the_reader_has_solved(capsys):
    adain = dataclasses.replace(exercises.adain)
    adain(adain.bugs[0].buggy)
    capsys.readouterr()
    print_progress(adain)
    assert capsys.readouterr().out == "0 of 1 exercises solved\n  adain: open\n"
    adain(adain.reference)
    capsys.readouterr()
    print_progress(adain, dataclasses.replace(exercises.adain))
    assert capsys.readouterr().out == "1 of 2 exercises solved\n  adain: solved\n  adain: open\n"


def test_a_prediction_outside_the_choices_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match="your prediction is 'c', but the choices are a, b"):
        predict("Which?", "c", a="this", b="that")


def test_a_table_is_aligned_and_rounded_without_a_negative_zero(capsys):
    print_table(["what", "mean", "n"], [["color", (0.123, 0.018), 3], ["angle", -0.001, 12]])
    assert capsys.readouterr().out == (
        "what          mean   n\n"
        "color  0.12 ± 0.02   3\n"
        "angle         0.00  12\n"
    )  # fmt: skip


def test_start_seeds_torch_and_refuses_unknown_parameters(capsys):
    setup_notebook(["", "seed = 0"], seed=3)
    sampled = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(sampled, torch.rand(2))
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="unknown parameter 'sed'; known: seed"):
        setup_notebook(["", "seed = 0", "# Parameters\nsed = 1"], seed=0)


PARAMETERS = "steps: int = None\nseed = 0\nrate: float = None\nweight = 1.0\nfast = False\nout: str = None"


@pytest.mark.parametrize(
    ("passed", "message"),
    [
        ("fast = 'false'", "the parameter fast is 'false', which is text; it must be True or False"),
        ("fast = 1", "the parameter fast is 1; it must be True or False"),
        ("fast = None", "the parameter fast is None; it must be True or False"),
        ("steps = 1000.0", "the parameter steps is 1000.0; it must be a whole number such as 3 or None"),
        ("steps = True", "the parameter steps is True; it must be a whole number such as 3 or None"),
        ("seed = 2.5", "the parameter seed is 2.5; it must be a whole number such as 3"),
        ("seed = None", "the parameter seed is None; it must be a whole number such as 3"),
        ("weight = 'abc'", "the parameter weight is 'abc', which is text; it must be a number such as 0.5"),
        ("rate = [1, 2]", r"the parameter rate is \[1, 2\], which is a list; it must be a number such as 0.5 or None"),
        ("out = 7", "the parameter out is 7; it must be text or None; on papermill's command line write -r out 7"),
        ("seed = float('nan')", "the parameter seed is nan; it must be a whole number"),
    ],
)
def test_a_parameter_of_another_type_is_refused_with_a_sentence(passed, message):
    with pytest.raises(TypeError, match=message):
        setup_notebook(["", PARAMETERS, f"# Parameters\n{passed}\n"], seed=0)


@pytest.mark.parametrize("passed", ["steps = None", "steps = 5", "rate = 1", "weight = 2", "out = 'a'", "fast = True"])
def test_a_parameter_of_its_type_is_accepted(passed):
    torch.manual_seed(0)
    setup_notebook(["", PARAMETERS, f"# Parameters\n{passed}\n"], seed=7)
    assert torch.initial_seed() == 7  # the set-up went on to its end
