"""A bounded channel of calls: one end sends them, one by one, the other takes them, chunk by chunk.

Calls wait until a chunk of them is taken: a whole one, or whatever has come together as soon as those before are
written. So the first call goes at once, and a flood goes in large transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

from aioboinc.store import jobs

__all__ = ["CHUNK_CALLS", "FIRST_CHUNK_CALLS", "MAX_BYTES", "Closed", "Receiver", "Sender", "open"]

MAX_BYTES = 16 << 20
"""Bytes of encoded inputs above which senders wait; one larger input passes alone."""
FIRST_CHUNK_CALLS = 64
"""Calls in the first chunk at most: hosts wait for them. Each that follows may have twice as many."""
CHUNK_CALLS = 2048
"""Calls in any chunk at most. Senders wait while there are two chunks, if they care to wait."""
_YIELD_INTERVAL = 0.0002
"""Seconds after which a sender that waits for nothing lets the event loop run: the database's answers need that."""


class Closed(Exception):
    """The receiving end is closed: nobody will take calls any more."""


def open() -> tuple[Sender, Receiver]:
    """Return the two ends of a channel. The receiving end belongs to the running event loop."""
    channel = _Channel()
    return Sender(channel), Receiver(channel)


class _Channel:
    """What both ends share."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.calls: list[jobs.Call] = []
        self.nbytes = 0
        self.sent = 0
        self.limit = FIRST_CHUNK_CALLS
        """Calls in the next chunk at most."""
        self.wanted = 1
        """Calls for which the receiver waits."""
        self.held = False
        """The receiver wants no calls for the moment."""
        self.made = False
        """No more calls are expected before there are results."""
        self.ended = False
        """No more calls will come."""
        self.closed = False
        """Nobody takes calls any more."""
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def is_full(self) -> bool:
        return self.held or len(self.calls) >= 2 * self.limit or self.nbytes >= MAX_BYTES

    @property
    def is_whole(self) -> bool:
        """There is a whole chunk, or the last one."""
        return self.ended or len(self.calls) >= self.limit or self.nbytes >= MAX_BYTES

    def notify_receiver(self) -> None:
        """Wake the receiver, from whichever thread."""
        if self.readable.is_set():
            return
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self.readable.set()
        else:
            self._loop.call_soon_threadsafe(self.readable.set)

    def notify_senders(self) -> None:
        """Wake the senders, on the event loop."""
        with self.condition:
            self.condition.notify_all()
        self.writable.set()

    def close(self) -> None:
        """Drop the calls that wait, and release whoever waits."""
        with self.condition:
            self.closed = self.ended = True
            self.calls.clear()
        self.readable.set()
        self.notify_senders()


class Sender:
    """The end that calls are sent from: the event loop or one thread."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._next_yield = 0.0

    def send(self, call: jobs.Call) -> None:
        """Put *call* at the end, whether there is room or not; does not block. Raises `Closed`."""
        channel = self._channel
        with channel.condition:
            if channel.closed:
                raise Closed
            channel.calls.append(call)
            channel.nbytes += len(call.input)
            channel.sent += 1
        if len(channel.calls) >= channel.wanted or channel.nbytes >= MAX_BYTES:
            channel.notify_receiver()

    @property
    def sent(self) -> int:
        """Number of calls so far."""
        return self._channel.sent

    def block(self) -> None:
        """Wait until there is room; for a thread."""
        channel = self._channel
        with channel.condition:
            channel.condition.wait_for(lambda: channel.closed or not channel.is_full)

    def has_room(self) -> bool:
        """Tell whether `room` has nothing to wait for now."""
        return time.monotonic() < self._next_yield and not self._channel.is_full

    async def room(self) -> None:
        """Wait until there is room; let others run now and then."""
        channel = self._channel
        while channel.is_full and not channel.closed:
            channel.writable.clear()
            await channel.writable.wait()
            self._next_yield = time.monotonic() + _YIELD_INTERVAL
        if time.monotonic() >= self._next_yield:
            await asyncio.sleep(0)
            self._next_yield = time.monotonic() + _YIELD_INTERVAL

    def all_made(self) -> None:
        """Say that no more calls are expected, unless results make some."""
        self._channel.made = True
        self._channel.notify_receiver()

    def end(self) -> None:
        """Say that no more calls will come."""
        self._channel.ended = True
        self._channel.notify_receiver()

    def abort(self) -> None:
        """Drop what was sent and not taken, and say that no more will come."""
        self._channel.close()


class Receiver:
    """The end that calls are taken from."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    async def ready(self) -> bool:
        """Wait until there is a call, or the end; tell whether there is a call."""
        while not (self._channel.calls or self._channel.ended):
            await self._wait(1)
        return bool(self._channel.calls)

    async def take(self, idle: asyncio.Event, *, without_results: bool = False) -> list[jobs.Call]:
        """Remove and return the next calls: a whole chunk, or what there is while *idle* is set; none at the end.

        *without_results* says that there are none before these calls are taken: those that may depend on some never
        come. Is cancelled when the channel has been closed.
        """
        channel = self._channel
        while not (channel.is_whole or (channel.calls and idle.is_set()) or (without_results and channel.made)):
            await self._wait(1 if idle.is_set() else channel.limit, idle)
        if channel.closed:  # not the end: what there was is not all
            raise asyncio.CancelledError("the master has stopped")
        with channel.condition:
            chunk = channel.calls[: channel.limit]
            del channel.calls[: channel.limit]
            channel.limit = min(2 * channel.limit, CHUNK_CALLS)
            channel.nbytes -= sum(len(call.input) for call in chunk)
        channel.notify_senders()
        return chunk

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have no room meanwhile, so that senders wait."""
        self._channel.held = True
        try:
            yield
        finally:
            self._channel.held = False
            self._channel.notify_senders()

    def close(self) -> None:
        """Take no more calls."""
        self._channel.close()

    async def _wait(self, wanted: int, idle: asyncio.Event | None = None) -> None:
        """Wait until there may be *wanted* calls, a whole chunk or the end, or until *idle* is set if it was not."""
        channel = self._channel
        channel.wanted = wanted
        channel.readable.clear()
        if channel.is_whole or len(channel.calls) >= wanted:
            return
        if idle is None or idle.is_set():
            await channel.readable.wait()
            return
        waiters = [asyncio.ensure_future(event.wait()) for event in (channel.readable, idle)]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
