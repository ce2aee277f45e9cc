"""What a scheduler does: hosts, the results they get, the results they report.

Verbs about sending and reporting take whole groups, are guarded by the result's state and its host, and may be
done twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["Assignment", "HostFacts", "Report", "Scheduling", "columns"]

_COUNTED = (models.Outcome.SUCCESS, models.Outcome.VALIDATE_ERROR)
"""Outcomes after which a host gets no other result of the same workunit: its output was, or will be, looked at."""

_STATES = {"unsent": models.ServerState.UNSENT, "in_progress": models.ServerState.IN_PROGRESS}
_ABOVE_ALL = 1 << 31
"""No priority is as high."""


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

    async def find_or_create_host(self, userid: int, facts: HostFacts, *, now: int) -> int:
        """Return the ID of the account's host with the name ``facts.cpid``."""

        async def work(tx: connectors.Transaction) -> int:
            row = await tx.fetch_one(self._sql["find_host"], {"userid": userid, "cpid": facts.cpid})
            if row is not None:
                return int(row["id"])
            return await tx.insert(
                self._sql["create_host"],
                {
                    "userid": userid,
                    "cpid": facts.cpid,
                    "domain_name": facts.domain_name,
                    "p_ncpus": facts.ncpus,
                    "p_fpops": facts.fpops,
                    "m_nbytes": facts.memory,
                    "os_name": facts.os_name,
                    "os_version": facts.os_version,
                    "now": now,
                },
            )

        return await self._connector.run(work, durable=False, brief=True)

    async def assign(
        self, hostid: int, limit: int, *, userid: int, app_version_id: int, flops: float, now: int
    ) -> list[Assignment]:
        """Send up to *limit* unsent results to a host: the highest priority first, then the oldest.

        A host gets one result of a workunit only, unless those before have failed on it. *flops* is what the host
        is expected to do in a second. The results may take as long as they will.
        """
        host = {"hostid": hostid, "userid": userid, "app_version_id": app_version_id, "flops": flops, "now": now}

        async def work(tx: connectors.Transaction) -> list[Assignment]:
            rows = await self._unsent(tx, hostid, limit)
            if rows:
                values = {"ids": [row["id"] for row in rows], "never": models.NEVER, **host, **_STATES}
                await tx.execute(self._sql["send"], values)
            return [_assignment(row) for row in rows]

        return await self._connector.run(work, durable=False, brief=True)

    async def report(self, reports: Mapping[int, Sequence[Report]], *, now: int) -> set[str]:
        """Record that executions are over, by the IDs of their hosts; return the names of those still expected.

        The transitioner gets to see their workunits. Reports of results that the host hasn't got are ignored.
        After a power cut the last results may be in progress again.
        """

        async def work(tx: connectors.Transaction) -> set[str]:
            hosts = {report.name: hostid for hostid, group in reports.items() for report in group}
            rows = await tx.fetch_all(
                self._sql["sent"], {"names": list(hosts), "in_progress": models.ServerState.IN_PROGRESS}
            )
            expected = {row["name"]: row for row in rows if row["hostid"] == hosts[row["name"]]}
            await tx.execute_many(
                self._sql["report"],
                [
                    columns(report) | {"id": expected[report.name]["id"], "hostid": hostid, "now": now}
                    for hostid, group in reports.items()
                    for report in group
                    if report.name in expected
                ],
            )
            if expected:
                workunits = [row["workunitid"] for row in expected.values()]
                await tx.execute(self._sql["reported"], {"ids": workunits, "now": now})
            return set(expected)

        return await self._connector.run(work, durable=False, brief=True)

    async def take_back(self, hostid: int, names: Collection[str]) -> int:
        """Make results unsent again that the host no longer has; return their number."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.execute(
                self._sql["take_back"],
                {
                    "names": list(names),
                    "hostid": hostid,
                    **_STATES,
                },
            )

        return await self._connector.run(work, durable=False, brief=True)

    async def take_back_all(self, userid: int, cpid_prefix: str) -> int:
        """Make results unsent again that hosts had whose names begin with *cpid_prefix*; return their number."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.execute(
                self._sql["take_back_all"],
                {
                    "userid": userid,
                    "cpid_prefix": cpid_prefix + "%",
                    **_STATES,
                },
            )

        return await self._connector.run(work, durable=False, brief=True)

    async def count_unsent(self, limit: int) -> int:
        """Return how many results no host has; the count ends at *limit*."""

        async def work(tx: connectors.Transaction) -> int:
            row = await tx.fetch_one(
                self._sql["count_unsent"], {"unsent": models.ServerState.UNSENT, "limit": limit}
            )
            return 0 if row is None else int(row["n"])

        return await self._connector.read(work, brief=True)

    async def _top_priority(self, tx: connectors.Transaction, below: int) -> int | None:
        row = await tx.fetch_one(self._sql["top_priority"], {"unsent": models.ServerState.UNSENT, "below": below})
        return None if row is None else row["priority"]

    async def _unsent(self, tx: connectors.Transaction, hostid: int, limit: int) -> list[connectors.Row]:
        """Return up to *limit* unsent results that the host may get, one of each workunit.

        Walks the index of states and priorities, so that the cost does not grow with the number of unsent results.
        """
        chosen: dict[int, connectors.Row] = {}
        priority = await self._top_priority(tx, _ABOVE_ALL)
        after = 0
        while priority is not None and len(chosen) < limit:
            wanted = limit - len(chosen)
            rows = await tx.fetch_all(
                self._sql["unsent"],
                {
                    **_STATES,
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


def _assignment(row: connectors.Row) -> Assignment:
    return Assignment(
        name=row["name"],
        xml_doc_in=row["xml_doc_in"].decode(),
        workunit_name=row["workunit_name"],
        xml_doc=row["xml_doc"].decode(),
        rsc_fpops_est=row["rsc_fpops_est"],
        rsc_fpops_bound=row["rsc_fpops_bound"],
        rsc_memory_bound=row["rsc_memory_bound"],
        rsc_disk_bound=row["rsc_disk_bound"],
    )


def columns(report: Report) -> dict[str, int | float | str | bytes]:
    """Return what a report makes of a result's row, and the states it is about, as parameters by name."""
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
