"""What the master gets for a failed job: the errors of its workunit and its results, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aioboinc import models
from aioboinc.store.assimilations import Execution
from aioboinc.wire import codec, documents

__all__ = ["Fault", "describe_error", "describe_exit", "report", "written"]

Fault = Callable[[str, bytes, bytes], str]
"""Returns what is wrong with a refused output, given the job and the documents of its workunit and its result."""

_STDERR_BYTES = 4096
_OF_SLAVE = "pyboinc: "
"""Begins the line in which the runtime on a host says why it gives up."""

_EXITS: dict[int, str] = {
    models.ExitStatus.NO_OUTPUT: "the slave returned no output",
    models.ExitStatus.EXIT_STATEFILE_WRITE: "can't write the state file",
    models.ExitStatus.EXIT_SIGNAL: "killed by a signal",
    models.ExitStatus.EXIT_ABORTED_BY_CLIENT: "aborted by the client",
    models.ExitStatus.EXIT_CHILD_FAILED: "the slave's process failed",
    models.ExitStatus.EXIT_DISK_LIMIT_EXCEEDED: "used more disk than rsc_disk_bound allows",
    models.ExitStatus.EXIT_TIME_LIMIT_EXCEEDED: "took longer than rsc_fpops_bound allows",
    models.ExitStatus.EXIT_MEM_LIMIT_EXCEEDED: "used more memory than rsc_memory_bound allows",
    models.ExitStatus.EXIT_CLIENT_EXITING: "the client was stopped",
    models.ExitStatus.EXIT_UNSTARTED_LATE: "not started before the deadline",
    models.ExitStatus.EXIT_MISSING_COPROC: "a coprocessor is missing",
    models.ExitStatus.EXIT_ABORTED_BY_PROJECT: "aborted by the project",
    models.ExitStatus.EXIT_ABORTED_VIA_GUI: "aborted by the volunteer",
    models.ExitStatus.EXIT_UNKNOWN: "ended in an unknown way",
    models.ExitStatus.EXIT_OUT_OF_MEMORY: "out of memory",
    models.ExitStatus.EXIT_INIT_FAILURE: "could not be started",
    models.ExitStatus.EXIT_NO_SUB_TASKS: "no sub-tasks",
    models.ExitStatus.EXIT_SUB_TASK_FAILURE: "a sub-task failed",
    models.ExitStatus.EXIT_OVERDUE_EXCEEDED: "too long after the deadline",
    models.ExitStatus.ERR_FOPEN: "a file could not be opened",
    models.ExitStatus.ERR_GIVEUP_DOWNLOAD: "a download timed out",
    models.ExitStatus.ERR_GIVEUP_UPLOAD: "the upload timed out",
    models.ExitStatus.ERR_MD5_FAILED: "a file arrived with a wrong MD5 sum",
    models.ExitStatus.ERR_RSA_FAILED: "a file's signature is wrong",
    models.ExitStatus.ERR_FILE_TOO_BIG: "the output is larger than max_nbytes allows",
    models.ExitStatus.ERR_FORK: "no process could be made",
    models.ExitStatus.ERR_EXEC: "the program could not be executed",
    models.ExitStatus.ERR_NOT_FOUND: "a file was not found",
    models.ExitStatus.ERR_RSC_LIMIT_EXCEEDED: "used more than a resource's bound",
    models.ExitStatus.ERR_RESULT_START: "could not be started",
    models.ExitStatus.ERR_RESULT_DOWNLOAD: "the download failed",
    models.ExitStatus.ERR_RESULT_UPLOAD: "the upload failed",
    models.ExitStatus.ERR_ABORTED_VIA_GUI: "aborted by the volunteer",
    models.ExitStatus.ERR_WRONG_SIZE: "a file arrived with a wrong size",
    models.ExitStatus.ERR_ABORTED_BY_PROJECT: "aborted by the project",
    models.ExitStatus.ERR_HTTP_PERMANENT: "a file is not on the server",
    models.ExitStatus.ERR_TOO_MANY_EXITS: "ended too often without having finished",
    models.ExitStatus.ERR_ABORTED_ON_EXIT: "aborted when the client was stopped",
}

_ERRORS: dict[int, str] = {
    models.ErrorMask.COULDNT_SEND_RESULT: "no host could get it",
    models.ErrorMask.TOO_MANY_ERROR_RESULTS: "too many of its results failed",
    models.ErrorMask.TOO_MANY_SUCCESS_RESULTS: "its outputs do not agree",
    models.ErrorMask.TOO_MANY_TOTAL_RESULTS: "too many results without a quorum",
    models.ErrorMask.CANCELLED: "cancelled",
    models.ErrorMask.NO_CANONICAL_RESULT: "no canonical result",
}

_VALIDATE_STATES: dict[int, str] = {
    models.ValidateState.INIT: "not compared with others",
    models.ValidateState.VALID: "valid",
    models.ValidateState.INVALID: "its output differs from the quorum's",
    models.ValidateState.NO_CHECK: "not compared with others",
    models.ValidateState.INCONCLUSIVE: "its output agrees with too few others",
    models.ValidateState.TOO_LATE: "came too late",
}

_OUTCOMES: dict[int, str] = {
    models.Outcome.COULDNT_SEND: "could not be sent",
    models.Outcome.NO_REPLY: "no reply from the host before the deadline",
    models.Outcome.VALIDATE_ERROR: "the validator has refused its output",
    models.Outcome.CLIENT_DETACHED: "the host left the project",
}


def describe_exit(exit_status: int) -> str:
    """Return an exit status in words, with BOINC's name for it."""
    words = _EXITS.get(exit_status)
    if words is None:
        return f"exit status {exit_status}"
    name = "" if exit_status == models.ExitStatus.NO_OUTPUT else f"{models.ExitStatus(exit_status).name}: "
    return f"exit status {exit_status} ({name}{words})"


def describe_error(exit_status: int, stderr_out: str) -> str:
    """Return why an execution failed: its exit status, and what the runtime or the client says about it."""
    stderr = written(stderr_out)
    said = [line[len(_OF_SLAVE) :] for line in stderr.splitlines() if line.startswith(_OF_SLAVE)]
    said = said or documents.client_messages(stderr_out)
    words = describe_exit(exit_status)
    if said and said[-1].endswith(f" status {exit_status}"):
        return said[-1]
    return f"{words}: {said[-1]}" if said else words


def written(stderr_out: str) -> str:
    """Return the end of what the slave wrote to stderr; clients wrap that in XML."""
    return documents.stderr_text(stderr_out).encode()[-_STDERR_BYTES:].decode("utf-8", "ignore")


def report(
    job: str, error_mask: int, executions: Iterable[Execution], reason: str = "", *, fault: Fault | None = None
) -> bytes:
    """Return the report to publish for the failed workunit *job*. Blocks.

    *reason* is a cause besides the workunit's *error_mask* and its *executions*. Validators don't store why they refuse
    an output: BOINC has no column for that. So *fault* reads the output's file once more; it is kept until the report
    is published.
    """
    results = [_result(job, execution, fault) for execution in executions if _counts(execution)]
    return codec.encode(
        {
            "pyboinc": 1,
            "job": job,
            "reason": reason or _reason(error_mask, results),
            "error_mask": error_mask,
            "results": results,
        }
    )


def _counts(execution: Execution) -> bool:
    return execution.server_state == models.ServerState.OVER and execution.outcome != models.Outcome.DIDNT_NEED


def _reason(error_mask: int, results: Sequence[dict[str, Any]]) -> str:
    causes = [words for bit, words in _ERRORS.items() if error_mask & bit] or ["no canonical result"]
    reasons = list(dict.fromkeys(result["reason"] for result in results))
    return ", ".join(causes) + (f": {'; '.join(reasons)}" if reasons else "")


def _result(job: str, execution: Execution, fault: Fault | None) -> dict[str, Any]:
    text = (execution.stderr or b"").decode("utf-8", "replace")
    found = ""
    refused = execution.outcome == models.Outcome.VALIDATE_ERROR
    if refused and fault is not None and execution.xml_doc and execution.xml_doc_in:
        found = fault(job, execution.xml_doc, execution.xml_doc_in)
    return {
        "name": execution.name,
        "reason": found or _result_reason(execution, text),
        "exit_status": execution.exit_status,
        "stderr": written(text),
    }


def _result_reason(execution: Execution, stderr_out: str) -> str:
    if execution.outcome == models.Outcome.SUCCESS:
        return _VALIDATE_STATES.get(execution.validate_state, "")
    if execution.outcome != models.Outcome.CLIENT_ERROR:
        return _OUTCOMES.get(execution.outcome, f"outcome {execution.outcome}")
    return describe_error(execution.exit_status, stderr_out)
