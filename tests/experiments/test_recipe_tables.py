"""The table of deviations from the paper: its values come from the presets, its effects from the tuning log."""

from munit_lite.config import override
from munit_lite.experiments.recipe_tables import deviations_table, paper_values, setting_without, tuning_table
from munit_lite.presets import DEVIATIONS, PRESETS
from munit_lite.world import DIRECTIONS

TO_PAINTING, TO_SKETCH = DIRECTIONS.values()


def run(accuracy, diversity):
    better, worse = (
        {"class_accuracy": 1.0, "diversity_ratio": 1.0},
        {
            "class_accuracy": accuracy,
            "diversity_ratio": diversity,
        },
    )
    return {"500": {TO_PAINTING: better, TO_SKETCH: worse}}


def test_the_deviations_are_all_fields_in_which_the_recipe_departs_from_the_paper():
    """Data, lengths and logging aside: these are no part of the method."""
    paper, recipe = PRESETS["paper256"], PRESETS["laboratory"]
    fields = {name: value for deviation in DEVIATIONS.values() for name, value in deviation.fields.items()}
    restored = override(recipe, image_size=256, **{k: v for name in DEVIATIONS for k, v in paper_values(name).items()})
    assert (restored.network, restored.loss, restored.optimizer) == (paper.network, paper.loss, paper.optimizer)
    assert restored.batch_size == paper.batch_size
    for name, deviation in DEVIATIONS.items():
        assert all(paper_values(name)[field] != value for field, value in deviation.fields.items()), name
    assert len(fields) == sum(len(deviation.fields) for deviation in DEVIATIONS.values())


def test_the_table_has_the_mean_over_seeds_of_the_worse_direction():
    log = {
        "recipe, 500 steps": {"100": run(0.9, 0.8), "101": run(0.8, 0.9)},
        f"{setting_without('Adam')}, 500 steps": {"100": run(0.25, 0.5)},
    }
    log["recipe, 5,000 steps"] = {"100": run(0.1, 0.1)}  # of another length
    runs = {f"{setting_without('batch size')}, 500 steps": {"failed": {"100": 250}}}
    table = deviations_table(log, runs, steps=500)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    found = {row[0]: row for row in rows}
    assert found["(the recipe)"][-3:] == ["100, 101", "0.85", "0.85"]
    assert found["Adam"][1] == "betas (0.5, 0.999) → (0.0, 0.99)" and found["Adam"][-3:] == ["100", "0.25", "0.50"]
    assert found["batch size"][-3:] == ["100 (failed)", "–", "–"]
    assert found["learning rate"][-3:] == ["not run", "–", "–"]
    assert set(found) >= set(DEVIATIONS)


def test_the_tuning_table_has_every_setting_and_those_that_failed():
    end = {"relabeled_accuracy": 1.0, "cpu_minutes": 2.5}
    log = {"small, 500 steps": {"100": {"500": {d: r | end for d, r in run(0.9, 0.8)["500"].items()}}}}
    runs = {
        "small, 500 steps": {"failed": {"101": 250}},
        "very_large, 500 steps": {"failed": {"100": 0}},
    }
    table = tuning_table(log, runs, {"small": "fast", "very_large": "slow"})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[2] == ["fast", "500", "100, 101 (failed after step 250)", "0.90", "1.00", "0.80", "2.5", "small"]
    assert rows[3] == ["slow", "500", "100 (failed after step 0)", "", "", "", "–", "very_<wbr>large"]
