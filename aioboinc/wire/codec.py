"""The wire format: canonical pickles of protocol 4, and a reader that takes data only.

Equal values of the same types give equal bytes, on every Python and platform: there is no memo, an integer has
its shortest opcode, sets are sorted by the bytes of their members, attributes by name, dicts are in their
order, and there is one NaN. ``pickle.load`` reads these files, but nothing that comes from elsewhere is ever
given to it: `decode` knows just the opcodes that `encode` writes, in the places where it writes them, and
nothing is imported or called because a file names it.

Containers, empty ones too, are written as ``EMPTY_LIST MARK items APPENDS`` and alike, tuples as ``MARK items
TUPLE``, calls of known types as ``GLOBAL arguments TUPLE1-3 REDUCE`` (forms), objects as ``GLOBAL
EMPTY_TUPLE NEWOBJ state BUILD``, named tuples as ``GLOBAL tuple NEWOBJ``, members of enumerations as ``GLOBAL``
(classes). Standard library only, Python 3.8 syntax: hosts get this folder too.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from aioboinc.wire import classes, forms, layouts, reader, writer

__all__ = [
    "LIMITS",
    "OPAQUE",
    "Instance",
    "Limits",
    "Malformed",
    "Member",
    "NotData",
    "Registry",
    "decode",
    "decode_part",
    "encode",
    "import_packages",
]

Instance = layouts.Instance
Member = layouts.Member
OPAQUE = classes.OPAQUE
Registry = classes.Registry


class NotData(TypeError):
    """A value that can't be sent; ``path`` leads to it, ``reason`` says why."""

    __module__ = "aioboinc"  # as users know it

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Malformed(ValueError):
    """Bytes that `encode` does not write."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is too much, for both directions."""

    depth: int = 200
    """How deep containers and objects may be in each other."""
    nodes: int = 1 << 25
    """How many values; a container or object counts as 16, as empty ones are small files and much memory."""
    size: int = 1 << 30
    """Bytes of the file, less than 2**31."""


LIMITS = Limits()

_NO_CLASSES = Registry()
_AS_IT_IS = contextlib.nullcontext()
_HEADER = b"\x80\x04"
# What may be read above the limits: values that forms writes are up to four deep in each other, and an
# envelope goes around the largest value.
_MORE_DEPTH = 8
_MORE_NODES = 1024
_MORE_SIZE = 4096


def encode(value: Any, registry: Registry | None = None, *, root: str = "input", limits: Limits = LIMITS) -> bytes:
    """Return *value* as bytes, which `decode` reads with the same *registry* and *limits*.

    Raises NotData, with a path that begins with *root*. Does not block.
    """
    if registry is not None:
        registry.refresh()
    pieces: list[bytes] = [_HEADER]
    encoder = writer.Encoder(
        pieces.append,
        _NO_CLASSES if registry is None else registry,
        depth=limits.depth,
        nodes=limits.nodes,
        room=limits.size,
    )
    try:
        writer.HANDLERS[type(value)](encoder, value)
        pieces.append(b".")
        data = b"".join(pieces)
        if len(data) > limits.size:
            raise forms.Refused(f"takes {len(data)} bytes, more than a file may have ({limits.size})")
        return data
    except forms.Refused as refused:
        path, reason = "".join((root, *reversed(refused.steps))), refused.reason
    except RecursionError:
        path, reason = root, "nested deeper than the recursion limit of Python allows here"
    raise NotData(path if len(path) <= 400 else f"{path[:200]}...{path[-200:]}", reason)


def decode(data: bytes, registry: Registry | None = None, *, limits: Limits = LIMITS) -> Any:
    """Return the value that *data* holds, with objects of the classes in *registry* only.

    Raises Malformed, whatever *data* is; MemoryError only if this machine lacks what a file within *limits* may
    take. Methods of objects are not called, except ``__hash__`` and ``__eq__`` of those that are keys or
    members of sets, when they are complete. Does not block, but imports the program's modules and numpy at
    first use.
    """
    if data[:2] != _HEADER:
        raise Malformed("is not a pickle of protocol 4")
    return decode_part(data, len(_HEADER), b".", registry, limits=limits)


def import_packages(data: bytes) -> None:
    """Import the packages of values in *data*. Raises ImportError for one that is not installed here."""
    if b"cnumpy\n" in data:
        import numpy  # noqa: F401


def decode_part(
    data: bytes, position: int, closing: bytes, registry: Registry | None = None, *, limits: Limits = LIMITS
) -> Any:
    """Return the value in *data* from *position* up to *closing*, the opcodes that end it. As `decode` otherwise."""
    if len(data) > limits.size + _MORE_SIZE:
        raise Malformed(f"has {len(data)} bytes, more than a file may have ({limits.size})")
    if registry is not None:
        registry.refresh()
    try:
        with reader.uncollected() if len(data) >= reader.LARGE else _AS_IT_IS:
            return reader.read(
                data,
                position,
                closing,
                _NO_CLASSES if registry is None else registry,
                depth=limits.depth + _MORE_DEPTH,
                nodes=limits.nodes + _MORE_NODES,
            )
    except ValueError as error:
        problem = str(error)
    raise Malformed(problem)
