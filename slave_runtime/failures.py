"""Exit statuses, and which exceptions are the host's fault.

An exception is an outcome of the job, the same on every host, and goes into the output. But no memory, no disk or
a missing package says something of this host only: the job fails here and is tried on another one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Optional, Set

from aioboinc.wire import exceptions

from . import importing, program_file

__all__ = [
    "ABORTED_BY_CLIENT",
    "CHILD_FAILED",
    "DISK_LIMIT_EXCEEDED",
    "FILE_TOO_BIG",
    "INIT_FAILURE",
    "LEAVE_SECONDS",
    "MEM_LIMIT_EXCEEDED",
    "NOTHING_RETURNED",
    "NO_OUTPUT",
    "OUT_OF_MEMORY",
    "SIGNAL",
    "TIME_LIMIT_EXCEEDED",
    "HostFailure",
    "advice",
    "of_host",
    "say",
]

# BOINC's numbers (lib/error_numbers.h), where it has one.
SIGNAL = 193
"""A signal has ended the slave."""
ABORTED_BY_CLIENT = 194
"""The client told us to abort."""
CHILD_FAILED = 195
"""The host failed the slave."""
DISK_LIMIT_EXCEEDED = 196
TIME_LIMIT_EXCEEDED = 197
MEM_LIMIT_EXCEEDED = 198
OUT_OF_MEMORY = 205
"""The host has too little memory."""
INIT_FAILURE = 206
"""The slave could not be started: a program that is refused, a file that is missing."""
FILE_TOO_BIG = -131
"""The output is larger than it may be."""
NO_OUTPUT = 100
"""The slave ended without having returned an output."""
NOTHING_RETURNED = "slave returned no output: it ended without calling pyboinc_return_output"

LEAVE_SECONDS = 0.5
"""What the slave has left running is killed after that: multiprocessing has a process that still tidies up then."""

_HOST_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN",
        "EDQUOT",
        "EIO",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
        "ENOSPC",
        "ESTALE",
    )
    if hasattr(errno, name)
)
_OUT_OF_THREADS = "can't start new thread"


class HostFailure(Exception):
    """The job can't be done on this host; the text says why, ``status`` is the exit status."""

    def __init__(self, reason: str, status: int = CHILD_FAILED) -> None:
        super().__init__(reason)
        self.status = status


def of_host(error: BaseException, program: program_file.Program) -> Optional[HostFailure]:
    """Return the failure of the host that *error*, raised by *program*, shows; None if it is an outcome of the job."""
    said = exceptions.text(error)
    text = f"{exceptions.type_name(error)}: {said}"
    if exceptions.is_a(error, MemoryError):
        return HostFailure("not enough memory" + (f": {said}" if said else ""), OUT_OF_MEMORY)
    number = exceptions.field(error, OSError, "errno")
    if type(number) is int and number in _HOST_ERRNOS:
        return HostFailure(text)
    if exceptions.is_a(error, RuntimeError) and said == _OUT_OF_THREADS:
        return HostFailure(text)
    if exceptions.is_a(error, ImportError):
        return None if _is_of_program(error, program) else HostFailure(f"a package is missing or too old: {said}")
    filename = exceptions.field(error, SyntaxError, "filename")
    if type(filename) is str and _is_inside(filename, program.root):
        # The master's Python has compiled it.
        return HostFailure(f"Python {sys.version.split()[0]} is too old for the program: {text}")
    return None


def advice(error: BaseException, program: program_file.Program) -> str:
    """Return what the master should be told besides *error*, which is an outcome of the job; mostly nothing."""
    name = _missing(error)
    if not name or name in _own(program):
        return ""
    return (
        f"{name} did not come with the program, and no import statement in it names {name}. If it lies beside the "
        f'slave, send it along: include=["{name}.py"]. If it is an installed package, import it by its name: then '
        "the job is tried on other hosts where one lacks it."
    )


def say(line: str) -> None:
    """Write a line to stderr, after all that was printed, where the project's people will read it."""
    # No disk, or a slave that has closed one of them: the exit status remains.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"pyboinc: {' '.join(line.split())}", file=sys.stderr, flush=True)


def _is_of_program(error: BaseException, program: program_file.Program) -> bool:
    """Say whether *error*, an ImportError, would be the same on every host.

    It is if a module of the program lacks something, and if the program itself computes the name of a module that
    did not come with it: a host can't know whether it should have.
    """
    name = _missing(error)
    if name in _own(program):
        return True
    is_importer = _is_inside(importing.importer(exceptions.traceback(error)), program.root)
    if not name:
        return is_importer
    return is_importer and name not in importing.named(program.root, program.slave, program.modules)


def _missing(error: BaseException) -> str:
    """Return the first part of the module's name that *error* has if it is an ImportError, else nothing."""
    name = exceptions.field(error, ImportError, "name")
    return name.partition(".")[0] if type(name) is str else ""


def _own(program: program_file.Program) -> Set[str]:
    return {module.partition(".")[0] for module in program.modules}


def _is_inside(file: str, root: str) -> bool:
    return file.startswith(os.path.join(root, ""))
