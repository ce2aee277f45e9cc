"""Every error that aioboinc raises on purpose. The text of each says what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AioboincError",
    "BatchAborted",
    "BatchFailed",
    "BatchLocked",
    "CheckpointError",
    "DatabaseError",
    "FailedResult",
    "JobFailed",
    "MalformedResult",
    "NoCalls",
    "NotData",
    "ProgramError",
    "ProjectError",
    "RemoteError",
    "SubmissionMismatch",
    "UsageError",
    "describe",
    "sole",
]


class AioboincError(Exception):
    """Root of all errors of aioboinc."""


class UsageError(AioboincError):
    """Bad input, bad configuration or a missing server: one clear line, exit status 2."""


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
    """Somebody has aborted, retired or deleted the batch; raised when the outputs of what was done are handled."""


class SubmissionMismatch(UsageError):
    """The calls made now are not those that were committed before.

    ``call`` is the number (from 0) of the first call that differs, or None if it can't be told any more.
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

    ``job`` is the workunit's name, ``call`` the number of its call (from 0), ``reason`` a line that says why.
    """

    def __init__(self, job: str, call: int, reason: str, results: Sequence[FailedResult] = ()) -> None:
        super().__init__(f"{job}: {reason}")
        self.job = job
        self.call = call
        self.reason = reason
        self.results = tuple(results)


class RemoteError(JobFailed):
    """The slave raised: ``type`` and ``message`` are the exception's, ``traceback`` the remote one as text."""

    def __init__(self, job: str, call: int, type: str, message: str, traceback: str) -> None:
        super().__init__(job, call, f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.traceback = traceback


class BatchFailed(AioboincError, ExceptionGroup[JobFailed]):
    """The jobs of a batch that failed while no ``handle_error`` was given; raised after all else was handled."""

    def derive(self, excs: Sequence[JobFailed]) -> BatchFailed:  # type: ignore[override]
        return BatchFailed(self.message, excs)


@contextlib.contextmanager
def sole() -> Iterator[None]:
    """Raise what failed in a TaskGroup as itself, not as a group of one; of several, the first."""
    try:
        yield
    except BaseExceptionGroup as group:
        if isinstance(group, BatchFailed):
            raise
        first, *others = group.exceptions
        for other in others:
            first.add_note(f"At the same time: {other!r}")
        raise first from first.__cause__


def describe(path: Path | str, error: OSError) -> str:
    """Return one line for an operating system error on *path*."""
    return f"{path}: {error.strerror or error}"
