"""A batch for programs without ``async``: a plain loop over its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aioboinc.batch import batch, loop_thread, tracebacks
from aioboinc.batch.job import Job
from aioboinc.batch.progress import Progress

__all__ = ["run"]


def run(
    program: str | Path | Callable[..., Any],
    /,
    *iterables: Iterable[Any] | AsyncIterable[Any],
    ordered: bool = False,
    batch_dir: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    fresh: bool = False,
    keep_results: bool = False,
    progress: Callable[[Progress], None] | bool | None = None,
    **options: Any,
) -> Iterator[Job]:
    """Call *program* for each item of *iterables*; yield the jobs. For a plain ``for job in aioboinc.run(...)``.

    This is `Batch.map` on a `Batch` of its own, which gets the other arguments. It runs in a thread with an event loop
    of its own, so it works in a notebook cell too. If the loop is left early, the batch can be resumed.

    Raises what `Batch` and `Batch.map` raise. Blocks until a job is done.
    """
    with tracebacks.InCall("run"):
        one = _Batch(
            batch_dir,
            project=project,
            workers=workers,
            fresh=fresh,
            keep_results=keep_results,
            progress=progress,
            **options,
        )
    return _jobs(one, program, iterables, ordered=ordered)


class _Batch(batch.Batch):
    """One that the user has not made."""

    def _name(self, method: str = "") -> str:
        return "run"


def _jobs(one: batch.Batch, program: Any, iterables: tuple[Any, ...], *, ordered: bool) -> Iterator[Job]:
    worker = _Worker(one, program, iterables, ordered=ordered)
    with tracebacks.Shortened():
        try:
            while group := worker.group():
                yield from group
        except GeneratorExit:
            worker.leave()
            raise
        except BaseException:
            worker.cancel()
            raise


class _Worker:
    """A thread with an event loop that has a batch open, and a map of it."""

    def __init__(self, one: batch.Batch, program: Any, iterables: tuple[Any, ...], *, ordered: bool) -> None:
        self._batch = one
        self._program = program
        self._iterables = iterables
        self._ordered = ordered
        self._groups: queue.SimpleQueue[list[Job] | BaseException] = queue.SimpleQueue()
        self._wanted = asyncio.Event()
        self._is_left = False
        self._thread = loop_thread.LoopThread(self._main, self._ended, "aioboinc.run")

    def group(self) -> list[Job]:
        """Wait for jobs and return some, none at the end. Raises what the batch raises."""
        self._thread.call(self._wanted.set)
        group = self._groups.get()
        if isinstance(group, BaseException):
            self._thread.join()
            raise group
        if not group:
            self._thread.join()
        return group

    def leave(self) -> None:
        """Leave the batch's block. Blocks until all calls made are in the project, or ^C is pressed."""
        self._is_left = True
        self._thread.call(self._wanted.set)
        try:
            self._thread.join()
        except KeyboardInterrupt:  # where it would go from here, Python only complains of it
            self.cancel()

    def cancel(self) -> None:
        """Leave the batch's block at once. Blocks meanwhile, a moment, unless ^C is pressed twice more."""
        self._thread.cancel()
        for _ in range(2):
            with contextlib.suppress(KeyboardInterrupt):
                self._thread.join()
                return

    def _ended(self, error: BaseException | None) -> None:
        self._groups.put([] if error is None else error)

    async def _main(self) -> None:
        async with self._batch as one:
            jobs = one.map(self._program, *self._iterables, ordered=self._ordered)
            one.only(jobs)
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                if self._is_left:
                    return
                group = await jobs.group()
                if not group:
                    return
                self._groups.put(group)
