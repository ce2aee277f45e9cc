"""A stand-in for the hosts: writes what a scheduler, an upload handler and daemons would leave."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator

from aioboinc import connectors, models
from aioboinc.project import config
from aioboinc.wire import codec, documents, envelope
from bench import jobs
from bench.environment import Opened, Place

__all__ = ["execute", "publish", "validate"]

_PAGE = 5000
_FILE_NAME = re.compile(rb"<name>([^<]+)</name>")

_UNSENT = """
SELECT r.id, r.xml_doc_in, w.id AS workunit, w.name, w.xml_doc FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = :unsent AND r.id > :after ORDER BY r.id LIMIT :limit
"""
_REPORT = """
UPDATE result SET server_state = :over, outcome = :success, client_state = :uploaded, hostid = 1, userid = 1,
    sent_time = :then, received_time = :then, report_deadline = :then + 604800, app_version_id = 1,
    app_version_num = 100, elapsed_time = 3.5, cpu_time = 3.25, flops_estimate = 2.5e9,
    stderr_out = :stderr, peak_working_set_size = 12132352, peak_swap_size = 19120128, peak_disk_usage = 7153
WHERE id IN (:ids)
"""
_UPLOADED = "UPDATE result SET xml_doc_out = :out WHERE id = :id"
_DUE = "UPDATE workunit SET transition_time = :then WHERE id IN (:ids)"
_TO_VALIDATE = "UPDATE workunit SET need_validate = 1, transition_time = :then + 1000000 WHERE batch = :batch"
_VALID = "UPDATE result SET validate_state = :valid WHERE batch = :batch"
_CANONICAL = {
    "mysql": """
        UPDATE workunit w JOIN result r ON r.workunitid = w.id
        SET w.need_validate = 0, w.canonical_resultid = r.id, w.assimilate_state = :ready,
            w.transition_time = :never
        WHERE w.batch = :batch
        """,
    "sqlite": """
        UPDATE workunit SET need_validate = 0, canonical_resultid = r.id, assimilate_state = :ready,
            transition_time = :never
        FROM result r WHERE r.workunitid = workunit.id AND workunit.batch = :batch
        """,
}
_THEN = 1_795_000_000
"""Some time ago."""
_OUT = (
    "<file_info><name>{name}</name>\n<nbytes>{nbytes}.000000</nbytes>\n<max_nbytes>100000000.000000</max_nbytes>\n"
    "<md5_cksum>{md5}</md5_cksum>\n"
    "<upload_url>http://127.0.0.1/bench_cgi/file_upload_handler</upload_url></file_info>\n"
)
_STDERR = b"<core_client_version>7.20.5</core_client_version>\n<![CDATA[\n<stderr_txt>\n\n</stderr_txt>\n]]>\n"


async def execute(place: Place, opened: Opened, *, limit: int = sys.maxsize) -> None:
    """Execute up to *limit* unsent results: write their output files, and report them."""
    after = 0
    while rows := await opened.connector.read(
        lambda tx: tx.fetch_all(_UNSENT, _page(after, min(limit, _PAGE)))  # noqa: B023
    ):
        limit -= len(rows)
        uploaded = _upload(place, rows)

        async def report(
            tx: connectors.Transaction,
            rows: list[connectors.Row] = rows,
            uploaded: list[dict[str, int | bytes]] = uploaded,
        ) -> None:
            await tx.execute(
                _REPORT,
                {
                    "over": models.ServerState.OVER,
                    "success": models.Outcome.SUCCESS,
                    "uploaded": models.ClientState.FILES_UPLOADED,
                    "then": _THEN,
                    "stderr": _STDERR,
                    "ids": [row["id"] for row in rows],
                },
            )
            await tx.execute_many(_UPLOADED, uploaded)
            await tx.execute(_DUE, {"ids": [row["workunit"] for row in rows], "then": _THEN})

        await opened.connector.run(report)
        after = rows[-1]["id"]


def _page(after: int, limit: int) -> dict[str, int]:
    return {"unsent": models.ServerState.UNSENT, "after": after, "limit": limit}


async def validate(opened: Opened, *, done: bool) -> None:
    """Do what the transitioner does with executed jobs and, if *done*, what the validator does then."""

    async def work(tx: connectors.Transaction) -> None:
        batch = {"batch": opened.batch.id}
        await tx.execute(_TO_VALIDATE, {**batch, "then": _THEN})
        if done:
            await tx.execute(_VALID, {**batch, "valid": models.ValidateState.VALID})
            await tx.execute(
                _CANONICAL[tx.dialect],
                {**batch, "ready": models.AssimilateState.READY, "never": models.NEVER},
            )

    await opened.connector.run(work)


def publish(place: Place, batch: int, numbers: Iterable[int], folder: str = "new") -> None:
    """Publish the outputs of the calls *numbers* as the assimilator does."""
    with _directory(f"{place.batch_dir}/{folder}") as descriptor:
        for number in numbers:
            name = f"pyboinc_{batch}_{number}"
            data = _output(name, number, hashlib.sha256(b"input").digest(), hashlib.sha256(b"program").digest())
            _write(name, data, descriptor)


def _upload(place: Place, rows: Iterable[connectors.Row]) -> list[dict[str, int | bytes]]:
    """Write the output files; return what is reported about them, with the results' IDs."""
    reported: list[dict[str, int | bytes]] = []
    with contextlib.ExitStack() as stack:
        upload = stack.enter_context(_directory(str(place.project.upload_dir)))
        for row in rows:
            identity = documents.identity(row["name"], row["xml_doc"].decode())
            number = int(row["name"].rpartition("_")[2])
            data = _output(row["name"], number, identity.input_sha256, identity.program_sha256)
            match = _FILE_NAME.search(row["xml_doc_in"])
            assert match is not None
            name = match[1].decode()
            _write(f"{config.fanout_directory(name, place.project.fanout)}/{name}", data, upload)
            out = _OUT.format(name=name, nbytes=len(data), md5=hashlib.md5(data).hexdigest())
            reported.append({"id": row["id"], "out": out.encode()})
    return reported


def _output(name: str, number: int, input_sha256: bytes, program_sha256: bytes) -> bytes:
    return envelope.encode_output(name, input_sha256, program_sha256, jobs.value(number), codec.Registry())


def _write(path: str, data: bytes, directory: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664, dir_fd=directory)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
