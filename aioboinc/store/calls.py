"""Calls: the keys that identify them in a batch, and changes to unfinished jobs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
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


async def replace(tx: connectors.Transaction, batch: int, chunk: Chunk) -> None:
    """Write anew what there is of *chunk*."""
    values = {"batch": batch, "first": chunk.first, "keys": chunk.keys, "kinds": chunk.kinds}
    await tx.execute(sql.load("calls", tx.dialect)["replace"], values)


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

    async def withdraw(
        self, batch: int, workunits: Mapping[str, Collection[int]], decide: Decide, *, firsts: Sequence[int]
    ) -> list[int]:
        """Cancel those of *workunits* that have no output; return the numbers of their calls, which are forgotten.

        *workunits* are the calls by the names of their workunits, *firsts* the numbers with which chunks begin.
        *decide* says what becomes of a cancelled workunit. All in one transaction.
        """

        async def work(tx: connectors.Transaction) -> list[int]:
            await self._sql.fit(tx)
            rows = await self._unfinished(tx, workunits)
            await self._transitions.write(tx, rows, decide)
            cancelled = [number for row in rows for number in workunits[row["name"]]]
            await self._forget(tx, batch, cancelled, firsts)
            if rows:
                await tx.execute(self._sql["cancelled"], {"batch": batch, "count": len(rows)})
                await self._batches.complete(tx, batch)
            return cancelled

        return await self._connector.run(work)

    async def change(
        self, batch: int, names: Collection[str], options: jobs.Options, chunks: Sequence[Chunk]
    ) -> None:
        """Give *options* to those of the workunits *names* that have no output; *chunks* are their updated notes."""

        async def work(tx: connectors.Transaction) -> None:
            await self._sql.fit(tx)
            ids = [row["id"] for row in await self._unfinished(tx, names)]
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
                await replace(tx, batch, chunk)

        await self._connector.run(work)

    async def run_times(self, names: Collection[str]) -> dict[str, float]:
        """Return the seconds that the canonical results of those of the workunits *names* took which have one."""

        async def work(tx: connectors.Transaction) -> dict[str, float]:
            await self._sql.fit(tx)
            rows = await tx.fetch_all(self._sql["run_times"], {"names": list(names)})
            return {row["name"]: row["seconds"] for row in rows}

        return await self._connector.read(work)

    async def _unfinished(self, tx: connectors.Transaction, names: Collection[str]) -> list[connectors.Row]:
        values = {"names": list(names), "init": models.AssimilateState.INIT}
        return await tx.fetch_all(self._sql["unfinished"], values)

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
            await replace(tx, batch, Chunk(first, bytes(keys), _text(row["kinds"])))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else bytes(value).decode()
