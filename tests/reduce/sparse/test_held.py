"""Dead weights are exactly zero through any training, weight norms included; and masks move as they should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.moving import Fewer, Growth, Moving
from pochette.reduce.sparse.weights import Masks, Weight, all_alive, effective, live, weights_of, without_norms

OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(weight_norm(nn.Conv1d(3, 8, 5)), nn.Tanh(), nn.Flatten(), nn.Linear(32, 4))


def halves(module: nn.Module) -> Masks:
    generator = torch.Generator().manual_seed(1)
    masks = {
        path: torch.rand(mask.shape, generator=generator) < 0.5 for path, mask in all_alive(weights_of(module)).items()
    }
    masks["0.parametrizations.weight.original1"][2] = False  # a whole filter
    return masks


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_dead_stay_dead(optimiser: str) -> None:
    """Even where moments from before the mask pull (facts: 0.035 after five steps of Adam, 0.125 of momentum)."""
    module = network()
    stepper, sound = OPTIMISERS[optimiser](list(module.parameters())), torch.randn(6, 3, 8)
    steps(module, stepper, sound, 5)
    held = Held(weights_of(module), halves(module))
    held.attach(stepper)
    steps(module, stepper, sound, 20)
    for path, acting in effective(weights_of(module)).items():
        assert not acting[~held.masks[path]].any() and bool(acting[held.masks[path]].any())
    assert all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())
    loss(module, sound).backward()
    for path, weight in weights_of(module).items():
        gradient = weight.parameter.grad
        assert gradient is not None and not gradient[~held.masks[path]].any()  # whoever takes norms sees no dead ones


def steps(module: nn.Module, stepper: torch.optim.Optimizer, sound: Tensor, count: int) -> None:
    for _ in range(count):
        stepper.zero_grad()
        loss(module, sound).backward()
        stepper.step()


def loss(module: nn.Module, sound: Tensor) -> Tensor:
    found: Tensor = (module(sound) - 1.0).pow(2).mean()
    return found


def test_a_cut_leaves_the_rest_as_it_acts() -> None:
    module = network()
    before, masks = effective(weights_of(module)), halves(module)
    for path, weight in weights_of(module).items():
        weight.cut(masks[path])
        assert torch.allclose(weight.effective(), before[path] * masks[path], atol=1e-7)
    # What the layer itself computes says the same.
    assert torch.allclose(
        module[0].weight,
        before["0.parametrizations.weight.original1"] * masks["0.parametrizations.weight.original1"],
        atol=1e-7,
    )  # type: ignore[index]


def test_weights_without_norms_act_alike() -> None:
    module = network()
    plain, paths = without_norms(module)
    sound, named = torch.randn(2, 3, 8), dict(plain.named_parameters())
    assert torch.equal(plain(sound), module(sound))
    for path, acting in effective(weights_of(module)).items():
        assert torch.allclose(named[paths[path]], acting, atol=1e-7)


def test_become() -> None:
    module = network()
    for weight in weights_of(module).values():
        wanted = torch.randn(weight.parameter.shape)
        wanted[0] = 0.0
        weight.become(wanted)
        assert torch.allclose(weight.effective(), wanted, atol=1e-6)


# -- masks that move ---------------------------------------------------------------------------------------------------


def sparse_regression(growth: Growth | None, seed: int) -> tuple[int, float]:
    """y = X w with 5 true inputs of 50, from 10 living weights: how many true ones live at the end, and the loss."""
    rng = torch.Generator().manual_seed(seed)
    inputs, truth = torch.randn(500, 50, generator=rng), torch.zeros(50)
    true = torch.randperm(50, generator=rng)[:5]
    truth[true] = torch.randn(5, generator=rng).sign() * (1.0 + torch.rand(5, generator=rng))
    wanted, weight = inputs @ truth, nn.Parameter(torch.zeros(50, 1))
    mask = torch.zeros(50, 1, dtype=torch.bool)
    mask[torch.randperm(50, generator=rng)[:10]] = True
    held = Held({"w": Weight(weight)}, {"w": mask}, None if growth is None else Moving(growth, every=50, seed=seed))
    stepper = torch.optim.SGD([weight], lr=0.1)
    held.attach(stepper)
    error = torch.zeros(())
    for step in range(1000):
        held.begin_step(step, step / 1000)
        stepper.zero_grad()
        error = ((inputs @ weight)[:, 0] - wanted).pow(2).mean()
        error.backward()
        stepper.step()
        held.end_step(step, step / 1000)
        assert live(held.masks) == 10
    return int(held.masks["w"][true].sum()), error.item()


def test_rigl_finds_what_chance_does_not() -> None:
    found = {growth: [sparse_regression(growth, seed) for seed in range(8)] for growth in ("gradient", "random", None)}
    assert all(true == 5 and error < 1e-9 for true, error in found["gradient"])
    assert all(true < 5 for true, _ in found["random"]) and all(true < 5 for true, _ in found[None])
    assert sum(true for true, _ in found["random"]) > sum(true for true, _ in found[None])


@pytest.mark.parametrize("growth", ["gradient", "momentum", "random"])
def test_a_move_changes_places_and_nothing_else(growth: Growth) -> None:
    module = nn.Linear(20, 10, bias=False)
    mask = torch.rand(10, 20, generator=torch.Generator().manual_seed(2)) < 0.3
    held = Held(weights_of(module), {"weight": mask}, Moving(growth, every=4, most=0.5, end=1.0))
    stepper, sound = torch.optim.Adam(module.parameters(), 0.01), torch.randn(32, 20)
    held.attach(stepper)
    for step in range(4):
        one_step(held, module, stepper, sound, step)
    before, weights = held.masks["weight"], module.weight.detach().clone()
    one_step(held, module, stepper, sound, 4)
    after = held.masks["weight"]
    grown, dropped, stayed = after & ~before, before & ~after, before & after
    assert grown.any() and int(grown.sum()) == int(dropped.sum()) and live(held.masks) == int(mask.sum())
    assert torch.equal(module.weight[stayed], weights[stayed]) and not module.weight[~after].any()
    assert not module.weight[grown].any()  # so the loss is what it was once the dropped ones were gone
    for moment in stepper.state[module.weight].values():
        assert moment.shape != after.shape or not moment[~stayed].any()
    if growth == "gradient":
        # The places that were grown are those where the dense gradient was largest: checked by differences.
        module.weight.data = weights * stayed + 0.0
        slope = differences(module, sound, weights)
        eligible = ~(before & ~dropped)
        threshold = slope[eligible].sort(descending=True).values[int(grown.sum()) - 1]
        assert bool((slope[grown] >= 0.98 * threshold).all())


def one_step(held: Held, module: nn.Module, stepper: torch.optim.Optimizer, sound: Tensor, step: int) -> None:
    held.begin_step(step, step / 100)
    steps(module, stepper, sound, 1)
    held.end_step(step, step / 100)


def differences(module: nn.Linear, sound: Tensor, weights: Tensor) -> Tensor:
    """Absolute slope of the loss by every weight, dead ones too, where the weights were at the step."""
    slopes = torch.zeros_like(weights)
    with torch.no_grad():
        for place in range(weights.numel()):
            values = []
            for sign in (1.0, -1.0):
                moved = weights.clone().flatten()
                moved[place] += sign * 1e-2
                module.weight.data = moved.view_as(weights)
                values.append(float(loss(module, sound)))
            slopes.view(-1)[place] = abs(values[0] - values[1])
    return slopes


def test_nothing_moves_after_the_end() -> None:
    moving = Moving("random", every=10, end=0.5)
    assert moving.is_due(20, 0.49) and not moving.is_due(20, 0.5) and not moving.is_due(25, 0.1)
    assert not moving.is_due(0, 0.0)


@pytest.mark.parametrize("regrow", [True, False])
def test_fewer_and_fewer(regrow: bool) -> None:
    module = network()
    weights, sound = weights_of(module), torch.randn(6, 3, 8)
    held = Held(weights, all_alive(weights), Fewer(0.2, every=7, span=(0.0, 0.5), regrow=regrow))
    stepper, total = torch.optim.Adam(module.parameters(), 0.05), live(held.masks)
    held.attach(stepper)
    counts, came_back = [], False
    for step in range(60):
        before = {path: mask.clone() for path, mask in held.masks.items()}
        held.begin_step(step, step / 60)
        steps(module, stepper, sound, 1)
        held.end_step(step, step / 60)
        counts.append(live(held.masks))
        came_back |= any(bool((held.masks[path] & ~before[path]).any()) for path in before)
        for path, acting in effective(weights).items():
            assert not acting[~held.masks[path]].any()
    assert counts == sorted(counts, reverse=True) and counts[-1] == counts[30] == round(0.2 * total)
    assert regrow or not came_back
    assert all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())


def test_a_remembered_weight_comes_back_as_it_was() -> None:
    """Han's zeros never return; Zhu & Gupta's do once the living shrink below what died."""
    weight = nn.Parameter(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    changes = Fewer(0.5, every=1, span=(0.0, 1.0))
    held = Held({"w": Weight(weight)}, {"w": torch.ones(1, 4, dtype=torch.bool)}, changes)
    held.replace(changes.change(held.masks, held.weights, 0, 0.9))
    assert weight.tolist() == [[4.0, 3.0, 0.0, 0.0]]
    weight.data[0, 1] = 0.5
    held.replace(changes.change(held.masks, held.weights, 1, 1.0))
    assert weight.tolist() == [[4.0, 0.0, 2.0, 0.0]]
