"""Writes into slices: what is written goes with what was there, and what runs along time keeps no channel whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pochette.graph.capture import capture
from pochette.graph.operator import Cost
from pochette.graph.units import units_of
from pochette.reduce import trim
from tests.graph.trimmed import Network, check, cost

Run = Callable[[Tensor, Tensor], Tensor]


def along_time(y: Tensor, z: Tensor) -> Tensor:
    y[:, :, 1:] = z[:, :, :-1]
    return y


def added(y: Tensor, z: Tensor) -> Tensor:
    y[:, :, 3:] += z[:, :, :-3]
    return y


def scaled(y: Tensor, z: Tensor) -> Tensor:
    y[..., :4] *= 0.5
    return y + z


def interleaved(y: Tensor, z: Tensor) -> Tensor:
    out = y.new_zeros(y.shape)
    out[:, :, ::2] = y[:, :, ::2]
    out[:, :, 1::2] = z[:, :, 1::2]
    return out


def one_place(y: Tensor, z: Tensor) -> Tensor:
    y[:, :, 2] = z[:, :, 5]
    return y


def spread(y: Tensor, z: Tensor) -> Tensor:
    y[:, :, 2:6] = z.mean(-1, keepdim=True)
    return y


def overlapped(y: Tensor, z: Tensor) -> Tensor:
    """Frames added up, as an inverse of short-time transforms does."""
    out = torch.zeros(y.shape[0], 12, y.shape[2] + 4, dtype=y.dtype)
    for start in range(0, y.shape[2] - 7, 4):
        out[:, :, start : start + 8] += y[:, :, start : start + 8] * z[:, :, start : start + 8]
    return out


def copied(y: Tensor, z: Tensor) -> Tensor:
    y.narrow(2, 0, 4).copy_(z[:, :, :4])
    return y


def half_the_channels(y: Tensor, z: Tensor) -> Tensor:
    y[:, :6] = z[:, 6:] + z[:, :6]
    return y


def some_channels_added(y: Tensor, z: Tensor) -> Tensor:
    y[:, 2:8] += z[:, 2:8]
    return y + z


def every_other_channel(y: Tensor, z: Tensor) -> Tensor:
    y[:, ::2] = z[:, ::2]
    return y + z


def network(run: Run) -> Network:
    return Network(
        lambda m, x: m.head(run(torch.tanh(m.one(x)), torch.tanh(m.two(x)))),
        one=nn.Conv1d(2, 12, 3, padding=1),
        two=nn.Conv1d(2, 12, 3, padding=1),
        head=nn.Conv1d(12, 1, 1),
    )


NUMBERS = torch.tensor([4, 0, 7])


def index_copied(y: Tensor, z: Tensor) -> Tensor:
    return y.index_copy(2, NUMBERS, z[:, :, :3])


def index_added(y: Tensor, z: Tensor) -> Tensor:
    return y.index_add(2, NUMBERS, z[:, :, :3])


def index_filled(y: Tensor, z: Tensor) -> Tensor:
    return z + y.index_fill(2, NUMBERS, 0.0)


def put(y: Tensor, z: Tensor) -> Tensor:
    y[:, :, NUMBERS] = z[:, :, :3]
    return y


def put_apart(y: Tensor, z: Tensor) -> Tensor:
    y[torch.tensor([0, 1]), :, NUMBERS[:2]] = z[:, :, 3]
    return y


def scattered(y: Tensor, z: Tensor) -> Tensor:
    return y.scatter(2, NUMBERS.expand(2, 12, 3), z)


def scatter_added(y: Tensor, z: Tensor) -> Tensor:
    return y.scatter_add(2, NUMBERS.expand(2, 12, 3), z)


# Units of each family.
WRITES: dict[str, tuple[Run, dict[str, int]]] = {
    "along time": (along_time, {"one": 12}),
    "added": (added, {"one": 12}),
    "scaled": (scaled, {"one": 12}),
    "interleaved": (interleaved, {"one": 12}),
    "one place": (one_place, {"one": 12}),
    "spread": (spread, {"one": 12}),
    "overlapped": (overlapped, {"one": 12}),
    "copied": (copied, {"one": 12}),
    # Channel c of `two` goes with c + 6, and with c of `one`, which is written over; the others of `one` are free.
    "half the channels": (half_the_channels, {"one": 6, "one#2": 6}),
    "some channels added": (some_channels_added, {"one": 12}),
    "index_copy": (index_copied, {"one": 12}),
    "index_add": (index_added, {"one": 12}),
    "index_fill": (index_filled, {"one": 12}),
    "index_put": (put, {"one": 12}),
    "index_put apart": (put_apart, {"one": 12}),
    "scatter": (scattered, {"one": 12}),
    "scatter_add": (scatter_added, {"one": 12}),
}


@pytest.mark.parametrize("name", WRITES)
def test_written_is_cut_like_masked(name: str) -> None:
    run, families = WRITES[name]
    graph = check(network(run), torch.randn(2, 2, 20), expected=families)
    assert any("scatter" in node.op or "index_" in node.op for node in graph.nodes)
    for op in {node.op.removeprefix("aten.") for node in graph.nodes if node.op in (COPY, *SCATTERS)}:
        assert cost(graph, op).pointwise == cost(graph, op).macs == 0


COPY, SCATTERS = "aten.copy.default", ("aten.slice_scatter.default", "aten.select_scatter.default")


@pytest.mark.parametrize(
    ("run", "op", "additions"),
    [
        (index_copied, "index_copy.default", 0),
        (index_added, "index_add.default", 2 * 12 * 3),
        (index_filled, "index_fill.int_Scalar", 0),
        (put, "index_put.default", 0),
        (scatter_added, "scatter_add.default", 2 * 12 * 3),
    ],
)
def test_additions_alone_are_counted(run: Run, op: str, additions: int) -> None:
    graph = capture(network(run), (torch.randn(2, 2, 20),))
    assert cost(graph, op) == Cost(pointwise=additions)


def test_numbered_channels_stay_whole() -> None:
    units = units_of(capture(network(lambda y, z: y.index_copy(1, NUMBERS, z[:, :3])), (torch.randn(1, 2, 20),)))
    assert units.families == () and units.kept["one.weight:0"] == "written by number"


def test_every_other_channel_stays_whole() -> None:
    units = units_of(capture(network(every_other_channel), (torch.randn(1, 2, 20),)))
    assert units.families == () and units.kept["one.weight:0"] == "written at fixed places"


def test_a_module_that_writes_is_made_smaller_itself() -> None:
    smaller = trim(network(along_time), (torch.randn(1, 2, 20),), keep=0.5)
    assert smaller.trim_report.form == "module" and smaller.one.weight.shape == (6, 2, 3)
    assert smaller(torch.randn(3, 2, 31)).shape == (3, 1, 31)
