"""What becomes of executors that nobody has shut down when the interpreter ends, or is interrupted."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import weakref
from typing import Protocol

from aioboinc import errors

__all__ = ["Leavable", "interrupted", "register", "tell_if_interrupted"]


class Leavable(Protocol):
    """What works in a thread that ends by itself when it is told to."""

    def finish(self) -> None:
        """Take no more work; end when all is done. Blocks until then. Raises what nobody was told yet."""

    def leave(self) -> None:
        """End at once, so that a later run can go on. Blocks until then."""


_all: weakref.WeakSet[Leavable] = weakref.WeakSet()
_is_registered = False
_untold: list[str] = []

_log = logging.getLogger(__name__)


def register(one: Leavable) -> None:
    """Let *one* finish before the interpreter ends; or leave, if it ends by ^C."""
    global _is_registered
    if not _is_registered:
        # As concurrent.futures does, whose threads are needed until then: what is registered last is called first.
        threading._register_atexit(_end)  # type: ignore[attr-defined]
        _is_registered = True
    _all.add(one)


def tell_if_interrupted(text: str) -> None:
    """Log *text* at the end of the interpreter if it ends by ^C: a loop that is left does not know why."""
    _untold[:] = [text]


def interrupted() -> None:
    """Have all leave: somebody has interrupted the program."""
    for one in list(_all):
        one.leave()


def _end() -> None:
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        interrupted()
        return
    for one in list(_all):
        try:
            one.finish()
        except KeyboardInterrupt:
            interrupted()
        except errors.UsageError as error:
            _log.error("%s", error)


@atexit.register
def _tell() -> None:
    if _untold and getattr(sys, "last_type", None) is KeyboardInterrupt:
        _log.warning("%s", _untold[0])
