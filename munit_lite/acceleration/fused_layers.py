"""Layers that compute the same as those of `munit_lite.networks`, from the same weights, with less work."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from munit_lite.networks import ConvBlock


class FusedUpsampling(nn.Sequential):
    """Compute the decoder's upsampling with each doubling and its 5×5 convolution in one, at 9/25 of the products.

    After nearest-neighbor doubling the 25 taps of a pixel meet only nine different pixels, and which ones depends on
    whether its row and column are even or odd. So it is a 3×3 convolution of the small image into four times the
    channels, whose kernels are sums of taps. The image's outermost rows and columns need a correction: reflect padding
    brings the second row of the small image there, not the first once more.

    Args:
        layers: the decoder's upsampling, whose weights are used.
    """

    taps: Tensor

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_buffer("taps", _taps(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self:
            if isinstance(layer, ConvBlock):
                features = layer.normalize_and_activate(upsample_and_convolve(features, layer.conv, self.taps))
        return features


class _SameWeights(ConvBlock):
    """Share the weights of another ConvBlock.

    Args:
        block: whose weights, normalization and activation are used.
    """

    def __init__(self, block: ConvBlock) -> None:
        nn.Module.__init__(self)
        self.conv, self.padding, self.norm, self.activation = block.conv, block.padding, block.norm, block.activation


class BlockwiseConvolution(_SameWeights):
    """Convolve to the image's three channels by computing blocks of 2×2 pixels as twelve channels.

    Hardware works on eight or sixteen channels at once, so three leave most of it idle. The kernel grows by one row and
    one column of zeros and stands at four positions, one for each pixel of the block.
    """

    def convolve(self, padded: Tensor) -> Tensor:
        weight = self.conv.weight
        positions = [F.pad(weight, [right, 1 - right, down, 1 - down]) for down in (0, 1) for right in (0, 1)]
        kernel = torch.stack(positions, dim=1).flatten(0, 1)
        return F.pixel_shuffle(F.conv2d(padded, kernel, _repeat_4(self.conv.bias), stride=2), 2)


class MatrixConvolution(_SameWeights):
    """Convolve by one matrix product, on a CPU, if the output has no more than 2×2 pixels.

    There the library's own spends most of its time on rearranging the large kernel and back.
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


def upsample_and_convolve(features: Tensor, conv: nn.Conv2d, taps: Tensor) -> Tensor:
    """Compute conv(reflect_pad(upsample(features))) of a 5×5 convolution.

    Args:
        features: (B, C, h, w); h and w are 2 or more.
        conv: C -> D channels.
        taps: the buffer of `FusedUpsampling`, (2, 3, 5).

    Returns:
        (B, D, 2h, 2w).
    """
    weight = conv.weight
    outputs, inputs = weight.shape[:2]
    kernel = torch.einsum("aut,bvs,oits->oabiuv", taps, taps, weight).reshape(4 * outputs, inputs, 3, 3)
    padded = F.pad(features, [1] * 4, mode="replicate")
    image = F.pixel_shuffle(F.conv2d(padded, kernel, _repeat_4(conv.bias)), 2)

    first, second = (_double(_border_lines(features, 2, depth)) for depth in (0, 1))
    rows = F.pad(second, [2, 2, 0, 0], mode="reflect") - F.pad(first, [2, 2, 0, 0], mode="replicate")
    image = image.index_add(2, _border_indices(image, 2, 0), _convolve_lines(rows, weight[:, :, ::4]))
    first, second = (_border_lines(features, 3, depth).transpose(2, 3) for depth in (0, 1))
    columns = F.pad(F.pad(_double(second - first), [1, 1, 0, 0], mode="replicate"), [1, 1, 0, 0])
    correction = _convolve_lines(columns, weight[..., ::4].transpose(2, 3)).transpose(2, 3)
    return image.index_add(3, _border_indices(image, 3, 0), correction)


def _taps() -> Tensor:
    """Return which of three rows of the small image each tap meets, for even and odd rows of the large: (2, 3, 5)."""
    taps = torch.zeros(2, 3, 5)
    for odd in range(2):
        for tap in range(5):
            taps[odd, (odd + tap - 2) // 2 + 1, tap] = 1
    return taps


def _repeat_4(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.repeat_interleave(4)


def _double(lines: Tensor) -> Tensor:
    return lines.repeat_interleave(2, dim=3)


def _border_indices(image: Tensor, dim: int, depth: int) -> Tensor:
    """Return the indices `depth` from the first and from the last, without a message from the host to the device."""
    return torch.arange(2, device=image.device) * (image.shape[dim] - 1 - 2 * depth) + depth


def _border_lines(image: Tensor, dim: int, depth: int) -> Tensor:
    """Return the two rows (dim 2) or columns (dim 3) that lie `depth` lines inside the image."""
    return image.index_select(dim, _border_indices(image, dim, depth))


def _convolve_lines(lines: Tensor, kernels: Tensor) -> Tensor:
    """Convolve the first line with the kernel's first row, the last with its last: (B, C, 2, n) -> (B, D, 2, n - 4)."""
    windows = lines.unfold(3, 5, 1).permute(2, 0, 3, 1, 4)  # (2, B, n - 4, C, 5)
    rows = windows.flatten(3).flatten(1, 2) @ kernels.permute(2, 1, 3, 0).flatten(1, 2)
    return rows.unflatten(1, windows.shape[1:3]).permute(1, 3, 0, 2)
