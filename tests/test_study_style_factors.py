"""The study of what style encoders learn: its measurement (tools/study_style_factors.py), and its page with a figure
(tools/style_factors_page.py) and its claims."""

from __future__ import annotations

import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from munit_lite.evaluation.attribute_predictors import labeled_images, load_attribute_predictor
from munit_lite.evaluation.world_metrics import labeled_batches, style_quantiles
from munit_lite.experiments.results import read_results
from munit_lite.presets import preset
from munit_lite.world import SKETCH, World, style_from_code
from tools import style_factors_page
from tools.pages import digest_of
from tools.study_style_factors import PUBLISHED, SETTINGS, read_study, reconstruction_correlation
from tools.style_factors_page import (
    EASY,
    FIGURE,
    LABELS,
    LINES_FIGURE,
    PAGE,
    REFERENCES,
    TARGET,
    TITLES,
    changes_of_lines,
    errors,
    errors_figure,
    models_table,
)

pytestmark = pytest.mark.numerical
TO_PAINTING, TO_SKETCH = "sketch to painting", "painting to sketch"


class Reconstruction:
    """Reconstruct the contents of the test images in another style than theirs."""

    def __init__(self, change):
        self.config, self.change, self.next = preset("world32"), change, 0

    def reconstruct(self, images, domain):
        index = torch.arange(self.next, self.next + len(images))
        self.next += len(images)
        true = labeled_images(World(), domain, index, 1, 32, "test", content_domain=1)
        torch.testing.assert_close(true.images, images)
        return World().render(true.content, style_from_code(self.change(true.style_code), domain), domain, 32)


def test_true_reconstructions_have_uncorrelated_factors_and_a_trade_of_two_factors_is_found():
    swap = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for change, expected in ((lambda code: code, 0.0), (lambda code: code @ swap.T, -1.0)):
        found = reconstruction_correlation(Reconstruction(change), domain=1, count=500)
        assert found["reconstructed_line_width_ink_correlation"] == pytest.approx(expected, abs=0.12)
        assert abs(found["reconstructed_line_width_paper_correlation"]) < 0.15


def test_the_page_and_its_figures_are_those_of_the_results():
    study, lines = read_study(), [round(change) for change in changes_of_lines("laboratory", 16)]
    assert PAGE.read_text() == style_factors_page.page(study), "run: python -m tools.style_factors_page"
    for path, data in {FIGURE: study, LINES_FIGURE: lines}.items():
        assert Image.open(path).info["digest"] == digest_of(data), "run: python -m tools.style_factors_page"


def test_each_panel_shows_the_errors_of_its_factor():
    study = read_study()
    figure = errors_figure(study)
    for axis, factor in zip(figure.axes, TITLES, strict=True):
        rows = [list(line.get_xdata()) for line in axis.lines if line.get_marker() == "o"]
        assert rows == [errors(study, name, factor) for name in LABELS]
    plt.close(figure)


def test_every_model_has_a_label_and_every_factor_its_direction():
    assert set(LABELS) == {*SETTINGS, *PUBLISHED}
    directions = {TO_SKETCH: ("line_width", "ink", "paper"), TO_PAINTING: ("foreground_hue", "background_hue", "light")}
    assert {factor: name for name, factors in directions.items() for factor in factors} == TARGET


def test_the_models_differ_as_their_names_say():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in models_table(read_study()).splitlines()]
    found = {row[0]: row[1:] for row in rows[2:]}
    assert found["base recipe"] == ["16 px", "2,500", "102, 103", "no", "0", "1"]
    assert found["stop-gradient, style weight 5"][3:] == ["yes", "0", "5"]
    assert found["world32 (shipped)"] == ["32 px", "8,000", "0", "no", "10", "1"]
    assert found["world64s (shipped)"][3:] == ["yes", "10", "1"]


def test_a_change_of_width_and_ink_that_keeps_the_darkness_is_less_visible():
    alike, unlike = changes_of_lines("laboratory", 16, count=50)
    assert 0 < alike < unlike / 2


def test_the_predictor_finds_hardly_any_correlation_of_width_and_ink_in_real_sketches():
    for variant, size in (("laboratory", 16), ("standard", 32), ("standard", 64)):
        predictor = load_attribute_predictor(SKETCH, variant)
        batches = labeled_batches(World(variant), SKETCH, 1000, seed=1, size=size, stream="test")
        with torch.no_grad():
            quantiles = torch.cat([style_quantiles(predictor(batch.images), SKETCH) for batch in batches])
        assert torch.corrcoef(quantiles[:, :2].T)[0, 1].abs() < 0.04


def test_the_page_claims_what_the_results_say():
    study, predictors = read_study(), read_results("attribute_predictors_laboratory").values()
    assert max(found.get(f"{factor}_error_of_range", 0) for found in predictors for factor in TITLES) < 0.04
    all_runs = [run for runs in study.values() for run in runs.values()]
    assert set(study) == {*SETTINGS, *PUBLISHED}
    for seed, plain in study["recipe"].items():
        light = "example_light_error"
        for name in ("detached", "cycle loss", "detached, cycle loss"):
            assert study[name][seed][TO_PAINTING][light] < plain[TO_PAINTING][light], (name, seed)
        strong = study["detached, style weight 5"][seed][TO_PAINTING][light]
        assert strong > study["detached"][seed][TO_PAINTING][light]
        assert study["detached, style weight 5"][seed][TO_PAINTING]["class_accuracy"] < 0.95
    goal, constant, _ = REFERENCES.values()
    assert set(EASY) == {"foreground_hue", "background_hue", "paper"}
    for factor in EASY:
        assert min(run[TARGET[factor]][f"encoded_style_{factor}_r2"] for run in all_runs) > 0.83
        assert all(error <= goal for name in study for error in errors(study, name, factor)), factor
    for factor in ("ink", "line_width"):
        assert all(error > (goal + constant) / 2 for name in study for error in errors(study, name, factor)), factor
    for name in study:
        reached = [error <= goal for error in errors(study, name, "light")]
        stopped = name in ("detached", "detached, cycle loss")
        assert all(reached) if stopped else not all(reached), name
    for name, runs in study.items():
        for run in runs.values():
            assert run[TO_SKETCH]["line_width_ink_correlation"] < -0.1, name
            assert run[TO_PAINTING]["example_light_error"] < 0.3 and run[TO_SKETCH]["style_in_content_light_r2"] > 0.6
            assert run[TO_SKETCH]["reconstructed_line_width_ink_correlation"] < 0, name
            sampled = [run[TO_SKETCH][f"sampled_style_{factor}_r2"] for factor in ("line_width", "ink")]
            encoded = [run[TO_SKETCH][f"encoded_style_{factor}_r2"] for factor in ("line_width", "ink")]
            assert max(encoded) < 0.55 and min(sampled) > max(encoded) + 0.1, name
    assert {round(run[TO_SKETCH]["class_accuracy"], 2) for run in study["detached"].values()} <= {0.99, 1.0}
    widths = [errors(study, name, "line_width")[0] for name in PUBLISHED]
    assert abs(widths[0] - widths[1]) < 0.005
    assert min(errors(study, "cycle loss", "light")) <= goal < max(errors(study, "cycle loss", "light"))
