"""Reading canonical pickles (see codec), and nothing else that may be in a pickle.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import _thread
import array
import contextlib
import functools
import gc
import itertools
import math
import struct
from typing import TYPE_CHECKING, Any

from aioboinc.wire import classes, hashes, layouts, writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LARGE", "read", "uncollected"]

_MARK = 0x28  # (
_GLOBAL = 0x63  # c
_REDUCE = 0x52  # R
_TUPLE0 = 0x84  # TUPLE1, TUPLE2 and TUPLE3 follow
_LIST, _DICT, _SET = b"]}\x8f"
_APPENDS, _SETITEMS, _ADDITEMS, _TUPLE, _FROZENSET = b"eu\x90t\x91"
_OPENING = frozenset((_MARK, _GLOBAL, _LIST, _DICT, _SET))
_WITH_STARTS = (_SET, _MARK)
_OPENED_BY = {_APPENDS: _LIST, _SETITEMS: _DICT, _ADDITEMS: _SET, _TUPLE: _MARK, _FROZENSET: _MARK}
_KINDS: dict[int, Any] = {_SETITEMS: dict, _ADDITEMS: set, _FROZENSET: frozenset}
_CLOSING = frozenset((*_OPENED_BY, 0x85, 0x86, 0x87))
_MAX_NAME = 2000
_BLOCK = 1024  # floats at once
_MANY = 35  # bytes from a float to the opcode of the fourth after it: from there on all at once is faster
_WRONG = "not how a value is written"
_NAN = struct.pack(">d", math.nan)
LARGE = 1 << 16
"""Bytes of a file from which on the garbage collector would take most of the time."""

_float_at = struct.Struct(">d").unpack_from
_int_at = struct.Struct("<i").unpack_from
_size_at = struct.Struct("<I").unpack_from


def read(  # noqa: C901, PLR0912, PLR0915
    data: bytes, position: int, closing: bytes, registry: classes.Registry, *, depth: int, nodes: int
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
    # The values around a container, what opened it, and whether these values are in a set.
    frames: list[tuple[list[Any], Any, bool]] = []
    containers = nodes // writer.CONTAINER
    starts = array.array("I")  # where the values begin that are in a set, or in what may become a frozenset
    in_set = False
    has_wide = False
    steps = iter(range(nodes))
    try:
        for _ in steps:
            if in_set:
                starts.append(position)
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
                    if in_set:
                        starts.extend(range(position + 8, position + 9 * len(floats) - 1, 9))
                    position += 9 * len(floats) - 1
                    next(itertools.islice(steps, len(floats) - 1, None), None)
                else:
                    number = _float_at(data, position)[0]
                    if number != number and data[position : position + 8] != _NAN:  # noqa: PLR0124
                        raise ValueError(_WRONG)
                    values.append(number)
                    position += 8
            elif opcode in _OPENING:
                containers -= 1
                if containers < 0:
                    raise ValueError("too many containers")
                if len(frames) >= depth:
                    raise ValueError("too many containers in each other")
                opener: Any = opcode
                if opcode == _GLOBAL:
                    start = position
                    middle = data.index(b"\n", start, start + _MAX_NAME)
                    position = data.index(b"\n", middle + 1, middle + _MAX_NAME) + 1
                    name = data[start : position - 1]
                    opener = readers.get(name) or registry.reader(name)
                    if type(opener) is layouts.Constant:
                        values.append(opener.value)
                        continue
                    if type(opener) is tuple:
                        opener = _opened(opener, data, position)
                        position += len(opener.opening)
                elif opcode != _MARK:
                    if data[position] != _MARK:
                        raise ValueError(_WRONG)
                    position += 1
                frames.append((values, opener, in_set))
                values = []
                in_set = opener in _WITH_STARTS
            elif opcode in _CLOSING and frames:
                items = values
                values, opener, in_set = frames.pop()
                if type(opener) is int:
                    if _OPENED_BY.get(opcode) != opener:
                        raise ValueError(_WRONG)
                    first = len(starts) - len(items) - 1  # the last one is where this opcode is
                    if opcode == _APPENDS:
                        values.append(items)
                    elif opcode == _TUPLE:
                        values.append(tuple(items))
                        del starts[first:]
                    else:
                        if opcode != _SETITEMS:
                            _check_order(data, starts[first:])
                            del starts[first:]
                        values.append(_hashed(opcode, items, registry, has_wide))
                elif isinstance(opener, layouts.Layout):
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
                has_wide = True
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
    floats = _unpacker(len(opcodes) - len(opcodes.lstrip(b"G")))(data, position)
    if math.isnan(sum(floats)):  # one of them is, or there are infinities of both signs
        for start, number in zip(range(position + 1, len(data), 9), floats):  # noqa: B905
            if number != number and data[start : start + 8] != _NAN:  # noqa: PLR0124
                raise ValueError(_WRONG)
    return floats


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


def _opened(known: tuple[layouts.Layout, ...], data: bytes, position: int) -> layouts.Layout:
    """Return which of the layouts *known* the object at *position* has."""
    for layout in known:
        if data.startswith(layout.opening, position):
            return layout
    raise ValueError(_WRONG)


def _check_order(data: bytes, starts: array.array[int]) -> None:
    """Raise ValueError unless the members of a set, each from one of *starts* to the next, are in their order."""
    previous = b""
    start = starts[0]
    for end in starts[1:]:
        member = data[start:end]
        if member < previous:
            raise ValueError("members of a set that are not in their order")
        previous, start = member, end


def _hashed(opcode: int, items: list[Any], registry: classes.Registry, has_wide: bool) -> Any:
    """Return the dict, set or frozenset that *opcode* makes of *items*."""
    kind = _KINDS[opcode]
    if kind is dict and len(items) % 2:
        raise ValueError("a key without a value")
    try:
        keys = items[0::2] if kind is dict else hashes.in_order(items)
        if hashes.are_dear(keys, kind) or (has_wide and hashes.is_equality_dear(keys)):
            raise ValueError(hashes.DEAR)
        found = dict(zip(keys, items[1::2])) if kind is dict else kind(keys)  # noqa: B905
    except TypeError:
        return registry.unhashable(kind, items)
    if len(found) != len(keys):
        raise ValueError("a key or member that is there twice")
    return found


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector off while a file is read: it would look at all values again and again.

    It is the whole process's; other threads that read are allowed for.
    """
    global _readers, _was_enabled
    with _lock:
        if not _readers:
            _was_enabled = gc.isenabled()
            gc.disable()
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers and _was_enabled:
                gc.enable()


_lock = _thread.allocate_lock()
_readers = 0
_was_enabled = True


def _reason(error: Exception) -> str:
    if isinstance(error, (IndexError, struct.error)):
        return f"cut short, or {_WRONG}"
    try:
        text = str(error)[:200]
    except Exception:
        text = ""
    return text if type(error) in (ValueError, LookupError) else f"{type(error).__name__}: {text}"
