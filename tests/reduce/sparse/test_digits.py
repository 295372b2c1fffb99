"""The ticket on handwritten digits: at 2 % of the weights it beats its shape drawn anew; that beats a random shape."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.rounds import slower_at_the_output
from pochette.reduce.sparse.selection import kept_in_each
from pochette.reduce.sparse.weights import Masks, all_alive, density, effective, weights_of

STEPS, BATCH, RATE, ROUNDS = 800, 60, 1.2e-3, 18


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


@pytest.fixture(scope="module")
def digits() -> dict[str, tuple[Tensor, Tensor]]:
    datasets: Any = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = torch.tensor(images[order] / 16.0, dtype=torch.float32), torch.tensor(labels[order])
    bounds = {"train": slice(0, 1197), "validation": slice(1197, 1437), "test": slice(1437, None)}
    return {part: (x[bound], y[bound]) for part, bound in bounds.items()}


def trained(module: nn.Module, masks: Masks, digits: dict[str, tuple[Tensor, Tensor]], seed: int) -> float:
    """Test accuracy where the validation loss was least; the module ends at its last step."""
    stepper = torch.optim.Adam(module.parameters(), RATE)
    Held(weights_of(module), masks).attach(stepper)
    x, y = digits["train"]
    generator, best, accuracy = torch.Generator().manual_seed(seed), float("inf"), 0.0
    for step in range(STEPS):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        stepper.zero_grad()
        nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        stepper.step()
        if step % 20 == 19:
            with torch.no_grad():
                validation = nn.functional.cross_entropy(
                    module(digits["validation"][0]), digits["validation"][1]
                ).item()
                if validation < best:
                    best = validation
                    accuracy = (module(digits["test"][0]).argmax(1) == digits["test"][1]).float().mean().item()
    return accuracy


def ticket(digits: dict[str, tuple[Tensor, Tensor]], seed: int) -> tuple[float, Masks]:
    """Accuracy of the dense network, and the mask after all rounds, each from the first weights."""
    first, dense = network(seed), 0.0
    masks = all_alive(weights_of(first))
    sizes = {path: mask.numel() for path, mask in masks.items()}
    for number in range(ROUNDS + 1):
        module = copy.deepcopy(first)
        accuracy = trained(module, masks, digits, seed)
        dense = dense or accuracy
        if number == ROUNDS:
            break
        living = {path: int(mask.sum()) for path, mask in masks.items()}
        *others, last = sizes
        kept = (0.8 * sum(living[path] for path in others) + 0.9 * living[last]) / sum(sizes.values())
        shares = slower_at_the_output(sizes, masks, kept, 0.5)
        counts = {path: round(shares[path] * sizes[path]) for path in sizes}
        worth = {path: acting.abs() for path, acting in effective(weights_of(module)).items()}
        masks = kept_in_each(worth, masks, counts)
    return dense, masks


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_ticket_wins(seed: int, digits: dict[str, tuple[Tensor, Tensor]]) -> None:
    torch.set_num_threads(1)
    dense, masks = ticket(digits, seed)
    assert density(masks) == pytest.approx(0.0207, abs=2e-4)
    won = trained(network(seed), masks, digits, seed)
    drawn_anew = [trained(network(100 * seed + other), masks, digits, seed) for other in (10, 11)]
    shuffled = []
    for other in (12, 13):
        generator = torch.Generator().manual_seed(other)
        random = {
            path: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view(mask.shape)
            for path, mask in masks.items()
        }
        shuffled.append(trained(network(seed), random, digits, seed))
    assert won > max(drawn_anew) and min(drawn_anew) > max(shuffled), (won, drawn_anew, shuffled)
    assert dense > 0.94 and won > dense - 0.03
