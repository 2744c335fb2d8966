"""The equations of the course: the number in the paper, the LaTeX, and the code that implements each.

The LaTeX of a loss stands in the docstring of its function in `losses.py`, between $$, and is read from there. The
other equations stand here, because networks, losses and the world, which implement them, know nothing of each other.
"""

from __future__ import annotations

from munit_lite import losses, networks, world
from munit_lite.course.equation_display import Equation, Function, exchange_domains, latex_from_docstring
from munit_lite.model import MUNIT

_IMAGES = {"x_i": "an image of domain $i$; domain 1 holds sketches, domain 2 paintings"}
_ENCODERS = {"E_i^c, E_i^s": "the content and style encoders of domain $i$"}
_DECODER = {"G_i": "the decoder of domain $i$"}
_PRIOR = {"q(s_i)": "the prior of styles, $N(0, I)$, from which new styles are sampled"}
_CODES = {"c_i": "the content code, $E_i^c(x_i)$", "s_i": "the style code of domain $i$"}
_TRANSLATION = {r"x_{1 \to 2}": "$G_2(E_1^c(x_1), s_2)$: the content of $x_1$ with a sampled style of domain 2"}
_DISTRIBUTION = {r"p(\cdot)": "the distribution of the argument over the images"}
_ENCODED_CONTENT = {"p(c_1)": "the distribution of $c_1 = E_1^c(x_1)$"}


def _both_domains(
    stem: str, location: str, summary: str, functions: tuple[Function, ...], symbols: dict[str, str], domain: int = 1
) -> tuple[Equation, Equation]:
    """Return the equation of a domain, whose LaTeX the first function's docstring holds, and its mirror image."""
    latex = latex_from_docstring(functions[0])
    mirrored = location if "section" in location else f"{location}, mirrored"
    exchanged = {exchange_domains(symbol): exchange_domains(meaning) for symbol, meaning in symbols.items()}
    return (
        Equation(f"{stem}{domain}", location, summary, latex, functions, symbols=symbols),
        Equation(f"{stem}{3 - domain}", mirrored, summary, exchange_domains(latex), functions, symbols=exchanged),
    )


def _style_matching(i: int) -> Equation:
    return Equation(
        f"p(s{i})=q(s{i})",
        "proposition 2",
        f"At the optimum, the encoded styles of domain {i} are distributed like the prior",
        rf"p(s_{i}) = q(s_{i})",
        check="check_latent_matching",
        symbols={f"p(s_{i})": f"the distribution of *encoded* styles $E_{i}^s(x_{i})$"} | _PRIOR,
    )


_EQUATIONS = (
    # ------------------------------------------------------------------------------------- the assumption (section 3.1)
    Equation(
        "x=G*(c,s)",
        "section 3.1",
        "Corresponding images share one content and differ in style",
        r"x_1 = G_1^*(c, s_1), \qquad x_2 = G_2^*(c, s_2)",
        (world.render,),
        symbols={
            "G_i^*": "the true generator of domain $i$, deterministic; here the renderer of the known world",
            "c": "the content, which both domains share",
            "s_i": "the style, which belongs to domain $i$ alone",
        },
    ),
    Equation(
        "E*=(G*)^-1",
        "section 3.1",
        "The true encoders are the inverses of the true generators",
        r"E_i^* = (G_i^*)^{-1}, \qquad (c, s_i) = E_i^*(x_i)",
        check="check_optimality",
        symbols={"E_i^*": "the true encoder of domain $i$: the inverse of $G_i^*$"},
    ),
    Equation(
        "p(x1→2|x1)=p(x2|x1)",
        "section 3.1",
        "The goal: translations of an image are distributed like the true images that correspond to it",
        r"p(x_{1 \to 2} \mid x_1) = p(x_2 \mid x_1), \qquad p(x_{2 \to 1} \mid x_2) = p(x_1 \mid x_2)",
        check="check_joint_matching",
        symbols=_TRANSLATION | {r"p(x_2 \mid x_1)": "the distribution of paintings with the content of $x_1$"},
    ),
    # ------------------------------------------------------------------------------------- the model (section 3.2, 5.1)
    Equation(
        "(c,s)=E(x)",
        "section 3.2",
        "An autoencoder separates an image into content and style",
        r"(c_i, s_i) = (E_i^c(x_i), E_i^s(x_i)) = E_i(x_i)",
        (networks.AutoEncoder.encode,),
        symbols=_IMAGES | _CODES,
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
        "New styles are sampled from a standard normal distribution",
        r"s_1 \sim q(s_1) = \mathcal N(0, I), \qquad s_2 \sim q(s_2) = \mathcal N(0, I)",
        (MUNIT.sample_style,),
        symbols=_PRIOR,
    ),
    Equation(
        "IN",
        "section 5.1",
        "Instance normalization removes the mean and standard deviation of each channel of each sample",
        r"\mathrm{IN}(z) = \frac{z - \mu(z)}{\sigma(z)}",
        (networks.instance_norm,),
        symbols={
            "z": "features of a layer",
            r"\mu(z), \sigma(z)": "mean and standard deviation over height and width, for each sample and channel",
        },
    ),
    Equation(
        "AdaIN",
        "section 5.1",
        "Adaptive instance normalization replaces the statistics of the features by a scale and shift from the style",
        r"\mathrm{AdaIN}(z, \gamma, \beta) = \gamma \, \frac{z - \mu(z)}{\sigma(z)} + \beta",
        (networks.adaptive_instance_norm,),
        symbols={
            "z": "features that a convolution computed from the content",
            r"\mu(z), \sigma(z)": "their mean and standard deviation over height and width, per sample and channel",
            r"\gamma, \beta": "scale and shift of each channel, which an MLP computes from the style code",
        },
    ),
    Equation(
        "LN",
        "published code",
        "The decoder's layer normalization removes one mean and one standard deviation from a whole sample",
        r"\mathrm{LN}(z) = a \, \frac{z - m(z)}{d(z) + \varepsilon} + b",
        (networks.LayerNorm.forward,),
        symbols={
            "m(z), d(z)": "mean and standard deviation over channels, height and width together, for each sample",
            "a, b": "learned scale and shift of each channel, which do not depend on the style",
        },
    ),
    # ----------------------------------------------------------------------------------------- the losses (section 3.2)
    *_both_domains(
        "L_recon^x",
        "equation 1",
        "An image is recovered from its own content and style codes",
        (losses.image_reconstruction_loss,),
        _IMAGES | _ENCODERS | _DECODER,
    ),
    *_both_domains(
        "L_recon^c",
        "equation 2",
        "The content code is recovered from the translation",
        (losses.content_reconstruction_loss,),
        _ENCODED_CONTENT | _PRIOR | _ENCODERS | _DECODER,
    ),
    *_both_domains(
        "L_recon^s",
        "equation 3",
        "The sampled style is recovered from the translation: the target is the style that the decoder was given",
        (losses.style_reconstruction_loss,),
        _ENCODED_CONTENT | _PRIOR | _ENCODERS | _DECODER,
        domain=2,
    ),
    *_both_domains(
        "L_GAN^x",
        "equation 4",
        "The discriminator learns to distinguish real images from translations; the autoencoders learn to fool it",
        (losses.minimax_discriminator_loss, losses.minimax_generator_loss, losses.nonsaturating_generator_loss),
        {"D_2": "the discriminator: the probability that an image is real; the code takes its logit"} | _PRIOR,
        domain=2,
    ),
    Equation(
        "LSGAN",
        "appendix B",
        "The least-squares form, which is trained in place of equation 4, has targets 1 and 0 instead of logarithms",
        latex_from_docstring(losses.lsgan_discriminator_loss, losses.lsgan_generator_loss),
        (losses.lsgan_discriminator_loss, losses.lsgan_generator_loss),
        symbols={r"\hat x": "a translation", "D": "here the score $S$; the losses are summed over scales"},
    ),
    Equation(
        "hinge",
        "not in the paper",
        "The hinge form asks the discriminator for a margin of 1 on either side and no more",
        latex_from_docstring(losses.hinge_discriminator_loss, losses.hinge_generator_loss),
        (losses.hinge_discriminator_loss, losses.hinge_generator_loss),
        symbols={r"\hat x": "a translation", "D": "here the score"},
    ),
    Equation(
        "R1",
        "not in the paper",
        "A penalty on the gradient of the discriminator at real images",
        latex_from_docstring(losses.r1_penalty),
        (losses.r1_penalty,),
        symbols={"D(x)": "here the mean score of an image, summed over scales"},
    ),
    Equation(
        "total",
        "equation 5",
        "The whole objective: the discriminators maximize it, the encoders and decoders minimize it",
        latex_from_docstring(losses.total_loss),
        (losses.total_loss,),
        symbols={r"\lambda_x, \lambda_c, \lambda_s": "weights of image, content and style reconstruction: 10, 1, 1"},
    ),
    *_both_domains(
        "L_cc^x",
        "section 5.1",
        "An image that is translated with a sampled style and back with its own style is recovered",
        (losses.cycle_consistency_loss,),
        _IMAGES | _PRIOR | _ENCODERS | _DECODER,
    ),
    Equation(
        "L_perceptual",
        "appendix A.3",
        "An image and its translation have the same features once instance normalization has removed the domain",
        latex_from_docstring(losses.domain_invariant_perceptual_loss),
        (losses.domain_invariant_perceptual_loss,),
        symbols={r"\phi": "features of a VGG16 network"} | _TRANSLATION,
    ),
    # ------------------------------------------------------------------------------------- the propositions (section 4)
    Equation(
        "proposition 1",
        "proposition 1",
        "If encoders invert decoders and translations are distributed like images, the objective is at its minimum",
        r"E_i^* = (G_i^*)^{-1},\; p(x_{1 \to 2}) = p(x_2),\; p(x_{2 \to 1}) = p(x_1) \;\Longrightarrow\; "
        r"E^*, G^* \in \arg\min_{E, G} \max_D \mathcal L(E, G, D)",
        check="check_optimality",
        symbols=_TRANSLATION | _DISTRIBUTION | {r"\mathcal L": "the total loss, equation 5"},
    ),
    Equation(
        "p(c1)=p(c2)",
        "proposition 2",
        "At the optimum, both domains have the same distribution of content codes",
        r"p(c_1) = p(c_2)",
        check="check_latent_matching",
        symbols={"p(c_i)": "the distribution of *encoded* contents $E_i^c(x_i)$"},
    ),
    _style_matching(1),
    _style_matching(2),
    Equation(
        "p(x1,x1→2)=p(x2→1,x2)",
        "proposition 3",
        "At the optimum, pairs translated from domain 1 are distributed like pairs translated from domain 2",
        r"p(x_1, x_{1 \to 2}) = p(x_{2 \to 1}, x_2)",
        check="check_joint_matching",
        symbols=_TRANSLATION | _DISTRIBUTION,
    ),
    Equation(
        "F1→2",
        "proposition 4",
        "The augmented translation also passes on the style of its input",
        r"F_{1 \to 2}(x_1, s_2) \triangleq (G_2(E_1^c(x_1), s_2), E_1^s(x_1)), \qquad "
        r"h_1 = (x_1, s_2) \in H_1, \quad h_2 = (x_2, s_1) \in H_2",
        check="check_cycle_consistency",
        symbols={"H_1, H_2": "images of one domain, each with a style of the other"} | _ENCODERS | _DECODER,
    ),
    Equation(
        "F1→2=F2→1^-1",
        "proposition 4",
        "At the optimum, translating an image and back changes nothing",
        r"F_{1 \to 2} = F_{2 \to 1}^{-1}",
        check="check_cycle_consistency",
        symbols={r"F_{1 \to 2}": "the augmented translation, from $H_1$ to $H_2$"},
    ),
)

EQUATIONS = {equation.key: equation for equation in _EQUATIONS}


def equation(key: str) -> Equation:
    """Look up an equation by its key.

    Args:
        key: the name that the course uses, such as "L_recon^x1"; `EQUATIONS` holds all.

    Returns:
        The equation; its `show()` displays it in a notebook.

    Raises:
        KeyError: there is no such equation; the message lists the known ones.

    Example:
        >>> equation("q(s)").location
        'section 3.2'
    """
    if key not in EQUATIONS:
        raise KeyError(f"there is no equation {key!r}; known: {', '.join(EQUATIONS)}")
    return EQUATIONS[key]
