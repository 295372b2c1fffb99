"""Which learnt numbers single-weight methods look at: matrices and filters, as they act.

Offsets, gains of norms, and states at rest stay: they are few, and nothing is multiplied by them that could be saved.
Of a weight-normed layer the direction is masked and the effective weight g v / |v| is what is scored; a cut scales the
gain so that the weights left stay what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pochette.errors import ReductionError
from pochette.models.model import Model

Masks = dict[str, Tensor]
"""Path of a weight to booleans of its shape: where it lives."""
Scores = Mapping[str, Tensor]
"""Path of a weight to how much each of its numbers is worth keeping."""

_NORMED = ".parametrizations.weight.original"


@dataclass(frozen=True, eq=False)
class Weight:
    """A matrix or the filters of a layer.

    Args:
        parameter: what is learnt; a direction, where weights are normed.
        gain: what the norm of each part is learnt as; None where nothing is normed.
    """

    parameter: nn.Parameter
    gain: nn.Parameter | None = None

    @torch.no_grad()
    def effective(self) -> Tensor:
        """The numbers that data meets, of the parameter's shape."""
        if self.gain is None:
            return self.parameter.detach().clone()
        return self.parameter * (self.gain / self._norm())

    @torch.no_grad()
    def cut(self, alive: Tensor) -> None:
        """Set what is not alive to zero and leave the rest as it acts.

        Args:
            alive: booleans of the parameter's shape.
        """
        before = None if self.gain is None else self._norm()
        self.hold(alive)
        if self.gain is not None and before is not None:
            self.gain.mul_(self._norm() / before)

    @torch.no_grad()
    def become(self, acting: Tensor) -> None:
        """Act as told.

        Args:
            acting: what data is to meet, of the parameter's shape.
        """
        if self.gain is None:
            self.parameter.copy_(acting)
            return
        lives = acting.bool()
        for axis in self._over:
            lives = lives.any(dim=axis, keepdim=True)
        self.parameter.copy_(torch.where(lives, acting, self.parameter))
        self.gain.copy_(torch.where(lives, self._norm(), 0.0))

    def hold(self, alive: Tensor) -> None:
        """Set what is not alive to zero, whatever that does to the rest of a norm."""
        for parameter, mask in self.held(alive):
            parameter.detach().mul_(mask)

    def held(self, alive: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """What is zero for that: of a part that is dead as a whole the gain, as no direction can be zero.

        Args:
            alive: booleans of the parameter's shape.

        Returns:
            learnt tensors, each with booleans of its shape.
        """
        if self.gain is None:
            return [(self.parameter, alive)]
        lives = alive
        for axis in self._over:
            lives = lives.any(dim=axis, keepdim=True)
        return [(self.parameter, alive | ~lives), (self.gain, lives)]

    @property
    def _over(self) -> list[int]:
        """Axes that a norm sums over."""
        assert self.gain is not None
        return [axis for axis, size in enumerate(self.gain.shape) if size == 1]

    def _norm(self) -> Tensor:
        """Norm of each part that has a gain of its own, with axes of length 1 for the others."""
        norm: Tensor = torch.linalg.vector_norm(self.parameter, dim=self._over, keepdim=True)
        return norm


def weights_of(module: nn.Module) -> dict[str, Weight]:
    """All matrices and filters of a network, whatever layer they are in: what is called weight, or has two axes.

    Args:
        module: any; of a `Model` what it plays with.

    Returns:
        path to weight, in the module's order.

    Raises:
        ReductionError: there is none.
    """
    held = module.played_parameters() if isinstance(module, Model) else dict(module.named_parameters())
    found: dict[str, Weight] = {}
    for path, parameter in held.items():
        name = path.rpartition(".")[2]
        if parameter.dim() < 2 or not parameter.is_floating_point():
            continue
        if path.endswith(f"{_NORMED}1"):
            found[path] = Weight(parameter, held[f"{path[:-1]}0"])
        elif name == "weight_v":
            found[path] = Weight(parameter, held[f"{path[:-1]}g"])
        elif name == "weight_g" or _NORMED in path:
            continue
        elif name.startswith("weight") or parameter.squeeze().dim() > 1:
            found[path] = Weight(parameter)
    if not found:
        raise ReductionError(
            f"{type(module).__name__} has no matrix and no filter whose weights could go.",
            remedy="Give a network with linear, convolutional or recurrent layers.",
        )
    return found


def effective(weights: Mapping[str, Weight]) -> dict[str, Tensor]:
    """What data meets, by path."""
    return {path: weight.effective() for path, weight in weights.items()}


def without_norms(module: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """A copy whose weights are plain parameters of the values that they act with: what derivatives are taken by.

    Args:
        module: left as it was; its weight norms are parametrizations.

    Returns:
        the copy, and the module's own path of each weight to the path in the copy.

    Raises:
        ReductionError: a weight norm is of the old form.
    """
    paths = {path: path.replace(f"{_NORMED}1", ".weight") for path in weights_of(module)}
    old = next((path for path in paths if path.endswith("weight_v")), None)
    if old is not None:
        raise ReductionError(
            "Derivatives by weights that the old weight norm makes are not taken.",
            where=old,
            remedy="Use torch.nn.utils.parametrizations.weight_norm.",
        )
    plain = copy.deepcopy(module)
    for part in list(plain.modules()):
        if parametrize.is_parametrized(part, "weight"):
            acting = cast(Tensor, part.weight).detach()
            # torch's own removal edits the class, which a copy shares with its original.
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part._modules["parametrizations"]
            part.register_parameter("weight", nn.Parameter(acting))
    return plain, paths


def all_alive(weights: Mapping[str, Weight]) -> Masks:
    """Masks under which nothing has gone yet."""
    return {path: torch.ones_like(weight.parameter, dtype=torch.bool) for path, weight in weights.items()}


def not_zero(weights: Mapping[str, Weight]) -> Masks:
    """Masks of the weights that data meets as anything but zero."""
    return {path: acting != 0.0 for path, acting in effective(weights).items()}


def live(masks: Mapping[str, Tensor]) -> int:
    """How many weights are alive."""
    return sum(int(mask.sum()) for mask in masks.values())


def density(masks: Mapping[str, Tensor]) -> float:
    """Share of the weights under masks that are alive."""
    return live(masks) / sum(mask.numel() for mask in masks.values())
