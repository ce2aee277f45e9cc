"""A thread with an event loop of its own, for programs without ``async``."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["LoopThread"]


class LoopThread:
    """Does *work* in a thread with an event loop of its own, from now on.

    At the end *ended* is called in there, with what *work* has raised, or None.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        ended: Callable[[BaseException | None], None],
        name: str,
    ) -> None:
        self._work = work
        self._ended = ended
        self._running: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._running.result()

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have the event loop call *function* soon; nothing happens if it has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def cancel(self) -> None:
        """Cancel the work."""
        self.call(self._task.cancel)

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if not self._running.done():  # no loop could be made
                self._running.set_exception(error)
                return
            self._ended(error)
        else:
            self._ended(None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._running.set_result(None)
        await self._work()
