"""Batches begun by version 0.1 of aioboinc: lists of calls, not sets.

Their calls had no keys. Each chunk was committed with a running SHA-256 over all calls so far, and a run had to make
the same calls in the same order. Such a batch continues if this run's first calls are those that were committed; from
then on it is a set.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from aioboinc import errors
from aioboinc import store as stores
from aioboinc.batch import ledger, queue, staging
from aioboinc.store import batches, jobs
from aioboinc.wire import documents

__all__ = ["adopted"]

_REMEDY = "Undo the change, or start a new batch with --fresh (or in another batch directory)."


async def adopted(
    batch: batches.Progress,
    receiver: queue.Receiver,
    idle: asyncio.Event,
    book: ledger.Ledger,
    store: stores.Store,
    stager: staging.Stager,
) -> tuple[list[jobs.Call], list[jobs.Call]]:
    """Give the calls of *batch* their keys, in *book* and in the database.

    Returns this run's calls that were committed before, in the order of their job numbers, and the calls after them
    that were taken from *receiver* too. Raises `errors.SubmissionMismatch`.
    """
    calls: list[jobs.Call] = []
    rest: list[jobs.Call] = []
    digest = bytes.fromhex(batches.EMPTY_DIGEST)
    while len(calls) < batch.njobs:
        taken = await receiver.take(idle, without_results=True)
        if not taken:
            raise errors.SubmissionMismatch(
                f"make_calls made only {len(calls)} of the {batch.njobs} calls submitted before. {_REMEDY}",
                len(calls),
            )
        missing = batch.njobs - len(calls)
        for call in taken[:missing]:
            digest = hashlib.sha256(digest + _record(call)).digest()
        calls += taken[:missing]
        rest = taken[missing:]
    if digest.hex() != batch.digest:
        raise await _mismatch(batch, calls, store, stager)
    chunks = []
    for begin in range(0, len(calls), queue.CHUNK_CALLS):
        for call in calls[begin : begin + queue.CHUNK_CALLS]:
            _, key = book.find(call)
            book.add(call, key)
        chunks.append(book.chunk())
    await store.calls.adopt(
        batch.id, chunks, before=batch.version, version=ledger.VERSION, digest=batches.EMPTY_DIGEST
    )
    return calls, rest


def _record(call: jobs.Call) -> bytes:
    """Return the 96 bytes that identified a call in the running digest."""
    return bytes.fromhex(call.kind.sources.fingerprint) + call.input_sha256 + call.kind.options_sha256


async def _mismatch(
    batch: batches.Progress, calls: Sequence[jobs.Call], store: stores.Store, stager: staging.Stager
) -> errors.SubmissionMismatch:
    """Find the first call that differs from the document of its committed job."""
    async for document in store.batches.documents(batch.id):
        number = int(document.name.rpartition("_")[2])
        identity = documents.identity(document.name, document.xml_doc)
        if identity.program_sha256 != await stager.program_sha256(calls[number].kind.sources):
            what = "its slave, or a module that the slave imports, has changed"
        elif identity.input_sha256 != calls[number].input_sha256:
            what = "its input differs"
        else:
            continue
        return errors.SubmissionMismatch(
            f"call {number} of make_calls is not the one that was submitted before: {what}. {_REMEDY}", number
        )
    return errors.SubmissionMismatch(
        f"the first {batch.njobs} calls of make_calls are not those that were submitted before: the options of a call "
        f"differ. {_REMEDY}"
    )
