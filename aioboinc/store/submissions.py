"""Submissions: chunks of calls become workunits with their first results, all or nothing."""

from __future__ import annotations

import functools
import itertools
import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from aioboinc import connectors, errors, models, sql
from aioboinc.project import templates
from aioboinc.sql import expressions
from aioboinc.store import calls, jobs, results

__all__ = ["Submissions"]

_Value = int | float | str


class Submissions:
    """Verbs on submission."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self._sql = sql.load("submissions", connector.dialect)
        self._clock = clock

    async def commit(self, batch: int, appid: int, chunk: jobs.Chunk) -> None:
        """Insert the workunits of *chunk* and advance the batch's count of them, and its digest, in one transaction.

        With an output template, their first results are inserted too, as BOINC's transitioner would do on its first
        pass; without one, that pass is due at once. May be done twice.

        If all calls of the batch were committed, it is open again.

        Raises `errors.DatabaseError` if the batch does not end where the chunk begins, because somebody else submits to
        it, and `errors.BatchAborted` if somebody has ended the batch.
        """
        now = int(self._clock())
        njobs = chunk.before + len(chunk.jobs)

        async def work(tx: connectors.Transaction) -> None:
            advanced = await tx.execute(
                self._sql["advance"],
                {
                    "batch": batch,
                    "before": chunk.before,
                    "njobs": njobs,
                    "digest": chunk.digest,
                    "open": models.SubmissionState.OPEN,
                },
            )
            if not advanced:
                await self._check_done(tx, batch, njobs, chunk.digest)
                return
            state = {"ended": list(models.ENDED), "in_progress": models.BatchState.IN_PROGRESS}
            if not await tx.execute(self._sql["njobs"], {"batch": batch, "njobs": njobs, **state}):
                raise errors.BatchAborted(f"batch {batch} takes no more jobs")
            note = calls.add if chunk.is_new else calls.replace
            await note(tx, batch, calls.Chunk(chunk.first, chunk.keys, chunk.kinds))
            newest = None if chunk.template is None else await tx.fetch_one(self._sql["newest"], {"batch": batch})
            columns = await tx.columns("workunit")
            workunit = functools.partial(_workunit, batch, appid, now, first_pass=chunk.template is None)
            for document, alike in itertools.groupby(chunk.jobs, key=operator.attrgetter("form.document")):
                insert, rows = _composed(tx.dialect, columns, workunit, document, list(alike))
                await tx.execute_many(insert, rows)
            if chunk.template is not None and newest is not None:
                most = max(job.form.options.target_nresults or 1 for job in chunk.jobs)
                await results.insert_first(tx, chunk.template, most=most, batch=batch, after=newest["id"], now=now)

        await self._connector.run(work)

    async def _check_done(self, tx: connectors.Transaction, batch: int, njobs: int, digest: str) -> None:
        row = await tx.fetch_one("SELECT njobs, digest FROM pyboinc_batch WHERE id = :id", {"id": batch})
        if row is None or (row["njobs"], row["digest"]) != (njobs, digest):
            raise errors.DatabaseError(
                f"batch {batch} was changed by another master or deleted; run the same command again"
            )


def _workunit(batch: int, appid: int, now: int, options: jobs.Options, *, first_pass: bool) -> dict[str, _Value]:
    """Return the columns that workunits with *options* share."""
    delay_bound = int(options.delay_bound)
    return {
        "create_time": now,
        "appid": appid,
        "batch": batch,
        "rsc_fpops_est": float(options.rsc_fpops_est),
        "rsc_fpops_bound": float(options.rsc_fpops_bound),
        "rsc_memory_bound": float(options.rsc_memory_bound),
        "rsc_disk_bound": float(options.rsc_disk_bound),
        "need_validate": 0,
        "canonical_resultid": 0,
        "canonical_credit": 0,
        "transition_time": now if first_pass else models.safety_net(now, delay_bound),
        "delay_bound": delay_bound,
        "error_mask": 0,
        "file_delete_state": models.FileDeleteState.INIT,
        "assimilate_state": models.AssimilateState.INIT,
        "hr_class": 0,
        "opaque": 0,
        "min_quorum": options.quorum or 1,
        "target_nresults": options.target_nresults or 1,
        "max_error_results": options.max_error_results,
        "max_total_results": options.max_total_results,
        "max_success_results": options.max_success_results,
        "result_template_file": templates.OUTPUT,
        "priority": int(options.priority),
        "rsc_bandwidth_bound": 0,
        "fileset_id": 0,
        "app_version_id": 0,
        "transitioner_flags": 0,
        "size_class": -1,
        "keywords": "",
        "app_version_num": 0,
    }


def _composed(
    dialect: str,
    columns: Iterable[str],
    workunit: Callable[[jobs.Options], Mapping[str, _Value]],
    document: Sequence[str],
    alike: Sequence[jobs.Job],
) -> tuple[str, list[dict[str, _Value]]]:
    """Return an INSERT for jobs with the same *document*, and its rows, without the columns that are *alike*.

    Columns that an older project lacks are left out.
    """
    kinds = {options: workunit(options) for options in {job.form.options for job in alike}}
    first, *others = kinds.values()
    varying = [name for name, value in first.items() if any(kind[name] != value for kind in others)]
    values = {name: f":{name}" if name in varying else _literal(value) for name, value in first.items()}
    parts = [f":{part}" if place % 2 else expressions.text(part) for place, part in enumerate(document) if part]
    values |= {"name": ":name", "xml_doc": expressions.concatenated_blob(dialect, parts)}
    values = {name: value for name, value in values.items() if name in columns}
    own = {options: {name: kind[name] for name in varying} for options, kind in kinds.items()}
    return (
        f"INSERT INTO workunit ({', '.join(values)}) VALUES ({', '.join(values.values())})",
        [{**job.values, **own[job.form.options]} for job in alike],
    )


def _literal(value: _Value) -> str:
    if isinstance(value, str):
        assert value.replace("/", "").replace("_", "").isalnum() or not value
        return f"'{value}'"
    return repr(value) if isinstance(value, float) else str(int(value))
