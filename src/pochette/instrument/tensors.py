"""Named arrays in the safetensors layout, read with suspicion and written the same way every time.

The layout is that of https://github.com/huggingface/safetensors: eight bytes of header length (little-endian), a JSON
header `{name: {dtype, shape, data_offsets}}`, then the arrays' bytes without gaps. This reader and writer need numpy
only, so that the light player need not carry another package, and they bound everything before memory is taken. They
are interoperable with the `safetensors` package for the types below.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pochette.errors import InstrumentError

Array = npt.NDArray[Any]

HEADER_LIMIT_BYTES = 1 << 20
TENSOR_LIMIT = 4096
RANK_LIMIT = 8
DTYPES: dict[str, str] = {
    "F32": "<f4",
    "F16": "<f2",
    "I8": "|i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "|u1",
}
"""Types allowed in an instrument, as safetensors names them and as numpy does."""
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_REMEDY = "Fetch or build the file again."


def write_tensors(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Arrays as safetensors bytes; the same arrays always give the same bytes.

    Args:
        tensors: arrays of the types in `DTYPES`, any shape, by name.
        metadata: free text kept under `__metadata__`.

    Returns:
        the file's bytes.

    Raises:
        InstrumentError: a type that the layout here does not allow.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    pieces: list[bytes] = []
    offset = 0
    # Wide types first: every array then starts at a multiple of its own item size.
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        dtype = _NAMES.get(array.dtype.newbyteorder("="))
        if dtype is None:
            raise InstrumentError(
                f"The array {name!r} has the type {array.dtype}, which an instrument file cannot hold.",
                remedy=f"Convert it to one of {', '.join(DTYPES)}.",
            )
        piece = np.ascontiguousarray(array, dtype=DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(piece)]}
        offset += len(piece)
        pieces.append(piece)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(pieces)


def read_tensors(data: bytes, where: str = "") -> dict[str, Array]:
    """Read the arrays in safetensors bytes.

    Args:
        data: the whole file; nothing in it is believed before it is checked.
        where: what to call the file in errors.

    Returns:
        arrays by name, each owning its memory.

    Raises:
        InstrumentError: anything that is not a well-formed file of allowed types without gaps or overlaps.
    """
    header, body = _split(data, where)
    spans: list[tuple[int, int]] = []
    tensors: dict[str, Array] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, begin, end = _entry(name, entry, len(body), where)
        spans.append((begin, end))
        tensors[name] = np.frombuffer(body[begin:end], dtype=dtype).reshape(shape).copy()
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _damaged("arrays overlap or leave a gap", where)
        position = end
    if position != len(body):
        raise _damaged("bytes follow the last array or are missing", where)
    return tensors


def _split(data: bytes, where: str) -> tuple[dict[str, Any], memoryview]:
    if len(data) < 8:
        raise _damaged("it is shorter than its own header", where)
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(HEADER_LIMIT_BYTES, len(data) - 8):
        raise _damaged(f"its header claims {length} bytes", where)
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged("its header is not JSON", where) from error
    if not isinstance(header, dict) or len(header) > TENSOR_LIMIT:
        raise _damaged(f"its header is not a list of at most {TENSOR_LIMIT} arrays", where)
    return header, memoryview(data)[8 + length :]


def _entry(name: str, entry: Any, body_bytes: int, where: str) -> tuple[str, tuple[int, ...], int, int]:
    """Dtype, shape and byte span of one array, each believed only after it is checked."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(f"the array {name!r} lacks dtype, shape or data_offsets", where)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _damaged(f"the array {name!r} has the type {str(dtype)[:20]!r}, which is not allowed", where)
    if not _naturals(shape, RANK_LIMIT) or not _naturals(offsets, 2) or len(offsets) != 2:
        raise _damaged(f"the array {name!r} has no valid shape or place", where)
    begin, end = offsets
    # Python integers do not overflow, so the product is exact whatever the header claims.
    if not begin <= end <= body_bytes or end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
        raise _damaged(f"the array {name!r} does not fit its bytes", where)
    return DTYPES[dtype], tuple(shape), begin, end


def _naturals(values: Any, at_most: int) -> bool:
    """Whether this is a short list of integers from 0 to 2^48."""
    return (
        isinstance(values, list)
        and len(values) <= at_most
        and all(type(value) is int and 0 <= value < 1 << 48 for value in values)
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _damaged(why: str, where: str) -> InstrumentError:
    return InstrumentError(f"The arrays are damaged: {why}.", where=where, remedy=_REMEDY)
