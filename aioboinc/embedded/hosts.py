"""This machine's cores as hosts of an embedded project: gives them results, and collects their reports.

A host gets results ahead, for a fraction of a second, so that it never waits for the database.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import platform
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aioboinc import errors, models
from aioboinc.aio import durable, loops, threads
from aioboinc.embedded import daemons
from aioboinc.embedded import host as local_host
from aioboinc.embedded import jobs as local_jobs
from aioboinc.embedded.process.messages import Report
from aioboinc.project import config
from aioboinc.store import applications, recipients, reports

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["LocalHosts", "Pace"]

_CPID = "local:"
"""Prefix of local hosts' names in the column ``host_cpid``."""
_NAME = "aioboinc"
_EMAIL = "aioboinc@localhost"
"""The account of the local hosts."""
_AHEAD = 0.5
"""Seconds of work that a host has ahead."""
_MAX_AHEAD = 256
"""Maximum number of results that a host has ahead."""

_BATCHING = 0.25
"""Seconds between two batches of reports while the hosts are busy."""

_log = logging.getLogger(__name__)


class Pace:
    """Decides how many results a host should have, from how long they take."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def add(self, seconds: float) -> None:
        """Note how many *seconds* a result took."""
        seconds = max(seconds, 1e-4)
        self._mean = seconds if self._mean is None else 0.8 * self._mean + 0.2 * seconds

    def depth(self) -> int:
        """Return how many results a host should have, including the one that it executes."""
        return 1 if self._mean is None else 1 + min(int(_AHEAD / self._mean), _MAX_AHEAD)


class LocalHosts:
    """The hosts of this machine, *count* of them.

    Their processes import from the directory *runtime*. *checkpoints* has, by workunit name, the files to resume from.
    *on_reported* is set when there is something for the transitioner.
    """

    def __init__(
        self,
        project: config.Project,
        runtime: Path,
        count: int,
        *,
        checkpoints: dict[str, Path],
        on_reported: asyncio.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.wanted = asyncio.Event()
        """Set it when there may be unsent results."""
        self._has_reports = asyncio.Event()
        self._idle = asyncio.Event()
        self._project = project
        self._checkpoints = checkpoints
        self._on_reported = on_reported
        self._clock = clock
        self._hosts = [local_host.LocalHost(number, project, runtime, self) for number in range(1, count + 1)]
        self._tasks: list[asyncio.Task[None]] = []
        self._pace = Pace()
        self._reports: dict[int, list[reports.Report]] = {}
        self._returned: dict[int, list[str]] = {}
        self._unused: set[int] = set()
        """IDs of hosts that have never had a result: what these do not get, no host gets."""
        self._check_failures: Callable[[], None] = lambda: None

    def check_failures(self, check: Callable[[], None]) -> None:
        """Call *check*, in a thread, before failures are stored: if it raises, that is to blame, not the jobs."""
        self._check_failures = check

    def start_processes(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Start the hosts' processes in *tasks*; *stop* ends them."""
        self._stop = stop
        for host in self._hosts:
            tasks.create_task(host.run(stop))

    async def register(self, store: Store, version: applications.Version) -> None:
        """Begin anew: make results that local hosts had unsent again."""
        self._store = store
        self._version = version
        account = await store.clients.account_by_email(_EMAIL)
        if account is None:
            account = await store.clients.create_account(_NAME, _EMAIL, "", now=self._now())
            assert account is not None
        self._userid = account.id
        count = await self._store.dispatch.take_back_all(account.id, _CPID)
        if count:
            _log.info("%d interrupted results continue", count)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start to dispatch and to collect results, in *tasks*."""
        for one_pass, wake in ((self.dispatch, self.wanted), (self.collect, self._has_reports)):
            backoff = loops.Backoff(*daemons.POLL)
            self._tasks.append(
                tasks.create_task(self._run(loops.run(one_pass, stop=self._stop, wake=wake, backoff=backoff)))
            )

    async def _run(self, work: Awaitable[None]) -> None:
        with errors.of_files(self._project.root, errors.ProjectError):
            await work

    def end(self) -> None:
        """End that at once; what is not stored is done again next time."""
        for task in self._tasks:
            task.cancel()

    async def dispatch(self) -> int:
        """Give unsent results to the hosts that have room for them; return their number."""
        returned, self._returned = self._returned, {}
        for hostid, names in returned.items():
            await self._store.dispatch.take_back(hostid, names)
        depth = self._pace.depth()
        hosts = [
            host for host in self._hosts if host.is_ready and not host.is_slow and len(host.given) <= depth // 2
        ]
        if not hosts:
            return 0
        room = sum(depth - len(host.given) for host in hosts)
        share = math.ceil(await self._store.dispatch.count_unsent(room) / len(hosts))
        if not share:
            return 0
        hosts.sort(key=lambda host: len(host.given))
        return sum([await self._fill(host, min(share, depth - len(host.given))) for host in hosts])

    async def collect(self) -> int:
        """Store what the hosts have reported; return the number of reports.

        While the hosts are busy, reports are batched: for the daemons, several cost hardly more than one.
        """
        reported, self._reports = self._reports, {}
        count = sum(map(len, reported.values()))
        if count:
            failed = models.ClientState.COMPUTE_ERROR
            if any(report.client_state == failed for group in reported.values() for report in group):
                await threads.in_thread(self._check_failures)
            await threads.in_thread(self._sync)
            await self._store.reports.record(reported, now=self._now())
            self._on_reported.set()
            if any(host.given for host in self._hosts):
                self._idle.clear()
                await loops.wait(_BATCHING, self._stop, self._idle)
        return count

    def _sync(self) -> None:
        self._project.upload_dir.mkdir(exist_ok=True)  # somebody may have removed it
        durable.sync(self._project.upload_dir)

    def ready(self, host: local_host.LocalHost) -> None:
        """Note that a host takes results."""
        self.wanted.set()

    def report(self, host: local_host.LocalHost, hostid: int, report: Report) -> None:
        """Note that a result is over."""
        self._pace.add(report["elapsed_time"])
        self._reports.setdefault(hostid, []).append(
            reports.Report(
                name=report["name"],
                client_state=models.ClientState(report["client_state"]),
                exit_status=report["exit_status"],
                cpu_time=report["cpu_time"],
                elapsed_time=report["elapsed_time"],
                app_version_num=self._version.version_num,
                xml_doc_out=report["xml_doc_out"],
                stderr_out=report["stderr_out"],
                peak_working_set_size=report["peak_working_set_size"],
                peak_disk_usage=report["peak_disk_usage"],
            )
        )
        self._has_reports.set()
        if not any(host.given for host in self._hosts):
            self._idle.set()
        if len(host.given) <= self._pace.depth() // 2:
            self.wanted.set()

    def returned(self, hostid: int, names: list[str]) -> None:
        """Note that a host no longer has results that it has not begun."""
        self._returned.setdefault(hostid, []).extend(names)
        self.wanted.set()

    async def _fill(self, host: local_host.LocalHost, limit: int) -> int:
        """Give *host* up to *limit* results; return how many there were."""
        if not host.ids:
            await self._add_id(host)
        count = await self._assign(host, host.ids[0], limit)
        # What is left now are replicas of what this host has done before. If it has nothing else to do, it takes
        # them under another ID: all hosts of this machine are alike.
        for hostid in host.ids[1:]:
            if count or host.given:
                return count
            count = await self._assign(host, hostid, limit)
        if not count and not host.given and host.ids[-1] not in self._unused:
            count = await self._assign(host, await self._add_id(host), limit)
        return count

    async def _assign(self, host: local_host.LocalHost, hostid: int, limit: int) -> int:
        recipient = recipients.Recipient(hostid, self._userid, self._version.id, local_jobs.FLOPS)
        sent = await self._store.dispatch.send(recipient, limit, now=self._now())
        jobs = []
        for assignment in sent.assignments:
            checkpoint = self._checkpoints.pop(assignment.workunit_name, None)
            try:
                jobs.append(local_jobs.job(assignment, hostid, self._project, checkpoint))
            except ValueError as error:
                self.report(host, hostid, local_host.failure(assignment.name, str(error)))
        if sent.assignments:
            self._unused.discard(hostid)
        host.give(hostid, jobs)
        return len(sent.assignments)

    async def _add_id(self, host: local_host.LocalHost) -> int:
        """Give *host* an ID, its first or another one."""
        cpid = f"{_CPID}{host.number}.{len(host.ids) + 1}"
        found = await self._store.clients.host_by_cpid(self._userid, cpid)
        if found is not None:
            host.ids.append(found.id)
        else:
            host.ids.append(await self._store.clients.create_host(self._userid, _facts(cpid), now=self._now()))
            self._unused.add(host.ids[-1])
        return host.ids[-1]

    def _now(self) -> int:
        return int(self._clock())


def _facts(cpid: str) -> dict[str, int | float | str]:
    """Return a local host's values for columns of the table ``host``."""
    return {
        "host_cpid": cpid,
        "domain_name": platform.node(),
        "p_ncpus": 1,
        "p_fpops": local_jobs.FLOPS,
        "p_iops": local_jobs.FLOPS,
        "p_membw": 1e9,
        "m_nbytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os_name": platform.system(),
        "os_version": platform.release(),
        "on_frac": 1,
        "connected_frac": 1,
        "active_frac": 1,
        "duration_correction_factor": 1,
        "gpu_active_frac": 1,
    }
