"""Run Python functions on thousands of machines: an asyncio front end to BOINC."""

from aioboinc._version import __version__
from aioboinc.call_queue import pyboinc_call
from aioboinc.errors import (
    AioboincError,
    BatchAborted,
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
