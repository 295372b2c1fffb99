"""Tickets that are drawn early: units whose choice no longer changes may as well go at once (You et al. 2020).

The distance of two choices of units is the share of units that one keeps and the other does not. A ticket is drawn when
the newest of five choices is no further than epsilon from each of the four before: so the published code does, while
its text asks for five consecutive distances.

At a share p of the units removed two choices differ by 2 min(p, 1 - p) at most and by 2 p (1 - p) if they are random:
at p = 0.95 nothing could ever be further apart than 0.1. A relative epsilon counts in that measure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pochette.models.model import Model
from pochette.reduce.choosing import Choice, choose
from pochette.reduce.evidence import WeightsOnly
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.train.loop import Trainer

CHOICES = 5
"""That are compared, the newest among them."""
DRAWN = "ticket drawn"
"""Why a training ended whose ticket was found."""


def distance(one: Tensor, other: Tensor) -> float:
    """Share of the units that one choice keeps and the other does not.

    Args:
        one: booleans, (unit,).
        other: of the same units.

    Returns:
        0 to 1.
    """
    return float((one != other).double().mean())


def is_drawn(choices: Sequence[Tensor], epsilon: float, *, relative: bool = False) -> bool:
    """Whether the newest choice is as near to the four before as is asked.

    Args:
        choices: the last ones, oldest first.
        epsilon: largest distance.
        relative: whether it counts in what random choices of as many units would differ by, such that both forms agree
            where half of the units go.

    Returns:
        whether a ticket is drawn; never of fewer than five.
    """
    if len(choices) < CHOICES:
        return False
    kept = float(choices[-1].double().mean())
    most = epsilon * 4.0 * kept * (1.0 - kept) if relative else epsilon
    return all(distance(choices[-1], before) <= most for before in choices[-CHOICES:-1])


class Search:
    """Looks at a training for a ticket, and ends it when one is drawn; a `pochette.train.loop.Companion`.

    Args:
        model: in training.
        structure: of it.
        choice: how units are chosen.
        macs: multiply-accumulates that are to be left.
        every: steps between two looks.
        epsilon: see `is_drawn`.
        relative: see `is_drawn`.
    """

    name = "tickets"

    def __init__(
        self,
        model: Model,
        structure: Structure,
        choice: Choice,
        macs: float,
        *,
        every: int,
        epsilon: float,
        relative: bool,
    ) -> None:
        self.model, self.structure, self.choice, self.macs = model, structure, choice, macs
        self.every, self.epsilon, self.relative = every, epsilon, relative
        self.choices: list[Tensor] = []

    def look(self) -> Tensor:
        """The units that would stay now, all families one behind the other."""
        # A copy, since evidence is gathered on the CPU, wherever the model trains.
        form, _ = copy.deepcopy(self.model).cpu().trim_form()
        evidence = Observed(form, self.structure.graph, seed=self.choice.seed)
        tensors = {path: tensor.detach() for path, tensor in form.named_parameters(remove_duplicate=False)}
        now = WeightsOnly({**self.structure.graph.tensors, **tensors}, seed=self.choice.seed)
        now.gains = evidence.gains  # type: ignore[method-assign]
        survivors = choose(self.structure, now, self.choice, macs=self.macs)
        kept = [
            torch.zeros(family.units, dtype=torch.bool).index_fill(0, torch.from_numpy(survivors[family.name]), True)
            for family in self.structure.families
        ]
        return torch.cat(kept)

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        trainer.after_step.append(self._after)

    def _after(self, trainer: Trainer) -> None:
        if trainer.progress.steps % self.every or trainer.progress.stopped:
            return
        self.choices = [*self.choices, self.look()][-CHOICES:]
        if is_drawn(self.choices, self.epsilon, relative=self.relative):
            trainer.progress.stopped = DRAWN

    def state(self) -> dict[str, Tensor]:
        """The last choices; see `pochette.train.loop.Companion`."""
        return {str(number): choice for number, choice in enumerate(self.choices)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        self.choices = [state[str(number)].bool() for number in range(len(state))]
