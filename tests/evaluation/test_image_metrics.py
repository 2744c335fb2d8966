"""Metrics for any images: values known by hand, and the traps that change them unseen."""

import math

import numpy as np
import pytest
import torch
from painter import Painter

from munit_lite.evaluation import image_metrics
from munit_lite.evaluation.attribute_predictors import AttributePredictor
from munit_lite.evaluation.image_metrics import (
    conditional_inception_score,
    distribution_metrics,
    lpips,
    mode_probabilities,
    output_diversity,
    perceptual_distance,
    real_diversity,
)

pytestmark = pytest.mark.numerical


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tone_distance(one, other):
    return (one - other).abs().mean((1, 2, 3))


INPUTS = torch.linspace(-1, 1, 40)[:, None, None, None].expand(-1, 3, 8, 8)


# ------------------------------------------------------------------------------------------------------- diversity


def test_diversity_is_the_mean_distance_of_two_outputs_of_one_input():
    found = output_diversity(Painter(lambda x, s: s), INPUTS, 1, tone_distance, pairs=100)
    assert found["diversity"] == pytest.approx(1 / 3, abs=0.012)  # of two independent uniform numbers
    deviation = math.sqrt(1 / 18 / 100)  # of the mean of 100 such distances, whose variance is 1/18
    assert found["diversity_interval"] == pytest.approx(1.96 * deviation / math.sqrt(40), rel=0.35)
    assert found["inputs"] == 40 and found["pairs_per_input"] == 100


def test_outputs_that_differ_between_inputs_alone_are_not_diverse():
    assert output_diversity(Painter(lambda x, s: x), INPUTS, 1, tone_distance)["diversity"] == 0


def test_both_outputs_of_a_pair_have_styles_of_their_own():
    seen = []

    def distance(one, other):
        seen.append((one[:, 0, 0, 0], other[:, 0, 0, 0]))
        return tone_distance(one, other)

    output_diversity(Painter(lambda x, s: s), INPUTS[:3], 1, distance)
    drawn = torch.cat([tone for pair in seen for tone in pair])
    assert len(seen) == 3 and len(seen[0][0]) == 19
    assert len(drawn.unique()) == 3 * 2 * 19


def test_diversity_repeats_with_its_seed():
    painter = Painter(lambda x, s: s)
    first, again, other = (output_diversity(painter, INPUTS, 1, tone_distance, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_stretching_each_output_to_its_own_range_would_change_the_number():
    def tone_of_images(stretch):
        def distance(one, other):
            if stretch:  # what save_image(normalize=True) does to each file
                one, other = (
                    (x - x.amin((1, 2, 3), True)) / (x.std((1, 2, 3), keepdim=True) + 1e-5) for x in (one, other)
                )
            return tone_distance(one, other)

        return distance

    painter = Painter(lambda x, s: s)
    assert output_diversity(painter, INPUTS, 1, tone_of_images(True))["diversity"] == 0
    assert output_diversity(painter, INPUTS, 1, tone_of_images(False))["diversity"] > 0.3


def test_real_diversity_pairs_every_image_once():
    images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8)
    found = real_diversity(images.repeat(100, 1, 1, 1), tone_distance)
    assert found["diversity"] == pytest.approx(1 / 2, abs=0.15) and found["pairs"] == 100
    halves = torch.linspace(0, 1, 7)[:, None, None, None].expand(7, 3, 8, 8)
    seen = []
    real_diversity(halves, lambda one, other: seen.extend([*one, *other]) or tone_distance(one, other))
    assert len(seen) == len({image[0, 0, 0].item() for image in seen}) == 6


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    return AttributePredictor(2).eval()


def test_perceptual_distance_is_lpips_formula_written_in_numpy(predictor):
    one, other = normal(3, 3, 32, 32), normal(3, 3, 32, 32, seed=1)
    expected = np.zeros(3)
    a, b = one, other
    with torch.no_grad():
        for layer in list(predictor.layers)[:12]:
            a, b = layer(a), layer(b)
            if isinstance(layer, torch.nn.ReLU):
                unit = [x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True).clip(1e-10) for x in (a, b)]
                expected += ((unit[0] - unit[1]) ** 2).sum(1).mean((1, 2))
    np.testing.assert_allclose(perceptual_distance(predictor)(one, other), expected, rtol=1e-4)
    assert expected.min() > 0.01


def test_perceptual_distance_is_zero_only_for_equal_images_symmetric_and_of_any_size(predictor):
    one, other = normal(2, 3, 64, 64), normal(2, 3, 64, 64, seed=1)
    distance = perceptual_distance(predictor)
    assert torch.equal(distance(one, one), torch.zeros(2))
    torch.testing.assert_close(distance(one, other), distance(other, one))
    assert distance(one, other).min() > 0


@pytest.fixture
def unloaded():
    """LPIPS whose network has not been loaded yet."""
    image_metrics._lpips_network.cache_clear()
    yield
    image_metrics._lpips_network.cache_clear()


def test_lpips_without_its_weights_says_what_to_do(monkeypatch, unloaded):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(image_metrics, "LearnedPerceptualImagePatchSimilarity", no_network)
    with pytest.raises(
        OSError, match=r"LPIPS needs the weights of AlexNet.*no route to host.*Use `perceptual_distance`"
    ):
        lpips(normal(1, 3, 64, 64), normal(1, 3, 64, 64))


def test_lpips_is_asked_for_each_pair_in_the_range_from_minus_one_and_loaded_once(monkeypatch, unloaded):
    loaded = []

    class Spy:
        def __init__(self, net_type):
            loaded.append(net_type)

        def net(self, one, other, normalize):
            assert normalize is False  # True would expect images from 0 to 1
            return (one - other).mean((1, 2, 3), keepdim=True)

    monkeypatch.setattr(image_metrics, "LearnedPerceptualImagePatchSimilarity", Spy)
    for _ in range(2):
        assert lpips(torch.ones(4, 3, 8, 8), -torch.ones(4, 3, 8, 8)).tolist() == [2.0] * 4
    assert loaded == ["alex"] and image_metrics.LPIPS_NAME.startswith("LPIPS 0.1, AlexNet, torchmetrics 1.")


@pytest.mark.slow
def test_the_network_of_lpips_is_that_of_torchmetrics_function(monkeypatch, unloaded):
    from torchmetrics.functional.image import lpips as functional

    torch.manual_seed(0)
    features = functional._get_tv_model_features("alexnet", False)  # random weights: the real ones are a download
    monkeypatch.setattr(functional, "_get_tv_model_features", lambda net, pretrained: features)
    one, other = normal(3, 3, 64, 64).clamp(-1, 1), normal(3, 3, 64, 64, seed=1).clamp(-1, 1)
    expected = functional.learned_perceptual_image_patch_similarity(one, other, net_type="alex", reduction="none")
    assert expected.min() > 0
    torch.testing.assert_close(lpips(one, other), expected)


# --------------------------------------------------------------------------------------------------- distributions


def pixels(images):
    return images.flatten(1)


def as_images(rows):
    return rows[:, :, None, None]


def test_fid_of_a_shift_is_its_squared_length_and_of_a_scale_the_squared_difference_of_deviations():
    rows = normal(400, 3, seed=2)
    shift = torch.tensor([3.0, 0.0, 4.0])
    assert distribution_metrics(as_images(rows), as_images(rows + shift), pixels)["fid"] == pytest.approx(25, rel=1e-4)
    centered = rows - rows.mean(0)
    expected = centered.double().var(0).sum().item()  # (2 sigma - sigma)^2, summed
    found = distribution_metrics(as_images(centered), as_images(2 * centered), pixels)
    assert found["fid"] == pytest.approx(expected, rel=1e-3)
    assert found["feature_dim"] == 3 and found["real_images"] == found["generated_images"] == 400


def test_fid_of_two_samples_of_one_distribution_is_above_zero_and_falls_with_their_number():
    few, many = (
        distribution_metrics(as_images(normal(n, 8, seed=1)), as_images(normal(n, 8, seed=2)), pixels)
        for n in (100, 2000)
    )
    assert few["fid"] > 5 * many["fid"] > 0
    assert abs(many["kid"]) < 0.05


def test_kid_is_the_unbiased_polynomial_mmd_written_in_numpy():
    real, generated = normal(150, 4, seed=1), normal(150, 4, seed=2) + 0.5
    found = distribution_metrics(as_images(real), as_images(generated), pixels, subset_size=150)
    x, y = real.double().numpy(), generated.double().numpy()

    def kernel(a, b):
        return (a @ b.T / 4 + 1) ** 3

    def off_diagonal(k):
        return (k.sum() - np.trace(k)) / (150 * 149)

    expected = off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()
    assert found["kid"] == pytest.approx(expected, rel=1e-4)
    assert found["kid_std"] == pytest.approx(0, abs=1e-6)


def test_one_mode_of_two_is_precise_and_half_recalled_and_images_far_away_are_neither():
    modes = torch.cat([normal(200, 2), normal(200, 2, seed=1) + 100])
    one = normal(200, 2, seed=3)
    found = distribution_metrics(as_images(modes), as_images(one), pixels)
    assert found["precision"] > 0.95 and found["recall"] == pytest.approx(0.5, abs=0.03)
    far = distribution_metrics(as_images(modes), as_images(one - 500), pixels)
    assert far["precision"] == far["recall"] == 0


def test_the_manifolds_radius_reaches_the_kth_neighbor():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    generated = torch.tensor([[3.4], [17.9], [18.1], [0.5]])
    # With k = 1 the radii are 1, 1, 1 and 8: 3.4 lies within 8 of 10, 17.9 within 8, 18.1 not, 0.5 within 1.
    found = distribution_metrics(as_images(real), as_images(generated), pixels, neighbors=1, subset_size=4)
    assert found["precision"] == 3 / 4


def test_features_see_images_as_they_are_and_kid_repeats_leaving_the_global_generator_alone():
    seen = []

    def spy(images):
        seen.append(images)
        return images.flatten(1)

    dark = 0.01 * normal(120, 3, 2, 2)
    state = torch.get_rng_state()
    first = distribution_metrics(dark, dark + 0.5, spy)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.cat(seen[:1]), dark) and torch.equal(torch.cat(seen[1:]), dark + 0.5)
    assert distribution_metrics(dark, dark + 0.5, pixels) == first


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="got 20 real and 200 generated images, but need 100 of each"):
        distribution_metrics(normal(20, 3, 1, 1), normal(200, 3, 1, 1), pixels)


# ----------------------------------------------------------------------------------------------------- CIS and IS


def one_hot(modes, count=4):
    return torch.nn.functional.one_hot(torch.tensor(modes), count).float()


def test_all_four_modes_for_every_input_have_the_largest_scores_log_four_and_not_four():
    found = conditional_inception_score(one_hot([[0, 1, 2, 3]] * 5))
    assert found["cis"] == pytest.approx(math.log(4)) and found["is"] == pytest.approx(math.log(4))
    assert found["cis"] < 1.387  # exp of it, which the original's script prints, would be 4
    assert found["modes"] == 4 and found["inputs"] == 5 and found["samples_per_input"] == 4


def test_one_mode_for_each_input_has_a_cis_of_zero_and_still_the_largest_is():
    found = conditional_inception_score(one_hot([[0] * 6, [1] * 6, [2] * 6, [3] * 6]))
    assert found["cis"] == pytest.approx(0) and found["is"] == pytest.approx(math.log(4))


def test_unsure_classifiers_and_collapsed_translators_score_zero():
    assert conditional_inception_score(torch.full((3, 5, 4), 0.25))["is"] == pytest.approx(0)
    collapsed = conditional_inception_score(one_hot([[2] * 5] * 3))
    assert collapsed["cis"] == collapsed["is"] == 0


def test_scores_of_two_modes_a_quarter_and_three_quarters():
    found = conditional_inception_score(one_hot([[0, 1, 1, 1], [2, 3, 3, 3]]))
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found["cis"] == pytest.approx(entropy)
    assert found["is"] == pytest.approx(entropy + math.log(2)) and found["is"] > found["cis"]


def test_mode_probabilities_classify_outputs_with_sampled_styles():
    def classify(images):
        return one_hot((images[:, 0, 0, 0] * 4).long().clamp(0, 3).tolist())

    every = conditional_inception_score(mode_probabilities(Painter(lambda x, s: s), INPUTS, 2, classify, samples=400))
    assert every["cis"] == pytest.approx(math.log(4), abs=0.01) and every["samples_per_input"] == 400
    none = conditional_inception_score(mode_probabilities(Painter(lambda x, s: (x + 1) / 2), INPUTS, 2, classify))
    assert none["cis"] == 0 and none["is"] == pytest.approx(math.log(4), abs=0.01)
