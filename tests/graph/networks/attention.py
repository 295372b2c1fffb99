"""Attention, and normalisations of every kind."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, frames, sound

N = BATCH * LENGTH
Conv = nn.Conv1d


def normalised(norm: Any) -> Any:
    """Width to: convolution, normalisation, convolution, normalisation, head."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            y = torch.tanh(m.norm_one(m.one(x)))
            return m.head(torch.tanh(m.norm_two(m.two(y))))

        return Net(
            run, one=Conv(1, h, 3, padding=1), norm_one=norm(h), two=Conv(h, h, 3, padding=1), norm_two=norm(h),
            head=Conv(h, 1, 1),
        )  # fmt: skip

    return build


class RootMeanSquare(nn.Module):
    """x / rms(x) * gain over the channels, written by hand; `over` are those that count, all if None."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1))
        self.over: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        counted = x if self.over is None else x[:, self.over]
        return x * torch.rsqrt(counted.square().mean(dim=1, keepdim=True) + 1e-6) * self.gain


def multi_head(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.first(x))
        return m.head(torch.tanh(y + m.attention(y, y, y, need_weights=False)[0]))

    attention = nn.MultiheadAttention(h, 2, batch_first=True)
    return Net(run, first=nn.Linear(3, h), attention=attention, head=nn.Linear(h, 2))


def multi_head_by_hand(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.first(x))
        batch, time, width = y.shape
        q, k, v = (part(y).view(batch, time, 2, width // 2).transpose(1, 2) for part in (m.queries, m.keys, m.values))
        weights = torch.softmax(q @ k.transpose(-2, -1) / (width // 2) ** 0.5, dim=-1)
        y = (weights @ v).transpose(1, 2).reshape(batch, time, width)
        return m.head(torch.tanh(m.join(y)))

    return Net(
        run, first=nn.Linear(3, h), queries=nn.Linear(h, h), keys=nn.Linear(h, h), values=nn.Linear(h, h),
        join=nn.Linear(h, h), head=nn.Linear(h, 2),
    )  # fmt: skip


def transformer(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.block(m.first(x)))

    block = nn.TransformerEncoderLayer(h, 2, dim_feedforward=2 * h, batch_first=True)
    return Net(run, first=nn.Linear(3, h), block=block, head=nn.Linear(h, 2))


def pooled(h: int) -> nn.Module:
    """A weighted mean over time: the softmax runs over frames, not over channels."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        weights = torch.softmax(m.score(torch.tanh(m.two(y))), dim=-1)
        return m.head((weights * y).sum(-1))

    return Net(run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 1), score=Conv(h, 1, 1), head=nn.Linear(h, 2))


def softmax_gate(h: int) -> nn.Module:
    """Channels compete for the gate: removing one leaves more for the others."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        return m.head(m.two(y) * torch.softmax(m.gate(y), dim=1))

    return Net(run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 1), gate=Conv(h, h, 1), head=Conv(h, 1, 1))


def attention_macs(h: int) -> int:
    return N * 3 * h + N * 4 * h * h + 2 * BATCH * LENGTH * LENGTH * h + N * 2 * h


NORM_MACS = lambda h: N * (3 * h + 3 * h * h + h)  # noqa: E731

CASES = [
    Case("BatchNorm, evaluating", normalised(nn.BatchNorm1d), sound(1), NORM_MACS),
    Case("GroupNorm of 4", normalised(lambda h: nn.GroupNorm(4, h)), sound(1), NORM_MACS, norms=True),
    Case("GroupNorm of 1", normalised(lambda h: nn.GroupNorm(1, h)), sound(1), NORM_MACS, norms=True),
    Case("InstanceNorm", normalised(lambda h: nn.InstanceNorm1d(h, affine=True)), sound(1), NORM_MACS),
    Case("InstanceNorm that learns nothing", normalised(nn.InstanceNorm1d), sound(1), NORM_MACS),
    Case("RMS norm by hand", normalised(RootMeanSquare), sound(1), NORM_MACS, norms=True),
    Case("nn.RMSNorm",
         lambda h: Net(lambda m, x: m.head(torch.tanh(m.norm(m.first(x)))),
                       first=nn.Linear(3, h), norm=nn.RMSNorm(h), head=nn.Linear(h, 2)),
         frames(3), lambda h: N * 5 * h, norms=True),
    Case("LayerNorm without gain",
         lambda h: Net(lambda m, x: m.head(torch.tanh(F.layer_norm(m.first(x), (m.first.out_features,)))),
                       first=nn.Linear(3, h), head=nn.Linear(h, 2)),
         frames(3), lambda h: N * 5 * h, whole="nothing names the channels that the statistics run over"),
    Case("nn.MultiheadAttention", multi_head, frames(3), attention_macs),
    Case("multi-head attention by hand", multi_head_by_hand, frames(3), attention_macs, factors=("queries",)),
    Case("transformer encoder layer", transformer, frames(3), lambda h: attention_macs(h) + N * 4 * h * h,
         norms=True),
    Case("attention pooling over time", pooled, sound(1), lambda h: N * (3 * h + h * h + h) + BATCH * 2 * h),
    Case("softmax gate over channels", softmax_gate, sound(1), lambda h: N * (3 * h + 2 * h * h + h),
         whole="a softmax runs over the channels"),
]  # fmt: skip
