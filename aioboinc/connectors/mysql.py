"""MySQL and MariaDB by aiomysql: a BOINC project's database, beside BOINC's own daemons."""

from __future__ import annotations

import asyncio
import decimal
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiomysql  # type: ignore[import-untyped]
import pymysql.err
from pymysql.constants import CLIENT, FIELD_TYPE

from aioboinc import errors
from aioboinc.connectors import base, statements

__all__ = ["MySQLConnector"]

T = TypeVar("T")

_CONNECT_TIMEOUT = 10.0
"""Seconds for connecting, greeting and the session's settings together."""
_GRACE = 0.5
"""Seconds that a commit or a rollback gets after a cancellation."""
_ROLLBACK_TIMEOUT = 5.0
"""Seconds after which a connection is given up rather than rolled back."""
_LARGEST_STATEMENT = 1_000_000
"""Bytes of a multi-row statement: larger ones are no faster, and the event loop stands still while one is made."""
_LISTS = (list, tuple, set, frozenset)

_SESSION = (
    # Strict, so that the server refuses what it would otherwise cut off; no mode that changes the syntax of literals.
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
    # Updates then lock the rows they change, not the gaps between them, where BOINC's daemons insert.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    # A tenth or so of the server's default: waiting in the server can't be cancelled, trying again can.
    "SET SESSION innodb_lock_wait_timeout = 5",
)

# Errors by the server's and the client library's numbers: the driver knows the names of some only.
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
_REFUSED = {
    1021: "the server's disk is full: make room",
    1040: "too many connections: raise the server's max_connections, or start fewer processes",
    1041: "the server is out of memory",
    1044: "access denied: GRANT the user all privileges on the database",
    1045: "access denied: check db_user and db_passwd in config.xml",
    1049: "unknown database: check db_name in config.xml",
    1054: "a column is missing: upgrade the project's database (bin/upgrade), then run setup",
    1114: "a table is full: make room on the server's disk",
    1129: "this host is blocked: run FLUSH HOSTS on the server",
    1130: "this host may not connect: check db_host in config.xml, and the user's host on the server",
    1142: "access denied: GRANT the user all privileges on the database",
    1143: "access denied: GRANT the user all privileges on the database",
    1146: "a table is missing: run setup for this project",
    1153: "a statement is too large: raise the server's max_allowed_packet",
    1290: "the server is read-only: use the primary",
    1665: "the server logs statements: set binlog_format to MIXED or ROW",
    1698: "access denied: check db_user and db_passwd in config.xml",
    1836: "the server is read-only: use the primary",
}
_DUPLICATE = {1062, 1586}
_GONE = 2006
_TOO_LARGE = 1153


def _number(text: str) -> int | float:
    """Convert a DECIMAL, such as a SUM of integers, to what SQLite has in its place."""
    value = decimal.Decimal(text)
    return int(value) if value == value.to_integral_value() and "." not in text else float(value)


_DECODERS: dict[int, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            FIELD_TYPE.TINY,
            FIELD_TYPE.SHORT,
            FIELD_TYPE.LONG,
            FIELD_TYPE.LONGLONG,
            FIELD_TYPE.INT24,
            FIELD_TYPE.YEAR,
        ),
        int,
    ),
    **dict.fromkeys((FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE), float),
    **dict.fromkeys((FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL), _number),
}
"""Without dates and times: they stay text, as in SQLite."""


class MySQLConnector(base.Connector):
    """At most *pool_size* connections, made when they are needed.

    A pool of our own: aiomysql's keeps everyone waiting while it connects, and loses connections when cancelled.
    """

    dialect = "mysql"

    def __init__(self, server: Mapping[str, str | int], *, pool_size: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self._server = server
        self._slots = asyncio.Semaphore(pool_size)
        self._idle: list[_Link] = []
        self._used: set[_Link] = set()
        self._closed = True
        where = server.get("unix_socket") or f"{server['host']}:{server['port']}"
        self._name = f"database {server['db']} on {where}"

    async def __aenter__(self) -> Self:
        self._closed = False
        try:
            self._idle.append(await self._connect())
        except base.Transient as error:
            raise error.final from error.__cause__
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        for link in self._used:
            link.abort()
        idle, self._idle = self._idle, []
        await base.finish(self._quit(idle), grace=_GRACE)

    async def _quit(self, links: list[_Link]) -> None:
        try:
            for link in links:
                await link.quit()
        finally:
            for link in links:
                link.abort()
            await asyncio.sleep(0)  # transports close in the loop's next round

    async def _write(self, work: Callable[[base.Transaction], Awaitable[T]], durable: bool) -> T:
        return await self._attempt("START TRANSACTION", work)

    async def _read(self, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        return await self._attempt("START TRANSACTION READ ONLY", work)

    async def _attempt(self, begin: str, work: Callable[[base.Transaction], Awaitable[T]]) -> T:
        if self._closed:
            raise RuntimeError("the connector is closed")
        async with self._slots:
            link = await self._link()
            self._used.add(link)
            self.checked_out += 1
            transaction = _Transaction(self, link)
            try:
                await transaction.execute(begin)
                result = await work(transaction)
                transaction.check()
                await base.finish(transaction.execute("COMMIT"), grace=_GRACE)
            except BaseException as error:
                if isinstance(error, base.Transient) and error.lost:
                    self._forget_idle()
                await base.finish(link.rollback(), grace=_GRACE)
                raise
            finally:
                transaction.end()
                self.checked_out -= 1
                self._used.discard(link)
                if link.usable and not self._closed:
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
        """Close the idle connections: where one was lost, the others are, most likely."""
        for link in self._idle:
            link.abort()
        self._idle.clear()

    async def _connect(self) -> _Link:
        connection = aiomysql.Connection(
            **self._server, charset="utf8mb4", conv=_DECODERS, client_flag=CLIENT.FOUND_ROWS
        )
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await connection.ping()  # connects
                link = _Link(connection)
                for statement in _SESSION:
                    await link.query(statement.encode())
                cursor = await link.query(b"SELECT @@max_allowed_packet")
                link.max_packet = (await cursor.fetchone())[0]
        except BaseException as error:
            connection.close()
            translated = self.translate(error) if isinstance(error, Exception) else None
            if translated is None:
                raise
            raise translated from error
        return link

    def translate(self, error: Exception) -> Exception | None:
        """Return the error to raise for the driver's *error*, None if it is a bug."""
        code = _code(error)
        if code in _CONTENTION:
            final = errors.DatabaseError(f"{self._name}: other transactions keep rows locked ({_text(error)})")
            return base.Transient(final, patience=_CONTENTION_PATIENCE, lost=False)
        if code in _LOST or isinstance(error, OSError | pymysql.err.InterfaceError | _OutOfStep):
            advice = _REFUSED.get(code, "the server can't be reached: is it running?")
            final = errors.DatabaseError(f"{self._name}: {advice} ({_text(error)})")
            return base.Transient(final, patience=_LOST_PATIENCE, lost=True)
        if code in _DUPLICATE:
            return base.DuplicateKey(f"{self._name}: {_text(error)}")
        if code in _REFUSED:
            return errors.DatabaseError(f"{self._name}: {_REFUSED[code]} ({_text(error)})")
        return None


class _OutOfStep(Exception):
    """The driver failed in the middle of a conversation; what comes next on the connection is anybody's guess."""


class _Cursor(aiomysql.Cursor):  # type: ignore[misc]
    """Without warnings: the driver would get them by a statement of its own, and pass the server's notes on as Python's.

    What is lost in a conversion is an error in our sessions.
    """

    async def _show_warnings(self, connection: Any) -> None:
        pass


class _Link:
    """A connection, and whether it may be used again."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # The driver has no way to drop what it has not sent yet, or to see that the server has hung up.
        self._transport: asyncio.Transport = connection._writer.transport
        self._reader: asyncio.StreamReader = connection._reader
        self._talking = False
        self.max_packet = _LARGEST_STATEMENT

    @property
    def usable(self) -> bool:
        """Connected, as far as one can see, and not in the middle of a conversation."""
        return not (
            self._talking or self._connection.closed or self._transport.is_closing() or self._reader.at_eof()
        )

    async def query(self, statement: bytes) -> Any:
        """Send *statement*; return the driver's cursor with the whole answer."""
        if len(statement) >= self.max_packet:
            # The server would hang up instead of saying so.
            raise pymysql.err.OperationalError(_TOO_LARGE, f"{len(statement)} bytes")
        if not self.usable:
            raise pymysql.err.OperationalError(_GONE, "the connection is closed")
        self._talking = True
        cursor = _Cursor(self._connection)
        try:
            await cursor.execute(statement)
        except pymysql.err.MySQLError as error:
            self._talking = not _from_server(error)
            raise
        except (RuntimeError, ValueError, AssertionError, AttributeError) as error:
            # What the driver makes of a transport that has closed, and of bytes that it does not understand.
            raise _OutOfStep(f"{type(error).__name__}: {error}") from error
        self._talking = False
        return cursor

    async def rollback(self) -> None:
        """Roll back, by closing the connection if need be. Never raises."""
        if self.usable:
            try:
                async with asyncio.timeout(_ROLLBACK_TIMEOUT):
                    await self.query(b"ROLLBACK")
            except Exception:  # whatever it is: closing rolls back too
                self.abort()
        else:
            self.abort()

    async def quit(self) -> None:
        """Say goodbye and close, if the connection is up."""
        if self.usable:
            try:
                await self._connection.ensure_closed()
            except OSError:
                self.abort()

    def abort(self) -> None:
        """Close now; the server rolls back."""
        self._connection.close()
        self._transport.abort()


class _Transaction(base.Transaction):
    def __init__(self, connector: MySQLConnector, link: _Link) -> None:
        super().__init__(connector)
        self._link = link
        self._translator = connector.translate

    async def execute(self, sql: str, params: Mapping[str, Any] = {}) -> int:  # noqa: B006 - never changed
        cursor = await self._call(self._link.query, _filled(sql, params))
        return int(cursor.rowcount)

    async def insert(self, sql: str, params: Mapping[str, Any] = {}) -> int:  # noqa: B006 - never changed
        cursor = await self._call(self._link.query, _filled(sql, params))
        return int(cursor.lastrowid or 0)

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        insert = statements.parse_insert(sql, backslashes=True)
        if insert is None:
            return sum([await self.execute(sql, row) for row in rows])
        template = _Template(insert.values)
        head, tail = insert.head.encode(), insert.tail.encode()
        limit = min(_LARGEST_STATEMENT, self._link.max_packet - 1024)
        count = 0
        values: list[bytes] = []
        size = len(head) + len(tail)
        for row in rows:
            value = template.fill(row)
            if values and size + len(value) + 1 > limit:
                count += (await self._call(self._link.query, head + b",".join(values) + tail)).rowcount
                values.clear()
                size = len(head) + len(tail)
            values.append(value)
            size += len(value) + 1
        if values:
            count += (await self._call(self._link.query, head + b",".join(values) + tail)).rowcount
        return count

    async def fetch_all(self, sql: str, params: Mapping[str, Any] = {}) -> list[base.Row]:  # noqa: B006
        cursor = await self._call(self._link.query, _filled(sql, params))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]

    async def _columns(self, table: str) -> dict[str, base.Column]:
        rows = await self.fetch_all(
            "SELECT column_name AS name, column_type AS type, is_nullable AS nullable,"
            " column_default AS value, extra FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND table_name = :table ORDER BY ordinal_position",
            {"table": table},
        )
        return {row["name"]: _column(row) for row in rows}

    def _translate(self, error: Exception) -> Exception | None:
        return self._translator(error)


def _column(row: base.Row) -> base.Column:
    default = "auto_increment" if "auto_increment" in row["extra"].lower() else row["value"]
    nullable = row["nullable"] == "YES"
    return base.Column(row["type"].lower(), nullable, "NULL" if nullable and default is None else default)


def _code(error: Exception) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _text(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else None
    return str(cause or (error.args[-1] if error.args else "") or type(error).__name__)


def _from_server(error: pymysql.err.MySQLError) -> bool:
    """True if the server refused a statement, and waits for the next; 2000 to 2999 are the client's own codes."""
    code = _code(error)
    return code >= 1000 and not 2000 <= code < 3000


class _Template:
    """A statement's text with parameters, as bytes, to be filled many times."""

    def __init__(self, statement: statements.Statement) -> None:
        self._first = statement.pieces[0].encode()
        self._rest = [
            (name, piece.encode()) for name, piece in zip(statement.names, statement.pieces[1:], strict=True)
        ]

    def fill(self, params: Mapping[str, Any]) -> bytes:
        parts = [self._first]
        for name, piece in self._rest:
            value = params[name]
            encode = _ENCODERS.get(type(value))
            parts.append(_literal(value) if encode is None else encode(value))
            parts.append(piece)
        return b"".join(parts)


def _filled(sql: str, params: Mapping[str, Any]) -> bytes:
    return _Template(statements.parse(sql, backslashes=True)).fill(params)


def _literal(value: Any) -> bytes:
    """Return *value* as a literal of MySQL's; raise TypeError if it is of no type that the database knows."""
    if isinstance(value, _LISTS):
        return b",".join(map(_literal, value)) or b"SELECT NULL FROM DUAL WHERE FALSE"
    for kind, encode in _ENCODERS.items():
        if isinstance(value, kind):
            return encode(value)
    raise TypeError(f"{type(value).__name__} can't be a parameter")


def _float(value: float) -> bytes:
    if not math.isfinite(value):
        raise ValueError(f"{value} can't be a parameter")
    text = repr(float(value))
    return (text if "e" in text else text + "e0").encode()  # without exponent it would be a DECIMAL


def _quoted(value: bytes) -> bytes:
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"NULL",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: b"%d" % value,
    float: _float,
    str: lambda value: _quoted(value.encode()),
    bytes: lambda value: b"_binary" + _quoted(value),
}
