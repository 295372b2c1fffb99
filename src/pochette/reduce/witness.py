"""Evidence of a model of pochette: its trim form, watched on some sound that it was not trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pochette.families import criteria
from pochette.graph.capture import capture
from pochette.graph.copying import copy_of
from pochette.models.model import Excerpt, Model
from pochette.reduce.choosing import Choice
from pochette.reduce.evidence import needs_data
from pochette.reduce.observed import Batch, Observed


def witness(model: Model, choice: Choice, excerpt: Excerpt) -> Observed | None:
    """What a criterion that needs data is shown.

    Args:
        model: to be cut; left as it was.
        choice: names the criterion.
        excerpt: a batch of sound with its features.

    Returns:
        the evidence; None for a criterion of weights, which needs none.

    Raises:
        ReductionError: the model does not say how it is watched.
        ExportError: it cannot be captured.
    """
    if not needs_data(criteria[choice.criterion]):
        return None
    copied: Any = copy_of(model)
    form, inputs = copied.trim_form()
    with torch.no_grad():
        given, target = model.watched(excerpt)

    def loss(network: nn.Module, _: Batch) -> Tensor:
        watched: Any = network.model
        found: Tensor = watched.loss(excerpt, torch.Generator().manual_seed(0))
        return found

    return Observed(form, capture(form, inputs), [Batch(given, target)], loss, choice.seed)
