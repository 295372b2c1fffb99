"""Products and recurrent layers whose matrices are stored in 16 or 8 bits: what is kept, and the statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pochette.engine.packing import FloatArray, block_rows, pack_rows
from pochette.engine.precision import (
    LayerPrecision,
    Precision,
    filter_kept_in_floats,
    kept_in_floats,
    pack_fours,
    pack_pairs,
    quantise_rows,
    rounded_matrix,
    snr_db,
    to_bits,
)
from pochette.engine.weights import array_text
from pochette.graph.graph import Graph, Value

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter
    from pochette.graph.gates import Gates, Layer

Rounded = Callable[[list[FloatArray]], FloatArray]
_LINE_BYTES = 64
"""Matrices begin at multiples of a cache line."""


@dataclass(frozen=True)
class Matrix:
    """One stored matrix, ready to be multiplied with."""

    precision: Precision
    address: str
    scales: str
    """Address of its rows' scales, where it has them."""
    rows: int
    columns: int
    block: int

    def multiply(self, out: str, bias: str, x: str, emitter: Emitter) -> None:
        """Write out = W x + bias.

        Args:
            out: where exactly `rows` floats go.
            bias: as many, filled up to a multiple of 16; may be `out` where it has that room.
            x: `columns` floats.
            emitter: that writes.
        """
        sizes = (self.columns, self.rows, self.block)
        if self.precision == "float32":
            emitter.need("pc_linear.h")
            pairs = int(self.rows <= 64 and self.columns >= 8)
            emitter.call("pc_product", 1, (out, self.address, bias, x), (*sizes, pairs))
        elif self.precision == "int8":
            emitter.need("pc_int8.h")
            numbers = ", ".join(map(str, sizes))
            _call(
                emitter,
                f"product8_{self.columns}_{self.rows}_{self.block}",
                "float *y, const int8_t *w, const float *scales, const float *b, const float *x",
                f"    pc_digit room[PC_DIGITS({self.columns})];\n    pc_product8(y, w, scales, b, x, room, {numbers});",
                (out, self.address, self.scales, bias, x),
            )
        else:
            emitter.need("pc_half.h")
            kind = f"PC_{self.precision.upper()}"
            _call(
                emitter,
                f"product_{self.precision}_{self.columns}_{self.rows}_{self.block}",
                "float *y, const uint16_t *w, const float *b, const float *x",
                f"    pc_product16(y, w, b, x, {', '.join(map(str, sizes))}, {kind});",
                (out, self.address, bias, x),
            )

    def filter(
        self, pointers: tuple[str, str, str, str], steps: tuple[int, int, int, int], sizes: tuple[int, int, int],
        emitter: Emitter,
    ) -> None:  # fmt: skip
        """Write a convolution over samples whose channels lie side by side; see `pc_windows8`.

        Args:
            pointers: where outputs go, biases filled up to a multiple of 16, the first input, and what is added to the
                outputs, "0" if nothing is.
            steps: floats from row to row of outputs, inputs and what is added, and from tap to tap.
            sizes: inputs, taps and samples made.
            emitter: that writes.
        """
        out, bias, x, added = pointers
        ins, taps, samples = sizes
        adding, whole = int(added != "0"), self.precision == "int8"
        emitter.need("pc_windows8.h" if whole else "pc_windows16.h")
        columns, kind = ins * taps, f"PC_{self.precision.upper()}"
        loose = ", ".join(map(str, steps))
        name = f"windows_{self.precision}_{'_'.join(map(str, (ins, taps, samples, self.rows, self.block, adding)))}"
        numbers = f"os, is, as, dilation, {self.rows}, {ins}, {taps}, {samples}, {self.block}"
        takes = "const float *b, const float *x, const float *add, int os, int is, int as, int dilation"
        if whole:
            _call(
                emitter, name, f"float *y, const int8_t *w, const float *scales, {takes}",
                f"    float room[{columns}];\n    pc_digit digits[PC_WINDOWS8 * PC_DIGITS({columns})];\n"
                f"    pc_windows8(y, x, w, scales, b, add, room, digits, {numbers}, {adding});",
                (out, self.address, self.scales, bias, x, added, loose),
            )  # fmt: skip
        else:
            _call(
                emitter, name, f"float *y, const uint16_t *w, {takes}",
                f"    float room[PC_WINDOWS * {columns}];\n"
                f"    pc_windows16(y, x, w, b, add, room, {numbers}, {kind}, {adding});",
                (out, self.address, bias, x, added, loose),
            )  # fmt: skip


def _call(emitter: Emitter, name: str, takes: str, body: str, given: tuple[str, ...]) -> None:
    """Write a call of a function that all calls of this name share."""
    emitter.functions.setdefault(name, f"PC_KERNEL void {name}({takes})\n{{\n{body}\n}}")
    emitter.line(f"{name}({', '.join(given)});")


@dataclass
class Reduced:
    """The matrices of one engine that are stored in fewer bits than 32, and how all the others fared.

    Args:
        precision: asked for.
    """

    precision: Precision
    arrays: dict[str, list[npt.NDArray[Any]]] = field(default_factory=lambda: {"weights16": [], "weights8": []})
    """C name of an array to what it holds, piece by piece."""
    _places: dict[tuple[str, bytes], str] = field(default_factory=dict)
    rounded: dict[str, FloatArray] = field(default_factory=dict)
    """Path of each tensor in fewer bits to what it is once it is stored."""
    _chosen: dict[str, tuple[Precision, float, str]] = field(default_factory=dict)
    """Path of a tensor to how it is kept, its signal-to-noise ratio, and why it is kept in floats."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all arrays but the floats."""
        return sum(piece.nbytes for pieces in self.arrays.values() for piece in pieces)

    @property
    def whole(self) -> frozenset[str]:
        """Paths of the tensors that are whole numbers with scales."""
        return frozenset(self.rounded if self.precision == "int8" else ())

    def gains(self, weight: Value, emitter: Emitter) -> bool:
        """Whether a matrix is to be stored in fewer bits; what is decided is remembered for the report."""
        if self.precision == "float32" or len(weight.shape) != 2:
            return False
        if weight.path not in self._chosen:
            exact = emitter.tensor(weight)
            reason = kept_in_floats(exact, self.precision)
            self._choose(weight, exact, None if reason else rounded_matrix(exact, self.precision), reason)
        return weight.path in self.rounded

    def _choose(self, weight: Value, exact: FloatArray, rounded: FloatArray | None, reason: str) -> None:
        """Remember how a tensor is kept."""
        if rounded is None:
            self._chosen[weight.path] = ("float32", float("inf"), reason)
            return
        self.rounded[weight.path] = rounded
        self._chosen[weight.path] = (self.precision, snr_db(exact, rounded), "")

    def store(self, weight: Value, emitter: Emitter) -> Matrix:
        """Store a matrix as it gains most.

        Args:
            weight: (row, column).
            emitter: that stores the scales, and what stays in floats.

        Returns:
            the matrix.
        """
        exact = emitter.tensor(weight)
        (rows, columns), block = exact.shape, block_rows(len(exact))
        if self.gains(weight, emitter):
            return self.store_matrix(exact, block, emitter)
        return Matrix("float32", emitter.constant(pack_rows(exact, block)), "", rows, columns, block)

    def filter_gains(self, weight: Value, matrices: Sequence[FloatArray], whole: Rounded, emitter: Emitter) -> bool:
        """Whether the matrices that a filter's weights make are to be stored in fewer bits.

        Args:
            weight: of the filter.
            matrices: (output, tap and input), of each group.
            whole: the filter's weights again, from the matrices rounded.
            emitter: knows the weights.

        Returns:
            whether they gain; what is decided is remembered for the report.
        """
        if self.precision == "float32":
            return False
        if weight.path not in self._chosen:
            reasons = [filter_kept_in_floats(matrix, self.precision) for matrix in matrices]
            rounded = None
            if not any(reasons):
                rounded = whole([rounded_matrix(matrix, self.precision) for matrix in matrices])
            self._choose(weight, emitter.tensor(weight), rounded, next(filter(None, reasons), ""))
        return weight.path in self.rounded

    def store_matrix(self, exact: FloatArray, block: int, emitter: Emitter) -> Matrix:
        """Store a matrix in the precision that was asked for.

        Args:
            exact: (row, column).
            block: rows of a block.
            emitter: that stores the scales.

        Returns:
            the matrix.
        """
        rows, columns = exact.shape
        if self.precision == "int8":
            whole, scales = quantise_rows(exact)
            address = self._keep("weights8", pack_fours(whole, block))
            return Matrix("int8", address, emitter.padded_numbers(scales), rows, columns, block)
        bits = to_bits(exact, self.precision)
        address = self._keep("weights16", pack_pairs(bits, block, words=self.precision == "bfloat16"))
        return Matrix(self.precision, address, "", rows, columns, block)

    def layer(
        self, gates: Gates, layer: Layer, of_input: FloatArray, of_state: FloatArray, emitter: Emitter
    ) -> ReducedLayer | None:
        """Store a recurrent layer.

        Args:
            gates: what it computes.
            layer: its weights.
            of_input: biases, (gate, unit).
            of_state: the same.
            emitter: that stores what stays in floats.

        Returns:
            the layer; None where no matrix of it gains anything, so that it is better made whole.
        """
        weights = [weight for weight in (layer.w_ih, layer.w_hh, layer.w_hr) if weight is not None]
        gaining = [self.gains(weight, emitter) for weight in weights]
        if not any(gaining):
            return None
        matrices = [self.store(weight, emitter) for weight in weights]
        together, apart = of_input + of_state, np.zeros_like(of_state)
        if gates.kernel == "gru":
            together[2], apart[2] = of_input[2], of_state[2]
        return ReducedLayer(
            matrices[0],
            matrices[1],
            matrices[2] if len(matrices) > 2 else None,
            emitter.padded_numbers(together),
            emitter.padded_numbers(apart),
        )

    def _keep(self, array: str, data: npt.NDArray[Any]) -> str:
        """Address of numbers in an array; equal ones are stored once."""
        key = (array, data.tobytes())
        if key not in self._places:
            pieces = self.arrays[array]
            start = sum(map(len, pieces))
            pieces.append(np.pad(data, (0, -len(data) % (_LINE_BYTES // data.itemsize))))
            self._places[key] = f"{array} + {start}" if start else array
        return self._places[key]

    def text(self, graph: Graph) -> str:
        """C text of the arrays, and how each matrix is stored; nothing where all are floats as asked.

        Args:
            graph: whose engine was written.

        Returns:
            C99.
        """
        if self.precision == "float32":
            return ""
        lines = [
            f"{line.weight}: {line.precision}, " + (line.reason or f"signal-to-noise ratio {line.weight_snr_db:.1f} dB")
            for line in self.report(graph)
        ]
        parts = ["/* Matrices:\n   " + "\n   ".join(lines) + " */\n"]
        for name, pieces in self.arrays.items():
            if not pieces:
                continue
            parts.append(array_text(f"stored_{name}", np.concatenate(pieces)))
        return "\n".join(parts)

    def report(self, graph: Graph) -> tuple[LayerPrecision, ...]:
        """How every stored matrix is kept, in the order in which they are read.

        Args:
            graph: whose engine was written.

        Returns:
            a line a matrix, filters among them; vectors are floats always and are not told of.
        """
        lines: dict[str, LayerPrecision] = {}
        for node in graph.nodes:
            if all(value.kind in ("parameter", "constant") for value in node.inputs()):
                continue
            name = node.op.split(".")[1]
            reason = "" if self.precision == "float32" else f"read by {name}, which has no kernel of fewer bits"
            other: tuple[Precision, float, str] = ("float32", float("inf"), reason)
            for value in node.inputs():
                if value.kind not in ("parameter", "constant") or len(value.shape) < 2 or value.path in lines:
                    continue
                precision, db, reason = self._chosen.get(value.path, other)
                lines[value.path] = LayerPrecision(
                    node.layer, value.path, tuple(value.shape), precision, db, None, reason
                )
        return tuple(lines.values())


@dataclass(frozen=True)
class ReducedLayer:
    """A recurrent layer whose products are made apart, before its gates."""

    of_input: Matrix
    of_state: Matrix
    projection: Matrix | None
    bias: str
    """Address of what both products begin with together, or of a GRU's input product."""
    state_bias: str
    """Address of what a GRU's state product begins with: its new gate's bias is within the reset."""

    def step(self, gates: Gates, out: str, cell: str, h: str, x: str, emitter: Emitter) -> None:
        """Write one step; the arguments are those of `Gates.step`."""
        emitter.need("pc_units.h")
        rows = self.of_input.rows
        units = rows // gates.rows
        # A vector behind the last gate is read.
        sums = emitter.scratch(emitter.rounded(rows) + emitter.rounded(1))
        self.of_input.multiply(sums, self.bias, x, emitter)
        if gates.kernel == "gru":
            others = emitter.scratch(emitter.rounded(rows) + emitter.rounded(1))
            self.of_state.multiply(others, self.state_bias, h, emitter)
            emitter.call("pc_gru_units", 1, (out, h, sums, others), (units,))
            return
        self.of_state.multiply(sums, sums, h, emitter)
        if gates.kernel != "lstm":
            emitter.call("pc_plain_units", 1, (out, sums), (units, int(gates.kernel == "relu")))
        elif self.projection is None:
            emitter.call("pc_lstm_units", 2, (out, cell, sums), (units,))
        else:
            wide = emitter.scratch(emitter.rounded(units))
            emitter.call("pc_lstm_units", 2, (wide, cell, sums), (units,))
            self.projection.multiply(out, emitter.padded(None, self.projection.rows), wide, emitter)
