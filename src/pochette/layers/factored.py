"""Layers of low rank: one matrix as the product of two narrow ones, which are multiplied one after the other.

A weight W, (output, input), of rank r is `wide` (output, r) times `narrow` (r, input): r (input + output)
multiplications in place of input x output, which is less where r < input x output / (input + output).

A model on disk is told to hold such layers by the names of its tensors: `PATH.narrow.weight` where its recipe has
`PATH.weight`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NARROW, WIDE = "narrow", "wide"
_MARK = f".{NARROW}.weight"


class Factored(nn.Module):
    """A linear layer of low rank.

    Args:
        inputs: features that it reads.
        outputs: features that it makes.
        rank: features between its two matrices.
        bias: whether something is added to the outputs.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, *, bias: bool = True) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=bias)

    @property
    def weight(self) -> Tensor:
        """The matrix that both are, (output, input), for code that reads a layer's numbers."""
        return self.wide.weight @ self.narrow.weight

    @property
    def bias(self) -> Tensor | None:
        """What is added to the outputs."""
        return self.wide.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., input) to (..., output)."""
        made: Tensor = self.wide(self.narrow(x))
        return made


class FactoredConv(nn.Module):
    """A convolution over time of low rank: the filters' taps and inputs are one side of the matrix, outputs the other.

    Args:
        like: whose sizes, stride, dilation and padding it has; of one group.
        rank: channels between its two filters.
    """

    def __init__(self, like: nn.Conv1d, rank: int) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(
            like.in_channels,
            rank,
            like.kernel_size,  # type: ignore[arg-type]
            like.stride,  # type: ignore[arg-type]
            like.padding,  # type: ignore[arg-type]
            like.dilation,  # type: ignore[arg-type]
            bias=False,
        )
        self.wide = nn.Conv1d(rank, like.out_channels, 1, bias=like.bias is not None)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, input, time) to (batch, output, time)."""
        made: Tensor = self.wide(self.narrow(x))
        return made


class FactoredGru(nn.Module):
    """A GRU of one layer whose matrices are of low rank, all gates of a matrix jointly: they share what is read.

    Its equations are those of `torch.nn.GRU`, written as operators: a step is eight of them beside the products. A
    matrix that was not to be factored is one linear layer.

    Args:
        of_input: (..., input) to (..., 3 unit), the gates reset, update and new one after the other.
        of_state: the same of the state.
    """

    def __init__(self, of_input: nn.Module, of_state: nn.Module) -> None:
        super().__init__()
        self.of_input, self.of_state = of_input, of_state

    @property
    def hidden_size(self) -> int:
        """Units."""
        layer = self.of_state
        last = layer.wide if isinstance(layer, Factored) else layer
        return len(last.weight) // 3  # type: ignore[arg-type]

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """All steps.

        Args:
            x: (batch, time, input).
            state: (1, batch, unit).

        Returns:
            outputs (batch, time, unit), and the state after the last.
        """
        h, made = state[0], []
        for of_x in self.of_input(x).unbind(1):
            (r, z, n), (of_r, of_z, of_n) = of_x.chunk(3, -1), self.of_state(h).chunk(3, -1)
            new = torch.tanh(n + torch.sigmoid(r + of_r) * of_n)
            h = new + torch.sigmoid(z + of_z) * (h - new)
            made.append(h)
        return torch.stack(made, 1), h[None]


def factored_gru(gru: nn.GRU, ranks: tuple[int | None, int | None]) -> FactoredGru:
    """An empty GRU of low rank in another's place.

    Args:
        gru: of one layer in one direction, the batch first.
        ranks: of the inputs' matrix and of the state's; None where one stays whole.

    Returns:
        the layer; its numbers are yet to be given.
    """
    rows, parts = 3 * gru.hidden_size, list[nn.Module]()
    for columns, rank in zip((gru.input_size, gru.hidden_size), ranks, strict=True):
        one = nn.Linear(columns, rows, gru.bias) if rank is None else Factored(columns, rows, rank, bias=gru.bias)
        parts.append(one)
    return FactoredGru(parts[0], parts[1])


def can_be_factored(layer: nn.Module) -> str:
    """Why a layer cannot be factored; empty where it can."""
    if type(layer) is nn.Linear:
        return ""
    if type(layer) is nn.Conv1d:
        if layer.groups > 1:
            return "grouped"
        return "" if layer.padding_mode == "zeros" else "padded with other than zeros"
    if type(layer) is nn.GRU:
        whole = layer.num_layers == 1 and not layer.bidirectional and layer.batch_first
        return "" if whole else "a stack, or both ways, or time first"
    return f"no factored form of {type(layer).__name__}"


def put_layer(module: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer in another's place."""
    owner, _, name = path.rpartition(".")
    setattr(module.get_submodule(owner), name, layer)


def factor_as_stored(module: nn.Module, names: Iterable[str]) -> None:
    """Give a module, as its recipe builds it, the factored layers that stored tensors tell of; ranks are set later.

    Args:
        module: changed in place.
        names: of the stored tensors.
    """
    known = set(names)
    for path, layer in list(module.named_modules()):
        if not path or can_be_factored(layer):
            continue
        if isinstance(layer, nn.GRU):
            if f"{path}.weight_ih_l0" in known or not any(name.startswith(f"{path}.of_") for name in known):
                continue
            ranks = [1 if f"{path}.{part}{_MARK}" in known else None for part in ("of_input", "of_state")]
            put_layer(module, path, factored_gru(layer, (ranks[0], ranks[1])))
        elif f"{path}{_MARK}" in known:
            put_layer(module, path, like(layer, 1))


def like(layer: nn.Module, rank: int) -> Factored | FactoredConv:
    """An empty factored layer in the place of a linear one or a convolution."""
    if isinstance(layer, nn.Conv1d):
        return FactoredConv(layer, rank)
    assert isinstance(layer, nn.Linear)
    return Factored(layer.in_features, layer.out_features, rank, bias=layer.bias is not None)
