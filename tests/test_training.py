import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from tiny import tiny
from torch import nn

import munit_lite as ml
import munit_lite.training
from munit_lite.acceleration.objective import AcceleratedObjective
from munit_lite.callbacks import Callback, default_callbacks
from munit_lite.config import OptimizerConfig
from munit_lite.data import open_data
from munit_lite.training_step import Trainer, learning_rate, sample_styles


def new_trainer(**overrides) -> tuple[Trainer, torch.Tensor, torch.Tensor]:
    config = tiny(**overrides)
    x_1, x_2 = open_data(config).batch(0, config.batch_size)
    return Trainer.new(config, Fabric(accelerator="cpu", devices=1, precision=config.precision)), x_1, x_2


def grads(module: nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in module.parameters() if p.grad is not None]


# --------------------------------------------------------------------------------------------------- the step


@pytest.mark.parametrize("updates", [1, 3])
def test_each_encoding_and_decoding_is_computed_once(updates):
    trainer, x_1, x_2 = new_trainer(discriminator_updates=updates)
    calls: dict[str, int] = {}

    def count(name):
        return lambda *_: calls.update({name: calls.get(name, 0) + 1})

    for domain in (1, 2):
        auto = trainer.model.auto_encoder(domain)
        for name in ("content_encoder", "style_encoder", "decoder"):
            getattr(auto, name).register_forward_hook(count(name))
        trainer.model.discriminator(domain).register_forward_hook(count("discriminator"))
    trainer.step(0, x_1, x_2)
    # Of both domains together: images and translations are encoded; a decoder's two uses are one batch; a
    # discriminator sees real and translated in one batch, then the translations once more for the generator.
    seen = 2 * (updates + 1)
    assert calls == {"content_encoder": 4, "style_encoder": 4, "decoder": 2, "discriminator": seen}


def test_the_r1_penalty_counts_every_fourth_step_four_times():
    def gradients(trainer):
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in trainer.model.discriminators.parameters()]

    def after_step(number, penalty):
        trainer, x_1, x_2 = new_trainer(r1_weight=penalty)
        trainer.step(number, x_1, x_2)
        return gradients(trainer)

    trainer, x_1, x_2 = new_trainer()
    trainer.objective.r1_penalty(x_1, x_2).backward()
    assert max(g.abs().max() for g in gradients(trainer)) > 0
    for with_penalty, without, alone in zip(after_step(4, 2.0), after_step(4, 0.0), gradients(trainer), strict=True):
        torch.testing.assert_close(with_penalty - without, 4 * 2.0 * alone, atol=1e-4, rtol=1e-3)
    for number in (1, 2, 3):
        assert all(map(torch.equal, after_step(number, 2.0), after_step(number, 0.0)))


def test_in_bf16_each_update_sees_the_weights_that_the_last_one_set():
    settings = {"precision": "bf16-mixed", "learning_rate": 0.1}
    (twice, x_1, x_2), (once, _, _) = (new_trainer(**settings, discriminator_updates=n) for n in (2, 1))
    with torch.no_grad(), once.fabric.autocast():
        outputs = once.objective.generate(x_1, x_2, *sample_styles(once.model, 0, len(x_1)))
    once.step(0, x_1, x_2)
    with torch.no_grad(), once.fabric.autocast():
        second = once.objective.discriminator_losses(x_1, x_2, outputs)
    found = twice.step(0, x_1, x_2)
    for name, value in second.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-3)


def test_every_precision_trains_a_step(tmp_path):
    for precision in ("tf32", "bf16-mixed", "32-true"):
        (record,) = ml.train(
            tiny(precision=precision, steps=1, num_checkpoints=1), tmp_path / precision, callbacks=[]
        ).history
        assert record["total"] > 0
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_styles_of_a_step_come_from_the_models_own_prior():
    trainer, *_ = new_trainer()
    s_1, s_2 = sample_styles(trainer.model, 3, 4)
    generator = torch.Generator().manual_seed(trainer.config.seed * 1_000_003 + 3)
    assert torch.equal(torch.cat([s_1, s_2]), trainer.model.sample_style(8, generator))


def test_each_update_moves_only_its_own_networks():
    trainer, x_1, x_2 = new_trainer()
    model, objective = trainer.model, trainer.objective
    outputs = objective.generate(x_1, x_2, *sample_styles(model, 0, len(x_1)))
    sum(objective.discriminator_losses(x_1, x_2, outputs).values()).backward()
    assert grads(model.discriminators) and not grads(model.auto_encoders)
    before = [p.clone() for p in model.discriminators.parameters()]
    trainer.discriminator_optimizer.step = lambda: None  # only the autoencoders' update is left
    trainer.step(0, x_1, x_2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.discriminators.parameters(), strict=True))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("weight", ["content_weight", "style_weight", "image_weight", "gan_weight"])
def test_a_weight_of_zero_takes_the_term_out_of_the_objective(weight):
    trainer, x_1, x_2 = new_trainer(**{weight: 0.0})
    terms = trainer.step(0, x_1, x_2)
    weights = trainer.config.loss.weights()
    total = sum(v * weights[n[:-2]] for n, v in terms.items() if n[:-2] in weights)
    torch.testing.assert_close(terms["total"], total)


def test_averaged_weights_are_the_exponential_average_of_the_weights():
    trainer, x_1, x_2 = new_trainer(ema_decay=0.5)
    expected = None
    for number in range(4):
        trainer.step(number, x_1, x_2)
        now = [p.detach().clone() for p in trainer.model.auto_encoders.parameters()]
        decay = min(0.5, (1 + number) / (10 + number))
        expected = (
            now if expected is None else [decay * e + (1 - decay) * n for e, n in zip(expected, now, strict=True)]
        )
    got = list(trainer.ema_model().auto_encoders.parameters())
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_learning_rate_schedules():
    halving = OptimizerConfig(learning_rate=1.0, schedule="step", decay_every=100)
    assert [learning_rate(halving, s, 1000) for s in (0, 99, 100, 250)] == [1.0, 1.0, 0.5, 0.25]
    cosine = OptimizerConfig(learning_rate=1.0, schedule="cosine")
    assert learning_rate(cosine, 0, 1000) == pytest.approx(0.01)
    assert learning_rate(cosine, 500, 1000) == pytest.approx(0.5)
    assert learning_rate(cosine, 999, 1000) < 1e-4


def test_sampled_styles_depend_on_seed_and_step_alone():
    model = ml.build(tiny())
    once, again = sample_styles(model, 3, 4), sample_styles(ml.build(tiny(steps=7)), 3, 4)
    assert torch.equal(once[0], again[0]) and not torch.equal(once[0], once[1])
    assert not torch.equal(once[0], sample_styles(model, 4, 4)[0])
    assert not torch.equal(once[0], sample_styles(ml.build(tiny(seed=1)), 3, 4)[0])


@pytest.mark.slow
def test_reconstruction_is_learned(tmp_path):
    run = ml.train(tiny(steps=80, base_channels=8, batch_size=4), tmp_path, callbacks=[])
    first, last = run.history[0], run.history[-1]
    for name in ("image_1", "image_2"):
        assert last[name] < 0.6 * first[name]


@pytest.mark.parametrize(
    "overrides",
    [{"precision": "bf16-mixed"}, {"gan_mode": "nonsaturating"}, {"gan_mode": "lsgan"}, {"gan_mode": "hinge"}],
)
def test_variants_of_the_step_train_without_infinities(overrides, tmp_path):
    run = ml.train(tiny(steps=3, **overrides), tmp_path, callbacks=[])
    assert len(run.history) == 3


# --------------------------------------------------------------------------------------- what survives a stop

# `make soak` asks for 20 kills. Each comes a moment after the record of a random step, wherever the run then is.
_KILLS = random.Random(0).choices(range(1, 12), k=int(os.environ.get("MUNIT_LITE_KILLS", "3")))

_DRIVER = """
import os, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from tiny import tiny
import munit_lite as ml
import munit_lite.training
from munit_lite.callbacks import Callback, default_callbacks

class Stop(Callback):
    def on_log(self, record):
        if record["step"] == int(sys.argv[3]):
            if sys.argv[4] == "SIGKILL":
                threading.Timer(0.003 * record["step"], os.kill, (os.getpid(), signal.SIGKILL)).start()
            else:
                os.kill(os.getpid(), getattr(signal, sys.argv[4]))
        if record["step"] == 12 and int(sys.argv[3]) > 0 and sys.argv[4] == "SIGKILL":
            time.sleep(60)  # until the kill comes

try:
    ml.train(tiny(), sys.argv[2], callbacks=[Stop()])
except KeyboardInterrupt:  # Python's own exit code for it depends on what other packages do at exit
    sys.exit(130)
"""


def run_until(folder: Path, step: int, name: str) -> int:
    command = [sys.executable, "-c", _DRIVER, str(Path(__file__).parent), str(folder), str(step), name]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_until(folder, -1, "SIGKILL") == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step", "code"),
    [*(("SIGKILL", step, -9) for step in _KILLS), ("SIGTERM", 6, 143), ("SIGINT", 5, 130)],
)
def test_a_stopped_run_goes_on_to_bit_identical_weights(name, step, code, undisturbed, tmp_path):
    assert run_until(tmp_path, step, name) == code
    if name != "SIGKILL":  # a signal that comes while a step is reported is obeyed after the next
        assert ml.storage.tensors.read_tensors(tmp_path / "state.safetensors")[1]["step"] == step + 1
    assert run_until(tmp_path, -1, "SIGKILL") == 0
    wanted, got = (load_file(folder / "state.safetensors") for folder in (undisturbed, tmp_path))
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[key], got[key]) for key in wanted)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 13))
    assert records == [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("seconds", "saved"), [(60.0, None), (0.0, 7)])
def test_a_run_saves_its_state_after_a_minute_even_between_the_steps_of_its_plan(seconds, saved, monkeypatch, tmp_path):
    class Killed(Callback):
        def on_log(self, record):
            if record["step"] == 8:
                raise RuntimeError("killed")

    assert munit_lite.training.SAVE_SECONDS == 60
    monkeypatch.setattr(munit_lite.training, "SAVE_SECONDS", seconds)
    config = tiny(save_every=1000, num_checkpoints=0)
    with pytest.raises(RuntimeError, match="killed"):
        ml.train(config, tmp_path, callbacks=[Killed()])
    state = tmp_path / "state.safetensors"
    assert (ml.storage.tensors.read_tensors(state)[1]["step"] if state.exists() else None) == saved


@pytest.fixture(scope="module")
def twelve_steps(tmp_path_factory):
    return {
        schedule: ml.train(tiny(schedule=schedule, decay_every=5), tmp_path_factory.mktemp(schedule), callbacks=[])
        for schedule in ("step", "cosine")
    }


@pytest.mark.parametrize("stopped_at", [None, 6])
def test_a_run_of_the_step_schedule_is_trained_longer_exactly(stopped_at, twelve_steps, tmp_path):
    class Stop(Callback):
        def on_log(self, record):
            if record["step"] == stopped_at:
                raise RuntimeError("stopped")

    settings = {"schedule": "step", "decay_every": 5}
    with pytest.raises(RuntimeError, match="stopped") if stopped_at else nullcontext():
        ml.train(tiny(steps=8, **settings), tmp_path, callbacks=[Stop()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longer = ml.train(tiny(steps=12, **settings), tmp_path, callbacks=[])
    expected = twelve_steps["step"]
    wanted, got = (load_file(folder / "state.safetensors") for folder in (expected.folder, tmp_path))
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[key], got[key]) for key in wanted)
    assert longer.history == expected.history
    assert [record["step"] for record in longer.history] == list(range(1, 13))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["steps"] == 12


def test_a_run_of_the_cosine_schedule_is_trained_longer_with_a_warning(twelve_steps, tmp_path):
    first = ml.train(tiny(steps=8), tmp_path, callbacks=[])
    with pytest.warns(UserWarning, match=r"12 steps instead of 8: its cosine schedule now ends at the new last step"):
        longer = ml.train(tiny(steps=12), tmp_path, callbacks=[])
    assert longer.history[:8] == first.history
    assert [record["step"] for record in longer.history] == list(range(1, 13))
    assert longer.history[-1] != twelve_steps["cosine"].history[-1]


def test_a_run_with_fewer_steps_than_its_folder_is_refused(tmp_path):
    ml.train(tiny(steps=2), tmp_path, callbacks=[])
    with pytest.raises(ml.CheckpointError, match=r"steps: 2 in the folder, 1 requested.*more steps to train it longer"):
        ml.train(tiny(steps=1), tmp_path, callbacks=[])


class Poison(Callback):
    """Damages the images from a step on."""

    def __init__(self, data, step):
        self.data, self.step = data, step

    def batch(self, step, count):
        x_1, x_2 = self.data.batch(step, count)
        return (x_1 * float("nan"), x_2) if step >= self.step else (x_1, x_2)

    def test(self, count):
        return self.data.test(count)


def test_a_loss_that_is_not_finite_is_named_and_the_last_good_state_kept(tmp_path):
    config = tiny()
    with pytest.raises(ml.TrainingError, match=r"the loss image_1 is nan at step 7; the last saved state is in"):
        ml.train(config, tmp_path, callbacks=[], data=Poison(open_data(config), 6))
    tensors, header = ml.storage.tensors.read_tensors(tmp_path / "state.safetensors")
    assert header["step"] == 6
    assert all(t.isfinite().all() for t in tensors.values())
    assert len(ml.train(config, tmp_path, callbacks=[]).history) == 12  # and it can go on from there


class Injected(Callback):
    """Multiplies one loss by something from a step on."""

    def __init__(self, monkeypatch, name, factor, step):
        self.steps = 0

        generator_losses = AcceleratedObjective.generator_losses

        def broken(*given):
            loss_terms = generator_losses(*given)
            self.steps += 1
            return loss_terms | {name: loss_terms[name] * factor} if self.steps > step else loss_terms

        monkeypatch.setattr(AcceleratedObjective, "generator_losses", broken)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["style_2", "gan_1"])
def test_a_loss_that_breaks_down_is_named_and_the_run_goes_on_with_a_lower_rate(name, factor, monkeypatch, tmp_path):
    config = tiny()
    with monkeypatch.context() as broken:
        Injected(broken, name, factor, step=6)
        with pytest.raises(ml.TrainingError, match=rf"the loss {name} is {factor} at step 7; .* lower learning_rate"):
            ml.train(config, tmp_path, callbacks=[])
    gentler = tiny(learning_rate=config.optimizer.learning_rate / 4)
    with pytest.warns(UserWarning, match=r"resumes with learning_rate 0\.0005 instead of 0\.002"):
        run = ml.train(gentler, tmp_path, callbacks=[])
    assert [record["step"] for record in run.history] == list(range(1, 13))
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())
    assert ml.storage.run_folder.RunFolder(tmp_path).read_config() == gentler


def test_a_state_that_no_run_could_go_on_from_is_not_saved(monkeypatch, tmp_path):
    """What Adam remembers of a gradient overflows, while the losses of that step are still fine."""
    step = Trainer.step

    def overflowing(self, number, x_1, x_2):
        terms = step(self, number, x_1, x_2)
        if number == 5:
            next(iter(self.generator_optimizer.state.values()))["exp_avg_sq"].fill_(float("inf"))
        return terms

    with monkeypatch.context() as broken:
        broken.setattr(Trainer, "step", overflowing)
        with pytest.raises(
            ml.TrainingError, match=r"Adam's moments .* not finite at step 6; the last saved state .* lower"
        ):
            ml.train(tiny(save_every=2), tmp_path, callbacks=[])
    tensors, header = ml.storage.tensors.read_tensors(tmp_path / "state.safetensors")
    assert header["step"] == 4 and all(tensor.isfinite().all() for tensor in tensors.values())
    assert not list((tmp_path / "weights").glob("*"))  # nor are weights kept, which `load` would take for the newest
    assert len(ml.train(tiny(save_every=2), tmp_path, callbacks=[]).history) == 12


@pytest.mark.parametrize("fails", ["storage.run_folder.RunFolder.save_checkpoint", "callbacks.SampleSheets.on_sample"])
def test_kept_weights_and_sheets_whose_writing_failed_are_made_when_the_run_goes_on(fails, monkeypatch, tmp_path):
    def full(*_):
        raise ml.StorageError("cannot write: No space left on device")

    config = tiny(steps=4, num_checkpoints=1, sample_every=4)
    with monkeypatch.context() as broken:
        broken.setattr(f"munit_lite.{fails}", full)
        with pytest.raises(ml.StorageError):
            ml.train(config, tmp_path)
    run = ml.train(config, tmp_path)
    assert (tmp_path / "samples" / "step_00000004.png").is_file()
    for mine, loaded in zip(run.model.state_dict().values(), ml.load(tmp_path).state_dict().values(), strict=True):
        assert torch.equal(mine, loaded)


def test_a_run_goes_on_exactly_whatever_the_memory_layout_of_its_weights():
    """On a GPU weights are channels_last; files hold everything in order of its indices."""

    def trainer():
        made, x_1, x_2 = new_trainer()
        made.model.to(memory_format=torch.channels_last)
        return made, x_1, x_2

    (whole, x_1, x_2), (again, _, _) = trainer(), trainer()
    for number in range(3):
        whole.step(number, x_1, x_2)
    stored = {name: tensor.contiguous().clone() for name, tensor in whole.state(3).state_dict().items()}
    again.state(0).load_state_dict(stored)
    for number in range(3, 6):
        whole.step(number, x_1, x_2)
        again.step(number, x_1, x_2)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def full_memory(*_):
    return torch.empty(1 << 50)


def test_a_full_memory_says_what_to_lower_and_keeps_the_last_state(monkeypatch, tmp_path):
    class Full(Callback):
        def on_log(self, record):
            if record["step"] == 5:
                monkeypatch.setattr(AcceleratedObjective, "generate", full_memory)

    with pytest.raises(ml.TrainingError, match=r"out of memory: a step on 2 images of 32 px .* grad_accumulation"):
        ml.train(tiny(), tmp_path, callbacks=[Full()])
    assert ml.storage.tensors.read_tensors(tmp_path / "state.safetensors")[1]["step"] == 4


def test_another_error_is_not_taken_for_a_full_memory(monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(AcceleratedObjective, "generate", broken)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        ml.train(tiny(), tmp_path, callbacks=[])


def test_a_clock_that_is_set_back_changes_nothing(monkeypatch, tmp_path):
    undisturbed = ml.train(tiny(), tmp_path / "undisturbed", callbacks=[])

    class SetBack(Callback):
        def on_log(self, record):
            if record["step"] == 5:
                for name in ("time", "monotonic", "perf_counter"):
                    now = getattr(time, name)
                    monkeypatch.setattr(time, name, lambda now=now: now() - 86_400)

    again = ml.train(tiny(), tmp_path / "run", callbacks=[SetBack(), *default_callbacks(tmp_path / "run")])
    assert again.history == undisturbed.history


def test_an_interrupted_run_says_that_its_state_is_saved(tmp_path):
    class CtrlC(Callback):
        def on_log(self, record):
            if record["step"] == 3:
                signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the background job of a shell ignores it
    with pytest.raises(KeyboardInterrupt, match="after step 4; the state is saved"):
        ml.train(tiny(), tmp_path, callbacks=[CtrlC()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_default_callbacks_write_sheets_and_curves(tmp_path):
    ml.train(tiny(steps=2), tmp_path)
    assert (tmp_path / "samples" / "step_00000002.png").stat().st_size > 1000
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert sorted(p.name for p in (tmp_path / "weights").iterdir()) == [
        "step_00000001.safetensors",
        "step_00000002.safetensors",
    ]
