"""SQLite by aiosqlite: an embedded project's database, a file that several processes share."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import aiosqlite

from aioboinc import errors
from aioboinc.connectors import base, statements

__all__ = ["SQLiteConnector"]

T = TypeVar("T")

_BUSY_TIMEOUT = 0.1
"""Seconds that SQLite itself waits for another process, which can't be cancelled; the rest is up to `base`."""
_PATIENCE = 60.0
"""Seconds to try for while others write."""
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

_Connections = asyncio.LifoQueue[aiosqlite.Connection]


class SQLiteConnector(base.Connector):
    """One connection that writes and *pool_size* that read, each with a thread of its own.

    With the write-ahead log, readers and a writer do not wait for each other. A transaction takes the write
    lock at its start: one that asks for it later may be refused at once.
    """

    dialect = "sqlite"

    def __init__(self, path: str, pool_size: int, timing: base.Timing) -> None:
        super().__init__(timing)
        self._path = path
        self._pool_size = pool_size
        self._open: list[aiosqlite.Connection] = []
        self._writers = _Connections()
        self._readers = _Connections()
        self._durable = True

    async def __aenter__(self) -> Self:
        self.closed = False
        try:
            self._writers.put_nowait(await self._persist(lambda: self._connect(_WRITER)))
            for _ in range(self._pool_size):
                self._readers.put_nowait(await self._persist(lambda: self._connect(_READER)))
        except BaseException:
            await base.finish(self._close())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await base.finish(self._close())

    async def _connect(self, pragmas: Sequence[str]) -> aiosqlite.Connection:
        try:
            # To its end: aiosqlite loses a connection whose opening is cancelled.
            return await base.finish(_connected(self._path, pragmas, self._open))
        except sqlite3.Error as error:
            raise (self.translate(error) or error) from error

    async def _close(self) -> None:
        self.closed = True
        connections, self._open = self._open, []
        await asyncio.gather(*(connection.close() for connection in connections))
        for connection in connections:
            _join(connection)

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
    async def _transaction(self, free: _Connections) -> AsyncIterator[_Transaction]:
        if self.closed:
            raise RuntimeError("the connector is closed")
        connection = await free.get()
        self.checked_out += 1
        transaction = _Transaction(self, connection)
        try:
            yield transaction
        except BaseException:
            # A cancelled statement goes on in the connection's thread. The roll-back queues up behind it, and does
            # nothing if that was the commit.
            if not self.closed:
                await base.finish(connection.rollback())
            raise
        finally:
            transaction.end()
            self.checked_out -= 1
            free.put_nowait(connection)

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
            return errors.DatabaseError(f"{self._path}: {_REFUSED[code & 0xFF]} ({error})")
        if str(error).startswith(("no such table", "no such column")):
            return errors.DatabaseError(f"{self._path}: {error}: it is not set up, or by another version")
        return None


_WRITER = ("journal_mode = WAL", "synchronous = FULL", f"cache_size = -{_CACHE}")
_READER = ("query_only = ON",)


async def _connected(
    path: str, pragmas: Sequence[str], connections: list[aiosqlite.Connection]
) -> aiosqlite.Connection:
    """Return a new connection, which is also the newest of *connections*."""
    connection = aiosqlite.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT, cached_statements=256)
    try:
        await connection
        connection.row_factory = _row  # type: ignore[assignment]  # a function will do
        for pragma in pragmas:
            await connection.execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        await connection.close()
        _join(connection)
        raise
    connections.append(connection)
    return connection


def _join(connection: aiosqlite.Connection) -> None:
    """Wait the moment until the thread of a closed connection has ended; all that it had to say is said."""
    thread = cast(threading.Thread, getattr(connection, "_thread", connection))  # itself, before aiosqlite 0.22
    thread.join()


class _Direct:
    """What `_Transaction` wants of a connection, in the connection's own thread: nothing of it waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, params: Any) -> sqlite3.Cursor:
        return self._connection.execute(sql, params)

    async def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        return self._connection.executemany(sql, rows)

    async def execute_fetchall(self, sql: str, params: Any) -> Iterable[Any]:
        return self._connection.execute(sql, params).fetchall()


def _run_through(work: Callable[[base.Transaction], Awaitable[T]], transaction: base.Transaction) -> T:
    """Return what *work* returns, without an event loop."""
    steps = work(transaction).__await__()
    try:
        next(steps)
    except StopIteration as end:
        return cast(T, end.value)
    raise RuntimeError("brief work must await nothing but its statements")


class _Transaction(base.Transaction):
    def __init__(self, connector: SQLiteConnector, connection: aiosqlite.Connection | _Direct) -> None:
        super().__init__(connector)
        self._connection: Any = connection

    async def at_once(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        """Await *work*, which awaits nothing but its statements, in the connection's thread."""
        direct = _Transaction(cast(SQLiteConnector, self._connector), _Direct(self._connection._conn))
        try:
            # aiosqlite has no other way to run a function in its thread.
            return cast(T, await self._connection._execute(_run_through, work, direct))
        finally:
            direct.end()

    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        cursor: sqlite3.Cursor = await self._call(self._connection.execute, *_expanded(sql, params))
        return max(cursor.rowcount, 0)

    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        cursor: sqlite3.Cursor = await self._call(self._connection.execute, *_expanded(sql, params))
        return (cursor.lastrowid or 0) if cursor.rowcount > 0 else 0

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        cursor: sqlite3.Cursor = await self._call(self._connection.executemany, sql, rows)
        return max(cursor.rowcount, 0)

    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[base.Row]:
        rows: Iterable[Any] = await self._call(self._connection.execute_fetchall, *_expanded(sql, params))
        return list(rows)

    async def _columns(self, table: str) -> dict[str, base.Column]:
        rows = await self.fetch_all(
            'SELECT name, type, "notnull" AS required, dflt_value AS value, pk FROM pragma_table_info(:table)',
            {"table": table},
        )
        return {row["name"]: _column(row) for row in rows}


def _column(row: base.Row) -> base.Column:
    kind = row["type"].lower()
    nullable = not row["required"]
    default = "auto_increment" if kind == "integer" and row["pk"] else row["value"]
    return base.Column(kind, nullable, "NULL" if nullable and default is None else default)


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> base.Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _expanded(sql: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Pass each list as one parameter: the text is the same whatever its length, which has no limit then."""
    lists = {name: json.dumps(list(value)) for name, value in params.items() if isinstance(value, base.LISTS)}
    if not lists:
        return sql, params
    statement = statements.parse(sql, "sqlite")
    text = [statement.pieces[0]]
    for name, piece in zip(statement.names, statement.pieces[1:], strict=True):
        text.append(f"SELECT value FROM json_each(:{name})" if name in lists else f":{name}")
        text.append(piece)
    return "".join(text), {**params, **lists}
