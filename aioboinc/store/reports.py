"""Reports: what hosts say about executions, and results that hosts no longer have.

Verbs take whole groups. They are guarded by the result's state and host, so they may be done twice.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql
from aioboinc.store.recipients import Quotas

__all__ = ["Report", "Reported", "Reports"]

_EXPECTED = {
    "in_progress": models.ServerState.IN_PROGRESS,
    "over": models.ServerState.OVER,
    "no_reply": models.Outcome.NO_REPLY,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a host says about a finished execution of a result."""

    name: str
    """Name of the result."""
    client_state: models.ClientState
    """FILES_UPLOADED means success, if the exit status is 0 too."""
    exit_status: int
    cpu_time: float
    """Seconds."""
    elapsed_time: float
    """Seconds."""
    app_version_num: int
    xml_doc_out: str
    """The output files as the host reports them."""
    stderr_out: str
    peak_working_set_size: float = 0
    """Bytes."""
    peak_swap_size: float = 0
    """Bytes."""
    peak_disk_usage: float = 0
    """Bytes."""

    @property
    def outcome(self) -> models.Outcome:
        if self.client_state == models.ClientState.FILES_UPLOADED and self.exit_status == 0:
            return models.Outcome.SUCCESS
        return models.Outcome.CLIENT_ERROR


@dataclass(frozen=True, slots=True)
class Reported:
    """A result whose report was accepted."""

    report: Report
    batch: int
    app_version_id: int
    elapsed_time: float
    """Seconds, limited to what is possible."""


class Reports:
    """Verbs on the ends of executions."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("reports", connector.dialect)
        self._quotas = Quotas(connector)

    async def record(self, reports: Mapping[int, Sequence[Report]], *, now: int) -> set[str]:
        """Record that executions are over, by host ID; return the names of those that were still expected.

        Their workunits are due for the transitioner. Reports of results that the host does not have are ignored. After
        a power cut the last results may be in progress again.
        """

        async def work(tx: connectors.Transaction) -> set[str]:
            return {result.report.name for result in await self._accept(tx, reports, None, now)}

        return await self._connector.run(work, durable=False, brief=True)

    async def accept(
        self,
        tx: connectors.Transaction,
        hostid: int,
        ncpus: int,
        reports: Sequence[Report],
        *,
        quota: int,
        now: int,
    ) -> Sequence[Reported]:
        """Do the same for one host with limits, in the caller's transaction.

        It can't have used its *ncpus* cores for longer than it has had the result. Its failures halve what it may get
        in a day (at first *quota*).
        """
        reported = await self._accept(tx, {hostid: reports}, ncpus, now) if reports else ()
        batches = {result.batch for result in reported if result.report.outcome != models.Outcome.SUCCESS}
        succeeding = await self._quotas.succeeding(tx, batches)
        failures = collections.Counter(
            result.app_version_id for result in reported if _is_hosts_fault(result, succeeding)
        )
        for version in {result.app_version_id for result in reported}:
            await self._quotas.judge(tx, hostid, version, failures[version], quota)
        return reported

    async def detach(self, hostid: int, *, now: int) -> int:
        """End the results of a host that no longer has them, so that others replace them. Return their number."""
        states = {
            "in_progress": models.ServerState.IN_PROGRESS,
            "over": models.ServerState.OVER,
            "detached": models.Outcome.CLIENT_DETACHED,
        }

        async def work(tx: connectors.Transaction) -> int:
            held = await tx.fetch_all(
                self._sql["held"], {"hostid": hostid, "in_progress": models.ServerState.IN_PROGRESS}
            )
            if not held:
                return 0
            await tx.execute(self._sql["due"], {"ids": [row["workunitid"] for row in held], "now": now})
            return await tx.execute(self._sql["detach"], {"hostid": hostid, "now": now, **states})

        return await self._connector.run(work, brief=True)

    async def output_of(self, result: str) -> str | None:
        """Return the document of *result* if it may upload its output files, else None."""

        async def work(tx: connectors.Transaction) -> str | None:
            row = await tx.fetch_one(self._sql["uploadable"], {"name": result, **_EXPECTED})
            return None if row is None else bytes(row["xml_doc_in"]).decode()

        return await self._connector.read(work, brief=True)

    async def durations(self, batch: int, limit: int) -> Sequence[tuple[int, float, float]]:
        """Return the run times of the valid ones of a batch's first *limit* results.

        Each is the host, seconds, and the host's floating-point operations a second.
        """

        async def work(tx: connectors.Transaction) -> Sequence[tuple[int, float, float]]:
            rows = await tx.fetch_all(
                self._sql["durations"], {"batch": batch, "limit": limit, "valid": models.ValidateState.VALID}
            )
            return [(row["hostid"], row["elapsed_time"], row["flops_estimate"]) for row in rows]

        return await self._connector.read(work, brief=True)

    async def _accept(
        self,
        tx: connectors.Transaction,
        reports: Mapping[int, Sequence[Report]],
        ncpus: int | None,
        now: int,
    ) -> Sequence[Reported]:
        """Store those of *reports* that are expected. *ncpus*, if given, limits times to what is possible."""
        sent = {
            (row["hostid"], row["name"]): row
            for row in await tx.fetch_all(
                self._sql["sent"],
                {"names": [report.name for group in reports.values() for report in group], **_EXPECTED},
            )
        }
        accepted = [
            (report, sent[hostid, report.name])
            for hostid, group in reports.items()
            for report in group
            if (hostid, report.name) in sent
        ]
        if not accepted:
            return ()
        values = [_columns(report, row, ncpus, now) for report, row in accepted]
        await tx.execute_many(self._sql["report"], values)
        await tx.execute(self._sql["due"], {"ids": [row["workunitid"] for _, row in accepted], "now": now})
        return [
            Reported(report, row["batch"], row["app_version_id"], float(value["elapsed_time"]))
            for (report, row), value in zip(accepted, values, strict=True)
        ]


def _is_hosts_fault(result: Reported, succeeding: set[int]) -> bool:
    """Tell whether a failure is probably the host's fault: nobody aborted the result, and other such jobs succeed."""
    report = result.report
    return (
        report.outcome != models.Outcome.SUCCESS
        and report.exit_status != models.ExitStatus.EXIT_ABORTED_BY_PROJECT
        and result.batch in succeeding
    )


def _columns(
    report: Report, row: connectors.Row, ncpus: int | None, now: int
) -> dict[str, int | float | str | bytes]:
    """Return the values that a report gives a result's row, and those of the guard, as parameters by name."""
    success = report.outcome == models.Outcome.SUCCESS
    elapsed, cpu = report.elapsed_time, report.cpu_time
    if ncpus is not None:
        # BOINC's scheduler corrects it likewise.
        elapsed = max(0.0, min(max(elapsed, cpu), now - row["sent_time"]))
        cpu = min(cpu, elapsed * ncpus)
    return {
        **_EXPECTED,
        "id": row["id"],
        "now": now,
        "outcome": report.outcome,
        "validate_state": models.ValidateState.INIT if success else models.ValidateState.INVALID,
        "client_state": report.client_state,
        "exit_status": report.exit_status,
        "cpu_time": cpu,
        "elapsed_time": elapsed,
        "app_version_num": report.app_version_num,
        "xml_doc_out": report.xml_doc_out.encode(),
        "stderr_out": report.stderr_out.encode(),
        "peak_working_set_size": report.peak_working_set_size,
        "peak_swap_size": report.peak_swap_size,
        "peak_disk_usage": report.peak_disk_usage,
    }
