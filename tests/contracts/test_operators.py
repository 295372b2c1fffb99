"""Every described operator: its cost counted by hand, its C held against torch, and what may be trimmed around it."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.engine.build import compile_host_library
from pochette.engine.export import write_engine
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.errors import ExportError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.graph.operator import Cost, Operator, description_of, operators
from pochette.graph.ops.pointwise import Elementwise
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors, module_of
from pochette.graph.units import Place, UnitFamily, units_of
from pochette.layers.logistics import draw_logistic
from pochette.layers.reverb import Reverb
from pochette.layers.sampling import draw_code, look_up
from pochette.layers.synthesis import filtered_noise, harmonics, white_noise
from tests.engine.operator_cases import IN_C, c_of

KNOBS = 6
FRAMES = 12


class Example(nn.Module):
    """A step of one expression of the six knobs and some stored numbers; its result is flattened to the sound."""

    def __init__(self, expression: Callable[[Example, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.expression = expression
        self.square = nn.Linear(KNOBS, KNOBS)
        self.plain = nn.Linear(KNOBS, 20, bias=False)
        self.norm = nn.LayerNorm(KNOBS, eps=1e-3)
        self.bare_norm = nn.LayerNorm(KNOBS, elementwise_affine=False)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.gru = nn.GRU(KNOBS, 5, batch_first=True)
        self.late_gru = nn.GRU(KNOBS, 5, bias=False)
        self.row = nn.Parameter(torch.randn(KNOBS))
        self.column = nn.Parameter(torch.randn(3, 1))
        self.block = nn.Parameter(torch.randn(2, 1, KNOBS))
        self.register_buffer("hidden", torch.zeros(1, 1, 5))
        self.register_buffer("phase", torch.tensor([123456789]))
        self.register_buffer("tail", torch.zeros(1, 99))
        self.room = Reverb(30, KNOBS)
        self.register_buffer("history", torch.zeros(1, 29))
        nn.init.normal_(self.room.response)

    def forward(self, x: Tensor) -> Tensor:
        return self.expression(self, x).reshape(1, -1)


def rows(*parts: Tensor) -> Tensor:
    return torch.cat([part[:, None] for part in parts], dim=1)


def recurrent(m: Example, x: Tensor) -> Tensor:
    out, hidden = m.gru(rows(x, 2 * x, -x), m.hidden)
    m.hidden.copy_(hidden)
    return out  # type: ignore[no-any-return]


def time_major(m: Example, x: Tensor) -> Tensor:
    return m.late_gru(torch.cat([x, -x])[:, None], m.hidden)[0]  # type: ignore[no-any-return]


def tone(m: Example, x: Tensor) -> Tensor:
    audio, phase = harmonics(1000 * positive(x[:, :2]), rows(x, 2 * x), x[:, 2] * 0, x * 0, m.phase, 10, 16000)
    m.phase.copy_(phase)
    return audio


def hiss(m: Example, x: Tensor) -> Tensor:
    # 100 taps on a hop of 6: the tail outlives many frames.
    response = torch.cat([x, *[0.1 * x] * 15, x[:, :4]], dim=1)[:, None]
    audio, phase, tail = filtered_noise(response, m.phase, m.tail, 6)
    m.phase.copy_(phase)
    m.tail.copy_(tail)
    return audio


def white(m: Example, x: Tensor) -> Tensor:
    noise, phase = white_noise(m.phase, 6)
    m.phase.copy_(phase)
    return noise * x


def room(m: Example, x: Tensor) -> Tensor:
    audio, history = m.room(x, m.history)
    m.history.copy_(history)
    return audio  # type: ignore[no-any-return]


def drawn(m: Example, x: Tensor) -> Tensor:
    code, counter = draw_code(m.plain(x), positive(x[:, :1]) + 0.5, m.phase)
    m.phase.copy_(counter)
    return look_up(m.plain.weight, code)


def drawn_logistic(m: Example, x: Tensor) -> Tensor:
    sample, counter = draw_logistic(m.plain(x)[:, :18], positive(x[:, :1]) + 0.5, m.phase)
    m.phase.copy_(counter)
    return sample


def positive(x: Tensor) -> Tensor:
    return x * x + 0.01


def comparison(name: str, kind: str) -> tuple[Callable[[Example, Tensor], Tensor], str, dict[str, int]]:
    compare = getattr(getattr(torch.ops.aten, name), kind)

    def expression(m: Example, x: Tensor) -> Tensor:
        return torch.where(compare(x, m.row if kind == "Tensor" else 0.2), x, 2 * x)

    return expression, f"aten.{name}.{kind}", {P: 6}


P, T = "pointwise", "transcendental"
# Name to (an expression, operator it is about, its cost by hand). x is (1, 6), with values of both signs.
EXAMPLES: dict[str, tuple[Callable[[Example, Tensor], Tensor], str, dict[str, int]]] = {
    "add": (lambda m, x: x + m.row, "aten.add.Tensor", {P: 6}),
    "add alpha": (lambda m, x: torch.add(x, m.row, alpha=2.5), "aten.add.Tensor", {P: 6}),
    "add number": (lambda m, x: x + 0.3, "aten.add.Tensor", {P: 6}),
    "add scalar": (lambda m, x: torch.ops.aten.add.Scalar(x, 0.3), "aten.add.Scalar", {P: 6}),
    "sub": (lambda m, x: m.row - x, "aten.sub.Tensor", {P: 6}),
    "sub alpha": (lambda m, x: torch.sub(x, m.row, alpha=-0.5), "aten.sub.Tensor", {P: 6}),
    "sub scalar": (lambda m, x: torch.ops.aten.sub.Scalar(x, -0.3), "aten.sub.Scalar", {P: 6}),
    "mul": (lambda m, x: x * m.row, "aten.mul.Tensor", {P: 6}),
    "mul column": (lambda m, x: x * m.column, "aten.mul.Tensor", {P: 18}),
    "mul block": (lambda m, x: torch.cat([x, 2 * x, 3 * x])[None] * m.block[:1], "aten.mul.Tensor", {P: 12 + 18}),
    "mul of one": (lambda m, x: x[:, 1:2] * x, "aten.mul.Tensor", {P: 6}),
    "mul scalar": (lambda m, x: torch.ops.aten.mul.Scalar(x, -2.0), "aten.mul.Scalar", {P: 6}),
    "div": (lambda m, x: x / m.row, "aten.div.Tensor", {P: 6}),
    "div scalar": (lambda m, x: torch.ops.aten.div.Scalar(x, 3.0), "aten.div.Scalar", {P: 6}),
    "neg": (lambda m, x: -x, "aten.neg.default", {P: 6}),
    "relu": (lambda m, x: torch.relu(x), "aten.relu.default", {P: 6}),
    "leaky": (lambda m, x: nn.functional.leaky_relu(x, 0.2), "aten.leaky_relu.default", {P: 6}),
    "exp": (lambda m, x: torch.exp(x), "aten.exp.default", {T: 6}),
    "log": (lambda m, x: torch.log(positive(x)), "aten.log.default", {T: 6}),
    "log2": (lambda m, x: torch.log2(positive(x)), "aten.log2.default", {T: 6}),
    "tanh": (lambda m, x: torch.tanh(3 * x), "aten.tanh.default", {T: 6}),
    "sigmoid": (lambda m, x: torch.sigmoid(4 * x), "aten.sigmoid.default", {T: 6}),
    "square": (lambda m, x: x**2, "aten.pow.Tensor_Scalar", {P: 6}),
    "cube of negatives": (lambda m, x: x**3, "aten.pow.Tensor_Scalar", {P: 12}),
    # x^2, x^4 = x^2 x^2, x^5 = x^4 x; and one quotient.
    "negative fifth power": (lambda m, x: (2 + x) ** -5, "aten.pow.Tensor_Scalar", {P: 4 * 6}),
    "power": (lambda m, x: torch.sigmoid(x) ** 2.302585, "aten.pow.Tensor_Scalar", {P: 6, T: 12}),
    "where": (lambda m, x: torch.where(x > m.row, x, m.row), "aten.where.self", {P: 6}),
    "where number": (lambda m, x: torch.where(x < 0.1, x, -2.0), "aten.where.ScalarOther", {P: 6}),
    "where number first": (lambda m, x: torch.where(x >= 0.1, 2.0, x), "aten.where.ScalarSelf", {P: 6}),
    "where broadcast": (lambda m, x: torch.where(m.column > 0, x, -x), "aten.where.self", {P: 18}),
    **{f"{name} {kind}": comparison(name, kind) for name in ("lt", "le", "gt", "ge") for kind in ("Tensor", "Scalar")},
    "sum": (lambda m, x: x.sum(-1, keepdim=True) * x, "aten.sum.dim_IntList", {P: 6}),
    "sum rows": (lambda m, x: (x * m.column).sum(1), "aten.sum.dim_IntList", {P: 18}),
    "sum two axes": (lambda m, x: (x * m.block).sum((1, 2), keepdim=True), "aten.sum.dim_IntList", {P: 12}),
    "sum of all": (lambda m, x: (x * m.column).sum() * x, "aten.sum.default", {P: 18}),
    "linear": (lambda m, x: m.square(x), "aten.linear.default", {"macs": 36, P: 6}),
    "linear rows": (lambda m, x: m.plain(x * m.column), "aten.linear.default", {"macs": 360}),
    "layer norm": (lambda m, x: m.norm(x * m.column), "aten.layer_norm.default", {P: 7 * 18, T: 3}),
    "bare norm": (lambda m, x: m.bare_norm(x), "aten.layer_norm.default", {P: 30, T: 1}),
    # A step: W is 15 x 6, U 15 x 5; a unit has 6 biases, r and z one sum each, n a product and a sum, h' three.
    "gru": (recurrent, "aten.gru.input", {"macs": 3 * 165, P: 3 * 5 * 13, T: 3 * 15}),
    "gru time first": (time_major, "aten.gru.input", {"macs": 2 * 165, P: 2 * 5 * 7, T: 2 * 15}),
    "slice": (lambda m, x: x[:, 1:4], "aten.slice.Tensor", {}),
    "slice from the end": (lambda m, x: x[:, -4:-1], "aten.slice.Tensor", {}),
    "slice too far": (lambda m, x: x[:, -99:99], "aten.slice.Tensor", {}),
    "slice of columns": (lambda m, x: (x * m.column)[:, 2:5], "aten.slice.Tensor", {}),
    "select": (lambda m, x: x[:, -2], "aten.select.int", {}),
    "select column": (lambda m, x: (x * m.column)[:, 4], "aten.select.int", {}),
    "unsqueeze": (lambda m, x: x.unsqueeze(-1) * m.column[0], "aten.unsqueeze.default", {}),
    "view": (lambda m, x: x.view(2, 3) * m.column[:, 0], "aten.view.default", {}),
    "reshape of a slice": (
        lambda m, x: (x * m.column)[:, 1:3].reshape(2, 3) * m.column[:, 0],
        "aten._unsafe_view.default",
        {},
    ),
    "squeeze": (lambda m, x: torch.ops.aten.squeeze.dim(x, 0) * m.row, "aten.squeeze.dim", {}),
    "clone": (lambda m, x: x.clone(), "aten.clone.default", {}),
    "cat": (lambda m, x: torch.cat([x, m.row[None], x], dim=0), "aten.cat.default", {}),
    "cat columns": (lambda m, x: torch.cat([x * m.column, m.column], dim=-1), "aten.cat.default", {}),
    "cat inside": (lambda m, x: torch.cat([x * m.block, -x * m.block], dim=1), "aten.cat.default", {}),
    "cat of stored": (lambda m, x: torch.cat([m.row, m.column[:, 0]])[:6] * x, "aten.cat.default", {}),
    "split": (lambda m, x: torch.cat((x * m.column).split([2, 4], 1)[::-1], 1), "aten.split_with_sizes.default", {}),
    "transpose": (lambda m, x: x.transpose(0, 1) * m.row[:1], "aten.transpose.int", {}),
    "harmonics": (tone, "pochette.harmonics.default", {"macs": 2 * 12 * 10, T: 12 * 10}),
    "noise": (hiss, "pochette.filtered_noise.default", {"macs": 600, P: 60}),
    "white noise": (white, "pochette.white_noise.default", {P: 60}),
    "reverb": (room, "pochette.reverb.default", {"macs": 6 * 29, P: 6}),
    "draw": (drawn, "pochette.draw_code.default", {P: 6 * 20, T: 20}),
    "draw logistic": (drawn_logistic, "pochette.draw_logistic.default", {P: 6 * 6 + 8, T: 6 + 3}),
    "look up a draw": (drawn, "pochette.look_up.default", {}),
    "look up a knob": (lambda m, x: look_up(m.plain.weight, 15 * x[:, 0] + 4), "pochette.look_up.default", {}),
}


def test_no_c_lacks_an_example() -> None:
    """Operators that share their C share an example; those without C have tests of their own in tests/graph."""
    operators.load()
    shown = {c_of(operators[operator]) for _, operator, _ in EXAMPLES.values()}
    refused = (Operator.emit, Elementwise.emit)
    elsewhere = {f"pochette.graph.ops.{name}" for files in IN_C.values() for name in files}
    lacking = [name for name in operators.names() if c_of(operators[name]) not in shown]
    lacking = [name for name in lacking if type(operators[name]).__module__ not in elsewhere]
    assert not [name for name in lacking if type(operators[name]).emit not in refused]


class Together(nn.Module):
    """All examples in one engine: one compilation, and one arena in which none may step on another."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Example(expression) for expression, _, _ in EXAMPLES.values())

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


@pytest.fixture(scope="module")
def together() -> tuple[Together, Graph]:
    module = Together()
    return module, capture(module, (torch.zeros(1, KNOBS),))


@pytest.fixture(scope="module")
def sounds(
    together: tuple[Together, Graph], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Tensor, Tensor]]:
    """Example to what torch and what C says, frame by frame."""
    module, graph = together
    rows = torch.round(torch.rand(FRAMES, KNOBS, generator=torch.Generator().manual_seed(0)) * 2000 - 1000) / 1000
    twin = deepcopy(module)  # the graph holds the module's own state, which playing would change
    with torch.no_grad():
        widths = [part(rows[:1]).shape[1] for part in deepcopy(module).parts]
        wanted = torch.cat([twin(row[None]) for row in rows])
    controls = tuple(Control(f"x{i}", "", -1.0, 1.0, 0.0) for i in range(KNOBS))
    engine = write_engine(graph, "example", controls, 16000, wanted.shape[1], 0)
    library = compile_host_library(engine, tmp_path_factory.mktemp("operators"))
    made = torch.from_numpy(run_frames(NativeRunner(library), rows.numpy())).view(FRAMES, -1)
    pairs = zip(wanted.split(widths, dim=1), made.split(widths, dim=1), strict=True)
    return dict(zip(EXAMPLES, pairs, strict=True))


@pytest.mark.parametrize("name", EXAMPLES)
def test_cost_is_what_a_hand_counts(name: str, together: tuple[Together, Graph]) -> None:
    _, operator, by_hand = EXAMPLES[name]
    place = f"parts.{list(EXAMPLES).index(name)}."
    inside = [node for node in together[1].nodes if f"{node.layer}.".startswith(place)]
    nodes = [node for node in inside if node.op == operator]
    assert nodes, f"captured as {[node.op for node in inside]}"
    total = sum((description_of(node).cost(node) for node in nodes), Cost())
    assert total == Cost(**by_hand)


@pytest.mark.parametrize("name", EXAMPLES)
def test_c_says_what_torch_says(name: str, sounds: dict[str, tuple[Tensor, Tensor]]) -> None:
    wanted, made = sounds[name]
    assert torch.isfinite(wanted).all() and wanted.abs().max() > 0
    assert (made - wanted).abs().max() <= 1e-6 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        (lambda m, x: x * torch.rand(6), "random"),
        (lambda m, x: (1 + x).to(torch.complex64).pow(7).abs(), "power 7"),
        (lambda m, x: x + float("inf"), "inf"),
        (lambda m, x: torch.lgamma(x), "lgamma"),
        (lambda m, x: x * (m.phase // 2**31), "whole numbers"),
    ],
)
def test_what_c_cannot_do_is_refused_not_guessed(expression: Callable[[Example, Tensor], Tensor], match: str) -> None:
    module = Example(expression)
    module.phase.copy_(torch.tensor([3]))
    example = (torch.ones(1, KNOBS),)
    mutating = Example(lambda m, x: (m.phase.add_(1), expression(m, x))[1]) if match == "whole numbers" else module
    with pytest.raises(ExportError, match=match):
        write_engine(capture(mutating, example), "no", (Control("x", "", 0, 1, 0),), 16000, 6, 0)


# -- trimmed equals masked ---------------------------------------------------------------------------------------------


class Between(nn.Module):
    """Eight hidden features, made by one layer, sent through the operator, read by another."""

    def __init__(self, middle: Callable[[Tensor, Tensor], Tensor], width: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.middle = middle
        self.maker, self.other = nn.Linear(3, 8), nn.Linear(3, 8)
        self.reader = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.middle(self.maker(x), self.other(x)))  # type: ignore[no-any-return]


# Each says how many units there are and how many readers' columns one of them owns.
MIDDLES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int, dict[str, int]]] = {
    "leaky": (lambda a, b: nn.functional.leaky_relu(a, 0.2), 8, {"maker": 8}),
    "sum of two": (lambda a, b: a + b, 8, {"maker": 8}),
    "gate": (lambda a, b: torch.tanh(a) * torch.sigmoid(b), 8, {"maker": 8}),
    "where": (lambda a, b: torch.where(a > 0, a, b), 8, {"maker": 8}),
    "beside": (lambda a, b: torch.cat([a, b], dim=-1), 16, {"maker": 8, "other": 8}),
    "doubled": (lambda a, b: torch.cat([a, a, b], dim=-1), 24, {"maker": 8, "other": 8}),
    "broadcast": (lambda a, b: a * b[..., :1], 8, {"maker": 8}),
    "under an axis": (lambda a, b: a.unsqueeze(1)[:, -1] ** 2, 8, {"maker": 8}),
    "reshaped": (lambda a, b: a.view(a.shape[0], 1, -1).squeeze(1), 8, {"maker": 8}),
}


def removed(module: nn.Module, x: Tensor, family: UnitFamily, units: list[int]) -> nn.Module:
    graph = capture(module, (x,))
    found = units_of(graph)
    gone = np.zeros(found.unit.max() + 1, np.bool_)
    gone[family.numbers[units]] = True
    remains = Remains(found, gone)
    return module_of(cut_graph(graph, remains, cut_tensors(graph, remains)), module.state_dict(), frozenset())


@torch.no_grad()
def masked(module: nn.Module, family: UnitFamily, units: list[int]) -> nn.Module:
    """Readers no longer listen: their columns of these units are zero."""
    quiet = deepcopy(module)
    for place, owned in family.indices.items():
        if place.axis == 1:
            quiet.get_parameter(place.path)[:, owned[units].ravel()] = 0.0
    return quiet


@pytest.mark.parametrize("name", MIDDLES)
def test_trimmed_equals_masked(name: str) -> None:
    middle, width, expected = MIDDLES[name]
    module = Between(middle, width)
    x = torch.randn(5, 3)
    families = units_of(capture(module, (x,))).families
    assert {family.name: family.units for family in families} == expected
    for family in families:
        units = [1, 4, 7]
        smaller = removed(module, x, family, units)
        assert torch.allclose(smaller(x), masked(module, family, units)(x), atol=1e-6)
        assert not torch.allclose(smaller(x), module(x), atol=1e-3)
        for place, owned in family.indices.items():
            before = module.get_parameter(place.path).shape[place.axis]
            assert smaller.get_parameter(place.path).shape[place.axis] == before - owned[units].size


@pytest.mark.parametrize(
    ("middle", "width", "why"),
    [
        (lambda a, b: torch.topk(a, 8)[0], 8, "topk.default tells its indices apart"),
        (lambda a, b: a.roll(1, 1), 8, "shifted by a fixed number of places"),
        (lambda a, b: torch.fft.fft(a).real, 8, "transformed"),
        (lambda a, b: a[:, [3, 0]], 2, "looked up by number"),
        (lambda a, b: nn.functional.pad(a, (1, 0)), 9, "padded"),
    ],
)
def test_what_cannot_be_trimmed_says_why(middle: Callable[[Tensor, Tensor], Tensor], width: int, why: str) -> None:
    units = units_of(capture(Between(middle, width), (torch.randn(5, 3),)))
    assert "maker" not in [family.name for family in units.families]
    assert re.search(why, units.kept["maker.weight:0"])


def test_where_trimming_is_not_exact_it_says_so() -> None:
    module, x = Between(lambda a, b: a / (1 + (a * a).sum(-1, keepdim=True)), 8), torch.randn(5, 3)
    (found,) = units_of(capture(module, (x,))).families
    assert not torch.allclose(removed(module, x, found, [1])(x), masked(module, found, [1])(x), atol=1e-4)
    assert len(found.norms) == 1
    plain = units_of(capture(Between(MIDDLES["gate"][0], 8), (x,))).families
    assert [found.norms for found in plain] == [()]


def test_places_are_named_after_the_state_dictionary() -> None:
    family = units_of(capture(Between(MIDDLES["leaky"][0], 8), (torch.randn(5, 3),))).families[0]
    assert set(family.indices) == {Place("maker.weight", 0), Place("maker.bias", 0), Place("reader.weight", 1)}
    for owned in family.indices.values():
        assert owned.tolist() == [[i] for i in range(8)]
