"""Submission: from the calls to committed workunits, and to results that a host can get."""

from __future__ import annotations

import time

from bench import beside, bounds, jobs, measuring
from bench.environment import Environment
from bench.measuring import Contender, Kind

__all__ = ["run"]

_INLINE = 2048


async def run(environment: Environment) -> measuring.Stage:
    """Measure submission; the time begins with ``make_calls`` and ends with the last commit."""
    settings = environment.settings
    contenders = [
        _ours(environment, "aioboinc, workunits only", results=False),
        _ours(environment, "aioboinc, results too"),
        _ours(environment, "aioboinc, inputs inline, workunits only", results=False, inline=_INLINE),
        _ours(environment, "aioboinc, inputs inline, results too", inline=_INLINE),
    ]
    if settings.beside is not None:
        tools = beside.Tools(settings.beside)
        contenders += [
            _create_work(environment, tools, "files and create_work, workunits only", results=False),
            _create_work(environment, tools, "files, create_work, transitioner, results too", results=True),
        ]
    contenders += bounds.contenders(environment, settings.jobs)
    series = await measuring.compete(contenders, settings.jobs, settings.rounds)
    return measuring.Stage("submission", settings.jobs, settings.database, series)


def _ours(environment: Environment, name: str, *, results: bool = True, inline: int = 0) -> Contender:
    async def measure() -> float:
        place = await environment.new_place()
        async with place.opened() as opened:
            measuring.settle()
            start = time.perf_counter()
            await jobs.submit(place, opened, environment.settings.jobs, results=results, inline=inline)
            return time.perf_counter() - start

    return Contender(name, Kind.OURS, measure, _task(results))


def _create_work(environment: Environment, tools: beside.Tools, name: str, *, results: bool) -> Contender:
    async def measure() -> float:
        place = await environment.new_place()
        async with place.opened() as opened:
            measuring.settle()
            seconds = await beside.stage_and_create(tools, place, opened, environment.settings.jobs)
            if results:
                await opened.connector.run(lambda tx: tx.execute("UPDATE workunit SET transition_time = 1"))
                measuring.settle()
                start = time.perf_counter()
                await tools.daemon("transitioner -d 1", "transition_time = 1")(place, opened)
                seconds += time.perf_counter() - start
            return seconds

    return Contender(name, Kind.BESIDE, measure, _task(results))


def _task(results: bool) -> str:
    return "results too" if results else "workunits only"
