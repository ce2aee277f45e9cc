"""The loop around a pass: work while there is some, back off while there is none, stop when told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Backoff", "Pace", "run", "wait"]


class Backoff:
    """Delays that grow exponentially, with jitter, from *first* to *longest* seconds.

    ``next()`` returns the delay before the next attempt, ``reset()`` starts over. Each delay is drawn
    uniformly from the upper half of its step, so that many pollers do not fall into step
    ("Exponential Backoff And Jitter", M. Brooker, AWS Architecture Blog, 2015).
    """

    def __init__(
        self,
        first: float = 0.010,
        longest: float = 5.0,
        *,
        factor: float = 2.0,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._longest = longest
        self._factor = factor
        self._jitter = jitter
        self._step = first

    def next(self) -> float:
        step = self._step
        self._step = min(step * self._factor, self._longest)
        return self._jitter(step / 2, step)

    def reset(self) -> None:
        self._step = self._first


@dataclass(frozen=True)
class Pace:
    """Spaces passes so that work is batched: a pass costs much the same for one job and for a hundred."""

    shortest: float = 0.010
    """Minimum seconds of rest after a pass."""
    longest: float = 0.100
    """Maximum seconds of rest."""
    share: float = 3.0
    """Rest in proportion to the time that the pass took: 3 leaves three quarters to others."""

    def rest(self, taken: float) -> float:
        """Return the rest after a pass that took *taken* seconds."""
        return min(max(self.shortest, self.share * taken), self.longest)


async def wait(delay: float, *events: asyncio.Event) -> None:
    """Return after *delay* seconds, or as soon as one of *events* is set."""
    if any(event.is_set() for event in events):
        return
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        if waiters:
            await asyncio.wait(waiters, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(delay)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def run(
    one_pass: Callable[[], Awaitable[int]],
    *,
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
    backoff: Backoff | None = None,
    pace: Pace | None = None,
) -> None:
    """Call *one_pass* until *stop* is set.

    A pass returns how much it did. After a pass that did nothing the loop waits, longer each time, until the
    delay is over or *wake* is set (it is cleared before the next pass). With a *pace*, passes are spaced, however much
    there is to do. Errors of a pass propagate.
    """
    backoff = backoff or Backoff()
    wake = wake or asyncio.Event()
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        wake.clear()
        begun = loop.time()
        did = await one_pass()
        if pace is not None:
            await wait(pace.rest(loop.time() - begun), stop)
        if did:
            backoff.reset()
        else:
            await wait(backoff.next(), stop, wake)
            if wake.is_set():
                backoff.reset()
