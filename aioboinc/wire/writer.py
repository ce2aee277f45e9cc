"""Writing values as canonical pickles (see codec): one function a type, and what it may cost.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import math
import struct
import uuid
from typing import TYPE_CHECKING, Any

from aioboinc.wire import classes, forms, hashes, layouts

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[["Encoder", Any], None]

__all__ = ["CONTAINER", "HANDLERS", "Encoder"]

CONTAINER = 16
"""How many values a container or object counts as: an empty one is few bytes of file and much memory."""
_MANY = 8  # floats: from here on all at once is faster
_BLOCK = 1024  # floats at once
_NAN = float("nan")
_SMALL_INTS = [bytes((0x4B, number)) for number in range(256)]
_SHORT_STR = [bytes((0x8C, size)) for size in range(256)]
_SHORT_BYTES = [bytes((0x43, size)) for size in range(256)]
_CALLS = [b"", b"\x85R", b"\x86R", b"\x87R"]
_BUILT_IN = (
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    list,
    tuple,
    dict,
    set,
    frozenset,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
)
_float_bytes = struct.Struct(">d").pack
_size_bytes = struct.Struct("<I").pack


class Encoder:
    """One encoding: where it goes, and what it may still cost."""

    __slots__ = ("active", "depth", "nodes", "put", "registry", "room")

    def __init__(
        self,
        put: Callable[[bytes], None],
        registry: classes.Registry,
        *,
        depth: int,
        nodes: int,
        room: int,
    ) -> None:
        self.put = put
        """Takes the next bytes."""
        self.registry = registry
        """The classes whose objects are data."""
        self.depth = depth
        """How many containers may be in each other."""
        self.nodes = nodes
        """How many more values there may be."""
        self.room = room
        """How many more bytes there may be."""
        self.active: set[int] = set()
        """The ids of the containers around the value that is being written."""

    def enter(self, container: Any, length: int) -> None:
        """Begin a container of *length* values; its id is to be discarded from `active` at its end."""
        identity = id(container)
        if identity in self.active:
            raise forms.Refused("contains itself")
        self.active.add(identity)
        if len(self.active) > self.depth:
            raise forms.Refused(f"more than {self.depth} containers in each other")
        self.count(length)

    def count(self, length: int) -> None:
        """Account for a container of *length* values."""
        self.nodes -= length + CONTAINER
        if self.nodes < 0:
            raise forms.Refused("too many values: a numpy array has room for more")

    def reserve(self, size: int) -> None:
        """Account for *size* bytes, before they are copied."""
        self.room -= size
        if self.room < 0:
            raise forms.Refused("too large for a file: put it into several jobs")


def _none(encoder: Encoder, value: None) -> None:
    encoder.put(b"N")


def _bool(encoder: Encoder, value: bool) -> None:
    encoder.put(b"\x88" if value else b"\x89")


def _int(encoder: Encoder, value: int) -> None:
    if 0 <= value < 256:
        encoder.put(_SMALL_INTS[value])
    elif 0 <= value < 65536:
        encoder.put(b"M" + value.to_bytes(2, "little"))
    elif -(2**31) <= value < 2**31:
        encoder.put(b"J" + value.to_bytes(4, "little", signed=True))
    else:
        size = ((value if value > 0 else ~value).bit_length() >> 3) + 1
        if size < 256:
            encoder.put(b"\x8a" + bytes((size,)) + value.to_bytes(size, "little", signed=True))
        else:
            encoder.reserve(size)
            encoder.put(b"\x8b" + _size_bytes(size))
            encoder.put(value.to_bytes(size, "little", signed=True))


def _float(encoder: Encoder, value: float) -> None:
    encoder.put(b"G" + _float_bytes(value if value == value else _NAN))  # noqa: PLR0124


def _str(encoder: Encoder, value: str) -> None:
    raw = value.encode("utf-8", "surrogatepass")
    size = len(raw)
    if size < 256:
        encoder.put(_SHORT_STR[size] + raw)
    else:
        encoder.reserve(size)
        encoder.put(b"X" + _size_bytes(size))
        encoder.put(raw)


def _bytes(encoder: Encoder, value: bytes) -> None:
    size = len(value)
    if size < 256:
        encoder.put(_SHORT_BYTES[size] + value)
    else:
        encoder.reserve(size)
        encoder.put(b"B" + _size_bytes(size))
        encoder.put(value)


def _list(encoder: Encoder, value: list[Any]) -> None:
    _items(encoder, value, b"](", b"e")


def _tuple(encoder: Encoder, value: tuple[Any, ...]) -> None:
    _items(encoder, value, b"(", b"t")


def _items(encoder: Encoder, value: list[Any] | tuple[Any, ...], opening: bytes, closing: bytes) -> None:
    encoder.enter(value, len(value))
    encoder.put(opening)
    index = 0
    try:
        if len(value) >= _MANY and set(map(type, value)) == {float}:
            encoder.put(_floats(value))
        else:
            for index, item in enumerate(value):  # noqa: B007 (it is for the path)
                HANDLERS[type(item)](encoder, item)
    except forms.Refused as refused:
        refused.steps.append(f"[{index}]")
        raise
    encoder.put(closing)
    encoder.active.discard(id(value))


def _floats(values: list[float] | tuple[float, ...]) -> bytes:
    """Return the opcodes of floats."""
    if math.isnan(sum(values)):  # one of them is, or there are infinities of both signs
        values = [value if value == value else _NAN for value in values]  # noqa: PLR0124
    if len(values) <= _BLOCK:
        return _block(values)
    return b"".join(_block(values[first : first + _BLOCK]) for first in range(0, len(values), _BLOCK))


def _block(values: list[float] | tuple[float, ...]) -> bytes:
    opcodes = bytearray(_packer(len(values))(*values))
    opcodes[::9] = len(values) * b"G"
    return bytes(opcodes)


@functools.lru_cache(maxsize=64)
def _packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(">" + count * "xd").pack


def _dict(encoder: Encoder, value: dict[Any, Any]) -> None:
    encoder.enter(value, 2 * len(value))
    _check_hashes(list(value), dict)
    encoder.put(b"}(")
    key: Any = None
    in_key = True
    try:
        for key, item in value.items():
            in_key = True
            HANDLERS[type(key)](encoder, key)
            in_key = False
            HANDLERS[type(item)](encoder, item)
    except forms.Refused as refused:
        refused.steps.append(f".keys(){{{_shown(key)}}}" if in_key else f"[{_shown(key)}]")
        raise
    encoder.put(b"u")
    encoder.active.discard(id(value))


def _set(encoder: Encoder, value: set[Any]) -> None:
    _members(encoder, value, b"\x8f(", b"\x90")


def _frozenset(encoder: Encoder, value: frozenset[Any]) -> None:
    _members(encoder, value, b"(", b"\x91")


def _members(encoder: Encoder, value: set[Any] | frozenset[Any], opening: bytes, closing: bytes) -> None:
    encoder.enter(value, len(value))
    put = encoder.put
    written: list[tuple[bytes, int]] = []
    member: Any = None
    try:
        for member in value:
            pieces: list[bytes] = []
            encoder.put = pieces.append
            HANDLERS[type(member)](encoder, member)
            written.append((b"".join(pieces), len(written)))
    except forms.Refused as refused:
        refused.steps.append(f"{{{_shown(member)}}}")
        raise
    encoder.put = put
    written.sort()
    members = list(value)
    _check_hashes(hashes.in_order([members[number] for _, number in written]), type(value))
    put(opening)
    for raw, _ in written:
        put(raw)
    put(closing)
    encoder.active.discard(id(value))


def _form(encoder: Encoder, value: Any) -> None:
    head, arguments = forms.WRITERS[type(value)]
    _call(encoder, head, arguments(value))


def _call(encoder: Encoder, head: bytes, arguments: tuple[Any, ...]) -> None:
    encoder.count(len(arguments))
    encoder.put(head)
    for argument in arguments:
        HANDLERS[type(argument)](encoder, argument)
    encoder.put(_CALLS[len(arguments)])


def _other(encoder: Encoder, value: Any) -> None:
    cls = type(value)
    layout = encoder.registry.layouts.get(cls)
    if layout is None:
        writer = forms.numpy_writer(cls)
        if writer is not None:
            if value.nbytes > encoder.room:  # before an array that is a view of little becomes bytes
                encoder.reserve(value.nbytes)
            _call(encoder, writer[0], writer[1](value))
            return
        layout = _known(encoder.registry, value)
    if isinstance(layout, layouts.Members):
        encoder.put(layout.write(value))
    else:
        _object(encoder, value, layout)


def _object(encoder: Encoder, value: Any, layout: layouts.Layout) -> None:
    parts = layout.take(value)
    encoder.enter(value, 2 * len(parts))
    encoder.put(layout.head)
    encoder.put(layout.opening)
    name = ""
    try:
        for name, item in parts:
            if layout.named:
                _str(encoder, name)
            HANDLERS[type(item)](encoder, item)
    except forms.Refused as refused:
        refused.steps.append(f".{name}")
        raise
    encoder.put(layout.closing)
    encoder.active.discard(id(value))


class _Handlers(dict):  # type: ignore[type-arg]
    def __missing__(self, cls: type) -> Handler:
        return _other


HANDLERS: dict[type, Handler] = _Handlers(
    {
        type(None): _none,
        bool: _bool,
        int: _int,
        float: _float,
        str: _str,
        bytes: _bytes,
        list: _list,
        tuple: _tuple,
        dict: _dict,
        set: _set,
        frozenset: _frozenset,
        **dict.fromkeys(forms.WRITERS, _form),
    }
)
"""For every type, exactly, what writes its values; may raise forms.Refused."""


def _known(registry: classes.Registry, value: Any) -> layouts.Layout | layouts.Members:
    """Return how *value*, of a class not seen before, is written; raises Refused with the reason."""
    _check_kind(value)
    cls = type(value)
    try:
        return registry.layout(cls)
    except LookupError:
        raise forms.Refused(_foreign(registry, cls)) from None


def _check_kind(value: Any) -> None:
    """Raise Refused for what no registry makes data."""
    name = type(value).__qualname__
    if isinstance(value, type):
        raise forms.Refused(f"class {value.__qualname__} is not data, only its objects may be")
    if isinstance(value, datetime.tzinfo):
        raise forms.Refused(f"time zone {name} is not data: use datetime.timezone, as astimezone() does")
    if isinstance(value, BaseException):
        raise forms.Refused(f"{name} is an exception, which is not data: raise it, or send its text")
    if not isinstance(value, enum.Enum):
        for base in _BUILT_IN:
            if isinstance(value, base) and not (base is tuple and hasattr(value, "_fields")):
                plain = base.__name__
                raise forms.Refused(f"{name} is a subclass of {plain}, which is not data: send a plain {plain}")


def _foreign(registry: classes.Registry, cls: type) -> str:
    """Return why *cls* is not in the registry."""
    module, name = cls.__module__, cls.__qualname__
    if module == "builtins":
        return f"{name} is not data"
    if module == "__main__" and not registry.has_module(module):
        return f"class {name} is in __main__, which is another file on the other side: move it to a module"
    if "." in name:
        return f"class {name} of module {module} is not data: it is not at the module's top level; move it there"
    if registry.has_module(module):
        return (
            f"class {name} is not data: by that name module {module} has something else now; if the class was "
            "defined again since, make the object again"
        )
    return (
        f"class {name} is not data: its module {module} is not one of the program's own; if it is yours, have the "
        "program import it from its own folder, or else send what is in the object, as text for example"
    )


def _shown(key: Any) -> str:
    if key is None or type(key) in (bool, float) or (type(key) is int and abs(key) < 2**64):
        return repr(key)
    if type(key) in (str, bytes):
        return repr(key[:40])
    return type(key).__name__


def _check_hashes(keys: list[Any], kind: type) -> None:
    if hashes.are_dear(keys, kind):
        raise forms.Refused(f"{hashes.DEAR}: the other side would take too long; send a list of pairs")
