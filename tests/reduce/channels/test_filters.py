"""Filters by the sum of their weights: cases worked out by hand, and what a network minds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.reduce.channels.filters import (
    Scored,
    counts_within,
    most_sensitive,
    sensitivity,
    smallest_filters_gone,
)
from pochette.reduce.channels.signal_order import along_signal
from pochette.reduce.methods.filters import Filters
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of, trim_model
from pochette.train.loop import Training
from pochette.train.session import Session
from tests.corpora import notes_corpus


class Three(nn.Module):
    """Convolutions written in another order than the signal takes."""

    def __init__(self, first: int = 4, second: int = 2) -> None:
        super().__init__()
        self.head = nn.Conv1d(second, 1, 1, bias=False)
        self.second = nn.Conv1d(first, second, 1, bias=False)
        self.first = nn.Conv1d(1, first, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))  # type: ignore[no-any-return]


def chosen(module: nn.Module, counts: dict[str, int], scored: Scored) -> dict[str, list[int]]:
    structure = Structure.of(module, (torch.randn(1, 1, 8),))
    found = smallest_filters_gone(structure, Observed(module, structure.graph), counts, scored)
    return {name: kept.tolist() for name, kept in found.items()}


def test_the_two_smallest_of_four_filters_go() -> None:
    """L1 sums of 4, 1, 3 and 2: numbers 1 and 3 go."""
    module = Three()
    module.first.weight.data = torch.tensor([4.0, -1.0, 3.0, 2.0]).view(4, 1, 1)
    kept = chosen(module, {"first": 2, "second": 2}, "independent")
    assert kept == {"second": [0, 1], "first": [0, 2]}


def test_greedy_leaves_out_what_reads_the_removed() -> None:
    """Filter 0 of the second layer is large by what it reads of the unit that goes; filter 1 by the one that stays."""
    module = Three(first=2, second=2)
    module.first.weight.data = torch.tensor([5.0, 1.0]).view(2, 1, 1)
    module.second.weight.data = torch.tensor([[1.0, 9.0], [3.0, 1.0]]).view(2, 2, 1)
    counts = {"first": 1, "second": 1}
    assert chosen(module, counts, "independent") == {"second": [0], "first": [0]}
    assert chosen(module, counts, "greedy") == {"second": [1], "first": [0]}


def test_layers_are_visited_as_the_signal_meets_them() -> None:
    structure = Structure.of(Three(), (torch.randn(1, 1, 8),))
    assert [family.name for family in structure.families] == ["second", "first"]
    assert [family.name for family in along_signal(structure)] == ["first", "second"]


def test_filters_of_zeros_go_unnoticed() -> None:
    torch.manual_seed(0)
    model = Ddsp(hidden=8, stack_width=6, stack_layers=0, partials=4, noise_bands=5).build().eval()
    gru = model.network.gru
    with torch.no_grad():
        for gate in range(3):
            for tensor in (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0):
                tensor[[gate * 8 + 2, gate * 8 + 5]] = 0.0
    structure = structure_of(model)
    evidence = Observed(model, structure.graph)
    (name,) = structure.whole
    survivors = smallest_filters_gone(structure, evidence, {name: 6}, "greedy")
    assert survivors[name].tolist() == [0, 1, 3, 4, 6, 7]
    smaller, _, _ = trim_model(model, survivors=survivors, structure=structure)
    controls = torch.tensor([[220.0, -20.0, 0.0, 0.0]]).expand(1, 8, 4)
    # A GRU's unit whose rows are zero rests at zero.
    assert torch.allclose(smaller(controls), model(controls), atol=1e-6)


def small() -> DdspModel:
    torch.manual_seed(0)
    return Ddsp(hidden=12, stack_width=10, stack_layers=1, partials=6, noise_bands=5).build().eval()


def test_what_a_network_minds_is_the_loss_of_the_family_alone(tmp_path: Path) -> None:
    training, held = notes_corpus(tmp_path)
    session = Session(tmp_path, training, held, Training(batch=2, excerpt_seconds=0.1), seconds=1.0)
    model = small()
    excerpt = session.watched_excerpt(model, frames=20, sounds=2)
    structure = structure_of(model)
    found = sensitivity(model, structure, Observed(model, structure.graph), excerpt, [1.0, 0.5])

    def loss(of: nn.Module) -> float:
        return of.loss(excerpt, torch.Generator().manual_seed(0)).item()  # type: ignore[operator,no-any-return]

    assert all(losses[0] == loss(model) for losses in found.values())
    assert all(losses[1] != loss(model) for losses in found.values())
    # The recurrent layer by hand: units whose rows are smallest are no longer read.
    gru = model.network.gru
    rows = (gru.weight_ih_l0.abs().sum(1) + gru.weight_hh_l0.abs().sum(1)).view(3, 12).sum(0)
    gone = rows.argsort()[:6]
    with torch.no_grad():
        gru.weight_hh_l0[:, gone] = 0.0
        model.network.out_stack[0].weight[:, 20 + gone] = 0.0
    name = next(name for name in structure.whole if "gru" in name)
    assert found[name][1] == pytest.approx(loss(model), rel=1e-5)


def test_the_most_sensitive_are_named_and_spared() -> None:
    assert most_sensitive({"a": [1.0, 2.0], "b": [5.0, 1.0], "c": [1.0, 1.5]}, 2) == ["b", "a"]
    structure = structure_of(small())
    names = list(structure.whole)
    counts = counts_within(structure, 0.5 * structure.matrix_macs(), names[:1])
    assert counts[names[0]] == structure.whole[names[0]]
    assert structure.matrix_macs(counts) <= 0.5 * structure.matrix_macs()
    assert all(counts[name] < structure.whole[name] for name in names[1:])
    with pytest.raises(ReductionError) as refused:
        counts_within(structure, 0.01 * structure.matrix_macs(), names)
    assert "spare fewer" in refused.value.remedy


def test_a_whole_path_spares_what_it_must(tmp_path: Path) -> None:
    corpora = notes_corpus(tmp_path / "corpus")
    session = Session(
        tmp_path / "run", *corpora, Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2), float("inf"), steps=6
    )
    path = Filters(keep=0.5, spared=1).apply(small().train(), session)
    assert path[-1].report is not None
    changed = [family.after < family.before for family in path[-1].report.families]
    assert changed.count(False) == 1


def test_survivors_that_are_none_are_refused() -> None:
    model = small()
    whole = {name: np.arange(count) for name, count in structure_of(model).whole.items()}
    name = next(iter(whole))
    for wrong in (
        whole,
        {**whole, name: np.array([], int)},
        {**whole, name: np.array([1, 1])},
        {"other": np.array([0])},
    ):
        with pytest.raises(ReductionError) as refused:
            trim_model(model, survivors=wrong)
        assert refused.value.remedy
