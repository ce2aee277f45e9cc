"""Tracebacks for users: the frames of their program, and none of ours between them.

Our frames don't help with an error in the program's functions, with one that we raise on purpose, or where somebody has
stopped the program. An error that nobody has foreseen keeps its whole traceback.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import TypeVar

from aioboinc import arguments, errors

__all__ = ["InCall", "Shortened", "calls_program"]

F = TypeVar("F", bound=Callable[..., object])

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_callers: set[CodeType] = set()
"""Code of ours that calls functions of the program."""


def calls_program(function: F) -> F:
    """Note that *function* calls functions of the program: an error out of these is the program's."""
    _callers.add(function.__code__)
    return function


class Shortened:
    """Leaves our frames, that of the ``with`` included, out of the traceback of what its body raises."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.__traceback__ = _shortened(error)
            _let_ipython_show_groups()


class InCall(Shortened):
    """Beside that, what is wrong with the call that the body is says so of *caller*, and of the user's line."""

    def __init__(self, caller: str) -> None:
        self._caller = caller

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, errors.UsageError):
            arguments.rename(error, self._caller)
            error.at_call = True
        super().__exit__(kind, error, trace)


def _shortened(error: BaseException) -> TracebackType | None:
    entries = _entries(error.__traceback__)
    caller = next((index for index, entry in enumerate(entries) if entry.tb_frame.f_code in _callers), None)
    ours = isinstance(error, errors.AioboincError)
    stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
    if caller is None and not (ours or stopped):
        return error.__traceback__
    entries = [] if caller is None else entries[caller:]
    while entries and _is_ours(entries[0]):
        del entries[0]
    while ours and entries and _is_ours(entries[-1]):
        del entries[-1]
    following = None
    for entry in reversed(entries):
        following = TracebackType(following, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return following


def _let_ipython_show_groups() -> None:
    """Let a notebook cell end that raises an exception group, such as `errors.BatchFailed`.

    IPython (as of version 9) prints a group without noting that it did. If that is the kernel's first error, the kernel
    fails to reply, and the cell never ends.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and not hasattr(shell, "_last_traceback"):
        shell._last_traceback = None


def _entries(trace: TracebackType | None) -> list[TracebackType]:
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    return entries


def _is_ours(entry: TracebackType) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(_PACKAGE)
