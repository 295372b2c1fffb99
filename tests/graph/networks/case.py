"""What a network of the matrix is, and the few words they are all written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 2
LENGTH = 24
WIDTH = 16
Inputs = Callable[[int], tuple[Tensor, ...]]


class Net(nn.Module):
    """Parts by name and a function of the module and its inputs; the layers that make the output are named head."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


@dataclass(frozen=True)
class Case:
    """One network, and what trimming it must come to."""

    name: str
    build: Callable[[int], nn.Module]
    """The network at a width: every hidden dimension is in proportion to it, or follows it as trimming would."""
    inputs: Inputs
    """Length to the arguments of a call."""
    macs: Callable[[int], int]
    """Width to the multiply-accumulates of a call at `length`, by hand."""
    width: int = WIDTH
    length: int = LENGTH
    norms: bool = False
    """Whether a normalisation runs over trimmed axes: its statistics change, which must be said."""
    any_length: bool = True
    """Whether the network itself takes other lengths."""
    contracted: tuple[tuple[str, int], ...] = ()
    """Parameters used by functions rather than by standard layers, with the axis that a product sums over."""
    factors: tuple[str, ...] = ()
    """Linear layers whose outputs meet others in a product that sums over them: queries."""
    dead: tuple[str, ...] = ()
    """Beginnings of names of parameters that nothing needs; a trimmed graph may leave them out."""
    whole: str = ""
    """Why some or all of it cannot be cut exactly: it stays whole, and the report says so, or `not_exact` does."""

    def network(self, width: int | None = None) -> nn.Module:
        """The network with its seeded weights, in evaluation mode."""
        torch.manual_seed(0)
        module = self.build(self.width if width is None else width)
        _randomise(module)
        return module.eval()

    def example(self, length: int | None = None) -> tuple[Tensor, ...]:
        """Seeded arguments of a call."""
        torch.manual_seed(1)
        return self.inputs(self.length if length is None else length)

    def narrow(self, keep: float) -> int:
        """The width that is left: as many as asked for, to the nearest, and to the even one of two."""
        return max(1, round(keep * self.width))


@torch.no_grad()
def _randomise(module: nn.Module) -> None:
    """No weight is 0, 1 or equal to another: an index can be told by its values, and no defect hides behind a zero."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if not value.is_floating_point():
            if value.is_complex():
                value.copy_(torch.randn_like(value))
            continue
        leaf = name.rpartition(".")[2]
        if name.startswith("state") or leaf.endswith(("_u", "_v0", "_v1")) or ".weight.0._" in name:
            continue  # what a stream carries begins at zero; power iterations keep their vectors
        # A gain, a variance or a norm lies about 1; offsets lie about 0; matrices keep their signals' level.
        if value.dim() > 1 and value.numel() > max(value.shape):
            fan_in = value[0].numel() if value.dim() < 4 or value.shape[0] > 1 else value.numel()
            value.copy_(torch.randn_like(value) * min(1.0, 1.5 / fan_in**0.5))
        elif leaf in ("weight", "weight_g", "running_var", "original0", "gain", "alpha", "slope"):
            value.copy_(0.5 + torch.rand_like(value))
        else:
            value.copy_(torch.rand_like(value) - 0.5)


def sound(*channels: int, batch: int = BATCH) -> Inputs:
    """Arguments of shape (batch, channel, time), one for each number of channels."""
    return lambda length: tuple(torch.randn(batch, c, length) for c in channels)


def frames(*features: int, batch: int = BATCH) -> Inputs:
    """Arguments of shape (batch, frame, feature)."""
    return lambda length: tuple(torch.randn(batch, length, f) for f in features)


def vectors(*features: int) -> Inputs:
    """Arguments of shape (batch, feature); the length means nothing."""
    return lambda _: tuple(torch.randn(BATCH, f) for f in features)
