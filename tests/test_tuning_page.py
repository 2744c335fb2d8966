"""The page about the tuning of the recipe shows each repeated setting, and claims in words what the log says."""

from dataclasses import replace

import pytest
from PIL import Image

from munit_lite.experiments.recipe_tables import setting_without
from munit_lite.experiments.results import read_results
from munit_lite.presets import DEVIATIONS, preset
from munit_lite.world import DIRECTIONS
from tools import tuning_page
from tools.laboratory_page import CRITERIA, NEW_SEEDS, OLD_SEEDS, converged
from tools.pages import digest_of
from tools.tune_recipe import BASES, ROWS, SETTINGS, read_log
from tools.tuning_page import LOST, OTHERS, PAGE, count_good, worse_ends

LOG, RUNS = read_log()
ACCURACY, DIVERSITY = worse_ends(LOG).values()
REPEATED = [name for name, seeds in LOG.items() if len(seeds) > 1]
PAPER = {name: f"{setting_without(name)}, 2,500 steps" for name in DEVIATIONS}


def end(accuracy, diversity):
    """The last measurement of a run, with a second direction that is better in both metrics."""
    worse = {"class_accuracy": accuracy, "diversity_ratio": diversity}
    return dict(zip(DIRECTIONS.values(), (worse, dict.fromkeys(worse, 1.0)), strict=True))


SMALL = {"baseline, 2,500 steps": {"101": {"2500": end(0.96, 0.91)}, "100": {"1000": end(1, 1), "2500": end(0.4, 0.8)}}}


def test_the_page_and_its_figure_are_those_of_the_committed_log():
    assert PAGE.read_text() == tuning_page.page(LOG, RUNS), "run: python -m tools.tuning_page"
    assert Image.open(tuning_page.FIGURE).info["digest"] == digest_of(LOG), "run: python -m tools.tuning_page"


def test_the_figure_has_a_row_for_each_setting_with_several_seeds():
    assert sorted(name for labels in ROWS.values() for name in labels) == sorted(REPEATED)
    assert all(len(LOG[name]) == 2 for name in REPEATED), "the caption speaks of two seeds"
    left, right = tuning_page.tuning_figure(LOG).axes
    shown = {tuple(line.get_xdata()) for line in left.lines if line.get_marker() == "o"} - {()}
    assert shown == {tuple(ACCURACY[name]) for name in REPEATED}
    assert [text.get_text() for text in left.get_yticklabels()][:2] == ["Two discriminator updates", "baseline"]
    assert [text.get_text() for text in right.get_yticklabels()][:2] == ["", "2,500 steps"]


def test_every_run_is_in_the_table():
    page = PAGE.read_text()
    for name, seeds in LOG.items():
        setting, steps = name.rsplit(", ", 1)
        row = f"| {steps.removesuffix(' steps')} | {', '.join(seeds)} |"
        assert any(row in line and line.endswith(f"| {setting.replace('_', '_<wbr>')} |") for line in page.splitlines())
    assert not [setting for setting in SETTINGS if "_" in setting and setting in page.replace(".json", "")]


def test_a_run_is_its_last_step_in_the_worse_direction():
    assert [values["baseline, 2,500 steps"] for values in worse_ends(SMALL).values()] == [[0.4, 0.96], [0.8, 0.91]]
    assert count_good(SMALL, "baseline, 2,500 steps") == 1


def test_the_deviations_are_sorted_by_effect_and_compared_with_the_recipe_of_the_same_seed():
    rows = [line.strip("|").split("|") for line in tuning_page.sorted_deviations(LOG).splitlines()[2:]]
    assert [float(cell) for cell in rows[0][4:6]] == [
        round(values["recipe, 2,500 steps"][0], 2) for values in (ACCURACY, DIVERSITY)
    ]
    measured = [float(row[4]) for row in rows[1:-2]]
    assert measured == sorted(measured) and {row[0].strip() for row in rows[1:5]} == set(LOST)
    assert {row[0].strip() for row in rows[-2:]} == {"small networks", "discriminator scale"}
    assert all(row[3].strip() == "102" for row in rows[:-2])


# ----------------------------------------------------------------------- what the page says in words, not in numbers


def values(metric, *names):
    return [value for name in names for value in metric[name]]


def spread(metric):
    return max(max(metric[name]) - min(metric[name]) for name in REPEATED)


def test_the_chosen_recipe_is_the_fastest_of_the_two_that_meet_both_criteria_with_both_seeds():
    good = [name for name in REPEATED if count_good(LOG, name) == 2]
    assert sorted(good) == ["constant_rate_std_group_4, 8,000 steps", "recipe, 2,500 steps"]
    assert preset("laboratory").batch_size * 2500 < 8 * 8000, "the title: fewer training images"


def test_one_update_keeps_more_classes_than_two_and_long_runs_lose_diversity():
    short, long = "one_update, 2,500 steps", "one_update, 8,000 steps"
    assert max(ACCURACY["baseline, 2,500 steps"]) < min(ACCURACY[short]) < min(ACCURACY[long])
    others = ("one_update_constant_rate, 5,000 steps", "constant_rate_std_group_4, 8,000 steps", short)
    assert max(DIVERSITY[long]) < min(values(DIVERSITY, *others))
    two, *groups = (values(ACCURACY, *labels) for labels in ROWS.values())
    one = [value for group in groups for value in group]
    assert max(two) < 0.95 and sum(value >= 0.95 for value in one) > len(one) / 2


def test_the_deviations_have_the_effects_that_the_page_says():
    assert {name for name in DEVIATIONS if PAPER[name] not in LOG} == {"small networks", "discriminator scale"}
    assert len(OTHERS) == 8 and all(list(LOG[PAPER[name]]) == ["102"] for name in (*LOST, "Adam", *OTHERS))
    assert max(values(ACCURACY, *(PAPER[name] for name in LOST))) < 0.5 < ACCURACY[PAPER["Adam"]][0] < 0.95
    assert min(values(ACCURACY, *(PAPER[name] for name in OTHERS))) >= 0.95
    assert [name for name in OTHERS if DIVERSITY[PAPER[name]][0] < 0.9] == ["style dimension"]
    recipe = {id(metric): metric["recipe, 2,500 steps"][0] for metric in (ACCURACY, DIVERSITY)}  # with seed 102
    assert recipe[id(ACCURACY)] - max(values(ACCURACY, *(PAPER[name] for name in LOST))) > spread(ACCURACY)
    for metric in (ACCURACY, DIVERSITY):
        assert max(abs(metric[PAPER[name]][0] - recipe[id(metric)]) for name in OTHERS) < spread(metric)
    assert DIVERSITY[PAPER["minibatch statistics"]][0] > min(DIVERSITY["recipe, 2,500 steps"])


def test_the_baseline_has_the_values_of_the_chosen_recipe_but_for_those_that_the_page_lists():
    recipe, baseline = preset("laboratory"), preset("world32", **SETTINGS["baseline"].fields)
    optimizer = {"discriminator_updates": 2, "schedule": "cosine", "decay_every": baseline.optimizer.decay_every}
    changed = {
        "network": replace(recipe.network, minibatch_std_group=0),
        "loss": replace(recipe.loss, r1_weight=0.02),
        "optimizer": replace(recipe.optimizer, **optimizer),
    }
    assert {name: getattr(baseline, name) for name in changed} == changed
    assert (baseline.batch_size, recipe.batch_size, baseline.data) == (8, 16, recipe.data)


def test_the_runs_that_lack_diversity_are_two_with_seeds_that_were_never_used():
    munit = read_results("laboratory")["laboratory"]["munit"]
    assert (converged(munit, OLD_SEEDS), converged(munit, NEW_SEEDS), len(munit)) == (5, 3, 10)
    lacks = {
        m
        for run in munit.values()
        for way in DIRECTIONS.values()
        for m in CRITERIA
        if run["quality"][-1][way][m] < CRITERIA[m]
    }
    assert lacks == {"diversity_ratio"}


def test_the_shipped_model_with_the_cycle_loss_learns_the_rings():
    assert all(numbers["class_accuracy"] > 0.99 for numbers in read_results("style_factors")["world32"]["0"].values())


@pytest.mark.parametrize("setting", ["style_weight_0.1", "style_weight_0.3", "image_weight_3", "content_weight_5"])
def test_no_other_loss_weight_raises_the_class_accuracy_of_the_baseline(setting):
    assert max(ACCURACY[f"{setting}, 2,500 steps"]) < max(ACCURACY["baseline, 2,500 steps"])


def test_batches_of_16_images_change_the_diversity_by_less_than_the_seeds_do():
    small, large = DIVERSITY["halved_rate_std_group_4_r1_0.05, 5,000 steps"], DIVERSITY["batch_16, 2,500 steps"]
    change = max(abs(a - b) for a, b in zip(small, large, strict=True))
    assert change < min(max(small) - min(small), max(large) - min(large))


def test_other_discriminators_make_no_clear_difference():
    def rest(fields):
        free = ("r1_weight", "discriminator_base_channels", "schedule", "decay_every")
        return {name: value for name, value in fields.items() if name not in free}

    base, found = BASES["one update"], {True: [], False: []}
    for name in LOG:
        setting, _, steps = name.rpartition(", ")
        fields, changes = SETTINGS[setting].fields, SETTINGS[setting].code_changes
        if rest(fields) == rest(base) and not changes and steps != "2,500 steps":
            usual = all(fields[key] == base[key] for key in ("r1_weight", "discriminator_base_channels"))
            found[usual].append(name)
    counts = {
        usual: (sum(count_good(LOG, name) for name in names), sum(len(LOG[name]) for name in names))
        for usual, names in found.items()
    }
    assert counts == {False: (1, 8), True: (1, 5)} and min(values(ACCURACY, *found[False])) >= 0.95
