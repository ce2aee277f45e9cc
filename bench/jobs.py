"""The jobs that are measured: 200 bytes of input each, no two alike."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Iterator

from aioboinc.batch import calls, ledger, queue, sizing, staging, submission, takers
from aioboinc.store import jobs
from bench.environment import Opened, Place

__all__ = ["SLAVE", "TOKEN", "order", "submit", "value"]

SLAVE = "slave.py"
TOKEN = "0" * 32
"""Token of the batch."""


def value(number: int) -> dict[str, object]:
    """Return the input of call *number*, which resembles a scientist's, and is also its output."""
    return {
        "number": number,
        "name": f"sample {number:08}",
        "parameters": [number + step / 16 for step in range(16)],
    }


def order(count: int, *, reordered: bool) -> Iterator[int]:
    """Yield the numbers of so many calls, each once: from 0 on, or *reordered*, without a list of them."""
    step = round(count * 0.618) | 1 if reordered else 1
    while math.gcd(step, count) != 1:
        step += 1
    return (number * step % count for number in range(count))


async def submit(
    place: Place, opened: Opened, count: int, *, results: bool = True, inline: int = 0, quorum: int = 1
) -> None:
    """Make *count* calls and submit them, as a master does; without *results*, the transitioner makes them."""
    # If results need certificates, only the transitioner can make them.
    project = dataclasses.replace(place.project, upload_certificates=not results)
    stager = staging.Stager(project, inline)
    sender, receiver = queue.open()
    made = calls.Calls(place.batch_dir, sender, takers.Queue())
    pipeline = submission.Submission(
        receiver,
        opened.store,
        stager,
        opened.app,
        opened.batch,
        ledger.Ledger(),
        sizing.Sizes(sizing.HERE, 2),
        _Observer(),
    )

    async def make_calls() -> None:
        for number in range(count):
            await calls.pyboinc_call(SLAVE, value(number), quorum=quorum)

    async def make() -> None:
        with calls.current(made):
            await calls.make(make_calls, made)
        made.end()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(make())
        await pipeline.run()


class _Observer:
    """Ignores what submission tells a session."""

    def identified(self, number: int, call: jobs.Call) -> None:
        pass

    def is_done(self, number: int) -> bool:
        return False

    def committed(self, ncalls: int) -> None:
        pass
