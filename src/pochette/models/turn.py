"""What a step of training does, said by the model: one turn for most, several where networks teach or oppose others.

A likelihood, a spectral distance or a variational bound is one turn over all parameters. An adversary is a turn of its
own before the generator's; a teacher is a turn that ends before its student's begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Losses = Callable[[dict[str, Tensor], torch.Generator], Tensor | Iterable[Tensor]]
"""A batch of sound and where chance comes from, to a loss; or to several, each followed by a step of the optimiser
before the next is asked for (truncated back-propagation steps so through a long sound)."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One optimiser, what it moves and what for. At every step the turns are taken in the order they are declared."""

    name: str
    """For checkpoints and messages."""
    parameters: Sequence[nn.Parameter]
    """What it moves; everything else stands still meanwhile and needs no gradient."""
    losses: Losses
    rate: float = 1.0
    """Times the training's learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam."""
    repeats: int = 1
    """How often a step takes it, each time on fresh sound."""
    span: tuple[float, float] = (0.0, 1.0)
    """Share of the training's budget from which, and up to which, it is taken; the rate anneals within."""
    gradient_clip: float | None = None
    """Largest norm of the gradient; None for the training's own."""

    def is_on(self, used: float) -> bool:
        """Whether it is taken when so much of the budget is used, 0 to 1."""
        return self.span[0] <= used < self.span[1] or (used >= 1.0 == self.span[1])

    def within(self, used: float) -> float:
        """Share of its own span that is used."""
        return (min(used, self.span[1]) - self.span[0]) / (self.span[1] - self.span[0])


@contextmanager
def still(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """While a turn is taken that does not move these parameters, they ask for no gradient."""
    moved = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in moved:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moved:
            parameter.requires_grad_(True)
