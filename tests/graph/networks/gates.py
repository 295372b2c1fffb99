"""Gates, modulation, stacks of residual layers, and networks that copy over their own bottleneck."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, sound

N = BATCH * LENGTH
Conv, Up = nn.Conv1d, nn.ConvTranspose1d
Split = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def gate(split: Split) -> Any:
    """Width to: a convolution whose first half passes through the second's sigmoid."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            value, passing = split(m.both(torch.tanh(m.one(x))), h)
            return m.head(torch.tanh(value) * torch.sigmoid(passing))

        return Net(run, one=Conv(1, h, 3, padding=1), both=Conv(h, 2 * h, 3, padding=1), head=Conv(h, 1, 1))

    return build


def film(h: int) -> nn.Module:
    def run(m: Any, x: Tensor, condition: Tensor) -> Tensor:
        gain, offset = m.film(condition.mean(-1)).unsqueeze(-1).chunk(2, dim=1)
        y = torch.relu(gain * m.two(torch.tanh(m.one(x))) + offset)
        return m.head(y)

    return Net(
        run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), film=nn.Linear(4, 2 * h), head=Conv(h, 1, 1)
    )


def wavenet(layers: int, dead: bool, skips: bool, norm: Any = lambda layer: layer) -> Any:
    """Width to: gated residual layers; in a dead one the last residual branch reaches nothing."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            y, total = m.one(x), 0
            for number in range(layers):
                reach = 2**number
                value, passing = m.gates[number](F.pad(y, (reach, 0))).chunk(2, dim=1)
                z = torch.tanh(value) * torch.sigmoid(passing)
                if skips:
                    total = total + m.skips[number](z)
                if number < layers - 1 or dead or not skips:
                    y = y + m.residuals[number](z)
            return m.head(torch.relu(total if skips else y))

        kept = layers if dead or not skips else layers - 1
        return Net(
            run,
            one=norm(Conv(1, h, 1)),
            gates=nn.ModuleList(norm(Conv(h, 2 * h, 2, dilation=2**i)) for i in range(layers)),
            residuals=nn.ModuleList(norm(Conv(h, h, 1)) for _ in range(kept)),
            skips=nn.ModuleList(norm(Conv(h, h, 1)) for _ in range(layers if skips else 0)),
            head=norm(Conv(h, 1, 1)),
        )

    return build


def wave_u_net(h: int) -> nn.Module:
    """Convolutions without padding: what is copied over is cropped in time, the raw input too."""

    def crop(x: Tensor, like: Tensor) -> Tensor:
        start = (x.shape[-1] - like.shape[-1]) // 2
        return x[:, :, start : start + like.shape[-1]]

    def run(m: Any, x: Tensor) -> Tensor:
        shallow = torch.tanh(m.down_one(x))
        deep = torch.tanh(m.down_two(shallow[:, :, ::2]))
        y = F.interpolate(torch.tanh(m.bottom(deep)), scale_factor=2.0, mode="nearest")
        y = torch.tanh(m.up(torch.cat([crop(shallow, y), y], dim=1)))
        return m.head(torch.cat([crop(x, y), y], dim=1))

    return Net(
        run, down_one=Conv(1, h, 5), down_two=Conv(h, 2 * h, 3), bottom=Conv(2 * h, 2 * h, 3), up=Conv(3 * h, h, 3),
        head=Conv(h + 1, 1, 1),
    )  # fmt: skip


def wave_u_net_macs(h: int) -> int:
    # 24 samples; 20 after the first; 10 of them, 8, 6; 12 again; 10 at the end.
    return BATCH * (20 * 5 * h + 8 * 3 * h * 2 * h + 6 * 3 * 2 * h * 2 * h + 10 * 3 * 3 * h * h + 10 * (h + 1))


def u_net(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        shallow = torch.tanh(m.one(x))
        deep = torch.tanh(m.middle(torch.tanh(m.down(shallow))))
        return m.head(torch.tanh(m.join(torch.cat([torch.tanh(m.up(deep)), shallow], dim=1))))

    return Net(
        run, one=Conv(1, h, 3, padding=1), down=Conv(h, 2 * h, 4, stride=2, padding=1),
        middle=Conv(2 * h, 2 * h, 3, padding=1), up=Up(2 * h, h, 4, stride=2, padding=1),
        join=Conv(2 * h, h, 3, padding=1), head=Conv(h, 1, 1),
    )  # fmt: skip


def u_net_macs(h: int) -> int:
    half = N // 2
    return N * 3 * h + half * 4 * h * 2 * h + half * 3 * 4 * h * h + half * 4 * 2 * h * h + N * (3 * 2 * h * h + h)


def dense_net(h: int) -> nn.Module:
    """Every layer reads all before it."""

    def run(m: Any, x: Tensor) -> Tensor:
        made = [torch.tanh(m.first(x))]
        for layer in m.layers:
            made.append(torch.tanh(layer(torch.cat(made, dim=1))))
        return m.head(torch.cat([*made, x], dim=1))

    layers = nn.ModuleList(Conv(h * (i + 1), h, 3, padding=1) for i in range(3))
    return Net(run, first=Conv(1, h, 3, padding=1), layers=layers, head=Conv(4 * h + 1, 1, 1))


def residual_stack(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.first(x)
        for wide, narrow in zip(m.wide, m.narrow, strict=True):
            y = y + narrow(F.leaky_relu(wide(F.leaky_relu(y, 0.1)), 0.1))
        return m.head(torch.tanh(y))

    return Net(
        run, first=Conv(1, h, 3, padding=1), head=Conv(h, 1, 3, padding=1),
        wide=nn.ModuleList(Conv(h, 2 * h, 3, padding=d, dilation=d) for d in (1, 3)),
        narrow=nn.ModuleList(Conv(2 * h, h, 1) for _ in range(2)),
    )  # fmt: skip


def squeeze_excite(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        weights = torch.sigmoid(m.excite(torch.relu(m.squeeze(y.mean(dim=-1)))))
        return m.head(torch.tanh(m.two(y * weights.unsqueeze(-1))))

    return Net(
        run, one=Conv(1, h, 3, padding=1), squeeze=nn.Linear(h, h // 4), excite=nn.Linear(h // 4, h),
        two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1),
    )  # fmt: skip


def two_heads(h: int) -> nn.Module:
    """Two answers, mixed by a third."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        part = torch.sigmoid(m.head_mix(y))
        return part * m.head_one(torch.tanh(m.left(y))) + (1 - part) * m.head_two(torch.tanh(m.right(y)))

    return Net(
        run, one=Conv(1, h, 3, padding=1), left=Conv(h, h, 1), right=Conv(h, 2 * h, 1), head_one=Conv(h, 1, 1),
        head_two=Conv(2 * h, 1, 1), head_mix=Conv(h, 1, 1),
    )  # fmt: skip


def several_inputs(h: int) -> nn.Module:
    def run(m: Any, pitch: Tensor, noise: Tensor) -> Tensor:
        y = torch.cat([torch.tanh(m.tone(pitch)), noise, torch.tanh(m.hiss(noise))], dim=1)
        return m.head(torch.tanh(m.both(y)))

    return Net(
        run, tone=Conv(1, h, 3, padding=1), hiss=Conv(2, h, 3, padding=1), both=Conv(2 * h + 2, h, 1),
        head=Conv(h, 1, 1),
    )  # fmt: skip


def several_outputs(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(m.one(x))
        return m.head_audio(torch.tanh(m.two(y))), m.head_level(y).mean(-1)

    return Net(
        run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), head_audio=Conv(h, 1, 1),
        head_level=Conv(h, 2, 1),
    )  # fmt: skip


GATE_MACS = lambda h: N * (3 * h + 3 * h * 2 * h + h)  # noqa: E731

CASES = [
    Case("FiLM by chunk", film, sound(1, 4), lambda h: N * (3 * h + 3 * h * h + h) + BATCH * 8 * h),
    Case("gate by chunk", gate(lambda y, _: tuple(y.chunk(2, dim=1))), sound(1), GATE_MACS),
    Case("gate by split(C)", gate(lambda y, h: tuple(y.split(h, dim=1))), sound(1), GATE_MACS),
    Case("gate by slices", gate(lambda y, h: (y[:, :h], y[:, h:])), sound(1), GATE_MACS),
    Case("gate by split([C, C])", gate(lambda y, h: tuple(y.split([h, h], dim=1))), sound(1), GATE_MACS),
    Case("GLU",
         lambda h: Net(lambda m, x: m.head(F.glu(m.both(torch.tanh(m.one(x))), dim=1)),
                       one=Conv(1, h, 3, padding=1), both=Conv(h, 2 * h, 3, padding=1), head=Conv(h, 1, 1)),
         sound(1), GATE_MACS),
    # The dead residual convolution is not counted: it computes nothing that anybody reads.
    Case("WaveNet, dead last residual", wavenet(3, dead=True, skips=True), sound(1),
         lambda h: N * (h + 3 * (4 * h * h + h * h) + 2 * h * h + h), dead=("residuals.2",)),
    Case("WaveNet without skips", wavenet(3, dead=False, skips=False), sound(1),
         lambda h: N * (h + 3 * (4 * h * h + h * h) + h)),
    Case("WaveNet with skip sums", wavenet(4, dead=False, skips=True), sound(1),
         lambda h: N * (h + 4 * (4 * h * h + h * h) + 3 * h * h + h)),
    Case("Wave-U-Net: crops, raw input joined", wave_u_net, sound(1), wave_u_net_macs),
    Case("U-Net", u_net, sound(1), u_net_macs),
    Case("dense net: everything joined", dense_net, sound(1), lambda h: N * (3 * h + 3 * h * 6 * h + 4 * h + 1)),
    Case("residual stack", residual_stack, sound(1), lambda h: N * (3 * h + 2 * (3 * h * 2 * h + 2 * h * h) + 3 * h)),
    Case("squeeze and excite", squeeze_excite, sound(1),
         lambda h: N * (3 * h + 3 * h * h + h) + BATCH * 2 * h * (h // 4)),
    Case("mixture of two heads", two_heads, sound(1), lambda h: N * (3 * h + 3 * h * h + 4 * h)),
    Case("several inputs", several_inputs, sound(1, 2), lambda h: N * (3 * h + 6 * h + (2 * h + 2) * h + h)),
    Case("several outputs", several_outputs, sound(1), lambda h: N * (3 * h + 3 * h * h + 3 * h)),
]  # fmt: skip
