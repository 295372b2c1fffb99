"""Drawing codes from probabilities with noise from a counter: the same counter gives the same code, however cut.

The inverse of the distribution function, on whole numbers: probabilities are weights relative to the likeliest code in
units of 2^-22, their sum is exact whatever its order, and the drawn place in it is one 64-bit product. So torch and C
differ only where an exponential is rounded otherwise. Codes less than 2^-22 times as likely as the likeliest never
come.

While a model is exported a draw is one operator (`torch.ops.pochette.*`) with a hand-written kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pochette.layers.generator import hash32
from pochette.layers.synthesis import CYCLE

WEIGHT_ONE = 2**22
"""Weight of the likeliest code; 1024 codes of it still fit 32 bits."""
CODES_MOST = 1023
"""The sum of so many weights fits an unsigned 32-bit number."""


def draw_code(logits: Tensor, temperature: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
    """A code from softmax(logits / temperature).

    Args:
        logits: (batch, code), at most 1023 codes.
        temperature: (batch, 1), above 0; 1 leaves the distribution as it is.
        counter: (batch,), int64: number of the noise sample that decides.

    Returns:
        code (batch,), int64, and the counter after it.
    """
    if torch.compiler.is_exporting():
        return torch.ops.pochette.draw_code(logits, temperature, counter)  # type: ignore[no-any-return]
    return place_of(logits, temperature, hash32(counter) >> 8), (counter + 1) % CYCLE


def place_of(logits: Tensor, temperature: Tensor, number: Tensor) -> Tensor:
    """The code at a given place of the distribution function.

    Args:
        logits: (batch, code).
        temperature: (batch, 1).
        number: (batch,), int64: the place, in units of 2^-24.

    Returns:
        (batch,), int64.
    """
    relative = (logits - logits.amax(dim=-1, keepdim=True)) * (1.0 / temperature)
    weights = (torch.exp(relative.float()) * WEIGHT_ONE).long()
    heights = weights.cumsum(dim=-1)
    threshold = (number * heights[..., -1]) >> 24
    return (heights <= threshold[..., None]).sum(dim=-1)


def look_up(table: Tensor, number: Tensor) -> Tensor:
    """A row of a table for each number; while a model is exported, one operator.

    Args:
        table: (row, channel).
        number: any shape: int64, or a control's value, of which the nearest row is taken.

    Returns:
        (..., channel).
    """
    if torch.compiler.is_exporting():
        return torch.ops.pochette.look_up(table, number)  # type: ignore[no-any-return]
    return functional.embedding(_row(table, number), table)


def _row(table: Tensor, number: Tensor) -> Tensor:
    return torch.floor(number + 0.5).long().clamp(0, len(table) - 1) if number.is_floating_point() else number


@torch.library.custom_op("pochette::draw_code", mutates_args=())
def _draw_code_op(logits: Tensor, temperature: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
    return draw_code(logits, temperature, counter)


@_draw_code_op.register_fake
def _(logits, temperature, counter):  # type: ignore[no-untyped-def]
    return torch.empty_like(counter), torch.empty_like(counter)


@torch.library.custom_op("pochette::look_up", mutates_args=())
def _look_up_op(table: Tensor, number: Tensor) -> Tensor:
    return functional.embedding(_row(table, number), table)


@_look_up_op.register_fake
def _(table, number):  # type: ignore[no-untyped-def]
    return table.new_empty(*number.shape, table.shape[1])


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    table, number = inputs
    ctx.save_for_backward(_row(table, number))
    ctx.shape = table.shape


def _to_rows(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (rows,) = ctx.saved_tensors
    table = gradient.new_zeros(ctx.shape)
    return table.index_add(0, rows.reshape(-1), gradient.reshape(-1, ctx.shape[1])), None


# A captured graph may be run for its gradients, which autograd cannot find inside an operator.
_look_up_op.register_autograd(_to_rows, setup_context=_remember)
