"""A local host: real processes, real signals. Slaves that wait, wait for a signal, until the host kills them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from local_host_bench import ECHO, Bench, running, value_of
from patience import PATIENCE, Waits, until
from processes import is_alive

from aioboinc import errors, models
from aioboinc.embedded import creation
from aioboinc.embedded import host as local_host
from aioboinc.embedded.process.messages import Job, Report
from aioboinc.project import config, keys
from aioboinc.wire import codec, envelope

FOREVER = """
    import os, signal
    print("pid", os.getpid(), flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.PrivateKey:
    directory = tmp_path_factory.mktemp("keys")
    return keys.create(directory / "private", directory / "public")


@pytest.fixture
async def bench(tmp_path: Path, key: keys.PrivateKey) -> AsyncIterator[Bench]:
    async with running(tmp_path / ".pyboinc", key) as bench:
        yield bench


def message_of(report: Report) -> str:
    match = re.search(r"<message>\n(.*)</message>", report["stderr_out"])
    assert match is not None, report
    return match[1]


async def test_an_output_and_its_report(bench):
    job = bench.job("pyboinc_return_output(app_types.Point(pyboinc_get_input()))", [1, "two"])
    (report,) = await bench.run(job)
    assert (report["name"], report["client_state"], report["exit_status"]) == (
        job["name"],
        models.ClientState.FILES_UPLOADED,
        0,
    )
    assert value_of(job) == codec.Instance("app_types", "Point", {"x": [1, "two"]})
    size = os.path.getsize(job["output"])
    assert f"<nbytes>{size}.000000</nbytes>" in report["xml_doc_out"]
    assert f"<name>{Path(job['output']).name}</name>" in report["xml_doc_out"]
    assert 0 < report["cpu_time"] < report["elapsed_time"] < PATIENCE
    assert 1e6 < report["peak_working_set_size"] < 1e9
    assert not bench.host.given


async def test_jobs_are_done_in_their_order(bench):
    jobs = [bench.job(ECHO, number) for number in range(20)]
    reports = await bench.run(*jobs)
    assert [report["name"] for report in reports] == [job["name"] for job in jobs]
    assert [value_of(job) for job in jobs] == list(range(20))


async def test_each_job_has_a_process_and_a_group(bench):
    slave = "import os; pyboinc_return_output([os.getpid(), os.getpgrp(), os.getppid()])"
    jobs = [bench.job(slave) for _ in range(3)]
    await bench.run(*jobs)
    pids, groups, parents = zip(*(value_of(job) for job in jobs), strict=True)
    assert pids == groups
    assert len(set(pids)) == 3
    assert len(set(parents)) == 1


async def test_the_environment_is_the_same_everywhere(bench, monkeypatch):
    # The host of the fixture has started already: what it was started with is asked for.
    slave = """
        import os, sys
        pyboinc_return_output([sys.flags.hash_randomization, dict(os.environ), hash("text")])
    """
    jobs = [bench.job(slave), bench.job(slave)]
    await bench.run(*jobs)
    (randomized, environment, digest), other = (value_of(job) for job in jobs)
    assert not randomized
    assert other[2] == digest
    assert environment["PYTHONHASHSEED"] == "0"
    assert "PYTEST_CURRENT_TEST" not in environment


async def test_the_slot_is_the_clients(bench):
    slave = """
        import os
        names = sorted(os.listdir())
        assert os.listdir("tmp") == []
        pyboinc_return_output({name: open(name).read() for name in names if name != "tmp"})
    """
    job = bench.job(slave)
    await bench.run(job)
    files = value_of(job)
    assert set(files) == {"init_data.xml", "pyboinc_input", "pyboinc_output", "pyboinc_program", "stderr.txt"}
    link = os.path.relpath(job["links"]["pyboinc_input"], bench.slot)
    assert files["pyboinc_input"] == f"<soft_link>{link}</soft_link>\n"
    assert f"<wu_name>{job['workunit']}</wu_name>" in files["init_data.xml"]
    assert f"<result_name>{job['name']}</result_name>" in files["init_data.xml"]


async def test_a_job_leaves_nothing_to_the_next(bench):
    spoil = """
        import os
        os.mkdir("folder"); open("folder/file", "w").write("x"); open("left", "w").write("x")
        for name in ("pyboinc_input", "init_data.xml", "stderr.txt"):
            os.unlink(name)
        os.mkdir("pyboinc_input")
        os.symlink("/dev/full", "init_data.xml")
        print("first")
        pyboinc_return_output(None)
    """
    look = """
        import os
        pyboinc_return_output([sorted(os.listdir()), open("init_data.xml").read(9)])
    """
    looking = bench.job(look)
    reports = await bench.run(bench.job(spoil), looking)
    assert [report["exit_status"] for report in reports] == [0, 0]
    names, start = value_of(looking)
    assert set(names) - {"stderr.txt", "tmp"} == {
        "init_data.xml",
        "pyboinc_input",
        "pyboinc_output",
        "pyboinc_program",
    }
    assert start == "<app_init"
    assert "first" not in reports[1]["stderr_out"]


async def test_a_large_input_is_read_by_the_slave(bench):
    job = bench.job("pyboinc_return_output(len(pyboinc_get_input()))", "x" * 3_000_000)
    await bench.run(job)
    assert value_of(job) == 3_000_000


async def test_an_input_on_the_command_line(bench):
    job = bench.job(ECHO, input="gARdlC4=")  # an empty list, as pickle has it: not canonical
    (report,) = await bench.run(job)
    assert report["exit_status"] == 0
    data = codec.encode([1])
    import base64

    job = bench.job(ECHO, input=base64.b64encode(data).decode())
    await bench.run(job)
    assert value_of(job) == [1]


@pytest.mark.parametrize(
    ("slave", "exit_status", "message", "said"),
    [
        ("import sys; sys.exit(3)", 3, "process exited with code 3 (0x3, -253)", "exited with status 3"),
        ("import sys; sys.exit('no more')", 1, "process exited with code 1 (0x1, -255)", "no more"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 193, "process got signal 9", ""),
        ("import os; os.abort()", 193, "process got signal 6", "Fatal Python error"),
        ("pass", 100, "process exited with code 100 (0x64, -156)", "returned no output"),
        ("import os; os._exit(0)", 100, "output file is absent", "ended too early"),
        ("raise MemoryError", 205, "process exited with code 205 (0xcd, -51)", "not enough memory"),
    ],
)
async def test_ways_to_fail(bench, slave, exit_status, message, said):
    (report,) = await bench.run(bench.job(slave))
    assert (report["client_state"], report["exit_status"]) == (models.ClientState.COMPUTE_ERROR, exit_status)
    assert message_of(report) == message
    assert said in report["stderr_out"]
    assert report["xml_doc_out"] == ""
    assert (await bench.run(bench.job(ECHO)))[0]["exit_status"] == 0


async def test_an_exception_is_an_output(bench):
    job = bench.job("1 / 0")
    (report,) = await bench.run(job)
    assert report["exit_status"] == 0
    decoded = envelope.decode(Path(job["output"]).read_bytes(), codec.OPAQUE)
    assert (decoded.status, decoded.value["type"]) == ("error", "ZeroDivisionError")


async def test_an_earlier_output_does_not_count(bench):
    job = bench.job("import os; os._exit(0)")
    Path(job["output"]).parent.mkdir(parents=True)
    Path(job["output"]).write_bytes(b"of an execution that was interrupted")
    (report,) = await bench.run(job)
    assert report["exit_status"] == 100


async def test_the_end_of_stderr_is_reported(bench):
    slave = "print('beginning'); print('x' * 200_000); print(']]> end'); raise SystemExit(2)"
    (report,) = await bench.run(bench.job(slave))
    text = report["stderr_out"]
    assert 63 * 1024 < len(text) < 64 * 1024
    assert "beginning" not in text
    assert text.index("]]&gt; end") < text.index("]]>")


async def test_a_program_of_somebody_else(bench, tmp_path):
    other = keys.create(tmp_path / "private", tmp_path / "public")
    (report,) = await bench.run(bench.job(ECHO, key=other))
    assert report["exit_status"] == 206
    assert "signature" in report["stderr_out"]


async def test_too_large_an_output(bench):
    job = bench.job("pyboinc_return_output('x' * 1000)", max_nbytes=100.0)
    (report,) = await bench.run(job)
    assert (report["client_state"], report["exit_status"]) == (models.ClientState.UPLOAD_FAILED, -131)
    assert not os.path.exists(job["output"])


async def test_too_long(bench):
    (report,) = await bench.run(bench.job(FOREVER, elapsed_bound=0.3))
    assert (report["client_state"], report["exit_status"]) == (models.ClientState.ABORTED, 197)
    assert message_of(report) == "exceeded elapsed time limit 0.30"


async def test_too_much_memory(bench):
    slave = "hog = b'x' * 200_000_000\nimport signal; signal.pause()"
    (report,) = await bench.run(bench.job(slave, memory_bound=100e6))
    assert (report["client_state"], report["exit_status"]) == (models.ClientState.ABORTED, 198)
    assert message_of(report).startswith("working set size > workunit.rsc_memory_bound: ")
    assert report["peak_working_set_size"] > 100e6


async def test_too_much_memory_in_a_process_of_the_slave(bench):
    slave = """
        import os, signal, sys
        if os.fork() == 0:
            os.setsid()
            hog = b"x" * 200_000_000
        signal.pause()
    """
    (report,) = await bench.run(bench.job(slave, memory_bound=150e6))
    assert report["exit_status"] == 198


async def test_memory_that_processes_share_counts_once(bench):
    slave = """
        import os
        shared = b"x" * 60_000_000
        read_end, write_end = os.pipe()
        children = [os.fork() for _ in range(1)]
        if not children[-1]:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        import time
        deadline = time.monotonic() + 0.6
        while time.monotonic() < deadline:
            pass
        pyboinc_return_output(len(shared))
    """
    (report,) = await bench.run(bench.job(slave, memory_bound=110e6))
    assert report["exit_status"] == 0, report


async def test_too_much_disk(bench):
    slave = "print('said', flush=True)\nopen('large', 'w').write('x' * 2_000_000)\nimport signal; signal.pause()"
    (report,) = await bench.run(bench.job(slave, disk_bound=1e6))
    assert report["exit_status"] == 196
    assert "said" in report["stderr_out"]
    assert report["peak_disk_usage"] > 2e6


async def test_what_a_slave_starts_ends_with_it(bench):
    slave = """
        import os, signal
        pids = []
        for detach in (False, True):
            pid = os.fork()
            if not pid:
                if detach:
                    os.setsid()
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.pause()
            pids.append(pid)
        pyboinc_return_output(pids)
    """
    job = bench.job(slave)
    await bench.run(job)
    pids = value_of(job)
    assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert (await bench.run(bench.job(ECHO)))[0]["exit_status"] == 0


async def test_results_behind_a_long_one_are_returned(bench):
    jobs = [bench.job(FOREVER), bench.job(ECHO), bench.job(ECHO)]
    bench.host.give(7, jobs)
    returned = [await asyncio.wait_for(bench.owner.back.get(), PATIENCE) for _ in range(2)]
    assert returned == [job["name"] for job in jobs[1:]]
    assert bench.host.is_slow
    assert list(bench.host.given) == [jobs[0]["name"]]
    os.kill(int((await bench.until_stderr(r"pid (\d+)"))[1]), signal.SIGKILL)
    assert (await bench.reported())["exit_status"] == 193
    assert not bench.host.is_slow
    assert (await bench.run(jobs[1]))[0]["exit_status"] == 0


async def test_the_hosts_process_is_killed(bench):
    jobs = [bench.job(FOREVER), bench.job(ECHO)]
    bench.host.give(7, jobs)
    slave = int((await bench.until_stderr(r"pid (\d+)"))[1])
    bench.owner.is_ready.clear()
    host = bench.host.pid
    os.kill(host, signal.SIGKILL)
    report = await bench.reported()
    assert (report["name"], report["client_state"]) == (jobs[0]["name"], models.ClientState.COMPUTE_ERROR)
    assert report["exit_status"] == 195
    assert "SIGKILL" in message_of(report)
    assert await asyncio.wait_for(bench.owner.back.get(), PATIENCE) == jobs[1]["name"]
    await bench.owner.is_ready.wait()
    assert bench.host.pid != host
    assert not is_alive(slave)
    assert (await bench.run(jobs[1]))[0]["exit_status"] == 0


async def test_a_slave_that_kills_its_host(bench):
    jobs = [bench.job("import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()"), bench.job(ECHO)]
    bench.host.give(7, jobs)
    report = await bench.reported()
    assert (report["name"], report["exit_status"]) == (jobs[0]["name"], 195)
    name = await asyncio.wait_for(bench.owner.back.get(), PATIENCE)
    assert name == jobs[1]["name"]
    await until(lambda: bench.host.is_ready)
    assert (await bench.run(jobs[1]))[0]["exit_status"] == 0


async def test_what_is_given_to_a_host_that_has_just_ended_is_returned(bench):
    bench.stop.set()
    await until(lambda: bench.host.pid is None)
    job = bench.job(ECHO)
    bench.host.give(7, [job])
    assert bench.owner.back.get_nowait() == job["name"]


async def test_stopping_kills_the_job(bench):
    bench.host.give(7, [bench.job(FOREVER)])
    slave = int((await bench.until_stderr(r"pid (\d+)"))[1])
    host = bench.host.pid
    waits = Waits()
    bench.stop.set()
    await until(lambda: bench.host.pid is None)
    assert waits.longest < 1
    assert not is_alive(slave)
    assert not is_alive(host)
    assert bench.owner.reports.empty()


async def test_an_interrupted_job_goes_on_from_its_checkpoint(tmp_path, key):
    slave = """
        import os, signal
        state = pyboinc_restore()
        if state is None:
            pyboinc_checkpoint([1, 2])
            print("saved", flush=True)
            signal.pause()
        pyboinc_return_output(state)
    """
    first = Bench(tmp_path / ".pyboinc", key)
    job = first.job(slave)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first.host.run(first.stop))
        await first.owner.is_ready.wait()
        first.host.give(7, [job])
        await first.until_stderr("saved")
        first.stop.set()
    checkpoints = creation.salvage_checkpoints(first.project.root)
    assert list(checkpoints) == [job["workunit"]]
    second = Bench(tmp_path / ".pyboinc", key, jobs_before=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(second.host.run(second.stop))
        await second.owner.is_ready.wait()
        other = second.job("pyboinc_return_output(pyboinc_restore())")
        job["checkpoint"] = str(checkpoints[job["workunit"]])
        await second.run(other, job)
        second.stop.set()
    assert value_of(other) is None
    assert value_of(job) == [1, 2]
    assert creation.salvage_checkpoints(first.project.root) == {}


async def test_a_host_that_cannot_start(tmp_path, key):
    bench = Bench(tmp_path / ".pyboinc", key)
    (tmp_path / "aioboinc.py").write_text("raise ImportError('no such luck')")
    host = local_host.LocalHost(1, bench.project, tmp_path, bench.owner)
    with pytest.raises(
        errors.ProjectError, match=r"local host 1 can't be started, exit status 1: see .*local_host_1"
    ):
        await asyncio.wait_for(host.run(bench.stop), PATIENCE)
    log = tmp_path / ".pyboinc" / "log" / "local_host_1.txt"
    assert "no such luck" in log.read_text()


async def test_processes_that_an_earlier_host_has_left_are_killed(bench, tmp_path, key):
    bench.host.give(7, [bench.job("import os\nif not os.fork():\n    os.setsid()\n" + textwrap.dedent(FOREVER))])
    stray = int((await bench.until_stderr(r"pid (\d+)"))[1])
    os.kill(stray, signal.SIGSTOP)
    bench.owner.is_ready.clear()
    os.kill(bench.host.pid, signal.SIGKILL)
    await bench.owner.is_ready.wait()
    assert not is_alive(stray)


def test_a_job_is_json(tmp_path, key):
    # What is sent must arrive as it is.
    async def make() -> Job:
        return Bench(tmp_path / ".pyboinc", key).job(ECHO)

    job = asyncio.run(make())
    assert json.loads(json.dumps(job)) == job


def test_a_project_is_made_once(tmp_path):
    root = tmp_path / "batch" / ".pyboinc"
    first = creation.create(root)
    assert creation.create(root) == first
    assert first.kind is config.Kind.EMBEDDED
    assert first.master_url.endswith(".invalid/pyboinc/")
    (root / "config.xml").unlink()  # a crash before it was written
    assert creation.create(root).master_url != first.master_url
    moved = root.rename(tmp_path / "moved")
    assert config.read(moved).download_dir == moved / "download"
    assert creation.unpack_runtime(moved) == creation.unpack_runtime(moved)
