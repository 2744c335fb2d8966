"""The page about the tuning of the recipe: its figure has a row for each repeated setting, and it claims what the log
says."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from munit_lite.experiments.recipe_tables import setting_without
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.presets import DEVIATIONS, preset
from munit_lite.world import DIRECTIONS, SHAPE_NAMES
from tools import tuning_page
from tools.laboratory_page import converged_in_groups, shortfalls
from tools.page_figures import read_digest
from tools.tune_recipe import LOG, SETTINGS
from tools.tuning_page import DECISIVE, FIGURE, OTHERS, PAGE, reliable, repeated, rows_of, runs_of

FILE = read_results_file(LOG)
RUNS = runs_of(FILE["numbers"])


def end(accuracy, diversity):
    """The last measurement of a run, with a second direction that is better in both metrics."""
    worse = {"class_accuracy": accuracy, "relabeled_accuracy": accuracy, "diversity_ratio": diversity}
    better = dict.fromkeys(worse, 1.0)
    first, second = DIRECTIONS.values()
    return {first: worse | {"cpu_minutes": 1.0}, second: better | {"cpu_minutes": 1.0}}


SMALL = {
    "baseline, 500 steps": {"100": {"500": end(0.1, 0.1)}},
    "style_weight_0.1, 2,500 steps": {"100": {"2500": end(0.5, 0.9)}},
    "content_weight_5, 2,500 steps": {"100": {"2500": end(0.7, 0.9)}},
    "baseline, 2,500 steps": {"100": {"1000": end(1.0, 1.0), "2500": end(0.4, 0.8)}, "101": {"2500": end(0.96, 0.91)}},
    "recipe, 2,500 steps": {"100": {"2500": end(0.96, 0.95)}, "101": {"2500": end(0.99, 0.91)}},
}


def test_the_page_and_its_figure_are_those_of_the_committed_log():
    page = tuning_page.page(FILE["numbers"], FILE["provenance"]["settings"]["runs"])
    assert PAGE.read_text() == page, "run: python -m tools.tuning_page"
    assert read_digest(FIGURE) == tuning_page.digest(FILE["numbers"]), "run: python -m tools.tuning_page"


def test_the_figure_shows_every_setting_with_several_seeds_once():
    shown = [(row.runs[0].setting, row.runs[0].steps) for row in rows_of(RUNS)]
    assert sorted(shown) == sorted(repeated(RUNS))
    assert all(len(row.runs) == 2 for row in rows_of(RUNS)), "the caption speaks of two seeds"


def test_every_run_is_in_the_table():
    page = PAGE.read_text()
    for name, seeds in FILE["numbers"].items():
        setting, steps = name.rsplit(", ", 1)
        row = f"| {steps.removesuffix(' steps')} | {', '.join(seeds)} |"
        assert any(row in line and line.endswith(f"| {setting.replace('_', '_<wbr>')} |") for line in page.splitlines())
    assert not [setting for setting in SETTINGS if "_" in setting and setting in page.replace(".json", "")]


def test_a_run_is_its_last_step_in_the_worse_direction():
    by_name = {(run.setting, run.seed, run.steps): run for run in runs_of(SMALL)}
    run = by_name["baseline", "100", 2500]
    assert (run.class_accuracy, run.diversity_ratio, run.meets_both) == (0.4, 0.8, False)
    assert by_name["baseline", "101", 2500].meets_both


def test_the_rows_of_the_figure_are_grouped_and_their_seeds_sorted():
    baseline, chosen = rows_of(reversed(runs_of(SMALL)))
    assert (baseline.group, baseline.label) == ("Two discriminator updates", "baseline")
    assert [(run.seed, run.steps) for run in baseline.runs] == [("100", 2500), ("101", 2500)]
    assert chosen.label == "statistics over eight: chosen recipe"


def test_the_deviations_are_sorted_by_effect_and_compared_with_the_recipe_of_the_same_seed():
    lines = tuning_page.deviations_by_effect(RUNS).splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (recipe,) = [run for run in RUNS if (run.setting, run.seed) == ("recipe", "102")]
    assert rows[0][2:4] == [f"{recipe.class_accuracy:.2f}", f"{recipe.diversity_ratio:.2f}"]
    assert [float(row[2]) for row in rows[1:]] == sorted(float(row[2]) for row in rows[1:])
    assert [row[0].startswith("**") for row in rows[1:]] == [True] * len(DECISIVE) + [False] * len(OTHERS)
    assert rows[4][:2] == ["**batch size**", "1 → 16"]


def test_a_setting_is_reliable_if_every_one_of_several_seeds_meets_both_criteria():
    assert set(repeated(runs_of(SMALL))) == {("baseline", 2500), ("recipe", 2500)}
    assert reliable(runs_of(SMALL)) == [("recipe", 2500)]


def test_the_figure_knows_its_data():
    image = Image.open(io.BytesIO(tuning_page.tuning_figure(SMALL)))
    assert image.info["digest"] == tuning_page.digest(SMALL)
    changed = SMALL | {"recipe, 2,500 steps": {"100": {"2500": end(0.95, 0.95)}}}
    assert tuning_page.digest(changed) != tuning_page.digest(SMALL) != tuning_page.digest({})


# ----------------------------------------------------------------------- what the page says in words, not in numbers


def metric(name, *settings, steps=None):
    return [getattr(run, name) for run in RUNS if run.setting in settings and steps in (None, run.steps)]


def test_the_chosen_recipe_is_the_fastest_of_the_settings_that_meet_both_criteria_with_both_seeds():
    found = reliable(RUNS)
    other, recipe = sorted(found)
    assert recipe == ("recipe", 2500) and other[0] == "constant_rate_std_group_4"
    assert preset("laboratory").batch_size * recipe[1] < 8 * other[1], "the title: fewer training images"


def test_one_update_keeps_more_classes_than_two_and_long_runs_lose_diversity():
    two, one = (metric("class_accuracy", name, steps=2500) for name in ("baseline", "one_update"))
    assert max(two) < min(one) < min(metric("class_accuracy", "one_update", steps=8000))
    short, long = (metric("diversity_ratio", "one_update", steps=steps) for steps in (2500, 8000))
    assert max(long) < min(short)
    assert max(long) < min(metric("diversity_ratio", "one_update_constant_rate", "constant_rate_std_group_4"))


def test_minibatch_statistics_make_no_clear_difference_to_the_recipe():
    without = metric("diversity_ratio", setting_without("minibatch statistics"))
    assert min(without) > min(metric("diversity_ratio", "recipe"))


def test_the_decisive_deviations_are_those_without_which_the_class_accuracy_misses_its_criterion():
    accuracy = {name: metric("class_accuracy", setting_without(name)) for name in DEVIATIONS}
    missing = {name for name, values in accuracy.items() if not values}
    assert missing == {"small networks", "discriminator scale"} == set(DEVIATIONS) - {*DECISIVE, *OTHERS}
    assert set(DECISIVE) == {name for name, values in accuracy.items() if values and max(values) < 0.95}
    assert [name for name in DECISIVE if accuracy[name][0] > 0.5] == ["Adam"]


def test_the_loss_of_the_classes_is_larger_than_any_difference_between_seeds():
    (recipe,) = [run for run in RUNS if (run.setting, run.seed) == ("recipe", "102")]
    drops = [recipe.class_accuracy - metric("class_accuracy", setting_without(n))[0] for n in DECISIVE if n != "Adam"]
    values = [[run.class_accuracy for run in group] for group in repeated(RUNS).values()]
    assert min(drops) > max(max(v) - min(v) for v in values)


def test_the_baseline_has_the_values_of_the_chosen_recipe_but_for_those_that_the_page_lists():
    recipe = preset("laboratory")
    baseline = preset("world32", **SETTINGS["baseline"].fields)
    optimizer = {"discriminator_updates": 2, "schedule": "cosine", "decay_every": baseline.optimizer.decay_every}
    changed = {
        "network": replace(recipe.network, minibatch_std_group=0),
        "loss": replace(recipe.loss, r1_weight=0.02),
        "optimizer": replace(recipe.optimizer, **optimizer),
    }
    assert {name: getattr(baseline, name) for name in changed} == changed
    assert (baseline.batch_size, recipe.batch_size, baseline.data) == (8, 16, recipe.data)


def test_the_runs_that_lack_diversity_are_among_the_seeds_that_were_never_used():
    counts = converged_in_groups(read_results("laboratory")["laboratory"]["munit"])
    assert counts == {"0 to 4": (5, 5), "5 to 9": (3, 5)}


def test_the_shipped_model_with_the_cycle_loss_learns_the_rings():
    assert all(numbers["class_accuracy"] > 0.99 for numbers in read_results("style_factors")["world32"]["0"].values())


def test_the_other_deviations_differ_from_the_recipe_by_less_than_two_seeds_do():
    for name in ("class_accuracy", "diversity_ratio"):
        values = [[getattr(run, name) for run in group] for group in repeated(RUNS).values()]
        assert tuning_page._largest_change(FILE["numbers"], name, 2500) < max(max(v) - min(v) for v in values)


@pytest.mark.parametrize("setting", ["style_weight_0.1", "style_weight_0.3", "image_weight_3", "content_weight_5"])
def test_no_other_loss_weight_raises_the_class_accuracy_of_the_baseline(setting):
    assert max(metric("class_accuracy", setting)) < max(metric("class_accuracy", "baseline", steps=2500))


def test_most_runs_with_one_update_keep_the_class_as_the_figure_says():
    groups = {row.group: [] for row in rows_of(RUNS)}
    for row in rows_of(RUNS):
        groups[row.group] += row.runs
    two = groups.pop("Two discriminator updates")
    one = [run for group in groups.values() for run in group]
    assert max(run.class_accuracy for run in two) < 0.95
    assert sum(run.class_accuracy >= 0.95 for run in one) > len(one) / 2


def test_batches_of_16_images_change_the_diversity_by_less_than_the_seeds_do():
    small, large = (
        {run.seed: run.diversity_ratio for run in RUNS if run.setting == name}
        for name in ("halved_rate_std_group_4_r1_0.05", "batch_16")
    )
    changes = [abs(large[seed] - small[seed]) for seed in small]
    assert max(changes) < abs(large["102"] - large["103"]) and max(changes) < abs(small["102"] - small["103"])


def test_seeds_that_were_not_tuned_lack_diversity_if_anything():
    for run in read_results("laboratory")["laboratory"]["munit"].values():
        assert all("diversity" in words for words in shortfalls(run))


def test_the_cycle_loss_does_not_keep_rings_from_becoming_discs_at_32_px():
    (run,) = FILE["numbers"]["constant_rate_32_cycle, 4,000 steps"].values()
    confusion = run["4000"]["sketch to painting"]["confusion"]
    disc, ring = (SHAPE_NAMES.index(name) for name in ("disc", "ring"))
    assert confusion[ring][disc] == sum(confusion[ring]) > 0


def test_other_discriminators_keep_the_class():
    assert min(metric("class_accuracy", *tuning_page.DISCRIMINATORS)) >= 0.95
