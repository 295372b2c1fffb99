"""From a module to its graph, by `torch.export`."""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import nn
from torch.export.graph_signature import InputKind, OutputKind

from pochette.errors import ExportError
from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph, Kind, Node, Value
from pochette.graph.hidden_state import hidden_state
from pochette.graph.program import program_of


def capture(module: nn.Module, example_inputs: tuple[Any, ...]) -> Graph:
    """The graph of one call of a module in evaluation mode.

    Writes to buffers become the graph's state; recurrent layers, normalisations and pochette's own synthesis operators
    stay single nodes. The module is left as it was.

    Args:
        module: any module that `torch.export` can follow.
        example_inputs: positional arguments of a call, a tuple or a list; the graph holds for their shapes.

    Returns:
        the graph, without what no output or state needs.

    Raises:
        ExportError: `torch.export` cannot follow the module (the message carries its reason), or the module has lazy
            layers that were never called, keeps state outside its buffers, or writes into its inputs.
    """
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ExportError(
            f"{type(module).__name__} is no torch.nn.Module that can be captured.",
            remedy="Give the network itself, an object and not its class, and not a TorchScript of it.",
        )
    arguments = arguments_of(example_inputs)
    for name, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ExportError(
                f"{name} has no values yet: its layer waits for a first call.",
                where=name.rpartition(".")[0] or type(module).__name__,
                remedy="Call the network once on the example inputs before anything else.",
            )
    try:
        with _left_as_it_was(module), _quiet() as said, torch.no_grad():
            program = program_of(module.eval(), arguments)
    except Exception as error:
        raise _explained(error, module, arguments) from error
    # PyTorch sees where attributes are written, and among them counts layers' own notes; a trial tells them apart.
    if any("assigned during export" in str(item.message) for item in said):
        hidden = hidden_state(module, arguments)
        if hidden:
            raise _hides_state(module, " and ".join(hidden))
    written = [s.target for s in program.graph_signature.output_specs if s.kind is OutputKind.USER_INPUT_MUTATION]
    if written:
        raise ExportError(
            f"The forward writes into what it is given, {' and '.join(map(str, written))}.",
            where=type(module).__name__,
            remedy="Write y = 2 * x instead of x.mul_(2), leave inplace=True out of a first layer, and keep state in "
            "buffers.",
        )
    _check_writes(program)
    return _translate(program)


@contextmanager
def _left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Undo what tracing leaves in a module: its mode, and tensors without numbers where a forward keeps a result."""
    training = {part: part.training for part in module.modules()}
    attributes = {part: dict(vars(part)) for part in module.modules()}
    try:
        yield
    finally:
        for part, had in attributes.items():
            part.training = training[part]
            for name, value in list(vars(part).items()):
                if isinstance(value, torch.Tensor) and value is not had.get(name):
                    vars(part).pop(name)
                    vars(part).update({name: had[name]} if name in had else {})


def _check_writes(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that writes to what is learnt: a graph's parameters are constants."""
    specs = program.graph_signature.output_specs
    written = [str(spec.target) for spec in specs if spec.kind.name == "PARAMETER_MUTATION"]
    if written:
        raise ExportError(
            f"The forward writes into {_listed(written)}, a parameter, which an engine stores as a constant.",
            where=written[0].rpartition(".")[0] or "the outermost module",
            remedy='State is a buffer: self.register_buffer("state", torch.zeros(...)), written with '
            "self.state.copy_(...).",
        )


def _listed(names: list[str]) -> str:
    return " and ".join(names)


def arguments_of(example_inputs: Any) -> tuple[Any, ...]:
    """A call's positional arguments as a tuple.

    Args:
        example_inputs: such a tuple, a list of them, or one tensor alone.

    Returns:
        the tuple.

    Raises:
        ExportError: they are nothing of the kind.
    """
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs)
    raise ExportError(
        f"The example inputs are a {type(example_inputs).__name__}, not a tuple.",
        remedy="Give a tuple of the positional arguments of a call, (x,) for one tensor.",
    )


_REMEDIES = {
    # x[:, i] of a tensor i without axes, which Python makes a number of
    "extract specialized integer": "Index with tensors of one axis: x[:, i.view(1)] in place of x[:, i], "
    "x.index_copy_(1, i.view(1), y); and compute with tensors instead of .item().",
    "PackedParams": "Give the network as it was before it was quantised; pochette rounds its weights itself.",
    "pack_padded_sequence": "Give recurrent layers the padded sequence itself: one that looks back only says the same "
    "up to each end; what lies behind it is to be left out.",
    "guard on data-dependent": "Choose by torch.where(condition, a, b) in place of if condition: a tensor's values are "
    "not known before it runs.",
    ".numpy()": "Compute with torch throughout, also where numpy would do.",
}
"""What `torch.export` says, or a function that a forward calls, to what can be done about that."""
_NONE = (lambda: None).__code__


def _explained(error: Exception, module: nn.Module, arguments: tuple[Any, ...]) -> ExportError:
    """Why `torch.export` gave up, and what to do about it."""
    where = type(module).__name__
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reserved = sorted({name for part in module.modules() for name in (*part._modules, *part._parameters)} & _RESERVED)
    if reserved:
        return ExportError(
            f"torch.export cannot follow a module with a part called {' or '.join(reserved)}.",
            where=where,
            remedy="Give that part another name: a captured module has one of its own under it.",
        )
    failure = _own_failure(module, arguments)
    if failure:
        return ExportError(
            f"The module does not run on the example inputs: {failure}",
            where=where,
            remedy="Give a tuple of the positional arguments of a call that works.",
        )
    if "mutated in the forward" in reason:
        return _hides_state(module, reason.removeprefix("Constant ").split()[0])
    shared = _shared_buffers(module)
    if shared:
        return ExportError(
            f"torch.export cannot follow a module in which {_listed(shared)} share their memory: {reason}",
            where=shared[0].rpartition(".")[0] or where,
            remedy="Register the buffer once, and let the others read it as an argument; or give each a copy of its "
            "own, buffer.clone().",
        )
    called = [name for part in module.modules() for name in getattr(type(part).forward, "__code__", _NONE).co_names]
    told = " ".join([reason, *called])
    general = "Write its forward without branches on tensor values and without unknown Python objects."
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in told), general)
    return ExportError(f"torch.export cannot follow this module: {reason}", where=where, remedy=remedy)


def _shared_buffers(module: nn.Module) -> list[str]:
    """Names of buffers that lie in the memory of others; empty if there are none."""
    places: dict[int, list[str]] = {}
    for name, buffer in module.named_buffers(remove_duplicate=False):
        if not nn.parameter.is_lazy(buffer) and buffer.numel():
            places.setdefault(buffer.untyped_storage().data_ptr(), []).append(name)
    return next((names for names in places.values() if len(names) > 1), [])


def _hides_state(module: nn.Module, names: str) -> ExportError:
    return ExportError(
        f"The forward keeps state in {names}, no buffer, where a capture does not see it.",
        where=type(module).__name__,
        remedy='Register it as a buffer, self.register_buffer("state", torch.zeros(...)), and write it with '
        "self.state.copy_(...).",
    )


@contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Keep to itself what PyTorch prints of its own working; what it cannot follow, and why, is in its exceptions.

    Yields:
        its warnings, which grow while it lasts.
    """
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(record=True) as said, redirect_stderr(StringIO()):
            warnings.simplefilter("always")
            yield said
    finally:
        logger.disabled = disabled


def _own_failure(module: nn.Module, example_inputs: tuple[Any, ...]) -> str:
    """Why the module itself fails on inputs; empty if it does not."""
    try:
        copied = copy_of(module).eval()
        with torch.no_grad():
            copied(*example_inputs)
    except Exception as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ""


_RESERVED = {"code", "graph"}
"""Names that a captured module uses itself."""


def _translate(program: torch.export.ExportedProgram) -> Graph:
    values: dict[str, Any] = {}
    fed: list[Value | None] = []
    stored: dict[str, Value] = {}
    mutated = set(program.graph_signature.buffers_to_mutate.values())
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs if hasattr(spec.arg, "name")}
    nodes: list[Node] = []
    returned: tuple[Any, ...] = ()
    for fx_node in program.graph.nodes:
        if fx_node.op == "placeholder":
            value = _placeholder(fx_node, specs[fx_node.name], mutated)
            values[fx_node.name] = value
            if value is None or value.kind == "input":
                fed.append(value)
            else:
                stored[value.path] = value
        elif fx_node.op == "output":
            returned = tuple(values[arg.name] if isinstance(arg, torch.fx.Node) else arg for arg in fx_node.args[0])
        elif fx_node.target is operator.getitem:
            values[fx_node.name] = values[fx_node.args[0].name][fx_node.args[1]]
        elif hasattr(fx_node.target, "_schema") and fx_node.meta.get("val") is None:
            continue  # an assertion on a tensor's type or length, which gives nothing
        elif hasattr(fx_node.target, "_schema"):
            values[fx_node.name] = _append(nodes, _node(fx_node, values), fx_node)
        elif fx_node.users:
            raise ExportError(
                f"The graph calls {getattr(fx_node.target, '__name__', fx_node.target)}, which is no tensor operator.",
                remedy="Write the forward without loops or branches on tensor values.",
            )
    results, mutations = [], {}
    for spec, value in zip(program.graph_signature.output_specs, returned, strict=True):
        if spec.kind is OutputKind.BUFFER_MUTATION:
            mutations[str(spec.target)] = value
        else:
            results.append(value)
    tensors = {**program.state_dict, **program.constants}
    outputs = [value for value in results if isinstance(value, Value)]
    inputs = [value for value in fed if value is not None]
    form = (program.call_spec.in_spec, program.call_spec.out_spec)
    graph = Graph(inputs, nodes, outputs, mutations, tensors, stored, tuple(results), form, tuple(fed))
    return _without_dead(graph)


def _append(nodes: list[Node], node: Node, fx_node: torch.fx.Node) -> Any:
    """Put a node behind others, unless it changes nothing; what it gives."""
    if node.op == "aten.copy.default":
        source, made = node.args[1], node.output
        if source.kind == "computed" and (source.shape, source.dtype) == (made.shape, made.dtype):
            return source  # of what is written over nothing is left
    nodes.append(node)
    return node.outputs if isinstance(fx_node.meta["val"], (tuple, list)) else node.output


def _placeholder(fx_node: torch.fx.Node, spec: Any, mutated: set[str]) -> Value | None:
    example = fx_node.meta["val"]
    if not isinstance(example, torch.Tensor):
        return None  # a number or a flag among the arguments: the graph holds for its value
    kind: Kind = "input"
    if spec.kind is InputKind.PARAMETER:
        kind = "parameter"
    elif spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
        kind = "state" if spec.target in mutated else "constant"
    return Value(fx_node.name, tuple(example.shape), example.dtype, kind, spec.target or "")


def _node(fx_node: torch.fx.Node, values: dict[str, Any]) -> Node:
    schema = fx_node.target._schema  # type: ignore[union-attr]
    given = dict(zip((argument.name for argument in schema.arguments), fx_node.args, strict=False)) | fx_node.kwargs
    full = [given.get(argument.name, argument.default_value) for argument in schema.arguments]
    args = tuple(torch.fx.node.map_arg(arg, lambda node: values[node.name]) for arg in full)
    example = fx_node.meta["val"]
    examples = example if isinstance(example, (tuple, list)) else [example]
    if not all(isinstance(e, torch.Tensor) and all(isinstance(n, int) for n in e.shape) for e in examples):
        stack = list((fx_node.meta.get("nn_module_stack") or {"": ("", "")}).values())
        raise ExportError(
            f"What {fx_node.target} gives depends on the values of tensors, not only on their shapes.",
            where=stack[-1][0] or "the outermost module",
            remedy="Write the forward without .item(), masks as indices, and other sizes that the data decide.",
        )
    outputs = tuple(
        Value(f"{fx_node.name}.{i}" if len(examples) > 1 else fx_node.name, tuple(e.shape), e.dtype, "computed")
        for i, e in enumerate(examples)
    )
    stack = list((fx_node.meta.get("nn_module_stack") or {"": ("", "")}).values())
    return Node(str(fx_node.target), args, outputs, stack[-1][0])


def _without_dead(graph: Graph) -> Graph:
    """Drop nodes and stored tensors that nothing needs."""
    needed = {id(value) for value in (*graph.outputs, *graph.mutations.values())}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(id(value) in needed for value in node.outputs):
            kept.append(node)
            needed.update(id(value) for value in node.inputs())
    graph.nodes = kept[::-1]
    graph.stored = {
        path: value for path, value in graph.stored.items() if id(value) in needed or path in graph.mutations
    }
    return graph
