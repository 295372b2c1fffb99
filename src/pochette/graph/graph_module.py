"""The module made of a graph: it can be copied, pickled and saved, and stays what it is.

PyTorch pickles such a module as code, and runs that code once to have the graph again. What depends on no argument
becomes a constant there, a random draw for good, and a check of the arguments is gone. Here the operators travel one
by one.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pochette.graph.graph import function_of
from pochette.graph.lengths import check_call

Step = tuple[str, str, str, Any, Any]
"""Kind, name and target of a node of the graph, its arguments and its named arguments."""


class GraphModule(torch.fx.GraphModule):
    """A module made of a graph: parameters under the paths of the model it came from, and one call's operators."""

    trim_report: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        """A copy that says of itself what the original says; PyTorch's own drops attributes that are no tensors."""
        copied: Any = super().__deepcopy__(memo)
        if "trim_report" in self.__dict__:
            copied.trim_report = copy.deepcopy(self.trim_report, memo)
        for path, part in self.named_modules():
            copied.get_submodule(path)._non_persistent_buffers_set = set(part._non_persistent_buffers_set)
        return copied  # type: ignore[no-any-return]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> GraphModule:
        """What `to`, `double` or `cuda` do, to numbers that the graph itself makes too: states that begin at zero."""
        before = _kind(self)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        after = _kind(self)
        if before != after:
            for node in self.graph.nodes:
                node.args, node.kwargs = (_moved(arg, before, after) for arg in (node.args, node.kwargs))
            self.recompile()
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle stores: all but the graph as it is, and the graph step by step."""
        return _rebuilt, ({name: item for name, item in self.__dict__.items() if name != "_graph"}, _steps(self.graph))


def _kind(module: nn.Module) -> tuple[torch.dtype, torch.device] | None:
    """Of which numbers a module is made, and where they are."""
    held = (tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point())
    first = next(held, None)
    return None if first is None else (first.dtype, first.device)


def _moved(arg: Any, before: tuple[Any, ...] | None, after: tuple[Any, ...] | None) -> Any:
    """Arguments of a step in which a dtype or device that the module had is the one that it has now."""
    assert before is not None and after is not None
    changed = dict(zip(before, after, strict=True))

    def instead(item: Any) -> Any:
        if isinstance(item, (list, tuple)):
            return type(item)(map(instead, item))
        if isinstance(item, dict):
            return {key: instead(value) for key, value in item.items()}
        return changed.get(item, item) if isinstance(item, (torch.dtype, torch.device)) else item

    return instead(arg)


class _Of:
    """Stands for the result of a step of some name."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Format:
    """Stands for an order of memory, which older ways of pickling do not know."""

    def __init__(self, form: torch.memory_format) -> None:
        self.name = str(form).removeprefix("torch.")


def _steps(graph: torch.fx.Graph) -> list[Step]:
    def named(arg: Any) -> Any:
        def instead(item: Any) -> Any:
            if isinstance(item, torch.fx.Node):
                return _Of(item.name)
            return _Format(item) if isinstance(item, torch.memory_format) else item

        return torch.fx.node.map_aggregate(arg, instead)

    return [(node.op, node.name, _name_of(node.target), named(node.args), named(node.kwargs)) for node in graph.nodes]


_FUNCTIONS = {"check_call": check_call, "getitem": operator.getitem}
"""What a graph calls apart from PyTorch's operators."""


def _name_of(target: Any) -> str:
    return target if isinstance(target, str) else target.__name__ if target in _FUNCTIONS.values() else str(target)


def _rebuilt(body: dict[str, Any], steps: list[Step]) -> GraphModule:
    """The module that was pickled."""
    graph, made = torch.fx.Graph(), dict[str, torch.fx.Node]()

    def given(arg: Any) -> Any:
        if isinstance(arg, _Of):
            return made[arg.name]
        if isinstance(arg, _Format):
            return getattr(torch, arg.name)
        if isinstance(arg, (list, tuple)):
            items = [given(item) for item in arg]
            return items if isinstance(arg, list) else tuple(items)
        if isinstance(arg, dict):
            return {key: given(item) for key, item in arg.items()}
        if isinstance(arg, slice):
            return slice(given(arg.start), given(arg.stop), given(arg.step))
        return arg

    for kind, name, target, args, kwargs in steps:
        function: Any = (_FUNCTIONS.get(target) or function_of(target)) if kind == "call_function" else target
        made[name] = graph.create_node(kind, function, given(args), given(kwargs), name=name)
    root = nn.Module()
    root.__dict__.update(body)
    module = GraphModule(root, graph, class_name="TrimmedModule")
    module.__dict__.update(body)
    return module
