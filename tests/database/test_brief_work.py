"""Transactions that SQLite runs through in its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aioboinc import connectors


@pytest.fixture
async def connector(tmp_path: Path) -> AsyncIterator[connectors.Connector]:
    async with connectors.open(f"sqlite://{tmp_path}/brief.sqlite") as connector:
        await connector.script(["CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"])
        yield connector


async def names(connector: connectors.Connector) -> list[str]:
    async def work(tx: connectors.Transaction) -> list[str]:
        return [row["name"] for row in await tx.fetch_all("SELECT name FROM t ORDER BY id")]

    return await connector.read(work, brief=True)


async def test_it_is_done_as_a_whole_in_another_thread(connector: connectors.Connector) -> None:
    threads = set()

    async def work(tx: connectors.Transaction) -> int:
        for name in "ab":
            await tx.insert("INSERT INTO t (name) VALUES (:name)", {"name": name})
            threads.add(threading.get_ident())
        await tx.execute_many("INSERT INTO t (name) VALUES (:name)", [{"name": "c"}, {"name": "d"}])
        return await tx.execute("DELETE FROM t WHERE name IN (:names)", {"names": ["a", "x"]})

    assert await connector.run(work, brief=True) == 1
    assert await names(connector) == ["b", "c", "d"]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert connector.checked_out == 0


async def test_an_error_undoes_it(connector: connectors.Connector) -> None:
    async def work(tx: connectors.Transaction) -> None:
        await tx.insert("INSERT INTO t (name) VALUES ('a')")
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await connector.run(work, brief=True)
    assert await names(connector) == []


async def test_errors_are_translated(connector: connectors.Connector) -> None:
    async def work(tx: connectors.Transaction) -> bool:
        await tx.insert("INSERT INTO t (name) VALUES ('a')")
        try:
            await tx.insert("INSERT INTO t (name) VALUES ('a')")
        except connectors.DuplicateKey:
            return True
        return False

    assert await connector.run(work, brief=True)
    assert await names(connector) == ["a"]


async def test_work_that_waits_for_something_else_is_refused(connector: connectors.Connector) -> None:
    class Pause:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    async def work(tx: connectors.Transaction) -> None:
        await tx.insert("INSERT INTO t (name) VALUES ('a')")
        await Pause()

    with pytest.raises(RuntimeError, match="nothing but its statements"):
        await connector.run(work, brief=True)
    assert await names(connector) == []


async def test_cancelled_it_is_done_or_undone(connector: connectors.Connector) -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def work(tx: connectors.Transaction) -> None:
        await tx.insert("INSERT INTO t (name) VALUES ('a')")
        begun.set()
        go_on.wait()
        await tx.insert("INSERT INTO t (name) VALUES ('b')")

    task = asyncio.create_task(connector.run(work, brief=True))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    asyncio.get_running_loop().call_later(0, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(connector) in ([], ["a", "b"])
    assert connector.checked_out == 0
    await connector.run(lambda tx: tx.insert("INSERT INTO t (name) VALUES ('c')"), brief=True)
    assert "c" in await names(connector)


async def test_it_waits_for_another_process(connector: connectors.Connector, tmp_path: Path) -> None:
    async with connectors.open(f"sqlite://{tmp_path}/brief.sqlite") as other:
        locked, release = asyncio.Event(), asyncio.Event()

        async def hold(tx: connectors.Transaction) -> None:
            await tx.insert("INSERT INTO t (name) VALUES ('held')")
            locked.set()
            await release.wait()

        holding = asyncio.create_task(other.run(hold))
        await locked.wait()
        waiting = asyncio.create_task(
            connector.run(lambda tx: tx.insert("INSERT INTO t (name) VALUES ('late')"), brief=True)
        )
        assert await names(connector) == []
        release.set()
        await asyncio.gather(holding, waiting)
    assert await names(connector) == ["held", "late"]
