"""One batch while it is open: its calls go to the project, its outputs come to those who take them.

The database and ``new/`` are polled concurrently, with backoff; news of one wakes the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import cast

from aioboinc import errors, printable
from aioboinc.aio import loops, task_group, threads
from aioboinc.batch import (
    calls,
    ending,
    inputs,
    ledger,
    opening,
    outputs,
    patrol,
    queue,
    staging,
    submission,
    takers,
)
from aioboinc.batch.directory import BatchDirectory
from aioboinc.batch.progress import Progress
from aioboinc.batch.settings import Settings
from aioboinc.passes import cancellation
from aioboinc.project import config
from aioboinc.store import batches, executions, jobs

__all__ = ["Session"]

_PATROL = 60.0
"""Seconds between looks for what somebody has done to single jobs."""
_MAX_LOOKS = 10
"""Looks into ``new/`` before outputs that the database calls published are called missing."""
_SLICE = 1000
"""Outputs to announce before others get their turn: a millisecond."""
_PIECE = 500
"""Jobs to withdraw in a transaction: a tenth of a second."""

_log = logging.getLogger(__name__)


class Session:
    """A batch that is open in *directory*; *made* are its calls, which come from *receiver*.

    With ``replay=False``, what former runs have taken is not taken again.
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
        kept_inputs: inputs.Inputs | None,
    ) -> None:
        self._directory = directory
        self._place = opened.place
        self._app = opened.app
        self._checkpoint = opened.checkpoint
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
        """No more calls are expected, for all that is known."""
        self._taken: list[int] = []
        """Jobs whose outputs were taken, and are to be moved."""
        self._retiring = asyncio.Event()
        self._marked = 0
        """Number of jobs in the batch when `mark_submitted` was called last."""
        self._submitted = 0
        self._announced = 0
        """Jobs whose outputs are there, or were."""
        self._takers: list[takers.Taker] = []
        self._places: dict[takers.Taker, int] = {}
        self._taker_of = array("I")
        """For each number, which of the takers waits for its output, from 1; 0 if none does."""
        self._njobs = 0
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._published = -1
        """Number of jobs in the batch, if all were published at the last look."""
        self._ending = ending.Ending(self._place.store, self._place.project, self._app.id)
        self._empty = False
        """The batch has its row, and no jobs."""
        self._refused = False
        """Nothing more can be submitted."""

    @property
    def outstanding(self) -> int:
        """Number of calls whose outputs were not taken."""
        return self._calls.sender.sent - self.handled

    @property
    def done(self) -> int:
        """Number of calls whose outputs are there."""
        return self._announced

    @property
    def batch(self) -> int:
        """ID of the batch."""
        return self._batch.id

    async def begin(self) -> None:
        """Find or make the batch's row; see what former runs have left."""
        self._batch = await self._row()
        self._njobs = self._batch.njobs
        self._empty = not self._batch.njobs
        try:
            async for chunk in self._place.store.calls.chunks(self._batch.id):
                self.ledger.load(chunk)
            if self._batch.version >= ledger.VERSION and len(self.ledger) != self._njobs:
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise errors.CheckpointError(
                f"{self._directory.path}: the keys of the batch's calls are damaged from {len(self.ledger)} on: put "
                "back the database as it was, or start anew with --fresh"
            ) from None
        self._outputs = outputs.Outputs(
            self._directory,
            self._batch.id,
            self._calls.registry,
            lambda: max(len(self.ledger), self._batch.njobs),
            lambda number, error: self._calls.located(self.ledger.program(number), error),
        )
        await threads.in_thread(self._outputs.look_back)

    async def run(self) -> None:
        """Submit calls, announce outputs, until cancelled; or until nothing more can come, which is an error."""
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(self._submit())
            tasks.create_task(self._retire())
            tasks.create_task(self._watch_database())
            if self._place.project.kind is not config.Kind.EMBEDDED:
                tasks.create_task(self._watch_jobs())
            await self._watch_directory()

    async def look(self, number: int) -> executions.Workunit | None:
        """Return what the project's database has of the job *number*."""
        return await self._place.store.executions.of_workunit(f"pyboinc_{self._batch.id}_{number}")

    async def committed_all(self) -> None:
        """Wait until all calls made so far are in the project."""
        while self._submitted < self._calls.sender.sent:
            self._changed.clear()
            await self._changed.wait()

    async def mark_submitted(self) -> None:
        """Record that the calls made so far are all, for all that is known. They are committed."""
        if self.complete and self._marked == len(self.ledger):
            return
        self.complete = True
        self._marked = len(self.ledger)
        await self._place.store.batches.submitted(self._batch.id, len(self.ledger))
        await self._note("submitted")
        self.tell()

    async def withdraw_uncalled(self) -> None:
        """Cancel the jobs of calls that this run could have made and has not, as far as they are not done; say so."""
        numbers = await threads.in_thread(self._uncalled)
        count = 0
        delay = self._place.project.delete_delay
        decide = cancellation.decider(delay)
        for begin in range(0, len(numbers), _PIECE):
            piece = [number for number in numbers[begin : begin + _PIECE] if not self.ledger.is_called(number)]
            # Before, so that a call which is made meanwhile is a new job, and none that is being cancelled.
            keys = self.ledger.forget(piece)
            withdrawn = await self._place.store.calls.withdraw(
                self._batch.id, piece, decide, firsts=self.ledger.firsts
            )
            self.ledger.restore({number: keys[number] for number in set(piece).difference(withdrawn)})
            count += len(withdrawn)
        if count:
            _log.warning("%d jobs of calls that are not made any more are cancelled", count)

    def _uncalled(self) -> list[int]:
        return [number for number in self.ledger.not_called() if not self._outputs.state(number) & outputs.THERE]

    async def finish(self) -> None:
        """Record that the batch is done: all calls are made, and all outputs taken."""
        if self._place.project.kind is not config.Kind.EMBEDDED:
            await self._place.store.batches.settle(self._batch.id, self._app.id)
        await self._note("finished")

    def tell(self) -> None:
        """Report how far the batch is."""
        self._settings.progress(Progress(self._submitted, self.complete, self.handled, self.failed))

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

    # What the submission is told (submission.Observer).

    def identified(self, number: int, call: jobs.Call) -> None:
        if self.inputs is not None:
            self.inputs.add(call.input)
        if number < self._njobs:
            self._submitted += 1
            self._changed.set()
        taker = cast(takers.Taker, call.taker)
        taker.identified(number, self.ledger.order(number))
        state = self._outputs.state(number)
        if not state & outputs.THERE:
            self._outputs.check_obstacle(number)
            self._await(number, taker)
            return
        self._announced += 1
        if self._replay or not state & outputs.OLD:
            taker.announce(number)
        else:
            self.handled += 1
            self.failed += bool(state & outputs.FAILED)

    def is_done(self, number: int) -> bool:
        return bool(self._outputs.state(number) & outputs.THERE)

    def committed(self, njobs: int) -> None:
        self._submitted += njobs - self._njobs
        self._njobs = njobs
        self._empty = False
        self._place.submitted.set()
        self._changed.set()
        self.tell()

    # What those who take outputs ask for (takers.Source).

    async def load(self, numbers: Sequence[int]) -> tuple[list[outputs.Output], list[int]]:
        return await threads.in_thread(self._outputs.load, numbers)

    def lost(self, numbers: Sequence[int], taker: takers.Taker) -> None:
        """Take note that outputs which were announced are not there any more."""
        self._announced -= len(numbers)
        for number in numbers:
            self._await(number, taker)

    # What the patrol asks for (patrol.Jobs).

    def unhandled(self, first: int, end: int, limit: int) -> list[int]:
        numbers: list[int] = []
        for number in range(first, min(end, len(self._taker_of))):
            if self._taker_of[number]:
                numbers.append(number)
                if len(numbers) == limit:
                    break
        return numbers

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
        """Announce an output, if its call is made; otherwise that comes when it is."""
        place = self._taker_of[number] if number < len(self._taker_of) else 0
        if place:
            self._taker_of[number] = 0
            self._announced += 1
            self._takers[place - 1].announce(number)

    @contextlib.asynccontextmanager
    async def withdrawn_in_vain(self) -> AsyncIterator[None]:
        """Where submission can't begin, nothing stays of the batch, neither its rows nor its checkpoint."""
        try:
            yield
        except Exception:
            if self._empty and self._checkpoint.batch is not None:
                # Without the database the rows stay, and the checkpoint that they are found by.
                with contextlib.suppress(errors.DatabaseError):
                    if await self._place.store.batches.withdraw(self._checkpoint.batch):
                        await threads.in_thread(self._directory.withdraw)
            raise

    async def _row(self) -> batches.Progress:
        """Find or make the batch's row."""
        store = self._place.store
        project = self._place.project
        known = self._checkpoint.batch
        if known is not None and await store.batches.find(self._checkpoint.token) is None:
            raise errors.CheckpointError(
                f"{self._directory.path}: the database of {project.root} does not know the batch {known} any more: put "
                "back what it was, or start anew with --fresh; the outputs so far are in old/ and new/"
            )
        batch = await store.batches.find_or_create(
            self._checkpoint.token,
            appid=self._app.id,
            name=printable.line(f"{self._directory.path.name} {self._checkpoint.token[:8]}"),
            directory=os.pardir if project.kind is config.Kind.EMBEDDED else str(self._directory.path),
            version=ledger.VERSION,
            taken=await threads.in_thread(self._directory.batches) if known is None else (),
        )
        if known != batch.id:
            self._checkpoint = dataclasses.replace(self._checkpoint, batch=batch.id)
            await self._note("submitting")
        return batch

    async def _note(self, state: str) -> None:
        self._checkpoint = dataclasses.replace(self._checkpoint, state=state)
        await self._directory.write_checkpoint(self._checkpoint)

    async def _retire(self) -> None:
        while True:
            await self._retiring.wait()
            await self.retire_taken()

    async def _submit(self) -> None:
        stager = await threads.in_thread(staging.Stager, self._place.project, self._settings.inline_inputs)
        pipeline = submission.Submission(
            self._receiver, self._place.store, stager, self._app, self._batch, self.ledger, self
        )
        try:
            await pipeline.run()
        except errors.BatchAborted:
            self._refused = True  # the database's watcher finds out why
        self._news.set()

    async def _watch_database(self) -> None:
        """Poll the batch's counters; wake the directory's watcher when they have news."""
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
        """Look now and then for what somebody has done to single jobs, or to the application."""
        round_of = patrol.Patrol(self._place.store, self._directory, self._batch.id, self)
        while True:
            await asyncio.sleep(_PATROL)
            while await round_of.one_pass(self._njobs):
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
            if found:
                backoff.reset()
                in_vain = 0
                await asyncio.sleep(pace.rest(loop.time() - begun))
                continue
            if ended and self._is_over():
                raise self._ending.error(self._batch.id, handled=self.handled, submitted=self._njobs)
            await threads.in_thread(self._directory.heal, self._checkpoint)
            missing = self.ledger.ncalls - self._announced
            in_vain += published == len(self.ledger) and missing > 0
            if in_vain > _MAX_LOOKS:
                raise errors.CheckpointError(
                    f"{self._directory.new}: the outputs of {missing} jobs were published here, and are neither here "
                    "nor in old/; put them back, or start anew with --fresh"
                )
            await loops.wait(backoff.next(), self._news)
            if self._news.is_set():
                backoff.reset()

    def _is_over(self) -> bool:
        """Tell whether all is taken that can be had of a batch that somebody has ended."""
        all_taken = self.handled == self._announced
        return all_taken and (self._refused or self.complete or self._outputs.count() == self._announced)

    def _is_good(self, number: int) -> bool:
        return self._outputs.is_good(number)
