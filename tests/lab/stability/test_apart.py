"""Distance and angle; stability to pruning in closed form; and what digits say of order, starts and permutations."""

from __future__ import annotations

import copy
from itertools import pairwise
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from pochette.lab.stability.apart import Trains, apart, instability, shuffled_masks, to_order, to_pruning
from pochette.lab.stability.interpolation import line
from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import Masks, all_alive, weights_of
from tests.digits import STEPS, network, wrong
from tests.lab.stability.learning import Learning


def test_distance_and_angle() -> None:
    one, other = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.0])}, {"a": torch.tensor([0.0, 4.0])}
    other["b"] = torch.tensor([0.0])
    assert apart(one, other).distance == 5.0 and apart(one, other).angle_degrees == pytest.approx(90.0)
    assert apart(one, one).angle_degrees == 0.0 == apart(one, one).distance
    doubled = {path: -2.0 * tensor for path, tensor in one.items()}
    assert apart(one, doubled).angle_degrees == pytest.approx(180.0)
    nothing = {path: torch.zeros_like(tensor) for path, tensor in one.items()}
    assert apart(one, nothing).angle_degrees == pytest.approx(90.0)
    masks = {"a": torch.tensor([True, False]), "b": torch.tensor([True])}
    assert apart(one, other, masks).distance == 3.0


def test_a_small_angle_is_not_lost() -> None:
    tiny = 1e-9
    found = apart({"a": torch.tensor([1.0, 0.0])}, {"a": torch.tensor([1.0, tiny])})
    assert found.angle_degrees == pytest.approx(57.29577951308232 * tiny, rel=1e-6)


class Regression:
    """Least squares by gradient descent over all of the data, from zero."""

    def __init__(self, x: Tensor, y: Tensor, rate: float, steps: int) -> None:
        self.x, self.y, self.rate, self.steps = x, y, rate, steps

    def __call__(self, masks: Masks | None, order: int) -> nn.Module:
        module = nn.Linear(self.x.shape[1], 1, bias=False).double()
        nn.init.zeros_(module.weight)
        stepper = torch.optim.SGD(module.parameters(), self.rate)
        Held(weights_of(module), masks or all_alive(weights_of(module))).attach(stepper)
        rows = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(order))
        for _ in range(self.steps):
            stepper.zero_grad()
            (0.5 * (module(self.x[rows]) - self.y[rows]).square().sum()).backward()  # type: ignore[no-untyped-call]
            stepper.step()
        return module


def test_stability_to_pruning_of_a_regression_is_what_algebra_says() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 6, dtype=torch.float64)
    y = torch.randn(60, 1, dtype=torch.float64)
    train = Regression(x, y, 0.9 / float(torch.linalg.eigvalsh(x.T @ x)[-1]), 600)
    masks = {"weight": torch.tensor([[True, False, True, True, False, True]])}
    stays = masks["weight"][0]
    joint = torch.linalg.solve(x.T @ x, x.T @ y)
    kept, gone = x[:, stays], x[:, ~stays]
    moved = torch.linalg.solve(kept.T @ kept, kept.T @ gone @ joint[~stays])
    assert to_pruning(train, masks).distance == pytest.approx(float(moved.norm()), rel=1e-11)
    # What is convex ends in one place whatever the order.
    assert to_order(train, masks).distance < 1e-12
    found = instability(train, lambda m: float((m(x) - y).square().mean()), masks=masks)
    assert found.apart.distance < 1e-12 and abs(found.line.over_mean) < 1e-12


def test_what_is_orthogonal_does_not_miss_what_is_pruned() -> None:
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    x = 0.5 * torch.kron(square, square)  # orthonormal, and exact in binary
    train = Regression(x, torch.tensor([[3.0], [-1.0], [0.5], [2.0]], dtype=torch.float64), 0.5, 40)
    assert to_pruning(train, {"weight": torch.tensor([[True, False, True, False]])}).distance == 0.0


def test_shuffled_masks_keep_every_layer_s_count() -> None:
    masks = {"a": torch.tensor([[True, False, False], [True, True, False]]), "b": torch.zeros(4, dtype=torch.bool)}
    found = [shuffled_masks(masks, seed) for seed in range(8)]
    assert all(int(other["a"].sum()) == 3 and not other["b"].any() for other in found)
    assert len({tuple(other["a"].flatten().tolist()) for other in found}) > 1
    assert torch.equal(found[3]["a"], shuffled_masks(masks, 3)["a"])


# -- digits ------------------------------------------------------------------------------------------------------------


def permuted(module: nn.Module, seed: int) -> nn.Module:
    """The same function, its hidden units in another order."""
    twin = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    layers = [part for part in twin if isinstance(part, nn.Linear)]  # type: ignore[attr-defined]
    with torch.no_grad():
        for before, after in pairwise(layers):
            order = torch.randperm(before.out_features, generator=generator)
            before.weight.copy_(before.weight[order])
            before.bias.copy_(before.bias[order])
            after.weight.copy_(after.weight[:, order])
    return twin


def points(module: nn.Module) -> float:
    """Mistakes on test digits, of a hundred."""
    return 100.0 * wrong(module)


def barrier(one: nn.Module, other: nn.Module) -> float:
    return line(one, one.state_dict(), other.state_dict(), points).over_mean


ORDER = {0: (0.0, 1.3), 50: (0.0, 0.66), 200: (0.0, 0.66)}
"""From what the network was after so many steps: the least and the most barrier between two orders."""
STARTS = (4.7, 29.0)
PERMUTED = (8.0, 30.5)
TWINS = 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_barriers_of_orders_starts_and_permutations_on_digits_are_in_their_ranges(seed: int) -> None:
    """Barriers in points of test error, over the mean of the ends.

    A reference experiment of three seeds, one pair of networks each, found for two orders from the first weights 0 to
    0.5, from step 50 on 0 to 0.13, and from step 200 on 0 to 0.38; for two starts 4.7 to 29; and for a network and its
    permuted twin 15.6 to 30.5. What came out of this recipe, with test digits of 0.28 points each:
    - orders from the first weights: 0.69 and 0.42 here, 0 to 1.25 over eight pairs; so up to 1.3 is allowed;
    - from step 50 and 200: 0 to 0.28 over twelve pairs, a digit; both are held to the reference's larger end, and a
      digit for processors that round differently;
    - starts: 9.7 and 21.0 here, 8.8 to 24.2 over ten pairs: in the reference's range;
    - twins: 38.9 and 8.3 for the first permutation, 3 to 47 over 45 of three networks, as permutations differ more than
      networks; so it is the median of fifteen that is held, 16.4, 11.4 and (of seed 2) 18.9, whose lower end is below
      the reference's, and every one is above the 2 points that count as a barrier.
    """
    torch.set_num_threads(1)
    start = network(seed)
    first = Learning(start, keeps=(50, 200))
    one = first(None, 0)

    def after(step: int) -> Trains:
        # Both copies end at the same step; that of order 0 has been trained already.
        more = Learning(first.kept.get(step, start), STEPS - step)
        return lambda masks, order: one if order == 0 else more(masks, order)

    for step, (least, most) in ORDER.items():
        assert least <= instability(after(step), points).line.over_mean <= most, step
    assert STARTS[0] <= barrier(one, Learning(network(seed + 10))(None, 0)) <= STARTS[1]
    twins = [permuted(one, number) for number in range(TWINS)]
    assert all(points(twin) == points(one) for twin in twins)
    found = [barrier(one, twin) for twin in twins]
    assert min(found) > 2.0 and PERMUTED[0] <= median(found) <= PERMUTED[1], found
