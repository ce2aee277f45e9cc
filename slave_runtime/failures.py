"""Exit statuses, and which exceptions are the host's fault.

An exception is an outcome of the job, the same on every host, and goes into the output. But no memory, no disk or
a missing package says something of this host only: the job fails here and is tried on another one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import types
from typing import Iterable, Optional

__all__ = [
    "ABORTED",
    "CHILD_FAILED",
    "INIT_FAILURE",
    "NO_OUTPUT",
    "OUT_OF_MEMORY",
    "HostFailure",
    "of_host",
    "say",
]

# BOINC's numbers (lib/error_numbers.h), where it has one.
ABORTED = 194
"""The client told us to abort."""
CHILD_FAILED = 195
"""The host failed the slave."""
OUT_OF_MEMORY = 205
"""The host has too little memory."""
INIT_FAILURE = 206
"""The slave could not be started: a program that is refused, a file that is missing."""
NO_OUTPUT = 100
"""The slave ended without having returned an output."""

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


def of_host(error: BaseException, root: str, modules: Iterable[str]) -> Optional[HostFailure]:
    """Return the failure of the host that *error* shows, None if it is an outcome of the job.

    *root* is the directory of the program, *modules* are the names of its modules.
    """
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return HostFailure("not enough memory" + (f": {error}" if str(error) else ""), OUT_OF_MEMORY)
    if isinstance(error, OSError) and error.errno in _HOST_ERRNOS:
        return HostFailure(text)
    if isinstance(error, RuntimeError) and str(error) == _OUT_OF_THREADS:
        return HostFailure(text)
    if isinstance(error, ImportError) and not _imported_from_program(error, root, modules):
        return HostFailure(f"a package is missing or too old: {error}")
    if isinstance(error, SyntaxError) and error.filename and _is_inside(error.filename, root):
        # The master's Python has compiled it.
        return HostFailure(f"Python {sys.version.split()[0]} is too old for the program: {text}")
    return None


def say(line: str) -> None:
    """Write a line to stderr, after all that was printed, where the project's people will read it."""
    # No disk, or a slave that has closed one of them: the exit status remains.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"pyboinc: {' '.join(line.split())}", file=sys.stderr, flush=True)


def _imported_from_program(error: ImportError, root: str, modules: Iterable[str]) -> bool:
    if error.name:
        top = error.name.partition(".")[0]
        return any(module.partition(".")[0] == top for module in modules)
    return _is_inside(_innermost_file(error.__traceback__), root)


def _innermost_file(traceback: Optional[types.TracebackType]) -> str:
    file = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next
    return file


def _is_inside(file: str, root: str) -> bool:
    return file.startswith(os.path.join(root, ""))
