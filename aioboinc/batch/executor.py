"""A batch as an executor of `concurrent.futures`, for whatever takes one."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from aioboinc import arguments, errors
from aioboinc.batch import (
    batch,
    futures,
    graphs,
    held,
    leaving,
    loop_thread,
    mapping,
    settings,
    takers,
    tracebacks,
    wrapped,
)
from aioboinc.batch.progress import Progress

__all__ = ["Executor"]

_GRACE = 1.0
"""Seconds until jobs are cancelled whose futures were: a program that is interrupted cancels them, too, and is to
find them again."""

_log = logging.getLogger(__name__)


class Executor(concurrent.futures.Executor):
    """An executor whose calls are jobs of a batch, in the directory *batch_dir*.

    A program that was stopped, in whatever way, and makes the same calls again gets the results that are there, and
    goes on with the others. The arguments are those of `Batch`; *chunk* and *options* hold for all calls.

    Raises `errors.UsageError` for what is wrong with the arguments or the directory.
    """

    def __init__(
        self,
        batch_dir: str | os.PathLike[str] | None = None,
        *,
        project: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        fresh: bool = False,
        keep_results: bool = False,
        progress: Callable[[Progress], None] | bool | None = None,
        chunk: int | str = "auto",
        **options: Any,
    ) -> None:
        arguments.chunk("Executor: chunk", chunk)
        self._options = {"chunk": chunk, **options}
        chosen = settings.chosen(
            "Executor",
            batch_dir=batch_dir,
            project=project,
            workers=workers,
            fresh=fresh,
            keep_results=keep_results,
            inline_inputs=0,
            homogeneous_redundancy=0,
            progress=progress,
        )
        with tracebacks.Shortened():
            self._worker = _Worker(chosen, batch.folder_of_caller())

    def submit(self, fn: batch.Program, /, *args: Any, **kwargs: Any) -> futures.Future:
        """Call *fn* on some host, once; return the future of its result at once. From any thread.

        *fn* is a function, a `functools.partial` of one, or the name of a slave file, which gets its one argument as
        input. A call that an earlier run has made is the same job as then.

        Raises RuntimeError after `shutdown`, `errors.ProgramError` for a function that can't be sent,
        `errors.NotData` for an argument that is not data, and other `errors.UsageError` for what is wrong with the
        call; and what has ended the batch, if something has.
        """
        with tracebacks.Shortened():
            return self._worker.submit(fn, args, kwargs, self._options)

    def map(
        self, fn: batch.Program, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """Call *fn* for each item of *iterables*; return an iterator over the results, in the order of the items.

        Several iterables are gone through together, as by the function `map`. Items are taken some thousand ahead of
        the results, at first by this call, then by the iteration. A *chunksize* above 1 says how many calls share a
        workunit at most, in place of the executor's ``chunk``.

        The iteration raises TimeoutError if a result is not there *timeout* seconds after this call, the job's error
        in its place, and as `submit` does; calls whose results were not taken are cancelled then, and if it is left.
        """
        options = self._options
        if arguments.whole("Executor.map: chunksize", chunksize, 1) > 1:
            options = {**options, "chunk": chunksize}
        deadline = None if timeout is None else time.monotonic() + timeout
        items = zip(*iterables, strict=False)
        ahead: collections.deque[futures.Future] = collections.deque()

        def call() -> None:
            for args in itertools.islice(items, mapping.MAX_AHEAD - len(ahead)):
                ahead.append(self._worker.submit(fn, args, {}, options))

        with tracebacks.Shortened():
            call()
        return _results(ahead, call, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with *cancel_futures*, cancel those that are not done.

        With *wait* this blocks until all others are done, and the batch is left. Otherwise that goes on, and the
        interpreter waits for it at its end.
        """
        self._worker.close()
        if cancel_futures:
            self._worker.cancel_all()
        if wait:
            try:
                self._worker.finish()
            except KeyboardInterrupt:
                self._worker.leave()
                raise

    def __call__(self, dsk: Any, keys: Any, **options: Any) -> Any:
        """Compute *keys* of the graph *dsk*: so an executor is a ``scheduler=`` for dask."""
        return graphs.get(self.submit, dsk, keys, **options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception | SystemExit):
            self.shutdown()
        else:
            self._worker.leave()

    def __del__(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.close()


def _results(
    ahead: collections.deque[futures.Future], call: Callable[[], None], deadline: float | None
) -> Iterator[Any]:
    """Yield the results of *ahead*, into which *call* puts more."""
    try:
        while ahead:
            yield _result(ahead.popleft(), deadline)
            if len(ahead) <= mapping.MAX_AHEAD // 2:
                call()
    finally:
        for future in ahead:
            future.cancel()


def _result(future: futures.Future, deadline: float | None) -> Any:
    """Return the result of *future*. It is not kept."""
    try:
        return future.result(None if deadline is None else deadline - time.monotonic())
    finally:
        future.cancel()
        del future


class _Worker:
    """A thread with an event loop that has a batch open, and the futures of its calls."""

    def __init__(self, chosen: settings.Settings, folder: Path) -> None:
        self._settings = chosen
        self._folder = folder
        self._calling = threading.RLock()
        """Calls are made one at a time. They may come from what the interpreter does to make room during one."""
        self._called: Any = None
        """The function called last, with these options, and what calls it."""
        self._call_options: Mapping[str, Any] | None = None
        self._call: Callable[[takers.Taker, Sequence[Any], Mapping[str, Any]], None]
        self._closed = False
        self._failure: BaseException | None = None
        self._untold: BaseException | None = None
        """The failure, if no future has it."""
        self._cancelled: collections.deque[futures.Future] = collections.deque()
        self._is_told = False
        """The event loop will look at those that were cancelled."""
        self._begun: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = loop_thread.LoopThread(self._main, self._ended, "aioboinc.Executor")
        self._begun.result()
        leaving.register(self)

    def submit(
        self, fn: batch.Program, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> futures.Future:
        """Make a call; return its future."""
        called, args, kwargs = wrapped.unwrapped(fn, args, kwargs)
        future = futures.Future(self._cancel)
        with self._calling:
            if self._closed:
                raise errors.CallOutsideBatch("cannot schedule new futures after shutdown: make a new Executor")
            if called is not self._called or options is not self._call_options:
                self._call = self._calls.caller(called, options)
                self._called, self._call_options = called, options
            self._futures.add(future)
            try:
                self._call(self._futures, args, kwargs)
                return future
            except (asyncio.CancelledError, errors.CallOutsideBatch):
                self._futures.take_back()  # the batch has ended by itself
            except BaseException:
                self._futures.take_back()
                raise
        self._thread.join()
        raise self._failure or errors.CallOutsideBatch("the executor was interrupted: make a new one")

    def close(self) -> None:
        """Take no more calls. The thread ends when all futures are settled."""
        with self._calling:
            was_closed, self._closed = self._closed, True
        if not was_closed:
            self._thread.call(self._futures.made_all)

    def cancel_all(self) -> None:
        """Cancel all futures that are not settled."""
        for future in self._futures.unsettled():
            future.cancel()

    def finish(self) -> None:
        self.close()
        self._thread.join()
        error, self._untold = self._untold, None
        if error is not None:
            raise error

    def leave(self) -> None:
        with self._calling:
            self._closed = True
        self._thread.cancel()
        self._thread.join()

    def _cancel(self, future: futures.Future) -> None:
        """Take note that *future* was cancelled, in whichever thread."""
        self._cancelled.append(future)
        if not self._is_told:
            self._is_told = True
            self._thread.call(self._take_cancelled)

    def _take_cancelled(self) -> None:
        self._is_told = False
        while self._cancelled:
            self._futures.cancel(self._cancelled.popleft())

    def _ended(self, error: BaseException | None) -> None:
        if isinstance(error, asyncio.CancelledError):
            if self._begun.done() and (count := self._futures.left):
                _log.warning("%d calls are not done: run the program again, and it goes on where it was", count)
            error = None
        self._failure = error
        if not self._begun.done():
            assert error is not None
            self._begun.set_exception(error)
            return
        if not self._futures.close(error):
            self._untold = error

    async def _main(self) -> None:
        self._futures = futures.Futures()
        async with held.Held(self._settings, self._folder, self._futures, keep_inputs=False) as one:
            self._calls = one.calls
            one.calls.late = True
            one.tasks.create_task(self._futures.settle(one))
            withdrawing = one.tasks.create_task(self._withdraw(one))
            self._begun.set_result(None)
            await self._futures.all_ended()
            await withdrawing
            one.calls.sender.drop()  # all that nobody has taken is cancelled
            await one.committed_all()  # and so is the rest that is not done
            await one.withdraw(self._futures.unwanted())
            self._futures.end()

    async def _withdraw(self, one: held.Held) -> None:
        """Cancel the jobs whose futures were cancelled, until all futures are settled or cancelled."""
        while not self._futures.is_over:
            await self._futures.cancelled.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await self._futures.all_ended()
            await one.withdraw(self._futures.unwanted())
