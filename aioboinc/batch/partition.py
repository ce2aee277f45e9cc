"""Which workunit each call of a batch is in: a workunit runs one call, or several with numbers in a row."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aioboinc.wire import names

__all__ = ["MAX_CALLS", "Partition", "Workunit"]

MAX_CALLS = 2048
"""Calls of a workunit at most: as many as are committed together."""


class Workunit(NamedTuple):
    """A workunit, by the calls that it was made for. Some of them may be in another one by now."""

    first: int
    """Number of its first call."""
    ncalls: int
    """Number of its calls."""

    def name(self, batch: int) -> str:
        """Return its name in the project, which those of its files begin with."""
        return names.Calls(batch, self.first, self.ncalls).name


class Partition:
    """The workunits of a batch's calls. For each call there are eight bytes."""

    def __init__(self) -> None:
        self.nworkunits = 0
        """Workunits made so far, those that were divided included."""
        self._first = array("I")
        self._count = array("I")
        self._made: dict[int, int] = {}
        """Workunits made of the calls of a chunk, by its first one, where not each call has its own."""

    def __len__(self) -> int:
        return len(self._first)

    def extend(self, counts: Sequence[int]) -> list[Workunit]:
        """Put the calls of the next chunk into workunits of so many each."""
        first = len(self)
        workunits = []
        for count in counts:
            workunits.append(Workunit(len(self), count))
            self._first.extend(itertools.repeat(len(self), count))
            self._count.extend(itertools.repeat(count, count))
        if len(self) - first > len(counts):
            self._made[first] = len(counts)
        self.nworkunits += len(counts)
        return workunits

    def move(self, first: int, count: int, chunk: int) -> Workunit:
        """Put *count* calls from *first* on, which were in a larger workunit, into one of their own.

        *chunk* is the first call of the chunk that they are in.
        """
        self._first[first : first + count] = array("I", itertools.repeat(first, count))
        self._count[first : first + count] = array("I", itertools.repeat(count, count))
        self._made[chunk] += 1
        self.nworkunits += 1
        return Workunit(first, count)

    def of(self, number: int) -> Workunit:
        """Return the workunit that the call *number* is in."""
        return Workunit(self._first[number], self._count[number])

    def workunits(self, numbers: Iterable[int]) -> list[Workunit]:
        """Return the workunits that calls are in, each once."""
        return list(dict.fromkeys(map(self.of, numbers)))

    def calls(self, workunit: Workunit) -> list[int]:
        """Return the calls that are in *workunit*, and in no other one by now."""
        first, count = workunit
        if first + count > len(self):
            return []
        pairs = zip(self._first[first : first + count], self._count[first : first + count], strict=True)
        return [number for number, pair in enumerate(pairs, first) if pair == workunit]

    def described(self, first: int, end: int) -> dict[str, Any]:
        """Return, for JSON, the workunits of a chunk of calls; nothing where each has its own.

        They are rows of numbers: calls in a row that are in the same one, where that begins, counted from *first*, and
        how many calls it was made for; and how often this is repeated.
        """
        if first not in self._made:
            return {}
        rows: list[list[int]] = []
        for (start, count), group in itertools.groupby(
            zip(self._first[first:end], self._count[first:end], strict=True)
        ):
            calls, place = len(list(group)), start - first
            last = rows[-1] if rows else None
            if last and calls == count and last[0] == last[2] == count and place == last[1] + count * last[3]:
                last[3] += 1
            else:
                rows.append([calls, place, count, 1])
        return {"workunits": rows, "made": self._made[first]}

    def load(self, described: Mapping[str, Any], first: int, ncalls: int) -> None:
        """Take in a chunk of *ncalls* calls as they were `described`.

        Raises ValueError or TypeError if that can't be.
        """
        firsts, counts, made = (
            array("I", range(first, first + ncalls)),
            array("I", itertools.repeat(1, ncalls)),
            ncalls,
        )
        if "workunits" in described:
            firsts, counts = _loaded(described["workunits"], first, ncalls)
            made = self._made[first] = described["made"]
        if len(firsts) != ncalls or first != len(self) or made < 1:
            raise ValueError
        self._first += firsts
        self._count += counts
        self.nworkunits += made


def _loaded(rows: Any, first: int, ncalls: int) -> tuple[array[int], array[int]]:
    firsts, counts = array("I"), array("I")
    for calls, place, count, repeat in rows:
        for begin in range(place, place + calls * repeat, calls):
            if len(firsts) + calls > ncalls or not (
                begin <= len(firsts) and len(firsts) + calls <= begin + count and count <= MAX_CALLS
            ):
                raise ValueError
            firsts.extend(itertools.repeat(first + begin, calls))
            counts.extend(itertools.repeat(count, calls))
    return firsts, counts
