"""One open batch: its calls go to the project, its outputs to those who take them.

The database and ``new/`` are polled concurrently, with backoff; news of one wakes the poller of the other.
"""

from __future__ import annotations

import asyncio
import logging
import os
from array import array
from collections.abc import Coroutine, Sequence
from typing import Any, cast

from aioboinc import errors
from aioboinc.aio import loops, task_group, threads
from aioboinc.batch import (
    calls,
    division,
    ending,
    inputs,
    ledger,
    opening,
    outputs,
    patrol,
    queue,
    record,
    sizing,
    staging,
    submission,
    takers,
    timing,
    uncalled,
    withdrawal,
)
from aioboinc.batch.directory import BatchDirectory
from aioboinc.batch.progress import Progress
from aioboinc.batch.settings import Settings
from aioboinc.project import config
from aioboinc.store import executions, jobs

__all__ = ["Session"]

_PATROL = 60.0
"""Seconds between patrols: looks for changes that somebody has made to single jobs."""
_MAX_LOOKS = 10
"""Scans of ``new/`` before outputs that the database calls published count as missing."""
_SLICE = 1000
"""Outputs to announce before yielding to the event loop: a millisecond."""

_log = logging.getLogger(__name__)


class Session:
    """The batch that is open in *directory*; *made* takes its calls, which come out of *receiver*.

    With ``replay=False``, outputs that earlier runs have taken are not taken again.
    """

    def __init__(
        self,
        directory: BatchDirectory,
        opened: opening.Opened,
        made: calls.Calls,
        receiver: queue.Receiver,
        settings: Settings,
        *,
        block: int,
        replay: bool,
        kept_inputs: inputs.Inputs,
    ) -> None:
        self._directory = directory
        self._place = opened.place
        self._app = opened.app
        self.record = record.Record(directory, opened)
        self._calls = made
        self._receiver = receiver
        self._settings = settings
        self._replay = replay
        self.inputs = kept_inputs
        keep = self._is_good if settings.keep_results else None
        self.ledger = ledger.Ledger(block, keep_results=keep)
        self.handled = 0
        """Jobs whose outputs were taken."""
        self.failed = 0
        """Those of them that failed."""
        self.complete = False
        """No more calls are expected, as far as is known."""
        self._taken: list[int] = []
        """Jobs whose outputs were taken and must be moved."""
        self._retiring = asyncio.Event()
        self._marked = 0
        """Number of jobs in the batch when `mark_submitted` was called last."""
        self._submitted = 0
        self._uncalled = uncalled.Uncalled(self.ledger)
        self._announced = 0
        """Number of jobs called in this run that have outputs."""
        self._takers: list[takers.Taker] = []
        self._places: dict[takers.Taker, int] = {}
        self._taker_of = array("I")
        """For each number, which of the takers waits for its output, from 1; 0 if none does."""
        self._ncalls = 0
        """Calls that are in the project."""
        self._known = 0
        """Calls of former runs."""
        self._sizes = sizing.Sizes(
            *_place(opened.place.project, settings),
            lambda: self._submitted - self._announced - self._uncalled.count,
        )
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._published = -1
        """Number of workunits in the batch, if all were published at the last look."""
        self._ending = ending.Ending(self._place.store, self._place.project, self._app.id)
        self._refused = False
        """Nothing more can be submitted."""

    @property
    def outstanding(self) -> int:
        """Number of calls whose outputs are not yet taken."""
        return self._calls.sender.sent - self.handled - self._uncalled.count

    @property
    def done(self) -> int:
        """Number of calls whose outputs are there."""
        return self._announced

    @property
    def batch(self) -> int:
        """ID of the batch."""
        return self._batch.id

    async def begin(self) -> None:
        """Find or make the batch's row; load what earlier runs have left."""
        self._batch = await self.record.row()
        try:
            async for chunk in self._place.store.calls.chunks(self._batch.id):
                self.ledger.load(chunk)
            if self._batch.version >= ledger.VERSION and self.ledger.partition.nworkunits != self._batch.njobs:
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise errors.CheckpointError(
                f"{self._directory.path}: the keys of the batch's calls are damaged from {len(self.ledger)} on: "
                "restore the database, or start anew with --fresh"
            ) from None
        has_keys = self._batch.version >= ledger.VERSION
        self._known = self._ncalls = len(self.ledger) if has_keys else self._batch.njobs
        self._submission = submission.Submission(
            self._receiver,
            self._place.store,
            await threads.in_thread(
                staging.Stager, self._place.project, self._settings.inline_inputs, self._sizes.limit
            ),
            self._app,
            self._batch,
            self.ledger,
            self._sizes,
            self,
        )
        self._outputs = outputs.Outputs(
            self._directory,
            self._batch.id,
            self._calls.registry,
            lambda: max(len(self.ledger), self._batch.njobs),
            self.ledger.partition,
            lambda number, error: self._calls.located(self.ledger.program(number), error),
        )
        self._division = division.Division(self.ledger, self._outputs, self.inputs, self._submission)
        self._timing = timing.Timing(self._place.store, self._batch.id, self.ledger, self._outputs, self._sizes)
        await threads.in_thread(self._outputs.look_back)

    async def run(self) -> None:
        """Submit calls and announce outputs, until cancelled. Raises if no more outputs can come."""
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(self._until_refused(self._submission.run()))
            tasks.create_task(self._until_refused(self._division.run()))
            tasks.create_task(self._timing.run())
            tasks.create_task(self._retire())
            tasks.create_task(self._watch_database())
            if self._place.project.kind is not config.Kind.EMBEDDED:
                tasks.create_task(self._watch_jobs())
            await self._watch_directory()

    def flush(self) -> None:
        """Put calls into the project without waiting for the times of others."""
        self._sizes.flush()

    async def look(self, number: int) -> executions.Workunit | None:
        """Return what the project's database has of the workunit that the job *number* is in; None if there is none."""
        if number >= len(self.ledger.partition):
            return None
        return await self._place.store.executions.of_workunit(self.workunit_name(number))

    async def committed_all(self) -> None:
        """Wait until all calls made so far are in the project."""
        while self._submitted < self._calls.sender.sent:
            self._changed.clear()
            await self._changed.wait()

    async def mark_submitted(self) -> None:
        """Record that no more calls are expected. Those made so far are committed."""
        if self.complete and self._marked == len(self.ledger):
            return
        self.complete = True
        self._marked = len(self.ledger)
        await self._place.store.batches.submitted(self._batch.id, self.ledger.partition.nworkunits)
        await self.record.note("submitted")
        self.tell()

    async def withdraw_uncalled(self) -> None:
        """Cancel the unfinished jobs of calls that this run could have made and has not; say so."""
        count = await withdrawal.withdraw_uncalled(
            self._place.store,
            self._batch.id,
            self.ledger,
            self._outputs,
            delete_delay=self._place.project.delete_delay,
        )
        if count:
            _log.warning("cancelled %d jobs of calls that are not made any more", count)

    def uncall(self, numbers: Sequence[int]) -> None:
        """Take back the calls of the jobs *numbers*, unless their outputs are there: nobody waits for them."""
        waiting = [number for number in numbers if number < len(self._taker_of) and self._taker_of[number]]
        for number in waiting:
            self._taker_of[number] = 0
        self._uncalled.add(waiting, self._ncalls)
        self._changed.set()

    async def withdraw(self, numbers: Sequence[int]) -> None:
        """Cancel the jobs *numbers*, whose calls were taken back: not those that share a workunit with others."""
        while numbers and self._ncalls <= max(numbers):
            self._changed.clear()
            await self._changed.wait()
        workunits = [(one, self.ledger.partition.calls(one)) for one in self.ledger.partition.workunits(numbers)]
        await withdrawal.withdraw(
            self._place.store,
            self._batch.id,
            self.ledger,
            [pair for pair in workunits if self._uncalled.has_all(pair[1])],
            delete_delay=self._place.project.delete_delay,
        )

    async def finish(self) -> None:
        """Record that the batch is done: all calls are made, and all outputs taken."""
        if self._place.project.kind is not config.Kind.EMBEDDED:
            await self._place.store.batches.settle(self._batch.id, self._app.id)
        await self.record.note("finished")

    def tell(self) -> None:
        """Report how far the batch is."""
        self._settings.progress(
            Progress(
                max(self._submitted - self._uncalled.count, self.handled), self.complete, self.handled, self.failed
            )
        )

    def taken(self, output: outputs.Output) -> None:
        """Count *output* as taken; it moves to ``old/``."""
        self.handled += 1
        self.failed += output.error is not None
        self._taken.append(output.number)
        self._retiring.set()

    async def retire_taken(self) -> None:
        """Move the outputs that were taken to ``old/``."""
        self._retiring.clear()
        numbers, self._taken = self._taken, []
        if numbers:
            await threads.in_thread(self._outputs.retire, numbers)

    # For the submission (submission.Observer).

    def identified(self, number: int, call: jobs.Call) -> None:
        self.inputs.add(call)
        if number < self._ncalls:
            self._submitted += 1
            self._changed.set()
            self._uncalled.called(number)
        taker = cast(takers.Taker, call.taker)
        taker.identified(number, self.ledger.order(number))
        state = self._outputs.state(number)
        if not state & outputs.THERE:
            if number < self._known:
                self._outputs.check_obstacle(number)
            self._await(number, taker)
            self._division.tell()
            return
        self._timing.note(number)
        self._announced += 1
        if self._replay or not state & outputs.OLD:
            taker.announce(number)
        else:
            self.handled += 1
            self.failed += bool(state & outputs.FAILED)

    def is_done(self, number: int) -> bool:
        return bool(self._outputs.state(number) & outputs.THERE)

    def committed(self, ncalls: int) -> None:
        self._submitted += ncalls - self._ncalls
        self._ncalls = ncalls
        self._uncalled.committed(ncalls)
        self._place.submitted.set()
        self._changed.set()
        self.tell()

    # For those who take outputs (takers.Source).

    async def load(self, numbers: Sequence[int]) -> tuple[list[outputs.Output], list[int]]:
        return await threads.in_thread(self._outputs.load, numbers)

    def lost(self, numbers: Sequence[int], taker: takers.Taker) -> None:
        """Note that outputs which were announced are gone."""
        self._announced -= len(numbers)
        for number in numbers:
            self._await(number, taker)

    # For the patrol (patrol.Jobs).

    def unhandled(self, first: int, end: int, limit: int) -> list[int]:
        numbers: list[int] = []
        for number in range(first, min(end, len(self._taker_of))):
            if self._taker_of[number]:
                numbers.append(number)
                if len(numbers) == limit:
                    break
        return numbers

    def workunit_name(self, number: int) -> str:
        return self.ledger.partition.of(number).name(self._batch.id)

    def _await(self, number: int, taker: takers.Taker) -> None:
        """Note that *taker* gets the output of the job *number* when it comes."""
        place = self._places.get(taker)
        if place is None:
            self._takers.append(taker)
            place = self._places[taker] = len(self._takers)
        if number >= len(self._taker_of):
            self._taker_of.extend([0] * (number + 1 - len(self._taker_of)))
        self._taker_of[number] = place

    def _arrived(self, number: int) -> None:
        """Announce an output if its call was made; otherwise `identified` does when it is."""
        place = self._taker_of[number] if number < len(self._taker_of) else 0
        if place:
            self._taker_of[number] = 0
            self._announced += 1
            self._timing.note(number)
            self._takers[place - 1].announce(number)

    async def _retire(self) -> None:
        while True:
            await self._retiring.wait()
            await self.retire_taken()

    async def _until_refused(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work*, which submits, to its end, or until somebody has ended the batch."""
        try:
            await work
        except errors.BatchAborted:
            self._refused = True  # the database's watcher finds out why
        self._news.set()

    async def _watch_database(self) -> None:
        """Poll the batch's counters; wake the directory's watcher when they change."""
        backoff = loops.Backoff()
        pace = loops.Pace()
        published = -1
        while True:
            self._place.assimilated.clear()
            progress = await self._place.store.batches.progress(self._batch.id)
            if progress is None:
                raise errors.ProjectError(
                    f"batch {self._batch.id} has been deleted from the database of {self._place.project.name}"
                )
            self._published = progress.njobs if progress.nassimilated >= progress.njobs else -1
            await self._ending.look(progress)
            if self._ending.published:
                self._news.set()
            if progress.nassimilated != published:
                published = progress.nassimilated
                backoff.reset()
                self._news.set()
            await asyncio.sleep(pace.shortest)
            await loops.wait(backoff.next(), self._place.assimilated)

    async def _watch_jobs(self) -> None:
        """Look now and then for changes that somebody has made to single jobs, or to the application."""
        round_of = patrol.Patrol(self._place.store, self._directory, self._batch.id, self)
        while True:
            await asyncio.sleep(_PATROL)
            while await round_of.one_pass(self._ncalls):
                self._news.set()
            await round_of.check_application(self._app.name)

    async def _watch_directory(self) -> None:
        """Announce what appears in ``new/``."""
        backoff = loops.Backoff()
        pace = loops.Pace(longest=1.0)
        loop = asyncio.get_running_loop()
        in_vain = 0
        while True:
            self._news.clear()
            published = self._published
            ended = self._ending.published
            begun = loop.time()
            found = await threads.in_thread(self._outputs.scan)
            for count, number in enumerate(found, 1):
                self._arrived(number)
                if count % _SLICE == 0:
                    await asyncio.sleep(0)
            self._division.tell()
            if found:
                self._sizes.tell()
                backoff.reset()
                in_vain = 0
                await asyncio.sleep(pace.rest(loop.time() - begun))
                continue
            if ended and self._is_over():
                raise self._ending.error(self._batch.id, handled=self.handled, submitted=self._ncalls)
            await threads.in_thread(self._directory.heal, self.record.checkpoint)
            missing = self.ledger.ncalls - self._announced - self._uncalled.count
            in_vain += published == self.ledger.partition.nworkunits and missing > 0
            if in_vain > _MAX_LOOKS:
                raise errors.CheckpointError(
                    f"{self._directory.new}: the outputs of {missing} jobs were published here, but are neither here "
                    "nor in old/; put them back, or start anew with --fresh"
                )
            await loops.wait(backoff.next(), self._news)
            if self._news.is_set():
                backoff.reset()

    def _is_over(self) -> bool:
        """Tell whether all outputs are taken that can come of a batch that somebody has ended."""
        all_taken = self.handled == self._announced
        return all_taken and (self._refused or self.complete or self._outputs.count() == self._announced)

    def _is_good(self, number: int) -> bool:
        return self._outputs.is_good(number)


def _place(project: config.Project, settings: Settings) -> tuple[sizing.Aim, int | None]:
    if project.kind is config.Kind.EMBEDDED:
        return sizing.HERE, settings.workers or len(os.sched_getaffinity(0))
    return sizing.ELSEWHERE, None
