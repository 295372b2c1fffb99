"""Sizes and costs of any number of units left, against the network that is really cut to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.operator import description_of
from pochette.graph.rewrite import cut_graph, cut_tensors, module_of
from pochette.graph.run import run
from pochette.measure import profile
from pochette.reduce import trim
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import TrimReport
from tests.graph import oracle
from tests.graph.networks import CASES, Case

NAMES = [
    "causal dilated Conv1d",
    "grouped Conv1d",
    "ConvTranspose1d",
    "weight_norm, parametrization",
    "GLU",
    "U-Net",
    "WaveNet with skip sums",
    "a layer used twice",
    "auto-encoder with tied weights",
    "GRU, state in a buffer",
    "GRUCell in a loop",
    "LSTM, projected",
    "nn.MultiheadAttention",
    "multi-head attention by hand",
]
NAMED = {case.name: case for case in CASES}
SOME = [pytest.param(NAMED[name], id=name) for name in NAMES]
# These multiply data with data, or are no matrices for PyTorch's counter.
UNCOUNTED = {"LSTM, projected", "nn.MultiheadAttention", "multi-head attention by hand"}
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


def structure_of(case: Case) -> Structure:
    return Structure.of(case.network(), case.example())


def some(structure: Structure, seed: int) -> dict[str, int]:
    """A number of units left in each family, from one to all."""
    generator = np.random.default_rng(seed)
    return {name: int(generator.integers(1, units + 1)) for name, units in structure.whole.items()}


def cut_to(structure: Structure, counts: dict[str, int]) -> tuple[int, int, nn.Module]:
    """Learnt numbers and multiply-accumulates of learnt matrices of the graph that is cut, and a module of it."""
    remains = structure.remains({name: np.arange(count) for name, count in counts.items()})
    smaller = cut_graph(structure.graph, remains, cut_tensors(structure.graph, remains))
    paths = {value.path for value in smaller.of_kind("parameter")}
    numbers = sum(smaller.tensors[path].numel() for path in paths)
    learnt = {id(value) for value in smaller.of_kind("parameter") if len(value.shape) > 1}
    macs = 0
    for node in smaller.nodes:
        inputs = [id(value) for value in node.inputs()]
        if inputs and any(item in learnt for item in inputs):
            macs += description_of(node).cost(node).macs
            # A norm, a transpose or a sum of weights is a weight.
            fixed = {id(value) for value in smaller.stored.values() if value.kind != "state"}
            if all(item in learnt | fixed for item in inputs):
                learnt.update(id(value) for value in node.outputs)
    return numbers, macs, module_of(smaller, {}, frozenset(paths))


@pytest.mark.parametrize("case", SOME)
def test_sizes_and_costs_are_those_of_the_cut_network(case: Case) -> None:
    structure = structure_of(case)
    choices = [structure.whole, dict.fromkeys(structure.whole, 1), *(some(structure, seed) for seed in range(4))]
    for counts in choices:
        numbers, macs, module = cut_to(structure, counts)
        assert structure.parameters(counts) == numbers == sum(p.numel() for p in module.parameters())
        assert structure.matrix_macs(counts) == macs
        if case.name not in UNCOUNTED:
            assert structure.matrix_macs(counts) == oracle.pytorch_macs(module, case.example())
    assert structure.parameters() == structure.parameters(structure.whole)
    assert structure.matrix_macs() == structure.matrix_macs(structure.whole)
    if case.name not in UNCOUNTED:
        assert structure.matrix_macs() == case.macs(case.width)


@pytest.mark.parametrize("case", SOME)
def test_reports_say_the_sizes_of_the_trimmed_module(case: Case) -> None:
    module = case.network()
    smaller = trim(module, case.example(), keep=0.5)
    report: TrimReport = smaller.trim_report  # type: ignore[assignment]
    assert report.parameters_before == sum(p.numel() for p in module.parameters())
    assert report.parameters_after == sum(p.numel() for p in smaller.parameters())
    if case.name not in UNCOUNTED:
        assert report.macs_after == oracle.pytorch_macs(smaller, case.example())


WITH_PRODUCTS_OF_SIGNALS = (
    "attention pooling over time",
    "hypernetwork",
    "transformer encoder layer",
    "low-rank correction of a weight",
    "complex weights",
    "outer product",
)


@pytest.mark.parametrize("name", [*WITH_PRODUCTS_OF_SIGNALS, *(case.values[0].name for case in SOME)])
def test_reports_count_what_the_profile_counts(name: str) -> None:
    """Products of two signals too, in either form of the result."""
    case = NAMED[name]
    module = case.network()
    smaller = trim(module, case.example(), keep=0.5)
    report: TrimReport = smaller.trim_report  # type: ignore[assignment]
    assert report.macs_before == profile(module, case.example(), reach=False).macs
    assert report.macs_after == profile(smaller, case.example(), reach=False).macs < report.macs_before


@pytest.mark.parametrize("case", SOME)
def test_marginal_costs_are_differences_of_cut_networks(case: Case) -> None:
    structure = structure_of(case)
    counts = {name: max(2, count) for name, count in some(structure, 5).items()}
    numbers, macs, _ = cut_to(structure, counts)
    expected_bytes, expected_macs = {}, {}
    for name in structure.whole:
        fewer, cheaper, _ = cut_to(structure, {**counts, name: counts[name] - 1})
        expected_bytes[name], expected_macs[name] = 4 * (numbers - fewer), macs - cheaper
    assert structure.marginal(counts, "bytes") == pytest.approx(expected_bytes)
    assert structure.marginal(counts, "operations") == pytest.approx(expected_macs)


def test_nobody_named_means_everybody_stays() -> None:
    structure = structure_of(NAMED["U-Net"])
    remains = structure.remains({name: np.arange(units) for name, units in structure.whole.items()})
    assert not remains.removed.any()
    smaller = cut_graph(structure.graph, remains, cut_tensors(structure.graph, remains))
    inputs = NAMED["U-Net"].example()
    assert torch.equal(run(smaller, inputs).outputs[0], run(structure.graph, inputs).outputs[0])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_the_largest_share_within_a_target(share: float) -> None:
    structure = structure_of(NAMED["U-Net"])
    target = share * structure.matrix_macs()
    keep = structure.keep_for(target)
    assert structure.matrix_macs(structure.uniform(keep)) <= target
    assert structure.matrix_macs(structure.uniform(min(1.0, keep + 1e-6))) > target
    assert structure.keep_for(structure.least_macs()) >= 0.0
    with pytest.raises(ReductionError, match="one unit in every layer") as caught:
        structure.keep_for(structure.least_macs() - 1)
    assert caught.value.remedy


def test_shares_that_are_multiples() -> None:
    structure = structure_of(NAMED["causal dilated Conv1d"])
    for keep in (0.01, 0.3, 0.5, 0.99):
        for name, count in structure.uniform(keep, 4).items():
            whole = structure.whole[name]
            assert count % 4 == 0 or count == whole
            assert max(1, round(keep * whole)) <= count < max(1, round(keep * whole)) + 4


def test_nothing_to_remove_says_why() -> None:
    with pytest.raises(ReductionError, match="No unit") as caught:
        Structure.of(nn.Linear(3, 8), (torch.zeros(2, 3),))
    assert "weight" in caught.value.remedy and "an input of the model" in caught.value.remedy


class Styled(nn.Module):
    """Three convolutions whose inputs a style scales, or whose filters it does: the same network twice."""

    def __init__(self, filters: bool) -> None:
        super().__init__()
        self.filters, self.first = filters, nn.Conv1d(1, 8, 3, padding=1)
        self.styles = nn.ModuleList(nn.Linear(4, 8) for _ in range(3))
        self.weights = nn.ParameterList(torch.randn(8, 8, 3) for _ in range(3))
        self.last = nn.Conv1d(8, 1, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y = self.first(x)
        batch, _, time = y.shape
        for style, weight in zip(self.styles, self.weights, strict=True):
            gains = style(z)
            if self.filters:
                turned = (weight[None] * gains[:, None, :, None]).flatten(0, 1)
                made = nn.functional.conv1d(y.reshape(1, -1, time), turned, padding=1, groups=batch)
                y = torch.relu(made.view(batch, -1, time))
            else:
                y = torch.relu(nn.functional.conv1d(y * gains[:, :, None], weight, padding=1))
        return self.last(y)  # type: ignore[no-any-return]


def test_filters_that_data_set_cost_what_others_cost() -> None:
    inputs = (torch.randn(2, 1, 16), torch.randn(2, 4))
    plain, filters = (Structure.of(Styled(way), inputs) for way in (False, True))
    assert filters.macs_by_parameter() == plain.macs_by_parameter()
    assert filters.macs_by_parameter()["weights.0"] == 2 * 16 * 8 * 8 * 3
    assert filters.matrix_macs() == plain.matrix_macs()
