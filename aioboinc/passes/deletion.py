"""One pass of the file deleter: deletes inputs and outputs that nobody needs any more.

It deletes only files of a single workunit, whose names begin with its name. Programs are shared by a batch.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aioboinc import models
from aioboinc.aio import threads
from aioboinc.store.deletions import Deletable, Kind
from aioboinc.wire import documents

if TYPE_CHECKING:
    from aioboinc.project.config import Project
    from aioboinc.store import Store

__all__ = ["delete", "one_pass"]

_log = logging.getLogger(__name__)


async def one_pass(
    store: Store,
    project: Project,
    *,
    appid: int,
    limit: int = 1000,
    share: tuple[int, int] = (1, 0),
    retry: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Delete the files of all deletable workunits and results of the application, *limit* at a time.

    Returns the number of workunits and results. With *retry*, tries only those whose files could not be deleted before.
    *share* (n, r) restricts the pass to workunits and results with id % n == r. Ends soon once *stop* returns true;
    *stop* is called in other threads too.
    """
    count = 0
    state = models.FileDeleteState.ERROR if retry else models.FileDeleteState.READY
    for kind, path_of in ((Kind.OUTPUTS, project.upload_path), (Kind.INPUTS, project.download_path)):
        after = 0
        while not stop():
            items = await store.deletions.ready(kind, appid, limit=limit, state=state, after=after, share=share)
            if not items:
                break
            gone, failed = await threads.in_thread(delete, items, path_of, stop)
            count += await store.deletions.record(kind, gone=gone, failed=failed, state=state)
            if len(items) < limit:
                break
            after = items[-1].id
    if count:
        _log.info("deleted the files of %d workunits and results", count)
    return count


def delete(
    items: Sequence[Deletable],
    path_of: Callable[[str], str],
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[int], list[int]]:
    """Delete the files of *items*; blocks.

    Returns the IDs of those whose files are gone, and of those with files that could not be deleted. Ends early once
    *stop* returns true.
    """
    gone: list[int] = []
    failed: list[int] = []
    for item in items:
        if stop():
            break
        try:
            for name in _own_files(item):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path_of(name))
        except OSError as error:
            _log.warning("[%s] file not deleted: %s", item.name, error)
            failed.append(item.id)
        else:
            gone.append(item.id)
    return gone, failed


def _own_files(item: Deletable) -> list[str]:
    """Return the names of the files that belong to *item* alone."""
    return [
        file.name
        for file in documents.files(item.document.decode("utf-8", "replace"))
        if not file.no_delete and file.name.startswith(item.name + "_") and os.sep not in file.name
    ]
