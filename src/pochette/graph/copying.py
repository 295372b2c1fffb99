"""Copies of modules that nothing done to them reaches the original."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from pochette.errors import ExportError


def copy_of(module: nn.Module) -> nn.Module:
    """A copy of a module, whatever a forward left lying in it.

    PyTorch refuses to copy tensors that belong to a computation, such as the effective weight that the old weight norm
    leaves behind; their values are copied without it.

    Args:
        module: left as it was.

    Returns:
        the copy.

    Raises:
        ExportError: the module holds something that cannot be copied.
    """
    known: dict[int, object] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                known[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, known)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"The module cannot be copied: {reason}",
            where=type(module).__name__,
            remedy="Take open files, locks and other foreign objects out of it.",
        ) from error
