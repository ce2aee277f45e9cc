"""From make_calls to committed workunits, on both databases."""

import asyncio

from aioboinc import call_queue, connectors, keys, staging, submission
from database.daemon_world import World


async def test_calls_come_together_while_those_before_are_written(tmp_path, database_url, connector):
    world = World(connector, tmp_path / "project", database_url)
    await world.set_up()
    world.project.key_dir.mkdir()
    keys.create(world.project.key_dir / keys.PROGRAM_PRIVATE, world.project.key_dir / keys.PROGRAM_PUBLIC)
    (tmp_path / "app_slave.py").write_text("")
    batches = world.store.batches
    app = await batches.app("pyboinc")
    batch = await batches.find_or_create("0" * 32, appid=app.id, name="test", directory="/b", version=1)
    queue = call_queue.CallQueue(tmp_path)
    committed = []
    locked, unlock = asyncio.Event(), asyncio.Event()

    async def hold(tx):
        await tx.execute("UPDATE pyboinc_batch SET directory = '/c' WHERE id = :id", {"id": batch.id})
        locked.set()
        await unlock.wait()

    async def make():
        await call_queue.pyboinc_call("app_slave.py", 0)
        while committed != [1]:
            await asyncio.sleep(0.01)
        async with connectors.open(database_url) as other, asyncio.TaskGroup() as tasks:
            tasks.create_task(other.run(hold))
            await locked.wait()
            for i in range(1, 7):
                await call_queue.pyboinc_call("app_slave.py", i)
                await asyncio.sleep(0.05)
            unlock.set()
        while committed[-1] < 7:
            await asyncio.sleep(0.01)
        await call_queue.pyboinc_call("app_slave.py", 7)

    submitting = submission.Submission(queue, world.store, staging.Stager(world.project), app, batch)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(call_queue.make(make, queue))
        njobs = tasks.create_task(submitting.run(committed.append))
    assert njobs.result() == 8
    assert committed == [1, 2, 7, 8]
