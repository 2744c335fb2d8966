import json
import sys

import pytest
import torch
from PIL import Image
from tiny import tiny

import munit_lite as ml
from munit_lite import cli


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return ml.train(tiny(steps=4), tmp_path_factory.mktemp("run"), callbacks=[]).folder


def command(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["munit-lite", *map(str, arguments)])
    cli.main()


@pytest.fixture
def sketches(tmp_path):
    folder = tmp_path / "sketches"
    folder.mkdir()
    for k, size in enumerate([(40, 32), (32, 48)]):
        Image.new("L", size, 200).save(folder / f"sketch{k}.png")
    return folder


def test_train_takes_every_field_as_an_option_and_evaluate_measures_the_run(tmp_path, monkeypatch, capsys):
    small = ["--width", 4, "--mlp-width", 8, "--blocks", 1, "--discriminator-width", 4, "--batch-size", 2]
    command(monkeypatch, "train", "world32", "--steps", 2, "--threads", 1, *small, "--out", tmp_path / "run")
    assert "trained 2 steps" in capsys.readouterr().out
    assert ml.load(tmp_path / "run").config.network.width == 4


def test_evaluate_prints_a_table_and_writes_json(finished, tmp_path, monkeypatch, capsys):
    command(monkeypatch, "evaluate", finished, "--count", 20, "--json-file", tmp_path / "numbers.json")
    assert "sketch to painting" in capsys.readouterr().out
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert 0 <= written["numbers"]["painting to sketch"]["class_accuracy"] <= 1
    assert written["provenance"]["settings"]["count"] == 20


def test_translate_writes_every_style_of_every_image_and_never_overwrites_untold(
    finished, sketches, monkeypatch, tmp_path
):
    out = tmp_path / "painted"
    command(monkeypatch, "translate", finished, sketches, out, "--styles", 3)
    assert sorted(p.name for p in out.iterdir()) == [f"sketch{k}_style{s}.png" for k in (0, 1) for s in (0, 1, 2)]
    assert Image.open(out / "sketch0_style0.png").size == (32, 32)
    with pytest.raises(SystemExit, match=r"sketch0_style0\.png is already there; use --overwrite"):
        command(monkeypatch, "translate", finished, sketches, out)
    command(monkeypatch, "translate", finished, sketches, out, "--overwrite")


def test_translate_takes_the_style_of_an_example(finished, sketches, monkeypatch, tmp_path):
    command(
        monkeypatch, "translate", finished, sketches / "sketch0.png", tmp_path / "out",
        "--style-from", sketches / "sketch1.png",
    )  # fmt: skip
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["sketch0_style0.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "no/run", ".", "out"], "no/run is neither a run folder, a weights file nor a shipped"),
        (["evaluate", "no/run"], "no/run is neither a run folder"),
    ],
)
def test_mistakes_end_with_a_sentence_and_a_failing_exit_code(arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, *arguments)
    assert stop.value.code not in (0, None)
    assert message in str(stop.value.code)


def test_an_empty_folder_to_translate_is_named(finished, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="is neither an image nor a folder with images"):
        command(monkeypatch, "translate", finished, tmp_path, tmp_path / "out")


def test_doctor_tells_versions_and_data(monkeypatch, capsys):
    command(monkeypatch, "doctor")
    out = capsys.readouterr().out
    assert torch.__version__ in out and "Fashion-MNIST" in out


def test_bench_measures_a_step_in_its_own_process(monkeypatch, capsys):
    command(monkeypatch, "bench", "--presets", "world32", "--steps", 1)
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[1].strip() == "`world32`" and float(row[4]) > 0
