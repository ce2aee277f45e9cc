"""From make_calls to committed workunits, on both databases."""

import asyncio

from patience import PATIENCE, until

from aioboinc import call_queue, connectors, keys, staging, submission
from database.daemon_world import World


class Queue(call_queue.CallQueue):
    """Counts what is taken from it."""

    taken = 0

    async def take(self):
        chunk = await super().take()
        self.taken += len(chunk)
        return chunk


async def test_calls_come_together_while_those_before_are_written(tmp_path, database_url, connector):
    world = World(connector, tmp_path / "project", database_url)
    await world.set_up()
    world.project.key_dir.mkdir()
    keys.create(world.project.key_dir / keys.PROGRAM_PRIVATE, world.project.key_dir / keys.PROGRAM_PUBLIC)
    (tmp_path / "app_slave.py").write_text("")
    batches = world.store.batches
    app = await batches.app("pyboinc")
    batch = await batches.find_or_create("0" * 32, appid=app.id, name="test", directory="/b", version=1)
    queue = Queue(tmp_path)
    committed = []
    locked, unlock = asyncio.Event(), asyncio.Event()

    async def hold(tx):
        await tx.execute("UPDATE pyboinc_batch SET directory = '/c' WHERE id = :id", {"id": batch.id})
        locked.set()
        await unlock.wait()

    async def make():
        await call_queue.pyboinc_call("app_slave.py", 0)
        await until(lambda: committed == [1])
        async with connectors.open(database_url) as other, asyncio.TaskGroup() as tasks:
            tasks.create_task(other.run(hold))
            await locked.wait()
            await call_queue.pyboinc_call("app_slave.py", 1)
            await until(lambda: queue.taken == 2)  # it is on its way, and gets no further
            for i in range(2, 7):
                await call_queue.pyboinc_call("app_slave.py", i)
                await asyncio.sleep(0)
            unlock.set()
        await until(lambda: committed[-1] >= 7)
        await call_queue.pyboinc_call("app_slave.py", 7)

    submitting = submission.Submission(queue, world.store, staging.Stager(world.project), app, batch)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call_queue.make(make, queue))
        njobs = tasks.create_task(submitting.run(committed.append))
    assert njobs.result() == 8
    assert committed == [1, 2, 7, 8]
