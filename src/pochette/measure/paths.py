"""Which weights lie on a way from a network's inputs to its outputs, and how many ways there are.

A weight that is not zero can still be without effect: nothing reaches what it reads, or nothing reads what it makes.
Ways are followed through the captured graph operator by operator: through everything that works element by element,
through either factor of a product, and in a recurrent layer through as many steps as it takes. Offsets are no inputs;
noise, or another constant that a layer reads as its data, is one.
An operator that mixes what it is given (a transform, a statistic, an operator of pochette's own) is taken to lead from
all to all, so no weight is called useless that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Graph, Node, Value, call_of, function_of
from pochette.graph.run import run
from pochette.graph.straight import NORMS, PRODUCTS, RECURRENT, recurrent
from pochette.graph.units import propagate
from pochette.measure.weighted import Layer, learnt_values

Flags = npt.NDArray[np.bool_]

_HANDED_ON = (*NORMS, "softmax", "log_softmax", "safe_softmax", "dropout", "clone", "detach", "contiguous")
_MIXING = ("fft", "stft", "istft", "var", "std", "norm", "linalg", "max", "min", "amax", "amin", "aminmax", "argmax",
           "argmin", "sort", "topk", "median", "prod", "cumprod", "logsumexp", "cosine", "cdist", "scaled_dot",
           "grid_sampler", "adaptive_max", "max_pool")  # fmt: skip
"""Beginnings of names of operators whose slopes are not of one sign, or not there wherever something depends."""
_GAIN_LIKE = (*PRODUCTS, "div", "pow")
STATE_ROUNDS = 64
"""So many calls a streaming network is followed through, unless nothing new is reached before."""


@dataclass(frozen=True, eq=False)
class Reach:
    """What lies on a way from inputs to outputs."""

    effective: dict[str, Flags] = field(repr=False)
    """Layer to (row, column of its group, tap): weights that are not zero and on a way."""
    whole: bool = True
    """Whether all ways were followed; else the state of a streaming network was given up on after `STATE_ROUNDS`."""


class _Whether(torch.autograd.Function):
    """Numbers as 1 where they are not 0, in both directions: what is left of a network is who reaches whom."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """1 where it is reached."""
        return (x != 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """1 where it reaches an output."""
        return (slope != 0).to(slope.dtype)


def reach_of_weights(graph: Graph, layers: Sequence[Layer]) -> Reach:
    """The weights of a network that signals can take.

    Args:
        graph: captured.
        layers: of it.

    Returns:
        which they are. State of a streaming network is an input as far as inputs reach it, and an output as far as it
        reaches outputs, in as many calls as that takes; state that no input ever reaches, a clock, is an input itself.
    """
    walk = _Walk(graph, layers)
    floating = [path for path in graph.mutations if graph.stored[path].dtype.is_floating_point]
    given = {path: torch.zeros(graph.stored[path].shape, dtype=torch.float64) for path in floating}
    asked = {path: torch.zeros_like(state) for path, state in given.items()}
    for turn in range(STATE_ROUNDS):
        found = walk(given, asked, binary=True)
        reached = {path: ((given[path] + found.after[path]) != 0).double() for path in floating}
        wanted = {path: ((asked[path] + found.state_slopes[path]) != 0).double() for path in floating}
        settled = all(torch.equal(reached[p], given[p]) and torch.equal(wanted[p], asked[p]) for p in floating)
        given, asked = reached, wanted
        if settled:
            clocks = [path for path in floating if not given[path].any()]
            if not clocks or turn == STATE_ROUNDS - 1:
                break
            given |= {path: torch.ones_like(given[path]) for path in clocks}
    effective = {}
    for layer in layers:
        slope = sum(layer.as_rows(found.slopes[id(value)]) for value in layer.values)
        assert isinstance(slope, Tensor)
        # A tap that hears only what was before so short a call is as much on the way as the taps beside it.
        on_the_way = ((slope.numpy() != 0) & (layer.weights != 0)).any(axis=2, keepdims=True)
        effective[layer.name] = on_the_way & (layer.weights != 0)
    return Reach(effective, settled)


def paths_log10(graph: Graph, layers: Sequence[Layer]) -> float | None:
    """How many ways there are from inputs to outputs in one call, each through weights that are not zero.

    In a network of layers one after the other this is the sum of all entries of the product of their masks. Fixed
    averages count by their shares, and in a recurrent layer the steps of this one call, from a state at rest.

    Args:
        graph: captured.
        layers: of it.

    Returns:
        decimal logarithm; minus infinity if there is no way, None if there are more than double precision can count.
    """
    floating = [path for path in graph.mutations if graph.stored[path].dtype.is_floating_point]
    none = {path: torch.zeros(graph.stored[path].shape, dtype=torch.float64) for path in floating}
    total = _Walk(graph, layers)(none, none, binary=False).total
    if not np.isfinite(total):
        return None
    return float(np.log10(total)) if total > 0 else -np.inf


@dataclass(frozen=True, eq=False)
class _Walked:
    total: float
    slopes: dict[int, Tensor]
    after: dict[str, Tensor]
    state_slopes: dict[str, Tensor]


class _Walk:
    """A graph whose learnt weights are 1 where they are not 0."""

    def __init__(self, graph: Graph, layers: Sequence[Layer]) -> None:
        self.graph = graph
        self.coupling: Coupling = propagate(graph)
        self.known = learnt_values(graph, self.coupling)
        self.weights = {id(value): value for layer in layers for value in layer.values}
        used = set(self.weights)
        for node in graph.nodes:
            # What a layer makes of noise alone is a signal, though it depends on no input.
            if any(id(value) in used for value in node.inputs()) and id(node.output) not in self.weights:
                used.update(id(value) for value in node.outputs)
                for value in node.outputs:
                    self.known.pop(id(value), None)

    def __call__(self, given: dict[str, Tensor], asked: dict[str, Tensor], *, binary: bool) -> _Walked:
        """Follow all ways once.

        Args:
            given: state that inputs reach.
            asked: state that reaches outputs.
            binary: whether it is only asked who reaches whom; else ways are counted.

        Returns:
            what was met on the way.
        """
        self.asked: dict[int, Tensor] = {}
        self.leaves = {key: (self.known[key] != 0).double().requires_grad_() for key in self.weights}
        states = {path: state.clone().requires_grad_() for path, state in given.items()}
        tensors = {path: self._stored(path, states) for path in self.graph.stored}
        inputs = [
            torch.ones(v.shape, dtype=_wide(v.dtype)).requires_grad_(_wide(v.dtype).is_floating_point)
            for v in self.graph.inputs
        ]
        for value, tensor in zip(self.graph.inputs, inputs, strict=True):
            if not tensor.requires_grad:  # codes
                self.asked[id(value)] = torch.ones(value.shape, dtype=torch.float64, requires_grad=True)
        made = run(self.graph, inputs, tensors, instead=lambda node, args: self._perform(node, args, binary))
        ends = [_real(end).sum() for end in made.outputs if end.dtype.is_floating_point or end.is_complex()]
        after = {path: _real(made.mutations[path]) for path in states}
        ends += [(after[path] * asked[path]).sum() for path in states]
        total = torch.stack(ends).sum() if ends else torch.zeros(())
        wanted = [*self.leaves.values(), *states.values()]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if binary and total.requires_grad:
            found = torch.autograd.grad(total, wanted, allow_unused=True)
        slopes = [torch.zeros_like(of) if slope is None else slope for of, slope in zip(wanted, found, strict=True)]
        by_weight = dict(zip(self.leaves, slopes, strict=False))
        by_state = dict(zip(states, slopes[len(self.leaves) :], strict=True))
        return _Walked(float(total.detach()), by_weight, {p: s.detach() for p, s in after.items()}, by_state)

    def _stored(self, path: str, states: dict[str, Tensor]) -> Tensor:
        value = self.graph.stored[path]
        if path in states:
            return states[path]
        if id(value) in self.leaves:
            return self.leaves[id(value)]
        tensor = self.graph.tensors[path].detach()
        return tensor.double() if tensor.is_floating_point() else tensor

    def _perform(self, node: Node, given: tuple[Any, ...], binary: bool) -> Any:
        """What a node makes, in 1 and 0 or in numbers of ways; what has no part in a signal is 0."""
        if all(id(value) in self.leaves for value in node.outputs):
            return self.leaves[id(node.output)]
        if all(id(value) in self.known for value in node.outputs):
            return _shaped(node, lambda value: _widened(self.known[id(value)]))
        if binary:
            given = tree_map(_whether, given)
        made = self._made(node, given, binary)
        return tree_map(_whether, made) if binary else made

    def _made(self, node: Node, given: tuple[Any, ...], binary: bool) -> Any:  # noqa: PLR0911  (a table of cases)
        name = node.op.split(".")[1].lstrip("_")
        self._ask(node, given)
        signals = [self.asked.get(id(v), tensor) for v, tensor in _pairs(node.args, given) if self._signal(v)]
        if not signals and any(id(value) not in self.known for value in node.inputs()):
            # A clock, or noise that is a function of one: nobody sets it, but what hears it is not idle.
            return _shaped(node, lambda value: torch.ones(value.shape, dtype=_wide(value.dtype)))
        if not signals and not self._hears_what_is_fixed(node):
            return _shaped(node, lambda value: torch.zeros(value.shape, dtype=_wide(value.dtype)))
        if name in ("embedding", "look_up", "one_hot"):
            return self._looked_up(node, given)
        if not node.op.startswith("aten.") or name.startswith(_MIXING) or any(_odd(value) for value in node.inputs()):
            return _from_all(node, signals)
        if name.startswith(_HANDED_ON):
            rest = [torch.zeros(value.shape, dtype=torch.float64) for value in node.outputs[1:]]
            return (given[0], *rest) if rest else given[0]
        if (node.elementwise or name == "where") and node.output.dtype.is_floating_point:
            return self._elementwise(node, given, name)
        if name in RECURRENT:
            return self._recurrent(node, given, binary)
        # A view needs the strides that the captured value had.
        plain = tree_map(lambda arg: arg.contiguous() if isinstance(arg, Tensor) else arg, self._args(node.args, given))
        args, names = call_of(node.op, tuple(plain))
        return tree_map(_widened, function_of(node.op)(*args, **names))

    def _signal(self, value: Value) -> bool:
        if id(value) in self.known:
            return False
        return value.dtype.is_floating_point or value.dtype.is_complex or _code(value) or id(value) in self.asked

    def _hears_what_is_fixed(self, node: Node) -> bool:
        """Whether a layer reads noise, or another constant, as if it were an input."""
        values = [value for value in node.inputs() if len(value.shape) > 1]
        fixed = any(id(value) in self.known and not self.coupling.learnt(value) for value in values)
        return fixed and any(id(value) in self.leaves for value in values)

    def _ask(self, node: Node, given: tuple[Any, ...]) -> None:
        """Note what a comparison, or a number of a code, depends on: whoever asks it hears that."""
        if node.output.dtype.is_floating_point or node.output.dtype.is_complex:
            return
        pairs = [(v, self.asked.get(id(v), t)) for v, t in _pairs(node.args, given) if id(v) not in self.known]
        numbers = [tensor for _, tensor in pairs if tensor.is_floating_point()]
        if not numbers:
            return
        if node.elementwise or node.op.startswith("aten.where"):
            found = sum(numbers[1:], numbers[0])
        else:  # moved about, or mixed
            found = torch.stack([number.sum() for number in numbers]).sum()
        self.asked[id(node.output)] = found.expand(node.output.shape)

    def _args(self, args: Sequence[Any], given: Sequence[Any]) -> list[Any]:
        """What a linear operator is given: signals, weights, fixed matrices as they join, and no offsets."""
        made: list[Any] = []
        for arg, tensor in zip(args, given, strict=True):
            if isinstance(arg, (list, tuple)):
                made.append(type(arg)(self._args(arg, tensor)) if arg else arg)
            elif not isinstance(arg, Value) or id(arg) in self.leaves or self._signal(arg):
                made.append(tensor)
            elif arg.dtype.is_floating_point:
                joins = len(arg.shape) > 1 and not self.coupling.learnt(arg)
                made.append((tensor != 0).double() if joins else torch.zeros_like(tensor, dtype=torch.float64))
            else:
                made.append(tensor)
        return made

    def _elementwise(self, node: Node, given: tuple[Any, ...], name: str) -> Tensor:
        """Signals join; what they are multiplied with stops them where it is zero."""
        total = torch.zeros((), dtype=torch.float64)
        for value, tensor in _pairs(node.args, given):
            heard = self.asked.get(id(value), tensor)
            if self._signal(value) and heard.is_floating_point():
                total = total + heard
        for value, tensor in _pairs(node.args, given):
            if not self._signal(value) and name in _GAIN_LIKE and value.dtype.is_floating_point:
                total = total * (self.leaves.get(id(value), tensor) if id(value) in self.leaves else tensor != 0)
        return total.expand(node.output.shape).contiguous()

    def _looked_up(self, node: Node, given: tuple[Any, ...]) -> Tensor:
        """Any code may be asked for: every row of a table is met."""
        if node.op.startswith("aten.one_hot"):
            return torch.ones(node.output.shape, dtype=_wide(node.output.dtype))
        table = next(t for v, t in _pairs(node.args, given) if v.dtype.is_floating_point)
        rows: Tensor = table.sum(dim=0) if table.requires_grad else (table != 0).any(dim=0).double()
        codes = [self.asked[id(value)].sum() for value in node.inputs() if id(value) in self.asked]
        return (rows * (torch.stack(codes).sum() if codes else 1.0)).expand(node.output.shape).contiguous()

    def _recurrent(self, node: Node, given: tuple[Any, ...], binary: bool) -> Any:
        """A layer after so many more steps that whatever can reach something has reached it."""
        given = tuple(self._args(node.args, given))
        if not binary or node.op.split(".")[1].endswith("_cell"):
            return recurrent(node, given)
        x, state, weights, batch_first = given[0], given[1], given[2], given[8]
        steps = max(
            _steps(matrix) for matrix in weights if matrix.dim() == 2 and matrix.shape[0] % matrix.shape[1] == 0
        )
        time = 1 if batch_first else 0
        before = x.narrow(time, 0, 1).repeat_interleave(steps, dim=time)
        after = x.narrow(time, x.shape[time] - 1, 1).repeat_interleave(steps, dim=time) if given[7] else before[:0]
        long = torch.cat([before, x, after] if given[7] else [before, x], dim=time)
        made = recurrent(node, (long, state, *given[2:]))
        return (made[0].narrow(time, steps, x.shape[time]), *made[1:])


def _steps(matrix: Tensor) -> int:
    """How many steps a state may take to reach all that it can: until ways of that length lead nowhere new."""
    units = matrix.shape[1]
    one = (matrix.detach().reshape(-1, units, units).sum(dim=0) != 0).float()
    reached = torch.eye(units)
    for steps in range(units):
        further = ((reached @ one + reached) != 0).float()
        if torch.equal(further, reached):
            return steps + 1
        reached = further
    return units + 1


def _pairs(args: Sequence[Any], given: Sequence[Any]) -> list[tuple[Value, Tensor]]:
    """Values among arguments and what is given for them."""
    values = tree_leaves(list(args), is_leaf=lambda arg: isinstance(arg, Value))
    return [(v, t) for v, t in zip(values, tree_leaves(list(given)), strict=True) if isinstance(v, Value)]


def _from_all(node: Node, signals: list[Tensor]) -> Any:
    """Every output reached from every input."""
    total = torch.stack([_real(signal).sum() for signal in signals if not _integers(signal)] or [torch.ones(())]).sum()
    return _shaped(node, lambda value: total.to(_wide(value.dtype)).expand(value.shape).contiguous())


def _shaped(node: Node, make: Callable[[Value], Tensor]) -> Any:
    made = tuple(make(value) for value in node.outputs)
    return made if len(made) > 1 else made[0]


def _odd(value: Value) -> bool:
    return value.dtype.is_complex


def _code(value: Value) -> bool:
    return value.dtype == torch.int64


def _integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def _whether(made: Any) -> Any:
    if isinstance(made, Tensor) and made.is_floating_point() and made.requires_grad:
        return _Whether.apply(made)  # type: ignore[no-untyped-call]
    return made


def _real(tensor: Tensor) -> Tensor:
    return tensor.abs() if tensor.is_complex() else tensor


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else torch.complex128 if dtype.is_complex else dtype


def _widened(made: Any) -> Any:
    return made.to(_wide(made.dtype)) if isinstance(made, Tensor) else made
