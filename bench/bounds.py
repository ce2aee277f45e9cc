"""What this machine can do at most, now: insert rows, create files. Nothing that submits jobs is faster."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aioboinc import connectors
from bench import environment as environments
from bench import measuring
from bench.environment import Environment, Place

__all__ = ["contenders"]

_STATEMENT = 1_000_000
"""Bytes of a multi-row INSERT."""
_CHUNK = 1000
"""Rows of a transaction, if that matters."""


def contenders(environment: Environment, count: int) -> list[measuring.Contender]:
    """Return the bounds of submission: *count* rows of one workunit each, *count* files."""

    def bound(name: str, work: Callable[[Place, Sequence[str], int], float]) -> measuring.Contender:
        async def measure() -> float:
            place = await environment.new_place()
            async with connectors.open(place.project.database_url) as connector:
                columns = list(await connector.read(lambda tx: tx.columns("workunit")))
            measuring.settle()
            return await asyncio.to_thread(work, place, columns, count)

        return measuring.Contender(name, measuring.Kind.BOUND, measure)

    files = bound("create, write, close the input files", _create_files)
    if environment.settings.database == "sqlite":
        return [
            files,
            bound("INSERT of the workunits, nothing else", _insert_sqlite),
        ]
    return [
        files,
        bound("INSERT of the workunits, 1 MB statements", _insert),
        bound("LOAD DATA LOCAL of the workunits", _load_data),
    ]


def _create_files(place: Place, _: Sequence[str], count: int) -> float:
    data = [bytes(200)] * count
    start = time.perf_counter()
    directory = os.open(place.project.download_dir, os.O_RDONLY)
    for number, content in enumerate(data):
        path = f"{number % place.project.fanout:x}/file_{number}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o664, dir_fd=directory)
        os.write(descriptor, content)
        os.close(descriptor)
    os.close(directory)
    return time.perf_counter() - start


def _values(columns: Sequence[str], number: int) -> list[str]:
    """Return the columns of a workunit as it is submitted."""
    name = f"pyboinc_1_{number}"
    document = (
        f"<file_info>\n    <name>{name}</name>\n    <url>http://127.0.0.1/bench/download/12/{name}</url>\n"
        "    <md5_cksum>24f052ceb064f557360a4c04d6ba541c</md5_cksum>\n    <nbytes>200</nbytes>\n</file_info>\n"
    )
    known = {"name": name, "xml_doc": 2 * document + "<workunit></workunit>", "batch": "1", "appid": "1"}
    known |= {"transition_time": "1900000000", "result_template_file": "templates/pyboinc_out", "keywords": ""}
    return [known.get(column, "0") for column in columns]


def _names(columns: Sequence[str]) -> list[str]:
    return [column for column in columns if column not in {"id", "mod_time"}]


def _insert(place: Place, columns: Sequence[str], count: int) -> float:
    names = _names(columns)
    head = f"INSERT INTO workunit ({', '.join(names)}) VALUES "
    statements: list[str] = []
    rows: list[str] = []
    size = 0
    for number in range(count):
        rows.append("('" + "','".join(_values(names, number)) + "')")
        size += len(rows[-1])
        if size > _STATEMENT or number == count - 1:
            statements.append(head + ",".join(rows))
            rows, size = [], 0
    with environments.connect(place.project) as connection, connection.cursor() as cursor:
        start = time.perf_counter()
        for statement in statements:
            cursor.execute(statement)
            connection.commit()
        return time.perf_counter() - start


def _load_data(place: Place, columns: Sequence[str], count: int) -> float:
    names = _names(columns)
    path = Path(place.project.root / "rows")
    with path.open("w") as file:
        for number in range(count):
            row = (value.replace("\n", "\\\n") for value in _values(names, number))
            file.write("\t".join(row) + "\n")
    with environments.connect(place.project) as connection, connection.cursor() as cursor:
        start = time.perf_counter()
        cursor.execute(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE workunit ({', '.join(names)})")
        connection.commit()
        return time.perf_counter() - start


def _insert_sqlite(place: Place, columns: Sequence[str], count: int) -> float:
    names = _names(columns)
    rows = [
        [
            value.encode() if name == "xml_doc" else value
            for name, value in zip(names, _values(names, number), strict=True)
        ]
        for number in range(count)
    ]
    path = place.project.database_url.removeprefix("sqlite://")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    places = ", ".join("?" * len(names))
    start = time.perf_counter()
    for first in range(0, count, _CHUNK):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT INTO workunit ({', '.join(names)}) VALUES ({places})", rows[first : first + _CHUNK]
        )
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return seconds
