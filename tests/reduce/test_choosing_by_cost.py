"""Which units stay by what they are worth per cost: widths against every choice there is, and no bottlenecks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.reduce.choosing import Choice
from pochette.reduce.structure import Structure
from tests.reduce.choices import chosen, layers

FRAMES, HOP = 8, 16


class TwoRates(nn.Module):
    """Six channels a frame, widened to three that are held for sixteen samples each, and six channels a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.frame, self.middle = nn.Conv1d(1, 6, 1), nn.Conv1d(6, 3, 1)
        self.audio, self.head = nn.Conv1d(3, 6, 1), nn.Conv1d(6, 1, 1)
        ramp = torch.linspace(1.0, 1.25, 6)
        with torch.no_grad():
            for layer in (self.frame, self.middle, self.audio, self.head):
                layer.weight.fill_(1.0)
            self.frame.weight.mul_(ramp[:, None, None])
            self.audio.weight.mul_(ramp[:, None, None])
            self.middle.weight.mul_(1000.0)

    def forward(self, x: Tensor) -> Tensor:
        held = nn.functional.interpolate(torch.tanh(self.middle(torch.tanh(self.frame(x)))), scale_factor=HOP)
        return self.head(torch.tanh(self.audio(held)))  # type: ignore[no-any-return]


def operations(frame: int, middle: int, audio: int) -> int:
    return FRAMES * (frame + frame * middle) + FRAMES * HOP * (middle * audio + audio)


def numbers(frame: int, middle: int, audio: int) -> int:
    return 2 * frame + middle * (frame + 1) + audio * (middle + 1) + audio + 1


def weight_bytes(frame: int, middle: int, audio: int) -> int:
    return 4 * numbers(frame, middle, audio)


IMPORTANCE = [[1.0 + 0.05 * i for i in range(6)], [1.0] * 3, [1.0 + 0.05 * i for i in range(6)]]
"""Of units, the least first, in each layer by a scale of its own: a layer's scale says nothing."""


def error(left: Sequence[int]) -> float:
    """Of each layer one over the share of its importance that is left, times the weights that go with its units."""
    weights = [whole - numbers(*fewer) for fewer in ((5, 3, 6), (6, 2, 6), (6, 3, 5)) for whole in [numbers(6, 3, 6)]]
    return sum(
        len(worth) * each * sum(worth) / sum(worth[-n:])
        for worth, each, n in zip(IMPORTANCE, weights, left, strict=True)
    )


def greedy(cost: Callable[..., int], enough: Callable[[list[int]], bool]) -> list[int]:
    """One unit after the other, that which adds the least error per cost saved; then back what fits, the best first."""
    left = [6, 3, 6]
    while not enough(left):
        worth = {}
        for number, count in enumerate(left):
            fewer = [n - (i == number) for i, n in enumerate(left)]
            if count > 1:
                worth[number] = (error(fewer) - error(left)) / (cost(*left) - cost(*fewer))
        left[min(worth, key=lambda number: worth[number])] -= 1
    while True:
        more = [[n + (i == number) for i, n in enumerate(left)] for number in range(3)]
        fitting = [counts for counts in more if max(counts) <= 6 and counts[1] <= 3 and enough(counts)]
        if not fitting:
            return left
        left = min(fitting, key=error)


@pytest.mark.parametrize(("scaling", "cost"), [("operations", operations), ("bytes", weight_bytes)])
@pytest.mark.parametrize("keep", [0.8, 0.6, 0.4, 0.25])
def test_importance_per_cost(scaling: Any, cost: Callable[..., int], keep: float) -> None:
    choice = Choice(scope="global", scaling=scaling)
    found = chosen(TwoRates(), choice, example=torch.zeros(1, 1, FRAMES), keep=keep)
    expected = greedy(cost, lambda left: sum(left) <= round(keep * 15))
    assert [len(found[name]) for name in ("frame", "middle", "audio")] == expected
    # The best of each stay, whichever are how many.
    assert found["frame"] == list(range(6 - expected[0], 6)) and found["audio"] == list(range(6 - expected[2], 6))


class Dear(nn.Module):
    """Three layers of forty equal units; the second runs once for every sample of a frame that the others run once."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers([1.0] * 40, [1.0] * 40, [1.0] * 40, inputs=3, outputs=20)

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, head = self.layers[0], self.layers[2], self.layers[4], self.layers[6]
        every = torch.tanh(second(torch.tanh(first(x)).repeat_interleave(64, 0)))
        return head(torch.tanh(third(every[::64])))  # type: ignore[no-any-return]


@pytest.mark.parametrize("share", [0.5, 0.2, 0.1, 0.05])
def test_a_dear_layer_becomes_no_bottleneck(share: float) -> None:
    """Equal importances, and one layer that is many times dearer: it loses most, and no widths are much better.

    Importance relative to a layer's best never grows as units go: by it the dear layer would be left with one unit
    before any other lost one.
    """
    network = Dear()
    budget = share * Structure.of(network, (torch.zeros(2, 3),)).matrix_macs()
    found = chosen(network, Choice(scope="global", scaling="operations"), macs=budget)
    first, second, third = (len(found[name]) for name in ("layers.0", "layers.2", "layers.4"))
    assert third >= min(40, 1.5 * max(first, second))
    widths = np.arange(1, 41)
    a, b, c = widths[:, None, None], widths[:, None], widths
    size = 2 * (3 * a + 64 * a * b + b * c + 20 * c)
    assert size[first - 1, second - 1, third - 1] <= budget
    # Every choice there is; a step at a time does not lead to the very best of widths so small.
    made = 40 * 40 * (44 / a + 81 / b + 61 / c)
    assert made[first - 1, second - 1, third - 1] < 1.1 * np.min(np.where(size <= budget, made, np.inf))


class Residual(nn.Module):
    """Blocks beside a stream: the stream's units are rows or columns of every block's matrices."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 2)
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        with torch.no_grad():
            for layer in (self.first, *self.down, *self.up):
                layer.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for down, up in zip(self.down, self.up, strict=True):
            x = x + up(torch.tanh(down(x)))
        return self.last(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
@pytest.mark.parametrize("scaling", ["operations", "bytes"])
def test_a_residual_stream_is_no_cheaper_for_being_shared(scaling: Any, share: float) -> None:
    """All matrices are alike: stream and blocks lose alike, though the stream's units cost six times a block's."""
    network = Residual(64, blocks=6)
    budget = int(share * Structure.of(network, (torch.zeros(2, 3),)).parameters())
    found = chosen(network, Choice(scope="global", scaling=scaling), weights=budget)
    left = [len(numbers) for numbers in found.values()]
    assert len(left) == 7 and max(left) <= 1.2 * min(left)


def test_scores_that_tell_nothing_are_as_good_as_equal_ones() -> None:
    """A criterion that follows gradients finds nothing behind an output that begins at zero."""
    silent, equal = layers([0.0] * 20, [0.0] * 20), layers([1.0] * 20, [1.0] * 20)
    choice = Choice(scope="global", scaling="operations")
    counts = [
        {name: len(kept) for name, kept in chosen(network, choice, keep=0.3).items()} for network in (silent, equal)
    ]
    assert counts[0] == counts[1] and min(counts[0].values()) >= 4


def test_units_worth_nothing_go_first() -> None:
    network = layers([0.0] * 6 + [1.0] * 2, [1.0] * 8)
    found = chosen(network, Choice(scope="global", scaling="bytes"), keep=0.625)
    assert found == {"0": [6, 7], "2": list(range(8))}


def test_audio_rate_goes_before_frame_rate() -> None:
    """Equal importances: where a sample's unit costs sixteen times a frame's, it goes first; by bytes it does not."""
    example = torch.zeros(1, 1, FRAMES)
    dear = chosen(TwoRates(), Choice(scope="global", scaling="operations"), example=example, keep=0.6)
    even = chosen(TwoRates(), Choice(scope="global", scaling="bytes"), example=example, keep=0.6)
    assert len(dear["frame"]) == 6 and len(dear["audio"]) < 6
    assert len(even["frame"]) < 6


def test_weights_by_cost_are_met() -> None:
    target = 30
    found = chosen(
        TwoRates(), Choice(scope="global", scaling="operations"), example=torch.zeros(1, 1, FRAMES), weights=target
    )
    expected = greedy(operations, lambda left: numbers(*left) <= target)
    assert [len(found[name]) for name in ("frame", "middle", "audio")] == expected
