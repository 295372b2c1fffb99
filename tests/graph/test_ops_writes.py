"""Writes into slices: what is written goes with what was there, and what runs along time keeps no channel whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pochette.graph.capture import capture
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
}


@pytest.mark.parametrize("name", WRITES)
def test_written_is_cut_like_masked(name: str) -> None:
    run, families = WRITES[name]
    graph = check(network(run), torch.randn(2, 2, 20), expected=families)
    assert any("scatter" in node.op for node in graph.nodes)
    for op in {node.op.removeprefix("aten.") for node in graph.nodes if node.op in (COPY, *SCATTERS)}:
        assert cost(graph, op).pointwise == cost(graph, op).macs == 0


COPY, SCATTERS = "aten.copy.default", ("aten.slice_scatter.default", "aten.select_scatter.default")


def test_every_other_channel_stays_whole() -> None:
    units = units_of(capture(network(every_other_channel), (torch.randn(1, 2, 20),)))
    assert units.families == () and units.kept["one.weight:0"] == "written at fixed places"


def test_a_module_that_writes_is_made_smaller_itself() -> None:
    smaller = trim(network(along_time), (torch.randn(1, 2, 20),), keep=0.5)
    assert smaller.trim_report.form == "module" and smaller.one.weight.shape == (6, 2, 3)
    assert smaller(torch.randn(3, 2, 31)).shape == (3, 1, 31)
