"""A device that stands in for a graphics processor where there is none: what is on it says so, and mixes with nothing.

Its tensors say that they are on "meta" and hold real numbers, which are computed with here. As on a real device, one
that was left in the processor's memory does not go with them, and NumPy cannot read them; so that what trains on it
trains anywhere, to the same numbers. Unlike there, kernels are those of the processor: this tells nothing of speed, of
rounding, or of operators that some device lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from pochette.train import loop
from pochette.train.device import COUNTS, away

STAND_IN = "meta"
_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Distant(Tensor):
    """A tensor on the stand-in."""

    @staticmethod
    def __new__(cls, held: Tensor) -> Distant:
        made: Distant = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(STAND_IN),
        )
        return made

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, **_: Any) -> str:
        return f"Distant({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Here(TorchDispatchMode):
    """Computes what makes tensors on the stand-in, or brings them there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _mapped(change: Callable[[Tensor], Any], given: Any) -> Any:
    """All tensors in an operator's arguments or results changed; torch's own `tree_map` takes ten times as long."""
    if isinstance(given, Tensor):
        return change(given)
    if isinstance(given, list | tuple):
        return type(given)(_mapped(change, part) for part in given)
    return {name: _mapped(change, part) for name, part in given.items()} if isinstance(given, dict) else given


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    distant, left = dict[int, Distant](), list[Tensor]()

    def bare(tensor: Tensor) -> Tensor:
        if isinstance(tensor, Distant):
            distant[id(tensor.held)] = tensor
            return tensor.held
        left.extend([tensor] * (tensor.dim() > 0))  # single numbers go along on a real device too
        return tensor

    def wrapped(made: Tensor) -> Tensor:
        # What was written to in place is what was given.
        return distant[id(made)] if id(made) in distant else Distant(made.resolve_conj().resolve_neg())

    held, named = _mapped(bare, args), _mapped(bare, kwargs)
    there, moves = bool(distant), func in _MOVES
    if distant and left and not moves:
        raise RuntimeError(f"{func} mixes devices: {[tuple(tensor.shape) for tensor in left]} were left behind")
    if moves:
        there = isinstance(args[0], Distant)
    if named.get("device") is not None:
        there = torch.device(named["device"]).type == STAND_IN
        named["device"] = torch.device("cpu")
    made = func(*held, **named)
    if distant and torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape that is told changes with the one that is held
            func(*args, **kwargs)
    if moves and made is not held[0] and there != isinstance(args[0], Distant):
        made = made.clone()
    return _mapped(wrapped, made) if there else args[0] if made is held[0] else made


@contextmanager
def stand_in(*, training_only: bool = False) -> Iterator[torch.device]:
    """While it is there, modules moved to it keep their parameters' identity, as on a real device.

    Args:
        training_only: whether tensors are made on it and brought there only by a `Trainer` that fits; elsewhere torch
            is then left alone, as some of its own machinery does not bear to be watched.

    Yields:
        the device.
    """
    swap, apply = torch.utils.swap_tensors, nn.Module._apply

    def with_hooks(left: Tensor, right: Tensor) -> None:
        hooks = [*(left._backward_hooks or {}).values()]
        # A graph that was captured refers to parameters weakly; to the same ones after, so that it does no harm.
        with mock.patch("weakref.getweakrefs", return_value=[]):
            swap(left, right)
        left._backward_hooks = None  # what is told of them stays where it was, what calls them went with the numbers
        for hook in hooks:
            left.register_hook(hook)  # type: ignore[no-untyped-call]

    def applied(module: nn.Module, *arguments: Any, **named: Any) -> nn.Module:
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *arguments, **named)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    @contextmanager
    def watched(trainer: loop.Trainer) -> Iterator[None]:
        with _Here(), away(trainer):
            yield

    torch.utils.swap_tensors, nn.Module._apply = with_hooks, applied  # type: ignore[assignment]
    COUNTS[STAND_IN] = lambda: 1
    try:
        if training_only:
            loop.away = watched
        with nullcontext() if training_only else _Here():
            yield torch.device(STAND_IN)
    finally:
        del COUNTS[STAND_IN]
        loop.away = away
        torch.utils.swap_tensors, nn.Module._apply = swap, apply  # type: ignore[method-assign]
