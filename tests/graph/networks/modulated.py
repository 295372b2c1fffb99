"""Filters that data set: modulated by a style (StyleGAN2), predicted by a network, another one for every frame."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.graph.networks.case import BATCH, LENGTH, Case, Net

N = BATCH * LENGTH
Conv = nn.Conv1d


class Modulated(nn.Module):
    """StyleGAN2's: inputs are scaled by a style, outputs brought back to their level, each voice with its own filter.

    Voices stand side by side as groups of one convolution.
    """

    def __init__(self, ins: int, outs: int, styles: int, *, demodulates: bool, up: bool = False) -> None:
        super().__init__()
        self.demodulates, self.up = demodulates, up
        self.filters, self.style = nn.Parameter(torch.zeros(outs, ins, 3)), nn.Linear(styles, ins)
        self.offset = nn.Parameter(torch.zeros(outs))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        (batch, _, time), (outs, ins, taps) = x.shape, self.filters.shape
        filters = self.filters[None] * self.style(style)[:, None, :, None]
        if self.demodulates:
            filters = filters * torch.rsqrt(filters.pow(2).sum((2, 3), keepdim=True) + 1e-8)
        side_by_side = x.reshape(1, batch * ins, time)
        if self.up:
            turned = filters.transpose(1, 2).reshape(batch * ins, outs, taps)
            y = F.conv_transpose1d(side_by_side, turned, stride=2, padding=1, output_padding=1, groups=batch)
        else:
            y = F.conv1d(side_by_side, filters.reshape(batch * outs, ins, taps), padding=1, groups=batch)
        return y.reshape(batch, outs, -1) + self.offset[:, None]


def styled(*, demodulates: bool, up: bool = False) -> Any:
    """Width to two modulated convolutions after a mapping network."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor, z: Tensor) -> Tensor:
            style = torch.tanh(m.mapping(z))
            y = F.leaky_relu(m.one(x, style), 0.2)
            return m.head(F.leaky_relu(m.two(y, style), 0.2))

        return Net(
            run, mapping=nn.Sequential(nn.Linear(3, h), nn.Tanh(), nn.Linear(h, h // 4)),
            one=Modulated(2, h, h // 4, demodulates=demodulates),
            two=Modulated(h, h, h // 4, demodulates=demodulates, up=up),
            head=Conv(h, 1, 3, padding=1),
        )  # fmt: skip

    return build


def predicted(h: int) -> nn.Module:
    """A network makes all filters of a convolution that stands between two others."""

    def run(m: Any, x: Tensor, z: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        filters = m.maker(torch.tanh(m.coder(z))).view(-1, y.shape[1], 3)
        return m.head(torch.tanh(F.conv1d(y, filters, padding=1)))

    return Net(
        run, one=Conv(1, h, 3, padding=1), coder=nn.Linear(4, h), maker=nn.Linear(h, 3 * h * h), head=Conv(h, 1, 1)
    )


def by_frame(h: int) -> nn.Module:
    """Location-variable: a filter for every frame of four samples, which a conditioner makes (UnivNet, LVCNet)."""

    def run(m: Any, x: Tensor, z: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        windows = F.pad(y, (1, 1)).unfold(-1, 6, 4).unfold(-1, 3, 1)  # (batch, channel, frame, sample, tap)
        made = m.maker(torch.tanh(m.coder(z)))
        filters = made.view(z.shape[0], y.shape[1], 4, 3, z.shape[2])  # (batch, in, out, tap, frame)
        out = torch.einsum("bifst,biotf->bofs", windows, filters).flatten(2)
        return m.head(torch.tanh(out))

    return Net(run, one=Conv(1, h, 3, padding=1), coder=Conv(3, h, 1), maker=Conv(h, 12 * h, 1), head=Conv(4, 1, 1))


def styles(batch: int) -> Any:
    """Length to arguments: a sound, and a style for each voice."""
    return lambda length: (torch.randn(batch, 2, length), torch.randn(batch, 3))


def styled_macs(h: int, times: int = 1, batch: int = BATCH) -> int:
    """The filters' modulation is pointwise; the maker of styles counts, and so do filters on data."""
    style = h // 4
    return batch * (3 * h + style * (h + 2 + h)) + batch * LENGTH * (6 * h + 3 * h * h + times * 3 * h)


CASES = [
    Case("modulated convolutions", styled(demodulates=False), styles(BATCH), styled_macs,
         contracted=(("one.filters", 1), ("two.filters", 1))),
    Case("modulated convolutions, one voice", styled(demodulates=False), styles(1),
         lambda h: styled_macs(h, batch=1), contracted=(("one.filters", 1), ("two.filters", 1))),
    Case("modulated and demodulated convolutions", styled(demodulates=True), styles(BATCH), styled_macs, norms=True,
         contracted=(("one.filters", 1), ("two.filters", 1))),
    Case("modulated transposed convolution", styled(demodulates=False, up=True), styles(BATCH),
         lambda h: styled_macs(h, 2), contracted=(("one.filters", 1), ("two.filters", 1))),
    Case("filters made by a network", predicted, lambda length: (torch.randn(BATCH, 1, length), torch.randn(1, 4)),
         lambda h: 4 * h + 3 * h**3 + N * (3 * h + 3 * h * h + h),
         whole="rows and columns of filters are rows of one layer: one of them can go"),
    Case("location-variable convolution", by_frame,
         lambda length: (torch.randn(BATCH, 1, length), torch.randn(BATCH, 3, length // 4)),
         lambda h: N * (3 * h) + N // 4 * (3 * h + 12 * h * h) + N * (12 * h) + N * 4,
         factors=("maker",)),
]  # fmt: skip
