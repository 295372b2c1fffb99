"""Exactly so many weights, by rank among the living; and the ticket's percentages as they were printed."""

from __future__ import annotations

import pytest
import torch

from pochette.errors import ReductionError
from pochette.reduce.sparse.rounds import slower_at_the_output, thinned
from pochette.reduce.sparse.selection import kept_in_each, kept_of_all
from pochette.reduce.sparse.weights import Masks, density, live


def test_ties_cost_no_more_than_was_asked() -> None:
    alive = {"a": torch.ones(10, dtype=torch.bool)}
    kept = kept_in_each({"a": torch.ones(10)}, alive, {"a": 8})
    assert kept["a"].tolist() == [True] * 8 + [False] * 2


def test_a_living_zero_outranks_no_dead_weight() -> None:
    scores, alive = {"a": torch.tensor([0.0, 5.0, 0.0, 1.0])}, {"a": torch.tensor([True, False, True, True])}
    assert kept_in_each(scores, alive, {"a": 2})["a"].tolist() == [True, False, False, True]
    with pytest.raises(ReductionError, match="4 weights cannot stay where 3 are alive"):
        kept_in_each(scores, alive, {"a": 4})


def test_all_layers_are_one_ranking() -> None:
    scores = {"a": torch.tensor([[3.0, 1.0]]), "b": torch.tensor([2.0, 0.5])}
    alive = {path: torch.ones_like(score, dtype=torch.bool) for path, score in scores.items()}
    kept = kept_of_all(scores, alive, 2)
    assert kept["a"].tolist() == [[True, False]] and kept["b"].tolist() == [True, False]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ReductionError, match="not a finite number"):
        kept_of_all({"a": torch.tensor([1.0, float("nan")])}, {"a": torch.ones(2, dtype=torch.bool)}, 1)


@pytest.mark.parametrize(
    ("output_rate", "printed"),
    [(0.5, {3: 51.28, 7: 21.07, 9: 13.52, 15: 3.58}), (1.0, {3: 51.20, 7: 20.97, 9: 13.42, 15: 3.52})],
)
def test_the_tickets_percentages(output_rate: float, printed: dict[int, float]) -> None:
    """LeNet-300-100 of Frankle & Carbin: a fifth of every layer goes in a round, a tenth of the last."""
    sizes = {"first": 235200, "second": 30000, "last": 1000}
    living = {path: float(size) for path, size in sizes.items()}
    for number in range(1, 16):
        kept = sum(0.8 * living[p] if p != "last" else (1 - 0.2 * output_rate) * living[p] for p in sizes)
        alive = {path: torch.arange(sizes[path]) < round(living[path]) for path in sizes}
        shares = slower_at_the_output(sizes, alive, kept / sum(sizes.values()), output_rate)
        living = {path: shares[path] * sizes[path] for path in sizes}
        if number in printed:
            assert 100 * sum(living.values()) / sum(sizes.values()) == pytest.approx(printed[number], abs=0.006)


def test_rounds_are_nested_and_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    masks: Masks = {"a": torch.ones(40, 30, dtype=torch.bool), "b": torch.ones(10, 40, dtype=torch.bool)}
    scores = {path: torch.randn(mask.shape, generator=generator).abs() for path, mask in masks.items()}
    for where in ("global", "uniform", "erk"):
        before = masks
        for kept in (0.5, 0.25, 0.1):
            after = thinned(scores, before, kept, where)  # type: ignore[arg-type]
            assert live(after) == round(kept * 1600)
            assert all(bool((~after[path] | before[path]).all()) for path in masks)
            before = after
        assert density(before) == pytest.approx(0.1)
    with pytest.raises(ReductionError, match="removes no weight"):
        thinned(scores, masks, 1.0, "global")
    with pytest.raises(ReductionError, match=r"One of 1600 weights.*cannot be reached"):
        thinned(scores, masks, 1e-9, "global")
