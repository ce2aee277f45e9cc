"""Reading canonical pickles (see codec), and nothing else that may be in a pickle.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import struct
from typing import Any

from aioboinc import codec_classes, codec_writer

__all__ = ["read"]

_MARK = 0x28  # (
_GLOBAL = 0x63  # c
_REDUCE = 0x52  # R
_TUPLE0 = 0x84  # TUPLE1, TUPLE2 and TUPLE3 follow
_EMPTY: dict[int, type] = {0x5D: list, 0x7D: dict, 0x8F: set}
_OPENING = frozenset((_MARK, _GLOBAL, *_EMPTY))
_APPENDS, _SETITEMS, _ADDITEMS, _TUPLE, _FROZENSET = b"eu\x90t\x91"
_OPENED_BY = {_APPENDS: 0x5D, _SETITEMS: 0x7D, _ADDITEMS: 0x8F, _TUPLE: _MARK, _FROZENSET: _MARK}
_CLOSING = frozenset((*_OPENED_BY, 0x85, 0x86, 0x87))
_LONGEST_NAME = 1000

_float_at = struct.Struct(">d").unpack_from
_int_at = struct.Struct("<i").unpack_from
_size_at = struct.Struct("<I").unpack_from


def read(  # noqa: PLR0912, PLR0915
    data: bytes, position: int, registry: codec_classes.Registry, *, depth: int, nodes: int
) -> Any:
    """Return the value that is in *data* from *position* to the end.

    Raises ValueError, whatever *data* is; MemoryError only if this machine lacks what a value within *depth* and
    *nodes* may take.
    """
    # One loop in one function, since a call for each opcode would double the time. The values of a container are in
    # a list of their own until it is complete; then it goes to the list around it and is not changed any more. So no
    # opcode reaches what is not its own, and len(frames) is the depth. A slice or a struct that goes over the end is
    # noticed at the next opcode at the latest, because there is none.
    readers = registry.readers
    values: list[Any] = []
    frames: list[tuple[list[Any], Any]] = []  # the values around a container, and what opened it
    containers = nodes // codec_writer.CONTAINER
    try:
        for _ in range(nodes):
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
                        opener, beginning = _opened(opener, data, position)
                        position += len(beginning)
                        if beginning is opener.empty:
                            values.append(opener.make([]))
                            continue
                elif opcode != _MARK:
                    if data[position] != _MARK:
                        values.append(_EMPTY[opcode]())
                        continue
                    position += 1
                frames.append((values, opener))
                values = []
            elif opcode in _CLOSING:
                items = values
                values, opener = frames.pop()
                if type(opener) is int:
                    values.append(_container(opener, opcode, items, registry))
                elif isinstance(opener, codec_classes.Layout):
                    _check(data.startswith(opener.closing, position - 1))
                    position += len(opener.closing) - 1
                    values.append(opener.make(items))
                else:
                    _check(opcode == _TUPLE0 + len(items) and data[position] == _REDUCE)
                    position += 1
                    values.append(opener(*items))
            elif opcode == 0x4D:  # BININT2
                number = data[position] | data[position + 1] << 8
                position += 2
                _check(number >= 256)
                values.append(number)
            elif opcode == 0x4A:  # BININT
                number = _int_at(data, position)[0]
                position += 4
                _check(not 0 <= number < 65536)
                values.append(number)
            elif opcode == 0x4E:  # NONE
                values.append(None)
            elif opcode == 0x88:  # NEWTRUE
                values.append(True)
            elif opcode == 0x89:  # NEWFALSE
                values.append(False)
            elif opcode == 0x29:  # EMPTY_TUPLE
                values.append(())
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
            elif opcode == 0x2E:  # STOP
                _check(position == len(data) and len(values) == 1 and not frames)
                return values[0]
            else:
                raise ValueError(f"opcode {opcode:#04x}")
        raise ValueError("too many values")
    except MemoryError:
        raise
    except Exception as error:  # whatever a class says to be hashed or compared, or a module to be imported
        problem = f"byte {position}: {_reason(error)}"
    raise ValueError(problem)


def _check(condition: bool) -> None:
    if not condition:
        raise ValueError("not how a value is written")


def _long(data: bytes, position: int) -> tuple[int, int]:
    """Return where the bytes of a long value begin and end."""
    size = _size_at(data, position)[0]
    start = position + 4
    if not 256 <= size <= len(data) - start:
        raise ValueError("a length that is too large, or too small for its opcode")
    return start, start + size


def _integer(raw: bytes) -> int:
    # Shorter integers have another opcode; the highest byte is there for a reason.
    _check(len(raw) > 4 and not (raw[-1] == 0 and raw[-2] < 0x80) and not (raw[-1] == 0xFF and raw[-2] >= 0x80))
    return int.from_bytes(raw, "little", signed=True)


def _opened(
    layouts: tuple[codec_classes.Layout, ...], data: bytes, position: int
) -> tuple[codec_classes.Layout, bytes]:
    """Return which of *layouts* an object has, and its beginning: the layout's opening or empty."""
    for layout in layouts:
        for beginning in (layout.opening, layout.empty):
            if data.startswith(beginning, position):
                return layout, beginning
    raise ValueError("not how an object of that class is written")


def _container(opener: int, opcode: int, items: list[Any], registry: codec_classes.Registry) -> Any:
    _check(_OPENED_BY.get(opcode) == opener)
    if opcode == _FROZENSET:
        return _members(frozenset, items, registry)
    _check(bool(items))  # the empty ones have opcodes of their own
    if opcode == _APPENDS:
        return items
    if opcode == _TUPLE:
        return tuple(items)
    if opcode == _ADDITEMS:
        return _members(set, items, registry)
    return _dict(items, registry)


def _members(kind: type, items: list[Any], registry: codec_classes.Registry) -> Any:
    try:
        _check(not codec_writer.too_many_alike(items))
        found = kind(items)
    except TypeError:
        return registry.unhashable(kind, items)
    if len(found) != len(items):
        raise ValueError("a member that is there twice")
    return found


def _dict(items: list[Any], registry: codec_classes.Registry) -> Any:
    keys = items[0::2]
    _check(len(items) == 2 * len(keys))
    try:
        _check(not codec_writer.too_many_alike(keys))
        found = dict(zip(keys, items[1::2]))  # noqa: B905
    except TypeError:
        return registry.unhashable(dict, items)
    if len(found) != len(keys):
        raise ValueError("a key that is there twice")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, (IndexError, struct.error)):
        return "cut short, or not how a value is written"
    try:
        text = str(error)[:200]
    except Exception:
        text = ""
    return text if type(error) in (ValueError, LookupError) else f"{type(error).__name__}: {text}"
