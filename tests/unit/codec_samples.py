"""Values of every kind that the wire format carries, and classes of a program.

As a script it prints the encoding of each as JSON, after checking that it comes back.
Any Python from 3.8 runs it.
"""
# ruff: noqa: UP017, UP036, UP042

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import json
import pickle
import pickletools
import sys
import typing
import uuid

from aioboinc.wire import codec


class Plain:
    def __init__(self, **attributes: typing.Any) -> None:
        self.__dict__.update(attributes)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(sorted(vars(self))))


class Property(Plain):
    calls: typing.ClassVar[list[str]] = []

    @property
    def value(self) -> int:
        return 1

    @value.setter
    def value(self, value: int) -> None:
        self.calls.append("setter")


class Methods:
    """Everything by which a class could take part in its pickling."""

    calls: typing.ClassVar[list[str]] = []

    def __new__(cls, *args: object) -> Methods:
        cls.calls.append("__new__")
        return object.__new__(cls)

    def __init__(self) -> None:
        self.calls.append("__init__")
        self.value = 1

    def __reduce_ex__(self, protocol: typing.Any) -> typing.Any:
        self.calls.append("__reduce_ex__")
        return object.__reduce_ex__(self, protocol)

    def __getstate__(self) -> object:
        self.calls.append("__getstate__")
        return {}

    def __setstate__(self, state: object) -> None:
        self.calls.append("__setstate__")

    def __setattr__(self, name: str, value: object) -> None:
        self.calls.append("__setattr__")
        object.__setattr__(self, name, value)


class Slots:
    __slots__ = ("__private", "left", "unset")

    def __init__(self, left: object) -> None:
        self.left = left
        self.__private = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slots) and (self.left, self.__private) == (other.left, other.__private)

    __hash__ = None  # type: ignore[assignment]


class SlotsAndDict(Slots):
    def __init__(self, left: object, right: object) -> None:
        super().__init__(left)
        self.right = right

    def __eq__(self, other: object) -> bool:
        return Slots.__eq__(self, other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class HiddenSlot(Slots):
    __slots__ = ("left",)


def hidden_slot() -> HiddenSlot:
    """Return an object with a value where no attribute leads to."""
    value = HiddenSlot(1)
    Slots.left.__set__(value, 2)  # type: ignore[attr-defined]
    return value


def slot_and_dict() -> SlotsAndDict:
    """Return an object with two attributes of one name."""
    value = SlotsAndDict(1, 2)
    vars(value)["left"] = 3
    return value


class NoAttributes:
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoAttributes)

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass
class Data:
    number: int
    items: list[typing.Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    second: object
    first: object = None


class Named(typing.NamedTuple):
    second: object
    first: object = None


class NoFields(typing.NamedTuple):
    pass


class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    CRIMSON = RED

    def __str__(self) -> str:
        return "a color"


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


class Permission(enum.Flag):
    READ = 1
    WRITE = 2
    BOTH = 3


class Text(str, enum.Enum):
    HELLO = "hello"


T = typing.TypeVar("T")


class Generic(typing.Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Generic) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


class Deleted:
    calls: typing.ClassVar[list[str]] = []

    def __del__(self) -> None:
        self.calls.append("__del__")


class Fragile:
    """Its objects fail where they are keys."""

    hash: int

    def __hash__(self) -> int:
        return int(self.hash)

    def __eq__(self, other: object) -> bool:
        raise SampleError


class SampleError(ValueError):
    def __str__(self) -> str:
        raise self


class Dict(dict):  # type: ignore[type-arg]
    pass


class Int(int):
    pass


class Error(Exception):
    pass


REGISTRY = codec.Registry.of_modules([__name__])
if __name__ == "__main__":
    sys.modules["codec_samples"] = sys.modules["__main__"]
    REGISTRY = codec.Registry.of_modules(["codec_samples"])
    for value in list(vars().values()):
        if isinstance(value, type) and value.__module__ == "__main__":
            value.__module__ = "codec_samples"

_UTC = datetime.timezone.utc
_EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30), "east")

SAMPLES: dict[str, typing.Any] = {
    "none": None,
    "bools": [True, False],
    "ints": [
        sign * (1 << bits) + more
        for bits in (0, 1, 7, 8, 15, 16, 31, 32, 39, 63, 64, 2031, 2032, 2039, 2040, 5000)
        for sign in (1, -1)
        for more in (-1, 0, 1)
    ],
    "floats": [0.0, -0.0, 1.5, -1e308, 5e-324, float("inf"), -float("inf")],
    "many floats": [index / 7 for index in range(40)],
    "str": [
        "",
        "a",
        "\u00e9\u20ac\U0001f600",
        "\ud800",
        "\udc00\ud800",
        "\0\n",
        "x" * 255,
        "x" * 256,
        "\u00e9" * 128,
    ],
    "bytes": [b"", b"\0\xff", bytes(255), bytes(256), bytes(70000)],
    "bytearray": [bytearray(), bytearray(b"\0\xff"), bytearray(300)],
    "lists": [[], [[]], [None] * 1500, [[1], [2, [3]]]],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),), tuple(range(1500))],
    "dicts": [{}, {"b": 1, "a": {2: None}}, {(1, 2): 3, None: 4, 1.5: 5, b"k": 6, True: 7}],
    "sets": [set(), {1}, {"b", "a", 1, 2.5, None, (1, "x")}, set(range(300))],
    "frozensets": [frozenset(), frozenset({frozenset({1, 2}), frozenset()}), {frozenset({3}): 1}],
    "complex": [1 + 2j, complex(-0.0, float("inf"))],
    "range": [range(0), range(5), range(3, -7, -2), range(10**30)],
    "date": [datetime.date.min, datetime.date(2024, 2, 29), datetime.date.max],
    "time": [
        datetime.time(),
        datetime.time(23, 59, 59, 999999, fold=1),
        datetime.time(1, tzinfo=_UTC),
        datetime.time(1, fold=1, tzinfo=_EAST),
    ],
    "datetime": [
        datetime.datetime.min,
        datetime.datetime(2024, 12, 31, 23, 59, 59, 999999, fold=1),
        datetime.datetime(2024, 1, 1, tzinfo=_UTC),
        datetime.datetime(2024, 1, 1, fold=1, tzinfo=_EAST),
    ],
    "timedelta": [datetime.timedelta.min, datetime.timedelta(), datetime.timedelta(microseconds=-1)],
    "timezone": [_UTC, _EAST, datetime.timezone(-datetime.timedelta(hours=3))],
    "decimal": [decimal.Decimal(text) for text in ("0", "-0", "1.50", "1E+999999", "1E-7", "-Infinity", "9" * 60)],
    "fraction": [fractions.Fraction(0), fractions.Fraction(-7, 3), fractions.Fraction(3**9000, 2**9000)],
    "uuid": [uuid.UUID(int=0), uuid.UUID("12345678-1234-5678-1234-567812345678")],
    "enum": [Color.RED, Color.CRIMSON, Color.GREEN, Level.HIGH, Text.HELLO, Permission.READ, Permission.BOTH],
    "enum keys": {Color.RED: {Level.LOW, Level.HIGH}},
    "plain": [Plain(), Plain(b=1, a=[Plain(c=None)]), Plain(**{"\u00e9": 1, "_x": 2, "__y": 3})],
    "plain keys": {Plain(a=1): 1, (Plain(b=2), 1): {Plain(c=3)}},
    "property": Property(value=5),
    "slots": [Slots(None), Slots([Slots(1)]), SlotsAndDict(1, (2,)), NoAttributes()],
    "dataclass": [Data(1), Data(2, [Data(3)]), Frozen("x"), {Frozen(1): Frozen(Frozen(2), 3)}],
    "named": [Named(1), Named(Named(2), (3,)), {Named(1, 2): {Named(3)}}, NoFields()],
    "generic": Generic(1),
}

if sys.version_info >= (3, 10):

    @dataclasses.dataclass(frozen=True, slots=True)
    class FrozenSlots:
        second: object
        first: object = None

    @dataclasses.dataclass(slots=True)
    class DataSlots:
        number: int

    FrozenSlots.__module__ = DataSlots.__module__ = "codec_samples"
    SAMPLES["dataclass with slots"] = [FrozenSlots(1), {FrozenSlots(1, FrozenSlots(2)): DataSlots(3)}]


def main() -> None:
    encodings = {}
    for name, value in SAMPLES.items():
        data = codec.encode(value, REGISTRY)
        assert codec.encode(codec.decode(data, REGISTRY), REGISTRY) == data, name
        assert codec.decode(data, REGISTRY) == value, name
        assert pickle.loads(data) == value, name
        pickletools.dis(data, out=io.StringIO())
        codec.decode(data, codec.OPAQUE)
        encodings[name] = data.hex()
    json.dump(encodings, sys.stdout)


if __name__ == "__main__":
    main()
