"""Batches: BOINC's row, ours beside it, and the counters that the master polls."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from aioboinc import connectors, models
from aioboinc.store import queries

__all__ = ["EMPTY_DIGEST", "App", "Batches", "End", "Job", "JobDocument", "Progress"]

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
class End:
    """How somebody ended a batch before it was complete."""

    how: str
    """``aborted``, ``retired`` or ``deleted``."""
    when: int
    """When it was aborted, in seconds since the epoch; 0 if unknown."""


@dataclass(frozen=True)
class Progress:
    """The counters of a batch."""

    id: int
    njobs: int
    """Calls committed so far."""
    digest: str
    """Running SHA-256 over these calls, hexadecimal."""
    submitted: bool
    """Whether all calls are committed, as far as was known at the last one."""
    nassimilated: int
    """Jobs published in the batch directory, including failed ones."""
    nerrors: int
    """Jobs published as failed."""
    version: int
    """Version of the format of the batch's rows and files."""
    end: End | None = None
    """Set if somebody has ended it, and not all of its jobs are published."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the database knows of a job."""

    id: int
    name: str
    error_mask: int
    assimilate_state: int
    transition_time: int


@dataclass(frozen=True)
class JobDocument:
    """A workunit's name and document."""

    name: str
    xml_doc: str


class Batches:
    """Verbs on batches."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self._sql = queries.Queries("batches", connector.dialect)
        self._clock = clock

    async def app(self, name: str) -> App | None:
        """Return the application *name*, None if the project lacks it, or lacks our tables."""

        async def work(tx: connectors.Transaction) -> App | None:
            row = await tx.fetch_one(self._sql["app"], {"name": name})
            if row is None or not (await tx.columns("pyboinc_batch") and await tx.columns("pyboinc_calls")):
                return None
            versions = await tx.fetch_one(self._sql["app_versions"], {"appid": row["id"]})
            assert versions is not None
            return App(row["id"], row["name"], row["homogeneous_redundancy"], versions["n"])

        return await self._connector.read(work)

    async def newest(self) -> tuple[int, str] | None:
        """Return ID and token of the newest batch."""

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

        A new one gets an ID that is not *taken*, so the names of its files are new too.

        A new one belongs to the user who may submit to the application (``user_submit_app``, as `setup` leaves
        it), else to the project's first user.
        """

        async def work(tx: connectors.Transaction) -> Progress:
            await self._sql.fit(tx)
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
            return Progress(batch, 0, EMPTY_DIGEST, False, 0, 0, version)

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
        """Record that *batch* has no more calls than *njobs*."""

        async def work(tx: connectors.Transaction) -> None:
            state = {"submitted": models.SubmissionState.SUBMITTED}
            await tx.execute(self._sql["submitted"], {"id": batch, "njobs": njobs, **state})
            await self.complete(tx, batch)

        await self._connector.run(work)

    async def documents(self, batch: int) -> AsyncIterator[JobDocument]:
        """Yield the jobs of *batch* in the order of their IDs, without purged ones."""
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

    async def find(self, token: str) -> Progress | None:
        """Return the batch with this *token*, None if there is none."""
        row = await self._connector.read(lambda tx: tx.fetch_one(self._sql["find"], {"token": token}))
        return None if row is None else _progress(row)

    async def jobs(self, names: Collection[str]) -> dict[str, Job]:
        """Return those of the jobs *names* that the database knows, by name."""
        rows = await self._connector.read(lambda tx: tx.fetch_all(self._sql["jobs"], {"names": list(names)}))
        return {row["name"]: Job(**row) for row in rows}

    async def withdraw(self, batch: int) -> bool:
        """Remove *batch* if nothing was submitted to it; tell whether it was removed."""

        async def work(tx: connectors.Transaction) -> bool:
            if not await tx.execute(self._sql["withdraw"], {"id": batch}):
                return False
            await tx.execute(self._sql["withdraw_batch"], {"id": batch})
            return True

        return await self._connector.run(work)

    async def settle(self, batch: int, appid: int) -> None:
        """Count as failed the jobs of *batch* whose workunits are gone.

        Changes nothing while there are jobs that the assimilator may still count.
        """

        async def work(tx: connectors.Transaction) -> None:
            row = await tx.fetch_one(self._sql["progress"], {"id": batch})
            if row is None or row["nassimilated"] >= row["njobs"]:
                return
            states = {
                "submitted": models.SubmissionState.SUBMITTED,
                "ready": models.AssimilateState.READY,
                "done": models.AssimilateState.DONE,
            }
            for query in ("ready", "unfinished"):  # the first is quick, and mostly decides
                if await tx.fetch_one(self._sql[query], {"id": batch, "appid": appid, **states}):
                    return
            await tx.execute(self._sql["settle"], {"id": batch, **states})
            await self.complete(tx, batch)

        await self._connector.run(work)

    async def complete(self, tx: connectors.Transaction, batch: int) -> None:
        """Mark BOINC's row of *batch* complete, if it is. Part of the caller's transaction."""
        await tx.execute(
            self._sql["complete"],
            {
                "id": batch,
                "now": int(self._clock()),
                "in_progress": models.BatchState.IN_PROGRESS,
                "complete": models.BatchState.COMPLETE,
                "submitted": models.SubmissionState.SUBMITTED,
            },
        )


def _progress(row: connectors.Row) -> Progress:
    submitted = row["state"] == models.SubmissionState.SUBMITTED
    return Progress(
        id=row["id"],
        njobs=row["njobs"],
        digest=row["digest"],
        submitted=submitted,
        nassimilated=row["nassimilated"],
        nerrors=row["nerrors"],
        version=row["version"],
        end=None if submitted and row["nassimilated"] >= row["njobs"] else _end(row),
    )


def _end(row: connectors.Row) -> End | None:
    if row["boinc_state"] is None:
        return End("deleted", 0)
    if row["boinc_state"] == models.BatchState.ABORTED:
        return End("aborted", int(row["completion_time"]))
    return End("retired", 0) if row["boinc_state"] == models.BatchState.RETIRED else None
