import json

import pytest
import torch
from tiny import tiny

import munit_lite as ml
from munit_lite.checkpoints import CheckpointError, RunFolder, load, read_tensors, save_model, write_tensors


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return ml.train(tiny(steps=4), tmp_path_factory.mktemp("run"), callbacks=[])


def same_weights(a: ml.MUNIT, b: ml.MUNIT) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_run_folder_loads_as_the_averaged_model(finished):
    model = load(finished.folder)
    assert same_weights(model, finished.model)
    assert model.config == finished.config and not model.training


def test_a_weights_file_and_a_name_load(finished, tmp_path, monkeypatch):
    save_model(tmp_path / "mine.safetensors", finished.model, 4)
    assert same_weights(load(tmp_path / "mine.safetensors"), finished.model)
    monkeypatch.setattr("munit_lite.checkpoints.SHIPPED", tmp_path)
    assert same_weights(load("mine"), finished.model)
    with pytest.raises(CheckpointError, match=r"yours is neither a run folder.*\(mine\)"):
        load("yours")


def test_an_unfinished_run_loads_from_its_state(finished, tmp_path):
    (tmp_path / "state.safetensors").write_bytes((finished.folder / "state.safetensors").read_bytes())
    assert same_weights(load(tmp_path), finished.model)


def test_a_folder_without_weights_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights yet"):
        load(tmp_path)


def test_weights_of_another_architecture_are_refused(finished, tmp_path):
    tensors, header = read_tensors(finished.folder / "state.safetensors")
    header["config"]["network"]["width"] = 8
    write_tensors(tmp_path / "other.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match=r"other\.safetensors does not hold a MUNIT"):
        load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("length", [0, 3, 8, 100, 5000])
def test_a_cut_off_file_is_named(finished, length, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((finished.folder / "state.safetensors").read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is not a whole munit-lite checkpoint"):
        read_tensors(cut)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"a": torch.ones(3)}, {"step": 1})

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("munit_lite.checkpoints.save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*state\.safetensors.*No space left.*Free some space"):
        write_tensors(path, {"a": torch.zeros(3)}, {"step": 2})
    tensors, header = read_tensors(path)
    assert header == {"step": 1} and torch.equal(tensors["a"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_another_configuration_in_the_same_folder_is_refused_with_the_difference(finished):
    with pytest.raises(CheckpointError, match=r"another configuration \(width: 4 in the folder, 8 asked for\)"):
        ml.train(tiny(steps=4, width=8), finished.folder, callbacks=[])


def test_what_changes_no_weight_may_differ_on_resume(finished):
    again = ml.train(tiny(steps=4, save_every=3, log_every=2, threads=2), finished.folder, callbacks=[])
    assert same_weights(again.model, finished.model)
    torch.set_num_threads(1)


def test_a_second_run_in_the_same_folder_is_told(tmp_path):
    config = tiny()
    with RunFolder(tmp_path).claimed(config), pytest.raises(CheckpointError, match="another run is training in"):
        ml.train(config, tmp_path, callbacks=[])


def test_a_cut_off_line_of_the_history_is_dropped(finished, tmp_path):
    folder = RunFolder(tmp_path)
    folder.append({"step": 1, "total": 2.0})
    folder.append({"step": 2, "total": 1.0})
    with open(folder.history_file, "a") as file:
        file.write('{"step": 3, "tot')
    assert [record["step"] for record in folder.history(until=1)] == [1]
    assert len(folder.history_file.read_text().splitlines()) == 1


def test_the_configuration_lies_beside_the_weights(finished):
    held = json.loads((finished.folder / "config.json").read_text())
    assert held["config"]["network"]["width"] == 4 and held["versions"]["torch"] == torch.__version__
    assert RunFolder(finished.folder).config() == finished.config
