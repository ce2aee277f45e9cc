"""Status: what people want to know about a project at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["Batch", "Host", "Overview", "Status"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and its counters."""

    id: int
    name: str
    directory: str
    njobs: int
    """Calls committed so far."""
    complete: bool
    """They are all."""
    done: int
    """Jobs published, including failed ones."""
    failed: int
    in_progress: int
    """Results that hosts have."""
    aborted: bool
    create_time: int
    completion_time: int
    """0 while jobs are missing."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host and its description."""

    id: int
    domain_name: str
    account: str
    ncpus: int
    cpu: str
    system: str
    rpc_time: int
    """Time of its last call."""
    total_credit: float
    in_progress: int
    """Results that it has."""


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it."""

    batches: Sequence[Batch]
    """The newest first."""
    hosts: Sequence[Host]
    """The hosts, sorted by their last call, newest first."""
    nhosts: int
    nactive: int
    """Hosts that have called in the last hour."""
    ncores: int
    """Cores of these."""


class Status:
    """Verbs that only look."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("status", connector.dialect)

    async def overview(self, *, limit: int, now: int) -> Overview:
        """Return an overview with up to *limit* batches and hosts."""

        async def work(tx: connectors.Transaction) -> Overview:
            in_progress = await tx.fetch_all(
                self._sql["in_progress"], {"in_progress": models.ServerState.IN_PROGRESS}
            )
            total = await tx.fetch_one(self._sql["hosts_total"], {"since": now - 3600})
            assert total is not None
            by_batch, by_host = _sums(in_progress, "batch"), _sums(in_progress, "hostid")
            return Overview(
                batches=[
                    _batch(row, by_batch.get(row["id"], 0))
                    for row in await tx.fetch_all(self._sql["batches"], {"limit": limit})
                ],
                hosts=[
                    _host(row, by_host.get(row["id"], 0))
                    for row in await tx.fetch_all(self._sql["hosts"], {"limit": limit})
                ],
                nhosts=total["hosts"],
                nactive=int(total["active"]),
                ncores=int(total["cores"]),
            )

        return await self._connector.read(work, brief=True)


def _sums(rows: Sequence[connectors.Row], key: str) -> Mapping[int, int]:
    sums: dict[int, int] = {}
    for row in rows:
        sums[row[key]] = sums.get(row[key], 0) + row["n"]
    return sums


def _batch(row: connectors.Row, in_progress: int) -> Batch:
    return Batch(
        id=row["id"],
        name=row["name"],
        directory=row["directory"],
        njobs=row["njobs"],
        complete=row["submission"] == models.SubmissionState.SUBMITTED,
        done=row["nassimilated"],
        failed=row["nerrors"],
        in_progress=in_progress,
        aborted=row["state"] == models.BatchState.ABORTED,
        create_time=row["create_time"],
        completion_time=int(row["completion_time"]),
    )


def _host(row: connectors.Row, in_progress: int) -> Host:
    return Host(
        id=row["id"],
        domain_name=row["domain_name"] or "",
        account=row["account"] or "",
        ncpus=row["p_ncpus"],
        cpu=row["p_model"] or row["p_vendor"] or "",
        system=row["os_version"] or row["os_name"] or "",
        rpc_time=row["rpc_time"],
        total_credit=row["total_credit"],
        in_progress=in_progress,
    )
