"""Finds what a batch's counters don't show: changes that somebody has made to single workunits.

BOINC's tools may cancel a workunit and leave it until its transition time, days ahead, or delete its row with
``db_purge``. A patrol looks at a few unfinished jobs at a time, so it costs the same however large the batch is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from aioboinc import models
from aioboinc.aio import threads
from aioboinc.batch import directory as batch_directory
from aioboinc.passes import failures, publishing

if TYPE_CHECKING:
    from aioboinc.store import Store
    from aioboinc.store.batches import Job

__all__ = ["Jobs", "Patrol"]

_SLICE = 500
"""Jobs to look at in one pass."""
_LOST = "its workunit is not in the project's database any more: somebody has deleted it before it was done"

_log = logging.getLogger(__name__)


class Jobs(Protocol):
    """Knows what has been handled so far: `session.Session`."""

    def unhandled(self, first: int, end: int, limit: int) -> list[int]:
        """Return the numbers, from *first* up to *end*, of the first *limit* jobs that are not handled."""

    def workunit_name(self, number: int) -> str:
        """Return the name of the workunit that the job *number* is in."""


class Patrol:
    """Goes through the unfinished jobs of *batch* again and again."""

    def __init__(
        self,
        store: Store,
        directory: batch_directory.BatchDirectory,
        batch: int,
        jobs: Jobs,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._directory = directory
        self._batch = batch
        self._jobs = jobs
        self._clock = clock
        self._next = 0
        self._usable = True

    async def one_pass(self, submitted: int) -> int:
        """Look at the next of the *submitted* jobs; return how many were put right.

        Cancelled ones are made due for the transitioner. Ones that are gone are published as failed.
        """
        numbers = self._jobs.unhandled(self._next, submitted, _SLICE)
        self._next = numbers[-1] + 1 if len(numbers) == _SLICE else 0
        if not numbers:
            return 0
        names = list(dict.fromkeys(map(self._jobs.workunit_name, numbers)))
        known = await self._store.batches.jobs(names)
        count = 0
        stuck = [job.id for job in known.values() if _is_stuck(job, self._clock())]
        if stuck:
            count += await self._store.cancellations.hasten(stuck)
        gone = [name for name in names if name not in known]
        if gone:
            count += await threads.in_thread(self._publish, gone)
        return count

    async def check_application(self, name: str) -> None:
        """Warn, once, when hosts get no more jobs because the application was taken out of use."""
        app = await self._store.batches.app(name)
        usable = app is not None and app.versions > 0
        if self._usable and not usable:
            _log.warning(
                "the application %s has no version in use any more: hosts get no jobs until setup is run", name
            )
        self._usable = usable

    def _publish(self, names: Sequence[str]) -> int:
        """Publish the jobs *names* as failed, unless they are published. Blocks."""
        lost = [name for name in names if not self._directory.has(name, f"{name}.error")]
        items = [
            publishing.Item(
                number,
                str(self._directory.path),
                f"{name}.error",
                content=failures.report(name, 0, (), _LOST),
            )
            for number, name in enumerate(lost)
        ]
        outcome = publishing.publish(items)
        for error in outcome.errors.values():
            raise error
        return len(lost)


def _is_stuck(job: Job, now: float) -> bool:
    """Tell whether *job* is cancelled and waits for its transition time."""
    cancelled = bool(job.error_mask & models.ErrorMask.CANCELLED)
    return cancelled and job.assimilate_state == models.AssimilateState.INIT and job.transition_time > now
