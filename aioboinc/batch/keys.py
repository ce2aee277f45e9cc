"""Keys of calls: 16 bytes that tell a call from all others of its batch, and where the job with a key is.

There may be millions, so an index is one flat table: 4 to 8 bytes a key beside the keys themselves.
"""

from __future__ import annotations

import hashlib
import struct
from array import array

from aioboinc.store.calls import KEY_SIZE

__all__ = ["Index", "first", "repeated"]

_MIN_SLOTS = 1 << 10


def first(program: bytes, input_sha256: bytes) -> bytes:
    """Return the key of the first call in a run of *program*, 32 bytes that identify it, with that input."""
    return hashlib.sha256(program + input_sha256).digest()[:KEY_SIZE]


def repeated(key: bytes, count: int) -> bytes:
    """Return the key of a call after *count* calls of the same program with the same input; *key* is their first's."""
    return hashlib.sha256(key + count.to_bytes(8, "big")).digest()[:KEY_SIZE] if count else key


class Index:
    """Finds numbers by keys, in *keys*, which holds them one after the other. A hash table with open addressing."""

    def __init__(self, keys: bytearray) -> None:
        self._keys = keys
        self._count = 0
        self._table = _slots(0)
        self._mask = -1
        self._grow()

    def add(self, key: bytes) -> None:
        """Put *key* at the end of the keys."""
        self._keys += key
        if 2 * self._count > self._mask:
            self._grow()
            return
        self._insert(_head(key)[0], self._count)
        self._count += 1

    def find(self, key: bytes) -> int:
        """Return the number of the job with *key*, -1 if there is none. There is only one that was not forgotten."""
        table = self._table
        head: int = _head(key)[0]
        slot = head & self._mask
        while (number := table[slot]) >= 0:
            if self._keys.startswith(key, KEY_SIZE * number):
                return number
            slot = (slot + 1) & self._mask
        return -1

    def _insert(self, head: int, number: int) -> None:
        table = self._table
        slot = head & self._mask
        while table[slot] >= 0:
            slot = (slot + 1) & self._mask
        table[slot] = number

    def _grow(self) -> None:
        """Make a larger table of all keys."""
        self._count = len(self._keys) // KEY_SIZE
        size = _MIN_SLOTS
        while size < 3 * self._count:
            size *= 2
        self._table = _slots(size)
        self._mask = size - 1
        for number, (head,) in enumerate(_HEADS.iter_unpack(self._keys)):
            if head:  # those that were forgotten would all be in one row
                self._insert(head, number)


_head = struct.Struct("<Q").unpack_from
_HEADS = struct.Struct("<Q8x")


def _slots(size: int) -> array[int]:
    return array("i", [-1]) * size
