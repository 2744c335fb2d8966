"""Edges and photos: translators that know the true photo, and what they make of it."""

import numpy as np
import pytest
import torch

from munit_lite.data.base import HeldOut
from munit_lite.data.fashion import FashionData, edge_drawing
from munit_lite.data.image_files import uint8_to_float
from munit_lite.evaluation import evaluate as evaluation
from munit_lite.evaluation.fashion_metrics import edge_agreement, fashion_metrics
from munit_lite.methods import build
from munit_lite.presets import preset

pytestmark = pytest.mark.numerical


def boxes(count, seed=0, first=2, last=9):
    """Photos of one dark box each, (count, 3, 32, 32) uint8."""
    photos, rng = torch.full((count, 3, 32, 32), 255, dtype=torch.uint8), np.random.default_rng(seed)
    for photo in photos:
        top, left, height, width = rng.integers([first, first, 8, 8], [last, last, 16, 16])
        photo[:, top : top + height, left : left + width] = int(rng.integers(20, 150))
    return photos


def test_edges_that_agree_give_one_and_edges_apart_give_zero():
    photos = boxes(5)
    drawings = uint8_to_float(edge_drawing(photos))
    assert torch.equal(edge_agreement(uint8_to_float(photos), drawings), torch.ones(5))
    apart = torch.ones(5, 3, 32, 32)
    apart[:, :, :, -1] = -1
    assert torch.equal(edge_agreement(uint8_to_float(photos), apart), torch.zeros(5))
    assert torch.equal(edge_agreement(uint8_to_float(photos), torch.ones(5, 3, 32, 32)), torch.zeros(5))


def test_a_shift_of_one_pixel_is_within_the_tolerance_and_two_are_not():
    photos = boxes(5)
    drawings = uint8_to_float(edge_drawing(photos))
    assert torch.equal(edge_agreement(uint8_to_float(photos), drawings.roll(1, 3)), torch.ones(5))
    assert edge_agreement(uint8_to_float(photos), drawings.roll(1, 3), tolerance=0).max() < 0.8
    assert edge_agreement(uint8_to_float(photos), drawings.roll(2, 3)).max() < 0.9


def test_edges_that_are_half_there_have_the_f1_of_their_precision_and_recall():
    one = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    one[:, :, 10:22, 4:12] = 30
    both = torch.minimum(one, one.roll(16, 3))  # a second box of the same size
    found = edge_agreement(uint8_to_float(one), uint8_to_float(edge_drawing(both)))
    assert found.item() == pytest.approx(2 / 3)  # precision 1, recall 1/2
    swapped = edge_agreement(uint8_to_float(both), uint8_to_float(edge_drawing(one)))
    assert swapped.item() == pytest.approx(2 / 3)


def photo_data(photos, labels):
    """Held-out pairs without files."""
    data = FashionData.__new__(FashionData)
    data.held_out, data.test_labels = HeldOut(edge_drawing(photos), photos, paired=True), torch.tensor(labels)
    return data


PHOTOS = boxes(40)
DATA = photo_data(PHOTOS, [8, 9] * 20)


class Photographer:
    """A translator of drawings that knows the true photo; `paint` makes of it what it returns."""

    def __init__(self, paint):
        self.paint = paint
        drawings, photos, _ = DATA.test(40)
        self.photo = {d.numpy().tobytes(): p for d, p in zip(drawings, photos, strict=True)}

    def sample_style(self, count, generator=None):
        return torch.rand(count, 1, generator=generator)

    def translate(self, images, source, target, style=None):
        assert (source, target) == (1, 2)
        return self.paint(torch.stack([self.photo[image.numpy().tobytes()] for image in images]), style)


def test_a_translator_that_copies_the_true_photo_is_perfect_and_not_diverse():
    found = fashion_metrics(Photographer(lambda photos, style: photos), DATA, 40, seed=0)
    assert (
        found["best_of_10_distance"] == 0 and found["improvement_over_random_photos"] == 1 and found["diversity"] == 0
    )
    assert found["edge_agreement"] == found["edge_agreement_true_photos"] == pytest.approx(1)
    assert found["edge_agreement_shuffled_drawings"] < 0.6
    assert (
        found["random_photo_distance"] > found["best_of_10_photos_distance"] > 0.02
        and found["drawings"] == 40
        and found["styles_per_input"] == 10
    )


def test_photos_of_the_class_that_know_nothing_of_the_drawing_are_no_better_than_their_like():
    def another(photos, style):
        labels = dict(zip((p.numpy().tobytes() for p in DATA.test(40)[1]), DATA.test_labels.tolist(), strict=True))
        same = {c: DATA.test(40)[1][DATA.test_labels == c] for c in (8, 9)}
        return torch.stack([
            same[labels[photo.numpy().tobytes()]][int(20 * u)] for photo, u in zip(photos, style[:, 0], strict=True)
        ])  # fmt: skip

    found = fashion_metrics(Photographer(another), DATA, 40, seed=0)  # one in twenty is the true photo itself
    assert (
        abs(found["improvement_over_random_photos"])
        < 0.5
        < 1 - found["best_of_10_distance"] / found["random_photo_distance"]
    )


def test_a_constant_translator_has_no_diversity_and_the_distance_to_its_constant():
    found = fashion_metrics(Photographer(lambda photos, style: torch.zeros_like(photos)), DATA, 40, seed=0)
    expected = (PHOTOS.double() / 255 - 0.5).abs().mean().item()
    assert found["diversity"] == 0 and found["edge_agreement"] == 0
    assert found["best_of_10_distance"] == pytest.approx(expected, abs=1e-5)


def test_the_best_of_k_is_the_nearest_and_diversity_the_mean_difference():
    def one_right(photos, style):
        right = torch.arange(len(photos)) % 4 == 3
        return torch.where(right[:, None, None, None], photos, torch.ones_like(photos))

    found = fashion_metrics(Photographer(one_right), DATA, 40, seed=0, styles_per_input=4)
    assert found["best_of_4_distance"] == 0
    to_white = (1 - PHOTOS.double() / 255).mean().item()  # between the right output and each of three white ones
    assert found["diversity"] == pytest.approx(to_white * 3 / 6, rel=1e-4)
    tones = fashion_metrics(
        Photographer(lambda photos, u: (2 * u - 1)[:, :, None, None] + 0 * photos), DATA, 40, seed=0
    )
    assert tones["diversity"] == pytest.approx(1 / 3, abs=0.06)  # of two uniform numbers


def test_the_random_photo_is_another_one_of_the_same_class():
    tones = torch.tensor([20, 200]).repeat(20) + torch.arange(40) // 2 % 2  # two tones a class, one level apart
    photos = tones.byte()[:, None, None, None].expand(40, 3, 32, 32).contiguous()
    data = photo_data(photos, [8, 9] * 20)
    constant = Photographer(lambda photos, style: photos)
    constant.photo = {d.numpy().tobytes(): p for d, p in zip(*data.test(40)[:2], strict=True)}
    found = fashion_metrics(constant, data, 40, seed=0)
    assert 0 < found["random_photo_distance"] < 1.01 / 255
    with pytest.raises(ValueError, match="only one of 5 photos is of class 9: increase the count"):
        fashion_metrics(constant, photo_data(photos[:5], [8, 8, 9, 8, 8]), 5, seed=0)


def test_evaluate_measures_a_model_of_photos(monkeypatch):
    monkeypatch.setattr(evaluation, "open_data", lambda config: DATA)
    model = build(
        preset("fashion32", base_channels=4, mlp_width=8, discriminator_base_channels=4, num_residual_blocks=1)
    )
    numbers = evaluation.evaluate(model, count=25)
    assert list(numbers) == ["drawing to photo"] and numbers["drawing to photo"]["drawings"] == 25
