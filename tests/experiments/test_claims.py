"""Expectations beside measured numbers."""

import pytest

from munit_lite.experiments.claims import NOT_MEASURED, Expectation, compare, format_comparisons, to_dicts


def measured(**numbers):
    return {"numbers": {"there": numbers, "back": {name: value + 0.2 for name, value in numbers.items()}}}


FOUND = {
    "world32": {
        "munit": {"0": measured(r2=0.7), "1": measured(r2=0.9), "2": measured(r2=0.8)},
        "no_style": {"0": measured(r2=0.3), "2": measured(r2=-0.1)},
    }
}


def test_expectations_are_judged_by_the_interval_over_seeds_of_the_mean_over_directions():
    rows = compare(
        [
            Expectation("world32", "munit", "r2", at_least=0.65),
            Expectation("world32", "munit", "r2", at_least=1.15),
            Expectation("world32", "munit", "r2", at_least=0.8, at_most=0.85),
            Expectation("world32", "no_style", "r2", at_most=0.5, ratio_to="munit"),
            Expectation("world32", "no_style", "r2", at_most=-0.7, difference_from="munit"),
            Expectation("fashion32", "munit", "r2", at_least=0),
        ],
        FOUND,
    )
    assert rows[0].values == pytest.approx([0.8, 1.0, 0.9]) and rows[0].mean == pytest.approx(0.9)
    assert rows[3].values == pytest.approx([0.4 / 0.8, 0 / 0.9])  # seed by seed; seed 1 has no partner
    assert rows[4].values == pytest.approx([-0.4, -0.9])
    # The interval of rows 0 to 2 is 0.9 ± 0.248: t is 4.303 with three seeds. Row 4 is -0.65 ± 3.18.
    assert [row.verdict for row in rows] == ["holds", "fails", "undecided", "undecided", "undecided", NOT_MEASURED]
    assert rows[0].interval == pytest.approx((0.6516, 1.1484), abs=1e-4)
    assert to_dicts(rows)[3]["mean"] == pytest.approx(0.25) and to_dicts(rows)[0]["verdict"] == "holds"


def test_expectations_are_printed_with_the_lowest_and_the_highest_seed():
    rows = compare(
        [
            Expectation("world32", "munit", "r2", at_least=0.8),
            Expectation("world32", "no_style", "r2", at_most=0.1, ratio_to="munit"),
            Expectation("world32", "unit", "r2", at_most=0.1),
        ],
        FOUND,
    )
    assert format_comparisons(rows).splitlines() == [
        "undecided        world32/munit r2: 0.900 (0.800 to 1.000), expected at least 0.8",
        "undecided        world32/no_style / munit r2: 0.250 (0.000 to 0.500), expected at most 0.1",
        "not measured yet world32/unit r2: nothing, expected at most 0.1",
    ]


def test_runs_without_numbers_and_ratios_to_zero_are_not_measured():
    found = {"fruit": {"munit": {"0": {"numbers": {}}}, "unit": {"0": measured(d=-0.1)}, "gan": {"0": measured(d=1)}}}
    asked = [
        Expectation("fruit", "munit", "d", at_least=0),
        Expectation("fruit", "gan", "d", at_most=1, ratio_to="unit"),  # of 0, the mean of both directions
    ]
    assert [row.verdict for row in compare(asked, found)] == [NOT_MEASURED, NOT_MEASURED]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, "no bound"), ({"at_least": 0, "ratio_to": "a", "difference_from": "b"}, "both ratio_to and difference_from")],
)
def test_an_expectation_that_says_nothing_or_two_things_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Expectation("world32", "munit", "r2", **fields)


def test_an_expectation_of_a_number_that_is_not_measured_is_an_error_that_lists_those_that_are():
    with pytest.raises(
        ValueError, match="an expectation of world32/munit is about 'r3', but the metrics measured are r2"
    ):
        compare([Expectation("world32", "munit", "r3", at_least=0)], FOUND)
