"""MySQL and MariaDB by aiomysql: a BOINC project's database, which BOINC's own daemons use too."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiomysql  # type: ignore[import-untyped]
import pymysql.err
from pymysql.constants import CLIENT

from aioboinc import errors
from aioboinc.aio import pipeline, threads
from aioboinc.connectors import base, literals

__all__ = ["MySQLConnector"]

T = TypeVar("T")

_CONNECT_TIMEOUT = 10.0
"""Seconds for connecting, including the greeting and the session's settings."""
_GRACE = 0.5
"""Seconds that a commit or a rollback gets after a cancellation."""
_ROLLBACK_TIMEOUT = 5.0
"""Seconds after which a connection is given up rather than rolled back."""
_MAX_STATEMENT = 128_000
"""Bytes to send at once: more is no faster, and the event loop is blocked while a statement is composed."""

_SESSION = (
    # Strict: the server refuses what it would otherwise cut off. No mode that changes the syntax of literals.
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
    # Then only changed rows are locked, not the gaps between them, where BOINC's daemons insert.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    # Seconds; a tenth of the server's default, because waiting in the server can't be cancelled.
    "SET SESSION innodb_lock_wait_timeout = 5",
)

# Errors by the server's and the client library's numbers: the driver has names only for some.
_CONTENTION_PATIENCE = 60.0
_CONTENTION = {
    1205,  # lock wait timeout
    1213,  # deadlock
    1020,  # MariaDB 11: a row has changed since the transaction's snapshot
}
_LOST_PATIENCE = 300.0
_LOST = {
    2002,  # no server at the socket
    2003,  # no server at the host
    2006,  # server has gone away
    2013,  # lost during a query
    2055,  # the same, with a reason
    1040,  # too many connections
    1053,  # server shutdown in progress
    1077,  # normal shutdown
    1158,  # errors of the network, to 1161
    1159,
    1160,
    1161,
    1184,  # aborted connection
    1317,  # query interrupted: a server that shuts down, or KILL
    1927,  # MariaDB: connection was killed
    4031,  # MySQL: closed for inactivity
}
_AILING = {
    3: "the server can't write a file",
    1021: "the server's disk is full: make room",
    1026: "the server can't write a file",
    1030: "the server's storage fails",
    1041: "the server is out of memory",
    1114: "a table is full: make room on the server's disk",
    1290: "the server is read-only: use the primary",
    1836: "the server is read-only: use the primary",
}
"""Conditions that may pass, just as an unreachable server may come back; they get the same patience."""
_REFUSED = {
    1040: "too many connections: raise the server's max_connections, or start fewer processes",
    1044: "access denied: GRANT the user all privileges on the database",
    1045: "access denied: check db_user and db_passwd in config.xml",
    1049: "unknown database: check db_name in config.xml",
    1054: "a column is missing: upgrade the project's database by html/ops/upgrade_db.php",
    1129: "this host is blocked: run FLUSH HOSTS on the server",
    1130: "this host may not connect: check db_host in config.xml, and the user's host on the server",
    1142: "access denied: GRANT the user all privileges on the database",
    1143: "access denied: GRANT the user all privileges on the database",
    1146: "a table is missing: run setup for this project",
    1153: "a statement is too large: raise the server's max_allowed_packet",
    1665: "the server logs statements: set binlog_format to MIXED or ROW",
    1698: "access denied: check db_user and db_passwd in config.xml",
}
_DUPLICATE = {1062, 1586}
_GONE = 2006
_TOO_LARGE = 1153


class MySQLConnector(base.Connector):
    """Up to *pool_size* connections, made when they are needed.

    aiomysql's own pool blocks everybody while it connects, and loses connections when it is cancelled.
    """

    dialect = "mysql"

    def __init__(self, server: Mapping[str, str | int], pool_size: int, timing: base.Timing) -> None:
        super().__init__(timing)
        self._server = server
        self._slots = asyncio.Semaphore(pool_size)
        self._idle: list[_Link] = []
        self._used: set[_Link] = set()
        where = server.get("unix_socket") or f"{server['host']}:{server['port']}"
        self._name = f"database {server['db']} on {where}"

    async def __aenter__(self) -> Self:
        try:
            self._idle.append(await self._connect())
        except base.Transient as error:
            raise error.final from error.__cause__
        self.closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed = True
        for link in self._used:
            link.abort()
        idle, self._idle = self._idle, []
        await threads.finish(_quit(idle), grace=_GRACE)

    async def _write(self, work: Callable[[base.Transaction], Awaitable[T]], durable: bool) -> T:
        return await self._attempt(b"START TRANSACTION", work)

    async def _read(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        return await self._attempt(b"START TRANSACTION READ ONLY", work)

    async def _attempt(self, begin: bytes, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        async with self._slots:
            if self.closed:
                raise RuntimeError("the connector is closed")
            link = await self._link()
            self._used.add(link)
            self.checked_out += 1
            transaction = _Transaction(self, link, begin)
            try:
                result = await work(transaction)
                await threads.finish(transaction.commit(), grace=_GRACE)
            except BaseException as error:
                if isinstance(error, base.Transient) and error.lost:
                    self._forget_idle()
                await threads.finish(link.rollback(), grace=_GRACE)
                raise
            finally:
                transaction.end()
                self.checked_out -= 1
                self._used.discard(link)
                if link.usable and not self.closed:
                    self._idle.append(link)
                else:
                    link.abort()
        return result

    async def _link(self) -> _Link:
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                return link
            link.abort()
        return await self._connect()

    def _forget_idle(self) -> None:
        """Close the idle connections: if one was lost, the others most likely are, too."""
        while self._idle:
            self._idle.pop().abort()

    async def _connect(self) -> _Link:
        connection = aiomysql.Connection(
            **self._server, charset="utf8mb4", conv=literals.DECODERS, client_flag=CLIENT.FOUND_ROWS
        )
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await connection.ping()  # connects
                link = _Link(connection)
                for statement in _SESSION:
                    await link.query(statement.encode())
                cursor = await link.query(b"SELECT @@max_allowed_packet, @@version")
                link.max_packet, version = await cursor.fetchone()
                link.selects_from_values = _selects_from_values(version)
        except BaseException as error:
            connection.close()
            translated = self.translate(error) if isinstance(error, Exception) else None
            if translated is None:
                raise
            raise translated from error
        return link

    def translate(self, error: Exception) -> Exception | None:
        code = _code(error)
        if code in _CONTENTION:
            final = errors.DatabaseError(f"{self._name}: others keep rows locked ({_text(error)})")
            return base.Transient(final, patience=_CONTENTION_PATIENCE, lost=False)
        if code in _LOST or isinstance(error, OSError | pymysql.err.InterfaceError | _HungUp):
            advice = _REFUSED.get(code, "the server can't be reached: is it running?")
            final = errors.DatabaseError(f"{self._name}: {advice} ({_text(error)})")
            return base.Transient(final, patience=_LOST_PATIENCE, lost=True)
        if code in _AILING:
            final = errors.DatabaseError(f"{self._name}: {_AILING[code]} (error {code}: {_text(error)})")
            return base.Transient(final, patience=_LOST_PATIENCE, lost=False, warn=True)
        if code in _DUPLICATE:
            return base.DuplicateKey(f"{self._name}: {_text(error)}")
        if code in _REFUSED or _is_condition(error):
            advice = f"{_REFUSED[code]} ({_text(error)})" if code in _REFUSED else f"error {code}: {_text(error)}"
            return errors.DatabaseError(f"{self._name}: {advice}")
        return None


async def _quit(links: Sequence[_Link]) -> None:
    """Say goodbye on the idle *links*, and close them."""
    try:
        for link in links:
            await link.quit()
    finally:
        for link in links:
            link.abort()
        await asyncio.sleep(0)  # sockets are closed in the event loop's next round


class _HungUp(Exception):
    """The connection was closed under the driver, whatever error it made of that."""


class _Cursor(aiomysql.Cursor):  # type: ignore[misc]
    """A cursor without warnings: the driver would query them, and turn mere notes into Python's warnings.

    A value that does not fit is an error in our sessions.
    """

    total = 0
    """Rows changed or found by all statements."""

    async def run(self, statements: bytes) -> None:
        """Execute one statement, or several with semicolons between them."""
        await self.execute(statements)
        self.total = self.rowcount
        while await self.nextset():
            self.total += self.rowcount

    async def _show_warnings(self, connection: Any) -> None:
        pass


class _Link:
    """A connection, and whether it is usable."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # The driver can neither drop what it has not sent yet, nor see that the server has hung up.
        self._transport: asyncio.Transport = connection._writer.transport
        self._reader: asyncio.StreamReader = connection._reader
        self._talking = False
        self.max_packet = _MAX_STATEMENT
        """Bytes that the server takes at once."""
        self.selects_from_values = False
        """Whether the server accepts rows of literals as a table."""

    @property
    def usable(self) -> bool:
        """Tell whether it seems to be connected, and is not in the middle of a conversation."""
        return not (
            self._talking or self._connection.closed or self._transport.is_closing() or self._reader.at_eof()
        )

    async def query(self, statement: bytes) -> _Cursor:
        """Send *statement*; return the driver's cursor with the whole answer."""
        if len(statement) >= self.max_packet:
            # The server would hang up, maybe before it says why.
            raise pymysql.err.OperationalError(_TOO_LARGE, f"{len(statement)} bytes")
        if not self.usable:
            raise pymysql.err.OperationalError(_GONE, "the connection is closed")
        cursor = _Cursor(self._connection)
        self._talking = True
        try:
            await cursor.run(statement)
        except Exception as error:
            self._talking = not _from_server(error)
            if self._talking and (self._connection.closed or self._transport.is_closing()):
                raise _HungUp(f"{type(error).__name__}: {error}") from error
            raise
        self._talking = False
        return cursor

    async def rollback(self) -> None:
        """Roll back; if nothing else works, by closing the connection. Never raises."""
        if self.usable:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_ROLLBACK_TIMEOUT):
                    await self.query(b"ROLLBACK")
                    return
        self.abort()

    async def quit(self) -> None:
        """Say goodbye, if the connection is up."""
        if self.usable:
            with contextlib.suppress(OSError):
                await self._connection.ensure_closed()

    def abort(self) -> None:
        """Close at once; the server rolls back."""
        self._connection.close()
        self._transport.abort()


class _Transaction(base.Transaction):
    def __init__(self, connector: MySQLConnector, link: _Link, begin: bytes) -> None:
        super().__init__(connector)
        self._link = link
        self._begin = begin + b";"
        """Goes with the first statement, to save a round trip; empty after it."""

    async def commit(self) -> None:
        """Commit; without a statement there is nothing to commit."""
        if not self._begin:
            await self._query(b"COMMIT")

    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        cursor = await self._query(literals.fill(sql, params))
        return int(cursor.rowcount)

    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:
        cursor = await self._query(literals.fill(sql, params))
        return int(cursor.lastrowid or 0)

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        limit = min(_MAX_STATEMENT, self._link.max_packet - len(self._begin))
        async with pipeline.Behind() as behind:
            for statement in literals.fill_many(
                sql, rows, limit, select_from_values=self._link.selects_from_values
            ):
                await behind.start(self._total(statement))
                await asyncio.sleep(0)  # it is being sent: the next one is filled while the server works
        return behind.count

    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[base.Row]:
        cursor = await self._query(literals.fill(sql, params))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]

    async def _total(self, statement: bytes) -> int:
        return (await self._query(statement)).total

    async def _query(self, statement: bytes) -> _Cursor:
        statement, self._begin = self._begin + statement, b""
        return await self._call(self._link.query, statement)

    async def _columns(self, table: str) -> dict[str, base.Column]:
        rows = await self.fetch_all(
            "SELECT column_name AS name, column_type AS type, is_nullable AS nullable,"
            " column_default AS value, extra AS extra FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND table_name = :table ORDER BY ordinal_position",
            {"table": table},
        )
        return {row["name"]: _column(row) for row in rows}


def _column(row: base.Row) -> base.Column:
    default = "auto_increment" if "auto_increment" in row["extra"].lower() else row["value"]
    nullable = row["nullable"] == "YES"
    return base.Column(row["type"].lower(), nullable, "NULL" if nullable and default is None else default)


def _selects_from_values(version: str) -> bool:
    """Tell whether this is MariaDB 10.3 or later; MySQL has another syntax."""
    match = re.match(r"(\d+)\.(\d+)\..*MariaDB", version)
    return match is not None and (int(match[1]), int(match[2])) >= (10, 3)


def _code(error: Exception) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _text(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else None
    return str(cause or (error.args[-1] if error.args else "") or type(error).__name__)


def _is_condition(error: Exception) -> bool:
    """Tell whether a server reports a condition; wrong statements are bugs, and have other classes."""
    return isinstance(error, pymysql.err.OperationalError | pymysql.err.InternalError) and _code(error) > 0


def _from_server(error: Exception) -> bool:
    """Tell whether the server refused a statement and waits for the next; the client's codes begin with a 2."""
    code = _code(error) if isinstance(error, pymysql.err.MySQLError) else 0
    return code >= 1000 and not 2000 <= code < 3000
