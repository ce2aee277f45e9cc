"""A task group that raises a task's error itself, not in a group."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType

__all__ = ["TaskGroup"]


class TaskGroup(asyncio.TaskGroup):
    """A task group that raises the error of the task that failed, of several the first, not a group.

    The others become notes of it. Neither the group nor the cancellation of other tasks gets into its ``__context__``:
    IPython, for example, can't show an error with a group there, and never ends the cell. A group that a task itself
    raised is an error like any other.
    """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            return await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            first, *others = group.exceptions
        texts = dict.fromkeys(map(_text, (first, *others)))
        for text in list(texts)[1:]:
            first.add_note(f"At the same time: {text}")
        context = first.__context__
        try:
            raise first
        finally:
            first.__context__ = context
            del first, others, context


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()
