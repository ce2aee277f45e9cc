"""What the project's database says of a job: how far it is, who has computed it, what it has printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aioboinc import models, printable
from aioboinc.passes import failures
from aioboinc.store import executions

__all__ = ["JobInfo", "State", "described"]

State = Literal["submitting", "waiting", "running", "validating", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class JobInfo:
    """A job at one moment, as the project's database knows it."""

    state: State
    """How far it is.

    ``submitting``: not in the project yet. ``waiting``: no host has it. ``running``: a host has it. ``validating``:
    outputs have come back, and are compared, or more are needed. ``done``, ``failed``, ``cancelled``: it is over.
    """
    fraction_done: float
    """0 to 1: how many of the outputs that it needs (its quorum) have come back.

    How far a host is within an execution, its client shows; BOINC's database is not told.
    """
    host_count: int
    """Number of hosts that have got it so far."""
    run_time: float
    """Seconds that the execution took whose output is the job's; until there is one, the last that was reported."""
    stdout: str
    """The end of what the slave has printed in that execution, on stdout and stderr, some thousand characters.

    Control characters but ends of lines and tabs are escaped.
    """


def described(workunit: executions.Workunit | None, *, done: bool, failed: bool) -> JobInfo:
    """Return what there is to say of a job whose *workunit* is this, None if the database does not have it.

    A project may have deleted the rows of one that is *done*, or *failed*: nothing else is known of that.
    """
    if workunit is None:
        state: State = "failed" if failed else "done" if done else "submitting"
        return JobInfo(state, float(done), 0, 0.0, "")
    over = [execution for execution in workunit.executions if execution.received_time]
    over.sort(key=lambda execution: (execution.is_canonical, execution.received_time))
    successes = sum(execution.is_success for execution in workunit.executions)
    state = _state(workunit, done=done, failed=failed)
    is_over = state in {"done", "failed", "cancelled"}
    return JobInfo(
        state=state,
        fraction_done=1.0 if is_over else min(1.0, successes / max(1, workunit.min_quorum)),
        host_count=len({execution.hostid for execution in workunit.executions} - {0}),
        run_time=over[-1].elapsed_time if over else 0.0,
        stdout=printable.lines(failures.written(over[-1].stderr.decode("utf-8", "replace"))) if over else "",
    )


def _state(workunit: executions.Workunit, *, done: bool, failed: bool) -> State:
    if not failed and (done or any(execution.is_canonical for execution in workunit.executions)):
        return "done"
    if workunit.error_mask & models.ErrorMask.CANCELLED:
        return "cancelled"
    if failed or workunit.error_mask:
        return "failed"
    if any(execution.server_state == models.ServerState.IN_PROGRESS for execution in workunit.executions):
        return "running"
    return "validating" if any(execution.is_success for execution in workunit.executions) else "waiting"
