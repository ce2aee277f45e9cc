"""Keys of calls, 16 bytes that identify a call in its batch, and an index of jobs by key.

There may be millions, so the index consists of flat tables: 4 to 8 bytes a key besides the keys themselves.
"""

from __future__ import annotations

import hashlib
import struct
from array import array

from aioboinc.store.calls import KEY_SIZE

__all__ = ["Index", "first", "repeated"]

_PARTS = 256
"""Tables of an index. Each grows by itself, in a millisecond; one table would take a second."""
_MIN_SLOTS = 16


def first(program: bytes, input_sha256: bytes) -> bytes:
    """Return the key of a run's first call of *program*, identified by 32 bytes, with that input."""
    return hashlib.sha256(program + input_sha256).digest()[:KEY_SIZE]


def repeated(key: bytes, count: int) -> bytes:
    """Return the key of a call that was made *count* times before in the run; *key* is the first one's."""
    return hashlib.sha256(key + count.to_bytes(8, "big")).digest()[:KEY_SIZE] if count else key


class Index:
    """Finds a job's number by its key in *keys*, which holds all keys in order. Hash tables with open addressing.

    `catch_up` must first take in what is in *keys* already.
    """

    def __init__(self, keys: bytearray) -> None:
        self._keys = keys
        self._next = 0
        size = _MIN_SLOTS
        while (
            size * _PARTS < 3 * len(keys) // KEY_SIZE
        ):  # there is room in each part, though none is of average size
            size *= 2
        self._tables = [_slots(size) for _ in range(_PARTS)]
        self._counts = [0] * _PARTS

    def catch_up(self, limit: int) -> bool:
        """Take in up to *limit* more keys; return whether none are left."""
        end = min(self._next + limit, len(self._keys) // KEY_SIZE)
        heads = _heads(self._keys[KEY_SIZE * self._next : KEY_SIZE * end])
        tables, counts = self._tables, self._counts
        for number, (head,) in enumerate(heads, self._next):
            if head:  # forgotten keys are equal, and would form one long chain
                # As in `_insert`: calling it would double the time.
                part = head % _PARTS
                table = tables[part]
                if 2 * counts[part] >= len(table):
                    table = self._grown(part)
                mask = len(table) - 1
                slot = (head >> 8) & mask
                while table[slot] >= 0:
                    slot = (slot + 1) & mask
                table[slot] = number
                counts[part] += 1
        self._next = end
        return KEY_SIZE * end == len(self._keys)

    def add(self, key: bytes) -> None:
        """Append *key* to the keys."""
        self._keys += key
        self._insert(_head(key)[0], self._next)
        self._next += 1

    def put(self, number: int) -> None:
        """Take in the key of *number*, unless it is there already."""
        key = self._keys[KEY_SIZE * number : KEY_SIZE * (number + 1)]
        if self.find(bytes(key)) < 0:
            self._insert(_head(key)[0], number)

    def find(self, key: bytes) -> int:
        """Return the number of the job with *key*, -1 if there is none. Keys that are not forgotten are unique."""
        head: int = _head(key)[0]
        table = self._tables[head % _PARTS]
        mask = len(table) - 1
        slot = (head >> 8) & mask
        while (number := table[slot]) >= 0:
            if self._keys.startswith(key, KEY_SIZE * number):
                return number
            slot = (slot + 1) & mask
        return -1

    def _insert(self, head: int, number: int) -> None:
        part = head % _PARTS
        table = self._tables[part]
        if 2 * self._counts[part] >= len(table):
            table = self._grown(part)
        _put(table, head, number)
        self._counts[part] += 1

    def _grown(self, part: int) -> array[int]:
        old = self._tables[part]
        table = self._tables[part] = _slots(2 * len(old))
        for number in old:
            if number >= 0 and (head := _head(self._keys, KEY_SIZE * number)[0]):
                _put(table, head, number)
        return table


def _put(table: array[int], head: int, number: int) -> None:
    mask = len(table) - 1
    slot = (head >> 8) & mask
    while table[slot] >= 0:
        slot = (slot + 1) & mask
    table[slot] = number


_head = struct.Struct("<Q").unpack_from
_heads = struct.Struct(f"<Q{KEY_SIZE - 8}x").iter_unpack


def _slots(size: int) -> array[int]:
    return array("i", [-1]) * size
