"""Receives scheduler requests, bounded in bytes and time, and reads large ones without holding up others."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from aiohttp import web

from aioboinc.serve import addresses, allowance
from aioboinc.serve.protocol import request as scheduler_request

__all__ = ["Reader"]

_SMALL = 16 << 10
"""Bytes of a request that is read at once, in a millisecond or two: stock clients' requests have this size if they
report little. Larger ones wait for their turn in a thread, and only hosts of an account may send them.
"""
_READ_LIMIT = 4 << 20
"""Bytes of a request to parse: a client that was away for long reports the rest with its next request."""
_DRAIN_LIMIT = 1 << 30
"""Bytes of a request to receive at most."""
_MIN_RATE = 5000
"""Minimum bytes a second of a large request."""
_MAX_LARGE = 16
"""Maximum of large requests from an address at a time."""
_BURST, _PERIOD = 64 << 20, 64.0
"""Bytes of large requests that an address may send at once, and seconds until it may send as many again."""
_REST, _MAX_REST = 2.0, 1.0
"""How long the thread rests: a multiple of a request's time, and the maximum in seconds."""
T = TypeVar("T")


class _Turns:
    """A thread that does one thing after the other, those with the least weight first.

    It is not the thread for files and accounts; and it rests, because it holds the interpreter's lock.
    """

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "requests")
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._busy = False

    async def take(self, weight: float, function: Callable[[], T]) -> T:
        """Call *function* when nobody with less *weight* waits."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (weight, next(self._numbers), turn))
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise
        begun = loop.time()
        try:
            return await loop.run_in_executor(self._thread, function)
        finally:
            loop.call_later(min(_REST * (loop.time() - begun), _MAX_REST), self._release)

    def _release(self) -> None:
        self._busy = False
        self._next()

    def _next(self) -> None:
        while self._waiting and not self._busy:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():  # its client is still there
                self._busy = True
                turn.set_result(None)


class Reader:
    """Receives and reads scheduler requests. *known_key* tells whether a text is the key of an account."""

    def __init__(self, known_key: Callable[[str], Awaitable[bool]]) -> None:
        self._known_key = known_key
        self._turns = _Turns()
        self._bytes = allowance.Allowance(_BURST, _PERIOD)
        self._large: collections.Counter[str] = collections.Counter()

    async def read(self, request: web.Request, *, seconds: float) -> scheduler_request.Request:
        """Return the request in the body of *request*, which may take *seconds*, or longer if it is large.

        Raises `scheduler_request.BadRequest`, `TimeoutError`.
        """
        with contextlib.ExitStack() as stack:
            body, cut = await self._body(request, seconds, stack)
            if len(body) <= _SMALL:
                return scheduler_request.parse(body)
            network = addresses.network(addresses.of(request))
            weight = self._bytes.used(network)
            if self._bytes.take(network, amount=len(body)):
                raise scheduler_request.BadRequest("too many large ones")
            return await self._turns.take(weight, functools.partial(scheduler_request.parse, body, cut=cut))

    async def _body(self, request: web.Request, seconds: float, stack: contextlib.ExitStack) -> tuple[bytes, bool]:
        """Return the body, up to a limit, and whether the rest is missing; *stack* frees a large one's place."""
        body = bytearray()
        size, limit = 0, _SMALL
        end = asyncio.get_running_loop().time() + seconds
        async with asyncio.timeout(seconds) as deadline:
            while data := await request.content.readany():
                size += len(data)
                body += data[: max(0, _READ_LIMIT - len(body))]
                if size > limit:
                    key = scheduler_request.peek_account_key(bytes(body[:_SMALL]))
                    if size > _DRAIN_LIMIT or not await self._known_key(key):
                        raise scheduler_request.BadRequest("too large, or its account key is unknown")
                    stack.enter_context(self._place(addresses.of(request)))
                    limit = _DRAIN_LIMIT
                if limit == _DRAIN_LIMIT:
                    deadline.reschedule(end + size / _MIN_RATE)
        return bytes(body), size > len(body)

    @contextlib.contextmanager
    def _place(self, address: str) -> Iterator[None]:
        if self._large[address] >= _MAX_LARGE:
            raise scheduler_request.BadRequest("too many large ones at a time")
        self._large[address] += 1
        try:
            yield
        finally:
            self._large[address] -= 1
            if not self._large[address]:
                del self._large[address]
