"""What is coupled, and that cutting it out changes nothing but what was cut."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RunError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors
from pochette.graph.run import run
from pochette.graph.trim import Cuts, put, refresh_attributes, resize
from pochette.graph.units import Place, UnitFamily, Units, units_of
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.models.model import Step
from pochette.reduce.structure import Structure
from tests.graph.trimmed import removal

NETWORK = "model.network"


def ddsp(**changes: float) -> tuple[Step, Graph, Units]:
    torch.manual_seed(0)
    step = Step(Ddsp.sized("tiny", **{"hidden": 24, "partials": 12, "noise_bands": 9, **changes}).build().eval())
    graph = capture(step, step.example_inputs())
    return step, graph, units_of(graph)


def family(units: Units, name: str) -> UnitFamily:
    return next(found for found in units.families if found.name == name)


def cuts_of(graph: Graph, chosen: dict[str, list[int]], units: Units, prefix: str = "") -> Cuts:
    """A removal of these units of each family."""
    return Cuts(graph, Remains(units, removal(units, chosen)), prefix)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, what streams carry among them."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def cut_module(module: nn.Module, cuts: Cuts) -> None:
    put(module, cuts.apply(tensors_of(module)))


# -- coupling ----------------------------------------------------------------------------------------------------------


def test_a_recurrent_unit_owns_three_rows_a_column_and_its_memory() -> None:
    _, _, units = ddsp()
    gru = family(units, f"{NETWORK}.gru")
    assert gru.units == 24 and gru.norms == ()
    gates = np.arange(24)[:, None] + np.array([0, 24, 48])
    one = np.arange(24)[:, None]
    expected = {
        Place(f"{NETWORK}.gru.weight_ih_l0", 0): gates,
        Place(f"{NETWORK}.gru.weight_hh_l0", 0): gates,
        Place(f"{NETWORK}.gru.weight_hh_l0", 1): one,
        Place(f"{NETWORK}.gru.bias_ih_l0", 0): gates,
        Place(f"{NETWORK}.gru.bias_hh_l0", 0): gates,
        Place(f"{NETWORK}.out_stack.0.weight", 1): 64 + one,  # behind the two stacks of 32
        Place("state_hidden", 1): one,
    }
    assert set(gru.indices) == set(expected)
    for place, indices in expected.items():
        assert np.array_equal(np.sort(gru.indices[place], axis=1), indices), place


def test_a_unit_of_a_stack_reaches_both_its_readers() -> None:
    _, _, units = ddsp()
    loud = family(units, f"{NETWORK}.loudness_stack.0")
    assert loud.units == 32 and loud.norms == ("model.network.loudness_stack.1",)
    assert loud.indices[Place(f"{NETWORK}.gru.weight_ih_l0", 1)].ravel().tolist() == list(range(32, 64))
    assert loud.indices[Place(f"{NETWORK}.out_stack.0.weight", 1)].ravel().tolist() == list(range(32, 64))
    assert {place.path.rpartition(".")[2] for place in loud.indices} == {"weight", "bias", "weight_ih_l0"}


def test_families_are_all_and_only_the_hidden_ones() -> None:
    _, graph, units = ddsp(stack_layers=2)
    expected = {
        **{f"{NETWORK}.{stack}.{n}": 32 for stack in ("pitch_stack", "loudness_stack", "out_stack") for n in (0, 3)},
        f"{NETWORK}.gru": 24,
    }
    assert {found.name: found.units for found in units.families} == expected
    for found in units.families:
        for place, indices in found.indices.items():
            flat = indices.ravel()
            assert len(set(flat.tolist())) == flat.size and flat.max() < graph.stored[place.path].shape[place.axis]


def test_what_stays_is_explained() -> None:
    _, _, units = ddsp()
    # Outputs go to the synthesiser, inputs are the controls.
    assert units.kept[f"{NETWORK}.head.weight:0"]
    assert units.kept[f"{NETWORK}.pitch_stack.0.weight:1"] == "an input of the model"
    removable = {f"{place.path}:{place.axis}" for found in units.families for place in found.indices}
    # GRU columns and head columns lie in families; no axis of a matrix is left without a word.
    for name, parameter in Ddsp.sized("tiny").build().network.named_parameters():
        for axis in range(parameter.dim()) if parameter.dim() > 1 else ():
            assert f"{NETWORK}.{name}:{axis}" in removable | set(units.kept), (name, axis)


class Mixed(nn.Module):
    """A layer, a recurrent one with a bypass, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.gru = nn.Linear(3, 10), nn.GRU(10, 6, batch_first=True)
        self.second, self.head = nn.Linear(16, 5), nn.Linear(5, 2)
        self.register_buffer("hidden", torch.zeros(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.leaky_relu(self.first(x), 0.2)
        made, hidden = self.gru(y, self.hidden)
        self.hidden.copy_(hidden)
        return self.head(torch.tanh(self.second(torch.cat([y, made], dim=-1))))  # type: ignore[no-any-return]


def masked(module: nn.Module, graph: Graph, chosen: dict[str, list[int]], units: Units) -> nn.Module:
    """The same sizes, but whoever reads a removed unit multiplies it by zero."""
    quiet = deepcopy(module)
    with torch.no_grad():
        for name, numbers in chosen.items():
            for place, owned in family(units, name).indices.items():
                if graph.stored[place.path].kind == "parameter" and place.axis == 1:
                    quiet.get_parameter(place.path)[:, owned[numbers].ravel()] = 0.0
    return quiet


@torch.no_grad()
def test_trimmed_equals_masked_in_a_mixture() -> None:
    module = Mixed()
    graph = capture(module, (torch.zeros(1, 4, 3),))
    units = units_of(graph)
    assert {found.name: found.units for found in units.families} == {"first": 10, "gru": 6, "second": 5}
    chosen = {"first": [0, 9], "gru": [5, 1, 2], "second": [3]}
    quiet = masked(module, graph, chosen, units)
    cut_module(module, cuts_of(graph, chosen, units))
    assert (module.gru.hidden_size, module.gru.input_size, module.hidden.shape) == (3, 8, (1, 1, 3))
    assert (module.first.out_features, module.second.in_features, module.head.in_features) == (8, 11, 4)
    for _ in range(3):  # the state goes on
        x = torch.randn(1, 4, 3)
        assert torch.allclose(module(x), quiet(x), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("removed", [[0], [23], [1, 2, 3, 11, 22], list(range(23))])
def test_trimmed_equals_masked_in_ddsp(removed: list[int]) -> None:
    step, graph, units = ddsp(stack_layers=0)
    assert [found.name for found in units.families] == [f"{NETWORK}.gru"]
    chosen = {f"{NETWORK}.gru": removed}
    quiet = masked(step, graph, chosen, units)
    before = sum(p.numel() for p in step.parameters())
    cut_module(step, cuts_of(graph, chosen, units))
    # Exactly: 3 gates of (2 inputs + h + 2 biases), and one column of the head a unit.
    count = len(removed)
    left = 24 - count
    lost = 3 * (24 * (2 + 24 + 2) - left * (2 + left + 2)) + 22 * count
    assert before - sum(p.numel() for p in step.parameters()) == lost
    model: DdspModel = step.model  # type: ignore[assignment]
    quiet_model: DdspModel = quiet.model  # type: ignore[assignment]
    controls = torch.tensor([300.0, -20.0, 1.0, 2.0]).repeat(1, 50, 1)
    controls[..., 1] += torch.linspace(0, 15, 50)
    assert torch.allclose(model(controls), quiet_model(controls), atol=1e-6)
    step.reset()
    assert step.state_hidden.shape == (1, left)
    pieces = torch.cat([step(row[None]) for row in controls[0]], dim=1)
    assert torch.allclose(pieces, quiet_model(controls), atol=1e-6)
    # And it can be captured, and cut, again.
    assert family(units_of(capture(step, step.example_inputs())), f"{NETWORK}.gru").units == left


def test_the_structure_removes_what_does_not_survive() -> None:
    """Survivors by family, some of them not named at all, come to the same as the units that go."""
    _, graph, units = ddsp(stack_layers=0)
    name = f"{NETWORK}.gru"
    gone = [0, 7, 23]
    remains = Structure(graph, units).remains({name: np.setdiff1d(np.arange(24), gone)})
    assert np.array_equal(remains.removed, removal(units, {name: gone}))
    assert remains.indices(graph.stored[f"{name}.weight_hh_l0"], 1).tolist() == [i for i in range(24) if i not in gone]
    assert remains.shape(graph.stored[f"{name}.weight_hh_l0"]) == (63, 21)


@torch.no_grad()
def test_cutting_twice_is_cutting_once_in_any_order() -> None:
    _, graph, _ = ddsp(stack_layers=0)
    name = f"{NETWORK}.gru"
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.rand(value.shape, generator=generator) + 1.0 for value in graph.inputs]
    results = []
    for batches in ([[1, 5, 9]], [[9], [1, 5]], [[5, 9], [1]]):
        now, left = graph, list(range(24))
        for batch in batches:
            found = units_of(now)
            remains = Remains(found, removal(found, {name: [left.index(number) for number in batch]}))
            now = cut_graph(now, remains, cut_tensors(now, remains))
            left = [number for number in left if number not in batch]
        results.append(now)
    once = results[0]
    assert once.tensors[f"{name}.weight_hh_l0"].shape == (63, 21)
    said = run(once, inputs)
    for other in results[1:]:
        assert all(torch.equal(other.tensors[path], once.tensors[path]) for path in once.stored)
        again = run(other, inputs)
        assert torch.equal(again.outputs[0], said.outputs[0])
        assert all(torch.equal(again.mutations[path], value) for path, value in said.mutations.items())


def test_moments_are_cut_like_their_weights() -> None:
    step, graph, units = ddsp()
    cuts = cuts_of(graph, {f"{NETWORK}.gru": [3, 4]}, units, prefix="model.")
    moments = {name: torch.arange(float(p.numel())).view_as(p) for name, p in step.model.named_parameters()}
    cut = cuts.slices(moments)
    put(step.model, cuts.apply(tensors_of(step.model)))
    for name, parameter in step.model.named_parameters():
        assert cut[name].shape == parameter.shape
    assert cut["network.pitch_stack.0.weight"] is moments["network.pitch_stack.0.weight"]
    column = moments["network.out_stack.0.weight"]
    kept = [i for i in range(88) if i not in (67, 68)]
    assert torch.equal(cut["network.out_stack.0.weight"], column[:, kept])


class Normed(nn.Module):
    """A hidden layer whose reader is weight-normed: |v| runs over what is cut."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 6)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


@torch.no_grad()
def test_weights_are_mended_and_moments_are_not() -> None:
    """Effective weights are slices of the old ones, which takes another gain; a gain's moment is nothing but cut."""
    module = Normed()
    graph = capture(module, (torch.zeros(1, 3),))
    units = units_of(graph)
    cuts = cuts_of(graph, {"first": [0, 4]}, units)
    effective, before = module.head.weight.clone(), tensors_of(module)
    gain, direction = (f"head.parametrizations.weight.original{number}" for number in (0, 1))
    applied, sliced = cuts.apply(before), cuts.slices(before)
    kept = [1, 2, 3, 5]
    assert torch.equal(sliced[gain], before[gain]) and not torch.equal(applied[gain], before[gain])
    assert torch.equal(sliced[direction], before[direction][:, kept])
    put(module, applied)
    assert torch.allclose(module.head.weight, effective[:, kept], atol=1e-6)


@torch.no_grad()
def test_a_trimmed_model_comes_back_from_its_weights() -> None:
    step, graph, units = ddsp()
    cut_module(step, cuts_of(graph, {f"{NETWORK}.gru": [1, 2], f"{NETWORK}.out_stack.0": [0, 31]}, units))
    fresh = Ddsp.sized("tiny", hidden=24, partials=12, noise_bands=9).build()
    stored = {name: value.clone() for name, value in step.model.state_dict().items()}
    resize(fresh, stored)
    controls = torch.tensor([300.0, -20.0, 0.0, 0.0]).repeat(1, 10, 1)
    assert torch.equal(fresh(controls), step.model(controls))
    assert fresh.network.gru.hidden_size == 22 and fresh.network.out_stack[1].normalized_shape == (30,)
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in fresh.parameters())
    stored[next(iter(stored))].zero_()  # what was given stays the giver's
    assert torch.equal(fresh(controls), step.model(controls))


def test_weights_of_another_model_are_refused_and_change_nothing() -> None:
    model = Ddsp.sized("tiny").build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = dict(before)
    other["network.extra"] = torch.zeros(1)
    with pytest.raises(RunError, match=r"network\.extra"):
        resize(model, other)
    # The last one is wrong, after many that would have fitted.
    other = {name: value + 1 for name, value in before.items()}
    last = list(other)[-1]
    other[last] = other[last][None]
    with pytest.raises(RunError, match=f"{last} has 2 axes, not 1"):
        resize(model, other)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_cut_that_fails_changes_nothing() -> None:
    step, graph, units = ddsp()
    cuts = cuts_of(graph, {f"{NETWORK}.gru": [1, 23]}, units)
    before = {name: value.clone() for name, value in step.state_dict().items()}
    other = ddsp(hidden=12)[0]
    with pytest.raises(IndexError):
        cuts.apply(tensors_of(other))
    # The last one has no place in the module, after many that have.
    with pytest.raises(AttributeError, match="extra"):
        put(step, {**cuts.apply(tensors_of(step)), "model.network.extra": torch.zeros(1)})
    after = step.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert step.model.network.gru.hidden_size == 24  # type: ignore[union-attr]


def test_attributes_follow_the_tensors() -> None:
    module = nn.ModuleDict(
        {"linear": nn.Linear(5, 4), "norm": nn.LayerNorm(4), "bare": nn.LayerNorm(4, elementwise_affine=False)}
    )
    module["gru"] = nn.GRU(4, 3, num_layers=2, bidirectional=True)
    with torch.no_grad():
        module["linear"].weight = nn.Parameter(torch.zeros(2, 3))
        module["linear"].bias = nn.Parameter(torch.zeros(2))
        module["norm"].weight = module["norm"].bias = nn.Parameter(torch.ones(2))
    refresh_attributes(module)
    assert (module["linear"].in_features, module["linear"].out_features) == (3, 2)
    assert module["norm"].normalized_shape == (2,) and module["bare"].normalized_shape == (4,)
    assert module["gru"](torch.zeros(5, 1, 4))[0].shape == (5, 1, 6)
    assert module["norm"](module["linear"](torch.zeros(1, 3))).shape == (1, 2)


@torch.no_grad()
def test_a_trimmed_recurrent_layer_still_trains() -> None:
    step, graph, units = ddsp(stack_layers=0)
    cut_module(step, cuts_of(graph, {f"{NETWORK}.gru": [0, 1]}, units))
    with torch.enable_grad():
        step.model(torch.tensor([300.0, -20.0, 0.0, 0.0]).repeat(1, 5, 1)).square().sum().backward()
    for name, parameter in step.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape, name
