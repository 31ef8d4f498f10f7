"""What stands in a sample's arrays and texts: read exactly, or refused as damage, and never run."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts import Field
from pipeline.data.shards.arrays import pack, unpack
from pipeline.data.shards.decode import decode_field
from pipeline.data.shards.fields import DTYPES
from pipeline.errors import Damaged


class Traps:
    def __reduce__(self):
        return (RuntimeError, ("unpickled",))


def npy(descr: str, shape: str = "(2, 3)", body: bytes = b"\0" * 12, version=b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        npy("'|O'", body=pickle.dumps(Traps())),
        npy("[('a', '|O')]", body=pickle.dumps(Traps())),
        npy("__import__('os').abort()"),
        npy("'>f2'"),
        npy("'<f4'", body=b"\0" * 24),
        npy("'<f2'", "(3, 2)"),
        npy("'<f2'", "(2, 3, 1)"),
        npy("'<f2'", "(2, -3)"),
        npy("'<f2'", "(1 << 62,)"),
        npy("'<f2'", body=b"\0" * 11),
        npy("'<f2'", body=b"\0" * 13),
        npy("'<f2'", version=b"\x03\x00"),
        npy("'<f2'" + " " * 9000),
        npy("(" * 4000),
        pickle.dumps(Traps()),
    ],
)
def test_what_is_no_such_array_is_damage_and_runs_nothing(data):
    with pytest.raises(Damaged):
        unpack(data, (2, 3), "float16")


@given(st.sampled_from(DTYPES), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms())
def test_arrays_round_trip(dtype, shape, random):
    raw = random.randbytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(raw, dtype).reshape(shape)
    data = pack(array)
    assert data == pack(array.copy(order="F"))
    assert unpack(data, shape, dtype).tobytes() == raw
    assert np.load(io.BytesIO(data), allow_pickle=False).tobytes() == raw
    field = Field("x", "array", tuple(shape), dtype)
    assert decode_field(field, data).numpy().tobytes() == raw


def test_an_array_in_the_other_order_is_the_same_array():
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asfortranarray(array), version=(1, 0))
    assert np.array_equal(unpack(buffer.getvalue(), (2, 3), "int16"), array)


@given(st.text(max_size=6))
def test_text_is_its_bytes_and_zeros(text):
    data, field = text.encode(), Field("text", "text", (16,))
    if len(data) > 16 or "\0" in text:
        with pytest.raises(Damaged):
            decode_field(field, data)
    else:
        assert bytes(decode_field(field, data).tolist()) == data.ljust(16, b"\0")
