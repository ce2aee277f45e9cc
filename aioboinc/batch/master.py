"""pyboinc_master: the event loop of one batch."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import inspect
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aioboinc import arguments, errors, printable
from aioboinc.aio import loops, task_group, threads
from aioboinc.batch import (
    calls,
    ending,
    handling,
    opening,
    patrol,
    preflight,
    queue,
    staging,
    submission,
    tracebacks,
)
from aioboinc.batch.directory import BatchDirectory
from aioboinc.store import batches

__all__ = ["Defaults", "Progress", "Summary", "defaults", "pyboinc_master"]

_PACE_OF_CALLS = loops.Pace(0.05, 1.0)
"""How often it is looked for calls that were made again, when there are outputs of such."""
_PATROL = 60.0
"""Seconds between looks for what somebody has done to single jobs."""
_PATIENCE = 10
"""Looks into ``new/`` before outputs that the database calls published are called missing."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    submitted: int
    """Calls committed so far."""
    complete: bool
    """These are all the calls."""
    handled: int
    """Jobs handed to a handler."""
    failed: int
    """Jobs that failed; part of ``handled``."""
    cancelled: int = 0
    """Jobs of the batch before that are cancelled by now, while it is abandoned."""
    to_cancel: int = 0
    """How many that will be; 0 when no batch is being abandoned."""


@dataclass(frozen=True)
class Summary:
    """What became of a batch."""

    batch: int
    """BOINC's ID of the batch."""
    jobs: int
    """Calls made."""
    failed: int
    """Jobs that failed."""


@dataclass(frozen=True)
class Defaults:
    """What the command line sets for the masters of its program."""

    batch_dir: Path | None = None
    project: Path | None = None
    workers: int | None = None
    fresh: bool = False
    progress: Callable[[Progress], None] | None = None


defaults: contextvars.ContextVar[Defaults] = contextvars.ContextVar("aioboinc.defaults", default=Defaults())  # noqa: B039


async def pyboinc_master(
    make_calls: Callable[[], Any],
    handle_result: Callable[[Any], Any],
    *,
    handle_error: Callable[[errors.JobFailed], Any] | None = None,
    batch_dir: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    replay: bool = True,
    inline_inputs: int = 0,
    workers: int | None = None,
    fresh: bool = False,
    homogeneous_redundancy: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Make the calls, and hand the output of each to *handle_result*; return when all are handled.

    *make_calls* calls `pyboinc_call`; it may be a plain function (run in a thread), a coroutine function or a
    generator of either kind. Run again after an interruption, it must make the same calls in the same order.
    *handle_result(output)* and *handle_error(error)* may be plain or coroutine functions; they run in the
    event loop, one at a time.

    *batch_dir* is where the batch lives (default: the program's folder under ``aioboinc run``, else the
    current directory). *project* is the root directory of a BOINC or served project (default: the environment
    variable PYBOINC_DIR; without it, a project embedded in the batch directory, whose only hosts are *workers*
    cores of this machine, by default all).

    A master that was stopped in whatever way goes on where it was: no job is created twice. Its state begins
    anew, so all outputs go to the handlers again, each once; with ``replay=False`` only those that were not
    handled before, for services that keep their own state (the last few before a crash may come twice then).

    Inputs of up to *inline_inputs* bytes (4096 at most) become part of their workunits in place of files of their
    own: they are submitted faster, need no download, and are limited to what fits a command line.

    *fresh* abandons the batch that is there and begins a new one. *homogeneous_redundancy* says that the results
    of a job must come from equivalent hosts (1, fine) or similar ones (2, coarse), and refuses a project that does
    not see to it: BOINC has it for all jobs of an application, by ``aioboinc setup --homogeneous-redundancy``.
    *progress* is called with a `Progress` now
    and then.

    Raises `errors.BatchFailed` at the end if jobs failed and there is no *handle_error*; `errors.BatchAborted` if
    somebody has aborted the batch in the project, when the outputs of what was done then are handled;
    `errors.SubmissionMismatch` if the calls are not those made before; other `errors.UsageError` for bad
    input, before anything is changed; and what the handlers raise. Cancelling leaves the batch resumable.
    """
    with tracebacks.Shortened():
        _check_functions(make_calls, handle_result, handle_error, progress)
        batch_dir = arguments.path("pyboinc_master: batch_dir", batch_dir)
        project = arguments.path("pyboinc_master: project", project)
        arguments.flag("pyboinc_master: replay", replay)
        arguments.flag("pyboinc_master: fresh", fresh)
        staging.check_inline_inputs(inline_inputs)
        preflight.check_homogeneous_redundancy(homogeneous_redundancy)
        if workers is not None:
            workers = arguments.whole("pyboinc_master: workers", workers, 1)
        settings = defaults.get()
        return await _run(
            make_calls,
            handling.Handlers(handle_result, handle_error),
            BatchDirectory(batch_dir or settings.batch_dir or Path(os.curdir)),
            project or settings.project or _path(os.environ.get("PYBOINC_DIR")),
            workers=workers or settings.workers,
            fresh=fresh or settings.fresh,
            replay=replay,
            inline_inputs=inline_inputs,
            homogeneous_redundancy=homogeneous_redundancy,
            report=progress or settings.progress or (lambda _: None),
        )


def _check_functions(make_calls: object, handle_result: object, handle_error: object, progress: object) -> None:
    arguments.function("pyboinc_master: make_calls", make_calls, "it calls pyboinc_call")
    arguments.handler("pyboinc_master: handle_result", handle_result, "output")
    if handle_error is not None:
        arguments.handler("pyboinc_master: handle_error", handle_error, "error")
    if progress is not None:
        arguments.function("pyboinc_master: progress", progress, "it is told how far the batch is", "Progress")


async def _run(
    make_calls: Callable[[], Any],
    handlers: handling.Handlers,
    directory: BatchDirectory,
    root: Path | None,
    *,
    workers: int | None,
    fresh: bool,
    replay: bool,
    inline_inputs: int,
    homogeneous_redundancy: int,
    report: Callable[[Progress], None],
) -> Summary:
    with directory.made(), directory.lock():
        if fresh:
            await opening.discard(
                directory, root, lambda done, total: report(Progress(0, False, 0, 0, done, total))
            )
        checkpoint = await directory.read_checkpoint()
        if checkpoint is not None:
            opening.check(checkpoint, directory, root)
        sender, receiver = queue.open()
        made = calls.Calls(_folder(make_calls), sender)
        async with task_group.TaskGroup() as tasks:
            making = tasks.create_task(calls.make(make_calls, made))
            if not await receiver.ready() and checkpoint is None:
                await making  # what it raises is why there is no call
                raise errors.NoCalls("make_calls made no call of pyboinc_call: there is nothing to do")
            try:
                async with opening.opened(
                    directory,
                    root,
                    checkpoint,
                    workers=workers,
                    homogeneous_redundancy=homogeneous_redundancy,
                ) as opened:
                    batch = _Batch(directory, opened, made, receiver, handlers, report)
                    async with batch.withdrawn_in_vain():
                        return await batch.run(replay=replay, inline_inputs=inline_inputs)
            finally:
                receiver.close()


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return Path(path) if path else None


def _folder(make_calls: Callable[[], Any]) -> Path:
    """Return the folder to which slaves' file names are relative."""
    function = inspect.unwrap(getattr(make_calls, "func", make_calls))
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if code is not None and os.path.exists(code.co_filename):
        return Path(os.path.abspath(code.co_filename)).parent
    return Path.cwd()


class _Batch:
    """The event loop of one batch: submit, watch the database, hand over what is published."""

    def __init__(
        self,
        directory: BatchDirectory,
        opened: opening.Opened,
        made: calls.Calls,
        receiver: queue.Receiver,
        handlers: handling.Handlers,
        report: Callable[[Progress], None],
    ) -> None:
        self._directory = directory
        self._running = opened.running
        self._app = opened.app
        self._calls = made
        self._receiver = receiver
        self._handlers = handlers
        self._checkpoint = opened.checkpoint
        self._report = report
        self._submitted = 0
        self._total: int | None = None
        self._news = asyncio.Event()
        self._all_published = False
        self._ending = ending.Ending(self._running.store, self._running.project, self._app.id)
        self._empty = False
        """The batch has its row, and no jobs."""
        self._refused = False
        """Nothing more can be submitted."""

    @contextlib.asynccontextmanager
    async def withdrawn_in_vain(self) -> AsyncIterator[None]:
        """Where submission can't begin, nothing stays of the batch, neither its rows nor its checkpoint."""
        try:
            yield
        except Exception:
            if self._empty and self._checkpoint.batch is not None:
                # Without the database the rows stay, and the checkpoint that they are found by.
                with contextlib.suppress(errors.DatabaseError):
                    if await self._running.store.batches.withdraw(self._checkpoint.batch):
                        await threads.in_thread(self._directory.withdraw)
            raise

    async def run(self, *, replay: bool, inline_inputs: int) -> Summary:
        batch = await self._row()
        self._submitted = batch.njobs
        self._empty = not batch.njobs
        self._handling = handling.Handling(self._directory, batch.id, self._handlers, self._calls)
        self._patrol = patrol.Patrol(self._running.store, self._directory, batch.id, self._handling)
        await self._handling.look_back(batch.njobs, replay=replay)
        async with task_group.TaskGroup() as tasks:
            tasks.create_task(self._submit(batch, inline_inputs))
            watching = [tasks.create_task(self._watch_database(batch.id))]
            if not self._running.project.embedded:
                watching.append(tasks.create_task(self._watch_jobs()))
            await self._watch_directory()
            for task in watching:
                task.cancel()
        if not self._running.project.embedded:
            await self._running.store.batches.settle(batch.id, self._app.id)
        await self._note("finished")
        handled = self._handling
        if handled.failed and self._handlers.error is None:
            raise errors.BatchFailed(f"{handled.failed} of {self._total} jobs failed", handled.errors)
        return Summary(batch.id, handled.handled, handled.failed)

    async def _row(self) -> batches.Progress:
        """Find or make the batch's row."""
        store = self._running.store
        project = self._running.project
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
            directory=os.pardir if project.embedded else str(self._directory.path),
            version=self._checkpoint.version,
            taken=await threads.in_thread(self._directory.batches) if known is None else (),
        )
        if known != batch.id:
            self._checkpoint = dataclasses.replace(self._checkpoint, batch=batch.id)
            await self._note("submitting")
        return batch

    async def _note(self, state: str) -> None:
        self._checkpoint = dataclasses.replace(self._checkpoint, state=state)
        await self._directory.write_checkpoint(self._checkpoint)

    async def _submit(self, batch: batches.Progress, inline_inputs: int) -> None:
        stager = await threads.in_thread(staging.Stager, self._running.project, inline_inputs)
        pipeline = submission.Submission(self._receiver, self._running.store, stager, self._app, batch)
        try:
            self._total = self._submitted = await pipeline.run(self._committed)
        except errors.BatchAborted:
            self._refused = True  # the database's watcher finds out why
        else:
            await self._note("submitted")
        self._news.set()

    def _committed(self, njobs: int) -> None:
        self._submitted = njobs
        self._empty = False
        self._running.submitted.set()
        self._tell()

    def _tell(self) -> None:
        self._report(
            Progress(self._submitted, self._total is not None, self._handling.handled, self._handling.failed)
        )

    async def _watch_database(self, batch: int) -> None:
        """Poll the batch's counters; wake the directory's watcher when they have news."""
        backoff = loops.Backoff()
        pace = loops.Pace()
        published = -1
        while True:
            self._running.assimilated.clear()
            progress = await self._running.store.batches.progress(batch)
            if progress is None:
                raise errors.ProjectError(
                    f"batch {batch} has been deleted from the database of {self._running.project.name}"
                )
            self._all_published = progress.submitted and progress.nassimilated >= progress.njobs
            await self._ending.look(progress)
            if self._ending.published:
                self._news.set()
            if progress.nassimilated != published:
                published = progress.nassimilated
                backoff.reset()
                self._news.set()
            await asyncio.sleep(pace.shortest)
            await loops.wait(backoff.next(), self._running.assimilated)

    async def _watch_jobs(self) -> None:
        """Look now and then for what somebody has done to single jobs, or to the application."""
        while True:
            await asyncio.sleep(_PATROL)
            while await self._patrol.one_pass(self._submitted):
                self._news.set()
            await self._patrol.check_application(self._app.name)

    async def _watch_directory(self) -> None:
        """Hand over what was handled before, and what appears in ``new/``, until every job of the batch is handled."""
        backoff = loops.Backoff()
        loop = asyncio.get_running_loop()
        in_vain = 0
        while self._handling.handled != self._total:
            self._news.clear()
            all_published = self._all_published
            ended = self._ending.published
            begun = loop.time()
            if await self._handling.replay(self._tell) + await self._handling.drain(self._tell):
                backoff.reset()
                in_vain = 0
                continue
            if ended and (self._refused or not self._handling.waits_for_calls):
                raise self._ending.error(
                    self._checkpoint.batch, handled=self._handling.handled, submitted=self._submitted
                )
            if self._handling.waits_for_calls and self._total is None:
                await asyncio.sleep(_PACE_OF_CALLS.rest(loop.time() - begun))
                continue
            await threads.in_thread(self._directory.heal, self._checkpoint)
            in_vain += all_published and self._total is not None
            if in_vain > _PATIENCE:
                assert self._total is not None
                raise errors.CheckpointError(
                    f"{self._directory.new}: the outputs of {self._total - self._handling.handled} jobs were "
                    "published here, and are neither here nor in old/; put them back, or start anew with --fresh"
                )
            await loops.wait(backoff.next(), self._news)
            if self._news.is_set():
                backoff.reset()
