"""A batch is a set of calls: which jobs another run of a changed program computes, and which it does not."""

import contextlib
import hashlib
import os
import random
import re
import signal
import sqlite3
import textwrap

import pytest
from patience import PATIENCE, wait_until

from aioboinc.program import bundle
from aioboinc.wire import codec

SLAVE = """
value = pyboinc_get_input()
with open(COMPUTED, "a") as file:
    print(value, file=file)
pyboinc_return_output(value * value)
"""
MASTER = """
    outputs = []

    async def make_calls():
        for value in {values}:
            await pyboinc_call("app_slave.py", value{options})

    def handle_result(output):
        outputs.append(output)

    await pyboinc_master(make_calls, handle_result)
    print(sorted(outputs))
"""


@pytest.fixture
def batch(program):
    """A program whose slave notes what it computes."""
    write = program.write

    def write_with_path(**files):
        path = repr(str(program.folder / "computed"))
        return write(**{name: text.replace("COMPUTED", path) for name, text in files.items()})

    program.write = write_with_path
    return program.write(app_slave=SLAVE)


def call(batch, values, options="", *, arguments=(), stderr=""):
    """Run a master that calls the slave with *values*, to its end; return what was computed meanwhile."""
    before = len(computed(batch))
    batch.write(app_master=MASTER.format(values=values, options=options))
    finished = batch.run("--quiet", *arguments)
    assert (finished.returncode, finished.stderr) == (0, stderr)
    assert finished.stdout == f"{sorted(value * value for value in values)}\n"
    return computed(batch)[before:]


def computed(batch):
    path = batch.folder / "computed"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def published(batch):
    """Return the numbers of the jobs whose outputs are there."""
    return {
        int(path.name.rpartition("_")[2]) for name in ("new", "old") for path in (batch.folder / name).iterdir()
    }


def workunits(batch):
    return batch.query("SELECT COUNT(*) FROM workunit")[0][0]


def test_the_same_calls_in_another_order(batch):
    values = [*range(20), 3, 3, 7]
    assert sorted(call(batch, values)) == sorted(values)
    for seed in range(3):
        random.Random(seed).shuffle(values)
        assert call(batch, values) == []
    assert workunits(batch) == len(values)


def test_more_calls(batch):
    call(batch, list(range(10)))
    assert sorted(call(batch, list(range(15)))) == list(range(10, 15))
    assert sorted(call(batch, [20, *range(15), 3, 21])) == [3, 20, 21]
    assert call(batch, [20, *range(15), 3, 21]) == []
    assert workunits(batch) == 18


def test_fewer_calls(batch):
    call(batch, list(range(10)))
    assert call(batch, [1, 8, 4]) == []
    assert len(os.listdir(batch.folder / "old")) == 10
    assert call(batch, list(range(10))) == []


def killed(batch, values, count, options=""):
    """Run a master with these calls, kill it when *count* are published; return what was computed."""
    before = len(computed(batch))

    def outputs():
        folders = (batch.folder / folder for folder in ("new", "old"))
        return sum(len(os.listdir(folder)) for folder in folders if folder.exists())

    begin = outputs()
    batch.write(app_master=MASTER.format(values=values, options=options))
    with batch.running("--quiet") as process:
        wait_until(lambda: outputs() >= begin + count)
        wait_until(lambda: batch.query("SELECT state FROM pyboinc_batch") == [(1,)])
        process.kill()
        process.wait()
    return computed(batch)[before:]


SLOW = SLAVE.replace("pyboinc_return", "import time; time.sleep(0.2)\npyboinc_return")


def test_what_is_not_called_any_more_is_cancelled(batch):
    batch.write(app_slave=SLOW)
    killed(batch, list(range(100)), 4)
    published = {name for folder in ("new", "old") for name in os.listdir(batch.folder / folder)}
    batch.write(app_master=MASTER.format(values=list(range(90, 100)), options=""))
    finished = batch.run("--quiet")
    assert finished.returncode == 0
    assert finished.stdout == f"{[i * i for i in range(90, 100)]}\n"
    said = r"(?:aioboinc: )?cancelled (\d+) jobs of calls that are not made any more"
    lines = finished.stderr.splitlines()
    assert all(re.fullmatch(said, line) for line in lines), lines
    count = sum(int(re.fullmatch(said, line)[1]) for line in lines)
    assert published <= {name for folder in ("new", "old") for name in os.listdir(batch.folder / folder)}
    assert 50 < count <= 90 - 4 + 2
    assert batch.query("SELECT COUNT(*) FROM workunit WHERE error_mask = 16") == [(count,)]
    assert batch.query("SELECT njobs, nassimilated FROM pyboinc_batch") == [(100, 100)]
    again = call(batch, list(range(100)))
    assert workunits(batch) == 100 + count
    assert len(again) == count
    assert call(batch, list(range(100))) == []


def test_a_slave_that_changed(batch):
    call(batch, list(range(5)))
    batch.write(app_slave=SLAVE + "# A comment changes nothing.\n\n")
    assert call(batch, list(range(5))) == []
    batch.write(app_slave=SLAVE + "x = 1\n")
    assert sorted(call(batch, list(range(5)))) == list(range(5))
    batch.write(app_slave=SLAVE)
    assert call(batch, list(range(5))) == []
    assert len(os.listdir(batch.folder / "old")) == 10


def test_results_that_are_kept(batch):
    fails = SLAVE.replace("pyboinc_return", "assert value != 3\npyboinc_return")
    batch.write(app_slave=fails, app_master=MASTER.format(values=[1, 2, 3, 4], options=""))
    failed = batch.run("--quiet")
    assert failed.returncode == 1
    before = len(computed(batch))
    batch.write(app_slave=SLAVE)
    assert call(batch, [4, 3, 2, 1, 5], arguments=["--keep-results"]) in ([3, 5], [5, 3])
    assert call(batch, [1, 2, 3, 4, 5], arguments=["--keep-results"]) == []
    assert len(computed(batch)) == before + 2
    assert sorted(call(batch, [1, 2, 3, 4, 5])) == [1, 2, 4]


def test_a_version_that_is_named(batch):
    call(batch, [1, 2, 3], ', version="1"')
    batch.write(app_slave=SLAVE + "x = 1\n")
    assert call(batch, [3, 2, 4], ', version="1"') == [4]
    assert sorted(call(batch, [3, 2, 4], ', version="2"')) == [2, 3, 4]


def test_options_of_what_is_not_done(batch):
    batch.write(app_slave=SLOW)
    done = killed(batch, list(range(30)), 4)
    before = computed(batch)  # what a host has computed may be validated before the change
    batch.write(
        app_master=MASTER.format(values=list(range(30)), options=", quorum=2, priority=7, delay_bound=5000")
    )
    finished = batch.run("--quiet")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"{[i * i for i in range(30)]}\n"
    rows = batch.query("SELECT name, min_quorum, priority, delay_bound FROM workunit ORDER BY id")
    changed = [int(row[0].rpartition("_")[2]) for row in rows if row[1:] == (2, 7, 5000)]
    assert {row[1:] for row in rows} == {(2, 7, 5000), (1, 0, 7 * 86400)}
    assert 30 - len(done) <= len(changed) < 30
    counts = {value: computed(batch).count(value) for value in range(30)}
    assert all(counts[value] >= 2 for value in changed if value not in before)
    assert all(counts[value] == 1 for value in set(range(30)) - set(changed))
    # And back: what is done stays as it is.
    assert call(batch, list(range(30))) == []


OPTIMISER = """
    import random
    best, generation, seen = 0, 0, []

    def make_calls():
        for i in range(8):
            pyboinc_call("app_slave.py", i)

    waiting = 8

    def handle_result(output):
        global best, generation, waiting
        seen.append(output)
        best = max(best, output)
        waiting -= 1
        print(len(seen), flush=True)
        if waiting == 0 and generation < 4:
            generation += 1
            waiting = 8
            for i in range(8):
                pyboinc_call("app_slave.py", best + 1000 * generation + i)

    await pyboinc_master(make_calls, handle_result)
    print("best", best, len(seen), len(set(seen)))
"""
QUICK = SLAVE.replace("value * value", "value + 1").replace("with", "import time; time.sleep(0.02)\nwith")


def test_generations_that_depend_on_results(batch):
    batch.write(app_slave=QUICK, app_master=OPTIMISER)
    chance = random.Random(15)
    kills = 0
    for _ in range(5):
        with batch.running("--quiet") as process:
            for _ in range(chance.randrange(2, 38)):
                if not process.stdout.readline():
                    break
            process.kill()
            process.wait()
            kills += 1
    finished = batch.run("--quiet")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[-1].split()[2:] == ["40", "40"]
    assert workunits(batch) == 40
    counts = {value: computed(batch).count(value) for value in computed(batch)}
    assert len(counts) == 40
    again = sum(count - 1 for count in counts.values())
    assert again <= 8 * kills  # what two workers had in progress, or done and not yet in the database
    assert batch.query("SELECT COUNT(*) FROM workunit WHERE error_mask <> 0") == [(0,)]


TWO = """
    async def make_first():
        for i in range(5):
            await pyboinc_call("app_slave.py", i)

    async def make_second():
        for output in sorted(first):
            await pyboinc_call("app_slave.py", 100 + output)

    first, second = [], []
    await pyboinc_master(make_first, first.append)
    print(sorted(first), flush=True)
    await pyboinc_master(make_second, second.append)
    print(sorted(second), flush=True)
"""


def test_two_masters_one_after_the_other(batch):
    batch.write(app_master=TWO)
    values = [i * i for i in range(5)]
    expected = f"{values}\n{[(100 + value) ** 2 for value in values]}\n"
    for count in (10, 0):
        before = len(computed(batch))
        finished = batch.run("--quiet")
        assert (finished.returncode, finished.stderr, finished.stdout) == (0, "", expected)
        assert len(computed(batch)) == before + count
    batch.write(app_master=textwrap.dedent(TWO).replace("range(5)", "range(6)"))
    finished = batch.run("--quiet")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert sorted(computed(batch)[10:]) == [5, 125]


def test_the_second_of_two_masters_is_killed(batch):
    batch.write(app_master=TWO, app_slave=SLOW)
    with batch.running("--quiet") as process:
        assert process.stdout.readline()
        wait_until(lambda: len(computed(batch)) >= 6)
        process.kill()
        process.wait()
    finished = batch.run("--quiet")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert workunits(batch) == 10
    assert len(computed(batch)) <= 12
    assert finished.stdout.splitlines()[1] == str([(100 + i * i) ** 2 for i in range(5)])


def test_nothing_is_replayed_to_a_service_that_keeps_its_own_state(batch):
    batch.write(
        app_master=MASTER.format(values=[1, 2, 3], options="").replace(
            "handle_result)", "handle_result, replay=False)"
        )
    )
    assert batch.run("--quiet").stdout == "[1, 4, 9]\n"
    again = batch.run("--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "[]\n", "")


JOBS = """
    def handle_result(output, job):
        print(job.number, job.input, job.output, output, job.error, job.done)

    def handle_error(error, job=None):
        print(job.number, job.input, error.type, job.error is error)

    def make_calls():
        for value in (2, "x", 3):
            pyboinc_call("app_slave.py", value)

    await pyboinc_master(make_calls, handle_result, handle_error=handle_error)
"""


def test_handlers_that_take_jobs(batch):
    batch.write(app_master=JOBS)
    for _ in range(2):
        finished = batch.run("--quiet")
        assert (finished.returncode, finished.stderr) == (0, "")
        assert sorted(finished.stdout.splitlines()) == [
            "0 2 4 4 None True",
            "1 x TypeError True",
            "2 3 9 9 None True",
        ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_while_it_grew(batch, number):
    batch.write(app_slave=SLOW.replace("0.2", "0.05"))
    call(batch, list(range(5)))
    with_more = list(range(5, 40)) + list(range(5))
    batch.write(app_master=MASTER.format(values=with_more, options=""))
    with batch.running("--quiet") as process:
        wait_until(lambda: len(computed(batch)) >= 10)
        process.send_signal(number)
        process.wait(PATIENCE)
    call(batch, with_more)
    assert workunits(batch) == 40
    assert len(computed(batch)) <= 40 + 8  # what two workers had in progress, or done and not yet in the database


def make_old(batch, values):
    """Make of the batch one of version 0.1: its calls have no keys, but a running digest over all of them."""
    digest = hashlib.sha256(b"").digest()
    fingerprint = bytes.fromhex(bundle.collect(batch.folder / "app_slave.py").fingerprint)
    options = hashlib.sha256(b"()").digest()
    for value in values:
        record = fingerprint + hashlib.sha256(codec.encode(value)).digest() + options
        digest = hashlib.sha256(digest + record).digest()
    path = batch.folder / ".pyboinc" / "project.sqlite"
    with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as database, database:
        database.execute("DROP TABLE pyboinc_calls")
        database.execute("UPDATE pyboinc_batch SET version = 1, digest = ?", [digest.hex()])


def test_a_batch_of_version_0_1(batch):
    values = [*range(30), 3, 3]
    batch.write(app_slave=SLOW.replace("0.2", "0.02"))
    killed(batch, values, 5)
    make_old(batch, values)
    call(batch, values)
    assert workunits(batch) == 32
    assert batch.query("SELECT njobs, nassimilated, version FROM pyboinc_batch") == [(32, 32, 2)]
    assert call(batch, list(reversed(values))) == []  # from then on it is a set
    assert call(batch, [50, *values]) == [50]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 1, 2, 3], "make_calls made only 4 of the 5 calls submitted before"),
        ([0, 1, 7, 3, 4], "call 2 of make_calls is not the one that was submitted before: its input differs"),
        ([1, 0, 2, 3, 4, 5], "call 0 of make_calls is not the one"),
    ],
)
def test_a_batch_of_version_0_1_whose_calls_differ(batch, values, said):
    call(batch, [0, 1, 2, 3, 4])
    make_old(batch, [0, 1, 2, 3, 4])
    batch.write(app_master=MASTER.format(values=values, options=""))
    finished = batch.run("--quiet")
    assert (finished.returncode, finished.stdout) == (2, "")
    (line,) = finished.stderr.splitlines()
    assert said in line
    assert call(batch, [0, 1, 2, 3, 4]) == []  # nothing has been changed


def test_a_batch_of_version_0_1_whose_slave_has_changed(batch):
    call(batch, [0, 1])
    make_old(batch, [0, 1])
    batch.write(app_slave=SLAVE + "x = 1\n", app_master=MASTER.format(values=[0, 1], options=""))
    finished = batch.run("--quiet")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "call 0 of make_calls is not the one that was submitted before: its slave" in finished.stderr
