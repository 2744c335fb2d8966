"""What makes a step fast, or spreads it, must not change what it computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from closeness import assert_same_outputs
from lightning_fabric import Fabric
from safetensors.torch import load_file
from tiny import tiny
from torch import nn

import munit_lite as ml
from munit_lite.acceleration import accelerate
from munit_lite.acceleration.accelerate import accelerated_model
from munit_lite.acceleration.fused_layers import FusedUpsampling, MatrixConvolution, upsample_and_convolve
from munit_lite.acceleration.objective import AcceleratedObjective
from munit_lite.data import open_data
from munit_lite.methods import build, build_objective
from munit_lite.networks import ConvBlock
from munit_lite.objective import Objective
from munit_lite.presets import preset
from munit_lite.training_step import Trainer, sample_styles

pytestmark = pytest.mark.numerical

CPU = torch.device("cpu")
EXACT = {"rtol": 1e-9, "atol": 1e-11}  # float64


def new_fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def weights(trainer) -> dict[str, torch.Tensor]:
    return dict(trainer.model.state_dict())


def trained(config, steps=3, accelerated=True):
    """A trainer after some steps in float64, so that nothing but the algorithm can differ, and its losses."""
    trainer = Trainer.new(config, new_fabric(), accelerated)
    trainer.model.double()
    trainer.ema.double()
    data = open_data(config)
    losses = [trainer.step(k, *(x.double() for x in data.batch(k, config.batch_size))) for k in range(steps)]
    return trainer, losses


def assert_same_training(one, other):
    (first, its_losses), (second, their_losses) = one, other
    for mine, theirs in zip(its_losses, their_losses, strict=True):
        assert mine.keys() == theirs.keys()
        torch.testing.assert_close(mine, theirs, **EXACT)
    torch.testing.assert_close(weights(first), weights(second), rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------------------------------------ fused layers


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (3, 4), (8, 8)])
def test_the_fused_upsampling_is_upsampling_padding_and_convolution(size):
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(3, 2, 5).double()
    fused = FusedUpsampling().double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator).requires_grad_()
    plain = conv(F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), [2] * 4, mode="reflect"))
    ours = upsample_and_convolve(x, conv, fused.taps)
    assert_equal_with_gradients(ours, plain, (x, conv.weight, conv.bias))


def assert_equal_with_gradients(ours: torch.Tensor, plain: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    """Both results agree, and so do their gradients in the inputs, weighed by random numbers."""
    torch.testing.assert_close(ours, plain)
    weights_of_outputs = torch.randn(plain.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for our_gradient, plain_gradient in zip(
        torch.autograd.grad((ours * weights_of_outputs).sum(), inputs),
        torch.autograd.grad((plain * weights_of_outputs).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(our_gradient, plain_gradient)


@pytest.mark.parametrize("overrides", [{}, {"num_downsamples": 2}, {"activation_checkpointing": True}])
def test_the_accelerated_model_is_the_model(overrides):
    config = tiny(**overrides)
    fast, plain = accelerated_model(config, CPU).double(), build(config).double()
    assert fast.state_dict().keys() == plain.state_dict().keys()
    assert all(map(torch.equal, fast.state_dict().values(), plain.state_dict().values()))
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for domain in (1, 2):
        torch.testing.assert_close(fast.reconstruct(x, domain), plain.reconstruct(x, domain))


@pytest.mark.parametrize("pixels", [2, 4, 8])
def test_the_matrix_convolution_is_the_convolution(pixels):
    plain = ConvBlock(3, 5, 4, 2).double()
    matrix = MatrixConvolution(plain)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, pixels, pixels, dtype=torch.float64, generator=generator).requires_grad_()
    assert_equal_with_gradients(matrix(x), plain(x), (x, plain.conv.weight, plain.conv.bias))


# ------------------------------------------------------------------------------------------ the straight-line step

VARIANTS = {
    "the paper's": {},
    "the presets'": {"discriminator_updates": 2, "r1_weight": 1.0, "cycle_weight": 10.0, "gan_mode": "nonsaturating"},
    "with less memory": {"discriminator_updates": 2, "r1_weight": 1.0, "cycle_weight": 10.0, "grad_accumulation": 2},
    "hinge": {"gan_mode": "hinge", "cycle_weight": 10.0},
    "with minibatch statistics": {"batch_size": 4, "minibatch_std_group": 2, "r1_weight": 1.0},
    "detached styles": {"cycle_weight": 10.0, "detach_style": True},
}
each_variant = pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@each_variant
def test_the_accelerated_objective_has_the_outputs_losses_and_gradients_of_the_straight_line_one(overrides, threads):
    config = tiny(**{"batch_size": 2} | overrides)
    model, accelerated, step_context = accelerate(config, new_fabric())
    plain = build_objective(build(config).double())
    model.double()
    assert type(plain) is Objective and type(accelerated) is AcceleratedObjective
    assert (accelerated.pool is None) == (threads == 1)
    x_1, x_2 = (x.double() for x in open_data(config).batch(0, config.batch_size))
    s_1, s_2 = sample_styles(model, 0, config.batch_size)

    def gradients(objective):
        return {
            name: weight.grad.clone() for name, weight in objective.model.named_parameters() if weight.grad is not None
        }

    def computed(objective):
        """Outputs; losses of generator and discriminators, and R1; gradients after each of the three."""
        outputs = objective.generate(x_1, x_2, s_1, s_2)
        generator_losses = objective.generator_losses(x_1, x_2, s_1, s_2, outputs)
        discriminator_losses = objective.discriminator_losses(x_1, x_2, outputs)
        r1 = objective.r1_penalty(x_1, x_2)
        found = []
        for part in ([*generator_losses.values()], [*discriminator_losses.values()], [r1]):
            objective.model.zero_grad()
            sum((k + 1) * loss for k, loss in enumerate(part)).backward()
            found.append(gradients(objective))
        return outputs._asdict(), generator_losses, discriminator_losses, {"r1": r1}, *found

    with step_context():
        ours = computed(accelerated)
    for mine, theirs in zip(ours, computed(plain), strict=True):
        assert mine.keys() == theirs.keys() and mine
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


@each_variant
def test_three_accelerated_and_three_straight_line_steps_lead_to_the_same_weights(overrides, threads):
    config = tiny(num_threads=0, **{"batch_size": 2} | overrides)
    assert_same_training(trained(config), trained(config, accelerated=False))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("method", ["unit", "cyclegan", "cyclegan_noise", "cyclegan_input_noise", "bicyclegan"])
def test_three_accelerated_steps_of_a_baseline_lead_to_the_same_weights(method):
    sizes = {"base_channels": 4, "mlp_width": 8, "num_residual_blocks": 1, "discriminator_base_channels": 4}
    config = preset(f"world32_{method}", batch_size=2, device="cpu", **sizes)
    assert_same_training(trained(config), trained(config, accelerated=False))


def test_a_discriminator_that_ascends_would_be_noticed(monkeypatch):
    config = tiny()
    before = trained(config)
    losses = AcceleratedObjective.discriminator_losses
    monkeypatch.setattr(
        AcceleratedObjective,
        "discriminator_losses",
        lambda *given: {name: -value for name, value in losses(*given).items()},
    )
    after = trained(config)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(weights(before[0]), weights(after[0]), rtol=1e-6, atol=1e-8)


def test_compilation_leaves_the_domains_in_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert accelerate(tiny(), new_fabric()).objective.pool is not None
        assert accelerate(tiny(compile=True), new_fabric()).objective.pool is None
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.processes  # of the C++ compiler: torch generates invalid code for it under ATEN_CPU_CAPABILITY=default
def test_a_compiled_step_has_the_losses_of_an_eager_one():
    eager, compiled = (trained(tiny(compile=c), steps=1)[1] for c in (False, True))
    for mine, theirs in zip(eager, compiled, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


def test_a_failed_compilation_says_what_to_switch_off(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError("no compiler found")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    torch._dynamo.reset()
    with pytest.raises(ml.TrainingError, match=r"(?s)torch\.compile failed: .*no compiler found.*Turn compile off"):
        ml.train(tiny(compile=True), tmp_path, callbacks=[])
    run = ml.train(tiny(steps=12), tmp_path, callbacks=[])  # the same folder goes on without it
    assert len(run.history) == 12


# ------------------------------------------------------------------------------------------------ less memory


@pytest.mark.parametrize("grad_accumulation", [2, 4])
def test_micro_batches_lead_to_the_same_weights(grad_accumulation):
    settings = {"batch_size": 4, "discriminator_updates": 2, "r1_weight": 1.0}
    assert_same_training(*(trained(tiny(**settings, grad_accumulation=n)) for n in (1, grad_accumulation)))


def test_recomputing_keeps_less_and_leads_to_the_same_weights():
    (plain, _), (recomputing, _) = (trained(tiny(activation_checkpointing=r)) for r in (False, True))
    torch.testing.assert_close(weights(plain), weights(recomputing), rtol=1e-9, atol=1e-12)

    def kept(recompute):
        model = accelerated_model(tiny(activation_checkpointing=recompute), CPU)
        content = model.encode_content(torch.rand(2, 3, 32, 32), 1).detach()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            model.auto_encoder(1).encode(torch.rand(2, 3, 32, 32))
            encoding = sum(sizes)
            model.decode(content, torch.zeros(2, 3), 1)
        return encoding, sum(sizes) - encoding

    for less, more in zip(kept(True), kept(False), strict=True):  # of encoders, of a decoder
        assert less < 0.7 * more


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match="batch_size is 2, but 1 processes compute it in 3 micro-batches each: it must be a multiple of 3",
    ):
        ml.train(tiny(grad_accumulation=3), tmp_path, callbacks=[])
    with pytest.raises(
        ValueError,
        match=r"sees 2 images at a time, but it compares groups of 4: .* choose another batch_size",
    ):
        ml.train(tiny(batch_size=4, grad_accumulation=2, minibatch_std_group=4), tmp_path, callbacks=[])


def test_bf16_keeps_styles_statistics_and_losses_in_fp32():
    config = tiny(precision="bf16-mixed")
    trainer = Trainer.new(config, Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    kinds: dict[str, torch.dtype] = {}

    def note(name):
        return lambda module, inputs, output: kinds.update({name: output.dtype})

    auto = trainer.model.auto_encoder(1)
    auto.style_encoder.register_forward_hook(note("style"))
    auto.decoder.mlp.register_forward_hook(note("scales and shifts"))
    auto.content_encoder.layers[0].conv.register_forward_hook(note("convolution"))
    norms = [m.norm for m in auto.decoder.upsampling.modules() if isinstance(m, ConvBlock)]
    norms[0].register_forward_hook(note("layer norm"))
    with trainer.fabric.autocast():
        content, style = auto.encode(torch.rand(2, 3, 32, 32))
        auto.decoder(content, style)
    fp32 = torch.float32
    assert kinds == {
        "style": fp32,
        "scales and shifts": fp32,
        "layer norm": fp32,
        "convolution": torch.bfloat16,
    }


# -------------------------------------------------------------------------------------------------- processes

# In float64: a bias before an instance norm has no gradient but rounding, which Adam would make into whole steps.
_DRIVER = """
import os, signal, sys
import torch
sys.path.insert(0, sys.argv[1])
from tiny import tiny
import munit_lite as ml
from munit_lite.training_step import Trainer

folder, fate, step = sys.argv[2], sys.argv[3], int(sys.argv[4])
new, ours = Trainer.new, Trainer.step

def new_in_float64(config, fabric):
    trainer = new(config, fabric)
    trainer.model.double(), trainer.ema.double()
    return trainer

def step_then_fate(self, number, x_1, x_2):
    if number == step and os.environ["RANK"] == "1":
        os.kill(os.getpid(), getattr(signal, fate))
    return ours(self, number, x_1.double(), x_2.double())

Trainer.new, Trainer.step = new_in_float64, step_then_fate
ml.train(tiny(batch_size=4, r1_weight=1.0, log_every=2), folder, callbacks=[])
"""


def with_processes(count: int, folder: Path, fate: str = "", step: int = -1) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    driver = folder.parent / "driver.py"
    driver.write_text(_DRIVER)
    arguments = [str(driver), str(Path(__file__).parents[1]), str(folder), fate, str(step)]
    return subprocess.run(
        launcher + arguments,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finished(count: int, folder: Path) -> Path:
    done = with_processes(count, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    return finished(1, tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return finished(2, tmp_path_factory.mktemp("two") / "run")


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "state.safetensors")


def losses_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_train_as_one_with_the_whole_batch(one_process, two_processes):
    one, two = state(one_process), state(two_processes)
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith("model/"):
            torch.testing.assert_close(two[name], one[name], rtol=1e-6, atol=1e-6, msg=name)
    assert [record["step"] for record in losses_of(two_processes)] == [2, 4, 6, 8, 10, 12]
    for mine, theirs in zip(losses_of(one_process), losses_of(two_processes), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


def test_processes_see_different_rows_of_the_same_batch():
    config = tiny(batch_size=4)
    data = open_data(config)
    for domain in (0, 1):
        whole = data.batch(5, 4)[domain]
        shares = [data.batch(5 * 2 + rank, 2)[domain] for rank in (0, 1)]
        assert_same_outputs(torch.cat(shares), whole)


@pytest.mark.slow
@pytest.mark.processes
def test_a_killed_process_ends_the_job_and_a_restart_goes_on(two_processes, tmp_path):
    folder = tmp_path / "run"
    broken = with_processes(2, folder, "SIGKILL", 7)
    assert broken.returncode != 0
    assert "Signal 9 (SIGKILL)" in broken.stderr
    assert ml.storage.tensors.read_tensors(folder / "state.safetensors")[1]["step"] == 6  # kept after half of the steps
    finished(2, folder)
    wanted, got = state(two_processes), state(folder)
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


@pytest.mark.slow
@pytest.mark.processes
def test_processes_agree_on_a_stop_that_one_of_them_was_asked_for(two_processes, tmp_path):
    folder = tmp_path / "run"
    assert with_processes(2, folder, "SIGTERM", 4).returncode != 0
    assert ml.storage.tensors.read_tensors(folder / "state.safetensors")[1]["step"] == 6  # the record after the signal
    finished(2, folder)
    wanted, got = state(two_processes), state(folder)
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


@pytest.mark.slow
@pytest.mark.processes
def test_the_command_under_torchrun_answers_once(tmp_path):
    program = str(Path(sys.executable).with_name("munit-lite"))
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", program]
    options = ["--steps", "2", "--batch-size", "2", "--base-channels", "4", "--discriminator-base-channels", "4"]
    command = [sys.executable, "-m", *launcher, "train", "world32", *options, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 2 steps") == 1
    assert (tmp_path / "run" / "state.safetensors").exists()
