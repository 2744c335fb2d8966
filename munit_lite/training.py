"""The training step and the loop, in the order of the paper's algorithm (section 3.2 and appendix B).

One step: encode both images once, decode reconstructions and translations once, let the discriminators
learn from the translations, let the auto-encoders learn from the discriminators and the reconstructions.
Batches and drawn styles are pure functions of (seed, step), so a run resumes exactly from weights,
optimiser states and the step number alone, also with another number of processes.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.profiler import record_function

from munit_lite import losses
from munit_lite.callbacks import Callback, default_callbacks
from munit_lite.config import Config, OptimiserConfig
from munit_lite.data.datasets import ImageData, open_data
from munit_lite.data.image_files import DataError
from munit_lite.domains import at_once
from munit_lite.engine import (
    adam,
    agreed,
    average_gradients,
    domain_workers,
    fast_model,
    mean,
    open_fabric,
    out_of_memory,
    share,
)
from munit_lite.model import MUNIT, build
from munit_lite.networks import VGGFeatures
from munit_lite.objective import Made, Terms, discriminator_terms, forward, generator_terms, gradient_penalty
from munit_lite.storage.checkpoints import RunFolder, TrainingState


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


class Part(NamedTuple):
    """What both players see at a time: the batch, or one of `accumulate` parts of it."""

    x_1: Tensor  # (B, 3, H, W)
    x_2: Tensor
    style_prior_1: Tensor  # (B, style_dim), drawn
    style_prior_2: Tensor


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
    workers: ThreadPoolExecutor | None = None

    @classmethod
    def new(cls, config: Config, fabric: Fabric) -> Trainer:
        model = fast_model(config, fabric.device)
        perceptual = None
        if config.loss.perceptual_weight:
            perceptual = VGGFeatures().to(fabric.device)
        return cls(
            config,
            fabric,
            model,
            AveragedModel(model.auto_encoders),
            adam(config, model.auto_encoders.parameters(), fabric.device),
            adam(config, model.discriminators.parameters(), fabric.device),
            perceptual,
            domain_workers(config, fabric),
        )

    def step(self, number: int, x_1: Tensor, x_2: Tensor) -> Terms:
        """One update of both players. Returns every term, detached, and the generator's `total`.

        Args:
            number: the step, counted from 0; it sets the learning rate and the drawn styles.
            x_1: (B, 3, H, W) in [-1, 1], images of domain 1, this process's share of the batch.
            x_2: (B, 3, H, W) in [-1, 1], images of domain 2, unpaired.
        """
        if self.config.compiled:
            torch.compiler.cudagraph_mark_step_begin()  # until the next one, no graph's output may be overwritten
        optimiser = self.config.optimiser
        styles = draw_styles(self.config, number, len(x_1) * self.fabric.world_size, x_1.device)
        batch = (x_1, x_2, *(share(self.fabric, style) for style in styles))
        parts = [Part(*part) for part in zip(*(tensor.chunk(self.config.accumulate) for tensor in batch), strict=True)]
        rate = learning_rate(optimiser, number, self.config.steps)
        with at_once(self.workers):
            # Made once for both players, unless there are several parts, whose graphs memory could not hold.
            with record_function("generator"), self.fabric.autocast():
                made = forward(self.model, *parts[0]) if len(parts) == 1 else None
            for update in range(optimiser.discriminator_updates):
                penalised = update == 0 and number % self.config.loss.penalty_every == 0
                critic = self._update(
                    self.discriminator_optimiser,
                    rate * optimiser.discriminator_rate,
                    (self._critic_terms(part, made, penalised) for part in parts),
                )
            # The updated discriminators judge the same translations; their weights get no gradient here.
            self.model.discriminators.requires_grad_(False)
            terms = self._update(self.generator_optimiser, rate, (self._terms(part, made) for part in parts))
            self.model.discriminators.requires_grad_(True)
        with record_function("optimiser"):
            follow(self.average, self.model.auto_encoders, optimiser.ema_decay)
        total = terms.pop("objective")
        del critic["objective"]
        return terms | critic | {"total": total}

    def _critic_terms(self, part: Part, made: Made | None, penalised: bool) -> Terms:
        loss = self.config.loss
        with self.fabric.autocast():  # not around the update: weights that it has cast already it would not cast again
            if made is None:
                with torch.no_grad():
                    made = forward(self.model, *part)
            terms = discriminator_terms(self.model, part.x_1, part.x_2, made, loss.gan)
            objective = torch.stack(list(terms.values())).sum()
            if loss.penalty and penalised:
                strength = loss.penalty * loss.penalty_every
                objective = objective + strength * gradient_penalty(self.model, part.x_1, part.x_2)
        return terms | {"objective": objective}

    def _terms(self, part: Part, made: Made | None) -> Terms:
        with self.fabric.autocast():
            if made is None:
                made = forward(self.model, *part)
            terms = generator_terms(self.model, *part, made, self.config, self.perceptual)
        return terms | {"objective": losses.total(terms, self.config.loss.weights())}

    def _update(self, optimiser: torch.optim.Optimizer, rate: float, parts: Iterable[Terms]) -> Terms:
        """Descend the mean `objective` of the parts; returns the mean of every term, detached."""
        (group,) = optimiser.param_groups
        group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        means: Terms = {}
        with record_function("generator" if optimiser is self.generator_optimiser else "discriminator"):
            for terms in parts:
                self.fabric.backward(terms["objective"] / self.config.accumulate)
                for name, value in terms.items():
                    means[name] = means.get(name, 0) + value.detach() / self.config.accumulate
        with record_function("optimiser"):
            average_gradients(self.fabric, group["params"])
            optimiser.step()
        return means

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

    Started by torchrun, or a scheduler in its way, the processes share each batch; the folder must be one that all see.

    Args:
        config: what to train.
        out: the run's folder, made if missing.
        callbacks: who is told of losses and samples; by default a progress bar, JSON lines, TensorBoard, sheets.
        data: the images; by default opened from `config.data`.

    Returns:
        The run, with the averaged model.

    Raises:
        CheckpointError: the folder holds a run of another configuration, or cannot be written.
        DataError: an image has become unreadable; a single process saves its state first.
        TrainingError: a loss is not finite, or memory is full; the message says what to do. The last good state
            stays in the folder.
        KeyboardInterrupt: Ctrl-C; SystemExit on SIGTERM. The state is saved first.
    """
    fabric = open_fabric(config)
    folder, lead = RunFolder(out), fabric.is_global_zero  # one process alone writes and reports
    data = data or open_data(config)  # what cannot be read must not claim a folder
    with folder.claimed(config) if lead else nullcontext(), stop_signals() as caught:
        fabric.barrier()
        trainer = Trainer.new(config, fabric)
        first = folder.restore(trainer.state(0)) if folder.has_state() else 0
        reports = list(default_callbacks(folder.path) if callbacks is None else callbacks) if lead else []
        history = folder.history(until=first) if lead else []
        kept_steps = {round(config.steps * (k + 1) / config.keep) for k in range(config.keep)}
        for report in reports:
            report.on_start(config, first)
        try:
            for number in range(first, config.steps):
                with kept_on_error(folder, trainer, number, lead and number > first):
                    # A batch of all processes is the same whatever their number; each makes its rows of it.
                    turn = number * fabric.world_size + fabric.global_rank
                    batch = data.batch(turn, config.batch_size // fabric.world_size)
                    x_1, x_2 = (x.to(fabric.device, non_blocking=True) for x in batch)
                with memory_named(config, folder):
                    terms = trainer.step(number, x_1, x_2)

                done = number + 1
                last = done == config.steps
                logging, sampling = done % config.log_every == 0 or last, done % config.sample_every == 0 or last
                stop = agreed(fabric, caught()) if logging or fabric.world_size == 1 else 0
                saving = done % config.save_every == 0 or done in kept_steps or last or stop
                if logging or saving:  # the only places that wait for the device
                    record = finite_record(done, terms, folder, fabric)
                if logging:
                    history.append(record)
                    if lead:
                        folder.append(record)
                    for report in reports:
                        report.on_log(record)
                if saving and lead:
                    state = finite_state(trainer, done, folder)
                if lead and (done in kept_steps or sampling):
                    averaged = trainer.averaged_model()
                    if done in kept_steps:
                        folder.save_weights(averaged, done)
                    for report in reports if sampling else ():
                        report.on_sample(done, averaged, data)
                if saving and lead:  # last: what comes before is made again if a run goes on from an earlier state
                    folder.save(state, config)
                if stop:
                    leave(stop, done)
        finally:
            for report in reports:
                report.on_end()
        return Run(folder.path, config, trainer.averaged_model(), history)


@contextmanager
def kept_on_error(folder: RunFolder, trainer: Trainer, step: int, worthwhile: bool) -> Iterator[None]:
    """While inside, images that cannot be read stop the run, but lose none of its steps."""
    try:
        yield
    except DataError:
        if worthwhile:
            folder.save(trainer.state(step), trainer.config)
        raise


@contextmanager
def memory_named(config: Config, folder: RunFolder) -> Iterator[None]:
    """While inside, a full memory is told with what to lower.

    Raises:
        TrainingError: the step does not fit into memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(
            f"memory is full: a step on {config.batch_size} images of {config.data.size} px does not fit. "
            f"Set recompute, raise accumulate (now {config.accumulate}), or lower batch_size, size or width; "
            f"{_kept(folder)}"
        ) from error


def _kept(folder: RunFolder) -> str:
    return f"the last good state is in {folder.state_file}" if folder.has_state() else "no state was saved yet"


def finite_record(step: int, terms: Terms, folder: RunFolder, fabric: Fabric) -> dict[str, float]:
    """The terms as numbers, each the mean over the processes.

    Raises:
        TrainingError: one is not finite; names it and the last good state.
    """
    values = mean(fabric, torch.stack([value.float() for value in terms.values()])).tolist()
    record = dict(zip(terms, values, strict=True))
    bad = [name for name, value in record.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"the loss {bad[0]} is {record[bad[0]]} at step {step}; {_kept(folder)}. "
            "Go on with a lower learning_rate, or with precision 32-true: the run accepts both."
        )
    return {"step": step, **record}


def finite_state(trainer: Trainer, step: int, folder: RunFolder) -> TrainingState:
    """What a run resumes from.

    Raises:
        TrainingError: a weight, or what Adam remembers of it, is not finite: no run could go on from it.
    """
    state = trainer.state(step)
    if all(bool(value.isfinite().all()) for value in state.tensors().values() if value.is_floating_point()):
        return state
    raise TrainingError(
        f"weights, or what Adam remembers of their gradients, are not finite at step {step}; {_kept(folder)}. "
        "Go on with a lower learning_rate: the run accepts it."
    )


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


@torch.no_grad()
def follow(average: AveragedModel, module: nn.Module, decay: float) -> None:
    """Exponential averaging whose memory grows with the run, so that a short one is not the average of its start.

    `AveragedModel.update_parameters` would bring its counter to the device, and wait for it.
    """
    count = int(average.n_averaged)  # lies on the CPU
    share = 1 - min(decay, (1 + count) / (10 + count)) if count else 1.0
    torch._foreach_lerp_(list(average.module.parameters()), list(module.parameters()), share)
    average.n_averaged += 1


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """While inside, SIGTERM and Ctrl-C only ask: the loop saves at the end of its step and then leaves.

    Yields:
        the first signal that came, 0 before.
    """
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {s: signal.signal(s, lambda number, frame: received.append(number)) for s in signals}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def leave(stop: int, step: int) -> None:
    if stop == signal.SIGINT:
        raise KeyboardInterrupt(f"stopped by Ctrl-C after step {step}; the state is saved, run again to go on")
    raise SystemExit(128 + stop)
