"""SQLite by aiosqlite: the embedded project's database, a file that several processes share."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiosqlite

from aioboinc import errors
from aioboinc.connectors import base, statements

__all__ = ["SQLiteConnector"]

T = TypeVar("T")

_BUSY_TIMEOUT = 0.1
"""Seconds that SQLite itself waits for another process; cancellation has to wait as long. `base` does the rest."""
_PATIENCE = 60.0
"""Seconds to try for while other processes write."""
_LISTS = (list, tuple, set, frozenset)

_REFUSED = {
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened: does its directory exist, and is it yours?",
    sqlite3.SQLITE_PERM: "access denied: check the owner and mode of the file and its directory",
    sqlite3.SQLITE_READONLY: "not writable: check the owner and mode of the file and its directory",
    sqlite3.SQLITE_FULL: "no room left on the disk: make some, then start again",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write: check the disk and the system's log",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it, or start again in a fresh directory",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: was it replaced?",
    sqlite3.SQLITE_TOOBIG: "a value is too large for the database (about 1 GB)",
}
_DUPLICATE = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
}


class SQLiteConnector(base.Connector):
    """One connection that writes, *pool_size* that read, each with a thread of its own.

    The write-ahead log lets readers go on while one writes. Transactions begin with ``BEGIN IMMEDIATE``: one that
    took the write lock in its middle could not wait for it.
    """

    dialect = "sqlite"

    def __init__(self, path: str, *, pool_size: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self._path = path
        self._pool_size = pool_size
        self._connections: list[aiosqlite.Connection] = []
        self._writer: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._closed = True
        self._durable = True

    async def __aenter__(self) -> Self:
        self._closed = False
        try:
            # Kept to its end: aiosqlite loses a connection whose opening is cancelled.
            self._writer.put_nowait(await self._persist(lambda: base.finish(self._open(write=True))))
            for _ in range(self._pool_size):
                self._readers.put_nowait(await self._persist(lambda: base.finish(self._open(write=False))))
        except BaseException:
            await base.finish(self._close())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await base.finish(self._close())

    async def _open(self, *, write: bool) -> aiosqlite.Connection:
        try:
            connection = await aiosqlite.connect(
                self._path, isolation_level=None, timeout=_BUSY_TIMEOUT, cached_statements=256
            )
            self._connections.append(connection)
            connection.row_factory = _row
            if write:
                await connection.execute("PRAGMA journal_mode = WAL")
                await connection.execute("PRAGMA synchronous = FULL")
                await connection.execute("PRAGMA cache_size = -32768")
            else:
                await connection.execute("PRAGMA query_only = ON")
            await connection.execute_fetchall("SELECT COUNT(*) FROM sqlite_master")
        except sqlite3.Error as error:
            translated = self.translate(error)
            if translated is None:
                raise
            raise translated from error
        return connection

    async def _close(self) -> None:
        self._closed = True
        while self._connections:
            await self._connections.pop().close()
        self._writer = asyncio.LifoQueue()
        self._readers = asyncio.LifoQueue()

    async def _write(self, work: Callable[[base.Transaction], Awaitable[T]], durable: bool) -> T:
        connection = await self._take(self._writer)
        try:
            transaction = _Transaction(self, connection)
            try:
                await self._set_durable(transaction, durable)
                await transaction.execute("BEGIN IMMEDIATE")
                result = await work(transaction)
                transaction.check()
                await base.finish(transaction.execute("COMMIT"))
            except BaseException:
                await self._stop(connection, rollback=True)
                raise
            finally:
                transaction.end()
        finally:
            self._give(self._writer, connection)
        return result

    async def _read(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        connection = await self._take(self._readers)
        try:
            transaction = _Transaction(self, connection)
            try:
                return await work(transaction)
            except BaseException:
                await self._stop(connection, rollback=False)
                raise
            finally:
                transaction.end()
        finally:
            self._give(self._readers, connection)

    async def _take(self, queue: asyncio.LifoQueue[aiosqlite.Connection]) -> aiosqlite.Connection:
        if self._closed:
            raise RuntimeError("the connector is closed")
        connection = await queue.get()
        self.checked_out += 1
        return connection

    def _give(self, queue: asyncio.LifoQueue[aiosqlite.Connection], connection: aiosqlite.Connection) -> None:
        self.checked_out -= 1
        queue.put_nowait(connection)

    async def _stop(self, connection: aiosqlite.Connection, *, rollback: bool) -> None:
        """End what a cancelled or failed transaction has left, its statement too that may be under way.

        A cancelled statement goes on in the connection's thread. Statements queue there, so it is over when
        the one after it is.
        """
        if self._closed:
            return
        await connection.interrupt()
        await base.finish(connection.rollback() if rollback else connection.execute_fetchall("SELECT 1"))

    async def _set_durable(self, transaction: _Transaction, durable: bool) -> None:
        if durable != self._durable:
            self._durable = durable
            await transaction.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")

    def translate(self, error: Exception) -> Exception | None:
        """Return the error to raise for the driver's *error*, None if it is a bug."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return None
        if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            final = errors.DatabaseError(
                f"{self._path}: another process keeps the database locked: is one stopped or hanging?"
            )
            return base.Transient(final, patience=_PATIENCE, lost=False)
        if code in _DUPLICATE:
            return base.DuplicateKey(f"{self._path}: {error}")
        if code & 0xFF in _REFUSED:
            return errors.DatabaseError(f"{self._path}: {_REFUSED[code & 0xFF]} ({error})")
        if str(error).startswith(("no such table", "no such column")):
            return errors.DatabaseError(f"{self._path}: {error}: the project is not set up, or by another version")
        return None


class _Transaction(base.Transaction):
    def __init__(self, connector: SQLiteConnector, connection: aiosqlite.Connection) -> None:
        super().__init__(connector)
        self._connection = connection
        self._translator = connector.translate

    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:  # noqa: B006 - never changed
        cursor = await self._call(self._connection.execute, *_expanded(sql, params))
        return max(cursor.rowcount, 0)

    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:  # noqa: B006 - never changed
        cursor = await self._call(self._connection.execute, *_expanded(sql, params))
        return (cursor.lastrowid or 0) if cursor.rowcount > 0 else 0

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        if not rows:
            return 0
        cursor = await self._call(self._connection.executemany, sql, rows)
        return max(cursor.rowcount, 0)

    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[base.Row]:  # noqa: B006
        rows: Iterable[Any] = await self._call(self._connection.execute_fetchall, *_expanded(sql, params))
        return list(rows)

    async def _columns(self, table: str) -> dict[str, base.Column]:
        rows = await self.fetch_all('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(:t)', {"t": table})
        return {row["name"]: _column(row) for row in rows}

    def _translate(self, error: Exception) -> Exception | None:
        return self._translator(error)


def _column(row: base.Row) -> base.Column:
    default = row["dflt_value"]
    kind = row["type"].lower()
    if kind == "integer" and row["pk"]:
        default = "auto_increment"
    return base.Column(kind, not row["notnull"] and not row["pk"], default)


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> base.Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _expanded(sql: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Make lists a single parameter each, so that the text stays the same and they may be of any length."""
    lists = {name: value for name, value in params.items() if isinstance(value, _LISTS)}
    if not lists:
        return sql, params
    statement = statements.parse(sql, backslashes=False)
    text = [statement.pieces[0]]
    for name, piece in zip(statement.names, statement.pieces[1:], strict=True):
        text.append(f"SELECT value FROM json_each(:{name})" if name in lists else f":{name}")
        text.append(piece)
    return "".join(text), {**params, **{name: json.dumps(list(value)) for name, value in lists.items()}}
