"""The daemons of a project of ours, as tasks of one event loop, each woken by what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

from aioboinc import errors
from aioboinc.aio import loops, threads
from aioboinc.passes import assimilation, comparators, deletion, output_process, transition, validation
from aioboinc.project import config
from aioboinc.store import Store

__all__ = ["POLL", "Daemons"]

POLL = (1.0, 5.0)
"""Shortest and longest delay, in seconds, before a pass of the transitioner that nobody has asked for."""
_POLL_WOKEN = (1.0, 15.0)
"""The same for the others: the daemon before them wakes them, and what could not be done is tried again."""
_GRACE = 0.5
"""Seconds that what is under way gets to its end."""


class Daemons:
    """Transitioner, validator, assimilator and file deleter of one application. *stop* ends them."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.transitions = asyncio.Event()
        """To be set when there is something for the transitioner."""
        self.assimilated = asyncio.Event()
        """Set when jobs have been published."""
        self._validations = asyncio.Event()
        self._assimilations = asyncio.Event()
        self._deletions = asyncio.Event()
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []

    def start(
        self,
        tasks: asyncio.TaskGroup,
        project: config.Project,
        store: Store,
        *,
        appid: int,
        policy: validation.Policy,
        on_transition: Collection[asyncio.Event] = (),
        pace: loops.Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start all in *tasks*. The events *on_transition* are set when there may be new results to send.

        With a *pace*, the passes of each are kept apart. *clock* returns the project's time.
        """
        held = assimilation.Held()
        stopped = self._stop.is_set
        process = output_process.OutputProcess(policy.comparator)
        refused = output_process.OutputProcess(comparators.BITWISE)

        async def transition_pass() -> int:
            # What is due in this second is due now: BOINC's transitioner would leave it for the next one.
            count = await transition.one_pass(store, project, appid=appid, now=int(clock()) + 1)
            return _woken(count, self._validations, self._assimilations, self._deletions, *on_transition)

        async def validation_pass() -> int:
            count = await validation.one_pass(
                store, project, appid=appid, policy=policy, clock=clock, stop=stopped, process=process
            )
            return _woken(count, self._assimilations, self.transitions)

        async def assimilation_pass() -> int:
            count = await assimilation.one_pass(
                store, project, held, appid=appid, clock=clock, stop=stopped, process=refused
            )
            return _woken(count, self.assimilated, self.transitions)

        async def deletion_pass() -> int:
            return await deletion.one_pass(store, project, appid=appid, stop=stopped)

        async def run(
            one_pass: Callable[[], Awaitable[int]], wake: asyncio.Event, poll: tuple[float, float]
        ) -> None:
            backoff = loops.Backoff(*poll)
            await _told(project, loops.run(one_pass, stop=self._stop, wake=wake, backoff=backoff, pace=pace))

        async def validate() -> None:
            try:
                await threads.in_thread(process.start)
                await run(validation_pass, self._validations, _POLL_WOKEN)
            finally:
                process.close()

        async def assimilate() -> None:
            try:
                await run(assimilation_pass, self._assimilations, _POLL_WOKEN)
            finally:
                refused.close()

        self._tasks += [
            tasks.create_task(run(transition_pass, self.transitions, POLL)),
            tasks.create_task(validate()),
            tasks.create_task(assimilate()),
            tasks.create_task(run(deletion_pass, self._deletions, _POLL_WOKEN)),
        ]

    async def end(self) -> None:
        """Stop all, at a point where nothing is half done."""
        self._stop.set()
        await asyncio.wait(self._tasks, timeout=_GRACE)
        for task in self._tasks:
            task.cancel()


async def _told(project: config.Project, work: Awaitable[None]) -> None:
    """Await *work*; raise what the operating system says of the project's files as `errors.ProjectError`."""
    with errors.of_files(project.root, errors.ProjectError):
        await work


def _woken(count: int, *events: asyncio.Event) -> int:
    """Set *events* if a pass has done something; return *count*."""
    if count:
        for event in events:
            event.set()
    return count
