"""SNIP: how much the loss feels a connection."""

from __future__ import annotations

import torch
from torch import Tensor

from pochette.families import scores
from pochette.reduce.sparse.subject import Subject


@scores.member("snip")
def snip(subject: Subject) -> dict[str, Tensor]:
    """How much the loss changes with a switch on the connection, |w dL/dw| (Lee et al. 2018, equation 6).

    The published score is divided by its sum, which changes no rank. Gradients of several batches are added before the
    absolute value is taken, as if they were one batch.
    """
    parameters = subject.parameters()
    total = {path: torch.zeros_like(parameter) for path, parameter in parameters.items()}
    for loss in subject.losses():
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for path, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                total[path] += gradient
    return {path: (parameter.detach() * total[path]).abs() for path, parameter in parameters.items()}
