"""New results: rows that wait for a host, made from an output template.

They are the same as those of BOINC's ``create_result`` and ``process_result_template``, without upload certificates.
"""

from __future__ import annotations

import random as random_numbers
from collections.abc import Iterable
from dataclasses import dataclass

from aioboinc import connectors, models
from aioboinc.sql import expressions
from aioboinc.wire import documents

__all__ = ["New", "insert", "insert_first"]

_system_random = random_numbers.SystemRandom()


@dataclass(frozen=True, slots=True)
class New:
    """A result to insert."""

    workunitid: int
    name: str
    """The workunit's name, an underscore, and a number that no other result of it has."""
    appid: int
    batch: int
    priority: int
    size_class: int = -1
    """The class for which BOINC's size regulator releases it, or -1."""


async def insert(
    tx: connectors.Transaction,
    new: Iterable[New],
    template: documents.Template,
    *,
    now: int,
    random: random_numbers.Random = _system_random,
) -> None:
    """Insert results, except those whose names exist already.

    The number in the name of an output file is drawn from *random*: other hosts must not guess it.
    """
    rows = [
        {
            "workunitid": result.workunitid,
            "name": result.name,
            "appid": result.appid,
            "batch": result.batch,
            "priority": result.priority,
            "size_class": result.size_class,
            "server_state": (models.ServerState.UNSENT if result.size_class < 0 else models.ServerState.INACTIVE),
            "random": random.getrandbits(31),
            "xml_doc_in": template.document(f"{result.name}_r{random.getrandbits(31)}_"),
        }
        for result in new
    ]
    columns = await tx.columns("result")
    await tx.execute_many(_insert(tx.dialect, columns, now), rows)


async def insert_first(
    tx: connectors.Transaction,
    template: documents.Template,
    *,
    most: int,
    batch: int,
    after: int,
    now: int,
    random: random_numbers.Random = _system_random,
) -> None:
    """Insert the first results, up to *most* each, of a batch's workunits with IDs greater than *after*.

    This does the same as `insert`, but in the database alone: it takes a fraction of the time, and needs no IDs. A
    workunit's results get consecutive IDs, which BOINC's transitioner takes for granted.
    """
    parameters: dict[str, int | str] = {
        "batch": batch,
        "after": after,
        "unsent": models.ServerState.UNSENT,
        "secret": f"{random.getrandbits(128):x}",
        "piece0": template.pieces[0],
    }
    document = [":piece0"]
    for place, (suffix, piece) in enumerate(zip(template.suffixes, template.pieces[1:], strict=True), 1):
        document += ("w.base", f":suffix{place}", f":piece{place}")
        parameters |= {f"suffix{place}": suffix, f"piece{place}": piece}
    columns = await tx.columns("result")
    await tx.execute(_insert_first(tx.dialect, columns, document, most, now), parameters)


_VARYING = (
    "workunitid",
    "name",
    "appid",
    "batch",
    "priority",
    "size_class",
    "server_state",
    "random",
    "xml_doc_in",
)
_CONSTANT = {
    "outcome": "0",
    "client_state": "0",
    "hostid": "0",
    "userid": "0",
    "report_deadline": "0",
    "sent_time": "0",
    "received_time": "0",
    "cpu_time": "0",
    "xml_doc_out": "X''",
    "stderr_out": "X''",
    "file_delete_state": "0",
    "validate_state": "0",
    "claimed_credit": "0",
    "granted_credit": "0",
    "opaque": "0",
    "app_version_num": "0",
    "exit_status": "0",
    "teamid": "0",
    "elapsed_time": "0",
    "flops_estimate": "0",
    "app_version_id": "0",
    "runtime_outlier": "0",
    "peak_working_set_size": "0",
    "peak_swap_size": "0",
    "peak_disk_usage": "0",
}
_RANDOM = {
    "mysql": "(CONV(LEFT(SHA2(CONCAT(:secret, {what}, id, '_', number), 256), 8), 16, 10) & 2147483647)",
    "sqlite": "(random() & 2147483647)",
}
"""31 bits that other hosts can't guess."""
_FROM_WORKUNITS = {
    "mysql": "SELECT {values} FROM ({workunits}) w ORDER BY w.id, w.number",
    "sqlite": "WITH w AS MATERIALIZED ({workunits}) SELECT {values} FROM w ORDER BY w.id, w.number",
}
_UNLESS_THERE = {"mysql": "ON DUPLICATE KEY UPDATE id = id", "sqlite": "ON CONFLICT (name) DO NOTHING"}


def _insert(dialect: str, columns: Iterable[str], now: int) -> str:
    """Return the INSERT for a table with *columns*: older projects lack some."""
    values = {"create_time": str(int(now)), **_CONSTANT, **{name: f":{name}" for name in _VARYING}}
    known = {name: value for name, value in values.items() if name in columns}
    return f"INSERT INTO result ({', '.join(known)}) VALUES ({', '.join(known.values())}) {_UNLESS_THERE[dialect]}"


def _insert_first(dialect: str, columns: Iterable[str], document: Iterable[str], most: int, now: int) -> str:
    """Return the INSERT from workunits for a table with *columns*; *document* are the parts of ``xml_doc_in``."""
    numbers = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(most))
    name = expressions.concatenation(dialect, ("name", "'_'", "number"))
    random, file_random = (_RANDOM[dialect].format(what=what) for what in ("''", "'file'"))
    base = expressions.concatenation(dialect, (name, "'_r'", file_random, "'_'"))
    workunits = (
        f"SELECT id, number, appid, batch, priority, {name} AS name, {base} AS base, {random} AS random"
        f" FROM workunit JOIN ({numbers}) n ON number < target_nresults WHERE batch = :batch AND id > :after"
    )
    values = {
        "create_time": str(int(now)),
        **_CONSTANT,
        "workunitid": "w.id",
        "name": "w.name",
        "appid": "w.appid",
        "batch": "w.batch",
        "priority": "w.priority",
        "size_class": "-1",
        "server_state": ":unsent",
        "random": "w.random",
        "xml_doc_in": expressions.concatenated_blob(dialect, document),
    }
    known = {name: value for name, value in values.items() if name in columns}
    rows = _FROM_WORKUNITS[dialect].format(values=", ".join(known.values()), workunits=workunits)
    return f"INSERT INTO result ({', '.join(known)}) {rows}"
