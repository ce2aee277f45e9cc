"""Batches: BOINC's row, ours beside it, and the counters that the master polls."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from aioboinc import connectors, models, sql

__all__ = ["EMPTY_DIGEST", "App", "Batches", "JobDocument", "Progress"]

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
"""The running digest before the first call."""

_PAGE = 1000


@dataclass(frozen=True)
class App:
    """An application of the project."""

    id: int
    name: str
    homogeneous_redundancy: int
    """BOINC's class of equivalent hosts: 0 none, 1 fine, 2 coarse."""
    versions: int
    """Number of usable app versions."""


@dataclass(frozen=True)
class Progress:
    """The counters of a batch."""

    id: int
    njobs: int
    """Calls committed so far."""
    digest: str
    """Running SHA-256 over these calls, hexadecimal."""
    submitted: bool
    """All calls are committed."""
    nassimilated: int
    """Jobs published in the batch directory, failed ones included."""
    nerrors: int
    """Jobs published as failed."""


@dataclass(frozen=True)
class JobDocument:
    """A workunit's name and document."""

    name: str
    xml_doc: str


class Batches:
    """Verbs on batches."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self._sql = sql.load("batches", connector.dialect)
        self._clock = clock

    async def app(self, name: str) -> App | None:
        """Return the application *name*, None if the project hasn't got it, or hasn't got our table."""

        async def work(tx: connectors.Transaction) -> App | None:
            row = await tx.fetch_one(self._sql["app"], {"name": name})
            if row is None or not await tx.columns("pyboinc_batch"):
                return None
            versions = await tx.fetch_one(self._sql["app_versions"], {"appid": row["id"]})
            assert versions is not None
            return App(row["id"], row["name"], row["homogeneous_redundancy"], versions["n"])

        return await self._connector.read(work)

    async def newest(self) -> tuple[int, str] | None:
        """Return ID and token of the batch that was begun last."""

        async def work(tx: connectors.Transaction) -> tuple[int, str] | None:
            row = await tx.fetch_one(self._sql["newest"])
            return None if row is None else (row["id"], row["token"])

        return await self._connector.read(work)

    async def ids(self) -> list[int]:
        """Return the IDs of all batches."""

        async def work(tx: connectors.Transaction) -> list[int]:
            return [row["id"] for row in await tx.fetch_all(self._sql["ids"])]

        return await self._connector.read(work)

    async def find_or_create(
        self, token: str, *, appid: int, name: str, directory: str, version: int, taken: Collection[int] = ()
    ) -> Progress:
        """Return the batch with this *token*; there is exactly one, however often this is called.

        A new one has an ID that is not *taken*: the names of its files are others.

        A new one belongs to the user who may submit to the application (``user_submit_app``, as `setup` leaves
        it), else to the project's first user.
        """

        async def work(tx: connectors.Transaction) -> Progress:
            row = await tx.fetch_one(self._sql["find"], {"token": token})
            if row is not None:
                await tx.execute(self._sql["move"], {"id": row["id"], "directory": directory})
                return _progress(row)
            submitter = await tx.fetch_one(self._sql["submitter"], {"appid": appid})
            assert submitter is not None
            row = {
                "user_id": submitter["user_id"],
                "now": int(self._clock()),
                "state": models.BatchState.IN_PROGRESS,
                "name": name,
                "appid": appid,
                "description": directory[-255:],
            }
            batch = await self._new_id(tx, row, taken)
            await tx.execute(
                self._sql["create_pyboinc_batch"],
                {
                    "id": batch,
                    "appid": appid,
                    "token": token,
                    "directory": directory,
                    "digest": EMPTY_DIGEST,
                    "state": models.SubmissionState.OPEN,
                    "now": int(self._clock()),
                    "version": version,
                },
            )
            return Progress(batch, 0, EMPTY_DIGEST, False, 0, 0)

        return await self._connector.run(work)

    async def _new_id(self, tx: connectors.Transaction, row: connectors.Row, taken: Collection[int]) -> int:
        """Insert BOINC's row of a batch; return its ID, which is not *taken*."""
        passed: list[int] = []
        while (batch := await tx.insert(self._sql["create_batch"], row)) in taken:
            passed.append(batch)
        for number in passed:
            await tx.execute(self._sql["forget_batch"], {"id": number})
        return batch

    async def progress(self, batch: int) -> Progress | None:
        """Return the counters of *batch*: one row by its key, however large the batch is."""

        async def work(tx: connectors.Transaction) -> Progress | None:
            row = await tx.fetch_one(self._sql["progress"], {"id": batch})
            return None if row is None else _progress(row)

        return await self._connector.read(work, brief=True)

    async def submitted(self, batch: int, njobs: int) -> None:
        """Record that the *njobs* calls of *batch* are all."""

        async def work(tx: connectors.Transaction) -> None:
            states = {"submitted": models.SubmissionState.SUBMITTED}
            await tx.execute(self._sql["submitted"], {"id": batch, "njobs": njobs, **states})
            await tx.execute(
                self._sql["complete"],
                {
                    "id": batch,
                    "now": int(self._clock()),
                    "in_progress": models.BatchState.IN_PROGRESS,
                    "complete": models.BatchState.COMPLETE,
                    **states,
                },
            )

        await self._connector.run(work)

    async def documents(self, batch: int) -> AsyncIterator[JobDocument]:
        """Yield the jobs of *batch* in the order of their IDs; purged ones are not there any more."""
        after = 0
        while True:

            async def page(tx: connectors.Transaction, after: int = after) -> list[connectors.Row]:
                return await tx.fetch_all(self._sql["documents"], {"id": batch, "after": after, "limit": _PAGE})

            rows = await self._connector.read(page)
            if not rows:
                return
            for row in rows:
                yield JobDocument(row["name"], bytes(row["xml_doc"]).decode())
            after = rows[-1]["id"]

    async def abort(self, token: str) -> None:
        """Cancel the batch with this *token*, if there is one: no host gets its jobs any more."""

        async def work(tx: connectors.Transaction) -> None:
            row = await tx.fetch_one(self._sql["find"], {"token": token})
            if row is None:
                return
            batch = {"id": row["id"], "now": int(self._clock())}
            await tx.execute(
                self._sql["cancel_results"],
                {
                    **batch,
                    "over": models.ServerState.OVER,
                    "didnt_need": models.Outcome.DIDNT_NEED,
                    "unsent": models.ServerState.UNSENT,
                },
            )
            await tx.execute(
                self._sql["cancel_workunits"],
                {**batch, "cancelled": models.ErrorMask.CANCELLED, "done": models.AssimilateState.DONE},
            )
            await tx.execute(self._sql["abort"], {**batch, "aborted": models.BatchState.ABORTED})
            await tx.execute(self._sql["forget"], batch)

        await self._connector.run(work)


def _progress(row: connectors.Row) -> Progress:
    return Progress(
        id=row["id"],
        njobs=row["njobs"],
        digest=row["digest"],
        submitted=row["state"] == models.SubmissionState.SUBMITTED,
        nassimilated=row["nassimilated"],
        nerrors=row["nerrors"],
    )
