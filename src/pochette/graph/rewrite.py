"""The smaller graph: every value at its surviving size, every operator refitted; and an ordinary module made of it."""

from __future__ import annotations

import keyword
import operator
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_unflatten

from pochette.graph.graph import Graph, Node, Value, call_of, function_of
from pochette.graph.graph_module import GraphModule
from pochette.graph.operator import description_of
from pochette.graph.run import Alter
from pochette.graph.units import Units

Flags = npt.NDArray[np.bool_]


class Remains:
    """What is left of every value once some units are removed.

    Args:
        units: of the graph.
        removed: (unit,) which of them go.
    """

    def __init__(self, units: Units, removed: Flags) -> None:
        self.units, self.removed = units, units.closed(removed)
        self._known: dict[tuple[int, int], npt.NDArray[np.int64]] = {}

    def indices(self, value: Value, axis: int) -> npt.NDArray[np.int64]:
        """Surviving indices of one axis, in order."""
        axis %= len(value.shape)
        key = (id(value), axis)
        if key not in self._known:
            self._known[key] = self.units.indices(value, axis, self.removed)
        return self._known[key]

    def shape(self, value: Value) -> tuple[int, ...]:
        """Lengths of a value's axes after the removal."""
        return tuple(len(self.indices(value, axis)) for axis in range(len(value.shape)))

    def cut(self, value: Value, tensor: Tensor) -> Tensor:
        """A tensor with a value's surviving indices alone; the same object if all survive."""
        for axis, size in enumerate(value.shape):
            kept = self.indices(value, axis)
            if len(kept) < size:
                tensor = tensor.index_select(axis, torch.from_numpy(kept).to(tensor.device))
        return tensor


def cut_tensors(graph: Graph, remains: Remains, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Parameters, constants and state of what survives, corrected where cutting alone is wrong (weight norm).

    Args:
        graph: captured.
        remains: of it.
        tensors: by path; the captured ones by default.

    Returns:
        tensors by path.
    """
    before = {path: tensor.detach() for path, tensor in (graph.tensors if tensors is None else tensors).items()}
    after = dict(before)
    for path, value in graph.stored.items():
        after[path] = remains.cut(value, before[path])
    for node in graph.nodes:
        description_of(node).mend(node, remains, before, after)
    _keep_scales(graph, remains, before, after)
    return after


def _keep_scales(graph: Graph, remains: Remains, before: Mapping[str, Tensor], after: dict[str, Tensor]) -> None:
    """Keep the numbers that weights are divided by, such as the spectral norm u' W v, though W has lost rows.

    The vector u is a buffer: scaled, it gives the old number for the new weights.
    """
    learnt = remains.units.coupling.learnt
    known: dict[int, tuple[Tensor, Tensor]] = {
        id(value): (before[path], after[path]) for path, value in graph.stored.items() if value.kind != "state"
    }
    for node in graph.nodes:
        inputs = list(node.inputs())
        if len(node.outputs) > 1 or not inputs or not all(id(value) in known for value in inputs):
            continue
        if not (learnt(node.output) or all(value.kind == "constant" for value in inputs) or node.op in _COPIES):
            continue
        smaller = description_of(node).refit(node, remains)
        old = _called(node.op, node.args, {key: pair[0] for key, pair in known.items()})
        new = _called(*smaller, {key: pair[1] for key, pair in known.items()})
        if node.op in _SCALARS and learnt(node.output) and bool((old != new) & (new != 0)):
            buffer = next((value for value in _through_copies(graph, inputs) if value.kind == "constant"), None)
            if buffer is not None:
                after[buffer.path] = after[buffer.path] * (old / new)
                new = old
        known[id(node.output)] = (old, new)


_COPIES = ("aten.clone.default", "aten.detach.default", "aten.alias.default")
_SCALARS = ("aten.vdot.default", "aten.dot.default")


def _scales(units: Units) -> set[int]:
    """Nodes that compute the numbers that weights are divided by."""
    graph = units.coupling.graph
    producer = {id(value): node for node in graph.nodes for value in node.outputs}
    found: set[int] = set()
    pending = [node for node in graph.nodes if node.op in _SCALARS and units.coupling.learnt(node.output)]
    while pending:
        node = pending.pop()
        found.add(id(node))
        pending += [producer[id(value)] for value in node.inputs() if id(value) in producer]
    return found


def _called(op: str, args: tuple[Any, ...], known: Mapping[int, Tensor]) -> Tensor:
    def given(arg: Any) -> Any:
        return known[id(arg)] if isinstance(arg, Value) else arg

    positional, names = call_of(op, tuple(tree_map(given, arg, is_leaf=_is_value) for arg in args))
    result: Tensor = function_of(op)(*positional, **names)
    return result


def _through_copies(graph: Graph, values: list[Value]) -> list[Value]:
    """What values are copies of."""
    source = {id(node.output): node.args[0] for node in graph.nodes if node.op in _COPIES}

    def origin(value: Value) -> Value:
        return origin(source[id(value)]) if id(value) in source else value

    return [origin(value) for value in values]


def cut_graph(graph: Graph, remains: Remains, tensors: dict[str, Tensor] | None = None) -> Graph:
    """The graph of what survives.

    Args:
        graph: captured.
        remains: of it.
        tensors: what `cut_tensors` gave; None if only shapes are wanted.

    Returns:
        a graph with values of its own.
    """
    smaller: dict[int, Value] = {}

    def shrink(value: Value) -> Value:
        if id(value) not in smaller:
            smaller[id(value)] = Value(value.name, remains.shape(value), value.dtype, value.kind, value.path)
        return smaller[id(value)]

    def translate(arg: Any) -> Any:
        return shrink(arg) if isinstance(arg, Value) else arg

    nodes = []
    for node in graph.nodes:
        op, args = description_of(node).refit(node, remains)
        args = tuple(tree_map(translate, arg, is_leaf=_is_value) for arg in args)
        nodes.append(Node(op, args, tuple(shrink(value) for value in node.outputs), node.layer))
    return Graph(
        [shrink(value) for value in graph.inputs],
        nodes,
        [shrink(value) for value in graph.outputs],
        {path: shrink(value) for path, value in graph.mutations.items()},
        graph.tensors if tensors is None else tensors,
        {path: shrink(value) for path, value in graph.stored.items()},
        tuple(translate(value) for value in graph.returned),
        graph.form,
        tuple(None if value is None else shrink(value) for value in graph.fed),
    )


def masked(units: Units, remains: Remains) -> Alter:
    """What makes a whole graph do what the smaller one must: every contraction reads zeros for the removed units.

    Args:
        units: of the graph.
        remains: of it.

    Returns:
        to hand to `run`.
    """
    masks: dict[tuple[int, int], list[tuple[int, npt.NDArray[np.int64]]]] = {}
    scales = _scales(units)
    for reading in units.coupling.readings:
        if id(reading.node) in scales:
            continue  # the number that a weight is divided by must come out as it was
        kept = remains.indices(reading.value, reading.axis)
        if len(kept) < reading.value.shape[reading.axis]:
            masks.setdefault((id(reading.node), id(reading.value)), []).append((reading.axis, kept))

    def alter(node: Node, value: Value, tensor: Tensor) -> Tensor:
        for axis, kept in masks.get((id(node), id(value)), ()):
            shape = [1] * tensor.dim()
            shape[axis] = tensor.shape[axis]
            mask = torch.zeros(tensor.shape[axis], dtype=tensor.dtype)
            mask[torch.from_numpy(kept)] = 1
            tensor = tensor * mask.view(shape)
        return tensor

    return alter


def module_of(graph: Graph, persistent: Mapping[str, Any], trainable: frozenset[str]) -> GraphModule:
    """An ordinary module that does what a graph does.

    Args:
        graph: with its tensors.
        persistent: paths that belong in the state dictionary.
        trainable: paths of parameters that gradients reach.

    Returns:
        the module; it needs nothing of the one that was captured. Its parameters keep their paths, but for an
        underscore behind parts that are called as words of Python are.
    """
    root = nn.Module()
    places = _speakable(graph.stored)
    for path, value in graph.stored.items():
        tensor = graph.tensors[path].detach().clone()
        owner, name = _owner(root, places[path])
        if value.kind == "parameter":
            owner.register_parameter(name, nn.Parameter(tensor, requires_grad=path in trainable))
        else:
            owner.register_buffer(name, tensor, persistent=path in persistent)
    fx = torch.fx.Graph()
    known = _placeholders(fx, graph)
    for path, value in graph.stored.items():
        known[id(value)] = fx.get_attr(places[path])

    def given(arg: Any) -> Any:
        return known[id(arg)] if isinstance(arg, Value) else arg

    for node in graph.nodes:
        args, names = call_of(node.op, tuple(tree_map(given, arg, is_leaf=_is_value) for arg in node.args))
        call = fx.call_function(function_of(node.op), args, names)
        if len(node.outputs) == 1 and not _returns_list(node):
            known[id(node.output)] = call
        else:
            for number, value in enumerate(node.outputs):
                known[id(value)] = fx.call_function(operator.getitem, (call, number))
    returned = [given(value) for value in graph.returned]
    if graph.mutations:
        # What is returned must not change when the state behind it does.
        clone = torch.ops.aten.clone.default
        returned = [fx.call_function(clone, (item,)) if isinstance(item, torch.fx.Node) else item for item in returned]
        new = {path: fx.call_function(clone, (known[id(value)],)) for path, value in graph.mutations.items()}
        for path, item in new.items():
            fx.call_function(torch.ops.aten.copy_.default, (known[id(graph.stored[path])], item))
    fx.output(tree_unflatten(returned, graph.form[1]) if graph.form else tuple(returned))
    module = GraphModule(root, fx, class_name="TrimmedModule")
    for path in graph.stored.keys() - {*persistent, *(value.path for value in graph.of_kind("parameter"))}:
        owner, name = _owner(module, places[path])
        owner._non_persistent_buffers_set.add(name)
    return module


def _placeholders(fx: torch.fx.Graph, graph: Graph) -> dict[int, Any]:
    """Declare a call's arguments, and take nested ones apart."""
    known: dict[int, Any] = {}
    numbers: Any = list(range(len(graph.fed)))
    positional, named = tree_unflatten(numbers, graph.form[0]) if graph.form else (tuple(numbers), {})

    def take(item: Any, nested: Any) -> None:
        if isinstance(nested, int):
            value = graph.fed[nested]
            if value is not None:
                known[id(value)] = item
        elif nested is not None:
            keys = nested if isinstance(nested, dict) else range(len(nested))
            for key in keys:
                take(fx.call_function(operator.getitem, (item, key)), nested[key])

    # All arguments are declared before the first is taken apart, as fx wants them.
    declared = [(fx.placeholder(f"argument_{number}"), nested) for number, nested in enumerate(positional)]
    declared += [(fx.placeholder(name), nested) for name, nested in named.items()]
    for item, nested in declared:
        take(item, nested)
    return known


def _speakable(paths: Collection[str]) -> dict[str, str]:
    """Paths that a module's generated code can name: `in` is no attribute that Python can read, `in_` is."""
    places: dict[str, str] = {}
    for path in paths:
        place = ".".join(f"{part}_" if keyword.iskeyword(part) else part for part in path.split("."))
        while place in places.values() or (place != path and place in paths):
            place += "_"
        places[path] = place
    return places


def _owner(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    *parents, name = path.split(".")
    owner = root
    for parent in parents:
        if parent not in owner._modules:
            owner.add_module(parent, nn.Module())
        owner = owner.get_submodule(parent)
    return owner, name


def _returns_list(node: Node) -> bool:
    kinds = [str(item.type) for item in function_of(node.op)._schema.returns]
    return len(kinds) != 1 or kinds[0].startswith("List")


def _is_value(arg: Any) -> bool:
    return isinstance(arg, Value)
