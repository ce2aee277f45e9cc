"""Takers of outputs: queues of jobs that have outputs, which are taken group by group.

Outputs are read when they are taken, so those that nobody has asked for take no memory.
"""

from __future__ import annotations

import asyncio
import collections
from array import array
from collections.abc import Sequence
from typing import Protocol

from aioboinc.batch import outputs

__all__ = ["OrderedQueue", "Queue", "Source", "Taker"]


class Taker(Protocol):
    """Gets the outputs of the calls that name it."""

    def identified(self, number: int, order: int) -> None:
        """Note that its next call is the job *number*, and the run's call number *order*."""

    def announce(self, number: int) -> None:
        """Note that the output of the job *number* is there."""


class Source(Protocol):
    """Where outputs come from: `session.Session`."""

    async def load(self, numbers: Sequence[int]) -> tuple[list[outputs.Output], list[int]]:
        """Read some of the outputs *numbers*, from the first on; return them, and which ones are gone."""

    def lost(self, numbers: Sequence[int], taker: Taker) -> None:
        """Note that the outputs *numbers*, which *taker* waits for, are gone."""


class Queue:
    """Jobs in the order in which their outputs come."""

    def __init__(self) -> None:
        self.source: Source | None = None
        """Must be set before the first output is announced."""
        self._ready: collections.deque[int] = collections.deque()
        self._news = asyncio.Event()
        self._ended = False

    def identified(self, number: int, order: int) -> None:
        pass

    def announce(self, number: int) -> None:
        self._ready.append(number)
        self._news.set()

    def end(self) -> None:
        """Say that no more will come."""
        self._ended = True
        self._news.set()

    async def take(self) -> list[outputs.Output]:
        """Wait for outputs and return a group of them; an empty list at the end."""
        while True:
            numbers = self._next()
            if not numbers:
                if self._ended:
                    return []
                self._news.clear()
                await self._news.wait()
                continue
            assert self.source is not None
            group, gone = await self.source.load(numbers)
            self._remove(numbers[: len(group) + len(gone)])
            if gone:
                self._again(gone)
                self.source.lost(gone, self)
            if group:
                return group

    def _next(self) -> list[int]:
        """Return the numbers of the next jobs."""
        return [self._ready[place] for place in range(min(outputs.GROUP, len(self._ready)))]

    def _remove(self, numbers: Sequence[int]) -> None:
        for _ in numbers:
            self._ready.popleft()

    def _again(self, gone: Sequence[int]) -> None:
        """Wait again for outputs that somebody has removed."""


class OrderedQueue(Queue):
    """Jobs in the order of their calls."""

    def __init__(self) -> None:
        super().__init__()
        self._called = array("q")
        self._begin = 0
        self._there: set[int] = set()

    def identified(self, number: int, order: int) -> None:
        self._called.append(number)

    def announce(self, number: int) -> None:
        self._there.add(number)
        if self._begin < len(self._called) and self._called[self._begin] == number:
            self._news.set()

    def _next(self) -> list[int]:
        numbers = []
        for number in self._called[self._begin : self._begin + outputs.GROUP]:
            if number not in self._there:
                break
            numbers.append(number)
        return numbers

    def _remove(self, numbers: Sequence[int]) -> None:
        self._begin += len(numbers)
        self._there.difference_update(numbers)

    def _again(self, gone: Sequence[int]) -> None:
        self._called.extend(gone)  # their places in the order are past
