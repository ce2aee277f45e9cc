"""Recipients: the hosts that results are sent to, and how many they may get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aioboinc import connectors, sql

__all__ = ["Limits", "Quota", "Quotas", "Recipient"]

_UNPROVEN = 4
"""Results that a host has at a time, for each of its cores, before one of it was found valid."""
_PROOF = 4
"""How many more it may have for each that was found valid since the last one that failed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds what a host gets."""

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
    """The limits are multiplied with this."""
    held: int
    """Results that it has."""
    newcomers_room: int
    """Results that it may get as long as none of it has been found valid."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The host that results are sent to."""

    hostid: int
    userid: int
    app_version_id: int
    flops: float
    """Floating-point operations that one of its cores does in a second."""
    limits: Limits | None = None
    """None: it gets as many as it asks for, of whatever size, and may take as long as it needs."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How a host does with an app version: a row of BOINC's ``host_app_version``."""

    max_jobs_per_day: int = 0
    """0: nothing has failed yet."""
    n_jobs_today: int = 0
    consecutive_valid: int = 0
    """Results found valid since the last one that failed."""
    is_new: bool = False
    """There is no row yet."""

    def per_day(self, quota: int) -> int:
        """Return how many results the host may get in a day, for each core, where *quota* is what others get."""
        return self.max_jobs_per_day or quota

    def left(self, limits: Limits) -> int:
        """Return how many results the host may still get today."""
        per_day = self.per_day(limits.quota)
        # The app version may not run there at all: one a day is a try, however many cores there are.
        cores = 1 if per_day == 1 else limits.ncpus
        return min(per_day, limits.quota) * cores - self.n_jobs_today

    def room(self, limits: Limits) -> int:
        """Return how many results the host may have beside those it has, as well as it is known."""
        room = (_UNPROVEN + _PROOF * self.consecutive_valid) * limits.ncpus - limits.held
        return room if self.is_proven else min(room, limits.newcomers_room)

    @property
    def is_proven(self) -> bool:
        """Since the last one that failed, results of the host have been found valid."""
        return self.consecutive_valid > 0

    def after_failures(self, count: int, quota: int) -> int:
        """Return ``max_jobs_per_day`` after *count* failures: each halves what the host may get in a day."""
        allowed = self.per_day(quota)
        for _ in range(count):
            allowed = max(min(allowed, quota) // 2, 1)
        return allowed


class Quotas:
    """Verbs on quotas, as parts of others' transactions."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._sql = sql.load("recipients", connector.dialect)

    async def find(self, tx: connectors.Transaction, hostid: int, app_version_id: int) -> Quota:
        """Return how the host does, locked until the end of the transaction."""
        row = await tx.fetch_one(self._sql["quota"], {"hostid": hostid, "app_version_id": app_version_id})
        return Quota(is_new=True) if row is None else Quota(**row)

    async def note_sent(self, tx: connectors.Transaction, recipient: Recipient, quota: Quota, count: int) -> None:
        """Count results that the host has got today; the first ones make its row."""
        assert recipient.limits is not None
        await tx.execute(
            self._sql["create_quota" if quota.is_new else "change_quota"],
            {
                "hostid": recipient.hostid,
                "app_version_id": recipient.app_version_id,
                "max_jobs_per_day": quota.per_day(recipient.limits.quota),
                "n_jobs_today": quota.n_jobs_today + count,
            },
        )

    async def begin_day(self, tx: connectors.Transaction, hostid: int) -> None:
        """Let the host get its quotas anew."""
        await tx.execute(self._sql["new_day"], {"hostid": hostid})

    async def judge(
        self, tx: connectors.Transaction, hostid: int, app_version_id: int, failures: int, quota: int
    ) -> None:
        """Adapt what the host may get in a day to what it has reported just now: *failures* that are its fault."""
        found = await self.find(tx, hostid, app_version_id)
        if found.is_new:
            return
        key = {"hostid": hostid, "app_version_id": app_version_id}
        allowed = found.after_failures(failures, quota)
        if allowed != found.max_jobs_per_day:
            values = {"max_jobs_per_day": allowed, "n_jobs_today": found.n_jobs_today}
            await tx.execute(self._sql["change_quota"], {**key, **values})
        if failures:
            await tx.execute(self._sql["unlucky"], key)

    async def succeeding(self, tx: connectors.Transaction, batches: Iterable[int]) -> set[int]:
        """Return those of *batches* of which some jobs have been done: what fails is not all of them."""
        ids = list(batches)
        return {row["id"] for row in await tx.fetch_all(self._sql["succeeding"], {"ids": ids})} if ids else set()
