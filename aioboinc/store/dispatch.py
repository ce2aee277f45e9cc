"""Dispatch: which results hosts get, and which they no longer need."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql
from aioboinc.store.candidates import TOP, Candidate, Choose, Position, Search
from aioboinc.store.recipients import Quotas, Recipient

__all__ = ["Assignment", "Dispatch", "Excess", "Sent"]

_STATES = {"unsent": models.ServerState.UNSENT, "in_progress": models.ServerState.IN_PROGRESS}


@dataclass(frozen=True, slots=True)
class Assignment:
    """A result sent to a host, with everything that the host needs."""

    name: str
    """Name of the result."""
    batch: int
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
class Sent:
    """The outcome of a search for work."""

    assignments: Sequence[Assignment]
    position: Position
    """Where the search ended."""
    at_end: bool
    """Whether no unsent results are left after that."""
    quota_exhausted: bool = False
    """Whether the host has got all that it may get today."""
    is_full: bool = False
    """Whether the host has all that it may have at a time."""
    is_proven: bool = False
    """Whether results of the host were found valid since its last failure."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Results that a host has but nobody needs."""

    unusable: Sequence[str]
    """Names of those that are cancelled or unknown."""
    dispensable: Sequence[str]
    """Names of those that need not be started any more."""


class Dispatch:
    """Verbs on results on their way to hosts."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("dispatch", connector.dialect)
        self._quotas = Quotas(connector)

    async def in_progress(self) -> Mapping[int, set[str]]:
        """Return the names of the results that hosts have, by the host's ID."""

        async def work(tx: connectors.Transaction) -> Mapping[int, set[str]]:
            names: dict[int, set[str]] = {}
            for row in await tx.fetch_all(
                self._sql["in_progress"], {"in_progress": models.ServerState.IN_PROGRESS}
            ):
                names.setdefault(row["hostid"], set()).add(row["name"])
            return names

        return await self._connector.read(work, brief=True)

    async def excess(self, hostid: int, names: Collection[str]) -> Excess:
        """Return the results among *names* that nobody needs."""

        async def work(tx: connectors.Transaction) -> list[connectors.Row]:
            return await tx.fetch_all(self._sql["known"], {"names": list(names), "hostid": hostid})

        known = {row["name"]: row for row in await self._connector.read(work, brief=True)}
        cancelled = {name for name, row in known.items() if row["error_mask"] & models.ErrorMask.CANCELLED}
        dispensable = {
            name
            for name, row in known.items()
            if row["assimilate_state"] == models.AssimilateState.DONE
            or (row["server_state"], row["outcome"]) == (models.ServerState.OVER, models.Outcome.NO_REPLY)
        }
        return Excess(sorted(cancelled | (set(names) - known.keys())), sorted(dispensable - cancelled))

    async def resend(
        self, hostid: int, names: Collection[str], *, now: int
    ) -> tuple[Sequence[Assignment], Collection[str]]:
        """Send again results that a host should have but does not, with a new deadline.

        Those that nobody needs any more are ended instead. Return what was sent, and those of *names* that were in
        progress.
        """

        async def work(tx: connectors.Transaction) -> tuple[Sequence[Assignment], Collection[str]]:
            states = {"in_progress": models.ServerState.IN_PROGRESS}
            rows = await tx.fetch_all(self._sql["lost"], {"names": list(names), "hostid": hostid, **states})
            assignments = []
            for row in rows:
                needed = not row["error_mask"] and not row["canonical_resultid"]
                deadline = _new_deadline(row, now) if needed else now - 1
                sent_time = now if needed else row["sent_time"]
                await tx.execute(
                    self._sql["renew"],
                    {"id": row["id"], "sent_time": sent_time, "report_deadline": deadline, **states},
                )
                await tx.execute(
                    self._sql["expect"],
                    {"ids": [row["workunitid"]], "deadline": deadline if needed else now},
                )
                if needed:
                    assignments.append(_assignment(row, deadline))
            return assignments, {row["name"] for row in rows}

        return await self._connector.run(work, durable=False, brief=True)

    async def send(
        self,
        recipient: Recipient,
        limit: int,
        choose: Choose | None = None,
        *,
        start: Position = TOP,
        pages: int = sys.maxsize,
        now: int,
    ) -> Sent:
        """Send unsent results to a host: up to *limit* that *choose* takes; without *choose*, any.

        Candidates come from up to *pages* after *start*; but if there are urgent ones, of a higher priority, first from
        the very first page. So the cost does not grow with the number of unsent results.
        """

        async def work(tx: connectors.Transaction) -> Sent:
            if recipient.limits is None:
                return await self._search(tx, recipient, limit, choose, start, pages, now)
            quota = await self._quotas.find(tx, recipient.hostid, recipient.app_version_id)
            left, room = quota.left(recipient.limits), quota.room(recipient.limits)
            if min(limit, left, room) <= 0:
                return Sent((), start, False, left <= 0, room <= 0, quota.is_proven)
            sent = await self._search(tx, recipient, min(limit, left, room), choose, start, pages, now)
            if sent.assignments:
                await self._quotas.note_sent(tx, recipient, quota, len(sent.assignments))
            return dataclasses.replace(sent, is_proven=quota.is_proven)

        return await self._connector.run(work, durable=False, brief=True)

    async def take_back(self, hostid: int, names: Collection[str]) -> int:
        """Make results that the host no longer has unsent again; return their number."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.execute(self._sql["take_back"], {"names": list(names), "hostid": hostid, **_STATES})

        return await self._connector.run(work, durable=False, brief=True)

    async def take_back_all(self, userid: int, cpid_prefix: str) -> int:
        """Make all results unsent again of hosts whose names begin with *cpid_prefix*; return their number."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.execute(
                self._sql["take_back_all"], {"userid": userid, "cpid_prefix": cpid_prefix + "%", **_STATES}
            )

        return await self._connector.run(work, durable=False, brief=True)

    async def count_unsent(self, limit: int) -> int:
        """Return how many results are unsent; the count stops at *limit*."""

        async def work(tx: connectors.Transaction) -> int:
            row = await tx.fetch_one(
                self._sql["count_unsent"], {"unsent": models.ServerState.UNSENT, "limit": limit}
            )
            return 0 if row is None else int(row["n"])

        return await self._connector.read(work, brief=True)

    async def _search(
        self,
        tx: connectors.Transaction,
        recipient: Recipient,
        limit: int,
        choose: Choose | None,
        start: Position,
        pages: int,
        now: int,
    ) -> Sent:
        search = Search(self._sql, tx, recipient, limit, choose, now)
        position, at_end = start, False
        if start != TOP and await search.is_urgent(start):
            await search.walk(TOP, 1)
        if not search.is_over:
            position, at_end = await search.walk(start, pages)
        if not search.chosen:
            return Sent((), position, at_end)
        return Sent(await self._assign(tx, recipient, search, now), position, at_end)

    async def _assign(
        self, tx: connectors.Transaction, recipient: Recipient, search: Search, now: int
    ) -> Sequence[Assignment]:
        groups: dict[int, list[Candidate]] = {}
        for candidate in search.chosen:
            deadline = models.NEVER if recipient.limits is None else _deadline(now, candidate.delay_bound)
            groups.setdefault(deadline, []).append(candidate)
        for deadline, group in groups.items():
            await tx.execute(
                self._sql["send"],
                {
                    "ids": [candidate.id for candidate in group],
                    "hostid": recipient.hostid,
                    "userid": recipient.userid,
                    "app_version_id": recipient.app_version_id,
                    "flops": recipient.flops,
                    "now": now,
                    "deadline": deadline,
                    **_STATES,
                },
            )
            if deadline != models.NEVER:
                await tx.execute(
                    self._sql["expect"],
                    {"ids": [candidate.workunitid for candidate in group], "deadline": deadline},
                )
        deadlines = {candidate.id: deadline for deadline, group in groups.items() for candidate in group}
        return [_assignment(search.row(candidate), deadlines[candidate.id]) for candidate in search.chosen]


def _deadline(now: int, delay_bound: int) -> int:
    return min(now + delay_bound, models.NEVER - 1)


def _new_deadline(row: connectors.Row, now: int) -> int:
    """Return the deadline of a result that is sent again: half the time it had, as in BOINC."""
    deadline, sent = int(row["report_deadline"]), int(row["sent_time"])
    half = now + (deadline - sent) // 2
    return min(max(half, deadline), _deadline(now, row["delay_bound"]))


def _assignment(row: connectors.Row, deadline: int) -> Assignment:
    return Assignment(
        name=row["name"],
        xml_doc_in=bytes(row["xml_doc_in"]).decode(),
        workunit_name=row["workunit_name"],
        xml_doc=bytes(row["xml_doc"]).decode(),
        rsc_fpops_est=row["rsc_fpops_est"],
        rsc_fpops_bound=row["rsc_fpops_bound"],
        rsc_memory_bound=row["rsc_memory_bound"],
        rsc_disk_bound=row["rsc_disk_bound"],
        report_deadline=deadline,
        batch=row["batch"],
    )
