"""A local host on a bench: its project, its process, and jobs for it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import textwrap
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from patience import PATIENCE, until

from aioboinc.embedded import creation
from aioboinc.embedded import host as local_host
from aioboinc.embedded.process.messages import Job, Report
from aioboinc.program import bundle, signed_archive
from aioboinc.project import keys
from aioboinc.wire import codec, envelope, several

__all__ = ["ECHO", "Bench", "Owner", "outcomes_of", "running", "value_of"]

TYPES = "class Point:\n    def __init__(self, x):\n        self.x = x\n"
ECHO = "pyboinc_return_output(pyboinc_get_input())"


class Owner:
    """Who the host reports to."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.back: asyncio.Queue[str] = asyncio.Queue()

    def ready(self, host: local_host.LocalHost) -> None:
        self.is_ready.set()

    def report(self, host: local_host.LocalHost, hostid: int, report: Report) -> None:
        assert hostid == 7
        self.reports.put_nowait(report)

    def returned(self, hostid: int, names: list[str]) -> None:
        assert hostid == 7
        for name in names:
            self.back.put_nowait(name)


class Bench:
    """A project's directory, the host, and its jobs."""

    def __init__(self, root: Path, key: keys.PrivateKey, jobs_before: int = 0) -> None:
        self.project = creation.create(root)
        self.runtime = creation.unpack_runtime(root)
        self.owner = Owner()
        self.host = local_host.LocalHost(1, self.project, self.runtime, self.owner)
        self.slot = root / "slots" / "1"
        self.stop = asyncio.Event()
        self._key = key
        self._count = jobs_before
        (self.project.key_dir / keys.PROGRAM_PUBLIC).write_bytes(key.public_json)

    def job(self, slave: str, value: object = None, *, key: keys.PrivateKey | None = None, **changes: Any) -> Job:
        """Return a job that runs the text of a slave."""
        self._count += 1
        name = str(changes.get("workunit", f"pyboinc_1_{self._count}"))
        slave = "import app_types\n" + textwrap.dedent(slave)
        files = {"app_slave.py": slave.encode(), "app_types.py": TYPES.encode()}
        sources = bundle.Sources("app_slave.py", files, {"app_types": "app_types.py"}, "")
        data = signed_archive.build(sources, self.project.master_url, key or self._key)
        program_path = self.project.download_dir / f"{hash(data):x}.zip"
        program_path.write_bytes(data)
        input_path = self.project.download_dir / f"{name}.input"
        input_path.write_bytes(codec.encode(value))
        output = self.project.upload_path(f"{name}_0_r1_0")
        links = {
            "pyboinc_program": str(program_path),
            "pyboinc_input": str(input_path),
            "pyboinc_output": output,
        }
        job: Job = {
            "name": f"{name}_0",
            "workunit": name,
            "hostid": 7,
            "program": str(program_path),
            "links": links,
            "input": None,
            "output": output,
            "max_nbytes": 1e6,
            "elapsed_bound": PATIENCE,
            "memory_bound": 1e9,
            "disk_bound": 1e9,
            "fpops_est": 1e9,
            "fpops_bound": 1e9 * PATIENCE,
            "checkpoint": None,
        }
        return job | changes  # type: ignore[return-value, operator]

    def several(self, slave: str, values: Sequence[object], limit: float = 0.0, **changes: Any) -> Job:
        """Return a job that runs the text of a slave for each of *values*."""
        job = self.job(slave, workunit=f"pyboinc_2_5_{len(values)}", **changes)
        data = several.encode_inputs(limit, [codec.encode(value) for value in values])
        Path(job["links"]["pyboinc_input"]).write_bytes(data)
        return job

    async def reported(self) -> Report:
        return await asyncio.wait_for(self.owner.reports.get(), PATIENCE)

    async def run(self, *jobs: Job) -> list[Report]:
        """Have *jobs* executed; return the reports."""
        self.host.give(7, jobs)
        return [await self.reported() for _ in jobs]

    async def until_stderr(self, pattern: str) -> re.Match[str]:
        """Wait until the running job has written something."""
        found: list[re.Match[str]] = []
        await until(lambda: found.extend(re.finditer(pattern, (self.slot / "stderr.txt").read_text())) or found)
        return found[0]


@contextlib.asynccontextmanager
async def running(root: Path, key: keys.PrivateKey) -> AsyncIterator[Bench]:
    """Run a host whose project is in *root*."""
    bench = Bench(root, key)
    async with asyncio.timeout(8 * PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.host.run(bench.stop))
        await bench.owner.is_ready.wait()
        yield bench
        bench.stop.set()


def value_of(job: Job) -> Any:
    return envelope.decode(Path(job["output"]).read_bytes(), codec.OPAQUE).value


def outcomes_of(job: Job) -> list[tuple[bool, Any]]:
    """Return what the calls of a workunit of several have come to."""
    pieces = envelope.decode_calls(Path(job["output"]).read_bytes())[3]
    return [envelope.decode_call(piece, codec.OPAQUE) for piece in pieces]
