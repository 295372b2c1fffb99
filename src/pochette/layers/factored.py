"""Layers of low rank: one matrix as the product of two narrow ones, which are multiplied one after the other.

A weight W, (output, input), of rank r is `wide` (output, r) times `narrow` (r, input): r (input + output)
multiplications in place of input x output, which is less where r < input x output / (input + output).

Filters have three sides, outputs, inputs and taps. In a split in two the taps belong to the narrow filter, of a
transposed convolution to the wide one; in three (Tucker-2: Tucker 1966, Kim et al. 2016) inputs and outputs are made
narrow each by a filter of one tap, and the taps belong to the core between them.

A model on disk is told to hold such layers by the names of its tensors: `PATH.narrow.weight` where its recipe has
`PATH.weight`, and `PATH.core.weight` beside it. A layer whose weight is normed loses its norm with that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pochette.layers.lstm import GATES, JointLstmLayer, LstmLayer

NARROW, CORE, WIDE = "narrow", "core", "wide"
_MARK, _CORE_MARK = f".{NARROW}.weight", f".{CORE}.weight"
Rank = int | tuple[int, int]
"""Of a matrix; or of filters on the side of inputs and on that of outputs."""
NORMED = "parametrizations.weight"
"""What stands in a path between a layer and the parts of its weight where that is normed."""


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
    """A convolution of low rank, over time or over pictures.

    Args:
        like: whose sizes, stride, dilation and padding it has; of one group.
        rank: channels between its two filters; or after the first and before the last of three.
    """

    def __init__(self, like: nn.Conv1d | nn.Conv2d, rank: Rank) -> None:
        super().__init__()
        kind: Any = nn.Conv2d if isinstance(like, nn.Conv2d) else nn.Conv1d
        places = {"stride": like.stride, "padding": like.padding, "dilation": like.dilation, "bias": False}
        inputs, outputs = rank if isinstance(rank, tuple) else (0, rank)
        if inputs:
            self.narrow = kind(like.in_channels, inputs, 1, bias=False)
            self.core = kind(inputs, outputs, like.kernel_size, **places)
        else:
            self.narrow, self.core = kind(like.in_channels, outputs, like.kernel_size, **places), None
        self.wide = kind(outputs, like.out_channels, 1, bias=like.bias is not None)

    @property
    def in_channels(self) -> int:
        """Channels that it reads."""
        return int(self.narrow.in_channels)

    @property
    def weight(self) -> Tensor:
        """The filters that all are, (output, input, tap...), for code that reads a layer's numbers."""
        wide = self.wide.weight.flatten(1)
        if self.core is None:
            return torch.einsum("or,ri...->oi...", wide, self.narrow.weight)
        return torch.einsum("op,pq...,qi->oi...", wide, self.core.weight, self.narrow.weight.flatten(1))

    @property
    def bias(self) -> Tensor | None:
        """What is added to the outputs."""
        bias: Tensor | None = self.wide.bias
        return bias

    def forward(self, x: Tensor) -> Tensor:
        """(batch, input, time) to (batch, output, time), or the same of pictures."""
        x = self.narrow(x)
        made: Tensor = self.wide(x if self.core is None else self.core(x))
        return made


class FactoredTransposed(nn.Module):
    """A transposed convolution over time of low rank: inputs are one side of the matrix, outputs and taps the other.

    Args:
        like: whose sizes, stride, dilation and padding it has; of one group.
        rank: channels between its two filters.
    """

    def __init__(self, like: nn.ConvTranspose1d, rank: int) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(like.in_channels, rank, 1, bias=False)
        self.wide = nn.ConvTranspose1d(
            rank,
            like.out_channels,
            like.kernel_size,  # type: ignore[arg-type]
            like.stride,  # type: ignore[arg-type]
            like.padding,  # type: ignore[arg-type]
            like.output_padding,  # type: ignore[arg-type]
            bias=like.bias is not None,
            dilation=like.dilation[0],
        )

    @property
    def in_channels(self) -> int:
        """Channels that it reads."""
        return self.narrow.in_channels

    @property
    def weight(self) -> Tensor:
        """The filters that both are, (input, output, tap), for code that reads a layer's numbers."""
        return torch.einsum("ri,rok->iok", self.narrow.weight.flatten(1), self.wide.weight)

    @property
    def bias(self) -> Tensor | None:
        """What is added to the outputs."""
        return self.wide.bias

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


class FactoredLstm(JointLstmLayer):
    """An LSTM of one layer whose matrices are of low rank, called as `torch.nn.LSTM` is."""

    @property
    def hidden_size(self) -> int:
        """Units."""
        return self.units

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """All steps.

        Args:
            x: (batch, time, input).
            state: of the units and of their cells, (1, batch, unit) each.

        Returns:
            outputs (batch, time, unit), and both states after the last.
        """
        made, hidden, cell = super().forward(x, state[0][0], state[1][0])
        return made, (hidden[None], cell[None])


# -- in the place of others --------------------------------------------------------------------------------------------


def kind_of(layer: nn.Module) -> type[nn.Module]:
    """The class of a layer, whether its weight is normed or not."""
    return parametrize.type_before_parametrizations(layer)


def parts_of(layer: nn.Module) -> dict[str, str]:
    """What the two matrices of a recurrent layer become: name of each, and of its part in the factored one.

    Args:
        layer: any.

    Returns:
        the matrix that reads inputs first; empty where the layer is not recurrent. The matrices of an `LstmLayer` are
        its two dictionaries of gates.
    """
    if isinstance(layer, nn.GRU):
        return {"weight_ih_l0": "of_input", "weight_hh_l0": "of_state"}
    if isinstance(layer, nn.LSTM):
        return {"weight_ih_l0": "from_input", "weight_hh_l0": "from_hidden"}
    return {"from_input": "from_input", "from_hidden": "from_hidden"} if isinstance(layer, LstmLayer) else {}


def factored_recurrent(layer: nn.Module, ranks: tuple[int | None, int | None]) -> nn.Module:
    """An empty recurrent layer of low rank in another's place.

    Args:
        layer: a GRU or an LSTM of one layer in one direction, the batch first; or an `LstmLayer`.
        ranks: of the inputs' matrix and of the state's; None where one stays whole.

    Returns:
        the layer; its numbers are yet to be given.
    """
    if isinstance(layer, LstmLayer):
        inputs, units, bias = layer.from_input[GATES[0]].get_parameter("weight").shape[1], layer.units, True
    else:
        assert isinstance(layer, nn.GRU | nn.LSTM)
        inputs, units, bias = layer.input_size, layer.hidden_size, layer.bias
    rows, parts = (3 if isinstance(layer, nn.GRU) else len(GATES)) * units, list[nn.Module]()
    for columns, rank in zip((inputs, units), ranks, strict=True):
        one = nn.Linear(columns, rows, bias) if rank is None else Factored(columns, rows, rank, bias=bias)
        parts.append(one)
    kind: Any = {nn.GRU: FactoredGru, nn.LSTM: FactoredLstm, LstmLayer: JointLstmLayer}[type(layer)]
    made: nn.Module = kind(*parts)
    return made


def can_be_factored(layer: nn.Module) -> str:
    """Why a layer cannot be factored; empty where it can."""
    kind = kind_of(layer)
    if kind is not type(layer) and not hasattr(layer.get_submodule(NORMED), "original1"):
        return "its weight is made by something else than a norm"
    if kind in (nn.Linear, LstmLayer):
        return ""
    if kind in (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d):
        if layer.groups != 1:
            return "grouped"
        return "" if layer.padding_mode == "zeros" else "padded with other than zeros"
    if isinstance(layer, nn.GRU | nn.LSTM):
        whole = layer.num_layers == 1 and not layer.bidirectional and layer.batch_first and not layer.proj_size
        return "" if whole else "a stack, or both ways, or time first"
    return f"no factored form of {kind.__name__}"


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
        parts = parts_of(layer)
        if parts:
            own = [name for name in known if name.startswith(f"{path}.")]
            factored = {f"{path}.{part}.{end}" for part in parts.values() for end in ("weight", _MARK[1:])}
            if factored & set(own):
                ranks = [1 if f"{path}.{part}{_MARK}" in known else None for part in parts.values()]
                put_layer(module, path, factored_recurrent(layer, (ranks[0], ranks[1])))
        elif f"{path}{_MARK}" in known:
            put_layer(module, path, like(layer, (1, 1) if f"{path}{_CORE_MARK}" in known else 1))


def like(layer: nn.Module, rank: Rank) -> Factored | FactoredConv | FactoredTransposed:
    """An empty factored layer in the place of a linear one or a convolution."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return FactoredConv(layer, rank)
    assert not isinstance(rank, tuple)
    if isinstance(layer, nn.ConvTranspose1d):
        return FactoredTransposed(layer, rank)
    assert isinstance(layer, nn.Linear)
    return Factored(layer.in_features, layer.out_features, rank, bias=layer.bias is not None)
