"""Synaptic flow: how much of everything that can flow through a network flows through each weight.

Of a network without its nonlinearities, with absolute weights, no offsets and ones for inputs, the outputs' sum R is a
polynomial of the weights. The flow through a weight is |w| dR/d|w|: every layer's sum is R, and a unit passes on what
it takes in (Tanaka et al. 2020, theorem 1), so no layer can lose all while others have some left.

That holds for layers and functions of one operand. Where a gate multiplies two signals, a degree is counted twice; a
recurrent layer, whose gates are added up here, is its own input. There the flow still ranks, but conserves nothing:
`Flow.conserves` says which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from pochette.errors import ReductionError
from pochette.graph.capture import capture
from pochette.graph.graph import Node, Value, call_of, function_of
from pochette.graph.run import run
from pochette.graph.straight import NORMS, PRODUCTS, RECURRENT, recurrent
from pochette.models.model import Model
from pochette.reduce.sparse.rounds import left_of
from pochette.reduce.sparse.schedules import remaining
from pochette.reduce.sparse.selection import kept_of_all
from pochette.reduce.sparse.weights import Masks, without_norms
from pochette.reduce.trimming import PREFIX

_GAINS = ("rsqrt", "reciprocal")
"""What norms that are written out multiply by."""


class Flow:
    """A network made linear in each of its weights.

    Args:
        module: left as it was; of a `Model` its trim form is what signals flow through.
        example_inputs: of a call; of a `Model` its own.
    """

    def __init__(self, module: nn.Module, example_inputs: tuple[Tensor, ...] = ()) -> None:
        plain, paths = without_norms(module)
        form, inputs, prefix = plain.eval(), example_inputs, ""
        if isinstance(plain, Model):
            form, inputs = plain.trim_form()
            prefix = PREFIX
        self.graph = capture(form, inputs)
        known = {path: f"{prefix}{own}" for path, own in paths.items()}
        self.paths = {path: own for path, own in known.items() if own in self.graph.stored}
        named = dict(plain.named_parameters())
        self._shapes = {path: named[own].shape for path, own in paths.items()}
        learnt = {id(value) for value in self.graph.stored.values() if value.kind == "parameter"}
        self.conserves = not any(_mixes(node, learnt) for node in self.graph.nodes)

    def scores(self, alive: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The flow through every weight.

        Args:
            alive: masks; nothing flows through what is dead.

        Returns:
            path to flow, in double precision; zero for weights that signals do not meet.

        Raises:
            ReductionError: nothing reaches the output.
        """
        weights = {
            own: (self.graph.tensors[own].detach().double().abs() * alive[path]).requires_grad_()
            for path, own in self.paths.items()
        }
        tensors = {path: self._calm(path, tensor) for path, tensor in self._stored()} | weights
        inputs = [torch.ones(value.shape, dtype=_wide(value.dtype)) for value in self.graph.inputs]
        ends: list[Tensor] = []
        made = run(self.graph, inputs, tensors, instead=lambda node, given: _straight(node, given, ends))
        ends += [*made.outputs, *made.mutations.values()]
        total = torch.stack([end.sum() for end in ends if end.is_floating_point()]).sum()
        if not total.requires_grad or not torch.isfinite(total):
            raise ReductionError(
                f"What flows through the network is {total.item():g}, not a number that its weights decide.",
                remedy="Score by something else: pochette list scores.",
            )
        found = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
        flows = {path: torch.zeros(shape, dtype=torch.float64) for path, shape in self._shapes.items()}
        for path, (own, slope) in zip(self.paths, zip(weights, found, strict=True), strict=True):
            if slope is not None:
                flows[path] = weights[own].detach() * slope
        return flows

    def _stored(self) -> list[tuple[str, Tensor]]:
        return [(path, self.graph.tensors[path]) for path in self.graph.stored]

    def _calm(self, path: str, tensor: Tensor) -> Tensor:
        """Offsets are nothing, state is given as inputs are, everything else counts by its size."""
        if not tensor.is_floating_point():
            return tensor
        wide = tensor.detach().double()
        if self.graph.stored[path].kind == "state":
            return torch.ones_like(wide)
        return torch.zeros_like(wide) if path.rpartition(".")[2].startswith("bias") else wide.abs()


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else dtype


def _straight(node: Node, given: tuple[Any, ...], ends: list[Tensor]) -> Any:
    """What a node makes once it is linear in what it is given, and gives no less for more.

    Functions of one operand and norms hand it on, products multiply, everything else that works element by element
    adds up. Where signals leave the network (oscillators, spectra), flow ends.
    """
    space, name, _ = node.op.split(".")
    operands = [arg for arg in given if isinstance(arg, Tensor)]
    real = all(value.dtype.is_floating_point for value in node.outputs)
    if space != "aten" or name.lstrip("_").startswith(("fft", "stft", "istft", "complex", "view_as")):
        ends += [operand for operand in operands if operand.is_floating_point() and operand.requires_grad]
        made = [torch.zeros(value.shape, dtype=_wide(value.dtype)) for value in node.outputs]
        return made[0] if len(made) == 1 else tuple(made)
    if name in NORMS:
        rest = [torch.zeros(value.shape, dtype=torch.float64) for value in node.outputs[1:]]
        return (given[0], *rest) if rest else given[0]
    if name in _GAINS:
        return torch.ones(node.output.shape, dtype=torch.float64)
    if node.elementwise and real:
        numbers = [operand for operand in operands if operand.is_floating_point()]
        found = numbers[0] if numbers else torch.zeros((), dtype=torch.float64)
        for number in numbers[1:]:
            found = found * number if name in PRODUCTS else found + number
        return found.expand(node.output.shape).contiguous()
    if name in RECURRENT:
        return recurrent(node, given)
    args, names = call_of(node.op, given)
    return tree_map(_widened, function_of(node.op)(*args, **names))


def _widened(made: Any) -> Any:
    return made.double() if isinstance(made, Tensor) and made.is_floating_point() else made


def _mixes(node: Node, learnt: set[int]) -> bool:
    """Whether a node multiplies two signals, or computes functions that cannot be taken out."""
    name = node.op.split(".")[1]
    if name in RECURRENT:
        return True
    signals = [arg for arg in node.args if isinstance(arg, Value) and id(arg) not in learnt and arg.kind == "computed"]
    return name in PRODUCTS and len(signals) > 1


def in_many_rounds(flow: Flow, alive: Masks, keep: float, rounds: int) -> Masks:
    """Ever fewer weights, the flow asked anew each time (Tanaka et al. 2020, algorithm 1).

    Args:
        flow: of the network.
        alive: what is ranked.
        keep: share of all weights that stays.
        rounds: steps, each taking the same share of what is left.

    Returns:
        masks with exactly so many alive.

    Raises:
        ReductionError: no weight would go, or none would be left.
    """
    left_of(alive, keep)
    total = sum(mask.numel() for mask in alive.values())
    for number in range(1, rounds + 1):
        alive = kept_of_all(flow.scores(alive), alive, round(remaining(keep, rounds, number) * total))
    return alive
