"""How weights lie in memory: the order in which the kernels read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

ROWS = 16
"""Rows of matrices and lengths of vectors are filled up to multiples of this; `PC_ROWS` in C."""
GROUP_UNITS = 64
"""Units of a recurrent layer's large groups; `PC_GROUP` in C."""
_NARROW_UNITS = 8
_BLOCK_ROWS = 128
_FAR_BYTES = 1 << 18
"""What a matrix may have to lie near a core; a larger one is waited for, and then read best from front to back."""


def rounded(length: int) -> int:
    """Length filled up to a multiple of `ROWS`."""
    return -(-length // ROWS) * ROWS


def block_rows(rows: int, columns: int = 0) -> int:
    """Rows of a matrix that one pass shall make: nearly equal blocks, none larger than a few registers' worth.

    Args:
        rows: of the matrix.
        columns: of a matrix that is read once a call, for blocks that are read from front to back if it is large.

    Returns:
        a multiple of `ROWS`.
    """
    most = _BLOCK_ROWS // 2 if 4 * rows * columns > _FAR_BYTES else _BLOCK_ROWS
    blocks = -(-rounded(rows) // most)
    return rounded(-(-rows // blocks))


def filled(array: FloatArray, rows: int) -> FloatArray:
    """An array with rows of zeros behind the last.

    Args:
        array: (row, ...).
        rows: how many it shall have.

    Returns:
        (rows, ...).
    """
    out = np.zeros((rows, *array.shape[1:]), np.float32)
    out[: len(array)] = array
    return out


def pack_rows(matrix: FloatArray, block: int) -> FloatArray:
    """A matrix in blocks of rows, each column by column, the last block filled up to a multiple of `ROWS`.

    Args:
        matrix: (row, column).
        block: rows of a block, a multiple of `ROWS`.

    Returns:
        flat, rounded(rows) * columns numbers.
    """
    pieces = []
    for start in range(0, len(matrix), block):
        piece = matrix[start : start + block]
        pieces.append(filled(piece, rounded(len(piece))).T.ravel())
    return np.concatenate(pieces)


def groups(units: int) -> list[tuple[int, int, int]]:
    """How the units of a recurrent layer are parted.

    Args:
        units: of the layer.

    Returns:
        (first unit, units, lanes) of each group; lanes are what its rows are filled up to.
    """
    found = [(start, GROUP_UNITS, GROUP_UNITS) for start in range(0, units // GROUP_UNITS * GROUP_UNITS, GROUP_UNITS)]
    left = units % GROUP_UNITS
    wide = left if left % ROWS > _NARROW_UNITS else left // ROWS * ROWS
    if wide:
        found.append((units - left, wide, rounded(wide)))
    if left > wide:
        found.append((units - left + wide, left - wide, 4 if left - wide <= 4 else _NARROW_UNITS))
    return found


def pack_gates(
    w_input: FloatArray, w_state: FloatArray, biases: FloatArray, gates: int
) -> FloatArray:  # fmt: skip
    """A recurrent layer's weights as `pc_rnn.h` reads them.

    Args:
        w_input: (gate * unit, input).
        w_state: (gate * unit, state).
        biases: (row, unit), a row a gate and one more for each bias that stays apart.
        gates: rows a unit has in both matrices.

    Returns:
        flat.
    """
    units = biases.shape[1]
    pieces = []
    for start, count, lanes in groups(units):
        pieces.append(np.pad(biases[:, start : start + count], ((0, 0), (0, lanes - count))).ravel())
        for matrix in (w_input, w_state):
            rows = matrix.reshape(gates, units, -1)[:, start : start + count]
            columns = np.pad(rows, ((0, 0), (0, lanes - count), (0, 0))).reshape(gates * lanes, -1)
            pieces.append(filled(columns, rounded(len(columns))).T.ravel())
    return np.concatenate(pieces).astype(np.float32)
