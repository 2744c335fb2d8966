"""What notebooks share: predictions and their score, tables, set-up, the map."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import torch

from munit_lite.course.diagrams import PARTS, model_map
from munit_lite.course.notebook import answer, predict, start, table


@pytest.mark.parametrize(
    ("mine", "told"), [(None, "you made no prediction"), ("a", "you predicted (a)"), ("b", "you predicted it")]
)
def test_a_prediction_is_scored_by_what_is_measured(mine, told, capsys):
    prediction = predict("Which?", mine, a="this", b="that")
    capsys.readouterr()
    answer(prediction, "b")
    assert capsys.readouterr().out == f"measured: (b) that\n{told}\n"


def test_a_prediction_outside_the_choices_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match="your prediction is 'c', but the choices are a, b"):
        predict("Which?", "c", a="this", b="that")


def test_a_table_is_aligned_and_rounded_without_a_negative_zero(capsys):
    table(["what", "mean", "n"], [["color", (0.123, 0.018), 3], ["place", -0.001, 12]])
    assert capsys.readouterr().out == (
        "what           mean   n\n"
        "color  0.12 ± 0.02   3\n"
        "place          0.00  12\n"
    )  # fmt: skip


def test_start_seeds_torch_tells_the_versions_and_refuses_unknown_parameters(capsys):
    start(["", "seed = 0"], seed=3)
    drawn = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(2))
    assert f"torch {torch.__version__}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown parameter 'sed'; known: seed"):
        start(["", "seed = 0", "# Parameters\nsed = 1"], seed=0)


def test_the_map_tells_what_it_highlights_and_shows_it():
    whole, part = model_map(), model_map("decoder")
    assert "Highlighted: decoder." in part.alt and "content encoder" in part.alt
    colorful = []
    for shown in (whole, model_map("prior"), part):
        pixels = np.asarray(PIL.Image.open(io.BytesIO(shown.data)).convert("RGB"), dtype=int)
        colorful.append((np.ptp(pixels, axis=-1) > 60).sum())
    assert colorful[0] > 4 * colorful[1] > 0 == colorful[2]  # decoders are gray


def test_the_map_refuses_a_part_it_does_not_have():
    with pytest.raises(ValueError, match=f"the map has no part 'decoders'; known: {PARTS[0]}"):
        model_map("decoders")
