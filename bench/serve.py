"""Serving: what simulated and stock BOINC clients cost the server, over HTTP on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
from acceptance import simulated_client, stock_client
from acceptance.simulated_client import Client, Task

from aioboinc import connectors, models
from aioboinc.serve import served_project
from bench import jobs, measuring
from bench.environment import Environment, Opened, Place
from bench.measuring import Figure

__all__ = ["cpu_seconds", "run", "served"]

_UNSENT = 100_000
"""Results that wait while requests are timed."""
_REQUESTS = 300
"""Requests that are timed."""
_CLIENTS = 200
"""Clients at once."""
_AT_A_TIME = 2
"""Results that a client asks for and reports at a time, like stock clients on two cores."""
_STOCK_CLIENTS = 2
_STOCK_JOBS = 200
"""Jobs that stock clients do: a second and a half each on two cores, and some minutes in all."""
_DONE = """
UPDATE result SET server_state = :over, outcome = :success, hostid = :hostid
WHERE batch = :batch AND name LIKE '%!_0' ESCAPE '!' AND id < :below
"""
_TICKS = os.sysconf("SC_CLK_TCK")


async def run(environment: Environment) -> measuring.Stage:
    """Time single requests while many results wait; then let many clients do all jobs, and stock clients some."""
    settings = environment.settings
    figures = []
    async with served(environment) as (place, server), place.opened() as opened:
        await jobs.submit(place, opened, _UNSENT)
        measuring.settle()
        async with _clients(place, 1) as (client,):
            figures += await _requests("request for work", client, server)
    async with served(environment) as (place, server), place.opened() as opened, _clients(place, 1) as (client,):
        await client.call()
        await jobs.submit(place, opened, _UNSENT // 2, quorum=2)
        await _do_half(opened, client.hostid)
        measuring.settle()
        figures += await _requests("the same where half of it is for others", client, server)
    async with served(environment) as (place, server):
        async with place.opened() as opened:
            await jobs.submit(place, opened, settings.jobs)
        measuring.settle()
        async with _clients(place, _CLIENTS) as clients:
            cpu, start = cpu_seconds(server), time.perf_counter()
            work = [_Worker(client) for client in clients]
            await asyncio.gather(*(worker.run() for worker in work))
            await _assimilated(place, settings.jobs)
            seconds, cpu = time.perf_counter() - start, cpu_seconds(server) - cpu
        delays = [delay for worker in work for delay in worker.delays]
        figures += [
            Figure(f"{_CLIENTS} clients at once: errors", sum(worker.errors for worker in work), ""),
            Figure(f"{_CLIENTS} clients at once: jobs", settings.jobs / seconds, "/s"),
            Figure("server's processor time a job", 1000 * cpu / settings.jobs, "ms"),
            *_delays(f"request, {_CLIENTS} clients at once", delays),
        ]
    figures += await _stock_clients(environment)
    return measuring.Stage("serve", settings.jobs, settings.database, (), figures)


async def _stock_clients(environment: Environment) -> list[Figure]:
    """Let stock clients do jobs, each as a process of its own, and report them when they see fit."""
    program = stock_client.find()
    if program is None:
        print("serve: no stock clients: there is no boinc here (Debian: boinc-client)", file=sys.stderr)
        return []
    async with served(environment, pauses=True) as (place, server):
        async with place.opened() as opened:
            await jobs.submit(place, opened, _STOCK_JOBS)
        key = (place.project.root / "account_key").read_text().strip()
        clients = [
            stock_client.StockClient(program, place.batch_dir.parent / f"client{n}", _free_port(), at_once=False)
            for n in range(_STOCK_CLIENTS)
        ]
        try:
            for client in clients:
                await asyncio.to_thread(client.start)
            cpu, start = cpu_seconds(server), time.perf_counter()
            for client in clients:
                await asyncio.to_thread(client.attach, place.project.master_url, key)
            await _assimilated(place, _STOCK_JOBS)
            seconds, cpu = time.perf_counter() - start, cpu_seconds(server) - cpu
        finally:
            for client in clients:
                await asyncio.to_thread(client.close)
    name = f"{_STOCK_CLIENTS} stock clients, {_STOCK_JOBS} jobs"
    return [
        Figure(f"{name}: time", seconds, "s"),
        Figure(f"{name}: server's processor time a job", 1000 * cpu / _STOCK_JOBS, "ms"),
    ]


@contextlib.asynccontextmanager
async def served(
    environment: Environment, *, pauses: bool = False, options: Sequence[str] = ()
) -> AsyncIterator[tuple[Place, int]]:
    """Serve a new project in a process of its own, with *options*; the ID of the process is given.

    With *pauses* hosts have to make some between requests for work, as they do where nobody changes config.xml.
    """
    directory = environment.new_directory()
    root = directory / "project"
    listen = f"127.0.0.1:{_free_port()}"
    database = None
    if environment.settings.database != "sqlite":
        database = environment.server.server.url(environment.server.server.new_database())
    project = served_project.create(root, listen=listen, url=None, database=database)
    if not pauses:
        config = (root / "config.xml").read_text()
        interval = "<min_sendwork_interval>{}</min_sendwork_interval>"
        (root / "config.xml").write_text(config.replace(interval.format(6), interval.format(0)))
    batch_dir = directory / "batch"
    for path in (batch_dir, batch_dir / "new"):
        path.mkdir()
    (batch_dir / jobs.SLAVE).write_text("pyboinc_return_output(pyboinc_get_input())\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioboinc", "serve", "--project", str(root), *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield Place(project, batch_dir), process.pid
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def _clients(place: Place, count: int) -> AsyncIterator[Sequence[Client]]:
    key = (place.project.root / "account_key").read_text().strip()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield [Client(session, place.project.master_url, key, name=f"host{n}", ncpus=8) for n in range(count)]


async def _requests(what: str, client: Client, server: int) -> list[Figure]:
    """Time requests, by the clock and by the processor time that they cost the server."""
    before = cpu_seconds(server)
    delays = await _time_requests(client)
    cpu = cpu_seconds(server) - before
    return [*_delays(what, delays), Figure(f"{what}: server's processor time", 1000 * cpu / len(delays), "ms")]


async def _time_requests(client: Client) -> list[float]:
    """Return the seconds that each of some requests for one result took."""
    delays = []
    for _ in range(_REQUESTS):
        body = client.request(1, 0).encode()
        client.rpc_seqno += 1
        start = time.perf_counter()
        async with client.session.post(f"{client.url}scheduler", data=body) as response:
            text = await response.text()
        delays.append(time.perf_counter() - start)
        reply = client.take_in(text)
        client.tasks.clear()
        assert reply.root.findtext("userid")
    return delays


async def _do_half(opened: Opened, hostid: int) -> None:
    """Let the host have done one of two results of nearly all jobs, so that the search skips the others."""

    async def work(tx: connectors.Transaction) -> None:
        await tx.execute(
            _DONE,
            {
                "over": models.ServerState.OVER,
                "success": models.Outcome.SUCCESS,
                "hostid": hostid,
                "batch": opened.batch.id,
                "below": _UNSENT - 1000,
            },
        )

    await opened.connector.run(work)


class _Worker:
    """A client that asks, computes and reports until no job is left."""

    def __init__(self, client: Client) -> None:
        self.delays: list[float] = []
        self.errors = 0
        self._client = client
        self._has_program = False

    async def run(self) -> None:
        reports: list[simulated_client.Finished] = []
        while True:
            start = time.perf_counter()
            reply = await self._client.call(_AT_A_TIME, _AT_A_TIME, reports)
            self.delays.append(time.perf_counter() - start)
            if not reply.tasks and not reports:
                return
            reports = [await self._do(task) for task in reply.tasks]

    async def _do(self, task: Task) -> simulated_client.Finished:
        if not self._has_program:
            self._has_program = True
            await self._client.get(task.inputs["pyboinc_program"])
        data = await self._client.get(task.inputs["pyboinc_input"])
        self.errors += "<status>0</status>" not in await self._client.upload(
            task, task.answer(lambda value: value, data)
        )
        return simulated_client.Finished(task.name)


async def _assimilated(place: Place, count: int) -> None:
    """Wait until all jobs are published."""
    async with place.opened() as opened:
        while True:
            progress = await opened.store.batches.progress(opened.batch.id)
            assert progress is not None
            if progress.nassimilated == count:
                return
            await asyncio.sleep(0.05)


def _delays(what: str, delays: Sequence[float]) -> list[Figure]:
    quantiles = statistics.quantiles(delays, n=100)
    return [
        Figure(f"{what}: median", 1000 * statistics.median(delays), "ms"),
        Figure(f"{what}: 99 of 100 within", 1000 * quantiles[98], "ms"),
    ]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
