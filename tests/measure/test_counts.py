"""Operations of networks, counted by hand; and by PyTorch's own counter, where that is right."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from pochette.measure import profile
from tests.graph import oracle
from tests.graph.networks import CASES, Case
from tests.graph.networks.case import Net

B, T = 2, 24
C64 = torch.complex64


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sound(channels: int) -> tuple[Tensor, ...]:
    return (torch.zeros(B, channels, T),)


def rows(features: int) -> tuple[Tensor, ...]:
    return (torch.zeros(B, T, features),)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def gates(kind: Any, inputs: int, units: int) -> int:
    return {nn.GRU: 3, nn.LSTM: 4, nn.RNN: 1}[kind] * units * (inputs + units)


def loop(kind: Any) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        state: Any = None
        for frame in x.unbind(1):
            state = m.cell(frame, state)
        return state[0] if isinstance(state, tuple) else state

    return Net(run, cell=kind(5, 4))


# Name to (module, arguments, MACs by hand). Bias, padding and gain cost no MAC.
MACS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], int]] = {
    "Conv1d": (lambda: nn.Conv1d(3, 7, 5), sound(3), B * 20 * 7 * 3 * 5),
    "Conv1d, padded, strided": (lambda: nn.Conv1d(3, 7, 4, stride=2, padding=1), sound(3), B * 12 * 7 * 3 * 4),
    "Conv1d, dilated": (lambda: nn.Conv1d(3, 7, 5, dilation=4), sound(3), B * 8 * 7 * 3 * 5),
    "Conv1d, grouped": (lambda: nn.Conv1d(6, 8, 5, groups=2), sound(6), B * 20 * 8 * 3 * 5),
    "Conv1d, depthwise": (lambda: nn.Conv1d(6, 6, 5, groups=6), sound(6), B * 20 * 6 * 5),
    "Conv2d": (lambda: nn.Conv2d(3, 7, (5, 3)), (torch.zeros(B, 3, 9, 8),), B * 5 * 6 * 7 * 3 * 15),
    "ConvTranspose1d k8 s4": (lambda: nn.ConvTranspose1d(3, 7, 8, stride=4), sound(3), B * T * 3 * 7 * 8),
    "ConvTranspose1d, grouped": (lambda: nn.ConvTranspose1d(6, 8, 8, 4, groups=2), sound(6), B * T * 6 * 4 * 8),
    "ConvTranspose1d, cropped": (lambda: nn.ConvTranspose1d(3, 7, 8, 4, padding=2), sound(3), B * T * 3 * 7 * 8),
    "weight_norm, old": (lambda: weight_norm(nn.Conv1d(3, 7, 5)), sound(3), B * 20 * 7 * 3 * 5),
    "weight_norm, parametrization": (
        lambda: parametrizations.weight_norm(nn.Conv1d(3, 7, 5)), sound(3), B * 20 * 7 * 3 * 5),
    "GRU": (lambda: nn.GRU(5, 4, batch_first=True), rows(5), B * T * 12 * 9),
    "GRU, time first": (lambda: nn.GRU(5, 4), rows(5), B * T * 12 * 9),
    "GRU, no batch": (lambda: nn.GRU(5, 4), (torch.zeros(T, 5),), T * 12 * 9),
    "GRU, no biases": (lambda: nn.GRU(5, 4, bias=False), rows(5), B * T * 12 * 9),
    "GRU, 3 layers": (lambda: nn.GRU(5, 4, 3), rows(5), B * T * (12 * 9 + 2 * 12 * 8)),
    "GRU, 2 layers, bidirectional": (
        lambda: nn.GRU(5, 4, 2, bidirectional=True), rows(5), B * T * 2 * (12 * 9 + 12 * 12)),
    "LSTM": (lambda: nn.LSTM(5, 4, batch_first=True), rows(5), B * T * 16 * 9),
    "LSTM, 3 layers": (lambda: nn.LSTM(5, 4, 3), rows(5), B * T * (16 * 9 + 2 * 16 * 8)),
    "LSTM, bidirectional": (lambda: nn.LSTM(5, 4, bidirectional=True), rows(5), B * T * 2 * 16 * 9),
    "LSTM, projected": (lambda: nn.LSTM(5, 4, proj_size=3), rows(5), B * T * (16 * (5 + 3) + 4 * 3)),
    "RNN": (lambda: nn.RNN(5, 4), rows(5), B * T * 4 * 9),
    "RNN, relu, 2 layers, bidirectional": (
        lambda: nn.RNN(5, 4, 2, nonlinearity="relu", bidirectional=True), rows(5), B * T * 2 * (4 * 9 + 4 * 12)),
    "GRUCell": (lambda: loop(nn.GRUCell), rows(5), B * T * 12 * 9),
    "LSTMCell": (lambda: loop(nn.LSTMCell), rows(5), B * T * 16 * 9),
    "RNNCell": (lambda: loop(nn.RNNCell), rows(5), B * T * 4 * 9),
    "Linear on (batch, time, feature)": (lambda: nn.Linear(5, 7), rows(5), B * T * 35),
    "Linear, 512 to 512, 200 frames": (lambda: nn.Linear(512, 512), (torch.zeros(1, 200, 512),), 52_428_800),
    "F.conv1d": (lambda: Net(lambda m, x: F.conv1d(x, m.w), w=parameter(7, 3, 5)), sound(3), B * 20 * 7 * 3 * 5),
    "F.conv_transpose1d": (
        lambda: Net(lambda m, x: F.conv_transpose1d(x, m.w, stride=4), w=parameter(3, 7, 8)), sound(3),
        B * T * 3 * 7 * 8),
    "F.linear": (lambda: Net(lambda m, x: F.linear(x, m.w), w=parameter(7, 5)), rows(5), B * T * 35),
    "einsum": (
        lambda: Net(lambda m, x: torch.einsum("bct,oc->bot", x, m.w), w=parameter(7, 3)), sound(3), B * T * 21),
    "matmul": (lambda: Net(lambda m, x: x @ m.w, w=parameter(5, 7)), rows(5), B * T * 35),
    "matmul of two signals": (
        lambda: Net(lambda m, x: x @ x.transpose(1, 2) * m.w, w=parameter(1)), rows(5), B * T * T * 5),
    "addmm": (
        lambda: Net(lambda m, x: torch.addmm(m.b, x, m.w), w=parameter(5, 7), b=parameter(7)),
        (torch.zeros(9, 5),), 9 * 35),
    "attention": (
        lambda: Net(lambda m, x: F.scaled_dot_product_attention(x * m.w, x, x), w=parameter(1)),
        (torch.zeros(B, 3, T, 5),), 2 * B * 3 * T * T * 5),
    "embedding": (lambda: nn.Embedding(30, 8), (torch.zeros(B, T, dtype=torch.int64),), 0),
    "complex Conv1d": (
        lambda: Net(lambda m, x: m.c(torch.complex(x, x)).abs(), c=nn.Conv1d(3, 7, 5, dtype=C64)), sound(3),
        4 * B * 20 * 7 * 3 * 5),
    "complex Linear": (
        lambda: Net(lambda m, x: m.c(torch.complex(x, x)).abs(), c=nn.Linear(5, 7, dtype=C64)), rows(5),
        4 * B * T * 35),
    "complex matmul": (
        lambda: Net(lambda m, x: (torch.complex(x, x) @ m.w).abs(), w=nn.Parameter(torch.zeros(5, 7, dtype=C64))),
        rows(5), 4 * B * T * 35),
    "einsum of a real signal and two complex weights": (
        lambda: Net(lambda m, x: torch.einsum("btc,co,op->btp", x.to(C64), m.w, m.v).abs(),
                    w=nn.Parameter(torch.zeros(5, 7, dtype=C64)), v=nn.Parameter(torch.zeros(7, 2, dtype=C64))),
        rows(5), 4 * B * T * (35 + 14)),
}  # fmt: skip
# What PyTorch's counter leaves out altogether, or counts as if complex numbers were real.
NOT_COUNTED = ("LSTM", "LSTM, 3 layers", "LSTM, bidirectional", "attention", *(n for n in MACS if "complex" in n))


@pytest.mark.parametrize("name", MACS)
def test_multiply_accumulates(name: str) -> None:
    build, inputs, macs = MACS[name]
    counted = profile(build().eval(), inputs)
    assert counted.macs == macs and counted.unknown == ()


@pytest.mark.parametrize("name", [name for name in MACS if name not in NOT_COUNTED])
def test_pytorch_agrees(name: str) -> None:
    build, inputs, macs = MACS[name]
    assert oracle.pytorch_macs(build().eval(), inputs) == macs


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_pytorch_still_leaves_these_out(name: str) -> None:
    """If this fails, its counter has learnt them: compare them above."""
    build, inputs, macs = MACS[name]
    assert oracle.pytorch_macs(build().eval(), inputs) < macs


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_whole_networks(case: Case) -> None:
    """Their MACs, and the parameters that something reads."""
    network = case.network()
    counted = profile(network, case.example())
    assert counted.macs == case.macs(case.width)
    shapes = oracle.shapes(network, case.dead)
    assert counted.parameters == sum(math.prod(shape) * number for shape, number in shapes.items())


class Bank(nn.Module):
    """Sines at the harmonics of f0: a running phase, no learnt product."""

    def __init__(self, partials: int) -> None:
        super().__init__()
        self.register_buffer("ratios", torch.arange(1.0, partials + 1)[:, None])

    def forward(self, f0: Tensor) -> Tensor:
        phase = torch.cumsum(f0, dim=-1) * self.ratios
        return torch.sin(phase)


def test_an_oscillator_bank_multiplies_nothing_and_evaluates_sines() -> None:
    counted = profile(Bank(10), (torch.rand(B, 1, T),))
    assert counted.macs == 0 and counted.unknown == ()
    assert counted.cost.transcendental == B * 10 * T
    assert counted.cost.pointwise >= B * T + B * 10 * T  # the sum, the products


def transform(length: int, real: bool) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.rfft(x) if real else torch.fft.fft(x.to(torch.complex64))) * m.gain

    return Net(run, gain=parameter(1))


@pytest.mark.parametrize("length", [16, 256, 1000])
def test_a_fourier_transform_is_five_n_log_n(length: int) -> None:
    counted = profile(transform(length, real=False), (torch.zeros(3, length),))
    assert counted.macs == 0
    assert counted.cost.fft == round(3 * 5 * length * math.log2(length))


@pytest.mark.parametrize("length", [16, 256])
def test_a_real_transform_costs_no_more(length: int) -> None:
    real = profile(transform(length, real=True), (torch.zeros(3, length),)).cost.fft
    whole = profile(transform(length, real=False), (torch.zeros(3, length),)).cost.fft
    assert whole / 2 <= real <= whole


def test_cost_follows_the_length() -> None:
    """The trap of counters that look at modules: twice the sound is twice the work."""
    for module, inputs in (
        (nn.GRU(5, 4, batch_first=True), rows(5)),
        (nn.Linear(5, 4), rows(5)),
        (nn.Conv1d(3, 4, 3, padding=1), sound(3)),
        (nn.ConvTranspose1d(3, 4, 8, 4), sound(3)),
    ):
        axis = 1 if inputs[0].shape[1] == T else 2
        twice = (torch.cat([inputs[0], inputs[0]], dim=axis),)
        assert profile(module, twice).macs == 2 * profile(module, inputs).macs > 0
