"""Decoding what nobody has encoded: a value or Malformed, nothing is run, memory is limited."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import sys
import time
import tracemalloc
from typing import Any

import codec_samples
import numpy
import pytest
from codec_samples import REGISTRY, SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from aioboinc.wire import codec

BOTH = pytest.mark.parametrize("registry", [REGISTRY, codec.OPAQUE], ids=["classes", "opaque"])

PLAIN = b"ccodec_samples\nPlain\n"
EMPTY = PLAIN + b")\x81}(ub"
TUPLE = b"(t"


def array(shape: bytes, dtype: bytes, raw: bytes) -> bytes:
    return b"cnumpy\nndarray\n(%st\x8c%c%sC%c%s\x87R" % (shape, len(dtype), dtype, len(raw), raw)


def call(name: bytes, *arguments: bytes) -> bytes:
    return b"c%s\n%s%cR" % (name, b"".join(arguments), 0x84 + len(arguments))


HOSTILE: dict[str, bytes] = {
    # not the shape of a file
    "nothing": b"",
    "no value": b".",
    "two values": b"NN.",
    "more after the end": b"N.N",
    "no end": b"N",
    "frame": b"\x95\1\0\0\0\0\0\0\0N.",
    "second header": b"\x80\x04N.",
    # calls
    "os.system": b"cos\nsystem\n\x8c\x04true\x85R.",
    "os.system, stack global": b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "os.system with a tuple": b"cos\nsystem\n(\x8c\x04truet\x85R.",
    "eval": call(b"builtins\neval", b"\x8c\x011") + b".",
    "getattr": call(b"builtins\ngetattr", EMPTY, b"\x8c\x09__class__") + b".",
    "class as value": b"cbuiltins\ncomplex\n.",
    "class as item": b"](cbuiltins\ncomplex\ne.",
    "module function": call(b"codec_samples\nmain", b"N") + b".",
    "class called": call(b"codec_samples\nPlain", b"N") + b".",
    "class called without arguments": PLAIN + b")R.",
    "known type made without call": b"cbuiltins\nbytearray\n)\x81}(ub.",
    "inst": b"(icodec_samples\nPlain\n.",
    "obj": b"(" + PLAIN + b"o.",
    "newobj_ex": PLAIN + b")}\x92.",
    "extension": b"\x82\x01.",
    "persistent id": b"Px\n.",
    "reduce of nothing": b"R.",
    "build of nothing": b"b.",
    "newobj of nothing": b"\x81.",
    "build twice": EMPTY + b"}(ub.",
    "build on a list": b"](e}(ub.",
    "re-exported class": b"ccodec_samples\ndecimal.Decimal\n)\x81}(ub.",
    "name with dots": b"ccodec_samples\nPlain.__init__.__globals__\n)\x81}(ub.",
    "name with a dot at its end": b"ccodec_samples\nPlain.\n)\x81}(ub.",
    "names of endless length": b"c" + b"x" * 5000 + b"\n" + b"y\n)\x81}(ub.",
    "name without end": b"cx\nxxxxxxxx",
    "name not in UTF-8": b"c\xff\ny\n)\x81}(ub.",
    "empty names": b"c\n\n)\x81}(ub.",
    # memo and stack
    "put": b"Nq\0.",
    "memoize": b"N\x94.",
    "get": b"](\x94h\0e.",
    "dup": b"N2.",
    "pop": b"NN0.",
    "pop mark": b"(N1N.",
    "append": b"](eN\x61.",
    "append to a tuple": b"(tN\x61.",
    "setitem": b"}(uNNs.",
    "items of another container": b"](NNu.",
    "list closed as a tuple": b"](Nt.",
    "tuple closed as a list": b"(Ne.",
    "set closed as a frozenset": b"\x8f(N\x91.",
    "unmarked list": b"].",
    "unmarked dict": b"}.",
    "unmarked set": b"\x8f.",
    "unmarked tuple": b").",
    "tuple1": b"N\x85.",
    "tuple2 from outside": b"N(N\x86t.",
    "more than there is": b"e.",
    "unclosed": b"](N.",
    "legacy list": b"(Nl.",
    "legacy dict": b"(NNd.",
    "odd dict": b"}(Nu.",
    # lengths
    "long string": b"X\xff\xff\xff\xffx.",
    "longer string": b"X\0\0\0\x40" + b"x" * 300 + b".",
    "long bytes": b"B\xff\xff\xff\x7fx.",
    "long integer": b"\x8b\xff\xff\xff\x7f\1.",
    "short string over the end": b"\x8c\xffx.",
    "bytes over the end": b"C\x05x.",
    "float over the end": b"G\0.",
    "integer over the end": b"J\0.",
    "string of 8 byte length": b"\x8d\1\0\0\0\0\0\0\0x.",
    "bytes of 8 byte length": b"\x8e\1\0\0\0\0\0\0\0x.",
    "bytearray opcode": b"\x96\1\0\0\0\0\0\0\0x.",
    # not canonical
    "binint of a small one": b"J\1\0\0\0.",
    "binint2 of a small one": b"M\1\0.",
    "long1 of a small one": b"\x8a\x01\x01.",
    "long1 of nothing": b"\x8a\0.",
    "long1 with zeros": b"\x8a\x06\0\0\0\0\1\0.",
    "long1 with sign bytes": b"\x8a\x06\0\0\0\0\xfe\xff.",
    "long4 of a short one": b"\x8b\x05\0\0\0\0\0\0\0\1.",
    "binunicode of a short one": b"X\1\0\0\0x.",
    "binbytes of a short one": b"B\1\0\0\0x.",
    "negative NaN": b"G\xff\xf8\0\0\0\0\0\0.",
    "NaN with a number": b"G\x7f\xf8\0\0\0\0\0\1.",
    "NaN among floats": b"](" + (b"G" + bytes(8)) * 9 + b"G\xff\xf8\0\0\0\0\0\0" + (b"G" + bytes(8)) * 9 + b"e.",
    "NaN in a complex": call(b"builtins\ncomplex", b"G" + bytes(8), b"G\xff\xf8\0\0\0\0\0\0") + b".",
    "text integer": b"I1\n.",
    "text float": b"F1\n.",
    "text string": b"Vx\n.",
    "not UTF-8": b"\x8c\x01\xff.",
    # keys
    "key twice": b"}(K\1NK\1Nu.",
    "equal keys": b"}(K\1N\x88Nu.",
    "set in disorder": b"\x8f(K\2K\1\x90.",
    "frozenset in disorder": b"(K\2K\1\x91.",
    "set in disorder in a list in a tuple": b"(](\x8f((tK\2K\1\x90et.",
    "floats in disorder": b"\x8f(" + b"".join(codec.encode(9.0 - number)[2:-1] for number in range(8)) + b"\x90.",
    "member twice": b"\x8f(K\1K\1\x90.",
    "frozen member twice": b"(K\1K\1\x91.",
    "list as key": b"}(](eNu.",
    "list in key": b"}(((](ettNu.",
    "dict as member": b"\x8f(}(u\x90.",
    "set as member": b"\x8f(\x8f(\x90\x90.",
    "bytearray as member": b"\x8f(" + call(b"builtins\nbytearray", b"C\0") + b"\x90.",
    "array as member": b"\x8f(" + array(b"K\0", b"<f8", b"") + b"\x90.",
    "dict with objects as member": b"\x8f(}(" + EMPTY + b"Nu\x90.",
    "set with objects as member": b"\x8f(\x8f(" + EMPTY + b"\x90\x90.",
    "signaling decimal as member": b"\x8f(" + call(b"decimal\nDecimal", b"\x8c\x04sNaN") + b"\x90.",
    # attributes
    "dunder": PLAIN + b")\x81}(\x8c\x09__class__Nub.",
    "dunder dict": PLAIN + b")\x81}(\x8c\x08__dict__}(uub.",
    "number as attribute": PLAIN + b")\x81}(K\1Nub.",
    "bytes as attribute": PLAIN + b")\x81}(C\1aNub.",
    "empty attribute": PLAIN + b")\x81}(\x8c\0Nub.",
    "attribute twice": PLAIN + b")\x81}(\x8c\1aN\x8c\1aNub.",
    "attributes in disorder": PLAIN + b")\x81}(\x8c\1bN\x8c\1aNub.",
    "attribute without value": PLAIN + b")\x81}(\x8c\1aub.",
    "arguments to an object": PLAIN + b"(Nt\x81}(ub.",
    "state that is none": PLAIN + b")\x81Nb.",
    "state that is no dict": PLAIN + b")\x81K\1b.",
    "object without state": PLAIN + b")\x81.",
    "state closed in another way": PLAIN + b")\x81}(u\x86b.",
    "named tuple with keywords": b"ccodec_samples\nNamed\n(NNt}(u\x92.",
    # arguments
    "bytearray of a number": call(b"builtins\nbytearray", b"J\0\0\0\x7f") + b".",
    "bytearray of two": call(b"builtins\nbytearray", b"C\0", b"\x8c\5ascii") + b".",
    "complex of strings": call(b"builtins\ncomplex", b"\x8c\x011", b"\x8c\x012") + b".",
    "complex of one": call(b"builtins\ncomplex", b"G" + bytes(8)) + b".",
    "range of floats": call(b"builtins\nrange", b"G" + bytes(8), b"K\1", b"K\1") + b".",
    "range without step": call(b"builtins\nrange", b"K\1", b"K\1", b"K\0") + b".",
    "date of a number": call(b"datetime\ndate", b"K\1") + b".",
    "31 February": call(b"datetime\ndate", b"C\x04\x07\xe4\x02\x1f") + b".",
    "date too long": call(b"datetime\ndate", b"C\x05\x07\xe4\x02\x01\0") + b".",
    "25 hours": call(b"datetime\ntime", b"C\x06\x19\0\0\0\0\0") + b".",
    "time with a zone of its own": call(b"datetime\ntime", b"C\x06\0\0\0\0\0\0", EMPTY) + b".",
    "time with no zone": call(b"datetime\ntime", b"C\x06\0\0\0\0\0\0", b"N") + b".",
    "year 0": call(b"datetime\ndatetime", b"C\x0a\0\0\1\1\0\0\0\0\0\0") + b".",
    "a million days": call(b"datetime\ntimedelta", b"J\0\0\0\x7f", b"K\0", b"K\0") + b".",
    "negative seconds": call(b"datetime\ntimedelta", b"K\0", b"J\xff\xff\xff\xff", b"K\0") + b".",
    "far zone": call(b"datetime\ntimezone", call(b"datetime\ntimedelta", b"K\2", b"K\0", b"K\0")) + b".",
    "zone of a number": call(b"datetime\ntimezone", b"K\0") + b".",
    "no decimal": call(b"decimal\nDecimal", b"\x8c\1x") + b".",
    "decimal with underscore": call(b"decimal\nDecimal", b"\x8c\x031_0") + b".",
    "decimal of a number": call(b"decimal\nDecimal", b"K\1") + b".",
    "decimal beyond": call(b"decimal\nDecimal", b"\x8c\x181E+99999999999999999999999") + b".",
    "fraction of zero": call(b"fractions\nFraction", b"K\1", b"K\0") + b".",
    "fraction not reduced": call(b"fractions\nFraction", b"K\2", b"K\4") + b".",
    "fraction too long to check": call(
        b"fractions\nFraction", codec.encode(3**50_000)[2:-1], codec.encode(2**70_000)[2:-1]
    )
    + b".",
    "zero not reduced": call(b"fractions\nFraction", b"K\0", b"K\2") + b".",
    "decimal beyond 32 bits": call(b"decimal\nDecimal", b"\x8c\x0c1E+999999999") + b".",
    "decimal of zeros": call(b"decimal\nDecimal", b"\x8c\x0201") + b".",
    "fraction of strings": call(b"fractions\nFraction", b"\x8c\x011", b"\x8c\x012") + b".",
    "short uuid": call(b"uuid\nUUID", b"N", b"C\x01x") + b".",
    "uuid of text": call(b"uuid\nUUID", b"\x8c\x01x", b"N") + b".",
    # arrays
    "object array": array(b"K\1", b"|O", bytes(8)) + b".",
    "structured array": array(b"K\1", b"<f8,<f8", bytes(16)) + b".",
    "long double": array(b"K\1", b"<f16", bytes(16)) + b".",
    "big-endian array": array(b"K\1", b">f8", bytes(8)) + b".",
    "more items than bytes": array(b"K\2", b"<f8", bytes(8)) + b".",
    "fewer items than bytes": array(b"K\1", b"<f8", bytes(16)) + b".",
    "a shape of billions": array(b"J\xff\xff\xff\x7f" * 3, b"<f8", bytes(8)) + b".",
    "a shape that overflows": array((b"\x8a\x09" + bytes(8) + b"\1") * 2, b"<f8", b"") + b".",
    "items without size": array(b"\x8a\x06\0\0\0\0\0\1", b"<U0", b"") + b".",
    "void items": array(b"\x8a\x06\0\0\0\0\0\1", b"|V0", b"") + b".",
    "items of billions": array(b"K\1", b"<U999999999", b"") + b".",
    "negative shape": array(b"J\xff\xff\xff\xff", b"<f8", b"") + b".",
    "shape of floats": array(b"G" + bytes(8), b"<f8", b"") + b".",
    "33 dimensions": array(b"K\1" * 33, b"<f8", bytes(8)) + b".",
    "bool that is neither": array(b"K\1", b"|b1", b"\2") + b".",
    "NaN with a number in an array": array(b"K\2", b"<f8", bytes(8) + b"\1\0\0\0\0\0\xf8\x7f") + b".",
    "negative NaN in an array": array(b"K\2", b"<f4", bytes(4) + b"\0\0\xc0\xff") + b".",
    "NaN with a number in an array of halves": array(b"K\2", b"<f2", bytes(2) + b"\1\x7e") + b".",
    "negative NaN in a complex array": array(b"K\1", b"<c8", bytes(4) + b"\0\0\xc0\xff") + b".",
    "no code point": array(b"K\1", b"<U1", b"\xff\xff\xff\xff") + b".",
    "unit with one": array(b"K\0", b"<M8[1s]", b"") + b".",
    "rows without items": array(b"\x8a\x06\0\0\0\0\0\1K\0", b"<f8", b"") + b".",
    "scalar of the wrong type": call(b"numpy\nfloat64", b"K\1") + b".",
    "scalar too large": call(b"numpy\nint8", b"M\0\1") + b".",
    "scalar not exact": call(b"numpy\nfloat32", b"G\x3f\xb9\x99\x99\x99\x99\x99\x9a") + b".",
    "scalar overflows": call(b"numpy\nfloat32", b"G\x7f\xef\xff\xff\xff\xff\xff\xff") + b".",
    "unit unknown": call(b"numpy\ndatetime64", b"K\1", b"\x8c\x01x") + b".",
    "moment too large": call(b"numpy\ndatetime64", b"\x8a\x09" + bytes(8) + b"\1", b"\x8c\x01s") + b".",
    "dtype": call(b"numpy\ndtype", b"\x8c\x02f8") + b".",
    "numpy.load": call(b"numpy\nload", b"\x8c\x01x") + b".",
    "dtype constructor": b"cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87R.",
}

# What is wrong can be told with the classes only.
HOSTILE_TO_CLASSES: dict[str, bytes] = {
    "unknown module": b"cnowhere\nPlain\n)\x81}(ub.",
    "os": b"cos\nsystem\n)\x81}(ub.",
    "unknown class": b"ccodec_samples\nNowhere\n)\x81}(ub.",
    "function": b"ccodec_samples\nmain\n)\x81}(ub.",
    "registry": b"ccodec_samples\nREGISTRY\n)\x81}(ub.",
    "subclass of dict": b"ccodec_samples\nDict\n)\x81}(ub.",
    "subclass of int": b"ccodec_samples\nInt\n)\x81}(ub.",
    "exception": b"ccodec_samples\nError\n)\x81}(ub.",
    "class with __del__": b"ccodec_samples\nDeleted\n)\x81}(ub.",
    "attribute without slot": b"ccodec_samples\nSlots\n)\x81N}(\x8c\x05otherNu\x86b.",
    "slots in a dict": b"ccodec_samples\nSlots\n)\x81}(\x8c\x04leftNub.",
    "dict in slots": PLAIN + b")\x81N}(\x8c\1aNu\x86b.",
    "fields": PLAIN + b")\x81](Neb.",
    "plain as a named tuple": PLAIN + b"(Nt\x81.",
    "named tuple too short": b"ccodec_samples\nNamed\n(Nt\x81.",
    "named tuple too long": b"ccodec_samples\nNamed\n(NNNt\x81.",
    "named tuple as an object": b"ccodec_samples\nNamed\n)\x81}(ub.",
    "fields missing": b"ccodec_samples\nFrozenSlots\n)\x81](Neb.",
    "frozen slots as slots": b"ccodec_samples\nFrozenSlots\n)\x81N}(u\x86b.",
    "member unknown": b"ccodec_samples\nColor.BLUE\n.",
    "alias": b"ccodec_samples\nColor.CRIMSON\n.",
    "method of an enumeration": b"ccodec_samples\nColor.__str__\n.",
    "attribute of a class": b"ccodec_samples\nPlain.__init__\n.",
    "enumeration as an object": b"ccodec_samples\nColor\n)\x81}(ub.",
    "enumeration called": call(b"codec_samples\nColor", b"K\1") + b".",
    "object without hash as key": b"}(ccodec_samples\nSlots\n)\x81N}(u\x86bNu.",
    "object whose hash fails": b"\x8f(ccodec_samples\nFragile\n)\x81}(ub\x90.",
    "objects whose equality fails": b"\x8f(" + b"ccodec_samples\nFragile\n)\x81}(\x8c\x04hashK\1ub" * 2 + b"\x90.",
}


@BOTH
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, registry: codec.Registry) -> None:
    codec_samples.Methods.calls.clear()
    with pytest.raises(codec.Malformed) as caught:
        codec.decode(b"\x80\x04" + HOSTILE[name], registry)
    assert isinstance(caught.value, ValueError)
    assert 5 < len(str(caught.value)) < 300
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert codec_samples.Methods.calls == codec_samples.Deleted.calls == []


@pytest.mark.parametrize("name", HOSTILE_TO_CLASSES)
def test_hostile_to_classes(name: str) -> None:
    codec_samples.Deleted.calls.clear()
    with pytest.raises(codec.Malformed):
        codec.decode(b"\x80\x04" + HOSTILE_TO_CLASSES[name], REGISTRY)
    assert codec_samples.Deleted.calls == []


def test_no_classes() -> None:
    with pytest.raises(
        codec.Malformed, match="class 'Plain' of module 'codec_samples' is not one of the program's"
    ):
        codec.decode(codec.encode(codec_samples.Plain(), REGISTRY))


@pytest.mark.parametrize("header", [b"", b"\x80", b"\x80\x02", b"\x80\x05", b"(dp0\n", b"\x80\x04\x95", b"PK\3\4"])
def test_other_files(header: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.decode(header + b"N.")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_other_pickles(protocol: int) -> None:
    with pytest.raises(codec.Malformed):
        codec.decode(pickle.dumps({"a": [1, 2]}, protocol))


def test_property_is_not_called() -> None:
    codec_samples.Property.calls.clear()
    back = codec.decode(b"\x80\x04ccodec_samples\nProperty\n)\x81}(\x8c\x05valueK\x07ub.", REGISTRY)
    assert codec_samples.Property.calls == []
    assert vars(back) == {"value": 7}


# Memory and time


def peak(data: bytes, registry: codec.Registry | None = None, limits: codec.Limits = codec.LIMITS) -> int:
    """Return the bytes that are allocated at most while *data*, which is malformed, is decoded."""
    tracemalloc.start()
    try:
        with pytest.raises(codec.Malformed):
            codec.decode(data, registry, limits=limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@BOTH
@pytest.mark.parametrize(
    "name", [name for name in HOSTILE if "long" in name or "billions" in name or "of a num" in name]
)
def test_lengths_allocate_nothing(name: str, registry: codec.Registry) -> None:
    assert peak(b"\x80\x04" + HOSTILE[name], registry) < 100_000


@BOTH
@pytest.mark.parametrize(
    "item",
    [
        b"](e",
        b"}(u",
        b"\x8f(\x90",
        b"(t",
        b"(\x91",
        b"\x8f(K\1K\2K\3K\4K\5\x90",
        EMPTY,
        b"}(NNu",
        b"N",
        b"G" + bytes(8),
    ],
)
def test_values_are_limited(item: bytes, registry: codec.Registry) -> None:
    limits = codec.Limits(nodes=1 << 16)
    data = b"\x80\x04](" + item * 100_000 + b"e."
    assert peak(data, registry, limits) < 6_000_000


def test_size_is_limited() -> None:
    limits = codec.Limits(size=1000)
    with pytest.raises(codec.Malformed, match="more than a file may have"):
        codec.decode(codec.encode(bytes(6000)), limits=limits)


@BOTH
@pytest.mark.parametrize(
    "opening", [b"](", b"(", b"}(", b"}(N", b"\x8f(", PLAIN + b")\x81}(\x8c\1a", b"cbuiltins\ncomplex\n"]
)
def test_depth_is_limited(opening: bytes, registry: codec.Registry) -> None:
    assert peak(b"\x80\x04" + opening * 100_000, registry) < 1_000_000


@BOTH
@pytest.mark.parametrize("closing", [b"\x85", b"t", b"\x91"])
def test_depth_of_tuples_is_limited(closing: bytes, registry: codec.Registry) -> None:
    # hash() of a tuple in a tuple in a tuple overflows the stack of the process
    start = b"(" * 100_000 if closing != b"\x85" else b""
    assert peak(b"\x80\x04" + start + b"N" + closing * 100_000 + b".", registry) < 1_000_000


@pytest.mark.parametrize("opening", [b"\x8f(%s\x90", b"(%s\x91", b"}(%su"])
def test_keys_with_one_hash_are_refused(opening: bytes) -> None:
    def items(count: int) -> bytes:
        separator = b"N" if opening == b"}(%su" else b""
        multiples = sorted(codec.encode(number * sys.hash_info.modulus)[2:-1] for number in range(count))
        return b"\x80\x04" + opening % b"".join(multiple + separator for multiple in multiples) + b"."

    assert len(codec.decode(items(100))) == 100
    with pytest.raises(codec.Malformed, match="hashes meet"):
        codec.decode(items(101))
    started = time.process_time()
    with pytest.raises(codec.Malformed, match="hashes meet"):
        codec.decode(items(20_000))
    assert time.process_time() - started < 5


def test_names_from_hosts_are_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(5000):
            codec.decode(b"\x80\x04cmodule\nName%d\n)\x81}(ub." % number, codec.OPAQUE)
            if number == 2500:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()


def test_near_the_recursion_limit() -> None:
    data = codec.encode({codec_samples.Frozen(codec_samples.Frozen(1)): 1}, REGISTRY)

    def deeper(depth: int) -> Any:
        if depth:
            return deeper(depth - 1)
        try:
            return codec.decode(data, REGISTRY)
        except codec.Malformed:
            return None

    reached = 0
    for depth in range(sys.getrecursionlimit()):
        try:
            deeper(depth)
            reached = depth
        except RecursionError:  # of deeper(), or of the call of decode()
            break
    assert reached > sys.getrecursionlimit() - 300


# Fuzz

VALID = [
    codec.encode(value, REGISTRY)
    for name, value in SAMPLES.items()
    if name not in ("ints", "bytes", "many floats", "lists", "tuples", "sets", "fraction", "decimal")
]
VALID += [
    codec.encode(value, REGISTRY)
    for value in (
        [numpy.arange(3), numpy.float32(1), numpy.array(["a"]), numpy.datetime64(1, "s"), numpy.array([True])],
        {"pyboinc": 1, "job": "a", "input": bytes(32), "program": bytes(32), "status": "ok", "value": 1},
        [{1, 2}, {3: 4}, [5, 2**40, -1, 300, 70000], (1.5, "x"), frozenset({6})],
    )
]
TOKENS = [
    *(bytes((opcode,)) for opcode in range(256)),
    *(b"](", b"}(", b"\x8f(", b"e", b"u", b"\x90", b"\x91", b"t", b"(", b".", b"N", b"K\1", b"\x8c\1a", b"C\1a"),
    *(PLAIN, EMPTY, b")\x81}(", b"ub", b")\x81N}(", b"u\x86b", b")\x81](", b"eb", b"t\x81", b"\x85R", b"\x86R"),
    *(b"ccodec_samples\nNamed\n(", b"ccodec_samples\nSlots\n", b"ccodec_samples\nFrozenSlots\n"),
    *(b"ccodec_samples\nColor.RED\n", b"cbuiltins\ncomplex\n", b"cdatetime\ntimezone\n", b"cnumpy\nndarray\n"),
    *(b"cfractions\nFraction\n", b"cdecimal\nDecimal\n", b"\x87R", b"G" + bytes(8), b"\x8c\x03<f8", b"M\0\1"),
]


def decode_anything(data: bytes) -> bool:
    """Return whether *data* is a value, after checking that it is one that can be sent again."""
    with contextlib.suppress(codec.Malformed):
        codec.decode(data, codec.OPAQUE)
    try:
        value = codec.decode(data, REGISTRY)
    except codec.Malformed:
        return False
    assert codec.encode(value, REGISTRY) == data  # there is one way to write a value
    codec.decode(data, codec.OPAQUE)  # what a master takes, its validator has taken
    return True


def test_mutations() -> None:
    source = random.Random(1)
    values = 0
    for data in VALID:
        for _ in range(200):
            mutated = bytearray(data)
            for _ in range(source.choice((1, 1, 2, 5))):
                start = source.randrange(2, len(mutated) + 1)
                end = min(len(mutated), start + source.choice((0, 1, 1, 1, 2, 8)))
                mutated[start:end] = source.choice(
                    (
                        b"",
                        bytes((source.randrange(256),)),
                        source.choice(TOKENS),
                        mutated[source.randrange(2, start + 1) : start],
                    )
                )
            values += decode_anything(bytes(mutated))
    assert values > 100


def test_every_truncation() -> None:
    for data in VALID:
        for end in range(len(data)):
            assert not decode_anything(data[:end])


def test_random_opcodes() -> None:
    source = random.Random(2)
    values = 0
    for _ in range(15_000):
        tokens = source.choices(TOKENS[256:], k=source.randrange(1, 8))
        values += decode_anything(b"\x80\x04](" + b"".join(tokens) + b"e.")
    assert values > 50


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=60), st.booleans())
def test_random_bytes(data: bytes, header: bool) -> None:
    decode_anything(b"\x80\x04" * header + data)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=12))
def test_random_tokens(tokens: list[bytes]) -> None:
    decode_anything(b"\x80\x04" + b"".join(tokens) + b".")


def test_nothing_was_run() -> None:
    assert codec_samples.Deleted.calls == []
    assert "nowhere" not in sys.modules
    assert not os.path.exists("x")
