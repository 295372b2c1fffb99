"""Networks of a smaller shape that owe nothing to a larger one's training: the controls of every reduction."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pochette.graph.trim import Cuts
from pochette.models.model import Model


def scaled_to_size(small: Mapping[str, Tensor], dense: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """First weights of a dense network, cut to size, made as large as those of a network that was small from the start.

    First weights are drawn in proportion to one over the square root of how many inputs are summed. Fewer inputs with
    weights made for more would begin too quietly, and a control must not lose for that.

    Args:
        small: state dictionary after cutting.
        dense: the same before cutting.

    Returns:
        the small one, matrices scaled by the square root of inputs before per inputs after.
    """

    def scale(path: str) -> float:
        before, after = dense[path].shape[1:], small[path].shape[1:]
        return float((before.numel() / after.numel()) ** 0.5) if before and after.numel() else 1.0

    return {path: tensor * scale(path) if tensor.is_floating_point() else tensor for path, tensor in small.items()}


def drawn_small(small: Model, fresh: Model, cuts: Cuts) -> Model:
    """A trimmed model with first weights in place of its own.

    Args:
        small: gives the shape; its weights are replaced.
        fresh: of the whole shape, with first weights.
        cuts: from the whole shape to the small one.

    Returns:
        the small model.
    """
    first = fresh.state_dict()
    small.load_state_dict(scaled_to_size(cuts.apply(first), first))
    return small
