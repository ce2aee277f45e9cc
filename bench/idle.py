"""Idle: the cost of a master that waits for results."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Awaitable

from aioboinc.batch import calls, master
from aioboinc.batch.progress import Progress
from aioboinc.store import batches
from bench import jobs, measuring
from bench.environment import Environment
from bench.measuring import Figure

__all__ = ["run"]

_SETTLE = 12.0
"""Seconds until the master is idle, and polls at its lowest rate."""
_WATCH = 30.0
"""Seconds to watch it."""


async def run(environment: Environment, settle: float = _SETTLE, watch: float = _WATCH) -> measuring.Stage:
    """Measure a master whose jobs are all submitted, on a project without hosts."""
    settings = environment.settings
    place = await environment.new_place()
    polls = 0
    progress = batches.Batches.progress

    async def counted(self: batches.Batches, batch: int) -> batches.Progress | None:
        nonlocal polls
        polls += 1
        return await progress(self, batch)

    async def make_calls() -> AsyncIterator[Awaitable[None]]:
        for number in range(settings.jobs):
            yield calls.pyboinc_call(place.batch_dir / jobs.SLAVE, jobs.value(number), quorum=1)

    submitted = asyncio.Event()

    def note(state: Progress) -> None:
        if state.submitted == settings.jobs:
            submitted.set()

    batches.Batches.progress = counted  # type: ignore[method-assign]
    try:
        waiting_master = asyncio.ensure_future(
            master.pyboinc_master(
                make_calls,
                lambda output: None,
                batch_dir=place.batch_dir,
                project=place.project.root,
                progress=note,
            )
        )
        waiting = asyncio.ensure_future(submitted.wait())
        await asyncio.wait({waiting_master, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(settle)
        polls, cpu, start = 0, time.process_time(), time.perf_counter()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(watch)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        waiting.cancel()
        waiting_master.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting_master
    finally:
        batches.Batches.progress = progress  # type: ignore[method-assign]
    figures = [
        Figure("part of a core", 100 * cpu / seconds, "%"),
        Figure("polls of the database", polls / seconds, "/s"),
        Figure("growth of memory", growth / 1024, "MiB"),
    ]
    return measuring.Stage("idle", settings.jobs, settings.database, (), figures)
