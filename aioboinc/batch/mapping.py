"""One call for each item of iterables, and their jobs as they are done."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from typing import Any, NoReturn, Self

from aioboinc import errors
from aioboinc.batch import held, outputs, takers, tracebacks
from aioboinc.batch.job import Job

__all__ = ["MAX_AHEAD", "Map"]

MAX_AHEAD = 16384
"""Calls that may be made before their jobs are taken."""


class Map:
    """An asynchronous iterator over the jobs of *call*, made for each item of *iterables*; see `Batch.map`."""

    def __init__(
        self,
        batch: held.Held,
        queue: takers.Queue,
        call: Callable[[tuple[Any, ...]], None],
        iterables: Sequence[Iterable[Any] | AsyncIterable[Any]],
        read_input: Callable[[int], Any],
    ) -> None:
        self._batch = batch
        self._queue = queue
        self._call = call
        self._iterables = iterables
        self._read_input = read_input
        self._made = 0
        self._yielded = 0
        self._all_made = False
        self._failure: BaseException | None = None
        self._room = asyncio.Event()
        self._group: collections.deque[outputs.Output] = collections.deque()
        self._closed = False
        batch.attach(queue)
        self._making = batch.tasks.create_task(self._make_calls())

    def close(self) -> None:
        """Note that the batch's block was left: no more jobs come. For the batch."""
        self._closed = True
        self._making.cancel()
        self._queue.end()

    async def _make_calls(self) -> None:
        """Make the calls, but not too many ahead of their jobs."""
        try:
            async for args in _items(self._iterables):
                while self._made - self._yielded >= MAX_AHEAD:
                    self._room.clear()
                    await self._room.wait()
                self._call(args)
                self._made += 1
                await self._batch.calls.sender.room()
        except Exception as error:
            self._failure = error
        except asyncio.CancelledError as error:
            if self._closed or _is_cancelled():
                raise
            self._failure = error  # something that the iterable awaited was cancelled
        self._all_made = True
        self._batch.calls.sender.all_made()
        if self._failure is not None or self._yielded == self._made:
            self._queue.end()

    async def all_made(self) -> bool:
        """Wait until no more calls are made; return whether all were made, without an error."""
        await asyncio.wait({self._making})
        return self._all_made and self._failure is None

    def __aiter__(self) -> Self:
        return self

    def __iter__(self) -> NoReturn:
        with tracebacks.InCall("Batch.map"):
            raise errors.ArgumentError("Batch.map: write `async for job in batch.map(...)`, not `for`")

    def __await__(self) -> NoReturn:
        with tracebacks.InCall("Batch.map"):
            raise errors.ArgumentError(
                "Batch.map: it gives jobs one after the other: write `async for job in batch.map(...)`, or "
                "`[job async for job in batch.map(...)]`, not `await`"
            )

    async def __anext__(self) -> Job:
        with tracebacks.Shortened():
            return await self._next()

    async def _next(self) -> Job:
        if not (self._group or self._closed):
            self._group.extend(await self._take())
        if self._closed:
            raise errors.CallOutsideBatch(held.LEFT)
        if not self._group:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            raise StopAsyncIteration
        output = self._group.popleft()
        self._yielded += 1
        self._room.set()
        if self._all_made and self._yielded == self._made:
            self._queue.end()
        job = Job(self._read_input, self._batch.look)
        job.identify(output.number, self._batch.order(output.number))
        job.settle(output)
        self._batch.taken(output)
        return job

    async def group(self) -> list[Job]:
        """Return the next jobs that come together; an empty list at the end."""
        jobs = []
        with contextlib.suppress(StopAsyncIteration):
            jobs.append(await anext(self))
            while self._group:
                jobs.append(await anext(self))
        return jobs

    async def _take(self) -> list[outputs.Output]:
        if self._yielded:
            self._batch.tell()
        return await self._queue.take()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@tracebacks.calls_program
async def _items(iterables: Sequence[Iterable[Any] | AsyncIterable[Any]]) -> AsyncIterator[tuple[Any, ...]]:
    """Iterate over *iterables* in parallel, until the shortest ends."""
    iterators = [
        aiter(iterable) if isinstance(iterable, AsyncIterable) else _asynchronous(iterable)
        for iterable in iterables
    ]
    while True:
        items = []
        for iterator in iterators:
            try:
                items.append(await anext(iterator))
            except StopAsyncIteration:
                return
        yield tuple(items)


@tracebacks.calls_program
async def _asynchronous(iterable: Iterable[Any]) -> AsyncIterator[Any]:
    for item in iterable:
        yield item
