"""Whole generators, as they are published: many kinds of layers at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, frames, sound

N = BATCH * LENGTH
Conv, Up = nn.Conv1d, nn.ConvTranspose1d


def ddsp(norm: bool) -> Any:
    """Width to a DDSP decoder: stacks for f0 and loudness, a GRU, a stack that reads the raw controls too."""

    def stack(inputs: int, h: int) -> nn.Module:
        layers: list[nn.Module] = []
        for number in range(2):
            layers += [nn.Linear(inputs if number == 0 else h, h), *([nn.LayerNorm(h)] if norm else [])]
            layers.append(nn.LeakyReLU(0.2))
        return nn.Sequential(*layers)

    def build(h: int) -> nn.Module:
        def run(m: Any, f0: Tensor, loudness: Tensor) -> tuple[Tensor, Tensor]:
            made, _ = m.gru(torch.cat([m.pitch(f0), m.loud(loudness)], dim=-1))
            y = m.out(torch.cat([made, f0, loudness], dim=-1))
            amplitudes = 2 * torch.sigmoid(m.head_harmonics(y)) ** 2.3026 + 1e-7
            return amplitudes / amplitudes.sum(-1, keepdim=True), m.head_noise(y)

        return Net(
            run, pitch=stack(1, 2 * h), loud=stack(1, 2 * h), gru=nn.GRU(4 * h, h, batch_first=True),
            out=stack(h + 2, 2 * h), head_harmonics=nn.Linear(2 * h, 10), head_noise=nn.Linear(2 * h, 5),
        )  # fmt: skip

    return build


def ddsp_macs(h: int) -> int:
    w = 2 * h
    return N * (2 * (w + w * w) + 3 * h * (2 * w + h) + (h + 2) * w + w * w + 15 * w)


def everything(norm: Any) -> Any:
    """Width to: encoder, GRU, LayerNorm, FiLM, gated stack with skips, transposed convolutions, weight norm."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor, condition: Tensor) -> Tensor:
            y = F.leaky_relu(m.encoder(x), 0.1)
            y = m.norm(m.gru(y.transpose(1, 2))[0]).transpose(1, 2)
            gain, offset = m.film(condition.mean(-1)).unsqueeze(-1).chunk(2, dim=1)
            y, total = gain * y + offset, 0
            for number, (both, residual, skip) in enumerate(zip(m.gates, m.residuals, m.skips, strict=True)):
                value, passing = both(F.pad(y, (2 * 2**number, 0))).chunk(2, dim=1)
                z = torch.tanh(value) * torch.sigmoid(passing)
                y, total = y + residual(z), total + skip(z)
            y = torch.relu(total)
            for up in m.ups:
                y = F.leaky_relu(up(y), 0.1)
            return torch.tanh(m.head(y))

        return Net(
            run,
            encoder=norm(Conv(1, h, 5, stride=2, padding=2)),
            gru=nn.GRU(h, h, batch_first=True),
            norm=nn.LayerNorm(h),
            film=nn.Linear(4, 2 * h),
            gates=nn.ModuleList(norm(Conv(h, 2 * h, 3, dilation=2**i)) for i in range(2)),
            residuals=nn.ModuleList(norm(Conv(h, h, 1)) for _ in range(2)),
            skips=nn.ModuleList(norm(Conv(h, 2 * h, 1)) for _ in range(2)),
            ups=nn.ModuleList(
                [norm(Up(2 * h, h, 4, stride=2, padding=1)), norm(Up(h, h // 2, 4, stride=2, padding=1))]
            ),
            head=norm(Conv(h // 2, 1, 3, padding=1)),
        )

    return build


def everything_macs(h: int) -> int:
    half = N // 2
    stack = 2 * (3 * h * 2 * h) + h * h + 2 * 2 * h * h  # the last residual branch reaches nothing
    ups = half * 4 * 2 * h * h + N * 4 * h * (h // 2) + 2 * N * 3 * (h // 2)
    return half * (5 * h + 6 * h * h + stack) + BATCH * 8 * h + ups


def auto_encoder(h: int) -> nn.Module:
    """RAVE's outline: strided convolutions down, batch norms, a latent, transposed convolutions up."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = F.leaky_relu(m.norm_one(m.one(x)), 0.2)
        y = F.leaky_relu(m.norm_two(m.two(y)), 0.2)
        mean, _ = m.latent(y).chunk(2, dim=1)
        y = F.leaky_relu(m.up_one(mean), 0.2)
        y = F.leaky_relu(m.up_two(y), 0.2)
        wave, loudness = m.head(y).split(1, dim=1)
        return torch.tanh(wave) * torch.sigmoid(loudness)

    return Net(
        run, one=Conv(1, h, 4, stride=2, padding=1), norm_one=nn.BatchNorm1d(h),
        two=Conv(h, 2 * h, 4, stride=2, padding=1), norm_two=nn.BatchNorm1d(2 * h), latent=Conv(2 * h, h, 1),
        up_one=Up(h // 2, h, 4, stride=2, padding=1), up_two=Up(h, h, 4, stride=2, padding=1),
        head=Conv(h, 2, 3, padding=1),
    )  # fmt: skip


def auto_encoder_macs(h: int) -> int:
    half, quarter = N // 2, N // 4
    down = half * 4 * h + quarter * 4 * h * 2 * h + quarter * 2 * h * h
    return down + quarter * 4 * (h // 2) * h + half * 4 * h * h + N * 6 * h


CASES = [
    Case("DDSP decoder", ddsp(norm=True), frames(1, 1), ddsp_macs, norms=True),
    Case("DDSP decoder without norms", ddsp(norm=False), frames(1, 1), ddsp_macs),
    Case("everything, weight_norm old", everything(weight_norm), sound(1, 4), everything_macs, norms=True,
         dead=("residuals.1",)),
    Case("everything, weight_norm parametrization", everything(parametrizations.weight_norm), sound(1, 4),
         everything_macs, norms=True, dead=("residuals.1",)),
    Case("variational auto-encoder, latent's spread unread", auto_encoder, sound(1), auto_encoder_macs),
]  # fmt: skip
