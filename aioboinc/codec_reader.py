"""Reading canonical pickles (see codec), and nothing else that may be in a pickle.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import functools
import itertools
import struct
from typing import TYPE_CHECKING, Any

from aioboinc import codec_classes, codec_writer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read"]

_MARK = 0x28  # (
_GLOBAL = 0x63  # c
_REDUCE = 0x52  # R
_TUPLE0 = 0x84  # TUPLE1, TUPLE2 and TUPLE3 follow
_LIST, _DICT, _SET = b"]}\x8f"
_APPENDS, _SETITEMS, _ADDITEMS, _TUPLE, _FROZENSET = b"eu\x90t\x91"
_OPENING = frozenset((_MARK, _GLOBAL, _LIST, _DICT, _SET))
_OPENED_BY = {_APPENDS: _LIST, _SETITEMS: _DICT, _ADDITEMS: _SET, _TUPLE: _MARK, _FROZENSET: _MARK}
_KINDS: dict[int, Any] = {_SETITEMS: dict, _ADDITEMS: set, _FROZENSET: frozenset}
_CLOSING = frozenset((*_OPENED_BY, 0x85, 0x86, 0x87))
_LONGEST_NAME = 2000
_BLOCK = 1024  # floats at once
_MANY = 35  # bytes from a float to the opcode of the fourth after it: from there on all at once is faster
_WRONG = "not how a value is written"

_float_at = struct.Struct(">d").unpack_from
_int_at = struct.Struct("<i").unpack_from
_size_at = struct.Struct("<I").unpack_from


def read(  # noqa: PLR0912, PLR0915
    data: bytes, position: int, closing: bytes, registry: codec_classes.Registry, *, depth: int, nodes: int
) -> Any:
    """Return the value that is in *data* from *position* on, up to *closing*, with which it ends.

    Raises ValueError, whatever *data* is; MemoryError only if this machine lacks what a value within *depth*
    and *nodes* may take.
    """
    # One loop in one function, since a call for each opcode would double the time. The values of a container
    # are in a list of their own until it is complete; then it goes to the list around it and is not changed any
    # more. So no opcode reaches what is not its own, and len(frames) is the depth. A slice or a struct that
    # goes over the end is noticed at the next opcode at the latest, because there is none.
    readers = registry.readers
    values: list[Any] = []
    frames: list[tuple[list[Any], Any]] = []  # the values around a container, and what opened it
    containers = nodes // codec_writer.CONTAINER
    steps = iter(range(nodes))
    try:
        for _ in steps:
            opcode = data[position]
            position += 1
            if opcode == 0x8C:  # SHORT_BINUNICODE
                start = position + 1
                position = start + data[position]
                values.append(str(data[start:position], "utf-8", "surrogatepass"))
            elif opcode == 0x4B:  # BININT1
                values.append(data[position])
                position += 1
            elif opcode == 0x47:  # BINFLOAT
                if data[position + _MANY : position + _MANY + 1] == b"G":
                    floats = _floats(data, position - 1)
                    values += floats
                    position += 9 * len(floats) - 1
                    next(itertools.islice(steps, len(floats) - 1, None), None)
                else:
                    values.append(_float_at(data, position)[0])
                    position += 8
            elif opcode in _OPENING:
                containers -= 1
                if containers < 0 or len(frames) >= depth:
                    raise ValueError("too many containers, or too many in each other")
                opener: Any = opcode
                if opcode == _GLOBAL:
                    start = position
                    middle = data.index(b"\n", start, start + _LONGEST_NAME)
                    position = data.index(b"\n", middle + 1, middle + _LONGEST_NAME) + 1
                    name = data[start : position - 1]
                    opener = readers.get(name) or registry.reader(name)
                    if type(opener) is codec_classes.Constant:
                        values.append(opener.value)
                        continue
                    if type(opener) is tuple:
                        opener = _opened(opener, data, position)
                        position += len(opener.opening)
                elif opcode != _MARK:
                    if data[position] != _MARK:
                        raise ValueError(_WRONG)
                    position += 1
                frames.append((values, opener))
                values = []
            elif opcode in _CLOSING and frames:
                items = values
                values, opener = frames.pop()
                if type(opener) is int:
                    if _OPENED_BY.get(opcode) != opener:
                        raise ValueError(_WRONG)
                    if opcode == _APPENDS:
                        values.append(items)
                    elif opcode == _TUPLE:
                        values.append(tuple(items))
                    else:
                        values.append(_hashed(opcode, items, registry))
                elif isinstance(opener, codec_classes.Layout):
                    if not data.startswith(opener.closing, position - 1) or (opener.named and len(items) % 2):
                        raise ValueError(_WRONG)
                    position += len(opener.closing) - 1
                    values.append(opener.make(items))
                else:
                    if opcode != _TUPLE0 + len(items) or data[position] != _REDUCE:
                        raise ValueError(_WRONG)
                    position += 1
                    values.append(opener(*items))
            elif opcode == 0x4D:  # BININT2
                number = data[position] | data[position + 1] << 8
                position += 2
                if number < 256:
                    raise ValueError(_WRONG)
                values.append(number)
            elif opcode == 0x4A:  # BININT
                number = _int_at(data, position)[0]
                position += 4
                if 0 <= number < 65536:
                    raise ValueError(_WRONG)
                values.append(number)
            elif opcode == 0x4E:  # NONE
                values.append(None)
            elif opcode == 0x88:  # NEWTRUE
                values.append(True)
            elif opcode == 0x89:  # NEWFALSE
                values.append(False)
            elif opcode == 0x43:  # SHORT_BINBYTES
                start = position + 1
                position = start + data[position]
                values.append(data[start:position])
            elif opcode == 0x58:  # BINUNICODE
                start, position = _long(data, position)
                values.append(str(data[start:position], "utf-8", "surrogatepass"))
            elif opcode == 0x42:  # BINBYTES
                start, position = _long(data, position)
                values.append(data[start:position])
            elif opcode == 0x8A:  # LONG1
                start = position + 1
                position = start + data[position]
                values.append(_integer(data[start:position]))
            elif opcode == 0x8B:  # LONG4
                start, position = _long(data, position)
                values.append(_integer(data[start:position]))
            elif data.startswith(closing, position - 1) and not frames:
                if len(values) != 1 or position - 1 + len(closing) != len(data):
                    raise ValueError(_WRONG)
                return values[0]
            else:
                raise ValueError(f"opcode {opcode:#04x}")
        raise ValueError("too many values")
    except MemoryError:
        raise
    except Exception as error:  # whatever a class says to be hashed or compared, or a module to be imported
        problem = f"byte {position}: {_reason(error)}"
    raise ValueError(problem)


def _floats(data: bytes, position: int) -> tuple[float, ...]:
    """Return the floats that follow each other from *position* on; a block of them at the most."""
    opcodes = data[position : position + 9 * _BLOCK : 9]
    return _unpacker(len(opcodes) - len(opcodes.lstrip(b"G")))(data, position)


@functools.lru_cache(maxsize=64)
def _unpacker(count: int) -> Callable[..., tuple[float, ...]]:
    return struct.Struct(">" + count * "xd").unpack_from


def _long(data: bytes, position: int) -> tuple[int, int]:
    """Return where the bytes of a long value begin and end."""
    size = _size_at(data, position)[0]
    start = position + 4
    if not 256 <= size <= len(data) - start:
        raise ValueError("a length that is too large, or too small for its opcode")
    return start, start + size


def _integer(raw: bytes) -> int:
    # Shorter integers have another opcode, and the highest byte is there for a reason.
    if len(raw) <= 4 or (raw[-1] == 0 and raw[-2] < 0x80) or (raw[-1] == 0xFF and raw[-2] >= 0x80):
        raise ValueError(_WRONG)
    return int.from_bytes(raw, "little", signed=True)


def _opened(layouts: tuple[codec_classes.Layout, ...], data: bytes, position: int) -> codec_classes.Layout:
    """Return which of *layouts* the object at *position* has."""
    for layout in layouts:
        if data.startswith(layout.opening, position):
            return layout
    raise ValueError(_WRONG)


def _hashed(opcode: int, items: list[Any], registry: codec_classes.Registry) -> Any:
    """Return the dict, set or frozenset that *opcode* makes of *items*."""
    kind = _KINDS[opcode]
    keys = items[0::2] if kind is dict else items
    try:
        if len(keys) > codec_writer.ALIKE and codec_writer.too_many_alike(keys):
            raise ValueError("too many keys or members with the same hash")
        found = dict(zip(keys, items[1::2])) if kind is dict else kind(items)  # noqa: B905
    except TypeError:
        found = registry.unhashable(kind, items)
    else:
        if len(found) != len(keys) or (kind is dict and len(items) % 2):
            raise ValueError("a key or member that is there twice, or a key without a value")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, (IndexError, struct.error)):
        return f"cut short, or {_WRONG}"
    try:
        text = str(error)[:200]
    except Exception:
        text = ""
    return text if type(error) in (ValueError, LookupError) else f"{type(error).__name__}: {text}"
