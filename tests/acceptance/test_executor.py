"""`aioboinc.Executor`: a batch behind the interface of `concurrent.futures`."""

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import gc
import importlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading

import pytest
from patience import PATIENCE, wait_until

import aioboinc

FUNCTIONS = """
import time
from pathlib import Path

COMPUTED = {computed!r}
GATE = {gate!r}


def square(x):
    with open(COMPUTED, "a") as file:
        print(x, file=file)
    return x * x


def gated(x):
    while not Path(GATE).exists():
        time.sleep(0.01)
    return square(x)


def failing(x):
    raise LookupError(f"no {{x}}")


def power(x, y=2, *, offset=0):
    return x**y + offset
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    """A module of functions; the gated ones wait for ``open_gate``."""
    name = f"functions_of_{tmp_path.name}"
    text = FUNCTIONS.format(computed=str(tmp_path / "computed"), gate=str(tmp_path / "gate"))
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    module.open_gate = (tmp_path / "gate").touch
    module.computed = lambda: [int(line) for line in (tmp_path / "computed").read_text().split()]
    yield module
    del sys.modules[name]


@pytest.fixture
def opened(tmp_path):
    """Return ``opened(**options)``: an executor whose batch is always in the same directory."""
    made = []

    def make(**options):
        made.append(aioboinc.Executor(tmp_path / "batch", workers=2, **{"chunk": 1, **options}))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)


def unfinished(folder):
    """Return how many workunits of the batch in *folder* are neither done nor cancelled."""
    return workunits(folder, "assimilate_state < 2")


def workunits(folder, condition="1"):
    path = folder / "batch" / ".pyboinc" / "project.sqlite"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(f"SELECT count(*) FROM workunit WHERE {condition}").fetchone()[0]
    except sqlite3.OperationalError:  # it is not there yet
        return 0


def test_calls(functions, opened):
    with opened() as executor:
        future = executor.submit(functions.power, 3, offset=1)
        assert future.result(PATIENCE) == 10
        assert future.number == 0
        assert future.done()
        assert not future.cancel()
        assert executor.submit(functools.partial(functions.power, 2, offset=3), 5).result(PATIENCE) == 35
        assert list(executor.map(functions.power, [1, 2, 3], [4, 3, 2])) == [1, 8, 9]
        assert list(executor.map(functions.power, [])) == []


def test_the_same_calls_again(functions, opened):
    for _ in range(2):
        with opened() as executor:
            futures = [executor.submit(functions.square, x) for x in (1, 2, 3, 2)]
            assert [future.result(PATIENCE) for future in futures] == [1, 4, 9, 4]
            assert [future.number for future in futures] == [0, 1, 2, 3]
    assert sorted(functions.computed()) == [1, 2, 2, 3]


def test_errors_of_jobs(functions, opened):
    with opened() as executor:
        future = executor.submit(functions.failing, 5)
        assert isinstance(future.exception(PATIENCE), aioboinc.RemoteError)
        with pytest.raises(aioboinc.RemoteError, match="LookupError: no 5"):
            future.result()
        with pytest.raises(aioboinc.RemoteError):
            list(executor.map(functions.failing, range(3)))
        assert executor.submit(functions.square, 2).result(PATIENCE) == 4


def test_what_is_refused(functions, opened):
    executor = opened()
    with pytest.raises(aioboinc.ProgramError, match="lambda"):
        executor.submit(lambda x: x, 1)
    with pytest.raises(aioboinc.NotData, match="x: builtin_function_or_method is not data"):
        executor.submit(functions.square, print)
    with pytest.raises(aioboinc.ArgumentError, match="square"):
        executor.submit(functions.square)
    with pytest.raises(aioboinc.NotData):
        list(executor.map(functions.square, [1, 2, print]))
    with pytest.raises(ValueError, match="chunksize=0"):
        executor.map(functions.square, [1], chunksize=0)
    with pytest.raises(aioboinc.ArgumentError, match="chunk=0"):
        opened(chunk=0)
    with pytest.raises(aioboinc.BatchLocked):
        opened()
    assert executor.submit(functions.square, 3).result(PATIENCE) == 9


def test_after_the_shutdown(functions, opened):
    executor = opened()
    future = executor.submit(functions.square, 3)
    executor.shutdown()
    assert future.result(0) == 9
    executor.shutdown()
    for call in (executor.submit, executor.map):
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown: [^\n]+$"):
            call(functions.square, [4])


def test_an_executor_that_is_not_used(tmp_path, opened):
    opened().shutdown()
    assert not (tmp_path / "batch").exists()


def test_calls_from_threads(functions, opened):
    with opened() as executor, concurrent.futures.ThreadPoolExecutor(4) as threads:

        def work(start):
            futures = [executor.submit(functions.power, start + i) for i in range(25)]
            return [future.result(PATIENCE) for future in futures]

        found = list(threads.map(work, range(0, 100, 25)))
    assert list(itertools.chain(*found)) == [x * x for x in range(100)]


def test_asyncio(functions, opened):
    async def main():
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            calls = [loop.run_in_executor(executor, functions.power, x) for x in range(10)]
            with pytest.raises(aioboinc.RemoteError):
                await loop.run_in_executor(executor, functions.failing, 1)
            return await asyncio.gather(*calls)

    with opened() as executor:
        assert asyncio.run(main()) == [x * x for x in range(10)]


def test_waiting(functions, opened):
    executor = opened()
    slow, quick = executor.submit(functions.gated, 1), executor.submit(functions.square, 2)
    done, waiting = concurrent.futures.wait([slow, quick], PATIENCE, concurrent.futures.FIRST_COMPLETED)
    assert (done, waiting) == ({quick}, {slow})
    with pytest.raises(TimeoutError):
        slow.result(0.01)
    functions.open_gate()
    assert set(concurrent.futures.as_completed([slow, quick], PATIENCE)) == {slow, quick}


def test_map_takes_items_as_they_are_needed(functions, opened, monkeypatch):
    monkeypatch.setattr("aioboinc.batch.mapping.MAX_AHEAD", 8)
    taken = []
    with opened() as executor:
        results = executor.map(functions.power, (taken.append(x) or x for x in itertools.count()))
        assert len(taken) == 8
        assert [next(results) for _ in range(20)] == [x * x for x in range(20)]
        assert 20 < len(taken) <= 28
        results.close()


def test_map_with_a_timeout(functions, opened, tmp_path):
    with opened() as executor:
        results = executor.map(functions.gated, range(5), timeout=0.05)
        with pytest.raises(TimeoutError):
            list(results)
    assert unfinished(tmp_path) == 0


def test_a_call_that_is_cancelled(functions, opened, tmp_path):
    executor = opened()
    futures = [executor.submit(functions.gated, x) for x in range(4)]
    wait_until(lambda: all(future.number is not None for future in futures))
    last = futures.pop()  # no host has begun it
    assert last.cancel()
    assert last.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        last.result(0)
    assert last in concurrent.futures.wait([last], PATIENCE).done
    wait_until(lambda: unfinished(tmp_path) == 3)
    again = executor.submit(functions.gated, 3)
    functions.open_gate()
    assert [future.result(PATIENCE) for future in futures] == [0, 1, 4]
    assert again.result(PATIENCE) == 9
    executor.shutdown()
    assert unfinished(tmp_path) == 0
    with opened() as executor:
        assert list(executor.map(functions.gated, range(4))) == [0, 1, 4, 9]
    assert sorted(functions.computed()) == [0, 1, 2, 3]


@pytest.mark.parametrize("chunk", [1, "auto"])
def test_all_that_is_cancelled_at_the_shutdown(functions, opened, tmp_path, chunk):
    executor = opened(chunk=chunk)
    done = executor.submit(functions.square, 3)
    assert done.result(PATIENCE) == 9
    futures = [executor.submit(functions.gated, x) for x in range(1000)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert unfinished(tmp_path) == 0
    functions.open_gate()
    with opened() as executor:
        assert executor.submit(functions.square, 3).result(PATIENCE) == 9
        assert executor.submit(functions.gated, 77).result(PATIENCE) == 77 * 77
    assert functions.computed() == [3, 77]


def test_an_executor_that_nobody_keeps(functions, opened, tmp_path):
    executor = aioboinc.Executor(tmp_path / "other", workers=1, chunk=1)
    future = executor.submit(functions.square, 3)
    del executor
    gc.collect()
    assert future.result(PATIENCE) == 9
    wait_until(lambda: not any(thread.name == "aioboinc.Executor" for thread in threading.enumerate()))


def test_a_batch_that_fails(functions, opened, tmp_path):
    """What ends the batch is the exception of all futures, and of whoever submits more."""
    executor = opened()
    assert executor.submit(functions.square, 1).result(PATIENCE) == 1
    future = executor.submit(functions.gated, 2)
    wait_until(lambda: future.number is not None)
    with contextlib.closing(
        sqlite3.connect(tmp_path / "batch" / ".pyboinc" / "project.sqlite", timeout=60)
    ) as connection:
        connection.execute("DELETE FROM pyboinc_batch")
        connection.commit()
    assert isinstance(future.exception(PATIENCE), aioboinc.UsageError)
    with pytest.raises(aioboinc.UsageError):
        executor.submit(functions.square, 3)
    executor.shutdown()


PROGRAM = """
import functions_here
import aioboinc

def main():
    with aioboinc.Executor({batch!r}, workers=2, chunk=1) as executor:
        futures = [executor.submit(functions_here.{name}, x) for x in range(12)]
        print("called", flush=True)
        print(sum(future.result() for future in futures))

{last}
"""


@pytest.fixture
def program(tmp_path):
    """Return ``program(last, name="square")``: what starts a program that makes twelve calls."""
    text = FUNCTIONS.format(computed=str(tmp_path / "computed"), gate=str(tmp_path / "gate"))
    (tmp_path / "functions_here.py").write_text(text)
    processes = []

    def start(last="main()", name="gated", command=()):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(PROGRAM).format(batch=str(tmp_path / "batch"), last=last, name=name))
        process = subprocess.Popen(
            [sys.executable, *command, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def done(tmp_path):
    folder = tmp_path / "batch"
    return {path.name for name in ("new", "old") if (folder / name).exists() for path in (folder / name).iterdir()}


def check_finished(tmp_path, process):
    output, error = process.communicate(timeout=PATIENCE)
    assert (output, error, process.returncode) == (f"called\n{sum(x * x for x in range(12))}\n", "", 0)


def test_killed_and_gone_on(program, tmp_path):
    process = program(name="square")
    assert process.stdout.readline() == "called\n"
    wait_until(lambda: len(done(tmp_path)) >= 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    before = {int(name.rpartition("_")[2]) for name in done(tmp_path)}
    check_finished(tmp_path, program(name="square"))
    times = collections.Counter(map(int, (tmp_path / "computed").read_text().split()))
    assert set(times) == set(range(12))
    assert [number for number in before if times[number] > 1] == []


@pytest.mark.parametrize("command", [(), ("-m", "aioboinc", "run", "--quiet")])
@pytest.mark.parametrize(
    "last",
    [
        "main()",
        "executor = aioboinc.Executor({batch!r}, workers=2, chunk=1)\n"
        "futures = [executor.submit(functions_here.gated, x) for x in range(12)]\n"
        "print('called', flush=True)\n"
        "futures[0].result()",
        "executor = aioboinc.Executor({batch!r}, workers=2, chunk=1)\n"
        "results = executor.map(functions_here.gated, range(12))\n"
        "print('called', flush=True)\n"
        "for result in results: pass",
        "executor = aioboinc.Executor({batch!r}, workers=2, chunk=1)\n"
        "results = executor.map(functions_here.gated, range(12))\n"
        "print('called', flush=True)\n"
        "executor.shutdown()",
    ],
    ids=["block", "submit", "map", "shutdown"],
)
def test_interrupted_and_gone_on(program, tmp_path, last, command):
    """^C leaves the batch, with all jobs that were called, and says so."""
    process = program(last.format(batch=str(tmp_path / "batch")), command=command)
    assert process.stdout.readline() == "called\n"
    wait_until(lambda: workunits(tmp_path) == 12)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert "12 calls are not done: run the program again, and it goes on where it was" in error
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert unfinished(tmp_path) == 12
    (tmp_path / "gate").touch()
    check_finished(tmp_path, program())
    assert unfinished(tmp_path) == 0
    assert workunits(tmp_path) == 12


def test_the_end_of_the_interpreter(program, tmp_path):
    """An executor that nobody has shut down finishes first, as those of the standard library."""
    process = program(
        f"executor = aioboinc.Executor({str(tmp_path / 'batch')!r}, workers=2, chunk=1)\n"
        "future = executor.submit(functions_here.square, 7)\n"
        "future.add_done_callback(lambda future: print(future.result(), flush=True))\n"
    )
    assert process.communicate(timeout=PATIENCE) == ("49\n", "")
    assert process.returncode == 0


def test_an_exception_of_the_program(program, tmp_path):
    (tmp_path / "gate").touch()
    process = program(
        f"with aioboinc.Executor({str(tmp_path / 'batch')!r}, workers=2, chunk=1) as executor:\n"
        "    futures = [executor.submit(functions_here.gated, x) for x in range(12)]\n"
        "    1 / 0\n"
    )
    output, error = process.communicate(timeout=PATIENCE)
    assert (output, process.returncode) == ("", 1)
    assert error.endswith("ZeroDivisionError: division by zero\n")
    assert len(done(tmp_path)) == 12
