"""The clock of an embedded project: it never goes back, and fits BOINC's columns, whatever the machine's clock says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

__all__ = ["MAX", "MIN", "Clock"]

MIN, MAX = 1_600_000_000, 2_100_000_000
"""Range, in seconds since 1970, of a clock to believe. `models.NEVER`, the columns' maximum, must stay ahead."""


class Clock:
    """Starts at the seconds since 1970, and then counts elapsed time.

    Only this machine uses it. The file *descriptor* keeps the time for the next run, as its modification time: what was
    due then must be due at once, even if the machine's clock was set back meanwhile.
    """

    def __init__(
        self,
        descriptor: int,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._monotonic = monotonic
        last = os.fstat(descriptor).st_mtime
        self._start = max(_believable(wall()), _believable(last) + 1) - monotonic()

    def __call__(self) -> float:
        """Return the time."""
        return min(self._start + self._monotonic(), MAX + (1 << 25))

    def keep(self) -> None:
        """Keep the time for the next run. Raises OSError."""
        os.utime(self._descriptor, (self(), self()))


def _believable(seconds: float) -> float:
    return min(max(seconds, MIN), MAX)
