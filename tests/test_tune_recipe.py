"""The tuning log: what is refused, what a run leaves in it, and that no run is repeated."""

import pytest

from munit_lite.config import override
from munit_lite.experiments import results
from munit_lite.presets import preset
from munit_lite.training_errors import TrainingError
from munit_lite.world import DIRECTIONS
from tools import tune_recipe
from tools.tune_recipe import BASELINE, SETTINGS, Setting, measure, read_log, tune


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    sizes = {"base_channels": 4, "discriminator_base_channels": 4, "batch_size": 1, "sample_every": 2}
    monkeypatch.setitem(SETTINGS, "small", Setting("fast", sizes))
    return sizes


def test_a_run_is_logged_with_its_change_and_is_not_repeated(small, monkeypatch, capsys):
    tune(("small",), seeds=(100,), steps=4)
    runs = read_log()["small, 4 steps"]
    assert set(runs) == {"100"} and set(runs["100"]) == {"2", "4"}
    for direction in DIRECTIONS.values():
        assert 0 <= runs["100"]["4"][direction]["class_accuracy"] <= 1
    change = results.read_results_file("recipe_tuning")["provenance"]["settings"]["runs"]["small, 4 steps"]
    assert change["overrides"] == small and change["reason"] == "fast"
    assert "seed 100: not converged" in capsys.readouterr().out
    monkeypatch.setattr(tune_recipe, "measure", lambda *run: pytest.fail(f"{run} is in the log"))
    tune(("small",), seeds=(100,), steps=4)


def test_a_run_that_fails_is_logged_too(small, monkeypatch, capsys):
    def fail(*_, **__):
        raise TrainingError("a loss is not finite")

    monkeypatch.setattr(tune_recipe, "train", fail)
    tune(("small",), seeds=(101,), steps=4)
    captured = capsys.readouterr()
    assert "small, 4 steps, seed 101: failed" in captured.out and "a loss is not finite" in captured.err
    assert (
        "101"
        in results.read_results_file("recipe_tuning")["provenance"]["settings"]["runs"]["small, 4 steps"]["failed"]
    )


def test_every_setting_is_a_configuration_and_changes_something():
    baseline = preset("world32", **BASELINE)
    for name, setting in SETTINGS.items():
        assert (override(baseline, **setting.overrides) == baseline) == (name == "baseline"), name


@pytest.mark.parametrize(
    ("settings", "seeds", "message"),
    [(("bigger",), (100,), "unknown settings bigger; known: baseline"), (("baseline",), (3,), "no tuning seeds")],
)
def test_unknown_settings_and_seeds_of_the_tables_are_refused(settings, seeds, message):
    with pytest.raises(ValueError, match=message):
        tune(settings, seeds=seeds)


def test_measuring_depends_on_the_seed_alone(small):
    first, again, other = (measure("small", seed, 2) for seed in (100, 100, 101))
    for records in (first, again, other):
        assert records[0].pop("cpu_minutes") > 0
    assert first == again != other
