"""Handling: outputs go from ``new/`` to the handler and to ``old/``; and all of them again when a master restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from aioboinc.aio import task_group, threads
from aioboinc.batch import calls, handlers, master, partition, takers
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import outputs as published
from aioboinc.wire import codec
from bench import jobs, measuring, stand_in
from bench.environment import Environment, Place
from bench.measuring import Contender, Kind

__all__ = ["Outputs", "restart", "run"]

_ALL_PUBLISHED = "UPDATE pyboinc_batch SET nassimilated = njobs"


async def run(environment: Environment) -> measuring.Stage:
    """Measure handling, and a master that restarts on a finished batch whose results were all handled."""
    settings = environment.settings

    def contender(name: str, measure: Callable[[Environment], Awaitable[float]]) -> Contender:
        return Contender(name, Kind.OURS, lambda: measure(environment))

    contenders = [
        contender("aioboinc, new/ to handler to old/", _handling),
        contender("aioboinc, a master starts again on a finished batch", restart),
    ]
    series = await measuring.compete(contenders, settings.jobs, settings.rounds)
    return measuring.Stage("handling", settings.jobs, settings.database, series)


class Outputs:
    """The outputs of a batch of *count* jobs, on their way through its handler."""

    def __init__(self, place: Place, batch: int, count: int) -> None:
        self._seen = bytearray(count)
        self._taken: list[int] = []
        self._retiring = asyncio.Event()
        directory = batch_directory.BatchDirectory(place.batch_dir)
        self._outputs = published.Outputs(directory, batch, codec.Registry, lambda: count, _alone(count))
        self._handlers = handlers.Handlers(self._handle_result, None)

    async def handle(self, count: int) -> None:
        """Handle what is in ``new/``; there are *count* outputs so far."""
        queue = takers.Queue()
        queue.source = self
        for number in await threads.in_thread(self._outputs.scan):
            queue.announce(number)
        queue.end()
        async with task_group.TaskGroup() as tasks:
            retiring = tasks.create_task(self._retire())
            await self._handlers.hand_over(self, queue, lambda: None)
            retiring.cancel()
        await self._retire_taken()
        assert sum(self._seen) == count

    async def _retire(self) -> None:
        while True:
            await self._retiring.wait()
            await self._retire_taken()

    async def _retire_taken(self) -> None:
        self._retiring.clear()
        numbers, self._taken = self._taken, []
        await threads.in_thread(self._outputs.retire, numbers)

    def _handle_result(self, output: dict[str, int]) -> None:
        self._seen[output["number"]] = 1

    # The parts of a session (takers.Source) and of a held batch (handlers.Batch).

    async def load(self, numbers: Sequence[int]) -> tuple[list[published.Output], list[int]]:
        return await threads.in_thread(self._outputs.load, numbers)

    def lost(self, numbers: Sequence[int], taker: takers.Taker) -> None:
        raise AssertionError(f"{len(numbers)} outputs are lost")

    def taken(self, output: published.Output) -> None:
        self._taken.append(output.number)
        self._retiring.set()

    def tell(self) -> None:
        pass

    def order(self, number: int) -> int:
        return number

    async def look(self, number: int) -> None:
        raise AssertionError("the handler does not take the job")

    def input(self, order: int) -> Any:
        raise AssertionError("the handler does not take the job")


async def _handling(environment: Environment) -> float:
    count = environment.settings.jobs
    place = await environment.new_place()
    async with place.opened() as opened:
        await asyncio.to_thread(stand_in.publish, place, opened.batch.id, range(count))
        measuring.settle()
        start = time.perf_counter()
        await Outputs(place, opened.batch.id, count).handle(count)
        return time.perf_counter() - start


async def restart(environment: Environment, *, reordered: bool = False) -> float:
    """Return the seconds that a master takes to start again on a finished batch, calls as before or *reordered*."""
    count = environment.settings.jobs
    place = await environment.new_place()
    async with place.opened() as opened:
        batch = opened.batch.id
        await jobs.submit(place, opened, count)
        await opened.connector.run(lambda tx: tx.execute(_ALL_PUBLISHED))
    await asyncio.to_thread(stand_in.publish, place, batch, range(count), "old")
    checkpoint = batch_directory.Checkpoint(jobs.TOKEN, place.project.master_url, batch, "submitted")
    await batch_directory.BatchDirectory(place.batch_dir).write_checkpoint(checkpoint)

    slave = str(place.batch_dir / jobs.SLAVE)

    async def make_calls() -> AsyncIterator[Awaitable[None]]:
        for number in jobs.order(count, reordered=reordered):
            yield calls.pyboinc_call(slave, jobs.value(number), quorum=1)

    seen: set[int] = set()
    measuring.settle()
    start = time.perf_counter()
    await master.pyboinc_master(
        make_calls,
        lambda output: seen.add(output["number"]),
        batch_dir=place.batch_dir,
        project=place.project.root,
    )
    seconds = time.perf_counter() - start
    assert len(seen) == count
    return seconds


def _alone(count: int) -> partition.Partition:
    """Return that each of *count* calls has a workunit of its own."""
    division = partition.Partition()
    division.load({}, 0, count)
    return division
