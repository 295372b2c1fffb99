"""Numbers as C reads them."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from pochette.engine.build import compile_host_files
from pochette.engine.weights import Weights, literals
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


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e39])
def test_what_no_float_holds_is_refused(number: float) -> None:
    with pytest.raises(ExportError, match=r"cannot hold the number (inf|nan|1e\+39)"):
        literals(np.array([1.0, number]))
