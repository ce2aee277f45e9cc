"""A bounded channel of calls: one end sends them one by one, the other takes them chunk by chunk.

The receiver takes a whole chunk, or whatever is there once all calls before are written. So the first call goes at
once, and many calls go in large transactions.
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
"""Bytes of encoded inputs at which senders wait; a larger input passes alone."""
FIRST_CHUNK_CALLS = 64
"""Maximum of calls in the first chunk, which hosts wait for. Each following chunk may have twice as many."""
CHUNK_CALLS = 2048
"""Maximum of calls in any chunk. Senders that await room wait while two chunks are queued."""
_YIELD_INTERVAL = 0.0002
"""Seconds after which a sender yields to the event loop even if there is room: the database's answers need that."""


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
        """Maximum of calls in the next chunk."""
        self.wanted = 1
        """Number of calls that the receiver waits for."""
        self.held = False
        """The receiver makes senders wait for the moment."""
        self.made = False
        """No more calls are expected before there are results."""
        self.ended = False
        """No more calls will come."""
        self.closed = False
        """Nobody takes calls any more."""
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()
        self._waking = False
        """The loop has been told that there is something to receive, and has not seen it yet."""
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
        if self._waking or self.readable.is_set():
            return
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self.readable.set()
        else:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # it is closed: nobody takes calls any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False
        self.readable.set()

    def notify_senders(self) -> None:
        """Wake the senders, on the event loop."""
        with self.condition:
            self.condition.notify_all()
        self.writable.set()

    def close(self) -> None:
        """Drop the queued calls, and wake both ends."""
        with self.condition:
            self.closed = self.ended = True
            self.calls.clear()
        self.readable.set()
        self.notify_senders()


class Sender:
    """The sending end, for the event loop or one thread."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._next_yield = 0.0

    def send(self, call: jobs.Call) -> None:
        """Append *call*, whether there is room or not; does not block. Raises `Closed`."""
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
        """Tell whether `room` would return at once."""
        return time.monotonic() < self._next_yield and not self._channel.is_full

    async def room(self) -> None:
        """Wait until there is room; yield to the event loop now and then."""
        channel = self._channel
        while channel.is_full and not channel.closed:
            channel.writable.clear()
            await channel.writable.wait()
            self._next_yield = time.monotonic() + _YIELD_INTERVAL
        if time.monotonic() >= self._next_yield:
            await asyncio.sleep(0)
            self._next_yield = time.monotonic() + _YIELD_INTERVAL

    def drop(self) -> None:
        """Forget the calls that nobody has taken yet, as if they had not been made."""
        channel = self._channel
        with channel.condition:
            channel.sent -= len(channel.calls)
            channel.calls.clear()
            channel.nbytes = 0
        channel.notify_senders()

    def all_made(self) -> None:
        """Say that no more calls are expected, except from handlers of results."""
        self._channel.made = True
        self._channel.notify_receiver()

    def end(self) -> None:
        """Say that no more calls will come."""
        self._channel.ended = True
        self._channel.notify_receiver()

    def abort(self) -> None:
        """Drop the calls that were not taken, and say that no more will come."""
        self._channel.close()


class Receiver:
    """The receiving end."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    async def ready(self) -> bool:
        """Wait for a call or the end; tell whether there is a call."""
        while not (self._channel.calls or self._channel.ended):
            await self._wait(1)
        return bool(self._channel.calls)

    async def take(self, idle: asyncio.Event, *, without_results: bool = False) -> list[jobs.Call]:
        """Remove and return the next calls: a whole chunk or, while *idle* is set, what is there; none at the end.

        *without_results* says that no results come before these calls are taken, so that it can't wait for calls that
        depend on results. Raises CancelledError if the channel was closed.
        """
        channel = self._channel
        while not (channel.is_whole or (channel.calls and idle.is_set()) or (without_results and channel.made)):
            await self._wait(1 if idle.is_set() else channel.limit, idle)
        if channel.closed:  # not the end: calls were dropped
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
        """Make senders wait meanwhile, as if there were no room."""
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
        """Wait until *wanted* calls, a whole chunk or the end may be there, or *idle* is set if it was not."""
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
