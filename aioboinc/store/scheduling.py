"""What a scheduler does: hosts, the results they get, the results they report.

Verbs about sending and reporting take whole groups, are guarded by the result's state and its host, and may be
done twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["Assignment", "HostFacts", "Report", "Scheduling", "User"]

_COUNTED = (models.Outcome.SUCCESS, models.Outcome.VALIDATE_ERROR)
"""Outcomes after which a host gets no other result of the same workunit: its output was, or will be, looked at."""


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    id: int
    authenticator: str
    """The secret that its hosts show."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host says of itself."""

    cpid: str
    """Its name among the account's hosts (``host_cpid``)."""
    domain_name: str
    ncpus: int
    fpops: float
    """Floating-point operations that one of its cores does in a second."""
    memory: float
    """Bytes of memory."""
    os_name: str
    os_version: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A result that has been sent to a host, with all that the host needs."""

    name: str
    """Name of the result."""
    xml_doc_in: str
    """The result's document: its output files."""
    workunit_name: str
    xml_doc: str
    """The workunit's document: its input files and command line."""
    rsc_fpops_est: float
    rsc_fpops_bound: float
    rsc_memory_bound: float
    """Bytes."""
    rsc_disk_bound: float
    """Bytes."""
    report_deadline: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a host says of a result's execution, which is over."""

    name: str
    """Name of the result."""
    client_state: models.ClientState
    """FILES_UPLOADED is success, if the exit status is 0 too."""
    exit_status: int
    cpu_time: float
    """Seconds."""
    elapsed_time: float
    """Seconds."""
    app_version_num: int
    xml_doc_out: str
    """The output files as the host has sent them."""
    stderr_out: str
    peak_working_set_size: float = 0
    """Bytes."""
    peak_swap_size: float = 0
    """Bytes."""
    peak_disk_usage: float = 0
    """Bytes."""

    @property
    def outcome(self) -> models.Outcome:
        if self.client_state == models.ClientState.FILES_UPLOADED and self.exit_status == 0:
            return models.Outcome.SUCCESS
        return models.Outcome.CLIENT_ERROR


class Scheduling:
    """Verbs on hosts and on the results they get."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("scheduling", connector.dialect)

    async def find_or_create_app(self, name: str, friendly_name: str, *, now: int) -> int:
        """Return the ID of the application *name*."""
        return await self._find_or_create(
            "app", {"name": name}, {"friendly_name": friendly_name, "now": now}
        )

    async def find_or_create_platform(self, name: str, friendly_name: str, *, now: int) -> int:
        """Return the ID of the platform *name*."""
        return await self._find_or_create(
            "platform", {"name": name}, {"friendly_name": friendly_name, "now": now}
        )

    async def find_or_create_version(
        self, appid: int, platformid: int, version_num: int, xml_doc: str, *, now: int
    ) -> int:
        """Return the ID of an application's version for a platform; *version_num* is 100 times BOINC's 1.00."""
        return await self._find_or_create(
            "version",
            {"appid": appid, "platformid": platformid, "version_num": version_num},
            {"xml_doc": xml_doc.encode(), "now": now},
        )

    async def find_or_create_user(self, name: str, email_addr: str, *, now: int) -> User:
        """Return the account *name*; a new one gets a random authenticator."""

        async def work(tx: connectors.Transaction) -> User:
            row = await tx.fetch_one(self._sql["find_user"], {"name": name})
            if row is not None:
                return User(row["id"], row["authenticator"])
            authenticator = secrets.token_hex(16)
            values = {"cross_project_id": secrets.token_hex(16), "now": now}
            user = await tx.insert(
                self._sql["create_user"],
                {"name": name, "email_addr": email_addr, "authenticator": authenticator, **values},
            )
            return User(user, authenticator)

        return await self._connector.run(work)

    async def find_or_create_host(self, userid: int, facts: HostFacts, *, now: int) -> int:
        """Return the ID of the account's host with the name ``facts.cpid``."""
        return await self._find_or_create(
            "host",
            {"userid": userid, "cpid": facts.cpid},
            {
                "domain_name": facts.domain_name,
                "p_ncpus": facts.ncpus,
                "p_fpops": facts.fpops,
                "m_nbytes": facts.memory,
                "os_name": facts.os_name,
                "os_version": facts.os_version,
                "now": now,
            },
        )

    async def assign(
        self,
        hostid: int,
        limit: int,
        *,
        userid: int,
        app_version_id: int,
        flops: float,
        now: int,
        deadlines: bool = True,
    ) -> list[Assignment]:
        """Send up to *limit* unsent results to a host: the highest priority first, then the oldest.

        A host gets one result of a workunit only, unless the ones before failed on it. *flops* is what the host is
        expected to do in a second. Without *deadlines* the results may take as long as they will.
        """

        async def work(tx: connectors.Transaction) -> list[Assignment]:
            rows = await self._unsent(tx, hostid, limit)
            if not rows:
                return []
            ids = {row["id"]: row["workunitid"] for row in rows}
            bounds = {row["delay_bound"] for row in rows} if deadlines else set()
            due = {bound: _deadline(now, bound) for bound in bounds}
            groups = (
                [(due[bound], [row["id"] for row in rows if row["delay_bound"] == bound]) for bound in bounds]
                if deadlines
                else [(models.NEVER, list(ids))]
            )
            for deadline, group in groups:
                await tx.execute(
                    self._sql["send"],
                    {
                        "ids": group,
                        "hostid": hostid,
                        "userid": userid,
                        "app_version_id": app_version_id,
                        "flops": flops,
                        "now": now,
                        "deadline": deadline,
                        "unsent": models.ServerState.UNSENT,
                        "in_progress": models.ServerState.IN_PROGRESS,
                    },
                )
                if deadlines:
                    workunits = [ids[id] for id in group]
                    await tx.execute(self._sql["expect"], {"ids": workunits, "deadline": deadline})
            return [_assignment(row, due.get(row["delay_bound"], models.NEVER)) for row in rows]

        return await self._connector.run(work, durable=False)

    async def report(self, hostid: int, reports: Sequence[Report], *, now: int) -> set[str]:
        """Record that executions on a host are over; return the names of those that were still expected.

        The transitioner gets to see their workunits. Reports of results that the host hasn't got are ignored.
        """

        async def work(tx: connectors.Transaction) -> set[str]:
            rows = await tx.fetch_all(
                self._sql["sent"],
                {
                    "names": [report.name for report in reports],
                    "hostid": hostid,
                    "in_progress": models.ServerState.IN_PROGRESS,
                },
            )
            expected = {row["name"]: row["id"] for row in rows}
            await tx.execute_many(
                self._sql["report"],
                [
                    _values(report) | {"id": expected[report.name], "hostid": hostid, "now": now}
                    for report in reports
                    if report.name in expected
                ],
            )
            if rows:
                workunits = [row["workunitid"] for row in rows]
                await tx.execute(self._sql["reported"], {"ids": workunits, "now": now})
            return set(expected)

        return await self._connector.run(work)

    async def take_back(self, hostid: int, names: Collection[str]) -> int:
        """Make results unsent again that the host no longer has; return their number."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.execute(
                self._sql["take_back"],
                {
                    "names": list(names),
                    "hostid": hostid,
                    "unsent": models.ServerState.UNSENT,
                    "in_progress": models.ServerState.IN_PROGRESS,
                },
            )

        return await self._connector.run(work, durable=False)

    async def take_back_all(self, userid: int, cpid_prefix: str) -> int:
        """Make results unsent again that hosts had whose names begin with *cpid_prefix*; return their number."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.execute(
                self._sql["take_back_all"],
                {
                    "userid": userid,
                    "cpid_prefix": cpid_prefix + "%",
                    "unsent": models.ServerState.UNSENT,
                    "in_progress": models.ServerState.IN_PROGRESS,
                },
            )

        return await self._connector.run(work, durable=False)

    async def any_unsent(self) -> bool:
        """Tell whether there is a result that no host has."""

        async def work(tx: connectors.Transaction) -> bool:
            return await self._top_priority(tx, models.NEVER) is not None

        return await self._connector.read(work)

    async def _find_or_create(
        self, noun: str, key: dict[str, int | str], values: dict[str, int | float | str | bytes]
    ) -> int:
        async def work(tx: connectors.Transaction) -> int:
            row = await tx.fetch_one(self._sql[f"find_{noun}"], key)
            if row is not None:
                return int(row["id"])
            return await tx.insert(self._sql[f"create_{noun}"], key | values)

        return await self._connector.run(work)

    async def _top_priority(self, tx: connectors.Transaction, below: int) -> int | None:
        row = await tx.fetch_one(
            self._sql["top_priority"], {"unsent": models.ServerState.UNSENT, "below": below}
        )
        return None if row is None else row["priority"]

    async def _unsent(self, tx: connectors.Transaction, hostid: int, limit: int) -> list[connectors.Row]:
        """Return up to *limit* unsent results that the host may get, one of each workunit.

        Walks the index of states and priorities, so that the cost does not grow with the number of unsent results.
        """
        chosen: dict[int, connectors.Row] = {}
        priority = await self._top_priority(tx, models.NEVER)
        after = 0
        while priority is not None and len(chosen) < limit:
            wanted = limit - len(chosen)
            rows = await tx.fetch_all(
                self._sql["unsent"],
                {
                    "unsent": models.ServerState.UNSENT,
                    "in_progress": models.ServerState.IN_PROGRESS,
                    "counted": _COUNTED,
                    "hostid": hostid,
                    "priority": priority,
                    "after": after,
                    "limit": wanted,
                },
            )
            for row in rows:
                chosen.setdefault(row["workunitid"], row)
            if len(rows) == wanted:
                after = rows[-1]["id"]
            else:
                priority = await self._top_priority(tx, priority)
                after = 0
        return list(chosen.values())


def _deadline(now: int, delay_bound: int) -> int:
    return min(now + delay_bound, models.NEVER - 1)


def _assignment(row: connectors.Row, deadline: int) -> Assignment:
    return Assignment(
        name=row["name"],
        xml_doc_in=row["xml_doc_in"].decode(),
        workunit_name=row["workunit_name"],
        xml_doc=row["xml_doc"].decode(),
        rsc_fpops_est=row["rsc_fpops_est"],
        rsc_fpops_bound=row["rsc_fpops_bound"],
        rsc_memory_bound=row["rsc_memory_bound"],
        rsc_disk_bound=row["rsc_disk_bound"],
        report_deadline=deadline,
    )


def _values(report: Report) -> dict[str, int | float | str | bytes]:
    success = report.outcome == models.Outcome.SUCCESS
    return {
        "in_progress": models.ServerState.IN_PROGRESS,
        "over": models.ServerState.OVER,
        "outcome": report.outcome,
        "validate_state": models.ValidateState.INIT if success else models.ValidateState.INVALID,
        "client_state": report.client_state,
        "exit_status": report.exit_status,
        "cpu_time": report.cpu_time,
        "elapsed_time": report.elapsed_time,
        "app_version_num": report.app_version_num,
        "xml_doc_out": report.xml_doc_out.encode(),
        "stderr_out": report.stderr_out.encode(),
        "peak_working_set_size": report.peak_working_set_size,
        "peak_swap_size": report.peak_swap_size,
        "peak_disk_usage": report.peak_disk_usage,
    }
