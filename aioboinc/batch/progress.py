"""Progress for people: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import functools
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never, TextIO

if TYPE_CHECKING:
    import tqdm

__all__ = ["Progress", "show"]

_INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""
_FIRST = 1.0
"""Seconds until the first one where jobs are done already: what is all done by then needs only the last."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    submitted: int
    """Calls of this run that are committed."""
    complete: bool
    """Whether these are all the calls."""
    handled: int
    """Jobs whose outputs were taken: handed to a handler, or to whoever iterates."""
    failed: int
    """Jobs that failed; part of ``handled``."""
    cancelled: int = 0
    """Jobs of the old batch that are cancelled so far, while it is being abandoned."""
    to_cancel: int = 0
    """Jobs of it to cancel in all; 0 when no batch is being abandoned."""


def show(stream: TextIO | None = None) -> Callable[[Progress], None]:
    """Return a function that shows a batch's progress on *stream*, by default on stderr or in the notebook's cell.

    If writing to the stream fails, nothing more is shown; the batch continues.
    """
    if stream is not None:
        return _Lenient(_Bar(stream) if stream.isatty() else _Lines(stream))
    if _is_in_notebook():
        return _Lenient(_Bar(None))
    return show(sys.stderr)


def _is_in_notebook() -> bool:
    """Tell whether this is a notebook that can show widgets."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel") and importlib.util.find_spec("ipywidgets") is not None


class _Lenient:
    def __init__(self, show: Callable[[Progress], None]) -> None:
        self._show: Callable[[Progress], None] | None = show
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        if self._show is not None and progress != self._last:
            self._last = progress
            try:
                self._show(progress)
            except OSError:
                self._show = None


class _Bar:
    def __init__(self, stream: TextIO | None) -> None:
        # Slow to import, and most runs show no bar.
        module = importlib.import_module("tqdm.notebook" if stream is None else "tqdm")
        arguments: dict[str, Any] = (
            {} if stream is None else {"file": stream, "dynamic_ncols": True, "miniters": 1}
        )
        self._make = functools.partial(module.tqdm, unit="job", **arguments)
        self._bar: tqdm.tqdm[Never] | None = None

    def __call__(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = self._make()
        if progress.to_cancel:
            self._bar.set_description_str("abandoning the old batch", refresh=False)
            self._bar.total = progress.to_cancel
            self._bar.update(progress.cancelled - self._bar.n)
            if _is_over(progress):
                self._close()
            return
        self._bar.total = progress.submitted
        self._bar.set_postfix_str(_remarks(progress), refresh=False)
        self._bar.update(progress.handled - self._bar.n)
        if _is_over(progress):
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Lines:
    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._begun = clock()
        self._due = self._begun

    def __call__(self, progress: Progress) -> None:
        finished = _is_over(progress)
        now = self._clock()
        is_resumed = progress.handled > 0 and self._due == self._begun
        if finished or now >= (self._begun + _FIRST if is_resumed else self._due):
            self._due = now + _INTERVAL
            print(_line(progress), file=self._stream, flush=True)


def _is_over(progress: Progress) -> bool:
    """Tell whether this report is the last one."""
    if progress.to_cancel:
        return progress.cancelled == progress.to_cancel
    return progress.complete and progress.handled == progress.submitted


def _line(progress: Progress) -> str:
    if progress.to_cancel:
        return f"{progress.cancelled} of {progress.to_cancel} jobs of the old batch cancelled"
    remarks = _remarks(progress)
    return f"{progress.handled} of {progress.submitted} jobs done{', ' if remarks else ''}{remarks}"


def _remarks(progress: Progress) -> str:
    remarks = [] if progress.complete else ["submitting"]
    if progress.failed:
        remarks.append(f"{progress.failed} failed")
    return ", ".join(remarks)
