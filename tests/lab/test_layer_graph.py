"""How networks are drawn: nothing overlaps, lines lead to the right, and what is too large is folded."""

from __future__ import annotations

import re
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pochette.lab.layer_graph import MOST, layer_graph
from pochette.lab.wiring_layout import ROOM, _apart, columns_of, folded, laid_out
from pochette.measure.wiring import Spot, Wiring


def layer(name: str) -> Spot:
    return Spot(name, "layer", rows=4, columns=3, weights=12)


@st.composite
def wirings(draw: st.DrawFn) -> Wiring:
    """Any directed graph without circles, its spots not in its order."""
    size = draw(st.integers(2, 14))
    names = [f"net.{number}" for number in range(size)]
    pairs = [(names[a], names[b]) for b in range(size) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30))
    kinds = draw(st.lists(st.sampled_from(["layer", "junction"]), min_size=size, max_size=size))
    spots = [Spot(name, kind, "+", weights=1) for name, kind in zip(names, kinds, strict=True)]
    return Wiring(tuple(draw(st.permutations(spots))), tuple(edges), ())


@given(wirings())
@settings(max_examples=60, deadline=None)
def test_edges_lead_to_the_right_and_nothing_overlaps(wiring: Wiring) -> None:
    column, layout = columns_of(wiring), laid_out(wiring)
    assert min(column.values()) >= 0 and all(column[speaker] < column[name] for speaker, name in wiring.edges)
    kinds = {spot.name: spot.kind for spot in wiring.spots}
    columns: dict[float, list[str]] = {}
    for name, (x, _) in layout.at.items():
        columns.setdefault(x, []).append(name)
    for names in columns.values():
        spans = sorted((layout.at[n][1] - ROOM[kinds.get(n, "way")][0], layout.at[n][1] + ROOM[kinds.get(n, "way")][1])
                       for n in names)  # fmt: skip
        assert all(one[1] <= other[0] + 1e-6 for one, other in pairwise(spans))
        assert spans[0][0] >= -1e-6 and spans[-1][1] <= layout.height + 1e-6
    for speaker, name in wiring.edges:
        assert _leads(speaker, name, layout.pieces), "the pieces of an edge join its ends"
    assert all(layout.at[one][0] < layout.at[other][0] for one, other in layout.pieces)


def _leads(speaker: str, name: str, pieces: tuple[tuple[str, str], ...]) -> bool:
    waiting = [speaker]
    while waiting:
        here = waiting.pop()
        for one, other in pieces:
            if one == here and other == name:
                return True
            if one == here and "\n" in other:
                waiting.append(other)
    return False


@given(wirings(), st.integers(10, 12))
@settings(max_examples=60, deadline=None)
def test_folding_keeps_the_bound_and_closes_no_circle(wiring: Wiring, most: int) -> None:
    small, notes = folded(wiring, most)
    assert len(small.spots) <= most and bool(notes) == (len(wiring.spots) > most)
    column = columns_of(small)
    assert all(column[speaker] < column[name] for speaker, name in small.edges)
    assert sum(spot.weights for spot in small.spots) == sum(spot.weights for spot in wiring.spots)


def test_the_nearest_places_that_do_not_overlap() -> None:
    room = [(1.0, 1.0)] * 3
    assert _apart([0.0, 5.0, 9.0], room) == [0.0, 5.0, 9.0]
    assert _apart([3.0, 3.0, 3.0], room) == pytest.approx([1.0, 3.0, 5.0])
    assert _apart([0.0, 0.0, 9.0], room) == pytest.approx([-1.0, 1.0, 9.0])


def chain(blocks: int) -> Wiring:
    """Residual blocks of two layers and a sum."""
    spots, edges, last = [Spot("x", "input"), layer("net.first")], [("x", "net.first")], "net.first"
    for number in range(blocks):
        one, two, total = f"net.stack.{number}.wide", f"net.stack.{number}.narrow", f"junction {number}"
        spots += [layer(one), layer(two), Spot(total, "junction", "+")]
        edges += [(last, one), (one, two), (two, total), (last, total)]
        last = total
    spots += [layer("net.head"), Spot("output", "output")]
    return Wiring(tuple(spots), (*edges, (last, "net.head"), ("net.head", "output")), (("net.head", "net.head"),))


def test_blocks_that_repeat_are_folded_into_one() -> None:
    small, notes = folded(chain(40), MOST)
    assert notes == ["net.stack.1 to 38: 76 layers are drawn as one."]
    fold = next(spot for spot in small.spots if spot.kind == "fold")
    assert fold.weights == 76 * 12 and len(small.spots) == 12
    assert ("junction 0", fold.name) in small.edges and small.carried == (("net.head", "net.head"),)
    assert folded(chain(4), MOST) == (chain(4), [])


def test_the_picture_names_every_layer() -> None:
    wiring = chain(3)
    svg, notes = layer_graph("dense", asdict(wiring), {"net.first": {"effective_density": 0.25}})
    titles = re.findall(r"<title>(.*?)</title>", svg)
    assert len(titles) == len(wiring.spots) and not notes
    assert "net.first: 4 × 3, 12 weights, 25.0\u202f% of them alive and on a way from input to output" in titles
    assert titles.count("a sum") == 3 and ">stack.2.narrow</text>" in svg and ">net.first</text>" not in svg
    assert svg.count("stroke-dasharray") == 1, "the one edge that is carried"
    assert "style=" not in svg, "the page's policy forbids styles of its own"


def test_names_cannot_write_into_the_page() -> None:
    evil = Spot("<script>.x", "layer", rows=1, columns=1, weights=1)
    svg, _ = layer_graph("dense", asdict(Wiring((evil,), (), ())), {})
    assert "<script>" not in svg and "&lt;script&gt;" in svg
