"""Run Python functions on thousands of machines: an asyncio front end to BOINC."""

import importlib
from typing import TYPE_CHECKING, Any

from aioboinc._version import __version__

if TYPE_CHECKING:
    from aioboinc.batch.batch import Arguments, Batch
    from aioboinc.batch.blocking import run
    from aioboinc.batch.calls import pyboinc_call
    from aioboinc.batch.executor import Executor
    from aioboinc.batch.info import JobInfo
    from aioboinc.batch.job import Job
    from aioboinc.batch.master import Summary, pyboinc_master
    from aioboinc.batch.progress import Progress
    from aioboinc.errors import (
        AioboincError,
        ArgumentError,
        BatchAborted,
        BatchFailed,
        BatchLocked,
        BoundsError,
        CallOutsideBatch,
        CheckpointError,
        DatabaseError,
        FailedResult,
        JobFailed,
        MalformedResult,
        NoCalls,
        NotData,
        NotDone,
        ProgramError,
        ProjectError,
        RemoteError,
        SubmissionMismatch,
        UsageError,
    )

__all__ = [
    "AioboincError",
    "ArgumentError",
    "Arguments",
    "Batch",
    "BatchAborted",
    "BatchFailed",
    "BatchLocked",
    "BoundsError",
    "CallOutsideBatch",
    "CheckpointError",
    "DatabaseError",
    "Executor",
    "FailedResult",
    "Job",
    "JobFailed",
    "JobInfo",
    "MalformedResult",
    "NoCalls",
    "NotData",
    "NotDone",
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
    "run",
]

_MODULES = {
    "Arguments": "batch.batch",
    "Batch": "batch.batch",
    "Executor": "batch.executor",
    "Job": "batch.job",
    "JobInfo": "batch.info",
    "Progress": "batch.progress",
    "Summary": "batch.master",
    "pyboinc_call": "batch.calls",
    "pyboinc_master": "batch.master",
    "run": "batch.blocking",
}
"""Modules of the public names that are not in `errors`."""


def __getattr__(name: str) -> Any:
    """Import names when they are used: commands must handle ^C before much is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
