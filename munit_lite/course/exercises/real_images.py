"""Exercises of 16_real_images: an image made ready, the original's names and layer norm, the time of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from munit_lite.course.exercises import inputs
from munit_lite.course.exercises.framework import Bug, Exercise, Input

# ---------------------------------------------------------------------------------------------- an image of your own


def _resized(image: Tensor, height: int, width: int, antialias: bool = True) -> Tensor:
    """(H, W, 3) -> (3, height, width), the values as they are."""
    planes = image.permute(2, 0, 1)[None]
    return F.interpolate(planes, (height, width), mode="bilinear", align_corners=False, antialias=antialias)[0]


def _shorter_side(image: Tensor, size: int, antialias: bool = True) -> Tensor:
    high, wide = image.shape[:2]
    shorter = min(high, wide)
    return _resized(image, round(high * size / shorter), round(wide * size / shorter), antialias)


def _cut_out(image: Tensor, size: int) -> Tensor:
    """The center of (3, H, W)."""
    top, left = ((side - size) // 2 for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]


def _crop(image: Tensor, size: int) -> Tensor:
    return _cut_out(_shorter_side(image, size), size) / 127.5 - 1


def _in_zero_one(image: Tensor, size: int) -> Tensor:
    return (_crop(image, size) + 1) / 2


def _divided_by_128(image: Tensor, size: int) -> Tensor:
    return (_crop(image, size) + 1) * 127.5 / 128 - 1


def _stretched(image: Tensor, size: int) -> Tensor:
    cut = _crop(image, size)
    return (cut - cut.min()) / (cut.max() - cut.min()) * 2 - 1


def _squashed(image: Tensor, size: int) -> Tensor:
    return _resized(image, size, size) / 127.5 - 1


def _not_resized(image: Tensor, size: int) -> Tensor:
    return _cut_out(image.permute(2, 0, 1), size) / 127.5 - 1


def _from_the_corner(image: Tensor, size: int) -> Tensor:
    return _shorter_side(image, size)[:, :size, :size] / 127.5 - 1


def _channels_last(image: Tensor, size: int) -> Tensor:
    return _crop(image, size).permute(1, 2, 0)


def _reshaped(image: Tensor, size: int) -> Tensor:
    mixed = image.reshape(3, *image.shape[:2])
    return _crop(mixed.permute(1, 2, 0), size)


def _blue_first(image: Tensor, size: int) -> Tensor:
    return _crop(image.flip(2), size)


def _aliased(image: Tensor, size: int) -> Tensor:
    return _cut_out(_shorter_side(image, size, antialias=False), size) / 127.5 - 1


def _crop_cases(generator: Generator) -> Iterator[Input]:
    shapes = {"square": (9, 9), "landscape": (8, 14), "portrait": (17, 10), "smaller than wanted": (3, 5)}
    for label, (high, wide) in shapes.items():
        yield Input(label, ((255 * torch.rand(high, wide, 3, generator=generator)).round(), 4))
    yield Input("black to white", (torch.tensor([0.0, 255.0])[:, None, None].repeat(4, 9, 3), 6))
    yield Input("float64", ((255 * torch.rand(11, 21, 3, generator=generator, dtype=torch.float64)).round(), 5))


image_ready = Exercise(
    "image_ready",
    _crop,
    _crop_cases,
    (
        Bug(
            "crop-range-zero-one",
            _in_zero_one,
            "the values lie in [0, 1]",
            "The networks were trained on [-1, 1], the range of tanh: divide by 127.5 and subtract 1.",
        ),
        Bug(
            "crop-divided-by-128",
            _divided_by_128,
            "white becomes 0.992",
            "Bytes go from 0 to 255: divide by 127.5, so that 255 becomes 1.",
        ),
        Bug(
            "crop-values-stretched",
            _stretched,
            "each image's darkest value becomes −1 and its brightest 1",
            "Contrast and brightness are style: map 0 to −1 and 255 to 1 in every image alike.",
            "NVlabs/MUNIT test script, on the way out",
        ),
        Bug(
            "crop-squashed",
            _squashed,
            "the whole image is squeezed into the square",
            "Shapes are content: resize by one factor in both directions, then cut.",
        ),
        Bug(
            "crop-not-resized",
            _not_resized,
            "a square is cut out of the image as it is",
            "Of a large photo that is a spot in the middle: resize the shorter side first.",
        ),
        Bug(
            "crop-from-the-corner",
            _from_the_corner,
            "the square is cut out at the top left",
            "Subjects stand in the middle: (side − size) // 2 from the top and from the left.",
        ),
        Bug(
            "crop-channels-last",
            _channels_last,
            "the colors are the last dimension",
            "Networks want (3, H, W): permute(2, 0, 1).",
        ),
        Bug(
            "crop-reshaped",
            _reshaped,
            "the numbers are only counted off anew as (3, H, W)",
            "A reshape moves no number, and mixes colors with places: permute(2, 0, 1).",
        ),
        Bug(
            "crop-blue-first",
            _blue_first,
            "red and blue have changed places",
            "PIL and the networks have red first; OpenCV has blue first.",
        ),
        Bug(
            "crop-aliased",
            _aliased,
            "pixels between the sampled ones are left out",
            "Fine patterns turn into false coarse ones: antialias=True averages over all pixels.",
        ),
    ),
)

# --------------------------------------------------------------------------------------------- the original's names

Table = dict[str, Tensor]
LAYERS = ("first", "second")


def _decoder_names(table: Table) -> Table:
    """Reference: number by number, without patterns."""
    ours = {}
    for name, value in table.items():
        part = name.split(".")
        if part[0] == "mlp":
            ours[f"mlp.{2 * int(part[2])}.{part[4]}"] = value
        elif part[2] == "0":
            if part[7] == "conv":
                ours[f"blocks.{part[4]}.{LAYERS[int(part[6])]}.conv.{part[8]}"] = value
        elif int(part[2]) % 2:
            ours[f"to_image.conv.{part[4]}"] = value
        else:
            kind = {"gamma": "scale", "beta": "shift"}.get(part[4], part[4])
            ours[f"upsampling.{int(part[2]) - 1}.{part[3]}.{kind}"] = value
    return ours


def _renamed(pattern: str, replacement: str | Callable[[re.Match], str]) -> Callable[[Table], Table]:
    """The right answer with its names edited."""
    return lambda table: {re.sub(pattern, replacement, name): value for name, value in _decoder_names(table).items()}


def _exchanged(one: str, other: str) -> Callable[[Table], Table]:
    return _renamed(rf"\b({one}|{other})\b", lambda m: other if m[0] == one else one)


def _dummies_kept(table: Table) -> Table:
    dummies = {name: value for name, value in table.items() if "running" in name}
    named = {re.sub(r"running_.*", "weight", name.replace("norm", "conv")): name for name in dummies}
    found = {}
    for convolution, name in named.items():
        (ours,) = _decoder_names({convolution: dummies[name]})
        for kind in ("mean", "var"):
            found[ours.replace("conv.weight", f"norm.running_{kind}")] = table[re.sub("mean|var", kind, name)]
    return _decoder_names(table) | found


def _block_and_layer_exchanged(table: Table) -> Table:
    pattern = r"^dec\.model\.0\.model\.(\d)\.model\.(\d)"
    return _decoder_names({re.sub(pattern, r"dec.model.0.model.\2.model.\1", name): v for name, v in table.items()})


def _file_of(parts: str, generator: Generator, dtype: torch.dtype = torch.float32) -> Table:
    """A table with the original's names of some parts, tensors of two numbers."""
    names = {
        "mlp": [f"mlp.model.{k}.fc.{kind}" for k in range(3) for kind in ("weight", "bias")],
        "blocks": [
            f"dec.model.0.model.{block}.model.{layer}.{kind}"
            for block in range(2)
            for layer in range(2)
            for kind in ("norm.running_mean", "norm.running_var", "conv.weight", "conv.bias")
        ],
        "one": ["dec.model.2.norm.gamma", "dec.model.2.norm.beta", "dec.model.2.conv.weight", "dec.model.3.conv.bias"],
        "two": [f"dec.model.{k}.conv.weight" for k in (2, 4, 5)],
    }
    return {name: torch.randn(2, generator=generator, dtype=dtype) for part in parts.split() for name in names[part]}


def _names_cases(generator: Generator) -> Iterator[Input]:
    yield Input("the MLP", (_file_of("mlp", generator),))
    yield Input("two blocks", (_file_of("blocks", generator),))
    yield Input("one doubling of the side", (_file_of("one", generator),))
    yield Input("two doublings", (_file_of("two", generator),))
    yield Input("float64", (_file_of("mlp blocks two", generator, torch.float64),))


decoder_names = Exercise(
    "decoder_names",
    _decoder_names,
    _names_cases,
    (
        Bug(
            "names-relu-not-counted",
            _renamed(r"^mlp\.(\d)", lambda m: f"mlp.{int(m[1]) // 2}"),
            "the MLP's linear layers are numbered 0, 1, 2",
            "Our MLP counts the ReLUs between them: layer k of the file is number 2k.",
        ),
        Bug(
            "names-gamma-kept",
            _renamed(r"\b(scale|shift)$", lambda m: {"scale": "gamma", "shift": "beta"}[m[0]]),
            "gamma and beta keep the file's names",
            "Ours are `scale` and `shift`: γ multiplies, β is added.",
        ),
        Bug(
            "names-gamma-for-beta",
            _exchanged("scale", "shift"),
            "gamma has become the shift and beta the scale",
            "γ multiplies, β is added. Both have the same shape, so that no loader will complain.",
        ),
        Bug(
            "names-convolutions-exchanged",
            _exchanged("first", "second"),
            "the two convolutions of each block have changed places",
            "The file counts from 0: `model.0` is the first. Their shapes are the same, and no loader will complain.",
        ),
        Bug(
            "names-block-for-layer",
            _block_and_layer_exchanged,
            "the block's number is read as the layer's, and the layer's as the block's",
            "In `dec.model.0.model.B.model.L` the first number counts blocks, the second the convolutions in one.",
        ),
        Bug(
            "names-upsampling-not-moved",
            _renamed(r"^upsampling\.(\d)", lambda m: f"upsampling.{int(m[1]) + 1}"),
            "the upsampling layers keep the file's numbers",
            "There all blocks together are number 0; our `upsampling` begins after them, so subtract 1.",
        ),
        Bug(
            "names-last-among-upsampling",
            _renamed(r"^to_image\.", "upsampling.4."),
            "the last convolution is counted among the upsampling layers",
            "Upsampling and convolution alternate: its convolutions have even numbers, the last odd one is `to_image`.",
        ),
        Bug(
            "names-dummies-kept",
            _dummies_kept,
            "running means and variances are taken along",
            "AdaIN takes its statistics from each image; nothing ever reads these: leave them out.",
            "NVlabs/MUNIT: AdaIN through batch norm with running buffers",
        ),
    ),
)

# ----------------------------------------------------------------------------------------- the original's layer norm


def _layer_norm(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Reference: sample by sample."""
    out = []
    for sample in features:
        mean = sample.sum() / sample.numel()
        deviation = ((sample - mean).square().sum() / (sample.numel() - 1)).sqrt()
        out.append(gamma[:, None, None] * (sample - mean) / (deviation + 1e-5) + beta[:, None, None])
    return torch.stack(out)


def _normalized(dims: tuple[int, ...], correction: int = 1, eps: float = 1e-5, inside: float = 0.0) -> Callable:
    def norm(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        mean = features.mean(dims, keepdim=True)
        deviation = (features.var(dims, keepdim=True, correction=correction) + inside).sqrt()
        return gamma[:, None, None] * (features - mean) / (deviation + eps) + beta[:, None, None]

    return norm


def _gamma_and_beta_exchanged(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return _layer_norm(features, beta, gamma)


def _scaled_once(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return _layer_norm(features, gamma.mean().expand_as(gamma), beta.mean().expand_as(beta))


def _layer_norm_cases(generator: Generator) -> Iterator[Input]:
    for label, features in inputs.feature_batches(generator):
        gamma, beta = torch.randn(2, features.shape[1], generator=generator, dtype=features.dtype)
        yield Input(label, (features, gamma, beta))
    yield Input("constant image", (torch.full((1, 3, 2, 2), 0.5), *torch.randn(2, 3, generator=generator)))


original_layer_norm = Exercise(
    "original_layer_norm",
    _layer_norm,
    _layer_norm_cases,
    (
        Bug(
            "layer-norm-biased",
            _normalized((1, 2, 3), correction=0),
            "the variance divides by n",
            "The original's layer norm divides by n − 1, its AdaIN by n; published weights expect each.",
        ),
        Bug(
            "layer-norm-epsilon-inside",
            _normalized((1, 2, 3), eps=0.0, inside=1e-5),
            "eps is added to the variance, under the root",
            "Here it is added to the deviation, outside. (In AdaIN it is under the root.)",
        ),
        Bug(
            "layer-norm-of-torch",
            _normalized((1, 2, 3), correction=0, eps=0.0, inside=1e-5),
            "it is torch's own layer norm: divided by n, eps under the root",
            "The original divides by n − 1 and adds eps to the deviation, outside the root.",
        ),
        Bug(
            "layer-norm-without-epsilon",
            _normalized((1, 2, 3), eps=0.0),
            "nothing is added to the deviation",
            "An even image is 0/0 then: add eps = 1e-5.",
        ),
        Bug(
            "layer-norm-each-channel",
            _normalized((2, 3)),
            "each channel has its own mean and deviation, as in Instance Norm",
            "One mean and one deviation for the whole sample: what differs between channels, and so the style, stays.",
        ),
        Bug(
            "layer-norm-over-the-batch",
            _normalized((0, 1, 2, 3)),
            "all samples share one mean and one deviation",
            "Each sample has its own: keep dimension 0 apart.",
        ),
        Bug(
            "layer-norm-gamma-for-beta",
            _gamma_and_beta_exchanged,
            "gamma is added and beta multiplies",
            "γ multiplies what was normalized, β is added.",
        ),
        Bug(
            "layer-norm-one-scale",
            _scaled_once,
            "all channels get one scale and one shift",
            "Statistics are the sample's, γ and β are the channel's: gamma[:, None, None].",
        ),
    ),
)

# --------------------------------------------------------------------------------------------------- the time of a run

DAY = 24 * 60 * 60


def _run_days(seconds: Tensor, parameters: int, gigabits: float, devices: int, batch: int, images: int) -> Tensor:
    steps = images / (batch * devices)
    all_bits, share = 32.0 * parameters, (devices - 1) / devices
    sending = 2 * share * all_bits / (gigabits * 1e9)
    return steps * (seconds + sending) / 3600 / 24


def _reckoned(
    sent: Callable[[int], float] = lambda devices: 2 * (devices - 1) / devices,
    at_once: Callable[[int, int], int] = lambda batch, devices: batch * devices,
    bits_in_a_gigabit: float = 1e9,
    unit: int = DAY,
) -> Callable:
    """The same with one part replaced: what each device sends, in all gradients; images in a step; units."""

    def days(seconds: Tensor, parameters: int, gigabits: float, devices: int, batch: int, images: int) -> Tensor:
        sending = sent(devices) * 32 * parameters / (gigabits * bits_in_a_gigabit)
        return images / at_once(batch, devices) * (seconds + sending) / unit

    return days


def _steps_rounded_up(
    seconds: Tensor, parameters: int, gigabits: float, devices: int, batch: int, images: int
) -> Tensor:
    whole = math.ceil(images / (batch * devices)) * batch * devices
    return _run_days(seconds, parameters, gigabits, devices, batch, whole)


def _days_cases(generator: Generator) -> Iterator[Input]:
    def draw(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return 0.05 + torch.rand(count, generator=generator, dtype=dtype)

    yield Input("one device", (draw(1), 50_000_000, 10.0, 1, 2, 5_000_000))
    yield Input("two devices", (draw(2), 50_000_000, 10.0, 2, 1, 3_000_000))
    yield Input("many devices", (draw(3), 50_000_000, 25.0, 64, 4, 400_000_000))
    yield Input("slow link", (draw(2), 50_000_000, 1.0, 8, 1, 20_000_000))
    yield Input("float64", (draw(4, torch.float64), 7_000_000, 2.5, 5, 3, 100))


run_days = Exercise(
    "run_days",
    _run_days,
    _days_cases,
    (
        Bug(
            "days-bits-for-bytes",
            _reckoned(bits_in_a_gigabit=8e9),
            "a gigabit is taken for a gigabyte",
            "Links are sold in bits: a number of 4 bytes has 32 of them.",
        ),
        Bug(
            "days-one-round",
            _reckoned(lambda devices: (devices - 1) / devices),
            "gradients go round the ring once",
            "Once to add them up, once to hand out the sums: 2 (N − 1)/N of all bytes leave each device.",
        ),
        Bug(
            "days-nothing-sent",
            _reckoned(lambda devices: 0),
            "N devices are N times as fast",
            "After each step they must agree on the gradients: add the seconds that these take on the link.",
        ),
        Bug(
            "days-alone-sends",
            _reckoned(lambda devices: 2),
            "a device alone sends gradients too",
            "Each keeps its own share of the sums: 2 (N − 1)/N, which is 0 for one device.",
        ),
        Bug(
            "days-to-everyone",
            _reckoned(lambda devices: 2 * (devices - 1)),
            "every device sends all of its gradients to every other one",
            "In a ring each sends to its neighbor alone: 2 (N − 1)/N of all bytes, hardly more for 64 than for 8.",
        ),
        Bug(
            "days-batch-not-multiplied",
            _reckoned(at_once=lambda batch, devices: batch),
            "more devices do not lessen the steps",
            "A step sees batch × N images, and fewer steps see them all.",
        ),
        Bug(
            "days-steps-for-images",
            _reckoned(at_once=lambda batch, devices: 1),
            "every image is a step of its own",
            "A step sees batch × N images.",
        ),
        Bug(
            "days-steps-rounded-up",
            _steps_rounded_up,
            "the steps are rounded up to a whole number",
            "Leave them a fraction: it is an estimate, and the difference is of a step.",
        ),
        Bug(
            "days-in-hours",
            _reckoned(unit=3600),
            "the answer is in hours",
            "A day has 24 × 3600 seconds.",
        ),
    ),
)
