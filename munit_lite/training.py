"""The training step and the loop, in the order of the paper's algorithm (section 3.2 and appendix B).

One step: encode both images once, decode reconstructions and translations once, let the discriminators
learn from the translations, let the auto-encoders learn from the discriminators and the reconstructions.
Batches and drawn styles are pure functions of (seed, step), so a run resumes exactly from weights,
optimiser states and the step number alone.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from munit_lite import losses
from munit_lite.checkpoints import RunFolder, TrainingState
from munit_lite.config import Config, OptimiserConfig
from munit_lite.datasets import ImageData, open_data
from munit_lite.model import MUNIT, build
from munit_lite.networks import VGGFeatures
from munit_lite.objective import Terms, discriminator_terms, forward, generator_terms, gradient_penalty
from munit_lite.reporting import Callback, default_callbacks


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


@dataclass
class Trainer:
    """Everything that changes while training, and the step that changes it."""

    config: Config
    fabric: Fabric
    model: MUNIT
    average: AveragedModel
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    perceptual: nn.Module | None = None

    @classmethod
    def new(cls, config: Config, fabric: Fabric) -> Trainer:
        optimiser = config.optimiser
        model = build(config).to(memory_format=torch.channels_last).to(fabric.device)
        adam: dict[str, Any] = {
            "lr": optimiser.learning_rate,
            "betas": optimiser.betas,
            "weight_decay": optimiser.weight_decay,
        }
        perceptual = None
        if config.loss.perceptual_weight:
            perceptual = VGGFeatures().to(fabric.device)
        return cls(
            config,
            fabric,
            model,
            AveragedModel(model.auto_encoders, multi_avg_fn=_warm_average(optimiser.ema_decay)),
            torch.optim.Adam(model.auto_encoders.parameters(), **adam),
            torch.optim.Adam(model.discriminators.parameters(), **adam),
            perceptual,
        )

    def step(self, number: int, x_1: Tensor, x_2: Tensor) -> Terms:
        """One update of both players. Returns every term, detached, and the generator's `total`.

        Args:
            number: the step, counted from 0; it sets the learning rate and the drawn styles.
            x_1: (B, 3, H, W) in [-1, 1], images of domain 1.
            x_2: (B, 3, H, W) in [-1, 1], images of domain 2, unpaired.
        """
        model, config = self.model, self.config
        style_prior_1, style_prior_2 = draw_styles(config, number, len(x_1), x_1.device)
        rate = learning_rate(config.optimiser, number, config.steps)
        with self.fabric.autocast():
            made = forward(model, x_1, x_2, style_prior_1, style_prior_2)

            for update in range(config.optimiser.discriminator_updates):
                critic = discriminator_terms(model, x_1, x_2, made, config.loss.gan)
                critic_objective = torch.stack(list(critic.values())).sum()
                if config.loss.penalty and update == 0 and number % config.loss.penalty_every == 0:
                    strength = config.loss.penalty * config.loss.penalty_every
                    critic_objective = critic_objective + strength * gradient_penalty(model, x_1, x_2)
                self._update(self.discriminator_optimiser, critic_objective, rate * config.optimiser.discriminator_rate)

            # The updated discriminators judge the same translations; their weights get no gradient here.
            model.discriminators.requires_grad_(False)
            terms = generator_terms(model, x_1, x_2, style_prior_1, style_prior_2, made, config, self.perceptual)
            objective = losses.total(terms, config.loss.weights())
            self._update(self.generator_optimiser, objective, rate)
            model.discriminators.requires_grad_(True)
        self.average.update_parameters(model.auto_encoders)
        return {name: value.detach() for name, value in (terms | critic | {"total": objective}).items()}

    def _update(self, optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        optimiser.step()

    def state(self, step: int) -> TrainingState:
        return TrainingState(
            step,
            {"model": self.model, "average": self.average},
            {"generator": self.generator_optimiser, "discriminator": self.discriminator_optimiser},
        )

    def averaged_model(self) -> MUNIT:
        """A copy of the model that holds the averaged auto-encoders."""
        copy = build(self.config).to(self.fabric.device)
        copy.auto_encoders.load_state_dict(self.average.module.state_dict())
        copy.discriminators.load_state_dict(self.model.discriminators.state_dict())
        return copy.eval()


@dataclass
class Run:
    """A finished training run."""

    folder: Path
    config: Config
    model: MUNIT
    history: list[dict[str, float]]


def train(
    config: Config,
    out: str | Path,
    callbacks: Iterable[Callback] | None = None,
    data: ImageData | None = None,
) -> Run:
    """Train, or go on training: if the folder holds an unfinished run of the same configuration, it resumes exactly.

    Args:
        config: what to train.
        out: the run's folder, made if missing.
        callbacks: who is told of losses and samples; by default a progress bar, JSON lines, TensorBoard, sheets.
        data: the images; by default opened from `config.data`.

    Returns:
        The run, with the averaged model.

    Raises:
        CheckpointError: the folder holds a run of another configuration, or cannot be written.
        TrainingError: a loss is not finite; the message names it. The last good state stays in the folder.
        KeyboardInterrupt: Ctrl-C; SystemExit on SIGTERM. The state is saved first.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    folder = RunFolder(out)
    with folder.claimed(config), stop_signals() as stop_requested:
        fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        trainer = Trainer.new(config, fabric)
        first = folder.restore(trainer.state(0)) if folder.has_state() else 0
        data = data or open_data(config)
        reports = list(default_callbacks(folder.path) if callbacks is None else callbacks)
        history = folder.history(until=first)
        kept_steps = {round(config.steps * (k + 1) / config.keep) for k in range(config.keep)}
        for report in reports:
            report.on_start(config, first)
        try:
            for number in range(first, config.steps):
                x_1, x_2 = (x.to(fabric.device, non_blocking=True) for x in data.batch(number, config.batch_size))
                terms = trainer.step(number, x_1, x_2)

                done, leave = number + 1, stop_requested()
                last = done == config.steps
                logging = done % config.log_every == 0 or last
                saving = done % config.save_every == 0 or done in kept_steps or last or leave is not None
                if logging or saving:  # the only places that wait for the device
                    record = finite_record(done, terms, folder)
                if logging:
                    folder.append(record)
                    history.append(record)
                    for report in reports:
                        report.on_log(record)
                if saving:
                    folder.save(trainer.state(done), config)
                if done in kept_steps:
                    folder.save_weights(trainer.averaged_model(), done)
                if done % config.sample_every == 0 or last:
                    for report in reports:
                        report.on_sample(done, trainer.averaged_model(), data)
                if leave is not None:
                    leave(done)
        finally:
            for report in reports:
                report.on_end()
        return Run(folder.path, config, trainer.averaged_model(), history)


def finite_record(step: int, terms: Terms, folder: RunFolder) -> dict[str, float]:
    """The terms as numbers.

    Raises:
        TrainingError: one is not finite; names it and the last good state.
    """
    values = torch.stack([value.float() for value in terms.values()]).tolist()
    record = dict(zip(terms, values, strict=True))
    bad = [name for name, value in record.items() if not math.isfinite(value)]
    if bad:
        kept = f"the last good state is in {folder.state_file}" if folder.has_state() else "no state was saved yet"
        raise TrainingError(
            f"the loss {bad[0]} is {record[bad[0]]} at step {step}; {kept}. "
            "Go on with a lower learning_rate, or with precision 32-true."
        )
    return {"step": step, **record}


def draw_styles(config: Config, step: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Styles of both domains from the prior N(0, I), a pure function of (seed, step): two (count, style_dim)."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    styles = torch.randn(2, count, config.network.style_dim, generator=generator).to(device, non_blocking=True)
    return styles[0], styles[1]


def learning_rate(optimiser: OptimiserConfig, step: int, steps: int) -> float:
    """The rate of a step, counted from 0."""
    if optimiser.schedule == "step":
        return optimiser.learning_rate * 0.5 ** (step // optimiser.decay_every)
    warm = min(1.0, (step + 1) / min(100, steps))
    return optimiser.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def _warm_average(decay: float) -> Callable:
    """Exponential averaging whose memory grows with the run, so that a short one is not the average of its start."""

    @torch.no_grad()
    def update(averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, currents, 1 - now)

    return update


@contextmanager
def stop_signals() -> Iterator[Callable[[], Callable[[int], None] | None]]:
    """While inside, SIGTERM and Ctrl-C only ask: the loop saves at the end of its step and then leaves."""
    caught: list[int] = []

    def leave(step: int) -> None:
        if caught[0] == signal.SIGINT:
            raise KeyboardInterrupt(f"stopped by Ctrl-C after step {step}; the state is saved, run again to go on")
        raise SystemExit(128 + caught[0])

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {s: signal.signal(s, lambda number, frame: caught.append(number)) for s in signals}
    try:
        yield lambda: leave if caught else None
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
