"""Densities, counts and schedules against published tables and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from pochette.errors import ReductionError
from pochette.reduce.sparse.densities import Distribution, counts_of, densities
from pochette.reduce.sparse.schedules import cubic, fading, remaining

LENET = [(300, 784), (100, 300), (10, 100)]
CONVOLUTIONS = [(64, 1, 7), (64, 64, 3), (128, 64, 3), (128, 128, 3), (1, 128, 7)]


@pytest.mark.parametrize(
    ("shapes", "sparsity", "distribution", "wanted"),
    [
        (LENET, 0.9, "erk", [0.079568, 0.230189, 1.0]),
        (LENET, 0.95, "erk", [0.038484, 0.111334, 0.918507]),
        (LENET, 0.98, "erk", [0.015394, 0.044534, 0.367403]),
        ([(4, 4), (16, 16), (64, 64)], 0.9, "erk", [1.0, 0.32875, 0.0821875]),
        ([(4, 4), (16, 16), (64, 64)], 0.75, "erk", [1.0, 0.840625, 0.21015625]),
        ([(2, 3), (8, 6)], 0.5, "erk", [1.0, 0.4375]),
        (CONVOLUTIONS, 0.9, "erk", [1.0, 0.134709, 0.100260, 0.066583, 1.0]),
        (CONVOLUTIONS, 0.95, "erk", [0.885246, 0.058722, 0.043705, 0.029025, 0.836066]),
        (CONVOLUTIONS, 0.9, "er", [1.0, 0.133681, 0.100260, 0.066840, 1.0]),
        ([(192, 1), (192, 64), (64, 64), (64, 1)], 0.9, "erk", [1.0, 0.076389, 0.114583, 1.0]),
        ([*[(64, 1)] * 3, *[(64, 64)] * 4, (64, 1)], 0.9, "erk", [1.0] * 3 + [0.0859375] * 4 + [1.0]),
    ],
)
def test_erdos_renyi(
    shapes: list[tuple[int, ...]], sparsity: float, distribution: Distribution, wanted: list[float]
) -> None:
    named = {str(place): shape for place, shape in enumerate(shapes)}
    found = densities(named, 1.0 - sparsity, distribution)
    assert list(found.values()) == pytest.approx(wanted, abs=1e-6)
    sizes = [math.prod(shape) for shape in shapes]
    kept = sum(share * size for share, size in zip(found.values(), sizes, strict=True))
    assert kept == pytest.approx((1.0 - sparsity) * sum(sizes), rel=1e-12)


@pytest.mark.parametrize("distribution", ["uniform", "er", "erk"])
def test_nothing_gone_is_all_ones(distribution: Distribution) -> None:
    assert densities({"a": (3, 4), "b": (1, 2, 3)}, 1.0, distribution) == {"a": 1.0, "b": 1.0}


def test_no_density_is_refused() -> None:
    with pytest.raises(ReductionError, match="density is 0"):
        densities({"a": (3, 4)}, 0.0)


def test_counts_add_up() -> None:
    sizes = {"a": 7, "b": 11, "c": 13, "d": 1}
    counts = counts_of(sizes, dict.fromkeys(sizes, 0.5))
    assert sum(counts.values()) == round(0.5 * sum(sizes.values()))
    assert all(abs(counts[path] - 0.5 * sizes[path]) < 1 for path in sizes)
    assert counts_of({"a": 1000, "b": 10}, {"a": 0.001, "b": 0.001}) == {"a": 1, "b": 1}  # none is left without


def test_the_cubic_schedule() -> None:
    table = [0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9]
    assert [cubic(n / 10, 0.0, 1.0, last=0.9) for n in range(11)] == pytest.approx(table, abs=1e-12)
    eighty = [cubic(n / 10, 0.0, 1.0, last=0.8) for n in range(0, 11, 2)]
    assert eighty == pytest.approx([0, 0.3904, 0.6272, 0.7488, 0.7936, 0.8], abs=1e-12)
    assert cubic(0.1, 0.2, 0.7, last=0.9) == 0.0
    assert cubic(0.71, 0.2, 0.7, last=0.9) == 0.9


def test_fading() -> None:
    table = {0: 0.3, 100: 0.292658, 250: 0.256066, 500: 0.15, 750: 0.043934, 900: 0.007342, 1000: 0.0}
    for step, wanted in table.items():
        assert fading(step / 1000, 1.0, 0.3) == pytest.approx(wanted, abs=1e-6)
    assert fading(0.8, 0.75, 0.3) == 0.0


def test_rounds_take_the_same_share() -> None:
    left = [remaining(0.1, 4, number) for number in range(5)]
    assert left[0] == 1.0 and left[-1] == pytest.approx(0.1)
    assert [after / before for before, after in pairwise(left)] == pytest.approx([0.1**0.25] * 4)
