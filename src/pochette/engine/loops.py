"""One loop for a whole chain of elementwise operators: each element is loaded once, and only results are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pochette.engine.views import View, joined

_NAMES = "ijklmnop"


@dataclass(frozen=True)
class Step:
    """One operator of a chain: a name for its result, and the C expression of it."""

    name: str
    expression: str
    """Operands are names of what is read, of earlier steps, or numbers; functions are written `pc_@tanh(...)`."""


def write_loop(
    shape: Sequence[int],
    reads: dict[str, View],
    steps: Sequence[Step],
    writes: Sequence[tuple[View, str]],
    *,
    filled: bool,
    scalar: bool,
) -> str:
    """The C of a chain over all elements of a shape.

    Args:
        shape: of every result.
        reads: name to memory, with strides for `shape`.
        steps: in an order in which they can be computed.
        writes: memory, and the name of the step that goes there.
        filled: whether all memory is filled up to whole vectors, so that the last one may reach over the end.
        scalar: whether a function is among the steps that has no vector form.

    Returns:
        statements.
    """
    views = [*reads.values(), *(view for view, _ in writes)]
    sizes, strides = joined(shape, views)
    inner = strides[-1]
    vector = not scalar and all(stride in (0, 1) for stride in inner) and all(inner[len(reads) :])
    out, indent = [], ""
    for depth, size in enumerate(sizes[:-1]):
        name = _NAMES[depth]
        out.append(f"{indent}for (int {name} = 0; {name} < {size}; {name}++) {{")
        indent += "    "
    size, index = sizes[-1], _NAMES[len(sizes) - 1]
    outer = [[step[number] for step in strides[:-1]] for number in range(len(views))]
    addresses = [_address(view, outer[number]) for number, view in enumerate(views)]
    told = (index, addresses, inner, reads, steps, writes)
    wide = vector and (size >= 4 or filled)
    tail = not wide or (size % 16 > 0 and not (filled and len(sizes) == 1))
    if wide and tail:
        out.append(f"{indent}int {index} = 0;" if indent else f"int {index} = 0;")
        out[-1] = indent + "{" if not indent else out[-1]
    if wide:
        start = "" if tail else f"int {index} = 0"
        bound = f"{index} + PC_WIDTH <= {size}" if tail else f"{index} < {size}"
        if tail and not indent:
            out[-1] = f"{{ int {index} = 0;"
        out += _body(indent, f"for ({start}; {bound}; {index} += PC_WIDTH) {{", "pc_v", "v", *told)
    if tail:
        start = "" if wide else f"int {index} = 0"
        out += _body(indent, f"for ({start}; {index} < {size}; {index}++) {{", "float", "", *told)
        if wide and not indent:
            out.append("}")
    while indent:
        indent = indent[4:]
        out.append(f"{indent}}}")
    return "\n    ".join(out)


def _address(view: View, outer: Sequence[int]) -> str:
    """C expression of where a row of the innermost loop begins."""
    terms = "".join(f" + {stride} * {_NAMES[depth]}" for depth, stride in enumerate(outer) if stride)
    return view.at() + terms


def _body(
    indent: str, head: str, kind: str, mark: str, index: str, addresses: list[str], inner: Sequence[int],
    reads: dict[str, View], steps: Sequence[Step], writes: Sequence[tuple[View, str]],
) -> list[str]:  # fmt: skip
    """One loop, over vectors or over single elements."""
    out = []
    lines = []
    for number, name in enumerate(reads):
        stride = inner[number]
        place = f"{addresses[number]} + {stride} * {index}" if stride > 1 else f"{addresses[number]} + {index}"
        if mark:
            value = f"pc_load({place})" if stride else f"pc_splat(*({addresses[number]}))"
        else:
            value = f"*({place})" if stride else f"*({addresses[number]})"
        lines.append(f"{indent}    const {kind} {name} = {value};")
    for step in steps:
        lines.append(f"{indent}    const {kind} {step.name} = {step.expression.replace('@', mark)};")
    for number, (_, name) in enumerate(writes, start=len(reads)):
        stride = inner[number]
        place = f"{addresses[number]} + {stride} * {index}" if stride != 1 else f"{addresses[number]} + {index}"
        lines.append(f"{indent}    pc_store({place}, {name});" if mark else f"{indent}    *({place}) = {name};")
    out.append(indent + head)
    out += lines
    out.append(indent + "}")
    return out
