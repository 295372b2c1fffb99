"""State that a program writes when all has been read: what is written becomes an output, without a second trace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, OutputSpec, TensorArgument


def last_writes(program: ExportedProgram) -> dict[fx.Node, str]:
    """Calls that write whole buffers after the last look at them, such as those at the end of a streaming step.

    Args:
        program: as `torch.export.export` gives it.

    Returns:
        the calls and the names of their buffers, in the order of the program's inputs; none at all if a buffer is read
        after it was written, through whatever view, is written twice, from another shape or type, or shares its memory.
    """
    buffers = {spec.arg.name: str(spec.target) for spec in _buffers(program)}
    calls: list[Any] = [fx_node for fx_node in program.graph.nodes if fx_node.target is torch.ops.aten.copy_.default]
    places = {call.args[0]: call for call in calls if not call.users}
    if not calls or len(places) < len(calls) or any(place.name not in buffers for place in places):
        return {}
    if not all(_as_it_stands(call) for call in calls):
        return {}
    if _share_memory(program, {buffers[place.name] for place in places}):
        return {}
    memory: dict[fx.Node, set[fx.Node]] = {}
    written: set[fx.Node] = set()
    nodes: list[Any] = list(program.graph.nodes)
    for fx_node in nodes:
        write = fx_node in places.values()
        read = fx_node.all_input_nodes if not write else [fx_node.args[1]]
        if any(memory[value] & written for value in read):
            return {}
        own = {fx_node} & places.keys()
        memory[fx_node] = own.union(*(memory[value] for value in read)) if _may_be_a_view(fx_node) else own
        if write:
            written.add(fx_node.args[0])
    return {call: buffers[place.name] for place, call in sorted(places.items(), key=lambda item: item[0])}


def return_written(program: ExportedProgram, writes: dict[fx.Node, str]) -> None:
    """Let a program return what it wrote.

    Args:
        program: changed in place.
        writes: its `last_writes`.
    """
    values: list[Any] = [call.args[1] for call in writes]
    end: Any = next(iter(reversed(program.graph.nodes)))
    end.args = ((*values, *end.args[0]),)
    program.graph_signature.output_specs[:0] = [
        OutputSpec(OutputKind.BUFFER_MUTATION, TensorArgument(value.name), name)
        for value, name in zip(values, writes.values(), strict=True)
    ]
    for call in writes:
        program.graph.erase_node(call)


def _buffers(program: ExportedProgram) -> list[Any]:
    return [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.BUFFER]


def _as_it_stands(call: Any) -> bool:
    """Whether a write is of the very shape and type of what it is written to: nothing is repeated or converted."""
    place, value = (fx_node.meta["val"] for fx_node in call.args[:2])
    return bool(place.shape == value.shape and place.dtype == value.dtype)


def _share_memory(program: ExportedProgram, names: set[str]) -> bool:
    """Whether any of these buffers lies in the memory of another tensor of the program."""
    tensors: dict[str, Any] = {**program.state_dict, **program.constants}
    stores = {name: x.untyped_storage().data_ptr() for name, x in tensors.items() if isinstance(x, torch.Tensor)}
    often = Counter(stores.values())
    return any(often[stores[name]] > 1 for name in names if tensors[name].numel())


def _may_be_a_view(fx_node: fx.Node) -> bool:
    """Whether what a call gives may lie in the memory of its arguments; composed calls do not say."""
    target = fx_node.target
    if not isinstance(target, OpOverload):
        return True
    composed = target.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
    return composed or any(result.alias_info is not None for result in target._schema.returns)
