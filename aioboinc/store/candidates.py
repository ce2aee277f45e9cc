"""Candidates: the unsent results that a host may get, in the order in which they are sent.

The search walks the index of states and priorities, so that its cost does not grow with the number of unsent results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models
from aioboinc.store.recipients import Recipient

__all__ = ["TOP", "Candidate", "Choose", "Position", "Search"]

_PAGE = 500
"""Unsent results in a page, which is read at once."""
_FIRST_BATCH = 4
"""Candidates to read first, as most requests are for a few. Then the number read doubles each time."""
_LAST = (1 << 63) - 1
"""No ID is higher."""
_RETRY_AFTER = 900
"""Seconds after which a job that failed on a host may go to it again, even if others could take it."""
_COUNTED = (models.Outcome.SUCCESS,)
"""Outcomes after which a host gets no other result of the same workunit, because its output counts or counted."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of unsent results: the highest priority first, then the oldest."""

    priority: int
    id: int
    """ID of the last result before the place."""


TOP = Position(1 << 31, 0)
"""Before all unsent results."""


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
"""Returns the candidates that the host takes, and whether it wants no others after these."""


class Search:
    """A search for up to *limit* results that a host may get: those that *choose* selects, or all."""

    def __init__(
        self,
        sql: Mapping[str, str],
        tx: connectors.Transaction,
        recipient: Recipient,
        limit: int,
        choose: Choose | None,
        now: int,
    ) -> None:
        self.chosen: Sequence[Candidate] = ()
        self.is_over = False
        """Whether nothing else is wanted."""
        self._sql = sql
        self._tx = tx
        self._limit = limit
        self._choose = choose
        self._found: dict[int, Candidate] = {}
        """Candidates by workunit; a host gets one of each."""
        self._rows: dict[int, connectors.Row] = {}
        self._conditions = {
            "unsent": models.ServerState.UNSENT,
            "in_progress": models.ServerState.IN_PROGRESS,
            "counted": _COUNTED,
            "lately": now - _RETRY_AFTER,
            **_conditions(recipient),
        }

    async def walk(self, position: Position, pages: int) -> tuple[Position, bool]:
        """Search up to *pages* after *position*.

        Return where the search has ended, and whether that is the end of all unsent results.
        """
        while pages > 0:
            pages -= 1
            page = await self._page(position)
            if page is None:
                return position, True
            priority, after, end = page
            while after < end:
                limit = self._batch_size
                where = {"priority": priority, "after": after, "end": end, "limit": limit}
                rows = await self._tx.fetch_all(self._sql["eligible"], {**self._conditions, **where})
                after = rows[-1]["id"] if len(rows) == limit else end
                self._take(rows)
                if self.is_over:
                    return Position(priority, self.chosen[-1].id) if self.chosen else position, False
            position = Position(priority, end)
        return position, False

    async def is_urgent(self, position: Position) -> bool:
        """Tell whether there are unsent results of a higher priority than those at *position*."""
        top = await self._top_priority(TOP.priority)
        return top is not None and top > position.priority

    @property
    def _batch_size(self) -> int:
        """Return how many candidates to read next."""
        return self._limit - len(self._found) if self._choose is None else max(_FIRST_BATCH, len(self._found))

    def row(self, candidate: Candidate) -> connectors.Row:
        """Return the row of a candidate, with the documents that its host needs."""
        return self._rows[candidate.workunitid]

    def _take(self, rows: Iterable[connectors.Row]) -> None:
        for row in rows:
            if row["workunitid"] not in self._found:
                self._rows[row["workunitid"]] = row
                self._found[row["workunitid"]] = Candidate(
                    row["id"], row["workunitid"], row["batch"], row["rsc_fpops_est"], row["delay_bound"]
                )
        found = self._found.values()
        chosen, fulfilled = (list(found), False) if self._choose is None else self._choose(found)
        self.chosen = chosen[: self._limit]
        self.is_over = fulfilled or len(chosen) >= self._limit

    async def _page(self, position: Position) -> tuple[int, int, int] | None:
        """Return the priority of the next page, and the IDs between which it lies; None if there is none."""
        priority: int | None = position.priority
        after = position.id
        if position == TOP:
            priority = await self._top_priority(TOP.priority)
        while priority is not None:
            end = await self._page_end(priority, after)
            if end is not None:
                return priority, after, end
            priority = await self._top_priority(priority)
            after = 0
        return None

    async def _page_end(self, priority: int, after: int) -> int | None:
        if self._choose is None:  # nothing is skipped, so there is nothing to bound
            return _LAST if after < _LAST else None
        row = await self._tx.fetch_one(
            self._sql["page_end"],
            {"unsent": models.ServerState.UNSENT, "priority": priority, "after": after, "page": _PAGE},
        )
        return None if row is None else row["id"]

    async def _top_priority(self, below: int) -> int | None:
        row = await self._tx.fetch_one(
            self._sql["top_priority"], {"unsent": models.ServerState.UNSENT, "below": below}
        )
        return None if row is None else row["priority"]


def _conditions(recipient: Recipient) -> Mapping[str, int | float]:
    limits = recipient.limits
    if limits is None:
        # If it is the only host, it gets failed jobs again at once.
        return {
            "hostid": recipient.hostid,
            "userid": -1,
            "memory": sys.float_info.max,
            "disk": sys.float_info.max,
            "active_hosts": 1,
        }
    return {
        "hostid": recipient.hostid,
        "userid": recipient.userid if limits.one_per_user else -1,
        "memory": limits.memory,
        "disk": limits.disk,
        "active_hosts": limits.active_hosts,
    }
