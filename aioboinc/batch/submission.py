"""From a batch's calls to committed workunits.

A stage writes the input files of one chunk of calls, in a thread, while the chunk before is being inserted.

Submitting is idempotent. Calls are numbered, and a running SHA-256 over them is committed with each chunk:
when ``make_calls`` runs again after a crash, the calls committed before are compared with it and skipped.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from aioboinc import errors
from aioboinc import store as stores
from aioboinc.aio import task_group
from aioboinc.batch import queue, staging
from aioboinc.program import bundle
from aioboinc.store import batches, jobs
from aioboinc.wire import documents

__all__ = ["Submission"]


class Submission:
    """Takes the calls of one batch from its queue to the database."""

    def __init__(
        self,
        calls: queue.Receiver,
        store: stores.Store,
        stager: staging.Stager,
        app: batches.App,
        batch: batches.Progress,
    ) -> None:
        self._calls = calls
        self._store = store
        self._stager = stager
        self._app = app
        self._batch = batch
        self._digest = bytes.fromhex(batches.EMPTY_DIGEST)
        self._ncalls = 0
        self._writing = asyncio.Lock()
        self._begun = asyncio.Event()
        self._idle = asyncio.Event()
        """Set while all calls that were taken are committed."""
        self._idle.set()

    async def run(self, committed: Callable[[int], None]) -> int:
        """Submit all calls; return their number. *committed* is told each time how many are in the database.

        Raises `errors.SubmissionMismatch` when the calls are not those that were committed before,
        `errors.BatchAborted` when the batch was ended by somebody and takes no more.
        """
        rest = await self._skip_committed()
        chunks: asyncio.Queue[asyncio.Task[jobs.Chunk] | None] = asyncio.Queue(maxsize=1)
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(self._stage(rest, chunks, tasks))
            while (staging_task := await chunks.get()) is not None:
                chunk = await staging_task
                await self._store.submissions.commit(self._batch.id, self._app.id, chunk)
                self._begun.set()
                njobs = chunk.first + len(chunk.jobs)
                committed(njobs)
                if njobs == self._ncalls:
                    self._idle.set()
        await self._store.batches.submitted(self._batch.id, self._ncalls)
        return self._ncalls

    async def _stage(
        self,
        calls: list[jobs.Call],
        chunks: asyncio.Queue[asyncio.Task[jobs.Chunk] | None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Begin to stage one chunk after the other: the next is written while those before it go to the disk."""
        calls = calls or await self._calls.take(self._idle)
        while calls:
            if self._batch.end is not None:
                raise errors.BatchAborted(f"batch {self._batch.id} takes no more jobs")
            if self._batch.submitted:
                raise errors.SubmissionMismatch(
                    f"make_calls makes more than the {self._batch.njobs} calls that were all before. {_REMEDY}",
                    self._batch.njobs,
                )
            first = self._ncalls
            self._take_in(calls)
            self._idle.clear()
            await chunks.put(tasks.create_task(self._staged(first, calls, self._digest.hex())))
            await self._begun.wait()  # the first goes alone: hosts wait for it
            calls = await self._calls.take(self._idle)
        await chunks.put(None)

    async def _staged(self, first: int, calls: Sequence[jobs.Call], digest: str) -> jobs.Chunk:
        """Return the chunk of *calls*, with the input files in place. *digest* is the one after the last of them."""
        staged = await self._stager.stage(self._batch.id, first, calls)
        if staged.has_files:
            # One thread writes, as several would wait for each other at every file; meanwhile the disk takes in what
            # those before have written. The thread needs the interpreter's lock three times a file, and waits 5 ms
            # for it each time beside others that compute: so calls wait meanwhile.
            async with self._writing:
                with self._calls.held():
                    await staged.write()
            await staged.sync()
        return jobs.Chunk(first, staged.jobs, digest, self._stager.template)

    def _take_in(self, calls: Sequence[jobs.Call]) -> None:
        for call in calls:
            self._digest = hashlib.sha256(self._digest + call.record).digest()
        self._ncalls += len(calls)

    async def _skip_committed(self) -> list[jobs.Call]:
        """Compare the calls that are committed already; return those of the last chunk that are not."""
        seen = _Seen()
        calls: list[jobs.Call] = []
        while self._ncalls < self._batch.njobs:
            calls = await self._calls.take(self._idle)
            if not calls:
                raise errors.SubmissionMismatch(
                    f"make_calls makes only {self._ncalls} of the {self._batch.njobs} calls before. {_REMEDY}",
                    self._ncalls,
                )
            missing = self._batch.njobs - self._ncalls
            seen.extend(calls[:missing])
            self._take_in(calls[:missing])
            calls = calls[missing:]
        if self._digest.hex() != self._batch.digest:
            raise await self._mismatch(seen)
        return calls

    async def _mismatch(self, seen: _Seen) -> errors.SubmissionMismatch:
        """Find the first call that differs, by the documents of the committed jobs."""
        async for document in self._store.batches.documents(self._batch.id):
            number = int(document.name.rpartition("_")[2])
            identity = documents.identity(document.name, document.xml_doc)
            if identity.program_sha256 != await self._stager.program_sha256(seen.sources[number]):
                what = "its slave, or a module that this imports, has changed"
            elif not identity.input_sha256.startswith(seen.input(number)):
                what = "its input differs"
            else:
                continue
            return errors.SubmissionMismatch(
                f"call {number} of make_calls is not the one that was submitted before: {what}. {_REMEDY}", number
            )
        return errors.SubmissionMismatch(
            f"the first {self._batch.njobs} calls of make_calls are not those that were submitted before: "
            f"the options of a call differ. {_REMEDY}"
        )


class _Seen:
    """What must be remembered of calls to tell later which one differs: little, for there may be millions."""

    def __init__(self) -> None:
        self.sources: list[bundle.Sources] = []
        self._inputs = bytearray()

    def extend(self, calls: Sequence[jobs.Call]) -> None:
        for call in calls:
            self.sources.append(call.sources)
            self._inputs += call.input_sha256[:8]

    def input(self, number: int) -> bytes:
        """Return the first bytes of the SHA-256 of a call's input."""
        return bytes(self._inputs[8 * number : 8 * number + 8])


_REMEDY = "Undo the change, or start a new batch with --fresh (or in another batch directory)."
