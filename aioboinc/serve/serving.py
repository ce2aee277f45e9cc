"""Serves a project: runs its daemons and its HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors, store
from aioboinc.aio import locking, loops, task_group, threads
from aioboinc.embedded import daemons
from aioboinc.passes import validation
from aioboinc.project import config
from aioboinc.serve import (
    accounts,
    application,
    downloads,
    key_files,
    reluctance,
    scheduler,
    served_project,
    server,
    settings,
    uploads,
)
from aioboinc.serve.pages import status_page
from aioboinc.serve.protocol import reply

__all__ = ["Serving", "running"]

_DAY = 86400.0
_PACE = loops.Pace(0.25, 1.0)
"""Hosts wait for seconds anyway, so passes can be batched."""

_POLICY = validation.Policy(credit=validation.Credit.RUN_TIME, hosts=True)
"""Hosts belong to other people, who like to see what they have done."""


@dataclass(frozen=True)
class Serving:
    """A served project, as its starter sees it."""

    project: config.Project
    host: str
    port: int
    """Where the server listens."""
    account_key: str
    """The key of the project's first account."""
    status_url: str
    """The status page that shows everything."""


@contextlib.asynccontextmanager
async def running(
    root: Path,
    *,
    listen: str | None = None,
    url: str | None = None,
    database: str | None = None,
    open_accounts: bool = False,
) -> AsyncIterator[Serving]:
    """Serve the project in *root*, which is made if it isn't there; hosts can call while the body runs.

    *listen* is HOST:PORT, *url* the project's URL as hosts see it, *database* a URL for `connectors.open`; None leaves
    it as it was, or at the default. With *open_accounts*, strangers may make accounts, whatever config.xml says.
    Stopping takes at most a second. An error in the project is raised as it is, and cancels the body.

    Raises `errors.UsageError` for what the user can correct.
    """
    await served_project.check(root, listen=listen, url=url, database=database)
    project = await threads.in_thread(served_project.create, root, listen=listen, url=url, database=database)
    configured = await threads.in_thread(settings.read, project.root, listen=listen, open_accounts=open_accounts)
    address = configured.listen
    refusal = errors.ProjectError(f"{project.root} is served by another process already")
    with locking.held(project.root / "lock", refusal):
        async with store.open(project) as data:
            made = await application.set_up(project, data, now=int(time.time()))
            keys = await threads.in_thread(_keys, project)
            stop = asyncio.Event()
            work = daemons.Daemons(stop)
            parts = _parts(project, configured, made, data, keys, work.transitions.set)
            policy = dataclasses.replace(
                _POLICY, daily_result_quota=configured.scheduling.daily_result_quota, on_bad=parts.page.add_bad
            )
            async with task_group.TaskGroup() as tasks:
                work.start(tasks, project, data, appid=made.id, policy=policy, pace=_PACE)
                tasks.create_task(loops.run(parts.outputs.clear, stop=stop, backoff=loops.Backoff(_DAY, _DAY)))
                try:
                    async with server.running(parts.server, address.host, address.port) as port:
                        status_url = f"{project.master_url}?key={keys.status}"
                        yield Serving(project, address.host, port, made.account.key, status_url)
                finally:
                    await work.end()


@dataclass(frozen=True)
class _Keys:
    status: str
    code_sign: scheduler.CodeSignKeys


def _keys(project: config.Project) -> _Keys:
    return _Keys(key_files.status_key(project), key_files.code_sign_keys(project))


@dataclass(frozen=True)
class _Parts:
    """What answers requests."""

    server: server.Server
    outputs: uploads.Uploads
    page: status_page.StatusPage


def _parts(
    project: config.Project,
    configured: settings.Settings,
    made: application.Application,
    data: store.Store,
    keys: _Keys,
    on_report: Callable[[], None],
) -> _Parts:
    site = reply.Site(project.name, project.master_url)
    too_long = reluctance.Reluctance(time.time)
    page = status_page.StatusPage(
        data.status, site, account_key=made.account.key, status_key=keys.status, too_long=too_long
    )
    thread = threads.FileThread()
    outputs = uploads.Uploads(project, data.reports, thread)
    answering = server.Server(
        project,
        site,
        scheduler.Scheduler(
            data,
            made.app,
            made.versions,
            keys.code_sign,
            configured.scheduling,
            on_report=on_report,
            on_failure=page.add_failure,
            too_long=too_long,
        ),
        data.clients.is_key,
        downloads.Downloads(project, thread),
        outputs,
        accounts.Accounts(data.clients, site, list(made.versions), configured.accounts),
        page,
    )
    return _Parts(answering, outputs, page)
