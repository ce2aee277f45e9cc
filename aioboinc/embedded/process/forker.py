"""The process of a local host that forks the jobs, and does nothing else.

After a fork each page of memory that either side touches costs a fault. So this process imports little and does little:
`main`, which starts it, sees to all that is to be done before and after.
"""

from __future__ import annotations

import atexit
import ctypes
import dataclasses
import gc
import importlib
import marshal
import os
import signal
import sys
import traceback
from typing import Any

from aioboinc.embedded.process import ending
from aioboinc.slave_runtime import failures, init_data, program_file, slave, slot

__all__ = ["Forker", "Over", "Request", "start"]

PROGRAMS_KEPT = 16
"""Programs that are kept compiled, and unpacked."""
PRELOADED = (
    *("bisect", "cmath", "collections.abc", "copy", "csv", "heapq", "json", "operator", "random", "statistics"),
    *("string", "textwrap", "typing"),
)
"""Modules that jobs find imported, beside those of the runtime. Only such are here whose import gives the same in
every process, at any time: a test looks at what they do. Of packages nobody knows that, so each job imports its own."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A job to start."""

    program: program_file.Program | str
    """Or what is wrong with it."""
    name: str
    """Name of the result."""
    workunit: str
    """Name of the workunit."""
    input: bytes | None
    """The input; None: it is in the slot directory."""


@dataclasses.dataclass(frozen=True, slots=True)
class Over:
    """A job that is over."""

    status: int
    """As ``os.wait`` returns it."""
    cpu_time: float
    """Seconds."""
    peak_memory: int
    """Bytes."""
    strays: bool
    """It has left processes that still run."""


class Forker:
    """The other process's end: what it is told, and what it says."""

    def __init__(self, pid: int, requests: int, answers: int) -> None:
        self.pid = pid
        self.answers = answers
        """Descriptor that is readable when a job is over, and when the process has ended."""
        self._requests = requests

    def begin(self, request: Request) -> None:
        """Start a job."""
        program = request.program
        fields = program if isinstance(program, str) else dataclasses.astuple(program)
        _send(self._requests, (fields, request.name, request.workunit, request.input))

    def end(self) -> Over:
        """Return what became of the job. Blocks until it is over; raises EOFError if the process has ended."""
        return Over(*_receive(self.answers))


def start(slot_dir: str, project_dir: str, close: int) -> Forker:
    """Start the process, for jobs in *slot_dir*. *close* is no descriptor for it.

    In that process, and in those of the jobs, it raises SystemExit instead: each is to end as Python ends.
    """
    requests, answers = os.pipe(), os.pipe()
    host = os.getpid()
    pid = os.fork()
    if pid:
        os.close(requests[0])
        os.close(answers[1])
        return Forker(pid, requests[1], answers[0])
    os.setpgid(0, 0)
    for descriptor in (requests[1], answers[0], close):
        os.close(descriptor)
    _die_with(host)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans among a job's processes become children of this one
    sys.exit(_serve(requests[0], answers[1], slot_dir, project_dir))


def _serve(requests: int, answers: int, slot_dir: str, project_dir: str) -> int:
    """Do jobs until nobody asks for any more; return the exit status, in the process of a job that job's."""
    stderr = os.path.join(slot_dir, slot.STDERR)
    host = os.getpid()
    programs = _Programs()
    for name in PRELOADED:
        importlib.import_module(name)
    before = ending.Before()
    gc.disable()
    _freeze()
    while True:
        try:
            fields, name, workunit, data = _receive(requests)
        except EOFError:
            return 1
        _reap()
        prepared = fields if isinstance(fields, str) else programs.prepare(program_file.Program(*fields))
        # What can be done on this side is done here: a child has to copy each page of memory that it uses.
        init = init_data.InitData(wu_name=workunit, result_name=name, project_dir=project_dir, client_pid=host)
        pid = os.fork()
        if pid == 0:
            return _run(prepared, slot_dir, stderr, init, data, (requests, answers), before)
        _, status, usage = os.wait4(pid, 0)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        _send(answers, (status, usage.ru_utime + usage.ru_stime, peak, not _reap()))


def _run(
    prepared: slave.Prepared | str,
    slot_dir: str,
    stderr: str,
    init: init_data.InitData,
    data: bytes | None,
    close: tuple[int, ...],
    before: ending.Before,
) -> int:
    """Run the job and return the exit status; the process is a child that was just forked."""
    try:
        os.setsid()
        _die_with(init.client_pid)
        for descriptor in close:
            os.close(descriptor)
        output = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        gc.enable()
        if isinstance(prepared, str):
            failures.say(f"the program can't be started: {prepared}")
            return int(failures.INIT_FAILURE)
        status: int = slave.run(prepared, slot_dir, init, data)
        if before.is_end_unseen(prepared.program.modules) and _flush():
            atexit._run_exitfuncs()
            os._exit(status)
        return status
    except BaseException:
        traceback.print_exc()
        return int(failures.CHILD_FAILED)


def _flush() -> bool:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False  # for Python to deal with
    return True


class _Programs:
    """The programs of the last jobs, compiled."""

    def __init__(self) -> None:
        self._known: dict[str, slave.Prepared] = {}

    def prepare(self, program: program_file.Program) -> slave.Prepared | str:
        """Return *program* ready to run, or what is wrong with it."""
        prepared = self._known.pop(program.root, None)
        if prepared is None:
            try:
                prepared = slave.prepare(program)
            except (program_file.Refused, OSError) as error:
                return str(error)
            _freeze()
        self._known[program.root] = prepared  # last: the order is that of use
        if len(self._known) > PROGRAMS_KEPT:
            self._known.pop(next(iter(self._known)))
        return prepared


def _reap() -> bool:
    """Wait for those children that have ended; tell whether these were all."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _die_with(parent: int) -> None:
    """Have this process killed when its parent ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it has ended already


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc.prctl(option, value, 0, 0, 0)


_libc = ctypes.CDLL(None)


def _freeze() -> None:
    """Keep the garbage collector off what is there: a child that looked through it would copy it."""
    gc.collect()
    gc.freeze()


def _send(descriptor: int, message: tuple[Any, ...]) -> None:
    content = marshal.dumps(message)
    data = len(content).to_bytes(4, "big") + content
    while data:
        data = data[os.write(descriptor, data) :]


def _receive(descriptor: int) -> tuple[Any, ...]:
    message: tuple[Any, ...] = marshal.loads(_read(descriptor, int.from_bytes(_read(descriptor, 4), "big")))
    return message


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = os.read(descriptor, size - len(data))
        if not block:
            raise EOFError
        data += block
    return data
