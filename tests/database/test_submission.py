"""From make_calls to committed workunits, on both databases."""

import asyncio
import contextlib

from patience import PATIENCE, until

from aioboinc import connectors
from aioboinc.batch import calls, ledger, queue, sizing, staging, submission, takers
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
        "0" * 32, appid=app.id, name="test", directory="/b", version=2
    )
    return world, app, batch


class Observer:
    """What a session notes of calls."""

    def __init__(self):
        self.numbers = []
        self.done = set()
        self.counts = []

    def identified(self, number, call):
        self.numbers.append(number)

    def is_done(self, number):
        return number in self.done

    def committed(self, ncalls):
        self.counts.append(ncalls)


def make(make_calls, made):
    """Return a task in which *make_calls* makes the calls, and says at the end that these were all."""

    async def to_the_end():
        with calls.current(made):
            await calls.make(make_calls, made)
        made.end()

    return to_the_end()


async def test_calls_wait_while_files_are_written(tmp_path, database_url, connector):
    world, app, batch = await opened(tmp_path, database_url, connector)
    sender, receiver = queue.open()
    made = calls.Calls(tmp_path, sender, takers.Queue())
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

    def make_calls():
        calls.pyboinc_call("app_slave.py", 1)

    observer = Observer()
    submitting = submission.Submission(
        receiver,
        world.store,
        staging.Stager(world.project),
        app,
        batch,
        ledger.Ledger(),
        sizing.Sizes(sizing.HERE, 2),
        observer,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(make(make_calls, made))
        tasks.create_task(submitting.run())
    assert observer.counts == [1]
    assert seen == [0, 2]  # the input and its program


async def test_calls_come_together_while_those_before_are_written(tmp_path, database_url, connector):
    world, app, batch = await opened(tmp_path, database_url, connector)
    sender, receiver = queue.open()
    made = calls.Calls(tmp_path, sender, takers.Queue())
    take = receiver.take
    taken = []

    async def taking(idle):
        chunk = await take(idle)
        taken.append(len(chunk))
        return chunk

    receiver.take = taking
    observer = Observer()
    committed = observer.counts
    locked, unlock = asyncio.Event(), asyncio.Event()

    async def hold(tx):
        await tx.execute("UPDATE pyboinc_batch SET directory = '/c' WHERE id = :id", {"id": batch.id})
        locked.set()
        await unlock.wait()

    async def make_calls():
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

    submitting = submission.Submission(
        receiver,
        world.store,
        staging.Stager(world.project),
        app,
        batch,
        ledger.Ledger(),
        sizing.Sizes(sizing.HERE, 2),
        observer,
    )
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(make(make_calls, made))
        tasks.create_task(submitting.run())
    assert observer.numbers == list(range(8))
    assert committed == [1, 2, 7, 8]
