"""Workunits of several calls on a local host: forked, killed, gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from local_host_bench import ECHO, Bench, outcomes_of, running, value_of

from aioboinc.embedded import creation, layout
from aioboinc.project import keys


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.PrivateKey:
    directory = tmp_path_factory.mktemp("keys")
    return keys.create(directory / "private", directory / "public")


@pytest.fixture
async def bench(tmp_path: Path, key: keys.PrivateKey) -> AsyncIterator[Bench]:
    async with running(tmp_path / ".pyboinc", key) as bench:
        yield bench


async def test_outputs_and_a_single_job_after_them(bench: Bench) -> None:
    job = bench.several("pyboinc_return_output(app_types.Point(1 / pyboinc_get_input()))", [1, 0, 2])
    (report,) = await bench.run(job)
    assert (report["exit_status"], report["name"]) == (0, "pyboinc_2_5_3_0")
    assert [ok for ok, _ in outcomes_of(job)] == [True, False, True]
    assert report["stderr_out"].count("ZeroDivisionError") == 1
    assert not (bench.slot / "pyboinc_calls").exists()
    single = bench.job("import os\npyboinc_return_output(os.path.exists('pyboinc_calls'))")
    await bench.run(single)
    assert value_of(single) is False


async def test_a_large_input(bench: Bench) -> None:
    job = bench.several("pyboinc_return_output(len(pyboinc_get_input()))", ["x" * 300_000] * 5)
    (report,) = await bench.run(job)
    assert report["exit_status"] == 0, report
    assert outcomes_of(job) == [(True, 300_000)] * 5


async def test_each_workunit_has_one_process(bench: Bench) -> None:
    job = bench.several("import os, sys\npyboinc_return_output([os.getpid(), sorted(os.listdir())])", range(20))
    await bench.run(job)
    values = [value for _, value in outcomes_of(job)]
    assert len({pid for pid, _ in values}) == 1
    assert all(names == values[1][1] for _, names in values[1:])


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ("raise SystemExit(3)", 3, "slave exited with status 3"),
        ("pass", 100, "slave returned no output: it ended without calling pyboinc_return_output"),
        ("os._exit(0)", 100, "slave returned no output: its process ended too early"),
        ("os._exit(9)", 9, "process exited with code 9 (0x9, -247)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 193, "process got signal 11"),
        ("hog = bytearray(200_000_000); hog[::100] = hog[::100]; signal.pause()", 198, "working set size > "),
        ("signal.pause()", 197, "exceeded elapsed time limit"),
    ],
)
async def test_what_fails_names_its_call(bench: Bench, text: str, status: int, line: str) -> None:
    slave = (
        f"import os, signal\nn = pyboinc_get_input()\nif n == 2:\n    {text}\nelse:\n    pyboinc_return_output(n)"
    )
    bounds = {197: {"elapsed_bound": 2.0}, 198: {"memory_bound": 150e6}}.get(status, {})
    job = bench.several(slave, range(5), **bounds)
    (report,) = await bench.run(job)
    assert report["exit_status"] == status, report
    said = [line for line in report["stderr_out"].splitlines() if line.startswith("pyboinc: ")]
    assert said[-1].startswith(f"pyboinc: pyboinc_2_7: {line}"), report
    assert not Path(job["output"]).exists()
    (report,) = await bench.run(bench.job(ECHO))
    assert report["exit_status"] == 0


async def test_an_interrupted_workunit_goes_on(tmp_path: Path, key: keys.PrivateKey) -> None:
    log = tmp_path / "log"
    slave = f"""
        import signal
        n = pyboinc_get_input()
        with open({str(log)!r}, "a") as file: file.write(f"{{n}} ")
        state = pyboinc_restore()
        if n == 3 and state is None:
            pyboinc_checkpoint(["state"])
            print("saved", flush=True)
            signal.pause()
        pyboinc_return_output([n, state])
    """
    first = Bench(tmp_path / ".pyboinc", key)
    job = first.several(slave, range(6))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first.host.run(first.stop))
        await first.owner.is_ready.wait()
        first.host.give(7, [job])
        await first.until_stderr("saved")
        first.stop.set()
    checkpoints = creation.salvage_checkpoints(first.project.root)
    assert list(checkpoints) == [job["workunit"]]
    folder = tmp_path / ".pyboinc" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["pyboinc_2_5_6", "pyboinc_2_5_6.calls"]
    assert all(layout._JOB_FILE.fullmatch(path.name) for path in folder.iterdir()), (
        "they are removed with the project"
    )
    second = Bench(tmp_path / ".pyboinc", key, jobs_before=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(second.host.run(second.stop))
        await second.owner.is_ready.wait()
        job["checkpoint"] = str(checkpoints[job["workunit"]])
        (report,) = await second.run(job)
        second.stop.set()
    assert report["exit_status"] == 0, report
    assert outcomes_of(job) == [(True, [n, ["state"] if n == 3 else None]) for n in range(6)]
    assert log.read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]
    assert creation.salvage_checkpoints(first.project.root) == {}
    assert list(folder.iterdir()) == []


async def test_finished_calls_alone_are_salvaged_too(bench: Bench) -> None:
    slave = """
        import signal
        n = pyboinc_get_input()
        if n == 3:
            print("waiting", flush=True)
            signal.pause()
        pyboinc_return_output(n)
    """
    job = bench.several(slave, range(6))
    bench.host.give(7, [job])
    await bench.until_stderr("waiting")
    assert list(creation.salvage_checkpoints(bench.project.root)) == [job["workunit"]]
