"""`python -m aioboinc serve` as a process: started, stopped, killed, and started in vain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import served
from patience import PATIENCE, Waits
from simulated_client import Client, Finished

from aioboinc.cli.main import main
from aioboinc.project import config
from aioboinc.serve import served_project


class Process:
    """A server in a process of its own."""

    def __init__(self, root: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "aioboinc", "serve", "--project", str(root), *options]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start it; return what it says when it is ready."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
        )
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline() for _ in range(4)]
        assert lines[0], self.end(signal.SIGKILL)
        return "".join(lines)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send it a signal; return its exit status and what it has complained of."""
        assert self._process is not None
        with self._process as process:
            process.send_signal(number)
            _, complaints = process.communicate(timeout=PATIENCE)
        self._process = None
        return process.returncode, complaints

    def close(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it to an end that it comes to itself."""
        return subprocess.run(self._command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def process(root: Path) -> Iterator[Process]:
    process = Process(root, "--listen", f"127.0.0.1:{served.free_port()}")
    yield process
    process.close()


def test_it_says_how_to_go_on(process: Process, root: Path) -> None:
    said = process.start()
    project = config.read(root)
    key = (root / "account_key").read_text().strip()
    assert f"boinccmd --project_attach {project.master_url} {key}\n" in said
    assert f"status page:    {project.master_url}?key=" in said
    assert f"--project {root} " in said
    assert project.kind is config.Kind.SERVED  # its jobs have a quorum of 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops(process: Process, root: Path, number: signal.Signals) -> None:
    process.start()
    address = config.read(root).master_url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((address[0], int(address[1]))) as half_open:
        half_open.sendall(b"POST /scheduler HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n<")
        status, complaints = process.end(number)
    assert (status, complaints) == (128 + number, "")
    # The same again: nothing is made anew.
    before = (root / "config.xml").read_bytes(), sorted((root / "download").iterdir())
    process.start()
    assert ((root / "config.xml").read_bytes(), sorted((root / "download").iterdir())) == before


async def test_it_stops_within_a_second(root: Path) -> None:
    """By what it chooses to wait for: a half-open request, passes of daemons, work on files."""
    async with served.serving_site(root) as site:
        host, port = site.url.removeprefix("http://").rstrip("/").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /scheduler HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n<")
        await site.get_json("status.json")
        waits = Waits()
    assert waits.longest < 1
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_one_server_a_project(process: Process, root: Path) -> None:
    process.start()
    second = Process(root).run()
    assert second.returncode == 2
    assert second.stderr == f"aioboinc: {root} is served by another process already\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--listen", "8416"], "--listen 8416: give HOST:PORT, 127.0.0.1:8416 for example"),
        (["--listen", "127.0.0.1:http"], "--listen 127.0.0.1:http: give HOST:PORT"),
        (["--listen", "0.0.0.0:8416"], "give --url too"),
        (["--listen", "localhost:8416"], "a host with a dot in it only"),
        (["--url", "http://lab/"], "a host with a dot in it only"),
        (["--url", "ftp://lab.example.org/"], "take http or https"),
        (["--url", "http://lab.example.org/Pybo inc/"], "its path may have"),
        (["--database", "postgres://x"], "is no database"),
        (["--database", "mysql://u:secret@127.0.0.1:1/x"], "can't"),
    ],
)
def test_bad_options(root: Path, options: list[str], complaint: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In this process: to import a web server takes a second."""
    status = main(["serve", "--project", str(root), *options])
    said, complaints = capfd.readouterr()
    assert (status, said) == (2, "")
    assert complaints.startswith("aioboinc: ")
    assert complaint in complaints
    assert complaints.count("\n") == 1
    assert "secret" not in complaints
    assert not root.exists()  # the next attempt begins anew


def test_a_port_that_is_taken(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        ended = Process(root, "--listen", listen).run()
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"aioboinc: --listen {listen}: ")
    assert not root.exists()


def test_a_directory_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text("<boinc><config></config></boinc>")
    ended = Process(tmp_path).run()
    assert ended.returncode == 2
    assert "config.xml" in ended.stderr
    (tmp_path / "file").touch()
    assert Process(tmp_path / "file").run().returncode == 2


def test_the_url_is_for_good(root: Path) -> None:
    served_project.create(root, listen="127.0.0.1:8416", url="https://lab.example.org/pyboinc", database=None)
    assert config.read(root).master_url == "https://lab.example.org/pyboinc/"
    again = served_project.create(root, listen=None, url="https://LAB.example.org/pyboinc/", database=None)
    assert again.upload_url == "https://lab.example.org/pyboinc/file_upload_handler"
    ended = Process(root, "--url", "http://other.example.org/").run()
    assert ended.returncode == 2
    assert "its hosts know it by that" in ended.stderr


def test_bad_settings(root: Path) -> None:
    served_project.create(root, listen="127.0.0.1:8416", url=None, database=None)
    served.edit_config(root, max_wus_to_send="many")
    ended = Process(root).run()
    assert ended.returncode == 2
    assert "<max_wus_to_send> is 'many': give a number from 1" in ended.stderr


async def test_the_server_is_killed_again_and_again(process: Process, root: Path, tmp_path: Path) -> None:
    count = 25
    process.start()
    served.edit_config(root, min_sendwork_interval=0)
    process.end(signal.SIGKILL)
    process.start()
    async with aiohttp.ClientSession() as session:
        site = served.Site(root, session, config.read(root), (root / "account_key").read_text().strip(), "", 0)
        async with site.batch(tmp_path / "batch", count) as batch, asyncio.TaskGroup() as work:
            for name in "ab":
                work.create_task(compute_stubbornly(site.client(name), batch))
            for kills in range(3):
                await batch.reaches(kills * 6)
                await asyncio.to_thread(process.end, signal.SIGKILL)
                await asyncio.to_thread(process.start)
            await batch.done()
    assert sorted(batch.outputs) == [2 * number for number in range(count)]
    assert batch.errors == []
    assert process.end(signal.SIGTERM) == (143, "")


async def compute_stubbornly(client: Client, batch: served.Batch) -> None:
    """Compute a job at a time until the batch is done. As clients do, go on where the server was lost."""
    finished: dict[str, Finished] = {}
    while not batch.task.done():
        with contextlib.suppress(aiohttp.ClientError):
            for task in list(client.tasks.values()):
                if task.name not in finished:
                    finished[task.name] = await client.compute(task, served.double)
            await client.call(1, 0, [finished[name] for name in client.tasks])
        await asyncio.sleep(0.01)


@pytest.mark.mariadb
async def test_mariadb(root: Path, tmp_path: Path, mariadb) -> None:  # type: ignore[no-untyped-def]
    url = mariadb.url(mariadb.new_database())
    async with served.serving_site(root, url, open_accounts=True) as site:
        async with site.batch(tmp_path / "batch", 20) as batch:
            await served.compute_all([site.client("a"), site.client("b")])
            await batch.done()
        assert sorted(batch.outputs) == [2 * number for number in range(20)]
        lost = site.client("c")
        async with site.batch(tmp_path / "other", 3, quorum=1):
            assert len((await lost.call(1e9, 1)).tasks) == 3
            lost.tasks.clear()
            assert len((await lost.call(1e9, 1)).tasks) == 3
        assert await site.create_account()
        assert (await site.client(key=site.key.upper()).call()).text("userid") == ""
        status = await site.get_json("status.json")
        assert [batch["done"] for batch in status["batches"]] == [0, 20]  # type: ignore[attr-defined]
    assert os.stat(root / "config.xml").st_mode & 0o077 == 0  # the database's password is in it
