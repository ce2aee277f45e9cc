"""Whole programs that call a function of no duration, from the start of the interpreter to its end.

What a user would write with aioboinc, beside the same with what they may know: each is a file that Python runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import measuring
from bench.environment import Environment
from bench.measuring import Contender, Figure, Kind

__all__ = ["run"]

_FUNCTION = """
def square(x):
    return x * x

"""
_END = """
if __name__ == "__main__":
    main()
"""
_AIOBOINC = """
import time
import aioboinc

def main():
    start = time.perf_counter()
    total = 0
    for job in aioboinc.run(square, range({count}), batch_dir={directory!r}, workers={cores}{options}):
        if not total:
            first = time.perf_counter() - start
        total += job.output + 1
    print(total, first)
"""
_POOL = """
import concurrent.futures

def main():
    with concurrent.futures.ProcessPoolExecutor({cores}) as executor:
        print(sum(output + 1 for output in executor.map(square, range({count}), chunksize={chunk})))
"""
_DASK = """
import logging
import distributed

def main():
    cluster = distributed.LocalCluster(
        n_workers={cores}, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
    )
    with cluster, distributed.Client(cluster) as client:
        print(sum(output + 1 for output in client.gather(client.map(square, range({count}), pure=False))))
"""
_JOBLIB = """
import joblib

def main():
    outputs = joblib.Parallel(n_jobs={cores})(joblib.delayed(square)(x) for x in range({count}))
    print(sum(output + 1 for output in outputs))
"""
_MAX_SINGLE = 20_000
"""Calls up to which each has a process of its own, too: a minute or so."""


async def run(environment: Environment) -> measuring.Stage:
    """Measure them in turns."""
    settings = environment.settings
    count = settings.jobs
    cores = len(os.sched_getaffinity(0))
    first: list[float] = []
    again: list[float] = []

    def program(text: str, **values: object) -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            directory = environment.new_directory()
            file = directory / "program.py"
            filled = text.format(count=count, cores=cores, directory=str(directory / "batch"), **values)
            file.write_text(_FUNCTION + filled + _END)
            measuring.settle()
            seconds, said = await asyncio.to_thread(_timed, file, count)
            if said:
                first.append(said[0])
                again.append((await asyncio.to_thread(_timed, file, count))[0])
            return seconds

        return measure

    contenders = [
        Contender("aioboinc.run", Kind.OURS, program(_AIOBOINC, options="")),
        Contender("ProcessPoolExecutor.map, chunksize=100", Kind.BESIDE, program(_POOL, chunk=100)),
    ]
    if count <= _MAX_SINGLE:
        contenders += [
            Contender("aioboinc.run, chunk=1", Kind.OURS, program(_AIOBOINC, options=", chunk=1")),
            Contender("ProcessPoolExecutor.map, chunksize=1", Kind.BESIDE, program(_POOL, chunk=1)),
        ]
    for name, module, text in (("dask.distributed", "distributed", _DASK), ("joblib", "joblib", _JOBLIB)):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
            contenders.append(Contender(name, Kind.BESIDE, program(text)))
    series = await measuring.compete(contenders, count, settings.rounds)
    figures = [
        Figure("the first result", sorted(first)[len(first) // 2], "s"),
        Figure("the same program once more", sorted(again)[len(again) // 2], "s"),
        Figure(
            "largest memory of a process", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, "MiB"
        ),
    ]
    return measuring.Stage("programs", count, "sqlite", series, figures)


def _timed(file: Path, count: int) -> tuple[float, list[float]]:
    """Run a program; return the seconds it takes, and what it says beside the right sum."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, file], stdout=subprocess.PIPE, check=True, text=True, cwd=file.parent)
    seconds = time.perf_counter() - start
    total, *said = done.stdout.split()
    assert int(total) == sum(x * x + 1 for x in range(count)), done.stdout
    return seconds, [float(word) for word in said]
