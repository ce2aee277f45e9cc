"""The event loop belongs to the user's service: our code never keeps it for long, however large the batch is."""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from processes import is_alive

from aioboinc import embedded, pyboinc_call, pyboinc_master

JOBS = 100_000
INLINE = 7
"""Bytes of the inputs below 65,536: most inputs are part of their workunits, the others are files."""

PUBLISHER = """
    # Stands in for hosts, validator and assimilator: waits for the calls, publishes all outputs, counts them.
    import os, sqlite3, sys, time
    from aioboinc.wire import envelope
    database = sqlite3.connect(sys.argv[1], timeout=300)
    new, jobs = sys.argv[2], int(sys.argv[3])
    while database.execute("SELECT state FROM pyboinc_batch").fetchone() != (1,):
        time.sleep(0.05)
    for call in range(jobs):
        job = f"pyboinc_1_{call}"
        with open("output", "wb") as file:
            file.write(envelope.encode_output(job, bytes(32), bytes(32), call, None))
        os.rename("output", os.path.join(new, job))
    with database:
        database.execute("UPDATE pyboinc_batch SET nassimilated = njobs")
"""


class Ticker:
    """Measures how long the event loop is kept from its other tasks."""

    def __init__(self):
        self.cpu = 0.0
        """The longest time for which the loop's thread computed between two ticks, in seconds."""
        self.late = 0.0
        """By how much the latest tick was late, whatever the reason: other processes and threads count here."""

    async def run(self):
        while True:
            begun, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self.late = max(self.late, time.perf_counter() - begun - 0.001)
            self.cpu = max(self.cpu, time.thread_time() - computed)


@pytest.fixture
def folder(tmp_path):
    """A folder for 135,000 files: in memory if there is room, where they come and go in seconds."""
    memory = Path("/dev/shm")
    for left in memory.glob("aioboinc-test-*"):  # by a test that was killed
        if not is_alive(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30
    folder = (memory if roomy else tmp_path) / f"aioboinc-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


async def test_a_batch_of_100_000_jobs_never_blocks_the_loop(folder, record_property):
    """What is asserted is the loop thread's own computing, which no load on the machine changes."""
    (folder / "app_slave.py").write_text("")
    (folder / "publisher.py").write_text(textwrap.dedent(PUBLISHER))
    root = folder / "project"
    async with embedded.running(root, workers=1):
        pass
    config = root / "config.xml"
    config.write_text(config.read_text().replace("<config>", "<config>\n        <served/>"))
    total = 0

    async def make_calls():
        for i in range(JOBS):
            await pyboinc_call(folder / "app_slave.py", i)

    def handle_result(output):
        nonlocal total
        total += output

    gc.collect()
    gc.freeze()  # what pytest has on the heap is not ours to be traversed
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    with subprocess.Popen(
        [sys.executable, folder / "publisher.py", root / "project.sqlite", folder / "new", str(JOBS)],
        cwd=folder,
    ) as publisher:
        try:
            summary = await pyboinc_master(
                make_calls, handle_result, batch_dir=folder, project=root, inline_inputs=INLINE
            )
        finally:
            publisher.kill()
            ticking.cancel()
            gc.unfreeze()
    assert (summary.jobs, total) == (JOBS, sum(range(JOBS)))
    files = sum(path.is_file() for path in (root / "download").rglob("pyboinc_1_*"))
    assert files == JOBS - 65_536
    record_property("cpu", ticker.cpu)
    record_property("late", ticker.late)
    print(f"computed at most {ticker.cpu * 1000:.1f} ms at a time; ticks at most {ticker.late * 1000:.0f} ms late")
    assert ticker.cpu < 0.050
