"""Does one thing while the result of the one before is being stored."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

__all__ = ["Behind"]


class Behind:
    """Lets writes run behind the caller, one at a time and in order.

    Leaving the context waits for the last one; after an error or a cancellation it is cancelled.
    """

    def __init__(self) -> None:
        self.count = 0
        """Sum of what finished writes have returned."""
        self._task: asyncio.Task[int] | None = None

    async def start(self, write: Coroutine[Any, Any, int]) -> None:
        """Start *write* as soon as the one before is over; errors of that one are raised here."""
        try:
            await self._wait()
        except BaseException:
            write.close()
            raise
        self._task = asyncio.create_task(write)

    async def _wait(self) -> None:
        if self._task is not None:
            self.count += await self._task
            self._task = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._wait()
        elif self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()  # seen: the caller's takes precedence
