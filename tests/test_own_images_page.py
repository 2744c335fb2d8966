"""The page about users' own images says what the results say."""

from __future__ import annotations

import pytest
from PIL import Image

from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.translation_warnings import warn_of_size
from tools.measure_own_images import SHIFTS
from tools.own_images_page import FLICKER_FIGURE, MODELS, PAGE, SIZES_FIGURE, cell, flicker, page, sizes_shown
from tools.pages import digest_of


def test_the_page_is_what_the_results_give():
    assert PAGE.read_text() == page(), "run: python -m tools.own_images_page"


def test_the_figures_show_the_results():
    for path, data in {FLICKER_FIGURE: read_results("video_flicker"), SIZES_FIGURE: sizes_shown()}.items():
        assert Image.open(path).info["digest"] == digest_of(data), "run: python -m tools.own_images_page"


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (0.5, 0.04, "0.50 ± 0.04"),
        (1.0, 0.0, "> 0.99"),
        (0.0, 0.0, "< 0.01"),
        (0.996, 0.006, "> 0.98"),
        (0.98, 0.01, "0.98 ± 0.01"),
    ],
)
def test_a_share_of_none_or_of_all_is_printed_as_a_bound(value: float, half_width: float, text: str):
    assert cell({"1 to 2": {"x": value, "x_interval": half_width}}, "x") == text


def worse_factors(sizes, metric, sign=1):
    """The factors at which a metric is worse than at factor 1 by more than both half-widths together."""
    found = {factor: mean_over_directions(metrics, metric) for factor, metrics in sizes.items()}
    value, half_width = found["1"]
    return [factor for factor, (v, h) in found.items() if sign * (value - v) > half_width + h]


def test_the_page_claims_of_other_sizes_what_the_results_say():
    sizes = read_results("other_sizes")
    for metric, sign in (("class_accuracy", 1), ("example_error", -1)):
        assert worse_factors(sizes["world32"], metric, sign) == ["0.5", "0.75", "1.5", "2", "4"]
        warned = [factor for factor in sizes["world32"] if warn_of_size([round(32 * float(factor))], 32)]
        assert warned == worse_factors(sizes["world32"], metric, sign)  # `translate` warns of just these
    assert worse_factors(sizes["apples2citrus"], "classified_as_target") == []
    to_painting, to_sketch = sizes["world32"]["2"].values()
    assert to_painting["class_accuracy"] < 0.5 < 0.99 < to_sketch["class_accuracy"]
    assert 0.25 < to_sketch["example_error"] < 1 / 3
    own_errors = [m["painting to sketch"]["true_style_error"] for m in sizes["world32"].values()]
    assert own_errors[0] == max(own_errors) > 3 * own_errors[2]
    fruit = read_results("apples2citrus")["domain 1 to domain 2"]
    assert max(fruit["Lemon_fraction"], fruit["Lime_fraction"]) < 0.1 < 1 / 5 < fruit["Satsumas_fraction"]


def test_the_page_claims_of_the_scale_what_the_results_say():
    measured, few = read_results("train_test_scale"), read_results("few_images")
    for metrics in measured["apples2citrus"].values():
        for name in ("classified_as_target", "distinct_varieties"):
            assert abs(metrics[f"{name}_difference"]) < metrics[f"{name}_difference_interval"]
        assert -metrics["cycle_error_difference"] > metrics["cycle_error_difference_interval"]
        ratios = [metrics[f"{n}_at_training_scale"] / metrics[f"{n}_at_size"] for n in ("input_detail", "cycle_error")]
        assert ratios[0] < ratios[1] < 1  # the inputs lose more detail than the round trip gains
    for metrics in few["100 images"].values():
        assert metrics["class_accuracy_difference"] > metrics["class_accuracy_difference_interval"]


def test_the_page_claims_of_few_images_what_the_results_say():
    few = read_results("few_images")
    for name in ("5 images", "17 images"):
        for metrics in few[name].values():
            assert metrics["class_accuracy"] - metrics["class_accuracy_shuffled_contents"] < 0.06
            assert metrics["held_out_images_accepted"] < 0.01 < 0.8 < metrics["training_images_accepted"]
    accuracy, ratios = (
        [mean_over_directions(m, name)[0] for m in few.values()] for name in ("class_accuracy", "diversity_ratio")
    )
    assert accuracy[2] > 2.5 * max(accuracy[:2]) and max(ratios) - min(ratios) < 0.06


def test_the_page_claims_of_flicker_what_the_results_say():
    video = read_results_file("video_flicker")
    frames, strides = video["numbers"], video["provenance"]["settings"]["strides"]
    for model in MODELS:
        by_shift = {shift: flicker(frames, model, shift)[0] for shift in SHIFTS}
        multiples = [shift for shift in SHIFTS if shift % strides[model] == 0]
        for shift in multiples:
            assert by_shift[shift] < min(by_shift[k] for k in (shift - 1, shift + 1) if k in by_shift)
        on_multiples = [by_shift[shift] for shift in multiples]
        assert on_multiples == sorted(on_multiples)  # flicker grows with the shift
        wide = f"{model}, wide frame"
        assert wide not in frames or all((flicker(frames, wide, k)[0] < 1e-3) == (k in multiples) for k in SHIFTS)
        part = by_shift[1] / flicker(frames, model, "references", "new_style")[0]
        assert 0.4 < part < 0.5 if model == "apples2citrus" else part < 0.1
    assert flicker(frames, "world32", 8) > flicker(frames, "world32", 1)
