"""One pass of the assimilator: finished jobs are published in their batch directories, and counted."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aioboinc import failures, pipeline, publishing, service
from aioboinc import project as projects
from aioboinc.store.assimilations import Execution, Published, Workunit

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["Held", "one_pass"]

_FILE_NAME = re.compile(rb"<file_name>([^<]+)</file_name>")

_log = logging.getLogger(__name__)


class Held:
    """Batches to which nothing can be published now, left alone for delays that grow."""

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
    project: projects.Project,
    held: Held,
    *,
    appid: int,
    limit: int = 1000,
    share: tuple[int, int] = (1, 0),
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Publish all jobs of the application that are finished, *limit* at a time; return their number.

    Batches whose directories can't be written to, and workunits that are not ours, are *held*, by the clock
    *monotonic*: keep that between passes. Of *share* (n, r) only workunits with id % n == r. Once *stop* returns true,
    what was published is still counted. *stop* is called in another thread too.
    """
    after = 0
    async with pipeline.Behind() as behind:
        while not stop():
            now = monotonic()
            workunits = await store.assimilations.ready(
                appid, limit=limit, after=after, held=held.batches(now), share=share
            )
            if workunits:
                published = await _publish(store, project, held, workunits, now, stop)
                if published:
                    await behind.start(store.assimilations.finish(published, now=int(clock())))
            if len(workunits) < limit:
                break
            after = workunits[-1].id
    if behind.count:
        _log.info("assimilated %d workunits", behind.count)
    return behind.count


async def _publish(
    store: Store,
    project: projects.Project,
    held: Held,
    workunits: Sequence[Workunit],
    now: float,
    stop: Callable[[], bool],
) -> list[Published]:
    """Publish *workunits* where that can be done now; return those that are published."""
    batches = {workunit.batch for workunit in workunits}
    directories = {
        batch: _absolute(directory, project)
        for batch, directory in (await store.assimilations.directories(batches)).items()
    }
    for batch in batches - directories.keys():
        if held.hold(batch, now):
            _log.warning("[BATCH#%d] left alone: its workunits were not submitted by aioboinc", batch)
    ours = [workunit for workunit in workunits if workunit.batch in directories]
    outputs = [workunit for workunit in ours if _output_name(workunit)]
    outcome = await service.in_thread(
        publishing.publish,
        [_output(project, workunit, directories[workunit.batch]) for workunit in outputs],
        stop,
    )
    published = [Published(workunit, False) for workunit in outputs if workunit.id in outcome.published]
    failed = [workunit for workunit in ours if workunit.id in outcome.missing or not _output_name(workunit)]
    errors = dict(outcome.errors)
    if project.embedded and any(isinstance(error, FileNotFoundError) for error in errors.values()):
        await service.in_thread(_make_directories, project, outputs)
    if failed:
        executions = await store.assimilations.executions([workunit.id for workunit in failed])
        outcome = await service.in_thread(
            publishing.publish,
            [
                _failure(workunit, directories[workunit.batch], executions.get(workunit.id, []))
                for workunit in failed
            ],
            stop,
        )
        published += [Published(workunit, True) for workunit in failed if workunit.id in outcome.published]
        errors.update(outcome.errors)
    _hold(held, directories, errors, now)
    return published


def _make_directories(project: projects.Project, workunits: Sequence[Workunit]) -> None:
    """Make the directories of outputs: on this machine they are not on a disk that will come back, but removed.

    The next attempt sees that what was in them is gone.
    """
    for workunit in workunits:
        os.makedirs(project.upload_path(_output_name(workunit)).parent, exist_ok=True)


def _absolute(directory: str, project: projects.Project) -> str:
    """Return the path of a batch directory. That of an embedded project is stored relative to it.

    So both may be moved, and may have a path that no text in a database can hold.
    """
    return os.path.normpath(os.path.join(project.root, directory))


def _hold(held: Held, directories: Mapping[int, str], errors: Mapping[str, OSError], now: float) -> None:
    """Hold the batches in whose directories *errors* have happened, and those only."""
    for batch, directory in directories.items():
        if directory in errors:
            level = logging.WARNING if held.hold(batch, now) else logging.DEBUG
            _log.log(level, "[BATCH#%d] can't publish, will try again: %s", batch, errors[directory])
        elif held.release(batch):
            _log.info("[BATCH#%d] publishing again in %s", batch, directory)


def _output_name(workunit: Workunit) -> str:
    """Return the name of the canonical output file; empty if there is none."""
    if not workunit.canonical_resultid or workunit.xml_doc_in is None:
        return ""
    match = _FILE_NAME.search(workunit.xml_doc_in)
    return match[1].decode() if match else ""


def _output(project: projects.Project, workunit: Workunit, directory: str) -> publishing.Item:
    name = _output_name(workunit)
    # project.upload_path(name), as text: making that Path would take longer than linking the file.
    path = f"{project.upload_dir}/{projects.fanout_directory(name, project.fanout)}/{name}"
    return publishing.Item(workunit.id, directory, workunit.name, source=path)


def _failure(workunit: Workunit, directory: str, executions: Sequence[Execution]) -> publishing.Item:
    reason = ""
    if workunit.canonical_resultid:
        reason = "its output file is not there any more"
        _log.critical("[WU#%d %s] %s", workunit.id, workunit.name, reason)
    content = failures.report(workunit.name, workunit.error_mask, executions, reason)
    return publishing.Item(workunit.id, directory, f"{workunit.name}.error", content=content)
