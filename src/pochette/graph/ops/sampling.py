"""pochette's own operators for models that draw sample after sample (`pochette.layers.sampling` and `.logistics`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
from pochette.graph.operator import Cost, Operator, describe
from pochette.layers.logistics import LOG_SCALE_FLOOR

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Draw(Operator):
    """A draw: none of what it chooses from can be removed."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Freeze everything."""
        for value in [*node.inputs(), *node.outputs]:
            coupling.freeze(value, "a distribution to draw from")

    def one_voice(self, node: Node, emitter: Emitter) -> None:
        """Stop unless the batch is 1."""
        if node.args[0].shape[0] != 1:
            emitter.refuse("more than one voice in a call")


class DrawCode(Draw):
    """A code from a softmax."""

    def cost(self, node: Node) -> Cost:
        """A comparison, a product, a difference, two sums and a comparison a code; one exponential."""
        size = node.args[0].size
        return Cost(pointwise=6 * size, transcendental=size)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        logits, temperature, counter = node.args
        self.one_voice(node, emitter)
        emitter.need("pc_sampling.h")
        code, after = node.outputs
        emitter.line(
            f"pc_draw_code({emitter.ref(code)}, {emitter.ref(after)}, {emitter.ref(logits)}, {logits.size}, "
            f"{emitter.ref(temperature)}, ({emitter.ref(counter)})[0], {emitter.scratch(logits.size)});"
        )


class DrawLogistic(Draw):
    """A sample of a mixture of logistics."""

    def cost(self, node: Node) -> Cost:
        """Choosing a component like a code; then an exponential, two logarithms and a few products."""
        components = node.args[0].size // 3
        return Cost(pointwise=6 * components + 8, transcendental=components + 3)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        parameters, temperature, counter = node.args
        self.one_voice(node, emitter)
        emitter.need("pc_sampling.h")
        sample, after = node.outputs
        components = parameters.size // 3
        emitter.line(
            f"pc_draw_logistic({emitter.ref(sample)}, {emitter.ref(after)}, {emitter.ref(parameters)}, {components}, "
            f"{emitter.ref(temperature)}, ({emitter.ref(counter)})[0], {emitter.number(LOG_SCALE_FLOOR)}, "
            f"{emitter.scratch(components)});"
        )


class LookUp(Draw):
    """A row of a table: costs no arithmetic."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The table's columns go on; every row has its code."""
        table, number = node.args
        rows, columns = coupling.axes(table)
        coupling.freeze_labels(rows, "one row a code")
        coupling.makes(node, table, columns)
        coupling.set(node.output, [*coupling.axes(number), columns])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy of the row."""
        table, number = node.args
        if number.size != 1:
            emitter.refuse("more than one voice in a call")
        rows, width = table.shape
        emitter.need("pc_math.h")
        row = f"({emitter.ref(number)})[0]"
        if number.dtype.is_floating_point:
            row = f"(int)pc_clamp({row} + 0.5f, 0.0f, {emitter.number(rows - 1)})"
        where = f"{emitter.constant(emitter.tensor(table))} + {width} * {row}"
        emitter.line(f"pc_copy({emitter.ref(node.output)}, {where}, {width});")


describe("pochette.draw_code.default", operator=DrawCode())
describe("pochette.draw_logistic.default", operator=DrawLogistic())
describe("pochette.look_up.default", operator=LookUp())
