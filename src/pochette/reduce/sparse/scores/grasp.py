"""GraSP: what removing a connection does to the flow of gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from pochette.families import scores
from pochette.reduce.sparse.subject import Subject


@scores.member("grasp")
def grasp(subject: Subject) -> dict[str, Tensor]:
    """How much of the gradient's squared norm goes with a connection, w H g (Wang et al. 2020, equation 8).

    H is the loss's second derivative and g its gradient, both summed over the batches: g is the sum of all before it is
    multiplied. The published code divides logits by a temperature of 200, which only a softmax has; here the loss is
    differentiated as it is. Half the first-order change of |g|^2; a connection of low score is one whose removal costs
    the least flow, or adds to it.
    """
    return _flow(subject)


@scores.member("grasp-abs")
def grasp_abs(subject: Subject) -> dict[str, Tensor]:
    """Absolute value of GraSP's score, which does better than the score itself (Frankle et al. 2021)."""
    return {path: score.abs() for path, score in _flow(subject).items()}


def _flow(subject: Subject) -> dict[str, Tensor]:
    parameters = subject.parameters()
    listed = list(parameters.values())
    whole = [torch.zeros_like(parameter) for parameter in listed]
    for loss in subject.losses():
        whole = [sum_ + part for sum_, part in zip(whole, _gradient(loss, listed, again=False), strict=True)]
    products = [torch.zeros_like(parameter) for parameter in listed]
    for loss in subject.losses():
        gradient = _gradient(loss, listed, again=True)
        along = torch.stack([(fixed * part).sum() for fixed, part in zip(whole, gradient, strict=True)]).sum()
        if along.requires_grad:  # a loss that is linear in the weights has no second derivative
            products = [sum_ + part for sum_, part in zip(products, _gradient(along, listed, again=False), strict=True)]
    return {
        path: parameter.detach() * product
        for (path, parameter), product in zip(parameters.items(), products, strict=True)
    }


def _gradient(of: Tensor, by: list[torch.nn.Parameter], *, again: bool) -> list[Tensor]:
    found = torch.autograd.grad(of, by, create_graph=again, allow_unused=True)
    return [torch.zeros_like(one) if part is None else part for one, part in zip(by, found, strict=True)]
