"""One pass of the transitioner: decides what is next for workunits to which something has happened.

The state machine is that of BOINC's ``sched/transitioner.cpp``. It differs where BOINC's would throw work away. Limits
don't apply to a workunit that has a canonical result or outputs that wait for the validator. If no more results may be
made, it waits for those still out, as long as they can complete the quorum.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioboinc import models
from aioboinc.aio import threads
from aioboinc.project import templates
from aioboinc.store import results as new_results
from aioboinc.store.transitions import Decision, Result, Workunit

if TYPE_CHECKING:
    from aioboinc.project.config import Project
    from aioboinc.store import Store

__all__ = ["decide", "one_pass"]


_log = logging.getLogger(__name__)


async def one_pass(
    store: Store,
    project: Project,
    *,
    appid: int,
    now: int,
    limit: int = 500,
    share: tuple[int, int] = (1, 0),
    delete_delay: int = 0,
) -> int:
    """Advance up to *limit* workunits of the application that are due; return their number.

    *share* (n, r) restricts the pass to workunits with id % n == r. Files become deletable *delete_delay* seconds after
    the last result came back. Raises `errors.ProjectError` if an output template can't be read.
    """
    due = await store.transitions.due(appid, now=now, limit=limit, share=share)
    if not due:
        return 0
    made = {file: await threads.in_thread(templates.read, project, file) for file in set(due.values())}
    count = await store.transitions.advance(
        due, functools.partial(decide, now=now, delete_delay=delete_delay), made, now=now
    )
    _log.debug("%d workunits advanced", count)
    return count


def decide(workunit: Workunit, results: Sequence[Result], now: int, *, delete_delay: int = 0) -> Decision:
    """Return what becomes of *workunit*, given all its *results*.

    Deciding again gives the same, unless time has passed or other daemons have done something.
    """
    canonical = workunit.canonical_resultid
    current = [_timed_out(result, now) for result in results]
    if any(result.id == canonical and _files_are_gone(result) for result in current):
        current = [_too_late(result) for result in current]
    tally = _count(current)
    after = workunit
    new: tuple[new_results.New, ...] = ()
    if not canonical:
        error_mask = workunit.error_mask
        if tally.to_validate and tally.successes >= workunit.min_quorum and not error_mask:
            after = dataclasses.replace(after, need_validate=1)
        else:
            error_mask |= _limits_exceeded(workunit, tally)
        if error_mask:
            current = [_abandoned(result) for result in current]
            after = dataclasses.replace(
                after, error_mask=error_mask, assimilate_state=max(after.assimilate_state, _READY)
            )
        else:
            after = _unbound(after, tally)
            new = _new_results(workunit, results, tally)
    elif tally.to_validate:
        after = dataclasses.replace(after, need_validate=1)
    elif after.assimilate_state == _INIT and all(result.server_state == _OVER for result in current):
        after = dataclasses.replace(after, assimilate_state=_READY)
    times = [_safety_net(after, now), *_deadlines(current)]
    if after.assimilate_state == models.AssimilateState.DONE:
        deletable_from = max((result.received_time for result in current), default=0) + delete_delay
        if now < deletable_from:
            times.append(deletable_from)
        else:
            after, current = _release(after, current, now)
    after = dataclasses.replace(after, transition_time=min(times))
    changed = tuple(pair for pair in zip(results, current, strict=True) if pair[0] is not pair[1])
    return Decision(workunit, after, changed, new)


_INIT = models.AssimilateState.INIT
_READY = models.AssimilateState.READY
_DELETABLE = models.FileDeleteState.READY
_UNSENT = (models.ServerState.INACTIVE, models.ServerState.UNSENT)
_IN_PROGRESS = models.ServerState.IN_PROGRESS
_OVER = models.ServerState.OVER


@dataclass(slots=True)
class _Tally:
    """How many results count as what."""

    total: int = 0
    unsent: int = 0
    in_progress: int = 0
    successes: int = 0
    """Not counting those found invalid."""
    to_validate: int = 0
    """Successes that the validator has not seen yet."""
    errors: int = 0
    no_replies: int = 0
    """Lost, or given up by their volunteer."""
    not_sendable: int = 0


def _count(results: Iterable[Result]) -> _Tally:
    tally = _Tally()
    for result in results:
        tally.total += 1
        if result.server_state in _UNSENT:
            tally.unsent += 1
        elif result.server_state == _IN_PROGRESS:
            tally.in_progress += 1
        elif result.outcome == models.Outcome.SUCCESS:
            tally.successes += result.validate_state != models.ValidateState.INVALID
            tally.to_validate += result.validate_state == models.ValidateState.INIT
        elif result.outcome == models.Outcome.COULDNT_SEND:
            tally.not_sendable += 1
        elif _is_lost(result):
            tally.no_replies += 1
        elif result.outcome in {models.Outcome.CLIENT_ERROR, models.Outcome.VALIDATE_ERROR}:
            tally.errors += 1
    return tally


def _is_lost(result: Result) -> bool:
    if result.outcome == models.Outcome.CLIENT_ERROR:
        return result.exit_status == models.ExitStatus.EXIT_ABORTED_VIA_GUI  # not the job's fault
    return result.outcome in {models.Outcome.NO_REPLY, models.Outcome.CLIENT_DETACHED}


def _limits_exceeded(workunit: Workunit, tally: _Tally) -> int:
    """Return the bits of ``error_mask`` that *tally* sets."""
    error_mask = 0
    if tally.not_sendable:
        error_mask |= models.ErrorMask.COULDNT_SEND_RESULT
    if tally.errors > workunit.max_error_results:
        error_mask |= models.ErrorMask.TOO_MANY_ERROR_RESULTS
    waiting = tally.unsent + tally.in_progress
    allowed = _allowed(workunit, tally)
    in_need = _needed(workunit, tally) > 0 and not allowed and not waiting
    if in_need or tally.successes + waiting + allowed < workunit.min_quorum:
        error_mask |= models.ErrorMask.TOO_MANY_TOTAL_RESULTS
    return int(error_mask)


def _needed(workunit: Workunit, tally: _Tally) -> int:
    """Return how many more results are needed for the target."""
    return max(0, workunit.target_nresults - tally.unsent - tally.in_progress - tally.successes)


def _allowed(workunit: Workunit, tally: _Tally) -> int:
    """Return how many more results may be made."""
    return max(0, workunit.max_total_results - tally.total)


def _new_results(workunit: Workunit, results: Sequence[Result], tally: _Tally) -> tuple[new_results.New, ...]:
    if workunit.transitioner_flags == models.TransitionerFlags.NO_NEW_RESULTS:
        return ()
    count = min(_needed(workunit, tally), _allowed(workunit, tally))
    first = max((_number(result.name) for result in results), default=-1) + 1
    return tuple(
        new_results.New(
            workunitid=workunit.id,
            name=f"{workunit.name}_{number}",
            appid=workunit.appid,
            batch=workunit.batch,
            priority=workunit.priority,
            size_class=workunit.size_class,
        )
        for number in range(first, first + count)
    )


def _number(name: str) -> int:
    """Return the number at the end of a result's name."""
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def _unbound(workunit: Workunit, tally: _Tally) -> Workunit:
    """If all results have failed so far, allow hosts of other kinds."""
    if tally.errors and not (tally.successes or tally.in_progress or tally.no_replies):
        return dataclasses.replace(workunit, hr_class=0, app_version_id=0)
    return workunit


def _timed_out(result: Result, now: int) -> Result:
    if result.server_state == _IN_PROGRESS and result.report_deadline < now:
        return dataclasses.replace(result, server_state=_OVER, outcome=models.Outcome.NO_REPLY)
    return result


def _files_are_gone(result: Result) -> bool:
    return result.file_delete_state == models.FileDeleteState.DONE


def _too_late(result: Result) -> Result:
    """Give up on a success that can't be compared with anything any more."""
    if _awaits_validation(result):
        return dataclasses.replace(result, validate_state=models.ValidateState.TOO_LATE)
    return result


def _abandoned(result: Result) -> Result:
    """Neither send nor validate a result of a workunit that has failed."""
    if result.server_state in _UNSENT:
        return dataclasses.replace(result, server_state=_OVER, outcome=models.Outcome.DIDNT_NEED)
    open_states = (models.ValidateState.INIT, models.ValidateState.INCONCLUSIVE)
    if _is_success(result) and result.validate_state in open_states:
        return dataclasses.replace(result, validate_state=models.ValidateState.NO_CHECK)
    return result


def _is_success(result: Result) -> bool:
    return result.server_state == _OVER and result.outcome == models.Outcome.SUCCESS


def _awaits_validation(result: Result) -> bool:
    return _is_success(result) and result.validate_state == models.ValidateState.INIT


def _is_settled(result: Result, now: int) -> bool:
    """Tell whether *result* is over, and no longer needs the workunit's files."""
    if result.server_state != _OVER or _awaits_validation(result):
        return False
    return result.outcome != models.Outcome.NO_REPLY or now >= result.report_deadline


def _release(workunit: Workunit, results: list[Result], now: int) -> tuple[Workunit, list[Result]]:
    """Release files that nobody needs any more; the canonical result's and the inputs last."""
    settled = all(_is_settled(result, now) for result in results)
    if settled:
        file_delete_state = max(workunit.file_delete_state, _DELETABLE)
        workunit = dataclasses.replace(workunit, file_delete_state=file_delete_state)
    kept = 0 if settled else workunit.canonical_resultid
    return workunit, [result if result.id == kept else _deletable(result) for result in results]


def _deletable(result: Result) -> Result:
    failed = (models.Outcome.CLIENT_ERROR, models.Outcome.VALIDATE_ERROR)
    if result.file_delete_state != models.FileDeleteState.INIT or result.server_state != _OVER:
        return result
    if result.outcome in failed or (_is_success(result) and not _awaits_validation(result)):
        return dataclasses.replace(result, file_delete_state=_DELETABLE)
    return result


def _deadlines(results: Iterable[Result]) -> list[int]:
    return [result.report_deadline for result in results if result.server_state == _IN_PROGRESS]


def _safety_net(workunit: Workunit, now: int) -> int:
    """Return when to look again even if nothing happens."""
    if workunit.canonical_resultid or workunit.error_mask:
        return models.NEVER
    return models.safety_net(now, workunit.delay_bound)
