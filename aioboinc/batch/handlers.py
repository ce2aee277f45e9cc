"""A master's handlers, which get the outputs group by group."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Protocol

from aioboinc import arguments, errors
from aioboinc.batch import outputs, takers, tracebacks
from aioboinc.batch.job import Job
from aioboinc.store import executions

__all__ = ["Batch", "Handlers"]

_SLICE = 0.005
"""Seconds of handling after which the event loop gets its turn."""
_KEPT_ERRORS = 1000
"""Errors kept for `errors.BatchFailed`, whose message counts all of them."""


class Batch(Protocol):
    """The batch whose outputs are handed over: `held.Held`."""

    def taken(self, output: outputs.Output) -> None:
        """Count *output* as taken; it moves to ``old/``."""

    def tell(self) -> None:
        """Report how far the batch is."""

    async def look(self, number: int) -> executions.Workunit | None:
        """Return what the project's database has of the job *number*."""

    def order(self, number: int) -> int:
        """Return how many calls of this run came before that of the job *number*."""

    def input(self, order: int) -> Any:
        """Return the input of the run's call number *order*."""


class Handlers:
    """The program's two handlers."""

    def __init__(self, result: Callable[..., Any], error: Callable[..., Any] | None) -> None:
        self.errors: list[errors.JobFailed] = []
        """The first errors that no handler took."""
        self._result = result
        self._error = error
        self._result_takes_job = arguments.handler("pyboinc_master: handle_result", result, "output")
        self._error_takes_job = error is not None and arguments.handler(
            "pyboinc_master: handle_error", error, "error"
        )
        self.take_jobs = self._result_takes_job or self._error_takes_job

    async def hand_over(self, batch: Batch, queue: takers.Queue, handed: Callable[[], None]) -> None:
        """Hand over the outputs of *queue* until its end; call *handed* after each group.

        While one group is handled, the next is read.
        """
        loop = asyncio.get_running_loop()
        group = await queue.take()
        while group:
            taking = asyncio.ensure_future(queue.take())
            try:
                until = loop.time() + _SLICE
                for output in group:
                    await self._deliver(batch, output)
                    if loop.time() > until:
                        batch.tell()
                        await asyncio.sleep(0)
                        until = loop.time() + _SLICE
                batch.tell()
                handed()
            except BaseException:
                taking.cancel()
                await asyncio.wait({taking})
                raise
            group = await taking

    @tracebacks.calls_program
    async def _deliver(self, batch: Batch, output: outputs.Output) -> None:
        """Hand over *output*, and count it when its handler has returned."""
        outcome = None
        if output.error is None:
            outcome = self._result(output.value, *self._job(batch, output, wanted=self._result_takes_job))
        elif self._error is not None:
            outcome = self._error(output.error, *self._job(batch, output, wanted=self._error_takes_job))
        elif len(self.errors) < _KEPT_ERRORS:
            self.errors.append(output.error)
        if inspect.isawaitable(outcome):
            await outcome
        batch.taken(output)

    @staticmethod
    def _job(batch: Batch, output: outputs.Output, *, wanted: bool) -> tuple[Job, ...]:
        if not wanted:
            return ()
        job = Job(batch.input, batch.look)
        job.identify(output.number, batch.order(output.number))
        job.settle(output)
        return (job,)
