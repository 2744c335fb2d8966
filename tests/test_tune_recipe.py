"""The tuning log: what is refused, what a run leaves in it, and that no run is repeated."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from munit_lite.config import override
from munit_lite.experiments import results
from munit_lite.methods import build
from munit_lite.presets import preset
from munit_lite.training import train
from munit_lite.training_errors import TrainingError
from munit_lite.world import DIRECTIONS, SHAPE_NAMES
from tools import tune_recipe
from tools.tune_recipe import BASES, SETTINGS, TUNING_SEEDS, Setting, measure, read_log, tune


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    sizes = {"base_channels": 4, "discriminator_base_channels": 4, "batch_size": 1, "sample_every": 2}
    monkeypatch.setitem(SETTINGS, "small", Setting("fast", BASES["baseline"] | sizes))
    return sizes


def test_a_run_is_logged_with_its_change_and_is_not_repeated(small, monkeypatch, capsys):
    tune(("small",), seeds=(100,), steps=4)
    runs = read_log()[0]["small, 4 steps"]
    assert set(runs) == {"100"} and set(runs["100"]) == {"2", "4"}
    for direction in DIRECTIONS.values():
        assert 0 <= runs["100"]["4"][direction]["class_accuracy"] <= 1
    change = read_log()[1]["small, 4 steps"]
    assert change["fields"] == BASES["baseline"] | small and change["failed"] == {}
    assert "seed 100: not converged" in capsys.readouterr().out
    monkeypatch.setattr(tune_recipe, "measure", lambda *run: pytest.fail(f"{run} is in the log"))
    tune(("small",), seeds=(100,), steps=4)


@pytest.mark.parametrize("last_step", [0, 2])
def test_a_run_that_fails_is_logged_too_even_if_its_first_steps_were_measured(last_step, small, monkeypatch, capsys):
    def fail(config, folder, callbacks):
        if last_step:
            train(override(config, steps=last_step), folder, callbacks)
        raise TrainingError("a loss is not finite")

    monkeypatch.setattr(tune_recipe, "train", fail)
    tune(("small",), seeds=(101,), steps=4)
    captured = capsys.readouterr()
    assert f"seed 101: failed after step {last_step}" in captured.out and "a loss is not finite" in captured.err
    log, runs = read_log()
    assert runs["small, 4 steps"]["failed"] == {"101": last_step} and not log
    monkeypatch.setattr(tune_recipe, "measure", lambda *run: pytest.fail(f"{run} is in the log"))
    tune(("small",), seeds=(101,), steps=4)


def test_a_change_of_the_code_acts_during_the_run_alone(small, monkeypatch):
    monkeypatch.setitem(
        SETTINGS, "changed", Setting("content of variance 1", BASES["baseline"] | small, ("normalized content",))
    )
    seen = []

    def encode(config, *_, **__):
        content = build(config).encode_content(torch.rand(1, 3, 16, 16), 1)
        seen.append(content.detach().std(dim=(2, 3), correction=0))

    monkeypatch.setattr(tune_recipe, "train", encode)
    measure("changed", 100, 4)
    measure("small", 100, 4)
    assert seen[0] == pytest.approx(1, abs=1e-2) and abs(seen[1] - 1).max() > 0.1


def test_processes_that_finish_together_do_not_overwrite_each_others_runs(small):
    """Once a run was lost: two processes had read the same log, and the second wrote it without the first one's run."""
    direction = {"class_accuracy": 0.5, "relabeled_accuracy": 0.5, "diversity_ratio": 1.0, "style_r2": 0.5}
    records = [{"step": k, "cpu_minutes": 1.0} | dict.fromkeys(DIRECTIONS.values(), direction) for k in (2, 4)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda seed: tune_recipe.add_to_log("small", seed, 4, records), TUNING_SEEDS))
    assert set(read_log()[0]["small, 4 steps"]) == {str(seed) for seed in TUNING_SEEDS}


def test_the_committed_log_holds_tuning_seeds_alone_and_the_settings_of_the_tool():
    log, runs = read_log()
    assert set(log) == {name for name, run in runs.items() if len(run["failed"]) < len(run["commits"])}
    for name, run in runs.items():
        setting, steps = re.fullmatch(r"(.*), ([\d,]+) steps", name).groups()
        logged = preset("world32", **{k: tuple(v) if isinstance(v, list) else v for k, v in run["fields"].items()})
        assert preset("world32", **SETTINGS[setting].fields) == logged, name
        assert SETTINGS[setting].code_changes == tuple(run["code_changes"]), name
        assert set(log.get(name, {})) | set(run["failed"]) == set(run["commits"])
        assert set(run["commits"]) <= {str(seed) for seed in TUNING_SEEDS}
        for records in log.get(name, {}).values():
            assert max(map(int, records)) == int(steps.replace(",", ""))


def test_every_setting_is_a_configuration_of_its_own():
    found = [(preset("world32", **setting.fields), setting.code_changes) for setting in SETTINGS.values()]
    assert len(set(found)) == len(found)


def test_the_recipe_of_the_log_is_the_preset_of_today():
    tuned, shipped = preset("world32", **BASES["recipe"]), preset("laboratory")
    assert (tuned.network, tuned.loss, tuned.optimizer) == (shipped.network, shipped.loss, shipped.optimizer)
    assert (tuned.data, tuned.batch_size) == (shipped.data, shipped.batch_size)


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


def test_at_32_px_rings_become_discs_in_one_direction_alone_as_the_readme_says():
    runs = read_log()[0]["recipe_32, 2,500 steps"]
    assert set(runs) == {"100", "101"}
    disc, ring = (SHAPE_NAMES.index(name) for name in ("disc", "ring"))
    for run in runs.values():
        found, reverse = run["2500"]["sketch to painting"], run["2500"]["painting to sketch"]
        assert found["confusion"][ring][disc] > 0.95 * sum(found["confusion"][ring])
        assert reverse["confusion"][ring][ring] > 0.95 * sum(reverse["confusion"][ring])
        assert found["class_accuracy"] < 0.6 < 0.95 < reverse["class_accuracy"]
