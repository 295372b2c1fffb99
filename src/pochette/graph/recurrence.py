"""Recurrent layers in a trace, whose outputs' shapes are known without a step for every moment.

PyTorch learns what a recurrent layer gives in a trace by taking it apart in Python, moment by moment: ten milliseconds
each, half a minute for some seconds of frames. Shapes and types are those of its first moment, as often as there are
moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_RECURRENT = tuple(
    getattr(torch.ops.aten, name).input for name in ("gru", "lstm", "rnn_tanh", "rnn_relu")
)  # (input, state, ..., batch_first)
_TAKEN_APART = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)


@contextmanager
def one_moment() -> Iterator[None]:
    """While it lasts a trace takes recurrent layers apart for their first moment alone; what they compute it loses.

    A PyTorch that has no such kernels in Python traces as it does without this.

    Yields:
        nothing.
    """
    before: list[tuple[Any, Any, Callable[..., Any]]] = []
    for operator in _RECURRENT:
        for key in _TAKEN_APART:
            kernel = getattr(operator, "py_kernels", {}).get(key)
            if kernel is not None and hasattr(operator, "_dispatch_cache"):
                before.append((operator, key, kernel))
                _put(operator, key, _first_moment(kernel))
    try:
        yield
    finally:
        for operator, key, kernel in before:
            _put(operator, key, kernel)


def _put(operator: Any, key: Any, kernel: Callable[..., Any]) -> None:
    operator.py_kernels[key] = kernel
    operator._dispatch_cache.clear()  # it remembers kernels that it found


def _first_moment(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that gives tensors like those of another, of which only the state after the first moment is right."""

    def like(x: Tensor, *others: Any) -> Any:
        batch_first = bool(others[-1])
        axis = 1 if batch_first else 0
        moments = x.shape[axis]
        if moments <= 1:
            return kernel(x, *others)
        made, *state = kernel(x.narrow(axis, 0, 1), *others)
        batch = x.shape[1 - axis]
        every = made.new_empty(moments, batch, made.shape[-1])
        return (every.transpose(0, 1) if batch_first else every, *state)

    return like
