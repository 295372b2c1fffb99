"""Dense networks, products written as functions, shared weights, sizes written into forward, and nothing to trim."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, frames, sound, vectors

N = BATCH * LENGTH
Conv = nn.Conv1d


def chain(*between: Any) -> Any:
    """Width to: dense layers of 3, h, 2 h and 2, with the same modules between them, each made for a width."""

    def build(h: int) -> nn.Module:
        parts: dict[str, nn.Module] = {"first": nn.Linear(3, h), "second": nn.Linear(h, 2 * h)}
        parts |= {f"one_{i}": make(h) for i, make in enumerate(between)}
        parts |= {f"two_{i}": make(2 * h) for i, make in enumerate(between)}

        def run(m: Any, x: Tensor) -> Tensor:
            y = m.first(x)
            for i in range(len(between)):
                y = getattr(m, f"one_{i}")(y)
            y = m.second(y)
            for i in range(len(between)):
                y = getattr(m, f"two_{i}")(y)
            return m.head(y)

        return Net(run, **parts, head=nn.Linear(2 * h, 2))

    return build


def siren(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.sin(30 * m.first(x))
        return m.head(torch.sin(m.second(y)))

    return Net(run, first=nn.Linear(1, h), second=nn.Linear(h, h), head=nn.Linear(h, 1))


def prelu(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.slope_two(m.two(m.slope_one(m.one(x)))))

    return Net(
        run, one=Conv(1, h, 3, padding=1), slope_one=nn.PReLU(h), two=Conv(h, h, 3, padding=1), slope_two=nn.PReLU(),
        head=Conv(h, 1, 1),
    )  # fmt: skip


def layer_scale(h: int) -> nn.Module:
    """ConvNeXt's block: depthwise, wide, narrow, a learnt gain a channel, and the way around."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = m.first(x)
        z = m.narrow(F.gelu(m.wide(m.each(y))))
        return m.head(y + m.gain * z)

    return Net(
        run, first=Conv(1, h, 3, padding=1), each=Conv(h, h, 5, padding=2, groups=h), wide=Conv(h, 2 * h, 1),
        narrow=Conv(2 * h, h, 1), gain=nn.Parameter(torch.ones(h, 1)), head=Conv(h, 1, 1),
    )  # fmt: skip


def used_twice(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.first(x))
        return m.head(torch.tanh(m.shared(torch.tanh(m.shared(y)))))

    return Net(run, first=nn.Linear(3, h), shared=nn.Linear(h, h), head=nn.Linear(h, 2))


def tied_auto_encoder(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(m.encoder(x)), m.encoder.weight.t(), m.offset)

    return Net(run, encoder=nn.Linear(6, h), offset=nn.Parameter(torch.zeros(6)))


def stacked(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        both = torch.stack([torch.tanh(m.left(x)), torch.sigmoid(m.right(x))], dim=1)
        one, other = (2 * both).unbind(1)
        return m.head(one * other)

    return Net(run, left=Conv(1, h, 3, padding=1), right=Conv(1, h, 3, padding=1), head=Conv(h, 1, 1))


def einsum(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(torch.einsum("bct,oc->bot", torch.tanh(m.one(x)), m.mix)))

    return Net(run, one=Conv(1, h, 3, padding=1), mix=nn.Parameter(torch.zeros(h, h)), head=Conv(h, 1, 1))


def matmul(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(torch.tanh(m.first(x)) @ m.mix))

    return Net(run, first=nn.Linear(3, h), mix=nn.Parameter(torch.zeros(h, 2 * h)), head=nn.Linear(2 * h, 2))


def addmm(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(torch.addmm(m.offset, torch.tanh(m.first(x)), m.mix)))

    return Net(
        run, first=nn.Linear(3, h), mix=nn.Parameter(torch.zeros(h, h)), offset=nn.Parameter(torch.zeros(h)),
        head=nn.Linear(h, 2),
    )  # fmt: skip


def literal_slice(h: int) -> nn.Module:
    """Only the first half of the channels is read on one way, all of them on the other."""
    wide = 2 * h

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.one(x))
        return m.head(m.two(y[:, :h])) + m.head_all(y[:, 0:wide])

    return Net(run, one=Conv(1, wide, 3, padding=1), two=Conv(h, h, 1), head=Conv(h, 1, 1), head_all=Conv(wide, 1, 1))


def literal_zeros(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        hidden, made = x.new_zeros(x.shape[0], h), []
        for frame in torch.tanh(m.first(x)).unbind(1):
            hidden = torch.tanh(m.ahead(frame) + m.back(hidden))
            made.append(hidden)
        return m.head(torch.stack(made, dim=1))

    return Net(run, first=nn.Linear(3, h), ahead=nn.Linear(h, h), back=nn.Linear(h, h), head=nn.Linear(h, 2))


def literal_view(h: int) -> nn.Module:
    """Sizes in the text: (batch, h, 4, time) and back."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        y = y.view(BATCH, h, 4, LENGTH).amax(dim=2)
        return m.head(torch.tanh(m.two(y)).view(BATCH, h, LENGTH))

    return Net(run, one=Conv(1, 4 * h, 3, padding=1), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1))


CHAIN_MACS = lambda h: N * (3 * h + 2 * h * h + 4 * h)  # noqa: E731

CASES = [
    Case("MLP on (batch, frame, feature)", chain(lambda _: nn.Tanh()), frames(3), CHAIN_MACS),
    Case("MLP with dropout and ELU", chain(lambda _: nn.ELU(), lambda _: nn.Dropout(0.3)), frames(3), CHAIN_MACS),
    Case("MLP with softplus, GELU, SiLU, Mish",
         chain(lambda _: nn.Softplus(), lambda _: nn.GELU(), lambda _: nn.SiLU(), lambda _: nn.Mish()),
         frames(3), CHAIN_MACS),
    Case("SIREN", siren, frames(1), lambda h: N * (h + h * h + h)),
    Case("PReLU, one a channel", prelu, sound(1), lambda h: N * (3 * h + 3 * h * h + h)),
    Case("ConvNeXt block with layer scale", layer_scale, sound(1), lambda h: N * (3 * h + 5 * h + 4 * h * h + h)),
    Case("a layer used twice", used_twice, frames(3), lambda h: N * (3 * h + 2 * h * h + 2 * h)),
    Case("auto-encoder with tied weights", tied_auto_encoder, frames(6), lambda h: N * 12 * h,
         contracted=(("encoder.weight", 0),)),
    Case("stack and unbind", stacked, sound(1), lambda h: N * 7 * h),
    Case("einsum", einsum, sound(1), lambda h: N * (3 * h + h * h + h), contracted=(("mix", 1),)),
    Case("matmul with a parameter", matmul, frames(3), lambda h: N * (3 * h + 2 * h * h + 4 * h),
         contracted=(("mix", 0),)),
    Case("addmm", addmm, vectors(3), lambda h: BATCH * (3 * h + h * h + 2 * h), contracted=(("mix", 0),)),
    Case("literal slices", literal_slice, sound(1), lambda h: N * (6 * h + h * h + h + 2 * h)),
    Case("literal new_zeros", literal_zeros, frames(3), lambda h: BATCH * 3 * (3 * h + 2 * h * h + 2 * h), length=3),
    Case("literal view", literal_view, sound(1), lambda h: N * (12 * h + 3 * h * h + h), any_length=False),
]  # fmt: skip


def bare(*layers: nn.Module) -> Any:
    return lambda _: Net(lambda m, x: m.head(x), head=nn.Sequential(*layers))


NOTHING = [
    # No hidden channel at all, or none that anything learnt makes or reads; nothing may be removed from these.
    Case("one linear layer", bare(nn.Linear(3, 8)), frames(3), lambda _: N * 24),
    Case("convolution to the output", bare(nn.Conv1d(1, 8, 3)), sound(1), lambda _: BATCH * 22 * 24),
    Case("no parameters", lambda _: Net(lambda m, x: torch.tanh(x)), sound(1), lambda _: 0),
    Case("hidden units in the output", lambda _: Net(lambda m, x: (m.head_two(m.head_one(x)), m.head_one(x)),
         head_one=nn.Linear(3, 8), head_two=nn.Linear(8, 8)), frames(3), lambda _: N * (2 * 24 + 64)),
    Case("a single hidden unit", lambda _: Net(lambda m, x: m.head(m.one(x)), one=nn.Linear(3, 1),
         head=nn.Linear(1, 4)), frames(3), lambda _: N * 7),
    Case("depthwise only", bare(nn.Conv1d(4, 4, 3, groups=4), nn.Conv1d(4, 4, 3, groups=4)), sound(4),
         lambda _: BATCH * (22 + 20) * 12),
]  # fmt: skip
