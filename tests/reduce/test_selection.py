"""Who stays: counts to the unit, the best by brute force, ties by order, budgets met by the fewest losses."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pochette.errors import ReductionError
from pochette.reduce.evidence import FloatArray
from pochette.reduce.scaling import Scaling, scaled
from pochette.reduce.selection import Survivors, by_budget, globally, local, removal_order

SCORES: st.SearchStrategy[dict[str, FloatArray]] = st.lists(
    st.lists(st.integers(-3, 3), min_size=1, max_size=4), min_size=1, max_size=3
).map(lambda families: {f"layer{i}": np.array(values, float) for i, values in enumerate(families)})
SHARES = st.floats(0.0, 1.0)


def plain(survivors: Survivors) -> dict[str, list[int]]:
    return {name: numbers.tolist() for name, numbers in survivors.items()}


def best_by_brute_force(scores: dict[str, FloatArray], count: int, floor: int) -> list[tuple[str, int]]:
    """Of all sets of so many units with the floor in every family, the best; of equally good ones the earliest."""
    units = [(name, number) for name, values in scores.items() for number in range(len(values))]

    def allowed(chosen: tuple[tuple[str, int], ...]) -> bool:
        return all(
            sum(unit[0] == name for unit in chosen) >= min(floor, len(values)) for name, values in scores.items()
        )

    sets = [chosen for chosen in combinations(units, count) if allowed(chosen)]
    # combinations come in the order of units, and max keeps the first of equals
    return list(max(sets, key=lambda chosen: sum(scores[name][number] for name, number in chosen)))


@given(SCORES, SHARES, st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_globally_is_the_best_set_there_is(scores: dict[str, FloatArray], keep: float, floor: int) -> None:
    total = sum(map(len, scores.values()))
    count = max(round(keep * total), sum(min(floor, len(values)) for values in scores.values()))
    chosen = [(name, n) for name, numbers in plain(globally(scores, keep, floor)).items() for n in numbers]
    assert len(chosen) == count
    wanted = best_by_brute_force(scores, count, floor)
    assert sum(scores[name][n] for name, n in chosen) == sum(scores[name][n] for name, n in wanted)
    for name, values in scores.items():
        numbers = [n for family, n in chosen if family == name]
        assert numbers == sorted(np.lexsort((np.arange(len(values)), -values))[: len(numbers)].tolist())
    if floor == 0:
        assert chosen == wanted  # ties: earlier family, then lower number


@given(SCORES, SHARES)
@settings(deadline=None)
def test_local_keeps_exactly_the_share_of_every_family(scores: dict[str, FloatArray], keep: float) -> None:
    for name, kept in local(scores, keep).items():
        values = scores[name]
        assert len(kept) == max(1, round(keep * len(values)))
        assert sorted(values[kept], reverse=True) == sorted(values, reverse=True)[: len(kept)]
        assert kept.tolist() == sorted(set(kept.tolist()))


def test_ties_go_to_the_earlier_family_and_the_lower_number() -> None:
    tied = {"second": np.zeros(4), "first": np.zeros(3)}
    assert plain(local(tied, 0.5)) == {"second": [0, 1], "first": [0, 1]}
    assert plain(globally(tied, 5 / 7)) == {"second": [0, 1, 2, 3], "first": [0]}
    assert removal_order(tied) == [("first", 2), ("first", 1), ("second", 3), ("second", 2), ("second", 1)]


def test_many_equal_scores_keep_their_number() -> None:
    """A threshold would keep all or none of them."""
    scores = {"a": np.r_[np.ones(50), 2.0], "b": np.ones(49)}
    kept = globally(scores, 0.37)
    assert sum(map(len, kept.values())) == 37
    assert 50 in kept["a"]


def test_filters_of_li() -> None:
    """Four filters of norms 4, 1, 3, 2: two go, and they are 1 and 3."""
    kept = local({"filters": np.array([4.0, 1.0, 3.0, 2.0])}, 0.5)
    assert plain(kept) == {"filters": [0, 2]}


@pytest.mark.parametrize(
    ("units", "keep", "multiple_of", "wanted"),
    [(64, 0.3, 8, 24), (64, 0.25, 8, 16), (10, 0.9, 4, 10), (3, 0.1, 4, 3), (16, 0.01, 4, 4), (12, 1.0, 8, 12)],
)
def test_multiples(units: int, keep: float, multiple_of: int, wanted: int) -> None:
    scores = {"a": np.arange(units, dtype=float)}
    for chosen in (local(scores, keep, multiple_of), globally(scores, keep, multiple_of=multiple_of)):
        assert plain(chosen) == {"a": list(range(units - wanted, units))}


def test_slimming_removes_the_two_smallest_gains_of_all() -> None:
    gains = {"first": np.array([0.9, 0.01, 0.5]), "second": np.array([0.02, 0.8])}
    assert plain(globally(gains, 0.6)) == {"first": [0, 2], "second": [1]}


@given(SCORES, st.integers(0, 30), st.integers(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_budget_is_met_by_the_shortest_prefix(scores: dict[str, FloatArray], budget: int, floor: int) -> None:
    sizes = {name: len(values) for name, values in scores.items()}
    order = removal_order(scores, floor)

    def cost(counts: dict[str, int]) -> int:
        """A chain of matrices between the families, as in a network."""
        widths = [2, *counts.values(), 2]
        return sum(a * b for a, b in pairwise(widths))

    def after(length: int) -> dict[str, list[int]]:
        return {name: [n for n in range(sizes[name]) if (name, n) not in order[:length]] for name in sizes}

    costs = [cost({name: len(kept) for name, kept in after(length).items()}) for length in range(len(order) + 1)]
    if costs[-1] > budget:
        with pytest.raises(ReductionError, match="every unit removed"):
            by_budget(order, sizes, cost, budget)
    else:
        shortest = next(length for length, value in enumerate(costs) if value <= budget)
        assert plain(by_budget(order, sizes, cost, budget)) == after(shortest)


def test_a_budget_asks_for_few_costs() -> None:
    asked: list[dict[str, int]] = []

    def cost(counts: dict[str, int]) -> int:
        asked.append(counts)
        return counts["a"]

    kept = by_budget(removal_order({"a": np.arange(1000.0)}), {"a": 1000}, cost, 250)
    assert kept["a"].tolist() == list(range(750, 1000))
    assert len(asked) < 15


@pytest.mark.parametrize("choose", [local, globally])
def test_scores_that_are_no_numbers_are_refused(choose: object) -> None:
    scores = {"sound": np.ones(3), "sick": np.array([1.0, np.nan])}
    with pytest.raises(ReductionError, match="1 of 2") as caught:
        choose(scores, 0.5)  # type: ignore[operator]
    assert caught.value.where == "sick"
    for keep in (-0.1, 1.1, np.nan):
        with pytest.raises(ReductionError, match="keep"):
            choose({"a": np.ones(3)}, keep)  # type: ignore[operator]
    with pytest.raises(ReductionError, match="1 of 2"):
        removal_order(scores)


# -- scaling -----------------------------------------------------------------------------------------------------------


def test_scaling_by_hand() -> None:
    scores = {"wide": np.array([10.0, 40.0, 0.0]), "narrow": np.array([1.0, 0.5]), "dead": np.zeros(2)}
    weights = {"wide": 20, "narrow": 2, "dead": 4}
    none = scaled(scores, "none", weights)
    maximum = scaled(scores, "maximum", weights)
    dimension = scaled(scores, "dimension", weights)
    assert [values.tolist() for values in none.values()] == [[10, 40, 0], [1, 0.5], [0, 0]]
    assert [values.tolist() for values in maximum.values()] == [[0.25, 1, 0], [1, 0.5], [0, 0]]
    assert [values.tolist() for values in dimension.values()] == [[0.5, 2, 0], [0.5, 0.25], [0, 0]]
    assert none["wide"] is not scores["wide"]
    assert plain(globally(none, 2 / 7, floor=0)) == {"wide": [0, 1], "narrow": [], "dead": []}
    assert plain(globally(maximum, 2 / 7, floor=0)) == {"wide": [1], "narrow": [0], "dead": []}


@given(SCORES, st.sampled_from(["none", "maximum", "dimension"]))
def test_scaling_leaves_the_order_within_a_family(scores: dict[str, FloatArray], scaling: Scaling) -> None:
    after = scaled(scores, scaling, dict.fromkeys(scores, 7))
    for name, values in scores.items():
        assert np.isfinite(after[name]).all()
        for a, b in product(range(len(values)), repeat=2):
            assert (values[a] < values[b]) == (after[name][a] < after[name][b])


def test_an_unknown_scaling_names_those_there_are() -> None:
    with pytest.raises(ReductionError, match="maximum"):
        scaled({"a": np.ones(2)}, "largest", {"a": 1})  # type: ignore[arg-type]
