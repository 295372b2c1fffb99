"""Scores of single weights against closed forms, differences, and other ways to compute them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.errors import ReductionError
from pochette.families import models, scores
from pochette.models.unpaired import Unpaired
from pochette.reduce.sparse import curvature
from pochette.reduce.sparse.flow import Flow, in_many_rounds
from pochette.reduce.sparse.selection import kept_of_all
from pochette.reduce.sparse.subject import Subject
from pochette.reduce.sparse.weights import Weight, all_alive, effective, live, weights_of
from tests.contracts.model_checks import note_with_noise


def network(*, normed: bool = False) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Linear(5, 7)
    module = nn.Sequential(weight_norm(first) if normed else first, nn.Tanh(), nn.Linear(7, 3))
    return module.double()


def batches(count: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [(draw[:, :5], draw[:, 5:]) for draw in draws]


def subject(module: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Subject:
    return Subject.of(module, [lambda net, x=x, y=y: (net(x) - y).pow(2).sum() for x, y in data])


def whole_loss(module: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Tensor:
    found: Tensor = torch.stack([(module(x) - y).pow(2).sum() for x, y in data]).sum()
    return found


@pytest.mark.parametrize("normed", [False, True])
def test_snip_is_the_slope_of_a_switch(normed: bool) -> None:
    module, data = network(normed=normed), batches()
    found = scores["snip"](subject(module, data))
    acting = effective(weights_of(module))
    for path, score in found.items():
        for place in [(0, 1), (2, 3)]:
            slopes = []
            for switch in (1 + 1e-5, 1 - 1e-5):
                copied = network(normed=normed)
                switched = acting[path].clone()
                switched[place] *= switch
                weights_of(copied)[path].become(switched)
                slopes.append(whole_loss(copied, data).item())
            assert float(score[place]) == pytest.approx(abs(slopes[0] - slopes[1]) / 2e-5, rel=1e-5)


def test_switches_of_all_layers_weigh_the_same() -> None:
    """Of a network of rectifiers without offsets the signed scores of every layer have one sum."""
    torch.manual_seed(3)
    module = nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(6, 6, bias=False), nn.ReLU()))).double()
    data = [(torch.randn(9, 6, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64))]
    whole_loss(module, data).backward()
    sums = [float((p.detach() * p.grad).sum()) for p in module.parameters() if p.grad is not None]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)
    signs = {
        path: (weight.parameter.detach() * weight.parameter.grad).abs() for path, weight in weights_of(module).items()
    }  # type: ignore[operator]
    found = scores["snip"](subject(module, data))
    assert all(torch.allclose(found[path], wanted) for path, wanted in signs.items())


def test_snip_is_blind_to_scale_and_magnitude_is_not() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 9, bias=False), nn.ReLU(), nn.Linear(9, 2, bias=False)).double()
    data = [(torch.randn(9, 6, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64))]
    kept = {}
    for name in ("snip", "magnitude"):
        for scale in (1.0, 7.0):
            with torch.no_grad():
                module[0].weight.mul_(scale)  # type: ignore[operator, union-attr]
                module[2].weight.div_(scale)  # type: ignore[operator, union-attr]
            found = scores[name](subject(module, data))
            kept[name, scale] = kept_of_all(found, all_alive(weights_of(module)), 30)
            with torch.no_grad():
                module[0].weight.div_(scale)  # type: ignore[operator, union-attr]
                module[2].weight.mul_(scale)  # type: ignore[operator, union-attr]
    same = {
        name: all(torch.equal(kept[name, 1.0][path], kept[name, 7.0][path]) for path in kept[name, 1.0])
        for name in ("snip", "magnitude")
    }
    assert same == {"snip": True, "magnitude": False}


# -- the flow of gradients ---------------------------------------------------------------------------------------------


class Bowl(nn.Module):
    """Half the sum of a w^2: every derivative is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0, 0.5, -1.0, 4.0]], dtype=torch.float64))
        self.register_buffer("steepness", torch.tensor([[1.0, 2.0, 3.0, 0.5]], dtype=torch.float64))

    def forward(self) -> Tensor:
        found: Tensor = (self.steepness * self.weight.pow(2)).sum() / 2
        return found


def test_grasp_of_a_bowl() -> None:
    found = scores["grasp"](Subject.of(Bowl(), [lambda net: net()]))
    assert found["weight"].tolist() == [[4.0, 1.0, 9.0, 4.0]]  # the second goes first
    # Half of what the squared gradient loses to first order: its slope along the removal.
    module = Bowl()
    before = (module.steepness * module.weight).pow(2).sum().item()
    module.weight.data[0, 1] *= 1 - 1e-6
    after = (module.steepness * module.weight).pow(2).sum().item()
    assert (before - after) / 1e-6 == pytest.approx(2 * 1.0, rel=1e-5)


@pytest.mark.parametrize("normed", [False, True])
def test_grasp_is_the_hessians_product_with_the_gradient(normed: bool) -> None:
    data = batches()
    taken = subject(network(normed=normed), data)
    named = dict(taken.parameters().items())
    sizes, listed = [p.numel() for p in named.values()], list(named.values())

    def loss(flat: Tensor) -> Tensor:
        parts = [part.view(p.shape) for part, p in zip(torch.split(flat, sizes), listed, strict=True)]
        given = {taken.paths[path]: part for path, part in zip(named, parts, strict=True)}
        terms = [(torch.func.functional_call(taken.network, given, (x,)) - y).pow(2).sum() for x, y in data]
        return torch.stack(terms).sum()

    flat = torch.cat([p.detach().flatten() for p in listed])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.autograd.functional.jacobian(loss, flat)
    wanted = flat * (hessian @ gradient)
    found = torch.cat([score.flatten() for score in scores["grasp"](taken).values()])
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
    absolute = torch.cat([score.flatten() for score in scores["grasp-abs"](taken).values()])
    assert torch.equal(absolute, found.abs())


def test_batches_are_one_batch() -> None:
    data = batches()
    joined = [(torch.cat([x for x, _ in data]), torch.cat([y for _, y in data]))]
    for name in ("snip", "grasp"):
        apart, together = (scores[name](subject(network(), given)) for given in (data, joined))
        for path in apart:
            assert torch.allclose(apart[path], together[path], rtol=1e-12, atol=1e-13)


def test_what_needs_sound_says_so() -> None:
    for name in ("snip", "grasp", "grasp-abs"):
        with pytest.raises(ReductionError, match="no data was given"):
            scores[name](Subject.of(network()))


# -- the flow of everything --------------------------------------------------------------------------------------------


def test_flow_is_conserved() -> None:
    torch.manual_seed(4)
    parts = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)]
    module = nn.Sequential(*parts)
    flow = Flow(module, (torch.zeros(1, 6),))
    found = flow.scores(all_alive(weights_of(module)))
    assert flow.conserves
    sums = [float(score.sum()) for score in found.values()]
    product = torch.ones(6, dtype=torch.float64)
    for weight in weights_of(module).values():
        product = weight.parameter.detach().double().abs() @ product
    assert sums == pytest.approx([float(product.sum())] * 3, rel=1e-12)
    first, second, last = found.values()
    assert torch.allclose(first.sum(1), second.sum(0)) and torch.allclose(second.sum(1), last.sum(0))


def test_many_rounds_keep_every_layer_alive_and_one_does_not() -> None:
    """Ten layers at a density of 0.2 % (facts: 5 to 8 weights a layer in a hundred rounds, and collapse in one)."""
    torch.manual_seed(0)
    widths = [16, *[64] * 9, 4]
    module = nn.Sequential(
        *(p for a, b in itertools.pairwise(widths) for p in (nn.Linear(a, b, bias=False), nn.ReLU()))
    )
    alive = all_alive(weights_of(module))
    keep = 68 / sum(mask.numel() for mask in alive.values())
    flow = Flow(module, (torch.zeros(1, 16),))
    many = [int(mask.sum()) for mask in in_many_rounds(flow, alive, keep, 100).values()]
    once = [int(mask.sum()) for mask in in_many_rounds(flow, alive, keep, 1).values()]
    assert sum(many) == sum(once) == 68
    assert min(many) >= 3 and max(many) <= 12
    assert min(once) == 0


def test_flow_is_blind_to_the_scale_of_layers() -> None:
    torch.manual_seed(4)
    module = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 4, 3), nn.ReLU(), nn.Conv1d(4, 1, 3))
    kept = []
    for scale in (1.0, 50.0):
        module[2].weight.data.mul_(scale)  # type: ignore[operator, union-attr]
        kept.append(in_many_rounds(Flow(module, (torch.zeros(1, 2, 16),)), all_alive(weights_of(module)), 0.1, 20))
    assert all(torch.equal(kept[0][path], kept[1][path]) for path in kept[0]) and live(kept[0]) > 0


# -- our models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models.names())
def test_every_model_can_be_scored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every score has a finite number for every weight; flow reaches most of them, and gates are owned up to."""
    torch.manual_seed(0)
    model = models[name].sized("tiny").build()
    excerpt = note_with_noise(
        model, model.excerpt_frames or max(1, round(0.1 * model.sample_rate_hz / model.hop_samples))
    )
    monkeypatch.setattr(curvature, "DRAWS", 1)
    taken = Subject.heard(model, [excerpt])
    weights = weights_of(model)
    if isinstance(model, Unpaired):
        with pytest.raises(ReductionError, match="draws its sounds"):
            scores["obd-gauss-newton"](taken)
    left_out = {"grasp-abs"} | ({"obd-gauss-newton"} if isinstance(model, Unpaired) else set())
    for score in (name for name in scores.names() if name not in left_out):
        found = scores[score](taken)
        assert list(found) == list(weights)
        for path, values in found.items():
            assert values.shape == weights[path].parameter.shape and bool(torch.isfinite(values).all()), (score, path)
    flow = Flow(model)
    flows = flow.scores(all_alive(weights))
    assert sum(bool(values.any()) for values in flows.values()) >= 0.8 * len(flows)
    assert all(bool(torch.isfinite(values).all()) and bool((values >= 0).all()) for values in flows.values())


def test_a_weight_without_gain_is_its_parameter() -> None:
    weight = Weight(nn.Parameter(torch.randn(3, 4)))
    assert torch.equal(weight.effective(), weight.parameter)
