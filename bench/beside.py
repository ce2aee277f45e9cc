"""Runs a BOINC project's own tools on a project of ours that is made for the round."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aioboinc import errors
from aioboinc.project import config
from aioboinc.wire import codec
from bench import jobs
from bench.environment import Opened, Place

__all__ = ["Tools", "job_directories", "stage_and_create"]

_POLL = 0.05
"""Seconds between two checks whether a daemon has finished."""
_INPUT_TEMPLATE = """\
<input_template>
    <file_info>
        <number>0</number>
    </file_info>
    <workunit>
        <file_ref>
            <file_number>0</file_number>
            <open_name>pyboinc_input</open_name>
        </file_ref>
        <rsc_fpops_est>3600e9</rsc_fpops_est>
        <rsc_fpops_bound>86400e9</rsc_fpops_bound>
        <rsc_memory_bound>5e8</rsc_memory_bound>
        <rsc_disk_bound>1e9</rsc_disk_bound>
        <delay_bound>604800</delay_bound>
        <min_quorum>1</min_quorum>
        <target_nresults>1</target_nresults>
        <max_error_results>3</max_error_results>
        <max_total_results>10</max_total_results>
        <max_success_results>6</max_success_results>
    </workunit>
</input_template>
"""


class Tools:
    """The programs in the ``bin`` of a BOINC project."""

    def __init__(self, root: Path) -> None:
        self._bin = root / "bin"

    def daemon(self, command: str, unfinished: str) -> Callable[[Place, Opened], Awaitable[None]]:
        """Return a function that runs *command*, a daemon and its options, while there are *unfinished* workunits.

        With ``--one_pass`` these daemons stop after some hundreds.
        """
        query = f"SELECT id FROM workunit WHERE {unfinished} LIMIT 1"
        name, *options = command.split()

        async def work(place: Place, opened: Opened) -> None:
            process = await asyncio.create_subprocess_exec(
                str(self._bin / name),
                *options,
                cwd=place.project.root,
                env={**os.environ, "BOINC_PROJECT_DIR": str(place.project.root)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                while await opened.connector.read(lambda tx: tx.fetch_one(query)):
                    await asyncio.sleep(_POLL)
                    if process.returncode is not None:
                        raise errors.UsageError(f"{self._bin / command} has ended before its work was done")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

        return work

    async def run(self, place: Place, name: str, *options: str, stdin: Path | None = None) -> None:
        """Run a tool on the project in *place* to its end."""
        await asyncio.to_thread(self._run, place.project.root, [str(self._bin / name), *options], stdin)

    def _run(self, root: Path, command: list[str], stdin: Path | None) -> None:
        with open(stdin or os.devnull, "rb") as source:
            process = subprocess.run(
                command,
                cwd=root,
                env={**os.environ, "BOINC_PROJECT_DIR": str(root)},
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
            )
        if process.returncode:
            raise errors.UsageError(f"{command[0]} failed:\n{process.stderr[-2000:]}")


async def stage_and_create(tools: Tools, place: Place, opened: Opened, count: int) -> float:
    """Stage *count* input files and create workunits by ``create_work --stdin``; return the seconds.

    This is the fastest way known: files written straight into the download hierarchy, without ``.md5`` files.
    """
    (place.project.root / "templates" / "bench_in").write_text(_INPUT_TEMPLATE)
    lines = place.project.root / "lines"
    start = time.perf_counter()
    download = os.open(place.project.download_dir, os.O_RDONLY)
    try:
        with lines.open("w") as file:
            for number in range(count):
                name = f"bench_{number}"
                path = f"{config.fanout_directory(name, place.project.fanout)}/{name}"
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o664, dir_fd=download)
                os.write(descriptor, codec.encode(jobs.value(number)))
                os.close(descriptor)
                file.write(f"--wu_name wu_{number} {name}\n")
    finally:
        os.close(download)
    await tools.run(
        place,
        "create_work",
        *("--appname", config.APP_NAME),
        *("--batch", str(opened.batch.id)),
        *("--wu_template", "templates/bench_in"),
        *("--result_template", config.OUTPUT_TEMPLATE),
        "--stdin",
        stdin=lines,
    )
    return time.perf_counter() - start


def job_directories(place: Place, workunits: Iterable[int]) -> None:
    """Write the files that ``single_job_assimilator`` needs for each workunit."""
    for workunit in workunits:
        name = f"sj_{workunit}"
        directory = place.batch_dir / "boinc" / str(workunit)
        directory.mkdir(parents=True)
        Path(place.project.upload_path(name)).write_text(f"<job_dir>{directory}</job_dir>\n")
