"""What is shipped: small, whole, loadable offline, with card and checksum; and how it comes about."""

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny import tiny

import munit_lite as ml
from munit_lite import cli
from munit_lite.config import from_dict, override
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor, predictor_files
from munit_lite.experiments.provenance import train_command
from munit_lite.experiments.results import write_results
from munit_lite.paths import CHECKPOINTS_DIR
from munit_lite.presets import PRESETS, preset
from munit_lite.storage.checkpoints import load, shipped_checkpoints
from munit_lite.storage.files import CheckpointError
from munit_lite.storage.tensors import read_tensors
from tools.publish_checkpoint import MAX_BYTES, card, cards, publish

FILES = sorted(CHECKPOINTS_DIR.glob("*.safetensors"))
NUMBERS = {
    "there": {"accuracy": 0.97531, "accuracy_interval": 0.0123, "contents": 10000},
    "back": {"accuracy": 0.5, "accuracy_interval": 0.25, "contents": 10000, "only_here": 1.0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    finished = ml.train(tiny(steps=4, data_root="/somewhere/private", num_checkpoints=2), folder, callbacks=[])
    write_results(folder / "results.json", NUMBERS, {"model": "runs/mine"}, "munit-lite evaluate runs/mine")
    return finished


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    for module in ("munit_lite.storage.checkpoints", "tools.publish_checkpoint"):
        monkeypatch.setattr(f"{module}.CHECKPOINTS_DIR", tmp_path / "shelf")
    return tmp_path / "shelf"


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise AssertionError("a shipped checkpoint needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# ------------------------------------------------------------------------------------------- what is in the repository


def test_there_are_shipped_checkpoints():
    assert set(predictor_files()) <= set(FILES)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_shipped_checkpoint_is_small_and_loads_offline(file, offline):
    assert file.stat().st_size <= MAX_BYTES == 8e6
    if file.stem.startswith("attribute_predictor_"):
        load_attribute_predictor(*predictor_files()[file])
    else:
        model = load(file.stem)
        size = model.config.data.image_size
        assert model.translate(torch.zeros(1, 3, size, size)).isfinite().all()


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_shipped_checkpoint_has_its_card_of_today(file):
    text = file.with_suffix(".md").read_text()
    assert text == card(file), "write them afresh: python -m tools.publish_checkpoint cards"
    assert not re.search(r"/(home|root|work|tmp)/\w", text) and "## Measured" in text


def test_the_checksums_are_of_exactly_the_shipped_files():
    done = subprocess.run(["sha256sum", "--check", "--strict", "checksums.txt"], cwd=CHECKPOINTS_DIR, check=False)
    assert done.returncode == 0
    lines = (CHECKPOINTS_DIR / "checksums.txt").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [file.name for file in FILES]
    cards_there = {file.stem for file in CHECKPOINTS_DIR.glob("*.md")}
    assert cards_there == {file.stem for file in FILES}


# ---------------------------------------------------------------------------------------------------------- shipping


def test_a_shipped_run_is_its_averaged_model_by_name_without_discriminators(run, shelf, offline):
    path = publish(str(run.folder), "mine")
    assert path == shelf / "mine.safetensors" and set(shipped_checkpoints()) == {"mine"}
    model, whole = load("mine"), run.model.state_dict()
    kept = model.state_dict()
    assert kept and all(torch.equal(kept[name], whole[name]) for name in kept)
    assert {name for name in whole if name not in kept} == {n for n in whole if n.startswith("discriminators.")}
    assert sorted(p.name for p in shelf.iterdir()) == ["checksums.txt", "mine.md", "mine.safetensors"]


def test_discriminators_are_shipped_when_asked_for(run, shelf):
    path = publish(str(run.folder), "mine", discriminators=True)
    whole, found = run.model.state_dict(), load("mine").state_dict()
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)
    assert "with the discriminators" in path.with_suffix(".md").read_text()


def test_recipe_and_figures_travel_in_the_file_and_stand_in_the_card(run, shelf):
    path = publish(str(run.folder), "mine")
    _, header = read_tensors(path)
    assert header["note"]["results"]["numbers"] == NUMBERS and header["step"] == 4
    config = load("mine").config
    assert config == override(run.config, device="auto", num_threads=0, data_root="")  # no path of a machine
    text = (shelf / "mine.md").read_text()
    assert "| accuracy | 0.975 ± 0.012 | 0.500 ± 0.250 |" in text and "| contents | 10,000 | 10,000 |" in text
    assert "| only here |  | 1.000 |" in text and "Measured by `munit-lite evaluate runs/mine`\n" in text
    assert f"{path.stat().st_size:,} bytes" in text and "in float32" in text and "private" not in text
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert digest in text and digest in (shelf / "checksums.txt").read_text()
    recipe = json.loads(text.split("```json\n")[1].split("```")[0])
    assert from_dict(recipe) == config


def test_shipping_again_gives_the_same_bytes(run, shelf):
    first = publish(str(run.folder), "mine").read_bytes()
    text = (shelf / "mine.md").read_text()
    assert publish(str(run.folder), "mine").read_bytes() == first and (shelf / "mine.md").read_text() == text


def test_a_step_along_the_run_is_shipped_with_figures_of_its_own(run, shelf, tmp_path):
    early = run.folder / "weights" / "step_00000002.safetensors"
    with pytest.raises(CheckpointError, match=r"there is no file .*results\.json: a model is published with"):
        publish(str(early), "early")
    write_results(tmp_path / "early.json", {"accuracy": 0.25}, {}, "evaluate")
    publish(str(early), "early", tmp_path / "early.json")
    assert "4 steps with batches of 2, of which 2 are done" in (shelf / "early.md").read_text()
    assert "| accuracy | 0.250 |" in (shelf / "early.md").read_text()
    early_weights, _ = read_tensors(early)
    assert all(torch.equal(early_weights[name], tensor) for name, tensor in load("early").state_dict().items())


def test_what_is_too_large_in_float32_is_rounded_to_float16_and_what_is_too_large_then_is_refused(
    run, shelf, monkeypatch
):
    count = sum(t.numel() for n, t in run.model.state_dict().items() if not n.startswith("discriminators."))
    monkeypatch.setattr("tools.publish_checkpoint.MAX_BYTES", 100_000 + 2 * count)
    path = publish(str(run.folder), "mine")
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert "in float16" in (shelf / "mine.md").read_text() and path.stat().st_size <= 100_000 + 2 * count
    x, style = torch.rand(2, 3, 32, 32) * 2 - 1, torch.zeros(2, 3)
    model = load("mine")
    assert next(model.parameters()).dtype == torch.float32
    difference = model.translate(x, style=style) - run.model.translate(x, style=style)
    assert 0 < difference.abs().max() < 0.02
    monkeypatch.setattr("tools.publish_checkpoint.MAX_BYTES", 100_000 + 2 * count - 1)
    with pytest.raises(
        CheckpointError, match=r"mine has .* MB in float16, but a published file has at most .*smaller base_channels"
    ):
        publish(str(run.folder), "mine")


@pytest.mark.parametrize(
    "name", ["", "Mine", "mine/yours", "../mine", "attribute_predictor_mine", "1mine", "mine.safetensors"]
)
def test_names_that_would_not_do_are_refused(run, shelf, name):
    with pytest.raises(CheckpointError, match="cannot name a model: use lowercase letters"):
        publish(str(run.folder), name)
    assert not shelf.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"numbers": 3, "provenance": {}}'])
def test_figures_that_are_none_are_refused(run, shelf, tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"bad\.json holds no results as munit-lite evaluate"):
        publish(str(run.folder), "mine", tmp_path / "bad.json")
    assert not shelf.exists()


def test_a_model_that_was_only_saved_has_no_card(run, shelf):
    from munit_lite.storage.checkpoints import save_model

    save_model(shelf / "saved.safetensors", run.model, 4)
    with pytest.raises(CheckpointError, match=r"saved\.safetensors has no measured figures: it was saved, but not"):
        cards()
    assert not (shelf / "saved.md").exists()


def test_a_damaged_neighbor_stays_damaged_and_is_named(run, shelf):
    publish(str(run.folder), "mine")
    file = shelf / "mine.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    publish(str(run.folder), "yours")
    load("yours")
    with pytest.raises(CheckpointError, match=r"mine\.safetensors is damaged or was changed: its sha256"):
        load("mine")


def test_cards_are_written_afresh(run, shelf):
    publish(str(run.folder), "mine")
    text = (shelf / "mine.md").read_text()
    (shelf / "mine.md").write_text("stale")
    cards()
    assert (shelf / "mine.md").read_text() == text


def test_absolute_folders_become_names_below_the_data_root(run, shelf, tmp_path):
    from munit_lite.storage.checkpoints import save_model

    config = override(run.config, dataset="folder", folder="/a/b/apples2citrus")
    save_model(tmp_path / "a.safetensors", ml.build(config), 4)
    publish(str(tmp_path / "a.safetensors"), "fruit", run.folder / "results.json")
    assert load("fruit").config.data.folder == "apples2citrus"


@pytest.mark.parametrize("config", [
    PRESETS["world32"],
    preset("world32", same_initial_weights=False),
    preset("world32", steps=77, style_dim=2, content_weight=0.0, cycle_weight=10.0, betas=(0.0, 0.99)),
    preset("folder64", folder_1="my apples", folder_2="citrus", swap=True, learning_rate=3e-4, seed=5),
    preset("fashion32", fashion_classes=(7,), data_root="", precision="bf16-mixed"),
])  # fmt: skip
def test_the_command_of_a_card_trains_the_very_same_configuration(config):
    words = shlex.split(train_command(config))
    assert words[:2] == ["munit-lite", "train"]
    command, _ = cli.parse_arguments(words[1:])
    assert command.func is cli.COMMANDS["train"] and command.keywords["config"].checked() == config


def test_a_model_of_a_preset_that_is_gone_says_so():
    with pytest.raises(ValueError, match="the preset 'old', which no longer exists"):
        train_command(override(preset("world32"), seed=3).__class__(preset="old"))


@pytest.mark.slow
def test_one_command_ships(run, tmp_path):
    program = (
        "import sys, runpy, pathlib, munit_lite.paths as c; c.CHECKPOINTS_DIR = pathlib.Path(sys.argv.pop(1)); "
        "runpy.run_module('tools.publish_checkpoint', run_name='__main__')"
    )
    line = [sys.executable, "-c", program, tmp_path / "shelf", "publish", run.folder]
    done = subprocess.run([*line, "mine"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "with its card and checksum" in done.stdout, done.stderr
    assert (tmp_path / "shelf" / "mine.md").exists()
    done = subprocess.run([*line, "attribute_predictor_x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("'attribute_predictor_x' cannot name a model")
    assert Path(tmp_path / "shelf").is_dir()
