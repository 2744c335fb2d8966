"""One training step, in the order of the paper's algorithm (section 3.2 and appendix B).

A step encodes both images, decodes reconstructions and translations, updates the discriminators on the translations,
and then updates the autoencoders on what the discriminators say and on the reconstructions. The sampled styles are a
pure function of (seed, step). `munit_lite.training` repeats the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.profiler import record_function

from munit_lite import losses
from munit_lite.acceleration import Accelerated, accelerate, adam, average_gradients, shard
from munit_lite.config import Config, OptimizerConfig
from munit_lite.methods import build, build_objective
from munit_lite.model import MUNIT
from munit_lite.objective import LossTerms, Objective, Outputs
from munit_lite.storage.checkpoints import TrainingState

__all__ = ["Trainer", "learning_rate", "sample_styles"]


class MicroBatch(NamedTuple):
    """Images and styles of one forward and backward pass: the batch, or one of `grad_accumulation` pieces of it."""

    x_1: Tensor  # (B, 3, H, W)
    x_2: Tensor
    s_1: Tensor  # (B, style_dim), sampled from the prior
    s_2: Tensor


@dataclass
class Trainer:
    """Everything that changes during training, and the step that changes it."""

    config: Config
    fabric: Fabric
    model: MUNIT
    objective: Objective
    step_context: Callable[[], AbstractContextManager[None]]
    ema: AveragedModel
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer

    @classmethod
    def new(cls, config: Config, fabric: Fabric, accelerated: bool = True) -> Trainer:
        """Build model, objective and optimizers for the first step.

        Args:
            config: what to train.
            fabric: device and processes.
            accelerated: False takes the straight-line objective and the plain model of `munit_lite.methods`.

        Raises:
            ValueError: a loss has a weight, but the method never computes it.
        """
        if accelerated:
            model, objective, step_context = accelerate(config, fabric)
        else:
            model = build(config).to(fabric.device)
            model, objective, step_context = Accelerated(model, build_objective(model), nullcontext)
        generator_optimizer = adam(config, model.auto_encoders.parameters(), fabric.device)
        discriminator_optimizer = adam(config, model.discriminators.parameters(), fabric.device)
        ema = AveragedModel(model.auto_encoders)
        return cls(config, fabric, model, objective, step_context, ema, generator_optimizer, discriminator_optimizer)

    def step(self, number: int, x_1: Tensor, x_2: Tensor) -> LossTerms:
        """Update the discriminators and the autoencoders once.

        Args:
            number: the step, counted from 0; it decides the learning rate and the sampled styles.
            x_1: images of domain 1, this process's rows of the batch, (B, 3, H, W) in [-1, 1].
            x_2: images of domain 2, unpaired with x_1.

        Returns:
            every loss, detached, and the autoencoders' `total`.
        """
        config, optimizer, fabric = self.config, self.config.optimizer, self.fabric
        lr = learning_rate(optimizer, number, config.steps)
        set_learning_rate(self.generator_optimizer, lr)
        set_learning_rate(self.discriminator_optimizer, lr * optimizer.discriminator_lr_ratio)

        # Sample one style for each image of all processes, and keep those of this process's images.
        s_1, s_2 = (shard(fabric, s) for s in sample_styles(self.model, number, len(x_1) * fabric.world_size))
        pieces = zip(*(tensor.chunk(config.grad_accumulation) for tensor in (x_1, x_2, s_1, s_2)), strict=True)
        micro_batches = [MicroBatch(*piece) for piece in pieces]

        with self.step_context():
            # Encode, reconstruct and translate once for both updates, unless there are several micro-batches: memory
            # could not hold all their graphs, so each update computes its own outputs.
            with record_function("generator"):
                outputs = self._generate(micro_batches[0]) if len(micro_batches) == 1 else None

            # Update the discriminators, several times if the configuration says so, on the same translations.
            for update in range(optimizer.discriminator_updates):
                with_r1 = update == 0 and number % config.loss.r1_interval == 0
                self.discriminator_optimizer.zero_grad()
                discriminator_losses = []
                with record_function("discriminator"):
                    for micro_batch in micro_batches:
                        loss_terms = self._discriminator_losses(micro_batch, outputs, with_r1)
                        fabric.backward(loss_terms["total"] / len(micro_batches))
                        discriminator_losses.append(detach(loss_terms))
                with record_function("optimizer"):
                    average_gradients(fabric, self.model.discriminators.parameters())
                    self.discriminator_optimizer.step()

            # Update the autoencoders. The updated discriminators see the same translations; they get no gradients.
            self.model.discriminators.requires_grad_(False)
            self.generator_optimizer.zero_grad()
            generator_losses = []
            with record_function("generator"):
                for micro_batch in micro_batches:
                    loss_terms = self._generator_losses(micro_batch, outputs)
                    fabric.backward(loss_terms["total"] / len(micro_batches))
                    generator_losses.append(detach(loss_terms))
            with record_function("optimizer"):
                average_gradients(fabric, self.model.auto_encoders.parameters())
                self.generator_optimizer.step()
            self.model.discriminators.requires_grad_(True)

        with record_function("optimizer"):
            update_ema(self.ema, self.model.auto_encoders, optimizer.ema_decay)
        means = mean_losses(generator_losses)
        total = means.pop("total")
        return means | mean_losses(discriminator_losses) | {"total": total}

    # Autocast is entered for each forward pass: it caches the weights that it has cast, and an update changes them.

    def _generate(self, micro_batch: MicroBatch) -> Outputs:
        with self.fabric.autocast():
            return self.objective.generate(*micro_batch)

    def _discriminator_losses(self, micro_batch: MicroBatch, outputs: Outputs | None, with_r1: bool) -> LossTerms:
        x_1, x_2, _, _ = micro_batch
        if outputs is None:
            with torch.no_grad():
                outputs = self._generate(micro_batch)
        with self.fabric.autocast():
            loss_terms = self.objective.discriminator_losses(x_1, x_2, outputs)
            total = loss_terms["discriminator_1"] + loss_terms["discriminator_2"]
            if self.config.loss.r1_weight and with_r1:
                weight = self.config.loss.r1_weight * self.config.loss.r1_interval
                total = total + weight * self.objective.r1_penalty(x_1, x_2)
        return loss_terms | {"total": total}

    def _generator_losses(self, micro_batch: MicroBatch, outputs: Outputs | None) -> LossTerms:
        if outputs is None:
            outputs = self._generate(micro_batch)
        with self.fabric.autocast():
            loss_terms = self.objective.generator_losses(*micro_batch, outputs)
        return loss_terms | {"total": losses.total_loss(loss_terms, self.config.loss.weights())}

    def state(self, step: int) -> TrainingState:
        """Collect what a run resumes from after this many steps."""
        return TrainingState(
            step,
            {"model": self.model, "average": self.ema},
            {"generator": self.generator_optimizer, "discriminator": self.discriminator_optimizer},
        )

    def ema_model(self) -> MUNIT:
        """Copy the model with the averaged autoencoders, which sampling and evaluation use."""
        model = build(self.config).to(self.fabric.device)
        model.auto_encoders.load_state_dict(self.ema.module.state_dict())
        model.discriminators.load_state_dict(self.model.discriminators.state_dict())
        return model.eval()


def sample_styles(model: MUNIT, step: int, count: int) -> tuple[Tensor, Tensor]:
    """Sample the styles of a step from the model's prior, as a function of (seed, step) alone.

    Args:
        model: its configuration holds the seed.
        step: counted from 0.
        count: styles of each domain.

    Returns:
        s_1 and s_2, both (count, style_dim).
    """
    generator = torch.Generator().manual_seed(model.config.seed * 1_000_003 + step)
    s_1, s_2 = model.sample_style(2 * count, generator).chunk(2)
    return s_1, s_2


def detach(loss_terms: LossTerms) -> LossTerms:
    """Detach losses from their graph, which can then be freed."""
    return {name: value.detach() for name, value in loss_terms.items()}


def mean_losses(micro_batch_losses: list[LossTerms]) -> LossTerms:
    """Compute the mean of each loss over the micro-batches.

    Args:
        micro_batch_losses: scalars by the names of the losses, for each micro-batch.
    """
    means: LossTerms = {}
    for loss_terms in micro_batch_losses:
        for name, value in loss_terms.items():
            means[name] = means.get(name, 0) + value / len(micro_batch_losses)
    return means


def learning_rate(optimizer: OptimizerConfig, step: int, steps: int) -> float:
    """Compute the autoencoders' learning rate in a step.

    Args:
        optimizer: the schedule.
        step: counted from 0.
        steps: of the whole run.

    Returns:
        the rate, 0 or more; that of the discriminators is `discriminator_lr_ratio` times as large.

    Example:
        >>> [learning_rate(OptimizerConfig(learning_rate=1.0, decay_every=10), step, 100) for step in (0, 10, 20)]
        [1.0, 0.5, 0.25]
    """
    if optimizer.schedule == "step":
        return optimizer.learning_rate * 0.5 ** (step // optimizer.decay_every)
    warm_up = min(1.0, (step + 1) / min(100, steps))
    return optimizer.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of an optimizer's parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def update_ema(ema: AveragedModel, module: nn.Module, decay: float) -> None:
    """Update the exponential moving average of a module's weights.

    The decay grows with the run up to `decay`, so that a short run is not the average of its beginning.
    `AveragedModel.update_parameters` would bring its counter to the device, and wait for it.

    Args:
        ema: the average, updated in place.
        module: the network whose weights are averaged.
        decay: of a long run, in [0, 1).
    """
    count = int(ema.n_averaged)  # on the CPU
    weight = 1 - min(decay, (1 + count) / (10 + count)) if count else 1.0
    torch._foreach_lerp_(list(ema.module.parameters()), list(module.parameters()), weight)
    ema.n_averaged += 1
