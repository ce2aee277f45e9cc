"""Opens the project that a batch directory's batch is in; begins the batch or abandons it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aioboinc import embedded, errors
from aioboinc.aio import threads
from aioboinc.batch import preflight
from aioboinc.batch.directory import EMBEDDED, BatchDirectory, Checkpoint
from aioboinc.passes import cancellation
from aioboinc.project import config
from aioboinc.store import batches
from aioboinc.store import place as places

__all__ = ["Opened", "check", "discard", "opened"]


@dataclass(frozen=True)
class Opened:
    """An open project, and the checkpoint of the batch in it."""

    place: places.Place
    app: batches.App
    checkpoint: Checkpoint


@contextlib.asynccontextmanager
async def opened(
    directory: BatchDirectory,
    root: Path | None,
    checkpoint: Checkpoint | None,
    *,
    workers: int | None,
    homogeneous_redundancy: int,
) -> AsyncIterator[Opened]:
    """Open the project; begin a batch, unless *checkpoint* has one that continues.

    A failure before there is a checkpoint leaves nothing behind.
    """
    is_new = checkpoint is None
    had_project = await threads.in_thread(os.path.lexists, directory.embedded_project)
    try:
        async with await _reached(directory, root, workers) as reached:
            if root is not None:
                preflight.check_database(root, await reached.store.schema.missing())
            app = preflight.check_application(
                await reached.store.batches.app(config.APP_NAME),
                reached.project,
                homogeneous_redundancy=homogeneous_redundancy,
            )
            await threads.in_thread(_prepare, directory, reached.project)
            if checkpoint is None:
                checkpoint = await _begun(reached)
                await directory.write_checkpoint(checkpoint)
                is_new = False
            yield Opened(reached, app, checkpoint)
    finally:
        if is_new:
            await threads.in_thread(directory.remove_made)
            if root is None and not had_project:
                await threads.in_thread(embedded.remove, directory.embedded_project)


async def _reached(
    directory: BatchDirectory, root: Path | None, workers: int | None
) -> contextlib.AbstractAsyncContextManager[places.Place]:
    if root is None:
        return embedded.running(directory.embedded_project, workers=workers)
    project = config.read(root)
    await threads.in_thread(preflight.check_downloads, project)
    return places.reached(project)


async def _begun(reached: places.Place) -> Checkpoint:
    """Return the checkpoint of a new batch, or of the embedded project's, whose checkpoint was removed."""
    if reached.project.kind is not config.Kind.EMBEDDED:
        return Checkpoint(secrets.token_hex(16), reached.project.master_url, None, "submitting")
    newest = await reached.store.batches.newest()
    batch, token = newest or (None, secrets.token_hex(16))
    return Checkpoint(token, EMBEDDED, batch, "submitting")


def _prepare(directory: BatchDirectory, project: config.Project) -> None:
    """Make the batch directory's subdirectories; check that jobs can be submitted and outputs published."""
    elsewhere = project.kind is not config.Kind.EMBEDDED
    if elsewhere:
        preflight.check_files(project)
    directory.create()
    if elsewhere:
        preflight.check_batch_directory(project, directory)


async def discard(directory: BatchDirectory, root: Path | None, progressed: Callable[[int, int], None]) -> None:
    """Abandon the batch that is there. After an interruption, the next run abandons the rest.

    *progressed* gets the number of its jobs that are cancelled so far, and of those to cancel in all.
    """
    await threads.in_thread(directory.check_checkpoint)
    await threads.in_thread(embedded.check, directory.embedded_project)
    numbers: set[int] = set()
    checkpoint = None
    with contextlib.suppress(errors.CheckpointError):
        checkpoint = await directory.read_checkpoint()
    if checkpoint is None or checkpoint.project == EMBEDDED:
        numbers = await embedded.batches(directory.embedded_project)
    elif root is not None:
        async with places.reached(config.read(root)) as reached:
            if reached.project.master_url == checkpoint.project:
                await cancellation.abandon(
                    reached.store,
                    checkpoint.token,
                    delete_delay=reached.project.delete_delay,
                    progressed=progressed,
                )
    if checkpoint is not None and checkpoint.batch is not None:
        numbers.add(checkpoint.batch)
    await threads.in_thread(embedded.remove, directory.embedded_project)
    await threads.in_thread(directory.discard, numbers)


def check(checkpoint: Checkpoint, directory: BatchDirectory, root: Path | None) -> None:
    """Refuse a checkpoint that belongs to another project."""
    ours = EMBEDDED if root is None else config.read(root).master_url
    if checkpoint.project != ours:
        theirs, mine = (
            "its embedded project" if name == EMBEDDED else f"the project {name}"
            for name in (checkpoint.project, ours)
        )
        raise errors.CheckpointError(
            f"{directory.path}: the batch here belongs to {theirs}, not to {mine}; set PYBOINC_DIR as it was, "
            "use another batch directory, or start anew with --fresh"
        )
    if ours == EMBEDDED and checkpoint.batch is not None:
        if not directory.embedded_project.exists():
            raise errors.CheckpointError(
                f"{directory.embedded_project} is gone, and the batch with it; put it back, or start anew with --fresh"
            )
        embedded.check_whole(directory.embedded_project)
