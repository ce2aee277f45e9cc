"""How tests wait: for a condition, not for a time.

No outcome may depend on how busy the machine is. Whatever ends by itself is awaited for `PATIENCE` seconds, which is
there only so that a hang fails with a message of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

__all__ = ["PATIENCE", "Waits", "until", "wait_until"]

PATIENCE = 600.0
"""Seconds for which a test waits for something that comes if all is well."""
_PAUSE = 0.002
"""Seconds between two looks at what has no other way to tell."""


def wait_until(condition: Callable[[], object], *, log: Callable[[], object] = str) -> None:
    """Block until *condition* is true; where it does not come true, *log* tells why."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {log()}"
        time.sleep(_PAUSE)


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* is true; raises TimeoutError where it does not come true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(_PAUSE)


class Waits:
    """The timers of the running event loop that run out from now on.

    How long something takes is a matter of the machine; for how long the code has chosen to wait is not.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        """The longest delay of them, in seconds."""
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def watched(
            when: float, callback: Callable[..., object], *args: Any, **options: Any
        ) -> asyncio.TimerHandle:
            delay = when - loop.time()

            def run_out() -> None:
                self.longest = max(self.longest, delay)
                callback(*args)

            return call_at(when, run_out, **options)

        loop.call_at = watched  # type: ignore[method-assign, assignment]
