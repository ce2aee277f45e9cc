"""End to end: calls on this machine's cores, beside a pool of processes and dask.distributed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from aioboinc.batch import calls, master
from bench import jobs, measuring
from bench.environment import Environment
from bench.measuring import Contender, Figure, Kind

__all__ = ["run"]


async def run(environment: Environment) -> measuring.Stage:
    """Measure empty jobs: each in a process of its own, durable, with a master that can resume."""
    settings = environment.settings
    cores = len(os.sched_getaffinity(0))
    first: list[float] = []

    async def ours() -> float:
        directory = environment.new_directory()
        (directory / jobs.SLAVE).write_text("pyboinc_return_output(pyboinc_get_input())\n")
        seen: list[float] = []

        async def make_calls() -> AsyncIterator[Awaitable[None]]:
            for number in range(settings.jobs):
                yield calls.pyboinc_call(directory / jobs.SLAVE, jobs.value(number))

        measuring.settle()
        start = time.perf_counter()
        await master.pyboinc_master(
            make_calls, lambda output: seen.append(time.perf_counter()), batch_dir=directory, workers=cores
        )
        seconds = time.perf_counter() - start
        assert len(seen) == settings.jobs
        first.append(seen[0] - start)
        return seconds

    async def pool() -> float:
        start = time.perf_counter()
        await asyncio.to_thread(_pool, cores, settings.jobs)
        return time.perf_counter() - start

    async def dask() -> float:
        return await asyncio.to_thread(_dask, cores, settings.jobs)

    contenders = [
        Contender("aioboinc, embedded project, a process a job", Kind.OURS, ours),
        Contender("ProcessPoolExecutor, nothing is kept", Kind.BESIDE, pool),
    ]
    with contextlib.suppress(ImportError):
        importlib.import_module("distributed")
        contenders.append(Contender("dask.distributed, nothing is kept", Kind.BESIDE, dask))
    series = await measuring.compete(contenders, settings.jobs, settings.rounds)
    figures = [
        Figure("from pyboinc_master to the first handle_result", sorted(first)[len(first) // 2], "s"),
        Figure("largest memory of this process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB"),
    ]
    return measuring.Stage("end-to-end", settings.jobs, "sqlite", series, figures)


def _same(value: Any) -> Any:
    return value


def _pool(cores: int, count: int) -> None:
    with concurrent.futures.ProcessPoolExecutor(cores) as executor:
        assert sum(1 for _ in executor.map(_same, map(jobs.value, range(count)))) == count


def _dask(cores: int, count: int) -> float:
    """Return the seconds without the start of the cluster."""
    distributed = importlib.import_module("distributed")
    cluster = distributed.LocalCluster(
        n_workers=cores, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
    )
    with cluster, distributed.Client(cluster) as client:
        start = time.perf_counter()
        futures = client.map(_same, [jobs.value(number) for number in range(count)], pure=False)
        assert len(client.gather(futures)) == count
        return time.perf_counter() - start
