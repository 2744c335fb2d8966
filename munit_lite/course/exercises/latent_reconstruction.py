"""Exercises of 06_latent_reconstruction: four latent losses, a diagnosis, a style shown in part, and features."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.adain_decoder import reference_adain, small_decoder
from munit_lite.course.exercises.framework import Input, exercise

Decode = Callable[[Tensor, Tensor], Tensor]
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
EncodeStyle = Callable[[Tensor], Tensor]
LossTerms = dict[str, Tensor]

# -------------------------------------------------------------------------------------------- the four latent losses


def other_decoder(content: Tensor, style: Tensor) -> Tensor:
    """The decoder of the other domain: (B, C, h, w) and (B, C) -> (B, C, h, w)."""
    return torch.sin(reference_adain(content, 1 + style, -style))


class SmallEncoder(nn.Module):
    """An encoder with random weights: (B, C, h, w) -> content (B, C, h, w) and style (B, C)."""

    def __init__(self, generator: Generator, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.content = nn.Conv2d(channels, channels, 1, dtype=dtype)
        self.style = nn.Linear(channels, channels, dtype=dtype)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.content(images), self.style(images.mean((2, 3)))


def _distance(recovered: Tensor, target: Tensor) -> Tensor:
    difference = recovered - target
    return torch.where(difference < 0, -difference, difference).sum() / target.numel()


def _codes(generator: Generator) -> Iterator[tuple[str, Tensor]]:
    for label, content in inputs.feature_batches(generator):
        if label not in ("large values", "far from zero"):
            yield label, content


def latent_cases(generator: Generator) -> Iterator[Input]:
    for label, content_1 in _codes(generator):
        channels = content_1.shape[1]
        content_2 = torch.randn(content_1.shape, generator=generator, dtype=content_1.dtype)
        styles = torch.randn(2, len(content_1), channels, generator=generator, dtype=content_1.dtype)
        encoders = [SmallEncoder(generator, channels, content_1.dtype) for _ in range(2)]
        yield Input(label, (content_1, content_2, *styles, small_decoder, other_decoder, *encoders))


@exercise(latent_cases, gradients=True)
def latent_losses(
    content_1: Tensor,
    content_2: Tensor,
    style_1: Tensor,
    style_2: Tensor,
    decode_1: Decode,
    decode_2: Decode,
    encode_1: Encode,
    encode_2: Encode,
) -> LossTerms:
    recovered_content_1, recovered_style_2 = encode_2(decode_2(content_1, style_2))
    recovered_content_2, recovered_style_1 = encode_1(decode_1(content_2, style_1))
    return {
        "content_1": _distance(recovered_content_1, content_1),
        "content_2": _distance(recovered_content_2, content_2),
        "style_1": _distance(recovered_style_1, style_1),
        "style_2": _distance(recovered_style_2, style_2),
    }


@latent_losses.bug(
    "compares each recovered style with the style that was sampled for the opposite direction",
    fix="Compare with the style that the decoder was given. The other one cannot be seen in the translation, so the "
    "loss cannot fall below √(2/π) ≈ 0.798 per coordinate.",
    met="eriklindernoren/PyTorch-GAN, PR #32; also a summary of the paper",
)
def style_target_swapped(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks: Callable) -> LossTerms:
    decode_1, decode_2, encode_1, encode_2 = networks
    (again_1, style_2), (again_2, style_1) = encode_2(decode_2(c_1, s_2)), encode_1(decode_1(c_2, s_1))
    return {
        "content_1": _distance(again_1, c_1),
        "content_2": _distance(again_2, c_2),
        "style_1": _distance(style_1, s_2),
        "style_2": _distance(style_2, s_1),
    }


@latent_losses.bug(
    "decodes each content in its own domain, so that nothing is translated",
    fix="A painting is decoded from the content of a sketch: `decode_2(content_1, style_2)`.",
)
def nothing_translated(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks: Callable) -> LossTerms:
    terms = latent_losses.reference(c_2, c_1, s_1, s_2, *networks)
    return terms | {"content_1": terms["content_2"], "content_2": terms["content_1"]}


@latent_losses.bug(
    "encodes a translation with the encoder of the domain that its content came from",
    fix="A translation belongs to the target domain: `encode_2` encodes what `decode_2` painted.",
)
def encoder_of_the_source(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks: Callable) -> LossTerms:
    decode_1, decode_2, encode_1, encode_2 = networks
    return latent_losses.reference(c_1, c_2, s_1, s_2, decode_1, decode_2, encode_2, encode_1)


@latent_losses.bug(
    "detaches the translations, so that the encoders learn, but the decoders do not",
    fix="Encode the translation itself. Only the discriminator's own step detaches it: here, the decoder must learn "
    "to show its codes.",
)
def translation_detached(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks: Callable) -> LossTerms:
    decode_1, decode_2, *encoders = networks
    return latent_losses.reference(
        c_1, c_2, s_1, s_2, lambda c, s: decode_1(c, s).detach(), lambda c, s: decode_2(c, s).detach(), *encoders
    )


@latent_losses.bug(
    "detaches the target of the content loss: the values are right, but the gradients are not",
    fix="As in the published code, the content is a target *and* learns: the gradient flows into both sides.",
)
def content_target_detached(c_1: Tensor, c_2: Tensor, s_1: Tensor, s_2: Tensor, *networks: Callable) -> LossTerms:
    decode_1, decode_2, encode_1, encode_2 = networks
    terms = latent_losses.reference(c_1, c_2, s_1, s_2, *networks)
    return terms | {
        "content_1": _distance(encode_2(decode_2(c_1, s_2))[0], c_1.detach()),
        "content_2": _distance(encode_1(decode_1(c_2, s_1))[0], c_2.detach()),
    }


# ------------------------------------------------------------------------------------ who loses a style coordinate?


def coordinate_cases(generator: Generator) -> Iterator[Input]:
    for label, content in _codes(generator):
        count, channels = content.shape[:2]
        style = torch.randn(count, channels, generator=generator, dtype=content.dtype)
        values = torch.randn(count, generator=generator, dtype=content.dtype)
        encoder = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, channels, dtype=content.dtype)
        )
        for parameter in encoder.parameters():
            nn.init.normal_(parameter, generator=generator)
        yield Input(label, (content, style, channels - 1, values, other_decoder, encoder))


def _replaced(style: Tensor, k: int, values: Tensor) -> Tensor:
    return torch.cat([style[:, :k], values[:, None], style[:, k + 1 :]], dim=1)


def _mean_size(values: Tensor) -> Tensor:
    return values.abs().mean()


@exercise(coordinate_cases)
def coordinate_effects(
    content: Tensor, style: Tensor, k: int, values: Tensor, decode: Decode, encode_style: EncodeStyle
) -> tuple[Tensor, Tensor]:
    images, changed = decode(content, style), decode(content, _replaced(style, k, values))
    recovered = (encode_style(changed) - encode_style(images))[:, k]
    return _mean_size(changed - images), _mean_size(recovered) / _mean_size(values - style[:, k])


@coordinate_effects.bug(
    "changes the given style in place, so that both images have the new style",
    fix="Change a copy: `style.clone()`.",
)
def changed_in_place(
    content: Tensor, style: Tensor, k: int, values: Tensor, decode: Decode, encode_style: EncodeStyle
) -> tuple[Tensor, Tensor]:
    changed = style
    changed[:, k] = values
    images = decode(content, style)
    effect = _mean_size(decode(content, changed) - images)
    return effect, effect / _mean_size(values - style[:, k])


@coordinate_effects.bug(
    "replaces the whole style by the new values",
    fix="Replace coordinate k alone; otherwise you cannot say which coordinate had the effect.",
)
def whole_style_replaced(
    content: Tensor, style: Tensor, k: int, values: Tensor, decode: Decode, encode_style: EncodeStyle
) -> tuple[Tensor, Tensor]:
    images, changed = decode(content, style), decode(content, values[:, None].expand_as(style))
    recovered = (encode_style(changed) - encode_style(images))[:, k]
    return _mean_size(changed - images), _mean_size(recovered) / _mean_size(values - style[:, k])


@coordinate_effects.bug(
    "compares the recovered code with the given one, which measures the error and not the effect",
    fix="Encode both images and take the difference of the two recovered codes. A constant error cancels.",
)
def error_for_effect(
    content: Tensor, style: Tensor, k: int, values: Tensor, decode: Decode, encode_style: EncodeStyle
) -> tuple[Tensor, Tensor]:
    images, changed = decode(content, style), decode(content, _replaced(style, k, values))
    recovered = encode_style(changed)[:, k] - style[:, k]
    return _mean_size(changed - images), _mean_size(recovered) / _mean_size(values - style[:, k])


@coordinate_effects.bug(
    "averages the change of the recovered code over all coordinates",
    fix="Select coordinate k of the recovered code: the question is whether *this* coordinate comes back.",
)
def all_coordinates_averaged(
    content: Tensor, style: Tensor, k: int, values: Tensor, decode: Decode, encode_style: EncodeStyle
) -> tuple[Tensor, Tensor]:
    images, changed = decode(content, style), decode(content, _replaced(style, k, values))
    recovered = encode_style(changed) - encode_style(images)
    return _mean_size(changed - images), _mean_size(recovered) / _mean_size(values - style[:, k])


# --------------------------------------------------------------------------------- a style that is shown only in part


def partial_cases(generator: Generator) -> Iterator[Input]:
    def skewed(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, generator=generator, dtype=dtype).exp()

    yield Input("two paintings", (skewed(7), torch.tensor([0, 1, 0, 0, 1, 1, 0])))
    yield Input("one painting: the coordinate is ignored", (skewed(9), torch.zeros(9, dtype=torch.long)))
    yield Input("paintings of unequal frequency", (skewed(12), torch.tensor([0] * 8 + [4] * 3 + [7])))
    yield Input("float64", (skewed(10, torch.float64), torch.tensor([2, 0, 1, 0, 0, 2, 0, 1, 2, 0])))


def _mean_distance(samples: Tensor, painting: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
    groups = [samples[painting == number] for number in painting.unique()]
    return torch.cat([(group - answer(group)).abs() for group in groups]).mean()


def _median(samples: Tensor) -> Tensor:
    return samples.sort().values[len(samples) // 2]


@exercise(partial_cases)
def lowest_style_loss(samples: Tensor, painting: Tensor) -> Tensor:
    return _mean_distance(samples, painting, _median)


@lowest_style_loss.bug(
    "answers with the mean of the styles of each painting",
    fix="Which constant minimizes a mean of absolute values? The mean minimizes the mean of squares.",
)
def mean_for_median(samples: Tensor, painting: Tensor) -> Tensor:
    return _mean_distance(samples, painting, torch.mean)


@lowest_style_loss.bug(
    "gives one answer for all paintings",
    fix="The encoder sees which painting it is, so it can give another answer for each.",
)
def one_answer_for_all(samples: Tensor, painting: Tensor) -> Tensor:
    return _mean_distance(samples, torch.zeros_like(painting), _median)


@lowest_style_loss.bug(
    "averages over the paintings, although some occur more often than others",
    fix="The loss is a mean over styles: average the errors of all samples.",
)
def unweighted_paintings(samples: Tensor, painting: Tensor) -> Tensor:
    groups = [samples[painting == number] for number in painting.unique()]
    return torch.stack([(group - _median(group)).abs().mean() for group in groups]).mean()


@lowest_style_loss.bug(
    "answers with a random style of the same painting",
    fix="A random answer is worse than the best constant: for one painting and N(0, 1), it costs 2/√π ≈ 1.13 instead "
    "of 0.798.",
)
def random_answer(samples: Tensor, painting: Tensor) -> Tensor:
    groups = [samples[painting == number] for number in painting.unique()]
    return torch.cat([(group[:, None] - group[None]).abs().mean(1) for group in groups]).mean()


# ------------------------------------------------------------------------------------------------ the perceptual loss


def _normalized(features: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    mean = features.mean(dims, keepdim=True)
    variance = ((features - mean) ** 2).mean(dims, keepdim=True)
    return (features - mean) / (variance + 1e-5) ** 0.5


def feature_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        if label != "far from zero":  # float32 statistics there depend on how they are summed
            yield Input(label, (features, torch.randn(features.shape, generator=generator, dtype=features.dtype)))


@exercise(feature_cases)
def perceptual(features_1: Tensor, features_2: Tensor) -> Tensor:
    return ((_normalized(features_1) - _normalized(features_2)) ** 2).mean()


@perceptual.bug(
    "compares the features as they are, without instance normalization",
    fix="Normalize each channel of each sample first. Otherwise the loss forbids the change of style that it should "
    "allow.",
    met="NVlabs/imaginaire #16: perceptual loss without instance normalization",
)
def raw_features(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (features_1 - features_2).square().mean()


@perceptual.bug(
    "normalizes the features of the image, but not those of the translation",
    fix="Normalize both; otherwise they differ even for equal images.",
)
def one_side_normalized(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (_normalized(features_1) - features_2).square().mean()


@perceptual.bug(
    "takes the statistics of the features over the batch as well",
    fix="Each image has its own style: take the statistics over height and width alone.",
)
def normalized_over_batch(features_1: Tensor, features_2: Tensor) -> Tensor:
    return (_normalized(features_1, (0, 2, 3)) - _normalized(features_2, (0, 2, 3))).square().mean()


@perceptual.bug(
    "subtracts the mean of each channel, but does not divide by its standard deviation",
    fix="Divide as well: the contrast of a channel belongs to the style as much as its mean.",
)
def only_centered(features_1: Tensor, features_2: Tensor) -> Tensor:
    centered = [features - features.mean((2, 3), keepdim=True) for features in (features_1, features_2)]
    return (centered[0] - centered[1]).square().mean()
