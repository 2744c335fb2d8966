"""Plans of sweeps: the grid, errors of wrong files, the shipped one."""

from statistics import mean

import pytest

from munit_lite.experiments.results import read_records
from munit_lite.experiments.sweep_plan import SweepError, read_plan
from munit_lite.paths import NOTEBOOKS_DIR, SWEEPS_DIR
from munit_lite.presets import PRESETS, preset


def test_the_grid_is_every_method_on_every_data_with_every_seed(sweep_file):
    file = sweep_file(
        parameters={"pause": 1, "bad": 3},
        methods={"munit": None, "unit": {"preset": "{data}_unit", "bad": 4}},
        grids=[
            {"data": "world32", "seeds": [0, 1]},
            {"data": "fashion32", "seeds": [5], "methods": ["unit"], "parameters": {"pause": 2}},
        ],
    )
    plan = read_plan(file)
    assert [run.name for run in plan.runs] == [
        "world32/munit/seed0",
        "world32/unit/seed0",
        "world32/munit/seed1",
        "world32/unit/seed1",
        "fashion32/unit/seed5",
    ]
    assert plan.runs[0].parameters == {"preset": "world32", "pause": 1, "bad": 3}
    assert plan.runs[1].parameters == {"preset": "world32_unit", "pause": 1, "bad": 4}
    assert plan.runs[4].parameters == {"preset": "fashion32_unit", "pause": 2, "bad": 4}
    assert plan.notebook == (file.parent / "tiny.ipynb").resolve()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": []}, "has an unknown 'grid'; known: expectations, grids, methods, notebook, parameters"),
        ({"notebook": "none.ipynb"}, "names the notebook none.ipynb, which is neither in notebooks nor beside it"),
        ({"methods": {"m": {"pauze": 1}}}, "the method m of .* has an unknown 'pauze'; known: bad, pause, preset"),
        ({"methods": {"m": {"out": "x"}}}, "has an unknown 'out'"),
        ({"methods": {"m": [1]}}, r"the method m of .*: \[1\] is not a mapping of names to values"),
        ({"methods": ["munit"]}, r"methods of .*: \['munit'\] is not a mapping of names to values"),
        ({"parameters": {"bad": 1, "tset_count": 3}}, "parameters of .* has an unknown 'tset_count'; known: bad"),
        ({"grids": {"data": "d", "seeds": [1]}}, r"grids of .* is not a list"),
        ({"grids": [{"data": "d", "seeds": 3}]}, r"seeds of a grid of .*: 3 is not a list"),
        ({"grids": [{"data": "d"}]}, "a grid of .* has no 'seeds'"),
        ({"grids": [{"data": "d", "seeds": [1], "methods": ["n"]}]}, "has a grid with the method 'n', but methods are"),
        ({"grids": [{"data": "d", "seeds": [1, 1]}]}, "plans d/munit/seed1 2 times: grids must not overlap"),
        ({"grids": [{"data": "d", "seed": 1}]}, "a grid of .* has an unknown 'seed'"),
        ({"expectations": [{"data": "d", "size": 1}]}, "has an expectation that cannot be read.*size"),
        (
            {"expectations": [{"data": "world32", "method": "munit", "metric": "n", "at_most": 1, "ratio_to": "unit"}]},
            "has an expectation of world32/unit, which no grid runs",
        ),
    ],
)
def test_the_error_of_a_wrong_file_names_what_is_wrong(sweep_file, changes, message):
    with pytest.raises(SweepError, match=message):
        read_plan(sweep_file(**changes))


def test_a_file_without_grids_or_without_names_is_an_error(tmp_path):
    (tmp_path / "a.yaml").write_text("methods: {munit: {}}")
    with pytest.raises(SweepError, match=r"a\.yaml has no 'grids'"):
        read_plan(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- 1")
    with pytest.raises(SweepError, match=r"a\.yaml: \[1\] is not a mapping of names to values"):
        read_plan(tmp_path / "a.yaml")


def test_a_file_that_is_not_there_or_no_yaml_is_an_error(tmp_path):
    (tmp_path / "a.yaml").write_text("methods: [")
    for name in ("a.yaml", "b.yaml"):
        with pytest.raises(SweepError, match=f"{name} cannot be read as a sweep"):
            read_plan(tmp_path / name)


@pytest.mark.parametrize("file", sorted(SWEEPS_DIR.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_sweep_can_be_planned_with_presets_that_exist(file):
    plan = read_plan(file)
    assert {run.parameters["preset"] for run in plan.runs} <= set(PRESETS)
    seeds = {run.seed for run in plan.runs}
    tunes = file.stem == "learning_rates"
    assert all((seed in range(100, 110)) == tunes for seed in seeds), "seeds 100 to 109 are for tuning only"


def test_the_laboratory_world_measures_each_baseline_with_the_rate_that_the_tuning_runs_select():
    candidates, accuracies = read_plan(SWEEPS_DIR / "learning_rates.yaml"), {}
    for record in read_records("learning_rates"):
        if record["metric"] == "class_accuracy":
            accuracies.setdefault(record["method"], {}).setdefault(record["seed"], []).append(record["value"])
    means = {}
    for run in candidates.runs:
        worse_directions = [min(values) for values in accuracies[run.method].values()]
        assert len(worse_directions) == 2, f"{run.method} has {len(worse_directions)} of 2 tuning seeds"
        means.setdefault(run.parameters["preset"], {})[run.parameters["learning_rate"]] = mean(worse_directions)
    assert len(means) == 5 and all(len(rates) == 3 for rates in means.values())
    selected = {}
    for name, rates in means.items():
        keeps_munits = rates[0.002] >= max(rates.values()) - 0.01
        selected[name] = 0.002 if keeps_munits else max(rates, key=rates.get)
    for run in read_plan(SWEEPS_DIR / "laboratory.yaml").runs:
        name = run.parameters["preset"]
        rate = run.parameters.get("learning_rate", preset(name).optimizer.learning_rate)
        assert rate == selected.get(name, 0.002), f"{run.method} is trained with {rate}"


def test_the_shipped_sweep_plans_the_papers_rows_on_presets_that_exist():
    plan = read_plan(SWEEPS_DIR / "paper_tables.yaml")
    assert plan.notebook == NOTEBOOKS_DIR / "09_training.ipynb"
    assert {run.parameters["preset"] for run in plan.runs} <= set(PRESETS)
    seeds = {}
    for run in plan.runs:
        seeds.setdefault((run.data, run.method), set()).add(run.seed)
    methods = {method for data, method in seeds if data == "world32"}
    assert methods >= {"unit", "cyclegan", "cyclegan_noise", "bicyclegan", "munit"} and len(methods) >= 8
    assert all(len(found) >= 3 for (data, _), found in seeds.items() if data == "world32")
    expected = {(one.method, one.metric) for one in plan.expectations if one.data == "world32"}
    assert expected >= {(method, number) for method in methods for number in ("diversity_ratio", "class_accuracy")}
