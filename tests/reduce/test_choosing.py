"""Which units stay: every scope and scaling on networks whose scores and sizes are worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pochette.errors import PochetteError, ReductionError
from pochette.models.ddsp import Ddsp
from pochette.reduce.choosing import Choice, choose
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of
from tests.reduce.choices import Chosen, chosen, layers

FIRST = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
SECOND = [0.5, 1.0, 0.25, 0.75]
# Sums of absolute weights: rows of 3 and rows of 6. By maximum: 1, 5/6, 4/6, 1/2, 1/3, 1/6 and 1/2, 1, 1/4, 3/4.
MAGNITUDES = {"0": [18.0, 15.0, 12.0, 9.0, 6.0, 3.0], "2": [3.0, 6.0, 1.5, 4.5]}


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
