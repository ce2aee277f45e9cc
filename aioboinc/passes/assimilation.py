"""One pass of the assimilator: publishes finished jobs in their batch directories, and counts them.

A valid output may be lost or damaged before it is published: by a power cut, where uploads are not durable at once, by
a disk, or by a person. Then another valid result takes its place, or the job is computed again.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from aioboinc.aio import pipeline, threads
from aioboinc.passes import failures, output_process, publishing, uploaded, validation
from aioboinc.project import config
from aioboinc.store.assimilations import Execution, Published, ValidResult, Workunit
from aioboinc.wire import documents, names

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["HeldBatches", "one_pass"]

_MAX_TOLD = 10
"""Maximum number of workunits named in a log line."""

_log = logging.getLogger(__name__)


class HeldBatches:
    """Batches to which nothing can be published now; they are left alone for growing delays."""

    def __init__(self, first: float = 1.0, longest: float = 300.0) -> None:
        self._first = first
        self._longest = longest
        self._until: dict[int, float] = {}
        self._delays: dict[int, float] = {}

    def hold(self, batch: int, now: float) -> bool:
        """Leave *batch* alone for a while; return True if it was not held before."""
        delay = self._delays.get(batch, 0)
        self._delays[batch] = min(2 * delay, self._longest) if delay else self._first
        self._until[batch] = now + self._delays[batch]
        return not delay

    def release(self, batch: int) -> bool:
        """Start over with *batch*; return True if it was held before."""
        self._until.pop(batch, None)
        return self._delays.pop(batch, None) is not None

    def batches(self, now: float) -> list[int]:
        """Return the batches to leave alone."""
        return [batch for batch, until in self._until.items() if until > now]


async def one_pass(
    store: Store,
    project: config.Project,
    held: HeldBatches,
    *,
    appid: int,
    limit: int = 1000,
    share: tuple[int, int] = (1, 0),
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    stop: Callable[[], bool] = lambda: False,
    process: output_process.OutputProcess | None = None,
) -> int:
    """Publish all finished jobs of the application, *limit* at a time.

    Returns their number, including those that must be computed again because their outputs are lost.

    Batches whose directories can't be written to, and batches that are not ours, go to *held*, by the clock
    *monotonic*: keep it between passes. *share* (n, r) restricts the pass to workunits with id % n == r. Once *stop*
    returns true, what was published is still counted; *stop* is called in other threads too. Refused outputs are read
    once more, to find the reason, in *process* or else in a thread of this process.
    """
    after = reopened = 0
    fault = functools.partial(validation.fault, project, process)
    async with pipeline.Behind() as behind:
        while not stop():
            now = monotonic()
            workunits = await store.assimilations.ready(
                appid, limit=limit, after=after, held=held.batches(now), share=share
            )
            if workunits:
                published, lost = await _publish(store, project, held, workunits, fault, now, stop)
                if published:
                    await behind.start(store.assimilations.finish(published, now=int(clock())))
                reopened += await _recover(store, project, lost, now=int(clock()))
            if len(workunits) < limit:
                break
            after = workunits[-1].id
    if behind.count:
        _log.info("assimilated %d workunits", behind.count)
    return behind.count + reopened


async def _publish(
    store: Store,
    project: config.Project,
    held: HeldBatches,
    workunits: Sequence[Workunit],
    fault: failures.Fault,
    now: float,
    stop: Callable[[], bool],
) -> tuple[list[Published], dict[Workunit, str]]:
    """Publish those of *workunits* that can be published now.

    Return the published ones, and those whose outputs are lost, with what is wrong with them.
    """
    directories = await _directories(store, project, held, workunits, now)
    ours = [workunit for workunit in workunits if workunit.batch in directories]
    finished = [workunit for workunit in ours if workunit.canonical_resultid]
    failed = [workunit for workunit in ours if not workunit.canonical_resultid]
    outputs = await threads.in_thread(
        publishing.publish,
        [_output(project, workunit, directories[workunit.batch]) for workunit in finished],
        stop,
        # Ours are durable before they are reported; BOINC's upload handler leaves that to chance.
        unsynced=project.upload_dir if project.kind is config.Kind.BOINC else None,
    )
    reasons = await _publish_failures(store, failed, directories, fault, stop)
    lost = {workunit: outputs.lost[workunit.id] for workunit in finished if workunit.id in outputs.lost}
    errors = {**outputs.errors, **reasons.errors}
    if lost and project.kind is not config.Kind.EMBEDDED and not project.upload_dir.is_dir():
        # Perhaps it is not mounted: then nothing in it is lost.
        absent = FileNotFoundError(f"{project.upload_dir}: no such directory")
        errors.update({directories[workunit.batch]: absent for workunit in lost})
        lost = {}
    _hold(held, directories, errors, now)
    published = [Published(workunit, False) for workunit in finished if workunit.id in outputs.published]
    published += [Published(workunit, True) for workunit in failed if workunit.id in reasons.published]
    return published, lost


async def _directories(
    store: Store, project: config.Project, held: HeldBatches, workunits: Sequence[Workunit], now: float
) -> dict[int, str]:
    """Return the batch directories of *workunits* by batch; hold the batches that are not ours."""
    batches = {workunit.batch for workunit in workunits}
    found = await store.assimilations.directories(batches)
    for batch in batches - found.keys():
        if held.hold(batch, now):
            _log.warning("[BATCH#%d] left alone: aioboinc did not submit its workunits", batch)
    return {batch: _absolute(directory, project) for batch, directory in found.items()}


async def _publish_failures(
    store: Store,
    failed: Sequence[Workunit],
    directories: Mapping[int, str],
    fault: failures.Fault,
    stop: Callable[[], bool],
) -> publishing.Outcome:
    """Publish why workunits have failed."""
    if not failed:
        return publishing.Outcome()
    executions = await store.assimilations.executions([workunit.id for workunit in failed])
    return await threads.in_thread(
        publishing.publish,
        (  # in the thread, because it reads files
            _failure(workunit, directories[workunit.batch], executions.get(workunit.id, []), fault)
            for workunit in failed
        ),
        stop,
    )


async def _recover(store: Store, project: config.Project, lost: Mapping[Workunit, str], *, now: int) -> int:
    """Make other valid results canonical for workunits whose outputs are lost, or have them computed again.

    Returns how many workunits need another pass.
    """
    if not lost:
        return 0
    valid = await store.assimilations.valid_results([workunit.id for workunit in lost])
    intact = await threads.in_thread(_intact, project, valid, lost)
    replaced = {workunit: intact[workunit.id] for workunit in lost if workunit.id in intact}
    count = await store.assimilations.replace(replaced)
    reopened = set(
        await store.assimilations.reopen([workunit for workunit in lost if workunit not in replaced], now=now)
    )
    _tell("another valid result stands for it", {workunit: lost[workunit] for workunit in replaced})
    _tell("computed again", {workunit: flaw for workunit, flaw in lost.items() if workunit.id in reopened})
    return count + len(reopened)


def _intact(
    project: config.Project, valid: Sequence[ValidResult], workunits: Iterable[Workunit]
) -> dict[int, int]:
    """Return the first result with an intact output of each of *workunits* that has one; blocks.

    Of a workunit of several calls it must be what was lost: there may be more calls in another one than a quorum has
    agreed upon.
    """
    lost = {workunit.id: workunit for workunit in workunits}
    found: dict[int, int] = {}
    for result in valid:
        if result.workunitid in found:
            continue
        workunit = lost[result.workunitid]
        name, expected = _reported(result.xml_doc_in, result.xml_doc_out)
        is_eligible = names.count_of(workunit.name) == 1 or (
            expected is not None and expected == _reported(workunit.xml_doc_in, workunit.xml_doc_out)[1]
        )
        if is_eligible and name and not uploaded.flaw(project.upload_path(name), expected):
            found[workunit.id] = result.id
    return found


def _reported(xml_doc_in: bytes | None, xml_doc_out: bytes | None) -> tuple[str, uploaded.Reported | None]:
    """Return the name of a result's output file, and what its host has said of it."""
    name = documents.output_name(xml_doc_in or b"")
    return name, uploaded.reported(xml_doc_out, name)


def _tell(consequence: str, lost: Mapping[Workunit, str]) -> None:
    """Log one line about workunits whose outputs are lost; if they are many, it names the first ones."""
    if not lost:
        return
    told = [f"[WU#{workunit.id} {workunit.name}] its valid output {flaw}" for workunit, flaw in lost.items()]
    others = f"; and {len(told) - _MAX_TOLD} others" if len(told) > _MAX_TOLD else ""
    _log.warning("%s: %s%s", consequence, "; ".join(told[:_MAX_TOLD]), others)


def _absolute(directory: str, project: config.Project) -> str:
    """Return the path of a batch directory. That of an embedded project is stored relative to it.

    So both may be moved together, and their path need not be text that a database can store.
    """
    return os.path.normpath(os.path.join(project.root, directory))


def _hold(held: HeldBatches, directories: Mapping[int, str], errors: Mapping[str, OSError], now: float) -> None:
    """Hold the batches whose directories had *errors*, and release the others."""
    for batch, directory in directories.items():
        if directory in errors:
            level = logging.WARNING if held.hold(batch, now) else logging.DEBUG
            _log.log(level, "[BATCH#%d] can't publish, will try again: %s", batch, errors[directory])
        elif held.release(batch):
            _log.info("[BATCH#%d] publishing again in %s", batch, directory)


def _output(project: config.Project, workunit: Workunit, directory: str) -> publishing.Item:
    name, expected = _reported(workunit.xml_doc_in, workunit.xml_doc_out)
    flaw = functools.partial(uploaded.flaw, expected=expected)
    return publishing.Item(workunit.id, directory, workunit.name, source=project.upload_path(name), flaw=flaw)


def _failure(
    workunit: Workunit, directory: str, executions: Sequence[Execution], fault: failures.Fault
) -> publishing.Item:
    content = failures.report(workunit.name, workunit.error_mask, executions, fault=fault)
    return publishing.Item(workunit.id, directory, f"{workunit.name}.error", content=content)
