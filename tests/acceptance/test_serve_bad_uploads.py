"""Uploads that stall, and those that are refused: they change nothing, and no other host notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from served import Batch, Site, double
from simulated_client import Client, Finished, Task

from aioboinc.serve import server

ACCEPTED = "<status>0</status>"
LATER = "<status>1</status>"
REFUSED = "<status>-1</status>"


@dataclass
class Hosts:
    """Two hosts with a job each."""

    site: Site
    batch: Batch
    bad: Client
    task: Task
    """Of the bad one."""
    honest: Client

    def files(self) -> dict[str, bytes]:
        """The bad one's files, whole and incomplete."""
        name = self.task.output
        paths = (Path(self.site.project.upload_path(name)), self.site.project.upload_dir / "partial" / name)
        return {str(path): path.read_bytes() for path in paths if path.exists()}

    async def honest_does_its_job(self) -> None:
        (task,) = self.honest.tasks.values()
        async with asyncio.timeout(60):
            report = await self.honest.compute(task, double)
            await self.honest.call(0, 0, [report])
            await self.batch.reaches(1)


@pytest.fixture
async def hosts(site: Site, tmp_path: Path) -> AsyncIterator[Hosts]:
    async with site.batch(tmp_path / "batch", 2, quorum=1) as batch:
        bad, honest = site.client("bad"), site.client("honest")
        (task,) = (await bad.call(1, 0)).tasks
        assert len((await honest.call(1, 0)).tasks) == 1
        yield Hosts(site, batch, bad, task, honest)


def head(name: str, **fields: object) -> bytes:
    """Return the header of an upload; fields that are None are left out."""
    lines = "".join(f"<{field}>{value}</{field}>\n" for field, value in fields.items() if value is not None)
    return (
        f"<data_server_request>\n<file_upload>\n<file_info>\n<name>{name}</name>\n</file_info>\n{lines}<data>\n"
    ).encode()


class Slow:
    """An upload that is sent bit by bit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def begin(cls, site: Site, body: bytes, *, length: int, path: str = "file_upload_handler") -> Slow:
        host, port = site.url.removeprefix("http://").rstrip("/").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        slow = cls(reader, writer)
        await slow.send(
            f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {length}\r\n\r\n".encode() + body
        )
        return slow

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self) -> str:
        async with asyncio.timeout(60):
            text = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = int(text.lower().partition("content-length:")[2].partition("\r\n")[0])
            text += (await self._reader.readexactly(length)).decode()
        await self.close()
        return text

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def begun(hosts: Hosts) -> None:
    """Wait until something of an incomplete file is there."""
    path = hosts.site.project.upload_dir / "partial" / hosts.task.output
    async with asyncio.timeout(60):
        while not (path.exists() and path.stat().st_size):
            await asyncio.sleep(0.01)


async def test_a_newer_upload_wins_over_one_that_stalls(hosts: Hosts) -> None:
    data = os.urandom(700_000)
    header = head(hosts.task.output, nbytes=len(data), offset=0)
    slow = await Slow.begin(hosts.site, header + data[:600_000], length=len(header) + len(data))
    await begun(hosts)
    async with asyncio.timeout(20):
        assert ACCEPTED in await hosts.bad.upload(hosts.task, data)
    reply = await slow.reply()
    assert LATER in reply
    assert "newer request" in reply
    assert list(hosts.files().values()) == [data]
    await hosts.honest_does_its_job()


async def test_a_question_for_the_size_ends_one_that_stalls(hosts: Hosts) -> None:
    data = os.urandom(700_000)
    header = head(hosts.task.output, nbytes=len(data), offset=0)
    slow = await Slow.begin(hosts.site, header + data[:600_000], length=len(header) + len(data))
    await begun(hosts)
    async with asyncio.timeout(20):
        reply = await hosts.bad.uploaded_size(hosts.task.output)
        size = int(reply.partition("<file_size>")[2].partition("<")[0])
        assert LATER in await slow.reply()
        assert ACCEPTED in await hosts.bad.upload(hosts.task, data, offset=size)
    assert list(hosts.files().values()) == [data]


async def test_many_newer_ones(hosts: Hosts) -> None:
    data = os.urandom(400_000)
    header = head(hosts.task.output, nbytes=len(data), offset=0)
    slow = [
        await Slow.begin(hosts.site, header + data[: 10_000 * n], length=len(header) + len(data))
        for n in range(20)
    ]
    replies = await asyncio.gather(*(hosts.bad.upload(hosts.task, data) for _ in range(10)))
    assert any(ACCEPTED in reply for reply in replies)
    assert all(ACCEPTED in reply or LATER in reply for reply in replies)
    assert list(hosts.files().values()) == [data]
    for connection in slow:
        await connection.close()
    await hosts.honest_does_its_job()


async def test_an_upload_that_stalls_is_ended_and_keeps_what_came(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.3)
    data = os.urandom(1000)
    header = head(hosts.task.output, nbytes=1 << 29, offset=0)
    slow = await Slow.begin(hosts.site, header + data, length=len(header) + (1 << 29))
    assert "no data for 0.3 s" in await slow.reply()
    assert list(hosts.files().values()) == [data]
    assert (
        f"upload from 127.0.0.1 broke off: incomplete: 1000 of {1 << 29} bytes: no data for 0.3 s" in caplog.text
    )
    await hosts.honest_does_its_job()


async def test_an_upload_that_trickles_is_ended(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.5)
    header = head(hosts.task.output, nbytes=1 << 29, offset=0)
    slow = await Slow.begin(hosts.site, header, length=len(header) + (1 << 29))
    waiting = asyncio.ensure_future(slow.reply())
    while not waiting.done():
        with contextlib.suppress(ConnectionError):
            await slow.send(b"x")
        await asyncio.wait({waiting}, timeout=0.02)
    assert "less than 1000 bytes a second" in waiting.result()


PARTIAL = bytes(range(256)) * 1200
NBYTES = 400_000
MALFORMED: dict[str, tuple[dict[str, object], bytes]] = {
    "a negative offset": ({"nbytes": NBYTES, "offset": -1}, b"x" * 1000),
    "an offset of text": ({"nbytes": NBYTES, "offset": "begin"}, b"x" * 1000),
    "an offset of 16 digits": ({"nbytes": NBYTES, "offset": 10**15}, b"x" * 1000),
    "an empty offset": ({"nbytes": NBYTES, "offset": ""}, b"x" * 1000),
    "an offset with a fraction": ({"nbytes": NBYTES, "offset": "1.5"}, b"x" * 1000),
    "another digit": ({"nbytes": NBYTES, "offset": "٣"}, b"x" * 1000),
    "an offset without an end": ({"nbytes": NBYTES, "x": "</x><offset>5<x>"}, b"x" * 1000),
    "an offset beyond what is there": ({"nbytes": NBYTES, "offset": len(PARTIAL) + 1}, b"x" * 1000),
    "an offset beyond the end": ({"nbytes": 10, "offset": 11}, b""),
    "more data than nbytes": ({"nbytes": 10, "offset": 0}, b"x" * 11),
    "more data than nbytes, in many blocks": ({"nbytes": NBYTES, "offset": 0}, b"x" * (NBYTES + 1)),
    "more data than is left": ({"nbytes": NBYTES, "offset": NBYTES - 1}, b"xx"),
    "no nbytes": ({"offset": 0}, b"x"),
    "negative nbytes": ({"nbytes": -1, "offset": 0}, b"x"),
    "nbytes of text": ({"nbytes": "much", "offset": 0}, b"x"),
    "nbytes of 16 digits": ({"nbytes": 10**15, "offset": 0}, b"x"),
    "more than the limit": ({"nbytes": 1 << 40, "offset": 0}, b"x"),
    "no data at all": ({"nbytes": NBYTES, "offset": 0}, b""),
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("state", ["nothing", "incomplete", "complete"])
async def test_a_refused_upload_changes_nothing(hosts: Hosts, what: str, state: str) -> None:
    whole = PARTIAL + b"y" * (NBYTES - len(PARTIAL))
    if state == "incomplete":
        await hosts.bad.upload_file(hosts.task.output, PARTIAL, nbytes=NBYTES)
    elif state == "complete":
        assert ACCEPTED in await hosts.bad.upload(hosts.task, whole)
    before = hosts.files()
    assert list(before.values()) == {"nothing": [], "incomplete": [PARTIAL], "complete": [whole]}[state]
    fields, data = MALFORMED[what]
    reply = await hosts.bad.post(head(hosts.task.output, **fields) + data)
    # Of a complete file nothing is taken: a client may be told so.
    assert ACCEPTED not in reply or state == "complete"
    assert hosts.files() == before
    # It goes on.
    if state == "incomplete":
        assert ACCEPTED in await hosts.bad.upload(hosts.task, whole, offset=len(PARTIAL))
        assert list(hosts.files().values()) == [whole]


async def test_uploads_without_a_length_are_refused(hosts: Hosts) -> None:
    await hosts.bad.upload_file(hosts.task.output, PARTIAL, nbytes=NBYTES)
    before = hosts.files()

    async def chunks() -> AsyncIterator[bytes]:
        yield head(hosts.task.output, nbytes=NBYTES, offset=0)
        for _ in range(10):
            yield b"x" * 100_000

    async with hosts.bad.session.post(f"{hosts.site.url}file_upload_handler", data=chunks()) as response:
        assert response.status == 411
    assert hosts.files() == before
    await hosts.honest_does_its_job()


async def test_the_other_host_notices_nothing(hosts: Hosts) -> None:
    """All of the above at once, and for the other's file too, which it can only guess."""
    (theirs,) = hosts.honest.tasks.values()
    guesses = [f"{theirs.name}_r{number}_0" for number in range(20)]
    header = head(hosts.task.output, nbytes=1 << 29, offset=0)
    slow = [await Slow.begin(hosts.site, header, length=len(header) + (1 << 29)) for _ in range(30)]
    await asyncio.gather(
        *(hosts.bad.post(head(hosts.task.output, **fields) + data) for fields, data in MALFORMED.values()),
        *(hosts.bad.upload_file(guess, b"data") for guess in guesses),
        hosts.honest_does_its_job(),
    )
    for connection in slow:
        await connection.close()
    assert hosts.batch.outputs == [double(int(theirs.workunit.rpartition("_")[2]))]
    assert await hosts.bad.call(0, 0, [Finished(hosts.task.name, exit_status=1, state=3)])
