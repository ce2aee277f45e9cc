"""What it costs to build a dict or a set of given keys, found out before it is built.

Most hashes (of numbers, tuples, frozensets, UUIDs) are no secret. So whoever makes the keys can have all of them meet
in CPython's tables, and building takes quadratic time though no two hashes are equal. The slots that a key looks at
are simulated here, in all sizes that a table has while it grows, and in that of a copy. Standard library only,
Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import decimal
import operator
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["DEAR", "are_dear", "in_order", "is_equality_dear"]

DEAR = "too many keys or members whose hashes meet in Python's tables"
_ALIKE = 100
"""So many keys may have the same hash. Of powers of two only 61 have different ones."""
_SMALL = 1000
"""So many keys may meet in any way if their hashes differ: then that costs no more than to read them."""
_MEETINGS = 100
"""How often a key may find a slot in use, on an average, while its table grows. Honest keys do so 50 times at most."""
_KEYED = {str, bytes} if sys.flags.hash_randomization else set()
_WORD = (1 << sys.hash_info.width) - 1
_ROW = 10  # slots that a set looks at one after the other
_WIDE = 2000  # bits; an integer with an opcode of its own has more


def in_order(members: Collection[Any]) -> list[Any]:
    """Return *members* of a set, sorted by their encodings, in the order in which they are to be added."""
    if set(map(type, members)) == {int}:
        return sorted(members)  # neighbours have neighbouring slots
    return list(members)


def are_dear(keys: Sequence[Any], kind: type) -> bool:
    """Return whether a *kind* (dict, set, frozenset) of *keys* takes more time than is just.

    Takes linear time itself. Raises what ``hash`` raises.
    """
    if len(keys) <= _ALIKE:
        return False
    types = set(map(type, keys))
    if types <= _KEYED:
        return False
    tables = _dict_tables(len(keys), str in types) if kind is dict else _set_tables(len(keys))
    if types == {int}:
        tables = [table for table in tables if _is_wide(keys, *table)]
    if not tables:
        return False
    hashes = list(map(hash, keys))
    are_alike = _are_alike(hashes)
    if are_alike or len(keys) <= _SMALL:
        return are_alike
    meet = _meet_in_dict if kind is dict else _meet_in_set
    left = _MEETINGS * len(keys)
    for size, count in tables:
        if left >= 0:
            left = meet(hashes[:count], size, left)
    return left < 0


def _dict_tables(count: int, has_strings: bool) -> list[tuple[int, int]]:
    """Return the sizes of a dict on its way to *count* keys, and the number of keys that each holds."""
    tables = []
    size = 128
    while 2 * size // 3 < count:
        tables.append((size, 2 * size // 3))
        size *= 2
    tables.append((size, count))
    if has_strings:
        tables.append((2 * size, count))  # it grows too when the first other key comes
    return tables


def _set_tables(count: int) -> list[tuple[int, int]]:
    """Return the same for a set, and the table of its copy."""
    tables = []
    size = 128
    while True:
        full = -(-3 * (size - 1) // 5)
        if count < full:
            break
        tables.append((size, full))
        size = _above(full * (2 if full > 50000 else 4))
    tables += (size, count), (_above(2 * count), count)
    return tables


def _above(number: int) -> int:
    return 1 << number.bit_length()


def _is_wide(keys: Sequence[int], size: int, count: int) -> bool:
    """Return whether the first *count* integers are so far apart that they may meet in a table of *size*."""
    first = keys[:count]
    return max(first) - min(first) >= size


def _are_alike(hashes: list[int]) -> bool:
    ordered = sorted(hashes)  # they would meet in a Counter
    return any(map(operator.eq, ordered, ordered[_ALIKE:]))


def _meet_in_dict(hashes: Iterable[int], size: int, left: int) -> int:
    """Return *left* minus how often keys with *hashes* find a slot of a dict in use; as soon as that is negative."""
    mask = size - 1
    used = bytearray(size)
    for number in hashes:
        slot = number & mask
        if used[slot]:
            perturb = number & _WORD
            while used[slot]:
                left -= 1
                perturb >>= 5
                slot = (slot * 5 + perturb + 1) & mask
            if left < 0:
                break
        used[slot] = 1
    return left


def _meet_in_set(hashes: Iterable[int], size: int, left: int) -> int:
    """Return the same for a set, where slots in a row count once."""
    mask = size - 1
    used = bytearray(size)
    for number in hashes:
        slot = number & mask
        if used[slot]:
            perturb = number & _WORD
            free = -1
            while free < 0:
                left -= 1
                free = used.find(0, slot, slot + _ROW if slot + _ROW <= size else slot + 1)
                perturb >>= 5
                slot = (slot * 5 + perturb + 1) & mask
            slot = free
            if left < 0:
                break
        used[slot] = 1
    return left


def is_equality_dear(keys: Sequence[Any]) -> bool:
    """Return whether building compares a Decimal with an integer of many digits, which takes quadratic time.

    That such keys, or keys that they are in, have equal hashes does not happen by chance.
    """
    numbered = sorted(zip(map(hash, keys), range(len(keys))))  # noqa: B905
    pending: list[Any] = []
    for (one, first), (other, second) in zip(numbered, numbered[1:]):  # noqa: B905, RUF007
        if one == other:
            pending += keys[first], keys[second]
    has_decimal = has_wide = False
    while pending:
        value = pending.pop()
        if type(value) is decimal.Decimal:
            has_decimal = True
        elif type(value) is int:
            has_wide = has_wide or value.bit_length() > _WIDE
        elif isinstance(value, (tuple, frozenset)):
            pending += value
        elif hasattr(value, "__dict__"):
            pending += vars(value).values()
    return has_decimal and has_wide
