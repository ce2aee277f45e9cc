"""Connections to the project's database, one module a driver; nothing else imports a driver.

Both dialects behave alike, so the store is written once:

- Parameters are written ``:name``. A list is written ``IN (:names)``; an empty list contains nothing.
- Rows are dicts by column name, of ``int``, ``float``, ``str`` for text and times, ``bytes`` for blobs, ``None``.
- Updates count the rows that they found, changed or not.
- A transaction that meets a deadlock, a lock time-out, a busy file or a lost connection is run again as a whole.
"""

from __future__ import annotations

import urllib.parse

from aioboinc import errors
from aioboinc.connectors.base import Column, Connector, DuplicateKey, Row, Timing, Transaction, patience

__all__ = ["Column", "Connector", "DuplicateKey", "Row", "Timing", "Transaction", "open", "patience"]


_REAL_TIME = Timing()


def open(url: str, *, pool_size: int = 4, timing: Timing = _REAL_TIME) -> Connector:
    """Return the connector for *url*, to be entered with ``async with``; nothing is connected before that.

    *url* is ``sqlite:///path`` (an absolute path, taken as it is; the file is made if there is none) or
    ``mysql://user:password@host:port/database``, percent-encoded, with ``?unix_socket=path`` to use a socket.
    *pool_size* is the number of connections; for SQLite, of those that read.

    Raises `errors.DatabaseError` if *url* is neither.
    """
    scheme, separator, path = url.partition("://")
    if scheme == "sqlite" and separator and path.startswith("/"):
        from aioboinc.connectors import sqlite

        return sqlite.SQLiteConnector("/" + path.lstrip("/"), pool_size, timing)
    if scheme == "mysql" and separator:
        from aioboinc.connectors import mysql

        return mysql.MySQLConnector(_server(url), pool_size, timing)
    raise errors.DatabaseError(
        f"{_without_password(url)} is no database: give sqlite:///path or mysql://user:password@host:port/database"
    )


def _server(url: str) -> dict[str, str | int]:
    """Return the MySQL driver's options for *url*."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = _port(parts)
        options = dict(urllib.parse.parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        server: dict[str, str | int] = {
            "host": parts.hostname or "localhost",
            "port": port,
            "user": urllib.parse.unquote(parts.username or ""),
            "password": urllib.parse.unquote(parts.password or ""),
            "db": urllib.parse.unquote(parts.path.lstrip("/")),
        }
    except ValueError as error:
        raise errors.DatabaseError(f"{_without_password(url)}: {error}") from None
    if "unix_socket" in options:
        server["unix_socket"] = options.pop("unix_socket")
    if options or not server["user"] or not server["db"]:
        raise errors.DatabaseError(
            f"{_without_password(url)}: give mysql://user:password@host:port/database, "
            "and no option but unix_socket"
        )
    return server


def _port(parts: urllib.parse.SplitResult) -> int:
    try:
        return parts.port or 3306
    except ValueError:
        raise ValueError("its port must be a number from 1 to 65535, 3306 for example") from None


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    credentials, at, server = rest.rpartition("@")
    return f"{scheme}{separator}{credentials.partition(':')[0]}{at}{server}"
