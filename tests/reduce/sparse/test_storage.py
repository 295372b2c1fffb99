"""Bytes of sparse weights, counted by hand and by writing the lists out."""

from __future__ import annotations

import pytest
import torch

from pochette.reduce.sparse.storage import entries, stored, stored_bytes


def written(alive: list[bool], bits: int) -> int:
    """How many (gap, number) pairs a writer produces: the loop a decoder would undo."""
    pairs, gap = 0, 0
    for place in alive:
        if place or gap == 2**bits - 1:
            pairs, gap = pairs + 1, 0
        else:
            gap += 1
    # A writer stops at the last living number: pairs that only bridge the end are not needed.
    tail = len(alive) - 1 - max((i for i, place in enumerate(alive) if place), default=-1)
    return pairs - tail // 2**bits


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("share", [0.03, 0.2, 0.7])
def test_gaps_are_counted_as_they_are_written(bits: int, share: float) -> None:
    alive = torch.rand(997, generator=torch.Generator().manual_seed(3)) < share
    assert entries(alive, bits) == written(alive.tolist(), bits)


def test_the_smallest_form_wins() -> None:
    full, half, few = (torch.arange(3200) % step == 0 for step in (1, 2, 100))
    assert (stored(full).form, stored(full).size_bytes) == ("dense", 12800)
    assert (stored(half).form, stored(half).size_bytes) == ("bits", 400 + 1600 * 4)
    assert (stored(few).form, stored(few).size_bytes) == ("gaps of 8 bits", 32 * 5)
    assert stored_bytes({"a": full, "b": few}) == 12800 + 160
    assert stored(half, number_bits=8).size_bytes == 400 + 1600
