"""Taps of dilated convolutions against torch's own convolution, at once and in pieces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.layers.causal import DelayLine, dilated_taps


def convolution(x: Tensor, weight: Tensor, kernel: int, dilation: int) -> Tensor:
    """The same by `conv1d`: zeros before the first sample; weight (out, kernel * in), oldest tap first."""
    filters = weight.view(len(weight), kernel, -1).transpose(1, 2)
    padded = nn.functional.pad(x.transpose(1, 2), ((kernel - 1) * dilation, 0))
    return nn.functional.conv1d(padded, filters, dilation=dilation).transpose(1, 2)


@pytest.mark.parametrize("samples", [1, 3, 40])
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (2, 8), (3, 1), (3, 4), (4, 5)])
def test_taps_make_a_dilated_convolution(kernel: int, dilation: int, samples: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, samples, 3).double(), torch.randn(5, kernel * 3).double()
    past = torch.zeros(2, (kernel - 1) * dilation, 3).double()
    made = nn.functional.linear(dilated_taps(x, past, dilation), weight)
    assert torch.allclose(made, convolution(x, weight, kernel, dilation), atol=1e-12)


@pytest.mark.parametrize("cuts", [[40], [1] * 40, [3, 30, 7], [39, 1]])
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (2, 8), (3, 4)])
def test_a_queue_gives_the_same_taps(kernel: int, dilation: int, cuts: list[int]) -> None:
    torch.manual_seed(0)
    x, past = torch.randn(2, 40, 3), torch.randn(2, (kernel - 1) * dilation, 3)
    wanted, before, made = dilated_taps(x, past, dilation), past.clone(), []
    queue = past
    for piece in x.split(cuts, dim=1):
        line = DelayLine(queue, dilation)
        made += [line.taps(sample) for sample in piece.unbind(1)]
        queue = line.past()
        assert queue.shape == past.shape
    assert torch.equal(torch.stack(made, dim=1), wanted)
    assert torch.equal(queue, torch.cat([past, x], dim=1)[:, -past.shape[1] :]) and torch.equal(past, before)
