"""The study of what style encoders learn (tools/study_style_factors.py): its measurement, its page, its claims."""

from __future__ import annotations

import pytest
import torch

from munit_lite.evaluation.attribute_predictors import labeled_images
from munit_lite.presets import preset
from munit_lite.world import World, style_from_code
from tools.study_style_factors import PAGE, PUBLISHED, SETTINGS, page, read_study, reconstruction_correlation

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


def test_the_page_is_that_of_the_results():
    assert PAGE.read_text() == page(read_study())


def test_the_page_claims_what_the_results_say():
    study = read_study()
    assert set(study) == {*SETTINGS, *PUBLISHED}
    for seed, plain in study["recipe"].items():
        light = "example_light_error"
        for name in ("detached", "cycle loss", "detached, cycle loss"):
            assert study[name][seed][TO_PAINTING][light] < plain[TO_PAINTING][light], (name, seed)
        strong = study["detached, style weight 5"][seed][TO_PAINTING][light]
        assert strong > study["detached"][seed][TO_PAINTING][light]
        assert study["detached, style weight 5"][seed][TO_PAINTING]["class_accuracy"] < 0.95
    for name, runs in study.items():
        for run in runs.values():
            assert run[TO_SKETCH]["line_width_ink_correlation"] < -0.1, name
            assert run[TO_PAINTING]["example_light_error"] < 0.3 and run[TO_SKETCH]["style_in_content_light_r2"] > 0.6
            assert max(run[TO_PAINTING][f"example_{hue}_hue_error"] for hue in ("foreground", "background")) < 0.1
            assert run[TO_SKETCH]["example_paper_error"] < 0.1, name
        reconstructed = [run[TO_SKETCH]["reconstructed_line_width_ink_correlation"] for run in runs.values()]
        assert sum(reconstructed) / len(reconstructed) < -0.1, name
