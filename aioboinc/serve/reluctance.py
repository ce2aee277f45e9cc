"""Jobs that seem too long for every host that has asked: they wait for a faster host, but not for ever."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

__all__ = ["PATIENCE", "Reluctance"]

PATIENCE = 600.0
"""Seconds for which a batch's jobs are kept for hosts that should be able to meet their deadline."""
_FORGOTTEN = 3600.0
"""Seconds without such a job after which a batch is treated like any other."""


class Reluctance:
    """Batches whose jobs nobody gets because of their size."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._batches: dict[int, tuple[float, float]] = {}
        """When jobs of each batch were passed over first and last."""

    def is_over(self, batch: int) -> bool:
        """Note that a job of *batch* seems too long for a host; tell whether the host may get it nevertheless."""
        now = self._clock()
        first, last = self._batches.get(batch, (now, now))
        if not 0 <= now - last < _FORGOTTEN:
            first = now
        self._batches[batch] = first, now
        return now - first >= PATIENCE

    def clear(self, batches: Iterable[int]) -> None:
        """Note that a host gets jobs of *batches* that it can finish in time."""
        for batch in batches:
            self._batches.pop(batch, None)

    @property
    def batches(self) -> Collection[int]:
        """Batches whose jobs go to hosts that may be too slow for them."""
        now = self._clock()
        return {
            batch
            for batch, (first, last) in self._batches.items()
            if now - first >= PATIENCE and 0 <= now - last < _FORGOTTEN
        }
