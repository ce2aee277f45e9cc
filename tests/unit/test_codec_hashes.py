"""Keys whose hashes meet: refused on both sides, before they cost much; and honest ones, which are not."""

from __future__ import annotations

import decimal
import fractions
import random
import sys
import time
import uuid
from typing import Any

import pytest

from aioboinc.wire import codec, hashes

SIZE = 1 << 12
MASK = SIZE - 1


class Cycle:
    """Keys that fill a piece of the cycle i -> 5 i + 1 of a dict of `SIZE` slots, in which all others end up."""

    def __init__(self, count: int) -> None:
        self.source = random.Random(1)
        self.keys = [0]
        while len(self.keys) < count:
            self.keys.append((self.keys[-1] * 5 + 1) & MASK)
        self.used = set(self.keys)

    def free_slot(self, key: int) -> tuple[int, int]:
        """Return where *key* finds room, and after how many slots."""
        slot, perturb, met = key & MASK, key, 0
        while slot in self.used:
            perturb >>= 5
            slot = (slot * 5 + perturb + 1) & MASK
            met += 1
        return slot, met

    def extended(self, key: int, bits: int, slot: int, step: int) -> int | None:
        """Give *key* its upper bits, five at a time, so that the next slot is in use too."""
        if bits > 55:
            return key if self.free_slot(key)[1] >= 300 else None
        for digit in self.source.sample(range(32), 32):
            longer = key | digit << bits
            following = (slot * 5 + (longer >> 5 * step) + 1) & MASK
            if following in self.used:
                found = self.extended(longer, bits + 5, following, step + 1)
                if found is not None:
                    return found
        return None


def chain(count: int) -> list[int]:
    """Return *count* keys with different hashes; in a dict of `SIZE` slots most meet hundreds of those before.

    Half of them are a `Cycle`. The others look at slots in it only.
    """
    cycle = Cycle(count // 2)
    keys = dict.fromkeys(cycle.keys)
    while len(keys) < count:
        first = cycle.source.choice(cycle.keys)
        key = cycle.extended(first, 12, first, 1)
        if key is not None and key not in keys:
            keys[key] = None
            cycle.used.add(cycle.free_slot(key)[0])
    return list(keys)


@pytest.mark.skipif(sys.hash_info.width != 64, reason="the keys are for hashes of 64 bits")
def test_a_chain_is_refused() -> None:
    keys = chain(2000)
    assert len(set(map(hash, keys))) == len(keys)
    assert hashes.are_dear(keys, dict)
    assert not hashes.are_dear(keys[:1000], dict)
    with pytest.raises(codec.NotData, match="hashes meet in Python's tables"):
        codec.encode(dict.fromkeys(keys))
    raw = b"".join(codec.encode(key)[2:-1] + b"N" for key in keys)
    with pytest.raises(codec.Malformed, match="hashes meet in Python's tables"):
        codec.decode(b"\x80\x04}(" + raw + b"u.")
    fractional = b"".join(codec.encode(fractions.Fraction(key))[2:-1] + b"N" for key in keys)
    with pytest.raises(codec.Malformed, match="hashes meet in Python's tables"):
        codec.decode(b"\x80\x04}(" + fractional + b"u.")
    random.Random(2).shuffle(keys)
    codec.decode(codec.encode(keys))


@pytest.mark.parametrize("kind", [dict, set, frozenset])
def test_few_meetings_are_allowed(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [number / 1024 for number in range(2000)]  # the lower bits of their hashes are zero
    others = list(map(random.Random(1).getrandbits, [60] * 2000))
    assert not hashes.are_dear(keys, kind)
    monkeypatch.setattr(hashes, "_MEETINGS", 9)
    assert hashes.are_dear(keys, kind)
    assert not hashes.are_dear(others, kind)


_SOURCE = random.Random(3)
HONEST: dict[str, list[Any]] = {
    "integers": list(range(3000)),
    "integers in disorder": _SOURCE.sample(range(5000), 3000),
    "negative integers": list(range(-3000, 0)),
    "integers far apart": [_SOURCE.getrandbits(100) for _ in range(3000)],
    "multiples": [number << 32 for number in range(3000)],
    "powers of two": [2**number for number in range(2000)],
    "floats": [_SOURCE.random() for _ in range(3000)],
    "a grid": [number / 2**20 for number in range(3000)],
    "tenths": [number * 0.1 for number in range(3000)],
    "pairs": [(one, other) for one in range(60) for other in range(60)],
    "pairs of floats": [(one / 8, other / 8) for one in range(60) for other in range(60)],
    "complex": [complex(one / 16, other / 16) for one in range(60) for other in range(60)],
    "fractions": [fractions.Fraction(one, 97) for one in range(3000)],
    "decimals": [decimal.Decimal(number) / 100 for number in range(3000)],
    "UUIDs": [uuid.UUID(int=number << 64) for number in range(3000)],
    "frozensets": [frozenset((number, number + 1)) for number in range(3000)],
    "strings and integers": [*range(3000), *map(str, range(3000))],
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_keys(name: str) -> None:
    keys = HONEST[name]
    for value in (dict.fromkeys(keys), set(keys), frozenset(keys)):
        data = codec.encode(value)
        back = codec.decode(data)
        assert back == value
        assert codec.encode(back) == data
    assert list(codec.decode(codec.encode(dict.fromkeys(keys)))) == list(dict.fromkeys(keys))


def test_a_decimal_is_not_compared_with_an_endless_integer() -> None:
    number = 7 + 10**50_000 * sys.hash_info.modulus
    assert hash(number) == hash(decimal.Decimal(7))
    for members in ([number, decimal.Decimal(7)], [(number,), (decimal.Decimal(7),)]):
        raw = sorted(codec.encode(member)[2:-1] for member in members)
        started = time.process_time()
        with pytest.raises(codec.Malformed, match="hashes meet in Python's tables"):
            codec.decode(b"\x80\x04\x8f(" + b"".join(raw) + b"\x90.")
        assert time.process_time() - started < 1
    codec.decode(codec.encode({decimal.Decimal(7), number + 1, (number, 1), -1, -2}))
