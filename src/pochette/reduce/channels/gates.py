"""Gates: factors that are learnt under an L1 penalty beside the weights, and at all times folded into these.

Where a unit is read it is multiplied by its gate. That is the same as weights whose columns are multiplied, so the
network itself stays as it is: what a layer computes with is V * gate, for a learnt V. A residual block has one gate for
all that leaves it. Before each step of an optimiser
V is put in the weight's place, and its gradient is the chain rule's; after it, gates take their own step (an optimiser
with moments would undo the proximal one) and the product is put back. So whoever looks, a checkpoint or held-out
sound, sees an ordinary network, and nothing needs to be folded at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.units import UnitFamily
from pochette.layers.factored import WIDE
from pochette.layers.residual import Block
from pochette.reduce.channels.shrinking import accelerated, proximal
from pochette.reduce.evidence import FloatArray
from pochette.reduce.sparse.weights import Weight, weights_of
from pochette.reduce.structure import Structure
from pochette.train.loop import Trainer, annealed

INERTIA = 0.9
"""Of accelerated steps, as published."""
BLOCKS = "blocks"
"""The family of the gates of residual blocks."""


@dataclass(frozen=True)
class Pull:
    """How gates are drawn to zero."""

    strength: float
    """Of the penalty."""
    rate: float
    """Of the gates' steps, before it is annealed."""
    step: Literal["proximal", "accelerated"]


class _Factor(Protocol):
    """How a tensor is multiplied by some of a family's gates."""

    @property
    def family(self) -> str:
        """Its name."""

    def spread(self, gates: Tensor, dims: int) -> Tensor:
        """Factors of the tensor, broadcast."""

    def summed(self, products: Tensor, units: int) -> Tensor:
        """What a tensor of its shape sums to over what each gate multiplies."""


@dataclass(frozen=True, eq=False)
class _Whole:
    """A tensor that one gate multiplies whole."""

    family: str
    number: int

    def spread(self, gates: Tensor, dims: int) -> Tensor:
        """Its gate."""
        return gates[self.number]

    def summed(self, products: Tensor, units: int) -> Tensor:
        """All of it, at its gate's place."""
        sums = products.new_zeros(units)
        sums[self.number] = products.sum()
        return sums


@dataclass(frozen=True, eq=False)
class _Read:
    """A weight's columns that read a family."""

    family: str
    axis: int
    unit: Tensor
    """(index of the axis,) number of the unit, or the number of units where it reads none of the family."""

    def spread(self, gates: Tensor, dims: int) -> Tensor:
        """Factors of the weight, broadcast."""
        shape = [1] * dims
        shape[self.axis] = len(self.unit)
        return torch.cat([gates, gates.new_ones(1)])[self.unit.to(gates.device)].view(shape)

    def summed(self, products: Tensor, units: int) -> Tensor:
        """What a tensor of the weight's shape sums to over each unit's columns."""
        along = products.movedim(self.axis, 0).flatten(1).sum(1)
        return along.new_zeros(units + 1).index_add_(0, self.unit.to(along.device), along)[:units]


class Folded:
    """Gates, by family, of tensors that they are folded into, for the time of a training.

    Args:
        pull: how gates are drawn to zero.
        sizes: of each family, its number of gates.
        factors: of each tensor, by path, what it is multiplied by.
        parameters: the tensors; they are read and written in place.
    """

    name = "gates"

    def __init__(
        self,
        pull: Pull,
        sizes: Mapping[str, int],
        factors: Mapping[str, Sequence[_Factor]],
        parameters: Mapping[str, nn.Parameter],
    ) -> None:
        self.pull = pull
        self.gates = {name: torch.ones(size) for name, size in sizes.items()}
        self.momenta = {name: torch.zeros_like(gate) for name, gate in self.gates.items()}
        self._reads, self._parameters = dict(factors), dict(parameters)
        self.free = {path: parameter.detach().clone() for path, parameter in self._parameters.items()}
        """The weights without their gates."""
        self._fall = 1.0

    # -- steps ---------------------------------------------------------------------------------------------------------

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Go along with an optimiser.

        Args:
            optimiser: of all or some of the weights.
        """
        theirs = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        paths = [path for path, parameter in self._parameters.items() if id(parameter) in theirs]
        slopes: dict[str, Tensor] = {}
        optimiser.register_step_pre_hook(lambda *_: slopes.update(self._before(paths)))
        optimiser.register_step_post_hook(lambda *_: self._after(paths, slopes))

    @torch.no_grad()
    def _before(self, paths: list[str]) -> dict[str, Tensor]:
        """Put free weights and their gradients in place.

        Args:
            paths: of weights that are about to take a step.

        Returns:
            gradient of the loss by the gates of each family they read.
        """
        slopes: dict[str, Tensor] = {}
        for path in paths:
            parameter, free = self._parameters[path], self.free[path]
            reads = self._reads[path]
            factors = [read.spread(self.gates[read.family], parameter.dim()) for read in reads]
            gradient = torch.zeros_like(free) if parameter.grad is None else parameter.grad
            for number, read in enumerate(reads):
                product = gradient * free
                for other, factor in enumerate(factors):
                    product = product if other == number else product * factor
                slope = read.summed(product, len(self.gates[read.family]))
                slopes[read.family] = slopes.get(read.family, 0.0) + slope
            for factor in factors:
                gradient = gradient * factor
            if parameter.grad is not None:
                parameter.grad.copy_(gradient)
            parameter.copy_(free)
        return slopes

    @torch.no_grad()
    def _after(self, paths: list[str], slopes: dict[str, Tensor]) -> None:
        """Remember free weights, move the gates, and fold them in again."""
        for path in paths:
            self.free[path] = self._parameters[path].detach().clone()
        rate = self.pull.rate * self._fall
        for name, slope in slopes.items():
            gate = self.gates[name]
            if self.pull.step == "proximal":
                self.gates[name] = proximal(gate, slope, rate, self.pull.strength)
            else:
                self.gates[name], self.momenta[name] = accelerated(
                    gate, self.momenta[name], slope, rate, self.pull.strength, INERTIA
                )
        slopes.clear()
        self._fold()

    @torch.no_grad()
    def _fold(self) -> None:
        for path, parameter in self._parameters.items():
            folded = self.free[path]
            for read in self._reads[path]:
                folded = folded * read.spread(self.gates[read.family], parameter.dim())
            parameter.copy_(folded)

    # -- what is asked of it -------------------------------------------------------------------------------------------

    def scores(self) -> dict[str, FloatArray]:
        """Family name to the size of each unit's gate."""
        return {name: gate.abs().double().numpy() for name, gate in self.gates.items()}

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        for driver in trainer.drivers:
            self.attach(driver.optimiser)

        def follow(trainer: Trainer) -> None:
            self._fall = annealed(trainer.used, trainer.training.anneal_from)

        trainer.before_step.append(follow)

    def state(self) -> dict[str, Tensor]:
        """Gates, momenta and free weights; see `pochette.train.loop.Companion`."""
        kinds = {"gate": self.gates, "momentum": self.momenta, "free": self.free}
        # What weights become later must not change what was told.
        return {f"{kind}/{name}": tensor.clone() for kind, held in kinds.items() for name, tensor in held.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        for kind, held in (("gate", self.gates), ("momentum", self.momenta), ("free", self.free)):
            held.update((name, state[f"{kind}/{name}"].clone()) for name in list(held))


class Gates(Folded):
    """Gates of all families of a network, one a unit, folded into who reads the unit.

    Args:
        module: the network; its weights are read and written in place.
        structure: of it.
        pull: how gates are drawn to zero.
        prefix: what the structure's paths carry in front of the module's own.

    Raises:
        ReductionError: some units are read by nothing that a gate could be folded into.
    """

    def __init__(self, module: nn.Module, structure: Structure, pull: Pull, prefix: str = "") -> None:
        reads: dict[str, list[_Read]] = {}
        weights = weights_of(module)
        for family in structure.families:
            for path, read in _reads_of(weights, family, prefix):
                reads.setdefault(path, []).append(read)
        sizes = {family.name: family.units for family in structure.families}
        super().__init__(pull, sizes, reads, {path: weights[path].parameter for path in reads})


class BlockGates(Folded):
    """Gates of residual blocks, one a block, folded into the maps that lead out of it.

    That is into weights and biases; of a normed map into the gain.

    Args:
        module: the network; its weights are read and written in place.
        blocks: of it.
        pull: how gates are drawn to zero.
    """

    def __init__(self, module: nn.Module, blocks: Mapping[str, Block], pull: Pull) -> None:
        self.order = tuple(blocks)
        """Paths of the blocks, as their gates stand."""
        paths = {id(parameter): path for path, parameter in module.named_parameters()}
        factors, parameters = dict[str, list[_Whole]](), dict[str, nn.Parameter]()
        for number, block in enumerate(blocks.values()):
            for parameter in (found for leaving in block.leaving for found in _scaling(leaving)):
                path = paths[id(parameter)]
                factors[path], parameters[path] = [_Whole(BLOCKS, number)], parameter
        super().__init__(pull, {BLOCKS: len(blocks)}, factors, parameters)

    def factors(self) -> dict[str, float]:
        """Path of each block to the size of its gate."""
        return dict(zip(self.order, self.scores()[BLOCKS].tolist(), strict=True))


def _scaling(leaving: nn.Module) -> list[nn.Parameter]:
    """The tensors of a map that are multiplied when what it makes is; of two maps in a row those of the second."""
    leaving = getattr(leaving, WIDE, leaving)
    directions = {id(weight.parameter) for weight in weights_of(leaving).values() if weight.gain is not None}
    return [parameter for parameter in leaving.parameters() if id(parameter) not in directions]


def _reads_of(weights: Mapping[str, Weight], family: UnitFamily, prefix: str) -> list[tuple[str, _Read]]:
    """Who reads a family, by path."""
    found = []
    for place, indices in family.indices.items():
        path = place.path.removeprefix(prefix)
        if place in family.makers or path not in weights:
            continue
        if weights[path].gain is not None:
            raise ReductionError(
                "Gates cannot be folded into a weight that is normed: its norm would undo them.",
                where=path,
                remedy="Choose gains (--on gains) where every layer has some, or the method lottery.",
            )
        unit = torch.full((weights[path].parameter.shape[place.axis],), family.units)
        unit[torch.from_numpy(indices)] = torch.arange(family.units)[:, None].expand(*indices.shape)
        found.append((path, _Read(family.name, place.axis, unit)))
    if not found:
        raise ReductionError(
            "No weight reads these units that a gate could be folded into.",
            where=family.name,
            remedy="Choose a method that scores weights, such as filters.",
        )
    return found
