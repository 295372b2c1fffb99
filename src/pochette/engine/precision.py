"""Weights in fewer bits: how matrices are rounded, how they lie in memory, and what the integer product makes of them.

Only matrices of linear and recurrent layers and filters of convolutions are stored so. Biases, norms, small vectors and
what passes between layers stay 32-bit floats, and so does a matrix that has too little to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pochette.engine.packing import FloatArray, filled, rounded
from pochette.errors import ExportError

Precision = Literal["float32", "bfloat16", "float16", "int8"]
"""How matrices are stored. bfloat16: 8 bits of exponent and 8 of mantissa, float16: 5 and 11; both multiplied as
32-bit floats. int8: whole numbers from -127 to 127 and a scale a row, multiplied as whole numbers."""
BITS: dict[Precision, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8}
"""Of one stored weight."""

FEW_ROWS, FEW_COLUMNS = 16, 8
"""A matrix with fewer stays in floats: its rows are filled up, and its columns are soon read."""
FEW_OUTPUTS, FEW_HEARD = 32, 32
"""A filter with fewer stays in floats too: floats are read once for many samples, so that there is no time to win; each
window is rounded anew, which takes as long as 20 rows; and there are few weights."""
WEIGHT_LEVELS = 127
_FLOAT16_LARGEST = 65504.0
_DIGITS_LEVELS = 32639
"""The largest whole number of two digits of 8 bits, both from -128 to 127: 127 * 256 + 127."""
VECTOR_LIMIT, VECTOR_SILENCE = np.float32(1e30), np.float32(1e-30)
NO_FRACTION = np.float32(12582912.0)
"""1.5 * 2^23: added to a float, it leaves the nearest whole number in the last bits."""

BitsArray = npt.NDArray[np.uint16]
ByteArray = npt.NDArray[np.int8]


@dataclass(frozen=True)
class LayerPrecision:
    """How one stored matrix of a network is kept, and what that costs in exactness."""

    layer: str
    """Path of the module that reads it; empty for the outermost."""
    weight: str
    """Path of the tensor."""
    shape: tuple[int, ...]
    precision: Precision
    weight_snr_db: float
    """Power of the weights over that of their rounding; infinite where nothing is rounded."""
    output_snr_db: float | None = None
    """The same of what is made with it, over sample inputs, everything before it rounded too; None where there were
    none."""
    reason: str = ""
    """Why it stays in floats, where fewer bits were asked for."""


def check_precision(precision: str) -> None:
    """Refuse what is no precision.

    Args:
        precision: asked for.

    Raises:
        ExportError: it is none of `Precision`.
    """
    if precision not in get_args(Precision):
        raise ExportError(
            f"The engine has no precision {precision!r}.", remedy=f"Use one of {', '.join(get_args(Precision))}."
        )


def kept_in_floats(matrix: FloatArray, precision: Precision) -> str:
    """Why a matrix stays in 32-bit floats; empty where it need not.

    Args:
        matrix: (row, column).
        precision: asked for.

    Returns:
        the reason.
    """
    rows, columns = matrix.shape
    if rows < FEW_ROWS:
        return f"fewer than {FEW_ROWS} rows"
    if columns < FEW_COLUMNS:
        return f"fewer than {FEW_COLUMNS} columns"
    if precision == "float16" and np.abs(matrix).max() > _FLOAT16_LARGEST:
        return f"a weight beyond {_FLOAT16_LARGEST:.0f}, the largest of float16"
    return ""


def filter_kept_in_floats(matrix: FloatArray, precision: Precision) -> str:
    """Why a filter stays in 32-bit floats; empty where it need not.

    Args:
        matrix: (output, or output and phase if transposed; tap and input).
        precision: asked for.

    Returns:
        the reason.
    """
    outputs, heard = matrix.shape
    if outputs < FEW_OUTPUTS:
        return f"a filter of fewer than {FEW_OUTPUTS} outputs"
    if heard < FEW_HEARD:
        return f"a filter of fewer than {FEW_HEARD} inputs times taps"
    return kept_in_floats(matrix, precision)


def snr_db(exact: npt.ArrayLike, rounded_one: npt.ArrayLike) -> float:
    """Signal-to-noise ratio of something and its rounded version.

    Args:
        exact: numbers.
        rounded_one: as many.

    Returns:
        10 log10 of the ratio of powers; infinite where they are equal.
    """
    first, second = np.asarray(exact, np.float64), np.asarray(rounded_one, np.float64)
    return decibels(float(np.sum(first**2)), float(np.sum((first - second) ** 2)))


def decibels(signal: float, noise: float) -> float:
    """A ratio of powers in decibels.

    Args:
        signal: power.
        noise: power.

    Returns:
        infinite where there is no noise, whatever the signal.
    """
    if not noise:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")


# -- 16 bits -----------------------------------------------------------------------------------------------------------


def to_bits(matrix: FloatArray, precision: Precision) -> BitsArray:
    """Round floats to 16 bits, to the nearest and to even between two.

    Args:
        matrix: any shape; finite.
        precision: "bfloat16" or "float16".

    Returns:
        the bits, same shape.
    """
    exact = np.ascontiguousarray(matrix, np.float32)
    if precision == "float16":
        return exact.astype(np.float16).view(np.uint16)
    bits = exact.view(np.uint32)
    # The last finite numbers would round to infinity: they are cut instead.
    up = np.where(bits & 0x7FFFFFFF > 0x7F7F7FFF, 0, 0x7FFF + (bits >> 16 & 1))
    return ((bits + up.astype(np.uint32)) >> 16).astype(np.uint16)


def of_bits(bits: BitsArray, precision: Precision) -> FloatArray:
    """The floats that 16 bits mean, exactly.

    Args:
        bits: any shape.
        precision: "bfloat16" or "float16".

    Returns:
        same shape.
    """
    if precision == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def pack_pairs(bits: BitsArray, block: int, *, words: bool) -> BitsArray:
    """A matrix of 16-bit numbers as `pc_half.h` reads it.

    Args:
        bits: (row, column).
        block: rows of a block, a multiple of 16.
        words: whether the two columns of a pair lie side by side, number by number, not one after the other.

    Returns:
        flat; rows filled up to a multiple of 16, columns to one of 2.
    """
    pieces = []
    for start in range(0, len(bits), block):
        piece = _filled_block(bits[start : start + block], 2)
        pairs = piece.reshape(len(piece), -1, 2)
        pieces.append(pairs.transpose(1, 0, 2).ravel() if words else pairs.transpose(1, 2, 0).ravel())
    return np.concatenate(pieces).astype(np.uint16)


# -- 8 bits ------------------------------------------------------------------------------------------------------------


def quantise_rows(matrix: FloatArray) -> tuple[ByteArray, FloatArray]:
    """Round a matrix to whole numbers with a scale a row.

    Args:
        matrix: (row, column); finite.

    Returns:
        whole numbers from -127 to 127, (row, column), and scales, (row,): their products are nearest to the matrix. A
        row of zeros has scale 0.
    """
    exact = np.asarray(matrix, np.float64)
    scales = (np.abs(exact).max(1) / WEIGHT_LEVELS).astype(np.float32)
    divisors = np.where(scales > 0, scales, 1).astype(np.float64)
    return np.clip(np.rint(exact / divisors[:, None]), -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8), scales


def pack_fours(whole: ByteArray, block: int) -> ByteArray:
    """A matrix of 8-bit numbers as `pc_dot.h` reads it: the four neighbours of a row side by side, row after row.

    Args:
        whole: (row, column).
        block: rows of a block, a multiple of 16.

    Returns:
        flat; rows filled up to a multiple of 16, columns to one of 4.
    """
    pieces = []
    for start in range(0, len(whole), block):
        piece = _filled_block(whole[start : start + block], 4)
        pieces.append(piece.reshape(len(piece), -1, 4).transpose(1, 0, 2).ravel())
    return np.concatenate(pieces).astype(np.int8)


def vector_levels(columns: int) -> int:
    """Largest magnitude of the whole numbers that a vector is rounded to; `PC_LEVELS` in C.

    Args:
        columns: length of the vector.

    Returns:
        as much as two digits of 8 bits hold and as keeps every sum of products within 32 bits.
    """
    return min((2**31 - 1) // WEIGHT_LEVELS // columns, _DIGITS_LEVELS)


def to_whole(x: FloatArray) -> tuple[npt.NDArray[np.int64], np.float32]:
    """Round a vector to whole numbers with one scale: `pc_to_whole` in C, to the bit.

    Args:
        x: (column,). What is not a number counts as -1e30, and nothing for more than 1e30.

    Returns:
        whole numbers and the scale; all 0 where no magnitude is above 1e-30.
    """
    levels = np.float32(vector_levels(len(x)))
    bounded = np.clip(np.where(np.isnan(x), -VECTOR_LIMIT, x), -VECTOR_LIMIT, VECTOR_LIMIT).astype(np.float32)
    top = np.abs(bounded).max()
    loud = top > VECTOR_SILENCE
    inverse, scale = (levels / top, top / levels) if loud else (np.float32(0), np.float32(0))
    return ((bounded * inverse + NO_FRACTION) - NO_FRACTION).astype(np.int64), np.float32(scale)


def multiply_whole(whole: ByteArray, scales: FloatArray, bias: FloatArray, x: FloatArray) -> FloatArray:
    """The product W x + b as `pc_product8` makes it: the same whole numbers, the same roundings in the same order.

    Args:
        whole: (row, column).
        scales: (row,).
        bias: (row,).
        x: (column,).

    Returns:
        (row,).
    """
    numbers, scale = to_whole(x)
    sums = (whole.astype(np.int64) @ numbers).astype(np.float32)
    return (sums * (scales * scale) + bias).astype(np.float32)


def rounded_matrix(matrix: FloatArray, precision: Precision) -> FloatArray:
    """What a matrix is once it is stored.

    Args:
        matrix: (row, column).
        precision: it is stored in.

    Returns:
        same shape.
    """
    if precision == "float32":
        return matrix
    if precision == "int8":
        whole, scales = quantise_rows(matrix)
        return whole.astype(np.float32) * scales[:, None]
    return of_bits(to_bits(matrix, precision), precision)


def _filled_block(piece: npt.NDArray[np.generic], columns: int) -> npt.NDArray[np.float32]:
    """A block of rows filled up with zeros, rows to whole vectors and columns to a multiple; floats hold it exactly."""
    wide = np.pad(piece.astype(np.float32), ((0, 0), (0, -piece.shape[1] % columns)))
    return filled(wide, rounded(len(wide)))
