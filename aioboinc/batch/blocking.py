"""A batch for programs without ``async``: a plain loop over its jobs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aioboinc.batch import batch, tracebacks
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
    """A thread whose event loop runs a batch with one map."""

    def __init__(self, one: batch.Batch, program: Any, iterables: tuple[Any, ...], *, ordered: bool) -> None:
        self._batch = one
        self._program = program
        self._iterables = iterables
        self._ordered = ordered
        self._groups: queue.SimpleQueue[list[Job] | BaseException] = queue.SimpleQueue()
        self._is_left = False
        self._thread = threading.Thread(target=self._run, name="aioboinc.run", daemon=True)
        self._begun: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread.start()
        self._begun.result()

    def group(self) -> list[Job]:
        """Wait for jobs and return some; an empty list at the end. Raises what the batch raises."""
        with contextlib.suppress(RuntimeError):  # it has ended, and said why
            self._loop.call_soon_threadsafe(self._wanted.set)
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
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._wanted.set)
        try:
            self._thread.join()
        except KeyboardInterrupt:  # where it would go from here, Python only complains of it
            self.cancel()

    def cancel(self) -> None:
        """Leave the batch's block at once. Blocks meanwhile, a moment, unless ^C is pressed twice more."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._task.cancel)
        for _ in range(2):
            with contextlib.suppress(KeyboardInterrupt):
                self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._begun.done():
                self._groups.put(error)
            else:
                self._begun.set_exception(error)
        else:
            self._groups.put([])

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._begun.set_result(None)
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
