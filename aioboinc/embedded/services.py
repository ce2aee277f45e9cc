"""The embedded project while it runs: its hosts and its daemons, as tasks of one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from aioboinc import (
    assimilation,
    connectors,
    deletion,
    errors,
    keys,
    runtime_archive,
    service,
    sql,
    store,
    transition,
    validation,
)
from aioboinc import project as projects
from aioboinc.embedded import creation, local_hosts
from aioboinc.store import applications

__all__ = ["Running", "running"]

_FRIENDLY_NAME = "Python programs (pyboinc)"
_PLATFORM = "aioboinc-local-host"
"""No client calls itself that: the version for local hosts has no files and no signatures."""
_GRACE = 0.5
"""Seconds that what is under way gets to its end."""


@dataclass(frozen=True)
class Running:
    """A project that works."""

    project: projects.Project
    store: store.Store
    submitted: asyncio.Event
    """To be set when jobs have been committed."""
    assimilated: asyncio.Event
    """Set when jobs have been published."""


@contextlib.asynccontextmanager
async def running(root: Path, *, workers: int | None = None) -> AsyncIterator[Running]:
    """Run the embedded project in *root*, which is made if it isn't there, with *workers* local hosts.

    By default there is a host for each core. On exit all its processes end within a second; jobs that are interrupted begin
    again next time. What fails in the project is raised as itself, and cancels the body.

    Raises `errors.ProjectError` if the project can't be made, is running already or is damaged, `errors.DatabaseError`.
    """
    root = Path(os.path.abspath(root))
    stop = asyncio.Event()
    with errors.sole(), _lock(root):
        project = await service.in_thread(creation.create, root)
        runtime = await service.in_thread(creation.unpack_runtime, root)
        checkpoints = await service.in_thread(creation.salvage_checkpoints, root)
        daemons = _Daemons(stop)
        hosts = local_hosts.LocalHosts(
            project,
            runtime,
            workers or len(os.sched_getaffinity(0)),
            checkpoints=checkpoints,
            reported=daemons.transitions.set,
        )
        async with asyncio.TaskGroup() as tasks:
            hosts.start(tasks, stop)
            making_key = tasks.create_task(service.in_thread(_make_key, project))
            try:
                async with connectors.open(project.database_url) as connector:
                    data = store.Store(connector)
                    await connector.script(sql.schema(connector.dialect))
                    appid, version = await _register(applications.Applications(connector))
                    await hosts.register(data, version)
                    await making_key
                    with errors.sole():
                        async with asyncio.TaskGroup() as services:
                            running = daemons.start(services, project, data, appid, hosts)
                            try:
                                yield running
                            finally:
                                await daemons.end()
            finally:
                stop.set()


class _Daemons:
    """The daemons of the project, each woken by what it waits for. *stop* ends them."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.transitions = asyncio.Event()
        """Wakes the transitioner; the others likewise."""
        self._validations = asyncio.Event()
        self._assimilations = asyncio.Event()
        self._deletions = asyncio.Event()
        self._submitted = asyncio.Event()
        self._assimilated = asyncio.Event()
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []

    def start(
        self,
        tasks: asyncio.TaskGroup,
        project: projects.Project,
        data: store.Store,
        appid: int,
        hosts: local_hosts.LocalHosts,
    ) -> Running:
        """Start all."""
        held = assimilation.Held()
        policy = validation.Policy()
        stopped = self._stop.is_set

        async def transition_pass() -> int:
            # What is due in this second is due now: its results are here, not in a feeder's queue.
            count = await transition.one_pass(data, project, appid=appid, now=int(time.time()) + 1)
            return _woken(count, self._validations, self._assimilations, self._deletions, hosts.wanted)

        async def validation_pass() -> int:
            count = await validation.one_pass(data, project, appid=appid, policy=policy, stop=stopped)
            return _woken(count, self._assimilations, self.transitions)

        async def assimilation_pass() -> int:
            count = await assimilation.one_pass(data, project, held, appid=appid, stop=stopped)
            return _woken(count, self._assimilated, self.transitions)

        async def deletion_pass() -> int:
            return await deletion.one_pass(data, project, appid=appid, stop=stopped)

        for one_pass, wake in (
            (hosts.dispatch, hosts.wanted),
            (hosts.collect, hosts.has_reports),
            (transition_pass, self.transitions),
            (validation_pass, self._validations),
            (assimilation_pass, self._assimilations),
            (deletion_pass, self._deletions),
        ):
            self._tasks.append(tasks.create_task(service.run(one_pass, stop=self._stop, wake=wake)))
        self._tasks.append(tasks.create_task(self._pass_on(hosts.wanted)))
        return Running(project, data, self._submitted, self._assimilated)

    async def end(self) -> None:
        """Stop all, at a point where nothing is half done."""
        self._stop.set()
        await asyncio.wait(self._tasks, timeout=_GRACE)
        for task in self._tasks:
            task.cancel()

    async def _pass_on(self, wanted: asyncio.Event) -> None:
        """Wake those who wait for jobs."""
        while not self._stop.is_set():
            await service.wait(3600, self._stop, self._submitted)
            self._submitted.clear()
            wanted.set()
            self.transitions.set()


def _woken(count: int, *events: asyncio.Event) -> int:
    """Set *events* if a pass has done something; return *count*."""
    if count:
        for event in events:
            event.set()
    return count


def _make_key(project: projects.Project) -> None:
    keys.create(project.key_dir / keys.PROGRAM_PRIVATE, project.key_dir / keys.PROGRAM_PUBLIC)


async def _register(rows: applications.Applications) -> tuple[int, applications.Version]:
    """Return the application's ID and its version for local hosts, made if they aren't there."""
    app = await rows.find(projects.APP_NAME)
    if app is None:
        await rows.add(projects.APP_NAME, _FRIENDLY_NAME)
        app = await rows.find(projects.APP_NAME)
        assert app is not None
    number = runtime_archive.version_num()
    while True:
        for version in await rows.versions(app.id):
            if (version.platform, version.version_num) == (_PLATFORM, number):
                return app.id, version
        platforms = await rows.platforms()
        if _PLATFORM not in platforms:
            await rows.add_platform(_PLATFORM, "A core of the machine that the project is on")
            platforms = await rows.platforms()
        document = (
            f"<app_version>\n    <app_name>{projects.APP_NAME}</app_name>\n"
            f"    <version_num>{number}</version_num>\n</app_version>\n"
        )
        await rows.add_version(app.id, platforms[_PLATFORM], number, document)


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Be the only process, and the only user in this process, that runs the project in *root*."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise errors.ProjectError(f"the embedded project can't be made: {errors.describe(root, error)}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.ProjectError(f"{root} is in use by another process") from None
        yield
    finally:
        os.close(descriptor)
