"""The client's side of a slot, for tests: it lays out files, starts the launcher and talks over the mapped file.

It does what BOINC's client does (``client/app_start.cpp``, ``client/app_control.cpp``), a job at a time.
"""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from patience import PATIENCE

from aioboinc.app_versions import runtime_archive
from aioboinc.program import archive, bundle, signed_archive
from aioboinc.project import keys

PROJECT = "http://example.org/test/"
JOB = "pyboinc_7_0"

_INIT_DATA = """<app_init_data>
<major_version>7</major_version>
<app_version>100</app_version>
<app_name>pyboinc</app_name>
<project_preferences>
<color><shm_key>99</shm_key></color>
</project_preferences>
<user_name>A &amp; B</user_name>
<project_dir>{project_dir}</project_dir>
<boinc_dir>{boinc_dir}</boinc_dir>
<wu_name>{job}</wu_name>
<result_name>{job}_0</result_name>
<shm_key>{shm_key}</shm_key>
<slot>0</slot>
<client_pid>{client_pid}</client_pid>
<wu_cpu_time>{cpu_time:f}</wu_cpu_time>
<checkpoint_period>60.000000</checkpoint_period>
<fraction_done_start>0.000000</fraction_done_start>
<fraction_done_end>1.000000</fraction_done_end>
<ncpus>1.000000</ncpus>
<host_info>
    <p_model>Friend & Foe <CPU></p_model>
</host_info>
<app_file>launcher.sh</app_file>
</app_init_data>
"""


@dataclass
class Status:
    """What the application told last."""

    cpu_time: float = 0.0
    checkpoint_cpu_time: float = 0.0
    fraction_done: float | None = None


@dataclass
class FakeClient:
    """A client with one project and one slot in *root*."""

    root: Path
    python: str
    """The ``python3`` that the launcher finds first."""
    key: keys.PrivateKey
    workunit: str = JOB
    shm_key: int = -1
    client_pid: int = field(default_factory=os.getpid)
    cpu_time: float = 0.0
    heartbeats: bool = True
    arguments: list[str] = field(default_factory=list)
    status: Status = field(default_factory=Status)
    history: list[Status] = field(default_factory=list)
    beats: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.project = self.root / "projects" / "example.org_test"
        self.slot = self.root / "slots" / "0"
        self.bin = self.root / "bin"
        for directory in (self.project, self.slot, self.bin):
            directory.mkdir(parents=True, exist_ok=True)
        runtime = Path(runtime_archive.__file__).parent.parent / "slave_runtime"
        self.put("launcher.sh", (runtime / "launcher.sh").read_bytes(), 0o755)
        self.put("runtime_1.zip", runtime_archive.build())
        self.put("key_1.json", self.key.public_json)
        self.link("pyboinc_runtime", "runtime_1.zip")
        self.link("pyboinc_key", "key_1.json")
        self.link("pyboinc_output", f"{JOB}_0_r1_0")
        python3 = self.bin / "python3"
        python3.write_text(f'#!/bin/sh\nexec {self.python} "$@"\n')
        python3.chmod(0o755)
        self.memory = self._map()

    def put(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        """Put a file into the project's directory."""
        path = self.project / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def link(self, open_name: str, name: str) -> None:
        """Leave a soft link in the slot."""
        (self.slot / open_name).write_text(f"<soft_link>../../projects/{self.project.name}/{name}</soft_link>\n")

    def job(self, sources: bundle.Sources, data: bytes, project: str = PROJECT) -> bytes:
        """Lay out a job and return the bytes of the program file."""
        content = signed_archive.build(sources, project, self.key)
        self.put("program_1.zip", content)
        self.put("input_1", data)
        self.link("pyboinc_program", "program_1.zip")
        self.link("pyboinc_input", "input_1")
        return content

    @property
    def output(self) -> Path:
        """Where the output is to be."""
        return self.project / f"{JOB}_0_r1_0"

    @property
    def stderr(self) -> str:
        """What the application wrote to stderr."""
        path = self.slot / "stderr.txt"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def finished(self) -> bool:
        """Whether the application said that it has finished."""
        return (self.slot / "boinc_finish_called").exists()

    def start(self, **variables: str) -> None:
        """Start the application, as the client does each time."""
        self.memory[:] = bytes(len(self.memory))
        (self.slot / "boinc_temporary_exit").unlink(missing_ok=True)
        text = _INIT_DATA.format(
            project_dir=self.project,
            boinc_dir=self.root,
            job=self.workunit,
            shm_key=self.shm_key,
            client_pid=self.client_pid,
            cpu_time=self.cpu_time,
        )
        (self.slot / "init_data.xml").write_text(text, "utf-8")
        environment = {
            **os.environ,
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "LD_LIBRARY_PATH": f"../../projects/{self.project.name}:.:../..",
            **variables,
        }
        with open(self.slot / "stderr.txt", "ab") as stderr:
            self.process = subprocess.Popen(
                [f"../../projects/{self.project.name}/launcher.sh", *self.arguments],
                cwd=self.slot,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def poll(self) -> int | None:
        """Do what the client does every second; return the exit status of the application, None if it runs."""
        assert self.process is not None
        if self.heartbeats and self._send(4, "<heartbeat/><wss>9.752576e+06</wss><max_wss>2.274886e+10</max_wss>"):
            self.beats += 1
        exit_status = self.process.poll()
        text = self._receive(5)  # after that: what an application said last is read when it has ended
        if text is not None:
            self.status = Status(
                *(_number(text, name) or 0.0 for name in ("current_cpu_time", "checkpoint_cpu_time")),
                _number(text, "fraction_done"),
            )
            self.history.append(self.status)
        return exit_status

    def until(self, condition: Callable[[], object]) -> None:
        """Be a client until *condition* is true. An application that has ended meanwhile is an error."""
        for _ in _patience():
            status = self.poll()
            if condition():
                return
            assert status is None, f"it ended with {status}: {self.stderr}"
        raise AssertionError(f"in vain: {self.stderr}")

    def wait(self) -> int:
        """Be a client until the application has ended; return its exit status."""
        for _ in _patience():
            status = self.poll()
            if status is not None:
                return status
        raise AssertionError(f"it does not end: {self.stderr}")

    def request(self, message: str) -> None:
        """Send a process control message."""
        self.until(lambda: self._send(0, message))

    def stop(self) -> None:
        """Kill the application if it runs, and nothing else: what it has started is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _map(self) -> memoryview:
        with open(self.slot / "boinc_mmap_file", "w+b") as file:
            file.write(bytes(8192))
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), 8192))

    def _send(self, channel: int, text: str) -> bool:
        start = channel * 1024
        if self.memory[start]:
            return False
        data = text.encode() + b"\0"
        self.memory[start + 1 : start + 1 + len(data)] = data
        self.memory[start] = 1
        return True

    def _receive(self, channel: int) -> str | None:
        start = channel * 1024
        if not self.memory[start]:
            return None
        text = bytes(self.memory[start + 1 : start + 1024]).split(b"\0", 1)[0].decode()
        self.memory[start] = 0
        return text


def _number(text: str, name: str) -> float | None:
    found = re.search(f"<{name}>(.*?)</{name}>", text)
    return float(found[1]) if found else None


def _patience() -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)  # the client's own period is a second


def repack(content: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """Return the program file *content* with its members changed."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    return archive.build(members.items())
