"""One pass of the validator: do the outputs of a workunit agree, and which becomes canonical?

It works like BOINC's ``sched/validator.cpp`` with ``validate_util2.cpp``, with three differences. If more results have
come back than the quorum, the largest agreeing group decides, not the first that is large enough. A result that comes
after the canonical one's file was deleted is too late, not invalid. A workunit that has failed stays failed.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioboinc import models
from aioboinc.aio import pipeline, seldom, threads
from aioboinc.passes import comparators, output_process, outputs, uploaded
from aioboinc.passes.outputs import State
from aioboinc.project import config
from aioboinc.store import credit
from aioboinc.store.validations import Decision, Result, Verdict, Workunit
from aioboinc.wire import documents

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["Credit", "Output", "Policy", "State", "decide", "examine", "fault", "needed", "one_pass"]

_log = logging.getLogger(__name__)
_seldom = seldom.Seldom(_log)


class Credit(enum.Enum):
    """Where the credit for a job comes from."""

    NONE = "none"
    WORKUNIT = "workunit"
    """``canonical_credit`` of the workunit, as its submitter has set it."""
    RUN_TIME = "run time"
    """The time that valid results took on their hosts."""


@dataclass(frozen=True)
class Policy:
    """How an application's results are judged."""

    comparator: comparators.Comparator = comparators.BITWISE
    max_granted_credit: float = credit.MAX_GRANTED
    """The most that a result is granted."""
    credit: Credit = Credit.NONE
    hosts: bool = False
    """Keep the records of hosts, users and teams."""
    daily_result_quota: int = 0
    """Results that our own scheduler sends a host in a day; 0: BOINC's scheduler sends them, by its own rules."""
    on_bad: Callable[[Result, str], None] = lambda result, reason: None
    """Called for each output that is missing or malformed, in another thread."""
    retry: int = 6 * 3600
    """Seconds until outputs that could not be read are tried again."""


@dataclass(frozen=True, slots=True)
class Output:
    """A result's output file."""

    state: State
    value: Any = None
    """For a good one, what the comparator keeps of it; None if there is nothing to compare it with."""
    reason: str = ""
    """What is wrong with one that is not good."""
    ncalls: int = 1
    """Of how many calls of its workunit a good one has outcomes."""


async def one_pass(
    store: Store,
    project: config.Project,
    *,
    appid: int,
    policy: Policy,
    limit: int = 500,
    share: tuple[int, int] = (1, 0),
    clock: Callable[[], float] = time.time,
    stop: Callable[[], bool] = lambda: False,
    process: output_process.OutputProcess | None = None,
) -> int:
    """Validate all workunits of the application that wait for that, *limit* at a time; return their number.

    *share* (n, r) restricts the pass to workunits with id % n == r. Once *stop* returns true, what was decided is still
    stored; *stop* is called in other threads too. Outputs are read and compared, as *policy* says, in *process*;
    without one in a thread of this process, which is for outputs of trusted hosts.
    """
    after = 0
    async with pipeline.Behind() as behind:
        while not stop():
            workunits = await store.validations.pending(appid, limit=limit, after=after, share=share)
            if not workunits or not _can_look(project):
                break
            decisions = await threads.in_thread(examine, project, workunits, policy, stop, process)
            if any(decision.postponed for decision in decisions) and not _can_look(project):
                break
            now = int(clock())
            later = now + policy.retry
            await behind.start(
                store.validations.record(
                    decisions, now=now, later=later, hosts=policy.hosts, quota=policy.daily_result_quota
                )
            )
            if len(workunits) < limit:
                break
            after = workunits[-1].id
    if behind.count:
        _log.info("validated %d workunits", behind.count)
    return behind.count


def _can_look(project: config.Project) -> bool:
    """Tell whether the upload hierarchy is there; if not, all workunits wait until it is."""
    if project.upload_dir.is_dir():
        return True
    _seldom(logging.ERROR, "nothing can be validated: %s is not there", project.upload_dir)
    return False


def examine(
    project: config.Project,
    workunits: Sequence[Workunit],
    policy: Policy,
    stop: Callable[[], bool] = lambda: False,
    process: output_process.OutputProcess | None = None,
) -> list[Decision]:
    """Read the outputs of *workunits* and decide, until *stop* returns true. Blocks.

    Whatever goes wrong with a workunit, even an unforeseen error, postpones only that one.
    """
    decisions = []
    asked: list[tuple[Workunit, list[Result], outputs.Request]] = []
    for workunit in workunits:
        try:
            results = needed(workunit)
            identity = documents.identity(workunit.name, workunit.xml_doc.decode())
            xml_docs = [(result.xml_doc_in, result.xml_doc_out) for result in results]
            asked.append((workunit, results, _request(project, identity, xml_docs)))
        except Exception as error:
            is_known = isinstance(error, ValueError)
            _log.critical("[WU#%d %s] left alone: %s", workunit.id, workunit.name, error, exc_info=not is_known)
            decisions.append(Decision(workunit, postponed=True))
    for (workunit, results, _), reading in zip(asked, _read(asked, policy, stop, process), strict=False):
        try:
            decisions.append(_decide(workunit, results, reading, policy))
        except Exception:
            _log.critical("[WU#%d %s] postponed:", workunit.id, workunit.name, exc_info=True)
            decisions.append(Decision(workunit, postponed=True))
    return decisions


def fault(
    project: config.Project,
    process: output_process.OutputProcess | None,
    job: str,
    xml_doc: bytes,
    xml_doc_in: bytes,
) -> str:
    """Return what is wrong with an output file that a validator refused, as far as the file still shows it.

    *xml_doc* is the document of the workunit *job*, *xml_doc_in* the result's. Empty if nothing is found. The file is
    read in *process*, or else in this one. Blocks.
    """
    try:
        identity = documents.identity(job, xml_doc.decode())
    except ValueError:
        return ""
    request = _request(project, identity, [(xml_doc_in, None)])
    if process is None:
        readings = [outputs.read(request, comparators.BITWISE)]
    else:
        readings = process.read([request], lambda: False)
    return "; ".join(one.reason for reading in readings for one in reading.found if one.state is State.BAD)


def _request(
    project: config.Project,
    identity: documents.Identity,
    xml_docs: Sequence[tuple[bytes, bytes | None]],
) -> outputs.Request:
    """Return what to read of a workunit; *xml_docs* are ``xml_doc_in`` and ``xml_doc_out`` of its results."""
    names = [documents.output_name(xml_doc_in) for xml_doc_in, _ in xml_docs]
    reported = [
        uploaded.reported(xml_doc_out, name) for (_, xml_doc_out), name in zip(xml_docs, names, strict=True)
    ]
    return outputs.Request(
        identity.job,
        identity.input_sha256,
        identity.program_sha256,
        str(project.upload_dir),
        tuple(name and project.upload_path(name) for name in names),
        tuple(None if one is None else (one.nbytes, one.md5) for one in reported),
    )


def _read(
    asked: Sequence[tuple[Workunit, list[Result], outputs.Request]],
    policy: Policy,
    stop: Callable[[], bool],
    process: output_process.OutputProcess | None,
) -> Iterator[outputs.Reading]:
    if process is not None:
        yield from process.read([request for _, _, request in asked], stop)
        return
    for _, _, request in asked:
        if stop():
            return
        yield outputs.read(request, policy.comparator)


def _decide(workunit: Workunit, results: Sequence[Result], reading: outputs.Reading, policy: Policy) -> Decision:
    found = {}
    for number, (result, one) in enumerate(zip(results, reading.found, strict=True)):
        if one.state is not State.GOOD:
            _log.warning("[RESULT#%d %s] %s", result.id, result.name, one.reason)
        if one.state is State.BAD:
            policy.on_bad(result, one.reason)
        found[result.id] = Output(one.state, number, one.reason, one.ncalls)
    for complaint in reading.complaints:
        _log.critical("[WU#%d %s] comparator failed: %s", workunit.id, workunit.name, complaint)
    return decide(workunit, found, dataclasses.replace(policy, comparator=_Compared(reading.agreeing)))


@dataclass(frozen=True)
class _Compared:
    """Compares outputs by their numbers, from what was compared before."""

    agreeing: frozenset[tuple[int, int]]

    def prepare(self, data: bytes) -> int:
        raise NotImplementedError

    def agree(self, one: int, other: int) -> bool:
        return (min(one, other), max(one, other)) in self.agreeing


_UNCHECKED = (models.ValidateState.INIT, models.ValidateState.INCONCLUSIVE)


def needed(workunit: Workunit) -> list[Result]:
    """Return the results whose outputs are needed to decide on *workunit*."""
    if workunit.canonical_resultid:
        canonical = [result for result in workunit.results if _is_usable_canonical(result, workunit)]
        unchecked = [result for result in workunit.results if result.validate_state in _UNCHECKED]
        return canonical + unchecked if canonical and unchecked else []
    viable = [result for result in workunit.results if result.validate_state != models.ValidateState.INVALID]
    failed = workunit.assimilate_state != models.AssimilateState.INIT
    return [] if failed or len(viable) < workunit.min_quorum else viable


def _is_usable_canonical(result: Result, workunit: Workunit) -> bool:
    is_there = result.file_delete_state != models.FileDeleteState.DONE
    return result.id == workunit.canonical_resultid and is_there


def decide(workunit: Workunit, outputs: Mapping[int, Output], policy: Policy) -> Decision:
    """Return the decision on *workunit*, given the *outputs* of its `needed` results by their IDs."""
    if any(output.state is State.UNREADABLE for output in outputs.values()):
        return Decision(workunit, postponed=True)
    results = [result for result in workunit.results if result.id in outputs]
    if workunit.canonical_resultid:
        return _compare_with_canonical(workunit, outputs, policy)
    bad = tuple(_bad(result) for result in results if outputs[result.id].state is State.BAD)
    good = [result for result in results if outputs[result.id].state is State.GOOD]
    if len(good) < workunit.min_quorum:
        return Decision(workunit, bad)
    agreeing = _agreeing(good, outputs, workunit.min_quorum // 2 + 1, policy.comparator)
    if not agreeing:
        return _inconclusive(workunit, bad, good)
    canonical = _canonical(agreeing, outputs, workunit.min_quorum // 2 + 1)
    amount = _credit(workunit, agreeing, policy)
    verdicts = tuple(
        _valid(result, amount) if result in agreeing else _verdict(result, models.ValidateState.INVALID)
        for result in good
    )
    return Decision(workunit, bad + verdicts, canonical=canonical.id)


def _agreeing(
    results: Sequence[Result], outputs: Mapping[int, Output], enough: int, comparator: comparators.Comparator
) -> list[Result]:
    """Return the largest group that agrees with its first member, that member first.

    Empty if no group has *enough* members, or if several have the largest size; but if one member is enough, the first
    such group counts. Of groups with the same members that counts whose first one has the most calls.
    """
    groups = [
        [one] + [other for other in results if other is not one and _agree(one, other, outputs, comparator)]
        for one in results
    ]
    largest = max(groups, key=lambda group: (len(group), outputs[group[0].id].ncalls))
    rivals = [group for group in groups if len(group) == len(largest) and group[0] not in largest]
    if len(largest) < enough or (rivals and enough > 1):
        return []
    return largest


def _canonical(agreeing: Sequence[Result], outputs: Mapping[int, Output], enough: int) -> Result:
    """Return the result of those *agreeing* with the first one that stands for them.

    Of a workunit of several calls that is one with the most calls for which there are *enough* that agree: a host alone
    is not to be believed in those calls that the others have not got to.
    """
    first = outputs[agreeing[0].id].ncalls
    confirmed = sorted((outputs[result.id].ncalls for result in agreeing), reverse=True)[enough - 1]
    if confirmed >= first:
        return agreeing[0]
    return next(result for result in agreeing if outputs[result.id].ncalls == confirmed)


def _agree(one: Result, other: Result, outputs: Mapping[int, Output], comparator: comparators.Comparator) -> bool:
    try:
        return comparator.agree(outputs[one.id].value, outputs[other.id].value)
    except Exception:
        _log.critical("[RESULT#%d RESULT#%d] comparator failed:", one.id, other.id, exc_info=True)
        return False


def _inconclusive(workunit: Workunit, bad: tuple[Verdict, ...], good: Sequence[Result]) -> Decision:
    too_many = len(good) > workunit.max_success_results
    return Decision(
        workunit,
        bad + tuple(_verdict(result, models.ValidateState.INCONCLUSIVE) for result in good),
        error_mask=models.ErrorMask.TOO_MANY_SUCCESS_RESULTS if too_many else 0,
        target_nresults=len(good) + 1 if len(good) >= workunit.target_nresults else 0,
    )


def _compare_with_canonical(workunit: Workunit, outputs: Mapping[int, Output], policy: Policy) -> Decision:
    """Judge results that came after there was a canonical one."""
    canonical = next((result for result in workunit.results if _is_usable_canonical(result, workunit)), None)
    unchecked = [result for result in workunit.results if result.validate_state in _UNCHECKED]
    if canonical is None or (unchecked and outputs[canonical.id].state is State.BAD):
        too_late = models.ValidateState.TOO_LATE
        return Decision(workunit, tuple(_verdict(result, too_late) for result in unchecked))
    verdicts = []
    for result in unchecked:
        if outputs[result.id].state is State.BAD:
            verdicts.append(_bad(result))
        elif _agree(canonical, result, outputs, policy.comparator):
            verdicts.append(_valid(result, workunit.canonical_credit))
        else:
            verdicts.append(_verdict(result, models.ValidateState.INVALID))
    return Decision(workunit, tuple(verdicts))


def _credit(workunit: Workunit, valid: Sequence[Result], policy: Policy) -> float:
    if policy.credit is Credit.RUN_TIME:
        executions = [(result.elapsed_time, result.flops_estimate) for result in valid]
        return credit.from_run_time(executions, workunit.rsc_fpops_bound, policy.max_granted_credit)
    if policy.credit is Credit.WORKUNIT:
        return min(workunit.canonical_credit, policy.max_granted_credit)
    return 0.0


def _bad(result: Result) -> Verdict:
    return Verdict(result, models.Outcome.VALIDATE_ERROR, models.ValidateState.INVALID)


def _valid(result: Result, amount: float) -> Verdict:
    return Verdict(result, models.Outcome.SUCCESS, models.ValidateState.VALID, amount)


def _verdict(result: Result, state: models.ValidateState) -> Verdict:
    return Verdict(result, models.Outcome.SUCCESS, state)
