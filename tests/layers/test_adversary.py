"""Phase shuffle and the gradient penalty, against what they are by definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.layers.adversary import gradient_penalty, shuffled


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 2, 20, generator=torch.Generator().manual_seed(0))


def test_no_shift_is_the_identity(x: Tensor) -> None:
    assert torch.equal(shuffled(x, torch.tensor([0])), x) and torch.equal(shuffled(x, torch.zeros(3).long()), x)


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_the_inside_moves_by_the_shift_and_edges_are_mirrored(x: Tensor, shift: int) -> None:
    moved = shuffled(x, torch.tensor([shift]))
    assert moved.shape == x.shape
    assert torch.equal(moved, torch.stack([x[..., _mirrored(n - shift, 20)] for n in range(20)], dim=-1))


def _mirrored(place: int, length: int) -> int:
    """The sample that stands at a place beyond the edge, the edge itself not repeated."""
    return abs(place) if place < length else 2 * (length - 1) - place


def test_one_shift_moves_the_batch_and_several_move_each_its_own(x: Tensor) -> None:
    shifts = torch.tensor([2, 0, -1])
    each = shuffled(x, shifts)
    for row, shift in enumerate(shifts):
        assert torch.equal(each[row : row + 1], shuffled(x[row : row + 1], shift[None]))
    assert not torch.equal(each, shuffled(x, shifts[:1]))


def test_a_constant_is_not_changed() -> None:
    constant = torch.full((2, 3, 16), 0.7)
    assert all(torch.equal(shuffled(constant, torch.tensor([shift])), constant) for shift in range(-2, 3))


@pytest.mark.parametrize(("norm", "wanted"), [(1.0, 0.0), (2.0, 1.0), (0.0, 1.0)])
def test_the_penalty_of_a_linear_critic_is_that_of_its_norm(norm: float, wanted: float) -> None:
    # Over time and channel together: a norm over either alone would give another number.
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    weight *= norm / weight.norm()
    real, made = torch.randn(2, 5, 3, 7, generator=torch.Generator().manual_seed(2))
    found = gradient_penalty(lambda x: (x * weight).sum(dim=(1, 2)), real, made, torch.Generator().manual_seed(3))
    assert found.item() == pytest.approx(wanted, abs=1e-6)


def test_every_example_is_looked_at_in_a_place_of_its_own_on_the_line() -> None:
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(dim=(1, 2))

    real, made = torch.zeros(4, 2, 6), torch.ones(4, 2, 6)
    gradient_penalty(score, real, made, torch.Generator().manual_seed(0))
    places = seen[0][:, 0, 0]
    assert torch.equal(seen[0], places[:, None, None].expand(4, 2, 6))
    assert len(set(places.tolist())) == 4 and ((places > 0) & (places < 1)).all()


def test_going_down_the_penalty_brings_the_slope_to_one() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    real, made = torch.randn(2, 32, 1, 8, generator=torch.Generator().manual_seed(0))
    penalties = []
    for step in range(200):
        penalty = gradient_penalty(lambda x: critic(x)[:, 0], real, made, torch.Generator().manual_seed(step))
        penalties.append(penalty.item())
        optimiser.zero_grad()
        penalty.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert penalties[0] > 0.1 and penalties[-1] < 0.02
