"""Runs a process's main coroutine, until it ends or a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Stopped", "loop_factory", "on_stop", "run"]


class Stopped(BaseException):
    """The program was stopped by a signal; ``status`` is the exit status that says so."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.status = 128 + number


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *work* in a new event loop, uvloop's where there is one.

    SIGINT, SIGTERM and SIGHUP cancel it, unless they are ignored; then `Stopped` is raised.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        loop = runner.get_loop()
        task = loop.create_task(work())
        received: list[signal.Signals] = []

        def stop(number: signal.Signals) -> None:
            received.append(number)
            task.cancel()

        on_stop(loop, stop)
        try:
            runner.run(_await(task))
        except (asyncio.CancelledError, KeyboardInterrupt):
            if received:
                raise Stopped(received[0]) from None
            raise


def on_stop(
    loop: asyncio.AbstractEventLoop, stop: Callable[[signal.Signals], None], *, if_ignored: bool = False
) -> None:
    """Have *loop* call *stop* with each SIGINT, SIGTERM and SIGHUP.

    Ignored ones stay ignored (nohup ignores SIGHUP), unless *if_ignored*.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if if_ignored or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)


async def _await(task: asyncio.Task[None]) -> None:
    await task


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory of event loops, if it is installed; for programs, never for the library."""
    with contextlib.suppress(ImportError):
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
        return factory
    return None
