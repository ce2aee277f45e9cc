"""Run Python functions on thousands of machines: an asyncio front end to BOINC."""

from aioboinc._version import __version__
from aioboinc.calls import pyboinc_call
from aioboinc.errors import (
    AioboincError,
    BatchFailed,
    BatchLocked,
    CheckpointError,
    DatabaseError,
    FailedResult,
    JobFailed,
    MalformedResult,
    NoCalls,
    NotData,
    ProgramError,
    ProjectError,
    RemoteError,
    SubmissionMismatch,
    UsageError,
)
from aioboinc.master import Progress, Summary, pyboinc_master

__all__ = [
    "AioboincError",
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
    "Progress",
    "ProjectError",
    "RemoteError",
    "SubmissionMismatch",
    "Summary",
    "UsageError",
    "__version__",
    "pyboinc_call",
    "pyboinc_master",
]
