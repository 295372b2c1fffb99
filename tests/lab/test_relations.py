"""Relations between properties and outcomes: against scipy, closed forms, and traps that fool pooled correlations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pochette.lab import relations as room
from pochette.lab.relations import (
    SAME_SIZE,
    SIZE_ALONE,
    Observation,
    correlation,
    false_discovery,
    partial_correlation,
    relations,
)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PERMUTATIONS", 300)
    monkeypatch.setattr(room, "RESAMPLES", 200)


def observed(groups: dict[str, np.ndarray]) -> list[Observation]:
    """Rows of each group: property, outcome, size."""
    return [
        Observation(name, float(size), {"x": float(x)}, {"y": float(y)})
        for name, rows in groups.items()
        for x, y, size in rows.T
    ]


@pytest.mark.parametrize("seed", range(5))
def test_one_group_is_spearman(seed: int) -> None:
    x, y = np.random.default_rng(seed).integers(0, 9, (2, 40)).astype(float)
    assert correlation([(x, y)]) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_partial_is_the_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.normal(size=50)
    x, y = size + rng.normal(size=50), size + rng.normal(size=50)
    rho = {pair: stats.spearmanr(*pair_of).statistic for pair, pair_of in
           {"xy": (x, y), "xz": (x, size), "yz": (y, size)}.items()}  # fmt: skip
    wanted = (rho["xy"] - rho["xz"] * rho["yz"]) / np.sqrt((1 - rho["xz"] ** 2) * (1 - rho["yz"] ** 2))
    assert partial_correlation([np.stack([x, y, size])]) == pytest.approx(wanted, abs=1e-12)


def test_what_goes_together_only_across_models_is_not_found() -> None:
    """Simpson's paradox: pooled, x and y rise together; within each model y falls."""
    rng = np.random.default_rng(0)
    groups = {}
    for number in range(4):
        x = 10 * number + rng.uniform(0, 5, 20)
        groups[f"m{number}"] = np.stack([x, 30 * number - x + rng.normal(0, 0.3, 20), rng.uniform(size=20)])
    (found,) = relations(observed(groups))
    pooled = np.concatenate(list(groups.values()), axis=1)
    assert stats.spearmanr(pooled[0], pooled[1]).statistic > 0.8
    assert found.correlation < -0.9 and found.found and found.high < -0.8
    assert (found.experiments, found.groups) == (80, 4)


def test_what_size_says_is_not_found_beyond_size() -> None:
    rng = np.random.default_rng(1)
    size = rng.normal(size=(3, 60))
    groups = {
        f"m{n}": np.stack([size[n] + 0.3 * rng.normal(size=60), size[n] + 0.3 * rng.normal(size=60), size[n]])
        for n in range(3)
    }
    (found,) = relations(observed(groups))
    assert found.correlation > 0.7 and found.found and abs(found.partial) < 0.2 and not found.beyond_size


def test_what_says_more_than_size_is_found_beyond_it() -> None:
    rng = np.random.default_rng(2)
    size, own = rng.normal(size=60), rng.normal(size=60)
    (found,) = relations(observed({"m": np.stack([size + own, size + 2 * own, size])}))
    assert found.beyond_size and found.partial > 0.8 and found.unheld == ""


def test_a_property_that_is_size_has_no_partial_correlation() -> None:
    size, y = np.random.default_rng(3).normal(size=(2, 30))
    (found,) = relations(observed({"m": np.stack([size**3, y, size])}))
    assert np.isnan(found.partial) and found.partial_probability == 1.0 and not found.beyond_size
    assert found.unheld == SIZE_ALONE


def test_where_size_is_the_same_it_cannot_be_held_fixed() -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 30))
    (found,) = relations(observed({"m": np.stack([x, x + 0.1 * y, np.ones(30)])}))
    assert found.found and np.isnan(found.partial) and not found.beyond_size
    assert found.unheld == SAME_SIZE


def test_a_model_that_goes_the_other_way_is_told() -> None:
    rng = np.random.default_rng(4)
    x, noise, size = rng.normal(size=(3, 3, 20))
    signs = {"a": 1.0, "b": 1.0, "c": -1.0}
    rows = {
        name: np.stack([x[number], sign * x[number] + 0.1 * noise[number], size[number]])
        for number, (name, sign) in enumerate(signs.items())
    }
    (found,) = relations(observed(rows))
    assert found.groups == 3 and found.agreeing == 2
    assert {name: np.sign(value) for name, value in found.by_group.items()} == signs
    assert found.partly_agreeing == 2 and not found.hardly_varying
    alone = {name: partial_correlation([block]) for name, block in rows.items()}
    assert found.partial_by_group == pytest.approx(alone) and set(alone) == set(signs)


def test_signs_with_size_held_fixed_are_counted_for_themselves() -> None:
    """In each model the property follows size and the outcome does too; beyond size they go against each other."""
    rng = np.random.default_rng(5)
    rows = {}
    for name in ("a", "b"):
        size, own = rng.normal(size=(2, 60))
        rows[name] = np.stack([size + 0.2 * own, size - 0.2 * own, size])
    (found,) = relations(observed(rows))
    assert found.correlation > 0.5 and found.agreeing == 2
    assert found.partial < -0.5 and found.partly_agreeing == 2


def test_what_is_only_rounding_has_no_sign() -> None:
    """Of a property in two levels, each with the same outcomes, the correlation is nothing."""
    level, outcome = np.repeat([0.1, 0.3], 9), np.tile(np.arange(9) / 7, 2)
    (found,) = relations(observed({"m": np.stack([level, outcome, np.arange(18.0)])}))
    assert found.by_group == {"m": 0.0} and found.agreeing == 0


def test_a_property_that_hardly_varies_is_told() -> None:
    values = np.zeros(20)
    values[:9] = np.arange(9) + 1.0
    (found,) = relations(observed({"m": np.stack([values, np.arange(20.0), np.arange(20.0) ** 2 % 7])}))
    assert found.hardly_varying == 1


def test_of_many_that_are_chance_few_are_found() -> None:
    rng = np.random.default_rng(4)
    items = [
        Observation("m", 1.0, {f"p{n}": float(rng.normal()) for n in range(40)}, {"y": float(rng.normal())})
        for _ in range(30)
    ]
    found = relations(items)
    assert len(found) == 40 and not any(item.found for item in found)
    assert sum(item.probability < 0.05 for item in found) < 8  # as chance has it, about two


def test_correction_by_hand() -> None:
    assert false_discovery([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert false_discovery([]) == []


def test_too_few_and_constants_say_nothing() -> None:
    rows = np.random.default_rng(5).normal(size=(3, 3))
    assert relations(observed({"m": rows})) == []
    assert relations(observed({"m": np.stack([np.ones(9), np.arange(9.0), np.ones(9)])})) == []
    gaps = [Observation("m", 1.0, {"x": float("nan")}, {"y": 1.0})] * 9
    assert relations(gaps) == []


def test_the_same_twice() -> None:
    rows = np.random.default_rng(6).normal(size=(3, 20))
    assert relations(observed({"m": rows})) == relations(observed({"m": rows}))
