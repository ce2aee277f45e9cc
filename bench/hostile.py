"""A soak test: some hundred hosts at once, one in ten of them hostile, and the same without the hostile ones.

The question is whether the honest ones notice: their jobs a second, their delays, their errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
from acceptance.simulated_client import Client, Finished, Task

from bench import jobs, measuring, serve
from bench.environment import Environment
from bench.measuring import Figure

__all__ = ["Settings", "run"]

_PAUSE = 7.0
"""Seconds between two requests of an honest host, as between those of stock clients."""
_AT_A_TIME = 2
_HOSTS_OF_ACCOUNT = 25
_GRACE = 60.0
"""Seconds to finish what is under way at the end."""
_ODD = ("nan", "inf", "-1", "1e308", str(2**63), "text", "")
_NUMBERS = (
    *("p_fpops", "p_ncpus", "m_nbytes", "d_free", "d_total", "on_frac", "active_frac", "timezone", "rpc_seqno"),
    *("cpu_req_secs", "cpu_req_instances", "duration_correction_factor"),
    *("exit_status", "final_cpu_time", "final_elapsed_time", "app_version_num", "state"),
)
"""Elements with numbers."""
_FILLERS = [
    filler * (6_000_000 // len(filler))
    for filler in (b"]", b"<a/>", b"<stderr_out><![CDATA[</stderr_out>", b"&", b"<", b"\n", b"<a b")
]
"""Requests that take long to read."""


@dataclass(frozen=True)
class Settings:
    """The options of the test."""

    hosts: int = 500
    seconds: float = 300.0
    """Length of each of the two runs."""


@dataclass
class _Tally:
    """What the honest hosts saw."""

    jobs: int = 0
    errors: int = 0
    idle: int = 0
    """Requests for work that brought none."""
    delays: list[float] = field(default_factory=list)


async def run(environment: Environment, settings: Settings) -> measuring.Stage:
    """Let the honest hosts work without the hostile ones and with them, on a new project each time."""
    hostile = settings.hosts // 10
    figures = []
    for name, count in (("alone", 0), (f"with {hostile} hostile ones", hostile)):
        figures += await _round(environment, settings, name, settings.hosts - hostile, count)
    return measuring.Stage("hostile", settings.hosts, environment.settings.database, (), figures)


async def _round(
    environment: Environment, settings: Settings, name: str, honest: int, hostile: int
) -> list[Figure]:
    count = int(1.2 * honest * _AT_A_TIME * (settings.seconds / _PAUSE + 2))
    async with serve.served(environment, pauses=True, options=["--open-accounts"]) as (place, server):
        async with place.opened() as opened:
            await jobs.submit(place, opened, count)
        measuring.settle()
        async with _session() as session:
            tally = _Tally()
            url = place.project.master_url
            friends = [
                await _account(session, url, f"lab{number}", f"10.1.0.{number}")
                for number in range(-(-honest // _HOSTS_OF_ACCOUNT))
            ]
            strangers = [
                await _account(session, url, f"hostile{number}", f"172.16.0.{number}") for number in range(hostile)
            ]
            end = time.monotonic() + settings.seconds
            cpu = serve.cpu_seconds(server)
            async with asyncio.timeout(settings.seconds + _GRACE), asyncio.TaskGroup() as tasks:
                for number in range(honest):
                    client = Client(session, url, friends[number // _HOSTS_OF_ACCOUNT], name=f"honest{number}")
                    client.headers = {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250}"}
                    tasks.create_task(_honest(client, number, end, tally))
                for number, key in enumerate(strangers):
                    client = Client(session, url, key, name=f"hostile{number}")
                    client.headers = {"X-Forwarded-For": f"172.16.0.{number}"}
                    tasks.create_task(_Hostile(client, number, end).run())
            cpu = serve.cpu_seconds(server) - cpu
            alive = (await session.get(f"{place.project.master_url}status.json")).status == 200
        async with place.opened() as opened:
            progress = await opened.store.batches.progress(opened.batch.id)
        assert progress is not None
        assert alive
    quantiles = statistics.quantiles(tally.delays, n=100)
    name = f"{honest} honest hosts {name}"
    return [
        Figure(f"{name}: jobs", tally.jobs / settings.seconds, "/s"),
        Figure(f"{name}: request: median", 1000 * statistics.median(tally.delays), "ms"),
        Figure(f"{name}: request: 99 of 100 within", 1000 * quantiles[98], "ms"),
        Figure(f"{name}: requests for work in vain", tally.idle, ""),
        Figure(f"{name}: errors", tally.errors, ""),
        Figure(f"{name}: jobs that have failed", progress.nerrors, ""),
        Figure(f"{name}: server's processor time", 100 * cpu / settings.seconds, "%"),
    ]


@contextlib.asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        yield session


async def _account(session: aiohttp.ClientSession, url: str, name: str, address: str) -> str:
    """Make an account, from an *address* as if through a proxy on this machine; return its key."""
    query = {"email_addr": f"{name}@example.org", "passwd_hash": "0" * 32, "user_name": name}
    headers = {"X-Forwarded-For": address}
    async with session.get(f"{url}create_account.php", params=query, headers=headers) as response:
        return (await response.text()).partition("<authenticator>")[2].partition("<")[0]


async def _honest(client: Client, number: int, end: float, tally: _Tally) -> None:
    """Work as a stock client on two cores does, with a pause after each request."""
    await asyncio.sleep(_PAUSE * random.Random(number).random())
    reports: list[Finished] = []
    has_program = False
    while time.monotonic() < end:
        begun = time.monotonic()
        reply = await client.call(_AT_A_TIME, _AT_A_TIME, reports)
        tally.delays.append(time.monotonic() - begun)
        tally.jobs += len(set(reply.names("result_ack")))
        tally.idle += not reply.tasks
        reports = []
        for task in list(client.tasks.values()):
            if not has_program:
                await client.get(task.inputs["pyboinc_program"])
                has_program = True
            data = await client.get(task.inputs["pyboinc_input"])
            answer = await client.upload(task, task.answer(lambda value: value, data))
            tally.errors += "<status>0</status>" not in answer
            reports.append(Finished(task.name))
        await asyncio.sleep(max(0.0, begun + _PAUSE - time.monotonic()))


class _Hostile:
    """A host that does everything it should not, one thing a second."""

    def __init__(self, client: Client, number: int, end: float) -> None:
        self._client = client
        self._end = end
        self._random = random.Random(number)
        self._tasks: list[Task] = []

    async def run(self) -> None:
        ways: Sequence[Callable[[], Awaitable[object]]] = (
            self._grab,
            self._claim,
            self._cheat,
            self._fail,
            self._shout,
            self._babble,
            self._multiply,
            self._pretend,
            self._stall,
            self._spoil,
            self._rush,
            self._guess,
        )
        while time.monotonic() < self._end:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, AssertionError, SyntaxError):
                async with asyncio.timeout(30):
                    await self._random.choice(ways)()
            await asyncio.sleep(self._random.random() * 2)

    async def _call(self, reports: Sequence[Finished] = (), seconds: float = 1e9) -> None:
        reply = await self._client.call(seconds, 100, reports)
        self._tasks += reply.tasks

    async def _grab(self) -> None:
        """Take all jobs."""
        self._client.claims = {"p_ncpus": 2**31, "p_fpops": "1e15"}
        await self._call()

    async def _claim(self) -> None:
        self._client.claims = {name: self._random.choice(_ODD) for name in _NUMBERS}
        await self._call([Finished(task.name) for task in self._tasks[:1]])

    async def _cheat(self) -> None:
        """Report what was not computed."""
        await self._call([Finished(task.name, elapsed=1e6) for task in self._tasks])
        self._tasks.clear()

    async def _fail(self) -> None:
        stderr = "</stderr_out><![CDATA[" * 1000
        await self._call([Finished(task.name, exit_status=1, state=3, stderr=stderr) for task in self._tasks])
        self._tasks.clear()

    async def _shout(self) -> None:
        """Send a request that takes long to read."""
        before, result, after = self._client.request(1, 1).partition("</disk_usage>")
        body = (before + result).encode() + self._random.choice(_FILLERS) + after.encode()
        await self._post("scheduler", body)

    async def _babble(self) -> None:
        body = self._client.request(1, 1).encode()
        await self._post("scheduler", self._random.choice((b"", body[:-30], b"\0" * 1000, b"<!DOCTYPE a>" + body)))

    async def _multiply(self) -> None:
        """Be many hosts."""
        for number in range(20):
            twin = Client(self._client.session, self._client.url, self._client.key, name=f"twin{number}", ncpus=64)
            twin.headers = self._client.headers
            await twin.call(1e9, 64)

    async def _pretend(self) -> None:
        """Be a page of another site."""
        for headers in (
            {"Host": "evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://evil.example"},
        ):
            await self._post("scheduler", self._client.request(1e9, 1).encode(), **headers)

    async def _stall(self) -> None:
        """Send half a request, and nothing more for a while."""
        host, port = self._client.url.removeprefix("http://").strip("/").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        path = self._random.choice(("scheduler", "file_upload_handler"))
        writer.write(f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n<".encode())
        await asyncio.sleep(10)
        writer.close()

    async def _spoil(self) -> None:
        """Upload what is no output."""
        if self._tasks:
            task = self._random.choice(self._tasks)
            await self._client.upload(task, b"x" * 1000, nbytes=self._random.choice((-1, 10, "text", 10**15)))
            await self._client.upload(task, b"nothing")
        await self._client.upload_file("../../config.xml", b"x")

    async def _rush(self) -> None:
        """Send requests without pauses."""
        for _ in range(30):
            await self._call(seconds=0)

    async def _guess(self) -> None:
        """Try passwords."""
        for _ in range(10):
            query = {"email_addr": "owner@localhost", "passwd_hash": f"{self._random.getrandbits(128):032x}"}
            url = f"{self._client.url}lookup_account.php"
            async with self._client.session.get(url, params=query, headers=self._client.headers) as response:
                await response.read()

    async def _post(self, page: str, body: bytes, **headers: str) -> None:
        everything = {**self._client.headers, **headers}
        url = f"{self._client.url}{page}"
        async with self._client.session.post(url, data=io.BytesIO(body), headers=everything) as response:
            await response.read()
