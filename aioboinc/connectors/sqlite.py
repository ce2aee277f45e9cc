"""SQLite by the standard library: an embedded project's database, a file that several processes share."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

from aioboinc import errors
from aioboinc.aio import threads
from aioboinc.connectors import base, statements

__all__ = ["SQLiteConnector"]

P = ParamSpec("P")
T = TypeVar("T")

_BUSY_TIMEOUT = 0.1
"""Seconds that SQLite itself waits for another process, which can't be cancelled; `base` does the rest."""
_PATIENCE = 60.0
"""Seconds to keep trying while others write."""
_CACHE = 32768
"""Size of the writer's page cache, in KiB."""

_REFUSED = {
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened: does its directory exist, and may you use it?",
    sqlite3.SQLITE_PERM: "access denied: check owner and mode of the file and its directory",
    sqlite3.SQLITE_READONLY: "not writable: check owner and mode of the file and its directory",
    sqlite3.SQLITE_FULL: "the disk is full: make room, then start again",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write: check it, and the system's log",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it, or start again in a fresh directory",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: was it replaced?",
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DUPLICATE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


class SQLiteConnector(base.Connector):
    """One connection that writes and *pool_size* that read, each with a thread of its own.

    With the write-ahead log, readers and a writer do not wait for each other. A transaction takes the write lock at its
    start, because asking for it later may be refused at once.
    """

    dialect = "sqlite"

    def __init__(self, path: str, pool_size: int, timing: base.Timing) -> None:
        super().__init__(timing)
        self._path = path
        self._pool_size = pool_size
        self._open: list[_Link] = []
        self._writers = asyncio.LifoQueue[_Link]()
        self._readers = asyncio.LifoQueue[_Link]()
        self._durable = True

    async def __aenter__(self) -> Self:
        self.closed = False
        try:
            self._writers.put_nowait(await self._persist(lambda: self._connect(_WRITER)))
            for _ in range(self._pool_size):
                self._readers.put_nowait(await self._persist(lambda: self._connect(_READER)))
        except BaseException:
            await threads.finish(self._close())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await threads.finish(self._close())

    async def _connect(self, pragmas: Sequence[str]) -> _Link:
        link = _Link()
        self._open.append(link)
        try:
            await threads.finish(link.open(self._path, pragmas))
        except sqlite3.Error as error:
            self._open.remove(link)
            link.end()
            raise (self.translate(error) or error) from error
        return link

    async def _close(self) -> None:
        self.closed = True
        links, self._open = self._open, []
        await asyncio.gather(*(link.close() for link in links))

    async def _write(self, work: Callable[[base.Transaction], Awaitable[T]], durable: bool) -> T:
        async with self._transaction(self._writers) as transaction:
            return await self._committed(work, durable, transaction)

    async def _committed(
        self, work: Callable[[base.Transaction], Awaitable[T]], durable: bool, transaction: base.Transaction
    ) -> T:
        if durable != self._durable:
            self._durable = durable
            await transaction.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        await transaction.execute("BEGIN IMMEDIATE")
        result = await work(transaction)
        await transaction.execute("COMMIT")
        return result

    async def _read(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        async with self._transaction(self._readers) as transaction:
            return await work(transaction)

    async def _write_brief(self, work: Callable[[base.Transaction], Awaitable[T]], durable: bool) -> T:
        async with self._transaction(self._writers) as transaction:
            return await transaction.at_once(functools.partial(self._committed, work, durable))

    async def _read_brief(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        async with self._transaction(self._readers) as transaction:
            return await transaction.at_once(work)

    @contextlib.asynccontextmanager
    async def _transaction(self, free: asyncio.LifoQueue[_Link]) -> AsyncIterator[_Transaction]:
        if self.closed:
            raise RuntimeError("the connector is closed")
        link = await free.get()
        self.checked_out += 1
        transaction = _Transaction(self, link)
        try:
            yield transaction
        except BaseException:
            # A cancelled statement continues in the connection's thread. The rollback waits for it there, and does
            # nothing if it was the commit.
            if not self.closed:
                await threads.finish(link.run(sqlite3.Connection.rollback))
            raise
        finally:
            transaction.end()
            self.checked_out -= 1
            free.put_nowait(link)

    def translate(self, error: Exception) -> Exception | None:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return None
        if code & 0xFF in _BUSY:
            final = errors.DatabaseError(f"{self._path}: another process keeps it locked: is one hanging?")
            return base.Transient(final, patience=_PATIENCE, lost=False)
        if code in _DUPLICATE:
            return base.DuplicateKey(f"{self._path}: {error}")
        if code & 0xFF in _REFUSED:
            remedy = errors.of_full_disk(Path(self._path).parent) if code & 0xFF == sqlite3.SQLITE_CANTOPEN else ""
            return errors.DatabaseError(f"{self._path}: {remedy or _REFUSED[code & 0xFF]} ({error})")
        if str(error).startswith(("no such table", "no such column")):
            return errors.DatabaseError(f"{self._path}: {error}: it is not set up, or by another version")
        return None


_WRITER = ("journal_mode = WAL", "synchronous = FULL", f"cache_size = -{_CACHE}")
_READER = ("query_only = ON",)


class _Runner(Protocol):
    """Runs functions whose first parameter is a connection."""

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


class _Link:
    """A connection, and the only thread that uses it."""

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "sqlite")
        self._connection: sqlite3.Connection | None = None

    async def open(self, path: str, pragmas: Sequence[str]) -> None:
        """Connect. Raises sqlite3.Error."""
        loop = asyncio.get_running_loop()
        self._connection = await loop.run_in_executor(self._thread, _connected, path, pragmas)

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *function* in the thread, after everything given to it before."""
        assert self._connection is not None
        call = functools.partial(function, self._connection, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def close(self) -> None:
        """Close the connection, if it was opened, and end the thread."""
        if self._connection is not None:
            await self.run(sqlite3.Connection.close)
        self.end()

    def end(self) -> None:
        """End the thread, which has nothing more to do."""
        self._thread.shutdown()


def _connected(path: str, pragmas: Sequence[str]) -> sqlite3.Connection:
    """Return a new connection. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT, cached_statements=256)
    try:
        connection.row_factory = _row
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


class _Direct:
    """Stands for a `_Link` in its own thread, where nothing waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return function(self._connection, *args, **kwargs)


def _run_through(
    connection: sqlite3.Connection,
    connector: SQLiteConnector,
    work: Callable[[base.Transaction], Awaitable[T]],
) -> T:
    """Return what *work* returns, without an event loop."""
    transaction = _Transaction(connector, _Direct(connection))
    steps = work(transaction).__await__()
    try:
        next(steps)
    except StopIteration as end:
        return cast(T, end.value)
    finally:
        transaction.end()
    raise RuntimeError("brief work must await nothing but its statements")


class _Transaction(base.Transaction):
    def __init__(self, connector: SQLiteConnector, runner: _Runner) -> None:
        super().__init__(connector)
        self._sqlite = connector
        self._runner = runner

    async def at_once(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        """Await *work*, which awaits only its statements, in the connection's thread."""
        return await self._runner.run(_run_through, self._sqlite, work)

    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        return await self._call(self._runner.run, _execute, *_expanded(sql, params))

    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        return await self._call(self._runner.run, _insert, *_expanded(sql, params))

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        return await self._call(self._runner.run, _execute_many, sql, rows)

    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[base.Row]:
        return await self._call(self._runner.run, _fetch_all, *_expanded(sql, params))

    async def _columns(self, table: str) -> dict[str, base.Column]:
        rows = await self.fetch_all(
            'SELECT name, type, "notnull" AS required, dflt_value AS value, pk FROM pragma_table_info(:table)',
            {"table": table},
        )
        return {row["name"]: _column(row) for row in rows}


def _execute(connection: sqlite3.Connection, sql: str, params: Mapping[str, Any]) -> int:
    return max(connection.execute(sql, params).rowcount, 0)


def _insert(connection: sqlite3.Connection, sql: str, params: Mapping[str, Any]) -> int:
    cursor = connection.execute(sql, params)
    return (cursor.lastrowid or 0) if cursor.rowcount > 0 else 0


def _execute_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
    return max(connection.executemany(sql, rows).rowcount, 0)


def _fetch_all(connection: sqlite3.Connection, sql: str, params: Mapping[str, Any]) -> list[base.Row]:
    return connection.execute(sql, params).fetchall()


def _column(row: base.Row) -> base.Column:
    kind = row["type"].lower()
    nullable = not row["required"]
    default = "auto_increment" if kind == "integer" and row["pk"] else row["value"]
    return base.Column(kind, nullable, "NULL" if nullable and default is None else default)


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> base.Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _expanded(sql: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Pass each list as one parameter, so the text does not depend on its length, which has no limit."""
    lists = {name: json.dumps(list(value)) for name, value in params.items() if isinstance(value, base.LISTS)}
    if not lists:
        return sql, params
    statement = statements.parse(sql, "sqlite")
    text = [statement.pieces[0]]
    for name, piece in zip(statement.names, statement.pieces[1:], strict=True):
        text.append(f"SELECT value FROM json_each(:{name})" if name in lists else f":{name}")
        text.append(piece)
    return "".join(text), {**params, **lists}
