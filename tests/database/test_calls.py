"""Calls in the database: their keys, what is withdrawn and what is changed of their jobs; on both databases."""

from aioboinc import models
from aioboinc.passes import cancellation
from aioboinc.store import calls, jobs
from database.daemon_world import key, published

NO_KEY = bytes(16)


async def stored(world, batch):
    return [chunk async for chunk in world.store.calls.chunks(batch)]


async def keys_of(world, batch):
    text = b"".join(chunk.keys for chunk in await stored(world, batch))
    return [text[begin : begin + 16] for begin in range(0, len(text), 16)]


def number(name):
    return int(name.rpartition("_")[2])


async def withdraw(world, batch, names, firsts=(0,)):
    decide = cancellation.decider(0, clock=lambda: world.now)
    return await world.store.calls.withdraw(
        batch, {name: [number(name)] for name in names}, decide, firsts=list(firsts)
    )


async def change(world, batch, names, **options):
    options = {"quorum": 1, "target_nresults": options.get("quorum", 1), **options}
    chunks = await stored(world, batch)
    store = calls.Calls(world.connector, clock=lambda: world.now)
    await store.change(batch, names, jobs.Options(**options), chunks)


async def test_chunks_have_their_keys(world, batch):
    await world.submit(batch, 3, last=False)
    await world.submit(batch, 2, first=3)
    other = (await world.batch(world.project.root / "other", token="1" * 32)).id
    await world.submit(other, 1)
    assert [(chunk.first, chunk.kinds) for chunk in await stored(world, batch)] == [(0, "{}"), (3, "{}")]
    assert await keys_of(world, batch) == [key(n) for n in range(5)]
    assert await keys_of(world, other) == [key(0)]


async def test_many_chunks_come_in_order(world, batch):
    async def work(tx):
        for n in range(150):
            await calls.add(tx, batch, calls.Chunk(n, key(n), f'{{"n": "é{n}"}}'))

    await world.connector.run(work)
    chunks = await stored(world, batch)
    assert [chunk.first for chunk in chunks] == list(range(150))
    assert [chunk.keys for chunk in chunks] == [key(n) for n in range(150)]
    assert chunks[149].kinds == '{"n": "é149"}'


async def test_a_batch_that_was_submitted_is_opened_again(world, batch):
    await world.submit(batch, 2)
    assert (await world.store.batches.progress(batch)).submitted
    await world.submit(batch, 1, first=2, last=False)
    assert not (await world.store.batches.progress(batch)).submitted
    await world.store.batches.submitted(batch, 3)
    assert (await world.store.batches.progress(batch)).submitted


async def test_a_batch_that_was_complete_is_opened_again(world, batch):
    (name,) = await world.submit(batch, 1)
    await world.compute(f"{name}_0", 1)
    await world.settle()
    assert await world.rows("SELECT state FROM batch") == [{"state": models.BatchState.COMPLETE}]
    (again,) = await world.submit(batch, 1, first=1)
    assert await world.rows("SELECT state, njobs FROM batch") == [
        {"state": models.BatchState.IN_PROGRESS, "njobs": 2}
    ]
    await world.compute(f"{again}_0", 1)
    await world.settle()
    assert await world.rows("SELECT state FROM batch") == [{"state": models.BatchState.COMPLETE}]


async def test_what_is_withdrawn(world, batch, directory):
    """In each state that a workunit may be in: what has an output stays, and everything else is cancelled."""
    unsent, sent, failed, reported, valid, published_, gone = await world.submit(batch, 7)
    await world.compute(f"{published_}_0", 1)
    await world.settle()
    await world.compute(f"{valid}_0", 2)
    await world.transition()
    await world.validate()
    await world.send(f"{sent}_0")
    await world.fail(f"{failed}_0")
    await world.compute(f"{reported}_0", 3)
    await world.execute("DELETE FROM result WHERE workunitid = (SELECT id FROM workunit WHERE name = :n)", n=gone)
    await world.execute("DELETE FROM workunit WHERE name = :n", n=gone)
    names = [unsent, sent, failed, reported, valid, published_, gone]
    withdrawn = await withdraw(world, batch, names)
    assert withdrawn == [0, 1, 2, 3]
    assert await withdraw(world, batch, names) == []
    assert await keys_of(world, batch) == [NO_KEY] * 4 + [key(n) for n in (4, 5, 6)]
    assert await world.counts(batch) == (5, 0)
    for name in (unsent, sent, failed, reported):
        row = await world.workunit(name)
        assert (row["error_mask"], row["assimilate_state"]) == (
            models.ErrorMask.CANCELLED,
            models.AssimilateState.DONE,
        )
    assert [row["server_state"] for row in await world.results(unsent)] == [models.ServerState.OVER]
    await world.settle()
    assert {path.name for path in (directory / "new").iterdir()} == {valid, published_}
    await world.compute(f"{sent}_0", 4)  # it comes back all the same
    await world.settle()
    assert set(published(directory)) == {valid, published_}
    assert await world.counts(batch) == (6, 0)


async def test_a_batch_the_rest_of_which_is_withdrawn_is_complete(world, batch):
    done, *rest = await world.submit(batch, 3)
    await world.compute(f"{done}_0", 1)
    await world.settle()
    await withdraw(world, batch, rest)
    assert await world.rows("SELECT state, fraction_done FROM batch") == [
        {"state": models.BatchState.COMPLETE, "fraction_done": 1}
    ]


async def test_forgotten_calls_in_several_chunks(world, batch):
    names = await world.submit(batch, 3, last=False)
    names += await world.submit(batch, 3, first=3)
    assert sorted(await withdraw(world, batch, [names[n] for n in (0, 2, 4)], firsts=[0, 3])) == [0, 2, 4]
    keys = await keys_of(world, batch)
    assert [keys[n] == NO_KEY for n in range(6)] == [True, False, True, False, True, False]


async def test_adopting_twice_does_it_once(world, directory):
    await world.batch(directory)
    (row,) = await world.rows("SELECT id FROM pyboinc_batch")
    batch = row["id"]
    await world.execute("UPDATE pyboinc_batch SET version = 1, digest = :digest", digest="1" * 64)
    chunks = [calls.Chunk(0, key(0) + key(1), "{}"), calls.Chunk(2, key(2), "{}")]
    for _ in range(2):
        await world.store.calls.adopt(batch, chunks, before=1, version=2, digest="2" * 64)
        assert await stored(world, batch) == chunks
    progress = await world.store.batches.progress(batch)
    assert (progress.version, progress.digest) == (2, "2" * 64)


async def test_changed_options(world, batch):
    waits, sent, done = await world.submit(batch, 3)
    await world.send(f"{sent}_0")
    await world.compute(f"{done}_0", 1)
    await world.settle()
    await change(world, batch, [waits, sent, done], priority=9, delay_bound=1000, rsc_fpops_est=5.0)
    for name in (waits, sent):
        row = await world.workunit(name)
        assert (row["priority"], row["delay_bound"], row["rsc_fpops_est"]) == (9, 1000, 5.0)
    assert (await world.workunit(done))["priority"] == 0
    assert (await world.result(f"{waits}_0"))["priority"] == 9
    assert (await world.result(f"{sent}_0"))["priority"] == 0
    await world.settle()
    assert (await world.workunit(waits))["transition_time"] > world.now


async def test_a_quorum_that_is_raised(world, batch, directory):
    waits, reported = await world.submit(batch, 2)
    await world.compute(f"{reported}_0", 1)
    await change(world, batch, [waits, reported], quorum=2)
    await world.settle()
    assert len(await world.results(waits)) == 2
    assert len(await world.results(reported)) == 2
    assert published(directory) == {}
    await world.compute(f"{reported}_1", 1, host=2)
    await world.settle()
    assert set(published(directory)) == {reported}


async def test_a_quorum_that_is_lowered(world, batch, directory):
    waits, half, differ = await world.submit(batch, 3, quorum=2)
    await world.compute(f"{half}_0", 1)
    await world.compute(f"{differ}_0", 1)
    await world.compute(f"{differ}_1", 2, host=2)
    await world.settle()
    assert published(directory) == {}
    assert len(await world.results(differ)) == 3  # the validator asks for one more
    await change(world, batch, [waits, half, differ], quorum=1)
    await world.settle()
    assert half in published(directory)
    await world.compute(f"{waits}_0", 1)
    await world.settle()
    assert waits in published(directory)
    if differ not in published(directory):
        await world.compute(f"{differ}_2", 2)
        await world.settle()
    assert set(published(directory)) == {waits, half, differ}


async def test_options_that_change_while_replicas_differ(world, batch, directory):
    """The validator has asked for more results than the options do: these are still made."""
    (differ,) = await world.submit(batch, 1, quorum=2)
    await world.compute(f"{differ}_0", 1)
    await world.compute(f"{differ}_1", 2, host=2)
    await world.transition()
    await world.validate()
    await change(world, batch, [differ], quorum=2, priority=3)
    await world.settle()
    assert len(await world.results(differ)) == 3
    await world.compute(f"{differ}_2", 2)
    await world.settle()
    assert set(published(directory)) == {differ}


async def test_an_old_project_lacks_the_table(world):
    assert await world.store.batches.app("pyboinc") is not None
    await world.connector.script(["DROP TABLE pyboinc_calls"])
    assert await world.store.batches.app("pyboinc") is None
