"""Executions: a workunit with all its results, for people who ask how far a job is."""

from __future__ import annotations

from dataclasses import dataclass

from aioboinc import connectors, models
from aioboinc.store import queries

__all__ = ["Execution", "Executions", "Workunit"]

_STDERR_TAIL = 8192
"""Bytes of a result's stderr that are read: some of them are the client's, not the slave's."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A result: an execution that is over, under way, or to come."""

    server_state: int
    outcome: int
    validate_state: int
    hostid: int
    """0 while no host has got it."""
    received_time: int
    """When it was reported; 0 if it was not."""
    elapsed_time: float
    """Seconds."""
    stderr: bytes
    """The end of ``stderr_out``."""
    is_canonical: bool
    """Its output is the job's."""

    @property
    def is_success(self) -> bool:
        """Whether a host has brought an output that was not refused."""
        return (
            self.server_state == models.ServerState.OVER
            and self.outcome == models.Outcome.SUCCESS
            and self.validate_state != models.ValidateState.INVALID
        )


@dataclass(frozen=True, slots=True)
class Workunit:
    """A workunit and its results, in the order in which they were made."""

    error_mask: int
    min_quorum: int
    executions: tuple[Execution, ...]


class Executions:
    """Verbs that only look."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = queries.Queries("executions", connector.dialect)

    async def of_workunit(self, name: str) -> Workunit | None:
        """Return the workunit *name*; None if the database does not have it, or no longer."""

        async def work(tx: connectors.Transaction) -> list[connectors.Row]:
            await self._sql.fit(tx)
            return list(await tx.fetch_all(self._sql["of_workunit"], {"name": name, "tail": _STDERR_TAIL}))

        rows = await self._connector.read(work, brief=True)
        if not rows:
            return None
        executions = tuple(_execution(row) for row in rows if row["id"] is not None)
        return Workunit(rows[0]["error_mask"], rows[0]["min_quorum"], executions)


def _execution(row: connectors.Row) -> Execution:
    return Execution(
        server_state=row["server_state"],
        outcome=row["outcome"],
        validate_state=row["validate_state"],
        hostid=row["hostid"],
        received_time=row["received_time"],
        elapsed_time=float(row["elapsed_time"]),
        stderr=bytes(row["stderr"] or b""),
        is_canonical=row["id"] == row["canonical_resultid"],
    )
