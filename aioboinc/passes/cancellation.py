"""Cancels the unfinished workunits of a batch: in pieces, each a short transaction, so that others are not held up.

BOINC's tools mark workunits as cancelled and leave the rest to the transitioner. That handles due workunits in their
order, some hundred a second: all other batches of the project would wait behind a large one. So we do to each workunit
what the transitioner would do. Results that no host has are over. Those at hosts stay: the scheduler tells the hosts to
abort them, and when they come back, or at their deadlines, the transitioner handles them and releases the files.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aioboinc import models
from aioboinc.passes import transition
from aioboinc.store.transitions import Decision, Result, Workunit

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["abandon", "cancel", "decide", "decider"]

_PIECE = 500
"""Workunits in a transaction: a tenth of a second."""


async def abandon(
    store: Store,
    token: str,
    *,
    delete_delay: int = 0,
    progressed: Callable[[int, int], None] = lambda done, total: None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Cancel the batch with this *token*, if there is one, including finished outputs, and forget it.

    *progressed* gets the number of cancelled jobs, and of all to cancel. If interrupted, call it again to continue.
    """
    batch = await store.cancellations.begin(token)
    if batch is None:
        return
    total = batch.unfinished
    await cancel(
        store,
        batch.id,
        finished=True,
        delete_delay=delete_delay,
        progressed=lambda done: progressed(min(done, total), total),
        clock=clock,
    )
    await store.cancellations.forget(batch.id)
    progressed(total, total)


async def cancel(
    store: Store,
    batch: int,
    *,
    finished: bool,
    delete_delay: int = 0,
    progressed: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Cancel all workunits of *batch* that are not assimilated, those with outputs only if *finished*.

    Their files are kept for *delete_delay* seconds after the last result has come back. Returns their number.
    """
    count = 0
    after = 0
    while True:
        now = int(clock())
        piece = await store.cancellations.cancel(
            batch,
            lambda workunit, results, now=now: decide(workunit, results, now, delete_delay=delete_delay),  # type: ignore[misc]
            after=after,
            limit=_PIECE,
            finished=finished,
        )
        if piece is None:
            return count
        count += piece.count
        after = piece.last
        progressed(count)


def decider(
    delete_delay: int, clock: Callable[[], float] = time.time
) -> Callable[[Workunit, Sequence[Result]], Decision]:
    """Return `decide` for workunits that are cancelled now."""
    return lambda workunit, results: decide(workunit, results, int(clock()), delete_delay=delete_delay)


def decide(workunit: Workunit, results: Sequence[Result], now: int, *, delete_delay: int = 0) -> Decision:
    """Return what becomes of *workunit* when it is cancelled, and not to be assimilated any more."""
    cancelled = dataclasses.replace(
        workunit,
        error_mask=workunit.error_mask | models.ErrorMask.CANCELLED,
        assimilate_state=models.AssimilateState.DONE,
        need_validate=0,
    )
    decision = transition.decide(cancelled, results, now, delete_delay=delete_delay)
    return dataclasses.replace(decision, before=workunit)
