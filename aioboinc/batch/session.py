"""One open batch: its calls go to the project, its outputs to those who take them.

The database and ``new/`` are polled concurrently, with backoff; news of one wakes the poller of the other.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import itertools
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
    sizing,
    staging,
    submission,
    takers,
    uncalled,
)
from aioboinc.batch.directory import BatchDirectory
from aioboinc.batch.partition import Workunit
from aioboinc.batch.progress import Progress
from aioboinc.batch.settings import Settings
from aioboinc.passes import cancellation
from aioboinc.project import config
from aioboinc.store import batches, jobs

__all__ = ["Session"]

_PATROL = 60.0
"""Seconds between patrols: looks for changes that somebody has made to single jobs."""
_MAX_LOOKS = 10
"""Scans of ``new/`` before outputs that the database calls published count as missing."""
_SLICE = 1000
"""Outputs to announce before yielding to the event loop: a millisecond."""
_PIECE = 500
"""Jobs to withdraw in a transaction: a tenth of a second."""

_SAMPLES = 32
"""Workunits at a time whose run times are looked up."""
_TIMING = 0.05
"""Seconds between such looks."""

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
        self._samples: collections.deque[Workunit] = collections.deque(maxlen=_SAMPLES)
        """Workunits that are done, of which the times are of interest."""
        self._sampled = asyncio.Event()
        self._unfinished = asyncio.Event()
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._published = -1
        """Number of workunits in the batch, if all were published at the last look."""
        self._ending = ending.Ending(self._place.store, self._place.project, self._app.id)
        self._empty = False
        """The batch has a row but no jobs."""
        self._refused = False
        """Nothing more can be submitted."""

    @property
    def outstanding(self) -> int:
        """Number of calls whose outputs are not yet taken."""
        return self._calls.sender.sent - self.handled - self._uncalled.count

    @property
    def batch(self) -> int:
        """ID of the batch."""
        return self._batch.id

    async def begin(self) -> None:
        """Find or make the batch's row; load what earlier runs have left."""
        self._batch = await self._row()
        self._empty = not self._batch.njobs
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
        self._known = self._ncalls = len(self.ledger)
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
        await threads.in_thread(self._outputs.look_back)

    async def run(self) -> None:
        """Submit calls and announce outputs, until cancelled. Raises if no more outputs can come."""
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(self._submit())
            tasks.create_task(self._retire())
            tasks.create_task(self._time())
            tasks.create_task(self._divide())
            tasks.create_task(self._watch_database())
            if self._place.project.kind is not config.Kind.EMBEDDED:
                tasks.create_task(self._watch_jobs())
            await self._watch_directory()

    def hurry(self) -> None:
        """Put calls into the project without waiting for the times of others."""
        self._sizes.hurry()

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
        await self._note("submitted")
        self.tell()

    async def withdraw_uncalled(self) -> None:
        """Cancel the jobs of calls that this run could have made and has not, as far as they are not done; say so."""
        count = await self._cancel(await threads.in_thread(self._not_called))
        if count:
            _log.warning("cancelled %d jobs of calls that are not made any more", count)

    def uncall(self, numbers: Sequence[int]) -> None:
        """Take back the calls of the jobs *numbers*, as far as their outputs are not there: nobody waits for them."""
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
        await self._cancel([pair for pair in workunits if self._uncalled.has_all(pair[1])])

    async def _cancel(self, workunits: Sequence[tuple[Workunit, list[int]]]) -> int:
        """Cancel *workunits*, with their calls, which nobody makes, as far as they are not done; return how many."""
        count = 0
        decide = cancellation.decider(self._place.project.delete_delay)
        for begin in range(0, len(workunits), _PIECE):
            piece = {
                workunit.name(self._batch.id): numbers
                for workunit, numbers in workunits[begin : begin + _PIECE]
                if not any(map(self.ledger.is_called, numbers))
            }
            # Before, so that a call which is made meanwhile is a new job, and none that is being cancelled.
            keys = self.ledger.forget([number for numbers in piece.values() for number in numbers])
            withdrawn = await self._place.store.calls.withdraw(
                self._batch.id, piece, decide, firsts=self.ledger.firsts
            )
            self.ledger.restore({number: keys[number] for number in keys.keys() - set(withdrawn)})
            count += len(withdrawn)
        return count

    def _not_called(self) -> list[tuple[Workunit, list[int]]]:
        """Return workunits of whose calls this run has made none, with these, as far as they are not done."""
        found = []
        for workunit, group in itertools.groupby(self.ledger.not_called(), key=self.ledger.partition.of):
            numbers = list(group)
            is_done = any(self._outputs.state(number) & outputs.THERE for number in numbers)
            if not is_done and numbers == self.ledger.partition.calls(workunit):
                found.append((workunit, numbers))
        return found

    async def finish(self) -> None:
        """Record that the batch is done: all calls are made, and all outputs taken."""
        if self._place.project.kind is not config.Kind.EMBEDDED:
            await self._place.store.batches.settle(self._batch.id, self._app.id)
        await self._note("finished")

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
            if self._outputs.unfinished:
                self._unfinished.set()
            return
        self._sample(number)
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
        self._empty = False
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
            self._sample(number)
            self._takers[place - 1].announce(number)

    @contextlib.asynccontextmanager
    async def withdrawn_in_vain(self) -> AsyncIterator[None]:
        """If submission can't begin, remove the batch's rows and its checkpoint."""
        try:
            yield
        except Exception:
            if self._empty and self._checkpoint.batch is not None:
                # Without the database the rows stay, and so does the checkpoint that finds them.
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
                f"{self._directory.path}: the database of {project.root} does not know the batch {known} any more: "
                "restore the database, or start anew with --fresh; the outputs so far are in old/ and new/"
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
        try:
            await self._submission.run()
        except errors.BatchAborted:
            self._refused = True  # the database's watcher finds out why
        self._news.set()

    async def _time(self) -> None:
        """Find out how long calls take, while that is of interest."""
        while True:
            await self._sampled.wait()
            self._sampled.clear()
            workunits = {workunit.name(self._batch.id): workunit for workunit in self._samples}
            self._samples.clear()
            times = await self._place.store.calls.run_times(list(workunits))
            for name, seconds in times.items():
                workunit = workunits[name]
                numbers = self.ledger.partition.calls(workunit)
                done = sum(1 for number in numbers if self._outputs.state(number) & outputs.THERE)
                if done:
                    self._sizes.learn(bytes.fromhex(self.ledger.program(workunit.first)), done, seconds)
            await asyncio.sleep(_TIMING)

    async def _divide(self) -> None:
        """Put calls into new workunits whose own one has ended without their outputs."""
        while True:
            await self._unfinished.wait()
            self._unfinished.clear()
            for workunit, failed in list(self._outputs.unfinished.items()):
                waiting = [
                    number
                    for number in self.ledger.partition.calls(workunit)
                    if not self._outputs.state(number) & outputs.THERE
                ]
                called = [number for number in waiting if self.ledger.is_called(number)]
                if called and not self._refused:
                    half = len(called) // 2
                    groups = [called[:half], called[half:]] if failed else [called]
                    runs = [self._run_of(run) for group in groups for run in _in_a_row(group)]
                    try:
                        await self._submission.again(runs, split=not failed)
                    except errors.BatchAborted:
                        self._refused = True
                        continue
                if len(called) == len(waiting):
                    await threads.in_thread(self._outputs.done, workunit)

    def _run_of(self, numbers: Sequence[int]) -> tuple[int, list[jobs.Call]]:
        return numbers[0], [self.inputs.call(self.ledger.order(number)) for number in numbers]

    def _sample(self, number: int) -> None:
        """Take note that a job is done whose time may be of interest."""
        if self._sizes.wants_times:
            workunit = self.ledger.partition.of(number)
            if not self._samples or self._samples[-1] != workunit:
                self._samples.append(workunit)
                self._sampled.set()

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
            if self._outputs.unfinished:
                self._unfinished.set()
            if found:
                backoff.reset()
                in_vain = 0
                await asyncio.sleep(pace.rest(loop.time() - begun))
                continue
            if ended and self._is_over():
                raise self._ending.error(self._batch.id, handled=self.handled, submitted=self._ncalls)
            await threads.in_thread(self._directory.heal, self._checkpoint)
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


def _in_a_row(numbers: Sequence[int]) -> list[list[int]]:
    """Return *numbers*, which are sorted, as lists in each of which one follows the other."""
    runs = itertools.groupby(enumerate(numbers), key=lambda item: item[1] - item[0])
    return [[number for _, number in run] for _, run in runs]
