"""Workunits of several calls that have ended without the outputs of all: what becomes of the other calls.

One that has reached its limit leaves calls to new workunits. One that has failed is divided in two, until the call that
takes it down is alone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from aioboinc.aio import threads
from aioboinc.batch import inputs, ledger, outputs, submission
from aioboinc.batch.partition import Workunit
from aioboinc.store import jobs

__all__ = ["Division"]


class Division:
    """Puts the calls of *book* whose workunits have ended without them, as *found* knows, into new ones."""

    def __init__(
        self,
        book: ledger.Ledger,
        found: outputs.Outputs,
        made: inputs.Inputs,
        pipeline: submission.Submission,
    ) -> None:
        self._ledger = book
        self._outputs = found
        self._inputs = made
        self._submission = pipeline
        self._news = asyncio.Event()

    def tell(self) -> None:
        """Take note that there may be such a workunit, or a call of this run that is in one."""
        if self._outputs.unfinished:
            self._news.set()

    async def run(self) -> None:
        """Divide them, until cancelled. Raises `errors.BatchAborted` if somebody has ended the batch."""
        while True:
            await self._news.wait()
            self._news.clear()
            for workunit, failed in list(self._outputs.unfinished.items()):
                await self._divide(workunit, failed=failed)

    async def _divide(self, workunit: Workunit, *, failed: bool) -> None:
        waiting = [
            number
            for number in self._ledger.partition.calls(workunit)
            if not self._outputs.state(number) & outputs.THERE
        ]
        called = [
            number for number in waiting if self._ledger.is_called(number)
        ]  # nobody has the inputs of others
        if called:
            half = len(called) // 2
            groups = [called[:half], called[half:]] if failed else [called]
            runs = [self._run(run) for group in groups for run in _in_a_row(group)]
            await self._submission.again(runs, split=not failed)
        if len(called) == len(waiting):
            await threads.in_thread(self._outputs.done, workunit)

    def _run(self, numbers: Sequence[int]) -> tuple[int, list[jobs.Call]]:
        return numbers[0], [self._inputs.call(self._ledger.order(number)) for number in numbers]


def _in_a_row(numbers: Sequence[int]) -> list[list[int]]:
    """Return sorted *numbers* as lists of consecutive ones."""
    runs = itertools.groupby(enumerate(numbers), key=lambda item: item[1] - item[0])
    return [[number for _, number in run] for _, run in runs]
