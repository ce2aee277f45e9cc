"""From a batch's calls to committed workunits.

Each call is looked up in the batch's ledger. One that the batch knows is the same job as before; new ones are staged
and committed, a chunk at a time, together with their keys. The input files of one chunk are written in a thread while
the chunk before is being inserted.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aioboinc import errors
from aioboinc import store as stores
from aioboinc.aio import task_group
from aioboinc.batch import adoption, ledger, partition, queue, sizing, staging
from aioboinc.store import batches, jobs
from aioboinc.store import calls as stored

__all__ = ["Observer", "Submission"]

_SLICE = 256
"""Calls to look up before yielding to the event loop: a millisecond."""
_REST = 0.005
"""Seconds to wait after calls of which none was new."""


class Observer(Protocol):
    """Is told what becomes of the calls."""

    def identified(self, number: int, call: jobs.Call) -> None:
        """Note that *call* is the job *number*, which is in the project or will be committed."""

    def is_done(self, number: int) -> bool:
        """Tell whether the job *number* has an output."""

    def committed(self, ncalls: int) -> None:
        """Take note that so many of the batch's calls are in the project, or that they are in other workunits."""


@dataclass(frozen=True)
class _Staged:
    """Workunits whose input files are in place."""

    jobs: Sequence[jobs.Job]
    ncalls: int
    page: stored.Chunk
    """What the ledger says of the calls, and of those that were committed with them."""
    digest: str
    """The running digest after them."""
    is_new: bool
    """The calls are new; if not, they are in other workunits already."""


class Submission:
    """Takes the calls of one batch from its queue to the database."""

    def __init__(
        self,
        calls: queue.Receiver,
        store: stores.Store,
        stager: staging.Stager,
        app: batches.App,
        batch: batches.Progress,
        book: ledger.Ledger,
        sizes: sizing.Sizes,
        observer: Observer,
    ) -> None:
        self._calls = calls
        self._store = store
        self._stager = stager
        self._app = app
        self._batch = batch
        self._ledger = book
        self._sizes = sizes
        self._observer = observer
        self._digest = bytes.fromhex(batch.digest)
        self._committed_digest = batch.digest
        self._made = batch.njobs
        """Workunits that are in the project."""
        self._ncalls = len(book) if batch.version >= ledger.VERSION else batch.njobs
        """Calls that are in the project."""
        self._committing = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._begun = asyncio.Event()
        self._idle = asyncio.Event()
        """Set while all calls that were taken are committed."""
        self._idle.set()

    async def run(self) -> None:
        """Submit all calls.

        Raises `errors.BatchAborted` if somebody has ended the batch, and `errors.SubmissionMismatch` if version 0.1 of
        aioboinc began it and the first calls are not those made then.
        """
        chunks: asyncio.Queue[asyncio.Task[_Staged] | None] = asyncio.Queue(maxsize=1)
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(self._take_in(chunks, tasks))
            while (staging_task := await chunks.get()) is not None:
                staged = await staging_task
                await self._commit(staged)
                self._begun.set()
                self._ncalls = staged.page.first + staged.ncalls
                self._observer.committed(self._ncalls)
                if self._ncalls == len(self._ledger):
                    self._idle.set()

    async def again(self, runs: Sequence[tuple[int, Sequence[jobs.Call]]], *, split: bool = True) -> None:
        """Put calls that are in the project into other workunits than they were in.

        *runs* are calls with numbers in a row, and the first number; all were in one workunit. Each run is one workunit
        then, unless *split* says that it may be several. Raises `errors.BatchAborted` as `run` does.
        """
        async with self._committing:
            chunk = self._ledger.first_of_chunk(runs[0][0])
            workunits: list[partition.Workunit] = []
            calls: list[jobs.Call] = []
            for number, together in runs:
                first = number
                for count in self._sizes.counts(together) if split else [len(together)]:
                    workunits.append(self._ledger.partition.move(first, count, chunk))
                    first += count
                calls += together
            (page,) = self._ledger.chunks([chunk])
            staged = await self._written(calls, workunits, page, self._committed_digest, is_new=False)
            await self._insert(staged)
        self._observer.committed(self._ncalls)

    async def _commit(self, staged: _Staged) -> None:
        async with self._committing:
            await self._insert(staged)

    async def _insert(self, staged: _Staged) -> None:
        page = staged.page
        chunk = jobs.Chunk(
            page.first,
            self._made,
            staged.jobs,
            page.keys,
            page.kinds,
            staged.digest,
            self._stager.template,
            is_new=staged.is_new,
        )
        await self._store.submissions.commit(self._batch.id, self._app.id, chunk)
        self._made += len(staged.jobs)
        self._committed_digest = staged.digest

    async def _take_in(
        self, chunks: asyncio.Queue[asyncio.Task[_Staged] | None], tasks: asyncio.TaskGroup
    ) -> None:
        """Look up the calls; start to stage one chunk after the other."""
        calls = await self._adopted() or await self._calls.take(self._idle)
        while calls:
            new = await self._look_up(calls)
            if new:
                await self._stage(new, chunks, tasks)
            else:
                await asyncio.sleep(_REST)  # known calls collect meanwhile
            calls = await self._calls.take(self._idle)
        await chunks.put(None)

    async def _adopted(self) -> list[jobs.Call]:
        """Give the calls made by version 0.1 their keys; return the calls taken after them, to look up."""
        if self._batch.version >= ledger.VERSION:
            return []
        calls, rest = await adoption.adopted(
            self._batch, self._calls, self._idle, self._ledger, self._store, self._stager
        )
        for number, call in enumerate(calls):
            self._observer.identified(number, call)
        self._digest = bytes.fromhex(batches.EMPTY_DIGEST)
        return rest

    async def _look_up(self, calls: Sequence[jobs.Call]) -> list[jobs.Call]:
        """Find out which jobs *calls* are; add the new ones to the ledger and return them."""
        new: list[jobs.Call] = []
        changed: defaultdict[tuple[jobs.Kind, int], list[int]] = defaultdict(list)
        book, observer = self._ledger, self._observer
        for count, call in enumerate(calls, 1):
            try:
                number, key = book.find(call)
            except ledger.Unindexed:
                while not book.make_index():  # noqa: ASYNC110 - yields to the event loop
                    await asyncio.sleep(0)
                number, key = book.find(call)
            if number < 0:
                number = book.add(call, key)
                new.append(call)
            elif book.options_differ(number, call.kind) and not observer.is_done(number):
                changed[call.kind, book.partition.of(number).ncalls].append(number)
            observer.identified(number, call)
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        for (kind, count), numbers in changed.items():
            book.set_options(numbers, kind)
            names = [workunit.name(self._batch.id) for workunit in book.partition.workunits(numbers)]
            options = self._stager.completed(kind.options, count)
            await self._store.calls.change(self._batch.id, names, options, book.chunks(numbers))
        return new

    async def _stage(
        self,
        calls: Sequence[jobs.Call],
        chunks: asyncio.Queue[asyncio.Task[_Staged] | None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Start to stage *calls*, while the chunk before is written."""
        if self._batch.end is not None:
            raise errors.BatchAborted(f"batch {self._batch.id} takes no more jobs")
        self._idle.clear()
        await self._sizes.ready(calls)
        workunits = self._ledger.partition.extend(self._sizes.counts(calls))
        page = self._ledger.chunk()
        self._digest = hashlib.sha256(self._digest + page.keys).digest()
        await chunks.put(tasks.create_task(self._written(calls, workunits, page, self._digest.hex())))
        await self._begun.wait()  # the first goes alone: hosts wait for it

    async def _written(
        self,
        calls: Sequence[jobs.Call],
        workunits: Sequence[partition.Workunit],
        page: stored.Chunk,
        digest: str,
        *,
        is_new: bool = True,
    ) -> _Staged:
        """Return the *workunits* of *calls*, with the input files in place. *digest* is the one after *page*."""
        staged = await self._stager.stage(self._batch.id, workunits, calls)
        if staged.has_files:
            # Only one thread writes, because several would wait for each other at every file; the chunk before is
            # synced meanwhile. The thread takes the interpreter's lock three times a file, and waits 5 ms for it each
            # time if other threads compute: so senders wait meanwhile.
            async with self._writing:
                with self._calls.held():
                    await staged.write()
            await staged.sync()
        return _Staged(staged.jobs, len(calls), page, digest, is_new)
