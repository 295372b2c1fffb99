"""The short way to a program gives the graph that PyTorch's own two traces give."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from pochette.graph import program
from pochette.graph.capture import capture
from pochette.graph.graph import Graph, Value
from tests.graph.networks import CASES
from tests.graph.networks.case import Net

X = torch.linspace(-1.0, 1.0, 72).reshape(2, 6, 6)


def written(graph: Graph) -> list[Any]:
    """All of a graph but the names of what it computes."""
    numbers: dict[int, int] = {}

    def plain(arg: Any) -> Any:
        if not isinstance(arg, Value):
            return repr(arg)
        return numbers.setdefault(id(arg), len(numbers)), arg.shape, arg.dtype, arg.kind, arg.path

    def of(args: Any) -> Any:
        return tree_map(plain, args, is_leaf=lambda arg: isinstance(arg, Value))

    nodes = [(node.op, of(list(node.args)), of(list(node.outputs)), node.layer) for node in graph.nodes]
    return [of(list(graph.fed)), *nodes, of(list(graph.returned)), of(graph.mutations), of(graph.stored), graph.form]


def both(monkeypatch: pytest.MonkeyPatch, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Graph, Graph, int]:
    """The graph by the short way and by the long one, and how often the short way fell back on the long one."""
    own, falls = program._functional, []

    def counted(exported: Any) -> Any:
        falls.append(exported)
        return own(exported)

    with monkeypatch.context() as patch:
        patch.setattr(program, "_functional", counted)
        short = capture(module, inputs)
    with monkeypatch.context() as patch:
        patch.setattr(program, "_without_effect", lambda fx_node: False)
        return short, capture(module, inputs), len(falls)


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case.name)
def test_networks(monkeypatch: pytest.MonkeyPatch, case: Any) -> None:
    short, long, _ = both(monkeypatch, case.network(), case.example())
    assert written(short) == written(long)


def linear() -> nn.Linear:
    return nn.Linear(6, 6)


def tied() -> nn.ModuleList:
    layers = nn.ModuleList([linear(), linear()])
    layers[1].weight = layers[0].weight
    return layers


def statistics() -> dict[str, Any]:
    return {"mean": torch.zeros(6), "variance": torch.ones(6)}


def several(m: Any, x: Tensor) -> Any:
    y = m.layer(x)
    return y, y, None, 3, {"again": y.flatten(), "contiguous": y.contiguous()}, x.reshape(72)


def pieces(m: Any, x: Tensor) -> Tensor:
    return torch.cat([*x.chunk(4, 1), *x.split([2, 4], 1), *x.tensor_split(4, 1)[1:]], 1)[:, ::2]


def state() -> dict[str, Any]:
    return {"line": torch.arange(36.0).reshape(6, 6), "mean": torch.zeros(6), "other": torch.ones(6)}


def carried(m: Any, x: Tensor) -> Tensor:
    """A line of delays and a mean: written in another order than they stand, one from other strides."""
    y = torch.cat([m.line[1:], x[0, :1]]) + m.mean.view(2, 3).flatten()
    level = y.mean(0)
    m.mean.copy_(level)
    m.line.copy_(y.mT)
    return y * 2 + level


def handed_on(m: Any, x: Tensor) -> Tensor:
    before = m.line[0].clone()
    m.line.copy_(x[0])
    m.mean.copy_(before)
    return x * 2


def read_again(m: Any, x: Tensor) -> Tensor:
    m.mean.copy_(x[0, 0])
    return m.mean + x


def read_through_a_view(m: Any, x: Tensor) -> Tensor:
    view = m.line.reshape(36)[6:12].chunk(2)[1]
    m.line.copy_(x[0])
    return x[..., :3] * view


def returned_through_a_view(m: Any, x: Tensor) -> Tensor:
    view = m.line.mT
    m.line.copy_(x[0])
    return view


def handed_on_late(m: Any, x: Tensor) -> Tensor:
    m.line.copy_(x[0])
    m.mean.copy_(m.line[0])
    return x * 2


def given_on(m: Any, x: Tensor) -> Tensor:
    """What is written is no result of a computation: an input, and another state."""
    m.line.copy_(x[0])
    m.other.copy_(m.mean)
    return x * 2


def spread(m: Any, x: Tensor) -> Tensor:
    m.line.copy_(x[0, 0])
    return x * 2


def converted(m: Any, x: Tensor) -> Tensor:
    m.mean.copy_(x[0, 0].double())
    return x * 2


def written_twice(m: Any, x: Tensor) -> Tensor:
    m.mean.copy_(x[0, 0])
    m.mean.copy_(x[0, 1])
    return x * 2


def written_in_part(m: Any, x: Tensor) -> Tensor:
    m.line[2:].copy_(x[0, 2:])
    return x * 2


SHORT: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "several results": (several, {"layer": linear()}),
    "unchanged": (lambda m, x: x, {}),
    "nothing to convert": (lambda m, x: x.float().contiguous().to(x) * 2, {}),
    "conversions": (lambda m, x: x.to(torch.float64).type_as(x).half().float(), {}),
    "pieces": (pieces, {}),
    "detached": (lambda m, x: m.layer(x).detach() * 2, {"layer": linear()}),
    "tied weights": (lambda m, x: m.layers[1](m.layers[0](x)), {"layers": tied()}),
    "axes moved": (
        lambda m, x: x.movedim(0, 1).swapaxes(1, 2).mT.flatten(1).unflatten(1, (3, -1)).reshape(2, -1).contiguous(),
        {},
    ),
    "copies and views": (lambda m, x: (x.mT.reshape(72), x.reshape(2, 36), x[0].expand(2, 6, 6).contiguous()), {}),
    "dropouts": (lambda m, x: F.dropout(x, 0.5, training=True) + F.dropout1d(x, 0.5, training=False), {}),
    "random": (lambda m, x: x + torch.rand_like(x) + torch.randn(2, 6, 6), {}),
    "batch norm": (lambda m, x: F.batch_norm(x, m.mean, m.variance), statistics()),
    "attention": (lambda m, x: m.part(x, x, x)[0], {"part": nn.MultiheadAttention(6, 2)}),
    "state": (carried, state()),
    "state handed on": (handed_on, state()),
    "state given on": (given_on, state()),
    "GRU": (lambda m, x: m.part(x)[0], {"part": nn.GRU(6, 4, 2, bidirectional=True)}),
}
LONG: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "constants": (lambda m, x: x * torch.tensor([1.0, 2, 3, 4, 5, 6]) + torch.tensor(2.0), {}),
    "written in place": (lambda m, x: torch.relu_(m.layer(x)), {"layer": linear()}),
    "what was written, used": (lambda m, x: m.mean.copy_(x[0, 0]) + x, statistics()),
    "state read again": (read_again, state()),
    "state read through a view": (read_through_a_view, state()),
    "state returned through a view": (returned_through_a_view, state()),
    "state handed on too late": (handed_on_late, state()),
    "state written twice": (written_twice, state()),
    "state spread": (spread, state()),
    "state converted": (converted, state()),
    "state written in part": (written_in_part, state()),
    "statistics written": (lambda m, x: F.batch_norm(x, m.mean, m.variance, training=True), statistics()),
    "noted conjugate": (lambda m, x: torch.fft.hfft(torch.fft.ihfft(x)), {}),
}


@pytest.mark.parametrize("name", [*SHORT, *LONG])
def test_calls_that_come_apart(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    run, parts = {**SHORT, **LONG}[name]
    short, long, falls = both(monkeypatch, Net(run, **parts), (X,))
    assert written(short) == written(long)
    assert falls == (name in LONG)


def test_settings_are_as_before_even_after_a_failure() -> None:
    def settings() -> tuple[bool, bool]:
        return gc.isenabled(), torch.fx.config.do_not_emit_stack_traces

    before = settings()
    assert before == (True, False)
    for run in (lambda m, x: x * 2, lambda m, x: x if x.sum() > 0 else -x):
        try:
            program.program_of(Net(run), (X,))
        except Exception:
            assert settings() == before
    assert settings() == before
