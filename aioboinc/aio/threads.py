"""Runs work in threads, and other work that must finish even if its caller is cancelled."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

__all__ = ["FileThread", "finish", "in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *function* in a thread. If cancelled, wait for its end first, so that no files are half done."""
    return await finish(asyncio.to_thread(function, *args, **kwargs))


class FileThread:
    """One thread for work on small files: several would fight for the directories, and for the interpreter's lock."""

    def __init__(self) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "files")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* when the thread is free. If cancelled, wait for its end first."""
        call = functools.partial(function, *args, **kwargs)
        return await finish(asyncio.get_running_loop().run_in_executor(self._executor, call))


async def finish(awaitable: Awaitable[T], *, grace: float | None = None) -> T:
    """Await *awaitable* to its end, even if cancelled meanwhile; the cancellation is raised after it.

    Once cancelled, *awaitable* gets *grace* seconds before it is cancelled too; None: as long as it takes.
    """
    task = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=None if cancelled is None else grace)
            if not task.done():
                task.cancel()
                grace = None
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # seen: the cancellation takes precedence
    raise cancelled
