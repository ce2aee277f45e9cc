"""Run times of finished workunits, from which the sizes of the next ones are found out."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING

from aioboinc.batch import ledger, outputs, sizing
from aioboinc.batch.partition import Workunit

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["Timing"]

_MAX_SAMPLES = 32
"""Workunits whose run times are looked up together."""
_INTERVAL = 0.05
"""Seconds between two such queries."""


class Timing:
    """Tells *sizes* how long calls of *batch* take, while they need that."""

    def __init__(
        self, store: Store, batch: int, book: ledger.Ledger, found: outputs.Outputs, sizes: sizing.Sizes
    ) -> None:
        self._store = store
        self._batch = batch
        self._ledger = book
        self._outputs = found
        self._sizes = sizes
        self._samples: collections.deque[Workunit] = collections.deque(maxlen=_MAX_SAMPLES)
        self._news = asyncio.Event()

    def note(self, number: int) -> None:
        """Take note that there is an output of the job *number*."""
        if self._sizes.wants_times:
            workunit = self._ledger.partition.of(number)
            if not self._samples or self._samples[-1] != workunit:
                self._samples.append(workunit)
                self._news.set()

    async def run(self) -> None:
        """Look up times, until cancelled. Raises `errors.DatabaseError`."""
        while True:
            await self._news.wait()
            self._news.clear()
            workunits = {workunit.name(self._batch): workunit for workunit in self._samples}
            self._samples.clear()
            for name, seconds in (await self._store.calls.run_times(list(workunits))).items():
                self._learn(workunits[name], seconds)
            await asyncio.sleep(_INTERVAL)

    def _learn(self, workunit: Workunit, seconds: float) -> None:
        numbers = self._ledger.partition.calls(workunit)
        done = sum(1 for number in numbers if self._outputs.state(number) & outputs.THERE)
        if done:
            self._sizes.learn(bytes.fromhex(self._ledger.program(workunit.first)), done, seconds)
