"""Bad days of a server: what clients are told then, what its owner is, and that it goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from served import Site, compute_all, double, eventually, free_port, serving_site
from simulated_client import Client
from test_serve_bad_uploads import Slow, head

from aioboinc import errors
from aioboinc.connectors import base, mysql
from aioboinc.project import config
from aioboinc.serve import door, incoming, served_project, server, uploads
from database import mariadb as mariadb_module

ACCEPTED = "<status>0</status>"
LATER = "<status>1</status>"


async def test_the_upload_directory_is_gone_for_a_while(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.batch(tmp_path / "batch", 3, quorum=1) as batch:
        reported, uploading, waiting = (site.client(name) for name in ("reported", "uploading", "waiting"))
        for client in (reported, uploading, waiting):
            assert len((await client.call(1, 0)).tasks) == 1
        (task,) = reported.tasks.values()
        report = await reported.compute(task, double)
        away = site.root / "away"
        site.project.upload_dir.rename(away)
        await reported.call(0, 0, [report])
        (task,) = uploading.tasks.values()
        data = task.answer(double, await uploading.get(task.inputs["pyboinc_input"]))
        for answer in (await uploading.upload(task, data), await uploading.uploaded_size(task.output)):
            assert LATER in answer
            assert str(tmp_path) not in answer
        assert caplog.text.count("uploads are refused: ") == 1
        await eventually(lambda: _value(caplog.text), lambda text: "nothing can be validated" in text)
        away.rename(site.project.upload_dir)
        # Not some hours later.
        await compute_all([uploading, waiting])
        await batch.done()
        assert sorted(batch.outputs) == [0, 2, 4]  # type: ignore[type-var]
        assert batch.errors == []
    assert caplog.text.count("nothing can be validated") == 1
    assert "Traceback" not in caplog.text


async def test_the_upload_directory_is_gone_for_good(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 4, quorum=1) as batch:
        client, honest = site.client("one"), site.client("honest")
        tasks = (await client.call(1e9, 2)).tasks
        reports = [await client.compute(task, double) for task in tasks]
        shutil.rmtree(site.project.upload_dir)
        await client.call(0, 0, reports)
        site.project.upload_dir.mkdir()
        async with asyncio.timeout(120):
            while not batch.task.done():
                await compute_all([client, honest])
                await asyncio.wait({batch.task}, timeout=0.05)
        assert sorted(batch.outputs) == [0, 2, 4, 6]  # type: ignore[type-var]
        assert batch.errors == []


async def _value(text: str) -> str:
    return text


async def test_a_database_that_fails_tells_strangers_nothing(
    open_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = open_site
    async with site.batch(tmp_path / "batch", 1, quorum=1) as batch:
        client = site.client()
        (task,) = (await client.call(1e9, 1)).tasks
        account = "?email_addr=a@b.c&passwd_hash=00000000000000000000000000000000&user_name=a"
        with monkeypatch.context() as context:
            persist = base.Connector._persist

            async def failing(self: base.Connector, attempt: Callable[[], Awaitable[object]]) -> object:
                if base._patience.get() is None:  # a daemon, which would end the project
                    return await persist(self, attempt)
                raise errors.DatabaseError(f"{site.root}/project.sqlite: the file is damaged")

            context.setattr(base.Connector, "_persist", failing)
            answers = [
                await client.upload(task, b"data"),
                await client.uploaded_size(task.output),
                await client._send(client.request(1, 0)),
            ]
            for path in ("lookup_account.php", "create_account.php"):
                async with site.session.get(site.url + path + account) as response:
                    answers.append(await response.text())
                    assert "<error_num>-183</error_num>" in answers[-1]
            async with site.session.get(f"{site.url}status.json") as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
                answers.append(await response.text())
        assert LATER in answers[0]
        assert LATER in answers[1]
        reply = client.take_in(answers[2])
        assert reply.root.find("project_is_down") is not None
        assert float(reply.text("request_delay")) > 0
        for answer in answers:
            assert str(tmp_path) not in answer
            assert "Traceback" not in answer
        assert caplog.text.count("the project is down: ") == 1
        assert f"{site.root}/project.sqlite: the file is damaged" in caplog.text
        await client.call(0, 0, [await client.compute(task, double)])
        await batch.done()
        assert batch.outputs == [0]


@pytest.mark.mariadb
@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_mariadb_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    program = mariadb_module.find()
    if program is None:
        pytest.skip("no mariadbd here (Debian: mariadb-server)")
    monkeypatch.setattr(server, "_DATABASE_SECONDS", 3.0)
    database = await asyncio.to_thread(mariadb_module.MariaDB, program)
    try:
        url = database.url(database.new_database())
        async with (
            serving_site(tmp_path / "project", url) as site,
            site.batch(tmp_path / "batch", 2, quorum=1) as batch,
        ):
            client, honest = site.client("one"), site.client("honest")
            (task,) = (await client.call(1, 0)).tasks
            report = await client.compute(task, double)
            process = database._process
            assert process is not None
            monkeypatch.setattr(mysql, "_CONNECT_TIMEOUT", 1.0)
            if how == "stopped":
                await asyncio.to_thread(database.stop)
            else:
                process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            replies = await asyncio.gather(*(client._send(client.request(1, 0, [report])) for _ in range(20)))
            text = await client.upload(task, b"data")
            assert time.monotonic() - began < 60
            for text_of_reply in replies:
                reply = client.take_in(text_of_reply)
                assert reply.root.find("project_is_down") is not None
                assert reply.names("result_ack") == []
            assert LATER in text
            if how == "stopped":
                await asyncio.to_thread(database.start)
            else:
                process.send_signal(signal.SIGCONT)
            monkeypatch.setattr(mysql, "_CONNECT_TIMEOUT", 10.0)
            client.rpc_seqno += 1
            async with asyncio.timeout(60):
                while report.name in client.tasks:
                    client.take_in(await client._send(client.request(0, 0, [report])))
            await compute_all([honest])
            await batch.done()
            assert sorted(batch.outputs) == [0, 2]  # type: ignore[type-var]
        assert caplog.text.count("the project is down: ") == 1
    finally:
        await asyncio.to_thread(database.close)


async def test_half_a_request_is_told_with_who_and_why(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.3)
    slow = await Slow.begin(site, b"<scheduler_request>", length=1000, path="scheduler")
    assert "408" in await slow.reply()
    assert "request from 127.0.0.1 to '/scheduler' broke off: it took too long" in caplog.text
    assert "Traceback" not in caplog.text
    monkeypatch.setattr(server, "_BODY_SECONDS", 60.0)
    slow = await Slow.begin(site, head("x", nbytes=1), length=1000)
    await slow.close()
    assert await site.get_json("status.json")


async def test_a_full_disk(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1) as batch:
        client = site.client()
        (task,) = (await client.call(1, 0)).tasks
        with monkeypatch.context() as context:

            def full(*args: object) -> None:
                raise OSError(28, "No space left on device", str(site.root))

            context.setattr(incoming.os, "pwrite", full)
            for _ in range(3):
                reply = await client.upload(task, b"data")
                assert LATER in reply
                assert "No space left on device" in reply
                assert str(tmp_path) not in reply
        assert caplog.text.count("No space left on device") == 1
        with monkeypatch.context() as context:
            context.setattr(uploads, "_MIN_FREE", 1 << 60)
            assert "Server is out of disk space" in await client.upload(task, b"data")
        await client.call(0, 0, [await client.compute(task, double)])
        await batch.done()
        assert batch.outputs == [0]


@pytest.fixture
async def cramped(tmp_path: Path) -> AsyncIterator[tuple[subprocess.Popen[str], config.Project]]:
    """A server that may have 150 descriptors."""
    root = tmp_path / "project"
    project = served_project.create(root, listen=f"127.0.0.1:{free_port()}", url=None, database=None)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))

    process = await asyncio.to_thread(
        lambda: subprocess.Popen(
            [sys.executable, "-m", "aioboinc", "serve", "--project", str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,  # noqa: PLW1509 - the test has one thread
        )
    )
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    yield process, project
    process.kill()
    process.communicate()


async def test_more_connections_than_descriptors(
    cramped: tuple[subprocess.Popen[str], config.Project],
) -> None:
    process, project = cramped
    host, port = project.master_url.removeprefix("http://").rstrip("/").split(":")
    hostile = [await asyncio.open_connection(host, int(port)) for _ in range(400)]
    key = (project.root / "account_key").read_text().strip()
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    before = _cpu_seconds(process.pid)
    began = time.monotonic()
    async with aiohttp.ClientSession(connector=connector) as session:
        honest = Client(session, project.master_url, key)
        for _ in range(20):
            async with asyncio.timeout(30):
                assert (await honest.call(1, 0)).text("userid")
    assert _cpu_seconds(process.pid) - before < (time.monotonic() - began) / 2 + 5
    for _, writer in hostile:
        writer.close()
    process.terminate()
    _, complaints = await asyncio.to_thread(process.communicate)
    lines = complaints.splitlines()
    assert len(lines) == 1, complaints
    assert "connections at once: closed the oldest one of 127.0.0.1" in lines[0]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Transport:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_who_has_the_most_connections_loses_the_oldest() -> None:
    place = door.Door(4)
    transports: dict[str, _Transport] = {}

    def enter(address: str, key: str) -> list[str]:
        transports[key] = _Transport()
        place.enter(address, key, transports[key])  # type: ignore[arg-type]
        return [key for key, transport in transports.items() if transport.aborted]

    for number in range(4):
        assert enter("bad", f"bad{number}") == []
    assert enter("good", "good0") == ["bad0"]
    assert enter("bad", "bad4") == ["bad0", "bad1"]
    place.leave("bad2")
    assert enter("better", "better0") == ["bad0", "bad1"]
    assert enter("best", "best0") == ["bad0", "bad1", "bad3"]
    # One each: the newcomer has to wait.
    assert enter("last", "last0") == ["bad0", "bad1", "bad3", "last0"]
    place.leave("unknown")
