"""Progress for people: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Never, TextIO

from aioboinc.batch import master

if TYPE_CHECKING:
    import tqdm

__all__ = ["show"]

_INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""


def show(stream: TextIO) -> Callable[[master.Progress], None]:
    """Return a function that shows a batch's progress on *stream*; for ``pyboinc_master(progress=…)``.

    Where the stream does not take it any more, that is the end of the showing, not of the batch.
    """
    return _Lenient(_Bar(stream) if stream.isatty() else _Lines(stream))


class _Lenient:
    def __init__(self, show: Callable[[master.Progress], None]) -> None:
        self._show: Callable[[master.Progress], None] | None = show

    def __call__(self, progress: master.Progress) -> None:
        if self._show is not None:
            try:
                self._show(progress)
            except OSError:
                self._show = None


class _Bar:
    def __init__(self, stream: TextIO) -> None:
        import tqdm  # it takes its time, and most runs show no bar

        self._make = tqdm.tqdm
        self._stream = stream
        self._bar: tqdm.tqdm[Never] | None = None

    def __call__(self, progress: master.Progress) -> None:
        if self._bar is None:
            self._bar = self._make(file=self._stream, unit="job", dynamic_ncols=True, miniters=1)
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
        self._due = 0.0

    def __call__(self, progress: master.Progress) -> None:
        finished = _is_over(progress)
        now = self._clock()
        if finished or now >= self._due:
            self._due = now + _INTERVAL
            print(_line(progress), file=self._stream, flush=True)


def _is_over(progress: master.Progress) -> bool:
    """Tell whether nothing more will be done of what is being done."""
    if progress.to_cancel:
        return progress.cancelled == progress.to_cancel
    return progress.complete and progress.handled == progress.submitted


def _line(progress: master.Progress) -> str:
    if progress.to_cancel:
        return f"{progress.cancelled} of {progress.to_cancel} jobs of the old batch cancelled"
    remarks = _remarks(progress)
    return f"{progress.handled} of {progress.submitted} jobs done{', ' if remarks else ''}{remarks}"


def _remarks(progress: master.Progress) -> str:
    remarks = [] if progress.complete else ["submitting"]
    if progress.failed:
        remarks.append(f"{progress.failed} failed")
    return ", ".join(remarks)
