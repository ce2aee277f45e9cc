"""Killed at any moment, any number of times, then the same command: the same answer as without it."""

import asyncio
import os
import signal
import sqlite3

import pytest
from patience import PATIENCE, Waits, until, wait_until
from processes import is_alive, parent

from aioboinc import pyboinc_call, pyboinc_master

JOBS = 80  # more than the first chunk, so that there are two

MASTER = f"""
    import sys
    handled = []

    async def make_calls():
        for i in range({JOBS}):
            await pyboinc_call("app_slave.py", i)

    def handle_result(output):
        handled.append(output)
        print(output, flush=True)

    print("start", flush=True)
    await pyboinc_master(make_calls, handle_result)
    print("each once" if sorted(handled) == [i * i for i in range({JOBS})] else handled, flush=True)
"""
SLAVE = """
    value = pyboinc_get_input()
    pyboinc_return_output(value * value)
"""


@pytest.fixture
def squares(program):
    return program.write(app_master=MASTER, app_slave=SLAVE)


def check_finished(program):
    finished = program.run("--quiet")
    assert finished.stderr == ""
    assert finished.stdout.splitlines()[-1] == "each once"
    assert finished.returncode == 0
    assert program.query("SELECT COUNT(*), COUNT(DISTINCT name) FROM workunit") == [(JOBS, JOBS)]
    assert program.query("SELECT nassimilated, nerrors FROM pyboinc_batch") == [(JOBS, 0)]
    assert len(os.listdir(program.folder / "old")) == JOBS


def exists(*names):
    return lambda program, process: wait_until(lambda: (program.folder.joinpath(*names)).exists())


def lines(count):
    def read(program, process):
        for _ in range(count):
            assert process.stdout.readline()

    return read


def submitted(program, process):
    def some():
        try:
            return program.query("SELECT MAX(njobs) FROM pyboinc_batch")[0][0]
        except sqlite3.OperationalError:
            return False  # there are no tables yet

    wait_until(some)


MOMENTS = {
    "the program has begun": lines(1),
    "the project is being made": exists(".pyboinc"),
    "the project is there": exists(".pyboinc", "config.xml"),
    "the checkpoint is there": exists("pyboinc_checkpoint"),
    "some calls are committed": submitted,
    "one output was handled": lines(2),
    "some outputs were handled": lines(40),
    "all but one were handled": lines(JOBS),
    "all were handled": lines(JOBS + 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_when(squares, moment):
    with squares.running() as process:
        MOMENTS[moment](squares, process)
        process.kill()
        process.wait()
    check_finished(squares)


def test_killed_again_and_again(squares):
    for moment in MOMENTS.values():
        with squares.running() as process:
            moment(squares, process)
            process.kill()
            process.wait()
    check_finished(squares)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_a_signal(squares, number):
    with squares.running() as process:
        lines(40)(squares, process)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + number
        assert "Traceback" not in complaints
    check_finished(squares)


async def test_a_cancelled_master_waits_for_nothing(tmp_path):
    (tmp_path / "app_slave.py").write_text("import signal\nopen(pyboinc_get_input(), 'w').close()\nsignal.pause()")
    begun = tmp_path / "begun"

    async def make_calls():
        await pyboinc_call(tmp_path / "app_slave.py", str(begun))

    master = asyncio.create_task(pyboinc_master(make_calls, print, batch_dir=tmp_path, workers=1))
    await until(begun.exists)
    waits = Waits()
    master.cancel()
    await asyncio.wait({master})
    assert master.cancelled()
    assert waits.longest < 1


def test_no_process_outlives_a_killed_master(squares):
    squares.write(app_slave="import time; time.sleep(600)")
    with squares.running() as process:
        wait_until(lambda: len(descendants(process.pid)) >= 4)
        family = descendants(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_alive, family)))


def test_a_host_that_is_killed_is_replaced(squares):
    squares.write(app_slave="import time; time.sleep(0.02)\n" + SLAVE.replace("\n    ", "\n"))
    with squares.running() as process:
        lines(20)(squares, process)
        hosts = [pid for pid in descendants(process.pid) if parent(pid) == process.pid]
        os.kill(hosts[0], signal.SIGKILL)
        output, complaints = process.communicate(timeout=PATIENCE)
        assert output.splitlines()[-1] == "each once", complaints


def test_results_are_not_replayed_where_a_service_keeps_its_own_state(squares):
    squares.write(app_master=MASTER.replace("handle_result)", "handle_result, replay=False)"))
    with squares.running() as process:
        first = [process.stdout.readline() for _ in range(40)]
        process.send_signal(signal.SIGTERM)
        first += process.stdout.read().splitlines()
    second = squares.run("--quiet").stdout.splitlines()
    outputs = [int(line) for line in first + second if line.strip().isdigit()]
    assert sorted(outputs) == [i * i for i in range(JOBS)]


TWO_PROGRAMS = """
import asyncio
from aioboinc import pyboinc_call, pyboinc_master

outputs = []

async def make_calls():
    for i in range(20):
        await pyboinc_call("app_slave.py", i)
    while len(outputs) < 20:
        await asyncio.sleep(0.01)
    for i in range(20):
        await pyboinc_call("other_slave.py", i)

await pyboinc_master(make_calls, outputs.append)
print(sorted(output if isinstance(output, int) else output.x for output in outputs))
"""


def test_an_output_whose_program_was_not_called_again_yet(squares):
    squares.write(
        app_master=TWO_PROGRAMS,
        other_types="class Other:\n    def __init__(self, x):\n        self.x = x\n",
        other_slave="import other_types\npyboinc_return_output(other_types.Other(pyboinc_get_input()))\n",
    )
    first = squares.run("--quiet").stdout
    assert squares.run("--quiet").stdout == first
    # The same where no handler had seen them.
    old, new = squares.folder / "old", squares.folder / "new"
    for name in os.listdir(old):
        (old / name).rename(new / name)
    assert squares.run("--quiet").stdout == first


def test_an_order_of_its_own(squares):
    """Restarts of everything and the order of the files in new/ change nothing."""
    squares.run("--quiet")
    old, new = squares.folder / "old", squares.folder / "new"
    for name in sorted(os.listdir(old), reverse=True)[::3]:
        (old / name).rename(new / name)
    check_finished(squares)


def descendants(pid):
    """The processes below *pid* that are alive."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and is_alive(int(entry)):
            children.setdefault(parent(int(entry)), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
