"""Results files side by side: a column per run, and per method of a sweep."""

import math

import pytest

from munit_lite.experiments.results import write_results
from munit_lite.experiments.side_by_side import read_columns, side_by_side

ONE_WAY, THE_OTHER = "sketch to painting", "painting to sketch"


def numbers(accuracy, diversity):
    return {
        name: {"class_accuracy": accuracy + plus, "class_accuracy_interval": 0.01, "diversity_ratio": diversity}
        for name, plus in ((ONE_WAY, 0.0), (THE_OTHER, 0.1))
    }


def entry(accuracy, diversity):
    return {"parameters": {}, "attempts": [], "numbers": numbers(accuracy, diversity), "provenance": {}}


@pytest.fixture
def run_file(tmp_path):
    return write_results(tmp_path / "mine.json", numbers(0.8, 0.9), {}, "a command")


@pytest.fixture
def sweep_file(tmp_path):
    sweep = {"world32": {"munit": {"0": entry(0.7, 0.5), "1": entry(0.9, 0.7)}, "unit": {"0": entry(0.4, 0.0)}}}
    return write_results(tmp_path / "all.json", sweep, {}, "a command")


def test_a_run_is_one_column_with_its_own_intervals(run_file):
    (column,) = read_columns(run_file)
    assert column.heading == "mine" and column.values[THE_OTHER, "class_accuracy"] == pytest.approx((0.9, 0.01))
    assert math.isnan(column.values[ONE_WAY, "diversity_ratio"][1])


def test_a_sweep_has_a_column_per_method_with_the_mean_over_its_seeds(sweep_file):
    munit, unit = read_columns(sweep_file)
    assert (munit.heading, unit.heading) == ("all: world32/munit, 2 seeds", "all: world32/unit")
    mean, half_width = munit.values[ONE_WAY, "class_accuracy"]
    # Student's t for one degree of freedom is 12.706; the standard error of 0.7 and 0.9 is 0.1.
    assert mean == pytest.approx(0.8) and half_width == pytest.approx(1.2706, abs=1e-3)
    assert unit.values[ONE_WAY, "class_accuracy"] == pytest.approx((0.4, 0.01))


def test_the_table_has_a_row_per_direction_and_metric_and_a_dash_for_what_is_absent(run_file, sweep_file, tmp_path):
    other = write_results(tmp_path / "photos.json", {"drawing to photo": {"diversity": 0.06}}, {}, "a command")
    columns = [column for file in (run_file, sweep_file, other) for column in read_columns(file)]
    lines = side_by_side(columns).splitlines()
    assert lines[0] == "| measured | metric | mine | all: world32/munit, 2 seeds | all: world32/unit | photos |"
    assert lines[3] == "| sketch to painting | diversity ratio | 0.900 | 0.600 ± 1.271 | 0.000 | – |"
    assert lines[-1] == "| drawing to photo | diversity | – | – | – | 0.060 |" and len(lines) == 2 + 4 + 1
    assert len(side_by_side(columns, ["class_accuracy"]).splitlines()) == 2 + 2


def test_kid_and_fid_are_shown_whichever_network_measured_them(tmp_path):
    for suffix in ("", "_torchvision"):
        file = write_results(tmp_path / "photos.json", {"1 to 2": {f"kid{suffix}": 0.01, f"fid{suffix}": 90.0}}, {}, "")
        rows = [line.split(" | ")[1] for line in side_by_side(read_columns(file)).splitlines()[2:]]
        assert rows == [f"{name}{suffix}".replace("_", " ") for name in ("kid", "fid")]


def test_an_unknown_metric_and_a_file_of_another_kind_are_named(run_file, tmp_path):
    with pytest.raises(ValueError, match="no file has the metric 'beauty'; the metrics are class_accuracy, diversity"):
        side_by_side(read_columns(run_file), ["beauty"])
    for text in ("{}", "[]", "no JSON"):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=r"other\.json is not a results file"):
            read_columns(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError):
        read_columns(tmp_path / "absent.json")
