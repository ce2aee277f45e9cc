"""From make_calls to committed workunits, on both databases."""

import asyncio
import contextlib

from patience import PATIENCE, until

from aioboinc import connectors
from aioboinc.batch import calls, queue, staging, submission
from aioboinc.project import keys
from database.daemon_world import World


async def opened(tmp_path, database_url, connector):
    """Return a project that can be submitted to, its application, and a batch; there is a slave in *tmp_path*."""
    world = World(connector, tmp_path / "project", database_url)
    await world.set_up()
    world.project.key_dir.mkdir()
    keys.create(world.project.key_dir / keys.PROGRAM_PRIVATE, world.project.key_dir / keys.PROGRAM_PUBLIC)
    (tmp_path / "app_slave.py").write_text("")
    app = await world.store.batches.app("pyboinc")
    batch = await world.store.batches.find_or_create(
        "0" * 32, appid=app.id, name="test", directory="/b", version=1
    )
    return world, app, batch


async def test_calls_wait_while_files_are_written(tmp_path, database_url, connector):
    world, app, batch = await opened(tmp_path, database_url, connector)
    sender, receiver = queue.open()
    made = calls.Calls(tmp_path, sender)
    held = receiver.held
    seen = []

    def files():
        return sum(path.is_file() for path in world.project.download_dir.rglob("*"))

    @contextlib.contextmanager
    def holding():
        seen.append(files())
        with held():
            yield
        seen.append(files())

    receiver.held = holding

    def make():
        calls.pyboinc_call("app_slave.py", 1)

    submitting = submission.Submission(receiver, world.store, staging.Stager(world.project), app, batch)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(calls.make(make, made))
        njobs = tasks.create_task(submitting.run(lambda _: None))
    assert njobs.result() == 1
    assert seen == [0, 2]  # the input and its program


async def test_calls_come_together_while_those_before_are_written(tmp_path, database_url, connector):
    world, app, batch = await opened(tmp_path, database_url, connector)
    sender, receiver = queue.open()
    made = calls.Calls(tmp_path, sender)
    take = receiver.take
    taken = []

    async def taking(idle):
        chunk = await take(idle)
        taken.append(len(chunk))
        return chunk

    receiver.take = taking
    committed = []
    locked, unlock = asyncio.Event(), asyncio.Event()

    async def hold(tx):
        await tx.execute("UPDATE pyboinc_batch SET directory = '/c' WHERE id = :id", {"id": batch.id})
        locked.set()
        await unlock.wait()

    async def make():
        await calls.pyboinc_call("app_slave.py", 0)
        await until(lambda: committed == [1])
        async with connectors.open(database_url) as other, asyncio.TaskGroup() as tasks:
            tasks.create_task(other.run(hold))
            await locked.wait()
            await calls.pyboinc_call("app_slave.py", 1)
            await until(lambda: taken == [1, 1])  # it is on its way, and gets no further
            for i in range(2, 7):
                await calls.pyboinc_call("app_slave.py", i)
                await asyncio.sleep(0)
            unlock.set()
        await until(lambda: committed[-1] >= 7)
        await calls.pyboinc_call("app_slave.py", 7)

    submitting = submission.Submission(receiver, world.store, staging.Stager(world.project), app, batch)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(calls.make(make, made))
        njobs = tasks.create_task(submitting.run(committed.append))
    assert njobs.result() == 8
    assert committed == [1, 2, 7, 8]
