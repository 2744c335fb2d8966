"""Where and how a step is computed: processes, arithmetic, memory layout, fused layers. Never what is computed.

The step in `training.py` reads as the paper's algorithm; everything that makes it fast, or spreads it over devices, has
its place here.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from munit_lite.config import Config
from munit_lite.domains import two_workers
from munit_lite.model import MUNIT, build
from munit_lite.networks import AdaINResidualBlock, ConvBlock, PatchDiscriminator, ResidualBlock

# ---------------------------------------------------------------------------------------------------- processes


def open_fabric(config: Config) -> Fabric:
    """The device of this process, joined with the other processes if torchrun, or a scheduler in its way, started some.

    Sets torch's threads and its arithmetic for fp32 products on the GPU, both for the whole process.

    Raises:
        ValueError: the device is not there, or the batch cannot be shared out evenly.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    shares = processes * config.accumulate
    if config.batch_size % shares:
        raise ValueError(
            f"batch_size is {config.batch_size}, but it is shared out among {processes} processes, {config.accumulate} "
            f"times each: it must be a multiple of {shares}"
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    fast = config.precision == "tf32"
    torch.set_float32_matmul_precision("high" if fast else "highest")  # Fabric asks torch for it in this old way
    torch.backends.cudnn.conv.fp32_precision = "tf32" if fast else "ieee"  # type: ignore[attr-defined]
    fabric = Fabric(
        accelerator=found_device(config.device),
        devices=here if processes > 1 else 1,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        precision="bf16-mixed" if config.precision == "bf16-mixed" else "32-true",
    )
    fabric.launch()
    return fabric


def found_device(name: str) -> str:
    """The name of a device that torch finds here; "auto" becomes a GPU if there is one.

    Raises:
        ValueError: it finds none of this name.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(kind for kind, there in found.items() if there)
    if not found[name]:
        raise ValueError(f"device is {name}, but this machine's torch finds none; use auto or cpu")
    return name


def domain_workers(config: Config, fabric: Fabric) -> ThreadPoolExecutor | None:
    """Two threads for the two domains' work, where they save time: on a CPU that has cores for both."""
    threads = torch.get_num_threads()
    return two_workers(threads) if fabric.device.type == "cpu" and threads > 1 and not config.compiled else None


def share(fabric: Fabric, batch: Tensor) -> Tensor:
    """This process's rows of a batch of all processes."""
    return batch.chunk(fabric.world_size)[fabric.global_rank]


def average_gradients(fabric: Fabric, parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes, in one message."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    message = mean(fabric, torch.cat([g.flatten() for g in gradients]))
    for gradient, averaged in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def mean(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean over the processes."""
    if fabric.world_size == 1:
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)  # Fabric's own would wait at a barrier first
    return total / fabric.world_size


def agreed(fabric: Fabric, number: int) -> int:
    """The largest of the processes' numbers."""
    if fabric.world_size == 1:
        return number
    largest = torch.tensor(number, device=fabric.device)
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return int(largest)


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the GPU's, or the machine's, memory is full."""
    words = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(said in str(error).lower() for said in words)


# ----------------------------------------------------------------------------------------------------- networks


def fast_model(config: Config, device: torch.device) -> MUNIT:
    """The model on its device, as it trains: the same weights under the same names, the same functions, less time.

    With `config.compiled` the networks go through torch.compile, with CUDA graphs on a GPU; what it cannot compile runs
    as it is. Discriminators with a gradient penalty stay as they are: it cannot differentiate twice.
    """
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format  # a CPU gains nothing by it
    model = build(config).to(device, memory_format=layout)  # type: ignore[call-overload]
    for auto_encoder in model.auto_encoders:
        decoder = auto_encoder.decoder
        decoder.upsampling = FusedUpsampling(*decoder.upsampling)
        decoder.to_image = BlockwiseConvolution(decoder.to_image)
    if device.type == "cpu":
        for discriminator in [module for module in model.modules() if isinstance(module, PatchDiscriminator)]:
            discriminator.layers[-2] = MatrixConvolution(discriminator.layers[-2])  # type: ignore[arg-type]
    if config.recompute:
        for block in model.auto_encoders.modules():
            if isinstance(block, ResidualBlock | AdaINResidualBlock | ConvBlock | FusedUpsampling):
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    if config.compiled:
        torch._dynamo.config.suppress_errors = True
        networks = [part for auto_encoder in model.auto_encoders for part in auto_encoder.children()]
        networks += [] if config.loss.penalty else list(model.discriminators)
        for network in networks:
            network.compile(mode="reduce-overhead" if device.type == "cuda" else None)
    return model


def adam(config: Config, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Adam:
    optimiser = config.optimiser
    return torch.optim.Adam(
        parameters,
        lr=optimiser.learning_rate,
        betas=optimiser.betas,
        weight_decay=optimiser.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


def _taps() -> Tensor:
    """(2, 3, 5): for even and odd rows of the large image, which of three rows of the small one each tap meets."""
    taps = torch.zeros(2, 3, 5)
    for odd in range(2):
        for tap in range(5):
            taps[odd, (odd + tap - 2) // 2 + 1, tap] = 1
    return taps


class FusedUpsampling(nn.Sequential):
    """The decoder's upsampling with each doubling and its 5 x 5 convolution in one, at 9/25 of the products.

    After nearest-neighbour doubling the 25 taps of a pixel meet only nine different pixels, and which ones depends on
    whether its row and column are even or odd. So it is a 3 x 3 convolution of the small image into four times the
    channels, whose kernels are sums of taps. The image's outermost rows and columns need a correction: reflect padding
    brings the second row of the small image there, not the first once more.
    """

    taps: Tensor

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_buffer("taps", _taps(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self:
            if isinstance(layer, ConvBlock):
                features = layer.finish(doubled_convolution(features, layer.conv, self.taps))
        return features


class _SameWeights(ConvBlock):
    def __init__(self, plain: ConvBlock) -> None:
        nn.Module.__init__(self)
        self.conv, self.padding, self.norm, self.activation = plain.conv, plain.padding, plain.norm, plain.activation


class BlockwiseConvolution(_SameWeights):
    """The convolution to the image's three channels, which computes blocks of 2 x 2 pixels as twelve channels.

    Hardware works on eight or sixteen channels at once, so three leave most of it idle. The kernel grows by one row and
    one column of zeros and stands at four places, one for each pixel of the block.
    """

    def convolve(self, padded: Tensor) -> Tensor:
        weight = self.conv.weight
        placed = [F.pad(weight, [right, 1 - right, down, 1 - down]) for down in (0, 1) for right in (0, 1)]
        kernel = torch.stack(placed, dim=1).flatten(0, 1)
        return F.pixel_shuffle(F.conv2d(padded, kernel, fourfold(self.conv.bias), stride=2), 2)


class MatrixConvolution(_SameWeights):
    """A convolution that a CPU takes as one matrix product where no more than 2 x 2 pixels come out.

    There the library's own spends most of its time on bringing the large kernel into its order and back.
    """

    def convolve(self, padded: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        height, width = ((side - kernel) // stride + 1 for side in padded.shape[2:])
        if height * width > 4:
            return self.conv(padded)
        corners = itertools.product(range(0, height * stride, stride), range(0, width * stride, stride))
        patches = torch.cat([padded[:, :, y : y + kernel, x : x + kernel] for y, x in corners])
        pixels = F.linear(patches.flatten(1), self.conv.weight.flatten(1), self.conv.bias)
        return pixels.view(height, width, len(padded), -1).permute(2, 3, 0, 1)


def fourfold(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.repeat_interleave(4)


def doubled_convolution(features: Tensor, conv: nn.Conv2d, taps: Tensor) -> Tensor:
    """conv(reflect_pad(double(features))) of a 5 x 5 convolution: (B, C, h, w) -> (B, D, 2h, 2w); h and w 2 or more."""
    weight = conv.weight
    outputs, inputs = weight.shape[:2]
    kernel = torch.einsum("aut,bvs,oits->oabiuv", taps, taps, weight).reshape(4 * outputs, inputs, 3, 3)
    padded = F.pad(features, [1] * 4, mode="replicate")
    image = F.pixel_shuffle(F.conv2d(padded, kernel, fourfold(conv.bias)), 2)

    first, second = (_doubled(_lines(features, 2, depth)) for depth in (0, 1))
    rows = F.pad(second, [2, 2, 0, 0], mode="reflect") - F.pad(first, [2, 2, 0, 0], mode="replicate")
    image = image.index_add(2, _ends(image, 2, 0), _edges(rows, weight[:, :, ::4]))
    first, second = (_lines(features, 3, depth).transpose(2, 3) for depth in (0, 1))
    columns = F.pad(F.pad(_doubled(second - first), [1, 1, 0, 0], mode="replicate"), [1, 1, 0, 0])
    edges = _edges(columns, weight[..., ::4].transpose(2, 3)).transpose(2, 3)
    return image.index_add(3, _ends(image, 3, 0), edges)


def _doubled(lines: Tensor) -> Tensor:
    return lines.repeat_interleave(2, dim=3)


def _ends(image: Tensor, dim: int, depth: int) -> Tensor:
    """The indices `depth` from the first and from the last, without a message from the host to the device."""
    return torch.arange(2, device=image.device) * (image.shape[dim] - 1 - 2 * depth) + depth


def _lines(image: Tensor, dim: int, depth: int) -> Tensor:
    """The two rows (dim 2) or columns (dim 3) that lie so deep in the image."""
    return image.index_select(dim, _ends(image, dim, depth))


def _edges(lines: Tensor, kernels: Tensor) -> Tensor:
    """Convolve the first line with the kernel's first row, the last with its last: (B, C, 2, n) -> (B, D, 2, n - 4)."""
    windows = lines.unfold(3, 5, 1).permute(2, 0, 3, 1, 4)  # (2, B, n - 4, C, 5)
    rows = windows.flatten(3).flatten(1, 2) @ kernels.permute(2, 1, 3, 0).flatten(1, 2)
    return rows.unflatten(1, windows.shape[1:3]).permute(1, 3, 0, 2)
