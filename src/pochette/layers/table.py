"""Rows of numbers that are read by the value nearest to them, as an embedding is by a number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

FAR = 1e30
"""Edge of the outermost rows: beyond any control."""


class Table(nn.Module):
    """Rows of numbers, of which the one nearest to a value is read.

    Args:
        centres: (value, row) in ascending order of values.
        rows: how many there are, reached or not.
        features: numbers a row.
    """

    low: Tensor
    high: Tensor
    one: Tensor

    def __init__(self, centres: Sequence[tuple[float, int]], rows: int, features: int) -> None:
        super().__init__()
        self.rows = nn.Linear(rows, features, bias=False)
        nn.init.normal_(self.rows.weight)
        low, high = torch.full((rows,), FAR), torch.full((rows,), FAR)
        values = [value for value, _ in centres]
        edges = [-FAR, *((a + b) / 2 for a, b in pairwise(values)), FAR]
        for (_, row), (below, above) in zip(centres, pairwise(edges), strict=True):
            low[row], high[row] = below, above
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.register_buffer("one", torch.ones(rows), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """The row nearest to each value; the lower one half-way.

        Args:
            values: any shape.

        Returns:
            the same shape, and a last axis of features.
        """
        values = values[..., None]
        chosen = torch.where(values > self.low, torch.where(values <= self.high, self.one, 0.0), 0.0)
        row: Tensor = self.rows(chosen)
        return row


def numbered(rows: int) -> list[tuple[float, int]]:
    """Centres of rows that are read by their own numbers."""
    return [(float(row), row) for row in range(rows)]
