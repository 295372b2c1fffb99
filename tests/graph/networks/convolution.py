"""Convolutions of every kind, and what stands between them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, sound

N = BATCH * LENGTH
Conv, Up = nn.Conv1d, nn.ConvTranspose1d


def causal(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(F.pad(x, (2, 0))))
        y = torch.tanh(m.two(F.pad(y, (4, 0))))
        return m.head(torch.tanh(m.three(F.pad(y, (8, 0)))))

    three = Conv(h, h, 3, dilation=4)
    return Net(run, one=Conv(1, h, 3), two=Conv(h, h, 3, dilation=2), three=three, head=Conv(h, 1, 1))


def middle(layer: Any, before: int = 1, after: int = 1) -> Any:
    """Width to: a convolution, some layer, a convolution."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            return m.head(torch.tanh(m.middle(torch.tanh(m.one(x)))))

        return Net(run, one=Conv(before, h, 3, padding=1), middle=layer(h), head=Conv(h, after, 3, padding=1))

    return build


class Bounded(torch.autograd.Function):
    """x / (1 + x^2) with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x / (1 + x**2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (1 - x**2).clamp(min=0.1)


def snake(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        y = y + torch.sin(m.alpha * y) ** 2 / (m.alpha + 1e-9)
        return m.head(m.two(y))

    return Net(
        run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1),
        alpha=nn.Parameter(torch.ones(1, h, 1)),
    )  # fmt: skip


def norm_across(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.norm(m.one(x).transpose(1, 2)).transpose(1, 2)
        return m.head(torch.tanh(m.two(torch.tanh(y))))

    return Net(
        run, one=Conv(1, h, 3, padding=1), norm=nn.LayerNorm(h), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1)
    )


def custom_function(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(Bounded.apply(m.two(Bounded.apply(m.one(x)))))

    return Net(run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1))


def subpixel(h: int) -> nn.Module:
    """A convolution makes 4 samples a frame; view and permute lay them side by side."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = m.phases(torch.tanh(m.one(x)))
        batch, channels, time = y.shape
        y = y.view(batch, channels // 4, 4, time).permute(0, 1, 3, 2).reshape(batch, channels // 4, time * 4)
        return m.head(torch.tanh(y))

    return Net(run, one=Conv(1, h, 3, padding=1), phases=Conv(h, 4 * h, 3, padding=1), head=Conv(h, 1, 3, padding=1))


def pixel_shuffle(h: int) -> nn.Module:
    """The phases lie outermost: channel p * h + c is phase p of channel c."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = m.phases(torch.tanh(m.one(x))).unflatten(1, (2, -1))
        return m.head(torch.tanh(y.permute(0, 2, 3, 1).flatten(2)))

    return Net(run, one=Conv(1, h, 3, padding=1), phases=Conv(h, 2 * h, 3, padding=1), head=Conv(h, 1, 3, padding=1))


def normed(norm: Any) -> Any:
    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            return m.head(torch.tanh(m.two(torch.tanh(m.one(x)))))

        return Net(
            run, one=norm(Conv(1, h, 3, padding=1)), two=norm(Conv(h, h, 3, padding=2, dilation=2)),
            head=norm(Conv(h, 1, 1)),
        )  # fmt: skip

    return build


def normed_up(norm: Any) -> Any:
    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            return m.head(torch.tanh(m.up(torch.tanh(m.one(x)))))

        return Net(
            run, one=norm(Conv(1, h, 3, padding=1)), up=norm(Up(h, h, 8, stride=4, padding=2)),
            head=norm(Conv(h, 1, 3, padding=1)),
        )  # fmt: skip

    return build


def flattened(h: int) -> nn.Module:
    """A spectrogram classifier: convolutions, pooling, flatten, two dense layers."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = F.max_pool2d(torch.tanh(m.one(x)), 2)
        y = F.avg_pool2d(torch.tanh(m.two(y)), 2)
        return m.head(torch.tanh(m.dense(y.flatten(1))))

    return Net(
        run, one=nn.Conv2d(1, h, 3, padding=1), two=nn.Conv2d(h, h, 3, padding=1), dense=nn.Linear(h * 6, 2 * h),
        head=nn.Linear(2 * h, 3),
    )  # fmt: skip


def padded(mode: str) -> Any:
    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            y = F.pad(torch.tanh(m.one(F.pad(x, (1, 1), mode=mode))), (2, 2), mode=mode)
            return m.head(torch.tanh(m.two(y)))

        return Net(run, one=Conv(1, h, 3), two=Conv(h, h, 5), head=Conv(h, 1, 3, padding=1, padding_mode="reflect"))

    return build


def pooled(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = F.max_pool1d(torch.tanh(m.one(x)), 2)
        y = m.average(torch.tanh(m.two(y)))
        return m.head(y)

    return Net(
        run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), average=nn.AvgPool1d(2),
        head=Conv(h, 1, 3, padding=1),
    )  # fmt: skip


def upsampled(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = F.interpolate(torch.tanh(m.one(x)), scale_factor=2.0, mode="nearest")
        return m.head(torch.tanh(m.two(y)))

    return Net(run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1))


def functional(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(F.conv1d(x, m.first, m.first_bias, padding=1))
        y = torch.tanh(F.conv1d(y, m.second, None, padding=2, dilation=2))
        return m.head(y)

    return Net(
        run, first=nn.Parameter(torch.zeros(h, 1, 3)), first_bias=nn.Parameter(torch.zeros(h)),
        second=nn.Parameter(torch.zeros(h, h, 3)), head=Conv(h, 1, 1),
    )  # fmt: skip


def shuffled(h: int) -> nn.Module:
    """ShuffleNet's: channels are dealt out between two plain convolutions."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        batch, channels, time = y.shape
        y = y.view(batch, 2, channels // 2, time).transpose(1, 2).reshape(batch, channels, time)
        return m.head(torch.tanh(m.two(y)))

    return Net(run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1))


def stft_masker(h: int) -> nn.Module:
    """A learnt filter on the spectrum of every hidden channel."""

    def run(m: Any, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(torch.tanh(m.one(x))) * torch.complex(m.real, m.imaginary)
        return m.head(torch.fft.irfft(spectrum, n=x.shape[-1]))

    bins = LENGTH // 2 + 1
    return Net(
        run, one=Conv(1, h, 3, padding=1), real=nn.Parameter(torch.zeros(h, bins)),
        imaginary=nn.Parameter(torch.zeros(h, bins)), head=Conv(h, 1, 1),
    )  # fmt: skip


def subbands(h: int) -> nn.Module:
    """Windows of 8 samples, analysed, and overlapped again by a transposed convolution."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.analysis(x.squeeze(1).unfold(-1, 8, 4)))
        return m.head(torch.tanh(m.hidden(y)).transpose(1, 2))

    return Net(run, analysis=nn.Linear(8, h), hidden=nn.Linear(h, h), head=Up(h, 1, 8, stride=4))


CASES = [
    Case("causal dilated Conv1d", causal, sound(1), lambda h: N * (3 * h + 3 * h * h + 3 * h * h + h)),
    Case("ConvTranspose1d", middle(lambda h: Up(h, h, 8, stride=4, padding=2)), sound(1),
         lambda h: N * 3 * h + N * 8 * h * h + 4 * N * 3 * h),
    Case("depthwise Conv1d", middle(lambda h: Conv(h, h, 5, padding=2, groups=h)), sound(1),
         lambda h: N * (3 * h + 5 * h + 3 * h)),
    Case("depthwise ConvTranspose1d", middle(lambda h: Up(h, h, 4, stride=2, padding=1, groups=h)), sound(1),
         lambda h: N * 3 * h + N * 4 * h + 2 * N * 3 * h),
    Case("grouped Conv1d", middle(lambda h: Conv(h, h, 3, padding=1, groups=4)), sound(1),
         lambda h: N * (3 * h + 3 * h * h // 4 + 3 * h)),
    Case("grouped ConvTranspose1d", middle(lambda h: Up(h, h, 4, stride=2, padding=1, groups=4)), sound(1),
         lambda h: N * 3 * h + N * 4 * h * h // 4 + 2 * N * 3 * h),
    Case("Snake, a parameter (1, C, 1)", snake, sound(1), lambda h: N * (3 * h + 3 * h * h + h)),
    Case("LayerNorm through transposes", norm_across, sound(1), lambda h: N * (3 * h + 3 * h * h + h), norms=True),
    Case("custom autograd.Function", custom_function, sound(1), lambda h: N * (3 * h + 3 * h * h + h)),
    Case("sub-pixel by view and permute", subpixel, sound(1), lambda h: N * (3 * h + 12 * h * h) + 4 * N * 3 * h),
    Case("pixel shuffle, phases outermost", pixel_shuffle, sound(1),
         lambda h: N * (3 * h + 6 * h * h) + 2 * N * 3 * h),
    Case("weight_norm, old", normed(weight_norm), sound(1), lambda h: N * (3 * h + 3 * h * h + h)),
    Case("weight_norm, parametrization", normed(parametrizations.weight_norm), sound(1),
         lambda h: N * (3 * h + 3 * h * h + h)),
    Case("weight_norm old, ConvTranspose1d", normed_up(weight_norm), sound(1),
         lambda h: N * 3 * h + N * 8 * h * h + 4 * N * 3 * h),
    Case("weight_norm parametrization, ConvTranspose1d", normed_up(parametrizations.weight_norm), sound(1),
         lambda h: N * 3 * h + N * 8 * h * h + 4 * N * 3 * h),
    # What is computed of weights alone, here the norms u' W v, meets no data: no MAC. PyTorch's counter counts it.
    Case("spectral_norm", normed(parametrizations.spectral_norm), sound(1), lambda h: N * (3 * h + 3 * h * h + h)),
    Case("Conv2d spectrogram net, flatten to Linear", flattened,
         lambda _: (torch.randn(BATCH, 1, 8, 12),),
         lambda h: BATCH * (96 * 9 * h + 24 * 9 * h * h + 6 * h * 2 * h + 2 * h * 3), any_length=False),
    Case("padding by reflection", padded("reflect"), sound(1), lambda h: N * (3 * h + 5 * h * h + 3 * h)),
    Case("padding by constant", padded("constant"), sound(1), lambda h: N * (3 * h + 5 * h * h + 3 * h)),
    Case("max and average pooling", pooled, sound(1), lambda h: N * 3 * h + N // 2 * 3 * h * h + N // 4 * 3 * h),
    Case("nearest upsampling and convolution", upsampled, sound(1),
         lambda h: N * 3 * h + 2 * N * (3 * h * h + h)),
    Case("F.conv1d with parameters", functional, sound(1), lambda h: N * (3 * h + 3 * h * h + h),
         contracted=(("second", 1),)),
    Case("channel shuffle", shuffled, sound(1), lambda h: N * (3 * h + 3 * h * h + h)),
    Case("learnt filter on the spectrum", stft_masker, sound(1), lambda h: N * (3 * h + h), any_length=False),
    Case("sub-bands by unfold", subbands, sound(1), lambda h: BATCH * 5 * (8 * h + h * h + 8 * h)),
]  # fmt: skip
