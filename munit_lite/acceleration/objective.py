"""MUNIT's objective with less work per step: larger batches for each network, and both domains in parallel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from munit_lite import losses
from munit_lite.acceleration.parallel_domains import map_domains
from munit_lite.config import Config
from munit_lite.model import MUNIT
from munit_lite.objective import LossTerms, Objective, Outputs


class AcceleratedObjective(Objective):
    """Compute the outputs and losses of `Objective` in fewer and larger batches.

    A decoder computes reconstructions and translations in one batch, a discriminator real and translated images.

    Args:
        model: the four networks.
        config: its `loss` record gives the adversarial family, and says whether the cycle loss is needed.
        pool: two threads for the two domains (see `parallel_domains`); None computes one after the other.
    """

    def __init__(self, model: MUNIT, config: Config, pool: ThreadPoolExecutor | None) -> None:
        super().__init__(model, config)
        self.pool = pool

    def generate(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor) -> Outputs:
        def encode(domain: int, image: Tensor) -> tuple[Tensor, Tensor]:
            content, style = self.model.encode(image, domain)
            return content, style.detach() if self.loss.detach_style else style

        def decode(domain: int, content: Tensor, style: Tensor, other_content: Tensor, s: Tensor) -> tuple[Tensor, ...]:
            images = self.model.decode(torch.cat([content, other_content]), torch.cat([style, s]), domain)
            return images.chunk(2)  # reconstructions, translations

        (content_1, style_1), (content_2, style_2) = map_domains(self.pool, encode, [x_1], [x_2])
        (recon_1, image_2_to_1), (recon_2, image_1_to_2) = map_domains(
            self.pool, decode, [content_1, style_1, content_2, s_1], [content_2, style_2, content_1, s_2]
        )
        return Outputs(content_1, content_2, style_1, style_2, recon_1, recon_2, image_1_to_2, image_2_to_1)

    def discriminator_losses(self, x_1: Tensor, x_2: Tensor, outputs: Outputs) -> LossTerms:
        def discriminate(domain: int, real: Tensor, fake: Tensor) -> tuple[Tensor]:
            logits = [scale.chunk(2) for scale in self.model.discriminator(domain)(torch.cat([real, fake]))]
            adversarial_loss = losses.DISCRIMINATOR_LOSSES[self.loss.gan_mode]
            return (adversarial_loss([real for real, _ in logits], [fake for _, fake in logits]),)

        fake_1, fake_2 = outputs.image_2_to_1.detach(), outputs.image_1_to_2.detach()
        (loss_1,), (loss_2,) = map_domains(self.pool, discriminate, [x_1, fake_1], [x_2, fake_2])
        return {"discriminator_1": loss_1, "discriminator_2": loss_2}

    def r1_penalty(self, x_1: Tensor, x_2: Tensor) -> Tensor:
        def penalize(domain: int, x: Tensor) -> tuple[Tensor]:
            x = x.detach().requires_grad_()
            return (losses.r1_penalty(self.model.discriminator(domain)(x), x),)

        (penalty_1,), (penalty_2,) = map_domains(self.pool, penalize, [x_1], [x_2])
        return penalty_1 + penalty_2

    def generator_losses(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor, outputs: Outputs) -> LossTerms:
        def discriminate_and_encode(domain: int, fake: Tensor) -> tuple[Tensor, ...]:
            adversarial_loss = losses.GENERATOR_LOSSES[self.loss.gan_mode]
            return adversarial_loss(self.model.discriminator(domain)(fake)), *self.model.encode(fake, domain)

        def decode(domain: int, content: Tensor, style: Tensor) -> tuple[Tensor]:
            return (self.model.decode(content, style, domain),)

        (gan_1, recon_content_2, recon_style_1), (gan_2, recon_content_1, recon_style_2) = map_domains(
            self.pool, discriminate_and_encode, [outputs.image_2_to_1], [outputs.image_1_to_2]
        )
        loss_terms = {
            "image_1": losses.image_reconstruction_loss(outputs.recon_1, x_1),
            "image_2": losses.image_reconstruction_loss(outputs.recon_2, x_2),
            "gan_1": gan_1,
            "gan_2": gan_2,
            "content_1": losses.content_reconstruction_loss(recon_content_1, outputs.content_1),
            "content_2": losses.content_reconstruction_loss(recon_content_2, outputs.content_2),
            "style_1": losses.style_reconstruction_loss(recon_style_1, s_1),
            "style_2": losses.style_reconstruction_loss(recon_style_2, s_2),
        }
        if self.loss.cycle_weight:
            (cycle_1,), (cycle_2,) = map_domains(
                self.pool, decode, [recon_content_1, outputs.style_1], [recon_content_2, outputs.style_2]
            )
            loss_terms["cycle_1"] = losses.cycle_consistency_loss(cycle_1, x_1)
            loss_terms["cycle_2"] = losses.cycle_consistency_loss(cycle_2, x_2)
        return loss_terms
