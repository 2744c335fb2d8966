"""MUNIT's outputs and losses of one training step, in the order of the paper's figure 2.

Read this file beside figure 2 and section 3.2 of the paper. `losses.py` defines each loss, `training_step.py` decides
which network learns from it. The subscripts 1 and 2 are the two domains, s_1 and s_2 are styles sampled from the prior.

Training runs `acceleration/objective.py`, which computes the same in less time; tests compare the two. So a new loss
must be added there, too.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from munit_lite import losses
from munit_lite.config import Config
from munit_lite.model import MUNIT

LossTerms = dict[str, Tensor]  # "<loss>_<domain>", such as "style_2" -> scalar


class Outputs(NamedTuple):
    """Outputs of the autoencoders for one batch, which the generator and the discriminator losses both use."""

    content_1: Tensor  # c_1 = E_1^c(x_1), (B, C, h, w)
    content_2: Tensor
    style_1: Tensor  # E_1^s(x_1), (B, style_dim); without gradient if `detach_style` is set
    style_2: Tensor
    recon_1: Tensor  # G_1(c_1, style_1), (B, 3, H, W)
    recon_2: Tensor
    image_1_to_2: Tensor  # x_1→2 = G_2(c_1, s_2), (B, 3, H, W)
    image_2_to_1: Tensor


class Objective:
    """Compute MUNIT's outputs and losses of one step (paper, figure 2 and section 3.2).

    A baseline is a subclass that overrides `generate` and `generator_losses` (see `munit_lite.methods`).

    Args:
        model: the four networks.
        config: its `loss` record gives the adversarial family, and says whether the cycle loss is needed.

    Example:
        >>> import torch
        >>> from munit_lite.presets import preset
        >>> model = MUNIT(preset("world32"))
        >>> objective = Objective(model, model.config)
        >>> x_1, x_2 = torch.zeros(2, 4, 3, 32, 32)
        >>> s_1, s_2 = model.sample_style(8).chunk(2)
        >>> outputs = objective.generate(x_1, x_2, s_1, s_2)
        >>> outputs.image_1_to_2.shape
        torch.Size([4, 3, 32, 32])
        >>> sorted(objective.discriminator_losses(x_1, x_2, outputs))
        ['discriminator_1', 'discriminator_2']
    """

    LOSSES: ClassVar[tuple[str, ...]] = ("gan", "image", "content", "style", "cycle")
    """Losses that `generator_losses` computes for both domains ("style": `style_1`, `style_2`, with `style_weight`).
    `methods.check_loss_weights` refuses a weight for any other loss."""

    def __init__(self, model: MUNIT, config: Config) -> None:
        self.model, self.loss = model, config.loss

    def generate(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor) -> Outputs:
        """Encode both images, reconstruct them, and translate them with sampled styles.

        Args:
            x_1: images of domain 1, (B, 3, H, W) in [-1, 1].
            x_2: images of domain 2, unpaired with x_1.
            s_1: styles of domain 1 from the prior N(0, I), (B, style_dim).
            s_2: styles of domain 2 from the prior.

        Returns:
            codes, reconstructions and translations, with gradients.

        Raises:
            ValueError: images or styles have a shape that the model does not accept.
        """
        model = self.model
        # Encode each image into a content code and a style code.
        content_1, style_1 = model.encode(x_1, domain=1)
        content_2, style_2 = model.encode(x_2, domain=2)
        if self.loss.detach_style:  # no gradient of a reconstruction: equation 3 alone teaches the style encoders
            style_1, style_2 = style_1.detach(), style_2.detach()
        # Decode within the domain: the content and the style of the same image.
        recon_1 = model.decode(content_1, style_1, domain=1)
        recon_2 = model.decode(content_2, style_2, domain=2)
        # Translate: the content of one domain with a sampled style of the other.
        image_1_to_2 = model.decode(content_1, s_2, domain=2)
        image_2_to_1 = model.decode(content_2, s_1, domain=1)
        return Outputs(content_1, content_2, style_1, style_2, recon_1, recon_2, image_1_to_2, image_2_to_1)

    def discriminator_losses(self, x_1: Tensor, x_2: Tensor, outputs: Outputs) -> LossTerms:
        """Compute the discriminators' losses (equation 4), which do not reach the autoencoders.

        Args:
            x_1: real images of domain 1, (B, 3, H, W) in [-1, 1].
            x_2: real images of domain 2.
            outputs: what `generate` returned, with or without gradients; its translations are the generated images.

        Returns:
            scalars `discriminator_1` and `discriminator_2`.

        Raises:
            RuntimeError: the images are too small for the discriminators' reflect padding.
        """
        discriminator_1, discriminator_2 = self.model.discriminator(1), self.model.discriminator(2)
        adversarial_loss = losses.DISCRIMINATOR_LOSSES[self.loss.gan_mode]
        fake_1, fake_2 = outputs.image_2_to_1.detach(), outputs.image_1_to_2.detach()
        return {
            "discriminator_1": adversarial_loss(discriminator_1(x_1), discriminator_1(fake_1)),
            "discriminator_2": adversarial_loss(discriminator_2(x_2), discriminator_2(fake_2)),
        }

    def r1_penalty(self, x_1: Tensor, x_2: Tensor) -> Tensor:
        """Compute the R1 gradient penalty of both discriminators on real images (not in the paper).

        Args:
            x_1: real images of domain 1, (B, 3, H, W) in [-1, 1].
            x_2: real images of domain 2.

        Returns:
            the sum over the two domains, a scalar, without its weight.
        """
        x_1, x_2 = x_1.detach().requires_grad_(), x_2.detach().requires_grad_()
        penalty_1 = losses.r1_penalty(self.model.discriminator(1)(x_1), x_1)
        penalty_2 = losses.r1_penalty(self.model.discriminator(2)(x_2), x_2)
        return penalty_1 + penalty_2

    def generator_losses(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor, outputs: Outputs) -> LossTerms:
        """Compute the autoencoders' losses (equations 1 to 4, and the cycle loss where it has a weight).

        Args:
            x_1: images of domain 1, (B, 3, H, W) in [-1, 1].
            x_2: images of domain 2.
            s_1: the styles of domain 1 that `generate` was given, (B, style_dim).
            s_2: those of domain 2.
            outputs: what `generate` returned for these arguments, with gradients.

        Returns:
            the losses of both domains, unweighted.
        """
        model, image_1_to_2, image_2_to_1 = self.model, outputs.image_1_to_2, outputs.image_2_to_1
        adversarial_loss = losses.GENERATOR_LOSSES[self.loss.gan_mode]
        # Encode the translations again: c_1 and s_2 must come back from x_1→2, c_2 and s_1 from x_2→1.
        recon_content_1, recon_style_2 = model.encode(image_1_to_2, domain=2)
        recon_content_2, recon_style_1 = model.encode(image_2_to_1, domain=1)
        loss_terms = {
            "image_1": losses.image_reconstruction_loss(outputs.recon_1, x_1),  # equation 1
            "image_2": losses.image_reconstruction_loss(outputs.recon_2, x_2),
            "gan_1": adversarial_loss(model.discriminator(1)(image_2_to_1)),  # equation 4
            "gan_2": adversarial_loss(model.discriminator(2)(image_1_to_2)),
            "content_1": losses.content_reconstruction_loss(recon_content_1, outputs.content_1),  # equation 2
            "content_2": losses.content_reconstruction_loss(recon_content_2, outputs.content_2),
            "style_1": losses.style_reconstruction_loss(recon_style_1, s_1),  # equation 3
            "style_2": losses.style_reconstruction_loss(recon_style_2, s_2),
        }
        if self.loss.cycle_weight:
            # Translate back with each image's own style.
            cycle_1 = model.decode(recon_content_1, outputs.style_1, domain=1)
            cycle_2 = model.decode(recon_content_2, outputs.style_2, domain=2)
            loss_terms["cycle_1"] = losses.cycle_consistency_loss(cycle_1, x_1)  # section 5.1
            loss_terms["cycle_2"] = losses.cycle_consistency_loss(cycle_2, x_2)
        return loss_terms
