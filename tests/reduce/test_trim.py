"""`trim` where it cannot do what is asked: it says why and what to do, and the module is as it was."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ExportError, PochetteError, ReductionError
from pochette.families import criteria
from pochette.reduce import trim
from pochette.reduce.comparing import SteadyDraws
from pochette.reduce.evidence import needs_data

X = (torch.linspace(-1.0, 1.0, 24).reshape(2, 3, 4),)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(3, 6, 1), nn.Dropout(0.5), nn.Tanh(), nn.Conv1d(6, 4, 1), nn.ReLU(), nn.Conv1d(4, 2, 1)
    )


class Branching(nn.Module):
    """Does one thing or another by what it hears."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Conv1d(3, 6, 1), nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.head(y if y.sum() > 0 else -y)  # type: ignore[no-any-return]


def state(module: nn.Module) -> tuple[list[Any], dict[str, Tensor]]:
    """Mode, sizes and every tensor, gradients among them."""
    parts = [(name, part.training, repr(part), sorted(vars(part))) for name, part in module.named_modules()]
    tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}
    tensors |= {f"{n}.grad": p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    return parts, tensors


def refused(module: nn.Module, match: str, kind: type[PochetteError] = ReductionError, **asked: Any) -> PochetteError:
    """What `trim` says; every part of the module must be as before, its dropouts still training."""
    module.train()
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    parts, tensors = state(module)
    with pytest.raises(kind, match=match) as caught:
        trim(module, X, **asked)
    assert caught.value.remedy
    now, after = state(module)
    assert now == parts
    assert after.keys() == tensors.keys() and all(torch.equal(after[name], tensors[name]) for name in tensors)
    return caught.value


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"keep": 0}, "keep is 0"),
        ({"keep": 1}, "keep is 1"),
        ({"keep": 2}, "keep is 2"),
        ({"keep": -0.5}, "keep is -0.5"),
        ({"keep": float("nan")}, "keep is nan"),
        ({"keep": "x"}, "keep is 'x'"),
        ({"keep": None}, "keep is None"),
        ({"scope": "everywhere"}, "no scope called 'everywhere'"),
        ({"scope": "global", "scaling": "loudness"}, "no scaling called 'loudness'"),
        ({"multiple_of": 0}, "multiple_of is 0"),
        ({"multiple_of": 1.5}, "multiple_of is 1.5"),
        ({"multiple_of": True}, "multiple_of is True"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"data": [(1, 2)]}, "inputs of a batch of data are of type int"),
        ({"keep": 0.99}, "removes none"),
        ({"keep": 0.5, "multiple_of": 64}, "multiples of 64"),
    ],
    ids=str,
)
def test_impossible_requests(asked: dict[str, Any], match: str) -> None:
    assert refused(network(), match, **asked).remedy


def test_an_unknown_criterion_names_those_there_are() -> None:
    error = refused(network(), "beauty", PochetteError, criterion="beauty")
    assert "magnitude" in str(error)


@pytest.mark.parametrize("name", [name for name in criteria.names() if needs_data(criteria[name])])
def test_criteria_of_data_without_data(name: str) -> None:
    assert "data=" in refused(network(), "no data was given", criterion=name).remedy
    refused(network(), "no data was given", criterion=name, data=[])


def test_a_gradient_without_a_loss() -> None:
    error = refused(network(), "gradient of a loss", criterion="gradient", data=[(X[0], torch.zeros(2, 2, 4))])
    assert "loss=" in error.remedy


def test_weights_that_are_not_numbers() -> None:
    module = network()
    with torch.no_grad():
        module[0].weight[1] = float("inf")
        module[0].weight[1, 0] = float("nan")
    with pytest.raises(ReductionError, match="not finite") as caught:
        trim(module, X)
    assert caught.value.where == "0" and caught.value.remedy


def test_a_scaling_that_would_change_nothing() -> None:
    error = refused(network(), "would change nothing", scaling="operations")
    assert 'scope="global"' in error.remedy


def test_what_torch_export_refuses() -> None:
    error = refused(Branching(), "torch.export cannot follow", ExportError)
    assert "torch.where" in error.remedy


def test_inputs_the_network_does_not_run_at() -> None:
    module = network()
    before = deepcopy(module.state_dict())
    with pytest.raises(ExportError) as caught:
        trim(module, (torch.zeros(2, 5, 4),))
    assert caught.value.remedy
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("thing", [torch.tanh, network().state_dict(), "network", None], ids=lambda x: type(x).__name__)
def test_what_is_no_module(thing: Any) -> None:
    with pytest.raises(ReductionError, match=r"is no torch\.nn\.Module") as caught:
        trim(thing, X)
    assert caught.value.remedy


@pytest.mark.parametrize("made", [torch.jit.script, lambda m: torch.jit.trace(m.eval(), X)], ids=["script", "trace"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scripted_module(made: Callable[[nn.Module], Any]) -> None:
    scripted = made(network())
    before = {name: tensor.clone() for name, tensor in scripted.state_dict().items()}
    with pytest.raises(ReductionError, match="TorchScript") as caught:
        trim(scripted, X)
    assert "made from" in caught.value.remedy
    assert all(torch.equal(tensor, before[name]) for name, tensor in scripted.state_dict().items())


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv1d(3, 8, 1)),
        nn.Sequential(nn.Tanh()),
        nn.Sequential(nn.Conv1d(3, 1, 1), nn.Conv1d(1, 2, 1)),
    ],
    ids=["one layer", "no weights", "one hidden unit"],
)
def test_nothing_to_remove(module: nn.Module) -> None:
    assert refused(module, "No unit of this model can be removed").remedy


def test_what_was_refused_can_be_asked_for_better() -> None:
    """The same module after a refusal: trimmed, in the mode it was in, the given one untouched."""
    module = network()
    refused(module, "keep is 2", keep=2)
    parts, tensors = state(module)
    smaller = trim(module, X, keep=0.5, multiple_of=2)
    assert smaller.training and smaller[1].training  # type: ignore[index]
    assert [tuple(p.shape) for p in smaller.parameters() if p.dim() > 1] == [(4, 3, 1), (2, 4, 1), (2, 2, 1)]
    now, after = state(module)
    assert now == parts and all(torch.equal(after[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("name", criteria.names())
def test_every_criterion_with_data_and_loss(name: str) -> None:
    """A frame or a tuple as inputs, and a network left as it was, gradients included."""
    module = network()
    module[0] = nn.utils.parametrizations.weight_norm(module[0])
    parts, tensors = state(module)
    target = torch.linspace(0.0, 1.0, 16).reshape(2, 2, 4)
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.randn(2, 3, 4, generator=generator), target),
        ((torch.randn(3, 3, 9, generator=generator),), torch.randn(3, 2, 9)),
    ]
    smaller = trim(module, X, 0.5, name, "global", data=data, loss=nn.functional.mse_loss)
    assert smaller(X[0]).shape == (2, 2, 4)
    assert sum(family.after for family in smaller.trim_report.families) == 5  # type: ignore[union-attr]
    now, after = state(module)
    assert now == parts and after.keys() == tensors.keys()
    assert all(torch.equal(after[key], tensors[key]) for key in tensors)


class Heads(nn.Module):
    """Attention with its number of heads written down, by the fused operator, and noise where asked."""

    def __init__(self, *, noise: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.out, self.noise = nn.Linear(16, 2), noise

    def forward(self, x: Tensor) -> Tensor:
        if self.noise:
            x = x + torch.randn_like(x)
        batch, time, width = x.shape
        q, k, v = (part(x).view(batch, time, 4, width // 4).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, time, -1))


@pytest.mark.parametrize("noise", [False, True])
def test_operators_that_may_draw_are_checked_like_all_others(noise: bool) -> None:
    """The module with fewer rows would run, as four narrow heads in place of two: another function."""
    torch.manual_seed(1)
    network, x = Heads(noise=noise).eval(), torch.randn(2, 9, 16)
    with torch.no_grad():
        network.q.weight.mul_(4.0)
    smaller = trim(network, (x,), keep=0.5)
    kept = next(indices for place, indices in smaller.trim_report.survivors.items() if place.path == "v.weight")
    readers = network.out.weight.detach().clone()
    network.out.weight.data.zero_()[:, kept] = readers[:, kept]
    with SteadyDraws(), torch.no_grad():
        assert torch.allclose(smaller(x), network(x), atol=1e-6)


def test_numbers_that_are_none_are_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    network[2].weight.data[0, 0] = float("nan")
    with pytest.raises(ReductionError, match="not finite"):
        trim(network, (torch.zeros(1, 3),))


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_statistics_that_are_not_numbers_are_said_to_be_at_fault(name: str) -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    module[1].get_buffer(name)[5] = float("nan")
    with pytest.raises(ReductionError, match=rf"1\.{name} holds numbers that are not finite") as caught:
        trim(module, (torch.randn(4, 3),))
    assert caught.value.where == "1"


def test_inputs_that_the_module_itself_refuses_are_said_to_be_at_fault() -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.raises(ExportError, match="does not run on the example inputs"):
        trim(network, (torch.zeros(1, 5),))


class DroppingGate(nn.Module):
    """Its sizes are written out, so its graph is rewritten."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.drop = nn.Conv1d(1, 32, 3), nn.BatchNorm1d(16), nn.Dropout(0.5)
        self.off, self.two = nn.Dropout(0.0), nn.Conv1d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return self.two(self.off(self.drop(self.norm(y[:, :16] * torch.sigmoid(y[:, 16:])))))


def test_what_a_rewritten_graph_does_not_train_is_named() -> None:
    smaller = trim(DroppingGate().train(), (torch.zeros(2, 1, 40),))
    assert smaller.trim_report.form == "graph"
    assert smaller.trim_report.always_evaluating == ("norm", "drop")
    plain = trim(nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train(), (torch.zeros(2, 3),))
    assert plain.trim_report.form == "module" and plain.trim_report.always_evaluating == ()


class Unheard(nn.Module):
    """Layers that only training hears, one of them weight-normed, and a parameter that nothing reads."""

    def __init__(self, *, literal: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(1, 16, 3), nn.Conv1d(8, 1, 1)
        self.judge = nn.Sequential(nn.Conv1d(1, 4, 1), nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 1, 1)))
        self.two.register_parameter("spare", nn.Parameter(torch.zeros(3)))
        self.never, self.literal = nn.LayerNorm(5), literal

    def forward(self, x: Tensor) -> Any:
        y = self.one(x)
        signal, gate = (y[:, :8], y[:, 8:]) if self.literal else y.chunk(2, dim=1)
        made = self.two(torch.tanh(signal) * torch.sigmoid(gate))
        return (made, self.judge(made)) if self.training else made


@pytest.mark.parametrize("literal", [True, False])
def test_layers_that_evaluation_does_not_use_are_listed(literal: bool) -> None:
    smaller = trim(Unheard(literal=literal), (torch.randn(1, 1, 40),))
    report = smaller.trim_report
    assert report.form == ("graph" if literal else "module")
    assert report.unused == ("two.spare", "judge.0", "judge.1", "never")
    assert ("judge.0.weight" in smaller.state_dict()) == (not literal)
    assert report.to_json()["unused"] == report.unused
    assert trim(network(), X).trim_report.unused == ()


class Keywords(nn.Module):
    """Parts called as words of Python are, one of them beside the name that such a part would be given."""

    def __init__(self, *, literal: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({"in": nn.Linear(2, 16), "in_": nn.Linear(8, 8), "lambda": nn.Linear(8, 1)})
        self.literal = literal

    def forward(self, x: Tensor) -> Tensor:
        y = self.parts["in"](x)
        signal, gate = (y[:, :8], y[:, 8:]) if self.literal else y.chunk(2, dim=1)
        return self.parts["lambda"](self.parts["in_"](signal * gate).tanh())  # type: ignore[no-any-return]


@pytest.mark.parametrize("literal", [True, False])
def test_parts_may_be_called_as_words_of_python_are(literal: bool) -> None:
    module, x = Keywords(literal=literal), torch.randn(3, 2)
    smaller = trim(module, (x,))
    report = smaller.trim_report
    assert report.form == ("graph" if literal else "module")
    masked = deepcopy(module)
    for place, kept in report.survivors.items():
        if place.axis == 1:
            mask = torch.zeros(8).index_fill(0, torch.from_numpy(kept), 1.0)
            masked.get_parameter(place.path).data.mul_(mask)
    assert torch.allclose(smaller(x), masked(x), atol=1e-6)
    assert [family.after for family in report.families] == [4, 4]
    names = set(smaller.state_dict())
    assert len(names) == 6
    if literal:
        assert {"parts.in_.weight", "parts.in_.weight_", "parts.lambda_.weight"} < names
    else:
        assert names == set(module.state_dict())


def test_normalisation_refuses_a_network_that_normalises_nothing() -> None:
    error = refused(network(), "gains of normalisations", criterion="normalisation")
    assert "magnitude" in error.remedy and error.where == "0, 3"


def test_normalisation_names_the_families_it_scores_by_their_weights() -> None:
    module = network()
    module[2] = nn.Sequential(nn.BatchNorm1d(6), nn.Tanh())
    report = trim(module, X, criterion="normalisation").trim_report
    assert [family.name for family in report.families] == ["0", "3"] and report.fell_back == ("3",)
    assert trim(module, X).trim_report.fell_back == ()
    module[3] = nn.utils.parametrizations.weight_norm(module[3])
    assert trim(module, X, criterion="normalisation").trim_report.fell_back == ()


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("groups", [8, 2, 1])
def test_weight_norm_of_the_old_kind_leaves_a_module_whatever_the_groups(groups: int) -> None:
    middle = torch.nn.utils.weight_norm(nn.Conv1d(8, 8, 3, groups=groups))
    network = nn.Sequential(nn.Conv1d(2, 8, 3), nn.Tanh(), middle, nn.Conv1d(8, 1, 1))
    smaller = trim(network, (torch.randn(1, 2, 40),), keep=0.5)
    assert smaller.trim_report.form == "module"
    assert smaller[2].groups == (4 if groups == 8 else groups)


def test_a_share_from_numpy_is_a_share() -> None:
    network, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), torch.zeros(1, 3)
    for keep in (np.float32(0.5), np.float64(0.5)):
        small: Any = trim(network, (x,), keep=keep)  # type: ignore[arg-type]
        assert small[0].weight.shape == (4, 3)
