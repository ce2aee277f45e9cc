"""The daemons of one of our projects, as tasks of one event loop; each is woken by what it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection

from aioboinc import errors
from aioboinc.aio import loops, threads
from aioboinc.passes import assimilation, comparators, deletion, output_process, transition, validation
from aioboinc.project import config
from aioboinc.store import Store

__all__ = ["POLL", "Daemons"]

POLL = (1.0, 5.0)
"""Minimum and maximum seconds before a pass of the transitioner that nobody has asked for."""
_POLL_WOKEN = (1.0, 15.0)
"""The same for the others, which the daemon before them wakes; such a pass retries what could not be done."""
_GRACE = 0.5
"""Seconds that a pass gets to finish."""


class Daemons:
    """Transitioner, validator, assimilator and file deleter of one application. *stop* ends them."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.transitions = asyncio.Event()
        """Set it when there is something for the transitioner."""
        self.assimilated = asyncio.Event()
        """Is set when jobs have been published."""
        self.validations = asyncio.Event()
        self.assimilations = asyncio.Event()
        self.deletions = asyncio.Event()
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
        """Start all daemons in *tasks*. The events *on_transition* are set when there may be new results to send.

        With a *pace*, each daemon rests between its passes. *clock* returns the project's time.
        """
        passes = _Passes(self, project, store, appid, policy, on_transition, clock, self._stop.is_set)

        async def run(
            one_pass: Callable[[], Awaitable[int]],
            wake: asyncio.Event,
            poll: tuple[float, float] = _POLL_WOKEN,
        ) -> None:
            backoff = loops.Backoff(*poll)
            await _told(project, loops.run(one_pass, stop=self._stop, wake=wake, backoff=backoff, pace=pace))

        async def validate() -> None:
            with contextlib.closing(passes.outputs) as process:
                await threads.in_thread(process.start)
                await run(passes.validate, self.validations)

        async def assimilate() -> None:
            with contextlib.closing(passes.refused):
                await run(passes.assimilate, self.assimilations)

        self._tasks += [
            tasks.create_task(run(passes.transition, self.transitions, POLL)),
            tasks.create_task(validate()),
            tasks.create_task(assimilate()),
            tasks.create_task(run(passes.delete, self.deletions)),
        ]

    async def end(self) -> None:
        """Stop all daemons, at a point where nothing is half done."""
        self._stop.set()
        await asyncio.wait(self._tasks, timeout=_GRACE)
        for task in self._tasks:
            task.cancel()


class _Passes:
    """One pass of each daemon; it wakes the daemons after it if there was something to do."""

    def __init__(
        self,
        daemons: Daemons,
        project: config.Project,
        store: Store,
        appid: int,
        policy: validation.Policy,
        on_transition: Collection[asyncio.Event],
        clock: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> None:
        self.outputs = output_process.OutputProcess(policy.comparator)
        self.refused = output_process.OutputProcess(comparators.BITWISE)
        self._daemons = daemons
        self._project = project
        self._store = store
        self._appid = appid
        self._policy = policy
        self._on_transition = on_transition
        self._clock = clock
        self._stopped = stopped
        self._held = assimilation.HeldBatches()

    async def transition(self) -> int:
        # What is due in this second is due now; BOINC's transitioner would leave it for the next second.
        now = int(self._clock()) + 1
        count = await transition.one_pass(self._store, self._project, appid=self._appid, now=now)
        woken = self._daemons
        return _woken(count, woken.validations, woken.assimilations, woken.deletions, *self._on_transition)

    async def validate(self) -> int:
        count = await validation.one_pass(
            self._store,
            self._project,
            appid=self._appid,
            policy=self._policy,
            clock=self._clock,
            stop=self._stopped,
            process=self.outputs,
        )
        return _woken(count, self._daemons.assimilations, self._daemons.transitions)

    async def assimilate(self) -> int:
        count = await assimilation.one_pass(
            self._store,
            self._project,
            self._held,
            appid=self._appid,
            clock=self._clock,
            stop=self._stopped,
            process=self.refused,
        )
        return _woken(count, self._daemons.assimilated, self._daemons.transitions)

    async def delete(self) -> int:
        return await deletion.one_pass(self._store, self._project, appid=self._appid, stop=self._stopped)


async def _told(project: config.Project, work: Awaitable[None]) -> None:
    """Await *work*; raise operating system errors about the project's files as `errors.ProjectError`."""
    with errors.of_files(project.root, errors.ProjectError):
        await work


def _woken(count: int, *events: asyncio.Event) -> int:
    """Set *events* if a pass has done something; return *count*."""
    if count:
        for event in events:
            event.set()
    return count
