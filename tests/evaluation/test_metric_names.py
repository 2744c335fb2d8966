"""Old metric names are read as the current ones, and nothing in the repository is written under old names."""

import json
import re
from pathlib import Path

import pytest

from munit_lite.evaluation.metric_names import (
    OLD_METRIC_NAMES,
    current_metric_name,
    current_reasons,
    with_current_metric_names,
    with_current_names,
)
from munit_lite.experiments.claims import Expectation
from munit_lite.experiments.results import read_results
from munit_lite.paths import RESULTS_DIR
from munit_lite.theory.propositions import CHECKS

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluate.json"


@pytest.mark.parametrize(
    ("old", "current"),
    [
        ("diversity_of_true_on_translations_interval", "diversity_ratio_on_translations_interval"),
        ("light_spread_of_true", "light_diversity_ratio"),
        ("drawn_code_line_width_r2", "sampled_style_line_width_r2"),
        ("varieties_reached_by_photos_of_one", "modes_covered_by_photos_of_one_mode"),
        ("varieties_reached_over_inputs_one_style", "modes_covered_over_inputs_mean_style"),
        ("Red-Grapefruit_share_interval", "Red-Grapefruit_fraction_interval"),
        ("Lemon_recognised", "Lemon_recall"),
        ("share_of_data", "share_of_data"),
        ("redrawn_code_r2", "redrawn_code_r2"),
        ("edge_agreement_shuffled_drawings", "edge_agreement_shuffled_drawings"),
    ],
)
def test_words_of_old_names_are_replaced_and_other_names_are_unchanged(old, current):
    assert current_metric_name(old) == current


def test_current_names_are_not_renamed_again():
    assert [current_metric_name(new) for new in OLD_METRIC_NAMES.values()] == list(OLD_METRIC_NAMES.values())


def test_an_old_result_file_is_read_under_current_names_with_its_values():
    old, current = json.loads(GOLDEN.read_text())["numbers"], read_results(GOLDEN)
    assert old.keys() == current.keys()
    for direction, metrics in current.items():
        assert metrics["diversity_ratio"] == old[direction]["diversity_of_true"]
        assert metrics["sampled_style_r2"] == old[direction]["drawn_code_r2"]
        assert list(metrics.values()) == list(old[direction].values())


def test_old_names_of_checks_and_letters_for_their_reasons_are_read_as_words():
    old = {"minimum": {"reasons": "AR", "findings": [{"name": "style 1 recon", "reason": "R"}], "joint": "J"}}
    assert with_current_metric_names(old) == {
        "optimality": {
            "reasons": "adversarial, reconstruction",
            "findings": [{"name": "style 1 recon", "reason": "reconstruction"}],
            "joint": "J",
        }
    }
    record = {"variant": "oracle", "proposition": "cycle", "metric": "expected", "value": "H"}
    assert with_current_names(record) == record | {"proposition": "cycle_consistency", "value": "holds"}
    assert current_reasons("M?") == "marginal, undecided" and current_reasons("marginal, joint") == "marginal, joint"
    recorded = read_results("world32_propositions")
    assert tuple(recorded) == (*CHECKS, "content_preservation")
    assert recorded["optimality"]["reasons"] == "adversarial, reconstruction"


def test_an_old_expectation_is_about_the_current_metric():
    assert Expectation("world32", "munit", "drawn_code_r2", at_least=0.7).metric == "sampled_style_r2"


@pytest.mark.parametrize("file", sorted(RESULTS_DIR.glob("*.json")), ids=lambda file: file.stem)
def test_committed_results_have_current_names(file):
    names = set(re.findall(r'"([^"]+)":|"metric": "([^"]+)"', file.read_text()))
    assert names and all(current_metric_name(name) == name for pair in names for name in pair if name)
