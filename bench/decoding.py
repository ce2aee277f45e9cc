"""Decodes outputs of 1 to 16 MiB: time and memory, for every container, and for what a hostile host would send."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable

from aioboinc.wire import codec
from bench import measuring
from bench.environment import Environment

__all__ = ["run"]

SIZES = (1, 2, 4, 8, 16)
"""MiB."""
_DEEP = 100


def _items(item: bytes) -> Callable[[int], bytes]:
    """Return a function that makes a file of a given size: a list of *item*."""
    return lambda size: b"\x80\x04](" + item * (size // len(item)) + b"e."


def _numbered(opening: bytes, item: Callable[[int], bytes], closing: bytes) -> Callable[[int], bytes]:
    """Return a function that makes a file of a given size: one container full of different *item*."""

    def make(size: int) -> bytes:
        length = len(item((1 << 40) + 100_000))
        items = sorted(map(item, range(1 << 40, (1 << 40) + size // length)))
        return b"\x80\x04" + opening + b"".join(items) + closing + b"."

    return make


def _raw(value: object) -> bytes:
    return codec.encode(value)[2:-1]


_FILES: dict[str, Callable[[int], bytes]] = {
    "lists": _items(_raw([1, "text", None])),
    "tuples": _items(_raw((1, "text", None))),
    "dicts": _items(_raw({"key": 1, "other": None})),
    "sets": _items(_raw({1, "text", None})),
    "frozensets": _items(_raw(frozenset({1, "text", None}))),
    "objects": _items(b"cmodule\nClass\n)\x81}(\x8c\1aK\1\x8c\1bNub"),
    "arrays": _items(b"cnumpy\nndarray\n(K\2t\x8c\3<f8C\x10" + bytes(16) + b"\x87R"),
    "dates": _items(b"cdatetime\ndate\nC\4\7\xe8\1\1\x85R"),
    f"lists, {_DEEP} in each other": _items(b"](" * _DEEP + b"N" + b"e" * _DEEP),
    f"tuples, {_DEEP} in each other": _items(b"(" * _DEEP + b"N" + b"t" * _DEEP),
    f"frozensets, {_DEEP} in each other": _items(b"(" * _DEEP + b"N" + b"\x91" * _DEEP),
    "empty frozensets": _items(b"(\x91"),
    "one dict of integers": _numbered(b"}(", lambda number: _raw(number) + b"N", b"u"),
    "one set of strings": _numbered(b"\x8f(", lambda number: _raw(str(number)), b"\x90"),
    "one set of pairs": _numbered(b"\x8f(", lambda number: _raw((number, 1)), b"\x90"),
    "one dict, keys that share slots": _numbered(
        b"}(", lambda number: _raw(number % (1 << 40) << 40) + b"N", b"u"
    ),
    "one set, keys that share a hash": _numbered(
        b"\x8f(", lambda number: _raw((number % (1 << 40) + 1) * sys.hash_info.modulus), b"\x90"
    ),
}


async def run(environment: Environment) -> measuring.Stage:
    """Measure each kind of file in each size, in a process of its own."""
    curves = []
    for name in _FILES:
        points = []
        for size in SIZES:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.decoding", name, str(size), stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, name
            points.append(measuring.Point(size, **json.loads(output)))
            print(f"  {name}, {size} MiB: {points[-1].seconds:.2f} s", file=sys.stderr, flush=True)
        curves.append(measuring.Curve(name, tuple(points)))
    return measuring.Stage("decoding", 0, "no database", curves=curves)


def _measure(name: str, size: int) -> dict[str, object]:
    data = _FILES[name](size << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    try:
        value = codec.decode(data, codec.OPAQUE)
        refused = ""
    except codec.Malformed as error:
        value = None
        refused = str(error)
    seconds = time.process_time() - begun
    del value
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": round(seconds, 4), "memory": round(memory, 1), "refused": refused}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
