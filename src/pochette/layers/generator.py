"""The one noise generator of pochette: a hash of the sample's number, the same bits in torch, C and WebAssembly.

Sample n of stream `counter` is hash(counter + n) mapped to [-1, 1). A counter instead of a recurrence makes noise
stateless: any block of it can be made alone, in parallel, and streaming equals offline by construction. The mixing
function is the two-round multiply-xorshift of Wellons ("lowbias32", constants 0x7FEB352D and 0x846CA68B), whose
avalanche bias is among the lowest known for its size. The C twin is `pc_noise` in `engine/kernels/pc_noise.h`.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def hash32(numbers: Tensor) -> Tensor:
    """A 32-bit mix of each number.

    Args:
        numbers: any shape, int64; taken modulo 2^32.

    Returns:
        the same shape, int64 in [0, 2^32).
    """
    # int64 products wrap modulo 2^64, which leaves the low 32 bits right.
    x = numbers & _MASK
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniform_noise(counter: Tensor, samples: int) -> Tensor:
    """White noise, uniform in [-1, 1), exactly representable in float32.

    Args:
        counter: (batch,), int64: number of the first sample.
        samples: how many.

    Returns:
        (batch, samples), float32; variance 1/3.
    """
    numbers = counter[:, None] + torch.arange(samples, device=counter.device)
    return (hash32(numbers) >> 8).to(torch.float32) * 2.0**-23 - 1.0
