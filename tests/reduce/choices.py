"""Networks whose scores and sizes are worked out by hand, and what is chosen of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pochette.reduce.choosing import Choice, choose
from pochette.reduce.evidence import WeightsOnly
from pochette.reduce.structure import Structure

Chosen = dict[str, list[int]]


def layers(*rows: list[float], inputs: int = 3, outputs: int = 2) -> nn.Sequential:
    """Dense layers with these weights in their rows, all inputs weighted alike."""
    parts: list[nn.Module] = []
    for values in rows:
        layer = nn.Linear(inputs, len(values))
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(values)[:, None].expand(-1, inputs))
        parts += [layer, nn.Tanh()]
        inputs = len(values)
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def chosen(network: nn.Module, choice: Choice, *, example: Tensor | None = None, **asked: float) -> Chosen:
    structure = Structure.of(network, (torch.zeros(2, 3) if example is None else example,))
    survivors = choose(structure, WeightsOnly(structure.graph.tensors, seed=choice.seed), choice, **asked)  # type: ignore[arg-type]
    return {name: numbers.tolist() for name, numbers in survivors.items()}
