"""How steeply a loss bends along each weight: the diagonal of its second derivative, drawn, and as first published.

- `hessian_diagonal`: the mean of v (H v) over signs v (Hutchinson); unbiased for any network, may be negative.
- `gauss_newton_diagonal`: the mean of (J^T u)^2 over draws u whose second moment is the curvature of the loss by what
  the network says: never negative, and the Hessian where the network is linear or fits perfectly. For squared errors u
  is of signs; for logits it is what the network's own draws would teach it, e_y - p with y drawn from p.
- `recursion`: that of LeCun, Denker & Solla 1990 for chains of layers, which keeps only the diagonal on its way back:
  exact for two layers of weights, and an approximation for more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.reduce.sparse.subject import Subject

DRAWS = 32
"""Of signs: the Gauss-Newton diagonal of a small network is then off by about a quarter."""


def hessian_diagonal(subject: Subject, draws: int | None = None) -> dict[str, Tensor]:
    """Diagonal of the second derivative of the batches' summed loss.

    Args:
        subject: with batches.
        draws: of signs; `DRAWS` by default.

    Returns:
        path to curvature.
    """
    draws = DRAWS if draws is None else draws
    parameters = subject.parameters()
    listed, generator = list(parameters.values()), torch.Generator().manual_seed(subject.seed)
    total = [torch.zeros_like(parameter) for parameter in listed]
    for loss in subject.losses():
        gradient = _zeros_for_none(torch.autograd.grad(loss, listed, create_graph=True, allow_unused=True), listed)
        for _ in range(draws):
            signs = [_signs(parameter, generator) for parameter in listed]
            along = torch.stack([(g * v).sum() for g, v in zip(gradient, signs, strict=True)]).sum()
            if not along.requires_grad:
                continue
            found = torch.autograd.grad(along, listed, retain_graph=True, allow_unused=True)
            for sum_, product, v in zip(total, _zeros_for_none(found, listed), signs, strict=True):
                sum_.add_(v * product, alpha=1.0 / draws)
    return dict(zip(parameters, total, strict=True))


def gauss_newton_diagonal(subject: Subject, draws: int | None = None) -> dict[str, Tensor]:
    """Diagonal of the Gauss-Newton approximation: of half the squared error of all outputs, or of their surprise.

    Args:
        subject: with outputs.
        draws: of what the outputs are told; `DRAWS` by default.

    Returns:
        path to curvature, not below zero.

    Raises:
        ReductionError: it is not known what the network says.
    """
    if not subject.outputs:
        raise ReductionError(
            "What the network says of a recording is not known: it draws its sounds.",
            remedy="Use the Hessian's own diagonal: --form hessian.",
        )
    draws = DRAWS if draws is None else draws
    parameters = subject.parameters()
    listed, generator = list(parameters.values()), torch.Generator().manual_seed(subject.seed)
    total = [torch.zeros_like(parameter) for parameter in listed]
    for says in subject.outputs:
        said = says(subject.network)
        for _ in range(draws):
            told = _drawn(said.detach(), generator) if subject.classes else _signs(said, generator)
            found = torch.autograd.grad(said, listed, told, retain_graph=True, allow_unused=True)
            for sum_, slope in zip(total, _zeros_for_none(found, listed), strict=True):
                sum_.add_(slope.square(), alpha=1.0 / draws)
    return dict(zip(parameters, total, strict=True))


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) - 1.0


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """e_y - p, with y drawn from the distribution p of the logits."""
    chances = torch.softmax(logits, dim=-1)
    drawn = torch.multinomial(chances.reshape(-1, logits.shape[-1]), 1, generator=generator).view(logits.shape[:-1])
    return torch.nn.functional.one_hot(drawn, logits.shape[-1]).to(logits.dtype) - chances


def _zeros_for_none(found: Sequence[Tensor | None], like: list[nn.Parameter]) -> list[Tensor]:
    return [torch.zeros_like(one) if part is None else part for one, part in zip(like, found, strict=True)]


def recursion(layers: Sequence[nn.Linear], inputs: Tensor, targets: Tensor, *, definite: bool = False) -> list[Tensor]:
    """Curvature of (target - output)^2 by each weight of a chain of layers with tangents between and at the end.

    LeCun, Denker & Solla 1990, equations 7 to 9, with tanh for their sigmoid.

    Args:
        layers: matrices of the chain.
        inputs: (item, input).
        targets: (item, output).
        definite: whether terms with the second derivative of tanh are left out, as by Levenberg and Marquardt.

    Returns:
        one tensor a layer, of its weight's shape, summed over the items.
    """
    states = [inputs.detach()]
    for layer in layers:
        states.append(torch.tanh(layer(states[-1])).detach())
    slope = 2.0 * (states[-1] - targets)
    curvature = torch.full_like(slope, 2.0)
    found: list[Tensor] = []
    for layer, before, after in zip(reversed(layers), reversed(states[:-1]), reversed(states[1:]), strict=True):
        first, second = 1.0 - after.square(), -2.0 * after * (1.0 - after.square())
        # By what goes into the tangent, and from there to the weights and to the units before.
        bend = first.square() * curvature + (0.0 if definite else second * slope)
        found.append(bend.T @ before.square())
        curvature = bend @ layer.weight.detach().square()
        slope = (first * slope) @ layer.weight.detach()
    return found[::-1]
