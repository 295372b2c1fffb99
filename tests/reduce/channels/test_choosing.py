"""Choosing channels and making up for them, against answers that are known: by hand, in closed form, by trying all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pochette.reduce.channels.choosing import (
    Chooser,
    forward_selected,
    greedily_removed,
    lasso,
    lasso_selected,
)
from pochette.reduce.channels.mending import factors, refitted
from pochette.reduce.evidence import FloatArray

CHOOSERS: list[Chooser] = [greedily_removed, forward_selected, lasso_selected]
every_chooser = pytest.mark.parametrize("choose", CHOOSERS)


def drawn(channels: int = 6, entries: int = 200, seed: int = 0) -> FloatArray:
    found: FloatArray = np.random.default_rng(seed).normal(size=(entries, channels)) * np.linspace(0.5, 2.0, channels)
    return found


@every_chooser
def test_a_dead_channel_goes_first(choose: Chooser) -> None:
    z = drawn()
    z[:, 4] = 0.0
    assert choose(z, z.sum(1), 5).tolist() == [0, 1, 2, 3, 5]


@every_chooser
@pytest.mark.parametrize("count", [1, 3, 6])
def test_exactly_as_many_stay_as_are_asked_for(choose: Chooser, count: int) -> None:
    for z in (drawn(), np.zeros((50, 6)), np.ones((50, 6)), drawn()[:, [0, 0, 0, 1, 1, 1]]):
        kept = choose(z, z.sum(1), count)
        assert len(kept) == count and (np.diff(kept) > 0).all()


def energy(z: FloatArray, gone: tuple[int, ...]) -> float:
    return float(np.square(z[:, list(gone)].sum(1)).sum())


@pytest.mark.parametrize("channels", [4, 6, 8])
def test_thinet_takes_at_each_step_what_adds_least(channels: int) -> None:
    """Step by step as written in the paper, with sums and no Gram matrix; never better than the best of all sets."""
    z = drawn(channels, seed=channels) + 0.5
    gone: tuple[int, ...] = ()
    for count in range(channels - 1, 0, -1):
        rest = [c for c in range(channels) if c not in gone]
        gone = (*gone, min(rest, key=lambda c: energy(z, (*gone, c))))
        kept = greedily_removed(z, z.sum(1), count)
        assert kept.tolist() == [c for c in range(channels) if c not in gone]
        best = min(energy(z, some) for some in combinations(range(channels), channels - count))
        assert best <= energy(z, gone) + 1e-9
        if channels - count == 1:
            assert best == pytest.approx(energy(z, gone))


def error(z: FloatArray, y: FloatArray, kept: list[int]) -> float:
    return float(np.square(y - z[:, kept] @ np.linalg.lstsq(z[:, kept], y, rcond=None)[0]).sum())


@pytest.mark.parametrize("channels", [5, 8])
def test_forward_selection_adds_what_lets_the_fit_be_best(channels: int) -> None:
    """Every step by fitting anew with each candidate; never better than the best of all sets."""
    rng = np.random.default_rng(channels)
    z = drawn(channels) @ (np.eye(channels) + 0.3 * rng.normal(size=(channels, channels)))
    y = z.sum(1)
    kept: list[int] = []
    for count in range(1, channels):
        rest = [c for c in range(channels) if c not in kept]
        kept.append(min(rest, key=lambda c: error(z, y, [*kept, c])))
        assert forward_selected(z, y, count).tolist() == sorted(kept)
        best = min(error(z, y, list(some)) for some in combinations(range(channels), count))
        assert best <= error(z, y, kept) + 1e-9


def test_forward_selection_takes_no_channel_twice_over() -> None:
    z = drawn()[:, [0, 1, 2, 2, 2, 3]]
    kept = forward_selected(z, z.sum(1), 4)
    assert len({min(int(c), 2) if c < 5 else 5 for c in kept}) == 4


def test_lasso_of_orthonormal_contributions_is_a_soft_threshold() -> None:
    entries = 64
    z = np.linalg.qr(np.random.default_rng(0).normal(size=(entries, 5)))[0] * np.sqrt(entries)
    y = z @ np.array([1.5, 0.3, 0.05, -0.4, 0.0])
    for strength in (0.1, 0.35):
        expected = [np.sign(b) * max(abs(b) - strength, 0.0) for b in (1.5, 0.3, 0.05, -0.4, 0.0)]
        assert lasso(z, y, strength) == pytest.approx(np.array(expected), abs=1e-6)
    assert lasso_selected(z, y, 2).tolist() == [0, 3]


def test_what_others_say_together_is_dropped_and_made_up_for() -> None:
    """Channel 2 is channel 0 plus channel 1: without it the weights can say all, but not as they were."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4, 1))
    x[:, 2] = x[:, 0] + x[:, 1]
    w = rng.normal(size=(4, 1, 3))
    w[2] *= 0.7
    y = np.einsum("ruf,ufo->ro", x, w)
    kept = np.array([0, 1, 3])
    new = refitted(x[:, kept], w[kept], y)
    residual = np.abs(y - np.einsum("ruf,ufo->ro", x[:, kept], new)).max()
    assert residual < 1e-10
    assert np.abs(y - np.einsum("ruf,ufo->ro", x[:, kept], w[kept])).max() > 1.0
    assert new[:2, 0] == pytest.approx(w[:2, 0] + w[2, 0])


@pytest.mark.parametrize("choose", [forward_selected, lasso_selected])
def test_of_three_channels_of_which_one_repeats_the_others_one_goes(choose: Chooser) -> None:
    z = drawn(4)
    z[:, 2] = z[:, 0] + z[:, 1]
    kept = choose(z, z.sum(1), 3)
    assert 3 in kept and error(z, z.sum(1), kept.tolist()) < 1e-10


def test_factors_make_the_error_smaller() -> None:
    z = drawn() + 0.4
    y = z.sum(1)
    kept = greedily_removed(z, y, 3)
    factor = factors(z[:, kept], y)
    scaled, plain = np.square(y - z[:, kept] @ factor).sum(), np.square(y - z[:, kept].sum(1)).sum()
    assert scaled < 0.97 * plain
    # Normal equations: what is left has nothing in common with any channel.
    assert z[:, kept].T @ (y - z[:, kept] @ factor) == pytest.approx(np.zeros(3), abs=1e-8)


def test_least_squares_leave_alone_what_the_data_do_not_tell() -> None:
    z = drawn(3)
    same = z[:, [0, 0, 1]]
    assert factors(same, same.sum(1)) == pytest.approx(np.ones(3))
    assert factors(same, same.sum(1) + z[:, 0]) == pytest.approx(np.array([1.5, 1.5, 1.0]))
    assert np.isfinite(factors(np.zeros((10, 2)), np.ones(10))).all()
