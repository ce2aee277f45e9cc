"""The process of a local host: does one job after the other, each in a process forked for it.

It is a program of its own that imports only what every host gets, and it stands where the BOINC client does on
other hosts: it fills the slot directory, starts the slave, enforces the workunit's bounds, and reports. What it does
it is told in lines of JSON on a socket; when the other end of the socket is gone, it ends. What it imports is little,
and the modules are chosen with care: every page of memory that it has makes a fork slower.

- In: jobs (`local_host_messages.Job`).
- Out: ``{"ready": pid}`` at the start; ``{"report": …}`` for a job that is over (`local_host_messages.Report`);
  ``{"returned": [names]}`` for jobs that wait while the one before takes long: another host may do them sooner.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
from typing import Any

from aioboinc.embedded.local_host_execution import Execution
from aioboinc.embedded.local_host_messages import Configuration, Job
from aioboinc.embedded.local_host_rehearsal import rehearse
from aioboinc.embedded.local_host_slot import Slot
from aioboinc.slave_runtime import processes_unix, program_file, signature, slave

__all__ = ["main"]

PATIENCE = 0.25
"""Seconds that a job runs before those that wait behind it are returned."""
PROGRAMS_KEPT = 16
"""Programs that are kept unpacked and compiled."""


class Host:
    """The jobs that wait, and the one that runs."""

    def __init__(self, configuration: Configuration) -> None:
        self._connection = configuration["socket"]
        self._received = b""
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: Execution | None = None
        self._slot = Slot(configuration["slot"], configuration["project_dir"])
        self._programs = Programs(configuration["programs"], configuration["key"])
        self._configuration = configuration
        self._wakeup, write_end = os.pipe()
        for end in (self._wakeup, write_end):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._private = (self._connection, self._wakeup, write_end, self._slot.lock)
        self._tree = processes_unix.ProcessTree()  # orphans among slaves' processes become children of this one

    def serve(self) -> None:
        """Do jobs until the other end of the connection is gone."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        try:
            self._send({"ready": os.getpid()})
            while True:
                self._advance()
                delay = self._running.watch() * 1000 if self._running is not None else None
                for descriptor, _ in poll.poll(delay):
                    if descriptor == self._wakeup:
                        os.read(self._wakeup, 4096)
                    elif not self._receive():
                        return
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            if self._running is not None:
                self._running.kill()
                self._tree.kill()

    def _advance(self) -> None:
        """Report the job that is over, start the next one if it can be, return those that can't soon."""
        if self._running is not None and self._running.is_over():
            over, self._running = self._running, None
            self._kill_strays()
            report = over.report(self._configuration)
            if report["exit_status"] == 0:
                self._programs.has_worked(over.job["program"])
            self._send({"report": report})
        if self._running is None and self._waiting:
            self._running = self._start(self._waiting.popleft())
        if self._waiting and self._running is not None and self._running.elapsed() > PATIENCE:
            self._send({"returned": [job["name"] for job in self._waiting]})
            self._waiting.clear()

    def _start(self, job: Job) -> Execution:
        prepared: slave.Prepared | Exception
        try:
            self._slot.fill(job)
            prepared = self._programs.prepare(job["program"])
        except (program_file.Refused, signature.BadKey, OSError) as error:
            prepared = error
        return Execution(job, prepared, self._slot, self._private)

    def _kill_strays(self) -> None:
        """Kill what a slave has left running."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        self._tree.kill()

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._connection, data) :]

    def _receive(self) -> bool:
        data = os.read(self._connection, 1 << 18)
        *lines, self._received = (self._received + data).split(b"\n")
        self._waiting.extend(map(json.loads, lines))
        return bool(data)


class Programs:
    """The programs of the last jobs, checked, unpacked below *directory* and compiled."""

    def __init__(self, directory: str, key: str) -> None:
        self._directory = directory
        self._key = key
        self._known: dict[str, slave.Prepared] = {}
        self._count = 0
        self._to_preload: set[str] = set()
        self._preloaded: set[str] = set()
        self._rehearsed = False
        shutil.rmtree(directory, ignore_errors=True)

    def prepare(self, path: str) -> slave.Prepared:
        """Return the program in the file *path*. Raises what `slave.prepare` and `signature.load` raise."""
        prepared = self._known.pop(path, None)
        if prepared is None:
            self._count += 1
            directory = os.path.join(self._directory, str(self._count))
            prepared = slave.prepare(path, signature.load(self._key), directory)
            _freeze()
        self._known[path] = prepared  # last: the order is that of use
        if len(self._known) > PROGRAMS_KEPT:
            forgotten = self._known.pop(next(iter(self._known)))
            shutil.rmtree(forgotten.program.root, ignore_errors=True)
        if path in self._to_preload:
            self._to_preload.discard(path)
            slave.preload(prepared)
            if not self._rehearsed:
                self._rehearsed = True
                rehearse(os.path.join(self._directory, "rehearsal"))
            _freeze()
        return prepared

    def has_worked(self, path: str) -> None:
        """Note that a job of the program went well.

        If another job of it comes, the packages that it imports are imported here, once for all: a child
        has survived that.
        """
        if path not in self._preloaded:
            self._preloaded.add(path)
            self._to_preload.add(path)


def _freeze() -> None:
    """Keep the garbage collector off what is there: a child that looked through it would copy it."""
    gc.collect()
    gc.freeze()


def main() -> None:
    """Be a local host; ``sys.argv[1]`` is its configuration in JSON."""
    configuration = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")  # where memory runs out, a slave goes before the master
    host = Host(configuration)
    gc.disable()
    _freeze()
    host.serve()
