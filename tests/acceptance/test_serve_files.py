"""Downloads and uploads of a served project."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from patience import PATIENCE
from served import Site, double
from simulated_client import Client, Finished, Task

from aioboinc.aio import threads
from aioboinc.serve import uploads

ACCEPTED = "<status>0</status>"
REFUSED = "<status>-1</status>"
LATER = "<status>1</status>"


@pytest.fixture
async def job(site: Site, tmp_path: Path) -> AsyncIterator[tuple[Client, Task]]:
    """A host with one result."""
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        client = site.client()
        (task,) = (await client.call(1e9, 1)).tasks
        yield client, task


def uploaded(site: Site) -> dict[str, bytes]:
    """Return the files in the upload hierarchy."""
    return {path.name: path.read_bytes() for path in site.project.upload_dir.rglob("*") if path.is_file()}


async def test_downloads(site: Site, job: tuple[Client, Task]) -> None:
    _, task = job
    url = task.inputs["pyboinc_program"]
    async with site.session.get(url) as response:
        whole = await response.read()
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        etag = response.headers["ETag"]
    assert whole == Path(site.project.download_path(url.rpartition("/")[2])).read_bytes()
    async with site.session.get(url, headers={"Range": "bytes=100-"}) as response:
        assert response.status == 206
        assert await response.read() == whole[100:]
    async with site.session.get(url, headers={"If-None-Match": etag}) as response:
        assert response.status == 304
    async with site.session.get(url, headers={"Range": f"bytes={len(whole)}-"}) as response:
        assert response.status == 416


@pytest.mark.parametrize(
    "path",
    [
        "download/",
        "download",
        "download/{directory}/",
        "download/{directory}",
        "download/{name}",
        "download/0/{name}",
        "download/{directory}/../../config.xml",
        "download/%2e%2e/config.xml",
        "download/..%2fconfig.xml",
        "download/../account_key",
        "download/{directory}/{name}%00",
        "download/.hidden",
        "upload/",
        "keys/code_sign_private",
        "project.sqlite",
        "status.html",
        "file_upload_handler",
        "scheduler",
    ],
)
async def test_nothing_else_is_there(site: Site, job: tuple[Client, Task], path: str) -> None:
    _, task = job
    directory, _, name = task.inputs["pyboinc_program"].removeprefix(f"{site.url}download/").partition("/")
    (site.project.download_dir / ".hidden").write_text("hidden")
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    # By hand: a client library would tidy the path up.
    reader, writer = await asyncio.open_connection(host, int(port))
    target = "/" + path.format(directory=directory, name=name)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] in {b"404", b"405"}, head
    assert body == b""
    assert b"cache-control" not in head.lower()


async def test_an_upload(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    data = task.answer(double, await client.get(task.inputs["pyboinc_input"]))
    assert ACCEPTED in await client.upload(task, data)
    assert uploaded(site) == {task.output: data}
    assert f"<file_size>{len(data)}</file_size>" in await client.uploaded_size(task.output)
    # Again, as after a reply that was lost; and then with other bytes: what is complete stays.
    assert ACCEPTED in await client.upload(task, data)
    assert ACCEPTED in await client.upload(task, b"x" * len(data))
    assert uploaded(site) == {task.output: data}


async def test_a_resumed_upload(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    data = os.urandom(300_000)
    assert "<file_size>0</file_size>" in await client.uploaded_size(task.output)
    cut = await client.upload_file(task.output, data[:100_000], nbytes=len(data), md5_cksum=_md5(data))
    assert LATER in cut
    assert "incomplete" in cut
    assert "<file_size>99999</file_size>" in await client.uploaded_size(task.output)
    gap = await client.upload(task, data, offset=200_000)
    assert LATER in gap
    assert ACCEPTED in await client.upload(task, data, offset=99_999)
    assert uploaded(site) == {task.output: data}


async def test_an_upload_that_breaks_off_keeps_what_came(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    data = os.urandom(1 << 20)
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    body = (
        "<data_server_request>\n<file_upload>\n<file_info>\n"
        f"<name>{task.output}</name>\n</file_info>\n<nbytes>{len(data)}</nbytes>\n<offset>0</offset>\n<data>\n"
    ).encode() + data
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /file_upload_handler HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    writer.write(body[: 700 << 10])
    await writer.drain()
    writer.close()
    async with asyncio.timeout(PATIENCE):
        while True:
            reply = await client.uploaded_size(task.output)
            size = int(reply.partition("<file_size>")[2].partition("<")[0] or 0)
            if size:
                break
            await asyncio.sleep(0.02)
    assert size <= 700 << 10
    assert ACCEPTED in await client.upload(task, data, offset=size)
    assert uploaded(site) == {task.output: data}


async def test_a_damaged_upload_begins_again(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    damaged = await client.upload(task, b"damaged", md5_cksum=_md5(b"correct"))
    assert LATER in damaged
    assert "<file_size>0</file_size>" in await client.uploaded_size(task.output)
    assert ACCEPTED in await client.upload(task, b"correct")
    assert uploaded(site) == {task.output: b"correct"}


async def test_an_empty_upload(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    assert ACCEPTED in await client.upload(task, b"")
    assert uploaded(site) == {task.output: b""}


async def test_uploads_that_nobody_expects(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    for name in (
        f"{task.output}x",
        task.output[:-1] + "1",
        task.name,
        f"{task.name}_r1_0",
        "../config.xml",
        f"../{task.output}",
        f"partial/{task.output}",
        "/etc/passwd",
        ".",
        "",
        "x" * 300,
        f"{task.output}\0",
    ):
        assert REFUSED in await client.upload_file(name, b"data"), name
        assert REFUSED in await client.uploaded_size(name) or not name, name
    # The client may say what it likes of the limit.
    large = await client.upload(task, b"data", nbytes=task.max_nbytes + 1, max_nbytes=1e18)
    assert REFUSED in large
    assert "exceeds limit" in large
    for fields in ({"nbytes": -1}, {"nbytes": "much"}, {"offset": 5}):
        assert REFUSED in await client.upload(task, b"data", **fields), fields
    assert REFUSED in await client.upload(task, b"more than said", nbytes=4)
    for body in (b"", b"nonsense", b"<data_server_request>\n</data_server_request>\n", b"\xff" * 100_000):
        assert LATER in await client.post(body)
    assert REFUSED in await client.post(b"<file_upload>\n<name>x</name>\n<nbytes>1</nbytes>\n" + b" " * 10_000)
    assert uploaded(site).get(task.output) is None
    assert not (site.root / "download" / task.output).exists()


async def test_incomplete_uploads_are_not_kept_for_ever(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    await client.upload_file(task.output, b"begin", nbytes=10)
    fresh = site.project.upload_dir / "partial" / task.output
    old = fresh.with_name("pyboinc_9_9_9_r9_0")
    old.write_bytes(b"begin")
    os.utime(old, (0, 0))
    assert await uploads.Uploads(site.project, None, threads.FileThread()).clear() == 1  # type: ignore[arg-type]
    assert fresh.exists()
    assert not old.exists()


async def test_no_upload_after_the_report(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    await client.call(0, 0, [Finished(task.name, exit_status=1, state=3)])
    assert REFUSED in await client.upload(task, b"data")
    assert uploaded(site) == {}


async def test_one_upload_of_a_file_at_a_time(site: Site, job: tuple[Client, Task]) -> None:
    client, task = job
    data = os.urandom(1 << 20)
    replies = await asyncio.gather(*(client.upload(task, data) for _ in range(5)))
    assert any(ACCEPTED in reply for reply in replies)
    assert all(ACCEPTED in reply or LATER in reply for reply in replies)
    assert uploaded(site) == {task.output: data}


def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
