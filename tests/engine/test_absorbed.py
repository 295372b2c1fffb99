"""What a convolution does by the way, adding and rectifying, is what those operators would have done."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.engine.compiled import compile_engine

CHANNELS, TAPS = 12, 3


class Residual(nn.Module):
    """A causal convolution that keeps its past, then what `end` makes of its result and its input."""

    def __init__(self, end: str, slope: float, batch: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, TAPS)
        self.end, self.slope = end, slope
        self.past: Tensor
        self.register_buffer("past", torch.zeros(batch, CHANNELS, TAPS - 1))

    def bent(self, x: Tensor) -> Tensor:
        return functional.relu(x) if self.slope == 0 else functional.leaky_relu(x, self.slope)

    def forward(self, x: Tensor) -> Tensor:
        heard = torch.cat([self.past, x], -1)
        self.past.copy_(heard[..., 1 - TAPS :])
        made = self.conv(heard)
        if self.end == "bent":
            return self.bent(made)
        if self.end == "added, bent":
            return self.bent(x + made)
        if self.end == "bent, added":
            return x + self.bent(made)
        if self.end == "read twice":
            return made * self.bent(made)
        if self.end == "bent twice":
            return self.bent(self.bent(made) - 0.1)
        assert self.end == "sum read twice"
        total = x + made
        return total * self.bent(total)


ENDS = ("bent", "added, bent", "bent, added", "read twice", "bent twice", "sum read twice")
IN_LOOPS = 3
"""Rectifiers of these that are not a convolution's last act: two read a result twice, one is the second in a row."""


class Every(nn.Module):
    """All of them, of the same sound."""

    def __init__(self, slope: float, batch: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Residual(end, slope, batch) for end in ENDS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(x) for part in self.parts)


def forget(module: nn.Module) -> None:
    for state in module.buffers():
        state.zero_()


def agrees(made: object, wanted: Tensor) -> bool:
    away = (torch.as_tensor(made).reshape(wanted.shape) - wanted).abs().max()
    return bool(away < 1e-5 * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize(("batch", "samples"), [(2, 5), (1, 32)])
@pytest.mark.parametrize("slope", [0.0, 0.2, -0.5, 1.5])
def test_sums_and_rectifiers_after_convolutions(batch: int, samples: int, slope: float) -> None:
    torch.manual_seed(0)
    module = Every(slope, batch).eval()
    blocks = torch.randn(4, batch, CHANNELS, samples)
    engine = compile_engine(module, (blocks[0],))
    assert engine.sources["net.c"].count("pc_vleaky(" if slope else "pc_vmax(") == IN_LOOPS
    forget(module)
    with torch.no_grad():
        for block in blocks:
            for end, made, wanted in zip(ENDS, engine.process(block.numpy()), module(block), strict=True):
                assert agrees(made, wanted), end


def test_a_rectified_result_is_made_where_the_next_convolution_remembers_it() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(Residual("bent", 0.2), Residual("added, bent", 0.2)).eval()
    blocks = torch.randn(6, 1, CHANNELS, 8)
    engine = compile_engine(module, (blocks[0],))
    assert "leaky" not in engine.sources["net.c"].replace("leaky_relu", "")
    forget(module)
    with torch.no_grad():
        for block in blocks:
            assert agrees(engine.process(block.numpy()), module(block))


class Hyper(nn.Module):
    """A convolution whose filter is made by a network."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.make = nn.Linear(4, 8 * 8 * TAPS + 8)
        self.conv, self.bias = nn.Conv1d(8, 8, TAPS, bias=False), bias

    def forward(self, x: Tensor, control: Tensor) -> Tensor:
        weight, bias = self.make(control).split((8 * 8 * TAPS, 8))
        if self.bias:
            made = functional.conv1d(x, self.conv.weight, bias, padding=1)
        else:
            made = functional.conv1d(x, weight.reshape(8, 8, TAPS), padding=1)
        return functional.relu(made + x)


@pytest.mark.parametrize("bias", [False, True])
def test_a_filter_that_is_computed_leaves_its_sum_and_rectifier_to_others(bias: bool) -> None:
    torch.manual_seed(0)
    module = Hyper(bias).eval()
    x, control = torch.randn(1, 8, 32), torch.randn(4)
    engine = compile_engine(module, (x, control))
    with torch.no_grad():
        assert agrees(engine.process(x.numpy(), control.numpy()), module(x, control))
