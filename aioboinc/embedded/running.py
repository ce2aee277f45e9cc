"""Runs an embedded project: its hosts and its daemons, as tasks of one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aioboinc import connectors, errors, store
from aioboinc.aio import locking, loops, task_group, threads
from aioboinc.app_versions import runtime_archive
from aioboinc.embedded import clock as clocks
from aioboinc.embedded import creation, daemons, layout
from aioboinc.embedded import guard as guards
from aioboinc.embedded import hosts as local_hosts
from aioboinc.passes import validation
from aioboinc.project import config, keys
from aioboinc.store import applications, place

__all__ = ["batches", "running"]

_PLATFORM = "aioboinc-local-host"
"""No client has this platform: the version for local hosts has no files and no signatures."""
_HOUR = 3600
_MAX_PATH = 500
"""Maximum bytes of the database's path in SQLite."""
_POLICY = validation.Policy(retry=10)
"""Outputs are on this machine: one that can't be read now may soon be."""


@contextlib.asynccontextmanager
async def running(root: Path, *, workers: int | None = None) -> AsyncIterator[place.Place]:
    """Run the embedded project in *root*, which is made if it isn't there, with *workers* local hosts.

    By default there is a host for each core. On exit all its processes end within a second; interrupted jobs begin
    again next time. An error in the project is raised as it is, and cancels the body.

    Raises `errors.ProjectError` if the project can't be made, is damaged or is running already, and
    `errors.DatabaseError`.
    """
    root = Path(os.path.abspath(root))  # noqa: ASYNC240 - it does not access the disk
    stop = asyncio.Event()
    await threads.in_thread(_check, root)
    with _lock(root) as lock:
        with errors.of_files(root, errors.ProjectError):  # not around the body, whose errors are the program's
            clock = clocks.Clock(lock)
            project = await threads.in_thread(creation.create, root)
            runtime = await threads.in_thread(creation.unpack_runtime, root)
            checkpoints = await threads.in_thread(creation.salvage_checkpoints, root)
        works = daemons.Daemons(stop)
        hosts = local_hosts.LocalHosts(
            project,
            runtime,
            workers or len(os.sched_getaffinity(0)),
            checkpoints=checkpoints,
            on_reported=works.transitions,
            clock=clock,
        )
        async with task_group.TaskGroup() as tasks:
            try:
                hosts.start_processes(tasks, stop)
                making_key = tasks.create_task(threads.in_thread(_make_key, project))
                async with store.open(project, clock=clock) as data:
                    await data.schema.make()
                    appid, version = await _register(data.applications)
                    await hosts.register(data, version)
                    await making_key
                    guard = guards.Guard(project, clock)
                    hosts.check_failures(guard.check)
                    submitted = asyncio.Event()
                    async with guard.blame(), task_group.TaskGroup() as services:
                        works.start(
                            services,
                            project,
                            data,
                            appid=appid,
                            policy=_POLICY,
                            on_transition=[hosts.wanted],
                            clock=clock,
                        )
                        services.create_task(guard.run(stop))
                        hosts.start(services)
                        services.create_task(_pass_on(submitted, stop, hosts.wanted, works.transitions))
                        try:
                            yield place.Place(project, data, submitted, works.assimilated)
                        finally:
                            await works.end()
                            hosts.end()
            finally:
                stop.set()


async def batches(root: Path) -> set[int]:
    """Return the IDs of batches in the project in *root*, if they can be read; for removing it."""
    database = root / layout.DATABASE
    if not await threads.in_thread(database.is_file):
        return set()
    try:
        async with connectors.open(f"sqlite:///{database}") as connector:
            return set(await store.Store(connector).batches.ids())
    except errors.DatabaseError:
        return set()


async def _pass_on(source: asyncio.Event, stop: asyncio.Event, *events: asyncio.Event) -> None:
    """Set *events* whenever *source* is set."""
    while not stop.is_set():
        await loops.wait(_HOUR, stop, source)
        source.clear()
        for event in events:
            event.set()


def _make_key(project: config.Project) -> None:
    with errors.of_files(project.root, errors.ProjectError):
        keys.create(project.key_dir / keys.PROGRAM_PRIVATE, project.key_dir / keys.PROGRAM_PUBLIC)


async def _register(rows: applications.Applications) -> tuple[int, applications.Version]:
    """Return the application's ID and its version for local hosts, made if they aren't there."""
    app = await rows.register(
        config.APP_NAME, config.FRIENDLY_NAME, {_PLATFORM: "A core of the machine that the project is on"}
    )
    number = runtime_archive.version_num()
    while True:
        for version in await rows.versions(app.id):
            if (version.platform, version.version_num) == (_PLATFORM, number):
                return app.id, version
        document = (
            f"<app_version>\n    <app_name>{config.APP_NAME}</app_name>\n"
            f"    <version_num>{number}</version_num>\n</app_version>\n"
        )
        await rows.add_version(app.id, (await rows.platforms())[_PLATFORM], number, document)


def _check(root: Path) -> None:
    """Refuse a directory in which there can be no project. Blocks."""
    length = len(os.fsencode(os.path.realpath(root / layout.DATABASE)))
    if length > _MAX_PATH:
        raise errors.ProjectError(
            f"{root / layout.DATABASE}: a path of {length} bytes, and SQLite takes {_MAX_PATH} at most: choose another "
            "directory with --batch-dir or batch_dir="
        )
    layout.check(root)


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[int]:
    """Be the only process, and the only user in this process, that runs the project in *root*.

    Yields the descriptor of the lock's file.
    """
    refusal = errors.ProjectError(f"{root} is in use by another process")
    with contextlib.ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = stack.enter_context(locking.held(root / "lock", refusal, mode=0o644))
        except OSError as error:
            raise errors.ProjectError(
                f"the embedded project can't be made: {errors.describe(root, error)}"
            ) from None
        yield descriptor
