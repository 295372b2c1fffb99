"""What signals of different rates are at the same moments, as rows that can be laid side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]


def rows_at(tensor: Tensor, axis: int, items: int, moments: int) -> FloatArray:
    """Rows at evenly spread moments, the same share of the way for fast and slow signals.

    Args:
        tensor: any that holds a batch.
        axis: of it, that becomes the features.
        items: in the batch.
        moments: of each item.

    Returns:
        (item and moment, feature).
    """
    rest = [number for number in range(tensor.dim()) if number != axis]
    first = next((number for number in rest if tensor.shape[number] == items), None)
    if first is not None:
        rest.remove(first)
        rest.insert(0, first)
    rows = tensor.permute(*rest, axis).reshape(-1, tensor.shape[axis])
    # Where the batch is no axis of its own it is merged with others, it leading; or all items share the value.
    rows = rows.reshape(items, -1, rows.shape[-1]) if len(rows) % items == 0 else rows.expand(items, *rows.shape)
    at = ((torch.arange(moments) + 0.5) / moments * rows.shape[1]).long()
    sampled: FloatArray = rows[:, at].reshape(-1, rows.shape[-1]).numpy()
    return sampled
