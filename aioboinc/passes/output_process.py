"""A separate process that reads outputs: they come from hosts, and a bad one must harm no other job.

Its memory is limited, and its time for each output and each comparison. If it ends while it reads an output, that
output is bad, and another process reads the rest. It is started once, and gets the outputs of many workunits at a time.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import IO

from aioboinc import errors
from aioboinc.passes import comparators, outputs

__all__ = ["MEMORY", "SECONDS", "OutputProcess", "main"]

SECONDS = 60.0
"""Seconds of processor time for an output or a comparison; in real time, ten times as much."""
MEMORY = 8 << 30
"""Bytes that the process may allocate, if the machine has as many."""
_LOOK = 0.1
"""Seconds between checks whether to stop."""
_ATTEMPTS = 3
"""How often the process may end before it reads anything."""
# Without what the package's __init__ imports for users: so it starts in a fraction of the time.
_START = """\
import json, sys, types
path, folder, *descriptors = json.loads(sys.argv[1])
sys.path[:] = path
package = sys.modules["aioboinc"] = types.ModuleType("aioboinc")
package.__path__ = [folder]
from aioboinc.passes import output_process
output_process.main(*descriptors)
"""
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MARK = struct.Struct("<qq")  # numbers of the workunit and of the output
_NOTHING = _MARK.pack(-1, -1)


class OutputProcess:
    """Reads the outputs of workunits in a process that is started when needed. Any thread may close it meanwhile."""

    def __init__(
        self, comparator: comparators.Comparator, *, seconds: float = SECONDS, memory: int = MEMORY
    ) -> None:
        self._comparator = comparator
        self._seconds = seconds
        self._memory = min(memory, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._mark: IO[bytes] | None = None
        self._is_closed = False
        self._used = threading.RLock()  # the process and its connection

    def start(self) -> None:
        """Start the process, if it isn't there. Blocks. Raises `errors.ProjectError`."""
        if self._process is not None:
            return
        try:
            self._mark = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
            self._connection, theirs = Pipe()
            descriptors = (theirs.fileno(), self._mark.fileno())
            arguments = json.dumps([sys.path, _PACKAGE, *descriptors])
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # for what a comparator prints
                    env={name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"},
                    pass_fds=descriptors,
                    start_new_session=True,  # ^C goes only to the parent, which ends this process
                )
        except OSError as error:
            self._end()
            raise errors.ProjectError(f"the process that reads outputs can't be started: {error}") from None
        atexit.register(self.close)
        with contextlib.suppress(OSError):  # it has ended; the first request will notice
            self._connection.send((self._comparator, self._seconds, self._memory))

    def read(self, requests: Sequence[outputs.Request], stop: Callable[[], bool]) -> list[outputs.Reading]:
        """Return the readings of the outputs in *requests*; none once *stop* returns true. Blocks.

        Raises `errors.ProjectError` if the process can't run.
        """
        with self._used:
            return self._read(requests, stop)

    def _read(self, requests: Sequence[outputs.Request], stop: Callable[[], bool]) -> list[outputs.Reading]:
        known: list[dict[int, str]] = [{} for _ in requests]
        ended = 0
        while not (self._is_closed or stop()):
            self.start()
            assert self._connection is not None
            assert self._mark is not None
            os.pwrite(self._mark.fileno(), _NOTHING, 0)
            try:
                self._connection.send((requests, known))
                while not self._connection.poll(_LOOK):
                    if self._is_closed or stop():
                        self.close()
                        return []
                readings: list[outputs.Reading] = self._connection.recv()
                return readings
            except (EOFError, OSError):
                workunit, number = _MARK.unpack(os.pread(self._mark.fileno(), _MARK.size, 0))
                status = self._end()
                if workunit >= 0:
                    known[workunit][number] = self._reason(status, number)
                    continue
                ended += 1
                if ended == _ATTEMPTS and not self._is_closed:
                    raise errors.ProjectError(
                        f"the process that reads outputs ends at once, {_words(status)}"
                    ) from None
        return []

    def close(self) -> None:
        """End the process. Blocks for a moment."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()  # wakes a thread that waits for it
        with self._used:
            self._end()

    def _reason(self, status: int, number: int) -> str:
        what = "comparing takes" if number == outputs.COMPARING else "its output takes"
        if status == -signal.SIGPROF:
            return f"{what} more than {self._seconds:g} s of processor time"
        if status == -signal.SIGALRM:
            return f"{what} more than {10 * self._seconds:g} s"
        return f"{what} its reader down, {_words(status)}"

    def _end(self) -> int:
        """End the process, if it runs; return its exit status, minus the signal if one killed it."""
        process, self._process = self._process, None
        status = 0
        if process is not None:
            try:
                # Its connection has ended, so it is about to exit with a status of its own.
                status = process.wait(_LOOK)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            atexit.unregister(self.close)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._mark is not None:
            self._mark.close()
            self._mark = None
        return status


def _words(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed: is there too little memory?"
    return f"by signal {-status}" if status < 0 else f"with exit status {status}"


def main(connection_descriptor: int, mark: int) -> None:
    """Run as the process, until the other end of the connection is closed."""
    connection = Connection(connection_descriptor)
    os.set_inheritable(connection_descriptor, False)
    os.set_inheritable(mark, False)
    try:
        comparator, seconds, memory = connection.recv()
        _limit(memory)
        while True:
            requests, known = connection.recv()
            readings = []
            for workunit, request in enumerate(requests):

                def begin(number: int, workunit: int = workunit) -> None:
                    os.pwrite(mark, _MARK.pack(workunit, number), 0)
                    signal.setitimer(signal.ITIMER_PROF, seconds)
                    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)

                readings.append(outputs.read(request, comparator, begin=begin, known=known[workunit]))
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(readings)
    except (EOFError, OSError):
        return


def _limit(memory: int) -> None:
    for number in (signal.SIGPROF, signal.SIGALRM):  # the timers' signals end the process, in C code too
        signal.signal(number, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        memory = min(memory, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")  # if memory runs out, the system kills this process first
