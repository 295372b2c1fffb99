"""Curvature against autograd's Hessian, and optimal brain damage where it is exact."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from pochette.families import scores
from pochette.reduce.sparse.curvature import gauss_newton_diagonal, hessian_diagonal, recursion
from pochette.reduce.sparse.subject import Subject


def chain(*widths: int) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(a, b).double() for a, b in pairwise(widths)]


def exact(layers: list[nn.Linear], x: Tensor, y: Tensor) -> list[Tensor]:
    """Diagonal of the Hessian of the summed squared error by each matrix."""
    found = []
    for layer in layers:

        def loss(weight: Tensor, layer: nn.Linear = layer) -> Tensor:
            state = x
            for other in layers:
                matrix = weight if other is layer else other.weight
                state = torch.tanh(state @ matrix.T + other.bias)
            return (y - state).square().sum()

        hessian = torch.autograd.functional.hessian(loss, layer.weight)
        size = layer.weight.numel()
        found.append(hessian.reshape(size, size).diagonal().view(layer.weight.shape))
    return found


def data(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, inputs, generator=generator, dtype=torch.float64)
    return x, torch.rand(12, outputs, generator=generator, dtype=torch.float64) - 0.5


def test_the_recursion_is_exact_for_two_layers_and_not_for_three() -> None:
    x, y = data(4, 3)
    two = chain(4, 5, 3)
    for found, wanted in zip(recursion(two, x, y), exact(two, x, y), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
    three = chain(4, 5, 5, 3)
    found, wanted = recursion(three, x, y), exact(three, x, y)
    assert torch.allclose(found[1], wanted[1], rtol=1e-10) and torch.allclose(found[2], wanted[2], rtol=1e-10)
    assert float((found[0] - wanted[0]).norm() / wanted[0].norm()) > 0.05
    assert all(bool((part >= 0).all()) for part in recursion(three, x, y, definite=True))


def linear() -> tuple[nn.Linear, Tensor, Tensor]:
    """A linear regression at its optimum."""
    x, y = data(4, 1)
    layer = nn.Linear(4, 1, bias=False).double()
    layer.weight.data = torch.linalg.lstsq(x, y).solution.T
    return layer, x, y


def test_damage_is_what_the_loss_gains() -> None:
    """Of one weight of a regression at its optimum, to the last digit; both forms agree there."""
    layer, x, y = linear()

    def loss(net: nn.Module) -> Tensor:
        found: Tensor = 0.5 * (net(x) - y).square().sum()
        return found

    subject = Subject.of(layer, [loss], outputs=[lambda net: net(x)])
    # Signs draw the diagonal of a Hessian exactly where it is diagonal: of many draws the mean.
    many = hessian_diagonal(subject, draws=4000)["weight"]
    assert torch.allclose(many, x.square().sum(0)[None], rtol=0.1)
    wanted = []
    for place in range(4):
        cut = nn.Linear(4, 1, bias=False).double()
        cut.weight.data = layer.weight.data.clone()
        cut.weight.data[0, place] = 0.0
        wanted.append((loss(cut) - loss(layer)).item())
    exactly = 0.5 * x.square().sum(0) * layer.weight.detach()[0].square()
    assert exactly.tolist() == pytest.approx(wanted, rel=1e-9)
    for name in ("obd", "obd-gauss-newton"):
        found = scores[name](subject)["weight"][0]
        assert torch.argsort(found).tolist() == torch.argsort(exactly).tolist()


def test_gauss_newton_of_squared_errors() -> None:
    layers = chain(4, 5, 3)
    module = nn.Sequential(layers[0], nn.Tanh(), layers[1])
    x, _ = data(4, 3)
    subject = Subject.of(module, outputs=[lambda net: net(x)])
    found = gauss_newton_diagonal(subject, draws=3000)
    for path, parameter in module.named_parameters():
        if path not in found:
            continue
        jacobian = torch.stack(
            [torch.autograd.grad(out, parameter, retain_graph=True)[0] for out in module(x).flatten()]
        )
        wanted = jacobian.square().sum(0)
        assert float((found[path] - wanted).norm() / wanted.norm()) < 0.06
        assert bool((found[path] >= 0).all())


def test_gauss_newton_of_classes() -> None:
    """J^T (diag p - p p^T) J, against its definition."""
    layer = nn.Linear(4, 3, bias=False).double()
    x, _ = data(4, 3)
    found = gauss_newton_diagonal(Subject.of(layer, outputs=[lambda net: net(x)], classes=True), draws=6000)["weight"]
    p = torch.softmax(layer(x), dim=-1).detach()
    wanted = ((p - p.square())[:, :, None] * x.square()[:, None]).sum(0)
    assert float((found - wanted).norm() / wanted.norm()) < 0.06
