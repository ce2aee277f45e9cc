"""Encoding and decoding: what goes in comes out, and equal values are equal bytes everywhere."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import io
import json
import math
import os
import pickle
import pickletools
import shutil
import struct
import subprocess
import sys
import threading
import types
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import codec_samples
import numpy
import pytest
from codec_samples import REGISTRY, SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreters import INTERPRETERS

from aioboinc.wire import codec


def body(data: bytes) -> bytes:
    assert data.startswith(b"\x80\x04")
    assert data.endswith(b".")
    return data[2:-1]


@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip(name: str) -> None:
    value = SAMPLES[name]
    data = codec.encode(value, REGISTRY)
    back = codec.decode(data, REGISTRY)
    assert type(back) is type(value)
    assert back == value
    assert codec.encode(back, REGISTRY) == data
    assert pickle.loads(data) == value
    pickletools.dis(data, out=io.StringIO())
    assert codec.decode(data, codec.OPAQUE) == codec.decode(data, codec.OPAQUE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"N"),
        (True, b"\x88"),
        (255, b"K\xff"),
        (256, b"M\x00\x01"),
        (65536, b"J\x00\x00\x01\x00"),
        (-1, b"J\xff\xff\xff\xff"),
        (2**31, b"\x8a\x05\x00\x00\x00\x80\x00"),
        (-(2**31) - 1, b"\x8a\x05\xff\xff\xff\x7f\xff"),
        (-(2**39), b"\x8a\x05\x00\x00\x00\x00\x80"),
        ("é", b"\x8c\x02\xc3\xa9"),
        (b"x", b"C\x01x"),
        ([1, 2], b"](K\x01K\x02e"),
        ((1,), b"(K\x01t"),
        ({2: 1}, b"}(K\x02K\x01u"),
        ({3, 1, 2}, b"\x8f(K\x01K\x02K\x03\x90"),
        ([[], (), {}, set(), frozenset()], b"](](e(t}(u\x8f(\x90(\x91e"),
        (codec_samples.Plain(b=1, a=2), b"ccodec_samples\nPlain\n)\x81}(\x8c\x01aK\x02\x8c\x01bK\x01ub"),
        (codec_samples.Plain(), b"ccodec_samples\nPlain\n)\x81}(ub"),
        (codec_samples.Named(1), b"ccodec_samples\nNamed\n(K\x01Nt\x81"),
        (codec_samples.Color.RED, b"ccodec_samples\nColor.RED\n"),
    ],
)
def test_wire_format(value: object, expected: bytes) -> None:
    assert body(codec.encode(value, REGISTRY)) == expected


def test_integers_are_written_as_pickle_does() -> None:
    for number in SAMPLES["ints"]:
        ours = codec.encode(number)
        assert ours[2:] == pickle.dumps(number, 4)[2:].replace(b"\x95" + struct.pack("<Q", len(ours) - 2), b"")


@pytest.mark.parametrize("count", [*range(12), 1023, 1024, 1025, 3000])
def test_floats_in_a_row(count: int) -> None:
    floats = [number / 7 for number in range(count)]
    for value in (floats, [*floats, 1, *floats], (*floats, "G" * 40), dict.fromkeys(floats, b"G" * 40)):
        data = codec.encode(value)
        assert codec.decode(data) == value == pickle.loads(data)
        for size in {len(data) - 1, len(data) // 2, 9 * (len(data) // 9)} - {len(data)}:
            with pytest.raises(codec.Malformed):
                codec.decode(data[:size])


def test_floats_in_a_row_count_one_by_one() -> None:
    data = codec.encode([0.5] * 5000)
    assert len(codec.decode(data, limits=codec.Limits(nodes=5000))) == 5000
    with pytest.raises(codec.Malformed, match="too many values"):
        codec.decode(data, limits=codec.Limits(nodes=3900))


def test_there_is_one_nan() -> None:
    others = [math.nan, -math.nan, struct.unpack(">d", b"\xff\xf8\0\0\0\0\1\2")[0]]
    assert len({codec.encode(nan) for nan in others}) == 1
    assert len({codec.encode(complex(1, nan)) for nan in others}) == 1
    assert len({codec.encode([nan] * 100) for nan in others}) == 1
    assert codec.encode([math.nan] * 100) == codec.encode([0.5] * 100).replace(
        body(codec.encode(0.5)), body(codec.encode(math.nan))
    )
    assert math.isnan(codec.decode(codec.encode(math.nan)))
    assert len(codec.decode(codec.encode({float("nan"), float("nan")}))) == 2


def test_attributes_and_sets_have_one_order() -> None:
    first, second = codec_samples.Plain(a=1, b=2), codec_samples.Plain(b=2, a=1)
    assert codec.encode(first, REGISTRY) == codec.encode(second, REGISTRY)
    upwards, downwards = set(range(0, 32, 8)), set(range(24, -8, -8))
    assert list(upwards) != list(downwards)
    assert codec.encode(upwards) == codec.encode(downwards)
    assert codec.encode({"a": 1, "b": 2}) != codec.encode({"b": 2, "a": 1})


def test_shared_values_are_written_each_time() -> None:
    shared = [1, "text"]
    assert codec.encode([shared, shared]) == codec.encode([[1, "text"], [1, "text"]])
    first, second = codec.decode(codec.encode([shared, shared]))
    assert first is not second


@pytest.fixture(scope="module")
def on_a_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The codec as hosts get it."""
    folder = tmp_path_factory.mktemp("host")
    package = folder / "aioboinc"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copytree(Path(codec.__file__).parent, package / "wire", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("python", INTERPRETERS, ids=os.path.basename)
@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_every_python_and_hash_seed_writes_the_same(on_a_host: Path, python: str, seed: str) -> None:
    done = subprocess.run(
        [python, "-W", "error", codec_samples.__file__],
        env={"PYTHONPATH": str(on_a_host), "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    encodings = json.loads(done.stdout)
    assert len(encodings) >= 25
    for name, encoding in encodings.items():
        assert bytes.fromhex(encoding) == codec.encode(SAMPLES[name], REGISTRY), name


# What is not data


def function() -> None:
    pass


NOT_DATA: list[tuple[Any, str]] = [
    (function, "input: function is not data"),
    ([0, {"a": (1, function)}], "input[1]['a'][1]: function is not data"),
    ({1: {2: function}}, "input[1][2]: function is not data"),
    ({(1, function): 2}, "input.keys(){tuple}[1]: function is not data"),
    ({(1, function)}, "input{tuple}[1]: function is not data"),
    (frozenset([function]), "input{function}: function is not data"),
    ({10**5000: function}, "input[int]: function is not data"),
    ({"x" * 1000: function}, f"input['{'x' * 40}']: function is not data"),
    (
        codec_samples.Plain(layers=[codec_samples.Slots(len)]),
        "input.layers[0].left: builtin_function_or_method is not",
    ),
    (codec_samples.Named(1, codec_samples.Frozen(function)), "input.first.second: function is not data"),
    (codec_samples.Plain, "input: class Plain is not data"),
    (types, "input: module is not data"),
    ((number for number in ()), "input: generator is not data"),
    (..., "input: ellipsis is not data"),
    (object(), "input: object is not data"),
    (memoryview(b""), "input: memoryview is not data"),
    (threading.Lock(), "lock"),
    (codec_samples.Dict(), "input: Dict is a subclass of dict"),
    (collections.OrderedDict(), "input: OrderedDict is a subclass of dict"),
    (codec_samples.Int(), "input: Int is a subclass of int"),
    (codec_samples.Error("x"), "input: Error is an exception, which is not data: raise it, or send its text"),
    (ValueError("x"), "input: ValueError is an exception"),
    (
        collections.deque(),
        "class deque is not data: its module collections is not one of the program's own",
    ),
    (Path(), "program import it from its own folder, or else send what is in the object"),
    (codec_samples.Deleted(), "class Deleted has __del__"),
    (codec_samples.Generic[int](1), "make it without them, as Box(1), or delete that attribute"),
    (codec_samples.Plain(**{"": 1}), "has an attribute whose name is no plain string"),
    (
        codec_samples.Plain(**{"__wrapped__": 1}),
        "has the attribute __wrapped__: names with two underscores at both",
    ),
    (codec_samples.hidden_slot(), "has the attribute left in slots of two of its classes"),
    (codec_samples.slot_and_dict(), "has the attribute left twice: in its __dict__ and in a slot"),
    (zoneinfo.ZoneInfo("UTC"), "input: time zone ZoneInfo is not data: use datetime.timezone"),
    (fractions.Fraction(1, 1 << 70_000), "a Fraction with more than 65536 bits"),
    (decimal.Decimal("1E+999999999"), "can't be read on every machine"),
    (codec_samples.Permission(0), "input: a combination of flags is not data: send its value"),
    (datetime.datetime(2024, 1, 1, tzinfo=type("Zone", (datetime.tzinfo,), {})()), "time zone Zone is not data"),
    (numpy.array([1, None]), "dtype object"),
    (numpy.zeros(1, "f8,i4"), "numpy array of dtype"),
    (numpy.zeros(1, numpy.longdouble), "numpy array of dtype"),
    (numpy.longdouble(1), "numpy.longdouble is not data: it has no form that is the same on every machine"),
    (numpy.void(b"x"), "numpy.void is not data"),
    (numpy.datetime64("NaT"), "without a unit"),
    (numpy.ma.masked_array([1]), "numpy's MaskedArray is more than an array: send numpy.array(…) of it"),
    (numpy.array([1, 2], "u1").view("?"), "neither 0 nor 1"),
    (numpy.array([2**32 - 1], "u4").view("U1"), "numbers that are no characters"),
    (numpy.zeros((2**40, 0)), "too large for a file"),
    (numpy.zeros((1,) * 33), "33 dimensions"),
    (numpy.broadcast_to(0.0, (2**20, 2**20)), "too large"),
    (numpy.float64, "class float64 is not data"),
    (dict.fromkeys(range(0, 101 * (2**61 - 1), 2**61 - 1)), "hashes meet in Python's tables"),
    (set(range(0, 101 * (2**61 - 1), 2**61 - 1)), "hashes meet in Python's tables"),
]


@pytest.mark.parametrize(("value", "message"), NOT_DATA, ids=[message for _, message in NOT_DATA])
def test_not_data_names_the_path(value: object, message: str) -> None:
    with pytest.raises(codec.NotData) as caught:
        codec.encode(value, REGISTRY)
    assert message in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"


def test_root_of_the_path() -> None:
    with pytest.raises(codec.NotData, match=r"^output\.a: function is not data$"):
        codec.encode(codec_samples.Plain(a=function), REGISTRY, root="output")


def test_classes_that_the_other_side_can_not_import() -> None:
    class Local:
        pass

    main = type("Main", (), {"__module__": "__main__"})
    with pytest.raises(codec.NotData, match=r"Local of module test_codec .* not at the module's top level"):
        codec.encode(Local(), codec.Registry.of_modules([__name__]))
    with pytest.raises(codec.NotData, match="class Main is in __main__"):
        codec.encode(main(), REGISTRY)
    with pytest.raises(codec.NotData, match="class Plain is not data"):
        codec.encode(codec_samples.Plain())
    replaced = type("Plain", (), {"__module__": "codec_samples"})
    with pytest.raises(codec.NotData, match="by that name module codec_samples has something else now"):
        codec.encode(replaced(), REGISTRY)


def test_cycles_are_named() -> None:
    items: list[Any] = [1]
    items.append({"a": items})
    with pytest.raises(codec.NotData, match=r"^input\[1\]\['a'\]: contains itself$"):
        codec.encode(items)
    plain = codec_samples.Plain()
    plain.me = (plain,)
    with pytest.raises(codec.NotData, match=r"^input\.me\[0\]: contains itself$"):
        codec.encode(plain, REGISTRY)


NEST: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "dict": lambda value: {1: value},
    "frozenset": lambda value: frozenset((value,)),
    "object": lambda value: codec_samples.Plain(next=value),
    "slots": codec_samples.Slots,
    "fields": codec_samples.Frozen,
    "named": codec_samples.Named,
}


def nested(kind: str, depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = NEST[kind](value)
    return value


@pytest.mark.parametrize("kind", NEST)
def test_depth(kind: str) -> None:
    value = nested(kind, codec.LIMITS.depth)
    data = codec.encode(value, REGISTRY)
    assert codec.encode(codec.decode(data, REGISTRY), REGISTRY) == data
    assert codec.decode(data, codec.OPAQUE) == codec.decode(data, codec.OPAQUE)
    with pytest.raises(codec.NotData, match="more than 200 containers in each other"):
        codec.encode(nested(kind, codec.LIMITS.depth + 1), REGISTRY)
    deepest = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(1 / 48)))
    for leaf in (deepest, numpy.zeros((2, 2)), 1j, numpy.complex64(1j)):
        inside: Any = leaf
        for _ in range(codec.LIMITS.depth - 1):
            inside = [inside]
        codec.decode(codec.encode(inside))


def test_deeper_than_python_can() -> None:
    with pytest.raises(codec.NotData, match="recursion limit"):
        codec.encode(nested("list", 100_000), limits=codec.Limits(depth=1_000_000))


def test_limits_of_values_and_size() -> None:
    limits = codec.Limits(nodes=1000, size=10_000)
    codec.decode(codec.encode([None] * 900, limits=limits), limits=limits)
    codec.decode(codec.encode([[]] * 57, limits=limits), limits=limits)
    for value in ([None] * 1000, [[]] * 60, [()] * 990, dict.fromkeys(range(500), 1)):
        with pytest.raises(codec.NotData, match="too many values"):
            codec.encode(value, limits=limits)
    for large in (
        "x" * 10_001,
        b"x" * 10_001,
        1 << 90_000,
        numpy.zeros(2000),
        ["x" * 200] * 60,
        bytearray(10_001),
    ):
        with pytest.raises(codec.NotData, match=r"too large|more than a file may have"):
            codec.encode(large, limits=limits)
    power: list[Any] = []
    for _ in range(60):
        power = [power, power]
    with pytest.raises(codec.NotData, match="too many values"):
        codec.encode(power, limits=limits)


# Objects


def test_no_method_takes_part() -> None:
    value = codec_samples.Methods()
    codec_samples.Methods.calls.clear()
    back = codec.decode(codec.encode(value, REGISTRY), REGISTRY)
    assert codec_samples.Methods.calls == []
    assert vars(back) == {"value": 1}
    codec.decode(codec.encode(codec_samples.Property(value=3), REGISTRY), REGISTRY)
    assert codec_samples.Property.calls == []


def test_objects_without_equality_are_keys_by_identity() -> None:
    value = {codec_samples.Methods(): 1, codec_samples.Methods(): 2}
    data = codec.encode(value, REGISTRY)
    assert sorted(codec.decode(data, REGISTRY).values()) == [1, 2]
    opaque = codec.decode(data, codec.OPAQUE)
    assert (opaque.module, opaque.name, opaque.state[1::2]) == ("builtins", "dict", (1, 2))


def test_opaque() -> None:
    def opaque(value: object) -> Any:
        return codec.decode(codec.encode(value, REGISTRY), codec.OPAQUE)

    module = "codec_samples"
    plain = codec.Instance(module, "Plain", {"a": 1})
    assert opaque(codec_samples.Plain(a=1)) == plain
    assert opaque(codec_samples.Plain(a=1)) != opaque(codec_samples.Plain(a=2))
    assert opaque(codec_samples.Plain()) == codec.Instance(module, "Plain", {})
    assert opaque(codec_samples.Slots(1)) == codec.Instance(module, "Slots", {"_Slots__private": 1, "left": 1})
    assert opaque(codec_samples.NoAttributes()) == codec.Instance(module, "NoAttributes", {})
    assert opaque(codec_samples.Named(1)) == codec.Instance(module, "Named", (1, None))
    assert opaque(codec_samples.FrozenSlots(1)) == codec.Instance(module, "FrozenSlots", [1, None])
    assert opaque(codec_samples.Color.CRIMSON) == codec.Member(module, "Color", "RED")
    assert opaque({codec_samples.Color.RED}) == {codec.Member(module, "Color", "RED")}
    assert opaque({codec_samples.Plain(a=1)}) == codec.Instance("builtins", "set", (plain,))
    assert opaque({(codec_samples.Plain(a=1),): 2}) == codec.Instance("builtins", "dict", ((plain,), 2))
    assert opaque(numpy.float32(1)) == codec.Instance("numpy", "float32", (1.0,))
    array = codec.Instance("numpy", "ndarray", ((2,), "<i2", b"\1\0\2\0"))
    assert opaque(numpy.array([1, 2], "i2")) == array
    with pytest.raises(AttributeError):
        plain.state = {}  # type: ignore[misc]


def test_explicit_registry() -> None:
    found: list[str] = []

    def resolve() -> type:
        found.append("Plain")
        return codec_samples.Plain

    registry = codec.Registry(
        {("codec_samples", "Plain"): resolve, ("codec_samples", "Named"): codec_samples.Named}
    )
    assert found == []
    assert registry.knows(codec_samples.Plain)
    assert not registry.knows(codec_samples.Slots)
    assert registry.find("codec_samples", "Named") is codec_samples.Named
    with pytest.raises(LookupError):
        registry.find("codec_samples", "Slots")
    value = [codec_samples.Plain(a=1), codec_samples.Named(1)]
    assert codec.decode(codec.encode(value, registry), registry) == value
    with pytest.raises(codec.Malformed, match="class 'Slots' of module 'codec_samples'"):
        codec.decode(codec.encode(codec_samples.Slots(1), REGISTRY), registry)


def test_registry_imports_its_modules_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module.py").write_text("from collections import deque\nclass Late:\n    pass\n")
    (tmp_path / "other_module.py").write_text("raise AssertionError\n")
    (tmp_path / "broken_module.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = codec.Registry.of_modules(["late_module", "broken_module"])
    assert type(codec.decode(b"\x80\x04clate_module\nLate\n)\x81}(ub.", registry)).__name__ == "Late"
    for module, name in [("other_module", "Late"), ("broken_module", "Late"), ("late_module", "deque")]:
        with pytest.raises(codec.Malformed, match=module):
            codec.decode(f"\x80\x04c{module}\n{name}\n)\x81}}(ub.".encode("latin-1"), registry)
    assert "other_module" not in sys.modules
    monkeypatch.delitem(sys.modules, "late_module")


def test_a_module_named_like_one_of_python(tmp_path: Path) -> None:
    registry = codec.Registry.of_modules(["types", "sys", "codec_samples"])
    for module in (b"types", b"sys"):
        with pytest.raises(codec.Malformed, match=r"named like Python's own module .* give the file another name"):
            codec.decode(b"\x80\x04c" + module + b"\nOutput\n)\x81}(ub.", registry)
    with pytest.raises(codec.Malformed, match="is not one of the program's"):
        codec.decode(b"\x80\x04ccodec_samples\nOutput\n)\x81}(ub.", registry)


@pytest.mark.parametrize(
    "value",
    [
        complex(-0.0, -0.0),
        complex(0.0, -0.0),
        decimal.Decimal("-sNaN123"),
        decimal.Decimal("NaN" + "7" * 40),
        decimal.Decimal("-0E-17"),
        decimal.Decimal("1" * 60 + "E-99"),
        decimal.Decimal("1E+425000000"),
        range(0, 5, 2),
        range(10**30, -(10**30), -7),
        datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(0), "UTC")),
        datetime.timezone(datetime.timedelta(seconds=-1), ""),
        "\ud83d\ude00",
        "\udc00\ud83d",  # noqa: PT014 - surrogates, not one character
        "a\0",
        b"a\0",
        {True: 1, 2: True, 3.0: False},
        {1.0, 2, False},
        fractions.Fraction(-(2**10_000), 3**6_000),
    ],
    ids=lambda value: repr(value)[:40] if type(value) is not fractions.Fraction else "fraction",
)
def test_nothing_is_lost(value: Any) -> None:
    data = codec.encode(value)
    back = codec.decode(data)
    assert type(back) is type(value)
    assert codec.encode(back) == data
    assert pickletools.dis(data, out=io.StringIO()) is None
    if type(value) is not fractions.Fraction:
        assert repr(back) == repr(value)


# numpy

DTYPES = [
    *("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"),
    *("S3", "U3", "M8[ns]", "m8[10us]", "m8", ">f8", ">i2", ">U3", ">M8[D]", "longlong"),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays(dtype: str) -> None:
    numbers = numpy.arange(6, dtype="i8").astype("M8[D]" if "M" in dtype else "i8").astype(dtype)
    shapes: list[tuple[int, ...]] = [(6,), (2, 3), (1, 6, 1), (0,), (0, 3), ()]
    for shape in shapes:
        array = numbers[: math.prod(shape)].reshape(shape)
        data = codec.encode(array)
        back = codec.decode(data)
        assert back.shape == shape
        assert back.dtype == array.dtype.newbyteorder("=")
        assert back.flags.writeable
        assert back.flags.c_contiguous
        assert numpy.array_equal(back, array)
        assert codec.encode(back) == data
        assert numpy.array_equal(pickle.loads(data), array)
        assert type(codec.decode(data, codec.OPAQUE)) is codec.Instance
    square = numpy.arange(6).astype("M8[D]" if "M" in dtype else "i8").astype(dtype).reshape(2, 3)
    assert codec.encode(square.T) == codec.encode(square.T.copy())
    assert codec.encode(numpy.asfortranarray(square)) == codec.encode(square)
    assert codec.encode(square[:, ::2]) == codec.encode(square[:, ::2].copy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_scalars(dtype: str) -> None:
    for scalar in numpy.arange(3).astype("M8[D]" if "M" in dtype else "i8").astype(dtype):
        data = codec.encode(scalar)
        back = codec.decode(data)
        assert back == scalar
        assert type(back) is type(scalar) or dtype == "longlong"
        assert codec.encode(back) == data
        assert pickle.loads(data) == scalar
        if dtype != "m8":  # that one has no hash
            assert codec.decode(codec.encode({scalar: 1})) == {scalar: 1}
        assert type(codec.decode(data, codec.OPAQUE)) is codec.Instance


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_arrays_have_one_nan(dtype: str) -> None:
    array = numpy.zeros(3, dtype)
    other = array.copy()
    array[1] = math.nan
    other[1] = -math.nan
    other.view("u1")[other.itemsize] |= 1
    assert numpy.isnan(other[1])
    before = other.tobytes()
    assert codec.encode(array) == codec.encode(other)
    assert codec.encode(array[1]) == codec.encode(other[1])
    assert other.tobytes() == before


def test_special_numpy_values() -> None:
    for value in (
        numpy.float32("inf"),
        numpy.float16(-0.0),
        numpy.float32(1e-45),
        numpy.datetime64("NaT", "ns"),
        numpy.datetime64(5, "7D"),
        numpy.timedelta64(5),
        numpy.str_("\ud800"),
        numpy.bytes_(b"\0"),
        numpy.uint64(2**64 - 1),
        numpy.bool_(True),
        numpy.complex64(complex("nan+infj")),
    ):
        data = codec.encode(value)
        back = codec.decode(data)
        assert type(back) is type(value)
        assert repr(back) == repr(value)
        assert codec.encode(back) == data


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode(numpy.zeros(1))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(codec.Malformed, match="numpy is not installed here"):
        codec.decode(data)
    assert codec.decode(data, codec.OPAQUE).name == "ndarray"


# Generated values

KEYS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=())),
        st.binary(),
        st.complex_numbers(allow_nan=False),
        st.dates(),
        st.times(),
        st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
        st.timedeltas(),
        st.decimals(allow_nan=False),
        st.fractions(),
        st.uuids(),
        st.sampled_from([*codec_samples.Color, *codec_samples.Level]),
    ),
    lambda keys: st.one_of(
        st.tuples(keys, keys), st.frozensets(keys), st.builds(codec_samples.Frozen, keys, keys)
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    KEYS,
    lambda values: st.one_of(
        st.lists(values),
        st.lists(values).map(tuple),
        st.dictionaries(KEYS, values),
        st.sets(KEYS),
        st.binary().map(bytearray),
        st.dictionaries(st.text(min_size=1).filter(lambda name: name[:2] != "__"), values).map(
            lambda attributes: codec_samples.Plain(**attributes)
        ),
        st.builds(codec_samples.Named, values, values),
        st.builds(codec_samples.Slots, values),
        st.builds(codec_samples.FrozenSlots, values, values),
    ),
    max_leaves=10,
)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(VALUES)
def test_generated_values_come_back(value: Any) -> None:
    data = codec.encode(value, REGISTRY)
    back = codec.decode(data, REGISTRY)
    assert back == value
    assert codec.encode(back, REGISTRY) == data
    assert pickle.loads(data) == value
    codec.decode(data, codec.OPAQUE)


def test_decimals_do_not_depend_on_the_context() -> None:
    value = decimal.Decimal("1E+99")
    data = codec.encode(value)
    with decimal.localcontext(decimal.Context(prec=1, capitals=0, Emax=1, Emin=-1)):
        assert codec.encode(value) == data
        assert codec.decode(data) == value
