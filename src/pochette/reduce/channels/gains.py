"""Gains under an L1 penalty: what a norm scales a unit by says what the unit is worth (Liu et al. 2017).

The published method needs a batch norm behind every layer. Audio networks have weight norms, whose gains are the norms
of the filters themselves, or layer norms; where some units have neither, gates serve all (`pochette.reduce.channels.
gates`), as numbers of different kinds cannot be ranked against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.reduce.channels.shrinking import signed
from pochette.reduce.evidence import FloatArray, weights_of_each
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.train.loop import Trainer

On = Literal["automatic", "gains", "gates"]
"""What the penalty lies on: gains where all units have some of one kind, else gates; or what is asked for."""


def gains_of(structure: Structure, evidence: Observed) -> dict[str, str] | None:
    """Where the gains of all units lie, if they are of one kind.

    Args:
        structure: of the network.
        evidence: its weights.

    Returns:
        path of each gain to what it belongs to, "weight norm" or "norm"; weight norms where every family has them, else
        norms where every family has them, else None.
    """
    for kind in ("weight norm", "norm"):
        found: dict[str, str] = {}
        for family in structure.families:
            own = [p.path for p in evidence.gains(family) if _is_of_weight(evidence, p.path) == (kind == "weight norm")]
            if not own:
                break
            found.update(dict.fromkeys(own, kind))
        else:
            return found
    return None


def _is_of_weight(evidence: Observed, path: str) -> bool:
    """Whether a gain is a weight norm's, which has as many axes as the filters."""
    return evidence.graph.tensors[path].dim() > 1


def sizes_of(structure: Structure, evidence: Observed, gains: Collection[str]) -> dict[str, FloatArray]:
    """How large the gains of each unit are.

    Args:
        structure: of the network.
        evidence: its weights.
        gains: paths of those that count, some for every family.

    Returns:
        family name to the mean size of each unit's gains.
    """
    found = {}
    for family in structure.families:
        places = [place for place in evidence.gains(family) if place.path in gains]
        sizes = [np.abs(weights_of_each(family, place, evidence.tensors[place.path])).mean(axis=1) for place in places]
        found[family.name] = np.mean(sizes, axis=0)
    return found


class Penalty:
    """An L1 penalty on some parameters, for the time of a training: its sign is added to their gradient.

    Args:
        parameters: by path.
        strength: of the penalty.
    """

    name = "penalty"

    def __init__(self, parameters: Mapping[str, nn.Parameter], strength: float) -> None:
        self.parameters, self.strength = dict(parameters), strength

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Go along with an optimiser.

        Args:
            optimiser: of all or some of the parameters.
        """
        theirs = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        mine = [parameter for parameter in self.parameters.values() if id(parameter) in theirs]

        def add(*_: object) -> None:
            for parameter in mine:
                if parameter.grad is not None:
                    parameter.grad.copy_(signed(parameter.grad, parameter.detach(), self.strength))

        optimiser.register_step_pre_hook(add)

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        for driver in trainer.drivers:
            self.attach(driver.optimiser)

    def state(self) -> dict[str, Tensor]:
        """Nothing; see `pochette.train.loop.Companion`."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to go on from; see `pochette.train.loop.Companion`."""


def no_gains(structure: Structure, evidence: Observed) -> ReductionError:
    """Why gains do not serve.

    Args:
        structure: of the network.
        evidence: its weights.

    Returns:
        the error to raise.
    """
    lacking = [family.name for family in structure.families if not evidence.gains(family)]
    return ReductionError(
        "These layers have no gain, or gains of another kind than the others: they cannot be ranked by them.",
        where=", ".join(lacking[:5]) or structure.families[0].name,
        remedy="Choose gates (--on gates), which every unit can be given.",
    )
