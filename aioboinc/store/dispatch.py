"""Dispatch: which results hosts get, and which they need no longer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["TOP", "Assignment", "Candidate", "Choose", "Dispatch", "Excess", "Position", "Recipient", "Sent"]

_PAGE = 500
"""Unsent results looked at in one go."""
_PORTION = 4
"""Candidates that are read first: most requests are for a few. As many again as have been read so far follow."""
_COUNTED = (models.Outcome.SUCCESS,)
"""Outcomes after which a host gets no other result of the same workunit: its output counts, or has counted."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of unsent results: the highest priority first, then the oldest."""

    priority: int
    id: int
    """ID of the last result before the place."""


TOP = Position(1 << 31, 0)
"""Before all unsent results."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The host that results are sent to."""

    hostid: int
    userid: int
    app_version_id: int
    flops: float
    """Floating-point operations that one of its cores does in a second."""
    memory: float
    """Bytes of memory that a result may use there."""
    disk: float
    """Bytes of disk that a result may use there."""
    active_hosts: int
    """How many hosts there are, this one included."""
    one_per_user: bool
    """A workunit's results go to different accounts."""
    quota: int
    """Results that it gets in a day, unless it has had failures."""
    ncpus: int
    """The quota is multiplied with this."""
    new_day: bool
    """It has not called today."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unsent result that the host may get."""

    id: int
    workunitid: int
    batch: int
    rsc_fpops_est: float
    delay_bound: int
    """Seconds."""


Choose = Callable[[Iterable[Candidate]], tuple[Sequence[Candidate], bool]]
"""Returns those of candidates that the host takes, and whether it wants no others then."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A result that has been sent to a host, with all that the host needs."""

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
    """What a search for work has led to."""

    assignments: Sequence[Assignment]
    position: Position
    """Where the search has ended."""
    at_end: bool
    """No unsent results are left after that."""
    quota_exhausted: bool = False
    """The host has got all it gets today."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Results that a host has and nobody needs."""

    unusable: Sequence[str]
    """Names of those that are cancelled or unknown."""
    dispensable: Sequence[str]
    """Names of those that need not be begun any more."""


class Dispatch:
    """Verbs on results on their way to hosts."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("dispatch", connector.dialect)
        self._clients = sql.load("clients", connector.dialect)

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
        """Return which of the results that a host has nobody needs."""

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
        """Send results again that a host should have and has not, with a new deadline.

        Those that nobody needs any more end instead. Return what is sent, and the names of all *names* that were
        in progress.
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
        choose: Choose,
        *,
        start: Position,
        pages: int,
        now: int,
    ) -> Sent:
        """Send unsent results to a host: up to *limit* that *choose* takes.

        Candidates come from up to *pages* after *start*, but first from the first page of all if there are urgent
        ones, of a higher priority: the cost does not grow with the number of unsent results.
        """

        async def work(tx: connectors.Transaction) -> Sent:
            quota = await self._quota(tx, recipient)
            left = min(limit, quota.left)
            if left <= 0:
                return Sent((), start, at_end=False, quota_exhausted=quota.left <= 0)
            search = _Search(left, choose)
            position, at_end = start, False
            if start != TOP and await self._is_urgent(tx, start):
                await self._search(tx, recipient, TOP, 1, search)
            if not search.is_over:
                position, at_end = await self._search(tx, recipient, start, pages, search)
            if not search.chosen:
                return Sent((), position, at_end)
            await self._note_quota(tx, recipient, quota, len(search.chosen))
            return Sent(await self._assign(tx, recipient, search.chosen, now), position, at_end)

        return await self._connector.run(work, durable=False, brief=True)

    async def durations(self, batch: int, limit: int) -> Sequence[tuple[float, float]]:
        """Return the run times of the good ones of a batch's first *limit* results.

        They are pairs of seconds and the floating-point operations a second of the host.
        """

        async def work(tx: connectors.Transaction) -> Sequence[tuple[float, float]]:
            rows = await tx.fetch_all(
                self._sql["durations"], {"batch": batch, "limit": limit, "success": models.Outcome.SUCCESS}
            )
            return [(row["elapsed_time"], row["flops_estimate"]) for row in rows]

        return await self._connector.read(work, brief=True)

    async def _search(
        self, tx: connectors.Transaction, recipient: Recipient, position: Position, pages: int, search: _Search
    ) -> tuple[Position, bool]:
        """Go on with *search*, through up to *pages* after *position*.

        Return where that ends, and whether it is the end of all.
        """
        for _ in range(pages):
            page = await self._page(tx, position)
            if page is None:
                return position, True
            priority, after, end = page
            while after < end:
                portion = search.portion
                rows = await tx.fetch_all(
                    self._sql["eligible"],
                    {
                        "unsent": models.ServerState.UNSENT,
                        "in_progress": models.ServerState.IN_PROGRESS,
                        "counted": _COUNTED,
                        "priority": priority,
                        "after": after,
                        "end": end,
                        "hostid": recipient.hostid,
                        "userid": recipient.userid if recipient.one_per_user else -1,
                        "memory": recipient.memory,
                        "disk": recipient.disk,
                        "active_hosts": recipient.active_hosts,
                        "limit": portion,
                    },
                )
                after = rows[-1]["id"] if len(rows) == portion else end
                search.go_on(Candidate(**row) for row in rows)
                if search.is_over:
                    return Position(priority, search.chosen[-1].id) if search.chosen else position, False
            position = Position(priority, end)
        return position, False

    async def _page(self, tx: connectors.Transaction, position: Position) -> tuple[int, int, int] | None:
        """Return the priority of the next page, and the IDs between which it lies; None if there is none."""
        priority: int | None = position.priority
        after = position.id
        if position == TOP:
            priority = await self._top_priority(tx, TOP.priority)
        while priority is not None:
            row = await tx.fetch_one(
                self._sql["page_end"],
                {
                    "unsent": models.ServerState.UNSENT,
                    "priority": priority,
                    "after": after,
                    "page": _PAGE,
                },
            )
            if row is not None and row["id"] is not None:
                return priority, after, row["id"]
            priority = await self._top_priority(tx, priority)
            after = 0
        return None

    async def _is_urgent(self, tx: connectors.Transaction, position: Position) -> bool:
        """Tell whether there are unsent results of a higher priority than those at *position*."""
        top = await self._top_priority(tx, TOP.priority)
        return top is not None and top > position.priority

    async def _top_priority(self, tx: connectors.Transaction, below: int) -> int | None:
        row = await tx.fetch_one(self._sql["top_priority"], {"unsent": models.ServerState.UNSENT, "below": below})
        return None if row is None else row["priority"]

    async def _quota(self, tx: connectors.Transaction, recipient: Recipient) -> _Quota:
        row = await tx.fetch_one(
            self._clients["quota"],
            {"hostid": recipient.hostid, "app_version_id": recipient.app_version_id},
        )
        if row is None:
            return _Quota(False, recipient.quota, 0, recipient.quota * recipient.ncpus)
        per_day = min(row["max_jobs_per_day"] or recipient.quota, recipient.quota)
        today = 0 if recipient.new_day else row["n_jobs_today"]
        return _Quota(True, row["max_jobs_per_day"] or recipient.quota, today, per_day * recipient.ncpus - today)

    async def _note_quota(
        self, tx: connectors.Transaction, recipient: Recipient, quota: _Quota, sent: int
    ) -> None:
        await tx.execute(
            self._clients["change_quota" if quota.known else "create_quota"],
            {
                "hostid": recipient.hostid,
                "app_version_id": recipient.app_version_id,
                "max_jobs_per_day": quota.per_day,
                "n_jobs_today": quota.today + sent,
            },
        )

    async def _assign(
        self, tx: connectors.Transaction, recipient: Recipient, chosen: Sequence[Candidate], now: int
    ) -> Sequence[Assignment]:
        for bound in {candidate.delay_bound for candidate in chosen}:
            group = [candidate for candidate in chosen if candidate.delay_bound == bound]
            deadline = _deadline(now, bound)
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
                    "unsent": models.ServerState.UNSENT,
                    "in_progress": models.ServerState.IN_PROGRESS,
                },
            )
            await tx.execute(
                self._sql["expect"],
                {"ids": [candidate.workunitid for candidate in group], "deadline": deadline},
            )
        rows = await tx.fetch_all(self._sql["documents"], {"ids": [candidate.id for candidate in chosen]})
        return [_assignment(row, _deadline(now, row["delay_bound"])) for row in rows]


class _Search:
    """A search for results that a host may get, and would take."""

    def __init__(self, limit: int, choose: Choose) -> None:
        self.chosen: Sequence[Candidate] = ()
        self.is_over = False
        """Nothing else is wanted."""
        self._limit = limit
        self._choose = choose
        self._found: dict[int, Candidate] = {}
        """Candidates by workunit: a host gets one of each."""

    @property
    def portion(self) -> int:
        """How many candidates to read next."""
        return max(_PORTION, len(self._found))

    def go_on(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            self._found.setdefault(candidate.workunitid, candidate)
        chosen, fulfilled = self._choose(self._found.values())
        self.chosen = chosen[: self._limit]
        self.is_over = fulfilled or len(chosen) >= self._limit


@dataclass(frozen=True, slots=True)
class _Quota:
    known: bool
    """There is a row for it."""
    per_day: int
    today: int
    left: int


def _deadline(now: int, delay_bound: int) -> int:
    return min(now + delay_bound, models.NEVER - 1)


def _new_deadline(row: connectors.Row, now: int) -> int:
    """Return the deadline of a result that is sent again: half the time it had, as BOINC gives it."""
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
