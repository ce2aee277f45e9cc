"""Deletions: workunits and results whose files may be deleted."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["Deletable", "Deletions", "Kind"]


class Kind(enum.Enum):
    """Whose files."""

    INPUTS = "workunits"
    OUTPUTS = "results"


@dataclass(frozen=True, slots=True)
class Deletable:
    """A workunit or a result whose files may be deleted."""

    id: int
    name: str
    document: bytes
    """Names its files."""


class Deletions:
    """Verbs on the deletion of files."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("deletions", connector.dialect)

    async def ready(
        self,
        kind: Kind,
        appid: int,
        *,
        limit: int,
        state: models.FileDeleteState = models.FileDeleteState.READY,
        after: int = 0,
        share: tuple[int, int] = (1, 0),
    ) -> list[Deletable]:
        """Return up to *limit* of those in *state*, in the order of their IDs, which are greater than *after*.

        *share* (n, r) restricts the query to those with id % n == r.
        """

        async def work(tx: connectors.Transaction) -> list[Deletable]:
            rows = await tx.fetch_all(
                self._sql[kind.value],
                {
                    "appid": appid,
                    "state": state,
                    "after": after,
                    "limit": limit,
                    "modulus": share[0],
                    "remainder": share[1],
                },
            )
            return [Deletable(row["id"], row["name"], row["document"] or b"") for row in rows]

        return await self._connector.read(work, brief=True)

    async def record(
        self,
        kind: Kind,
        *,
        gone: Collection[int],
        failed: Collection[int],
        state: models.FileDeleteState = models.FileDeleteState.READY,
    ) -> int:
        """Record the IDs whose files are *gone*, and those where deletion *failed*; they were in *state* before.

        Returns how many still were in *state*.
        """

        async def work(tx: connectors.Transaction) -> int:
            count = 0
            for ids, new_state in (
                (gone, models.FileDeleteState.DONE),
                (failed, models.FileDeleteState.ERROR),
            ):
                if ids and new_state != state:
                    count += await tx.execute(
                        self._sql[f"{kind.value}_gone"],
                        {"ids": list(ids), "state": state, "new_state": new_state},
                    )
            return count

        return await self._connector.run(work, durable=False, brief=True)
