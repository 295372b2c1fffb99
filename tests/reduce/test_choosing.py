"""Which units stay: every scope and scaling on networks whose scores and sizes are worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import PochetteError, ReductionError
from pochette.models.ddsp import Ddsp
from pochette.reduce.choosing import Choice, choose
from pochette.reduce.evidence import WeightsOnly
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of

FIRST = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
SECOND = [0.5, 1.0, 0.25, 0.75]
# Sums of absolute weights: rows of 3 and rows of 6. By maximum: 1, 5/6, 4/6, 1/2, 1/3, 1/6 and 1/2, 1, 1/4, 3/4.
MAGNITUDES = {"0": [18.0, 15.0, 12.0, 9.0, 6.0, 3.0], "2": [3.0, 6.0, 1.5, 4.5]}
Chosen = dict[str, list[int]]


def layers(*rows: list[float], inputs: int = 3, outputs: int = 2) -> nn.Sequential:
    """Dense layers with these weights in their rows, all inputs weighted alike."""
    parts: list[nn.Module] = []
    for values in rows:
        layer = nn.Linear(inputs, len(values))
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(values)[:, None].expand(-1, inputs))
        parts += [layer, nn.Tanh()]
        inputs = len(values)
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def chosen(network: nn.Module, choice: Choice, *, example: Tensor | None = None, **asked: float) -> Chosen:
    structure = Structure.of(network, (torch.zeros(2, 3) if example is None else example,))
    survivors = choose(structure, WeightsOnly(structure.graph.tensors, seed=choice.seed), choice, **asked)  # type: ignore[arg-type]
    return {name: numbers.tolist() for name, numbers in survivors.items()}


def weights(first: int, second: int) -> int:
    """Learnt numbers with so many units left, biases among them: 62 of the whole network."""
    return 4 * first + second * (first + 1) + 2 * (second + 1)


@pytest.mark.parametrize(
    ("choice", "keep", "expected"),
    [
        (Choice(), 0.5, {"0": [0, 1, 2], "2": [1, 3]}),
        (Choice(), 0.01, {"0": [0], "2": [1]}),
        (Choice(multiple_of=4), 0.5, {"0": [0, 1, 2, 3], "2": [0, 1, 2, 3]}),
        # As they are, only the floor of one saves the second layer.
        (Choice(scope="global", scaling="none"), 0.5, {"0": [0, 1, 2, 3], "2": [1]}),
        # 1/6, 1/4, 1/3, then of the two halves the later layer's, then the other.
        (Choice(scope="global", scaling="maximum"), 0.5, {"0": [0, 1, 2], "2": [1, 3]}),
        (Choice(scope="global", scaling="maximum"), 0.6, {"0": [0, 1, 2, 3], "2": [1, 3]}),
        (Choice(scope="global", scaling="maximum", multiple_of=2), 0.5, {"0": [0, 1, 2, 3], "2": [1, 3]}),
        # Per weight: 6 to 1 and 1/4 to 1.
        (Choice(scope="global", scaling="dimension"), 0.5, {"0": [0, 1, 2, 3], "2": [1]}),
        (Choice(scope="global_then_local", scaling="maximum"), 0.5, {"0": [0, 1, 2], "2": [1, 3]}),
    ],
)
def test_a_share_of_the_units(choice: Choice, keep: float, expected: Chosen) -> None:
    network = layers(FIRST, SECOND)
    assert [row.abs().sum().item() for row in network[0].weight] == MAGNITUDES["0"]
    assert [row.abs().sum().item() for row in network[2].weight] == MAGNITUDES["2"]
    assert chosen(network, choice, keep=keep) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), {"0": [0, 1, 2, 3], "2": [0, 1, 3]}),  # shares between 5/8 and 3/4: 39; the next larger leave 46
        (Choice(scope="global"), {"0": [0, 1, 2, 3], "2": [0, 1, 3]}),  # 1/6, 1/4, 1/3 go: 54, 46, 39
        (Choice(scope="global", scaling="none"), {"0": [0, 1, 2, 3, 4], "2": [1, 3]}),  # 53, 44, 38
        (Choice(multiple_of=2), {"0": [0, 1, 2, 3], "2": [1, 3]}),
        (Choice(scope="global", multiple_of=2), {"0": [0, 1, 2, 3], "2": [1, 3]}),
    ],
)
def test_a_number_of_weights(choice: Choice, expected: Chosen) -> None:
    assert weights(6, 4) == sum(p.numel() for p in layers(FIRST, SECOND).parameters()) == 62
    found = chosen(layers(FIRST, SECOND), choice, weights=40)
    assert found == expected
    assert weights(len(found["0"]), len(found["2"])) <= 40


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("target", range(weights(1, 1), 62, 3))
def test_targets_of_weights_are_met_and_not_overshot_needlessly(scope: Any, target: int) -> None:
    """Against all paths there are: the one before on the way to the answer does not meet the target."""
    found = chosen(layers(FIRST, SECOND), Choice(scope=scope), weights=target)
    counts = len(found["0"]), len(found["2"])
    if scope == "local":
        shares = np.linspace(0.0, 1.0, 2001)
        path = list(dict.fromkeys((max(1, round(x * 6)), max(1, round(x * 4))) for x in shares))[::-1]
    else:  # 1/6, 1/4, 1/3, 1/2 of the second, 1/2 of the first, 2/3, 3/4, 5/6; one stays in each
        path = [(6, 4), (5, 4), (5, 3), (4, 3), (4, 2), (3, 2), (2, 2), (2, 1), (1, 1)]
    assert counts == next(step for step in path if weights(*step) <= target)


def test_a_number_of_operations() -> None:
    """As weights, without biases, for each of two items."""
    found = chosen(layers(FIRST, SECOND), Choice(scope="global"), macs=2 * (4 * 3 + 4 * 3 + 3 * 2))
    assert found == {"0": [0, 1, 2, 3], "2": [0, 1, 3]}
    found = chosen(layers(FIRST, SECOND), Choice(scope="global"), macs=2 * (4 * 3 + 4 * 3 + 3 * 2) - 1)
    assert found == {"0": [0, 1, 2, 3], "2": [1, 3]}


# -- importance per cost -----------------------------------------------------------------------------------------------

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


# -- first globally, then locally --------------------------------------------------------------------------------------

WIDE = [0.01 * i for i in range(1, 41)]
NARROW = [0.5 + 0.01 * i for i in range(1, 21)]


def test_global_then_local_by_units() -> None:
    """At a tenth, six units are left by global rank; less keeps the same share of what each layer then has."""
    network = layers(WIDE, NARROW)
    tenth = chosen(network, Choice(scope="global"), keep=0.1)
    # By maximum, 6 best of 0.025 to 1 and of 0.729 to 1: the second layer's are closer together.
    assert tenth == {"0": [38, 39], "2": [16, 17, 18, 19]}
    choice = Choice(scope="global_then_local")
    assert chosen(network, choice, keep=0.1) == tenth
    assert chosen(network, choice, keep=0.3) == chosen(network, Choice(scope="global"), keep=0.3)
    assert chosen(network, choice, keep=0.05) == {"0": [39], "2": [18, 19]}


@pytest.mark.parametrize("keep", [0.02, 0.03, 0.05, 0.06, 0.08, 0.09])
def test_global_then_local_leaves_as_many_units_as_were_asked_for(keep: float) -> None:
    """No share is rounded on its own: five layers of one unit each are what remains of the least, not less."""
    network = layers(*([0.1 + 0.01 * i for i in range(units)] for units in (40, 30, 20, 10, 50)))
    found = chosen(network, Choice(scope="global_then_local"), keep=keep)
    assert sum(map(len, found.values())) == max(5, round(keep * 150)) and min(map(len, found.values())) >= 1


def test_global_then_local_by_weights() -> None:
    network = layers(WIDE, NARROW)
    structure = Structure.of(network, (torch.zeros(2, 3),))
    at_switch = chosen(network, Choice(scope="global"), weights=300)
    choice = Choice(scope="global_then_local", switch_weights=300)
    assert chosen(network, choice, weights=300) == at_switch
    assert chosen(network, choice, weights=301) == chosen(network, Choice(scope="global"), weights=301)
    found = chosen(network, choice, weights=100)
    shares = np.linspace(0.0, 1.0, 4001)[::-1]
    counts = [{name: max(1, round(x * len(left))) for name, left in at_switch.items()} for x in shares]
    assert {name: len(left) for name, left in found.items()} == next(
        c for c in counts if structure.parameters(c) <= 100
    )
    assert all(found[name] == at_switch[name][-len(found[name]) :] for name in found)
    # Without a number, a tenth of all weights.
    tenth = round(0.1 * structure.parameters())
    plain = chosen(network, Choice(scope="global_then_local"), weights=60)
    assert plain == chosen(network, Choice(scope="global_then_local", switch_weights=tenth), weights=60)


# -- requests that cannot be met ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scope": "everywhere"}, "no scope called 'everywhere'"),
        ({"scaling": "loudness"}, "no scaling called 'loudness'"),
        ({"criterion": "beauty"}, "beauty"),
        ({"multiple_of": 0}, "multiple_of is 0"),
        ({"multiple_of": -4}, "multiple_of is -4"),
        ({"multiple_of": 2.5}, "multiple_of is 2.5"),
        ({"multiple_of": float("nan")}, "multiple_of is nan"),
    ],
)
def test_choices_that_do_not_exist(options: dict[str, Any], match: str) -> None:
    with pytest.raises(PochetteError, match=match) as caught:
        Choice(**options)
    assert caught.value.remedy


@pytest.mark.parametrize("choice", [Choice(), Choice(scope="global", scaling="bytes")], ids=["local", "global"])
@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"keep": float("nan")}, "keep is nan"),
        ({"keep": 0.0}, "keep is 0"),
        ({"keep": 2.0}, "keep is 2"),
        ({"keep": 0.999}, "removes none"),
        ({}, "how much"),
        ({"keep": 0.5, "weights": 40}, "how much"),
        ({"weights": 62}, "removes none"),
        ({"weights": weights(1, 1) - 1}, "one unit in every layer"),
        ({"weights": 0}, "one unit in every layer"),
    ],
)
def test_requests_that_cannot_be_met(choice: Choice, asked: dict[str, Any], match: str) -> None:
    with pytest.raises(ReductionError, match=match) as caught:
        chosen(layers(FIRST, SECOND), choice, **asked)
    assert caught.value.remedy


@pytest.mark.parametrize("choice", [Choice(), Choice(scope="global"), Choice(scope="global", scaling="operations")])
def test_scores_that_are_no_numbers(choice: Choice) -> None:
    network = layers(FIRST, SECOND)
    with torch.no_grad():
        network[2].weight[1, 1] = float("nan")
    for asked in ({"keep": 0.5}, {"weights": 40}):
        with pytest.raises(ReductionError, match="1 of 4 scores are not a number"):
            chosen(network, choice, **asked)


def test_multiples_that_leave_nothing_to_remove() -> None:
    with pytest.raises(ReductionError, match="multiples of 8"):
        chosen(layers(FIRST, SECOND), Choice(multiple_of=8), keep=0.2)


def test_a_global_target_is_met_in_multiples_too() -> None:
    """All families would be rounded up otherwise: of half the units two thirds would stay."""
    model = Ddsp.sized("tiny", sample_rate_hz=8000).build()
    for criterion in ("magnitude", "random"):
        structure = structure_of(model)
        evidence = Observed(model, structure.graph)
        survivors = choose(structure, evidence, Choice(criterion, "global", multiple_of=8), keep=0.5)
        total = sum(structure.whole.values())
        assert all(len(kept) % 8 == 0 for kept in survivors.values())
        assert abs(sum(map(len, survivors.values())) - total / 2) <= 8
