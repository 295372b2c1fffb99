"""What only one side of a choice reads: computed where it is taken, skipped elsewhere, the same sound in any order."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine import core
from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.elsewhere import EngineElsewhere
from pochette.engine.guards import WORTH_OPERATIONS, Guards, find_guards
from pochette.engine.precision import Precision
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.layers.generator import uniform_noise
from tests.engine.together import Step, compile_together

WIDTH, TIME = 32, 24
Body = Callable[["Choosing", Tensor, Tensor], Tensor]


class Choosing(nn.Module):
    """Layers and states for a step that takes a signal and two numbers which decide."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self.one, self.two, self.three = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.lstm = nn.LSTM(WIDTH, WIDTH)
        self.conv, self.short = nn.Conv1d(4, 4, 5), nn.Conv1d(4, 8, 3)
        self.up = nn.ConvTranspose1d(8, 4, 4, stride=2)
        for name in ("first", "second"):
            self.register_buffer(name, torch.zeros(1, WIDTH))
        self.register_buffer("h", torch.zeros(1, 1, WIDTH))
        self.register_buffer("c", torch.zeros(1, 1, WIDTH))
        self.register_buffer("past", torch.zeros(1, 4, 4))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor, decides: Tensor) -> Tensor:
        return self.body(self, x, decides)


def deep(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.tanh(layer(torch.tanh(layer(x)))) + 0.5 * layer(x)


def one_side(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    return torch.where(d[:, :1] > 0, deep(m.one, x), 0.25)


def both_sides(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    return torch.where(d[0, 0] > 0, deep(m.one, x), deep(m.two, x))


def nested(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    shared = deep(m.one, x)
    inner = torch.where(d[:, 1:] > 0, deep(m.two, shared), shared)
    return torch.where(d[:, :1] > 0, inner, deep(m.three, x))


def asked_of_what_is_guarded(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    """The inner condition is made within the outer choice; the outer one of what the inner choice reads too."""
    shared = deep(m.one, x)
    inner = torch.where(shared[:, :1] > 0, deep(m.two, shared), 0.0)
    return torch.where(d[:, :1] + shared[:, 1:2] > 0, inner, 0.0)


def two_readers(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    """Copies of what lies turned are made for whoever comes first, and another reader comes in other cases."""
    turned = m.one(x).view(1, 4, 8).transpose(1, 2)
    heard = torch.where(d[:, :1] > 0, deep(m.two, turned.reshape(1, WIDTH)), 0.0)
    return heard + m.three(turned.reshape(1, WIDTH)) + turned.reshape(1, WIDTH)


def states(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    y, z = deep(m.one, x + m.first), deep(m.two, x + m.second)
    on = d[:, :1] > 0
    heard = torch.where(on, y, m.second)
    m.first.copy_(torch.where(on, y, m.first))
    m.second.copy_(torch.where(d[:, 1:] > 0, m.second, z))
    return heard


def exchanged(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    """Each state may take over the other's old value."""
    on, y = d[:, :1] > 0, deep(m.one, x)
    heard = torch.where(on, y, 0.0)
    first = torch.where(on, m.second, m.first)
    m.second.copy_(torch.where(on, y + m.first, m.second))
    m.first.copy_(first)
    return heard + m.first


def recurrent(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    y, (h, c) = m.lstm(x[None], (m.h, m.c))
    on = d[:, :1] > 0
    m.h.copy_(torch.where(on, h, m.h))
    m.c.copy_(torch.where(on, c, m.c))
    return torch.where(on, y[0], 0.5)


def with_a_past(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    """What is heard goes into a line of memory in every call, what is made of it is not always needed."""
    whole = torch.cat([m.past, torch.tanh(x.view(1, 4, 8))], dim=2)
    m.past.copy_(whole[..., -4:])
    made = torch.relu(m.conv(whole) + whole[..., :8])
    made = m.up(torch.relu(m.short(made)))[..., :8]
    return torch.where(d[:, :1] > 0, made.reshape(1, WIDTH), m.one(x))


def with_a_kept_past(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    on = d[:, :1] > 0
    whole = torch.cat([m.past, torch.tanh(m.one(x).view(1, 4, 8))], dim=2)
    m.past.copy_(torch.where(on[..., None], whole[..., -4:], m.past))
    return torch.where(on, m.conv(whole).reshape(1, WIDTH), 0.0)


def drawn(m: Choosing, x: Tensor, d: Tensor) -> Tensor:
    """A stream of noise goes on while nobody hears it."""
    noise = uniform_noise(m.count, WIDTH)
    on = (m.count // WIDTH) % 3 != 1
    m.count.add_(WIDTH)
    return torch.where(on[:, None], deep(m.one, noise + x), 0.0)


BODIES: dict[str, Body] = {
    body.__name__: body
    for body in (one_side, both_sides, nested, asked_of_what_is_guarded, two_readers, states, exchanged, recurrent,
                 with_a_past, with_a_kept_past, drawn)
}  # fmt: skip


def calls(count: int = 20) -> list[tuple[Tensor, Tensor]]:
    """Signals, and two numbers that change their signs independently."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(1, WIDTH, generator=generator), torch.randn(1, 2, generator=generator)) for _ in range(count)]


def choosing(name: str) -> Choosing:
    torch.manual_seed(0)
    return Choosing(BODIES[name]).eval()


def graph_of(name: str) -> Graph:
    return capture(choosing(name), calls(1)[0])


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    modules = {name: (choosing(name), calls(1)[0]) for name in BODIES}
    found = compile_together(modules, tmp_path_factory.mktemp("guards"))
    return {name: step for name, step in found.items() if isinstance(step, Step)}


@pytest.mark.parametrize("name", BODIES)
@torch.no_grad()
def test_what_is_skipped_is_not_missed(name: str, steps: dict[str, Step]) -> None:
    """The engine's memory is full of NaN to begin with, so that what is read without having been made is heard."""
    module = choosing(name)
    _, guards = find_guards(graph_of(name))
    assert guards.of
    for x, decides in calls():
        made = steps[name](x, decides)[0]
        assert torch.allclose(made, module(x, decides), rtol=0, atol=1e-5), name


@pytest.mark.parametrize("name", ["nested", "states", "with_a_past"])
@torch.no_grad()
def test_strict_engines_skip_with_the_same_bits_everywhere(name: str) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    module = choosing(name)
    here = compile_engine(deepcopy(module), calls(1)[0], name="choosing", strict=True)
    others = [EngineElsewhere(here, machine) for machine in ("wasm", "cortex-m7")]
    for x, decides in calls(8):
        made = np.asarray(here.process(x.numpy(), decides.numpy()))
        assert np.abs(made - module(x, decides).numpy()).max() <= 1e-5
        for other in others:
            assert np.array_equal(np.asarray(other.process(x.numpy(), decides.numpy())), made)


@pytest.mark.parametrize("precision", ["int8", "float16"])
@torch.no_grad()
def test_engines_of_fewer_bits_skip_with_the_bits_of_one_that_does_not(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> Engine:
        return compile_engine(choosing("nested"), calls(1)[0], name="nested", strict=True, precision=precision)

    skips = made()
    monkeypatch.setattr(core, "find_guards", lambda graph: (graph, Guards()))
    does_not = made()
    assert ["only where" in engine.sources["nested.c"] for engine in (skips, does_not)] == [True, False]
    for x, decides in calls():
        given = x.numpy(), decides.numpy()
        assert np.array_equal(np.asarray(skips.process(*given)), np.asarray(does_not.process(*given)))
        assert np.abs(skips.twin.process(x, decides)[0].numpy() - skips.process(*given)).max() <= 1e-4


def test_a_skipped_call_costs_little_and_one_test() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    board = EngineElsewhere(compile_engine(choosing("one_side"), calls(1)[0], name="one"), "cortex-m7", counting=True)
    x = calls(1)[0][0].numpy()
    heard, skipped = (board.count(x, np.full((1, 2), sign, np.float32)).instructions for sign in (1.0, -1.0))
    assert skipped < 0.15 * heard
    # What stands together under one condition is written under one.
    source = compile_engine(choosing("one_side"), calls(1)[0], name="one").sources["one.c"]
    assert source.count("only where") == 1


def test_what_is_always_needed_is_always_computed() -> None:
    """Only the inner choice's own layer waits for a condition that is made of the outer choice's."""
    ordered, guards = find_guards(graph_of("asked_of_what_is_guarded"))
    waiting = {node.layer for node in ordered.nodes if guards.cases(node) and node.op == "aten.linear.default"}
    assert waiting == {"two"}
    cases = {node.layer: guards.cases(node) for node in ordered.nodes if node.op == "aten.linear.default"}
    assert [len(cases[layer]) for layer in ("one", "two")] == [0, 2]
    place = {id(value): number for number, node in enumerate(ordered.nodes) for value in node.outputs}
    for number, node in enumerate(ordered.nodes):
        read = [*node.inputs(), *(case.condition for case in guards.cases(node))]
        assert all(place.get(id(value), -1) < number for value in read)
        # Whoever reads a guarded value is guarded alike, but for the choice that it is a side of.
        for value in node.inputs():
            maker = next((each for each in ordered.nodes if value in each.outputs), None)
            if maker is not None and node.op.split(".")[1] != "where":
                assert set(guards.cases(maker)) <= set(guards.cases(node))


def test_a_state_that_is_kept_is_not_written() -> None:
    graph = graph_of("states")
    ordered, guards = find_guards(graph)
    assert {path: case.holds for path, case in guards.kept.items()} == {"first": True, "second": False}
    # The choices between new and old are gone; the one that is heard stays.
    assert [node.op.split(".")[1] for node in ordered.nodes].count("where") == 1


class Small(nn.Module):
    """A choice that spares so many products."""

    def __init__(self, products: int) -> None:
        super().__init__()
        self.layer = nn.Linear(10, products // 10, bias=False)

    def forward(self, x: Tensor, d: Tensor) -> Tensor:
        return torch.where(d > 0, self.layer(x), 0.0)


def test_what_is_hardly_worth_it_is_left_as_it_is() -> None:
    for products in (WORTH_OPERATIONS - 10, WORTH_OPERATIONS):
        graph = capture(Small(products).eval(), (torch.zeros(1, 10), torch.zeros(1, 1)))
        ordered, guards = find_guards(graph)
        assert bool(guards.of) == (products == WORTH_OPERATIONS) == (ordered is not graph)


class Everywhere(nn.Module):
    """Conditions of many elements, and one that no call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("fixed", torch.ones(1))

    def forward(self, x: Tensor, d: Tensor) -> Tensor:
        y = torch.where(x > 0, self.layer(x), 0.0)
        return torch.where(self.fixed > 0.5, self.layer(y), 0.0)


def test_other_conditions_guard_nothing() -> None:
    graph = capture(Everywhere().eval(), calls(1)[0])
    ordered, guards = find_guards(graph)
    assert ordered is graph and not guards.of and not guards.kept
