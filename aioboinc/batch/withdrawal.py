"""Jobs of calls that a run has not made, or has taken back: they are cancelled, as far as they are not done."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aioboinc.aio import threads
from aioboinc.batch import ledger, outputs
from aioboinc.batch.partition import Workunit
from aioboinc.passes import cancellation

if TYPE_CHECKING:
    from aioboinc.store import Store

__all__ = ["withdraw", "withdraw_uncalled"]

_PIECE = 500
"""Workunits to withdraw in one transaction: a tenth of a second."""


async def withdraw_uncalled(
    store: Store, batch: int, book: ledger.Ledger, found: outputs.Outputs, *, delete_delay: int
) -> int:
    """Cancel the jobs of calls that this run could have made and has not; return how many these are.

    Calls that share a workunit with one that was made stay. Raises `errors.DatabaseError`.
    """
    workunits = await threads.in_thread(_uncalled, book, found)
    return await withdraw(store, batch, book, workunits, delete_delay=delete_delay)


async def withdraw(
    store: Store,
    batch: int,
    book: ledger.Ledger,
    workunits: Sequence[tuple[Workunit, list[int]]],
    *,
    delete_delay: int,
) -> int:
    """Cancel those of *workunits*, each with its calls, that are unfinished; return how many jobs these are.

    Those of which a call is made meanwhile stay. Raises `errors.DatabaseError`.
    """
    count = 0
    decide = cancellation.decider(delete_delay)
    for begin in range(0, len(workunits), _PIECE):
        piece = {
            workunit.name(batch): numbers
            for workunit, numbers in workunits[begin : begin + _PIECE]
            if not any(map(book.is_called, numbers))
        }
        # Before, so that a call which is made meanwhile is a new job, and none that is being cancelled.
        keys = book.forget([number for numbers in piece.values() for number in numbers])
        withdrawn = await store.calls.withdraw(batch, piece, decide, firsts=book.firsts)
        book.restore({number: keys[number] for number in keys.keys() - set(withdrawn)})
        count += len(withdrawn)
    return count


def _uncalled(book: ledger.Ledger, found: outputs.Outputs) -> list[tuple[Workunit, list[int]]]:
    """Return the unfinished workunits of which this run has made no call, each with its calls."""
    uncalled = []
    for workunit, group in itertools.groupby(book.not_called(), key=book.partition.of):
        numbers = list(group)
        is_done = any(found.state(number) & outputs.THERE for number in numbers)
        if not is_done and numbers == book.partition.calls(workunit):
            uncalled.append((workunit, numbers))
    return uncalled
