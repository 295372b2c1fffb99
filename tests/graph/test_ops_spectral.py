"""Fourier transforms and running sums: transformed axes stay, the others pass."""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.graph.operator import Cost
from pochette.graph.ops.spectral import fourier_operations
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost

X = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1))
A = torch.ops.aten


def fft(points: int, rows: int, real: bool) -> int:
    return round(rows * (2.5 if real else 5) * points * log2(points))


def test_formula() -> None:
    assert fourier_operations(1024, real=False) == 5 * 1024 * 10
    assert fourier_operations(1024, real=True) == 25600
    assert fourier_operations(1, real=True) == 0


# h is (2, 6, 16), 6 channels made by a layer; what comes out has them on axis 1 and is real.
THROUGH: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...], Cost]] = {
    "rfft": (lambda h: torch.fft.rfft(h).abs(), ("fft_rfft.default",), Cost(fft=fft(16, 12, True))),
    "rfft padded": (lambda h: torch.fft.rfft(h, 32).abs(), ("fft_rfft.default",), Cost(fft=fft(32, 12, True))),
    "there and back": (lambda h: torch.fft.irfft(torch.fft.rfft(h)), ("fft_rfft.default", "fft_irfft.default"),
                       Cost(fft=2 * fft(16, 12, True))),
    "fft": (lambda h: torch.fft.fft(h).real, ("fft_fft.default",), Cost(fft=fft(16, 12, True))),
    "fft and back": (lambda h: torch.fft.ifft(torch.fft.fft(h) ** 2).real, ("fft_fft.default", "fft_ifft.default"),
                     Cost(fft=fft(16, 12, True) + fft(16, 12, False))),
    "hfft": (lambda h: torch.fft.hfft(torch.fft.ihfft(h)), ("fft_hfft.default", "fft_ihfft.default"),
             Cost(fft=2 * fft(16, 12, True))),
    "over the batch": (lambda h: torch.fft.rfft2(h, dim=(0, 2)).abs(), ("fft_rfft2.default",),
                       Cost(fft=fft(32, 6, True))),
    "plane": (lambda h: torch.fft.irfft2(torch.fft.rfft2(h.view(2, 6, 4, 4))).flatten(2),
              ("fft_rfft2.default", "fft_irfft2.default"), Cost(fft=2 * fft(16, 12, True))),
    "plane, complex": (lambda h: torch.fft.ifft2(torch.fft.fft2(h.view(2, 6, 4, 4))).real.flatten(2),
                       ("fft_fft2.default", "fft_ifft2.default"),
                       Cost(fft=fft(16, 12, True) + fft(16, 12, False))),
    "any axes": (lambda h: torch.fft.ifftn(torch.fft.fftn(h, dim=(2,)), dim=(2,)).real,
                 ("fft_fftn.default", "fft_ifftn.default"), Cost(fft=fft(16, 12, True) + fft(16, 12, False))),
    "any axes, real": (lambda h: torch.fft.irfftn(torch.fft.rfftn(h, s=(16,), dim=(2,)), dim=(2,)),
                       ("fft_rfftn.default", "fft_irfftn.default"), Cost(fft=2 * fft(16, 12, True))),
    "kernels": (lambda h: A._fft_c2r.default(A._fft_c2c.default(A._fft_r2c.default(h, [2], 0, True), [2], 0, True),
                                             [2], 2, 16),
                ("_fft_r2c.default", "_fft_c2c.default", "_fft_c2r.default"),
                Cost(fft=2 * fft(16, 12, True) + fft(9, 12, False))),
    "shifted": (lambda h: torch.fft.ifftshift(torch.fft.fftshift(h, dim=2), dim=2) * h,
                ("fft_fftshift.default", "fft_ifftshift.default"), Cost()),
    "cumsum": (lambda h: torch.cumsum(h, -1), ("cumsum.default",), Cost(pointwise=192)),
    "cumprod": (lambda h: torch.cumprod(h, -1), ("cumprod.default",), Cost(pointwise=192)),
    "logcumsumexp": (lambda h: torch.logcumsumexp(h, -1), ("logcumsumexp.default",), Cost(pointwise=192)),
    "cummax": (lambda h: torch.cummax(h, -1)[0] + torch.cummin(h, -1)[0], ("cummax.default", "cummin.default"),
               Cost(pointwise=384)),
    "pairs": (lambda h: torch.view_as_real(torch.view_as_complex(h.view(2, 6, 8, 2)) ** 2).flatten(2),
              ("view_as_real.default", "view_as_complex.default"), Cost()),
    "halves": (lambda h: A.real.default(z := torch.complex(h, h.exp())) + A.imag.default(z), ("complex.default",),
               Cost()),
    "polar": (lambda h: torch.polar(h.exp(), h).real, ("polar.default",), Cost(pointwise=384, transcendental=384)),
    "angle": (lambda h: torch.angle(torch.complex(h, h.exp())), ("angle.default",), Cost(transcendental=192)),
}  # fmt: skip


@pytest.mark.parametrize("name", THROUGH)
def test_channels_pass_what_runs_along_time(name: str) -> None:
    expression, ops, by_hand = THROUGH[name]
    module = Network(
        lambda m, x: m.reader(expression(torch.tanh(m.maker(x)))), maker=nn.Conv1d(3, 6, 1), reader=nn.Conv1d(6, 2, 1)
    )
    assert cost(check(module, X, expected={"maker": 6}), *ops) == by_hand


@pytest.mark.parametrize(
    "expression",
    [
        lambda h: torch.fft.rfft(h, dim=1).abs(),
        lambda h: torch.fft.fftn(h).abs(),
        lambda h: torch.fft.rfftn(h, s=(6, 16)).abs(),
        torch.fft.fftshift,
        lambda h: torch.cumsum(h, 1),
        lambda h: torch.view_as_complex(h.mT[..., :2].contiguous())[:, None].abs(),
    ],
)
def test_transformed_channels_stay(expression: Callable[[Tensor], Tensor]) -> None:
    module = Network(
        lambda m, x: expression(m.maker(x)).sum(1, keepdim=True) * m.gain, maker=nn.Conv1d(3, 6, 1), gain=torch.ones(1)
    )
    assert not units_of(captured(module, X)).families


class Spectrogram(nn.Module):
    """Channels that are transformed one by one, in frames, and read in each bin; or brought back."""

    def __init__(self, back: bool, window: bool, onesided: bool) -> None:
        super().__init__()
        self.back, self.onesided = back, onesided
        self.maker, self.reader = nn.Conv1d(3, 6, 1), nn.Conv1d(6, 2, 1)
        self.register_buffer("window", torch.hann_window(8) if window else None)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.maker(x)).transpose(0, 1)  # (6, batch, time)
        options: dict[str, Any] = {"n_fft": 8, "hop_length": 2, "window": self.window, "onesided": self.onesided}
        frames = [torch.stft(h[:, i], center=False, return_complex=True, **options) for i in range(2)]
        if self.back:
            made = torch.stack([torch.istft(z, center=False, **options) for z in frames])
        else:
            made = torch.stack(frames).abs().flatten(2)
        return self.reader(made)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:.*window.*")
@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("onesided", [False, True])
def test_frames(window: bool, onesided: bool) -> None:
    frames = 2 * 6 * 5
    graph = check(Spectrogram(False, window, onesided), X, expected={"maker": 6})
    by_hand = Cost(pointwise=frames * 8 * window, fft=fft(8, frames, True))
    assert cost(graph, "stft.default") == by_hand
    rectangle = Spectrogram(True, False, onesided)
    graph = check(rectangle, X, expected={"maker": 6})
    assert cost(graph, "istft.default") == Cost(pointwise=frames * 8 + 2 * 6 * 16, fft=fft(8, frames, onesided))
