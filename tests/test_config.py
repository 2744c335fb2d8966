import dataclasses
import json
import math
from typing import get_args, get_type_hints

import pytest

import munit_lite as ml
from munit_lite.config import (
    OLD_NAMES,
    Config,
    DataConfig,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    from_dict,
    to_dict,
)
from munit_lite.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from munit_lite.networks import DISCRIMINATOR_INITS
from munit_lite.presets import PRESETS
from munit_lite.world import WORLD_VARIANTS


@pytest.mark.parametrize("given", [{"folder": "fruit"}, {"folder_1": "a", "folder_2": "b"}, {"swap": True}])
@pytest.mark.parametrize("name", ["laboratory", "fashion32"])
def test_folders_beside_a_dataset_that_would_ignore_them_are_refused(name, given):
    with pytest.raises(ValueError, match=rf"{next(iter(given))} is .* reads no folder of yours: .* such as folder64"):
        ml.preset(name, **given)
    assert ml.preset("folder64", **given).data.dataset == "folder"


def test_field_names_are_unique_across_records_so_that_an_override_needs_no_path():
    records = (Config, DataConfig, NetworkConfig, LossConfig, OptimizerConfig)
    names = [field.name for record in records for field in dataclasses.fields(record)]
    assert len(names) == len(set(names))


def test_the_choices_of_a_record_are_those_that_the_code_knows():
    hints = {name: kind for r in (DataConfig, NetworkConfig, LossConfig) for name, kind in get_type_hints(r).items()}
    assert get_args(hints["world_variant"]) == tuple(WORLD_VARIANTS)
    assert set(get_args(hints["gan_mode"])) == set(DISCRIMINATOR_LOSSES) == set(GENERATOR_LOSSES)
    assert set(get_args(hints["discriminator_init"])) == set(DISCRIMINATOR_INITS)


def test_the_mandated_presets_exist_with_their_style_dims():
    style_dims = {name: config.network.style_dim for name, config in PRESETS.items() if config.method == "munit"}
    assert style_dims == {
        "paper256": 8, "laboratory": 3, "world32": 3, "world64s": 3, "world64": 3, "world128": 3, "fashion32": 8,
        "folder64": 8, "folder128": 8, "apples2citrus": 8,
    }  # fmt: skip


def test_every_baseline_has_a_preset_on_each_data_of_the_tables_and_differs_from_munits_in_its_terms_alone():
    methods = set(get_args(get_type_hints(Config)["method"])) - {"munit"}
    named = {(config.preset.removesuffix(f"_{config.method}"), config.method) for config in PRESETS.values()}
    baselines = {(data, method) for data, method in named if method != "munit"}
    with_pairs = {(data, method) for data in ("laboratory", "world32", "world64", "fashion32") for method in methods}
    assert baselines == with_pairs | {("apples2citrus", method) for method in methods - {"bicyclegan"}}
    for data, method in baselines:
        munit, baseline = ml.preset(data), ml.preset(f"{data}_{method}")
        assert baseline.data.paired == (method == "bicyclegan")
        same = dataclasses.replace(baseline.data, paired=False), baseline.network, baseline.optimizer, baseline.steps
        assert same == (munit.data, munit.network, munit.optimizer, munit.steps)
        assert (baseline.loss.gan_mode, baseline.loss.gan_weight, baseline.loss.r1_weight) == (
            munit.loss.gan_mode, munit.loss.gan_weight, munit.loss.r1_weight,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "weights"),
    [  # their papers' own, with the adversarial term as 1: UNIT's 10 / 0.1 / 100 / 0.1 / 100 are divided by 10
        ("unit", {"image": 10, "cycle": 10, "kl": 0.01}),
        ("cyclegan", {"cycle": 10}),
        ("cyclegan_noise", {"cycle": 10}),
        ("cyclegan_input_noise", {"cycle": 10}),
        ("bicyclegan", {"image": 10, "style": 0.5, "kl": 0.01}),
    ],
)
def test_baselines_have_their_papers_weights(method, weights):
    found = ml.preset(f"world32_{method}").loss.weights()
    assert {kind: weight for kind, weight in found.items() if weight} == {"gan": 1} | weights


def test_paper256_is_the_papers_model_and_recipe():
    config = ml.preset("paper256")
    network, optimizer = config.network, config.optimizer
    assert (
        network.base_channels,
        network.num_downsamples,
        network.num_style_downsamples,
        network.num_residual_blocks,
    ) == (64, 2, 4, 4)
    assert (network.discriminator_base_channels, network.discriminator_layers, network.discriminator_scales) == (
        64,
        4,
        3,
    )
    assert (optimizer.learning_rate, optimizer.betas, optimizer.weight_decay) == (1e-4, (0.5, 0.999), 1e-4)
    assert (optimizer.schedule, optimizer.decay_every) == ("step", 100_000)
    assert (config.batch_size, config.steps, config.data.image_size) == (1, 1_000_000, 256)
    assert config.loss.gan_mode == "lsgan"
    weights = {"gan": 1, "image": 10, "content": 1, "style": 1, "cycle": 0, "kl": 0}
    assert config.method == "munit" and config.loss.weights() == weights


def test_overrides_reach_the_record_they_live_in_and_leave_the_preset_alone():
    config = ml.preset("world32", steps=7, style_dim=8, image_weight=0.0)
    assert (config.steps, config.network.style_dim, config.loss.image_weight) == (7, 8, 0.0)
    assert ml.preset("world32").network.style_dim == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 8


def test_a_configuration_under_the_old_names_and_values_is_read_as_todays():
    config = ml.preset(
        "world64", image_size=128, world_variant="cyclic", base_channels=24, discriminator_base_channels=12,
        num_downsamples=1, num_style_downsamples=3, num_residual_blocks=5, num_threads=3, gan_mode="nonsaturating",
    )  # fmt: skip
    old_names = {new: old for old, new in OLD_NAMES.items()}
    values = json.loads(json.dumps(to_dict(config)))
    for record in (values, values["data"], values["network"], values["loss"]):
        for name in set(record) & set(old_names):
            record[old_names[name]] = record.pop(name)
    assert values["name"] == "world64" and values["loss"]["gan"] == "nonsaturating"
    values["loss"]["gan"] = "log"
    assert from_dict(values) == config


def test_an_old_value_is_accepted_under_the_old_name_only():
    assert ml.preset("world64", gan="log").loss.gan_mode == "nonsaturating"
    assert ml.preset("world64", gan="hinge").loss.gan_mode == "hinge"
    with pytest.raises(ValueError, match="gan_mode 'log' is not one of lsgan, nonsaturating, hinge"):
        ml.preset("world64", gan_mode="log")


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_survives_json(name):
    config = ml.preset(name, seed=3)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ml.preset("wrld32"), r"unknown preset 'wrld32'; known: paper256, laboratory, world32"),
        (lambda: ml.preset("world32", stps=3), r"unknown field 'stps'; known: .*steps"),
        (lambda: ml.preset("world32", name="x"), r"unknown field 'name'"),
        (lambda: ml.preset("world32", steps=0), r"steps is 0, but it must be a whole number of 1 or more"),
        (lambda: ml.preset("world32", batch_size=2.5), r"batch_size is 2.5"),
        (lambda: ml.preset("world32", learning_rate=0.0), r"learning_rate is 0.0, but it must be above 0"),
        (lambda: ml.preset("world32", image_weight=-1.0), r"image_weight is -1.0, but it must be 0 or more"),
        (lambda: ml.preset("world32", gan_mode="wgan"), r"gan_mode 'wgan' is not one of lsgan, nonsaturating, hinge"),
        (lambda: ml.preset("world32", dataset="mnist"), r"dataset 'mnist' is not one of"),
        (
            lambda: ml.preset("world32", world_variant="flat"),
            r"world_variant 'flat' is not one of standard, two_shapes",
        ),
        (lambda: ml.preset("world32", ema_decay=1.0), r"ema_decay is 1.0"),
        (lambda: ml.preset("world32", kl_weight=-1.0), r"kl_weight is -1.0, but it must be 0 or more"),
        (lambda: ml.preset("world32", method="pix2pix"), r"method 'pix2pix' is not one of munit, unit"),
        (lambda: ml.preset("world32", method="bicyclegan"), r"method is bicyclegan, which learns from true pairs"),
        (lambda: ml.preset("folder64", paired=True), r"paired training needs data of true pairs"),
        (lambda: ml.preset("folder64", image_size=66), r"image_size 66 is not divisible by 4"),
        (lambda: ml.preset("world32", decay_every=0), r"decay_every is 0, but it must be a whole number of 1 or more"),
        (
            lambda: ml.preset("world32", num_threads=-1),
            r"num_threads is -1, but it must be a whole number of 0 or more",
        ),
        (
            lambda: ml.preset("world32", num_checkpoints=2.5),
            r"num_checkpoints is 2.5, but it must be a whole number of 0 or more",
        ),
        (lambda: ml.preset("world32", seed=10**14), r"seed is 1\d+, but it must be a whole number between"),
        (lambda: ml.preset("world32", learning_rate=math.nan), r"learning_rate is nan, but it must be above 0"),
        (
            lambda: ml.preset("world32", discriminator_lr_ratio=-1.0),
            r"discriminator_lr_ratio is -1.0, but it must be above 0",
        ),
        (
            lambda: ml.preset("world32", image_size=16, num_downsamples=4, num_style_downsamples=2),
            r"image_size 16 is below 32: reflect",
        ),
        (lambda: ml.preset("world32", device="gpu"), r"device 'gpu' is not one of auto, cpu, cuda, mps"),
        (
            lambda: ml.preset("world32", num_style_downsamples=6),
            r"image_size 32 is below 64: the style encoder halves the side 6",
        ),
        (
            lambda: ml.preset("paper256", image_size=32),
            r"image_size 32 is below 64: 4 discriminator layers at 3 scales",
        ),
    ],
)
def test_a_bad_configuration_is_an_error_that_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
