"""How long jobs take: what is learned from the ones that are over, so that hosts get as many as they ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aioboinc.store import dispatch

__all__ = ["Durations"]

_SAMPLE = 500
"""Results of a batch that are looked at to learn about it."""
_LEAST_WEIGHT = 0.05
"""Of the newest run time in the mean."""
_LEAST_SECONDS = 1.0
"""What a job takes at least: a client looks after its jobs once a second."""


@dataclass(slots=True)
class _Mean:
    """A mean that forgets."""

    value: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) * max(1 / self.count, _LEAST_WEIGHT)


class Durations:
    """The size of the jobs of each batch, in floating-point operations as hosts count them."""

    def __init__(self, dispatch: dispatch.Dispatch) -> None:
        self._dispatch = dispatch
        self._means: dict[int, _Mean] = {}

    async def learn(self, batches: Iterable[int]) -> None:
        """Look at what the database has about batches that are not known yet."""
        for batch in set(batches) - self._means.keys():
            mean = self._means.setdefault(batch, _Mean())
            for seconds, flops in await self._dispatch.durations(batch, _SAMPLE):
                mean.add(seconds * flops)

    def add(self, batch: int, seconds: float, flops: float) -> None:
        """Note that a job of *batch* has taken *seconds* on a host of *flops*."""
        self._means.setdefault(batch, _Mean()).add(seconds * flops)

    def operations(self, batch: int, estimate: float, flops: float) -> float:
        """Return the size of a job of *batch*: what its like had, or the *estimate* of the one who submitted it.

        On a host of *flops* it is not less than what that does in a second.
        """
        mean = self._means.get(batch)
        return max(mean.value if mean is not None and mean.count else estimate, _LEAST_SECONDS * flops)
