"""Learns from finished jobs how long jobs take, so that hosts get as much work as they ask for.

A host's own reports decide what this host gets. What others get depends on valid results: each host that has some has
one vote, and the median counts. Until some hosts have voted, the submitter's estimate counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aioboinc.serve.protocol import claims
from aioboinc.store import reports

__all__ = ["Durations", "Sizes"]

_SAMPLE = 500
"""Results of a batch to read, to learn about the batch."""
_FRESH = 60.0
"""Seconds after which they are read again."""
_MIN_VOTES = 3
"""Number of hosts that must have valid results: among fewer, one could decide alone."""
_MIN_WEIGHT = 0.05
"""Minimum weight of the newest run time in a mean."""
_MIN_SECONDS = 1.0
"""Minimum duration of a job: a client checks its jobs once a second."""
_MAX_BATCHES = 200
"""Number of batches to remember; others are in the database."""


@dataclass(slots=True)
class _Mean:
    """A mean that forgets old values."""

    value: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) * max(1 / self.count, _MIN_WEIGHT)


@dataclass(slots=True)
class _Batch:
    looked: float
    """When its valid results were read."""
    median: float | None = None
    """Floating-point operations of a job, as hosts count them; None before some hosts have voted."""
    seconds: dict[int, _Mean] = field(default_factory=dict)
    """Seconds that a job takes on each host, by its own reports."""


class Durations:
    """The size of the jobs of each batch."""

    def __init__(self, reports: reports.Reports, clock: Callable[[], float]) -> None:
        self._reports = reports
        self._clock = clock
        self._batches: dict[int, _Batch] = {}

    async def learn(self, batches: Iterable[int]) -> None:
        """Read what the database has about *batches*, unless that was done lately."""
        now = self._clock()
        for id in set(batches):
            batch = self._batches.get(id)
            if batch is not None and 0 <= now - batch.looked < _FRESH:
                continue
            if batch is not None:
                batch.looked = now
            valid = await self._reports.durations(id, _SAMPLE)
            batch = self._batch(id, now)
            batch.median = _median(valid)
            for hostid, seconds in _means((hostid, seconds) for hostid, seconds, _ in valid).items():
                batch.seconds.setdefault(hostid, seconds)

    def add(self, batch: int, hostid: int, seconds: float) -> None:
        """Note that a job of *batch* took *seconds* on a host, by its own report."""
        self._batch(batch, -_FRESH).seconds.setdefault(hostid, _Mean()).add(seconds)

    def on(self, hostid: int, flops: float) -> Sizes:
        """Return the sizes of jobs for a host of *flops*."""
        return Sizes(self, hostid, flops)

    def seconds(self, batch: int, hostid: int) -> float | None:
        """Return the seconds that a job of *batch* takes on a host, by its own reports; None if it has done none."""
        known = self._batches.get(batch)
        mean = known.seconds.get(hostid) if known is not None else None
        return mean.value if mean is not None else None

    def median(self, batch: int) -> float | None:
        """Return the operations of a job of *batch*, by hosts with valid results; None if unknown."""
        known = self._batches.get(batch)
        return known.median if known is not None else None

    def _batch(self, id: int, looked: float) -> _Batch:
        if id not in self._batches and len(self._batches) >= _MAX_BATCHES:
            del self._batches[next(iter(self._batches))]
        return self._batches.setdefault(id, _Batch(looked))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of jobs for one host, in floating-point operations as it counts them."""

    _durations: Durations
    _hostid: int
    flops: float
    """Operations a second on one core, as the host claims."""

    def operations(self, batch: int, estimate: float) -> float:
        """Return the size of a job of *batch*, for which the submitter has given an *estimate*."""
        size = self._own(batch)
        if size is None:
            size = self._durations.median(batch)
        return max(estimate if size is None else size, _MIN_SECONDS * self.flops)

    def least(self, batch: int, estimate: float) -> float:
        """Return the smallest size that the job may have by any estimate, unless the host itself knows its size."""
        size = self._own(batch)
        if size is None:
            size = min(estimate, self._durations.median(batch) or estimate)
        return max(size, _MIN_SECONDS * self.flops)

    def _own(self, batch: int) -> float | None:
        seconds = self._durations.seconds(batch, self._hostid)
        return None if seconds is None else seconds * self.flops


def _means(values: Iterable[tuple[int, float]]) -> dict[int, _Mean]:
    means: dict[int, _Mean] = {}
    for hostid, value in values:
        means.setdefault(hostid, _Mean()).add(value)
    return means


def _median(valid: Iterable[tuple[int, float, float]]) -> float | None:
    """Return the median over hosts of their mean operations; None if they are too few."""
    votes = _means((hostid, seconds * claims.flops(flops)) for hostid, seconds, flops in valid)
    return statistics.median_low(vote.value for vote in votes.values()) if len(votes) >= _MIN_VOTES else None
