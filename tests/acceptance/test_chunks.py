"""Several calls in a workunit, on the embedded project."""

import asyncio
import collections
import contextlib
import os
import random
import signal
import sqlite3

import pytest
from patience import PATIENCE, until, wait_until

import aioboinc
from aioboinc import errors
from aioboinc.wire import envelope

SLAVE = """
import os, sys, time
value = pyboinc_get_input()
with open({path!r}, "a") as file:
    print(value, file=file)
if value == "error":
    raise ValueError("no")
if value == "exit":
    sys.exit(3)
if value == "segfault":
    os.kill(os.getpid(), 11)
if value == "loop":
    while True:
        pass
if value == "memory":
    held = [bytes(1 << 26) for _ in range(1 << 10)]
pyboinc_return_output([value])
"""
MASTER = """
    outputs = []

    async def make_calls():
        for value in {values}:
            await pyboinc_call("app_slave.py", value, chunk={chunk}{options})

    def handle_result(output):
        outputs.append(output)

    await pyboinc_master(make_calls, handle_result)
    print(sorted(outputs))
"""
KILLS = 6


@pytest.fixture(autouse=True)
async def patience():
    async with asyncio.timeout(PATIENCE):
        yield


@pytest.fixture
def slave(tmp_path):
    path = tmp_path / "slave.py"
    path.write_text(SLAVE.format(path=str(tmp_path / "computed")))
    return path


def computed(slave):
    path = slave.parent / "computed"
    return path.read_text().split() if path.exists() else []


def names(slave, *folders):
    return sorted(name for folder in folders for name in os.listdir(slave.parent / "batch" / folder))


def opened(slave, **options):
    return aioboinc.Batch(slave.parent / "batch", workers=2, **options)


async def outputs(slave, values, **options):
    async with opened(slave, **options) as batch:
        return [job.output async for job in batch.map(slave, values, ordered=True)]


def query(slave, text):
    with contextlib.closing(sqlite3.connect(slave.parent / "batch" / ".pyboinc" / "project.sqlite")) as database:
        return database.execute(text).fetchall()


async def test_calls_share_workunits(slave):
    assert await outputs(slave, range(100), chunk=30) == [[i] for i in range(100)]
    done = names(slave, "old")
    assert names(slave, "new") == []
    assert len(done) < 10
    assert any(name.endswith("_30") for name in done)
    shuffled = random.Random(1).sample(range(100), 100)
    assert await outputs(slave, shuffled, chunk=7) == [[i] for i in shuffled]
    assert await outputs(slave, range(50, 60)) == [[i] for i in range(50, 60)]
    assert names(slave, "old") == done
    assert sorted(computed(slave)) == sorted(map(str, range(100)))
    assert await outputs(slave, range(90, 110), chunk=30) == [[i] for i in range(90, 110)]
    assert sorted(map(int, computed(slave))) == list(range(110))


async def test_sizes_by_run_times(slave):
    assert await outputs(slave, range(1000)) == [[i] for i in range(1000)]
    assert len(names(slave, "old")) < 500
    assert collections.Counter(computed(slave)) == collections.Counter(map(str, range(1000)))


async def test_a_workunit_of_calls_that_are_longer_than_those_before_ends_early(slave):
    """One takes 0.5 s, is the aim, and at most twice that until it does not begin another call."""
    values = [*range(400), *(f"slow {i}" for i in range(12)), *range(400, 800)]
    slave.write_text(
        slave.read_text().replace(
            "pyboinc_return", "if isinstance(value, str):\n    time.sleep(0.4)\npyboinc_return"
        )
    )
    assert await outputs(slave, values) == [[value] for value in values]
    assert len(computed(slave)) == 2 * 12 + 800  # each once
    slow = set(range(400, 412))
    found = set()
    for name in names(slave, "old"):
        first, *ncalls = map(int, name.split("_")[2:])
        content = (slave.parent / "batch" / "old" / name).read_bytes()
        numbers = range(first, first + (len(envelope.decode_calls(content)[3]) if ncalls else 1))
        assert len(slow.intersection(numbers)) <= 3
        found.update(numbers)
    assert found == set(range(len(values)))


async def test_errors_are_of_single_calls(slave):
    async with opened(slave, chunk=20) as batch:
        values = [*range(10), "error", *range(10, 30), "error"]
        jobs = [job async for job in batch.map(slave, values)]
    assert sorted(job.output[0] for job in jobs if job.error is None) == list(range(30))
    failed = [job for job in jobs if job.error is not None]
    assert all(str(job.error).startswith(f"pyboinc_1_{job.number}: ValueError: no") for job in failed)
    assert {values[job.number] for job in failed} == {job.input for job in failed} == {"error"}
    assert len(computed(slave)) == len(values)


async def test_what_takes_a_workunit_down_is_found(slave):
    values = [*range(20), "segfault", *range(20, 35), "exit", *range(35, 50)]
    for _ in range(2):
        async with opened(slave, chunk=64) as batch:
            jobs = [job async for job in batch.map(slave, values)]
        assert sorted(job.output[0] for job in jobs if job.error is None) == list(range(50))
        failed = {job.input: job.error for job in jobs if job.error is not None}
        assert set(failed) == {"segfault", "exit"}
        assert not any(isinstance(error, errors.RemoteError) for error in failed.values())
        assert "exited with status 3" in str(failed["exit"])
        assert names(slave, "new") == []
        assert [name for name in names(slave, "old") if name.endswith(".error")] == [
            "pyboinc_1_20.error",
            "pyboinc_1_36.error",
        ]
    times = collections.Counter(computed(slave))
    assert times["segfault"] > 4  # alone, too
    ((njobs, nassimilated, workunits),) = query(
        slave, "SELECT njobs, nassimilated, (SELECT COUNT(*) FROM workunit) FROM pyboinc_batch"
    )
    assert njobs == nassimilated == workunits


async def test_an_endless_loop_is_found(slave):
    values = [*range(5), "loop", *range(5, 10)]
    async with opened(slave, chunk=16, rsc_fpops_bound=2e8, max_error_results=1) as batch:
        jobs = [job async for job in batch.map(slave, values)]
    assert sorted(job.output[0] for job in jobs if job.error is None) == list(range(10))
    (failed,) = (job for job in jobs if job.error is not None)
    assert failed.input == "loop"


async def test_calls_that_are_not_made_any_more(slave):
    """A workunit goes on while one of its calls is made; of those that have failed only calls that are made go on."""
    slave.write_text(slave.read_text().replace("pyboinc_return", "time.sleep(0.05)\npyboinc_return"))
    async with opened(slave, chunk=10) as batch:
        async for _ in batch.map(slave, [*range(25), "segfault", *range(25, 60)]):
            break
    assert await outputs(slave, [4, 27, 59], chunk=10) == [[4], [27], [59]]
    async with opened(slave, chunk=10) as batch:
        jobs = [job async for job in batch.map(slave, [26, "segfault"])]
    assert {job.input: job.error is None for job in jobs} == {26: True, "segfault": False}
    assert await outputs(slave, range(60)) == [[i] for i in range(60)]


async def test_other_options(slave):
    slave.write_text(slave.read_text().replace("pyboinc_return", "time.sleep(0.05)\npyboinc_return"))
    async with opened(slave, chunk=20, rsc_fpops_est=1e9) as batch:
        async for _ in batch.map(slave, range(100)):
            break
    waiting = []

    def changed():
        waiting[:] = query(slave, "SELECT name, rsc_fpops_est FROM workunit WHERE priority = 7")
        return waiting

    async with opened(slave, chunk=20, rsc_fpops_est=2e9, priority=7) as batch:
        async for _ in batch.map(slave, range(100)):
            await until(changed)
            break
    for name, rsc_fpops_est in waiting:
        parts = name.split("_")
        assert rsc_fpops_est == 2e9 * (int(parts[3]) if len(parts) == 4 else 1)


def published(program):
    folders = (program.folder / folder for folder in ("new", "old"))
    return sum(len(os.listdir(folder)) for folder in folders if folder.exists())


def test_killed_at_random_moments(program):
    """Other orders, calls that are new, calls that are gone: nothing is lost, and no output comes twice."""
    computed = program.folder / "computed"
    program.write(app_slave=SLAVE.format(path=str(computed)))
    chance = random.Random(5)
    values = [*range(300)]
    for kill in range(KILLS):
        chance.shuffle(values)
        chunk = chance.choice([1, 7, 40, "auto"])
        program.write(app_master=MASTER.format(values=values, chunk=repr(chunk), options=""))
        before = published(program)
        with program.running("--quiet") as process:
            wait_until(
                lambda before=before, kill=kill: published(program) >= before + min(kill, 2) or process.poll() == 0
            )
            process.send_signal(signal.SIGKILL)
        values = [value for value in values if value != kill] + [1000 + kill]
    program.write(app_master=MASTER.format(values=values, chunk=13, options=""))
    finished = program.run("--quiet")
    assert finished.stdout == f"{sorted([value] for value in values)}\n"
    assert finished.returncode == 0
    before = len(computed.read_text().split())
    assert program.run("--quiet").stdout == finished.stdout
    assert len(computed.read_text().split()) == before


@pytest.mark.parametrize("chunk", [0, -1, 2.5, "many", True, None])
async def test_a_chunk_that_is_none(slave, chunk):
    with pytest.raises(errors.UsageError, match=r'chunk=.* must be a whole number of 1 or more, or "auto"'):
        async with opened(slave, chunk=chunk) as batch:
            batch.submit(slave, 1)
    assert not (slave.parent / "batch").exists()
