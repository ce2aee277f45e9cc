"""A job as the program sees it: one call, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from aioboinc import errors
from aioboinc.batch import info, outputs, tracebacks
from aioboinc.store import executions

__all__ = ["Job"]

Look = Callable[[int], Awaitable[executions.Workunit | None]]
"""Returns what the database has of a job, given its number."""


class Job:
    """One call. ``await job`` gives its output, or raises its error."""

    __slots__ = ("_closed", "_done", "_input", "_look", "_number", "_order", "_output")

    def __init__(self, read_input: Callable[[int], Any], look: Look) -> None:
        self._input = read_input
        self._look = look
        self._number: int | None = None
        self._order = -1
        self._output: outputs.Output | None = None
        self._closed = False
        self._done: asyncio.Future[None] | None = None

    @property
    def number(self) -> int | None:
        """The job's number in its batch, from 0; None until its call was looked up there."""
        return self._number

    @property
    def input(self) -> Any:
        """The input as it was at the call: a slave file's input, or a function's only argument.

        For several arguments, or keywords, an `Arguments`. Reads from disk. Raises `errors.NotDone` while ``number`` is
        None.
        """
        if self._order < 0:
            raise errors.NotDone("the job's call has not been looked up in its batch yet: await the job first")
        return self._input(self._order)

    @property
    def done(self) -> bool:
        """Whether there is an output or an error."""
        return self._output is not None

    @property
    def error(self) -> errors.JobFailed | None:
        """Why the job has failed; None if it has not, or is not done."""
        return None if self._output is None else self._output.error

    @property
    def output(self) -> Any:
        """What the slave or the function has returned. Raises the job's error, or `errors.NotDone`."""
        with tracebacks.InCall("job.output"):
            return self._outcome()

    def _outcome(self) -> Any:
        if self._output is None:
            job = "the job" if self._number is None else f"job {self._number}"
            raise errors.NotDone(
                f"{job} is not done, and its batch was left before: run the program again to go on"
                if self._closed
                else f"{job} is not done: write `await job`, which waits for it"
            )
        if self._output.error is not None:
            raise self._output.error.with_traceback(None)  # it may have been raised before
        return self._output.value

    async def info(self) -> info.JobInfo:
        """Ask the project's database how far the job is, on how many hosts, how long it took, what it has printed.

        One query. In a program without an event loop: ``asyncio.run(job.info())``, inside the loop over the jobs.
        Raises `errors.CallOutsideBatch` (a RuntimeError) when the batch was left, and `errors.DatabaseError`.
        """
        workunit = None if self._number is None and not self._closed else await self._look(self._number or 0)
        failed = self._output is not None and self._output.error is not None
        return info.described(workunit, done=self._output is not None, failed=failed)

    def __await__(self) -> Generator[Any, None, Any]:
        with tracebacks.InCall("await job"):
            if self._output is None and not self._closed:
                if self._done is None:
                    self._done = asyncio.get_running_loop().create_future()
                yield from asyncio.shield(self._done).__await__()
            return self._outcome()

    def __repr__(self) -> str:
        state = "not done" if self._output is None else "done" if self._output.error is None else "failed"
        return f"<Job {'without a number' if self._number is None else self._number}: {state}>"

    def identify(self, number: int, order: int) -> None:
        """Note which job this is, and that its call was the run's call number *order*. For the batch."""
        self._number, self._order = number, order

    def settle(self, output: outputs.Output) -> None:
        """Note what became of the job. For the batch."""
        self._output = output
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def close(self) -> None:
        """Note that the batch's block was left before the job was done. For the batch."""
        self._closed = True
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
