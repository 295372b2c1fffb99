"""The recurrent layers are PyTorch's, whichever way they are computed."""

from __future__ import annotations

import torch
from torch import nn

from pochette.layers.lstm import GATES, Lstm, LstmLayer


def like(layers: Lstm, inputs: int, units: int) -> nn.LSTM:
    """PyTorch's module with the same weights."""
    reference = nn.LSTM(inputs, units, len(layers.layers), batch_first=True)
    with torch.no_grad():
        for number, layer in enumerate(layers.layers):
            assert isinstance(layer, LstmLayer)
            for part, gates in (("ih", layer.from_input), ("hh", layer.from_hidden)):
                for name in ("weight", "bias"):
                    joined = torch.cat([gates[gate].get_parameter(name) for gate in GATES])
                    getattr(reference, f"{name}_{part}_l{number}").copy_(joined)
    return reference


@torch.no_grad()
def test_in_one_piece_and_step_by_step() -> None:
    torch.manual_seed(0)
    layers = Lstm(5, 7, layers=2)
    reference = like(layers, 5, 7)
    assert sum(p.numel() for p in layers.parameters()) == sum(p.numel() for p in reference.parameters())
    x = torch.randn(3, 13, 5)
    expected, (hidden, cell) = reference(x)
    made, after = layers(x, layers.initial_state(3))
    assert torch.allclose(made, expected, atol=1e-6)
    for number in range(2):
        assert torch.allclose(after[f"hidden_{number}"], hidden[number], atol=1e-6)
        assert torch.allclose(after[f"cell_{number}"], cell[number], atol=1e-6)
    state, steps = layers.initial_state(3), []
    for frame in x.split(1, dim=1):
        out, state = layers(frame, state)
        steps.append(out)
    assert torch.allclose(torch.cat(steps, dim=1), expected, atol=1e-6)


def test_the_kernel_s_gradients_are_the_steps_gradients() -> None:
    torch.manual_seed(1)
    layers, x = Lstm(3, 4, layers=1), torch.randn(2, 6, 3)
    layers(x, layers.initial_state(2))[0].square().sum().backward()
    whole = [p.grad.clone() for p in layers.parameters() if p.grad is not None]
    layers.zero_grad()
    state, total = layers.initial_state(2), torch.zeros(())
    for frame in x.split(1, dim=1):
        out, state = layers(frame, state)
        total = total + out.square().sum()
    total.backward()  # type: ignore[no-untyped-call]
    for parameter, gradient in zip(layers.parameters(), whole, strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, gradient, atol=1e-5)
