"""Handwritten digits and the small perceptron that learns them in a second: what claims of papers are tried on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.rounds import slower_at_the_output
from pochette.reduce.sparse.selection import kept_in_each
from pochette.reduce.sparse.weights import Masks, all_alive, effective, weights_of

STEPS, BATCH, RATE, ROUNDS = 800, 60, 1.2e-3, 18

Digits = dict[str, tuple[Tensor, Tensor]]


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


@cache
def digits() -> Digits:
    datasets: Any = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = torch.tensor(images[order] / 16.0, dtype=torch.float32), torch.tensor(labels[order])
    bounds = {"train": slice(0, 1197), "validation": slice(1197, 1437), "test": slice(1437, None)}
    return {part: (x[bound], y[bound]) for part, bound in bounds.items()}


@torch.no_grad()
def wrong(module: nn.Module, part: str = "test") -> float:
    """Share of the digits of a part that are taken for others."""
    x, y = digits()[part]
    return float((module(x).argmax(1) != y).double().mean())


def trained(module: nn.Module, masks: Masks, seed: int, steps: int = STEPS) -> float:
    """Test accuracy where the validation loss was least; the module ends at its last step."""
    stepper = torch.optim.Adam(module.parameters(), RATE)
    Held(weights_of(module), masks).attach(stepper)
    x, y = digits()["train"]
    generator, best, accuracy = torch.Generator().manual_seed(seed), float("inf"), 0.0
    for step in range(steps):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        stepper.zero_grad()
        nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        stepper.step()
        if step % 20 == 19:
            with torch.no_grad():
                seen, named = digits()["validation"]
                validation = nn.functional.cross_entropy(module(seen), named).item()
                if validation < best:
                    best, accuracy = validation, 1.0 - wrong(module)
    return accuracy


@cache
def ticket(seed: int, rounds: int = ROUNDS) -> tuple[float, Masks]:
    """Accuracy of the dense network, and the mask after all rounds, each from the first weights.

    Fewer rounds take more each, and end at as many weights.
    """
    rate, slower = (share ** (ROUNDS / rounds) for share in (0.8, 0.9))
    dense, masks = 0.0, all_alive(weights_of(network(seed)))
    sizes = {path: mask.numel() for path, mask in masks.items()}
    for number in range(rounds + 1):
        module = network(seed)
        accuracy = trained(module, masks, seed)
        dense = dense or accuracy
        if number == rounds:
            break
        living = {path: int(mask.sum()) for path, mask in masks.items()}
        *others, last = sizes
        kept = (rate * sum(living[path] for path in others) + slower * living[last]) / sum(sizes.values())
        shares = slower_at_the_output(sizes, masks, kept, (1.0 - slower) / (1.0 - rate))
        counts = {path: round(shares[path] * sizes[path]) for path in sizes}
        worth = {path: acting.abs() for path, acting in effective(weights_of(module)).items()}
        masks = kept_in_each(worth, masks, counts)
    return dense, masks
