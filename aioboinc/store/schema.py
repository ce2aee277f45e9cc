"""The tables: makes ours, and lists the columns that we need of a BOINC project's.

Other columns that we use may be missing in older projects: BOINC adds columns from time to time, and a project gets
them when its administrator runs ``html/ops/upgrade_db.php``. Those listed here have all existed since 2011.
"""

from __future__ import annotations

from aioboinc import connectors, sql

__all__ = ["NEEDED", "Schema"]

NEEDED = {
    table: frozenset(columns.split())
    for table, columns in {
        "app": "id name deprecated homogeneous_redundancy",
        "app_version": "id appid version_num platformid xml_doc deprecated plan_class",
        "batch": "id user_id njobs fraction_done nerror_jobs state completion_time name app_id",
        "host": "id userid total_credit expavg_credit expavg_time avg_turnaround",
        "host_app_version": "host_id app_version_id consecutive_valid max_jobs_per_day",
        "platform": "id name",
        "result": """id workunitid server_state outcome client_state hostid report_deadline sent_time received_time
            name cpu_time xml_doc_in xml_doc_out stderr_out batch file_delete_state validate_state granted_credit appid
            exit_status priority""",
        "team": "id total_credit expavg_credit expavg_time",
        "user": "id name email_addr teamid total_credit expavg_credit expavg_time",
        "user_submit_app": "user_id app_id",
        "workunit": """id name appid xml_doc batch rsc_fpops_est rsc_fpops_bound rsc_memory_bound rsc_disk_bound
            need_validate canonical_resultid canonical_credit transition_time delay_bound error_mask
            file_delete_state assimilate_state hr_class min_quorum target_nresults max_error_results
            max_total_results max_success_results result_template_file priority""",
    }.items()
}
"""By table."""


class Schema:
    """Verbs on the tables as such."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("tables", connector.dialect)

    async def make(self, *, whole: bool = False) -> None:
        """Make missing tables: in MySQL only ours, unless *whole*."""
        await self._connector.script(sql.schema(self._connector.dialect, whole=whole))

    async def ours(self) -> set[str]:
        """Return which of our tables exist: ``pyboinc_batch``, ``pyboinc_calls``."""

        async def work(tx: connectors.Transaction) -> set[str]:
            return {name for name in ("pyboinc_batch", "pyboinc_calls") if await tx.columns(name)}

        return await self._connector.read(work)

    async def drop_ours(self) -> None:
        """Remove our tables."""
        await self._connector.script([self._sql["drop_calls"], self._sql["drop_batches"]])

    async def missing(self) -> list[str]:
        """Return what is needed but missing, as ``table`` or ``table.column``, sorted."""

        async def work(tx: connectors.Transaction) -> list[str]:
            missing: list[str] = []
            for table, needed in NEEDED.items():
                columns = await tx.columns(table)
                missing += [f"{table}.{name}" for name in needed - columns.keys()] if columns else [table]
            return sorted(missing)

        return await self._connector.read(work)
