"""Cancellations: batches that nobody wants any more, and their unfinished workunits."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models
from aioboinc.store import queries, transitions

__all__ = ["Batch", "Cancellations", "Piece"]


@dataclass(frozen=True)
class Batch:
    """A batch to cancel."""

    id: int
    unfinished: int
    """Number of its jobs that are neither published nor cancelled yet."""


@dataclass(frozen=True)
class Piece:
    """Workunits that were cancelled together."""

    count: int
    last: int
    """ID of the last one."""


class Cancellations:
    """Verbs on cancelling."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self._sql = queries.Queries("cancellations", connector.dialect)
        self._transitions = transitions.Transitions(connector)
        self._clock = clock

    async def begin(self, token: str) -> Batch | None:
        """Mark the batch with this *token* as aborted, unless it is complete; return it, None if there is none."""

        async def work(tx: connectors.Transaction) -> Batch | None:
            row = await tx.fetch_one(self._sql["find"], {"token": token})
            if row is None:
                return None
            await tx.execute(
                self._sql["abort"],
                {
                    "batch": row["id"],
                    "now": int(self._clock()),
                    "aborted": models.BatchState.ABORTED,
                    "open": [models.BatchState.INIT, models.BatchState.IN_PROGRESS],
                },
            )
            done = {"batch": row["id"], "done": models.AssimilateState.DONE}
            count = await tx.fetch_one(self._sql["count"], done)
            assert count is not None
            return Batch(row["id"], count["n"])

        return await self._connector.run(work)

    async def cancel(
        self,
        batch: int,
        decide: Callable[[transitions.Workunit, Sequence[transitions.Result]], transitions.Decision],
        *,
        after: int,
        limit: int,
        finished: bool,
    ) -> Piece | None:
        """Cancel the next *limit* workunits of *batch*: store what *decide* says becomes of each.

        These have IDs greater than *after* and are not assimilated; ones with outputs count only if *finished*. All in
        one transaction, in which they are locked. Returns None if there are no more.
        """

        async def work(tx: connectors.Transaction) -> Piece | None:
            await self._sql.fit(tx)
            rows = await tx.fetch_all(
                self._sql["workunits"],
                {
                    "batch": batch,
                    "after": after,
                    "limit": limit,
                    "finished": int(finished),
                    "done": models.AssimilateState.DONE,
                },
            )
            if not rows:
                return None
            await self._transitions.write(tx, rows, decide)
            return Piece(len(rows), rows[-1]["id"])

        return await self._connector.run(work, brief=True)

    async def unpublished(self, batch: int, appid: int) -> bool:
        """Tell whether the assimilator still has to publish outputs of *batch*."""
        values = {"batch": batch, "appid": appid, "ready": models.AssimilateState.READY}
        return bool(await self._connector.read(lambda tx: tx.fetch_all(self._sql["unpublished"], values)))

    async def hasten(self, workunits: Collection[int]) -> int:
        """Make those of *workunits* that are cancelled due for the transitioner; return their number."""
        values = {
            "ids": list(workunits),
            "now": int(self._clock()),
            "init": models.AssimilateState.INIT,
            "cancelled": models.ErrorMask.CANCELLED,
        }
        return await self._connector.run(lambda tx: tx.execute(self._sql["hasten"], values))

    async def forget(self, batch: int) -> None:
        """Remove our rows of *batch*."""

        async def work(tx: connectors.Transaction) -> None:
            if await tx.columns("pyboinc_calls"):
                await tx.execute(self._sql["forget_calls"], {"batch": batch})
            await tx.execute(self._sql["forget"], {"batch": batch})

        await self._connector.run(work)
