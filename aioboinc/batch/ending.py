"""What a master does when its batch was ended in the project: by BOINC's web pages or tools, or by an administrator.

What was done by then is still published and handed over. The rest is cancelled, because BOINC's tools leave workunits
until their transition times, days ahead. Then one error says what has happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from aioboinc import errors
from aioboinc.passes import cancellation

if TYPE_CHECKING:
    from aioboinc.project.config import Project
    from aioboinc.store import Store
    from aioboinc.store.batches import End, Progress

__all__ = ["Ending"]


class Ending:
    """Carries out the end of one batch, of the application *appid*, if somebody has ended it."""

    def __init__(
        self, store: Store, project: Project, appid: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._project = project
        self._appid = appid
        self._clock = clock
        self._end: End | None = None
        self.published = False
        """The batch is ended, and all that was done is published."""

    async def look(self, batch: Progress) -> None:
        """If *batch* is ended, cancel the rest, and check whether all that was done is published."""
        if batch.end is None or self.published:
            return
        if self._end is None:
            delay = self._project.delete_delay
            await cancellation.cancel(self._store, batch.id, finished=False, delete_delay=delay, clock=self._clock)
            self._end = batch.end
        self.published = not await self._store.cancellations.unpublished(batch.id, self._appid)

    def error(self, batch: int | None, *, handled: int, submitted: int) -> errors.BatchAborted:
        """Return the error to raise once all that was published is handled."""
        assert self._end is not None
        when = time.strftime(" on %Y-%m-%d at %H:%M:%S UTC", time.gmtime(self._end.when)) if self._end.when else ""
        return errors.BatchAborted(
            f"batch {batch} was {self._end.how}{when} in the project {self._project.name}, and not by this program: "
            f"{handled} of its {submitted} jobs were done, and have been handled; the others are cancelled. To compute "
            "them, start anew with --fresh"
        )
