"""`aioboinc.Batch`: calls at any time, jobs as they are done."""

import asyncio
import collections
import contextlib
import importlib
import itertools
import os
import re
import sqlite3

import pytest
from patience import PATIENCE, until

import aioboinc
from aioboinc import errors

SLAVE = """
value = pyboinc_get_input()
with open({path!r}, "a") as file:
    print(value, file=file)
pyboinc_return_output(value * value)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "slave.py").write_text(SLAVE.format(path=str(tmp_path / "computed")))
    return tmp_path


@pytest.fixture
def slave(folder):
    return folder / "slave.py"


def computed(folder):
    path = folder / "computed"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def published(folder):
    """Return the numbers of the jobs whose outputs are there; of calls with 0, 1 and so on these are their inputs."""
    folders = (folder / "batch" / name for name in ("new", "old"))
    return {int(path.name.rpartition("_")[2]) for each in folders for path in each.iterdir()}


def check_computed(folder, count, done):
    """See that so many inputs were computed, and those that were *done* before only once."""
    times = collections.Counter(computed(folder))
    assert set(times) == set(range(count))
    assert not [value for value in done if times[value] > 1]


def opened(folder, name="batch", **options):
    return aioboinc.Batch(folder / name, workers=1, **options)


@pytest.fixture(autouse=True)
async def patience():
    async with asyncio.timeout(PATIENCE):
        yield


async def test_map(folder, slave):
    for expected in (10, 0):
        before = len(computed(folder))
        async with opened(folder) as batch:
            jobs = [job async for job in batch.map(slave, range(10))]
            assert {(job.number, job.input, job.output) for job in jobs} == {(i, i, i * i) for i in range(10)}
            assert all(job.done and job.error is None for job in jobs)
        assert len(computed(folder)) - before == expected
    assert len(os.listdir(folder / "batch" / "old")) == 10


async def test_ordered(folder, slave):
    values = [5, 3, 3, 9, 1]
    for again in (values, values, list(reversed(values))):
        async with opened(folder) as batch:
            jobs = [job async for job in batch.map(slave, again, ordered=True)]
            assert [job.input for job in jobs] == again
            assert [job.output for job in jobs] == [value * value for value in again]
    assert len(computed(folder)) == 5


async def test_submit(folder, slave):
    async with opened(folder) as batch:
        one, two = batch.submit(slave, 3), batch.submit(slave, 4)
        assert not one.done
        assert await two == 16
        assert await one == 9
        assert await one == one.output == 9
        assert (one.number, one.input, two.number, two.input) == (0, 3, 1, 4)
        three = batch.submit(slave, await one)  # one that depends on a result
        assert await three == 81
    assert one.output == 9
    async with opened(folder) as batch:
        assert await batch.submit(slave, 9) == 81
        assert await asyncio.gather(batch.submit(slave, 4), batch.submit(slave, 3)) == [16, 9]
    assert len(computed(folder)) == 3


async def test_calls_from_inside_of_the_loop(folder, slave):
    async with opened(folder) as batch:
        outputs = []
        async for job in batch.map(slave, range(3)):
            outputs.append(await batch.submit(slave, 10 + job.output))
        assert sorted(outputs) == [100, 121, 196]
        assert [job.output async for job in batch.map(slave, [2])] == [4]  # once more: another job
    assert sorted(computed(folder)) == [0, 1, 2, 2, 10, 11, 14]


async def test_two_maps_at_once(folder, slave):
    async def collect(batch, values):
        return sorted([job.output async for job in batch.map(slave, values)])

    for _ in range(2):
        async with opened(folder) as batch:
            one, two = await asyncio.gather(collect(batch, range(5)), collect(batch, range(5, 10)))
        assert (one, two) == ([0, 1, 4, 9, 16], [25, 36, 49, 64, 81])
    assert len(computed(folder)) == 10


async def test_errors(folder, slave):
    async with opened(folder) as batch:
        jobs = {job.input: job async for job in batch.map(slave, [1, "x", 2])}
        assert isinstance(jobs["x"].error, aioboinc.RemoteError)
        with pytest.raises(aioboinc.RemoteError, match="TypeError"):
            _ = jobs["x"].output
        with pytest.raises(aioboinc.RemoteError, match="TypeError"):
            await batch.submit(slave, "y")
        assert jobs[1].output == 1


async def test_left_early_and_gone_on(folder, slave):
    async with opened(folder) as batch:
        async for _ in batch.map(slave, range(30)):
            break
    assert len(os.listdir(folder / "batch" / "old")) <= 1
    done = published(folder)
    async with opened(folder) as batch:
        jobs = [job async for job in batch.map(slave, range(30))]
    assert sorted(job.input for job in jobs) == list(range(30))
    check_computed(folder, 30, done)


async def test_left_by_an_error_and_gone_on(folder, slave):
    async def fail():
        async with opened(folder) as batch:
            async for _ in batch.map(slave, range(30)):
                1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError):
        await fail()
    done = published(folder)
    async with opened(folder) as batch:
        assert len([job async for job in batch.map(slave, range(30))]) == 30
    check_computed(folder, 30, done)


async def test_iterables(folder, slave):
    async def numbers():
        for i in range(4):
            await asyncio.sleep(0)
            yield i

    async with opened(folder) as batch:
        assert sorted([job.input async for job in batch.map(slave, numbers())]) == [0, 1, 2, 3]
        assert [job async for job in batch.map(slave, [])] == []
        assert sorted([job.input async for job in batch.map(slave, (i for i in range(3)))]) == [0, 1, 2]


async def test_an_endless_iterable(folder, slave):
    seen = []
    async with opened(folder) as batch:
        async for job in batch.map(slave, itertools.count()):
            seen.append(job.output)
            if len(seen) == 5:
                break
    async with opened(folder) as batch:
        outputs = [job.output async for job in batch.map(slave, range(5))]
        assert sorted(outputs) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("ordered", [False, True])
async def test_an_iterable_that_fails(folder, slave, ordered):
    def values():
        yield 1
        yield 2
        raise LookupError("no more")

    def no_data():
        yield 1
        yield object()

    async with opened(folder) as batch:
        with pytest.raises(LookupError):
            async for _ in batch.map(slave, values(), ordered=ordered):
                pass
        with pytest.raises(errors.NotData, match="object"):
            async for _ in batch.map(slave, no_data(), ordered=ordered):
                pass
        assert await batch.submit(slave, 5) == 25


async def test_an_iterable_that_is_cancelled_inside(folder, slave):
    async def values():
        yield 1
        waiting = asyncio.ensure_future(asyncio.sleep(PATIENCE))
        waiting.cancel()
        await waiting

    async with opened(folder) as batch:
        with pytest.raises(asyncio.CancelledError):
            async for _ in batch.map(slave, values()):
                pass
        assert await batch.submit(slave, 5) == 25


async def test_functions_of_the_same_name_and_version(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    for name in ("one_f", "other_f"):
        (folder / f"{name}.py").write_text(f"def f(x):\n    return [x, {name!r}]\n")
    one, other = importlib.import_module("one_f"), importlib.import_module("other_f")
    for modules in ([one, other], [other], [other, one]):
        async with opened(folder) as batch:
            caller = batch.options(version="1")
            assert [await caller.submit(module.f, 1) for module in modules] == [
                [1, module.__name__] for module in modules
            ]
        async with opened(folder, "kept", keep_results=True) as batch:
            assert [await batch.submit(module.f, 1) for module in modules] == [
                [1, module.__name__] for module in modules
            ]


def test_a_loop_over_others(folder, slave, caplog):
    """Calls of `run` are all known when its iterable is through: others are cancelled before they are computed."""
    slave.write_text(slave.read_text().replace("pyboinc_return", "import time; time.sleep(0.3)\npyboinc_return"))
    for job in aioboinc.run(slave, range(60), batch_dir=folder / "batch", workers=1):
        assert job.output == job.input**2
        break
    jobs = aioboinc.run(slave, range(100, 103), batch_dir=folder / "batch", workers=1, ordered=True)
    assert [job.input for job in jobs] == [100, 101, 102]
    assert len(computed(folder)) < 30
    assert re.search(r"cancelled \d\d jobs of calls that are not made any more", caplog.text)


async def test_keys_that_are_damaged(folder, slave):
    async with opened(folder) as batch:
        assert await batch.submit(slave, 1) == 1
    for change in (
        'UPDATE pyboinc_calls SET kinds = \'{"kinds":[],"runs":[[1,7]]}\'',
        "DELETE FROM pyboinc_calls",
    ):
        with contextlib.closing(sqlite3.connect(folder / "batch" / ".pyboinc" / "project.sqlite")) as database:
            database.execute(change)
            database.commit()
        with pytest.raises(errors.CheckpointError, match="keys of the batch's calls are damaged from 0 on"):
            async with opened(folder) as batch:
                await batch.submit(slave, 2)


async def test_batches_in_two_directories_at_once(folder, slave):
    async def collect(name, values):
        async with opened(folder, name) as batch:
            return sorted([job.output async for job in batch.map(slave, values)])

    outputs = await asyncio.gather(collect("a", [1, 2]), collect("b", [3, 4]))
    assert outputs == [[1, 4], [9, 16]]


async def test_two_batches_on_one_directory(folder, slave):
    async with opened(folder) as batch:
        with pytest.raises(errors.BatchLocked, match="another master"):
            async with opened(folder):
                pass
        assert await batch.submit(slave, 5) == 25
    async with opened(folder) as batch:
        assert await batch.submit(slave, 5) == 25
    assert computed(folder) == [5]


async def test_a_batch_that_is_used_wrongly(folder, slave):
    batch = opened(folder)
    for use in (lambda: batch.submit(slave, 1), lambda: batch.map(slave, [1])):
        with pytest.raises(errors.CallOutsideBatch, match=r"write `async with Batch\(\.\.\.\) as batch:`"):
            use()
    async with batch:
        with pytest.raises(errors.ArgumentError, match="one input, not 2"):
            batch.submit(slave, 1, 2)
        with pytest.raises(errors.ArgumentError, match="no keywords"):
            batch.submit(slave, 1, x=2)
        with pytest.raises(errors.ArgumentError, match="something to go through"):
            batch.map(slave)
        with pytest.raises(errors.ArgumentError, match="can't be gone through"):
            batch.map(slave, 3)
        with pytest.raises(errors.ArgumentError, match="version"):
            batch.options(version=3).submit(slave, 1)
        with pytest.raises(errors.ProgramError, match=r"nope\.py"):
            batch.submit(folder / "nope.py", 1)
        with pytest.raises(errors.ArgumentError, match="ordered='yes': must be True or False"):
            batch.map(slave, [1], ordered="yes")
    with pytest.raises(errors.UsageError, match="used before"):
        async with batch:
            pass
    for use in (lambda: batch.submit(slave, 1), lambda: batch.map(slave, [1])):
        with pytest.raises(errors.CallOutsideBatch, match="Batch: its block was left"):
            use()
    assert not (folder / "batch").exists()


async def test_an_iteration_after_the_end_of_its_batch(folder, slave):
    async with opened(folder) as batch:
        jobs = batch.map(slave, range(20))
        await anext(jobs)
        job = batch.submit(slave, 100)
    with pytest.raises(RuntimeError, match="its batch was left"):
        await job
    with pytest.raises(errors.CallOutsideBatch, match="its block was left"):
        async for _ in jobs:
            pass


async def test_a_job_that_somebody_waits_for_when_the_block_is_left(folder, slave):
    async with opened(folder) as batch:
        job = batch.submit(slave, 7)
        waiting = asyncio.ensure_future(_wait(job))
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="its batch was left"):
        await waiting


async def _wait(job):
    return await job


async def test_a_cancelled_batch_goes_on(folder, slave):
    seen = []

    async def work():
        async with opened(folder) as batch:
            async for job in batch.map(slave, range(50)):
                seen.append(job)

    working = asyncio.create_task(work())
    await until(lambda: seen)
    working.cancel()
    await asyncio.wait({working})
    assert working.cancelled()
    done = published(folder)
    async with opened(folder) as batch:
        assert len([job async for job in batch.map(slave, range(50))]) == 50
    check_computed(folder, 50, done)


async def test_options(folder, slave):
    async with opened(folder, priority=3) as batch:
        await batch.options(quorum=2).submit(slave, 1)
        await batch.submit(slave, 2)
    assert sorted(computed(folder)) == [1, 1, 2]


SLOW = """
import os, sys, time
print("it says\\x1b[2J", pyboinc_get_input())
while not os.path.exists({go!r}):
    time.sleep(0.01)
print("and complains", file=sys.stderr)
pyboinc_return_output(1)
"""


async def test_what_is_known_of_a_job(folder):
    slave = folder / "slow.py"
    slave.write_text(SLOW.format(go=str(folder / "go")))
    async with opened(folder) as batch:
        first, second = (batch.submit(slave, value) for value in range(2))
        assert (await first.info()).state == "submitting"
        async with asyncio.timeout(PATIENCE):
            while (await first.info()).state != "running":
                await asyncio.sleep(0.01)
        assert (await second.info()).state in {"waiting", "running"}  # behind the first
        (folder / "go").touch()
        assert await first == await second == 1
        for number, job in enumerate((first, second)):
            found = await job.info()
            assert (found.state, found.fraction_done, found.host_count) == ("done", 1.0, 1)
            assert found.stdout == f"it says\\x1b[2J {number}\nand complains"
            assert 0 < found.run_time < PATIENCE
    with pytest.raises(errors.CallOutsideBatch, match="its block was left"):
        await first.info()
    async with opened(folder) as batch:  # the rows are there in the next run too
        async for job in batch.map(slave, range(2)):
            assert "complains" in (await job.info()).stdout


async def test_what_is_known_of_a_job_that_a_handler_gets(folder, slave):
    found = []

    async def handle_result(output, job):
        found.append((await job.info()).state)

    async def handle_error(error, job):
        found.append((await job.info()).state)

    (folder / "fails.py").write_text("1 / 0")

    async def make_calls():
        await aioboinc.pyboinc_call(str(slave), 1)
        await aioboinc.pyboinc_call(str(folder / "fails.py"), 1)

    await aioboinc.pyboinc_master(
        make_calls, handle_result, handle_error=handle_error, batch_dir=folder / "batch", workers=1
    )
    assert sorted(found) == ["done", "failed"]


def test_what_is_known_of_a_job_in_a_plain_loop(folder, slave):
    for job in aioboinc.run(slave, [3], batch_dir=folder / "batch", workers=1):
        assert asyncio.run(job.info()).state == "done"
    with pytest.raises(errors.CallOutsideBatch, match="its block was left"):
        asyncio.run(job.info())
