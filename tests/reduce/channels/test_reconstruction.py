"""What readers hear, against the operators themselves; and networks that are thinned and set right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.errors import ReductionError
from pochette.graph.copying import copy_of
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.models.model import Excerpt
from pochette.reduce.channels.choosing import Chooser, forward_selected, greedily_removed, lasso_selected
from pochette.reduce.channels.consumers import consumers_of, rows_of, seen
from pochette.reduce.channels.reconstruction import How, Mending, reconstructed
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of, trim_model

READERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv1d(6, 4, 1, bias=False),
    "dilated": lambda: nn.Conv1d(6, 4, 3, dilation=2, bias=False),
    "strided": lambda: nn.Conv1d(6, 4, 4, stride=2, padding=1, bias=False),
    "transposed": lambda: nn.ConvTranspose1d(6, 4, 5, stride=3, padding=1, output_padding=1, bias=False),
    "normed": lambda: weight_norm(nn.Conv1d(6, 4, 3, bias=False)),
}


class Read(nn.Module):
    """A hidden layer, its reader, and a last layer, so that the reader's outputs are hidden too."""

    def __init__(self, reader: nn.Module) -> None:
        super().__init__()
        self.made, self.reader = nn.Conv1d(2, 6, 1), reader

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(torch.tanh(self.made(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", READERS)
def test_rows_times_weights_are_what_the_reader_puts_out(kind: str) -> None:
    torch.manual_seed(0)
    module = Read(READERS[kind]()).double().eval()
    x = torch.randn(2, 2, 20).double()
    structure = Structure.of(module, (x,))
    family = next(f for f in structure.families if f.name == "made")
    (consumer,) = consumers_of(structure, family)
    graph = structure.graph
    weight = Observed(module, graph).tensors[consumer.place.path]
    data = seen(graph, [use.data for use in consumer.uses], [(x,)])
    rows = rows_of(consumer, data, tuple(weight.shape[2:]), 10**6, 0)
    found = np.einsum("ruf,ufo->ro", rows, consumer.weights(weight))
    expected = module(x).movedim(1, -1).reshape(-1, 4).detach().numpy()
    assert found == pytest.approx(expected, abs=1e-12)
    assert torch.equal(consumer.with_weights(weight, consumer.weights(weight)), weight)


def test_both_products_of_a_recurrent_layer_are_readers() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.gru, self.head = nn.Linear(2, 5), nn.GRU(5, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(torch.tanh(self.front(x)))[0])  # type: ignore[no-any-return]

    module, x = Net(), torch.randn(1, 7, 2)
    structure = Structure.of(module, (x,))
    read = {f.name: {c.place.path for c in consumers_of(structure, f)} for f in structure.families}
    assert read == {"front": {"gru.weight_ih_l0"}, "gru": {"gru.weight_hh_l0", "head.weight"}}


def test_units_that_no_plain_product_reads_are_refused() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made, self.reader = nn.Conv1d(2, 4, 1), nn.Conv1d(4, 4, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(torch.tanh(self.made(x)))  # type: ignore[no-any-return]

    structure = Structure.of(Grouped(), (torch.randn(1, 2, 9),))
    with pytest.raises(ReductionError) as refused:
        consumers_of(structure, structure.families[0])
    assert "filters" in refused.value.remedy


def repeating() -> DdspModel:
    """A DDSP network whose hidden units come in pairs of equals, so that half of them say everything."""
    torch.manual_seed(0)
    model = Ddsp(hidden=8, stack_width=10, stack_layers=0, partials=6, noise_bands=5).build().eval()
    gru = model.network.gru
    with torch.no_grad():
        for tensor in (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0):
            tensor[1::2] = tensor[::2]
        for weight, first in ((gru.weight_hh_l0, 0), (model.network.head.weight, 2)):
            weight[:, first + 1 :: 2] = weight[:, first::2]
    return model


def sound(model: DdspModel, seed: int = 0) -> Excerpt:
    rng = torch.Generator().manual_seed(seed)
    frames = 80
    return {
        "audio": torch.randn(4, frames * model.hop_samples, generator=rng),
        "f0_hz": 100.0 + 400.0 * torch.rand(4, frames, generator=rng),
        "loudness_db": -60.0 * torch.rand(4, frames, generator=rng),
    }


@pytest.mark.parametrize("mend", ["factors", "weights"])
def test_what_is_said_twice_goes_without_a_trace(mend: Mending) -> None:
    """Of each pair one stays, and readers count it twice: on sound that was never watched the network is the same."""
    model = repeating()
    structure = structure_of(model)
    (name,) = structure.whole
    ready, survivors = reconstructed(model, {name: 4}, [sound(model)], How(forward_selected, mend))
    assert sorted(number // 2 for number in survivors[name].tolist()) == [0, 1, 2, 3]
    smaller, _, _ = trim_model(ready, survivors=survivors, structure=structure)
    unaided, _, _ = trim_model(model, survivors=survivors, structure=structure)
    heard = model.controls_of(sound(model, seed=1))
    # Single precision, and directions of the data that are nearly silent, set the first bound.
    assert distance(smaller, model, heard) < 2e-3
    assert distance(unaided, model, heard) > 0.1


def distance(one: nn.Module, other: nn.Module, controls: Tensor) -> float:
    with torch.no_grad():
        first, second = (m.trim_form()[0](controls) for m in (one, other))  # type: ignore[operator]
    return float((first - second).norm() / second.norm())


@pytest.mark.parametrize(("choose", "mend"), [(greedily_removed, "factors"), (lasso_selected, "weights")])
def test_several_layers_come_out_nearer_to_what_they_were(choose: Chooser, mend: Mending) -> None:
    torch.manual_seed(0)
    model = Ddsp(hidden=16, stack_width=12, stack_layers=1, partials=6, noise_bands=5).build().eval()
    before = copy_of(model).state_dict()
    structure = structure_of(model)
    counts = {name: max(1, units // 2) for name, units in structure.whole.items()}
    ready, survivors = reconstructed(model, counts, [sound(model), sound(model, 1)], How(choose, mend))
    smaller, _, report = trim_model(ready, survivors=survivors, structure=structure)
    unaided, _, _ = trim_model(model, survivors=survivors, structure=structure)
    heard = model.controls_of(sound(model, seed=2))
    assert distance(smaller, model, heard) < 0.5 * distance(unaided, model, heard)
    assert {family.name: family.after for family in report.families} == counts
    assert all(torch.equal(before[path], tensor) for path, tensor in model.state_dict().items())
