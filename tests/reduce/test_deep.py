"""Deep networks are analysed and trimmed at once: thirty gated layers with residuals and skips.

Processor time, so that other work on the machine does not count; the better of two, so that neither PyTorch's first
trace in a process, which imports a thousand modules, nor a moment in which others slow the processor decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.models.wavenet import Wavenet
from pochette.reduce import trim
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of, trim_model

LAYERS, CYCLE, WIDTH = 30, 10, 16
ANALYSE_S, TRIM_S = 2.0, 1.0


class Stack(nn.Module):
    """WaveNet in the standard layers, whose last residual branch reaches nothing."""

    def __init__(self, kernel: int, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        reach = [2 ** (number % CYCLE) for number in range(LAYERS)]
        self.first = norm(nn.Conv1d(1, WIDTH, 1))
        self.gates = nn.ModuleList(norm(nn.Conv1d(WIDTH, 2 * WIDTH, kernel, dilation=each)) for each in reach)
        self.residuals = nn.ModuleList(norm(nn.Conv1d(WIDTH, WIDTH, 1)) for _ in reach)
        self.skips = nn.ModuleList(norm(nn.Conv1d(WIDTH, WIDTH, 1)) for _ in reach)
        self.head = norm(nn.Conv1d(WIDTH, 2, 1))

    def forward(self, x: Tensor) -> Any:
        y, total = self.first(x), torch.zeros(1)
        for gate, residual, skip in zip(self.gates, self.residuals, self.skips, strict=True):
            reach = gate.dilation[0] * (gate.kernel_size[0] - 1)  # type: ignore[index, operator]
            value, passing = gate(F.pad(y, (reach, 0))).chunk(2, dim=1)
            z = torch.tanh(value) * torch.sigmoid(passing)
            total, y = total + skip(z), y + residual(z)
        return self.head(torch.relu(total))


BUSY = 1.5
"""What the same work may take more where caches and clocks are shared with others."""


def least_s(act: Callable[[], Any]) -> tuple[float, Any]:
    """The processor time of the better of two, and what came of it."""
    spent = []
    for _ in range(2):
        began = time.process_time()
        result = act()
        spent.append(time.process_time() - began)
    return min(spent), result


def plain(layer: nn.Module) -> nn.Module:
    return layer


@pytest.mark.parametrize("norm", [plain, weight_norm])
@pytest.mark.parametrize("kernel", [2, 3])
def test_a_stack_of_standard_layers(kernel: int, norm: Callable[[nn.Module], nn.Module]) -> None:
    network, x = Stack(kernel, norm), (torch.zeros(1, 1, 64),)
    analysing, structure = least_s(lambda: Structure.of(network, x))
    assert len(structure.families) == LAYERS + 2  # the gates', the residual path's, the skip path's
    assert not any("residuals.29" in path for path in structure.graph.stored)
    assert analysing < BUSY * ANALYSE_S
    both, smaller = least_s(lambda: trim(network, x, 0.5))
    assert both < BUSY * (ANALYSE_S + TRIM_S)
    assert smaller.trim_report.macs_after < 0.3 * smaller.trim_report.macs_before


@pytest.mark.parametrize("kernel", [2, 3])
def test_a_model(kernel: int) -> None:
    model = Wavenet(stacks=LAYERS // CYCLE, layers_per_stack=CYCLE, kernel=kernel).build()
    analysing, structure = least_s(lambda: structure_of(model))
    assert len(structure.families) > LAYERS
    assert analysing < BUSY * ANALYSE_S
    trimming, (_, _, report) = least_s(lambda: trim_model(model, 0.5, structure=structure))
    assert trimming < TRIM_S
    assert report.parameters_after < 0.3 * report.parameters_before
