"""Every error that aioboinc raises on purpose. The text of each says what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aioboinc import printable

__all__ = [
    "AioboincError",
    "ArgumentError",
    "BatchAborted",
    "BatchFailed",
    "BatchLocked",
    "BoundsError",
    "CallOutsideBatch",
    "CheckpointError",
    "DatabaseError",
    "FailedResult",
    "JobFailed",
    "MalformedResult",
    "NoCalls",
    "NotData",
    "NotDone",
    "ProgramError",
    "ProjectError",
    "RemoteError",
    "SubmissionMismatch",
    "UsageError",
    "describe",
    "of_files",
    "of_full_disk",
]


class AioboincError(Exception):
    """Root of all errors of aioboinc. Its text is one line that is safe to print, whatever a host sent."""

    def __str__(self) -> str:
        return printable.line(super().__str__())


class UsageError(AioboincError):
    """Bad input, bad configuration or a missing server: one clear line, exit status 2."""

    at_call = False
    """Whether a call of ``pyboinc_call`` is wrong: the last line of the traceback."""


class ArgumentError(UsageError, TypeError):
    """An argument of a kind that a function does not take, or one that it does not have."""


class BoundsError(UsageError, ValueError):
    """An argument of the right kind that is out of bounds."""


class CallOutsideBatch(UsageError, RuntimeError):
    """``pyboinc_call`` outside of a running batch: not in ``make_calls`` or a handler, or too late."""


class NotDone(UsageError, RuntimeError):
    """What a job is asked for is not there yet; or it never will be in this run, as the batch was left."""


class ProgramError(UsageError):
    """A master or slave program is missing, does not parse, or imports a module that is not there."""


class NotData(UsageError, TypeError):
    """A value that the wire format does not carry; the text names the path to it."""


class NoCalls(UsageError):
    """``make_calls`` returned without having made a call."""


class ProjectError(UsageError):
    """A project directory that is missing, damaged, not set up, or not accessible."""


class CheckpointError(UsageError):
    """The batch directory's checkpoint is damaged or belongs to another project."""


class BatchLocked(UsageError):
    """Another master is running in the batch directory."""


class BatchAborted(UsageError):
    """Somebody has aborted, retired or deleted the batch; raised once the outputs so far are handled."""


class SubmissionMismatch(UsageError):
    """The calls made now are not those that were committed before.

    ``call`` is the number (from 0) of the first call that differs, or None if unknown.
    """

    def __init__(self, message: str, call: int | None = None) -> None:
        super().__init__(message)
        self.call = call


class DatabaseError(UsageError):
    """The database refused a connection or a statement; retrying will not help."""


class MalformedResult(AioboincError, ValueError):
    """Bytes from a host that are not an output in the wire format."""


@dataclass(frozen=True)
class FailedResult:
    """One unsuccessful execution of a job."""

    name: str
    """Name of the result."""
    reason: str
    """What went wrong, in words."""
    exit_status: int
    """Exit status reported by the client."""
    stderr: str
    """The end of what the execution wrote to stderr."""


class JobFailed(AioboincError):
    """A job has no output: its results failed, or no quorum agreed.

    ``job`` is the workunit's name, ``call`` the number of its call (from 0). ``reason`` says why, as the host sent it:
    only the error's own text is made safe to print.
    """

    def __init__(self, job: str, call: int, reason: str, results: Sequence[FailedResult] = ()) -> None:
        super().__init__(f"{job}: {reason}")
        self.job = job
        self.call = call
        self.reason = reason
        self.results = tuple(results)


class RemoteError(JobFailed):
    """The slave raised: ``type`` and ``message`` are the exception's, ``traceback`` the remote one as text.

    All three are as the host sent them, and may contain terminal control sequences.
    """

    def __init__(self, job: str, call: int, type: str, message: str, traceback: str) -> None:
        super().__init__(job, call, f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        lines = _LINE.findall(self.traceback)
        where = " (in {2}, {0}:{1})".format(*lines[-1]) if lines else ""
        return printable.line(f"{self.job}: {self.reason}{where}")


class BatchFailed(AioboincError, ExceptionGroup[JobFailed]):
    """Jobs of a batch failed and there is no ``handle_error``; raised after all other outputs were handled."""

    def derive(self, excs: Sequence[JobFailed]) -> BatchFailed:  # type: ignore[override]
        return BatchFailed(self.message, excs)


_LINE = re.compile(r'^ *File "(.*)", line (\d+), in (.*)$', re.MULTILINE)
"""A frame in a traceback as text."""

_REMEDIES = {
    errno.ENOSPC: "the disk is full: make room, then run the same command again",
    errno.EDQUOT: "your quota is used up: make room, then run the same command again",
    errno.EROFS: "mount the file system for writing, then run the same command again",
    errno.ENAMETOOLONG: "use a directory with a shorter path",
}


_MIN_FREE_FILES = 8
_MIN_FREE_BYTES = 1 << 18


def describe(path: Path | str, error: OSError) -> str:
    """Return one line for an operating system error on *path*, with what to do if that is known."""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{path}: {error.strerror or error}{f'; {remedy}' if remedy else ''}"


def of_full_disk(path: Path | str) -> str:
    """Return what to do if the disk of *path* has no room for another file; empty if it has, or if unknown.

    This is for errors that don't say why something failed.
    """
    try:
        status = os.statvfs(path)
    except OSError:
        return ""
    no_files = status.f_files > 0 and status.f_favail < _MIN_FREE_FILES
    return _REMEDIES[errno.ENOSPC] if no_files or status.f_bavail * status.f_frsize < _MIN_FREE_BYTES else ""


@contextlib.contextmanager
def of_files(path: Path | str, kind: type[UsageError] = UsageError) -> Iterator[None]:
    """Raise operating system errors about files below *path* as *kind*, in one line."""
    try:
        yield
    except OSError as error:
        raise kind(describe(error.filename or path, error)) from error


for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = "aioboinc"  # as users know it: tracebacks say so
