"""Memory of a master, in a process of its own, that makes again all the calls of a batch which is under way.

The batch is in the project, nothing of it is done: a master knows most of it then. Its peak is read when all calls are
known to be in the project, and it has nothing to do but wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import aioboinc
from aioboinc.batch import calls, master
from aioboinc.batch import directory as batch_directory
from bench import jobs, measuring
from bench.environment import Environment, Place
from bench.measuring import Figure

__all__ = ["run"]

_ORDERS = {"same": "the old order", "other": "another order"}


async def run(environment: Environment) -> measuring.Stage:
    """Submit a batch; measure masters on it that make its calls in both orders."""
    count = environment.settings.jobs
    place = await environment.new_place()
    async with place.opened() as opened:
        batch = opened.batch.id
        await jobs.submit(place, opened, count, inline=4096)
    checkpoint = batch_directory.Checkpoint(jobs.TOKEN, place.project.master_url, batch, "submitting")
    await batch_directory.BatchDirectory(place.batch_dir).write_checkpoint(checkpoint)
    figures = [
        Figure(f"{count:,} calls in {words}", await _in_process(place, count, order), "MiB")
        for order, words in _ORDERS.items()
    ]
    return measuring.Stage("memory", count, environment.settings.database, (), figures)


async def _in_process(place: Place, count: int, order: str) -> float:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.memory", str(place.project.root), str(place.batch_dir), str(count), order),
        cwd=Path(__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the master of {count} calls has failed")
    figure: float = json.loads(output)
    print(f"  {count:,} calls, {order}: {figure:,.0f} MiB", file=sys.stderr, flush=True)
    return figure


async def _measure(root: Path, batch_dir: Path, count: int, order: str) -> float:
    """Make the calls; return the MiB that this process has had at most when all are known."""
    slave = str(batch_dir / jobs.SLAVE)

    async def make_calls() -> AsyncIterator[Awaitable[None]]:
        for number in jobs.order(count, reordered=order == "other"):
            yield calls.pyboinc_call(slave, jobs.value(number), quorum=1, priority=0)

    known = asyncio.Event()

    def watch(progress: aioboinc.Progress) -> None:
        if progress.complete:
            known.set()

    running = asyncio.ensure_future(
        master.pyboinc_master(
            make_calls, lambda output, job: None, batch_dir=batch_dir, project=root, progress=watch
        )
    )
    waiting = asyncio.ensure_future(known.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    peak = _peak()
    running.cancel()
    await asyncio.wait({running})
    return peak


def _peak() -> float:
    """Return the most memory that this program has had, in MiB; not what had it before, in this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))))
