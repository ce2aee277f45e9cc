"""The process of a local host: does one job after the other, each in a process forked for it.

It is a program of its own that imports only what every host gets, and it stands where the BOINC client does on other
hosts: it fills the slot directory, starts the slave, enforces the workunit's bounds, and reports. What it does it
is told in lines of JSON on a socket; when the other end of the socket is gone, it ends.

- In: jobs, see `jobs.Job`.
- Out: ``{"ready": pid}`` at the start; ``{"report": …}`` for a job that is over, the fields being those of
  `store.scheduling.Report`; ``{"returned": [names]}`` for jobs that wait while the one before takes long:
  another host may do them sooner.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import fcntl
import gc
import hashlib
import html
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from typing import Any, NoReturn

from aioboinc.slave_runtime import failures, init_data, processes_unix, program_file, signature, slave, slot

__all__ = ["main"]

PATIENCE = 0.25
"""Seconds that a job runs before those that wait behind it are returned."""
PROGRAMS_KEPT = 16
"""Programs that are kept unpacked and compiled."""
STDERR_BYTES = 63 * 1024
"""How much of the end of a job's stderr is reported, as by the BOINC client."""
LOOK_SECONDS = 0.25
"""A running job's memory is looked at so often at least, and more often the closer it is to its bound."""
GROWTH = 2e9
"""Bytes that a job allocates in a second at most, as far as we expect."""
DISK_SECONDS = 1.0
"""The slot's size is looked at so often."""

# BOINC's numbers (lib/error_numbers.h, lib/common_defs.h).
SIGNALLED = 193
DISK_LIMIT_EXCEEDED = 196
TIME_LIMIT_EXCEEDED = 197
MEMORY_LIMIT_EXCEEDED = 198
FILE_TOO_BIG = -131
COMPUTE_ERROR = 3
FILES_UPLOADED = 5
ABORTED = 6
UPLOAD_FAILED = 7

Message = dict[str, Any]


class Host:
    """The jobs that wait, and the one that runs."""

    def __init__(self, connection: socket.socket, configuration: Message) -> None:
        self._connection = connection
        self._received = b""
        self._waiting: collections.deque[Message] = collections.deque()
        self._running: Execution | None = None
        self._slot = Slot(configuration["slot"])
        self._programs = Programs(configuration["programs"], configuration["key"])
        self._version = configuration["version"]
        self._wakeup, write_end = os.pipe()
        for end in (self._wakeup, write_end):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._private = (connection.fileno(), self._wakeup, write_end, self._slot.lock)
        self._tree = processes_unix.ProcessTree()  # from now on orphans among the slaves' processes become our children

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
        """Report the job that runs if it is over, start the next one if it can be, return those that can't soon."""
        if self._running is not None and self._running.is_over():
            over, self._running = self._running, None
            self._kill_strays()
            report = over.report(self._version)
            if report["exit_status"] == 0:
                self._programs.has_worked(over.job["program"])
            self._send({"report": report})
        if self._running is None and self._waiting:
            self._running = self._start(self._waiting.popleft())
        if self._waiting and self._running is not None and self._running.elapsed() > PATIENCE:
            self._send({"returned": [job["name"] for job in self._waiting]})
            self._waiting.clear()

    def _start(self, job: Message) -> Execution:
        prepared: slave.Prepared | Exception
        try:
            prepared = self._programs.prepare(job["program"])
        except (program_file.Refused, signature.BadKey, OSError) as error:
            prepared = error
        self._slot.fill(job)
        return Execution(job, prepared, self._slot, self._private)

    def _kill_strays(self) -> None:
        """Kill what a slave has left running."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        self._tree.kill()

    def _send(self, message: Message) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _receive(self) -> bool:
        data = self._connection.recv(1 << 18)
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
        shutil.rmtree(directory, ignore_errors=True)

    def prepare(self, path: str) -> slave.Prepared:
        """Return the program in the file *path*. Raises what `slave.prepare` and `signature.load` raise."""
        prepared = self._known.pop(path, None)
        if prepared is None:
            self._count += 1
            directory = os.path.join(self._directory, str(self._count))
            prepared = slave.prepare(path, signature.load(self._key), directory)
        self._known[path] = prepared  # last: the order is that of use
        if len(self._known) > PROGRAMS_KEPT:
            forgotten = self._known.pop(next(iter(self._known)))
            shutil.rmtree(forgotten.program.root, ignore_errors=True)
        if path in self._to_preload:
            self._to_preload.discard(path)
            slave.preload(prepared)
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


class Slot:
    """The directory that jobs run in, one after the other.

    Files that every job has are written in place: to make and remove them costs more than a fork.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(path, exist_ok=True)
        self.lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # an earlier process may be about to end
        processes_unix.kill_strays(processes_unix_marker(), path)
        self.stderr = os.open(
            os.path.join(path, slot.STDERR), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )

    def fill(self, job: Message) -> None:
        """Leave in the directory what *job* needs and nothing else."""
        files = {name: f"<soft_link>{path}</soft_link>\n" for name, path in job["links"].items()}
        files[slot.INIT_DATA] = _init_data(job, self.path)
        with os.scandir(self.path) as entries:
            unwanted = [entry.name for entry in entries if entry.name not in files and entry.name != slot.STDERR]
        for name in unwanted:
            self._remove(name)
        os.ftruncate(self.stderr, 0)
        for name, content in files.items():
            self._write(name, content.encode())
        if job["checkpoint"]:
            with contextlib.suppress(FileNotFoundError):
                os.rename(job["checkpoint"], os.path.join(self.path, slot.CHECKPOINT))
        # What an earlier execution of the same result may have left would pass for this one's output.
        slot.remove(job["output"])
        os.makedirs(os.path.dirname(job["output"]), exist_ok=True)

    def size(self) -> int:
        """Return the number of bytes in the directory."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def stderr_end(self) -> str:
        """Return the end of what the job has written to stderr."""
        size = os.fstat(self.stderr).st_size
        return os.pread(self.stderr, STDERR_BYTES, max(0, size - STDERR_BYTES)).decode("utf-8", "replace")

    def _write(self, name: str, content: bytes) -> None:
        path = os.path.join(self.path, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(path, flags, 0o644)
        except OSError:
            self._remove(name)  # the last slave has put something else there
            file = os.open(path, flags, 0o644)
        os.write(file, content)
        os.ftruncate(file, len(content))
        os.close(file)

    def _remove(self, name: str) -> None:
        path = os.path.join(self.path, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            slot.remove(path)


class Execution:
    """A job that runs: its process, its bounds, what it has used. Descriptors in *private* are closed in the process."""

    def __init__(
        self, job: Message, prepared: slave.Prepared | Exception, place: Slot, private: tuple[int, ...]
    ) -> None:
        self.job = job
        self._slot = place
        self._table = processes_unix.ProcTable() if sys.platform == "linux" else None
        self._aborted: tuple[int, str] | None = None
        self._status = 0
        self._cpu_time = 0.0
        self._memory = 0.0
        self._disk = 0
        self._started = time.monotonic()
        self._next_look = self._started + min(LOOK_SECONDS, job["memory_bound"] / GROWTH)
        self._next_disk_look = self._started + DISK_SECONDS
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _become_slave(job, prepared, place, private, parent)
        with contextlib.suppress(OSError):
            os.setpgid(self._pid, self._pid)  # both sides do it: it holds as soon as either has

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def kill(self) -> None:
        """Kill the job's process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)

    def watch(self) -> float:
        """Kill the job if it has exceeded a bound; return the seconds until this is to be called again."""
        now = time.monotonic()
        if now >= self._started + self.job["elapsed_bound"]:
            self._abort(
                TIME_LIMIT_EXCEEDED, f"exceeded elapsed time limit {self.job['elapsed_bound']:.2f}"
            )
        if now >= self._next_look:
            self._next_look = now + self._look_at_memory()
        if now >= self._next_disk_look:
            self._next_disk_look = now + DISK_SECONDS
            self._look_at_disk()
        return max(0.0, min(self._next_look, self._next_disk_look, self._started + self.job["elapsed_bound"]) - now)
