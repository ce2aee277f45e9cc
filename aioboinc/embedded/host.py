"""A local host as the project sees it: a process that is kept running, and the results that it has."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from aioboinc import _version, errors, models
from aioboinc.aio import loops, threads
from aioboinc.embedded.process.messages import Configuration, Job, Report, stderr_out
from aioboinc.project import config, keys
from aioboinc.slave_runtime import environment, slot

__all__ = ["LocalHost", "Owner", "failure"]

_GRACE = 0.3
"""Seconds that the process gets to exit by itself."""
_START = (
    "import sys; sys.path[0] = sys.argv.pop(); sys.dont_write_bytecode = False; "
    "from aioboinc.embedded.process import main; "
    "sys.dont_write_bytecode = True; main.main()"
)


class Owner(Protocol):
    """Is told what happens on a host."""

    def ready(self, host: LocalHost) -> None:
        """The host takes results."""

    def report(self, host: LocalHost, hostid: int, report: Report) -> None:
        """A result is over."""

    def returned(self, hostid: int, names: list[str]) -> None:
        """The host gives back these results, which it has not begun."""


class LocalHost:
    """One host of this machine. Its process imports from the directory *runtime*."""

    def __init__(self, number: int, project: config.Project, runtime: Path, owner: Owner) -> None:
        self.number = number
        self.ids: list[int] = []
        """Its IDs. It gets another one when no other host is left for a replica of a workunit."""
        self.given: dict[str, int] = {}
        """The results that it has, in the order of execution, and the ID with which it got each."""
        self.is_ready = False
        self.is_slow = False
        """Whether it has returned results because the one it executes takes long, and still executes that one."""
        self._owner = owner
        self._runtime = runtime
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._log = project.root / "log" / f"local_host_{number}.txt"
        self._configuration: Configuration = {
            "socket": -1,
            "slot": str(project.root / "slots" / str(number)),
            "lock": str(project.root / "slots" / f"{number}.lock"),
            "programs": str(project.root / "programs" / str(number)),
            "key": str(project.key_dir / keys.PROGRAM_PUBLIC),
            "project_dir": str(project.root),
            "upload_url": project.upload_url,
            "version": _version.__version__,
        }

    @property
    def pid(self) -> int | None:
        """ID of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the process running until *stop* is set.

        If it ends by itself, the result that it executes has failed, and those after it are returned. Raises
        `errors.ProjectError` if the process can't be started.
        """
        backoff = loops.Backoff(0.05, 5.0)
        while not stop.is_set():
            try:
                closed = await self._start()
                while not (closed.is_set() or stop.is_set()):
                    await loops.wait(3600, stop, closed)
            finally:
                status = await self._end()
            if not stop.is_set():
                self._lose(status)
                await loops.wait(backoff.next(), stop)

    def give(self, hostid: int, jobs: Sequence[Job]) -> None:
        """Have *jobs* executed."""
        if self.is_ready and self._transport is not None:
            self.given.update((job["name"], hostid) for job in jobs)
            self._transport.write(b"".join(json.dumps(job).encode() + b"\n" for job in jobs))
        else:
            self._owner.returned(hostid, [job["name"] for job in jobs])

    async def _start(self) -> asyncio.Event:
        """Start the process; return an event that is set when it has ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await threads.in_thread(self._launch, theirs)
            closed = asyncio.Event()
            self._transport, _ = await asyncio.get_running_loop().create_unix_connection(
                lambda: _Connection(self._receive, closed), sock=ours
            )
        except BaseException:
            ours.close()
            raise
        return closed

    def _launch(self, connection: socket.socket) -> None:
        slot_dir = self._configuration["slot"]
        variables = environment.clean(os.environ, temporary=slot.temporary(slot_dir))
        variables[environment.MARKER] = slot_dir
        configuration = {**self._configuration, "socket": connection.fileno()}
        try:
            self._log.parent.mkdir(exist_ok=True)
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-s", "-c", _START, json.dumps(configuration), str(self._runtime)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=variables,
                    pass_fds=(connection.fileno(),),
                    start_new_session=True,  # ^C and hang-ups go to the master, which ends this process
                )
        except OSError as error:
            what = errors.describe(error.filename or self._log, error)
            raise errors.ProjectError(f"a local host can't be started: {what}") from None

    async def _end(self) -> int:
        """End the process, if it still runs; return its exit status, minus the signal if one killed it."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if self._process is None:
            return 0
        try:
            return await threads.in_thread(_reap, self._process)
        finally:
            self._process = None

    def _lose(self, status: int) -> None:
        """Report or return the results that the process had when it ended."""
        if not self.is_ready:
            remedy = errors.of_full_disk(self._log.parent) or f"see {self._log}"
            raise errors.ProjectError(f"local host {self.number} can't be started, {_words(status)}: {remedy}")
        self.is_ready = self.is_slow = False
        given, self.given = self.given, {}
        for position, (name, hostid) in enumerate(given.items()):
            if position == 0:
                self._owner.report(
                    self, hostid, failure(name, f"the local host's process ended, {_words(status)}")
                )
            else:
                self._owner.returned(hostid, [name])

    def _receive(self, message: dict[str, Any]) -> None:
        if "report" in message:
            report: Report = message["report"]
            self.is_slow = False
            self._owner.report(self, self.given.pop(report["name"]), report)
        elif "returned" in message:
            self.is_slow = True
            for name in message["returned"]:
                self._owner.returned(self.given.pop(name), [name])
        else:
            self.is_ready = True
            self._owner.ready(self)


class _Connection(asyncio.Protocol):
    """The socket to a host's process; each message is a line of JSON."""

    def __init__(self, receive: Callable[[dict[str, Any]], None], closed: asyncio.Event) -> None:
        self._receive = receive
        self._closed = closed
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._receive(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()


def failure(name: str, message: str) -> Report:
    """Return the report of a result that could not be executed."""
    return {
        "name": name,
        "client_state": models.ClientState.COMPUTE_ERROR,
        "exit_status": models.ExitStatus.EXIT_CHILD_FAILED,
        "cpu_time": 0.0,
        "elapsed_time": 0.0,
        "xml_doc_out": "",
        "stderr_out": stderr_out(_version.__version__, message, ""),
        "peak_working_set_size": 0,
        "peak_disk_usage": 0,
    }


def _reap(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _words(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
