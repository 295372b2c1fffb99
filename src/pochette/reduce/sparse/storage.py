"""What a sparse weight takes to store: the smallest of three forms, each of which a small processor can read.

- dense: every number.
- bits: a bit for every place, and the living numbers.
- gaps: for each living number how many dead ones lie before it, in few bits; a gap that does not fit takes a zero
  number to bridge it (Han et al. 2016, figure 2).

None of them is multiplied faster than the dense form by the engines here; it saves flash memory, not time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

GAP_BITS = (4, 5, 8)
"""Lengths of a gap that are tried."""


@dataclass(frozen=True)
class Stored:
    """One tensor as it would be stored."""

    form: str
    """ "dense", "bits" or "gaps of N bits"."""
    size_bytes: int


def stored(alive: Tensor, number_bits: int = 32) -> Stored:
    """The smallest form of a tensor of which some numbers are zero.

    Args:
        alive: booleans of its shape.
        number_bits: of one number.

    Returns:
        form and size; the first of equals, dense before the others.
    """
    flat = alive.flatten()
    count, size = int(flat.sum()), flat.numel()
    forms = [Stored("dense", _whole(size * number_bits)), Stored("bits", _whole(size + count * number_bits))]
    for bits in GAP_BITS:
        forms.append(Stored(f"gaps of {bits} bits", _whole(entries(flat, bits) * (bits + number_bits))))
    return min(forms, key=lambda form: form.size_bytes)


def entries(alive: Tensor, bits: int) -> int:
    """Numbers that a list of gaps holds: the living ones, and zeros where a gap is too long.

    Args:
        alive: booleans, one axis.
        bits: of a gap; it says 0 to 2^bits - 1 dead places.

    Returns:
        how many.
    """
    places = alive.nonzero()[:, 0]
    gaps = torch.diff(places, prepend=torch.tensor([-1])) - 1
    # A bridging zero stands on a place of its own, so it covers its gap and itself.
    return len(places) + int((gaps // (1 << bits)).sum())


def stored_bytes(masks: Mapping[str, Tensor], number_bits: int = 32) -> int:
    """All weights under masks together, each in its smallest form.

    Args:
        masks: of each weight.
        number_bits: of one number.

    Returns:
        bytes.
    """
    return sum(stored(mask, number_bits).size_bytes for mask in masks.values())


def _whole(bits: int) -> int:
    return -(-bits // 8)
