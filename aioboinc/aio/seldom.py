"""Log lines about what may happen again and again: one of each kind a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["Seldom"]


class Seldom:
    """Writes one line of each kind in *interval* seconds to *log*; the next one says how many were left out."""

    def __init__(
        self, log: logging.Logger, interval: float = 60.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._interval = interval
        self._clock = clock
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, level: int, line: str, *args: object) -> None:
        """Write *line*, formatted with *args*, unless a line with the same format was written just now."""
        now = self._clock()
        if now < self._next.get(line, now):
            self._left_out[line] = self._left_out.get(line, 0) + 1
            return
        self._next[line] = now + self._interval
        count = self._left_out.pop(line, 0)
        self._log.log(level, line + (f" (and {count} more like it)" if count else ""), *args)
