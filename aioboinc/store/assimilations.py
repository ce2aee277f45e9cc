"""Assimilations: workunits to publish in their batch directories, and the count of published ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["Assimilations", "Execution", "Published", "ValidResult", "Workunit"]

_STDERR_TAIL = 8192
"""Bytes of a result's stderr to read; some are the client's, not the slave's."""


@dataclass(frozen=True, slots=True)
class Workunit:
    """A workunit to publish."""

    id: int
    name: str
    batch: int
    canonical_resultid: int
    """0: there is none, because the workunit has failed."""
    error_mask: int
    xml_doc_in: bytes | None
    """The document that names the canonical result's output files; None if there is no such result."""
    xml_doc_out: bytes | None
    """What its host reported about these files."""


@dataclass(frozen=True, slots=True)
class ValidResult:
    """A valid result of a workunit whose canonical result has lost its output."""

    id: int
    workunitid: int
    xml_doc_in: bytes
    xml_doc_out: bytes | None


@dataclass(frozen=True, slots=True)
class Execution:
    """A result of a workunit that has failed."""

    name: str
    server_state: int
    outcome: int
    client_state: int
    validate_state: int
    exit_status: int
    stderr: bytes | None
    """The end of ``stderr_out``."""
    xml_doc_in: bytes | None = None
    """The document that names its output files."""
    xml_doc: bytes | None = None
    """Its workunit's document, if the validator has refused its output."""


@dataclass(frozen=True, slots=True)
class Published:
    """A workunit whose file is in its batch directory."""

    workunit: Workunit
    failed: bool
    """Whether the file is not an output but a report of a failure."""


class Assimilations:
    """Verbs on assimilation."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("assimilations", connector.dialect)

    async def ready(
        self,
        appid: int,
        *,
        limit: int,
        after: int = 0,
        held: Collection[int] = (),
        share: tuple[int, int] = (1, 0),
    ) -> list[Workunit]:
        """Return up to *limit* workunits to publish, in the order of their IDs, which are greater than *after*.

        Those of the batches *held* are left out. *share* (n, r) restricts the query to workunits with id % n == r.
        """

        async def work(tx: connectors.Transaction) -> list[Workunit]:
            rows = await tx.fetch_all(
                self._sql["ready"],
                {
                    "appid": appid,
                    "after": after,
                    "limit": limit,
                    "held": list(held),
                    "modulus": share[0],
                    "remainder": share[1],
                    "ready": models.AssimilateState.READY,
                },
            )
            return [Workunit(**row) for row in rows]

        return await self._connector.read(work, brief=True)

    async def directories(self, batches: Collection[int]) -> dict[int, str]:
        """Return the batch directories of those of *batches* that are ours."""

        async def work(tx: connectors.Transaction) -> dict[int, str]:
            rows = await tx.fetch_all(self._sql["directories"], {"batches": list(batches)})
            return {row["id"]: row["directory"] for row in rows}

        return await self._connector.read(work, brief=True)

    async def executions(self, workunits: Collection[int]) -> dict[int, list[Execution]]:
        """Return all results of failed *workunits*, by their IDs."""

        async def work(tx: connectors.Transaction) -> dict[int, list[Execution]]:
            executions: defaultdict[int, list[Execution]] = defaultdict(list)
            for row in await tx.fetch_all(
                self._sql["executions"],
                {
                    "workunits": list(workunits),
                    "tail": _STDERR_TAIL,
                    "validate_error": models.Outcome.VALIDATE_ERROR,
                },
            ):
                executions[row.pop("workunitid")].append(Execution(**row))
            return executions

        return await self._connector.read(work, brief=True)

    async def valid_results(self, workunits: Collection[int]) -> list[ValidResult]:
        """Return the valid results of *workunits*, in the order of their IDs."""

        async def work(tx: connectors.Transaction) -> list[ValidResult]:
            rows = await tx.fetch_all(self._sql["valid_results"], {"workunits": list(workunits), **_VALID})
            return [ValidResult(**row) for row in rows]

        return await self._connector.read(work, brief=True)

    async def replace(self, canonical: Mapping[Workunit, int]) -> int:
        """Make another valid result each workunit's canonical one; return for how many it is now."""

        async def work(tx: connectors.Transaction) -> int:
            return sum(
                [
                    await tx.execute(
                        self._sql["replace"],
                        {
                            "id": workunit.id,
                            "old": workunit.canonical_resultid,
                            "new": resultid,
                            "ready": models.AssimilateState.READY,
                        },
                    )
                    for workunit, resultid in canonical.items()
                ]
            )

        return await self._connector.run(work, brief=True) if canonical else 0

    async def reopen(self, workunits: Sequence[Workunit], *, now: int) -> list[int]:
        """Reopen workunits whose valid outputs are all lost; return the IDs of those reopened.

        They lose their canonical results. Their valid results count as errors from now on, so that the transitioner
        makes others within the workunits' limits. Results that came too late to be compared get another chance.
        """

        async def work(tx: connectors.Transaction) -> list[int]:
            rows = await tx.fetch_all(
                self._sql["claim"],
                {"ids": [workunit.id for workunit in workunits], "ready": models.AssimilateState.READY},
            )
            claimed = {row["id"]: row["canonical_resultid"] for row in rows}
            ids = [item.id for item in workunits if claimed.get(item.id) == item.canonical_resultid]
            if ids:
                states = {
                    "invalid": models.ValidateState.INVALID,
                    "validate_error": models.Outcome.VALIDATE_ERROR,
                    "init": models.ValidateState.INIT,
                    "too_late": models.ValidateState.TOO_LATE,
                }
                await tx.execute(self._sql["lose_results"], {"workunits": ids, **_VALID, **states})
                await tx.execute(self._sql["recheck_results"], {"workunits": ids, **_VALID, **states})
                await tx.execute(
                    self._sql["reopen"], {"ids": ids, "init": models.AssimilateState.INIT, "now": now}
                )
            return ids

        return await self._connector.run(work, brief=True)

    async def finish(self, published: Sequence[Published], *, now: int) -> int:
        """Record that workunits have been published, in one transaction.

        Those recorded before are counted neither in their batches again nor in the number returned. BOINC's own rows of
        the batches are kept up to date.
        """

        async def work(tx: connectors.Transaction) -> int:
            rows = await tx.fetch_all(
                self._sql["claim"],
                {"ids": [item.workunit.id for item in published], "ready": models.AssimilateState.READY},
            )
            claimed = {row["id"]: row["canonical_resultid"] for row in rows}
            finished = [
                item for item in published if claimed.get(item.workunit.id) == item.workunit.canonical_resultid
            ]
            if not finished:
                return 0
            await tx.execute(
                self._sql["finish"],
                {
                    "ids": [item.workunit.id for item in finished],
                    "ready": models.AssimilateState.READY,
                    "done": models.AssimilateState.DONE,
                    "now": now,
                },
            )
            counts: defaultdict[int, list[bool]] = defaultdict(list)
            for item in finished:
                counts[item.workunit.batch].append(item.failed)
            for batch, failed in sorted(counts.items()):
                await self._count(tx, batch, len(failed), sum(failed), now)
            return len(finished)

        return await self._connector.run(work, brief=True)

    async def _count(
        self, tx: connectors.Transaction, batch: int, nassimilated: int, nerrors: int, now: int
    ) -> None:
        counts = {"batch": batch, "nassimilated": nassimilated, "nerrors": nerrors}
        await tx.execute(self._sql["count"], counts)
        await tx.execute(self._sql["progress"], {"batch": batch})
        await tx.execute(
            self._sql["complete"],
            {
                "batch": batch,
                "now": now,
                "complete": models.BatchState.COMPLETE,
                "in_progress": models.BatchState.IN_PROGRESS,
                "submitted": models.SubmissionState.SUBMITTED,
            },
        )


_VALID = {
    "over": models.ServerState.OVER,
    "success": models.Outcome.SUCCESS,
    "valid": models.ValidateState.VALID,
}
