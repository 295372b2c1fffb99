"""Who hears whom, on networks whose wiring is written down by hand."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch
from torch import Tensor, nn

from pochette.graph.capture import capture
from pochette.measure.weighted import layers_of
from pochette.measure.wiring import Wiring, wiring_of


def wired(module: nn.Module, *inputs: Tensor) -> Wiring:
    graph = capture(module.eval(), inputs)
    return wiring_of(graph, layers_of(graph))


def named(wiring: Wiring) -> set[tuple[str, str]]:
    """Edges, a junction called by its sign and whom it hears."""
    heard: dict[str, list[str]] = {}
    for speaker, name in wiring.edges:
        heard.setdefault(name, []).append(speaker)
    sign = {spot.name: spot.sign for spot in wiring.spots}

    def called(name: str) -> str:
        return f"{sign[name]}({' '.join(sorted(map(called, heard[name])))})" if sign[name] else name

    return {(called(speaker), called(name)) for speaker, name in wiring.edges}


class TwoBranches(nn.Module):
    """Two branches that are concatenated, a gate of one layer's halves, and a skip around a block."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Linear(3, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.gated, self.inner, self.last = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        both = torch.cat([self.left(y).relu(), self.right(y)], dim=-1)
        signal, gate = self.gated(both).chunk(2, dim=-1)
        z = torch.tanh(signal) * torch.sigmoid(gate)
        z = z + self.inner(z).relu()
        out: Tensor = 2.0 * self.last(z).sin() + x.sum()
        return out


def test_branches_join_a_gate_does_not_and_a_skip_does() -> None:
    wiring = wired(TwoBranches(), torch.randn(1, 3))
    cat, total = "cat(left right)", "+(gated inner)"
    assert named(wiring) == {
        ("x", "first"), ("first", "left"), ("first", "right"), ("left", cat), ("right", cat), (cat, "gated"),
        ("gated", "inner"), ("gated", total), ("inner", total), (total, "last"), ("last", "output"), ("x", "output"),
    }  # fmt: skip
    assert not wiring.carried
    spots = {spot.name: spot for spot in wiring.spots}
    assert (spots["gated"].rows, spots["gated"].columns, spots["gated"].weights) == (16, 8, 128)
    assert [spots[name].kind for name in ("x", "first", "output")] == ["input", "layer", "output"]
    assert Wiring.from_json(json.loads(json.dumps(asdict(wiring)))) == wiring


class Streaming(nn.Module):
    """A filter that remembers what it heard, and a layer that hears what was said a call before."""

    def __init__(self) -> None:
        super().__init__()
        self.filter, self.back, self.head = nn.Conv1d(2, 4, 3), nn.Linear(4, 4), nn.Linear(4, 1)
        self.register_buffer("past", torch.zeros(1, 2, 2))
        self.register_buffer("said", torch.zeros(1, 4))
        self.past: Tensor
        self.said: Tensor

    def forward(self, x: Tensor) -> Tensor:
        longer = torch.cat([self.past, x], dim=2)
        self.past.copy_(longer[:, :, 1:])
        y = torch.tanh(self.filter(longer)[..., 0] + self.back(self.said))
        self.said.copy_(y)
        out: Tensor = self.head(y)
        return out


def test_what_is_carried_leads_back_unless_it_is_a_filters_memory() -> None:
    wiring = wired(Streaming(), torch.randn(1, 2, 1))
    total = "+(back filter)"
    assert named(wiring) == {
        ("x", "filter"), ("filter", total), ("back", total), (total, "head"), ("head", "output")
    }  # fmt: skip
    junction = next(spot.name for spot in wiring.spots if spot.kind == "junction")
    assert wiring.carried == ((junction, "back"),)


class Recurrent(nn.Module):
    def __init__(self, both_ways: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, num_layers=2, bidirectional=both_ways, batch_first=True)
        self.out = nn.Linear(6 if both_ways else 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.lstm(x)[0])
        return out


def test_layers_of_a_recurrent_operator_follow_each_other_and_hear_themselves() -> None:
    wiring = wired(Recurrent(both_ways=False), torch.randn(1, 5, 2))
    ih, hh = ([f"lstm.weight_{kind}_l{layer}" for layer in (0, 1)] for kind in ("ih", "hh"))
    assert set(wiring.edges) == {
        ("x", ih[0]), (ih[0], ih[1]), (hh[0], ih[1]), (ih[1], "out"), (hh[1], "out"), ("out", "output")
    }  # fmt: skip
    assert set(wiring.carried) == {(ih[0], hh[0]), (hh[0], hh[0]), (ih[1], hh[1]), (hh[1], hh[1])}


def test_both_directions_hear_both_of_the_layer_before() -> None:
    wiring = wired(Recurrent(both_ways=True), torch.randn(1, 5, 2))
    back = "lstm.weight_ih_l1_reverse"
    assert {speaker for speaker, name in wiring.edges if name == back} == {
        "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.weight_ih_l0_reverse", "lstm.weight_hh_l0_reverse"
    }  # fmt: skip
    assert ("lstm.weight_hh_l0", "lstm.weight_hh_l0_reverse") not in wiring.carried


class Again(nn.Module):
    """A layer that is used twice, and one that is told of a shape alone."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, shape: Tensor) -> Tensor:
        out: Tensor = self.one(self.two(self.one(x) + torch.zeros_like(shape)))
        return out


def test_a_circle_of_shared_weights_is_cut_where_it_closes() -> None:
    wiring = wired(Again(), torch.randn(1, 4), torch.randn(1, 4))
    assert set(wiring.edges) == {("x", "one"), ("one", "two"), ("one", "output")}
    assert wiring.carried == (("two", "one"),)
