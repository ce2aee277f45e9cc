"""pyboinc_master: the design paper's interface to a batch, with functions that make calls and handle outputs."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aioboinc import arguments, errors
from aioboinc.aio import task_group
from aioboinc.batch import calls, handlers, held, session, settings, takers, tracebacks
from aioboinc.batch.progress import Progress

__all__ = ["Summary", "pyboinc_master"]


@dataclass(frozen=True)
class Summary:
    """What became of a batch."""

    batch: int
    """BOINC's ID of the batch."""
    jobs: int
    """Calls made."""
    failed: int
    """Jobs that failed."""


async def pyboinc_master(
    make_calls: Callable[[], Any],
    handle_result: Callable[..., Any],
    *,
    handle_error: Callable[[errors.JobFailed], Any] | None = None,
    batch_dir: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    replay: bool = True,
    inline_inputs: int = 0,
    workers: int | None = None,
    fresh: bool = False,
    keep_results: bool = False,
    homogeneous_redundancy: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
) -> Summary:
    """Make the calls, and hand the output of each to *handle_result*; return when all are handled.

    *make_calls* calls `pyboinc_call`; it may be a plain function (run in a thread), a coroutine function or a
    generator of either kind. *handle_result(output)* and *handle_error(error)* may be plain or coroutine functions;
    they run in the event loop, one at a time, and may make more calls. Both may take the `Job` as a second argument.

    *batch_dir* is where the batch lives (default: the program's folder under ``aioboinc run``, else the
    current directory). *project* is the root directory of a BOINC or served project (default: the environment
    variable PYBOINC_DIR; without it, a project embedded in the batch directory, whose only hosts are *workers*
    cores of this machine, by default all).

    A master that was stopped, in whatever way, continues where it was. A call with the same program and input as one
    made before is the same job, in whatever order calls come; with *keep_results*, results stay although the program
    has changed. Only outputs of calls that this run makes are handed over. At the end, or when ``make_calls`` has
    returned and no handler makes calls, unfinished jobs of other calls are cancelled. The program's own state begins
    anew, so all outputs go to the handlers again, each once. With ``replay=False``, only those not handled before do:
    this is for services that keep their own state, and the last few before a crash may come twice.

    Inputs of up to *inline_inputs* bytes (at most 4096, which fit on a command line) become part of their workunits
    instead of files: they are submitted faster and need no download.

    *fresh* abandons the batch that is there and begins a new one. *homogeneous_redundancy* says that the results of a
    job must come from equivalent hosts (1, fine) or similar ones (2, coarse). BOINC has one setting for all jobs of an
    application: a project without it is refused, until ``aioboinc setup --homogeneous-redundancy`` sets it.
    *progress* is called with a `Progress` now and then; True shows it as the command line does.

    Raises `errors.BatchFailed` at the end if jobs failed and there is no *handle_error*; `errors.BatchAborted` if
    somebody has aborted the batch in the project, once what was done by then is handled; `errors.SubmissionMismatch`
    if version 0.1 of aioboinc began the batch and the first calls are not those made then; other `errors.UsageError`
    for bad input, before anything is changed; and what the handlers raise. Cancelling leaves the batch resumable.
    """
    with tracebacks.Shortened():
        arguments.function("pyboinc_master: make_calls", make_calls, "it calls pyboinc_call")
        arguments.flag("pyboinc_master: replay", replay)
        called = handlers.Handlers(handle_result, handle_error)
        chosen = settings.chosen(
            "pyboinc_master",
            batch_dir=batch_dir,
            project=project,
            workers=workers,
            fresh=fresh,
            keep_results=keep_results,
            inline_inputs=inline_inputs,
            homogeneous_redundancy=homogeneous_redundancy,
            progress=progress,
        )
        queue = takers.Queue()
        held_batch = held.Held(chosen, _folder(make_calls), queue, replay=replay, keep_inputs=called.take_jobs)
        async with held_batch as batch:
            current = await _run(batch, queue, make_calls, called)
        if current.failed and handle_error is None:
            raise errors.BatchFailed(f"{current.failed} of {current.handled} jobs failed", called.errors)
        return Summary(current.batch, current.handled, current.failed)


async def _run(
    batch: held.Held, queue: takers.Queue, make_calls: Callable[[], Any], called: handlers.Handlers
) -> session.Session:
    """Make the calls and handle the outputs, until the end."""
    with calls.current(batch.calls):
        async with task_group.TaskGroup() as tasks:
            making = tasks.create_task(_make(make_calls, batch))
            current = await batch.opened()
            if current is None:
                await making
                raise errors.NoCalls("make_calls made no call: it must call pyboinc_call at least once")

            def check_end() -> None:
                if making.done() and not current.outstanding:
                    queue.end()

            settling = batch.serve(_settle(making, current, check_end))
            with calls.late():
                await called.hand_over(batch, queue, check_end)
            await settling
    return current


async def _make(make_calls: Callable[[], Any], batch: held.Held) -> None:
    await calls.make(make_calls, batch.calls)
    batch.calls.late = True
    batch.calls.sender.all_made()
    if not batch.calls.sender.sent:
        batch.calls.end()


async def _settle(making: asyncio.Task[None], current: session.Session, check_end: Callable[[], None]) -> None:
    """Wait until ``make_calls`` has returned, and record that all calls are made."""
    await asyncio.wait({making})
    if making.cancelled() or making.exception() is not None:
        return
    await current.committed_all()
    check_end()  # without a replay there may be nothing to hand over
    await current.mark_submitted()
    if not current.ledger.has_late_calls:
        await current.withdraw_uncalled()


def _folder(make_calls: Callable[[], Any]) -> Path:
    """Return the folder that slave file names are relative to."""
    function = inspect.unwrap(getattr(make_calls, "func", make_calls))
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if code is not None and os.path.exists(code.co_filename):
        return Path(os.path.abspath(code.co_filename)).parent
    return Path.cwd()
