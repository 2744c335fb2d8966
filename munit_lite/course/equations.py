"""Every equation that the course uses: its number in the paper, its LaTeX, and the code that is it.

It stands here and not in `losses.py` because equations are implemented by networks, losses and the world, which
know nothing of each other.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from munit_lite import losses, networks, world
from munit_lite.model import MUNIT

if TYPE_CHECKING:
    from IPython.display import Markdown


@dataclass(frozen=True)
class Equation:
    """An equation of the paper.

    Args:
        key: how the course calls it, such as "L_recon^s2".
        where: number or section in the paper.
        says: what it says, one sentence.
        latex: without dollars.
        functions: what implements it; empty if it is an equality of distributions or of maps.
        check: for those: the check in `munit_lite.theory.propositions` that measures it.
        symbols: LaTeX of a symbol -> its meaning in plain words.
    """

    key: str
    where: str
    says: str
    latex: str
    functions: tuple[Callable[..., Any], ...] = ()
    check: str = ""
    symbols: dict[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """The equation, its symbols, and the source of its functions folded below."""
        lines = [f"**{self.says}** ({self.where})", "", f"$$ {self.latex} $$", ""]
        lines += [f"- ${symbol}$: {meaning}" for symbol, meaning in self.symbols.items()]
        if self.check:
            lines += ["", f"Measured by the check `{self.check}`."]
        for function in self.functions:
            name = f"{function.__module__}.{function.__qualname__}"
            source = textwrap.dedent(inspect.getsource(function))
            lines += [
                "",
                f"<details><summary>source: <code>{name}</code></summary>",
                "",
                "```python",
                source.rstrip(),
                "```",
                "",
                "</details>",
            ]
        return "\n".join(lines)

    def show(self) -> Markdown:
        """For a notebook: LaTeX, symbols, and the source folded below."""
        from IPython.display import Markdown

        return Markdown(self.markdown())


_X = {"x_i": "an image of domain $i$: 1 is a sketch, 2 a painting"}
_ENCODERS = {"E_i^c, E_i^s": "content and style encoder of domain $i$"}
_DECODER = {"G_i": "decoder of domain $i$"}
_PRIOR = {"q(s_i)": "the prior of styles, $N(0, I)$: new styles are drawn from it"}
_CODES = {"c_i": "content code, $E_i^c(x_i)$", "s_i": "style code of domain $i$"}
_TRANSLATION = {r"x_{1 \to 2}": "$G_2(E_1^c(x_1), s_2)$: the content of $x_1$ in a drawn style of domain 2"}
_LAW = {"p(\\cdot)": "the distribution of what stands in the brackets, over the images"}


def _image(i: int) -> Equation:
    return Equation(
        f"L_recon^x{i}",
        "equation 1" if i == 1 else "equation 1, mirrored",
        "An image comes back from its own content and style",
        rf"\mathcal L_{{recon}}^{{x_{i}}} = \mathbb E_{{x_{i} \sim p(x_{i})}} "
        rf"\left[\lVert G_{i}(E_{i}^c(x_{i}), E_{i}^s(x_{i})) - x_{i} \rVert_1\right]",
        (losses.image_reconstruction,),
        symbols=_X | _ENCODERS | _DECODER,
    )


def _content(i: int) -> Equation:
    j = 3 - i
    return Equation(
        f"L_recon^c{i}",
        "equation 2" if i == 1 else "equation 2, mirrored",
        "The content code comes back from the translation",
        rf"\mathcal L_{{recon}}^{{c_{i}}} = \mathbb E_{{c_{i} \sim p(c_{i}),\, s_{j} \sim q(s_{j})}} "
        rf"\left[\lVert E_{j}^c(G_{j}(c_{i}, s_{j})) - c_{i} \rVert_1\right]",
        (losses.content_reconstruction,),
        symbols={f"p(c_{i})": f"the distribution of $c_{i} = E_{i}^c(x_{i})$"} | _PRIOR | _ENCODERS | _DECODER,
    )


def _style(i: int) -> Equation:
    j = 3 - i
    return Equation(
        f"L_recon^s{i}",
        "equation 3" if i == 2 else "equation 3, mirrored",
        "The drawn style comes back from the translation: the target is the style that the decoder was fed",
        rf"\mathcal L_{{recon}}^{{s_{i}}} = \mathbb E_{{c_{j} \sim p(c_{j}),\, s_{i} \sim q(s_{i})}} "
        rf"\left[\lVert E_{i}^s(G_{i}(c_{j}, s_{i})) - s_{i} \rVert_1\right]",
        (losses.style_reconstruction,),
        symbols={f"p(c_{j})": f"the distribution of $c_{j} = E_{j}^c(x_{j})$"} | _PRIOR | _ENCODERS | _DECODER,
    )


def _adversarial(i: int) -> Equation:
    j = 3 - i
    return Equation(
        f"L_GAN^x{i}",
        "equation 4" if i == 2 else "equation 4, mirrored",
        "The discriminator tells real from translated; the auto-encoders want it to fail",
        rf"\mathcal L_{{GAN}}^{{x_{i}}} = \mathbb E_{{c_{j} \sim p(c_{j}),\, s_{i} \sim q(s_{i})}} "
        rf"\left[\log(1 - D_{i}(G_{i}(c_{j}, s_{i})))\right] "
        rf"+ \mathbb E_{{x_{i} \sim p(x_{i})}} \left[\log D_{i}(x_{i})\right]",
        (losses.log_discriminator, losses.log_generator, losses.nonsaturating_generator),
        symbols={f"D_{i}": "discriminator: the probability that an image is real; the code takes its logit"} | _PRIOR,
    )


def _cycle(i: int) -> Equation:
    j = 3 - i
    return Equation(
        f"L_cc^x{i}",
        "section 5.1",
        "Translated with a drawn style and back with its own style, an image is itself",
        rf"\mathcal L_{{cc}}^{{x_{i}}} = \mathbb E_{{x_{i} \sim p(x_{i}),\, s_{j} \sim q(s_{j})}} "
        rf"\left[\lVert G_{i}(E_{j}^c(G_{j}(E_{i}^c(x_{i}), s_{j})), E_{i}^s(x_{i})) - x_{i} \rVert_1\right]",
        (losses.cycle_reconstruction,),
        symbols=_X | _PRIOR | _ENCODERS | _DECODER,
    )


def _style_matching(i: int) -> Equation:
    return Equation(
        f"p(s{i})=q(s{i})",
        "proposition 2",
        f"At the optimum the encoded styles of domain {i} are distributed like the prior",
        rf"p(s_{i}) = q(s_{i})",
        check="check_latent_matching",
        symbols={f"p(s_{i})": f"the distribution of *encoded* styles $E_{i}^s(x_{i})$"} | _PRIOR,
    )


_ALL = (
    # ------------------------------------------------------------------------------------- the assumption (section 3.1)
    Equation(
        "x=G*(c,s)",
        "section 3.1",
        "A corresponding pair shows one content in two styles",
        r"x_1 = G_1^*(c, s_1), \qquad x_2 = G_2^*(c, s_2)",
        (world.render,),
        symbols={
            "G_i^*": "the true generator of domain $i$, deterministic; here the renderer of the known world",
            "c": "the content, which both domains share",
            "s_i": "the style, which domain $i$ keeps to itself",
        },
    ),
    Equation(
        "E*=(G*)^-1",
        "section 3.1",
        "The true encoders undo the true generators",
        r"E_i^* = (G_i^*)^{-1}, \qquad (c, s_i) = E_i^*(x_i)",
        check="check_optimality",
        symbols={"E_i^*": "the true encoder of domain $i$: the inverse of $G_i^*$"},
    ),
    Equation(
        "p(x1→2|x1)=p(x2|x1)",
        "section 3.1",
        "The goal: translations of an image are distributed like the true images that go with it",
        r"p(x_{1 \to 2} \mid x_1) = p(x_2 \mid x_1), \qquad p(x_{2 \to 1} \mid x_2) = p(x_1 \mid x_2)",
        check="check_joint_matching",
        symbols=_TRANSLATION | {r"p(x_2 \mid x_1)": "all paintings that show the content of the sketch $x_1$"},
    ),
    # ------------------------------------------------------------------------------------- the model (section 3.2, 5.1)
    Equation(
        "(c,s)=E(x)",
        "section 3.2",
        "An auto-encoder takes an image apart into content and style",
        r"(c_i, s_i) = (E_i^c(x_i), E_i^s(x_i)) = E_i(x_i)",
        (networks.AutoEncoder.encode,),
        symbols=_X | _CODES,
    ),
    Equation(
        "x1→2",
        "section 3.2",
        "A translation decodes the content of one domain with a style of the other",
        r"x_{1 \to 2} = G_2(E_1^c(x_1), s_2), \qquad s_2 \sim q(s_2)",
        (MUNIT.translate,),
        symbols=_ENCODERS | _DECODER | _PRIOR,
    ),
    Equation(
        "q(s)",
        "section 3.2",
        "New styles are drawn from a standard normal distribution",
        r"s_1 \sim q(s_1) = \mathcal N(0, I), \qquad s_2 \sim q(s_2) = \mathcal N(0, I)",
        (MUNIT.sample_style,),
        symbols=_PRIOR,
    ),
    Equation(
        "IN",
        "section 5.1",
        "Instance Norm removes each channel's mean and deviation from each sample",
        r"\mathrm{IN}(z) = \frac{z - \mu(z)}{\sigma(z)}",
        (networks.instance_norm,),
        symbols={
            "z": "features of a layer",
            r"\mu(z), \sigma(z)": "mean and deviation over height and width, for each sample and channel",
        },
    ),
    Equation(
        "AdaIN",
        "section 5.1",
        "Adaptive Instance Norm puts the style's scale and shift where the content's were",
        r"\mathrm{AdaIN}(z, \gamma, \beta) = \gamma \, \frac{z - \mu(z)}{\sigma(z)} + \beta",
        (networks.adaptive_instance_norm,),
        symbols={
            "z": "features that a convolution made of the content",
            r"\mu(z), \sigma(z)": "their mean and deviation over height and width, for each sample and channel",
            r"\gamma, \beta": "scale and shift of each channel, made from the style code by an MLP",
        },
    ),
    Equation(
        "LN",
        "appendix B",
        "The decoder's Layer Norm removes one mean and one deviation from a whole sample",
        r"\mathrm{LN}(z) = a \, \frac{z - m(z)}{d(z) + \varepsilon} + b",
        (networks.LayerNorm.forward,),
        symbols={
            "m(z), d(z)": "mean and deviation over channels, height and width together, for each sample",
            "a, b": "learned scale and shift of each channel; the style has no part in them",
        },
    ),
    # ----------------------------------------------------------------------------------------- the losses (section 3.2)
    *(make(i) for make in (_image, _content) for i in (1, 2)),
    *(make(i) for make in (_style, _adversarial) for i in (2, 1)),
    Equation(
        "LSGAN",
        "appendix B",
        "The least-squares form that is trained in place of equation 4: targets 1 and 0 in place of logarithms",
        r"\min_D \; \mathbb E[D(\hat x)^2] + \mathbb E[(D(x) - 1)^2], \qquad \min_G \; \mathbb E[(D(\hat x) - 1)^2]",
        (losses.lsgan_discriminator, losses.lsgan_generator),
        symbols={r"\hat x": "a translation", "D": "any real number; summed over the scales of the discriminator"},
    ),
    Equation(
        "hinge",
        "not in the paper",
        "The hinge form: no more is asked than a margin of 1 on either side",
        r"\min_D \; \mathbb E[\max(0, 1 - D(x))] + \mathbb E[\max(0, 1 + D(\hat x))], "
        r"\qquad \min_G \; -\mathbb E[D(\hat x)]",
        (losses.hinge_discriminator, losses.hinge_generator),
        symbols={r"\hat x": "a translation"},
    ),
    Equation(
        "R1",
        "not in the paper",
        "A penalty on the slope of the discriminator at real images",
        r"R_1 = \tfrac{1}{2} \, \mathbb E_{x \sim p(x)} \left[\lVert \nabla_x D(x) \rVert_2^2\right]",
        (losses.r1_penalty,),
        symbols={"D(x)": "the mean logit of a real image, summed over scales"},
    ),
    Equation(
        "total",
        "equation 5",
        "Everything at once: the discriminators ascend, encoders and decoders descend",
        r"\min_{E_1, E_2, G_1, G_2} \; \max_{D_1, D_2} \; \mathcal L_{GAN}^{x_1} + \mathcal L_{GAN}^{x_2} "
        r"+ \lambda_x (\mathcal L_{recon}^{x_1} + \mathcal L_{recon}^{x_2}) "
        r"+ \lambda_c (\mathcal L_{recon}^{c_1} + \mathcal L_{recon}^{c_2}) "
        r"+ \lambda_s (\mathcal L_{recon}^{s_1} + \mathcal L_{recon}^{s_2})",
        (losses.total,),
        symbols={r"\lambda_x, \lambda_c, \lambda_s": "weights of image, content and style reconstruction: 10, 1, 1"},
    ),
    _cycle(1),
    _cycle(2),
    Equation(
        "L_perceptual",
        "appendix A.3",
        "Features of an image and of its translation agree once Instance Norm has taken the domain out of them",
        r"\mathcal L_{vgg} = \mathbb E "
        r"\left[ \left(\mathrm{IN}(\phi(x_1)) - \mathrm{IN}(\phi(x_{1 \to 2}))\right)^2 \right]",
        (losses.domain_invariant_perceptual,),
        symbols={r"\phi": "features of a VGG16 network"} | _TRANSLATION,
    ),
    # ------------------------------------------------------------------------------------- the propositions (section 4)
    Equation(
        "proposition 1",
        "proposition 1",
        "If encoders undo decoders and translations are distributed like images, the objective is at its minimum",
        r"E_i^* = (G_i^*)^{-1},\; p(x_{1 \to 2}) = p(x_2),\; p(x_{2 \to 1}) = p(x_1) \;\Longrightarrow\; "
        r"E^*, G^* \in \arg\min_{E, G} \max_D \mathcal L(E, G, D)",
        check="check_optimality",
        symbols=_TRANSLATION | _LAW | {r"\mathcal L": "the total loss, equation 5"},
    ),
    Equation(
        "p(c1)=p(c2)",
        "proposition 2",
        "At the optimum both domains have the same distribution of content codes",
        r"p(c_1) = p(c_2)",
        check="check_latent_matching",
        symbols={"p(c_i)": "the distribution of *encoded* contents $E_i^c(x_i)$"},
    ),
    _style_matching(1),
    _style_matching(2),
    Equation(
        "p(x1,x1→2)=p(x2→1,x2)",
        "proposition 3",
        "At the optimum pairs made from domain 1 are distributed like pairs made from domain 2",
        r"p(x_1, x_{1 \to 2}) = p(x_{2 \to 1}, x_2)",
        check="check_joint_matching",
        symbols=_TRANSLATION | _LAW,
    ),
    Equation(
        "F1→2",
        "proposition 4",
        "A translation that carries the styles along",
        r"F_{1 \to 2}(x_1, s_2) \triangleq (G_2(E_1^c(x_1), s_2), E_1^s(x_1)), \qquad "
        r"h_1 = (x_1, s_2) \in H_1, \quad h_2 = (x_2, s_1) \in H_2",
        check="check_cycle_consistency",
        symbols={"H_1, H_2": "images of one domain, each with a style of the other"} | _ENCODERS | _DECODER,
    ),
    Equation(
        "F1→2=F2→1^-1",
        "proposition 4",
        "At the optimum translating there and back changes nothing",
        r"F_{1 \to 2} = F_{2 \to 1}^{-1}",
        check="check_cycle_consistency",
        symbols={r"F_{1 \to 2}": "the translation that carries the styles along, from $H_1$ to $H_2$"},
    ),
)

EQUATIONS = {equation.key: equation for equation in _ALL}


def equation(key: str) -> Equation:
    """An equation by its key.

    Raises:
        KeyError: there is none; the message lists the known ones.
    """
    if key not in EQUATIONS:
        raise KeyError(f"there is no equation {key!r}; known: {', '.join(EQUATIONS)}")
    return EQUATIONS[key]
