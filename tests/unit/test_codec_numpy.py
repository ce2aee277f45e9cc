"""Every dtype of numpy, and every kind of array: it comes back bit by bit, or is refused where it is sent."""

from __future__ import annotations

import struct
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioboinc.wire import codec

UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
PLAIN = [code for code in numpy.typecodes["All"] if code not in "SUVOMm"]
SIZED = [f"{code}{size}" for code in "SUV" for size in (0, 1, 3, 17)]
MOMENTS = [f"{code}8[{count}{unit}]" for code in "Mm" for unit in UNITS for count in ("", 25)] + ["M8", "m8"]
OTHERS = ["O", "f8,i4", "f8,(3,)U2", "V3", [("a", "O")], [("a", [("b", "i2")])]]
ORDERS = ["=", "<", ">"]
DTYPES: list[Any] = [
    *(numpy.dtype(code).newbyteorder(order) for code in (*PLAIN, *SIZED, "M8[25us]", "m8[D]") for order in ORDERS),
    *map(numpy.dtype, (*MOMENTS, *OTHERS)),
]
REFUSED = "gGOV"
"""Kinds that differ between machines, or hold anything."""


def is_refused(dtype: Any) -> bool:
    return dtype.char in REFUSED or dtype.itemsize == 0 or dtype.kind == "V"


def bits(array: Any) -> bytes:
    """Return the bytes of *array* in the byte order of the machine, with one NaN."""
    native = numpy.array(array, array.dtype.newbyteorder("="), order="C", copy=True)
    if native.dtype.kind in "fc":
        parts = native.reshape(-1).view(f"f{native.itemsize // (2 if native.dtype.kind == 'c' else 1)}")
        parts[numpy.isnan(parts)] = numpy.nan
    return native.tobytes()


def check(array: Any) -> None:
    """Check that *array* comes back, and each of its items."""
    data = codec.encode(array)
    back = codec.decode(data)
    assert type(back) is numpy.ndarray
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    assert bits(back) == bits(array)
    assert back.flags.writeable
    assert back.flags.c_contiguous
    assert codec.encode(back) == data
    codec.decode(data, codec.OPAQUE)
    for item in array.reshape(-1)[:2]:
        check_scalar(item)


def check_scalar(item: Any) -> None:
    if item.dtype.kind == "M" and numpy.datetime_data(item.dtype)[0] == "generic":
        with pytest.raises(codec.NotData, match="without a unit"):
            codec.encode(item)
        return
    data = codec.encode(item)
    back = codec.decode(data)
    # A type of the same width may have another name: C's long and long long.
    assert (type(back), back.dtype) == (type(item), item.dtype) or back.dtype == item.dtype
    if item.dtype.kind in "SU":
        assert (len(back), bytes(back) if item.dtype.kind == "S" else str(back)) == (
            len(item),
            bytes(item) if item.dtype.kind == "S" else str(item),
        )
    else:
        assert bits(numpy.array(back)) == bits(numpy.array(item))
    assert codec.encode(back) == data
    codec.decode(data, codec.OPAQUE)


def content(dtype: Any, count: int, raw: bytes) -> Any:
    """Return an array of *count* items of any bytes that *dtype* may have."""
    size = count * dtype.itemsize
    raw = (raw * (size // max(1, len(raw)) + 1))[:size]
    if dtype.kind == "b":
        raw = bytes(byte & 1 for byte in raw)
    array = numpy.frombuffer(raw, dtype.newbyteorder("=")) if size else numpy.zeros(count, dtype)
    if dtype.kind == "U" and size:
        array = numpy.frombuffer((numpy.frombuffer(raw, "u4") % 0x110000).tobytes(), dtype.newbyteorder("="))
    return array.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: f"{dtype.byteorder}{dtype.char}{dtype}")
def test_every_dtype(dtype: Any) -> None:
    if is_refused(dtype):
        for array in (numpy.ndarray(3, dtype), numpy.ndarray((), dtype), numpy.ndarray((0, 2), dtype)):
            with pytest.raises(codec.NotData, match="is not data"):
                codec.encode(array)
        return
    for raw in (b"\xff" * 8, bytes(range(1, 100)), b"\0\0\xc0\x7f\1\0\xc0\xff"):
        items = content(dtype, 24, raw)
        for array in (
            items,
            items.reshape(2, 3, 4),
            items.reshape(2, 3, 4).T,
            numpy.asfortranarray(items.reshape(4, 6)),
            items[::-3],
            items.reshape(4, 6)[:, 1::2],
            items[:1].reshape(()),
            items[:0],
            items[:0].reshape(0, 5),
            numpy.broadcast_to(items[:1], (3, 2)),
            items[numpy.newaxis],
        ):
            check(array)


def test_other_kinds_of_arrays(tmp_path: Any) -> None:
    mapped = numpy.memmap(tmp_path / "file", "f8", "w+", shape=3)
    with pytest.warns(PendingDeprecationWarning):
        matrix = numpy.matrix([[1]])
    for array in (
        mapped,
        matrix,
        numpy.ma.masked_array([1], [True]),
        numpy.rec.array([(1, 2.0)], dtype="i4,f8"),
        numpy.char.array(["a"]),
    ):
        with pytest.raises(codec.NotData, match=r"is more than an array: send numpy.array"):
            codec.encode(array)
    strings = numpy.array(["a"], numpy.dtypes.StringDType()) if hasattr(numpy.dtypes, "StringDType") else None
    if strings is not None:
        with pytest.raises(codec.NotData, match="has no form that is the same on every machine"):
            codec.encode(strings)


@pytest.mark.parametrize(
    "scalar",
    [
        numpy.str_("a\0"),
        numpy.str_("\0\0"),
        numpy.str_(""),
        numpy.bytes_(b"a\0"),
        numpy.bytes_(b"\0"),
        numpy.bytes_(b""),
        numpy.datetime64("NaT", "25us"),
        numpy.timedelta64("NaT", "Y"),
        numpy.timedelta64("NaT"),
        numpy.float16(numpy.nan),
        numpy.frombuffer(struct.pack("<I", 0xFFA00001), "<f4")[0],
    ],
    ids=repr,
)
def test_scalars(scalar: Any) -> None:
    check_scalar(scalar)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(
    st.sampled_from([dtype for dtype in DTYPES if not is_refused(dtype)]),
    st.binary(max_size=64),
    st.integers(0, 9),
)
def test_any_bytes(dtype: Any, raw: bytes, count: int) -> None:
    check(content(dtype, count, raw or b"\0"))
