"""The program that `torch.export` makes of a module, in a form that has no side effects, at a third of the usual cost.

`run_decompositions` traces the whole program a second time, which takes longer than the first. It has to where a
program writes to tensors and reads them again. Elsewhere it only takes some calls apart (a chunk becomes a split, a
reshape a copy and a view), and what becomes of one depends on nothing but its own arguments: so those are put into a
small program, each different one once, and what `run_decompositions` makes of them there is put in their places here.
State that is written when all has been read is no hindrance: what is written becomes an output (`last_writes`).
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import torch
import torch.fx.config
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.node import map_arg

from pochette.graph.recurrence import one_moment
from pochette.graph.written import last_writes, return_written


def program_of(module: nn.Module, example_inputs: tuple[Any, ...]) -> ExportedProgram:
    """The program of one call of a module, writes to buffers turned into outputs and nothing decomposed that need not.

    Args:
        module: in evaluation mode.
        example_inputs: positional arguments of a call.

    Returns:
        what `run_decompositions` with an empty table gives, but for names and for calls that nothing needs.

    Raises:
        Exception: whatever `torch.export` raises where it cannot follow the module.
    """
    with _unburdened(), one_moment():
        program = torch.export.export(module, example_inputs, strict=False)
        writes = last_writes(program)
        if not all(fx_node in writes or _without_effect(fx_node) for fx_node in program.graph.nodes):
            return _functional(program)
        composed = [fx_node for fx_node in program.graph.nodes if not _stays(fx_node)]
        try:
            parts = _taken_apart({_signature(call): call for call in composed})
        except Exception:  # one of them cannot stand alone
            return _functional(program)
        for call in composed:
            _replace(call, parts[_signature(call)])
        return_written(program, writes)
        return program


def _functional(program: ExportedProgram) -> ExportedProgram:
    """The whole program traced again: an empty table decomposes nothing, writes to buffers become outputs."""
    traced: ExportedProgram = program.run_decompositions({})
    return traced


@contextmanager
def _unburdened() -> Iterator[None]:
    """Let PyTorch trace without noting who called each operator, and without searching for garbage meanwhile.

    Nobody reads those notes, a fifth of the time. The first trace of a process imports a thousand modules that all
    stay; searching them again and again doubles what the import takes.
    """
    config: Any = torch.fx.config
    noting, collecting = getattr(config, _NO_NOTES, False), gc.isenabled()
    setattr(config, _NO_NOTES, True)
    gc.disable()
    try:
        yield
    finally:
        setattr(config, _NO_NOTES, noting)
        if collecting:
            gc.enable()


_NO_NOTES = "do_not_emit_stack_traces"
"""PyTorch's setting; a PyTorch without it ignores it."""


# -- which calls stay as they are --------------------------------------------------------------------------------------


def _without_effect(fx_node: fx.Node) -> bool:
    """Whether a node does nothing but compute tensors, of known shapes, from others.

    A conjugate or negative that is only noted down counts as an effect: a second trace writes it out where it is read.
    """
    if fx_node.op in ("placeholder", "output") or fx_node.target is operator.getitem:
        return True
    if not isinstance(fx_node.target, OpOverload) or fx_node.target._schema.is_mutable:
        return False
    return all(
        value is None or (isinstance(value, Tensor) and not value.is_conj() and not value.is_neg())
        for value in _values(fx_node)
    )


def _values(fx_node: fx.Node) -> tuple[Any, ...]:
    """Examples of what a call gives."""
    value = fx_node.meta.get("val")
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _stays(fx_node: fx.Node) -> bool:
    """Whether `run_decompositions` is sure to leave a node as it is."""
    target = fx_node.target
    if not isinstance(target, OpOverload):
        return True
    composed = target.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
    return target not in _LIFTS and (not composed or target in _separable())


_LIFTS = (torch.ops.aten.lift.default, torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)
"""What brings a constant into a trace; it becomes an ordinary copy."""


@cache
def _separable() -> frozenset[Any]:
    """Operators that are taken apart if a table says so; others that are composed may alias, and always are."""
    return frozenset(torch.export.default_decompositions())


# -- what becomes of the others ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """What becomes of a call, as nodes of a small program."""

    inputs: list[fx.Node]
    """In the place of the call's tensors."""
    nodes: list[fx.Node]
    """In order."""
    results: list[Any]
    """Inputs, nodes or plain values."""


class _Calls(nn.Module):
    """Calls side by side, each with tensors of its own."""

    def __init__(self, calls: list[fx.Node]) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, *tensors: Tensor) -> list[Any]:
        rest = iter(tensors)
        results = []
        for call in self.calls:
            target: Any = call.target
            args, names = _mapped(call, lambda _: next(rest))
            results.append(target(*args, **names))
        return results


def _mapped(call: fx.Node, function: Callable[[fx.Node], Any]) -> Any:
    """Positional and named arguments of a call with its tensors replaced, one after the other."""
    return map_arg((call.args, call.kwargs), function)


def _tensors(call: fx.Node) -> list[fx.Node]:
    """Nodes among the arguments in order, as often as they occur."""
    found: list[fx.Node] = []
    _mapped(call, found.append)
    return found


def _signature(call: fx.Node) -> str:
    """All that decides what becomes of a call."""

    def like(fx_node: fx.Node) -> str:
        value = fx_node.meta["val"]
        return f"{value.dtype} {value.shape} {value.stride()} {value.device}"

    return f"{call.target}{_mapped(call, like)}"


def _taken_apart(calls: dict[str, fx.Node]) -> dict[str, _Parts]:
    """What becomes of calls, all in one small program."""
    if not calls:
        return {}
    fed = [fx_node.meta["val"] for call in calls.values() for fx_node in _tensors(call)]
    examples = tuple(torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device) for x in fed)
    program = torch.export.export(_Calls(list(calls.values())), examples, strict=False).run_decompositions({})
    signature = program.graph_signature
    if any(spec.kind is not InputKind.USER_INPUT for spec in signature.input_specs):
        raise ValueError("A call brings a constant of its own.")
    if any(spec.kind is not OutputKind.USER_OUTPUT for spec in signature.output_specs):
        raise ValueError("A call writes to its arguments, although its declaration denies it.")
    nodes = list(program.graph.nodes)
    inputs, results = iter(nodes[: len(examples)]), iter(nodes[-1].args[0])
    parts = {}
    for name, call in calls.items():
        own = list(islice(inputs, len(_tensors(call))))
        ends = list(islice(results, len(_values(call))))
        needed = set(own)
        wanted = [end for end in ends if isinstance(end, fx.Node)]
        while wanted:
            fx_node = wanted.pop()
            if fx_node not in needed:
                needed.add(fx_node)
                wanted += fx_node.all_input_nodes
        parts[name] = _Parts(own, [fx_node for fx_node in nodes if fx_node in needed.difference(own)], ends)
    return parts


def _replace(call: fx.Node, parts: _Parts) -> None:
    """Put parts in the place of a call."""
    known = dict(zip(parts.inputs, _tensors(call), strict=True))
    with call.graph.inserting_before(call):
        for part in parts.nodes:
            known[part] = call.graph.node_copy(part, lambda fx_node: known[fx_node])
            known[part].meta["nn_module_stack"] = call.meta.get("nn_module_stack")
    results = [known[end] if isinstance(end, fx.Node) else end for end in parts.results]
    if isinstance(call.meta["val"], Tensor):
        call.replace_all_uses_with(results[0])
    else:
        for user in list(call.users):  # each takes one of several results
            user.replace_all_uses_with(results[int(str(user.args[1]))])
            call.graph.erase_node(user)
    call.graph.erase_node(call)
