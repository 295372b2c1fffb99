"""From module to graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ExportError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.models.ddsp import Ddsp
from pochette.models.model import Step


class Counter(nn.Module):
    """One layer in use, one not; a state that is read and written, one that is only read, one that nobody needs."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)
        self.register_buffer("state", torch.ones(1, 3), persistent=False)
        self.register_buffer("table", torch.arange(3.0))
        self.register_buffer("forgotten", torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        wasted = torch.tanh(self.unused(x))
        torch.exp(wasted)
        y = self.used(x) + self.state * self.table
        self.state.copy_(y[:, :3])
        return torch.relu(y)


@pytest.fixture
def graph() -> Graph:
    return capture(Counter(), (torch.zeros(1, 3),))


def test_what_nothing_needs_is_dropped(graph: Graph) -> None:
    ops = [node.op for node in graph.nodes]
    assert "aten.tanh.default" not in ops and "aten.exp.default" not in ops
    assert ops.count("aten.linear.default") == 1
    assert set(graph.stored) == {"used.weight", "used.bias", "state", "table"}


def test_tensors_have_their_kinds(graph: Graph) -> None:
    assert [value.shape for value in graph.inputs] == [(1, 3)]
    assert {value.path for value in graph.of_kind("parameter")} == {"used.weight", "used.bias"}
    assert [value.path for value in graph.of_kind("state")] == ["state"] == list(graph.mutations)
    assert [value.path for value in graph.of_kind("constant")] == ["table"]
    assert graph.tensors["state"].tolist() == [[1.0, 1.0, 1.0]]
    assert [value.bytes for value in graph.stored.values()] == [36, 12, 12, 12]


def test_every_argument_is_filled_in(graph: Graph) -> None:
    add = next(node for node in graph.nodes if node.op == "aten.add.Tensor")
    assert len(add.args) == 3 and add.args[2] == 1  # alpha
    linear = next(node for node in graph.nodes if node.op == "aten.linear.default")
    assert linear.layer == "used" and [value.path for value in linear.inputs()] == ["", "used.weight", "used.bias"]
    without = capture(nn.Linear(2, 2, bias=False), (torch.zeros(2),))
    assert without.nodes[0].args[2] is None


def test_nodes_stand_in_an_order_that_works(graph: Graph) -> None:
    known = {id(value) for value in [*graph.inputs, *graph.stored.values()]}
    for node in graph.nodes:
        assert all(id(value) in known for value in node.inputs()), node
        known.update(id(value) for value in node.outputs)
    assert all(id(value) in known for value in [*graph.outputs, *graph.mutations.values()])


def test_recurrent_layers_and_synthesis_stay_whole() -> None:
    step = Step(Ddsp.sized("tiny").build())
    graph = capture(step, step.example_inputs())
    ops = [node.op for node in graph.nodes]
    for op in ("aten.gru.input", "pochette.harmonics.default", "pochette.filtered_noise.default"):
        assert ops.count(op) == 1
    gru = next(node for node in graph.nodes if node.op == "aten.gru.input")
    assert gru.layer == "model.network.gru" and len(gru.outputs) == 2
    assert [value.path.rpartition(".")[2] for value in gru.args[2]] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0",
    ]  # fmt: skip
    wanted = {"hidden", "previous_f0_hz", "previous_amplitudes", "phase", "noise_counter", "noise_tail"}
    assert set(graph.mutations) == {f"state_{name}" for name in wanted}


def test_capturing_leaves_no_trace() -> None:
    module = Counter()
    module.train()
    module.used.eval()
    before = {name: value.clone() for name, value in module.named_buffers()}
    capture(module, (torch.ones(1, 3),))
    assert module.training and not module.used.training and module.unused.training
    assert all(torch.equal(before[name], value) for name, value in module.named_buffers())


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


@pytest.mark.parametrize(("module", "op"), [(Scaled(), "aten.item"), (Masked(), "aten.index")])
def test_shapes_and_numbers_that_the_data_decide_are_refused(module: nn.Module, op: str) -> None:
    with pytest.raises(ExportError, match=f"What {op}.* depends on the values of tensors"):
        capture(module, (torch.ones(2, 3),))


def test_inputs_may_be_a_list_or_one_tensor_and_nothing_else() -> None:
    x = torch.zeros(1, 3)
    for given in ((x,), [x], x):
        assert len(capture(nn.Linear(3, 2), given).nodes) == 1  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="are a dict, not a tuple"):
        capture(nn.Linear(3, 2), {"x": x})  # type: ignore[arg-type]


def test_lazy_layers_are_to_be_called_first() -> None:
    lazy = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(4))
    with pytest.raises(ExportError, match=r"1\.weight has no values yet") as caught:
        capture(lazy, (torch.zeros(1, 3),))
    assert caught.value.where == "1" and "Call the network once" in caught.value.remedy
    lazy(torch.zeros(1, 3))
    assert len(capture(lazy, (torch.zeros(1, 3),)).nodes) == 2


class WritesItsInput(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        y.mul_(2)
        return x + y


@pytest.mark.parametrize(
    ("module", "name"),
    [(WritesItsInput(), "y"), (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)), "input")],
)
def test_a_forward_that_writes_into_its_inputs_is_refused(module: nn.Module, name: str) -> None:
    """A graph gives results and state back; to a caller's tensors it does nothing."""
    inputs = tuple(torch.ones(2, 3) for _ in range(1 + (name == "y")))
    with pytest.raises(ExportError, match=f"writes into what it is given, {name}") as caught:
        capture(module, inputs)
    assert "inplace=True" in caught.value.remedy
    assert torch.equal(inputs[0], torch.ones(2, 3))


def test_what_cannot_be_followed_is_said_and_leaves_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    module = Branching().train()
    with pytest.raises(ExportError, match=r"torch\.export cannot follow") as caught:
        capture(module, (torch.zeros(2),))
    assert caught.value.where == "Branching" and module.training and "torch.where" in caught.value.remedy
    assert capfd.readouterr() == ("", "")


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


class ByNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy((x * 2).detach().numpy())


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 4)), {nn.Linear})  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:.*quanti:DeprecationWarning", "ignore:.*quanti:UserWarning")
@pytest.mark.parametrize(
    ("build", "inputs", "remedy"),
    [
        (Packed, (torch.zeros(2, 5, 3), torch.tensor([5, 3])), "padded sequence itself"),
        (ByNumpy, (torch.zeros(2, 3),), "with torch throughout"),
        (quantised, (torch.zeros(2, 3),), "before it was quantised"),
    ],
)
def test_the_remedy_is_that_of_the_cause(build: Any, inputs: tuple[Tensor, ...], remedy: str) -> None:
    with pytest.raises(ExportError, match=r"torch\.export cannot follow") as caught:
        capture(build(), inputs)
    assert remedy in caught.value.remedy
