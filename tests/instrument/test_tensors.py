import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from pochette.errors import InstrumentError
from pochette.instrument.tensors import DTYPES, read_tensors, write_tensors

SAMPLE = {
    name.lower(): (np.arange(6).reshape(2, 3) - (0 if name == "U8" else 3)).astype(code)
    for name, code in DTYPES.items()
} | {"scalar": np.array(3.5, np.float32), "empty": np.zeros((0, 4), np.float16)}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and (a[k] == b[k]).all() for k in a
    )


def test_what_we_write_the_package_reads() -> None:
    assert same(safetensors.numpy.load(write_tensors(SAMPLE, {"made": "here"})), SAMPLE)


def test_what_the_package_writes_we_read() -> None:
    assert same(read_tensors(safetensors.numpy.save(SAMPLE, {"made": "there"})), SAMPLE)


def test_same_arrays_same_bytes() -> None:
    assert write_tensors(SAMPLE) == write_tensors(dict(reversed(SAMPLE.items())))


def test_big_endian_and_strided_arrays_are_written_by_value() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    assert (read_tensors(write_tensors({"a": array}))["a"] == array).all()


def test_a_type_outside_the_list_is_refused() -> None:
    with pytest.raises(InstrumentError, match="float64"):
        write_tensors({"a": np.zeros(2)})


def blob(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        blob(b"\xff\xfe"),
        blob(b"[" * 100_000),
        blob([1]),
        blob({"a": 1}),
        blob({"a": entry(dtype="F64")}, bytes(16)),
        blob({"a": entry(dtype=["F32"])}, bytes(8)),
        blob({"a": entry(shape=[-2])}, bytes(8)),
        blob({"a": entry(shape=[True, 2])}, bytes(8)),
        blob({"a": entry(shape=[1 << 40, 1 << 40, 0, 1])}, bytes(8)),
        blob({"a": entry(shape=[1] * 9 + [2])}, bytes(8)),
        blob({"a": entry(offsets=[0, 16])}, bytes(8)),
        blob({"a": entry(offsets=[8, 0])}, bytes(8)),
        blob({"a": entry(offsets=[0])}, bytes(8)),
        blob({"a": entry()}, bytes(12)),
        blob({"a": entry(), "b": entry()}, bytes(8)),
        blob({"a": entry(offsets=[4, 12])}, bytes(12)),
        blob(b'{"a":1,"a":2}'),
        blob({"a": {**entry(), "more": 1}}, bytes(8)),
    ],
)
def test_malformed_files_are_refused(data: bytes) -> None:
    with pytest.raises(InstrumentError):
        read_tensors(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bits_and_cuts_only_ever_raise_instrument_errors(draw: st.DataObject) -> None:
    data = bytearray(write_tensors(SAMPLE))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    cut = draw.draw(st.integers(0, len(data)))
    for damaged in (bytes(data), bytes(data[:cut])):
        try:
            found = read_tensors(damaged)
        except InstrumentError:
            continue
        # What can still be read is whole: it is written and read again to the bit (not compared by value: NaN).
        written = write_tensors(found)
        assert write_tensors(read_tensors(written)) == written
