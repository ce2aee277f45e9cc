"""Calls: the keys that identify them in a batch, and changes to unfinished jobs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from aioboinc import connectors, models, sql
from aioboinc.store import batches, jobs, queries, transitions

__all__ = ["KEY_SIZE", "Calls", "Chunk", "add"]

KEY_SIZE = 16
"""Bytes of a key."""
_PAGE = 64
"""Chunks read at a time: two megabytes."""
_NO_KEY = bytes(KEY_SIZE)
"""Replaces the key of a call whose job was withdrawn, so that no call has it any more."""

Decide = Callable[[transitions.Workunit, Sequence[transitions.Result]], transitions.Decision]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Calls that were committed together."""

    first: int
    """Number of the first call's job."""
    keys: bytes
    """Their keys, one after the other."""
    kinds: str
    """What the master notes of their programs and options, as JSON."""


async def add(tx: connectors.Transaction, batch: int, chunk: Chunk) -> None:
    """Insert the keys of *chunk*, which must be new."""
    values = {"batch": batch, "first": chunk.first, "keys": chunk.keys, "kinds": chunk.kinds}
    await tx.execute(sql.load("calls", tx.dialect)["add"], values)


class Calls:
    """Verbs on calls."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self._sql = queries.Queries("calls", connector.dialect)
        self._batches = batches.Batches(connector, clock)
        self._transitions = transitions.Transitions(connector)
        self._clock = clock

    async def chunks(self, batch: int) -> AsyncIterator[Chunk]:
        """Yield the calls of *batch*, in the order of their numbers."""
        after = -1
        while True:
            page = {"batch": batch, "after": after, "limit": _PAGE}
            rows = await self._connector.read(lambda tx, page=page: tx.fetch_all(self._sql["rows"], page))  # type: ignore[misc]
            for row in rows:
                yield Chunk(row["first"], bytes(row["call_keys"]), _text(row["kinds"]))
            if len(rows) < _PAGE:
                return
            after = rows[-1]["first"]

    async def adopt(self, batch: int, chunks: Iterable[Chunk], *, before: int, version: int, digest: str) -> None:
        """Give all calls of a batch of version *before* their keys, in one transaction. May be done twice."""

        async def work(tx: connectors.Transaction) -> None:
            values = {"batch": batch, "before": before, "version": version, "digest": digest}
            if await tx.execute(self._sql["adopt"], values):
                for chunk in chunks:
                    await add(tx, batch, chunk)

        await self._connector.run(work)

    async def forget(self, batch: int, numbers: Collection[int], *, firsts: Sequence[int]) -> None:
        """Forget the keys of the jobs *numbers*, so that no call finds them; *firsts* are where the chunks begin."""
        await self._connector.run(lambda tx: self._forget(tx, batch, numbers, firsts))

    async def withdraw(
        self, batch: int, numbers: Collection[int], decide: Decide, *, firsts: Sequence[int]
    ) -> list[int]:
        """Cancel those of the jobs *numbers* that have no output, and `forget` them; return these.

        *decide* says what becomes of a cancelled workunit. All in one transaction.
        """

        async def work(tx: connectors.Transaction) -> list[int]:
            await self._sql.fit(tx)
            rows = await self._unfinished(tx, batch, numbers)
            await self._transitions.write(tx, rows, decide)
            cancelled = [_number(row["name"]) for row in rows]
            await self._forget(tx, batch, cancelled, firsts)
            if cancelled:
                await tx.execute(self._sql["cancelled"], {"batch": batch, "count": len(cancelled)})
                await self._batches.complete(tx, batch)
            return cancelled

        return await self._connector.run(work)

    async def change(
        self, batch: int, numbers: Collection[int], options: jobs.Options, chunks: Sequence[Chunk]
    ) -> None:
        """Give *options* to those of the jobs *numbers* that have no output; *chunks* are their updated notes."""

        async def work(tx: connectors.Transaction) -> None:
            await self._sql.fit(tx)
            ids = [row["id"] for row in await self._unfinished(tx, batch, numbers)]
            if ids:
                values = {name: getattr(options, name) for name in jobs.Options.__slots__ if name != "quorum"}
                values |= {"ids": ids, "min_quorum": options.quorum, "now": int(self._clock())}
                values["inconclusive"] = models.ValidateState.INCONCLUSIVE
                await tx.execute(self._sql["change"], values)
                unsent = [models.ServerState.INACTIVE, models.ServerState.UNSENT]
                await tx.execute(
                    self._sql["change_results"], {"ids": ids, "priority": options.priority, "unsent": unsent}
                )
            for chunk in chunks:
                values = {"batch": batch, "first": chunk.first, "keys": chunk.keys, "kinds": chunk.kinds}
                await tx.execute(self._sql["replace"], values)

        await self._connector.run(work)

    async def _unfinished(
        self, tx: connectors.Transaction, batch: int, numbers: Collection[int]
    ) -> list[connectors.Row]:
        names = [f"pyboinc_{batch}_{number}" for number in numbers]
        return await tx.fetch_all(self._sql["unfinished"], {"names": names, "init": models.AssimilateState.INIT})

    async def _forget(
        self, tx: connectors.Transaction, batch: int, numbers: Collection[int], firsts: Sequence[int]
    ) -> None:
        of_chunk: defaultdict[int, list[int]] = defaultdict(list)
        for number in numbers:
            of_chunk[max(first for first in firsts if first <= number)].append(number)
        for first, forgotten in of_chunk.items():
            row = await tx.fetch_one(self._sql["row"], {"batch": batch, "first": first})
            assert row is not None
            keys = bytearray(row["call_keys"])
            for number in forgotten:
                keys[KEY_SIZE * (number - first) : KEY_SIZE * (number - first + 1)] = _NO_KEY
            values = {"batch": batch, "first": first, "keys": bytes(keys), "kinds": _text(row["kinds"])}
            await tx.execute(self._sql["replace"], values)


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else bytes(value).decode()
