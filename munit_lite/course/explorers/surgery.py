"""AdaIN surgery: change the scales and shifts that the style's MLP makes, and see what they carry (section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from munit_lite.course.explorers.exhibit import (
    CELL,
    SHOWN,
    Exhibit,
    Idea,
    ModelExplorer,
    direction_control,
    image_control,
    reading_rows,
    stacked,
    tiles,
)
from munit_lite.course.explorers.widget import Choice, Control, Picture, Slider

BY_HAND, EXCHANGE = "scale and shift by hand", "take them from the second style"
EVERYWHERE = "all layers"


def layers(exhibit: Exhibit) -> list[str]:
    """The decoder's AdaIN layers in the order that features meet them: two a block."""
    blocks = exhibit.model.config.network.blocks
    return [f"block {block + 1}, layer {layer + 1}" for block in range(blocks) for layer in (0, 1)]


def controls(exhibit: Exhibit) -> dict[str, Control]:
    channels = exhibit.model.auto_encoder(1).decoder.channels
    draw = "the number of a draw from the prior"
    return {
        "direction": direction_control(exhibit),
        "image": image_control(),
        "style": Slider(1, 99, 1, "style", draw),
        "second": Slider(1, 99, 2, "second style", draw),
        "where": Choice((EVERYWHERE, *layers(exhibit)), "where to operate"),
        "what": Choice((BY_HAND, EXCHANGE), "what to do"),
        "first_channel": Slider(1, channels, 1, "first channel", f"of {channels}"),
        "last_channel": Slider(1, channels, channels, "last channel", f"of {channels}; below the first: none"),
        "scale": Slider(0.0, 3.0, 1.0, "scale times", "from 0 (off) to 3; 1 leaves it; by hand only"),
        "shift": Slider(-2.0, 2.0, 0.0, "shift plus", "from −2 to 2; 0 leaves it; by hand only"),
    }


class Knife(NamedTuple):
    """Where to operate and what to do.

    Args:
        layers: numbers in the order of `layers`.
        channels: of those layers.
        scale: factor on their scales.
        shift: added to their shifts.
        exchange: take scales and shifts from the second style instead.
    """

    layers: Sequence[int]
    channels: slice
    scale: float = 1.0
    shift: float = 0.0
    exchange: bool = False


def operated(adain: Tensor, second: Tensor, knife: Knife) -> Tensor:
    """AdaIN parameters after surgery.

    Args:
        adain: (1, blocks, 4, channels) as `Decoder.adain_parameters` gives them: shift, scale, shift, scale.
        second: the same of another style.
        knife: where and what.
    """
    changed = adain.clone()
    flat, other = (parameters.view(1, -1, 2, adain.shape[-1]) for parameters in (changed, second))  # one row a layer
    for layer in knife.layers:
        shift, scale = flat[0, layer, :, knife.channels]
        if knife.exchange:
            flat[0, layer, :, knife.channels] = other[0, layer, :, knife.channels]
        else:
            flat[0, layer, :, knife.channels] = torch.stack([shift + knife.shift, scale * knife.scale])
    return changed


def decode(exhibit: Exhibit, content: Tensor, adain: Tensor, domain: int) -> Tensor:
    """`Decoder.forward` with given AdaIN parameters, (B or 1, blocks, 4, channels), instead of a style."""
    decoder = exhibit.model.auto_encoder(domain).decoder
    rows = max(len(content), len(adain))
    features = content.expand(rows, -1, -1, -1)
    for block, parameters in zip(decoder.blocks, adain.expand(rows, -1, -1, -1).unbind(dim=1), strict=True):
        features = block(features, parameters)
    return decoder.to_image(decoder.upsampling(features))


def _parameters(exhibit: Exhibit, domain: int, **state: Any) -> tuple[Tensor, Tensor, Tensor]:
    """AdaIN parameters before and after surgery, and the atlas: first style, each layer exchanged alone, second."""
    decoder = exhibit.model.auto_encoder(domain).decoder
    first, second = (decoder.adain_parameters(exhibit.drawn_style(state[name])) for name in ("style", "second"))
    names = layers(exhibit)
    where = range(len(names)) if state["where"] == EVERYWHERE else [names.index(state["where"])]
    channels = slice(state["first_channel"] - 1, max(state["first_channel"] - 1, state["last_channel"]))
    knife = Knife(where, channels, state["scale"], state["shift"], state["what"] == EXCHANGE)
    alone = [operated(first, second, Knife([k], slice(None), exchange=True)) for k in range(len(names))]
    return first, operated(first, second, knife), torch.cat([first, *alone, second])


class Operation(NamedTuple):
    """Translations before and after, and of the atlas, each (N, 3, H, W)."""

    before: Tensor
    after: Tensor
    atlas: Tensor


@lru_cache(maxsize=1)  # the picture and its description need the same images
@torch.no_grad()
def operate(exhibit: Exhibit, direction: str, image: int, **state: Any) -> Operation:
    """All images, with every content before and after, and the chosen one alone in the atlas; as in `render`."""
    source = exhibit.source(direction)
    contents = exhibit.contents[source - 1]
    before, after, atlas = _parameters(exhibit, 3 - source, **state)
    return Operation(
        decode(exhibit, contents, before, 3 - source),
        decode(exhibit, contents, after, 3 - source),
        decode(exhibit, contents[image - 1 : image], atlas, 3 - source),
    )


def render(exhibit: Exhibit, direction: str, image: int, **state: Any) -> Picture:
    """The translation before and after, large; eight images before and after; and each layer exchanged alone.

    Args:
        exhibit: the model and its images.
        direction: one of `exhibit.directions`.
        image: 1 … SHOWN.
        **state: the other controls; see `controls`.
    """
    before, after, atlas = operate(exhibit, direction, image, **state)
    large = torch.cat([before[image - 1 : image], after[image - 1 : image]])
    return stacked(tiles([large], cell=4 * CELL), tiles([before, after]), tiles(atlas.split(SHOWN)))


@torch.no_grad()
def describe(exhibit: Exhibit, direction: str, image: int, **state: Any) -> tuple[str, list[list[str]]]:
    """One sentence, and what the judge reads before, after, and from each layer's exchange."""
    source = exhibit.source(direction)
    names = layers(exhibit)
    sentence = (
        f"Large: the translation into a {exhibit.name(3 - source)} before and after. Then eight of them, before above "
        f"after. Last: the style, then {'; '.join(names)} alone from the second style; then the second style."
    )
    _, after, atlas = operate(exhibit, direction, image, **state)
    reading = exhibit.judged(torch.cat([atlas, after[image - 1 : image]]), 3 - source)
    columns = ["style", *names, "second", "after"]
    return sentence, reading_rows(reading, columns, 3 - source) if reading else []


class SurgeryExplorer(ModelExplorer):
    """Scale, shift or exchange what AdaIN gets from the style, by layer and channel; see `render`."""

    idea = Idea("AdaIN surgery", render, describe, controls, strip={"what": EXCHANGE})
