"""Steps under an L1 penalty against closed forms, and one threshold for all layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.reduce.channels.shrinking import accelerated, proximal, shrunk, signed
from pochette.reduce.channels.threshold import below_threshold_gone, zeros_in
from pochette.reduce.structure import Structure

AIMS = torch.tensor([1.5, 0.3, 0.05, -0.4], dtype=torch.float64)
STRENGTH, RATE = 0.1, 0.05


def slope(x: Tensor) -> Tensor:
    """Of (x - aim)^2 / 2."""
    return x - AIMS


def test_proximal_steps_rest_where_loss_and_penalty_balance() -> None:
    x = torch.ones_like(AIMS)
    for _ in range(2000):
        x = proximal(x, slope(x), RATE, STRENGTH)
    assert x.tolist() == pytest.approx([1.4, 0.2, 0.0, -0.3], abs=1e-12)
    assert x[2] == 0.0


def test_accelerated_steps_rest_there_too_and_are_never_negative() -> None:
    x, momentum = torch.ones_like(AIMS), torch.zeros_like(AIMS)
    for _ in range(4000):
        x, momentum = accelerated(x, momentum, slope(x), RATE, STRENGTH, 0.9)
        assert (x >= 0.0).all()
    assert x.tolist() == pytest.approx([1.4, 0.2, 0.0, 0.0], abs=1e-9)
    assert x[3] == 0.0


def test_inertia_reaches_the_same_place_sooner() -> None:
    plain = fast = torch.ones_like(AIMS)
    momentum = torch.zeros_like(AIMS)
    for _ in range(40):
        plain = proximal(plain, slope(plain), RATE, STRENGTH)
        fast, momentum = accelerated(fast, momentum, slope(fast), RATE, STRENGTH, 0.5)
    assert abs(fast[0] - 1.4) < 0.5 * abs(plain[0] - 1.4)


def test_the_sign_of_a_penalty_never_lets_a_number_rest_at_zero() -> None:
    x = torch.ones_like(AIMS)
    seen = []
    for _ in range(2000):
        x = x - RATE * signed(slope(x), x, STRENGTH)
        seen.append(float(x[2]))
    assert x[:2].tolist() == pytest.approx([1.4, 0.2], abs=1e-9)
    assert not any(value == 0.0 for value in seen[-200:])
    assert 1e-3 < max(abs(value) for value in seen[-200:]) <= 1e-2


def test_shrinking_stops_at_zero() -> None:
    assert shrunk(torch.tensor([0.5, -0.5, 0.1, -0.2]), 0.2).tolist() == pytest.approx([0.3, -0.3, 0.0, 0.0])


class Two(nn.Module):
    """Two hidden layers, of three units and of two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(1, 3), nn.Linear(3, 2), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))  # type: ignore[no-any-return]


FACTORS = {"a": np.array([0.9, 0.01, 0.5]), "b": np.array([0.02, 0.8])}


def kept(factors: dict[str, np.ndarray], left: dict[str, int], floor: int = 1) -> dict[str, list[int]]:
    structure = Structure.of(Two(), (torch.randn(1, 1),))
    found = below_threshold_gone(structure, factors, structure.matrix_macs(left), floor)
    return {name: numbers.tolist() for name, numbers in found.items()}


def test_forty_percent_of_five_factors_are_the_two_smallest() -> None:
    assert kept(FACTORS, {"a": 2, "b": 1}) == {"a": [0, 2], "b": [1]}


def test_zeros_go_beyond_what_is_asked_for_but_never_a_whole_layer() -> None:
    zero = {"a": np.array([0.0, 0.3, 0.0]), "b": np.zeros(2)}
    assert zeros_in(zero) == 4
    assert kept(zero, {"a": 3, "b": 1}) == {"a": [1], "b": [0]}
    assert kept(zero, {"a": 3, "b": 2}, floor=2) == {"a": [0, 1], "b": [0, 1]}


def test_no_floor_and_too_small_a_budget_are_refused() -> None:
    with pytest.raises(ReductionError):
        kept(FACTORS, {"a": 2, "b": 1}, floor=0)
    with pytest.raises(ReductionError):
        kept(FACTORS, {"a": 1, "b": 1}, floor=2)
