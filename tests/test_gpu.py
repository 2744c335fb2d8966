"""What needs CUDA: `pytest -m gpu` on a machine that has it; skipped by name elsewhere."""

import pytest
import torch
from tiny import tiny

import munit_lite as ml
from munit_lite.acceleration import open_fabric
from munit_lite.callbacks import Callback
from munit_lite.data import open_data
from munit_lite.experiments.benchmark import Case, measure
from munit_lite.training_step import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")]


def first_terms(steps: int = 3, **overrides) -> dict[str, torch.Tensor]:
    config = ml.preset("world32", device="cuda", r1_weight=0.0, **overrides)
    trainer, data = Trainer.new(config, open_fabric(config)), open_data(config)
    for number in range(steps):
        terms = trainer.step(number, *(x.cuda() for x in data.batch(number, config.batch_size)))
    return {name: value.cpu() for name, value in terms.items()}


@pytest.mark.parametrize("precision", ["tf32", "bf16-mixed"])
def test_losses_in_lower_precision_are_near_those_in_fp32(precision):
    exact, rounded = first_terms(), first_terms(precision=precision)
    for name, value in exact.items():
        torch.testing.assert_close(rounded[name], value, rtol=0.05, atol=0.02, msg=name)


def test_compiled_losses_are_the_eager_ones():
    eager, compiled = first_terms(), first_terms(compile=True)
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_the_gpu_takes_the_same_first_step_as_the_cpu():
    def terms(device):
        config = ml.preset("world32", device=device)
        trainer, data = Trainer.new(config, open_fabric(config)), open_data(config)
        return trainer.step(0, *(x.to(trainer.fabric.device) for x in data.batch(0, config.batch_size)))

    for name, value in terms("cpu").items():
        torch.testing.assert_close(terms("cuda")[name].cpu(), value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("overrides", [{"precision": "bf16-mixed"}, {"precision": "bf16-mixed", "compile": True}])
def test_two_thousand_steps_stay_finite(overrides, tmp_path):
    run = ml.train(ml.preset("world32", device="cuda", steps=2000, **overrides), tmp_path, callbacks=[])
    assert run.history[-1]["step"] == 2000 and run.history[-1]["image_1"] < 0.2


def test_a_run_goes_on_where_it_stopped(tmp_path):
    class Stop(Callback):
        def on_log(self, record):
            if record["step"] == 6:
                raise KeyboardInterrupt

    config = tiny(device="cuda")
    whole = ml.train(config, tmp_path / "whole", callbacks=[])
    with pytest.raises(KeyboardInterrupt):
        ml.train(config, tmp_path / "run", callbacks=[Stop()])
    again = ml.train(config, tmp_path / "run", callbacks=[])
    assert [r["step"] for r in again.history] == [r["step"] for r in whole.history]
    assert again.history[-1]["total"] == pytest.approx(whole.history[-1]["total"], rel=0.02)


def test_the_papers_step_is_faster_than_the_straight_line_step():
    assert measure(Case("paper256"), 20, straight_line=True)["speedup"] > 1
