"""What an output file says of a job: a value, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aioboinc import errors
from aioboinc.wire import codec, envelope

__all__ = ["Decoder", "Output"]

_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Output:
    """What became of one job."""

    number: int
    value: Any
    """What the slave returned; None if the job failed."""
    error: errors.JobFailed | None


class Decoder:
    """Decodes outputs of jobs whose names begin with *prefix*. What can't be decoded is an error of its job.

    *located* returns an error that is a job's output, with the line numbers of its traceback as in the user's files.
    """

    def __init__(self, prefix: str, located: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        self._prefix = prefix
        self._located = located

    def output(self, number: int, data: bytes, registry: codec.Registry, *, failed: bool) -> Output:
        """Decode the output of a workunit of one call or, if that has *failed*, the report about it."""
        job = f"{self._prefix}{number}"
        try:
            return _job_failed(job, number, data) if failed else self._of_single(job, number, data, registry)
        except Exception as error:  # from a class of the program, say, or out of memory
            return self._unreadable(number, error)

    def call(self, number: int, piece: bytes, registry: codec.Registry) -> Output:
        """Decode what an output of several calls says of one."""
        try:
            is_ok, value = envelope.decode_call(piece, registry)
            return self._told(number, is_ok, value)
        except codec.Malformed as error:
            return self.malformed(number, error)
        except Exception as error:
            return self._unreadable(number, error)

    def malformed(self, number: int, error: codec.Malformed) -> Output:
        """Return the output of a job whose file is malformed."""
        failure = errors.JobFailed(f"{self._prefix}{number}", number, f"malformed output: {error}")
        failure.__cause__ = errors.MalformedResult(str(error))
        return Output(number, None, failure)

    def _of_single(self, job: str, number: int, data: bytes, registry: codec.Registry) -> Output:
        try:
            decoded = envelope.decode(data, registry)
            if decoded.job != job:
                raise codec.Malformed(f"it is the output of {decoded.job}")
        except codec.Malformed as error:
            return self.malformed(number, error)
        return self._told(number, decoded.status == "ok", decoded.value)

    def _told(self, number: int, is_ok: bool, value: Any) -> Output:
        """Return what a call has said itself: its value or its exception."""
        if is_ok:
            return Output(number, value, None)
        remote = self._located(number, value)
        trace = envelope.format_traceback(remote)
        job = f"{self._prefix}{number}"
        return Output(number, None, errors.RemoteError(job, number, remote["type"], remote["message"], trace))

    def _unreadable(self, number: int, error: Exception) -> Output:
        reason = f"its output can't be read here: {_described(error)}"
        return Output(number, None, errors.JobFailed(f"{self._prefix}{number}", number, reason))


def _described(error: Exception) -> str:
    try:
        text = str(error)[:_MAX_TEXT]
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _job_failed(job: str, number: int, data: bytes) -> Output:
    try:
        report = codec.decode(data, None)
        results = [
            errors.FailedResult(result["name"], result["reason"], result["exit_status"], result["stderr"])
            for result in report["results"]
        ]
        error = errors.JobFailed(job, number, report["reason"], results)
    except (codec.Malformed, KeyError, TypeError) as damage:
        error = errors.JobFailed(job, number, f"failed; its report is damaged: {damage}")
    return Output(number, None, error)
