"""That a batch exists: its row in the project, and the checkpoint beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator

from aioboinc import errors, printable
from aioboinc.aio import threads
from aioboinc.batch import ledger, opening
from aioboinc.batch.directory import BatchDirectory
from aioboinc.project import config
from aioboinc.store import batches

__all__ = ["Record"]


class Record:
    """The row and the checkpoint of the batch in *directory*, which is *opened*."""

    def __init__(self, directory: BatchDirectory, opened: opening.Opened) -> None:
        self.checkpoint = opened.checkpoint
        self._directory = directory
        self._place = opened.place
        self._app = opened.app

    async def row(self) -> batches.Progress:
        """Find or make the batch's row. Raises `errors.UsageError`, `errors.DatabaseError`."""
        store = self._place.store
        project = self._place.project
        known = self.checkpoint.batch
        if known is not None and await store.batches.find(self.checkpoint.token) is None:
            raise errors.CheckpointError(
                f"{self._directory.path}: the database of {project.root} does not know the batch {known} any more: "
                "restore the database, or start anew with --fresh; the outputs so far are in old/ and new/"
            )
        batch = await store.batches.find_or_create(
            self.checkpoint.token,
            appid=self._app.id,
            name=printable.line(f"{self._directory.path.name} {self.checkpoint.token[:8]}"),
            directory=os.pardir if project.kind is config.Kind.EMBEDDED else str(self._directory.path),
            version=ledger.VERSION,
            taken=await threads.in_thread(self._directory.batches) if known is None else (),
        )
        if known != batch.id:
            self.checkpoint = dataclasses.replace(self.checkpoint, batch=batch.id)
            await self.note("submitting")
        return batch

    async def note(self, state: str) -> None:
        """Write *state* into the checkpoint."""
        self.checkpoint = dataclasses.replace(self.checkpoint, state=state)
        await self._directory.write_checkpoint(self.checkpoint)

    @contextlib.asynccontextmanager
    async def withdrawn_if_empty(self) -> AsyncIterator[None]:
        """If the body fails, remove the row and the checkpoint of a batch that has no jobs."""
        try:
            yield
        except Exception:
            if self.checkpoint.batch is not None:
                # Without the database the rows stay, and so does the checkpoint that finds them.
                with contextlib.suppress(errors.DatabaseError):
                    if await self._place.store.batches.withdraw(self.checkpoint.batch):
                        await threads.in_thread(self._directory.withdraw)
            raise
