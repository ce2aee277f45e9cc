"""From make_calls to committed workunits, on both databases."""

import asyncio

import pytest

from aioboinc import call_queue, connectors, keys, project, staging, store, submission


@pytest.fixture
def stager(tmp_path, database_url):
    for name in ("keys", "download"):
        (tmp_path / name).mkdir()
    keys.create(tmp_path / "keys" / keys.PROGRAM_PRIVATE, tmp_path / "keys" / keys.PROGRAM_PUBLIC)
    return staging.Stager(
        project.Project(
            root=tmp_path,
            name="test",
            master_url="http://127.0.0.1/test/",
            download_url="http://127.0.0.1/test/download",
            upload_url="http://127.0.0.1/test_cgi/file_upload_handler",
            download_dir=tmp_path / "download",
            upload_dir=tmp_path / "upload",
            key_dir=tmp_path / "keys",
            fanout=16,
            database_url=database_url,
            embedded=False,
            upload_certificates=True,
        )
    )


async def test_calls_come_together_while_those_before_are_written(tmp_path, database_url, connector, stager):
    (tmp_path / "app_slave.py").write_text("")
    db = store.Store(connector)
    await connector.run(
        lambda tx: tx.execute(
            "INSERT INTO app (id, create_time, name, user_friendly_name) VALUES (1, 1, 'a', 'A')"
        )
    )
    app = await db.batches.app("a")
    batch = await db.batches.find_or_create("0" * 32, appid=1, name="test", directory="/b", version=1)
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

    submitting = submission.Submission(queue, db, stager, app, batch)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(call_queue.make(make, queue))
        njobs = tasks.create_task(submitting.run(committed.append))
    assert njobs.result() == 8
    assert committed == [1, 2, 7, 8]
