"""The jobs that are measured: 200 bytes of input each, no two alike."""

from __future__ import annotations

import asyncio
import dataclasses

from aioboinc import call_queue, staging, submission
from bench.environment import Opened, Place

__all__ = ["SLAVE", "TOKEN", "submit", "value"]

SLAVE = "slave.py"
TOKEN = "0" * 32
"""Token of the batch."""


def value(number: int) -> dict[str, object]:
    """Return the input of call *number*, as a scientist's might look, which is its output too."""
    return {
        "number": number,
        "name": f"sample {number:08}",
        "parameters": [number + step / 16 for step in range(16)],
    }


async def submit(
    place: Place, opened: Opened, count: int, *, results: bool = True, inline: int = 0, quorum: int = 1
) -> None:
    """Make *count* calls and submit them, as a master does; without *results*, the transitioner makes them."""
    # Where results need certificates, only the transitioner can make them.
    project = dataclasses.replace(place.project, upload_certificates=not results)
    stager = staging.Stager(project, inline)
    queue = call_queue.CallQueue(place.batch_dir)
    pipeline = submission.Submission(queue, opened.store, stager, opened.app, opened.batch)

    async def make_calls() -> None:
        for number in range(count):
            await call_queue.pyboinc_call(SLAVE, value(number), quorum=quorum)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call_queue.make(make_calls, queue))
        await pipeline.run(lambda _: None)
