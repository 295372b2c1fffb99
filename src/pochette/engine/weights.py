"""The numbers of an engine: matrices and vectors in the order in which kernels read them, each stored once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pochette.engine import packing
from pochette.errors import ExportError
from pochette.graph.graph import Graph, Node, Value

LANES = packing.ROWS
"""Buffers and weights begin at multiples of so many floats, a cache line."""
FloatArray = npt.NDArray[np.float32]
_LEAST_WITH_EXPONENT = 1e9
"""From here on nine digits are written with one."""
MOST_IN_DIGITS = 65_536
"""Longer arrays are written as bytes: over ten million numbers a compiler takes minutes, over their bytes seconds."""
_KINDS = {"float32": "float", "int8": "int8_t", "uint16": "uint16_t"}


@dataclass
class Weights:
    """Stores the constants of a graph."""

    graph: Graph
    weights: list[FloatArray] = field(default_factory=list, kw_only=True)
    _shared: dict[Any, str] = field(default_factory=dict, kw_only=True)
    _weight_count: int = field(default=0, kw_only=True)
    _node: Node | None = field(default=None, kw_only=True)
    """Being written."""

    def constant(self, array: npt.ArrayLike) -> str:
        """Store numbers among the weights; their address. Equal arrays are stored once."""
        data = np.ascontiguousarray(array, np.float32).ravel()
        key = ("constant", data.tobytes())
        if key not in self._shared:
            # Blocks start at multiples of 16 floats, a cache line.
            padded = np.pad(data, (0, -len(data) % LANES))
            self._shared[key] = f"weights + {self._weight_count}" if self._weight_count else "weights"
            self.weights.append(padded)
            self._weight_count += len(padded)
        return self._shared[key]

    def packed(self, weight: Value) -> str:
        """Store a matrix in blocks of `LANES` rows, column by column, the last block filled up with zeros."""
        return self.constant(packing.pack_rows(self.tensor(weight), LANES))

    def padded(self, vector: Value | None, length: int) -> str:
        """Store a vector filled up with zeros to whole blocks; zeros where there is none."""
        return self.padded_numbers(np.zeros(length, np.float32) if vector is None else self.tensor(vector))

    def padded_numbers(self, vector: FloatArray) -> str:
        """Store numbers filled up with zeros to whole blocks."""
        flat = vector.ravel()
        return self.constant(packing.filled(flat, self.rounded(len(flat))))

    def packed_whole(self, weight: Value) -> str:
        """Store a matrix in one block, column by column; its address."""
        matrix = self.tensor(weight)
        return self.constant(packing.pack_rows(matrix, self.rounded(len(matrix))))

    def packed_blocks(self, weight: Value) -> tuple[str, int]:
        """Store a matrix in blocks of as many rows as are best made at once.

        Args:
            weight: (row, column).

        Returns:
            its address and the rows of a block.
        """
        matrix = self.tensor(weight).reshape(-1, weight.shape[-1])
        block = packing.block_rows(*matrix.shape)
        return self.constant(packing.pack_rows(matrix, block)), block

    def packed_gates(self, w_input: Value, w_state: Value, biases: FloatArray, gates: int) -> str:
        """Store a recurrent layer as `packing.pack_gates` lays it out; its address."""
        return self.constant(packing.pack_gates(self.tensor(w_input), self.tensor(w_state), biases, gates))

    @staticmethod
    def rounded(length: int) -> int:
        """Length in whole blocks."""
        return packing.rounded(length)

    @staticmethod
    def number(value: float | int | None) -> str:
        """A C float literal."""
        return literals(np.array([0.0 if value is None else value]))[0]

    def tensor(self, value: Value) -> FloatArray:
        """The numbers of a stored tensor."""
        data: FloatArray = self.graph.tensors[value.path].detach().cpu().numpy()
        return data

    def refuse(self, what: str) -> None:
        """Stop, because the C cannot do this.

        Args:
            what: it cannot do.

        Raises:
            ExportError: always.
        """
        node = self._node
        raise ExportError(
            f"The engine cannot do {what}.",
            where=f"{node.op} in {node.layer or 'the outermost module'}" if node else "",
            remedy="Write the model without it, or describe it in a file of pochette/graph/ops.",
        )


def array_text(name: str, numbers: npt.NDArray[Any]) -> str:
    """C of a constant array that begins at a cache line: digits to be read, or bytes where there are too many.

    Args:
        name: of the array, or of the pointer to it.
        numbers: (number,) of 32-bit floats, of whole numbers of 8 bits, or of 16 without a sign.

    Returns:
        C99.

    Raises:
        ExportError: one of them is infinite or no number.
    """
    kind = _KINDS[numbers.dtype.name]
    floats = numbers.dtype == np.float32
    if len(numbers) > MOST_IN_DIGITS:
        if floats:
            _check_finite(numbers, numbers)
        return _in_bytes(name, kind, numbers)
    texts, line = (literals(numbers), 8) if floats else ([str(number) for number in numbers.tolist()], 16)
    body = ",\n".join(", ".join(texts[start : start + line]) for start in range(0, len(texts), line))
    return f"{_ALIGNED}\nstatic const {kind} {name}[{len(numbers)}] = {{\n{body}\n}};\n"


_ALIGNED = f"#if defined(__GNUC__)\n__attribute__((aligned({4 * LANES})))\n#endif"
_READABLE = {code for code in range(32, 127) if chr(code) not in '0123456789"\\?'}
# A digit is never written as itself, so that none is taken for part of the number before it.
_BYTES = [chr(code) if code in _READABLE else f"\\{code:o}" for code in range(256)]
_BYTES_A_LINE = 64


def _in_bytes(name: str, kind: str, numbers: npt.NDArray[Any]) -> str:
    """The same as a string, which compilers do not take apart."""
    data = numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
    lines = (data[start : start + _BYTES_A_LINE] for start in range(0, len(data), _BYTES_A_LINE))
    body = "\n".join('"' + "".join(map(_BYTES.__getitem__, line)) + '"' for line in lines)
    return f"""/* {len(numbers)} numbers as their bytes in memory: digits would compile twenty times as slowly. */
#if !defined(__GNUC__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "So many weights are written for GCC or Clang, and processors whose lowest byte comes first."
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
static const union {{
    unsigned char bytes[{len(data) + 1}];
    {kind} numbers[{len(numbers)}];
}} __attribute__((aligned({4 * LANES}))) {name}_in_bytes = {{{{
{body}
}}}};
#pragma GCC diagnostic pop
static const {kind} *const {name} = {name}_in_bytes.numbers;
"""


def _check_finite(singles: FloatArray, given: npt.NDArray[Any]) -> None:
    finite = np.isfinite(singles)
    if not finite.all():
        raise ExportError(
            f"The engine cannot hold the number {given[~finite][0]}.",
            remedy="Use a large finite number, or retrain the model.",
        )


def literals(numbers: npt.NDArray[np.floating[Any]]) -> list[str]:
    """C float literals of many numbers: nine digits, which read back as the same.

    Args:
        numbers: (number,).

    Returns:
        one text each.

    Raises:
        ExportError: one of them is infinite or no number.
    """
    with np.errstate(over="ignore"):
        singles = numbers.astype(np.float32)
    _check_finite(singles, numbers)
    # What has neither point nor exponent would be a whole number to C.
    whole = (singles == np.rint(singles)) & (np.abs(singles) < _LEAST_WITH_EXPONENT)
    return [f"{n:.1f}f" if w else f"{n:.9g}f" for n, w in zip(singles.tolist(), whole.tolist(), strict=True)]
