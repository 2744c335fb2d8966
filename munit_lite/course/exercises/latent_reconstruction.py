"""Exercises of 06_latent_reconstruction: style and content losses, draws from the prior, the perceptual loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.adain_decoder import reference_adain, small_decoder
from munit_lite.course.exercises.framework import Bug, Exercise, Input
from munit_lite.course.exercises.image_reconstruction import small_encoders

Encode = Callable[[Tensor], Tensor]
Decode = Callable[[Tensor, Tensor], Tensor]
Terms = dict[str, Tensor]


def other_decoder(content: Tensor, style: Tensor) -> Tensor:
    """The other domain's decoder: (B, C, h, w) and (B, C) -> (B, C, h, w)."""
    return torch.sin(reference_adain(content, 1 + style, -style))


def _distance(again: Tensor, target: Tensor) -> Tensor:
    difference = again - target
    return torch.where(difference < 0, -difference, difference).sum() / target.numel()


# --------------------------------------------------------------------------------------------------- the style losses


def _style_terms(
    content_1: Tensor,
    content_2: Tensor,
    style_prior_1: Tensor,
    style_prior_2: Tensor,
    decode_1: Decode,
    decode_2: Decode,
    encode_style_1: Encode,
    encode_style_2: Encode,
) -> Terms:
    again_1 = encode_style_1(decode_1(content_2, style_prior_1))
    again_2 = encode_style_2(decode_2(content_1, style_prior_2))
    return {"style_1": _distance(again_1, style_prior_1), "style_2": _distance(again_2, style_prior_2)}


def _swapped_targets(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks) -> Terms:
    decode_1, decode_2, encode_1, encode_2 = networks
    again_1, again_2 = encode_1(decode_1(c_2, s_1)), encode_2(decode_2(c_1, s_2))
    return {"style_1": _distance(again_1, s_2), "style_2": _distance(again_2, s_1)}


def _own_content(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks) -> Terms:
    return _style_terms(c_2, c_1, s_1, s_2, *networks)


def _other_encoder(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks) -> Terms:
    decode_1, decode_2, encode_1, encode_2 = networks
    return _style_terms(c_1, c_2, s_1, s_2, decode_1, decode_2, encode_2, encode_1)


def _names_swapped(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks) -> Terms:
    terms = _style_terms(c_1, c_2, s_1, s_2, *networks)
    return {"style_1": terms["style_2"], "style_2": terms["style_1"]}


def _translation_detached(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks) -> Terms:
    decode_1, decode_2, encode_1, encode_2 = networks
    again_1, again_2 = encode_1(decode_1(c_2, s_1).detach()), encode_2(decode_2(c_1, s_2).detach())
    return {"style_1": _distance(again_1, s_1), "style_2": _distance(again_2, s_2)}


def _styles_summed(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks) -> Terms:
    return {name: value * s_1.numel() for name, value in _style_terms(c_1, c_2, s_1, s_2, *networks).items()}


def _codes(generator: Generator) -> Iterator[tuple[str, Tensor]]:
    for label, content in inputs.feature_batches(generator):
        if label not in ("large values", "far from zero"):
            yield label, content


def _style_cases(generator: Generator) -> Iterator[Input]:
    for label, content_1 in _codes(generator):
        channels = content_1.shape[1]
        content_2 = torch.randn(content_1.shape, generator=generator, dtype=content_1.dtype)
        styles = torch.randn(2, len(content_1), channels, generator=generator, dtype=content_1.dtype)
        encoders = [small_encoders(generator, channels, content_1.dtype)[1] for _ in range(2)]
        yield Input(label, (content_1, content_2, *styles, small_decoder, other_decoder, *encoders))


style_terms = Exercise(
    "style_terms",
    _style_terms,
    _style_cases,
    (
        Bug(
            "style-target-swapped",
            _swapped_targets,
            "your style targets have changed places: style_2 is compared with s₁, but the decoder was fed s₂",
            "The target is the style that the decoder was fed. With the other one the loss cannot fall below "
            "√(2/π) ≈ 0.8, and the encoder learns to read zeros.",
            "eriklindernoren/PyTorch-GAN, PR #32; also the summary of the paper that this course grew from",
        ),
        Bug(
            "style-read-from-the-own-domain",
            _own_content,
            "each decoder gets the content of its own domain, so that nothing is translated",
            "The painting is decoded from the sketch's content: `decode_2(content_1, style_prior_2)`.",
        ),
        Bug(
            "style-other-domains-encoder",
            _other_encoder,
            "a translation is read by the style encoder of the other domain",
            "A painting is read by the paintings' encoder, `encode_style_2`.",
        ),
        Bug(
            "style-terms-named-wrongly",
            _names_swapped,
            "the two numbers have each other's names",
            "`style_2` is about s₂: translations into domain 2.",
        ),
        Bug(
            "style-translation-detached",
            _translation_detached,
            "the translation is cut out of the gradient",
            "The values are right, but the decoder learns nothing: it must be told to show the style it was fed.",
        ),
        Bug(
            "style-loss-summed",
            _styles_summed,
            "the differences of the styles are summed, not averaged",
            "Take the mean over images and over the numbers of a style.",
        ),
    ),
    compare_gradients=True,
)

# ---------------------------------------------------------------------------------------------------- the content loss


def _content_term(content: Tensor, style_prior: Tensor, decode: Decode, encode_content: Encode) -> Tensor:
    return _distance(encode_content(decode(content, style_prior)), content)


def _target_detached(content: Tensor, style_prior: Tensor, decode: Decode, encode_content: Encode) -> Tensor:
    return (encode_content(decode(content, style_prior)) - content.detach()).abs().mean()


def _content_translation_detached(
    content: Tensor, style_prior: Tensor, decode: Decode, encode_content: Encode
) -> Tensor:
    return (encode_content(decode(content, style_prior).detach()) - content).abs().mean()


def _not_encoded(content: Tensor, style_prior: Tensor, decode: Decode, encode_content: Encode) -> Tensor:
    return (decode(content, style_prior) - content).abs().mean()


def _content_squared(content: Tensor, style_prior: Tensor, decode: Decode, encode_content: Encode) -> Tensor:
    return (encode_content(decode(content, style_prior)) - content).square().mean()


def _images_norm(content: Tensor, style_prior: Tensor, decode: Decode, encode_content: Encode) -> Tensor:
    return (encode_content(decode(content, style_prior)) - content).abs().flatten(1).sum(1).mean()


def _content_cases(generator: Generator) -> Iterator[Input]:
    for label, content in _codes(generator):
        style = torch.randn(content.shape[:2], generator=generator, dtype=content.dtype)
        encoder, _ = small_encoders(generator, content.shape[1], content.dtype)
        yield Input(label, (content, style, small_decoder, encoder))


content_term = Exercise(
    "content_term",
    _content_term,
    _content_cases,
    (
        Bug(
            "content-target-detached",
            _target_detached,
            "the target is detached: the value is right, the gradient is another",
            "As in the original the gradient flows into the target too. Detached, the size of the code drifts another "
            "way.",
        ),
        Bug(
            "content-translation-detached",
            _content_translation_detached,
            "the translation is detached, so that neither the decoder nor what fed it learns from reading it back",
            "Only the discriminator's own step detaches translations; here the decoder must learn to keep content.",
        ),
        Bug(
            "content-not-encoded",
            _not_encoded,
            "the translation itself is compared with the content code",
            "Encode the translation first: an image and a code have nothing to do with each other.",
        ),
        Bug(
            "content-loss-squared",
            _content_squared,
            "the differences of the contents are squared",
            "Equation 2 has the L1 norm.",
        ),
        Bug(
            "content-loss-summed",
            _images_norm,
            "the differences are summed over each content code",
            "Take the mean over all elements, so that the weight 1 means the same for every size of code.",
        ),
    ),
    compare_gradients=True,
)

# ---------------------------------------------------------------------------------------------- draws from the prior


def _prior_styles(uniform: Tensor) -> Tensor:
    return 2**0.5 * torch.erfinv(2 * uniform - 1)


def _uniform_styles(uniform: Tensor) -> Tensor:
    return 2 * uniform - 1


def _right_variance(uniform: Tensor) -> Tensor:
    return 12**0.5 * (uniform - 0.5)


def _distribution_function(uniform: Tensor) -> Tensor:
    return torch.special.ndtr(uniform)


def _one_sided(uniform: Tensor) -> Tensor:
    return torch.special.ndtri(uniform).abs()


def _without_the_root(uniform: Tensor) -> Tensor:
    return torch.erfinv(2 * uniform - 1)


def _uniform_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype) * 0.98 + 0.01

    yield Input("one number", (draw(1, 1),))
    yield Input("the middle", (torch.full((2, 1), 0.5),))
    yield Input("near the ends", (torch.tensor([[0.001, 0.999]]),))
    yield Input("not contiguous", (draw(3, 4).T,))
    yield Input("float64", (draw(4, 8, dtype=torch.float64),))


prior_styles = Exercise(
    "prior_styles",
    _prior_styles,
    _uniform_cases,
    (
        Bug(
            "styles-from-a-uniform-prior",
            _uniform_styles,
            "the styles are drawn from U(−1, 1)",
            "The model was trained with N(0, 1): from U(−1, 1) it shows styles from the middle alone, and the "
            "shown diversity is too small.",
            "eriklindernoren/PyTorch-GAN: trained on N(0, 1), displayed from U(−1, 1)",
        ),
        Bug(
            "styles-uniform-with-variance-one",
            _right_variance,
            "the styles are uniform, with the variance of N(0, 1)",
            "Mean and variance are not the distribution: no style beyond ±√3 is ever drawn.",
        ),
        Bug(
            "styles-distribution-function",
            _distribution_function,
            "the normal distribution function is applied, not its inverse",
            "From a share to a number: the inverse, `torch.special.ndtri`.",
        ),
        Bug(
            "styles-one-sided",
            _one_sided,
            "negative styles have become positive",
            "N(0, 1) is symmetric: half of the draws are below 0.",
        ),
        Bug(
            "styles-without-root-two",
            _without_the_root,
            "the styles are too small by a factor √2",
            "The error function belongs to N(0, ½): multiply its inverse by √2.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------ the perceptual loss


def _normalized(features: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    mean = features.mean(dims, keepdim=True)
    variance = ((features - mean) ** 2).mean(dims, keepdim=True)
    return (features - mean) / (variance + 1e-5) ** 0.5


def _perceptual(features_1: Tensor, features_2: Tensor) -> Tensor:
    return ((_normalized(features_1) - _normalized(features_2)) ** 2).mean()


def _raw_features(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (features_1 - features_2).square().mean()


def _one_side(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (_normalized(features_1) - features_2).square().mean()


def _perceptual_absolute(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (_normalized(features_1) - _normalized(features_2)).abs().mean()


def _over_the_batch(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (_normalized(features_1, (0, 2, 3)) - _normalized(features_2, (0, 2, 3))).square().mean()


def _only_centered(features_1: Tensor, features_2: Tensor) -> Tensor:
    centered = [features - features.mean((2, 3), keepdim=True) for features in (features_1, features_2)]
    return (centered[0] - centered[1]).square().mean()


def _feature_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        if label != "far from zero":  # float32 statistics there depend on how they are summed
            yield Input(label, (features, torch.randn(features.shape, generator=generator, dtype=features.dtype)))


perceptual = Exercise(
    "perceptual",
    _perceptual,
    _feature_cases,
    (
        Bug(
            "perceptual-without-instance-norm",
            _raw_features,
            "the features are compared as they are, without Instance Norm",
            "Normalize each channel of each sample first: else the loss forbids the change of style that it should "
            "allow.",
            "NVlabs/imaginaire #16: perceptual loss without Instance Norm",
        ),
        Bug(
            "perceptual-norm-on-one-side",
            _one_side,
            "only the image's features are normalized, not the translation's",
            "Normalize both, or they can never agree.",
        ),
        Bug(
            "perceptual-absolute",
            _perceptual_absolute,
            "the differences of the features are absolute, not squared",
            "This one loss is a squared distance (appendix A.3).",
        ),
        Bug(
            "perceptual-batch-statistics",
            _over_the_batch,
            "the statistics of the features are taken over the batch as well",
            "Each sample has its own style: statistics over height and width alone.",
        ),
        Bug(
            "perceptual-only-centered",
            _only_centered,
            "the mean of each channel is removed, its contrast is not",
            "Divide by the deviation too: contrast is style as much as brightness.",
        ),
    ),
)
