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
        self._over = threading.Event()
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
        """Wait for the end of the thread. ^C may end the waiting, and one may wait again."""
        self._over.wait()  # a join of a thread that is interrupted lets no later one wait: bpo-45274
        self._thread.join()

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            asyncio.run(self._main())
        except BaseException as error:
            failure = error
        try:
            if failure is None or self._running.done():
                self._ended(failure)
            else:  # no loop could be made
                self._running.set_exception(failure)
        finally:
            self._over.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._running.set_result(None)
        await self._work()
