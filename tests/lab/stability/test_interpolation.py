"""Barriers where they are known: mirrored networks, equal ones, convex losses, and batch norms between two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RecipeError, RunError, ShapeError
from pochette.lab.stability.interpolation import Line, line, mixture
from pochette.recipe import to_json

X = torch.tensor([[-1.0], [1.0], [2.0]])


class Absolute(nn.Module):
    """relu(u x) + relu(-u x) is |u x|: u = 1 and u = -1 are the same function."""

    def __init__(self, u: float) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.tensor(u))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.u * x) + torch.relu(-self.u * x)


def missed(module: nn.Module) -> float:
    """Squared error per square of what |x| should be."""
    return float((module(X) - X.abs()).square().sum() / X.square().sum())


def test_the_same_function_twice_has_a_barrier_of_exactly_one() -> None:
    found = line(Absolute(1.0), Absolute(1.0).state_dict(), Absolute(-1.0).state_dict(), missed, points=9)
    assert found.errors == pytest.approx([(1.0 - abs(2.0 * share - 1.0)) ** 2 for share in found.shares], abs=1e-7)
    assert found.over_mean == found.over_line == 1.0
    assert found.renewed is None


def test_a_network_and_itself_have_none_and_every_mixture_is_it_to_the_bit() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    state = {path: tensor.clone() for path, tensor in module.state_dict().items()}
    found = line(module, state, state, lambda m: float(m(torch.ones(2, 5)).square().sum()))
    assert found.over_mean == found.over_line == 0.0 and len(set(found.errors)) == 1
    assert all(torch.equal(mixture(state, state, 0.7)[path], tensor) for path, tensor in state.items())


def test_the_definitions_differ_where_the_ends_do() -> None:
    # On a straight slope the mean of the ends is exceeded by half their difference, the line between them by nothing.
    slope = Line((0.0, 0.5, 1.0), (1.0, 2.0, 3.0))
    assert slope.over_mean == 1.0 and slope.over_line == 0.0
    bump = Line((0.0, 0.5, 1.0), (1.0, 4.0, 3.0))
    assert bump.over_mean == 2.0 and bump.over_line == 2.0


def test_a_convex_loss_has_no_barrier_over_the_line() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    ends = [nn.Linear(4, 1).state_dict() for _ in range(2)]
    found = line(nn.Linear(4, 1), *ends, lambda m: float((m(x) - y).square().mean()))
    assert found.over_line == 0.0 < found.over_mean


def test_statistics_of_batch_norms_are_taken_anew_and_both_curves_told() -> None:
    torch.manual_seed(0)
    x = 3.0 + 2.0 * torch.randn(500, 4)
    ends = []
    for sign in (1.0, -1.0):
        network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        with torch.no_grad():
            network[0].weight.copy_(sign * torch.eye(3, 4))
            network[0].bias.zero_()
        network.train()
        for _ in range(200):
            network(x)
        ends.append({path: tensor.clone() for path, tensor in network.state_dict().items()})

    def unnormed(module: nn.Module) -> float:
        """How far the variance of what comes out is from 1."""
        return float((module(x).var(0, correction=0) - 1.0).abs().max())

    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    found = line(module, *ends, unnormed, points=5, passes=lambda m: m(x))
    assert found.renewed is not None
    # A quarter of the way weights are half as large, and so the variance is a quarter of what both ends remember.
    assert found.errors[1] == pytest.approx(0.75, abs=0.01)
    assert found.renewed.errors[1] < 0.01
    assert module[1].momentum == 0.1 and not module[1].running_mean.any(), "the module is left as it was"


def test_a_line_is_plain_data() -> None:
    found = Line((0.0, 0.5, 1.0), (1.0, 4.0, 3.0), Line((0.0, 0.5, 1.0), (1.0, 1.0, 1.0)))
    assert to_json(found)["renewed"] == {"shares": [0.0, 0.5, 1.0], "errors": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize("points", [0, 1, 2, 30])
def test_a_line_without_a_middle_is_refused(points: int) -> None:
    state = Absolute(1.0).state_dict()
    with pytest.raises(RecipeError, match="middle"):
        line(Absolute(1.0), state, state, missed, points=points)


def test_networks_of_other_shapes_and_errors_without_a_value_are_refused() -> None:
    state = Absolute(1.0).state_dict()
    with pytest.raises(ShapeError, match="same weights"):
        line(Absolute(1.0), state, {"u": torch.zeros(2)}, missed)
    with pytest.raises(ShapeError, match="same weights"):
        line(Absolute(1.0), state, {}, missed)
    with pytest.raises(RunError, match="nan"):
        line(Absolute(1.0), state, state, lambda _: float("nan"))
