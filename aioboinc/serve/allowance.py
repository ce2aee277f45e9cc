"""Limits how often somebody may do something: a number at once, and as many again in a period."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Allowance"]

_MAX_NAMES = 10_000
"""Number of names at which those that have their full allowance are forgotten."""


class Allowance:
    """An allowance of *count* for each name, which comes back evenly within *period* seconds."""

    def __init__(self, count: int, period: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._rate = count / period
        self._clock = clock
        self._max_names = _MAX_NAMES
        self._used: dict[str, tuple[float, float]] = {}
        """How much each name had used, and when."""

    def take(self, *names: str, amount: float = 1) -> float:
        """Take *amount* for each of *names*; return 0. If that is too much, return the seconds to wait.

        In that case nothing is taken.
        """
        now = self._clock()
        used = {name: self._left_over(name, now) for name in names}
        worst = max(used.values())
        if worst > self._count - amount:
            return (worst - self._count + amount) / self._rate
        self._used.update((name, (value + amount, now)) for name, value in used.items())
        if len(self._used) > self._max_names:
            self._used = {name: use for name, use in self._used.items() if self._left_over(name, now) > 0}
            self._max_names = max(_MAX_NAMES, 2 * len(self._used))
        return 0.0

    def used(self, name: str) -> float:
        """Return how much of its allowance *name* has used and not yet got back."""
        return self._left_over(name, self._clock())

    def _left_over(self, name: str, now: float) -> float:
        used, then = self._used.get(name, (0.0, now))
        return max(0.0, used - (now - then) * self._rate)
