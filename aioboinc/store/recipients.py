"""Recipients: the hosts that results are sent to, and how many they may get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aioboinc import connectors, sql

__all__ = ["Limits", "Quota", "Quotas", "Recipient"]

_UNPROVEN = 4
"""Results that a host may have, for each of its cores, before one of its results was found valid."""
_PROOF = 4
"""How many more it may have for each valid result since its last failure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits what a host gets."""

    memory: float
    """Bytes of memory that a result may use there."""
    disk: float
    """Bytes of disk that a result may use there."""
    active_hosts: int
    """How many hosts there are, this one included."""
    one_per_user: bool
    """A workunit's results go to different accounts."""
    quota: int
    """Results that it may get in a day, unless it had failures."""
    ncpus: int
    """Cores; the limits are multiplied by this."""
    held: int
    """Results that it has."""
    newcomers_room: int
    """Results that it may get before one of its results was found valid."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The host that results are sent to."""

    hostid: int
    userid: int
    app_version_id: int
    flops: float
    """Floating-point operations that one of its cores does in a second."""
    limits: Limits | None = None
    """None: it gets as many results as it asks for, of any size, and may take as long as it needs."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A host's record with an app version: a row of BOINC's ``host_app_version``."""

    max_jobs_per_day: int = 0
    """0: nothing has failed yet."""
    n_jobs_today: int = 0
    consecutive_valid: int = 0
    """Results found valid since the last one that failed."""
    is_new: bool = False
    """Whether there is no row yet."""

    def per_day(self, quota: int) -> int:
        """Return how many results the host may get in a day, for each core; *quota* is what others get."""
        return self.max_jobs_per_day or quota

    def left(self, limits: Limits) -> int:
        """Return how many results the host may still get today."""
        per_day = self.per_day(limits.quota)
        # The app version may not run there at all: one a day is enough to try, regardless of cores.
        cores = 1 if per_day == 1 else limits.ncpus
        return min(per_day, limits.quota) * cores - self.n_jobs_today

    def room(self, limits: Limits) -> int:
        """Return how many more results the host may have, given its record."""
        room = (_UNPROVEN + _PROOF * self.consecutive_valid) * limits.ncpus - limits.held
        return room if self.is_proven else min(room, limits.newcomers_room)

    @property
    def is_proven(self) -> bool:
        """Whether results of the host were found valid since its last failure."""
        return self.consecutive_valid > 0

    def after_failures(self, count: int, quota: int) -> int:
        """Return ``max_jobs_per_day`` after *count* failures: each halves what the host may get in a day."""
        allowed = self.per_day(quota)
        for _ in range(count):
            allowed = max(min(allowed, quota) // 2, 1)
        return allowed


class Quotas:
    """Verbs on quotas, as parts of callers' transactions."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._sql = sql.load("recipients", connector.dialect)

    async def find(self, tx: connectors.Transaction, hostid: int, app_version_id: int) -> Quota:
        """Return the host's record, locked until the end of the transaction."""
        row = await tx.fetch_one(self._sql["quota"], {"hostid": hostid, "app_version_id": app_version_id})
        return Quota(is_new=True) if row is None else Quota(**row)

    async def note_sent(self, tx: connectors.Transaction, recipient: Recipient, quota: Quota, count: int) -> None:
        """Count results that the host got today; make its row if there is none."""
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
        """Reset the host's quotas for a new day."""
        await tx.execute(self._sql["new_day"], {"hostid": hostid})

    async def judge(
        self, tx: connectors.Transaction, hostid: int, app_version_id: int, failures: int, quota: int
    ) -> None:
        """Reduce what the host may get in a day after *failures* that it just reported and that are its fault."""
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
        """Return those of *batches* that have finished jobs, so not all their jobs fail."""
        ids = list(batches)
        return {row["id"] for row in await tx.fetch_all(self._sql["succeeding"], {"ids": ids})} if ids else set()
