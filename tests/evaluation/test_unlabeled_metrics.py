"""Metrics without labels: translators of known effects, an analysis of variance by the textbook, missing weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.image.fid
import torchvision
from painter import Painter
from PIL import Image

import munit_lite as ml
from munit_lite.data import open_data
from munit_lite.data.folders import FolderData
from munit_lite.evaluation import evaluate as evaluation
from munit_lite.evaluation import image_metrics, pretrained_networks, translator, unlabeled_metrics, weight_files
from munit_lite.evaluation.metric_meanings import METRIC_MEANINGS, meaning_of
from munit_lite.evaluation.pretrained_networks import load_inception
from munit_lite.evaluation.unlabeled_metrics import (
    diversity_metrics,
    inception_metrics,
    reconstruction_metrics,
    variance_fractions,
)
from munit_lite.evaluation.weight_files import ALEXNET_FILE, INCEPTION_FILE, TORCH_FIDELITY_FILE

pytestmark = pytest.mark.numerical

SMALL = {"base_channels": 4, "mlp_width": 8, "num_residual_blocks": 1, "discriminator_base_channels": 4}
INPUTS = torch.linspace(-1, 1, 40)[:, None, None, None].expand(-1, 3, 8, 8)
PARTS = ("style", "common_style", "specific_style", "input")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache of torch without weights, from which nothing may be downloaded."""

    def refuse(*args, **kwargs):
        raise AssertionError("a download was begun without a word")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def write_folder(root: Path, train=(3, 3), test=(2, 2), side=80) -> Path:
    """Photos of random tones whose names say nothing, all different."""
    rng = np.random.default_rng(0)
    for split, counts in (("train", train), ("test", test)):
        for domain, count in zip("AB", counts, strict=True):
            (root / f"{split}{domain}").mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / f"{split}{domain}" / f"IMG_{number}.png")
    return root


def folder_model(root: Path, preset="folder64", **overrides):
    return ml.build(ml.preset(preset, folder=str(root), **SMALL | overrides)).eval()


# ------------------------------------------------------------------------------------------- fractions of the variance


@pytest.mark.parametrize(
    ("tone", "style", "common", "specific"),
    [  # population values; the inputs have a variance of 0.35, uniform styles one of 1/12
        (lambda x, s: x, 0, 0, 0),
        (lambda x, s: 0 * x + s, 1, 1, 0),
        (lambda x, s: x + s, 1 / 12 / (1 / 12 + 0.35), 1 / 12 / (1 / 12 + 0.35), 0),
        (lambda x, s: x * (2 * s - 1), 1, 0, 1),
        (lambda x, s: x * 2 * s, 0.25, 0, 0.25),  # x plus the product above, which has a third of its variance
        (lambda x, s: 0 * x + 0.5, 0, 0, 0),  # nothing varies
    ],
    ids=["input alone", "style alone", "sum", "product", "input and product", "constant"],
)
def test_the_shares_of_known_effects(tone, style, common, specific):
    found = variance_fractions(Painter(tone), INPUTS, 1, num_styles=1000)
    measured = [found[f"{part}_variance_fraction"] for part in PARTS]
    assert measured[:3] == pytest.approx([style, common, specific], abs=0.03)
    if found["style_variance_fraction"] or found["input_variance_fraction"]:
        assert sum(measured[1:]) == pytest.approx(1, abs=1e-9)


class Table:
    """Looks the output up in a table of inputs, styles and pixels."""

    def __init__(self, table):
        self.table = table

    def sample_style(self, count, generator=None):
        return torch.arange(count, dtype=torch.float32)[:, None]

    def translate(self, images, source, target, style=None):
        outputs = self.table[images[:, 0, 0, 0].long(), style[:, 0].long()]
        return outputs.view(len(images), 3, 2, 2)


def textbook_fraction(table: np.ndarray) -> tuple[float, float]:
    """The style's fraction and its common part, from the sums of squares of a two-way layout without replication."""
    count, styles, _ = table.shape
    mean, of_input, of_style = table.mean((0, 1)), table.mean(1), table.mean(0)
    ms_input = styles * ((of_input - mean) ** 2).sum() / (count - 1)
    ms_style = count * ((of_style - mean) ** 2).sum() / (styles - 1)
    residual = table - of_input[:, None] - of_style[None] + mean
    ms_rest = (residual**2).sum() / ((count - 1) * (styles - 1))
    a, b, r = (ms_input - ms_rest) / styles, (ms_style - ms_rest) / count, ms_rest
    return (b + r) / (a + b + r), b / (a + b + r)


def random_table(count=12, styles=7):
    rng = np.random.default_rng(3)
    table = rng.normal(size=(count, styles, 12)) + 2 * rng.normal(size=(count, 1, 12))
    return table + rng.normal(size=(1, styles, 12)), torch.arange(count)[:, None, None, None].expand(-1, 3, 2, 2)


def test_the_shares_are_those_of_a_two_way_analysis_of_variance():
    table, index = random_table()
    found = variance_fractions(Table(torch.from_numpy(table)), index.float(), 1, num_styles=7)
    fraction, common = textbook_fraction(table)
    assert found["style_variance_fraction"] == pytest.approx(fraction, rel=1e-5)
    assert found["common_style_variance_fraction"] == pytest.approx(common, rel=1e-5)


def test_the_interval_of_the_share_is_that_of_the_jackknife_over_inputs():
    table, index = random_table(count=60)
    found = variance_fractions(Table(torch.from_numpy(table)), index.float(), 1, num_styles=7)
    without = [textbook_fraction(np.delete(table, row, 0))[0] for row in range(60)]
    jackknife = 1.96 * math.sqrt(59 / 60 * np.sum((without - np.mean(without)) ** 2))
    assert found["style_variance_fraction_interval"] == pytest.approx(jackknife, rel=0.1)


def test_the_number_of_styles_and_inputs_does_not_shift_the_share():
    painter = Painter(lambda x, s: x + s)
    few = [variance_fractions(painter, INPUTS[::5], 1, 4, seed)["style_variance_fraction"] for seed in range(200)]
    many = variance_fractions(painter, INPUTS[::5], 1, 2000)["style_variance_fraction"]
    assert np.mean(few) == pytest.approx(many, abs=0.03)


@pytest.mark.parametrize(("inputs", "styles"), [(1, 4), (4, 1)])
def test_a_variance_of_one_input_or_style_is_refused(inputs, styles):
    with pytest.raises(ValueError, match=f"got {inputs} inputs and {styles} styles, but a variance needs 2 or more"):
        variance_fractions(Painter(lambda x, s: x), INPUTS[:inputs], 1, styles)


# --------------------------------------------------------------------------------------------------- reconstruction


class Shifts:
    """Translation adds the style, reconstruction 0.1; the style of domain k is 0.25 k."""

    def sample_style(self, count, generator=None):
        return torch.full((count, 1), 0.5)

    def encode_style(self, images, domain):
        return torch.full((len(images), 1), 0.25 * domain)

    def translate(self, images, source, target, style=None):
        assert target == 3 - source
        return images + style[:, :, None, None]

    def reconstruct(self, images, domain):
        return images + 0.1


@pytest.mark.parametrize(("source", "cycle"), [(1, 0.75), (2, 1.0)])
def test_errors_of_known_shifts_are_their_lengths(source, cycle):
    found = reconstruction_metrics(Shifts(), INPUTS, source)
    assert found["reconstruction_error"] == pytest.approx(0.1) and found["cycle_error"] == pytest.approx(cycle)
    gaps = np.abs(np.diff(INPUTS[:, 0, 0, 0].tolist(), append=-1))
    assert found["other_image_error"] == pytest.approx(gaps.mean(), rel=1e-5)
    assert found["other_image_error_interval"] == pytest.approx(1.96 * gaps.std(ddof=1) / math.sqrt(40), rel=1e-5)


def test_errors_of_several_batches_are_those_of_one(monkeypatch):
    whole = reconstruction_metrics(Shifts(), INPUTS, 1)
    monkeypatch.setattr(translator, "MAX_BATCH_PIXELS", 7 * 64)
    assert reconstruction_metrics(Shifts(), INPUTS, 1) == pytest.approx(whole, rel=1e-6)


def test_the_cycle_is_the_one_that_the_training_loss_measures(tmp_path):
    model, images = folder_model(write_folder(tmp_path)), torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        style = model.sample_style(3, torch.Generator().manual_seed(7))
        content = model.encode_content(model.decode(model.encode_content(images, 2), style, 1), 1)
        expected = (model.decode(content, model.encode_style(images, 2), 2) - images).abs().mean().item()
    assert reconstruction_metrics(model, images, 2, seed=7)["cycle_error"] == pytest.approx(expected, rel=1e-5)


# -------------------------------------------------------------------------------------------------------- diversity


def test_pixel_diversity_is_named_by_its_distance_and_nothing_is_downloaded(empty_cache):
    images = INPUTS.repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = diversity_metrics(Painter(lambda x, s: s), images, images[:10], 1)
    assert found["pixel_diversity"] == pytest.approx(1 / 3, abs=0.03)  # of two independent uniform numbers
    assert found["pixel_diversity_real_images"] > 0
    assert not [name for name in found if "lpips" in name]


@pytest.mark.parametrize(("side", "measured"), [(32, True), (16, False)])
def test_lpips_is_measured_where_its_weights_are_and_images_are_large_enough(side, measured, empty_cache, monkeypatch):
    (empty_cache / ALEXNET_FILE).touch()
    seen = []
    monkeypatch.setattr(unlabeled_metrics, "lpips", lambda a, b: seen.append(len(a)) or torch.arange(len(a)).double())
    images = torch.rand(5, 3, side, side)
    found = diversity_metrics(Painter(lambda x, s: s), images, images, 1)
    assert ("lpips_diversity" in found) == ("lpips_diversity_real_images" in found) == measured
    if measured:
        assert seen == [19] * 5 + [2] and found["lpips_diversity"] == 9  # the mean of 0 to 18


# --------------------------------------------------------------------------------------------------- KID and FID


def as_images(rows):
    return rows[:, :, None, None].expand(-1, -1, 4, 4)


def test_kid_and_fid_compare_translations_and_untranslated_inputs_with_real_images(monkeypatch):
    normal = torch.randn(240, 3, generator=torch.Generator().manual_seed(0))
    inputs, real = as_images(normal[:120]), as_images(normal[120:] + 2)

    class Shift(Painter):
        def translate(self, images, source, target, style=None):
            return images + 2

    def features(images):
        return images[:, :, 0, 0]

    features_of = {1: features(inputs), 2: features(real)}
    found = inception_metrics(Shift(None), inputs, features_of, 1, ("_torchvision", features))
    assert set(found) == {
        f"{name}{control}_torchvision" for name in ("kid", "kid_std", "fid") for control in ("", "_untranslated")
    }
    assert found["kid_torchvision"] == pytest.approx(0, abs=3 * found["kid_std_torchvision"])
    assert found["fid_torchvision"] < 0.2 and found["fid_untranslated_torchvision"] == pytest.approx(12, abs=2)
    assert found["kid_untranslated_torchvision"] > 5 * found["kid_std_untranslated_torchvision"]
    assert found["kid_std_torchvision"] > 0  # subsets differ


def test_no_weights_no_network(empty_cache):
    assert load_inception() is None


def test_the_files_are_those_that_torchvision_loads():
    weights = (torchvision.models.AlexNet_Weights, torchvision.models.Inception_V3_Weights)
    assert [w.IMAGENET1K_V1.url.rsplit("/", 1)[1] for w in weights] == [ALEXNET_FILE, INCEPTION_FILE]


def test_the_network_of_published_values_is_preferred_and_gets_bytes(empty_cache, monkeypatch):
    class Published(torch.nn.Module):
        def __init__(self, name, features_list):
            super().__init__()
            assert (name, features_list) == ("inception-v3-compat", ["2048"])

        def forward(self, images):
            assert images.dtype == torch.uint8 and len(images) <= pretrained_networks.BATCH_SIZE
            return images.flatten(1).double()

    for file in (INCEPTION_FILE, TORCH_FIDELITY_FILE):
        (empty_cache / file).touch()
    monkeypatch.setattr(weight_files, "find_spec", lambda name: name == "torch_fidelity" or None)
    monkeypatch.setattr(torchmetrics.image.fid, "NoTrainInceptionV3", Published)
    suffix, features = load_inception()
    tones = torch.tensor([-1.0, 0.0, 1.0]).repeat(20)[:, None, None, None].expand(-1, 3, 2, 2)
    assert suffix == "" and features(tones)[:3, 0].tolist() == [0, 128, 255] and len(features(tones)) == 60


@pytest.mark.slow
def test_torchvisions_network_sees_what_its_own_preprocessing_gives_it(empty_cache):
    torch.manual_seed(0)
    network = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    torch.save(network.state_dict(), empty_cache / INCEPTION_FILE)
    suffix, features = load_inception()
    network.fc = torch.nn.Identity()
    images = torch.rand(2, 3, 299, 299) * 2 - 1
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        expected = network(((images + 1) / 2 - mean) / deviation)
    assert suffix == "_torchvision" and expected.shape == (2, 2048)
    torch.testing.assert_close(features(images), expected, rtol=1e-3, atol=1e-3 * expected.std().item())
    assert features(images[:, :, :64, :64]).shape == (2, 2048)


# ------------------------------------------------------------------------------------------------------ everything


def test_photos_without_varieties_are_measured_in_both_directions(tmp_path, empty_cache, monkeypatch):
    monkeypatch.setattr(unlabeled_metrics, "KID_SUBSET_SIZE", 2)
    model = folder_model(write_folder(tmp_path / "photos", test=(6, 5)))
    found = evaluation.evaluate(model, count=4)
    assert list(found) == ["domain 1 to domain 2", "domain 2 to domain 1"]
    for metrics in found.values():
        assert all(math.isfinite(value) for value in metrics.values())
        assert metrics["images"] == metrics["inputs"] == metrics["real_images"] == 4
        for name in ("reconstruction_error", "cycle_error", "pixel_diversity", "style_variance_fraction"):
            assert metrics[name] > 0 and metrics[f"{name}_interval"] > 0
        assert not [name for name in metrics if not meaning_of(name.removesuffix("_interval"))][3:]  # the three counts
    notes = evaluation.explain(model, found)
    assert [note.split(",")[0] for note in notes] == [
        f"{what} not measured" for what in ("LPIPS is", "KID and FID are", "Mode coverage is")
    ]
    assert "alexnet(weights='IMAGENET1K_V1')" in notes[0] and "pip install torch-fidelity" in notes[1]
    assert notes[2].endswith("all training photos of domain 1 would be of the variety 'IMG'.")


@pytest.mark.parametrize("test", [(1, 1), (1, 3), (2, 2)])
def test_few_held_out_images_leave_metrics_out_and_nothing_is_nan(test, tmp_path, empty_cache):
    found = evaluation.evaluate(folder_model(write_folder(tmp_path / "photos", test=test)), count=10)
    for source, metrics in enumerate(found.values(), 1):
        assert metrics["inputs"] == test[source - 1] and all(math.isfinite(value) for value in metrics.values())
        several = test[source - 1] > 1
        assert ("style_variance_fraction" in metrics) == ("reconstruction_error_interval" in metrics) == several
        assert ("pixel_diversity_real_images" in metrics) == (test[2 - source] > 1)


def test_a_model_that_generates_no_numbers_is_not_hidden(tmp_path, empty_cache):
    model = folder_model(write_folder(tmp_path / "photos"))
    for parameter in model.parameters():
        parameter.data.fill_(math.nan)
    metrics = evaluation.evaluate(model, count=2)["domain 1 to domain 2"]
    assert math.isnan(metrics["cycle_error"]) and math.isnan(metrics["pixel_diversity"])


@pytest.mark.parametrize("cached", [False, True])
def test_too_few_images_for_kid_are_counted_in_a_sentence_and_no_network_is_built(cached, tmp_path, empty_cache):
    if cached:
        (empty_cache / INCEPTION_FILE).touch()  # holds no weights, so building the network would fail
    model = folder_model(write_folder(tmp_path / "photos"))
    note = next(note for note in evaluation.explain(model, evaluation.evaluate(model, count=2)) if "KID" in note)
    assert "need 100 inputs and as many real images" in note and "2 inputs and 2 real images from domain 1" in note


def test_too_small_images_for_lpips_are_named_instead_of_a_download(tmp_path, empty_cache):
    model = folder_model(write_folder(tmp_path / "photos"), image_size=16, discriminator_scales=1)
    note = evaluation.explain(model, evaluation.evaluate(model, count=2))[0]
    assert note == "LPIPS is not measured, because it needs images of 32 px or more."


def test_images_that_are_already_open_are_not_opened_again(tmp_path, empty_cache, monkeypatch):
    model = folder_model(write_folder(tmp_path / "photos"))
    images = open_data(model.config)
    monkeypatch.setattr(evaluation, "open_data", lambda config: pytest.fail("the data was opened again"))
    assert evaluation.explain(model, evaluation.evaluate(model, 2, images=images), images)


def test_few_images_are_in_memory_at_once(tmp_path, empty_cache, monkeypatch):
    read, center_crops = [], FolderData.center_crops

    def counting(data, file_set, indices):
        read.append(len(indices))
        return center_crops(data, file_set, indices)

    monkeypatch.setattr(FolderData, "center_crops", counting)
    monkeypatch.setattr(unlabeled_metrics, "MAX_INPUTS", 3)
    monkeypatch.setattr(unlabeled_metrics, "KID_SUBSET_SIZE", 15)
    monkeypatch.setattr(unlabeled_metrics, "load_inception", lambda: ("", lambda images: images.mean((2, 3))))
    monkeypatch.setattr(translator, "MAX_BATCH_PIXELS", 5 * 64 * 64)
    model = folder_model(write_folder(tmp_path / "photos", test=(30, 30)))
    found = evaluation.evaluate(model, count=30)["domain 1 to domain 2"]
    assert found["images"] == found["real_images"] == 30 and "kid" in found
    assert max(read) == 2 * unlabeled_metrics.MAX_INPUTS


def test_kid_is_measured_with_weights_and_images(tmp_path, empty_cache, monkeypatch):
    model = folder_model(write_folder(tmp_path / "photos", test=(8, 9)))
    seen = []

    def features(images):
        seen.append(len(images))
        return images.mean((2, 3))

    monkeypatch.setattr(unlabeled_metrics, "load_inception", lambda: ("", features))
    monkeypatch.setattr(unlabeled_metrics, "KID_SUBSET_SIZE", 4)
    found = evaluation.evaluate(model, count=9)
    assert all({"kid", "kid_std", "fid", "fid_untranslated"} <= metrics.keys() for metrics in found.values())
    assert seen == [8, 9, 8, 9]  # the real images of both domains once, then the translations
    assert not [note for note in evaluation.explain(model, found) if "KID" in note]


@pytest.mark.parametrize("changed", ["batch size", "threads"])
def test_numbers_do_not_depend_on_batch_size_or_threads(changed, tmp_path, empty_cache, monkeypatch):
    model, threads = folder_model(write_folder(tmp_path / "photos", test=(5, 5))), torch.get_num_threads()
    before = evaluation.evaluate(model, count=5)
    try:
        if changed == "threads":
            torch.set_num_threads(2 if threads == 1 else 1)
        monkeypatch.setattr(translator, "MAX_BATCH_PIXELS", 3 * 64 * 64 if changed == "batch size" else 2**20)
        after = evaluation.evaluate(model, count=5)
    finally:
        torch.set_num_threads(threads)
    for direction, metrics in before.items():
        assert after[direction] == pytest.approx(metrics, abs=1e-4, rel=1e-4)


def test_large_images_are_translated_a_few_at_a_time(monkeypatch):
    seen = []

    class Counting(Painter):
        def translate(self, images, source, target, style=None):
            seen.append(len(images))
            return super().translate(images, source, target, style)

    monkeypatch.setattr(translator, "MAX_BATCH_PIXELS", 7 * 64)
    image_metrics.output_diversity(Counting(lambda x, s: s), INPUTS[:1], 1, image_metrics.pixel_distance)
    assert seen == [7, 7, 7, 7, 7, 3]


# -------------------------------------------------------------------------------------------- one output per input


def fraction(value):
    return {"style_variance_fraction": value}


@pytest.mark.parametrize(
    ("preset", "metrics", "sentences"),
    [
        ("world32_unit", {}, ["The method unit generates one output for each input, because it ignores the style."]),
        ("world32_cyclegan", {}, ["The method cyclegan generates one output for each input, because it ignores"]),
        (
            "world32",
            {"sketch to painting": fraction(2e-4), "painting to sketch": fraction(0.2)},
            [
                "From sketch to painting, the model generates one output for each input: the style explains 0.02 % of "
                "the variance of its outputs, less than 0.1 %."
            ],
        ),
        ("fashion32", {"drawing to photo": fraction(1e-12)}, ["From drawing to photo, the model generates one output"]),
        ("fashion32", {"drawing to photo": fraction(0.001)}, []),
        ("world32", {"sketch to painting": {"class_accuracy": 0.9}}, []),  # numbers of an earlier version
    ],
)
def test_a_model_of_one_output_per_input_is_named_in_a_sentence(preset, metrics, sentences):
    found = evaluation.explain(ml.build(ml.preset(preset, **SMALL)), metrics)
    assert len(found) == len(sentences)
    for sentence, expected in zip(found, sentences, strict=True):
        assert sentence.startswith(expected)


@pytest.mark.parametrize("method", ["unit", "cyclegan"])
def test_methods_that_ignore_the_style_have_a_share_of_zero_and_others_have_not(method):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    ignoring, using = (ml.build(ml.preset(name, **SMALL)) for name in (f"world32_{method}", "world32"))
    assert variance_fractions(ignoring, images, 1)["style_variance_fraction"] < 1e-6
    assert variance_fractions(using, images, 1)["style_variance_fraction"] > 1e-3


def test_the_known_world_has_the_share_beside_its_own_metrics():
    for metrics in evaluation.evaluate(ml.load("world32"), count=20).values():
        assert 0.1 < metrics["style_variance_fraction"] < 1 and metrics["class_accuracy"] > 0.8
        assert metrics["styles_per_input"] == 64 and "input_variance_fraction" not in metrics


# --------------------------------------------------------------------------------------------- meanings and format


def test_every_meaning_is_one_line_without_a_full_stop():
    for name, (meaning, healthy) in METRIC_MEANINGS.items():
        assert meaning and len(f"{name}{meaning}{healthy}") < 200 and not meaning.endswith("."), name
    assert meaning_of("kid_torchvision") is meaning_of("kid")


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.5, 0.02, "0.500 ± 0.020"),
        (0.00412, 0.00021, "0.0041 ± 0.0002"),
        (3, None, "3"),
        (1e-13, 1e-14, "< 0.000001"),
        (0.0, 0.0, "0.000 ± 0.000"),
        (-0.0001, 0.02, "0.000 ± 0.020"),
        (math.nan, math.nan, "nan ± nan"),
    ],
)
def test_numbers_keep_a_digit_of_their_interval(value, interval, text):
    metrics = {"x": value} | ({} if interval is None else {"x_interval": interval})
    assert evaluation.format_metrics({"there": metrics}).splitlines()[1].split(maxsplit=1)[1] == text


def test_held_out_images_are_sampled_and_those_of_the_source(tmp_path, empty_cache):
    """Metrics of one image by hand: the first of the seed's random order."""
    model = folder_model(write_folder(tmp_path / "photos", test=(6, 6)))
    metrics = evaluation.evaluate(model, count=1, seed=3)["domain 2 to domain 1"]
    data = open_data(model.config)
    first = torch.randperm(6, generator=torch.Generator().manual_seed(3))[:1].tolist()
    image = data.center_crops(data.files.test[1], first)
    with torch.no_grad():
        expected = (model.reconstruct(image, 2) - image).abs().mean().item()
    assert metrics["reconstruction_error"] == pytest.approx(expected, rel=1e-5) and metrics["images"] == 1
