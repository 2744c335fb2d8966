"""The step as the original takes it, written from the description of its cost: what ours is timed and tested against.

Each player makes everything anew: the discriminators' update encodes and decodes for itself, content and style both,
the auto-encoders' update encodes and decodes each image by itself and lets the discriminators' weights have gradients
that nobody uses. Networks, losses, draws and the order of the updates are those of `training.py`, so both steps lead to
the same weights.
"""

from __future__ import annotations

from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.model import MUNIT, build
from munit_lite.training import draw_styles, learning_rate


class ReferenceTrainer:
    """MUNIT's two updates, one after the other, eager, in the usual memory layout.

    Args:
        config: of the method munit, without a perceptual loss.
        fabric: device and precision.

    Raises:
        ValueError: a configuration that it does not know.
    """

    def __init__(self, config: Config, fabric: Fabric) -> None:
        if config.method != "munit" or config.loss.perceptual_weight:
            raise ValueError("the reference step knows the method munit without a perceptual loss only")
        self.config, self.fabric = config, fabric
        self.model: MUNIT = build(config).to(fabric.device)
        optimiser = config.optimiser
        adam = partial(torch.optim.Adam, lr=optimiser.learning_rate, betas=optimiser.betas)
        self.generator_optimiser, self.discriminator_optimiser = (
            adam(players.parameters(), weight_decay=optimiser.weight_decay)
            for players in (self.model.auto_encoders, self.model.discriminators)
        )

    def step(self, number: int, x_1: Tensor, x_2: Tensor) -> dict[str, Tensor]:
        """One update of both players; the terms, detached, under the names of `Trainer.step`."""
        optimiser = self.config.optimiser
        s_1, s_2 = draw_styles(self.config, number, len(x_1), x_1.device)
        rate = learning_rate(optimiser, number, self.config.steps)
        with self.fabric.autocast():
            for update in range(optimiser.discriminator_updates):
                critic = self._discriminator_terms(x_1, x_2, s_1, s_2)
                objective = critic["discriminator_1"] + critic["discriminator_2"]
                if self.config.loss.penalty and update == 0 and number % self.config.loss.penalty_every == 0:
                    objective = objective + self.config.loss.penalty * self.config.loss.penalty_every * (
                        self._penalty(1, x_1) + self._penalty(2, x_2)
                    )
                self._update(self.discriminator_optimiser, objective, rate * optimiser.discriminator_rate)
            terms = self._generator_terms(x_1, x_2, s_1, s_2)
            objective = losses.total(terms, self.config.loss.weights())
            self._update(self.generator_optimiser, objective, rate)
        return {name: value.detach() for name, value in (terms | critic | {"total": objective}).items()}

    def _discriminator_terms(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor) -> dict[str, Tensor]:
        loss = losses.DISCRIMINATOR_LOSSES[self.config.loss.gan]
        auto_1, auto_2 = self.model.auto_encoder(1), self.model.auto_encoder(2)
        content_1, _ = auto_1.encode(x_1)
        content_2, _ = auto_2.encode(x_2)
        image_2_to_1, image_1_to_2 = auto_1.decoder(content_2, s_1), auto_2.decoder(content_1, s_2)
        return {
            "discriminator_1": loss(self._logits(1, x_1), self._logits(1, image_2_to_1.detach())),
            "discriminator_2": loss(self._logits(2, x_2), self._logits(2, image_1_to_2.detach())),
        }

    def _generator_terms(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor) -> dict[str, Tensor]:
        weights, adversarial = self.config.loss, losses.GENERATOR_LOSSES[self.config.loss.gan]
        auto_1, auto_2 = self.model.auto_encoder(1), self.model.auto_encoder(2)
        (content_1, style_1), (content_2, style_2) = auto_1.encode(x_1), auto_2.encode(x_2)
        recon_1, recon_2 = auto_1.decoder(content_1, style_1), auto_2.decoder(content_2, style_2)
        image_2_to_1, image_1_to_2 = auto_1.decoder(content_2, s_1), auto_2.decoder(content_1, s_2)
        content_2_again, style_1_again = auto_1.encode(image_2_to_1)
        content_1_again, style_2_again = auto_2.encode(image_1_to_2)
        terms = {
            "image_1": losses.image_reconstruction(recon_1.float(), x_1),
            "image_2": losses.image_reconstruction(recon_2.float(), x_2),
            "gan_1": adversarial(self._logits(1, image_2_to_1)),
            "gan_2": adversarial(self._logits(2, image_1_to_2)),
            "content_1": losses.content_reconstruction(content_1_again.float(), content_1.float()),
            "content_2": losses.content_reconstruction(content_2_again.float(), content_2.float()),
            "style_1": losses.style_reconstruction(style_1_again.float(), s_1),
            "style_2": losses.style_reconstruction(style_2_again.float(), s_2),
        }
        if weights.cycle_weight:
            cycle_1, cycle_2 = auto_1.decoder(content_1_again, style_1), auto_2.decoder(content_2_again, style_2)
            terms["cycle_1"] = losses.cycle_reconstruction(cycle_1.float(), x_1)
            terms["cycle_2"] = losses.cycle_reconstruction(cycle_2.float(), x_2)
        return terms

    def _logits(self, domain: int, images: Tensor) -> list[Tensor]:
        return [scale.float() for scale in self.model.discriminator(domain)(images)]

    def _penalty(self, domain: int, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_(True)
        return losses.gradient_penalty(self._logits(domain, x), x)

    def _update(self, optimiser: torch.optim.Optimizer, objective: Tensor, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        self.fabric.backward(objective)
        optimiser.step()
