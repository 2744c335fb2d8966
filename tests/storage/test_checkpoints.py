"""Files of a run: what they hold, and every fault of disks, files and folders reported in a sentence."""

import contextlib
import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny

import munit_lite as ml
from munit_lite.callbacks import Callback, SampleSheets, TensorBoardLog
from munit_lite.storage.checkpoints import load, save_model
from munit_lite.storage.files import CheckpointError, StorageError, write_checksum
from munit_lite.storage.run_folder import RunFolder
from munit_lite.storage.tensors import read_tensors, write_tensors


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return ml.train(tiny(steps=4), tmp_path_factory.mktemp("run"), callbacks=[])


def same_weights(a: ml.MUNIT, b: ml.MUNIT) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@contextlib.contextmanager
def full_disk(after: int):
    """While inside, the system refuses to let any file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ------------------------------------------------------------------------------------------------------- loading


def test_a_run_folder_loads_as_the_averaged_model(finished):
    model = load(finished.folder)
    assert same_weights(model, finished.model)
    assert model.config == finished.config and not model.training


def test_a_weights_file_and_a_name_load(finished, tmp_path, monkeypatch):
    save_model(tmp_path / "mine.safetensors", finished.model, 4)
    assert same_weights(load(tmp_path / "mine.safetensors"), finished.model)
    monkeypatch.setattr("munit_lite.storage.checkpoints.CHECKPOINTS_DIR", tmp_path)
    assert same_weights(load("mine"), finished.model)
    with pytest.raises(CheckpointError, match=r"yours is neither a run folder.*\(mine\)"):
        load("yours")


def test_an_unfinished_run_loads_from_its_state(finished, tmp_path):
    shutil.copy(finished.folder / "state.safetensors", tmp_path)
    assert same_weights(load(tmp_path), finished.model)


def test_a_stopped_run_loads_from_whichever_is_newer_its_state_or_the_last_checkpoint(finished, tmp_path):
    (tmp_path / "weights").mkdir()
    shutil.copy(finished.folder / "state.safetensors", tmp_path)
    other = ml.build(tiny(seed=5))
    step = read_tensors(tmp_path / "state.safetensors")[1]["step"]
    save_model(tmp_path / "weights" / f"step_{step - 1:08d}.safetensors", other, step - 1)
    assert same_weights(load(tmp_path), finished.model)
    save_model(tmp_path / "weights" / f"step_{step:08d}.safetensors", other, step)
    assert not same_weights(load(tmp_path), finished.model)
    (tmp_path / "state.safetensors").write_bytes(b"truncated")
    assert not same_weights(load(tmp_path), finished.model)


@pytest.mark.parametrize("name", ["attribute_predictor_sketch", "attribute_predictor_painting"])
def test_an_attribute_predictor_is_not_a_model_to_load(name):
    with pytest.raises(
        CheckpointError,
        match=rf"{name} is an attribute predictor, not a translation model; load it with load_",
    ):
        load(name)


def test_a_folder_without_weights_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="contains no weights yet"):
        load(tmp_path)


def test_an_installation_without_the_repository_says_where_the_shipped_ones_are(tmp_path, monkeypatch):
    monkeypatch.setattr("munit_lite.storage.checkpoints.CHECKPOINTS_DIR", tmp_path / "not there")
    with pytest.raises(
        CheckpointError, match=r"this installation has no checkpoints: they come with the repository .*clone it"
    ):
        load("world32")


def test_a_model_without_discriminators_translates_and_says_that_it_has_none(finished, tmp_path):
    whole = finished.model.state_dict()
    without_discriminators = {name: tensor for name, tensor in whole.items() if not name.startswith("discriminators.")}
    _, header = read_tensors(finished.folder / "state.safetensors")
    write_tensors(tmp_path / "small.safetensors", without_discriminators, header)
    model = load(tmp_path / "small.safetensors")
    x = torch.rand(1, 3, 32, 32)
    style = torch.zeros(1, 3)
    assert torch.equal(model.translate(x, 1, 2, style=style), finished.model.translate(x, 1, 2, style=style))
    with pytest.raises(CheckpointError, match="has no discriminators"):
        model.discriminator(1)(x)
    save_model(tmp_path / "resaved.safetensors", model, 4)  # and stays loadable when it is saved once more
    assert load_file(tmp_path / "resaved.safetensors").keys() == without_discriminators.keys()
    load(tmp_path / "resaved.safetensors")


# ----------------------------------------------------------------------------------------------- what does not fit


def edited(finished, path, edit, source="weights/step_00000004.safetensors"):
    """A file of the run with a change to tensors and header."""
    tensors, header = read_tensors(finished.folder / source)
    edit(tensors, header)
    write_tensors(path, tensors, header)
    return path


def without(kind):
    return lambda tensors, header: tensors.pop(next(name for name in tensors if name.startswith(kind)))


@pytest.mark.parametrize(("edit", "reason"), [
    (lambda tensors, header: header["config"]["network"].update(base_channels=8),
     r"auto_encoders\.\S+ has shape \(4, 3, 7, 7\), but must have \(8, 3, 7, 7\)"),
    (without("auto_encoders"), r"auto_encoders\.\S+ is missing"),
    (without("discriminators"), r"discriminators\.\S+ is missing"),
    (lambda tensors, header: tensors.update(more=torch.ones(1)), "more is unexpected"),
    (lambda tensors, header: header["config"].update(style_dimension=3), "unknown field 'style_dimension'"),
    (lambda tensors, header: header["config"]["network"].update(base_channels="wide"), "base_channels is 'wide'"),
])  # fmt: skip
def test_another_architecture_is_refused_by_the_first_difference(finished, tmp_path, edit, reason):
    path = edited(finished, tmp_path / "other.safetensors", edit)
    with pytest.raises(
        CheckpointError, match=rf"other\.safetensors does not match the configuration in its header: {reason}"
    ) as caught:
        load(path)
    assert "\n" not in str(caught.value)  # torch's own error is a list of every tensor


def test_a_file_of_something_else_is_refused(finished, tmp_path):
    path = edited(finished, tmp_path / "judge.safetensors", lambda tensors, header: header.pop("config"))
    with pytest.raises(
        CheckpointError, match=r"judge\.safetensors is not a MUNIT checkpoint: its header has no configuration"
    ):
        load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors is a safetensors file, but munit-lite did not"):
        load(tmp_path / "foreign.safetensors")


def test_another_configuration_in_the_same_folder_is_refused_with_the_difference(finished):
    with pytest.raises(CheckpointError, match=r"another configuration \(base_channels: 4 in the folder, 8 requested\)"):
        ml.train(tiny(steps=4, base_channels=8), finished.folder, callbacks=[])


def test_a_state_of_another_run_is_refused_with_the_difference(finished, tmp_path):
    shutil.copy(finished.folder / "state.safetensors", tmp_path)
    with pytest.raises(
        CheckpointError, match=r"state\.safetensors belongs to a run of another configuration \(seed: 0 in"
    ):
        ml.train(tiny(steps=4, seed=1), tmp_path, callbacks=[])


@pytest.mark.parametrize(("source", "edit", "reason"), [
    ("state.safetensors", lambda tensors, header: header.pop("step"), "'step'"),
    ("state.safetensors", without("average"), r"\S+ is missing"),
    ("weights/step_00000004.safetensors", lambda tensors, header: None, r"\S+ is missing"),  # weights are no state
])  # fmt: skip
def test_a_file_that_is_no_state_is_refused(finished, tmp_path, source, edit, reason):
    edited(finished, tmp_path / "state.safetensors", edit, source)
    with pytest.raises(CheckpointError, match=rf"state\.safetensors is not a state of this run: {reason}; remove it"):
        ml.train(finished.config, tmp_path, callbacks=[])


def test_what_changes_no_weight_may_differ_on_resume(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy")
    resumed = ml.train(tiny(steps=4, save_every=3, log_every=2, num_threads=2), tmp_path / "copy", callbacks=[])
    assert same_weights(resumed.model, finished.model)
    torch.set_num_threads(1)


# -------------------------------------------------------------------------------------------------- damaged files


def test_a_file_truncated_anywhere_is_named(finished, tmp_path):
    """At every byte of the header and at 200 places in the tensors, by shortening one file step by step."""
    cut = tmp_path / "cut.safetensors"
    shutil.copy(finished.folder / "weights" / "step_00000004.safetensors", cut)
    whole = cut.stat().st_size
    header = 8 + int.from_bytes(cut.read_bytes()[:8], "little")
    assert header < whole - 200
    lengths = {*range(header + 1), *(header + (whole - header) * k // 200 for k in range(200)), whole - 1}
    for length in sorted(lengths, reverse=True):
        os.truncate(cut, length)
        with pytest.raises(CheckpointError) as caught:
            read_tensors(cut)
        assert f"{cut} is not a complete munit-lite checkpoint" in str(caught.value), length


def test_a_truncated_state_stops_the_run_that_would_resume(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    os.truncate(tmp_path / "run" / "state.safetensors", 5000)
    with pytest.raises(
        CheckpointError, match=r"state\.safetensors is not a complete munit-lite checkpoint .*truncated"
    ):
        ml.train(finished.config, tmp_path / "run", callbacks=[])


class Malicious:
    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return (Path.touch, (self.touched,))


@pytest.mark.parametrize("protocol", [0, 2, 5, "torch"])
@pytest.mark.parametrize("name", ["model.pt", "model.ckpt"])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, protocol, name):
    attack, touched = tmp_path / name, tmp_path / "executed"
    if protocol == "torch":
        torch.save(Malicious(touched), attack)
    else:
        attack.write_bytes(pickle.dumps(Malicious(touched), protocol=protocol))
    with pytest.raises(CheckpointError, match=r"model\.\w+ is a pickle.*munit-lite reads safetensors files only"):
        load(attack)
    shutil.copy(attack, tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError):
        ml.train(tiny(), tmp_path, callbacks=[])
    assert not touched.exists()
    if protocol != "torch":
        pickle.loads(attack.read_bytes())
        assert touched.exists()  # the attack is a real one


def test_a_truncated_line_of_the_history_is_dropped(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_history({"step": 1, "total": 2.0})
    folder.append_history({"step": 2, "total": 1.0})
    with open(folder.history_file, "ab") as file:
        file.write(b'{"step": 3, "tot\x00\xff')
    assert [record["step"] for record in folder.truncate_history(until=1)] == [1]
    assert len(folder.history_file.read_text().splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": {"name": "world32", "color": "red"}}'])
def test_a_damaged_configuration_is_named(finished, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        ml.train(finished.config, tmp_path, callbacks=[])


def test_the_configuration_lies_beside_the_weights(finished):
    held = json.loads((finished.folder / "config.json").read_text())
    assert held["config"]["network"]["base_channels"] == 4 and held["versions"]["torch"] == torch.__version__
    assert RunFolder(finished.folder).read_config() == finished.config


# ------------------------------------------------------------------------------------------- disks and folders


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    config = tiny()
    with RunFolder(tmp_path).lock(config), pytest.raises(StorageError, match="another process is training in"):
        ml.train(config, tmp_path, callbacks=[])


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"a": torch.ones(3)}, {"step": 1})
    with full_disk(after=2000), pytest.raises(StorageError) as caught:
        write_tensors(path, {"a": torch.zeros(1000)}, {"step": 2})
    assert re.search(
        r"cannot write \S+state\.safetensors: File too large \(the previous file is unchanged\); free some space",
        str(caught.value),
    )
    tensors, header = read_tensors(path)
    assert header == {"step": 1} and torch.equal(tensors["a"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


class DiskFills(Callback):
    """From a step on, no file grows beyond so many bytes."""

    def __init__(self, step, after):
        self.step, self.after, self.stack = step, after, contextlib.ExitStack()

    def on_log(self, record):
        if record["step"] == self.step:
            self.stack.enter_context(full_disk(self.after))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return ml.train(tiny(), tmp_path_factory.mktemp("undisturbed"), callbacks=[])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
@pytest.mark.parametrize(("after", "report", "settings", "file"), [
    (20_000, None, {"save_every": 5}, r"state\.safetensors"),
    (1, None, {"save_every": 5}, r"metrics\.jsonl"),
    (8_000, SampleSheets, {"save_every": 5, "sample_every": 7}, r"step_00000007\.png"),
    (8_000, TensorBoardLog, {"save_every": 5, "sample_every": 6}, "reports"),
])  # fmt: skip
def test_a_disk_that_fills_while_training_is_reported_and_the_run_resumes_later(
    tmp_path, undisturbed, after, report, settings, file
):
    config, folder = tiny(num_checkpoints=1, **settings), tmp_path / "run"
    filling = DiskFills(6, after)
    reports = [filling, report(tmp_path / "reports")] if report else [filling]
    with filling.stack, pytest.raises(StorageError, match=f"cannot write .*{file}.* free some space"):
        ml.train(config, folder, callbacks=reports)
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("step_00000007.png"))
    assert read_tensors(folder / "state.safetensors")[1]["step"] == 5
    resumed = ml.train(tiny(num_checkpoints=1, save_every=1000), folder, callbacks=[])
    assert same_weights(resumed.model, undisturbed.model)


def test_a_disk_too_full_for_the_configuration_is_reported(tmp_path):
    with full_disk(after=100), pytest.raises(StorageError, match=r"cannot write .*config\.json"):
        ml.train(tiny(), tmp_path, callbacks=[])
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == []


@pytest.mark.parametrize("place", ["/proc/run", "{file}/run"])
def test_a_folder_that_cannot_be_written_into_is_named(place, tmp_path):
    (tmp_path / "file").touch()
    folder = place.format(file=tmp_path / "file")
    with pytest.raises(StorageError, match=f"cannot write {folder}: .*; choose another folder"):
        ml.train(tiny(), folder, callbacks=[])


@pytest.mark.slow
def test_the_command_line_reports_a_fault_in_one_sentence(tmp_path):
    """A limit on the size of files stands for the full disk, also in a process of its own."""
    settings = {
        "base_channels": 4,
        "mlp-width": 8,
        "num_residual_blocks": 1,
        "discriminator-base-channels": 4,
        "batch-size": 2,
        "steps": 12,
    }
    line = ["train", "world32", *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
    program = "import sys; from munit_lite.cli import main; sys.argv[0] = 'munit-lite'; main()"
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # noqa: E731
    for arguments, preexec, said in (
        ([*line, "--save-every", "2", "--out", str(tmp_path / "full")], limit, "cannot write"),
        (["evaluate", str(pickled)], None, "is a pickle"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, preexec_fn=preexec, check=False
        )
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.fixture
def error_of(monkeypatch, capsys):
    """Runs the command in this process and gives the one sentence it fails with."""
    from munit_lite import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["munit-lite", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        assert stop.value.code == 1 and printed.out == ""
        *_, sentence = printed.err.splitlines()  # a progress bar may stand above
        assert sentence.startswith("munit-lite: ")
        return sentence

    return run


def _options(**settings):
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


SMALL = {"base_channels": 4, "mlp_width": 8, "num_residual_blocks": 1, "discriminator_base_channels": 4,
         "batch_size": 2, "num_threads": 1, "device": "cpu"}  # fmt: skip


TRAIN = ["train", "world32", *_options(**SMALL)]


def _truncated(run, tmp_path, stack):
    os.truncate(run / "weights" / "step_00000004.safetensors", 4000)
    return ["evaluate", run]


def _other(run, tmp_path, stack):
    source = run / "weights" / "step_00000004.safetensors"
    tensors, header = read_tensors(source)
    without("auto_encoders")(tensors, header)
    write_tensors(tmp_path / "other.safetensors", tensors, header)
    return ["translate", tmp_path / "other.safetensors", tmp_path, tmp_path / "out"]


def _in_use(run, tmp_path, stack):
    stack.enter_context(RunFolder(run).lock(RunFolder(run).read_config()))
    return [*TRAIN, "--out", run]


def _bad_list(run, tmp_path, stack):
    (run / "weights" / "checksums.txt").write_text("hello")
    return ["evaluate", run]


CALLS = {  # what is wrong: (how it comes about and what is typed, what is said)
    "truncated weights": (_truncated, r"step_00000004\.safetensors is not a complete munit-lite checkpoint"),
    "another architecture": (
        _other, r"other\.safetensors does not match the configuration in its header: \S+ is missing"),
    "another configuration": (lambda run, *_: [*TRAIN, "--base-channels", 8, "--out", run],
                              r"belongs to a run of another configuration \(.*base_channels: 4 in the folder, 8"),
    "a second run": (_in_use, "another process is training in .*; wait for it or choose another folder"),
    "an unwritable folder": (lambda *_: [*TRAIN, "--out", "/proc/run"],
                             "cannot write /proc/run: .*; choose another folder"),
    "a damaged checksum list": (_bad_list, r"checksums\.txt is damaged, because a line is not a sha256"),
    "nothing there": (lambda run, tmp_path, _: ["evaluate", tmp_path / "nowhere"], "is neither a run folder, a"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CALLS)
def test_every_fault_is_one_sentence_of_the_command_and_touches_nothing(finished, tmp_path, error_of, fault):
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    typed, said = CALLS[fault]
    stack = contextlib.ExitStack()
    arguments = typed(run, tmp_path, stack)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    with stack:
        assert re.search(said, error_of(*arguments))
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


# ------------------------------------------------------------------------------------------------------- checksums


def test_checksums_are_those_of_sha256sum(finished, tmp_path):
    save_model(tmp_path / "a.safetensors", finished.model, 4)
    save_model(tmp_path / "b b.safetensors", finished.model, 4)
    for name in ("b b", "a", "a"):
        write_checksum(tmp_path / f"{name}.safetensors")
    done = subprocess.run(["sha256sum", "--check", "--strict", "checksums.txt"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert len((tmp_path / "checksums.txt").read_text().splitlines()) == 2


def test_a_changed_byte_of_a_shipped_checkpoint_is_detected(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("munit_lite.storage.checkpoints.CHECKPOINTS_DIR", tmp_path)
    file = tmp_path / "mine.safetensors"
    save_model(file, finished.model, 4)
    write_checksum(file)
    load("mine")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    for source in ("mine", file):
        with pytest.raises(CheckpointError, match=r"mine\.safetensors is damaged or was changed: its sha256 differs"):
            load(source)
    save_model(tmp_path / "other.safetensors", finished.model, 4)
    write_checksum(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is damaged"):
        load("mine")  # shipping another one has not blessed it
    (tmp_path / "checksums.txt").unlink()
    load("mine")  # a whole safetensors file: only the checksum can detect it
