"""How many calls share a workunit: as many as the caller says, or as suit the times that calls have taken so far."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aioboinc.store import jobs

__all__ = ["ELSEWHERE", "HERE", "Aim", "Sizes"]

_PROBES = 64
"""Calls of a program that get workunits of their own, to find out how long they take."""
_KEPT = 32
"""Workunits whose times count, the last ones."""
_MAX_BYTES = 1 << 20
"""Bytes of inputs that share a workunit."""
_MIN_SECONDS = 1e-6
_SHARES = 2
"""Workunits for each core, at least, that calls which come together are made into."""


@dataclass(frozen=True)
class Aim:
    """What is aimed at where nobody says how many calls share a workunit."""

    seconds: float
    """Time that a workunit should take. One stops, with the calls done by then, when it has taken twice as long."""
    patience: float | None
    """Seconds to wait, while there is work, for the times of the first calls; None: as long as there is work."""
    blind: int
    """Calls that share a workunit if none has come back by then."""
    start: float
    """Seconds that the start of a process may take."""
    ahead: float
    """Seconds of work for all cores that are submitted before the times of what is done tell how to go on."""


HERE = Aim(seconds=0.5, patience=None, blind=1, start=0.02, ahead=2.0)
"""On this machine a job begins at once, and no job is done while the master doesn't run."""
ELSEWHERE = Aim(seconds=300.0, patience=10.0, blind=16, start=2.0, ahead=math.inf)
"""On other hosts a job takes a request, downloads and a process first."""


class Sizes:
    """Says into workunits of which sizes calls go, on *cores* of this machine, or None: nobody knows how many.

    *unfinished* returns how many calls are in the project and have no output.
    """

    def __init__(self, aim: Aim, cores: int | None, unfinished: Callable[[], int] = lambda: 0) -> None:
        self.aim = aim
        self._cores = cores or 4
        self._unfinished = unfinished
        self._probes: collections.Counter[bytes] = collections.Counter()
        self._times: dict[bytes, collections.deque[tuple[int, float]]] = {}
        self._news = asyncio.Event()
        self._waited: set[bytes] = set()
        self._is_flushed = False

    @property
    def limit(self) -> float:
        """Seconds after which a workunit of a size that was found out stops."""
        return 2 * self.aim.seconds

    @property
    def wants_times(self) -> bool:
        """Whether there are calls whose times would tell something."""
        return bool(self._probes)

    def learn(self, program: bytes, ncalls: int, seconds: float) -> None:
        """Take note that *ncalls* calls of *program* have taken *seconds*, the start of a process included."""
        times = self._times.setdefault(program, collections.deque(maxlen=_KEPT))
        times.append((ncalls, seconds))
        self._news.set()

    def flush(self) -> None:
        """Wait for no times any more."""
        self._is_flushed = True
        self._news.set()

    def tell(self) -> None:
        """Take note that calls are done."""
        self._news.set()

    async def ready(self, calls: Sequence[jobs.Call]) -> None:
        """Wait, but not long, until it is known how many of *calls* should share a workunit."""
        for program in dict.fromkeys(call.kind.program for call in calls if call.kind.chunk == jobs.AUTO):
            if self._probes[program] >= _PROBES and program not in self._waited:
                self._waited.add(program)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.aim.patience):
                        while self._has_to_wait(program):
                            await self._next()
            while program in self._times and self._is_enough(program):
                await self._next()

    def _has_to_wait(self, program: bytes) -> bool:
        """Tell whether the times of its first calls are missing, and there is work until they come."""
        return program not in self._times and not self._is_flushed and self._unfinished() >= self._cores

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _is_enough(self, program: bytes) -> bool:
        """Tell whether there is work for a while."""
        return not self._is_flushed and self._unfinished() * self._seconds(program) > self._cores * self.aim.ahead

    def _seconds(self, program: bytes) -> float:
        """Return how long a call of *program* takes, as far as is known, without the start of its process."""
        times = self._times[program]
        start = min(self.aim.start, *(seconds for _, seconds in times))
        return sum(seconds - start for _, seconds in times) / sum(ncalls for ncalls, _ in times)

    def counts(self, calls: Sequence[jobs.Call]) -> list[int]:
        """Return the sizes of the workunits that *calls* go into, one after the other."""
        counts: list[int] = []
        for kind, group in itertools.groupby(calls, key=operator.attrgetter("kind")):
            alike = list(group)
            counts += _portions([len(call.input) for call in alike], self._size(kind, len(alike)))
        return counts

    def _size(self, kind: jobs.Kind, together: int) -> int:
        if kind.chunk != jobs.AUTO:
            return kind.chunk
        if kind.program not in self._times:
            probing = self._probes[kind.program] < _PROBES
            self._probes[kind.program] += together
            return 1 if probing else self.aim.blind
        size = int(self.aim.seconds / max(self._seconds(kind.program), _MIN_SECONDS))
        return max(1, min(size, -(-together // (_SHARES * self._cores))))


def _portions(nbytes: Iterable[int], size: int) -> list[int]:
    """Return how many inputs of *nbytes* go together: *size* at most, and no more than `_MAX_BYTES`."""
    portions: list[int] = []
    count = total = 0
    for one in nbytes:
        if count and (count == size or total + one > _MAX_BYTES):
            portions.append(count)
            count = total = 0
        count += 1
        total += one
    return [*portions, count] if count else portions
