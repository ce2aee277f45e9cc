"""A served project for tests, and a master that submits to it, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
from patience import PATIENCE
from simulated_client import Client

import aioboinc
from aioboinc.project import config
from aioboinc.serve import served_project, serving

__all__ = [
    "DOUBLE",
    "Batch",
    "Site",
    "compute_all",
    "double",
    "edit_config",
    "eventually",
    "free_port",
    "serving_site",
]

T = TypeVar("T")

DOUBLE = "pyboinc_return_output(pyboinc_get_input() * 2)\n"
"""A slave that needs no host to be computed."""


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def edit_config(root: Path, **values: object) -> None:
    """Change elements of config.xml."""
    path = root / "config.xml"
    text = path.read_text()
    for name, value in values.items():
        text, count = re.subn(f"<{name}>[^<]*</{name}>", f"<{name}>{value}</{name}>", text)
        assert count == 1
    path.write_text(text)


@dataclass
class Batch:
    """A master that runs."""

    task: asyncio.Task[aioboinc.Summary]
    outputs: list[object]
    errors: list[aioboinc.JobFailed]

    async def done(self) -> aioboinc.Summary:
        """Wait for the end, as long as jobs come back."""
        await self._while_jobs_come_back(lambda: False)
        return self.task.result()

    async def reaches(self, count: int) -> None:
        """Wait for so many outputs, as long as jobs come back."""
        await self._while_jobs_come_back(lambda: len(self.outputs) >= count)

    async def _while_jobs_come_back(self, is_enough: Callable[[], bool]) -> None:
        """Wait until the master has ended or *is_enough*. Raises TimeoutError if minutes bring nothing."""
        while not (self.task.done() or is_enough()):
            handled = len(self.outputs) + len(self.errors)
            async with asyncio.timeout(PATIENCE):
                while len(self.outputs) + len(self.errors) == handled and not self.task.done():
                    await asyncio.wait({self.task}, timeout=0.02)


class Site:
    """A served project, its hosts and its masters."""

    def __init__(
        self,
        root: Path,
        session: aiohttp.ClientSession,
        project: config.Project,
        key: str,
        status_key: str,
        port: int,
    ) -> None:
        self.root = root
        self.session = session
        self.project = project
        self.url = project.master_url
        self.key = key
        self.status_key = status_key
        self.port = port

    def client(self, name: str = "host", **options: object) -> Client:
        """Return a new host of the first account."""
        return Client(self.session, self.url, str(options.pop("key", self.key)), name=name, **options)  # type: ignore[arg-type]

    async def get_json(self, path: str) -> dict[str, object]:
        async with self.session.get(self.url + path) as response:
            data: dict[str, object] = await response.json()
            return data

    async def create_account(self, name: str = "anna") -> str:
        """Make an account; return its key."""
        query = {"email_addr": f"{name}@example.org", "passwd_hash": "0" * 32, "user_name": name}
        async with self.session.get(f"{self.url}create_account.php", params=query) as response:
            return (await response.text()).partition("<authenticator>")[2].partition("<")[0]

    @contextlib.asynccontextmanager
    async def batch(
        self, folder: Path, count: int, slave: str = DOUBLE, **options: object
    ) -> AsyncIterator[Batch]:
        """Run a master that calls *slave* with the numbers below *count*; its calls are committed in the body."""
        _write(folder, slave)
        committed = asyncio.Event()

        async def make_calls() -> None:
            for number in range(count):
                await aioboinc.pyboinc_call(str(folder / "slave.py"), number, **options)  # type: ignore[arg-type]

        def progress(progress: aioboinc.Progress) -> None:
            if progress.submitted == count:
                committed.set()

        outputs: list[object] = []
        errors: list[aioboinc.JobFailed] = []
        master = aioboinc.pyboinc_master(
            make_calls,
            outputs.append,
            handle_error=errors.append,
            batch_dir=folder,
            project=self.root,
            progress=progress,
        )
        batch = Batch(asyncio.create_task(master), outputs, errors)
        try:
            waiting = asyncio.create_task(committed.wait())
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait({waiting, batch.task}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if batch.task.done():
                batch.task.result()
            yield batch
        finally:
            batch.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await batch.task


@contextlib.asynccontextmanager
async def serving_site(
    root: Path,
    database: str | None = None,
    edit: Callable[[Path], None] = lambda root: None,
    *,
    open_accounts: bool = False,
    url: str | None = None,
) -> AsyncIterator[Site]:
    """Serve the project in *root*; *edit* may change its configuration before."""
    listen = None
    if not (root / "config.xml").exists():
        listen = f"127.0.0.1:{free_port()}"
        served_project.create(root, listen=listen, url=url, database=database)
        edit_config(root, min_sendwork_interval=0)
    edit(root)
    async with serving.running(root, open_accounts=open_accounts) as running, aiohttp.ClientSession() as session:
        status_key = running.status_url.partition("key=")[2]
        yield Site(root, session, running.project, running.account_key, status_key, running.port)


def double(value: object) -> object:
    """What DOUBLE computes."""
    assert isinstance(value, int)
    return value * 2


def _write(folder: Path, slave: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "slave.py").write_text(slave)


async def compute_all(clients: list[Client], *, seconds: float = 1e9) -> None:
    """Let *clients* ask for work, do it and report it, until there is none."""
    while True:
        idle = 0
        for client in clients:
            reports = [await client.compute(task, double) for task in list(client.tasks.values())]
            reply = await client.call(seconds, 1, reports)
            idle += not reports and not reply.tasks
        if idle == len(clients):
            return


async def eventually(ask: Callable[[], Awaitable[T]], until: Callable[[T], object]) -> T:
    """Await *ask* again and again until *until* says yes to its outcome; return that."""
    async with asyncio.timeout(PATIENCE):
        while True:
            outcome = await ask()
            if until(outcome):
                return outcome
            await asyncio.sleep(0.02)
