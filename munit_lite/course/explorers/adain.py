"""AdaIN explorer: edit the scales and shifts that the MLP computes from the style (section 5.1 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from munit_lite.course.explorers.model_explorer import (
    NUM_IMAGES,
    ExplorerSpec,
    ModelExplorer,
    ModelSamples,
    attribute_rows,
    direction_control,
    image_control,
)
from munit_lite.course.explorers.pictures import TILE_SIZE, Picture, label_columns, stack_pictures, tile_images
from munit_lite.course.explorers.widget import Choice, Control, Slider

MANUAL, SWAP = "change scale and shift", "take them from the second style"
ALL_LAYERS = "all layers"


def layer_names(samples: ModelSamples) -> list[str]:
    """Name the AdaIN layers of the decoder in the order of the computation: two per block."""
    blocks = samples.model.config.network.num_residual_blocks
    return [f"block {block + 1}, layer {layer + 1}" for block in range(blocks) for layer in (0, 1)]


def make_controls(samples: ModelSamples) -> dict[str, Control]:
    """Return the controls of the two styles and of the edit."""
    channels = samples.model.auto_encoder(1).decoder.channels
    seed = "seed of a sample from the prior"
    return {
        "direction": direction_control(samples),
        "image": image_control(),
        "style_seed": Slider(1, 99, 1, "style", seed),
        "second_style_seed": Slider(1, 99, 2, "second style", seed),
        "layer": Choice((ALL_LAYERS, *layer_names(samples)), "layer"),
        "operation": Choice((MANUAL, SWAP), "operation"),
        "first_channel": Slider(1, channels, 1, "first channel", f"of {channels}"),
        "last_channel": Slider(
            1, channels, channels, "last channel", f"of {channels}; if it is below the first, no channel is edited"
        ),
        "scale": Slider(0.0, 3.0, 1.0, "scale factor", "from 0 to 3; 1 changes nothing; ignored when swapping"),
        "shift": Slider(-2.0, 2.0, 0.0, "added shift", "from −2 to 2; 0 changes nothing; ignored when swapping"),
    }


class AdaINEdit(NamedTuple):
    """An edit of AdaIN parameters.

    Args:
        layers: indices of the edited layers, in the order of `layer_names`.
        channels: the edited channels of those layers.
        scale: factor by which the scales are multiplied.
        shift: number that is added to the shifts.
        swap: whether to take scales and shifts from the second style instead.
    """

    layers: Sequence[int]
    channels: slice
    scale: float = 1.0
    shift: float = 0.0
    swap: bool = False


def edit_parameters(adain: Tensor, second: Tensor, edit: AdaINEdit) -> Tensor:
    """Apply an edit to AdaIN parameters.

    Args:
        adain: (1, blocks, 4, channels) from `Decoder.adain_parameters`: shift, scale, shift, scale.
        second: the parameters of the second style, of the same shape.
        edit: the layers, the channels and the change.

    Returns:
        (1, blocks, 4, channels), a copy.
    """
    edited = adain.clone()
    by_layer, second_by_layer = (p.view(1, -1, 2, adain.shape[-1]) for p in (edited, second))
    for layer in edit.layers:
        shift, scale = by_layer[0, layer, :, edit.channels]
        if edit.swap:
            by_layer[0, layer, :, edit.channels] = second_by_layer[0, layer, :, edit.channels]
        else:
            by_layer[0, layer, :, edit.channels] = torch.stack([shift + edit.shift, scale * edit.scale])
    return edited


def decode_with_parameters(samples: ModelSamples, content: Tensor, adain: Tensor, domain: int) -> Tensor:
    """Decode as `Decoder.forward` does, with AdaIN parameters instead of a style.

    Args:
        samples: the model and its images.
        content: (B or 1, C, h, w) content codes.
        adain: (B or 1, blocks, 4, channels): shift, scale, shift, scale of each block.
        domain: 1 or 2, the domain of the output.

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    decoder = samples.model.auto_encoder(domain).decoder
    batch_size = max(len(content), len(adain))
    features = content.expand(batch_size, -1, -1, -1)
    for block, parameters in zip(decoder.blocks, adain.expand(batch_size, -1, -1, -1).unbind(dim=1), strict=True):
        features = block(features, parameters)
    return decoder.to_image(decoder.upsampling(features))


def _parameters(samples: ModelSamples, domain: int, **state: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the parameters before and after the edit, and with none, each one, and all of the layers swapped."""
    decoder = samples.model.auto_encoder(domain).decoder
    seeds = state["style_seed"], state["second_style_seed"]
    first, second = (decoder.adain_parameters(samples.sample_style(seed)) for seed in seeds)
    names = layer_names(samples)
    edited_layers = range(len(names)) if state["layer"] == ALL_LAYERS else [names.index(state["layer"])]
    channels = slice(state["first_channel"] - 1, max(state["first_channel"] - 1, state["last_channel"]))
    edit = AdaINEdit(edited_layers, channels, state["scale"], state["shift"], state["operation"] == SWAP)
    swaps = [edit_parameters(first, second, AdaINEdit([k], slice(None), swap=True)) for k in range(len(names))]
    return first, edit_parameters(first, second, edit), torch.cat([first, *swaps, second])


class EditedTranslations(NamedTuple):
    """Translations of all images before and after the edit, and of one image for each swap, each (N, 3, H, W)."""

    before: Tensor
    after: Tensor
    swaps: Tensor


@lru_cache(maxsize=1)  # the picture and its description show the same images
@torch.no_grad()
def translate_with_edits(samples: ModelSamples, direction: str, image: int, **state: Any) -> EditedTranslations:
    """Translate all images before and after the edit, and the selected image with each layer swapped; see `render`."""
    source = samples.source_domain(direction)
    contents = samples.contents[source - 1]
    before, after, swaps = _parameters(samples, 3 - source, **state)
    return EditedTranslations(
        decode_with_parameters(samples, contents, before, 3 - source),
        decode_with_parameters(samples, contents, after, 3 - source),
        decode_with_parameters(samples, contents[image - 1 : image], swaps, 3 - source),
    )


def render(samples: ModelSamples, direction: str, image: int, **state: Any) -> Picture:
    """Render the translation before and after the edit, enlarged; all images before and after; and single-layer swaps.

    The pictures of the swaps are labeled with the layer that comes from the second style.

    Args:
        samples: the model and its images.
        direction: one of `samples.directions`.
        image: 1 … NUM_IMAGES.
        **state: the other controls; see `make_controls`.
    """
    before, after, swaps = translate_with_edits(samples, direction, image, **state)
    large = tile_images([torch.cat([before[image - 1 : image], after[image - 1 : image]])], min_size=4 * TILE_SIZE)
    labels = ["first\nstyle", *(name.replace(", ", "\n") for name in layer_names(samples)), "second\nstyle"]
    return stack_pictures(
        label_columns(["before the edit", "after the edit"], large),
        tile_images([before, after]),
        *(
            label_columns(labels[k : k + NUM_IMAGES], tile_images([swaps[k : k + NUM_IMAGES]]))
            for k in range(0, len(swaps), NUM_IMAGES)
        ),
    )


@torch.no_grad()
def describe(samples: ModelSamples, direction: str, image: int, **state: Any) -> tuple[str, list[list[str]]]:
    """Describe the picture, and return the predicted attributes before, after, and with each layer swapped."""
    source = samples.source_domain(direction)
    names = layer_names(samples)
    sentence = (
        f"Enlarged: the translation into a {samples.domain_name(3 - source)} before and after the edit. Then all "
        f"images before and after. Last: the first style; {'; '.join(names)} from the second style; the second style."
    )
    _, after, swaps = translate_with_edits(samples, direction, image, **state)
    attributes = samples.predict_attributes(torch.cat([swaps, after[image - 1 : image]]), 3 - source)
    columns = ["style", *names, "second", "after"]
    return sentence, attribute_rows(attributes, columns, 3 - source) if attributes else []


class AdaINExplorer(ModelExplorer):
    """Edit or swap the AdaIN parameters of a style, by layer and channel; see `render`."""

    spec = ExplorerSpec(
        "AdaIN explorer",
        render,
        describe,
        make_controls,
        stored_state={"operation": SWAP, "style_seed": 37, "second_style_seed": 34},
    )
