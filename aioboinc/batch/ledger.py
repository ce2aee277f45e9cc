"""The calls of a batch: which job each one is, by its key, and which of them this run has made.

A batch is a set of calls. A call is the same job as one of an earlier run if it has the same program and input, and as
many equal calls came before it, whatever the order of others. While a run makes the calls in their old order, comparing
keys is enough; at the first call that is out of order, an index is made.

There may be millions of calls; each takes some 40 bytes.
"""

from __future__ import annotations

import bisect
import itertools
import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aioboinc.batch import keys, partition
from aioboinc.store import calls as stored
from aioboinc.store import jobs
from aioboinc.store.calls import KEY_SIZE

__all__ = ["VERSION", "Ledger", "Note", "Unindexed"]

VERSION = 2
"""Version of the format of a batch's rows and files; 2 is the first with keys."""

_NO_KEY = bytes(KEY_SIZE)
_NOT_CALLED = -1
_INDEXED = 4096
"""Calls to index in one step: some milliseconds."""


class Unindexed(Exception):
    """The calls are not in their old order: `Ledger.make_index` must finish before one can be found."""


@dataclass(frozen=True)
class Note:
    """What the ledger notes of calls besides their keys."""

    name: str
    """Name of the slave or function, as in the call."""
    program: str
    """The program's part of the key, in hexadecimal."""
    options: tuple[tuple[str, int | float], ...]
    """The options that the call names, sorted."""
    block: int
    """How many batches the process had begun in this directory before the one that made the call."""
    late: bool
    """Whether the call may depend on results."""


class Ledger:
    """The calls of one batch, by the numbers of their jobs."""

    def __init__(self, block: int = 0, *, keep_results: Callable[[int], bool] | None = None) -> None:
        """Begin without calls. *keep_results* tells whether a job has an output to keep when the program changes."""
        self.block = block
        self.firsts: list[int] = []
        """Number of the first call of each chunk."""
        self._gathers = False
        """The last chunk is not complete: new calls go into it."""
        self._keep_results = keep_results
        self._keys = bytearray()
        self._index: keys.Index | None = None
        self._making: keys.Index | None = None
        """The index while it is being made."""
        self._notes: list[Note] = []
        self._places: dict[Note, int] = {}
        self._note_of = array("I")
        self._order = array("i")
        """For each number, how many calls of this run came before its call."""
        self._next = 0
        """Number of the next call in the old order."""
        self._repeats: dict[bytes, int] = {}
        """How often each call was made, by the key of the first one; only if more than once."""
        self._kinds: dict[tuple[jobs.Kind, bool], int] = {}
        """Places of the notes of this run's calls."""
        self.partition = partition.Partition()
        """The workunits that the calls are in. Of those added last that is said later."""
        self._uncalled = 0
        self.ncalls = 0
        """Number of calls in this run."""

    def __len__(self) -> int:
        return len(self._note_of)

    def load(self, chunk: stored.Chunk) -> None:
        """Take in calls of earlier runs.

        Raises ValueError, LookupError, TypeError or AttributeError if they are damaged, or not the next ones.
        """
        count = len(chunk.keys) // KEY_SIZE
        described = json.loads(chunk.kinds)
        places = [self._place(_note(kind)) for kind in described["kinds"]]
        runs = [(number, places[kind]) for number, kind in described["runs"]]
        self.partition.load(described, chunk.first, count)
        is_whole = chunk.first == len(self) and all(number > 0 for number, _ in runs)
        if not is_whole or sum(number for number, _ in runs) != count:
            raise ValueError
        self.firsts.append(chunk.first)
        self._keys += chunk.keys
        for number, place in runs:
            self._note_of.extend([place] * number)
        self._order.extend([_NOT_CALLED] * count)

    def find(self, call: jobs.Call) -> tuple[int, bytes]:
        """Return the number of the job that *call* is, or -1 if it is new and must be added, and its key.

        Raises `Unindexed` if that takes an index of many calls.
        """
        if self._index is None:
            key, number = call.key, self._next
            if number < len(self._note_of):
                if self._keys.startswith(key, KEY_SIZE * number):
                    self._next += 1
                    return self._called(number), key
                repeat = self._repeats.get(key, 1)
                key = keys.repeated(key, repeat)
                if self._keys.startswith(key, KEY_SIZE * number):
                    self._repeats[call.key] = repeat + 1
                    self._next += 1
                    return self._called(number), key
            if not self.make_index():
                raise Unindexed
        assert self._index is not None
        return self._search(self._index, call)

    def make_index(self, limit: int = _INDEXED) -> bool:
        """Index up to *limit* more calls; return whether all are indexed."""
        if self._making is None:
            self._making = keys.Index(self._keys)
        if self._making.catch_up(limit):
            self._index = self._making
        return self._index is not None

    def _search(self, index: keys.Index, call: jobs.Call) -> tuple[int, bytes]:
        repeat = self._repeats.get(call.key, 0)
        while True:
            key = keys.repeated(call.key, repeat)
            number = index.find(key)
            if number < 0 or self._order[number] == _NOT_CALLED:
                break
            repeat += 1
        if repeat:
            self._repeats[call.key] = repeat + 1
        if self._keep_results is not None and (number < 0 or not self._keep_results(number)):
            kept = self._kept(index, call, repeat)
            if kept >= 0:
                number = kept
                self._repeats[call.key] = repeat + 1  # the call's own key would not find it
        return (number if number < 0 else self._called(number)), key

    def _kept(self, index: keys.Index, call: jobs.Call, repeat: int) -> int:
        """Return the number of the same call of an earlier version of the program, -1 if none has an output."""
        assert self._keep_results is not None
        own = call.kind.program.hex()
        programs = dict.fromkeys(
            note.program for note in reversed(self._notes) if note.name == call.kind.name and note.program != own
        )
        for program in programs:
            key = keys.repeated(keys.first(bytes.fromhex(program), call.input_sha256), repeat)
            number = index.find(key)
            if number >= 0 and self._order[number] == _NOT_CALLED and self._keep_results(number):
                return number
        return -1

    def add(self, call: jobs.Call, key: bytes) -> int:
        """Take in a new call with this *key*; return its number."""
        assert self._index is not None
        number = len(self)
        if not self._gathers:
            self.firsts.append(number)
            self._gathers = True
        self._index.add(key)
        self._note_of.append(self._noted(call))
        self._order.append(_NOT_CALLED)
        return self._called(number)

    def chunk(self) -> stored.Chunk:
        """Return the calls added since the last chunk, at least one, which are committed together.

        Those that are in no workunit yet get one each.
        """
        assert self._gathers
        self._gathers = False
        if len(self.partition) < len(self):
            self.partition.extend([1] * (len(self) - len(self.partition)))
        return self._chunk(self.firsts[-1], len(self))

    def chunks(self, numbers: Sequence[int]) -> list[stored.Chunk]:
        """Return the chunks that contain the calls *numbers*."""
        bounds = [*self.firsts, len(self)]
        places = sorted({bisect.bisect_right(self.firsts, number) - 1 for number in numbers})
        return [self._chunk(bounds[place], bounds[place + 1]) for place in places]

    def first_of_chunk(self, number: int) -> int:
        """Return the first call of those that were committed together with the call *number*."""
        return self.firsts[bisect.bisect_right(self.firsts, number) - 1]

    def options_differ(self, number: int, kind: jobs.Kind) -> bool:
        """Tell whether the job *number* asks for other options than calls of *kind* do."""
        return self._notes[self._note_of[number]].options != _options(kind)

    def set_options(self, numbers: Sequence[int], kind: jobs.Kind) -> None:
        """Note that the jobs *numbers* ask for the options of *kind*."""
        for number in numbers:
            note = self._notes[self._note_of[number]]
            self._note_of[number] = self._place(
                Note(note.name, note.program, _options(kind), note.block, note.late)
            )

    def forget(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Forget the keys of the jobs *numbers*, so that no call finds them; return these keys."""
        keys_of = {number: bytes(self._keys[KEY_SIZE * number : KEY_SIZE * (number + 1)]) for number in numbers}
        for number in numbers:
            self._keys[KEY_SIZE * number : KEY_SIZE * (number + 1)] = _NO_KEY
        return keys_of

    def restore(self, keys_of: Mapping[int, bytes]) -> None:
        """Undo `forget`, except for jobs whose calls were made in the meantime."""
        index = self._index or self._making
        for number, key in keys_of.items():
            if index is None or index.find(key) < 0:
                self._keys[KEY_SIZE * number : KEY_SIZE * (number + 1)] = key
                if index is not None:
                    index.put(number)

    def uncall(self, number: int) -> None:
        """Take back the call of the job *number*."""
        self._order[number] = _NOT_CALLED
        self._uncalled += 1

    def is_called(self, number: int) -> bool:
        """Tell whether this run has made the call of the job *number*."""
        return number < len(self._order) and self._order[number] != _NOT_CALLED

    def program(self, number: int) -> str:
        """Return the identity of the program of the job *number*, in hexadecimal."""
        return self._notes[self._note_of[number]].program

    def order(self, number: int) -> int:
        """Return how many calls of this run came before that of the job *number*."""
        return self._order[number]

    def not_called(self) -> Iterator[int]:
        """Yield the numbers of jobs that this run could have called by now and has not.

        Jobs of batches that the process begins later in the same directory don't count.
        """
        if self.ncalls - self._uncalled == len(self):
            return
        keys_of = memoryview(bytes(self._keys))
        for number, order in enumerate(self._order):
            if (
                order == _NOT_CALLED
                and self._notes[self._note_of[number]].block <= self.block
                and keys_of[KEY_SIZE * number : KEY_SIZE * (number + 1)] != _NO_KEY
            ):
                yield number

    @property
    def has_late_calls(self) -> bool:
        """Whether any call, of this run or an earlier one, may have depended on results."""
        return any(note.late and note.block <= self.block for note in self._notes)

    def _called(self, number: int) -> int:
        self._order[number] = self.ncalls
        self.ncalls += 1
        return number

    def _noted(self, call: jobs.Call) -> int:
        """Return the place of the note of calls like *call*."""
        kind, late = call.kind, call.late
        place = self._kinds.get((kind, late))
        if place is None:
            if len(self._kinds) >= jobs.MAX_KINDS:
                self._kinds.clear()
            note = Note(kind.name, kind.program.hex(), _options(kind), self.block, late)
            place = self._kinds[kind, late] = self._place(note)
        return place

    def _place(self, note: Note) -> int:
        place = self._places.get(note)
        if place is None:
            place = self._places[note] = len(self._notes)
            self._notes.append(note)
        return place

    def _chunk(self, first: int, end: int) -> stored.Chunk:
        runs = [(len(list(group)), place) for place, group in itertools.groupby(self._note_of[first:end])]
        places = {place: index for index, place in enumerate(dict.fromkeys(place for _, place in runs))}
        kinds = [_described(self._notes[place]) for place in places]
        described: dict[str, Any] = {"kinds": kinds, "runs": [[count, places[place]] for count, place in runs]}
        described |= self.partition.described(first, end)
        text = json.dumps(described, separators=(",", ":"))
        return stored.Chunk(first, bytes(self._keys[KEY_SIZE * first : KEY_SIZE * end]), text)


def _options(kind: jobs.Kind) -> tuple[tuple[str, int | float], ...]:
    return tuple(sorted(kind.named.items()))


def _described(note: Note) -> dict[str, Any]:
    return {
        "name": note.name,
        "program": note.program,
        "options": dict(note.options),
        "block": note.block,
        "late": note.late,
    }


def _note(described: Mapping[str, Any]) -> Note:
    return Note(
        described["name"],
        described["program"],
        tuple(sorted(described["options"].items())),
        described["block"],
        described["late"],
    )
