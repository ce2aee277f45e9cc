"""One conformance suite for all connectors, and what is particular to each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import sqlite3
import sys
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pymysql.err
import pytest
from patience import PATIENCE, wait_until
from pymysql.constants import FIELD_TYPE

from aioboinc import connectors, errors
from aioboinc.connectors import literals, mysql, sqlite
from database import mariadb as mariadb_module

TABLE = {
    "sqlite": """
        CREATE TABLE sample (id integer PRIMARY KEY AUTOINCREMENT, name varchar(191) UNIQUE, n bigint, x double,
            t text, b blob)
        """,
    "mysql": """
        CREATE TABLE sample (id integer PRIMARY KEY AUTO_INCREMENT, name varchar(191) UNIQUE, n bigint, x double,
            t text, b mediumblob) ENGINE = InnoDB
        """,
}
ONLY_MYSQL = pytest.mark.parametrize(
    "database_url", [pytest.param("mysql", marks=pytest.mark.mariadb)], indirect=True
)
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
INSERT = "INSERT INTO sample (name, n) VALUES (:name, :n)"
ADD = "UPDATE sample SET n = n + 1 WHERE name = :name"
GET = "SELECT n FROM sample WHERE name = :name"


class Pauses:
    """Takes the place of sleeping: moves the clock, and does what the test has planned for the pause."""

    def __init__(self, *plan: Callable[[], object]) -> None:
        self.now = 0.0
        self.count = 0
        self._plan = list(plan)

    async def sleep(self, delay: float) -> None:
        self.now += delay
        self.count += 1
        if self._plan:
            action = self._plan.pop(0)()
            if isinstance(action, Awaitable):
                await action

    @property
    def timing(self) -> connectors.Timing:
        return connectors.Timing(clock=lambda: self.now, sleep=self.sleep, jitter=max)


@types.coroutine
def cancelling(coroutine: Coroutine[Any, Any, Any], when: Callable[[int], bool]) -> Generator[Any, Any, Any]:
    """Await *coroutine*, cancelling the task as it suspends for the k-th time wherever *when* of k is true."""
    task = asyncio.current_task()
    assert task is not None
    step = functools.partial(coroutine.send, None)
    for k in itertools.count():
        try:
            awaited = step()
        except StopIteration as stop:
            return stop.value
        if when(k):
            task.cancel()
        step = functools.partial(coroutine.send, None)
        try:
            yield awaited
        except BaseException as error:
            step = functools.partial(coroutine.throw, error)
    return None


def doing(sql: str, **params: Any) -> Callable[[connectors.Transaction], Awaitable[int]]:
    """Return work that executes one statement."""
    return lambda transaction: transaction.execute(sql, params)


def getting(sql: str, **params: Any) -> Callable[[connectors.Transaction], Awaitable[list[connectors.Row]]]:
    """Return work that makes one query."""
    return lambda transaction: transaction.fetch_all(sql, params)


async def value(connector: connectors.Connector, name: str = "counter") -> int | None:
    """Return n of the row *name*."""
    rows = await connector.read(getting(GET, name=name))
    return rows[0]["n"] if rows else None


def _name(url: str) -> str:
    """Return the name of the MySQL database at *url*."""
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
async def database(database_url: str) -> str:
    """The URL of a database with the table `sample`, which has one row."""
    async with connectors.open(database_url) as connector:
        await connector.script([TABLE[connector.dialect]])
        await connector.run(doing(INSERT, name="counter", n=0))
    return database_url


@pytest.fixture
async def connector(database: str) -> AsyncIterator[connectors.Connector]:
    async with connectors.open(database) as connector:
        yield connector
        assert connector.checked_out == 0


# Transactions


async def test_commits_and_returns_what_the_work_returned(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> str:
        assert transaction.dialect == connector.dialect
        assert connector.checked_out == 1
        await transaction.execute(ADD, {"name": "counter"})
        return "done"

    assert await connector.run(work) == "done"
    assert await value(connector) == 1


async def test_error_rolls_back(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute(ADD, {"name": "counter"})
        raise KeyError("of the work")

    with pytest.raises(KeyError, match="of the work"):
        await connector.run(work)
    assert await value(connector) == 0
    await connector.run(doing(ADD, name="counter"))
    assert await value(connector) == 1


async def test_error_of_the_driver_rolls_back(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute(ADD, {"name": "counter"})
        await transaction.execute("SELEKT 1")

    with pytest.raises((sqlite3.OperationalError, pymysql.err.ProgrammingError)):
        await connector.run(work)
    assert await value(connector) == 0


@pytest.mark.parametrize("again", [False, True], ids=["once", "from then on"])
async def test_cancelled_anywhere(database: str, connector: connectors.Connector, again: bool) -> None:
    """All of a transaction is there or nothing, and the connector goes on, wherever the task is cancelled."""

    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute(ADD, {"name": "counter"})
        await transaction.fetch_one(GET, {"name": "counter"})
        await transaction.execute_many(INSERT, [{"name": f"{k} {i}", "n": k} for i in range(20)])

    committed = 0
    for k in itertools.count():
        coroutine = connector.run(work)
        task = asyncio.ensure_future(cancelling(coroutine, lambda i: i >= k if again else i == k))  # noqa: B023
        await asyncio.wait({task})
        assert connector.checked_out == 0
        if connector.dialect == "sqlite":
            _check_unlocked(database)
        rows = await connector.read(getting("SELECT id FROM sample WHERE n = :k AND name <> 'counter'", k=k))
        assert len(rows) in ({0, 20} if task.cancelled() else {20})
        committed += len(rows) > 0
        assert await value(connector) == committed
        if not task.cancelled():
            break
    assert k >= 5
    assert committed <= 3


def _check_unlocked(url: str) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None, timeout=0)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("again", [False, True], ids=["once", "from then on"])
async def test_cancelled_while_opening_or_closing(
    database: str, again: bool, request: pytest.FixtureRequest
) -> None:
    async def session() -> None:
        async with connectors.open(database, pool_size=2) as connector:
            await connector.read(getting("SELECT 1"))

    threads = set(threading.enumerate())
    for k in itertools.count():
        task = asyncio.ensure_future(cancelling(session(), lambda i: i >= k if again else i == k))  # noqa: B023
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
            break
    assert k >= 5
    assert set(threading.enumerate()) == threads
    del task
    gc.collect()  # a connection left open warns
    if database.startswith("mysql:"):
        server: mariadb_module.MariaDB = request.getfixturevalue("mariadb")
        others = "SELECT 1 FROM information_schema.processlist WHERE db IS NOT NULL"
        await asyncio.to_thread(wait_until, lambda: not server.execute(others))


async def test_leaving_while_work_is_under_way(database: str) -> None:
    """It is rolled back, and fails."""
    left = asyncio.Event()
    begun = asyncio.Event()

    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute(ADD, {"name": "counter"})
        begun.set()
        await left.wait()
        await transaction.execute(ADD, {"name": "counter"})

    connector = connectors.open(database, timing=Pauses().timing)
    async with connector:
        task = asyncio.create_task(connector.run(work))
        await begun.wait()
    left.set()
    with pytest.raises(RuntimeError, match="closed"):
        await task
    assert connector.checked_out == 0
    async with connectors.open(database) as connector:
        assert await value(connector) == 0


async def test_use_outside(connector: connectors.Connector) -> None:
    kept = []

    async def work(transaction: connectors.Transaction) -> None:
        kept.append(transaction)

    await connector.run(work)
    with pytest.raises(RuntimeError, match="ended"):
        await kept[0].execute("SELECT 1")
    with pytest.raises(RuntimeError, match="closed"):
        await connectors.open("sqlite:///nowhere").run(work)
    with pytest.raises(RuntimeError, match="closed"):
        await connectors.open("mysql://nobody@nowhere/nothing").run(work)


async def test_transaction_inside_another_is_refused(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        await connector.run(doing(ADD, name="counter"))

    with pytest.raises(RuntimeError, match="inside"):
        await connector.run(work)
    with pytest.raises(RuntimeError, match="inside"):
        await connector.read(work)


async def test_runs_at_once(connector: connectors.Connector) -> None:
    most = 0

    async def work(transaction: connectors.Transaction) -> None:
        nonlocal most
        most = max(most, connector.checked_out)
        row = await transaction.fetch_one(GET, {"name": "other"})
        await transaction.execute(ADD, {"name": "counter"})
        assert row is None

    await asyncio.gather(*(connector.run(work) for _ in range(40)))
    assert await value(connector) == 40
    assert most == (1 if connector.dialect == "sqlite" else 4)


async def test_reader_does_not_wait_for_writer(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute(ADD, {"name": "counter"})
        assert await asyncio.create_task(value(connector)) == 0
        assert await transaction.fetch_one(GET, {"name": "counter"}) == {"n": 1}

    await asyncio.wait_for(connector.run(work), PATIENCE)
    assert await value(connector) == 1


async def test_read_does_not_write(connector: connectors.Connector) -> None:
    with pytest.raises((errors.DatabaseError, pymysql.err.MySQLError)):
        await connector.read(doing(ADD, name="counter"))
    assert await value(connector) == 0


async def test_not_durable(connector: connectors.Connector) -> None:
    for durable in (False, True, False, False):
        await connector.run(doing(ADD, name="counter"), durable=durable)
    assert await value(connector) == 4


# Statements and values


async def test_counts_rows_found(connector: connectors.Connector) -> None:
    assert await connector.run(doing("UPDATE sample SET n = 0 WHERE name = 'counter'")) == 1
    assert await connector.run(doing("UPDATE sample SET n = 0 WHERE name = 'nobody'")) == 0
    assert await connector.run(doing("DELETE FROM sample")) == 1


async def test_insert_returns_the_id(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        first = await transaction.insert(INSERT, {"name": "a", "n": 1})
        second = await transaction.insert(INSERT, {"name": "b", "n": 2})
        assert second == first + 1
        assert await transaction.fetch_one("SELECT name FROM sample WHERE id = :id", {"id": second}) == {
            "name": "b"
        }

    await connector.run(work)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"n": 2**63 - 1},
        {"n": -(2**63)},
        {"n": True},
        {"x": 0.1},
        {"x": 1e16},
        {"x": 1.7976931348623157e308},
        {"x": 2.2250738585072014e-308},
        {"x": -1 / 3},
        {"x": 7},
        {"t": ""},
        {"t": "O'Brien said \"\\n\" and \\' then \0\x1a\r\n%s {} :n ?"},
        {"t": "Žluťoučký 数据 🛰️ \u2028"},
        {"t": "it was 10:30 :name"},
        {"b": b""},
        {"b": bytes(range(256)) * 10},
        {"b": "🛰️ '".encode()},
        {"b": os.urandom(3_000_000)},
    ],
    ids=lambda values: " ".join(values) if isinstance(values, dict) else None,
)
async def test_values_come_back(connector: connectors.Connector, values: dict[str, Any]) -> None:
    row = {"n": None, "x": None, "t": None, "b": None, **values}

    async def work(transaction: connectors.Transaction) -> list[int]:
        sql = "INSERT INTO sample (n, x, t, b) VALUES (:n, :x, :t, :b)"
        await transaction.execute_many(sql, [row])
        return [await transaction.insert(sql, row)]

    (id_,) = await connector.run(work)
    rows = await connector.read(getting("SELECT n, x, t, b FROM sample WHERE id IN (:ids)", ids=[id_ - 1, id_]))
    assert rows == [row, row]
    types_ = {"n": int, "x": float, "t": str, "b": bytes}
    assert all(type(rows[0][name]) is types_[name] for name in values)


async def test_types_of_expressions(connector: connectors.Connector) -> None:
    """The same Python types from both, where MySQL computes in decimals, and has types for times."""
    await connector.run(doing(INSERT, name="other", n=3))
    (row,) = await connector.read(
        getting(
            "SELECT SUM(n) AS s, AVG(n) AS a, COUNT(*) AS c, MAX(name) AS m, 1 = 1 AS t, NULL AS z FROM sample"
        )
    )
    assert row == {"s": 3, "a": 1.5, "c": 2, "m": "other", "t": 1, "z": None}
    assert [type(v) for v in row.values()] == [int, float, int, str, int, type(None)]
    (row,) = await connector.read(getting("SELECT CURRENT_TIMESTAMP AS now"))
    assert isinstance(row["now"], str)


async def test_parameters_are_not_looked_for_in_literals_and_comments(connector: connectors.Connector) -> None:
    sql = {
        "sqlite": "SELECT ':n' a, '10:30' b, 'it''s :n' c, :n d /* :n */ -- :n\n, '\\' e, ':n' AS \"f:n\" -- :n",
        "mysql": "SELECT ':n' a, '10:30' b, 'it''s :n' c, :n d /* :n */ -- :n\n, '\\\\' e, '\\':n' `f:n` # :n",
    }[connector.dialect]
    (row,) = await connector.read(getting(sql, n=5))
    last = {"sqlite": ":n", "mysql": "':n"}[connector.dialect]
    assert list(row.values()) == [":n", "10:30", "it's :n", 5, "\\", last]


async def test_lists(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute_many(INSERT, [{"name": f"row {i}'", "n": i} for i in range(5000)])

    async def names(condition: str, **params: Any) -> list[str]:
        rows = await connector.read(getting(f"SELECT name FROM sample WHERE {condition} ORDER BY id", **params))
        return [row["name"] for row in rows]

    await connector.run(work)
    assert await names("n IN (:ns) AND name <> :not", ns=[3, 1, 4, 1], **{"not": "row 4'"}) == ["row 1'", "row 3'"]
    assert await names("name IN (:names)", names=("row 7'", "nobody")) == ["row 7'"]
    assert await names("n IN (:ns)", ns=[]) == []
    assert len(await names("n NOT IN (:ns)", ns=[])) == 5001
    assert len(await names("n IN (:ns) AND n IN (:ns)", ns=set(range(100_000)))) == 5001
    assert await connector.run(doing("UPDATE sample SET n = -1 WHERE n IN (:ns)", ns=[])) == 0
    assert await connector.run(doing("DELETE FROM sample WHERE n IN (:ns)", ns=[1, 2])) == 2


async def test_many_rows(connector: connectors.Connector) -> None:
    document = b"<xml>'\\'</xml>" * 40

    async def work(transaction: connectors.Transaction) -> None:
        rows = [{"name": f"row {i}", "n": i, "b": document} for i in range(10_000)]
        insert = "INSERT INTO sample (name, n, x, t, b) VALUES (:name, :n, 1.5, 'a constant (:n)', :b)"
        assert await transaction.execute_many(insert, rows) == 10_000
        update = "UPDATE sample SET n = :n + 1 WHERE name = :name"
        assert await transaction.execute_many(update, rows[:3000]) == 3000
        assert await transaction.execute_many(insert, []) == 0
        assert await transaction.execute_many(update, []) == 0
        assert await transaction.fetch_one(
            "SELECT COUNT(*) AS rows_, COUNT(DISTINCT name) AS names, SUM(n) AS n, SUM(LENGTH(b)) AS b,"
            " MIN(t) AS t, SUM(x) AS x FROM sample WHERE name LIKE 'row %'"
        ) == {
            "rows_": 10_000,
            "names": 10_000,
            "n": sum(range(10_000)) + 3000,
            "b": 10_000 * len(document),
            "t": "a constant (:n)",
            "x": 15_000.0,
        }

    await connector.run(work)


async def test_statements_after_inserted_rows(connector: connectors.Connector) -> None:
    """An INSERT with something behind its values."""
    ignore = {
        "sqlite": "INSERT INTO sample (name, n) VALUES (:name, 2) ON CONFLICT (name) DO UPDATE SET n = excluded.n",
        "mysql": "INSERT INTO sample (name, n) VALUES (:name, 2) ON DUPLICATE KEY UPDATE n = VALUES(n)",
    }[connector.dialect]

    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute_many(ignore, [{"name": "counter"}, {"name": "other"}])

    await connector.run(work)
    assert (await value(connector), await value(connector, "other")) == (2, 2)


async def test_columns(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        columns = await transaction.columns("app")
        assert list(columns)[:3] == ["id", "create_time", "name"]
        assert columns["id"].default == "auto_increment"
        assert not columns["id"].required
        assert columns["name"].type == "varchar(191)"
        assert not columns["name"].nullable
        assert columns["weight"].default == "1"
        assert (await transaction.columns("result"))["xml_doc_in"] == connectors.Column("blob", True, "NULL")
        assert (await transaction.columns("pyboinc_batch"))["token"].required
        assert await transaction.columns("missing") == {}

    await connector.read(work)
    await connector.script(["CREATE TABLE missing (a int)"])
    await connector.read(
        lambda transaction: transaction.columns("missing")  # was not there before
    )
    assert "missing" in connector.known_columns


# Errors


async def test_duplicate_key_leaves_the_rest(connector: connectors.Connector) -> None:
    async def work(transaction: connectors.Transaction) -> None:
        await transaction.execute(ADD, {"name": "counter"})
        with pytest.raises(connectors.DuplicateKey):
            await transaction.insert(INSERT, {"name": "counter", "n": 1})
        await transaction.insert(INSERT, {"name": "other", "n": 1})

    await connector.run(work)
    assert await value(connector) == 1
    assert await value(connector, "other") == 1


@pytest.mark.parametrize("sql", ["SELECT * FROM missing", "SELECT missing FROM sample"])
async def test_what_is_missing_is_named(connector: connectors.Connector, sql: str) -> None:
    with pytest.raises(errors.DatabaseError, match=r"missing.*(set up|setup|upgrade)|(set up|setup).*missing"):
        await connector.read(getting(sql))


@pytest.mark.parametrize("value", [object(), {}, 1 + 1j, "\ud800"], ids=["object", "dict", "complex", "surrogate"])
async def test_value_that_no_database_has(connector: connectors.Connector, value: object) -> None:
    with pytest.raises((TypeError, sqlite3.Error, UnicodeEncodeError)):
        await connector.run(doing("UPDATE sample SET t = :t", t=value))
    await connector.run(doing(ADD, name="counter"))


async def test_parameter_that_is_missing(connector: connectors.Connector) -> None:
    with pytest.raises((KeyError, sqlite3.ProgrammingError)):
        await connector.run(doing("UPDATE sample SET t = :t", n=1))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user@host/db",
        "sqlite:relative",
        "/path",
        "",
        "mysql://user:secret@host:port/db",
        "mysql://user:secret@host/",
        "mysql://host/db",
        "mysql://user:secret@host/db?ssl=1",
        "mysql://user:secret@[host/db",
    ],
)
def test_url_that_is_none(url: str) -> None:
    with pytest.raises(errors.DatabaseError) as caught:
        connectors.open(url)
    assert "secret" not in str(caught.value)


# Trying again


async def test_locked(database: str, request: pytest.FixtureRequest) -> None:
    """A lock that somebody else holds is waited for."""
    holder = Holder(database, request)
    pauses = Pauses(lambda: None, holder.release)
    attempts = 0

    async def work(transaction: connectors.Transaction) -> None:
        nonlocal attempts
        attempts += 1
        if transaction.dialect == "mysql":
            await transaction.execute("SET SESSION innodb_lock_wait_timeout = 0")
        await transaction.execute(ADD, {"name": "counter"})

    async with connectors.open(database, timing=pauses.timing) as connector:
        holder.hold()
        await connector.run(work)
        assert await value(connector) == 1
        assert connector.checked_out == 0
    assert pauses.count == 2
    assert attempts == (1 if database.startswith("sqlite:") else 3)


async def test_locked_for_too_long(
    database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT", 0.0)
    holder = Holder(database, request)
    pauses = Pauses()

    async def work(transaction: connectors.Transaction) -> None:
        if transaction.dialect == "mysql":
            await transaction.execute("SET SESSION innodb_lock_wait_timeout = 0")
        await transaction.execute(ADD, {"name": "counter"})

    async with connectors.open(database, timing=pauses.timing) as connector:
        holder.hold()
        with pytest.raises(errors.DatabaseError, match="locked"):
            await connector.run(work)
        assert connector.checked_out == 0
        holder.release()
    assert 60 <= pauses.now <= 65
    assert pauses.count < 50


class Holder:
    """Somebody else, who holds a lock."""

    def __init__(self, url: str, request: pytest.FixtureRequest) -> None:
        self._connection: Any
        if url.startswith("sqlite:"):
            self._connection = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
            self._statements = ["BEGIN IMMEDIATE"]
        else:
            server: mariadb_module.MariaDB = request.getfixturevalue("mariadb")
            self._connection = pymysql.connect(unix_socket=str(server.socket), user="root", database=_name(url))
            self._statements = ["START TRANSACTION", "UPDATE sample SET n = n WHERE name = 'counter'"]
        request.addfinalizer(self._connection.close)

    def hold(self) -> None:
        cursor = self._connection.cursor()
        for statement in self._statements:
            cursor.execute(statement)

    def release(self) -> None:
        self._connection.rollback()


@ONLY_MYSQL
async def test_deadlock(database: str) -> None:
    """Two transactions that truly deadlock are both done in the end."""
    holding = {"counter": asyncio.Event(), "other": asyncio.Event()}
    attempts: list[str] = []

    async def transfer(connector: connectors.Connector, first: str, second: str) -> None:
        async def work(transaction: connectors.Transaction) -> None:
            attempts.append(first)
            await transaction.execute(ADD, {"name": first})
            holding[first].set()
            await holding[second].wait()
            await transaction.execute(ADD, {"name": second})

        await connector.run(work)

    async with connectors.open(database, timing=Pauses().timing) as connector:
        await connector.run(doing(INSERT, name="other", n=0))
        await asyncio.gather(transfer(connector, "counter", "other"), transfer(connector, "other", "counter"))
        assert await value(connector) == 2
        assert await value(connector, "other") == 2
    assert len(attempts) >= 3


@ONLY_MYSQL
@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
async def test_connection_killed_in_the_middle(
    database: str, mariadb: mariadb_module.MariaDB, swallow: bool
) -> None:
    """The work is done once more, even if it took no notice of the error."""
    pauses = Pauses()
    attempts = 0

    async def work(transaction: connectors.Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await transaction.execute(ADD, {"name": "counter"})
        row = await transaction.fetch_one("SELECT CONNECTION_ID() AS id")
        assert row is not None
        if attempts == 1:
            await asyncio.to_thread(mariadb.execute, f"KILL {row['id']}")
        try:
            await transaction.insert(INSERT, {"name": "other", "n": attempts})
        except Exception:
            if not swallow:
                raise

    async with connectors.open(database, timing=pauses.timing) as connector:
        await connector.run(work)
        assert (await value(connector), await value(connector, "other")) == (1, 2)
        assert connector.checked_out == 0
    assert (attempts, pauses.count) == (2, 1)


@ONLY_MYSQL
async def test_connection_killed_while_idle(database: str, mariadb: mariadb_module.MariaDB) -> None:
    async with connectors.open(database, timing=Pauses().timing) as connector:
        rows = await connector.read(getting("SELECT CONNECTION_ID() AS id"))
        await asyncio.to_thread(mariadb.execute, f"KILL {rows[0]['id']}")
        await connector.run(doing(ADD, name="counter"))
        assert await value(connector) == 1


@ONLY_MYSQL
async def test_server_restarted(database: str, mariadb: mariadb_module.MariaDB) -> None:
    pauses = Pauses(lambda: None, lambda: asyncio.to_thread(mariadb.start))
    attempts = 0

    async def work(transaction: connectors.Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await transaction.execute(ADD, {"name": "counter"})
        if attempts == 1:
            await asyncio.to_thread(mariadb.stop)

    async with connectors.open(database, timing=pauses.timing) as connector:
        try:
            await connector.run(work)
        finally:
            mariadb.start()
        assert await value(connector) == 1
    assert (attempts, pauses.count) == (2, 2)


@ONLY_MYSQL
async def test_server_gone_for_good(database: str, mariadb: mariadb_module.MariaDB) -> None:
    """Not there from the start is an error at once; going away is waited for, but not for ever."""
    pauses = Pauses()
    connector = connectors.open(database, timing=pauses.timing)
    mariadb.stop()
    try:
        with pytest.raises(errors.DatabaseError, match="is it running"):
            await connector.__aenter__()
        assert pauses.count == 0
        assert connector.closed
        mariadb.start()
        async with connector:
            mariadb.stop()
            with pytest.raises(errors.DatabaseError, match="is it running"):
                await connector.run(doing(ADD, name="counter"))
            assert connector.checked_out == 0
        assert 300 <= pauses.now <= 305
    finally:
        mariadb.start()


@ONLY_MYSQL
async def test_connection_lost_during_the_commit(database: str, mariadb: mariadb_module.MariaDB) -> None:
    """Committed, but nobody was told: the work runs again, and finds what it did."""
    pauses = Pauses()
    found: list[int] = []

    async def work(transaction: connectors.Transaction) -> None:
        rows = await transaction.fetch_all(GET, {"name": "other"})
        found.append(len(rows))
        if not rows:
            await transaction.insert(INSERT, {"name": "other", "n": 1})

    async with cutting(mariadb, b"\x03COMMIT") as port:
        url = f"mysql://root@127.0.0.1:{port}/{_name(database)}"
        async with connectors.open(url, timing=pauses.timing) as connector:
            await connector.run(work)
            assert await value(connector, "other") == 1
    assert (found, pauses.count) == ([0, 1], 1)


@contextlib.asynccontextmanager
async def cutting(server: mariadb_module.MariaDB, command: bytes) -> AsyncIterator[int]:
    """Forward a port to *server*; hang up, the first time, where it has answered to *command*. Yield the port."""
    cut = False
    tasks: set[asyncio.Task[Any]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal cut
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server_reader, server_writer = await asyncio.open_unix_connection(str(server.socket))

        async def answer() -> None:
            while data := await server_reader.read(65536):
                writer.write(data)

        answering = asyncio.create_task(answer())
        try:
            while data := await reader.read(65536):
                if command in data and not cut:
                    cut = True
                    answering.cancel()
                    await asyncio.wait([answering])
                    server_writer.write(data)
                    await server_reader.read(65536)
                    break
                server_writer.write(data)
        finally:
            answering.cancel()
            await asyncio.wait([answering])
            for end in (writer, server_writer):
                end.close()
                await end.wait_closed()

    listener = await asyncio.start_server(forward, "127.0.0.1")
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await asyncio.wait(tasks)


async def test_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_CONNECT_TIMEOUT", 0.05)
    gone = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    listener = await asyncio.start_server(listen, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(errors.DatabaseError, match=f"127.0.0.1:{port}: .*is it running"):
        await connectors.open(f"mysql://somebody@127.0.0.1:{port}/db").__aenter__()
    await gone.wait()
    listener.close()


@ONLY_MYSQL
async def test_server_that_refuses(database: str, mariadb: mariadb_module.MariaDB) -> None:
    name = _name(database)
    mariadb.execute(f"CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'secret'; GRANT SELECT ON {name}.* TO reader")
    with pytest.raises(errors.DatabaseError, match="unknown database: check db_name"):
        await connectors.open(mariadb.url("nothing")).__aenter__()
    with pytest.raises(errors.DatabaseError, match="access denied: check db_user") as caught:
        await connectors.open(mariadb.url(name, user="reader", password="wrong")).__aenter__()
    assert "wrong" not in str(caught.value)
    async with connectors.open(mariadb.url(name, user="reader", password="secret")) as connector:
        with pytest.raises(errors.DatabaseError, match="GRANT"):
            await connector.run(doing(ADD, name="counter"))


def signalling(code: int, attempts: int) -> Callable[[connectors.Transaction], Awaitable[None]]:
    """Return work to which the server answers with the error *code*, so many times."""
    left = attempts

    async def work(transaction: connectors.Transaction) -> None:
        nonlocal left
        await transaction.execute(ADD, {"name": "counter"})
        if left:
            left -= 1
            await transaction.execute(
                f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'so it is'"
            )

    return work


@ONLY_MYSQL
@pytest.mark.parametrize("code", [3, 1020, 1021, 1026, 1030, 1041, 1114, 1205, 1213, 1290, 1317, 1836, 1927])
async def test_server_is_ailing_for_a_while(database: str, code: int) -> None:
    pauses = Pauses()
    async with connectors.open(database, timing=pauses.timing) as connector:
        await connector.run(signalling(code, 2))
        assert await value(connector) == 1
        assert connector.checked_out == 0
    assert pauses.count == 2


@ONLY_MYSQL
async def test_server_is_ailing_for_too_long(database: str, caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses()
    async with connectors.open(database, timing=pauses.timing) as connector:
        with pytest.raises(errors.DatabaseError) as caught:
            await connector.run(signalling(1021, 10_000))
        assert str(caught.value).endswith(": the server's disk is full: make room (error 1021: so it is)")
        assert await value(connector) == 0
    assert 300 <= pauses.now <= 305
    assert [record.message for record in caplog.records] == [f"{caught.value} - trying again for 300 s"]


@ONLY_MYSQL
async def test_server_is_read_only(database: str, mariadb: mariadb_module.MariaDB) -> None:
    name = _name(database)
    mariadb.execute(f"CREATE USER IF NOT EXISTS writer; GRANT ALL ON {name}.* TO writer; SET GLOBAL read_only = 1")
    pauses = Pauses(lambda: asyncio.to_thread(mariadb.execute, "SET GLOBAL read_only = 0"))
    try:
        async with connectors.open(mariadb.url(name, user="writer"), timing=pauses.timing) as connector:
            await connector.run(doing(ADD, name="counter"))
            assert await value(connector) == 1
    finally:
        mariadb.execute("SET GLOBAL read_only = 0")
    assert pauses.count == 1


@ONLY_MYSQL
@pytest.mark.parametrize("code", [1, 28, 1105, 1194, 1364, 9999])
async def test_server_says_something_else(database: str, code: int) -> None:
    """One line, with the number to look it up by."""
    pauses = Pauses()
    async with connectors.open(database, timing=pauses.timing) as connector:
        with pytest.raises(errors.DatabaseError, match=f": error {code}: so it is$"):
            await connector.run(signalling(code, 1))
        assert await value(connector) == 0
        assert connector.checked_out == 0
    assert pauses.count == 0


@ONLY_MYSQL
@pytest.mark.parametrize("mode", ["", "STRICT_ALL_TABLES,ANSI_QUOTES,NO_BACKSLASH_ESCAPES"])
async def test_any_sql_mode(database: str, mariadb: mariadb_module.MariaDB, mode: str) -> None:
    """Nothing is cut off to fit, and literals are safe, whatever the server's mode."""
    before = mariadb.execute("SELECT @@GLOBAL.sql_mode")[0][0]
    mariadb.execute(f"SET GLOBAL sql_mode = '{mode}'")
    try:
        async with connectors.open(database) as connector:
            with pytest.raises(pymysql.err.DataError):
                await connector.run(doing("UPDATE sample SET t = :t", t="x" * 70_000))
            for text in ("\\", "'", "\\'", "'; DROP TABLE sample; -- "):
                await connector.run(doing("UPDATE sample SET t = :t", t=text))
                assert await connector.read(getting("SELECT t FROM sample")) == [{"t": text}]
    finally:
        mariadb.execute(f"SET GLOBAL sql_mode = '{before}'")


@ONLY_MYSQL
async def test_server_that_refuses_the_session(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed."""
    monkeypatch.setattr(mysql, "_SESSION", ("SET SESSION nothing = 1",))
    with pytest.raises(errors.DatabaseError, match="error 1193"):
        await connectors.open(database).__aenter__()
    gc.collect()  # a connection left open warns


@ONLY_MYSQL
async def test_statement_larger_than_the_server_takes(database: str) -> None:
    async with connectors.open(database, timing=Pauses().timing) as connector:
        with pytest.raises(errors.DatabaseError, match="max_allowed_packet"):
            await connector.run(doing("UPDATE sample SET b = :b", b=bytes(17_000_000)))
        await connector.run(doing("UPDATE sample SET b = :b", b=bytes(15_000_000)))


@ONLY_MYSQL
async def test_answer_that_the_driver_can_not_read(
    connector: connectors.Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error passes, and what was not read is not taken for the next answer."""
    with monkeypatch.context() as patch:
        patch.setitem(literals.DECODERS, FIELD_TYPE.LONGLONG, _unreadable)
        with pytest.raises(ValueError, match="unreadable 1"):
            await connector.read(getting("SELECT seq FROM seq_1_to_10"))
    for n in range(3):
        assert await connector.read(getting("SELECT :n AS n", n=n)) == [{"n": n}]


def _unreadable(text: str) -> int:
    raise ValueError(f"unreadable {text}")


# Files


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda path: path / "nothing" / "project.sqlite", "can't be opened"),
        (lambda path: path, "can't be opened"),
        (lambda path: _written(path / "text", b"not a database, but long enough to be one" * 40), "replaced"),
    ],
    ids=["no directory", "a directory", "text"],
)
async def test_file_that_is_no_database(
    database: str, tmp_path: Path, make: Callable[[Path], Path], advice: str
) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(errors.DatabaseError, match=advice):
        await connectors.open(f"sqlite://{make(tmp_path)}").__aenter__()
    assert set(threading.enumerate()) == threads


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@ONLY_SQLITE
async def test_path_is_taken_as_it_is(database: str, tmp_path: Path) -> None:
    path = tmp_path / "100%25 of ?é#"
    path.mkdir()
    async with connectors.open(f"sqlite:///{path}/x") as connector:
        await connector.script(["CREATE TABLE t (a int)"])
    assert [file.name for file in path.iterdir()] == ["x"]


@ONLY_SQLITE
async def test_text_in_a_blob_is_refused(connector: connectors.Connector) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="xml_doc"):
        await connector.run(doing("INSERT INTO workunit (name, xml_doc) VALUES ('a', 'text')"))


PROCESS = """
import asyncio, sys
from aioboinc import connectors

async def main(url, times):
    async with connectors.open(url) as connector:
        for _ in range(times):
            await connector.run(
                lambda transaction: transaction.execute("UPDATE sample SET n = n + 1 WHERE name = 'counter'")
            )

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

HALF = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE sample SET n = 1000")
print("ready", flush=True)
sys.stdin.read()
"""


async def _process(code: str, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    path = os.pathsep.join(filter(None, sys.path))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-W",
        "error",
        "-c",
        code,
        *arguments,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )


async def test_two_processes(database: str) -> None:
    process = await _process(PROCESS, database, "60")
    async with connectors.open(database) as connector:
        for _ in range(60):
            await connector.run(doing(ADD, name="counter"))
        assert await process.wait() == 0
        assert await value(connector) == 120


@ONLY_SQLITE
async def test_process_killed_with_the_lock(database: str) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await _process(HALF, database.removeprefix("sqlite://"), stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"

    async def kill() -> None:
        process.kill()
        await process.wait()

    async with connectors.open(database, timing=Pauses(kill).timing) as connector:
        await connector.run(doing(ADD, name="counter"))
        assert await value(connector) == 1
    assert process.stdin is not None
    process.stdin.close()
