"""Counter-based random numbers: the number at an index is a pure function of a key and the index, and needs no state.

A run that resumes at any step, or several processes that share a batch, therefore see the same numbers.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_MASK_32 = 0xFFFFFFFF


def uniform(index: Tensor, key: str) -> Tensor:
    """Return a random number in (0, 1) for each index, a pure function of (key, index).

    Args:
        index: int64 of any shape, 0 or more.
        key: name of the stream; streams of different names are independent.

    Returns:
        float64 of the same shape.

    Example:
        >>> numbers = uniform(torch.arange(4), "seed 0")
        >>> torch.equal(numbers[2:], uniform(torch.tensor([2, 3]), "seed 0"))
        True
    """
    key_1, key_2 = zlib.crc32(key.encode()), zlib.crc32(key[::-1].encode() + b"/2")
    low, high = index & _MASK_32, (index >> 32) & _MASK_32
    mixed = _mix(_mix(_mix(low) ^ key_1) ^ high ^ key_2)
    return (mixed.to(torch.float64) + 0.5) / 2.0**32


def _mix(x: Tensor) -> Tensor:
    """Scramble 32-bit words, stored as int64, with a xorshift-multiply finalizer."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK_32
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK_32
    return x ^ (x >> 15)
