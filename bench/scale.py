"""Scale: the cost of a job in a batch of --jobs and in one a hundredth as large, and the memory.

All jobs are submitted first. Then results come back in portions, as from hosts, and the daemons and the master handle
each.
"""

from __future__ import annotations

import asyncio
import functools
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import handling, jobs, measuring, passes, stand_in
from bench.environment import Environment, Settings
from bench.measuring import Figure, Kind, Series

__all__ = ["run", "walk"]

_PART = 100
_PORTION = 5000
"""Results that come back at a time."""
_TRANSITIONED_LATER = 2.0
"""Seconds after which the transitioner sees jobs that were just assimilated."""


async def run(environment: Environment) -> measuring.Stage:
    """Walk batches of both sizes through all stages, each in a process of its own."""
    settings = environment.settings
    large = settings.jobs
    small = max(1, large // _PART)
    series: list[Series] = []
    figures: list[Figure] = []
    walks = {count: await _in_process(settings, count) for count in (small, large)}
    for stage, taken in walks[large].items():
        ratio = (taken["seconds"] / large) / (walks[small][stage]["seconds"] / small)
        series += [
            Series(f"{stage}, {count:,} jobs", Kind.OURS, count, (walks[count][stage]["seconds"],))
            for count in (small, large)
        ]
        figures.append(Figure(f"{stage}: cost of a job, {large:,} beside {small:,}", ratio, "x"))
    for count in (small, large):
        figures.append(Figure(f"largest memory, {count:,} jobs", walks[count]["handling"]["memory"], "MiB"))
    return measuring.Stage("scale", large, settings.database, series, figures)


async def walk(environment: Environment) -> dict[str, dict[str, float]]:
    """Take one batch through all stages; return seconds, and the memory in MiB at the end of each."""
    count = environment.settings.jobs
    place = await environment.new_place()
    walked: dict[str, dict[str, float]] = {}
    async with place.opened() as opened:

        async def timed(stage: str, work: Callable[[], Awaitable[object]]) -> None:
            measuring.settle()
            start = time.perf_counter()
            await work()
            seconds = time.perf_counter() - start + walked.get(stage, {}).get("seconds", 0.0)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            walked[stage] = {"seconds": seconds, "memory": memory}

        await timed("submission", lambda: jobs.submit(place, opened, count))
        outputs = handling.Outputs(place, opened.batch.id, count)
        for before in range(0, count, _PORTION):
            published = min(before + _PORTION, count)
            await stand_in.execute(place, opened, limit=_PORTION)
            await timed("transition", lambda: passes.transit(place, opened))
            await timed("validation", lambda: passes.validate(place, opened))
            await timed("assimilation", lambda: passes.assimilate(place, opened))
            await timed("handling", functools.partial(outputs.handle, published))
        await asyncio.sleep(_TRANSITIONED_LATER)
        await timed("transition", lambda: passes.transit(place, opened))
    for stage, taken in walked.items():
        print(f"  {count:,} jobs: {stage}: {count / taken['seconds']:,.0f}/s", file=sys.stderr, flush=True)
    return walked


async def _in_process(settings: Settings, count: int) -> dict[str, dict[str, float]]:
    options = ["--jobs", str(count), "--database", settings.database]
    if settings.directory is not None:
        options += ["--directory", str(settings.directory)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", "walk", *options),
        cwd=Path(__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the walk of {count} jobs has failed")
    walked: dict[str, dict[str, float]] = json.loads(output)
    return walked
