"""Numbers as C reads them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pochette.engine.build import WARNINGS, compile_files, compile_host_files, host_compiler, zig
from pochette.engine.weights import MOST_IN_DIGITS, Weights, array_text, literals
from pochette.errors import ExportError


def test_c_reads_back_the_same_bits(tmp_path_factory: pytest.TempPathFactory) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    edges = [0.0, -0.0, 1.0, -3.0, 1e9, 999999936.0, 8388607.5, 16777217.0, 1e-45, 3.4028235e38]
    numbers = np.concatenate([bits[np.isfinite(bits)], np.array(edges, np.float32)])
    text = f"float stored[{len(numbers)}] = {{{', '.join(literals(numbers))}}};\n"
    path = compile_host_files("numbers", {"numbers.c": text}, tmp_path_factory.mktemp("numbers"))
    stored = (ctypes.c_float * len(numbers)).in_dll(ctypes.CDLL(str(path)), "stored")
    assert np.array_equal(np.frombuffer(stored, np.uint32), numbers.view(np.uint32))


def test_one_number_is_written_as_many_are() -> None:
    assert [Weights.number(value) for value in (None, 2, 0.5, -0.0)] == ["0.0f", "2.0f", "0.5f", "-0.0f"]


def anything(kind: type, count: int) -> npt.NDArray[Any]:
    """Every byte in every place; of floats what is finite."""
    size = np.dtype(kind).itemsize
    numbers = np.random.default_rng(0).integers(0, 256, count * size, dtype=np.uint8).view(kind)
    return np.nan_to_num(numbers, posinf=1.0, neginf=1.0)


@pytest.mark.parametrize("kind", [np.float32, np.int8, np.uint16])
@pytest.mark.parametrize("count", [1, 100, MOST_IN_DIGITS, MOST_IN_DIGITS + 1, MOST_IN_DIGITS + 97])
@pytest.mark.parametrize("compiler", [host_compiler, zig])
def test_long_arrays_are_bytes_and_read_back_the_same(
    kind: type, count: int, compiler: Callable[[], list[str]], tmp_path: Path
) -> None:
    numbers = anything(kind, count)
    text = array_text("stored", numbers)
    assert ("in_bytes" in text) == (count > MOST_IN_DIGITS)
    pointer = "extern const void *address(void);\nconst void *address(void) { return stored; }\n"
    flags = [*WARNINGS, "-O1", "-shared", "-fPIC"]
    files = {"numbers.c": f"#include <stdint.h>\n{text}{pointer}"}
    path = tmp_path / "numbers.so"
    path.write_bytes(compile_files(files, [*compiler(), *flags], link=()))
    address = ctypes.CDLL(str(path)).address
    address.restype = ctypes.c_void_p
    assert address() % 64 == 0
    stored = ctypes.string_at(address(), numbers.nbytes)
    assert stored == numbers.tobytes()


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e39])
def test_what_no_float_holds_is_refused(number: float) -> None:
    with pytest.raises(ExportError, match=r"cannot hold the number (inf|nan|1e\+39)"):
        literals(np.array([1.0, number]))


def test_what_no_float_holds_is_refused_in_bytes_too() -> None:
    numbers = np.ones(MOST_IN_DIGITS + 1, np.float32)
    numbers[-2] = np.inf
    with pytest.raises(ExportError, match="cannot hold the number inf"):
        array_text("stored", numbers)
