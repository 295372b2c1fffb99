"""Networks that nobody writes, until somebody does."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, frames, sound, vectors

N = BATCH * LENGTH
Conv = nn.Conv1d


def simple(between: Any, reads: int = 1, made: int = 1, **parts: Any) -> Any:
    """Width to: a convolution, some function of (module, hidden sound), a convolution that reads its channels."""

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            y = between(m, torch.tanh(m.one(x)))
            return m.head(torch.tanh(m.two(y)))

        made_parts = {name: part(h) for name, part in parts.items()}
        return Net(
            run, one=Conv(1, made * h, 3, padding=1), two=Conv(reads * h, h, 3, padding=1), head=Conv(h, 1, 1),
            **made_parts,
        )  # fmt: skip

    return build


def simple_macs(reads: float = 1, made: int = 1) -> Any:
    return lambda h: N * (3 * made * h + round(3 * reads * h * h) + h)


def hypernetwork(h: int) -> nn.Module:
    """A dense layer makes the filters of a convolution."""

    def run(m: Any, x: Tensor, z: Tensor) -> Tensor:
        filters = m.maker(torch.tanh(m.coder(z))).view(-1, 1, 5)
        return m.head(torch.tanh(F.conv1d(x, filters, padding=2)))

    return Net(run, coder=nn.Linear(4, 2 * h), maker=nn.Linear(2 * h, 5 * h), head=Conv(h, 1, 1))


def outer_product(h: int) -> nn.Module:
    """Every pair of a left and a right unit is an input of the head."""

    def run(m: Any, x: Tensor) -> Tensor:
        pairs = torch.einsum("bi,bj->bij", torch.tanh(m.left(x)), torch.tanh(m.right(x)))
        return m.head(pairs.flatten(1))

    return Net(run, left=nn.Linear(3, h), right=nn.Linear(3, h // 2), head=nn.Linear(h * (h // 2), 2))


def low_rank(h: int) -> nn.Module:
    """A weight with a learnt correction of rank h / 4."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(F.linear(torch.tanh(m.first(x)), m.mix + m.tall @ m.flat)))

    return Net(
        run, first=nn.Linear(3, h), mix=nn.Parameter(torch.zeros(h, h)), tall=nn.Parameter(torch.zeros(h, h // 4)),
        flat=nn.Parameter(torch.zeros(h // 4, h)), head=nn.Linear(h, 2),
    )  # fmt: skip


def standardised(h: int) -> nn.Module:
    """The weight's mean over its inputs is taken out at every call: removing an input changes it."""

    def run(m: Any, x: Tensor) -> Tensor:
        weight = m.mix - m.mix.mean(dim=1, keepdim=True)
        return m.head(torch.tanh(F.linear(torch.tanh(m.first(x)), weight)))

    return Net(run, first=nn.Linear(3, h), mix=nn.Parameter(torch.zeros(h, h)), head=nn.Linear(h, 2))


def quantised(h: int) -> nn.Module:
    """Vector quantisation: the nearest of 8 codes, by distance over all latent channels."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = m.one(x).transpose(1, 2)
        nearest = torch.cdist(y, m.codes.expand(y.shape[0], -1, -1)).argmin(dim=-1)
        return m.head(torch.tanh(m.two(m.codes[nearest].transpose(1, 2))))

    return Net(
        run, one=Conv(1, h, 3, padding=1), codes=nn.Parameter(torch.zeros(8, h)), two=Conv(h, 2 * h, 1),
        head=Conv(2 * h, 1, 1),
    )  # fmt: skip


def in_place(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        y *= 0.5
        y[:, :, 0] = 0
        y += x
        y.relu_()
        return m.head(torch.tanh(m.two(y)))

    return Net(run, one=Conv(1, h, 3, padding=1), two=Conv(h, h, 3, padding=1), head=Conv(h, 1, 1))


def frozen_part(h: int) -> nn.Module:
    module = simple(lambda m, y: y)(h)
    module.two.requires_grad_(False)
    return module


def space_to_channels(m: Any, y: Tensor) -> Tensor:
    batch, channels, time = y.shape
    y = y.view(batch, channels, time // 4, 4).permute(0, 1, 3, 2).reshape(batch, channels * 4, time // 4)
    return y


def interleaved(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.stack([torch.tanh(m.left(x)), torch.sigmoid(m.right(x))], dim=2).flatten(1, 2)
        return m.head(m.two(y))

    return Net(
        run, left=Conv(1, h, 3, padding=1), right=Conv(1, h, 3, padding=1), two=Conv(2 * h, h, 1), head=Conv(h, 1, 1)
    )


def cells_share(h: int) -> nn.Module:
    """One GRU reads two sequences, the second in the state the first left."""

    def run(m: Any, x: Tensor, y: Tensor) -> Tensor:
        one, hidden = m.gru(m.left(x))
        other, _ = m.gru(m.right(y), hidden)
        return m.head(one * other.flip(1))

    return Net(
        run, left=nn.Linear(2, h), right=nn.Linear(3, h), gru=nn.GRU(h, h, batch_first=True), head=nn.Linear(h, 2)
    )


def complex_weights(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.tanh(m.first(x)).to(torch.complex64) @ m.mix
        return m.head(torch.tanh(y.abs()))

    mix = nn.Parameter(torch.zeros(h, h, dtype=torch.complex64))
    return Net(run, first=nn.Linear(3, h), mix=mix, head=nn.Linear(h, 2))


def double(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.gru(m.first(x.double()))[0])).float()

    return Net(run, first=nn.Linear(3, h), gru=nn.GRU(h, h, batch_first=True), head=nn.Linear(h, 2)).double()


CASES = [
    Case("a channel meets its mirror image", simple(lambda m, y: y + 0.5 * y.flip(1)), sound(1), simple_macs()),
    Case("channels rolled", simple(lambda m, y: y.roll(1, 1)), sound(1), simple_macs(),
         whole="a shift by places, which does not commute with removal"),
    Case("channels permuted by an index buffer",
         simple(lambda m, y: y[:, m.order], order=torch.randperm), sound(1), simple_macs(),
         whole="the indices stand in a buffer"),
    Case("every other channel", simple(lambda m, y: y[:, ::2] * torch.sigmoid(y[:, 1::2]), made=2), sound(1),
         simple_macs(made=2)),
    Case("interleaved channels", interleaved, sound(1), lambda h: N * (6 * h + 2 * h * h + h)),
    Case("channels repeated", simple(lambda m, y: y.repeat(1, 2, 1), reads=2), sound(1), simple_macs(reads=2)),
    Case("channels repeated in place", simple(lambda m, y: y.repeat_interleave(2, dim=1), reads=2), sound(1),
         simple_macs(reads=2)),
    Case("time folded into channels", simple(space_to_channels, reads=4), sound(1),
         lambda h: N * 3 * h + N // 4 * (12 * h * h + h)),
    Case("maxout", simple(lambda m, y: y.view(y.shape[0], -1, 2, y.shape[2]).max(dim=2).values, made=2), sound(1),
         simple_macs(made=2)),
    Case("running sum over channels", simple(lambda m, y: y.cumsum(1)), sound(1), simple_macs(),
         whole="a running sum over channels"),
    Case("sorted channels", simple(lambda m, y: y.sort(dim=1).values), sound(1), simple_macs(),
         whole="channels are sorted"),
    Case("loudest channel taken off", simple(lambda m, y: y - y.amax(dim=1, keepdim=True)), sound(1), simple_macs(),
         whole="a maximum over the channels"),
    Case("difference of neighbouring channels", simple(lambda m, y: F.pad(y[:, 1:] - y[:, :-1], (0, 0, 0, 1))),
         sound(1), simple_macs(), whole="a channel meets its neighbour"),
    Case("an offset buffer a channel", simple(lambda m, y: y + m.places, places=lambda h: torch.zeros(h, 1)),
         sound(1), simple_macs()),
    Case("hypernetwork", hypernetwork, lambda length: (torch.randn(BATCH, 1, length), torch.randn(1, 4)),
         lambda h: 8 * h + 10 * h * h + N * 6 * h),
    Case("outer product", outer_product, vectors(3),
         # the products of the pairs are summed with nothing: they are pointwise
         lambda h: BATCH * (3 * h + 3 * (h // 2) + 2 * h * (h // 2))),
    Case("low-rank correction of a weight", low_rank, frames(3),
         lambda h: N * (3 * h + h * h + 2 * h), contracted=(("mix", 1), ("flat", 1), ("tall", 1))),
    Case("weight standardisation", standardised, frames(3), lambda h: N * (3 * h + h * h + 2 * h),
         contracted=(("mix", 1),), whole="the mean of a weight over its inputs"),
    Case("vector quantiser", quantised, sound(1), lambda h: N * (3 * h + 2 * h * h + 2 * h),
         whole="distances over all latent channels"),
    Case("in-place operations", in_place, sound(1), simple_macs()),
    Case("a layer that does not learn", frozen_part, sound(1), simple_macs()),
    Case("one GRU, two sequences", cells_share, frames(2, 3), lambda h: N * (5 * h + 2 * 6 * h * h + 2 * h)),
    Case("complex weights", complex_weights, frames(3), lambda h: N * (3 * h + 4 * h * h + 2 * h),
         contracted=(("mix", 0),)),
    Case("double precision", double, frames(3), lambda h: N * (3 * h + 6 * h * h + 2 * h)),
    Case("a width that 2 does not divide", simple(lambda m, y: y), sound(1), simple_macs(), width=13),
    Case("a bilinear layer",
         lambda h: Net(lambda m, x: m.head(torch.tanh(m.pair(torch.tanh(m.left(x)), torch.tanh(m.right(x))))),
                       left=nn.Linear(3, h), right=nn.Linear(3, h // 2), pair=nn.Bilinear(h, h // 2, h),
                       head=nn.Linear(h, 2)),
         frames(3), lambda h: N * (3 * h + 3 * (h // 2) + h * h * (h // 2) + h * (h // 2) + 2 * h)),
]  # fmt: skip
