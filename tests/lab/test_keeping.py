"""Which network of a path is kept."""

import math

import pytest

from pochette.lab.keeping import kept_of


@pytest.mark.parametrize(
    ("distances", "untrained", "fitting", "kept"),
    [
        ((6.0, 6.1, 6.2, 6.1), 10.0, (0, 1, 2, 3), 3),  # all as good: the smallest
        ((6.0, 6.1, 6.2, 6.3), 10.0, (0, 1, 2, 3), 2),  # 0.2 of the 4 that training brought, and no more
        ((6.0, 6.1, 9.0, 6.1), 10.0, (), 3),  # the smallest need not be asked
        ((6.0, 9.0, 9.0, 9.0), 10.0, (0, 1, 2, 3), 0),  # whole
        ((6.0, 8.0, 7.0, 9.0), 10.0, (2, 3), 2),  # the largest that the board bears
        ((6.0, 8.0, 7.0, 9.0), 10.0, (), 3),  # none: the smallest, and the report says by how much
        ((6.0, 6.0, 7.0), 5.0, (0, 1, 2), 1),  # nothing was learnt: the smallest of the nearest
        ((math.nan, 6.0, math.inf), 10.0, (0, 1, 2), 1),
        ((math.nan, math.nan), math.nan, (), 1),
        ((-0.01, 0.2, 0.6), 1.0, (0, 1, 2), 0),  # distances of crowds may lie below zero
    ],
)
def test_the_smallest_that_sounds_as_well_is_kept(
    distances: tuple[float, ...], untrained: float, fitting: tuple[int, ...], kept: int
) -> None:
    assert kept_of(distances, untrained, lambda number: number in fitting) == kept


def test_a_board_is_asked_only_where_it_decides() -> None:
    asked: list[int] = []
    kept_of((6.0, 6.1, 9.0, 9.0), 10.0, lambda number: bool(asked.append(number)))
    assert asked == [1, 2]
